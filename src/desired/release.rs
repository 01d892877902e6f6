//! A chart's release: the number and kind that its templates see, and what identifies its content.

use super::hooks::Hook;
use super::object::DesiredObject;
use crate::manifest::Digest;
use crate::render::wasm::{Finding, Sought};

/// What templates see of a release beside its name (`.Release.Revision`, `.Release.IsUpgrade`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseNumber {
    /// Counts the contents of a Sync, from 1.
    pub revision: u32,
    /// Whether something was installed before.
    pub is_upgrade: bool,
}

impl ReleaseNumber {
    /// The first one.
    pub const FIRST: Self = Self {
        revision: 1,
        is_upgrade: false,
    };
}

/// A release, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// What its templates saw.
    pub number: ReleaseNumber,
    /// Identifies its objects and hooks, without values that are drawn at random. Hooks run once for each.
    pub content: String,
}

/// The releases that a render may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Releases {
    /// The release that is live. The same content is the same release, also after a restart.
    pub last: Option<Release>,
    /// The number of the release that other content would be.
    pub next: ReleaseNumber,
}

impl Default for Releases {
    fn default() -> Self {
        Self {
            last: None,
            next: ReleaseNumber::FIRST,
        }
    }
}

impl Releases {
    /// The number to render first.
    pub(super) fn first_guess(&self) -> ReleaseNumber {
        let last = self.last.as_ref();
        last.map_or(self.next, |last| last.number)
    }

    /// The number of `content`, which was rendered as [`Self::first_guess`].
    pub(super) fn number_of(&self, content: &str) -> ReleaseNumber {
        match &self.last {
            Some(last) if last.content == content => last.number,
            _ => self.next,
        }
    }
}

/// Identifies what a chart says. An object that the chart itself looks up is no part of it: once the object is made, the
/// chart may say of it what it found, and that would be an upgrade right after the installation.
pub(super) fn content(
    objects: &[DesiredObject],
    hooks: &[Hook],
    lookups: &[(Sought, Finding)],
) -> String {
    let is_looked_up =
        |object: &DesiredObject| lookups.iter().any(|(sought, _)| is_about(sought, object));
    let objects = objects.iter().filter(|object| !is_looked_up(object));
    let objects = objects.map(|object| format!("{} {}", object.key(), object.digest));
    // A hook's name may be drawn at random.
    let hooks = hooks.iter();
    let hooks = hooks.map(|hook| format!("hook {} {}", hook.file, hook.digest));
    let mut all: Vec<String> = objects.chain(hooks).collect();
    all.sort_unstable();
    Digest::of(&all.into()).to_string()
}

/// Whether a chart asks for this one object.
fn is_about(sought: &Sought, object: &DesiredObject) -> bool {
    let namespace = object.namespace.as_deref().unwrap_or_default();
    (sought.group(), &*sought.kind) == (&*object.gvk.group, &*object.gvk.kind)
        && *sought.name == *object.name
        && (sought.namespace.is_empty() || sought.namespace == namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_is_the_same_release() {
        let next = ReleaseNumber {
            revision: 2,
            is_upgrade: true,
        };
        let last = Release {
            number: ReleaseNumber::FIRST,
            content: "a".to_owned(),
        };
        let releases = Releases {
            last: Some(last),
            next,
        };
        assert_eq!(releases.first_guess(), ReleaseNumber::FIRST);
        assert_eq!(releases.number_of("a"), ReleaseNumber::FIRST);
        assert_eq!(releases.number_of("b"), next);
        assert_eq!(Releases::default().number_of("b"), ReleaseNumber::FIRST);
    }
}
