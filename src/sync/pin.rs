//! A Sync that a person pinned to an earlier revision: what is known of its pin. Pure.
//!
//! Three rules, and why:
//!
//! - **Only a revision of `status.history` can be returned to.** towline alone writes the status, so this proves that the
//!   followed ref had the commit. Somebody who may edit a Sync, but may not push, cannot run another commit by a pin.
//! - **A pin ends with content, not with a commit.** Most commits of a monorepo change other paths: they would bring back
//!   what was pinned away. So the pin ends when the newest revision asks for other objects than that revision did.
//! - **A pinned Sync waits for no dependency.** Its revision was live before, with the dependencies of that time; the
//!   present ones may fail because of the same commit.

use super::newest::Newest;
use super::target::{Refused, Target};
use crate::api::PinStatus;
use crate::desired::Inputs;
use crate::intent::{PinIntent, RenderIntent};

/// What is known of the pin of a Sync.
pub(super) struct Pin {
    pub(super) status: PinStatus,
    /// The newest revision that was looked at. It has the content that was pinned away.
    pub(super) judged: Option<Target>,
    /// The newest revision, if it cannot be read, and why.
    pub(super) unread: Option<(Refused, String)>,
    /// The revisions that the Sync is held at.
    pub(super) held: Option<Newest>,
}

impl Pin {
    /// The pin that a status tells of.
    pub(super) fn restored(status: PinStatus) -> Self {
        Self {
            status,
            judged: None,
            unread: None,
            held: None,
        }
    }

    /// Whether nothing more is to be found out about the newest revision. One with the content of the one before it
    /// needs no reading.
    pub(super) fn knows(&mut self, newest: &Newest, scope: &RenderIntent, inputs: &Inputs) -> bool {
        if let Some((unread, _)) = &self.unread
            && unread.is(newest, scope, inputs)
        {
            return true;
        }
        let Some(judged) = &mut self.judged else {
            return false;
        };
        if !judged.is_of(newest, scope, inputs) {
            if !judged.is_still(newest, scope, inputs) {
                return false;
            }
            judged.seen = newest.clone();
            self.status.seen = Some(newest.name());
        }
        self.unread = None;
        true
    }

    /// Why the newest revision does not end the pin, if it cannot be read.
    pub(super) fn warning(&self) -> Option<String> {
        let (_, why) = self.unread.as_ref()?;
        Some(why.clone())
    }

    /// What was not readable may be so now.
    pub(super) fn try_again(&mut self) {
        self.unread = None;
    }
}

impl PinStatus {
    /// Whether the other is the same pin, whatever was found out since.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let asked = |pin: &Self| {
            let Self {
                revision,
                chart_revision,
                away,
                away_digest: _,
                seen: _,
                hold,
            } = pin.clone();
            (revision, chart_revision, away, hold)
        };
        asked(self) == asked(other)
    }

    /// Takes note of the content of the newest revision. Returns whether it ends the pin.
    pub(super) fn is_ended_by(&mut self, revision: &str, content: &str) -> bool {
        let is = |known: &Option<String>, text: &str| known.as_deref() == Some(text);
        // A revision that is known not to end the pin has other content only because the Sync's spec or inputs changed.
        let is_known = is(&self.away, revision) || is(&self.seen, revision);
        if !is_known && !is(&self.away_digest, content) {
            return true;
        }
        self.away_digest = Some(content.to_owned());
        self.seen = Some(revision.to_owned());
        false
    }
}

/// Who ends a pin when a commit does: the commit, by its name.
pub(super) fn ended_by(commit: &str, away: &str) -> String {
    format!("towline: {commit} brings other content than {away}")
}

/// Whether this commit ended the pin that a status tells of, and nothing was reported since. `unpinned_by`: what the Sync
/// says of the end of its last pin.
pub(super) fn was_ended_by(
    pin: Option<&PinStatus>,
    unpinned_by: Option<&str>,
    commit: &str,
) -> bool {
    pin.is_some_and(|pin| {
        let away = pin.away.as_deref().unwrap_or_default();
        let by = unpinned_by.and_then(|by| by.strip_prefix("unpinned by "));
        by == Some(&ended_by(commit, away))
    })
}

/// A pin, for people.
pub(super) fn in_words(pin: &PinIntent) -> String {
    let PinIntent { away, by_whom, .. } = pin;
    match away.as_ref().filter(|_| !pin.holds) {
        Some(away) => format!("{by_whom}, until a commit brings other content than {away}"),
        None => format!("{by_whom}, until somebody ends it (towline unpin)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> PinStatus {
        PinStatus {
            revision: "a".to_owned(),
            away: Some("b".to_owned()),
            away_digest: Some("2".to_owned()),
            ..PinStatus::default()
        }
    }

    #[test]
    fn only_other_content_ends_a_pin() {
        let mut pin = status();
        assert!(!pin.is_ended_by("b", "2"), "what was pinned away");
        assert!(!pin.is_ended_by("c", "2"), "c changes another path");
        assert_eq!(pin.seen.as_deref(), Some("c"));
        assert!(pin.clone().is_ended_by("d", "3"), "a fix");
        assert!(pin.clone().is_ended_by("a", "1"), "the branch was reset");
        // The Sync's spec changed, and with it what every revision asks for.
        assert!(!pin.is_ended_by("c", "4"));
        assert!(!pin.is_ended_by("d", "4"));
        assert!(pin.is_ended_by("e", "2"));
    }

    #[test]
    fn content_that_was_not_readable_is_fixed_by_any_that_is() {
        let unread = PinStatus {
            away_digest: None,
            ..status()
        };
        assert!(unread.clone().is_ended_by("c", "1"));
        let mut readable = unread;
        assert!(!readable.is_ended_by("b", "2"), "its inputs were missing");
        assert!(!readable.is_ended_by("c", "2"));
    }

    #[test]
    fn after_a_restart_it_is_known_which_commit_ended_a_pin() {
        let pin = status();
        let by = |commit: &str| format!("unpinned by {}", ended_by(commit, "b"));
        for (pin, unpinned_by, commit, ended) in [
            (Some(&pin), Some(by("c")), "c", true),
            // Another commit came meanwhile.
            (Some(&pin), Some(by("c")), "d", false),
            (Some(&pin), Some("unpinned by anna".to_owned()), "c", false),
            (Some(&pin), None, "c", false),
            // It was reported.
            (None, Some(by("c")), "c", false),
        ] {
            let found = was_ended_by(pin, unpinned_by.as_deref(), commit);
            assert_eq!(found, ended, "{unpinned_by:?} {commit}");
        }
    }

    #[test]
    fn a_pin_says_who_why_and_how_long() {
        let mut pin = PinIntent {
            revision: "main@sha1:a".to_owned(),
            chart: None,
            away: Some("main@sha1:b".to_owned()),
            holds: false,
            by_whom: "pinned by anna: incident 7".to_owned(),
        };
        assert_eq!(
            in_words(&pin),
            "pinned by anna: incident 7, until a commit brings other content than main@sha1:b"
        );
        pin.holds = true;
        assert_eq!(
            in_words(&pin),
            "pinned by anna: incident 7, until somebody ends it (towline unpin)"
        );
    }
}
