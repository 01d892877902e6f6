//! Something is killed at a random moment of fetch, apply, prune or finalize, again and again. After
//! each time, the whole live state must equal the commit.
//!
//! The seed is printed. To repeat a run, or to run it longer:
//!
//! ```sh
//! TOWLINE_SEED=42 TOWLINE_RUNS=1000 cargo test --test e2e survival
//! ```

mod backup;
mod clock;
mod disk;
mod faults;
mod model;
mod size;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use towline::api::Sync;
use towline_testing::control_plane::{Component, Options};
use towline_testing::random::Random;
use towline_testing::repo::Repo;
use towline_testing::wait::eventually;

use self::model::{Drift, Model, pause};
use crate::world::{Case, PATIENCE, World};

/// Kills of the operator, unless TOWLINE_RUNS says otherwise.
const RUNS: u32 = 50;

/// Kills of the API server or of etcd. Each costs several seconds.
const OUTAGES: u32 = 4;

/// The object of nobody, which must stay as it is.
const STRANGER: &str = "stranger";

fn setting<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Prints the seed of a test.
fn seeded(test: &str) -> Random {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = setting("TOWLINE_SEED").unwrap_or(clock.unwrap().as_nanos() as u64);
    println!("{test}: TOWLINE_SEED={seed}");
    Random::of(seed)
}

/// A run of changes and kills.
struct Trial {
    world: World,
    parts: Option<(String, Repo)>,
    model: Model,
    random: Random,
    /// The last commit.
    commit: String,
    round: u32,
}

impl Trial {
    async fn begin(test: &str) -> Self {
        let world = World::own(Options::default(), &[]).await;
        Self::on(world, seeded(test)).await
    }

    async fn on(world: World, mut random: Random) -> Self {
        let mut model = Model::default();
        let case = world.case("survival").await;
        let stranger = json!({"metadata": {"name": STRANGER}, "data": {"value": STRANGER}});
        case.make::<ConfigMap>(stranger).await;
        let files = model.commit(&mut random, "first", &case.namespace);
        let commit = case.repo.commit(&files, "first");
        case.repository(json!({})).await;
        let parts = Some(case.into_parts());
        Self {
            world,
            parts,
            model,
            random,
            commit,
            round: 0,
        }
    }

    async fn case(&mut self) -> Case<'_> {
        let parts = self.parts.clone().expect("a namespace and a repository");
        self.world.resume(parts).await
    }

    /// Changes Git, the Syncs and the live objects, each with some probability.
    async fn change(&mut self, operator_runs: bool) {
        self.round += 1;
        let (random, model) = (&mut self.random, &mut self.model);
        let parts = self.parts.clone().expect("a namespace and a repository");
        let case = self.world.resume(parts).await;
        for drift in model.drift(random) {
            meddle(&case, &drift).await;
        }
        if !random.chance(4) {
            let value = format!("round-{}-{}", self.round, random.below(1000));
            let files = model.commit(random, &value, &case.namespace);
            self.commit = case.repo.commit(&files, &value);
            case.announce().await;
        }
        // A Sync that is being deleted cannot be created.
        if operator_runs && (model.has_absent() || random.chance(5)) {
            match model.toggle(random) {
                (name, true) => case.sync(name, json!({"path": name})).await,
                (name, false) => case.delete::<Sync>(name).await,
            }
        } else if random.chance(5)
            && let Some(name) = model.delete(random)
        {
            case.delete::<Sync>(name).await;
        }
    }

    /// Waits until every Sync reports the last commit, and the live objects are those of Git.
    async fn settles(&mut self) {
        let (model, commit) = (self.model.clone(), self.commit.clone());
        let round = self.round;
        let case = self.case().await;
        for (name, sync) in model.syncs() {
            match sync.exists {
                true => drop(case.synced(name, &commit).await),
                false => {
                    eventually(&format!("Sync {name} is gone"), PATIENCE, async || {
                        let sync = case.live::<Sync>(name).await;
                        sync.is_null().then_some(()).ok_or(sync["status"].clone())
                    })
                    .await;
                }
            }
        }
        let mut wanted = model.live();
        wanted.insert(STRANGER.to_owned(), STRANGER.to_owned());
        let what = format!("round {round}: the live objects equal Git's");
        eventually(&what, PATIENCE, async || {
            let live = live(&case).await;
            (live == wanted)
                .then_some(())
                .ok_or_else(|| difference(&wanted, &live))
        })
        .await;
    }
}

/// Edits or deletes a live object as a person. The object may be gone already.
async fn meddle(case: &Case<'_>, drift: &Drift) {
    let maps: Api<ConfigMap> = case.api();
    let done = match drift {
        Drift::Edit(name) => {
            let params = PatchParams {
                field_manager: Some("person".to_owned()),
                ..PatchParams::default()
            };
            let edit = Patch::Merge(json!({"data": {"value": "person"}}));
            maps.patch(name, &params, &edit).await.map(drop)
        }
        Drift::Delete(name) => maps.delete(name, &DeleteParams::default()).await.map(drop),
    };
    match done {
        Err(kube::Error::Api(status)) if status.code == 404 => (),
        other => other.unwrap(),
    }
}

/// The ConfigMaps of the namespace with their values.
async fn live(case: &Case<'_>) -> BTreeMap<String, String> {
    let maps: Api<ConfigMap> = case.api();
    let maps = maps.list(&ListParams::default()).await.unwrap();
    let maps = maps.items.into_iter().filter_map(|map| {
        let name = map.metadata.name?;
        let value = map.data?.remove("value").unwrap_or_default();
        (name != "kube-root-ca.crt").then_some((name, value))
    });
    maps.collect()
}

/// What two states differ in, for the message of a failed test.
fn difference(wanted: &BTreeMap<String, String>, live: &BTreeMap<String, String>) -> String {
    let names = wanted.keys().chain(live.keys());
    let differs = names.filter(|name| wanted.get(*name) != live.get(*name));
    let lines = differs.map(|name| {
        let (wanted, live) = (wanted.get(name), live.get(name));
        format!("{name}: Git {wanted:?}, live {live:?}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn an_operator_that_is_killed_at_any_moment_loses_and_leaves_nothing() {
    let mut trial = Trial::begin("kills of the operator").await;
    for _ in 0..setting("TOWLINE_RUNS").unwrap_or(RUNS) {
        trial.change(true).await;
        tokio::time::sleep(pause(&mut trial.random)).await;
        trial.world.operator.kill();
        if trial.random.chance(3) {
            trial.change(false).await;
        }
        trial.world.operator.restart().await;
        trial.settles().await;
    }
}

#[tokio::test]
async fn an_api_server_or_etcd_that_is_killed_at_any_moment_loses_nothing() {
    let mut trial = Trial::begin("kills of the control plane").await;
    for run in 0..setting("TOWLINE_RUNS").unwrap_or(OUTAGES) {
        trial.change(true).await;
        tokio::time::sleep(pause(&mut trial.random)).await;
        let component = match run % 2 {
            0 => Component::ApiServer,
            _ => Component::Etcd,
        };
        trial.world.control_plane_mut().restart(component).await;
        trial.settles().await;
    }
}
