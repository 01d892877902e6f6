//! A damaged cache, while towline runs or while it is stopped. The repository is fetched again, and the
//! cluster equals Git without a person's help.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use crate::world::verdict::repository_ready_becomes;
use crate::world::{Case, World};
use towline_testing::control_plane::Options;

/// What happens to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Zeroed,
    /// The packs here are smaller than a page of memory, so a mapped pack stays readable. A larger pack
    /// that lost its end would kill the process, as it kills Git.
    Halved,
    Removed,
}

impl Damage {
    fn strike(self, file: &Path) {
        let bytes = fs::metadata(file).unwrap().len();
        if matches!(self, Self::Removed) {
            return fs::remove_file(file).unwrap();
        }
        // Git makes packs read-only.
        #[allow(clippy::permissions_set_readonly_false)]
        {
            let mut permissions = fs::metadata(file).unwrap().permissions();
            permissions.set_readonly(false);
            fs::set_permissions(file, permissions).unwrap();
        }
        let mut file = OpenOptions::new().write(true).open(file).unwrap();
        match self {
            Self::Zeroed => file.write_all(&vec![0; bytes as usize]).unwrap(),
            _ => file.set_len(bytes / 2).unwrap(),
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The copies of the only repository in the cache.
fn copies(world: &World) -> Vec<PathBuf> {
    let namespaces = entries(&world.operator.cache_folder());
    let repositories: Vec<_> = namespaces
        .iter()
        .flat_map(|folder| entries(folder))
        .collect();
    assert_eq!(repositories.len(), 1, "{repositories:?}");
    entries(&repositories[0])
}

/// Damages every pack of the cache, and its index.
fn strike(world: &World, damage: Damage) {
    let packs = copies(world)
        .iter()
        .flat_map(|copy| entries(&copy.join("objects/pack")))
        .collect::<Vec<_>>();
    // An open file stays readable after its copy was removed.
    assert!(!packs.is_empty() || matches!(damage, Damage::Removed));
    for file in packs {
        damage.strike(&file);
    }
}

/// Deletes an object as a person, and waits until it is created again.
async fn heals(case: &Case<'_>, value: &str) {
    case.delete::<ConfigMap>("x").await;
    case.has("x", "value", Some(value)).await;
}

async fn started(world: &World) -> (Case<'_>, String) {
    let case = world.case("damage").await;
    let map = case.map("x", "first");
    let first = case.repo.commit(&[("x.yaml", Some(&map))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    (case, first)
}

#[tokio::test]
async fn a_copy_that_is_damaged_while_it_is_read_from_is_fetched_anew_once() {
    let world = World::own(Options::default(), &[]).await;
    let (case, mut commit) = started(&world).await;
    let mut value = "first".to_owned();
    for damage in [Damage::Zeroed, Damage::Halved, Damage::Removed] {
        // Correcting drift needs the copy, and nothing polls meanwhile.
        world.git.take_requests();
        strike(&world, damage);
        heals(&case, &value).await;
        case.synced("all", &commit).await;
        let requests = world.git.take_requests();
        let polls = requests.iter().filter(|served| served.path == "info/refs");
        match damage {
            // Open files stay readable, so at most one fetch is needed.
            Damage::Removed => assert!(polls.count() <= 1, "{requests:?}"),
            _ => assert_eq!(polls.count(), 1, "{damage:?}: {requests:?}"),
        }
        // A push is applied too, with any of the damages.
        strike(&world, damage);
        value = format!("{damage:?}");
        let map = case.map("x", &value);
        commit = case.push(&[("x.yaml", Some(&map))], &value).await;
        case.synced("all", &commit).await;
        case.has("x", "value", Some(&value)).await;
        repository_ready_becomes(&case, "True", "Fetched").await;
    }
}

#[tokio::test]
async fn a_copy_that_is_damaged_or_half_written_at_the_start_is_fetched_anew() {
    let mut world = World::own(Options::default(), &[]).await;
    let (case, first) = started(&world).await;
    let mut parts = case.into_parts();
    for damage in [Damage::Zeroed, Damage::Halved, Damage::Removed] {
        world.operator.kill();
        strike(&world, damage);
        let copy = copies(&world).remove(0);
        let half = copy.with_file_name("99.tmp/objects/pack");
        fs::create_dir_all(&half).unwrap();
        for left in [half.join("pack_git2_x"), copy.join("HEAD.lock")] {
            fs::write(left, "x").unwrap();
        }
        let case = world.resume(parts).await;
        case.delete::<ConfigMap>("x").await;
        parts = case.into_parts();
        world.operator.restart().await;
        let case = world.resume(parts).await;
        case.has("x", "value", Some("first")).await;
        case.synced("all", &first).await;
        assert_eq!(copies(&world).len(), 1, "{damage:?}");
        parts = case.into_parts();
    }
}
