//! What the condition says after a round.

use super::Planner;
use super::choose::Choice;
use crate::api::{ConditionType, Reason, Verdict};

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
        let mut message = match choice.chosen.len() {
            0 => "no open request is to be planned".to_owned(),
            1 => "1 open request has its plan".to_owned(),
            all => format!("{all} open requests have their plans"),
        };
        if !failures.is_empty() {
            let planned = choice.chosen.len() - failures.len();
            message = format!(
                "{planned} of {} open requests have their plans; ",
                choice.chosen.len()
            );
            let total = failures.len();
            message += &crate::text::listing(failures.iter().take(3).cloned(), total);
        }
        if choice.waiting > 0 {
            let label = match &self.plans.label {
                Some(label) => format!("the label {label}"),
                None => "spec.pullRequests.label, which is not set".to_owned(),
            };
            message += &format!("; {} of others wait for {label}", choice.waiting);
        }
        if choice.over > 0 {
            message += &format!("; {} are over the limit", choice.over);
        }
        if odd > 0 {
            message +=
                &format!("; {odd} entries of the host's list cannot be read and are left out");
        }
        let (is, reason) = match failures.is_empty() {
            true => (true, Reason::Planned),
            false => (false, Reason::PlanFailed),
        };
        Verdict::new(ConditionType::PullRequestsPlanned, is, reason, message)
    }
}
