//! `spec.kustomize.remoteBases`: bases of kustomizations that are in other repositories.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::json;
use towline::api::Sync;
use towline_testing::control_plane::Options;
use towline_testing::git::{Fault, GitServer};
use towline_testing::renderers;
use towline_testing::repo::Repo;

use crate::world::verdict::assert_says;
use crate::world::{Case, World, condition, world};

fn map(value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: shop}}\ndata: {{value: {value}}}\n")
}

/// A repository with a base at `deploy/base`, which `deploy` uses, and its first commit.
fn library(git: &GitServer, name: &str) -> (Repo, String) {
    let repo = git.repo(name);
    let commit = repo.commit(
        &[
            ("deploy/kustomization.yaml", "resources: [base]\n"),
            ("deploy/base/kustomization.yaml", "resources: [map.yaml]\n"),
            ("deploy/base/map.yaml", &map("one")),
        ]
        .map(|(path, text)| (path, Some(text))),
        "one",
    );
    repo.tag("v1", &commit);
    (repo, commit)
}

fn overlay(reference: &str) -> String {
    format!("resources: ['{reference}']\nnameSuffix: -prod\n")
}

const OVERLAY: &str = "apps/prod/kustomization.yaml";

fn pinned() -> serde_json::Value {
    json!({"kustomize": {"remoteBases": "Pinned"}})
}

async fn pinned_sync(case: &Case<'_>) {
    let spec = json!({"path": "apps/prod", "targetNamespace": case.namespace,
        "kustomize": {"remoteBases": "Pinned"}});
    case.sync("all", spec).await;
}

#[tokio::test]
async fn a_pinned_base_is_fetched_once_it_is_allowed_and_stays_what_it_was() {
    let case = world().await.case("remote-base").await;
    let git = &case.world.git;
    let (inner, inner_commit) = library(git, &format!("{}-inner", case.namespace));
    let (base, _) = library(git, &format!("{}-base", case.namespace));
    // A base may name another one, and what it names is in its own repository.
    let nested = format!(
        "resources: [base]\ncomponents: ['{}//part?ref={inner_commit}']\n",
        inner.url()
    );
    let part = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches:\n- target: {kind: ConfigMap}\n  \
                patch: '[{\"op\": \"add\", \"path\": \"/data/part\", \"value\": \"patched\"}]'\n";
    let with_part = inner.commit(&[("part/kustomization.yaml", Some(part))], "a part");
    let nested = nested.replace(&inner_commit, &with_part);
    let one = base.commit(&[("deploy/kustomization.yaml", Some(&nested))], "nested");
    base.tag("v1", &one);
    let text = overlay(&format!("{}//deploy?ref=v1", base.url()));
    let first = case.repo.commit(&[(OVERLAY, Some(&*text))], "first");
    case.repository(json!({})).await;
    let spec = json!({"path": "apps/prod", "targetNamespace": case.namespace});
    case.sync("all", spec).await;
    let message = case.ready_becomes("all", "False", "RenderFailed").await;
    assert_says(
        &message,
        &[
            "apps/prod/kustomization.yaml: resources: ",
            base.url(),
            "spec.kustomize.remoteBases",
        ],
    );

    case.patch::<Sync>("all", json!({"spec": pinned()})).await;
    case.synced("all", &first).await;
    case.has("shop-prod", "value", Some("one")).await;
    case.has("shop-prod", "part", Some("patched")).await;

    // A tag that moves changes nothing, and what is known is not asked for.
    let two = base.commit(&[("deploy/base/map.yaml", Some(map("two")))], "two");
    base.delete_tag("v1");
    base.tag("v1", &two);
    let repo = format!("{}-base", case.namespace);
    let asked = || git.requests_of(&repo).len();
    let before = asked();
    let second = case
        .push(
            &[(OVERLAY, Some(&*format!("{text}namePrefix: x-\n")))],
            "a prefix",
        )
        .await;
    case.synced("all", &second).await;
    case.has("x-shop-prod", "value", Some("one")).await;
    assert_eq!(asked(), before);

    // Another pin is another base.
    let text = overlay(&format!("{}//deploy?ref={two}", base.url()));
    let third = case.push(&[(OVERLAY, Some(&*text))], "a commit").await;
    case.synced("all", &third).await;
    case.has("shop-prod", "value", Some("two")).await;
    case.has("x-shop-prod", "value", None).await;
}

#[tokio::test]
async fn what_is_not_pinned_is_refused_by_name() {
    let case = world().await.case("unpinned").await;
    let (base, commit) = library(&case.world.git, &format!("{}-base", case.namespace));
    let at = |query: &str| overlay(&format!("{}//deploy{query}", base.url()));
    let good = at("?ref=v1");
    let first = case.repo.commit(&[(OVERLAY, Some(&*good))], "pinned");
    case.repository(json!({})).await;
    pinned_sync(&case).await;
    case.synced("all", &first).await;
    let short = &commit[..10];
    for (text, reason, says) in [
        (at(""), "RenderFailed", "not pinned"),
        (at("?ref=refs/heads/main"), "RenderFailed", "branch main"),
        (
            at("?ref=main"),
            "RefNotFound",
            "there is no tag of that name",
        ),
        (at(&format!("?ref={short}")), "RefNotFound", "the whole id"),
        (
            overlay("https://git.invalid/a/b/install.yaml"),
            "RenderFailed",
            "a file on a web server",
        ),
        (
            at("?ref=v1").replace("deploy", "none"),
            "RenderFailed",
            "none",
        ),
    ] {
        let commit = case.push(&[(OVERLAY, Some(&*text))], says).await;
        case.until("all", says, |sync| {
            let (status, is, message) = condition(sync, "Ready");
            let refused = sync.status.clone().unwrap_or_default();
            let attempted = refused.last_attempted_revision.unwrap_or_default();
            status == "False"
                && is == reason
                && attempted.ends_with(&commit)
                && [says, "stays live"]
                    .iter()
                    .all(|part| message.contains(part))
                && (message.contains(OVERLAY) || message.contains("remote base http 127.0.0.1:"))
        })
        .await;
        case.has("shop-prod", "value", Some("one")).await;
    }
    let last = case.push(&[(OVERLAY, Some(&*good))], "pinned again").await;
    case.synced("all", &last).await;
}

#[tokio::test]
async fn credentials_go_to_the_sources_own_server_alone() {
    let case = world().await.case("private-base").await;
    let (user, password) = ("ann", "hunter2-marker");
    let (own, other) = (GitServer::start(), GitServer::start());
    own.allow_only(user, password);
    // It would take the same credentials.
    other.allow_only(user, password);
    let (base, _) = library(&own, "base");
    let (elsewhere, _) = library(&other, "base");
    let fleet = own.repo("fleet");
    let text = overlay(&format!("{}//deploy?ref=v1", elsewhere.url()));
    fleet.commit(&[(OVERLAY, Some(&*text))], "elsewhere");
    let secret = json!({"metadata": {"name": "git"}, "stringData": {"username": user, "password": password}});
    case.make::<Secret>(secret).await;
    case.repository(json!({"url": fleet.url(), "secretRef": {"name": "git"}}))
        .await;
    pinned_sync(&case).await;
    let message = case
        .ready_becomes("all", "False", "AuthenticationFailed")
        .await;
    assert_says(
        &message,
        &[
            OVERLAY,
            elsewhere.url(),
            "another server",
            "without credentials",
        ],
    );
    assert!(!message.contains(password), "{message}");
    let text = overlay(&format!("{}//deploy?ref=v1", base.url()));
    let commit = fleet.commit(&[(OVERLAY, Some(&*text))], "own");
    case.announce().await;
    case.synced("all", &commit).await;
    case.has("shop-prod", "value", Some("one")).await;
}

#[tokio::test]
async fn a_base_whose_server_hangs_holds_up_nothing_else() {
    let case = world().await.case("base-hangs").await;
    let server = GitServer::start();
    let (base, _) = library(&server, "base");
    let plain = "resources: [map.yaml]\nnameSuffix: -prod\n";
    let own = map("own");
    let first = case.repo.commit(
        &[(OVERLAY, Some(plain)), ("apps/prod/map.yaml", Some(&*own))],
        "plain",
    );
    case.repository(json!({})).await;
    pinned_sync(&case).await;
    case.synced("all", &first).await;

    server.fail(Fault::Hang);
    let text = overlay(&format!("{}//deploy?ref=v1", base.url()));
    case.push(&[(OVERLAY, Some(&*text))], "a base").await;
    let message = case.ready_becomes("all", "Unknown", "Progressing").await;
    assert_says(
        &message,
        &["remote bases are fetched first", base.url(), "stays live"],
    );
    // What is live is corrected meanwhile, and a newer commit does not wait.
    case.patch::<ConfigMap>("shop-prod", json!({"data": {"value": "person"}}))
        .await;
    case.has("shop-prod", "value", Some("own")).await;
    let third = case
        .push(
            &[(OVERLAY, Some(&*format!("{plain}namePrefix: x-\n")))],
            "plain",
        )
        .await;
    case.synced("all", &third).await;
    case.has("x-shop-prod", "value", Some("own")).await;

    // A failure is tried again by itself.
    server.heal();
    server.fail(Fault::Status(503));
    let last = case.push(&[(OVERLAY, Some(&*text))], "a base").await;
    let message = case.ready_becomes("all", "False", "FetchFailed").await;
    assert_says(&message, &[OVERLAY, base.url(), "503", "stays live"]);
    server.heal();
    case.synced("all", &last).await;
    case.has("shop-prod", "value", Some("one")).await;
}

#[tokio::test]
async fn a_tag_that_moves_changes_nothing_after_a_restart() {
    let renderers = tokio::task::spawn_blocking(renderers::folder)
        .await
        .unwrap();
    let renderers = format!("--renderers-dir={}", renderers.display());
    let mut world = World::own(Options::default(), &[&renderers]).await;
    let case = world.case("moved-tag").await;
    let (base, one) = library(&world.git, "moved-tag-base");
    let text = overlay(&format!("{}//deploy?ref=v1", base.url()));
    let first = case.repo.commit(&[(OVERLAY, Some(&*text))], "first");
    case.repository(json!({})).await;
    pinned_sync(&case).await;
    let sync = case.synced("all", &first).await;
    let told = sync.status.unwrap().remote_bases;
    assert_eq!((told.len(), &told[0].commit), (1, &one));
    assert_eq!((&*told[0].url, &*told[0].reference), (base.url(), "v1"));
    let two = base.commit(&[("deploy/base/map.yaml", Some(map("two")))], "two");
    base.delete_tag("v1");
    base.tag("v1", &two);
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    let second = case
        .push(
            &[(OVERLAY, Some(&*format!("{text}namePrefix: x-\n")))],
            "a prefix",
        )
        .await;
    let sync = case.synced("all", &second).await;
    case.has("x-shop-prod", "value", Some("one")).await;
    assert_eq!(sync.status.unwrap().remote_bases, told);
    // Another name for it is another base.
    let text = overlay(&format!("{}//deploy?ref={two}", base.url()));
    let third = case.push(&[(OVERLAY, Some(&*text))], "the commit").await;
    let sync = case.synced("all", &third).await;
    case.has("shop-prod", "value", Some("two")).await;
    assert_eq!(sync.status.unwrap().remote_bases[0].commit, two);
}
