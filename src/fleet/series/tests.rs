use super::super::Ready;
use super::*;
use crate::api::ObjectCounts;
use crate::metrics::Metrics;

/// A fleet, and the metrics that show it.
fn shown(leadership: Leadership) -> (Fleet, Metrics) {
    let (fleet, metrics) = (Fleet::default(), Metrics::default());
    metrics.register(Series::new(fleet.clone(), leadership));
    (fleet, metrics)
}

fn sync(name: &str) -> SyncName {
    SyncName::new("ns", name)
}

fn is(metrics: &Metrics, line: &str) -> bool {
    metrics.encode().lines().any(|is| is == line)
}

/// The value of a series.
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.encode();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}

#[test]
fn each_sync_has_its_series_for_as_long_as_it_exists() {
    let (fleet, metrics) = shown(Leadership::alone());
    let a = sync("a");
    let ready = |reason: &str, value: &str| {
        format!(r#"towline_sync_ready{{sync_namespace="ns",sync="a",reason="{reason}"}} {value}"#)
    };
    fleet.update_sync(&a, |view| view.figures.contested = 1);
    assert!(!metrics.encode().contains(r#"sync="a""#), "it is unknown");
    fleet.announce_sync(&a, SyncView::default(), true);
    assert!(is(&metrics, &ready("Progressing", "0.0")));
    fleet.update_sync(&a, |view| {
        view.figures.ready.set(true, Reason::Converged);
        view.figures.counts = ObjectCounts {
            desired: 3,
            ..ObjectCounts::default()
        };
    });
    assert!(is(&metrics, &ready("Converged", "1.0")));
    assert!(!is(&metrics, &ready("Progressing", "0.0")));
    assert!(is(&metrics, r#"towline_objects{state="desired"} 3.0"#));
    assert!(is(&metrics, r#"towline_syncs{reason="Converged"} 1.0"#));
    fleet.remove_sync(&a);
    fleet.update_sync(&a, |view| view.figures.contested = 1);
    assert!(!metrics.encode().contains(r#"sync="a""#));
}

#[test]
fn beyond_the_bound_there_are_sums_only() {
    let (fleet, metrics) = shown(Leadership::alone());
    let name = |number: usize| sync(&format!("s{number:05}"));
    // The first that are seen have series, whatever their names.
    for number in 1..=SERIES {
        fleet.announce_sync(&name(number), SyncView::default(), true);
    }
    let series = || {
        let text = metrics.encode();
        let lines = text.lines();
        let lines = lines.filter(|line| line.starts_with("towline_sync_ready{"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let first = series();
    assert_eq!(first.len(), SERIES);
    for number in [0, SERIES + 1] {
        fleet.announce_sync(&name(number), SyncView::default(), true);
    }
    assert_eq!(series(), first);
    let dropped = |count: &str| format!(r#"towline_series_dropped{{kind="Sync"}} {count}"#);
    assert!(is(&metrics, &dropped("2.0")));
    let all = format!(r#"towline_syncs{{reason="Progressing"}} {}.0"#, SERIES + 2);
    assert!(is(&metrics, &all));
    // A removed resource makes room for another.
    fleet.remove_sync(&name(1));
    assert_eq!(series().len(), SERIES);
    assert!(is(&metrics, &dropped("1.0")));
}

#[test]
fn a_repository_shows_since_when_it_is_not_ready() {
    let (fleet, metrics) = shown(Leadership::alone());
    let git = SourceName::new("ns", "git");
    let object = serde_json::from_value(serde_json::json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository", "metadata": {"name": "git"},
        "spec": {"url": "https://git.example/r"},
        "status": {"conditions": [{
            "type": "Ready", "status": "False", "reason": "FetchFailed", "message": "",
            "lastTransitionTime": "1970-01-01T00:00:07Z",
        }]},
    }));
    let seeded = SourceView::of(&object.unwrap());
    fleet.announce_source(&git, seeded, true);
    let of = r#"{repository_namespace="ns",repository="git""#;
    let since = format!("towline_repository_not_ready_since_timestamp_seconds{of}}}");
    assert_eq!(value(&metrics, &since), Some(7.0));
    let ready = format!(r#"towline_repository_ready{of},reason="FetchFailed"}}"#);
    assert_eq!(value(&metrics, &ready), Some(0.0));
    let fetched = |view: &mut SourceView| view.ready.set(true, Reason::Fetched);
    fleet.sources.update(&git, fetched);
    assert_eq!(value(&metrics, &since), None);
}

#[test]
fn changes_are_counted_with_their_duration() {
    let (fleet, metrics) = shown(Leadership::alone());
    fleet.announce_sync(&sync("a"), SyncView::default(), true);
    let of = r#"{sync_namespace="ns",sync="a"}"#;
    let changes = format!("towline_sync_changes_total{of}");
    assert_eq!(
        value(&metrics, &changes),
        Some(0.0),
        "the first shows as an increase"
    );
    let at = |millisecond| Timestamp::from_millisecond(millisecond).unwrap();
    for (committed, converged) in [(0, 2_000), (5_000, 5_500)] {
        fleet.update_sync(&sync("a"), |view| {
            view.figures.count_change(at(committed), at(converged));
        });
    }
    assert_eq!(value(&metrics, &changes), Some(2.0));
    let took = format!("towline_sync_change_seconds_total{of}");
    assert_eq!(value(&metrics, &took), Some(2.5));
}

#[test]
fn a_standby_shows_nothing_of_syncs_and_keeps_up_with_the_leader() {
    let leadership = Leadership::standby();
    let (fleet, metrics) = shown(leadership.clone());
    let mut converged = SyncView::default();
    converged.figures.ready.set(true, Reason::Converged);
    for view in [SyncView::default(), converged] {
        fleet.announce_sync(&sync("a"), view, leadership.leads());
    }
    assert!(!metrics.encode().contains("towline_sync"));
    leadership.lead();
    assert!(is(&metrics, r#"towline_syncs{reason="Converged"} 1.0"#));
    // A watch event may be older than what the driver found out.
    fleet.announce_sync(&sync("a"), SyncView::default(), leadership.leads());
    assert!(is(&metrics, r#"towline_syncs{reason="Converged"} 1.0"#));
}

#[test]
fn figures_wake_no_other_sync() {
    let fleet = Fleet::default();
    fleet.announce_sync(&sync("a"), SyncView::default(), true);
    let follower = fleet.syncs.subscribe(&sync("a"));
    fleet.update_sync(&sync("a"), |view| view.figures.contested = 1);
    assert!(!follower.has_changed());
    fleet.update_sync(&sync("a"), |view| view.ready = true);
    assert!(follower.has_changed());
    let git = SourceName::new("ns", "git");
    fleet.announce_source(&git, SourceView::default(), true);
    let follower = fleet.sources.subscribe(&git);
    fleet
        .sources
        .update(&git, |view| view.ready = Ready::default());
    fleet
        .sources
        .update(&git, |view| view.fetched_at = Some(Timestamp::now()));
    assert!(!follower.has_changed());
}

#[test]
fn outcomes_are_counted_by_namespace_for_as_long_as_it_has_syncs() {
    use std::time::Duration;

    use super::super::Outcome;
    use crate::api::ChangeFailure;

    let (fleet, metrics) = shown(Leadership::alone());
    let namespace = |of: &str| value(&metrics, &format!(r#"towline_{of}"#));
    let converged = r#"changes_total{sync_namespace="ns",converged="true"}"#;
    fleet.deliveries.count("ns", Outcome::Converged);
    assert_eq!(namespace(converged), None, "it has no Sync");
    for name in ["a", "b", "a"] {
        fleet.announce_sync(&sync(name), SyncView::default(), true);
    }
    assert_eq!(namespace(converged), Some(0.0));
    let failed = |converged| Outcome::Failed {
        cause: ChangeFailure::Reverted,
        converged,
    };
    let took = Duration::from_secs(90);
    let restored = Outcome::Restored { took };
    for outcome in [Outcome::Converged, failed(true), failed(false), restored] {
        fleet.deliveries.count("ns", outcome);
        fleet.deliveries.count("elsewhere", outcome);
    }
    for (series, expected) in [
        (converged, 1.0),
        (
            r#"changes_total{sync_namespace="ns",converged="false"}"#,
            1.0,
        ),
        (
            r#"failed_changes_total{sync_namespace="ns",cause="Reverted"}"#,
            2.0,
        ),
        (
            r#"failed_changes_total{sync_namespace="ns",cause="Unhealthy"}"#,
            0.0,
        ),
        (r#"time_to_restore_seconds_sum{sync_namespace="ns"}"#, 90.0),
        (
            r#"time_to_restore_seconds_bucket{le="60.0",sync_namespace="ns"}"#,
            0.0,
        ),
        (
            r#"time_to_restore_seconds_bucket{le="300.0",sync_namespace="ns"}"#,
            1.0,
        ),
    ] {
        assert_eq!(
            namespace(series),
            Some(expected),
            "{series}\n{}",
            metrics.encode()
        );
    }
    assert!(!metrics.encode().contains("elsewhere"));
    fleet.remove_sync(&sync("a"));
    assert_eq!(namespace(converged), Some(1.0), "b is there");
    fleet.remove_sync(&sync("b"));
    fleet.remove_sync(&sync("b"));
    assert_eq!(namespace(converged), None);
    fleet.announce_sync(&sync("a"), SyncView::default(), true);
    assert_eq!(namespace(converged), Some(0.0));
}
