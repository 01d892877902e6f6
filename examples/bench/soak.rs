//! Row 13, only when asked for: an hour of commits, drift, restarts, creations and deletions of Syncs. What the operator
//! holds stays the same.

use std::path::Path;
use std::time::{Duration, Instant};

use axum::http::Request;
use serde_json::{Value, json};

use crate::Options;
use crate::bed::{Bed, HOME, ready_at};
use crate::load::{Load, config_map_file};
use crate::report::{Limit, Report, Row, Unit};
use crate::seen;
use towline_testing::random::Random;
use towline_testing::usage::Memory;

/// The Syncs, and how many ConfigMaps each has.
const SYNCS: usize = 50;
const EACH: usize = 100;

/// Syncs beside them that come and go, and how many ConfigMaps each has.
const GUESTS: usize = 5;
const OF_GUEST: usize = 20;

/// When samples are taken, in parts of the time: after the last restart, and at the end. Copies of a repository grow by a pack
/// with each fetch, until they are replaced, so one moment says little, and the most of many is compared.
const EARLY: std::ops::Range<f64> = 0.55..0.70;
const LATE: std::ops::RangeFrom<f64> = 0.85..;

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_millis(500);

/// What the operator holds, at one moment.
#[derive(Clone, Copy, Debug)]
struct Held {
    memory: Memory,
    files: usize,
    watches: f64,
    cache: u64,
}

impl Held {
    async fn now(bed: &Bed) -> Self {
        let files = std::fs::read_dir(format!("/proc/{}/fd", bed.pid()));
        Self {
            memory: Memory::of(bed.pid()),
            files: files.expect("its open files").count(),
            watches: watches(bed).await,
            cache: size(&bed.operator().cache_folder()),
        }
    }

    /// The most of each of two.
    fn most(self, other: Self) -> Self {
        let memory = match self.memory.rss < other.memory.rss {
            true => other.memory,
            false => self.memory,
        };
        Self {
            memory,
            files: self.files.max(other.files),
            watches: self.watches.max(other.watches),
            cache: self.cache.max(other.cache),
        }
    }

    fn json(&self) -> Value {
        json!({
            "memory": self.memory.json(), "files": self.files, "watches": self.watches, "cacheBytes": self.cache,
        })
    }
}

/// The open watches of the API server, of all its clients.
async fn watches(bed: &Bed) -> f64 {
    let request = Request::get("/metrics")
        .body(Vec::new())
        .expect("a request");
    let page = bed.client.request_text(request).await.expect("its metrics");
    let lines = page.lines();
    let of_watches = lines.filter(|line| {
        line.starts_with("apiserver_longrunning_requests{") && line.contains("verb=\"WATCH\"")
    });
    of_watches
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(file) if file.is_dir() => size(&entry.path()),
        Ok(file) => file.len(),
        // The operator has removed it meanwhile.
        Err(_) => 0,
    });
    sizes.sum()
}

fn file(index: usize, value: &str) -> (String, Option<String>) {
    let name = Load::name(index);
    let path = format!("apps/{:03}/{name}.yaml", index / EACH);
    (path, Some(config_map_file(HOME, &name, value)))
}

/// The operator is killed after a quarter and after half of the time. The most that it holds is compared between [`EARLY`] and
/// [`LATE`].
pub async fn measure(options: &Options, report: &mut Report) {
    let time = Duration::from_secs(options.minutes * 60);
    let mut bed = Bed::start(options).await;
    report.machine.kubernetes = bed.version().await;
    bed.start_operator().await;
    let repo = bed.git.repo("soak");
    let files = (0..SYNCS * EACH).map(|index| file(index, "1"));
    let files: Vec<_> = files.chain(guest_files()).collect();
    let mut commit = repo.commit(&files, "first");
    bed.repository("soak", &repo).await;
    for sync in 0..SYNCS {
        let name = format!("app-{sync:03}");
        bed.sync(&name, "soak", &format!("apps/{sync:03}")).await;
    }
    all_report(&bed, &commit).await;

    let mut random = Random::of(1);
    let mut guests = [false; GUESTS];
    let started = Instant::now();
    let (mut kills, mut rounds) = (0, 0_u64);
    let (mut early, mut late) = (None::<Held>, None::<Held>);
    while started.elapsed() < time {
        rounds += 1;
        let passed = started.elapsed().as_secs_f64() / time.as_secs_f64();
        if kills < 2 && passed > 0.25 * f64::from(kills + 1) {
            kills += 1;
            bed.operator.as_mut().expect("an operator").restart().await;
        }
        let changed: Vec<_> = (0..=random.below(20))
            .map(|_| {
                file(
                    random.below((SYNCS * EACH) as u64) as usize,
                    &format!("round-{rounds}"),
                )
            })
            .collect();
        commit = repo.commit(&changed, &format!("round {rounds}"));
        bed.announce("soak").await;
        drift(&bed, &mut random).await;
        visit(&bed, &mut random, &mut guests).await;
        all_report(&bed, &commit).await;
        for (most, is_time) in [
            (&mut early, EARLY.contains(&passed)),
            (&mut late, LATE.contains(&passed)),
        ] {
            if is_time {
                let now = Held::now(&bed).await;
                *most = Some(most.map_or(now, |most| most.most(now)));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    add(
        report,
        options.minutes,
        rounds,
        early.expect("samples after the restart"),
        late.expect("samples at the end"),
    );
}

/// Waits until the Syncs that stay report a commit. Guests report it too, or are gone before.
async fn all_report(bed: &Bed, commit: &str) {
    let is_ready = ready_at(commit);
    let stays = move |sync: &towline::api::Sync| {
        let name = sync.metadata.name.as_deref().unwrap_or_default();
        name.starts_with("app-") && is_ready(sync)
    };
    let all = seen::all(&bed.syncs(), SYNCS, stays).await;
    all.await.expect("all Syncs");
}

/// A person edits some ConfigMaps.
async fn drift(bed: &Bed, random: &mut Random) {
    for _ in 0..random.below(5) {
        let name = Load::name(random.below((SYNCS * EACH) as u64) as usize);
        bed.edit(HOME, &name, json!({"value": "person"})).await;
    }
}

/// A Sync comes, or goes with its objects.
async fn visit(bed: &Bed, random: &mut Random, guests: &mut [bool; GUESTS]) {
    let guest = random.below(GUESTS as u64) as usize;
    let name = format!("guest-{guest}");
    match guests[guest] {
        true => bed.delete_sync(&name).await,
        false => bed.sync(&name, "soak", &format!("guests/{guest}")).await,
    }
    guests[guest] = !guests[guest];
}

fn guest_files() -> impl Iterator<Item = (String, Option<String>)> {
    (0..GUESTS * OF_GUEST).map(|index| {
        let name = format!("guest-{index:03}");
        let path = format!("guests/{}/{name}.yaml", index / OF_GUEST);
        (path, Some(config_map_file(HOME, &name, "1")))
    })
}

fn add(report: &mut Report, minutes: u64, rounds: u64, early: Held, late: Held) {
    let rows = [
        (
            "most memory at the end, beside that soon after the last restart",
            late.memory.rss,
            early.memory.rss,
            Unit::MebiBytes,
            1.15,
        ),
        (
            "open files",
            late.files as f64,
            early.files as f64,
            Unit::Count,
            1.1,
        ),
        (
            "open watches of the API server",
            late.watches,
            early.watches,
            Unit::Count,
            1.1,
        ),
        (
            "cache on disk",
            late.cache as f64 / f64::from(1 << 20),
            early.cache as f64 / f64::from(1 << 20),
            Unit::MebiBytes,
            1.5,
        ),
    ];
    for (index, (what, measured, before, unit, times)) in rows.into_iter().enumerate() {
        let work = match index {
            0 => format!(
                "{minutes} minutes, {rounds} rounds, {} objects: {what}",
                SYNCS * EACH
            ),
            _ => format!("… {what}"),
        };
        report.add(Row {
            number: 13,
            work,
            measured,
            floor: Some(before),
            unit,
            limit: Limit::TimesFloor(times),
            details: json!({"early": early.json(), "late": late.json()}),
        });
    }
}
