//! What the condition says after a round.

use super::Planner;
use super::choose::Choice;
use crate::api::{ConditionType, Reason, Verdict};
use crate::intent::PullRequestsIntent;

impl Planner<'_> {
    /// The condition after a round. The host's list has `odd` entries that cannot be read.
    pub(super) fn told(&self, choice: &Choice, odd: usize) -> Verdict {
        let failures = self
            .known
            .iter()
            .filter_map(|(number, known)| Some((number, known.failure.as_ref()?)));
        let failures: Vec<String> = failures
            .map(|(number, why)| format!("#{number}: {why}"))
            .collect();
        let (is, reason) = match failures.is_empty() {
            true => (true, Reason::Planned),
            false => (false, Reason::PlanFailed),
        };
        let message = message(choice, self.plans, &failures, odd);
        Verdict::new(ConditionType::PullRequestsPlanned, is, reason, message)
    }
}

/// The words for a number of things: the first ones for one thing.
fn count(number: usize, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    }
}

fn message(
    choice: &Choice,
    intent: &PullRequestsIntent,
    failures: &[String],
    odd: usize,
) -> String {
    let all = choice.chosen.len();
    let first = match (all, failures.len()) {
        (0, 0) => "no open request is to be planned".to_owned(),
        (all, 0) => count(
            all,
            "open request has its plan",
            "open requests have their plans",
        ),
        (all, failed) => format!(
            "{} of {all} open requests have their plans; {}",
            all.saturating_sub(failed),
            crate::text::listing(failures.iter().take(3).cloned(), failed)
        ),
    };
    let mut parts = vec![first];
    if choice.waiting > 0 {
        parts.push(waiting(choice.waiting, intent));
    }
    if choice.over > 0 {
        let over = count(choice.over, "request is", "requests are");
        parts.push(format!("{over} over the limit of {}", intent.limit));
    }
    if odd > 0 {
        parts.push(count(
            odd,
            "entry of the host's list cannot be read and is left out",
            "entries of the host's list cannot be read and are left out",
        ));
    }
    parts.join("; ")
}

/// Why requests are not planned: only those of forks need the label, or all do.
fn waiting(number: usize, intent: &PullRequestsIntent) -> String {
    let (one, many) = match intent.only_labelled {
        true => ("request", "requests"),
        false => ("request from a fork", "requests from forks"),
    };
    let requests = count(number, one, many);
    match (&intent.label, number) {
        (Some(label), 1) => format!("{requests} waits for the label {label}"),
        (Some(label), _) => format!("{requests} wait for the label {label}"),
        (None, 1) => format!("{requests} is not planned: spec.pullRequests.label is not set"),
        (None, _) => format!("{requests} are not planned: spec.pullRequests.label is not set"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::PullRequest;

    #[test]
    fn the_words_fit_the_numbers_and_the_mode() {
        let request = |number| PullRequest {
            number,
            head: "0".repeat(40),
            target: "main".to_owned(),
            is_own: true,
            labels: Vec::new(),
            merge_base: None,
        };
        let label = Some("plan");
        for (only_labelled, label, (chosen, failed, waiting, over, odd), said) in [
            (
                false,
                label,
                (0, 0, 0, 0, 0),
                "no open request is to be planned",
            ),
            (
                false,
                label,
                (1, 0, 1, 1, 1),
                "1 open request has its plan; 1 request from a fork waits for the label plan; \
                1 request is over the limit of 2; 1 entry of the host's list cannot be read and is left out",
            ),
            (
                false,
                label,
                (2, 0, 2, 3, 2),
                "2 open requests have their plans; 2 requests from forks wait for the label plan; \
                3 requests are over the limit of 2; 2 entries of the host's list cannot be read and are left out",
            ),
            (
                true,
                label,
                (0, 0, 1, 0, 0),
                "no open request is to be planned; 1 request waits for the label plan",
            ),
            (
                true,
                label,
                (0, 0, 2, 0, 0),
                "no open request is to be planned; 2 requests wait for the label plan",
            ),
            (
                false,
                None,
                (0, 0, 1, 0, 0),
                "no open request is to be planned; \
                1 request from a fork is not planned: spec.pullRequests.label is not set",
            ),
            (
                false,
                None,
                (0, 0, 4, 0, 0),
                "no open request is to be planned; \
                4 requests from forks are not planned: spec.pullRequests.label is not set",
            ),
            (
                false,
                label,
                (2, 1, 0, 0, 0),
                "1 of 2 open requests have their plans; #0: why",
            ),
        ] {
            let intent = PullRequestsIntent {
                provider: "p".to_owned(),
                only_labelled,
                label: label.map(str::to_owned),
                interval: Duration::from_secs(60),
                limit: 2,
            };
            let choice = Choice {
                chosen: (0..chosen).map(request).collect(),
                waiting,
                over,
            };
            let failures: Vec<String> = (0..failed)
                .map(|number| format!("#{number}: why"))
                .collect();
            assert_eq!(message(&choice, &intent, &failures, odd), said);
        }
    }
}
