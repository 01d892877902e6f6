//! The problems of a message, for services that keep each until it is over, and what each notice says. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Item, NoticeState, Subject, commit_link};
use crate::api::Reason;
use crate::notify::Notice;
use crate::text::{shorten, visible};

/// The longest text of one notice in a message, in bytes.
const LONGEST_LINE: usize = 1000;

/// The page that describes all reasons, in the documentation.
const REASONS: &str = "docs/operate/reasons.md";

/// What a message needs beside its notices.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The namespace and the name of the alert.
    pub alert: (&'a str, &'a str),
    /// What the alert adds to every message.
    pub metadata: &'a BTreeMap<String, String>,
    /// A text that no other installation of towline has. It tells nothing of the key that it is made of.
    pub installation: &'a str,
    /// Where towline's documentation is published, if it is.
    pub docs: Option<&'a str>,
    /// The URL of the repository that a subject comes from.
    pub repository: &'a dyn Fn(&Subject) -> Option<String>,
}

/// A problem that begins or ends, for a service that keeps it until it is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What it is about.
    pub subject: Subject,
    /// What it is.
    pub reason: Reason,
    /// When it began.
    pub since: Timestamp,
    /// When it ended. None while it is open.
    pub until: Option<Timestamp>,
    /// What is said about it.
    pub message: String,
    /// `<ref>@sha1:<commit>`.
    pub revision: Option<String>,
    /// The author of the commit.
    pub author: Option<String>,
    /// The page of the commit on the web.
    pub commit_url: Option<String>,
    /// The page of the documentation about its reason.
    pub reason_page: String,
}

/// A problem that is open, with the notice that tells it best.
#[derive(Clone, Copy, Debug)]
pub struct OpenNotice<'a> {
    /// What it is about.
    pub subject: &'a Subject,
    /// What it is.
    pub reason: Reason,
    /// When it began.
    pub since: Timestamp,
    /// The revision that it is about.
    pub revision: Option<&'a String>,
    /// The notice that began it, or what the status says. None if neither is known, as after a restart.
    pub notice: Option<&'a Notice>,
}

/// What a notice says, without characters that nobody sees or that change how others read.
pub(super) fn words(notice: &Notice) -> String {
    shorten(&visible(&notice.message), LONGEST_LINE)
}

/// The page of the documentation about a reason: its URL, or the path in towline's repository if nobody said where that is
/// published.
pub(super) fn reason_page(reason: Reason, docs: Option<&str>) -> String {
    let base = docs.unwrap_or_default();
    format!("{base}{REASONS}#{}", reason.as_str().to_lowercase())
}

/// The problems that end and begin with an item.
pub(super) fn problems(item: &Item, context: Context<'_>) -> Vec<Problem> {
    let notice = &*item.notice;
    let ended = item.ended.iter().map(|ended| Problem {
        reason: ended.reason,
        since: ended.since,
        until: Some(notice.at),
        reason_page: reason_page(ended.reason, context.docs),
        ..problem(&item.subject, notice, context)
    });
    let begun =
        (item.state == NoticeState::Begins).then(|| problem(&item.subject, notice, context));
    ended.chain(begun).collect()
}

/// The problem that a notice tells.
pub(super) fn problem(subject: &Subject, notice: &Notice, context: Context<'_>) -> Problem {
    let commit = notice.commit();
    let change = notice.change.as_ref().filter(|_| commit.is_some());
    Problem {
        subject: subject.clone(),
        reason: notice.reason,
        since: notice.at,
        until: None,
        message: words(notice),
        revision: notice.revision.clone(),
        author: change.map(|change| visible(&change.author).into_owned()),
        commit_url: link(subject, commit, context),
        reason_page: reason_page(notice.reason, context.docs),
    }
}

/// The page of a commit on the web.
pub(super) fn link(
    subject: &Subject,
    commit: Option<&str>,
    context: Context<'_>,
) -> Option<String> {
    commit_link(&(context.repository)(subject)?, commit?)
}
