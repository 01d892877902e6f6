//! Which open pull requests are planned. Pure.

use crate::intent::PullRequestsIntent;
use crate::message::PullRequest;

/// The open requests of a repository, by what is done with them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Choice {
    /// Those to plan.
    pub(super) chosen: Vec<PullRequest>,
    /// The number of those that wait for the label, or for an operator whose spec names one.
    pub(super) waiting: usize,
    /// The number of those over the limit.
    pub(super) over: usize,
}

/// Chooses. The author of a request from a fork cannot set a label. Whether those who did may push is asked before the plan.
pub(super) fn choose(open: Vec<PullRequest>, intent: &PullRequestsIntent) -> Choice {
    let mut choice = Choice::default();
    for request in open {
        let is_labelled = intent
            .label
            .as_ref()
            .is_some_and(|label| request.labels.contains(label));
        let is_trusted = request.is_own && !intent.only_labelled;
        match is_labelled || is_trusted {
            false => choice.waiting += 1,
            true if choice.chosen.len() >= intent.limit => choice.over += 1,
            true => choice.chosen.push(request),
        }
    }
    choice
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request(number: u64, is_own: bool, labels: &[&str]) -> PullRequest {
        PullRequest {
            number,
            head: "0".repeat(40),
            target: "main".to_owned(),
            is_own,
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            merge_base: None,
        }
    }

    #[test]
    fn a_fork_needs_the_label() {
        let open = || {
            vec![
                request(1, true, &[]),
                request(2, false, &[]),
                request(3, false, &["plan"]),
                request(4, false, &["Plan", "planned"]),
                request(5, true, &["plan"]),
                request(6, true, &[]),
            ]
        };
        for (only_labelled, label, limit, chosen, waiting, over) in [
            (false, None, 10, &[1, 5, 6][..], 3, 0),
            (false, Some("plan"), 10, &[1, 3, 5, 6], 2, 0),
            (true, Some("plan"), 10, &[3, 5], 4, 0),
            (false, Some("plan"), 2, &[1, 3], 2, 2),
            (true, None, 10, &[], 6, 0),
        ] {
            let intent = PullRequestsIntent {
                provider: "p".to_owned(),
                only_labelled,
                label: label.map(str::to_owned),
                interval: Duration::from_secs(60),
                limit,
            };
            let choice = choose(open(), &intent);
            let numbers: Vec<u64> = choice.chosen.iter().map(|request| request.number).collect();
            assert_eq!(
                (&*numbers, choice.waiting, choice.over),
                (chosen, waiting, over)
            );
        }
    }
}
