//! The steps of a delivery's way, as its driver meets them. Pure.

use jiff::Timestamp;

use crate::fleet::FetchTimes;
use crate::trace::{End, Period, Step, Way};

/// The steps of a delivery that are known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Steps {
    sighting: Option<Sighting>,
    /// The last read, until it is known whether it was of this content.
    reading: Option<Period>,
    render: Option<Period>,
    plan: Option<Period>,
    /// When all of it had been applied.
    applied: Option<Timestamp>,
    /// Whether the target has this content.
    is_target: bool,
    /// The delivery that was under way when this one began.
    replaced: Option<Box<(String, Steps)>>,
}

/// How towline came to know the revision.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sighting {
    /// None if the Sync has no reason to count the time since then.
    observed: Option<Timestamp>,
    fetch: Option<FetchTimes>,
    /// When its driver first had it.
    met: Timestamp,
}

impl Steps {
    /// Another delivery begins. `unfinished`: the revision before it, if that has not ended.
    pub(super) fn begin(&mut self, unfinished: Option<String>) {
        let mut before = std::mem::take(self);
        self.reading = before.reading.take();
        let older = before.replaced.take();
        // Nobody was told of one that no round has judged.
        let unfinished = unfinished.filter(|_| before.sighting.is_some());
        let left = unfinished.map(|revision| Box::new((revision, before)));
        self.replaced = left.or(older);
    }

    /// Files were read and rendered.
    pub(super) fn were_read(&mut self, period: Period) {
        self.reading = Some(period);
    }

    /// Takes note of how towline came to know the revision: when it was first seen, and by which poll.
    pub(super) fn were_found(
        &mut self,
        observed: Option<Timestamp>,
        fetch: Option<FetchTimes>,
        met: Timestamp,
    ) {
        self.sighting = Some(Sighting {
            observed,
            fetch,
            met,
        });
    }

    /// Whether that is noted.
    pub(super) fn is_found(&self) -> bool {
        self.sighting.is_some()
    }

    /// The last read was of this content, if this is `under_way`.
    pub(super) fn settle(&mut self, under_way: bool) {
        if let Some(last) = self.reading.take().filter(|_| under_way) {
            let began = self.render.map_or(last.began, |first| first.began);
            self.render = Some(Period { began, ..last });
        }
    }

    /// Whether the target has this content.
    pub(super) fn aim(&mut self, is_target: bool) {
        self.is_target = is_target;
    }

    /// Whether the comparison with the cluster is still to come.
    pub(super) fn awaits_plan(&self) -> bool {
        self.is_target && self.plan.is_none()
    }

    /// All objects were compared with the cluster.
    pub(super) fn were_planned(&mut self, period: Period) {
        self.plan.get_or_insert(period);
    }

    /// All objects have been applied.
    pub(super) fn were_applied(&mut self, at: Timestamp) {
        if self.is_target {
            self.applied.get_or_insert(at);
        }
    }

    /// The delivery that was under way when this one began, and its revision. It is returned once.
    pub(super) fn take_replaced(&mut self) -> Option<(String, Self)> {
        self.replaced.take().map(|replaced| *replaced)
    }

    /// The begin of the way.
    fn began(&self, ended: Timestamp) -> Timestamp {
        let own = [self.render, self.plan].into_iter().flatten();
        let own = own.map(|step| step.began).min();
        let Some(sighting) = self.sighting else {
            return own.unwrap_or(ended);
        };
        let fetched = sighting.fetch.map(|fetch| fetch.began);
        let known = fetched.or(sighting.observed);
        known.unwrap_or_else(|| own.map_or(sighting.met, |own| own.min(sighting.met)))
    }

    /// The way to its end. `waits`: whether the Sync waits for health.
    pub(super) fn way(&self, revision: &str, ended: Timestamp, waits: bool, end: End) -> Way {
        let began = self.began(ended);
        let fetch = self.sighting.and_then(|sighting| sighting.fetch);
        let until = |began, ended| Period { began, ended };
        let applied = self.plan.map(|plan| plan.ended).filter(|_| self.is_target);
        let applied = applied.map(|began| until(began, self.applied.unwrap_or(ended)));
        let health = self.applied.filter(|_| waits && self.is_target);
        let steps = [
            (Step::Fetch, fetch.map(|all| until(all.began, all.fetched))),
            (
                Step::Verify,
                fetch.and_then(|all| Some(until(all.fetched, all.verified?))),
            ),
            (Step::Render, self.render),
            (Step::Plan, self.plan),
            (Step::Apply, applied),
            (Step::Health, health.map(|began| until(began, ended))),
        ];
        let steps = steps.into_iter();
        Way {
            revision: revision.to_owned(),
            observed: self.sighting.and_then(|sighting| sighting.observed),
            whole: until(began, ended),
            steps: steps
                .filter_map(|(step, period)| Some((step, period?)))
                .collect(),
            changes: [0; 3],
            end,
        }
    }

    /// The step that is under way.
    pub(super) fn current(&self) -> Option<Step> {
        match (self.is_target, self.plan, self.applied) {
            (false, ..) => self.render.map(|_| Step::Render),
            (true, None, _) => None,
            (true, Some(_), None) => Some(Step::Apply),
            (true, Some(_), Some(_)) => Some(Step::Health),
        }
    }
}
