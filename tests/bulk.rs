//! The cost of fetching a repository of 200 MB and 20,000 commits depends on neither its size nor its
//! history.

use std::time::Instant;

use serde_json::json;
use towline::api::GitRepository;

use crate::pages;
use crate::world::{Case, World, config_map};
use towline_testing::bulk;
use towline_testing::control_plane::Options;
use towline_testing::in_repository;
use towline_testing::repo::{Change, NewCommit};
use towline_testing::usage::Memory;

/// The limit of the operator's peak memory in MiB if the folder is small, beyond the code of the program: a
/// debug build has several times the code of a release build. The documentation states the limit.
const SMALL: u32 = 20;
/// The same for a folder of 64 MiB. The memory includes the mapped pack while it is indexed.
const LARGE: u32 = 96;

/// The limit of what is kept of the repository on disk while the folder is small, in bytes.
const KEPT: u64 = 10 << 20;

/// Prints time, disk and memory for a person, and checks the peak memory.
fn figures(case: &Case<'_>, what: &str, begin: Instant, (code, most): (f64, u32)) {
    let peak = Memory::of(case.world.operator.pid()).peak - code;
    let kept = folder_size(&case.world.operator.cache_folder());
    println!(
        "{what}: {:.1} s, {:.1} MiB on disk, {peak:.1} MiB of memory at most so far",
        begin.elapsed().as_secs_f64(),
        kept as f64 / f64::from(1 << 20),
    );
    assert!(peak < f64::from(most), "{what}: {peak} MiB");
}

/// The documentation claims exactly the limits that are checked here.
#[test]
fn the_page_has_these_bounds() {
    let page = pages::text("docs/reference/manifests.md");
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for claim in [
        format!("less than {} MiB are kept on disk", KEPT >> 20),
        format!("memory of towline, without its code, stays below {SMALL} MiB"),
        format!("memory of towline, without its code, stays below {LARGE} MiB"),
    ] {
        assert!(page.contains(&claim), "{claim}");
    }
}

fn folder_size(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => folder_size(&entry.path()),
            false => entry.metadata().map_or(0, |file| file.len()),
        })
        .sum()
}

#[tokio::test]
async fn a_large_repository_with_a_long_history_is_fetched_in_little_memory() {
    // An operator of its own, so that its memory depends on nothing else.
    let world = World::own(Options::default(), &[]).await;
    let case = world.case("bulk").await;
    let repo = case.repo.clone();
    tokio::task::spawn_blocking(move || bulk::add_branches(&repo).unwrap())
        .await
        .unwrap();
    assert!(bulk::size().unwrap() > 200 << 20);

    // Before the first fetch, only the program is mapped.
    let code = Memory::of(world.operator.pid()).mapped;
    let begin = Instant::now();
    case.repository(json!({})).await;
    case.sync(
        "all",
        json!({"path": "app", "targetNamespace": case.namespace}),
    )
    .await;
    let first = case.repo.resolve("main").unwrap();
    case.synced("all", &first).await;
    figures(
        &case,
        "20,000 commits, a small folder",
        begin,
        (code, SMALL),
    );
    let kept = folder_size(&world.operator.cache_folder());
    assert!(
        kept < KEPT,
        "{kept} bytes are kept, more than one commit needs"
    );

    let begin = Instant::now();
    let file = config_map("a", &case.namespace, "two");
    let second = case
        .push(&[("app/map.yaml", Some(&file))], "one more")
        .await;
    case.synced("all", &second).await;
    figures(&case, "one commit more", begin, (code, SMALL));

    let begin = Instant::now();
    let file = config_map("a", &case.namespace, "three");
    let large = case.repo.commit_with(NewCommit {
        branch: "large",
        changes: &[("app/map.yaml", Change::Write(&file))],
        ..NewCommit::default()
    });
    let spec = json!({"spec": {"ref": {"branch": "large"}}});
    case.patch::<GitRepository>("repo", spec).await;
    case.synced("all", &large).await;
    figures(&case, "a folder of 64 MiB", begin, (code, LARGE));
}

#[test]
fn pages_claim_what_is_asserted_here() {
    let mut pages = vec![in_repository("README.md")];
    let docs = std::fs::read_dir(in_repository("docs"));
    let mut folders: Vec<_> = docs
        .is_ok()
        .then(|| in_repository("docs"))
        .into_iter()
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => pages.push(entry.path()),
            }
        }
    }
    let mut claims = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap_or_default();
        if text.contains("tests/bulk.rs") {
            for most in [SMALL, LARGE] {
                let claim = format!("below {most} MiB");
                assert!(text.contains(&claim), "{}: {claim:?}", page.display());
            }
            claims += 1;
        }
    }
    assert!(claims > 0, "no page of the documentation names this file");
}
