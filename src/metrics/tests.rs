use http::Request;

use super::requests::verb;
use super::*;
use crate::api::ObjectCounts;

fn is(metrics: &Metrics, line: &str) -> bool {
    metrics.encode().lines().any(|is| is == line)
}

#[test]
fn verbs_are_kubernetes_own() {
    let apply = "application/apply-patch+yaml";
    for (method, uri, kind, expected) in [
        ("GET", "/api/v1/namespaces/ns/secrets/s", "", "get"),
        ("GET", "/api/v1/namespaces/ns", "", "get"),
        ("GET", "/api/v1/namespaces", "", "list"),
        ("GET", "/api/v1/namespaces/ns/secrets?limit=5", "", "list"),
        ("GET", "/apis/apps/v1/deployments", "", "list"),
        (
            "GET",
            "/apis/towline.dev/v1alpha1/syncs?watch=true",
            "",
            "watch",
        ),
        ("POST", "/api/v1/namespaces/ns/events", "", "create"),
        (
            "PUT",
            "/apis/coordination.k8s.io/v1/namespaces/ns/leases/l",
            "",
            "update",
        ),
        (
            "PATCH",
            "/api/v1/namespaces/ns/configmaps/a?force=true",
            apply,
            "apply",
        ),
        (
            "PATCH",
            "/api/v1/namespaces/ns/configmaps/a?force=true&dryRun=All",
            apply,
            "dry-run",
        ),
        (
            "PATCH",
            "/apis/towline.dev/v1alpha1/namespaces/ns/syncs/s/status",
            "",
            "patch",
        ),
        ("DELETE", "/api/v1/namespaces/ns/configmaps/a", "", "delete"),
    ] {
        let request = Request::builder().method(method).uri(uri);
        let request = request.header("content-type", kind).body(()).unwrap();
        assert_eq!(verb(&request), expected, "{method} {uri}");
    }
}

fn leading() -> Metrics {
    let metrics = Metrics::default();
    metrics.leads(true);
    metrics
}

#[test]
fn each_sync_has_its_series_for_as_long_as_it_is_there() {
    let metrics = leading();
    let syncs = &metrics.figures().syncs;
    let ready = |reason: &str, value: &str| {
        format!(r#"towline_sync_ready{{sync_namespace="ns",sync="a",reason="{reason}"}} {value}"#)
    };
    syncs.set("ns", "a", |row| row.ready = true);
    assert!(!metrics.encode().contains(r#"sync="a""#), "nobody knows it");
    syncs.add("ns", "a", SyncFigures::default);
    assert!(is(&metrics, &ready("Progressing", "0.0")));
    syncs.set("ns", "a", |row| {
        row.ready = true;
        row.reason = Reason::Converged;
        row.counts = ObjectCounts {
            desired: 3,
            ..ObjectCounts::default()
        };
    });
    assert!(is(&metrics, &ready("Converged", "1.0")));
    assert!(!is(&metrics, &ready("Progressing", "0.0")));
    assert!(is(&metrics, r#"towline_objects{state="desired"} 3.0"#));
    assert!(is(&metrics, r#"towline_syncs{reason="Converged"} 1.0"#));
    syncs.remove("ns", "a");
    syncs.set("ns", "a", |row| row.ready = true);
    assert!(!metrics.encode().contains(r#"sync="a""#));
}

#[test]
fn beyond_the_bound_there_are_sums_only() {
    let metrics = leading();
    let syncs = &metrics.figures().syncs;
    for number in 0..SERIES + 2 {
        syncs.add("ns", &format!("s{number:05}"), SyncFigures::default);
    }
    let series = |metrics: &Metrics| {
        let text = metrics.encode();
        let lines = text.lines();
        lines
            .filter(|line| line.starts_with("towline_sync_ready{"))
            .count()
    };
    let dropped = |count: &str| format!(r#"towline_series_dropped{{kind="Sync"}} {count}"#);
    assert_eq!(series(&metrics), SERIES);
    assert!(is(&metrics, &dropped("2.0")));
    let all = format!(r#"towline_syncs{{reason="Progressing"}} {}.0"#, SERIES + 2);
    assert!(is(&metrics, &all));
    // One that goes makes room for another.
    syncs.remove("ns", "s00000");
    assert_eq!(series(&metrics), SERIES);
    assert!(is(&metrics, &dropped("1.0")));
}

#[test]
fn a_driver_at_work_is_queued_until_it_is_done() {
    let metrics = leading();
    let syncs = &metrics.figures().syncs;
    let depth = |count: &str| format!(r#"towline_queue_depth{{kind="Sync"}} {count}"#);
    syncs.add("ns", "a", SyncFigures::default);
    let at_work = syncs.at_work("ns", "a");
    assert!(is(&metrics, &depth("1.0")));
    drop(at_work);
    assert!(is(&metrics, &depth("0.0")));
}

#[test]
fn the_older_format_names_families_as_their_samples() {
    let metrics = leading();
    metrics.pruned(2);
    let plain = metrics.encode_plain();
    for lines in [
        "# HELP towline_prunes_total Objects deleted because they left Git.\n\
         # TYPE towline_prunes_total counter\ntowline_prunes_total 2\n",
        "# TYPE towline_build_info gauge\ntowline_build_info{version=",
        "# TYPE towline_fetch_duration_seconds histogram\n",
    ] {
        assert!(plain.contains(lines), "{lines} is not in {plain}");
    }
    for absent in ["# UNIT", "# EOF", "# TYPE towline_prunes counter"] {
        assert!(!plain.contains(absent), "{absent} is in {plain}");
    }
}

#[test]
fn the_process_tells_of_itself() {
    let text = Metrics::default().encode();
    for name in ["cpu_seconds_total", "resident_memory_bytes", "open_fds"] {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("process_{name} ")));
        let value: f64 = line.unwrap().parse().unwrap();
        assert!(value >= 0.0, "{name}");
    }
}

#[test]
fn a_standby_tells_nothing_of_syncs_and_keeps_up_with_the_leader() {
    let metrics = Metrics::default();
    let syncs = &metrics.figures().syncs;
    let converged = || SyncFigures {
        ready: true,
        reason: Reason::Converged,
        ..SyncFigures::default()
    };
    syncs.add("ns", "a", SyncFigures::default);
    syncs.add("ns", "a", converged);
    assert!(!metrics.encode().contains("towline_sync"));
    metrics.leads(true);
    assert!(is(&metrics, r#"towline_syncs{reason="Converged"} 1.0"#));
    syncs.add("ns", "a", SyncFigures::default);
    assert!(is(&metrics, r#"towline_syncs{reason="Converged"} 1.0"#));
}
