//! The operator's clock jumps, forwards and backwards. Nothing is lost, and nothing is late or done without end.

use std::fs;
use std::path::Path;

use towline_testing::control_plane::{ControlPlane, Options};
use towline_testing::operator::OperatorOptions;
use towline_testing::random::Random;
use towline_testing::scratch::Scratch;

use super::{Trial, seeded, setting};
use crate::world::World;

/// Jumps, unless TOWLINE_RUNS says otherwise.
const RUNS: u32 = 12;

/// How far the clock is before and after the right time, in seconds. The certificate of the API server is valid since
/// an hour before its start.
const BEFORE: u64 = 50 * 60;
const AFTER: u64 = 2 * 24 * 3600;

/// libfaketime, from the Debian package of that name. The loader puts the machine's own folder in place of `$LIB`.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";

/// Sets the operator's clock to the right time with `offset`, in seconds. It moves on from there.
fn jump(file: &Path, offset: i64) {
    let next = file.with_extension("next");
    fs::write(&next, format!("{offset:+}\n")).unwrap();
    fs::rename(&next, file).unwrap();
}

fn offset(random: &mut Random) -> i64 {
    match (random.chance(2), random.chance(2)) {
        (true, _) => random.below(180) as i64 - 90,
        (false, true) => -(random.below(BEFORE) as i64),
        (false, false) => random.below(AFTER) as i64,
    }
}

#[tokio::test]
async fn a_clock_that_jumps_loses_nothing_and_keeps_nobody_waiting() {
    let mut random = seeded("jumps of the clock");
    let folder = Scratch::new().unwrap();
    let file = folder.path().join("offset");
    jump(&file, 0);
    let cp = ControlPlane::start(Options::default()).await;
    let env = [
        ("LD_PRELOAD", LIBRARY),
        ("FAKETIME_TIMESTAMP_FILE", &file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1"),
        // A jump of the wall clock moves no other clock, and no time of a file.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("NO_FAKE_STAT", "1"),
    ];
    let options = OperatorOptions {
        env: env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        ..OperatorOptions::new(&cp)
    };
    let world = World::with(cp, options).await;
    let mut trial = Trial::on(world, random.clone()).await;
    for _ in 0..setting("TOWLINE_RUNS").unwrap_or(RUNS) {
        let at = offset(&mut random);
        println!("the clock is {at} s off");
        jump(&file, at);
        trial.change(true).await;
        if random.chance(3) {
            jump(&file, offset(&mut random));
        }
        if random.chance(4) {
            trial.world.operator.restart().await;
        }
        trial.settles().await;
    }
    // The operator did see the jumps: its log has lines of other days.
    jump(&file, AFTER as i64);
    trial.change(true).await;
    trial.settles().await;
    let today = jiff::Timestamp::now().to_string();
    let log = fs::read_to_string(trial.world.operator.log_path()).unwrap();
    let is_later = |line: &str| line.starts_with("20") && line.get(..10) > today.get(..10);
    assert!(log.lines().any(is_later), "the clock did not jump");
}
