use super::*;
use crate::plan::testing;

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        kind: GroupKind::new("", "ConfigMap"),
        namespace: Some("prod".into()),
        name: name.into(),
    }
}

fn seen(owner: &SyncName, version: u64, entry: u64) -> Observed {
    Observed {
        owner: owner.clone(),
        version,
        entry: Some(entry),
        proof: Some(testing::proof(owner, &key("x"), "u")),
        ..testing::observed("", "u")
    }
}

fn names() -> (SyncName, SyncName) {
    (SyncName::new("ns", "a"), SyncName::new("ns", "b"))
}

#[test]
fn a_lagging_watch_changes_nothing() {
    let (a, _) = names();
    let inventory = Inventory::new(testing::key());
    let mailbox = inventory.join(&a, testing::UID);
    inventory.applied(&key("x"), seen(&a, 10, 1));
    inventory.watched(&key("x"), 9, Some(seen(&a, 9, 0)));
    inventory.watched(&key("x"), 9, None);
    assert_eq!(inventory.get(&key("x")).unwrap().version, 10);
    assert!(mailbox.take().is_empty());
    inventory.watched(&key("x"), 11, Some(seen(&a, 11, 2)));
    assert_eq!(mailbox.take().len(), 1);
}

#[test]
fn an_older_version_counts_after_data_were_restored() {
    let (a, _) = names();
    let inventory = Inventory::new(testing::key());
    let mailbox = inventory.join(&a, testing::UID);
    inventory.applied(&key("x"), seen(&a, 10, 1));
    inventory.accept_older(&key("x"));
    inventory.watched(&key("x"), 7, Some(seen(&a, 7, 0)));
    assert_eq!(inventory.get(&key("x")).unwrap().version, 7);
    assert_eq!(mailbox.take().len(), 1);
}

#[test]
fn a_deletion_is_not_undone_by_an_older_answer() {
    let (a, _) = names();
    let inventory = Inventory::new(testing::key());
    inventory.join(&a, testing::UID);
    inventory.claim(&a, [key("x")].iter());
    inventory.watched(&key("x"), 11, None);
    assert_eq!(inventory.applied(&key("x"), seen(&a, 10, 1)), None);
    assert!(inventory.applied(&key("x"), seen(&a, 12, 1)).is_some());
}

#[test]
fn a_sync_that_is_gone_with_its_objects_leaves_no_memory() {
    let inventory = Inventory::new(testing::key());
    for number in 0..1_000_u64 {
        let (sync, other) = (SyncName::new("ns", &number.to_string()), names().0);
        let (kept, deleted) = (key(&format!("kept-{number}")), key("deleted"));
        inventory.join(&sync, testing::UID);
        inventory.claim(&sync, [kept.clone(), deleted.clone()].iter());
        inventory.suspect(&sync, [kept.clone()].into());
        inventory.applied(&kept, seen(&sync, 1, 1));
        inventory.applied(&deleted, seen(&sync, 1, 1));
        inventory.watched(&deleted, 2, None);
        inventory.leave(&sync);
        // A driver that ends late.
        inventory.suspect(&sync, [kept.clone()].into());
        inventory.claim(&sync, std::iter::empty());
        assert_eq!(inventory.owned(&sync).len(), 1, "it may still have objects");
        // The last object is deleted, or becomes another Sync's.
        match number % 2 {
            0 => inventory.watched(&kept, 2, None),
            _ => {
                inventory.watched(&kept, 2, Some(seen(&other, 2, 1)));
                inventory.watched(&kept, 3, None);
            }
        }
    }
    let state = lock(&inventory.state);
    assert_eq!(state.syncs.len(), 0);
    assert_eq!(state.objects.len() + state.claims.len(), 0);
    assert_eq!(state.wishes.len() + state.deleted.len(), 0);
}

#[test]
fn an_object_belongs_to_one_sync_until_it_is_released() {
    let (a, b) = names();
    let inventory = Inventory::new(testing::key());
    inventory.join(&a, testing::UID);
    inventory.join(&b, testing::UID);
    assert!(inventory.claim(&a, [key("x"), key("y")].iter()).is_empty());
    assert_eq!(
        inventory.claim(&b, [key("x")].iter()),
        [(key("x"), a.clone())]
    );
    inventory.applied(&key("x"), seen(&a, 1, 1));
    let mut released = inventory.released();
    released.mark_unchanged();
    inventory.claim(&a, [key("y")].iter());
    assert!(released.has_changed().unwrap());
    assert!(
        inventory.owned(&a).is_empty(),
        "b wishes for it: not a's to prune"
    );
    assert!(inventory.claim(&b, [key("x")].iter()).is_empty());
    assert!(
        inventory.owned(&a).is_empty() && !inventory.is_owned(&key("x"), &a),
        "b has it, and has not applied it yet: not a's to prune"
    );
}

/// What a Sync will want is not pruned, also after it has claimed what it has, until it wants it no longer.
#[test]
fn what_a_sync_will_want_stays_until_it_says_otherwise() {
    let (a, b) = names();
    let inventory = Inventory::new(testing::key());
    let mailbox = inventory.join(&a, testing::UID);
    inventory.join(&b, testing::UID);
    inventory.claim(&a, [].iter());
    inventory.claim(&b, [].iter());
    inventory.applied(&key("x"), seen(&a, 1, 1));
    assert_eq!(inventory.owned(&a).len(), 1);
    inventory.reserve(&b, &HashSet::from([key("x")]));
    inventory.claim(&b, [key("y")].iter());
    assert!(inventory.owned(&a).is_empty() && !inventory.is_owned(&key("x"), &a));
    assert_eq!(inventory.reserved(&a), [(key("x"), b.clone())]);
    // What it has claimed and does not want any longer is free.
    inventory.release(&b, &HashSet::new());
    assert!(inventory.claim(&a, [key("y")].iter()).is_empty());
    mailbox.take();
    inventory.reserve(&b, &HashSet::new());
    assert_eq!(mailbox.take(), HashSet::from([key("x")]));
    assert_eq!(inventory.owned(&a).len(), 1);
    assert_eq!(inventory.reserved(&a), []);
    inventory.reserve(&b, &HashSet::from([key("x")]));
    inventory.leave(&b);
    assert_eq!(mailbox.take(), HashSet::from([key("x")]));
    let state = lock(&inventory.state);
    assert!(state.reserved.is_empty() && state.reserves.is_empty());
}

#[test]
fn after_a_restart_the_object_stays_with_the_owner_that_it_names() {
    let (a, b) = names();
    let inventory = Inventory::new(testing::key());
    inventory.join(&a, testing::UID);
    inventory.join(&b, testing::UID);
    inventory.watched(&key("x"), 1, Some(seen(&a, 1, 1)));
    assert_eq!(
        inventory.claim(&b, [key("x")].iter()).len(),
        1,
        "a has not planned yet"
    );
    inventory.claim(&a, [].iter());
    assert!(inventory.claim(&b, [key("x")].iter()).is_empty());
    let gone = SyncName::new("ns", "gone");
    inventory.watched(&key("z"), 1, Some(seen(&gone, 1, 1)));
    assert!(inventory.claim(&b, [key("z")].iter()).is_empty());
}

#[test]
fn after_a_restart_a_sync_that_applies_nothing_keeps_what_it_wants_alone() {
    let (a, b) = names();
    let inventory = Inventory::new(testing::key());
    inventory.join(&a, testing::UID);
    inventory.join(&b, testing::UID);
    for name in ["x", "y"] {
        let proof = Some(testing::proof(&a, &key(name), "u"));
        let known = Observed {
            proof,
            ..seen(&a, 1, 1)
        };
        inventory.watched(&key(name), 1, Some(known));
    }
    let both = [key("x"), key("y"), key("z")];
    let refused = inventory.claim(&b, both.iter());
    assert_eq!(refused.len(), 2, "a has not planned yet");
    let mut released = inventory.released();
    released.borrow_and_update();
    let wanted = HashSet::from([key("x"), key("z")]);
    inventory.keep_at_first(&a, &wanted);
    assert!(released.has_changed().unwrap());
    let refused = inventory.claim(&b, both.iter());
    assert_eq!(refused, [(key("x"), a.clone())], "b has claimed z before");
    // It is so at first only.
    inventory.keep_at_first(&a, &HashSet::new());
    assert_eq!(inventory.claim(&b, both.iter()), [(key("x"), a)]);
}

#[test]
fn what_a_sync_that_is_gone_made_is_no_adopted_object_of_the_next_one() {
    let (a, b) = names();
    let seal_after = |uid: &str| {
        let inventory = Inventory::new(testing::key());
        inventory.join(&a, uid);
        inventory.applied(&key("x"), seen(&a, 1, 1));
        inventory.leave(&a);
        inventory.join(&b, testing::UID);
        assert!(inventory.claim(&b, [key("x")].iter()).is_empty());
        assert!(!inventory.is_proven(&a, &key("x"), &seen(&a, 1, 1)));
        inventory.seal(&b, &key("x")).text()
    };
    assert!(seal_after(testing::UID).starts_with("uid."));
    // Somebody else has written its marks.
    assert!(seal_after("other").starts_with("adopted."));
}

#[test]
fn a_list_that_does_not_name_an_object_tells_its_owner() {
    let (a, _) = names();
    let inventory = Inventory::new(testing::key());
    let mailbox = inventory.join(&a, testing::UID);
    inventory.watched(&key("x"), 1, Some(seen(&a, 1, 1)));
    inventory.watched(&key("y"), 1, Some(seen(&a, 1, 1)));
    mailbox.take();
    let before = inventory.known(&key("x").kind);
    inventory.applied(&key("y"), seen(&a, 2, 2));
    inventory.unconfirmed(before);
    assert_eq!(mailbox.take(), HashSet::from([key("x")]));
    assert_eq!(inventory.get(&key("x")), None);
    assert!(
        inventory.get(&key("y")).is_some(),
        "written after the list began"
    );
}
