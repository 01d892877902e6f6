//! What charts look up in the cluster: `spec.helm.lookup`.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use serde_json::{Value, json};
use towline::api::Sync;
use towline_testing::control_plane::Options;
use towline_testing::renderers;
use towline_testing::wait::eventually;

use crate::tenants::{ALL, grant};
use crate::world::verdict::{assert_not_disclosed, assert_says};
use crate::world::{Case, PATIENCE, World, world};

const CHART: &str = "apiVersion: v2\nname: shop\nversion: 1.2.3\n";

/// A map whose value is an expression of a template.
fn shows(name: &str, expression: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: {{{{ {expression} | quote }}}}}}\n"
    )
}

/// Makes a Sync of a chart with one template, which may look up these kinds.
async fn follow(case: &Case<'_>, template: &str, spec: Value, kinds: &[&str]) -> String {
    let files = [
        ("Chart.yaml", Some(CHART)),
        ("templates/a.yaml", Some(template)),
    ];
    let commit = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    sync(case, "web", spec, kinds).await;
    commit
}

async fn sync(case: &Case<'_>, name: &str, mut spec: Value, kinds: &[&str]) {
    let kinds = kinds.iter().map(|kind| json!({"kind": kind}));
    spec["helm"] = json!({"lookup": kinds.collect::<Vec<_>>()});
    case.sync(name, spec).await;
}

/// The classic: the password of a Secret that is there, or a new one.
const PASSWORD: &str = r#"{{- $password := randAlphaNum 20 }}
{{- with lookup "v1" "Secret" .Release.Namespace "db" }}{{ $password = .data.password | b64dec }}{{ end }}
apiVersion: v1
kind: Secret
metadata: {name: db}
stringData: {password: {{ $password | quote }}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: url}
data: {value: "db://u:{{ $password }}@{{ .Values.host }}"}
"#;

#[tokio::test]
async fn a_password_that_is_looked_up_stays_and_is_told_nobody() {
    let folder = renderers::folder();
    let renderers = format!("--renderers-dir={}", folder.display());
    let args = [&*renderers, "--no-cross-namespace"];
    let mut world = World::own(Options::default(), &args).await;
    let case = world.case("password").await;
    case.repo
        .commit(&[("values.yaml", Some("host: one\n"))], "values");
    let first = follow(&case, PASSWORD, json!({}), &["Secret"]).await;
    case.synced("web", &first).await;
    let password = async |case: &Case<'_>| {
        let live: Secret = case.api().get("db").await.unwrap();
        let data = live.data.unwrap();
        String::from_utf8(data["password"].0.clone()).unwrap()
    };
    let made = password(&case).await;
    assert_eq!(made.len(), 20);
    let url = |host: &str| format!("db://u:{made}@{host}");
    case.has("url", "value", Some(&url("one"))).await;

    // A commit changes what is said around it.
    let two = [("values.yaml", Some("host: two\n"))];
    let second = case.push(&two, "another host").await;
    case.synced("web", &second).await;
    case.has("url", "value", Some(&url("two"))).await;
    // Another object says the same password.
    let again = PASSWORD.replace("name: url", "name: again");
    let (_, again) = again.split_once("---").unwrap();
    let more = format!("{PASSWORD}---{again}");
    let third = case
        .push(&[("templates/a.yaml", Some(&more))], "another object")
        .await;
    case.synced("web", &third).await;
    case.has("again", "value", Some(&url("two"))).await;
    assert_eq!(password(&case).await, made);
    assert_not_disclosed(&case, &made).await;

    // A restart changes nothing.
    let before: Secret = case.api().get("db").await.unwrap();
    let release = case.live::<Sync>("web").await["status"]["release"]["revision"].clone();
    let aside = case.into_parts();
    world.operator.kill();
    world.operator.restart().await;
    let case = world.resume(aside).await;
    case.reconcile("web").await;
    let after: Secret = case.api().get("db").await.unwrap();
    let version = |secret: &Secret| secret.metadata.resource_version.clone();
    assert_eq!(version(&before), version(&after), "{before:?}\n{after:?}");
    let now = case.live::<Sync>("web").await["status"]["release"]["revision"].clone();
    assert_eq!(release, now);
    let fourth = case
        .push(&[("values.yaml", Some("host: three\n"))], "third host")
        .await;
    case.synced("web", &fourth).await;
    case.has("url", "value", Some(&url("three"))).await;
    assert_not_disclosed(&case, &made).await;

    // Beyond its own namespace it reads nothing in towline's name.
    let other = r#"dig "data" "value" "none" (lookup "v1" "ConfigMap" "kube-system" "url")"#;
    let files = [("templates/a.yaml", Some(&*shows("other", other)))];
    case.push(&files, "another namespace").await;
    case.patch::<Sync>(
        "web",
        json!({"spec": {"helm": {"lookup": [{"kind": "ConfigMap"}]}}}),
    )
    .await;
    let message = case.ready_becomes("web", "False", "RenderFailed").await;
    let only = format!(
        "only objects of namespace {} may be looked up",
        case.namespace
    );
    assert_says(
        &message,
        &[&only, "ConfigMap kube-system/url", "templates/a.yaml"],
    );
}

#[tokio::test]
async fn what_a_person_changes_is_rendered_anew() {
    let case = world().await.case("looked-up").await;
    let color =
        r#"dig "data" "color" "none" (lookup "v1" "ConfigMap" .Release.Namespace "settings")"#;
    let teams = r#"range (lookup "v1" "ServiceAccount" .Release.Namespace "").items }}{{ if hasPrefix "team-" .metadata.name }}{{ .kind }} {{ .metadata.name }} {{ end }}{{ end"#;
    let namespace = r#"(lookup "v1" "Namespace" "" .Release.Namespace).metadata.name"#;
    let nothing = r#"lookup "v1" "Service" .Release.Namespace "" | len"#;
    let template = format!(
        "{}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: teams}}\ndata: {{value: \"{{{{ {teams} }}}}\"}}\n---\n{}---\n{}",
        shows("color", color),
        shows("namespace", namespace),
        shows("nothing", nothing)
    );
    let kinds = ["ConfigMap", "ServiceAccount", "Namespace"];
    let first = follow(&case, &template, json!({}), &kinds).await;
    let synced = case.synced("web", &first).await;
    case.has("color", "value", Some("none")).await;
    case.has("teams", "value", Some("")).await;
    case.has("namespace", "value", Some(&case.namespace)).await;
    // What is not listed is not found, and that is told.
    case.has("nothing", "value", Some("0")).await;
    let warnings = synced.status.unwrap().warnings.join("\n");
    assert_says(
        &warnings,
        &[
            "shop/templates/a.yaml calls lookup (Service)",
            "spec.helm.lookup",
        ],
    );

    case.make::<ConfigMap>(json!({"metadata": {"name": "settings"}, "data": {"color": "red"}}))
        .await;
    case.has("color", "value", Some("red")).await;
    let blue = json!({"data": {"color": "blue"}});
    case.patch::<ConfigMap>("settings", blue).await;
    case.has("color", "value", Some("blue")).await;
    case.make::<ServiceAccount>(json!({"metadata": {"name": "team-a"}}))
        .await;
    case.has("teams", "value", Some("ServiceAccount team-a "))
        .await;
    case.delete::<ConfigMap>("settings").await;
    case.has("color", "value", Some("none")).await;
}

/// towline writes a record for each new content, and each is a Secret.
#[tokio::test]
async fn a_chart_that_looks_at_all_secrets_does_not_see_the_records_of_its_own_releases() {
    let case = world().await.case("lookup-records").await;
    let names =
        r#"range (lookup "v1" "Secret" .Release.Namespace "").items }}{{ .metadata.name }} {{ end"#;
    let template = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: names}}\ndata: {{value: \"{{{{ {names} }}}}\"}}\n"
    );
    let first = follow(&case, &template, json!({}), &["Secret"]).await;
    case.synced("web", &first).await;
    let release = |sync: &Sync| serde_json::to_value(&sync.status).unwrap()["release"].clone();
    let has_record = |sync: &Sync| !release(sync)["record"].is_null();
    case.until("web", "a record", has_record).await;
    let all = case.api::<Secret>().list(&Default::default()).await;
    let is_record = |secret: &Secret| secret.type_.as_deref() == Some("helm.sh/release.v1");
    assert!(all.unwrap().items.iter().any(is_record));
    // What is found is read again after this.
    case.make::<Secret>(json!({"metadata": {"name": "another"}}))
        .await;
    case.has("names", "value", Some("another ")).await;
}

#[tokio::test]
async fn what_the_account_may_not_read_is_told_and_found_once_it_may() {
    let case = world().await.case("lookup-rights").await;
    grant(&case, "reader", ALL, "configmaps").await;
    let name = r#"dig "metadata" "name" "none" (lookup "v1" "Secret" .Release.Namespace "db")"#;
    let spec = json!({"serviceAccountName": "reader"});
    let commit = follow(&case, &shows("map", name), spec, &["Secret"]).await;
    case.make::<Secret>(json!({"metadata": {"name": "db"}, "stringData": {"a": "hunter2-x"}}))
        .await;
    let message = case.ready_becomes("web", "False", "RenderFailed").await;
    let account = format!("system:serviceaccount:{}:reader", case.namespace);
    assert_says(
        &message,
        &[
            &account,
            "cannot get resource \"secrets\"",
            "shop/templates/a.yaml",
        ],
    );
    grant(&case, "reader", ALL, "configmaps,secrets").await;
    case.synced("web", &commit).await;
    case.has("map", "value", Some("db")).await;
    assert_not_disclosed(&case, "hunter2-x").await;
}

#[tokio::test]
async fn a_chart_that_looks_up_too_much_or_what_it_makes_itself_takes_little() {
    let case = world().await.case("lookup-much").await;
    let many = r#"{{ range until 10000 }}{{ $_ := lookup "v1" "ConfigMap" "default" (printf "n%d" .) }}{{ end }}"#;
    let template = format!("{many}\n{}", shows("map", "\"a\""));
    follow(&case, &template, json!({}), &["ConfigMap"]).await;
    let message = case.ready_becomes("web", "False", "TooLarge").await;
    assert_says(
        &message,
        &["more than 100 objects and lists", "shop/templates/a.yaml"],
    );

    // Each apply changes what the next render finds.
    let counts = r#"dig "data" "value" "0" (lookup "v1" "ConfigMap" .Release.Namespace "counter") | int | add1"#;
    let files = [("templates/a.yaml", Some(&*shows("counter", counts)))];
    let commit = case.push(&files, "counter").await;
    case.synced("web", &commit).await;
    let warned = |sync: &Sync| {
        let warnings = sync.status.iter().flat_map(|status| &status.warnings);
        let mut warnings = warnings.filter(|text| text.contains("changes all the time"));
        warnings.any(|text| text.contains(&format!("ConfigMap {}/counter", case.namespace)))
    };
    case.until_in(2 * PATIENCE, "web", "a warning", warned)
        .await;
    let count = async || {
        let data = case.data("counter").await.unwrap();
        data["value"].as_str().unwrap().parse::<u32>().unwrap()
    };
    // The pause after so many looks takes longer than this.
    let (before, mut last) = (count().await, 0);
    let _ = tokio::time::timeout(Duration::from_secs(10), async {
        eventually("more renders", PATIENCE, async || {
            last = count().await;
            (last > before + 2).then_some(())
        })
        .await;
    })
    .await;
    assert!(before < 12 && last <= before + 2, "{before}, {last}");
}
