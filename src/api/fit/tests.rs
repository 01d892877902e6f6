use serde_json::{Value, json};

use super::*;
use crate::api::{
    ConditionType, FinishedRun, ObjectCounts, PinStatus, Reason, Verdict, set_conditions,
};

/// Numbers that look random and are the same in every run (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    /// A text of any length up to 50 KB, of characters of every cost.
    fn text(&mut self) -> String {
        let length = match self.below(4) {
            0 => self.below(8),
            1 => self.below(300),
            2 => self.below(5_000),
            _ => self.below(50_000),
        };
        let one = ["a", "<", "\u{1}", "\"", "é", "\u{2028}", "😀", "\n"];
        let mixed = self.below(2) == 0;
        let first = self.below(8);
        (0..length)
            .map(|_| one[usize::try_from(if mixed { self.below(8) } else { first }).unwrap()])
            .collect()
    }

    fn option(&mut self) -> Option<String> {
        (self.below(3) > 0).then(|| self.text())
    }

    fn time(&mut self) -> Time {
        let second = match self.below(4) {
            0 => Timestamp::MIN.as_second(),
            1 => Timestamp::MAX.as_second(),
            2 => FIRST_SECOND - 1,
            _ => 1_799_999_000,
        };
        Time(Timestamp::from_second(second).unwrap())
    }

    fn list<T>(&mut self, most: u64, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most)).map(|_| one(self)).collect()
    }

    fn conditions(&mut self) -> Vec<Condition> {
        let verdicts = self.list(6, |numbers| {
            let message = numbers.text();
            Verdict::new(ConditionType::Ready, false, Reason::ApplyFailed, message)
        });
        let now = self.time();
        let mut conditions = set_conditions(&[], verdicts, Some(1), &now);
        // As a condition that something else than `set_conditions` made.
        for condition in &mut conditions {
            if self.below(2) == 0 {
                condition.message = self.text();
            }
        }
        conditions
    }

    fn sync(&mut self) -> SyncStatus {
        SyncStatus {
            observed_generation: Some(1),
            conditions: self.conditions(),
            summary: self.option(),
            reason_since: Some(self.time()),
            short_revision: self.option(),
            last_attempted_revision: self.option(),
            last_applied_revision: self.option(),
            last_changed_revision: self.option(),
            content: Some(DeliveredContent {
                revision: self.text(),
                digest: Some("0".repeat(32)),
                live: true,
                live_since: Some(self.time()),
                failed: Some(self.time()),
            }),
            chart: Some(ChartRevisions {
                source: "charts".to_owned(),
                last_attempted_revision: self.option(),
                last_applied_revision: self.option(),
            }),
            pin: Some(PinStatus {
                revision: "a".repeat(512),
                away: Some("b".repeat(512)),
                ..PinStatus::default()
            }),
            remote_bases: self.list(60, |numbers| FetchedBase {
                url: numbers.text(),
                reference: numbers.text(),
                commit: "0".repeat(40),
            }),
            objects: Some(ObjectCounts::default()),
            failures: self.list(30, |numbers| Failure {
                object: numbers.text(),
                file: numbers.option(),
                reason: numbers.text(),
                message: numbers.text(),
            }),
            warnings: self.list(40, Numbers::text),
            notes: self.option(),
            finished: self.list(400, |_| FinishedRun {
                object: "Job.batch prod/migrate".to_owned(),
                digest: "0".repeat(32),
            }),
            made_jobs: vec!["A".repeat(4096); 8],
            prune: Some(PruneStatus {
                objects: Some(20),
                newest: Some(self.time()),
                held: Some(HeldPrune {
                    digest: "0".repeat(64),
                    kinds: self.list(30, Numbers::text),
                    because: self.list(30, Numbers::text),
                    keeps: "0".repeat(64),
                    ..HeldPrune::default()
                }),
                left_behind: vec!["ConfigMap prod/web".to_owned(); 60],
            }),
            release: Some(ChartRelease {
                failure: self.option(),
                running: Some(RunningHook {
                    object: "Job.batch prod/migrate".to_owned(),
                    since: self.time(),
                    made: true,
                    uid: self.option(),
                }),
                ..ChartRelease::default()
            }),
            times: Some(SyncTimes {
                committed: Some(self.time()),
                ..SyncTimes::default()
            }),
            history: self.list(15, |numbers| HistoryEntry {
                revision: numbers.text(),
                chart_revision: numbers.option(),
                author: numbers.text(),
                subject: numbers.option(),
                committed: Some(numbers.time()),
                applied: numbers.time(),
                converged: None,
                pinned: true,
                digest: Some("0".repeat(32)),
                failed: Some("PinnedAway".to_owned()),
                unhealthy_before: true,
                created: u32::MAX,
                changed: u32::MAX,
                pruned: u32::MAX,
                healed: u32::MAX,
                objects: numbers.list(9, Numbers::text),
            }),
            unfinished: self.list(9, |numbers| HistoryEntry {
                revision: numbers.text(),
                chart_revision: numbers.option(),
                author: numbers.text(),
                subject: numbers.option(),
                committed: Some(numbers.time()),
                applied: numbers.time(),
                converged: None,
                pinned: false,
                digest: None,
                failed: None,
                unhealthy_before: false,
                created: u32::MAX,
                changed: u32::MAX,
                pruned: u32::MAX,
                healed: 0,
                objects: numbers.list(9, Numbers::text),
            }),
            failed_change: Some(FailedChange {
                revision: self.text(),
                cause: "PinnedAway".to_owned(),
                since: self.time(),
                digest: Some("0".repeat(32)),
            }),
            kinds: self.list(40, Numbers::text),
            last_handled_reconcile_at: self.option(),
        }
    }

    fn repository(&mut self) -> GitRepositoryStatus {
        GitRepositoryStatus {
            observed_generation: Some(1),
            conditions: self.conditions(),
            summary: self.option(),
            reason_since: Some(self.time()),
            short_revision: self.option(),
            revision: self.option(),
            ancestors: self.list(12, Numbers::text),
            committed_at: Some(self.time()),
            observed_at: Some(self.time()),
            polled_at: Some(self.time()),
            last_handled_reconcile_at: self.option(),
        }
    }
}

/// All texts of a value.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

fn holds<S: Status + PartialEq + std::fmt::Debug>(status: &S, seed: u64) {
    let fitted = status.fit();
    assert!(
        size(&fitted) <= STATUS_BUDGET,
        "seed {seed}: {}",
        size(&fitted)
    );
    assert_eq!(
        fitted.fit(),
        fitted,
        "seed {seed}: to fit twice is to fit once"
    );
    let value = json!(fitted);
    for text in texts(&value) {
        let bytes: usize = text.chars().map(written).sum();
        assert!(bytes <= 4096, "seed {seed}: a text of {bytes} bytes");
        assert!(
            !text.starts_with('-'),
            "seed {seed}: a date before year 1: {text}"
        );
    }
    let outline = status.outline(&"no ".repeat(100_000));
    assert!(size(&outline) <= STATUS_BUDGET / 8, "seed {seed}");
}

#[test]
fn a_status_fits_whatever_it_holds() {
    for seed in 0..60 {
        holds(&Numbers(seed).sync(), seed);
        holds(&Numbers(seed).repository(), seed);
    }
}

#[test]
fn an_ordinary_status_stays_as_it_is() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let revision = format!("main@sha1:{commit}");
    let now = Time(Timestamp::from_second(1_799_999_000).unwrap());
    let failure = |number: usize| Failure {
        object: format!("Deployment.apps production/web-{number}"),
        file: Some(format!("apps/production/web-{number}.yaml (document 2)")),
        reason: Reason::ApplyFailed.as_str().to_owned(),
        message: "it is refused, since this and that. ".repeat(10),
    };
    let entry = |number: usize| HistoryEntry {
        revision: revision.clone(),
        chart_revision: None,
        author: "Ann Author <ann@example.org>".to_owned(),
        subject: Some(
            "a subject of seventy-two bytes: the longest that is kept, and no more ok".to_owned(),
        ),
        committed: Some(now.clone()),
        applied: now.clone(),
        converged: Some(now.clone()),
        pinned: false,
        digest: Some("0".repeat(32)),
        failed: None,
        unhealthy_before: false,
        created: 1,
        changed: 2,
        pruned: 3,
        healed: 4,
        objects: (0..5)
            .map(|one| format!("created ConfigMap ns/{number}-{one}"))
            .collect(),
    };
    let status = SyncStatus {
        last_applied_revision: Some(revision.clone()),
        failures: (0..10).map(failure).collect(),
        history: (0..10).map(entry).collect(),
        kinds: (0..200)
            .map(|number| format!("Kind{number}.group.example.org"))
            .collect(),
        ..SyncStatus::default()
    };
    assert_eq!(status.fit(), status);
}

#[test]
fn a_text_is_cut_by_what_it_takes_in_json() {
    for (text, max, short) in [
        ("", 16, ""),
        ("0123456789abcdef", 16, "0123456789abcdef"),
        ("0123456789abcdefg", 16, "0123456789abc…"),
        ("<<<", 18, "<<<"),
        ("<<<<", 18, "<<…"),
        ("\n\n\n\n", 7, "\n\n…"),
        ("ééé", 5, "é…"),
    ] {
        assert_eq!(cut(text, max), short, "{text:?}");
    }
}

#[test]
fn an_outline_says_how_it_is_and_why_it_is_short() {
    let now = Time(Timestamp::UNIX_EPOCH);
    let verdict = Verdict::new(ConditionType::Ready, false, Reason::ApplyFailed, "refused");
    let status = SyncStatus {
        conditions: set_conditions(&[], vec![verdict], Some(3), &now),
        history: vec![],
        last_applied_revision: Some("x".repeat(1_000_000)),
        ..SyncStatus::default()
    };
    let outline = status.outline("request is too large");
    let message = &outline.conditions[0].message;
    assert!(message.starts_with("refused (in short"), "{message}");
    assert!(message.ends_with("request is too large)"), "{message}");
    assert_eq!(outline.last_applied_revision, None);
}
