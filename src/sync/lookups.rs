//! What charts of a Sync have looked up in the cluster, and whether it is still so.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{pending, select_all};
use tokio::time::Instant;

use super::LONGEST_PAUSE;
use crate::backoff::Backoff;
use crate::cluster::{Lookups, Touched};
use crate::render::wasm::{Finding, LookupError, Sought};

/// The pause after a look at what has changed. It doubles with each look, up to [`LONGEST_PAUSE`], until nothing has
/// changed for [`QUIET`] after it. So a chart that looks up what it makes, or what others write all the time, costs little.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(30);

/// After so many other answers in a row a person should know.
const MANY: u32 = 5;

/// What charts have looked up.
#[derive(Default)]
pub(super) struct LookedUp {
    watched: BTreeMap<Sought, Watched>,
    /// Counts the times that an answer was found to be another one.
    version: u64,
    pace: Pace,
    /// What had another answer last.
    last: Option<Sought>,
    /// The driver was woken to read what has changed, and may have had no occasion yet.
    told: bool,
}

struct Watched {
    seen: Finding,
    touched: Touched,
    /// It has changed since it was read.
    stale: bool,
}

/// How often what has changed is read.
#[derive(Default)]
struct Pace {
    pauses: Option<Backoff>,
    not_before: Option<Instant>,
    /// Other answers in a row.
    others: u32,
}

impl Pace {
    /// Whether it is time for a look. Counts it.
    fn may_look(&mut self, now: Instant) -> bool {
        if self.not_before.is_some_and(|at| now < at) {
            return false;
        }
        if self.not_before.is_none_or(|at| now >= at + QUIET) {
            (self.pauses, self.others) = (None, 0);
        }
        let first = || Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let pause = self.pauses.get_or_insert_with(first).pause();
        self.not_before = Some(now + pause);
        true
    }
}

impl LookedUp {
    /// Counts the times that an answer was found to be another one.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Takes over what a render has looked up. Of what was looked up before, that stays which the live target asked for.
    pub(super) fn adopt<'s>(&mut self, lookups: &Lookups, live: impl Iterator<Item = &'s Sought>) {
        let mut before = std::mem::take(&mut self.watched);
        self.watched = live
            .filter_map(|sought| before.remove_entry(sought))
            .collect();
        let now = lookups.take().into_iter();
        self.watched.extend(now.map(|(sought, seen, touched)| {
            let watched = Watched {
                seen,
                touched,
                stale: false,
            };
            (sought, watched)
        }));
    }

    /// Nothing is looked up any longer.
    pub(super) fn clear(&mut self) {
        self.watched.clear();
    }

    /// Has all of it read again, for changes of which no event came.
    pub(super) fn distrust(&mut self) {
        self.watched
            .values_mut()
            .for_each(|watched| watched.stale = true);
    }

    /// Whether something has changed, so that [`Self::refresh`] has to read it.
    pub(super) fn is_stale(&self) -> bool {
        self.watched.values().any(|watched| watched.stale)
    }

    /// Reads what has changed. Where it says something else, the version is another one.
    pub(super) async fn refresh(&mut self, lookups: &Lookups) {
        self.told = false;
        if !self.is_stale() || !self.pace.may_look(Instant::now()) {
            return;
        }
        let mut other = None;
        for (sought, watched) in self.watched.iter_mut().filter(|(_, is)| is.stale) {
            match lookups.look(sought).await {
                Ok(answer) if answer.seen == watched.seen => watched.stale = false,
                // It is read after the pause.
                Err(LookupError::Unavailable(_)) => (),
                Ok(answer) => {
                    (watched.seen, watched.stale) = (answer.seen, false);
                    other = Some(sought.clone());
                }
                Err(LookupError::Forbidden(_) | LookupError::TooMuch(_)) => {
                    watched.stale = false;
                    other = Some(sought.clone());
                }
            }
        }
        if other.is_some() {
            self.version += 1;
            self.pace.others += 1;
            self.last = other;
        }
    }

    /// What a person should know.
    pub(super) fn warning(&self) -> Option<String> {
        let last = self.last.as_ref()?;
        (self.pace.others >= MANY).then(|| {
            format!(
                "what the chart looks up changes all the time ({last}): it is rendered again at most every {} minutes; \
                 does a template look up what it makes itself?",
                LONGEST_PAUSE.as_secs() / 60
            )
        })
    }

    /// Waits until something has changed that may be read now.
    pub(super) async fn changed(&mut self) {
        // A Sync that is suspended or waits reads nothing until something else wakes it.
        if self.watched.is_empty() || self.told {
            return pending().await;
        }
        while !self.is_stale() {
            let watched = self.watched.values_mut();
            let changes = watched.map(|watched| {
                Box::pin(async {
                    watched.touched.changed().await;
                    watched.stale = true;
                })
            });
            select_all(changes).await;
        }
        if let Some(at) = self.pace.not_before {
            tokio::time::sleep_until(at).await;
        }
        self.told = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_in_a_row_have_growing_pauses_until_it_is_quiet() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let (mut now, mut looks) = (start, 0);
        while now < start + Duration::from_secs(3_600) {
            if pace.may_look(now) {
                looks += 1;
                pace.others += 1;
            }
            now += Duration::from_millis(100);
        }
        assert!((15..30).contains(&looks), "{looks} looks in an hour");
        assert!(pace.others >= MANY);
        let later = now + LONGEST_PAUSE + QUIET;
        assert!(pace.may_look(later));
        assert_eq!(pace.others, 0);
        assert!(!pace.may_look(later + Duration::from_millis(800)));
        assert!(pace.may_look(later + Duration::from_millis(1_001)));
    }
}
