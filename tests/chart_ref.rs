//! `spec.helm.chartRef`: the chart of one repository with the values of another.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use towline::api::{ChartRevisions, GitRepository, HistoryEntry, Sync, SyncStatus};
use towline_testing::helm::Helm;
use towline_testing::repo::Repo;

use crate::world::verdict::{assert_says, repository_ready_becomes};
use crate::world::{Case, condition, world};

const CHART: &str = "apiVersion: v2\nname: shop\nversion: 1.2.3\n";

/// A template whose object shows the values.
fn template(text: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {{{{ .Release.Name }}}}}}\ndata: {{value: {{{{ \
         .Values.greeting | quote }}}}, chart: {text}}}\n"
    )
}

/// Commits to the repository of the chart, and requests a fetch.
async fn push_chart(case: &Case<'_>, charts: &Repo, path: &str, text: &str) -> String {
    let commit = charts.commit(&[(path, Some(text))], "the chart");
    let now = jiff::Timestamp::now().to_string();
    let request = json!({"metadata": {"annotations": {"towline.dev/requested-at": now}}});
    case.patch::<GitRepository>("charts", request).await;
    commit
}

fn status(sync: &Sync) -> SyncStatus {
    sync.status.clone().unwrap_or_default()
}

fn chart(sync: &Sync) -> ChartRevisions {
    status(sync).chart.unwrap_or_default()
}

/// Waits until the Sync is ready at a commit of its own repository and one of the chart's.
async fn synced(case: &Case<'_>, own: &str, of_chart: &str) -> Sync {
    let is =
        |revision: Option<String>, commit: &str| revision.is_some_and(|it| it.ends_with(commit));
    let what = format!("ready at {own} with chart {of_chart}");
    let at_both = |sync: &Sync| {
        condition(sync, "Ready").0 == "True"
            && is(status(sync).last_applied_revision, own)
            && is(chart(sync).last_applied_revision, of_chart)
    };
    case.until("web", &what, at_both).await
}

fn newest(sync: &Sync) -> (usize, HistoryEntry) {
    let history = status(sync).history;
    (history.len(), history[0].clone())
}

const TEMPLATE: &str = "charts/shop/templates/map.yaml";

#[tokio::test]
async fn a_chart_of_another_repository_is_followed_with_the_values_of_ones_own() {
    let world = world().await;
    let case = world.case("chart-ref").await;
    let foreign = world.case("chart-ref-foreign").await;
    let charts = world.git.repo("chart-ref-charts");
    let one = charts.commit(
        &[
            ("charts/shop/Chart.yaml", Some(CHART)),
            ("charts/shop/values.yaml", Some("greeting: default\n")),
            (TEMPLATE, Some(&template("one"))),
        ],
        "a chart",
    );
    let values = ("apps/prod/values-prod.yaml", Some("greeting: hello\n"));
    let own = case.repo.commit(&[values], "values");
    case.repository(json!({})).await;
    // A GitRepository of another namespace is none for this one.
    foreign
        .repository_named("charts", json!({"url": charts.url()}))
        .await;
    let helm = json!({
        "chartRef": {"name": "charts", "path": "charts/shop"}, "valuesFiles": ["values-prod.yaml"],
    });
    let spec = json!({"path": "apps/prod", "helm": helm});
    case.sync("web", spec).await;
    let absent = format!(
        "spec.helm.chartRef: GitRepository {}/charts does not exist",
        case.namespace
    );
    case.until("web", "the chart's source is named", |sync| {
        let (_, reason, message) = condition(sync, "Ready");
        reason == "SourceNotReady" && message.contains(&absent)
    })
    .await;

    // A source whose revision is not accepted has none.
    let verify = json!({"secretRef": {"name": "signers"}});
    case.repository_named("charts", json!({"url": charts.url(), "verify": verify}))
        .await;
    let message = case.ready_becomes("web", "False", "SignersInvalid").await;
    assert_says(&message, &["spec.helm.chartRef: ", "charts", "signers"]);
    case.patch::<GitRepository>("charts", json!({"spec": {"verify": null}}))
        .await;
    let sync = synced(&case, &own, &one).await;
    case.has("web", "value", Some("hello")).await;
    case.has("web", "chart", Some("one")).await;
    // Helm shows the chart of the one with the values of the other.
    let helm = Helm::of(&world.cp.kubeconfig_path()).await;
    let place = ["--namespace", &*case.namespace, "--output=json"];
    for (args, shown) in [
        (&["list"][..], "\"chart\":\"shop-1.2.3\""),
        (&["get", "values", "web"], "\"greeting\":\"hello\""),
        (&["history", "web"], &*one),
    ] {
        let text = helm.run(&[args, &place].concat()).await;
        assert!(text.contains(shown), "{text}");
    }
    let (entries, entry) = newest(&sync);
    assert_eq!((entries, chart(&sync).source), (1, "charts".to_owned()));
    assert!(entry.chart_revision.unwrap().ends_with(&one));
    let message = condition(&sync, "Ready").2;
    assert_says(
        &message,
        &["1 object equals main@sha1:", " with chart main@sha1:"],
    );

    // A commit to either repository is applied.
    let two = push_chart(&case, &charts, TEMPLATE, &template("two")).await;
    let sync = synced(&case, &own, &two).await;
    case.has("web", "chart", Some("two")).await;
    let (entries, entry) = newest(&sync);
    assert_eq!((entries, entry.changed), (2, 1));
    assert!(entry.revision.ends_with(&own) && entry.chart_revision.unwrap().ends_with(&two));
    let own = case
        .push(
            &[("apps/prod/values-prod.yaml", Some("greeting: bye\n"))],
            "bye",
        )
        .await;
    let sync = synced(&case, &own, &two).await;
    case.has("web", "value", Some("bye")).await;
    assert_eq!(newest(&sync).0, 3);

    // What neither the chart nor the values say changes nothing.
    let three = push_chart(&case, &charts, "README.md", "read me").await;
    synced(&case, &own, &three).await;
    let own = case.push(&[("README.md", Some("read me"))], "docs").await;
    assert_eq!(newest(&synced(&case, &own, &three).await).0, 3);

    // A broken chart is refused by its place in its repository, and the former one stays.
    push_chart(&case, &charts, TEMPLATE, "{{ fail \"no\" }}").await;
    let message = case.ready_becomes("web", "False", "RenderFailed").await;
    assert_says(&message, &["shop/templates/map.yaml", "stays live"]);
    case.has("web", "chart", Some("two")).await;
    let four = push_chart(&case, &charts, TEMPLATE, &template("four")).await;
    synced(&case, &own, &four).await;
    let elsewhere = |path: &str| json!({"spec": {"helm": {"chartRef": {"path": path}}}});
    case.patch::<Sync>("web", elsewhere("charts/none")).await;
    let message = case.ready_becomes("web", "False", "PathNotFound").await;
    let says = "spec.helm.chartRef: in GitRepository charts: ";
    assert_says(&message, &[says, "charts/none", "stays live"]);
    case.patch::<Sync>("web", elsewhere("charts/shop")).await;
    synced(&case, &own, &four).await;
}

#[tokio::test]
async fn a_chart_whose_repository_goes_away_stays() {
    let world = world().await;
    let case = world.case("chart-gone").await;
    let charts = world.git.repo("chart-gone-charts");
    let first = template("one");
    let one = charts.commit(
        &[
            ("Chart.yaml", Some(CHART)),
            ("templates/map.yaml", Some(&*first)),
        ],
        "a chart in the root",
    );
    let own = case
        .repo
        .commit(&[("README.md", Some("no values"))], "empty");
    case.repository(json!({})).await;
    case.repository_named("charts", json!({"url": charts.url()}))
        .await;
    let helm = json!({"chartRef": {"name": "charts"}, "values": {"greeting": "hello"}});
    case.sync("web", json!({"helm": helm})).await;
    synced(&case, &own, &one).await;

    // Suspended: what is there stays, and is corrected.
    case.patch::<GitRepository>("charts", json!({"spec": {"suspend": true}}))
        .await;
    case.patch::<ConfigMap>("web", json!({"data": {"value": "person"}}))
        .await;
    case.has("web", "value", Some("hello")).await;
    case.delete::<GitRepository>("charts").await;
    let message = case.ready_becomes("web", "False", "SourceNotReady").await;
    assert_says(
        &message,
        &[
            "spec.helm.chartRef: ",
            "charts does not exist",
            "stays live",
        ],
    );
    case.patch::<ConfigMap>("web", json!({"data": {"value": "person"}}))
        .await;
    case.has("web", "value", Some("hello")).await;
    // The Sync can be deleted all the same.
    case.delete::<Sync>("web").await;
    case.has("web", "value", None).await;
    repository_ready_becomes(&case, "True", "Fetched").await;
}
