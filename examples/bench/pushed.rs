//! Row 2 as a team uses it: from a commit on the Git server until it is applied, by a signed webhook and
//! by polling.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bed::{Bed, has_value, ready_at};
use crate::floor::{Fetcher, Raw};
use crate::load::Load;
use crate::report::{Limit, Report, Row, Unit, median, millis};
use crate::seen;
use crate::small::AFTERWARDS;
use towline_testing::{hook, secret::token};

/// The Secret with the key that signs webhooks.
const HOOK: &str = "hook";

/// How the operator learns of a commit.
#[derive(Clone, Copy)]
enum By {
    Webhook,
    Poll,
}

impl By {
    fn spec(self) -> Value {
        match self {
            Self::Webhook => json!({"webhook": {"secretRef": {"name": HOOK}}}),
            Self::Poll => json!({"webhook": null, "interval": "1s"}),
        }
    }

    fn work(self) -> &'static str {
        match self {
            Self::Webhook => "pushed, signed webhook to applied, p50",
            Self::Poll => "pushed, found by polling every 1 s, to applied, p50",
        }
    }

    fn limit(self) -> Limit {
        match self {
            Self::Webhook => Limit::TimesFloor(1.3),
            // The mean wait is half an interval, which towline cannot shorten.
            Self::Poll => Limit::None,
        }
    }
}

/// The times of all rounds in milliseconds.
#[derive(Default)]
struct Times {
    measured: Vec<f64>,
    fetches: Vec<f64>,
    applies: Vec<f64>,
}

/// Pushes to the repository of `load`, whose Sync is ready. Restores the old interval at the end.
pub async fn measure(bed: &Bed, load: &Load, rounds: usize, report: &mut Report) {
    let name = load.prefix.as_str();
    let secret = token::<16>();
    bed.secret(HOOK, &json!({"token": secret})).await;
    for by in [By::Webhook, By::Poll] {
        bed.change_repository(name, by.spec()).await;
        let times = push_all(bed, load, rounds, by, &secret).await;
        report.add(Row {
            number: 2,
            work: by.work().to_owned(),
            measured: median(&times.measured),
            floor: Some(median(&times.fetches) + median(&times.applies)),
            unit: Unit::Milliseconds,
            limit: by.limit(),
            details: json!({
                "all": times.measured, "fetches": times.fetches, "applies": times.applies,
            }),
        });
    }
    bed.change_repository(name, json!({"interval": "1h"})).await;
}

async fn push_all(bed: &Bed, load: &Load, rounds: usize, by: By, secret: &str) -> Times {
    let name = load.prefix.as_str();
    let repo = bed.git.repo(name);
    let mut fetcher = Fetcher::new(repo.url());
    fetcher.fetch().await;
    let (raw, twin) = (bed.raw(1).await, Load::new("floor-line", 1));
    raw.send(&Arc::new(twin.namespace_calls())).await;
    raw.send(&Arc::new(twin.config_map_calls())).await;
    let body = hook::pushed(repo.url(), "main");
    let mut times = Times::default();
    for round in 0..=rounds {
        let index = (round * 41) % load.config_maps;
        let value = format!("{}-{round}", by.work().len());
        let map = Load::name(index);
        let api = bed.config_maps(&load.namespace(index));
        let applied = seen::once(&api, &map, has_value(&value)).await;
        // A pause of changing length, so that pushes do not always come at the same time after a poll.
        tokio::time::sleep(Duration::from_millis((round as u64 * 137) % 1_000)).await;
        let commit = repo.commit(&[load.changed(index, &value)], "one line");
        let pushed = Instant::now();
        if matches!(by, By::Webhook) {
            let endpoint = hook::endpoint(bed.operator());
            let answer = hook::send(endpoint, hook::signed(secret, &body)).await;
            assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        }
        let (at, _) = applied.await.expect("the changed ConfigMap");
        let synced = seen::once(&bed.syncs(), name, ready_at(&commit)).await;
        synced.await.expect("the Sync");
        tokio::time::sleep(AFTERWARDS).await;
        let (fetch, apply) = floor(&mut fetcher, &raw, &twin, &value).await;
        if round == 0 {
            continue; // warm-up
        }
        times
            .measured
            .push(millis(at.saturating_duration_since(pushed)));
        times.fetches.push(fetch);
        times.applies.push(apply);
    }
    times
}

/// The same commit through another cache, then one apply. Both in milliseconds.
async fn floor(fetcher: &mut Fetcher, raw: &Raw, twin: &Load, value: &str) -> (f64, f64) {
    let fetch = millis(fetcher.fetch().await);
    let call = twin.config_map_call(0, value);
    (fetch, millis(raw.send(&Arc::new(vec![call])).await))
}
