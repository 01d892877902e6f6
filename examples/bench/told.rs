//! Row 12: ten thousand notices for a service that takes none of them.

use std::time::Duration;

use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use tokio::net::TcpListener;
use towline::api::{Alert, Provider};

use crate::bed::{Bed, HOME};
use crate::many::{Run, every_app, run};
use crate::report::{Limit, Report, Row, Unit, median};
use towline_testing::repo::Repo;
use towline_testing::usage::Memory;

/// Commits that change every Sync. With 1,000 Syncs, they make ten thousand notices.
const COMMITS: usize = 10;

/// How much more time a commit may take than without an Alert.
const SLOWER: f64 = 1.2;

/// The revisions that a Sync's status keeps.
const HISTORY: usize = 10;

/// The most memory that the notices may take, in MiB.
const MEMORY: f64 = 16.0;

/// Measures commits of every app while their notices go to a service that never answers. `untold` are such commits
/// without an Alert. More follow, also afterwards: the machine's pace changes within minutes, and statuses whose
/// history is not full take more memory with each commit, which is not that of the notices.
pub async fn measure(
    bed: &Bed,
    repo: &Repo,
    syncs: usize,
    mut untold: Vec<Run>,
    report: &mut Report,
) {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("its address");
    let taken = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
        }
    });
    let commit = async |name: String| {
        let commit = repo.commit(&every_app(syncs, &name), "every app");
        run(bed, syncs, &commit, async || {
            drop(bed.announce("mono").await);
        })
        .await
    };
    let known = untold.len();
    for index in known..HISTORY {
        untold.push(commit(format!("history-{index}")).await);
    }
    tell(bed, &format!("http://{address}/")).await;
    // The driver of the Alert has seen the Provider.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let before = Memory::of(bed.pid());
    let mut told = Vec::new();
    for index in 0..COMMITS {
        told.push(commit(format!("told-{index}")).await);
    }
    let after = Memory::of(bed.pid());
    untell(bed).await;
    for index in 0..known {
        untold.push(commit(format!("untold-{index}")).await);
    }
    taken.abort();
    let times = |runs: &[Run]| runs.iter().map(|run| run.seconds).collect::<Vec<_>>();
    let used = |runs: &[Run]| runs.iter().map(|run| run.processor).collect::<Vec<_>>();
    let notices = COMMITS * syncs;
    report.add(Row {
        number: 12,
        work: format!("{notices} notices for a service that hangs: every app changed, p50"),
        measured: median(&times(&told)),
        floor: Some(median(&times(&untold))),
        unit: Unit::Seconds,
        limit: Limit::TimesFloor(SLOWER),
        details: json!({
            "all": times(&told), "processorSeconds": used(&told),
            "floors": times(&untold), "processorSecondsOfFloors": used(&untold),
        }),
    });
    report.add(Row {
        number: 12,
        work: "… memory that they take".to_owned(),
        measured: (after.rss - before.rss).max(0.0),
        floor: None,
        unit: Unit::MebiBytes,
        limit: Limit::AtMost(MEMORY),
        details: json!({"before": before.json(), "after": after.json()}),
    });
}

/// Deletes the Alert and the Provider of [`tell`].
async fn untell(bed: &Bed) {
    let params = DeleteParams::default();
    let alerts: Api<Alert> = Api::namespaced(bed.client.clone(), HOME);
    drop(
        alerts
            .delete("all", &params)
            .await
            .expect("delete the Alert"),
    );
    let providers: Api<Provider> = Api::namespaced(bed.client.clone(), HOME);
    let gone = providers.delete("silent", &params).await;
    drop(gone.expect("delete the Provider"));
}

/// Tells all notices of all Syncs to `address`.
async fn tell(bed: &Bed, address: &str) {
    let provider = json!({
        "metadata": {"name": "silent"}, "spec": {"type": "generic", "address": address, "timeout": "10s"},
    });
    let provider: Provider = serde_json::from_value(provider).expect("a Provider");
    let alert = json!({"metadata": {"name": "all"}, "spec": {
        "providerRef": {"name": "silent"}, "eventSources": [{"kind": "Sync", "name": "*"}], "groupWait": "1s",
    }});
    let alert: Alert = serde_json::from_value(alert).expect("an Alert");
    let params = PostParams::default();
    let api: Api<Provider> = Api::namespaced(bed.client.clone(), HOME);
    api.create(&params, &provider)
        .await
        .expect("create a Provider");
    let api: Api<Alert> = Api::namespaced(bed.client.clone(), HOME);
    api.create(&params, &alert).await.expect("create an Alert");
}
