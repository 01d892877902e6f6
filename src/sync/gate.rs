//! Decides whether a Sync may use the newest revision of its source. Pure.

use super::verdict::Blocked;
use crate::api::Reason;
use crate::fleet::SyncView;
use crate::plan::SyncName;

/// Everything that the gate's decision depends on.
pub(super) struct Surroundings {
    /// `spec.suspend` is true.
    pub(super) suspended: bool,
    /// The Sync is pinned to a revision that was live before.
    pub(super) pinned: bool,
    /// What is wrong with the spec.
    pub(super) invalid: Option<String>,
    /// Whether the Sync has a status with conditions.
    pub(super) has_status: bool,
    /// The GitRepository's name.
    pub(super) source: String,
    /// The newest revision of the source.
    pub(super) revision: Option<String>,
    /// Why the source has no revision, or why its last fetch failed.
    pub(super) problem: Option<(Reason, String)>,
    /// The source of the chart, if it is another one.
    pub(super) chart: Option<ChartSource>,
    /// The circle of dependencies that the Sync is part of.
    pub(super) circle: Option<Vec<SyncName>>,
    /// The Syncs that this one depends on.
    pub(super) dependencies: Vec<(SyncName, SyncView)>,
}

/// The source that `spec.helm.chartRef` names.
pub(super) struct ChartSource {
    pub(super) name: String,
    /// Whether it has a revision.
    pub(super) has_revision: bool,
    /// Why it has none.
    pub(super) problem: Option<(Reason, String)>,
}

/// What to do in this round.
#[derive(Debug, PartialEq)]
pub(super) enum Gate {
    /// Make the newest revision the target.
    Open,
    /// Do nothing: the operator has just started. The status stays as it is until more is known.
    Unknown,
    /// Do nothing: the Sync is suspended.
    Suspended,
    /// Keep the present target.
    Blocked(Blocked),
}

/// The gate's decision.
pub(super) fn gate(around: &Surroundings) -> Gate {
    if around.suspended {
        return Gate::Suspended;
    }
    let is_unknown = around.revision.is_none() && around.problem.is_none();
    let chart = around.chart.as_ref();
    let chart_unknown = chart.is_some_and(|chart| !chart.has_revision && chart.problem.is_none());
    if (is_unknown || chart_unknown) && around.has_status {
        return Gate::Unknown;
    }
    match obstacle(around) {
        Some((reason, message)) => Gate::Blocked(Blocked {
            reason,
            message,
            stalled: matches!(reason, Reason::DependencyCycle | Reason::InvalidSpec),
        }),
        None => Gate::Open,
    }
}

fn obstacle(around: &Surroundings) -> Option<(Reason, String)> {
    if let Some(invalid) = &around.invalid {
        return Some((Reason::InvalidSpec, invalid.clone()));
    }
    let Some(revision) = &around.revision else {
        return Some(around.problem.clone().unwrap_or_else(|| {
            let message = format!("GitRepository {} has no revision yet", around.source);
            (Reason::SourceNotReady, message)
        }));
    };
    if let Some(chart) = around.chart.as_ref().filter(|chart| !chart.has_revision) {
        let (reason, why) = chart.problem.clone().unwrap_or_else(|| {
            let message = format!("GitRepository {} has no revision yet", chart.name);
            (Reason::SourceNotReady, message)
        });
        // What is said of a source that is not there names it.
        let message = match why.starts_with("GitRepository ") {
            true => format!("spec.helm.chartRef: {why}"),
            false => format!("spec.helm.chartRef: GitRepository {}: {why}", chart.name),
        };
        return Some((reason, message));
    }
    // See `pin`.
    if let Some(circle) = around.circle.as_ref().filter(|_| !around.pinned) {
        let names: Vec<&str> = circle.iter().map(|name| &*name.name).collect();
        let message = format!("dependsOn goes in a circle: {}", names.join(" → "));
        return Some((Reason::DependencyCycle, message));
    }
    let dependencies = around.dependencies.iter().filter(|_| !around.pinned);
    let mut waits = dependencies.filter_map(|(name, dependency)| {
        let same_source = dependency.source == around.source;
        let why = if !dependency.exists {
            "does not exist"
        } else if !dependency.ready {
            "is not ready"
        } else if same_source && dependency.applied.as_ref() != Some(revision) {
            match dependency.pinned {
                true => "is pinned to another revision",
                false => "has not applied this revision yet",
            }
        } else {
            return None;
        };
        Some(format!("waiting for dependency {name}, which {why}"))
    });
    waits.next().map(|why| (Reason::DependencyNotReady, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Surroundings {
        Surroundings {
            suspended: false,
            pinned: false,
            invalid: None,
            has_status: false,
            source: "repo".to_owned(),
            revision: Some("main@sha1:abc".to_owned()),
            problem: None,
            chart: None,
            circle: None,
            dependencies: Vec::new(),
        }
    }

    fn blocked(around: &Surroundings) -> (Reason, String, bool) {
        match gate(around) {
            Gate::Blocked(blocked) => (blocked.reason, blocked.message, blocked.stalled),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_revision_is_needed_and_a_failed_fetch_does_not_take_it_away() {
        assert_eq!(gate(&around()), Gate::Open);
        let problem = Some((Reason::FetchFailed, "no route".to_owned()));
        let failed = Surroundings {
            problem: problem.clone(),
            ..around()
        };
        assert_eq!(gate(&failed), Gate::Open);
        let never = Surroundings {
            revision: None,
            problem,
            ..around()
        };
        assert_eq!(
            blocked(&never),
            (Reason::FetchFailed, "no route".to_owned(), false)
        );
        let first = Surroundings {
            revision: None,
            ..around()
        };
        assert_eq!(blocked(&first).0, Reason::SourceNotReady);
        let restarted = Surroundings {
            has_status: true,
            ..first
        };
        assert_eq!(gate(&restarted), Gate::Unknown);
    }

    #[test]
    fn the_source_of_the_chart_needs_a_revision_too() {
        let chart = |has_revision, problem: Option<(Reason, &str)>| Surroundings {
            chart: Some(ChartSource {
                name: "charts".to_owned(),
                has_revision,
                problem: problem.map(|(reason, why)| (reason, why.to_owned())),
            }),
            ..around()
        };
        let failed = Some((Reason::FetchFailed, "no route"));
        assert_eq!(gate(&chart(true, None)), Gate::Open);
        assert_eq!(gate(&chart(true, failed)), Gate::Open);
        for (problem, reason, says) in [
            (
                None,
                Reason::SourceNotReady,
                "GitRepository charts has no revision yet",
            ),
            (
                failed,
                Reason::FetchFailed,
                "GitRepository charts: no route",
            ),
            (
                Some((Reason::FetchFailed, "no route to charts.example")),
                Reason::FetchFailed,
                "GitRepository charts: no route to charts.example",
            ),
            (
                Some((
                    Reason::SourceNotReady,
                    "GitRepository ns/charts does not exist",
                )),
                Reason::SourceNotReady,
                "GitRepository ns/charts does not exist",
            ),
        ] {
            let message = format!("spec.helm.chartRef: {says}");
            assert_eq!(blocked(&chart(false, problem)), (reason, message, false));
        }
        let restarted = Surroundings {
            has_status: true,
            ..chart(false, None)
        };
        assert_eq!(gate(&restarted), Gate::Unknown);
    }

    #[test]
    fn a_spec_that_cannot_be_read_needs_a_person() {
        let invalid = Some("spec.ignoreFields[0]: no".to_owned());
        let (reason, message, stalled) = blocked(&Surroundings {
            invalid: invalid.clone(),
            ..around()
        });
        assert_eq!((reason, stalled), (Reason::InvalidSpec, true));
        assert_eq!(Some(message), invalid);
    }

    #[test]
    fn a_suspended_sync_waits_for_nothing() {
        let suspended = Surroundings {
            suspended: true,
            revision: None,
            ..around()
        };
        assert_eq!(gate(&suspended), Gate::Suspended);
    }

    #[test]
    fn only_a_circle_needs_a_person() {
        let name = |name: &str| SyncName::new("ns", name);
        let circle = Some(vec![name("a"), name("b"), name("a")]);
        let (reason, message, stalled) = blocked(&Surroundings {
            circle: circle.clone(),
            ..around()
        });
        let pinned = Surroundings {
            circle,
            pinned: true,
            ..around()
        };
        assert_eq!(
            gate(&pinned),
            Gate::Open,
            "the same commit may have made it"
        );
        assert_eq!((reason, stalled), (Reason::DependencyCycle, true));
        assert!(message.ends_with("a → b → a"));
    }

    #[test]
    fn a_dependency_is_ready_at_the_same_revision_of_the_same_source() {
        let dependency = |exists, ready, source: &str, applied: &str| SyncView {
            exists,
            ready,
            source: source.to_owned(),
            applied: Some(applied.to_owned()),
            ..SyncView::default()
        };
        let (new, old) = ("main@sha1:abc", "main@sha1:old");
        for (standing, why) in [
            (dependency(false, true, "repo", new), Some("does not exist")),
            (dependency(true, false, "repo", new), Some("is not ready")),
            (
                dependency(true, true, "repo", old),
                Some("has not applied this revision yet"),
            ),
            (
                SyncView {
                    pinned: true,
                    ..dependency(true, true, "repo", old)
                },
                Some("is pinned to another revision"),
            ),
            (dependency(true, true, "other", old), None),
            (dependency(true, true, "repo", new), None),
        ] {
            let around = Surroundings {
                dependencies: vec![(SyncName::new("ns", "base"), standing)],
                ..around()
            };
            let pinned = Surroundings {
                pinned: true,
                ..around
            };
            assert_eq!(gate(&pinned), Gate::Open, "it was live before");
            let around = Surroundings {
                pinned: false,
                ..pinned
            };
            match why {
                None => assert_eq!(gate(&around), Gate::Open),
                Some(why) => {
                    let (reason, message, stalled) = blocked(&around);
                    assert_eq!((reason, stalled), (Reason::DependencyNotReady, false));
                    assert!(
                        message.contains("ns/base") && message.ends_with(why),
                        "{message}"
                    );
                }
            }
        }
    }
}
