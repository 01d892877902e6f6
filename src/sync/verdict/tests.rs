use super::*;
use crate::manifest::GroupKind;

impl Facts {
    fn is_converged(&self) -> bool {
        self.ready().status == Some(true)
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        kind: GroupKind::new("apps", "Deployment"),
        namespace: Some("prod".into()),
        name: name.into(),
    }
}

fn facts() -> Facts {
    Facts {
        suspended: None,
        pinned: None,
        blocked: None,
        revision: Some("main@sha1:abc".to_owned()),
        counts: ObjectCounts {
            desired: 4,
            applied: 2,
            ..ObjectCounts::default()
        },
        busy: false,
        problems: Listed::default(),
        held: None,
        leaving: Listed::default(),
        drifts: Listed::default(),
        mode: Mode::Correct,
        unhealthy: Listed::default(),
        wait: false,
        untended: None,
        hook_hold: None,
        overdue: false,
    }
}

fn listed<T>(all: Vec<T>) -> Listed<T> {
    Listed::of(all.into_iter())
}

fn types(facts: &Facts) -> Vec<&'static str> {
    facts
        .verdicts(&facts.ready())
        .iter()
        .map(|verdict| verdict.kind.as_str())
        .collect()
}

#[test]
fn ready_only_when_applied_in_sync_and_healthy_if_asked() {
    let converged = facts();
    assert!(converged.is_converged());
    assert_eq!(types(&converged), ["Ready", "Drifted", "Healthy"]);
    let sick = |health| {
        listed(vec![Unhealthy {
            key: key("web"),
            health,
            place: Some("web.yaml (document 1), patched by prod.yaml".to_owned()),
            cause: None,
        }])
    };
    let unhealthy = sick(Health::InProgress("1 of 2 replicas".to_owned()));
    let lax = Facts {
        unhealthy: unhealthy.clone(),
        ..facts()
    };
    assert!(lax.is_converged());
    let waiting = Facts {
        unhealthy,
        wait: true,
        ..facts()
    };
    assert_eq!(waiting.ready().reason, Reason::HealthPending);
    assert_eq!(
        types(&waiting),
        ["Ready", "Reconciling", "Drifted", "Healthy"]
    );
    let failed = Facts {
        unhealthy: sick(Health::Failed("it crashes".to_owned())),
        ..facts()
    };
    let place = "web.yaml (document 1), patched by prod.yaml";
    let message = failed.health_message();
    assert!(
        message.ends_with(&format!("it crashes (in {place})")),
        "{message}"
    );
    assert_eq!(failed.failures()[0].file.as_deref(), Some(place));
    assert!(!waiting.health_message().contains(place));
    let healthy = failed.verdicts(&failed.ready()).pop().unwrap();
    assert_eq!(healthy.reason, Reason::HealthFailed);
    let mut known = failed;
    known.unhealthy.first[0].cause = Some("container web crashes".to_owned());
    let why = "it crashes: container web crashes";
    let message = known.health_message();
    assert!(
        message.ends_with(&format!("{why} (in {place})")),
        "{message}"
    );
    assert_eq!(known.failures()[0].message, why);
    let overdue = Facts {
        overdue: true,
        ..waiting
    };
    assert_eq!(overdue.ready().reason, Reason::HealthFailed);
    assert_eq!(overdue.failures()[0].reason, "HealthFailed");
    assert!(
        !Facts {
            busy: true,
            ..facts()
        }
        .is_converged()
    );
    assert!(
        !Facts {
            suspended: Some("suspended".to_owned()),
            ..facts()
        }
        .is_converged()
    );
    assert!(
        !Facts {
            revision: None,
            ..facts()
        }
        .is_converged()
    );
}

#[test]
fn a_message_names_object_file_and_cause() {
    let problems = (0..5).map(|number| Problem {
        object: format!("ConfigMap prod/c{number}"),
        place: Some(format!("apps/c{number}.yaml (document 1)")),
        reason: Reason::ApplyFailed,
        message: "it is refused".to_owned(),
    });
    let failed = Facts {
        problems: Listed::of(problems),
        ..facts()
    };
    let ready = failed.ready();
    assert_eq!(
        (ready.status, ready.reason),
        (Some(false), Reason::ApplyFailed)
    );
    assert!(
        ready
            .message
            .starts_with("ConfigMap prod/c0 in apps/c0.yaml (document 1): it is")
    );
    assert!(ready.message.ends_with("and 2 more"));
    assert_eq!(failed.failures().len(), 5);
}

#[test]
fn a_summary_is_one_line_that_fits_a_terminal_and_counts_the_rest() {
    let problems = (0..35).map(|number| Problem {
        object: format!("ConfigMap prod/c{number}"),
        place: Some(format!("apps/c{number}.yaml (document 1)")),
        reason: Reason::ApplyFailed,
        message: format!("it is refused:\n{}", "because of this, ".repeat(40)),
    });
    let failed = Facts {
        problems: Listed::of(problems),
        ..facts()
    };
    let line = failed.summary(&failed.ready());
    assert!(
        line.chars().count() <= 200 && !line.contains('\n'),
        "{line}"
    );
    assert!(
        line.starts_with("ConfigMap prod/c0: it is refused: because"),
        "{line}"
    );
    assert!(line.ends_with("… and 34 more"), "{line}");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let live = Facts {
        revision: Some(format!("main@sha1:{commit}")),
        ..facts()
    };
    assert!(live.ready().message.ends_with(commit));
    let line = live.summary(&live.ready());
    assert_eq!(line, "4 objects equal main@sha1:0123456789ab");
}

#[test]
fn a_held_deletion_says_what_why_and_how_to_approve_it() {
    let plan = PrunePlan {
        digest: "0af9".to_owned(),
        deletes: 12,
        of: 20,
        kinds: ["8 Deployment.apps", "4 Service"]
            .map(str::to_owned)
            .to_vec(),
        because: vec!["that is more than 50 % (spec.pruneLimit.percent)".to_owned()],
        keeps: String::new(),
    };
    let sync = SyncName::new("team-a", "shop");
    let message = held_message(&sync, &plan, None);
    let stale = held_message(&sync, &plan, Some("77c1"));
    assert!(stale.contains("not that of this") && !message.contains("not that of this"));
    assert!(
        message.starts_with(
            "would delete 12 of 20 objects: 8 Deployment.apps, 4 Service; that is more than 50 %"
        ),
        "{message}"
    );
    let command = "kubectl annotate --overwrite -n team-a syncs.towline.dev shop \
                       towline.dev/approve-prune=0af9";
    assert!(message.ends_with(command), "{message}");
    let held = Facts {
        held: Some(message),
        ..facts()
    };
    let ready = held.ready();
    assert_eq!(
        (ready.status, ready.reason),
        (Some(false), Reason::PruneHeld)
    );
    assert!(types(&held).contains(&"Stalled"));
    // What fails is told first, and may be mended without a person.
    let failed = Facts {
        problems: listed(vec![Problem {
            object: "ConfigMap prod/a".to_owned(),
            place: None,
            reason: Reason::ApplyFailed,
            message: "it is refused".to_owned(),
        }]),
        ..held
    };
    let ready = failed.ready();
    assert_eq!(ready.reason, Reason::ApplyFailed);
    assert!(
        ready.message.ends_with("status.prune.held"),
        "{}",
        ready.message
    );
    assert!(types(&failed).contains(&"Reconciling"));
}

#[test]
fn a_blocked_revision_says_what_stays_live_and_stalls_only_where_a_person_must_act() {
    let blocked = |stalled| {
        Some(Box::new(Blocked {
            reason: Reason::InvalidManifest,
            message: "a.yaml: line 3: a key is there twice".to_owned(),
            stalled,
        }))
    };
    let stalled = Facts {
        blocked: blocked(true),
        ..facts()
    };
    assert!(
        stalled
            .ready()
            .message
            .ends_with("main@sha1:abc stays live")
    );
    assert!(types(&stalled).contains(&"Stalled"));
    let partly = Facts {
        problems: listed(vec![Problem {
            object: key("a").to_string(),
            place: None,
            reason: Reason::ApplyFailed,
            message: "no".to_owned(),
        }]),
        counts: ObjectCounts {
            desired: 4,
            applied: 3,
            ..ObjectCounts::default()
        },
        ..stalled
    };
    let message = partly.ready().message;
    let stays = "main@sha1:abc stays, of which 3 of 4 objects could be applied";
    assert!(message.ends_with(stays), "{message}");
    let same = Facts {
        blocked: Some(Box::new(Blocked {
            reason: Reason::InvalidManifest,
            message: "main@sha1:abc is not applied: Secret a/b does not exist".to_owned(),
            stalled: true,
        })),
        ..facts()
    };
    let message = same.ready().message;
    assert!(
        message.ends_with("exist; what is live stays live"),
        "{message}"
    );
    let waiting = Facts {
        blocked: blocked(false),
        ..facts()
    };
    assert!(types(&waiting).contains(&"Reconciling"));
}

#[test]
fn a_pin_is_told_with_everything_but_a_deletion() {
    let pinned = Facts {
        pinned: Some("pinned by anna: incident 7, until somebody ends it".to_owned()),
        ..facts()
    };
    let ready = pinned.ready();
    assert_eq!((ready.status, ready.reason), (Some(true), Reason::Pinned));
    assert_eq!(
        ready.message,
        "4 objects equal main@sha1:abc; pinned by anna: incident 7, until somebody ends it"
    );
    assert!(pinned.summary(&ready).contains("pinned by anna"));
    let suspended = Facts {
        suspended: Some("suspended".to_owned()),
        ..pinned.clone()
    };
    let ready = suspended.ready();
    assert_eq!((ready.status, ready.reason), (None, Reason::Suspended));
    assert!(ready.message.ends_with("until somebody ends it"));
    let held = Facts {
        held: Some("would delete 12 of 20 objects: a command".to_owned()),
        ..pinned
    };
    assert!(held.ready().message.ends_with("a command"));
}

#[test]
fn drift_names_who_did_it_and_what_happens_next() {
    let drifts = listed(vec![Drift {
        key: key("web"),
        cause: ApplyCause::Drifted,
        writer: Some("kubectl-edit".into()),
    }]);
    let reported = Facts {
        drifts,
        mode: Mode::Report,
        ..facts()
    };
    let message = reported.ready().message;
    assert!(
        message.contains("Deployment.apps prod/web was changed by kubectl-edit"),
        "{message}"
    );
    assert!(message.contains("mode: Report"));
    let leaving = Facts {
        drifts: listed(vec![Drift {
            key: key("web"),
            cause: ApplyCause::Leaving,
            writer: Some("example.com/hold".into()),
        }]),
        ..facts()
    };
    assert_eq!(
        leaving.ready().message,
        "Deployment.apps prod/web is being deleted, held by example.com/hold; made again from Git when it is gone"
    );
}
