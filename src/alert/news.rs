//! News of an Alert or a Provider itself. It becomes an event of the API server, for nobody else would hear of a service
//! that takes no messages. Pure.

use kube::Resource;

use crate::api::{self, Condition, Reason};
use crate::driver::{StatusError, StatusRefusal, Written};
use crate::notify::{Level, Notice};

/// What there is to tell of `object` when its conditions change: it is not ready, or not for the same reason, or it is
/// ready again.
pub(super) fn news<K: Resource<DynamicType = ()>>(
    object: &K,
    before: &[Condition],
    after: &[Condition],
) -> Option<Notice> {
    let ready = api::ready(after)?;
    let was = api::ready(before);
    let failed = |ready: &Condition| ready.status == "False";
    let is_news = match failed(ready) {
        true => !was.is_some_and(|was| failed(was) && was.reason == ready.reason),
        false => ready.status == "True" && was.is_some_and(failed),
    };
    let level = match failed(ready) {
        true => Level::Warning,
        false => Level::Normal,
    };
    let reason = Reason::named(&ready.reason).filter(|_| is_news)?;
    Some(Notice::about(
        object,
        (level, reason),
        None,
        ready.message.clone(),
    ))
}

/// What there is to tell of `object` when the API server refused its status: once for each cause.
pub(super) fn refused<K: Resource<DynamicType = ()>>(
    object: &K,
    refusal: &mut StatusRefusal,
    written: &Result<Written, StatusError>,
) -> Option<Notice> {
    let message = refusal.note(written)?;
    let kind = (Level::Warning, Reason::StatusRefused);
    Some(Notice::about(object, kind, None, message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{ConditionType, Provider, Time, Verdict, set_conditions};

    #[test]
    fn a_change_for_worse_and_its_end_are_told_once() {
        let provider: Provider = serde_json::from_value(json!({
            "metadata": {"namespace": "prod", "name": "chat"}, "spec": {"type": "slack"},
        }))
        .unwrap();
        let conditions = |status: Option<bool>, reason, message: &str| {
            let verdict = Verdict::new(ConditionType::Ready, status, reason, message);
            set_conditions(
                &[],
                vec![verdict],
                Some(1),
                &Time(jiff::Timestamp::UNIX_EPOCH),
            )
        };
        let none = Vec::new();
        let good = conditions(Some(true), Reason::Delivering, "takes messages");
        let bad = conditions(Some(false), Reason::DeliveryFailed, "answered 500");
        let worse = conditions(Some(false), Reason::DeliveryFailed, "answered 503");
        let invalid = conditions(Some(false), Reason::ProviderInvalid, "no address");
        let suspended = conditions(None, Reason::Suspended, "suspended");
        let bad_news = Some((Level::Warning, Reason::DeliveryFailed));
        for (before, after, told) in [
            (&none, &good, None),
            (&none, &bad, bad_news),
            (&good, &good, None),
            (&good, &bad, bad_news),
            (&bad, &worse, None),
            (
                &bad,
                &invalid,
                Some((Level::Warning, Reason::ProviderInvalid)),
            ),
            (&bad, &good, Some((Level::Normal, Reason::Delivering))),
            (&bad, &suspended, None),
            (&suspended, &good, None),
            (&good, &none, None),
        ] {
            let found = news(&provider, before, after);
            let found = found.map(|notice| (notice.level, notice.reason));
            assert_eq!(found, told, "{before:?} {after:?}");
        }
    }
}
