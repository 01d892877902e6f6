//! Every reason that a `GitRepository` can have.

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::api::{Time, set_conditions};
use crate::notify::Level;

const LIVE: &str = "main@sha1:aaaa";
const NEW: &str = "main@sha1:bbbb";

fn observed(poll: Poll) -> Assessment {
    observed_with(poll, None, None, Some(LIVE))
}

fn observed_with(
    poll: Poll,
    child_error: Option<&str>,
    webhook_error: Option<(Reason, &str)>,
    live: Option<&str>,
) -> Assessment {
    assess(Observed {
        name: &SourceName::new("ns", "repo"),
        secret: Some("git"),
        poll,
        child_error: child_error.map(|error| (Reason::InvalidSpec, error.to_owned())),
        webhook_error: webhook_error.map(|(reason, why)| (reason, why.to_owned())),
        live,
    })
}

fn fetched() -> Poll {
    Poll::Fetched {
        revision: NEW.to_owned(),
        signer: None,
    }
}

fn failed(reason: Reason) -> Poll {
    Poll::Failed {
        reason,
        message: "it went wrong".to_owned(),
    }
}

/// Status, reason and message of Ready, and the types of the other conditions.
fn shown(assessment: &Assessment) -> (Option<bool>, Reason, &str, Vec<&str>) {
    let (ready, more) = assessment.verdicts.split_first().unwrap();
    assert_eq!(ready.kind, ConditionType::Ready);
    let more = more.iter().map(|verdict| verdict.kind.as_str());
    (ready.status, ready.reason, &ready.message, more.collect())
}

#[test]
fn fetched_is_ready() {
    let found = observed(fetched());
    let message = "fetched main@sha1:bbbb";
    assert_eq!(
        shown(&found),
        (Some(true), Reason::Fetched, message, vec![])
    );
    assert_eq!(found.next_poll, NextPoll::AfterSuccess);
    assert_eq!(found.problem, None);

    let signed = observed(Poll::Fetched {
        revision: NEW.to_owned(),
        signer: Some("signed by ada".to_owned()),
    });
    let message = "fetched main@sha1:bbbb, signed by ada";
    assert_eq!(
        shown(&signed),
        (Some(true), Reason::Fetched, message, vec![])
    );
}

#[test]
fn suspended_is_neither_ready_nor_failed() {
    let found = observed_with(
        Poll::Suspended {
            by_whom: "suspended by alice: incident 7".to_owned(),
            unrestored: None,
        },
        Some("a child"),
        Some((Reason::WebhookInvalid, "no token")),
        Some(LIVE),
    );
    let message = "suspended by alice: incident 7; set spec.suspend to false to fetch again";
    assert_eq!(shown(&found), (None, Reason::Suspended, message, vec![]));
    assert_eq!(
        (found.next_poll, found.problem),
        (NextPoll::WhenAsked, None)
    );

    let problem = Some((Reason::FetchFailed, "no route".to_owned()));
    let found = observed(Poll::Suspended {
        by_whom: "suspended by alice: incident 7".to_owned(),
        unrestored: problem.clone(),
    });
    assert_eq!(shown(&found), (None, Reason::Suspended, message, vec![]));
    assert_eq!(
        (found.next_poll, found.problem),
        (NextPoll::AfterBackoff, problem)
    );
}

#[test]
fn a_failure_is_retried_after_growing_pauses_and_what_is_live_stays() {
    for reason in [
        Reason::FetchFailed,
        Reason::CredentialsInvalid,
        Reason::SignersInvalid,
        Reason::TooLarge,
        Reason::ApiUnavailable,
        Reason::InvalidSpec,
    ] {
        let found = observed(failed(reason));
        let message = "it went wrong; main@sha1:aaaa stays live";
        let expected = (Some(false), reason, message, vec!["Reconciling"]);
        assert_eq!(shown(&found), expected);
        assert_eq!(found.verdicts[1].reason, Reason::Progressing);
        assert_eq!(found.next_poll, NextPoll::AfterBackoff);
        assert_eq!(found.problem, Some((reason, message.to_owned())));
    }
    let first = observed_with(failed(Reason::FetchFailed), None, None, None);
    assert_eq!(shown(&first).2, "it went wrong");
}

#[test]
fn a_failure_that_a_person_can_fix_says_how() {
    let message = |found: Assessment| shown(&found).2.to_owned();
    assert_eq!(
        message(observed(failed(Reason::AuthenticationFailed))),
        "it went wrong; correct Secret ns/git, which is used as soon as it changes; \
         main@sha1:aaaa stays live"
    );
    assert_eq!(
        message(observed(failed(Reason::RefNotFound))),
        "it went wrong; correct spec.ref, or restore it on the server; main@sha1:aaaa stays live"
    );
    let without_secret = assess(Observed {
        name: &SourceName::new("ns", "repo"),
        secret: None,
        poll: failed(Reason::AuthenticationFailed),
        child_error: None,
        webhook_error: None,
        live: None,
    });
    assert_eq!(
        message(without_secret),
        "it went wrong; name a Secret with credentials in spec.secretRef"
    );
}

#[test]
fn a_refused_revision_stalls_and_is_polled_as_often_as_before() {
    let found = observed(failed(Reason::VerificationFailed));
    let (status, reason, _, more) = shown(&found);
    assert_eq!((status, reason), (Some(false), Reason::VerificationFailed));
    assert_eq!(more, ["Stalled"]);
    assert_eq!(found.next_poll, NextPoll::AfterInterval);

    let of_live = observed(Poll::Failed {
        reason: Reason::VerificationFailed,
        message: format!("{LIVE} is signed by nobody"),
    });
    assert_eq!(
        shown(&of_live).2,
        "main@sha1:aaaa is signed by nobody; it was live before and stays live"
    );
}

#[test]
fn a_webhook_error_is_reported_beside_the_fetched_revision() {
    for reason in [Reason::WebhookInvalid, Reason::ApiUnavailable] {
        let found = observed_with(fetched(), None, Some((reason, "no token")), Some(LIVE));
        let message = "fetched main@sha1:bbbb, but no token";
        assert_eq!(shown(&found), (Some(false), reason, message, vec![]));
        assert_eq!(found.next_poll, NextPoll::AfterSuccess);
        assert_eq!(found.problem, None, "Syncs go on");
    }
}

#[test]
fn a_child_that_cannot_be_created_is_reported_first_and_delays_nothing() {
    for (poll, next_poll) in [
        (fetched(), NextPoll::AfterSuccess),
        (failed(Reason::FetchFailed), NextPoll::AfterBackoff),
    ] {
        let found = observed_with(poll, Some("the name is taken"), None, Some(LIVE));
        let message = "the name is taken";
        let expected = (Some(false), Reason::InvalidSpec, message, vec![]);
        assert_eq!(shown(&found), expected);
        assert_eq!(found.next_poll, next_poll);
    }
}

#[test]
fn pauses_follow_the_decision() {
    let second = Duration::from_secs(1);
    let mut backoff = Backoff::new(second, LONGEST_PAUSE);
    let mut pause = |next: NextPoll| next.pause(second * 60, &mut backoff);
    let near = |pause: Duration, seconds: u32| {
        assert!(pause <= second * seconds && pause >= (second * seconds).mul_f64(0.9));
    };
    near(pause(NextPoll::AfterBackoff), 1);
    near(pause(NextPoll::AfterBackoff), 2);
    near(pause(NextPoll::AfterInterval), 60);
    near(pause(NextPoll::AfterBackoff), 4);
    near(pause(NextPoll::AfterSuccess), 60);
    near(pause(NextPoll::AfterBackoff), 1);
    assert_eq!(pause(NextPoll::WhenAsked), LONGEST_PAUSE);
}

#[test]
fn a_failure_is_reported_once_and_a_refusal_once_for_each_revision() {
    let conditions = |poll: Poll| {
        let now = Time(Timestamp::UNIX_EPOCH);
        set_conditions(&[], observed(poll).verdicts, Some(1), &now)
    };
    let failure = |reason, message: &str| {
        conditions(Poll::Failed {
            reason,
            message: message.to_owned(),
        })
    };
    let good = conditions(fetched());
    let down = failure(Reason::FetchFailed, "down");
    let still_down = failure(Reason::FetchFailed, "still down");
    let refused = failure(Reason::VerificationFailed, "one");
    let refused_again = failure(Reason::VerificationFailed, "two");
    assert_eq!(news(&[], &good), None);
    assert_eq!(news(&good, &down), Some(Level::Warning));
    assert_eq!(news(&[], &down), Some(Level::Warning));
    assert_eq!(news(&down, &still_down), None);
    assert_eq!(news(&down, &refused), Some(Level::Warning));
    assert_eq!(news(&refused, &refused_again), Some(Level::Warning));
    assert_eq!(news(&refused, &refused.clone()), None);
    assert_eq!(news(&refused, &good), Some(Level::Normal), "its end");
    assert_eq!(news(&good, &good.clone()), None);
}

#[test]
fn a_child_whose_deletion_is_held_needs_a_person() {
    let held = assess(Observed {
        name: &SourceName::new("ns", "repo"),
        secret: None,
        poll: fetched(),
        child_error: Some((Reason::PruneHeld, "it stays".to_owned())),
        webhook_error: None,
        live: None,
    });
    let ready = (Some(false), Reason::PruneHeld, "it stays", vec!["Stalled"]);
    assert_eq!(shown(&held), ready);
    assert_eq!(held.next_poll, NextPoll::AfterSuccess);
}
