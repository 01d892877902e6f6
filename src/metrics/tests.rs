use http::Request;

use super::requests::verb;
use super::*;

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

#[test]
fn a_driver_at_work_is_queued_until_it_is_done() {
    let metrics = Metrics::default();
    let depth = |count: &str| format!(r#"towline_queue_depth{{kind="Sync"}} {count}"#);
    assert!(is(&metrics, &depth("0.0")));
    let at_work = metrics.at_work(Work::Reconcile);
    assert!(is(&metrics, &depth("1.0")));
    drop(at_work);
    assert!(is(&metrics, &depth("0.0")));
}

#[test]
fn the_older_format_names_families_as_their_samples() {
    let metrics = Metrics::default();
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
fn the_process_has_metrics() {
    let text = Metrics::default().encode();
    for name in ["cpu_seconds_total", "resident_memory_bytes", "open_fds"] {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("process_{name} ")));
        let value: f64 = line.unwrap().parse().unwrap();
        assert!(value >= 0.0, "{name}");
    }
}
