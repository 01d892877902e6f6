use super::shown::brake;
use super::*;
use crate::api::Reason;
use crate::manifest::ObjectKey;
use crate::plan::CONTAINS;
use crate::sync::memory::Trouble;
use crate::sync::target::Taken;

const INTERVAL: Duration = Duration::from_secs(600);

fn sync() -> Sync {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Sync", "metadata": {"name": "all"},
        "spec": {"sourceRef": {"name": "repo"}},
    }))
    .unwrap()
}

fn state() -> State {
    State::new(&sync(), false, INTERVAL, Instant::now())
}

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        kind: GroupKind::new("", "ConfigMap"),
        namespace: Some("prod".into()),
        name: name.into(),
    }
}

fn trouble(reason: Reason) -> Trouble {
    Trouble {
        reason,
        message: "refused".to_owned(),
    }
}

#[test]
fn a_persons_request_decides_how_much_is_compared() {
    let now = Instant::now();
    let (asked, none) = ("now".to_owned(), Due::default());
    let retry = Due {
        retry: true,
        ..none
    };
    let verify = Due {
        verify: true,
        ..none
    };
    for (generation, requested, due, look) in [
        (None, None, none, Look::Changed),
        (Some(2), None, none, Look::Everything),
        (None, None, retry, Look::Everything),
        (None, None, verify, Look::Verify),
        (None, Some(&asked), none, Look::Verify),
    ] {
        let mut state = state();
        state.look = Look::Changed;
        let intent = SyncIntent {
            generation,
            requested_at: requested.cloned(),
            ..SyncIntent::from(&sync())
        };
        state.note_requests(&intent, due, now);
        assert_eq!(state.look, look, "{generation:?} {requested:?} {due:?}");
        state.look = Look::Changed;
        state.note_requests(&intent, none, now);
        assert_eq!(state.look, Look::Changed, "nothing is acted on twice");
    }
}

#[test]
fn a_request_to_the_source_ends_pauses_and_looks_at_nothing_else() {
    let asked = |at: &str| Some(Some(at.to_owned()));
    let mut state = state();
    state.look = Look::Changed;
    // What was asked before this driver started was acted on by its start.
    for known in [None, asked("1"), asked("1"), asked("2")] {
        state.note_source_request(known);
        assert_eq!(state.look, Look::Changed, "there is no pause to end");
    }
    state
        .memory
        .troubles
        .insert(key("a"), trouble(Reason::ApplyFailed));
    for _ in 0..10 {
        state.retry_later(Instant::now());
    }
    state.note_source_request(asked("2"));
    assert_eq!(state.look, Look::Changed, "it was acted on");
    state.note_source_request(Some(None));
    assert_eq!(state.look, Look::Changed, "nobody asks");
    state.note_source_request(asked("3"));
    assert_eq!(state.look, Look::Everything);
    assert_eq!(state.timers.retry, None);
    state.retry_later(Instant::now());
    assert!(state.timers.next() <= Instant::now() + Duration::from_secs(1));
}

#[test]
fn pruning_is_held_back_by_what_cannot_be_rendered_or_applied() {
    let blocked = |reason| Blocked {
        reason,
        message: String::new(),
        stalled: true,
    };
    let (mut memory, mut objects) = (Memory::default(), Objects::default());
    for (reason, held) in [
        (Reason::EmptyRender, true),
        (Reason::PathNotFound, true),
        (Reason::InvalidManifest, true),
        (Reason::TooLarge, true),
        (Reason::DependencyNotReady, false),
    ] {
        let found = brake(Some(&blocked(reason)), &memory, &objects);
        assert_eq!(found, held.then_some(reason));
    }
    memory.unlisted.insert(GroupKind::new("", "ConfigMap"));
    assert_eq!(brake(None, &memory, &objects), None, "nothing has left Git");
    memory.surplus = 1;
    let held = |memory: &Memory, objects: &Objects| brake(None, memory, objects).unwrap();
    assert_eq!(held(&memory, &objects), Reason::ApiUnavailable);
    let kind = GroupKind::new("example.com", "Widget");
    objects.waiting.insert(kind, vec![0]);
    assert_eq!(held(&memory, &objects), Reason::KindNotServed);
    objects
        .misplaced
        .push((0, crate::desired::Misplaced::NoNamespace));
    assert_eq!(held(&memory, &objects), Reason::InvalidManifest);
    let other = crate::plan::SyncName::new("ns", "other");
    objects.taken.push((key("a"), 0, Taken::By(other)));
    assert_eq!(held(&memory, &objects), Reason::OwnershipConflict);
    memory
        .troubles
        .insert(key("a"), trouble(Reason::ApplyFailed));
    assert_eq!(held(&memory, &objects), Reason::ApplyFailed);
}

#[test]
fn failed_objects_are_tried_again_and_applied_ones_are_not() {
    let mut state = state();
    assert!(!state.is_applied(), "nothing was looked at yet");
    state.look = Look::Changed;
    assert!(state.is_applied() && !state.needs_retry());
    state
        .memory
        .troubles
        .insert(key("a"), trouble(Reason::ApplyFailed));
    assert!(!state.is_applied() && state.needs_retry());
    state.retry_later(Instant::now());
    assert!(state.timers.next() <= Instant::now() + Duration::from_secs(1));
}

#[test]
fn kinds_come_from_the_annotation_and_from_the_status() {
    let mut sync = sync();
    let named = |sync: &Sync| {
        let parent = Parent::of(sync);
        let kinds = parent.contained.iter().map(ToString::to_string);
        kinds.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(named(&sync), "");
    let annotations = [(CONTAINS.to_owned(), "ConfigMap,Secret".to_owned())];
    sync.metadata.annotations = Some(annotations.into());
    assert_eq!(named(&sync), "ConfigMap Secret");
    sync.status.get_or_insert_default().kinds =
        ["Secret", "Deployment.apps"].map(str::to_owned).to_vec();
    assert_eq!(named(&sync), "ConfigMap Secret Deployment.apps");
    sync.metadata.annotations = None;
    assert_eq!(named(&sync), "Secret Deployment.apps");
}

#[test]
fn a_timer_that_ran_out_is_due_once() {
    let now = Instant::now();
    let mut timers = Timers::new(now + Duration::from_secs(60));
    timers.diff = Some(now);
    timers.correct = Some(now + Duration::from_secs(5));
    assert!(timers.take_due(now, Duration::from_secs(60)).diff);
    assert_eq!(timers.next(), now + Duration::from_secs(5));
    let later = now + Duration::from_secs(60);
    let due = timers.take_due(later, Duration::from_secs(60));
    assert!(due.verify && !due.diff && timers.correct.is_none());
    assert!(timers.verify > later);
}
