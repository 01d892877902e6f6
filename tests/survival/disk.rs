//! The volume of the cache is full. What does not fit is told, everything else goes on, and no operator ends by it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use towline_testing::control_plane::{ControlPlane, Options};
use towline_testing::operator::{OperatorOptions, built};
use towline_testing::random::Random;
use towline_testing::repo::{Change, NewCommit, Repo};
use towline_testing::scratch::Scratch;

use super::seeded;
use crate::world::World;
use crate::world::verdict::{assert_says, repository_ready_becomes};

/// The size of the volume, in MiB.
const VOLUME: u64 = 8;

/// The most bytes that the large file has more than the volume.
const BEYOND: u64 = 6 << 20;

/// How often it is full.
const ROUNDS: u32 = 3;

/// A program that is the operator, with a small volume in place of its cache folder. No right is needed for it: the
/// volume is mounted in a namespace of its own.
fn with_small_volume(folder: &Path) -> PathBuf {
    let script = format!(
        "#!/bin/sh\n\
         for arg; do case $arg in --cache-dir=*) cache=${{arg#*=}};; esac; done\n\
         mkdir -p \"$cache\"\n\
         exec unshare --user --map-root-user --mount sh -c '\n\
         mount -t tmpfs -o size={VOLUME}m tmpfs \"$1\" && shift && exec \"$@\"' sh \"$cache\" {} \"$@\"\n",
        built().display()
    );
    let path = folder.join("towline");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A commit with a file that does not get smaller by compression.
fn add_noise(repo: &Repo, random: &mut Random, bytes: u64) {
    let noise: Vec<u8> = (0..bytes / 8)
        .flat_map(|_| random.below(u64::MAX).to_le_bytes())
        .collect();
    repo.commit_with(NewCommit {
        changes: &[("noise.bin", Change::Bytes(&noise))],
        ..NewCommit::default()
    });
}

#[tokio::test]
async fn a_full_volume_is_told_and_what_fits_is_served() {
    let mut random = seeded("a full volume");
    let folder = Scratch::new().unwrap();
    let cp = ControlPlane::start(Options::default()).await;
    let path = folder.path().to_owned();
    let program = tokio::task::spawn_blocking(move || with_small_volume(&path));
    let options = OperatorOptions {
        program: Some(program.await.unwrap()),
        // Without these, the operator keeps to the size of the volume.
        args: ["--cache-size=1Gi", "--cache-size-per-namespace=1Gi"]
            .map(str::to_owned)
            .to_vec(),
        ..OperatorOptions::new(&cp)
    };
    let mut world = World::with(cp, options).await;
    let parts = {
        let case = world.case("small").await;
        let first = case
            .repo
            .commit(&[("a.yaml", Some(case.map("a", "one")))], "first");
        case.repository(json!({})).await;
        case.sync("all", json!({})).await;
        case.synced("all", &first).await;

        // Too large by a little, or by much: noticed by the last bytes, or by the first ones.
        let large = world.case("large").await;
        for round in 0..ROUNDS {
            let size = (VOLUME << 20) + random.below(BEYOND);
            add_noise(&large.repo, &mut random, size);
            match round {
                0 => large.repository(json!({})).await,
                _ => large.announce().await,
            }
            let message = repository_ready_becomes(&large, "False", "FetchFailed").await;
            assert_says(&message, &["No space left"]);
            let value = format!("round-{round}");
            let commit = case
                .push(&[("a.yaml", Some(&case.map("a", &value)))], &value)
                .await;
            case.synced("all", &commit).await;
            case.has("a", "value", Some(&value)).await;

            // What fits again is fetched again.
            large.repo.commit_with(NewCommit {
                changes: &[
                    ("noise.bin", Change::Delete),
                    ("a.yaml", Change::Write("# nothing\n")),
                ],
                ..NewCommit::default()
            });
            large.announce().await;
            repository_ready_becomes(&large, "True", "Fetched").await;
        }
        case.into_parts()
    };
    assert!(world.operator.exited().is_none());

    // And after a start with what is left on the volume.
    world.operator.restart().await;
    let case = world.resume(parts).await;
    let last = case
        .push(&[("a.yaml", Some(&case.map("a", "last")))], "last")
        .await;
    case.synced("all", &last).await;
}
