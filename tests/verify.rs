//! Signatures: a revision is applied only if an allowed signer signed it. Until then, the applied objects
//! stay.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::PostParams;
use serde_json::{Value, json};
use towline::api::{GitRepository, Sync};

use crate::world::verdict::{assert_says, repository_ready_becomes};
use crate::world::{Case, PATIENCE, World, applied, config_map, world};
use towline_testing::control_plane::Options;
use towline_testing::signing::Person;
use towline_testing::wait::eventually;

/// Writes the Secret `signers`.
async fn signers(case: &Case<'_>, data: &Value) {
    let secret = json!({"metadata": {"name": "signers"}, "stringData": data});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    case.api()
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
}

/// Waits until the repository refuses a revision. Returns the message.
async fn refused(case: &Case<'_>, revision: &str) -> String {
    let what = format!("{revision} is refused");
    eventually(&what, PATIENCE, async || {
        let message = repository_ready_becomes(case, "False", "VerificationFailed").await;
        match message.contains(revision) {
            true => Ok(message),
            false => Err(message),
        }
    })
    .await
}

/// Waits until the repository has fetched a revision. Returns the message of `Ready`.
async fn fetched(case: &Case<'_>, revision: &str) -> String {
    let what = format!("{revision} is fetched");
    eventually(&what, PATIENCE, async || {
        let message = repository_ready_becomes(case, "True", "Fetched").await;
        match message.contains(revision) {
            true => Ok(message),
            false => Err(message),
        }
    })
    .await
}

#[tokio::test]
async fn only_signed_commits_go_live_and_the_last_of_them_stays() {
    let case = world().await.case("verify").await;
    let (ann, bob) = (
        Person::with_ssh("ann@example.com"),
        Person::with_ssh("bob@example.com"),
    );
    let secret = format!("{}/signers", case.namespace);
    let map = |value: &str| config_map("a", &case.namespace, value);
    let first = ann.commit(&case.repo, &[("a.yaml", Some(&map("one")))], "first");
    let spec = json!({"verify": {"secretRef": {"name": "signers"}}, "sync": {"prune": true}});
    case.repository(spec).await;

    let missing = repository_ready_becomes(&case, "False", "SignersInvalid").await;
    let exists = format!("spec.verify.secretRef: Secret {secret} does not exist");
    assert_says(&missing, &[&exists]);
    signers(&case, &json!({"allowed_signers": "ann@example.com"})).await;
    eventually("the line is named", PATIENCE, async || {
        let message = repository_ready_becomes(&case, "False", "SignersInvalid").await;
        let line = format!("Secret {secret}: key allowed_signers, line 1: it has no public key");
        message.contains(&line).then_some(()).ok_or(message)
    })
    .await;
    case.patch::<Secret>(
        "signers",
        json!({"stringData": {"allowed_signers": ann.public}}),
    )
    .await;
    case.synced("repo", &first).await;
    assert_eq!(
        fetched(&case, &first).await,
        format!(
            "fetched main@sha1:{first}, signed by ann@example.com (SSH key {})",
            ann.fingerprint
        )
    );

    let second = case
        .push(&[("a.yaml", Some(&map("two")))], "unsigned")
        .await;
    assert_eq!(
        refused(&case, &second).await,
        format!("main@sha1:{second} is unsigned; main@sha1:{first} stays live")
    );
    case.wait_for_event("VerificationFailed", &[&second]).await;

    let third = bob.commit(&case.repo, &[("a.yaml", Some(&map("three")))], "by another");
    case.announce().await;
    let stranger = format!(
        "main@sha1:{third} is signed by SSH key {}, which is not in Secret {secret} (key \
         allowed_signers); main@sha1:{first} stays live",
        bob.fingerprint
    );
    assert_eq!(refused(&case, &third).await, stranger);
    case.wait_for_event("VerificationFailed", &[&third]).await;
    // Drift of the applied objects is still corrected.
    case.patch::<ConfigMap>("a", json!({"data": {"value": "person"}}))
        .await;
    case.has("a", "value", Some("one")).await;
    let sync = case.api::<Sync>().get("repo").await.unwrap();
    assert!(applied(&sync).ends_with(&first), "{sync:?}");

    // The Secret is watched, so no request is needed.
    case.patch::<Secret>(
        "signers",
        json!({"stringData": {"allowed_signers": bob.public}}),
    )
    .await;
    case.synced("repo", &third).await;
    case.has("a", "value", Some("three")).await;
    fetched(&case, &third).await;

    // A signer is removed. Applied objects stay, and the condition says so.
    case.patch::<Secret>(
        "signers",
        json!({"stringData": {"allowed_signers": ann.public}}),
    )
    .await;
    let revoked = refused(&case, &third).await;
    assert_says(
        &revoked,
        &[&bob.fingerprint, "it was live before and stays live"],
    );
    case.has("a", "value", Some("three")).await;
    let fourth = ann.commit(&case.repo, &[("a.yaml", Some(&map("four")))], "fourth");
    case.announce().await;
    case.synced("repo", &fourth).await;
    let told = case.events("ChangeCommitted").await;
    assert!(!told.iter().any(|note| note.contains(&second)), "{told:?}");
}

#[tokio::test]
async fn a_restart_applies_no_unsigned_revision() {
    let mut world = World::own(Options::default(), &[]).await;
    let ann = Person::with_ssh("ann@example.com");
    let case = world.case("restart").await;
    let map = |value: &str| config_map("a", &case.namespace, value);
    signers(&case, &json!({"allowed_signers": ann.public})).await;
    let first = ann.commit(&case.repo, &[("a.yaml", Some(&map("one")))], "first");
    case.repository(json!({"verify": {"secretRef": {"name": "signers"}}, "sync": {}}))
        .await;
    case.synced("repo", &first).await;
    // The repository's status may come after the Sync's. The restarted operator reads the applied
    // revision from it.
    repository_ready_becomes(&case, "True", "Fetched").await;

    let two = map("two");
    let parts = case.into_parts();
    world.operator.kill();
    let second = parts.1.commit(&[("a.yaml", Some(&two))], "unsigned");
    world.operator.restart().await;
    let case = world.resume(parts).await;
    let message = refused(&case, &second).await;
    assert_says(&message, &[&format!("main@sha1:{first} stays live")]);
    case.has("a", "value", Some("one")).await;
    let repository = case.api::<GitRepository>().get("repo").await.unwrap();
    let revision = repository.status.unwrap().revision.unwrap();
    assert_eq!(revision, format!("main@sha1:{first}"));

    // The same if the Secret with the signers is missing.
    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    case.delete::<Secret>("signers").await;
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    repository_ready_becomes(&case, "False", "SignersInvalid").await;
    case.has("a", "value", Some("one")).await;
    let map = config_map("a", &case.namespace, "three");
    let third = ann.commit(&case.repo, &[("a.yaml", Some(&map))], "third");
    signers(&case, &json!({"allowed_signers": ann.public})).await;
    case.synced("repo", &third).await;
    case.has("a", "value", Some("three")).await;
}

#[tokio::test]
async fn signed_tags_are_applied_only_under_their_own_name() {
    let case = world().await.case("verify-tags").await;
    let ann = Person::with_openpgp("Ann <ann@example.com>");
    signers(&case, &json!({"ann.asc": ann.public})).await;
    let map = |value: &str| config_map("a", &case.namespace, value);
    let commit = |value: &str| ann.commit(&case.repo, &[("a.yaml", Some(&map(value)))], value);
    let first = commit("one");
    ann.tag(&case.repo, "v1.0.0", &first);
    let verify = json!({"mode": "CommitAndTag", "secretRef": {"name": "signers"}});
    case.repository(json!({"ref": {"semver": ">=1"}, "verify": verify, "sync": {}}))
        .await;
    case.synced("repo", &first).await;
    let by = format!("Ann <ann@example.com> (OpenPGP key {})", ann.fingerprint);
    assert_eq!(
        fetched(&case, &first).await,
        format!("fetched v1.0.0@sha1:{first}, signed by {by}, its tag by {by}")
    );
    let live = format!("v1.0.0@sha1:{first} stays live");

    let second = commit("two");
    case.repo.tag("v1.1.0", &second);
    case.announce().await;
    assert_eq!(
        refused(&case, &second).await,
        format!(
            "the tag of v1.1.0@sha1:{second} is a lightweight tag, which cannot be signed; {live}"
        )
    );
    // The signed tag of an older version, renamed to a newer version.
    case.repo.delete_tag("v1.1.0");
    case.repo.update_ref("refs/tags/v1.2.0", "refs/tags/v1.0.0");
    case.announce().await;
    assert_eq!(
        refused(&case, "v1.2.0").await,
        format!("the tag of v1.2.0@sha1:{first} was signed as tag v1.0.0; {live}")
    );
    // The commit was fetched before. Only the tag is new.
    ann.tag(&case.repo, "v1.2.0", &first);
    case.announce().await;
    fetched(&case, &format!("v1.2.0@sha1:{first}")).await;

    // A signed tag of an unsigned commit.
    let third = case
        .repo
        .commit(&[("a.yaml", Some(map("three")))], "unsigned");
    ann.tag(&case.repo, "v1.3.0", &third);
    case.announce().await;
    let message = refused(&case, &third).await;
    assert_says(&message, &[&format!("v1.3.0@sha1:{third} is unsigned")]);
    case.patch::<GitRepository>("repo", json!({"spec": {"verify": {"mode": "Tag"}}}))
        .await;
    case.synced("repo", &third).await;
    assert_says(&fetched(&case, &third).await, &["its tag signed by Ann"]);
}
