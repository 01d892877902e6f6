//! What a plan says of a Sync as a whole: that its change does not come with the merge, and which hooks of its chart would run.
//! Pure.

use crate::desired::{Desired, Hook, Moment};
use crate::intent::SyncIntent;
use crate::plan::hooks_at;
use crate::text::listing;

/// The most hooks that a plan names.
const NAMED: usize = 5;

/// Why a Sync does not go on to what is merged; none where it does.
pub(super) fn standstill(intent: &SyncIntent) -> Option<String> {
    if intent.suspended.is_some() {
        let why = "the Sync is suspended: this comes when somebody resumes it";
        return Some(why.to_owned());
    }
    let is_held = intent.pin.as_ref().is_some_and(|pin| pin.holds);
    let why = "the Sync is pinned: this comes when somebody ends the pin (`towline unpin`)";
    is_held.then(|| why.to_owned())
}

/// Which hooks of a chart the request would run; none where its release stays the same, or has no hooks.
pub(super) fn hooks(
    base: Option<&Desired>,
    head: &Desired,
    intent: &SyncIntent,
    is_upgrade: bool,
) -> Option<String> {
    let content = |desired: &Desired| desired.release().map(|release| release.content.clone());
    if base.is_some_and(|base| content(base) == content(head)) {
        return None;
    }
    let mut moments = match is_upgrade {
        true => vec![Moment::PreUpgrade, Moment::PostUpgrade],
        false => vec![Moment::PreInstall, Moment::PostInstall],
    };
    if intent.render.helm.tests {
        moments.push(Moment::Test);
    }
    named(head.hooks(), &moments)
}

fn named(hooks: &[Hook], moments: &[Moment]) -> Option<String> {
    let of = |moment: &Moment| {
        let moment = *moment;
        let due = hooks_at(hooks, moment).into_iter();
        due.map(move |hook| format!("{} ({})", hook.object.key(), moment.as_str()))
    };
    let all: Vec<String> = moments.iter().flat_map(of).collect();
    let total = all.len();
    let named = listing(all.into_iter().take(NAMED), total);
    (total > 0).then(|| format!("hooks of the chart would run, which are not tried out: {named}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::desired::{DeletePolicy, HookObject};
    use crate::intent::PinIntent;
    use crate::manifest::{Digest, Manifest};

    fn hook(name: &str, weight: i64, moments: &[Moment]) -> Hook {
        let body = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}});
        let manifest = Manifest::from_value(body).unwrap().remove(0);
        Hook {
            file: "templates/hook.yaml".into(),
            moments: moments.to_vec(),
            weight,
            delete: DeletePolicy {
                before: true,
                succeeded: false,
                failed: false,
            },
            digest: Digest::of(&manifest.body),
            object: HookObject::new(manifest),
        }
    }

    #[test]
    fn hooks_are_named_in_the_order_in_which_they_run() {
        use Moment::{PostUpgrade, PreDelete, PreInstall, PreUpgrade, Test};
        let hooks = [
            hook("notify", 0, &[PostUpgrade]),
            hook("migrate", 5, &[PreInstall, PreUpgrade]),
            hook("backup", 0, &[PreUpgrade]),
            hook("smoke", 0, &[Test]),
            hook("drain", 0, &[PreDelete]),
        ];
        let before = "hooks of the chart would run, which are not tried out: ";
        for (moments, wanted) in [
            (
                &[PreUpgrade, PostUpgrade][..],
                Some(
                    "Job.batch backup (pre-upgrade); Job.batch migrate (pre-upgrade); Job.batch notify (post-upgrade)",
                ),
            ),
            (&[PreInstall], Some("Job.batch migrate (pre-install)")),
            (&[Test], Some("Job.batch smoke (test)")),
            (&[], None),
        ] {
            let found = named(&hooks, moments);
            let wanted = wanted.map(|wanted| format!("{before}{wanted}"));
            assert_eq!(found, wanted);
        }
        let many: Vec<Hook> = (0..9)
            .map(|n| hook(&format!("h{n}"), n, &[PreUpgrade]))
            .collect();
        let found = named(&many, &[PreUpgrade]).unwrap();
        assert!(found.ends_with("; and 4 more"), "{found}");
    }

    #[test]
    fn a_sync_that_stands_still_is_named() {
        let pin = |holds| PinIntent {
            revision: "main@sha1:a".to_owned(),
            chart: None,
            away: Some("main@sha1:b".to_owned()),
            holds,
            by_whom: "pinned by anna".to_owned(),
        };
        for (suspended, pin, says) in [
            (None, None, ""),
            (Some("suspended by anna: her reason"), None, "is suspended"),
            (Some("suspended"), Some(pin(true)), "is suspended"),
            (None, Some(pin(true)), "is pinned"),
            // A commit that brings other content ends it.
            (None, Some(pin(false)), ""),
        ] {
            let sync: crate::api::Sync = serde_json::from_value(json!({
                "metadata": {"name": "a", "namespace": "n"}, "spec": {"sourceRef": {"name": "r"}, "path": "a"},
            }))
            .unwrap();
            let mut intent = SyncIntent::from(&sync);
            intent.suspended = suspended.map(str::to_owned);
            intent.pin = pin;
            let found = standstill(&intent).unwrap_or_default();
            assert!(
                found.contains(says) && found.is_empty() == says.is_empty(),
                "{found}"
            );
            assert!(!found.contains("anna"), "{found}");
        }
    }
}
