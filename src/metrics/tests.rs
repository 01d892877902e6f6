use std::time::Instant;

use http::Request;

use super::requests::verb;
use super::*;
use crate::api::{Condition, ObjectCounts, Time};

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
    syncs.set("ns", "a", |row| row.contested = 1);
    assert!(!metrics.encode().contains(r#"sync="a""#), "nobody knows it");
    syncs.add("ns", "a", SyncFigures::default);
    assert!(is(&metrics, &ready("Progressing", "0.0")));
    syncs.set("ns", "a", |row| {
        row.ready.turns(true, Reason::Converged);
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
    syncs.set("ns", "a", |row| row.contested = 1);
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
    // A removed resource makes room for another.
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

/// The value of a series.
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.encode();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}

#[test]
fn the_age_of_a_queue_is_that_of_the_oldest_at_work() {
    let metrics = leading();
    let syncs = &metrics.figures().syncs;
    let age = |kind: &str| {
        let series = format!(r#"towline_queue_age_seconds{{kind="{kind}"}}"#);
        value(&metrics, &series).unwrap()
    };
    for name in ["a", "b"] {
        syncs.add("ns", name, SyncFigures::default);
    }
    assert_eq!(age("Sync"), 0.0);
    let start = Instant::now();
    let oldest = syncs.at_work("ns", "b");
    let begun = Instant::now();
    std::thread::sleep(Duration::from_millis(60));
    let later = Instant::now();
    let _newer = syncs.at_work("ns", "a");
    let least = begun.elapsed().as_secs_f64();
    let told = age("Sync");
    assert!(told >= least && told <= start.elapsed().as_secs_f64());
    assert_eq!(age("GitRepository"), 0.0);
    drop(oldest);
    assert!(age("Sync") <= later.elapsed().as_secs_f64());
}

fn condition(status: &str, reason: &str, second: i64) -> Condition {
    Condition {
        type_: "Ready".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::from_second(second).unwrap()),
    }
}

#[test]
fn since_when_something_is_not_ready_is_kept_until_it_is() {
    let at = |second| Some(Timestamp::from_second(second).unwrap());
    let mut ready = Ready::of(&[condition("False", "ApplyFailed", 7)]);
    assert_eq!(
        (ready.reason, ready.not_since),
        (Reason::ApplyFailed, at(7))
    );
    ready.turns(false, Reason::Progressing);
    assert_eq!(ready.not_since, at(7));
    ready.turns(true, Reason::Converged);
    assert_eq!(ready.not_since, None);
    ready.turns(false, Reason::DriftFound);
    assert!(ready.not_since > at(7));
    ready.turns(false, Reason::Suspended);
    assert_eq!(ready.not_since, None);
    assert_eq!(
        Ready::of(&[condition("True", "Converged", 7)]).not_since,
        None
    );
    assert_eq!(Ready::of(&[]), Ready::default());
}

#[test]
fn a_repository_tells_since_when_it_is_not_ready() {
    let metrics = leading();
    let repositories = &metrics.figures().repositories;
    let seeded = || RepositoryFigures {
        ready: Ready::of(&[condition("False", "FetchFailed", 7)]),
        fetched_at: None,
    };
    repositories.add("ns", "git", seeded);
    let of = r#"{repository_namespace="ns",repository="git""#;
    let since = format!("towline_repository_not_ready_since_timestamp_seconds{of}}}");
    assert_eq!(value(&metrics, &since), Some(7.0));
    let ready = format!(r#"towline_repository_ready{of},reason="FetchFailed"}}"#);
    assert_eq!(value(&metrics, &ready), Some(0.0));
    repositories.set("ns", "git", |row| row.ready.turns(true, Reason::Fetched));
    assert_eq!(value(&metrics, &since), None);
}

#[test]
fn changes_are_counted_with_what_they_took() {
    let metrics = leading();
    let syncs = &metrics.figures().syncs;
    syncs.add("ns", "a", SyncFigures::default);
    let of = r#"{sync_namespace="ns",sync="a"}"#;
    let changes = format!("towline_sync_changes_total{of}");
    assert_eq!(
        value(&metrics, &changes),
        Some(0.0),
        "the first shows as an increase"
    );
    syncs.set("ns", "a", |row| {
        (row.changes, row.changing) = (2, Duration::from_millis(2500));
    });
    assert_eq!(value(&metrics, &changes), Some(2.0));
    let took = format!("towline_sync_change_seconds_total{of}");
    assert_eq!(value(&metrics, &took), Some(2.5));
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
    let converged = || {
        let mut figures = SyncFigures::default();
        figures.ready.turns(true, Reason::Converged);
        figures
    };
    syncs.add("ns", "a", SyncFigures::default);
    syncs.add("ns", "a", converged);
    assert!(!metrics.encode().contains("towline_sync"));
    metrics.leads(true);
    assert!(is(&metrics, r#"towline_syncs{reason="Converged"} 1.0"#));
    syncs.add("ns", "a", SyncFigures::default);
    assert!(is(&metrics, r#"towline_syncs{reason="Converged"} 1.0"#));
}
