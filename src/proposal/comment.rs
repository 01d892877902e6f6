//! The words of a plan: a comment in Markdown and a line for the status of the commit. Pure.
//!
//! The author of a pull request chooses most of what is in it, so nothing of that is Markdown: it stands in fences that are
//! longer than every run of backticks inside, or escaped in `code` of HTML.

mod sections;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use self::sections::{Body, body};
use super::fields::Fields;
use super::reach::Reach;
use crate::manifest::GroupVersionKind;
use crate::message::Course;
use crate::preview::{Action, unmarked};
use crate::text::{printable, shorten};

/// The most names of Syncs that are not touched.
const MOST_NAMES: usize = 100;

/// As many digits as the number of objects without room may have.
const MOST_LEFT: usize = 9_999_999;

/// The longest reason, in bytes.
const LONGEST_REASON: usize = 1000;

/// What a pull request would change.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The newest commit of the request.
    pub(super) head: String,
    /// The commit that it began at.
    pub(super) base: String,
    /// The branch that it is to be merged into.
    pub(super) target: String,
    /// For each Sync of the repository, by its name.
    pub(super) syncs: Vec<(String, Fate)>,
}

/// What would become of the objects of a Sync.
#[derive(Debug)]
pub(super) enum Fate {
    /// They stay as they are.
    Untouched,
    /// These would change.
    Changed {
        objects: Vec<ObjectPlan>,
        /// How many more differ, and were not tried out because the request is too large.
        over: usize,
        /// How many more differ, and were not tried out for another reason, or without an answer.
        untried: usize,
        /// What else is to be said.
        notes: Vec<String>,
    },
    /// It could not be rendered, for this reason.
    Broken(String),
    /// Nothing is known of it, for this reason, which the request did not make.
    Unplanned(String),
}

/// What would become of an object.
#[derive(Debug)]
pub(super) struct ObjectPlan {
    /// `Kind.group namespace/name`
    pub(super) object: String,
    pub(super) reach: Reach,
    /// The file that declares it; none if it leaves Git.
    pub(super) file: Option<String>,
    pub(super) action: Action,
    /// What a reader should know beside it.
    pub(super) remark: Option<&'static str>,
    pub(super) fields: Fields,
    /// Its kind, if the API server does not serve it.
    pub(super) unserved: Option<Arc<GroupVersionKind>>,
}

impl Fate {
    /// The objects that would change.
    pub(super) fn objects(&mut self) -> &mut [ObjectPlan] {
        match self {
            Self::Changed { objects, .. } => objects,
            Self::Untouched | Self::Broken(_) | Self::Unplanned(_) => &mut [],
        }
    }
}

impl ObjectPlan {
    /// An object whose kind is not served would be created all the same if a definition of the request brings its kind.
    pub(super) fn settle(&mut self, defined: &HashSet<GroupVersionKind>) {
        if self
            .unserved
            .as_deref()
            .is_some_and(|kind| defined.contains(kind))
        {
            self.action = Action::Create;
            self.remark = Some("which was not tried: its kind comes with the same files");
        }
    }
}

/// Where a plan is about, and how a comment begins.
pub(super) struct Header<'a> {
    /// Makes the comment known again. Readers do not see it.
    pub(super) marker: &'a str,
    /// The namespace and name of the GitRepository.
    pub(super) repository: &'a str,
    pub(super) cluster: &'a str,
}

/// A comment.
pub(super) struct Written {
    pub(super) text: String,
    /// How many objects have no room in it, or are in it without all of their fields.
    pub(super) left: usize,
}

/// Counts of actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    create: usize,
    change: usize,
    prune: usize,
    keep: usize,
    refused: usize,
    unserved: usize,
    over: usize,
    untried: usize,
    broken: usize,
    unplanned: usize,
    touched: usize,
}

impl Counts {
    fn of<'a>(fates: impl IntoIterator<Item = &'a Fate>) -> Self {
        let mut counts = Self::default();
        for fate in fates {
            match fate {
                Fate::Untouched => continue,
                Fate::Broken(_) => counts.broken += 1,
                Fate::Unplanned(_) => counts.unplanned += 1,
                Fate::Changed {
                    objects,
                    over,
                    untried,
                    ..
                } => {
                    counts.over += over;
                    counts.untried += untried;
                    for object in objects {
                        *match object.action {
                            Action::Create => &mut counts.create,
                            Action::Change => &mut counts.change,
                            Action::Delete => &mut counts.prune,
                            Action::Release(_) => &mut counts.keep,
                            Action::Refuse(_) => &mut counts.refused,
                            Action::Unserved(_) => &mut counts.unserved,
                        } += 1;
                    }
                }
            }
            counts.touched += 1;
        }
        counts
    }

    /// `1 to create, 2 to change`
    fn in_words(self) -> String {
        let words = [
            (self.untried, "not tried out"),
            (self.unplanned, "not planned"),
            (self.create, "to create"),
            (self.change, "to change"),
            (self.prune, "to prune"),
            (self.keep, "to release"),
            (self.refused, "refused"),
            (self.unserved, "not served by the cluster, not tried"),
            (self.broken, "not rendered"),
        ];
        let words = words.into_iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> = words
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        match words.is_empty() {
            true => "no object changes".to_owned(),
            false => words.join(", "),
        }
    }
}

impl Plan {
    fn counts(&self) -> Counts {
        Counts::of(self.syncs.iter().map(|(_, fate)| fate))
    }

    /// Whether it concerns any Sync.
    pub(super) fn touches(&self) -> bool {
        self.counts().touched > 0
    }

    /// Whether the request cannot be applied as it is.
    pub(super) fn is_refused(&self) -> bool {
        let counts = self.counts();
        counts.refused + counts.unserved + counts.broken > 0
    }

    /// Whether all that differs was tried out.
    pub(super) fn is_whole(&self) -> bool {
        let counts = self.counts();
        counts.over + counts.untried + counts.unplanned == 0
    }

    /// How the request stands, if so many objects have no room in the comment.
    pub(super) fn course(&self, left: usize) -> Course {
        match (self.is_refused(), self.is_whole() && left == 0) {
            (true, _) => Course::Failed,
            (false, false) => Course::Partial,
            (false, true) => Course::Live,
        }
    }

    /// The plan in a line, if so many objects have no room in the comment. Hosts cut long ones, so it begins with what is not
    /// known, and what to do about that.
    pub(super) fn line(&self, left: usize) -> String {
        let counts = self.counts();
        let first = match (counts.over, left) {
            (0, 0) if self.is_whole() => String::new(),
            (0, 0) => "not all was tried out: ".to_owned(),
            (over, 0) => format!("too large, split the request: {over} not tried out; "),
            (0, left) => format!("too large, split the request: {left} not in the comment; "),
            (over, left) => format!(
                "too large, split the request: {over} not tried out, {left} not in the comment; "
            ),
        };
        match (counts.touched, self.syncs.len()) {
            (0, 0) => "no Sync uses this repository".to_owned(),
            (0, _) => "no Sync is touched".to_owned(),
            (touched, all) => {
                format!("{first}{} in {touched} of {all} Syncs", counts.in_words())
            }
        }
    }

    /// The comment, of at most so many bytes. What does not fit is counted.
    pub(super) fn comment(&self, header: &Header<'_>, longest: usize) -> Written {
        let untouched = self.untouched();
        let beside = self.head(header, MOST_LEFT).len() + untouched.len() + 200;
        let Body {
            text,
            unnamed,
            shortened,
        } = body(&self.syncs, longest.saturating_sub(beside));
        let left = unnamed + shortened;
        let mut text = self.head(header, left) + &text;
        if unnamed > 0 {
            let _ = writeln!(
                text,
                "\n**and {unnamed} more objects, for which there is no room**"
            );
        }
        text += &untouched;
        Written { text, left }
    }

    fn head(&self, header: &Header<'_>, left: usize) -> String {
        let Header {
            marker,
            repository,
            cluster,
        } = header;
        format!(
            "{marker}\n### towline: plan for `{repository}` on `{cluster}`\n\n**{}**\n\nCommit {} was compared with {}, where \
             it left {}. This was a dry run: nothing has changed in the cluster.\n",
            self.line(left),
            short(&self.head),
            short(&self.base),
            code(&self.target),
        )
    }

    fn untouched(&self) -> String {
        let names = self.syncs.iter();
        let names: Vec<&str> = names
            .filter(|(_, fate)| matches!(fate, Fate::Untouched))
            .map(|(name, _)| &**name)
            .collect();
        if names.is_empty() {
            return String::new();
        }
        let named = names.iter().take(MOST_NAMES);
        let named: Vec<String> = named.map(|name| format!("`{name}`")).collect();
        let more = names.len().saturating_sub(MOST_NAMES);
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("\nNot touched: {}{more}\n", named.join(", "))
    }
}

fn reason(why: &str) -> String {
    shorten(&printable(why), LONGEST_REASON)
}

fn short(commit: &str) -> String {
    let digits: String = commit.chars().take(12).collect();
    code(&digits)
}

/// Text as code, in HTML, which may stand everywhere and holds no Markdown.
fn code(text: &str) -> String {
    format!("<code>{}</code>", unmarked(&shorten(text, 300)))
}

#[cfg(test)]
mod tests;
