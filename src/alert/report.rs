//! The conditions and the record of an alert.

use jiff::Timestamp;
use tokio::time::Instant;

use super::Driver;
use super::news::{news, refused};
use crate::api::{
    Alert, AlertStatus, ConditionType, Reason, Status as _, Time, Verdict, set_conditions, summary,
};
use crate::driver::{StatusOf, write_status};
use crate::message::{NotReportable, Saved};
use crate::outbox::ProviderView;

impl Saved {
    /// The record in a status.
    pub(super) fn of(status: &AlertStatus) -> Self {
        Self {
            until: status.told_until.as_ref().map(|until| until.0),
            told: status.told.clone(),
            count: status.open_problems.unwrap_or_default(),
            open: status.open.clone(),
        }
    }
}

impl Driver {
    /// Writes the status, if it changed.
    pub(super) async fn report(&mut self) {
        let verdicts = self.verdicts();
        let generation = self.intent.generation;
        let now = Time(Timestamp::now());
        let saved = self.ledger.save();
        let status = AlertStatus {
            observed_generation: generation,
            summary: verdicts.first().map(|ready| summary(&ready.message)),
            conditions: set_conditions(&self.status.conditions, verdicts, generation, &now),
            told_until: saved.until.map(Time),
            told: saved.told,
            open_problems: Some(saved.count),
            open: saved.open,
        }
        .fit();
        let is_due = self.write_again.is_some_and(|at| at <= Instant::now());
        if status == self.status && !is_due {
            return;
        }
        let news = news(
            &**self.object.borrow(),
            &self.status.conditions,
            &status.conditions,
        );
        self.status = status;
        let context = &self.context;
        context.cluster.running_applies.wait_until_idle().await;
        let (namespace, name) = &self.name;
        let of = StatusOf {
            namespace,
            name,
            version: None,
        };
        let written = write_status::<Alert>(context, of, &self.status).await;
        match &written {
            Ok(_) => {
                self.write_again = None;
                self.status_backoff.reset();
            }
            Err(error) => {
                self.write_again = Some(Instant::now() + self.status_backoff.pause(error));
                let error = crate::chain(error);
                tracing::warn!(%namespace, %name, error, "writing the status of an Alert");
            }
        }
        let refused = refused(&**self.object.borrow(), &mut self.status_refusal, &written);
        for notice in news.into_iter().chain(refused) {
            self.context.notifier.tell(notice);
        }
    }

    /// Why something could not be delivered.
    fn failed(&self) -> Option<String> {
        let refused = || {
            let (subject, why) = self.refused.first_key_value()?;
            let more = match self.refused.len() {
                1 => String::new(),
                many => format!("; and so for {} more", many - 1),
            };
            Some(format!("{subject}: {why}{more}"))
        };
        self.failure.clone().or_else(refused)
    }

    /// The conditions, of which the first is `Ready`.
    fn verdicts(&self) -> Vec<Verdict> {
        let ready = |status: Option<bool>, reason, message: String| {
            Verdict::new(ConditionType::Ready, status, reason, message)
        };
        if self.intent.suspend {
            let message = "suspended: set spec.suspend to false to tell notices again";
            return vec![ready(None, Reason::Suspended, message.to_owned())];
        }
        if let Some(problem) = &self.problem {
            let stalled = "correct the spec";
            return vec![
                ready(Some(false), Reason::InvalidSpec, problem.clone()),
                Verdict::new(ConditionType::Stalled, true, Reason::InvalidSpec, stalled),
            ];
        }
        let provider = &self.intent.provider;
        let service = self.provider.borrow().service();
        if self.intent.deployments && service.is_some_and(|service| !service.keeps_deployments()) {
            let why = format!("Provider {provider}: {}", NotReportable::NoDeployments);
            return vec![
                ready(Some(false), Reason::InvalidSpec, why),
                Verdict::new(
                    ConditionType::Stalled,
                    true,
                    Reason::InvalidSpec,
                    "correct the spec",
                ),
            ];
        }
        let not_ready = |why: String| {
            vec![
                ready(Some(false), Reason::ProviderNotReady, why),
                Verdict::new(
                    ConditionType::Reconciling,
                    true,
                    Reason::Progressing,
                    "notices wait for the Provider",
                ),
            ]
        };
        match &*self.provider.borrow() {
            ProviderView::Unknown => vec![ready(
                None,
                Reason::Progressing,
                format!("waiting for Provider {provider}"),
            )],
            ProviderView::Absent => not_ready(format!(
                "Provider {provider} does not exist in this namespace"
            )),
            ProviderView::Suspended(_) => not_ready(format!("Provider {provider} is suspended")),
            ProviderView::Broken(_, why) => not_ready(format!("Provider {provider}: {why}")),
            ProviderView::Open(_) => match self.failed() {
                Some(why) => {
                    let why = format!("Provider {provider}: {why}");
                    let failed = ready(Some(false), Reason::DeliveryFailed, why);
                    let again = Verdict::new(
                        ConditionType::Reconciling,
                        true,
                        Reason::Progressing,
                        "it is sent again",
                    );
                    // A message that the service refused is given up.
                    let is_kept = self.sending.is_some() || !self.refused.is_empty();
                    let again = is_kept.then_some(again);
                    std::iter::once(failed).chain(again).collect()
                }
                None => {
                    let told = format!("notices are told to Provider {provider}");
                    let message = match self.named.absent() {
                        Some(absent) => format!("{told}; {absent}"),
                        None => told,
                    };
                    vec![ready(Some(true), Reason::Delivering, message)]
                }
            },
        }
    }
}
