//! The message of a group: its facts, and its words. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::problem::{Context, OpenNotice, Problem, link, problem, problems, reason_page, words};
use super::{Group, Id, Item, NoticeState, Subject, TemplateError, Templates};
use crate::api::{Reason, short_commits};
use crate::notify::{Level, commit_of};
use crate::text::{start, visible};

/// The most notices that a message names. It counts the others.
const LINES: usize = 20;

/// A message. Templates and the bodies of webhooks have its fields, by their names in camel case.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The same whenever the message is sent again.
    pub id: String,
    /// `news`, `begins` or `ends`.
    pub state: &'static str,
    /// `info` or `error`.
    pub severity: &'static str,
    /// The reason of the notices.
    pub reason: &'static str,
    /// Where the documentation describes the reason: a path, as it may stand at any address.
    pub reason_page: String,
    /// What people can do about the reason, in the words of that page.
    pub way_out: &'static str,
    /// `<ref>@sha1:<commit>`.
    pub revision: Option<String>,
    /// The commit.
    pub commit: Option<String>,
    /// The first twelve digits of the commit.
    pub short_commit: Option<String>,
    /// The page of the commit on the web.
    pub commit_url: Option<String>,
    /// The author of the commit.
    pub author: Option<String>,
    /// The first line of the commit's message.
    pub subject: Option<String>,
    /// When the first of the notices, or the problem that ends, began.
    pub since: Timestamp,
    /// When the last of the notices was made.
    pub at: Timestamp,
    /// What the alert adds.
    pub metadata: BTreeMap<String, String>,
    /// The alert: `namespace/name`.
    pub alert: String,
    /// The number of notices.
    pub total: usize,
    /// The number of resources that they are about.
    pub resources: usize,
    /// The problems that end with any of them, the oldest first.
    pub ended: Vec<&'static str>,
    /// The first notices.
    pub notices: Vec<Line>,
    /// The number of notices beside those.
    pub more: usize,
    /// The words of the title.
    pub title: String,
    /// The words of the body.
    pub text: String,
    /// The problems that begin or end, for services that keep them.
    #[serde(skip)]
    pub problems: Vec<Problem>,
    /// What tells this cluster from others, also where nobody has named them.
    #[serde(skip)]
    pub cluster: String,
    /// Why a template failed for this message, so that it has the default words.
    #[serde(skip)]
    pub misworded: Option<TemplateError>,
}

/// One notice of a message.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The kind of the resource.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is said about it.
    pub message: String,
    /// The first of the objects that this is about.
    pub objects: Vec<String>,
    /// The problems that end with it.
    pub ended: Vec<&'static str>,
}

/// Makes the message of a group. None if the group is empty. If a template fails for it, the default words are used.
pub fn compose(group: &Group, templates: &Templates, context: Context<'_>) -> Option<Message> {
    let first = group.items.first()?;
    let notice = &*first.notice;
    let one_of = |of: &dyn Fn(&Item) -> Option<String>| {
        let value = of(first)?;
        let is_same = group
            .items
            .iter()
            .all(|item| of(item).as_ref() == Some(&value));
        is_same.then_some(value)
    };
    let commit = one_of(&|item| item.notice.commit().map(str::to_owned));
    let commit_url = link(&first.subject, commit.as_deref(), context);
    let change = notice.change.as_ref().filter(|_| commit.is_some());
    // A revision may be live, or committed, more than once.
    let id = |item: &Item| format!("{}@{}", item.id, item.notice.at.as_second());
    let ids: Vec<String> = group.items.iter().map(id).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let since = group.items.iter().map(begin).min();
    let lines = group.items.iter().take(LINES).map(line);
    let (namespace, name) = context.alert;
    let mut message = Message {
        id: Id::parts(&[&[context.installation, namespace, name], &ids[..]].concat()).to_string(),
        state: first.state.as_str(),
        severity: match notice.level {
            Level::Normal => "info",
            Level::Warning => "error",
        },
        reason: notice.reason.as_str(),
        reason_page: reason_page(notice.reason, context.docs),
        way_out: notice.reason.way_out(),
        revision: one_of(&|item| item.notice.revision.clone()),
        short_commit: commit.as_deref().map(short_commits),
        commit,
        commit_url,
        author: change.map(|change| visible(&change.author).into_owned()),
        subject: change.map(|change| visible(&change.subject).into_owned()),
        since: whole_seconds(since.unwrap_or(notice.at)),
        at: whole_seconds(group.items.iter().map(|item| item.notice.at).max()?),
        metadata: context.metadata.clone(),
        alert: format!("{namespace}/{name}"),
        total: group.items.len(),
        resources: group
            .items
            .iter()
            .map(|item| &item.subject)
            .collect::<BTreeSet<_>>()
            .len(),
        ended: ended(&group.items),
        notices: lines.collect(),
        more: group.items.len().saturating_sub(LINES),
        title: String::new(),
        text: String::new(),
        problems: group
            .items
            .iter()
            .flat_map(|item| problems(item, context))
            .collect(),
        cluster: cluster(context),
        misworded: None,
    };
    let words = templates.words(&message);
    (message.title, message.text, message.misworded) = (words.title, words.body, words.error);
    Some(message)
}

/// A message that says again which problems are open, for a service that forgets them. Each is said as it was at first.
pub fn reminder<'a>(
    open: impl Iterator<Item = OpenNotice<'a>>,
    context: Context<'_>,
    now: Timestamp,
) -> Message {
    let again = |open: OpenNotice<'_>| {
        let OpenNotice {
            subject,
            reason,
            since,
            revision,
            notice,
        } = open;
        let told = notice.map(|notice| problem(subject, notice, context));
        let bare = || Problem {
            subject: subject.clone(),
            reason,
            since,
            until: None,
            message: format!("{subject} is not ready: {}", reason.as_str()),
            revision: revision.cloned(),
            author: None,
            commit_url: link(subject, revision.and_then(|it| commit_of(it)), context),
            reason_page: reason_page(reason, context.docs),
        };
        Problem {
            reason,
            since,
            reason_page: reason_page(reason, context.docs),
            ..told.unwrap_or_else(bare)
        }
    };
    Message {
        at: now,
        problems: open.map(again).collect(),
        cluster: cluster(context),
        metadata: context.metadata.clone(),
        ..example(context.alert, context.docs)
    }
}

/// A message with which templates are tried.
pub fn example((namespace, name): (&str, &str), docs: Option<&str>) -> Message {
    let line = Line {
        kind: "Sync".to_owned(),
        namespace: namespace.to_owned(),
        name: "shop".to_owned(),
        message: "3 objects equal main@sha1:0123456789ab".to_owned(),
        objects: vec![format!("ConfigMap {namespace}/shop")],
        ended: vec![Reason::Diff.as_str()],
    };
    Message {
        id: String::new(),
        state: NoticeState::News.as_str(),
        severity: "info",
        reason: Reason::Converged.as_str(),
        reason_page: reason_page(Reason::Converged, docs),
        way_out: Reason::Converged.way_out(),
        revision: Some("main@sha1:0123456789ab".to_owned()),
        commit: Some("0123456789ab".to_owned()),
        short_commit: Some("0123456789ab".to_owned()),
        commit_url: Some("https://github.com/team/shop/commit/0123456789ab".to_owned()),
        author: Some("Anna".to_owned()),
        subject: Some("Raise the limit".to_owned()),
        since: Timestamp::UNIX_EPOCH,
        at: Timestamp::UNIX_EPOCH,
        metadata: BTreeMap::new(),
        alert: format!("{namespace}/{name}"),
        total: 1,
        resources: 1,
        ended: Vec::new(),
        notices: vec![line],
        more: 0,
        title: String::new(),
        text: String::new(),
        problems: Vec::new(),
        cluster: String::new(),
        misworded: None,
    }
}

/// The cluster's name, or else a part of what is known of this installation alone.
fn cluster(context: Context<'_>) -> String {
    let named = context.metadata.get("cluster").map(String::as_str);
    named
        .unwrap_or_else(|| start(context.installation, 8))
        .to_owned()
}

/// The reasons of the problems that end, the oldest first. Who was told that one of them began finds it among them.
fn ended(items: &[Item]) -> Vec<&'static str> {
    let all = items.iter().flat_map(|item| &item.ended);
    // That work on a commit began is no problem.
    let mut all: Vec<_> = all
        .filter(|ended| ended.reason != Reason::Progressing)
        .map(|ended| (ended.since, ended.reason))
        .collect();
    all.sort_unstable();
    let mut reasons = Vec::new();
    for (_, reason) in all {
        if !reasons.contains(&reason.as_str()) {
            reasons.push(reason.as_str());
        }
    }
    reasons
}

/// When what a notice says began.
fn begin(item: &Item) -> Timestamp {
    let ended = item.ended.iter().map(|ended| ended.since).min();
    match item.state {
        NoticeState::Ends => ended.unwrap_or(item.notice.at),
        NoticeState::News | NoticeState::Begins => item.notice.at,
    }
}

fn line(item: &Item) -> Line {
    let Subject {
        kind,
        namespace,
        name,
    } = &item.subject;
    Line {
        kind: kind.to_string(),
        namespace: namespace.to_string(),
        name: name.to_string(),
        message: words(&item.notice),
        objects: item.notice.objects.clone(),
        ended: item
            .ended
            .iter()
            .map(|ended| ended.reason.as_str())
            .collect(),
    }
}

/// People read no parts of a second, and statuses have none.
fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::message::Ended;
    use crate::message::testing::{COMMIT, notice};

    /// A message about some Syncs.
    pub(crate) fn message(names: &[&str], reason: Reason, state: NoticeState) -> Message {
        composed(items(names, reason, state))
    }

    fn items(names: &[&str], reason: Reason, state: NoticeState) -> Vec<Item> {
        let items = names.iter().map(|name| {
            let notice = notice(name, reason, 1_700_000_000);
            Item {
                id: Id::of(&notice),
                subject: Subject::of(&notice),
                state,
                ended: match state {
                    NoticeState::Ends => vec![Ended {
                        reason: Reason::Diff,
                        revision: None,
                        since: Timestamp::from_second(1_699_999_000).unwrap(),
                    }],
                    _ => Vec::new(),
                },
                notice: Arc::new(notice),
            }
        });
        items.collect()
    }

    /// The message of these items.
    fn composed(items: Vec<Item>) -> Message {
        composed_with(items, None)
    }

    fn composed_with(items: Vec<Item>, docs: Option<&str>) -> Message {
        composed_in("0123456789abcdef", items, docs)
    }

    fn composed_in(installation: &str, items: Vec<Item>, docs: Option<&str>) -> Message {
        let group = Group {
            items,
            due: Timestamp::UNIX_EPOCH,
            since: Timestamp::UNIX_EPOCH,
            number: 1,
        };
        let context = Context {
            alert: ("prod", "chat"),
            metadata: &BTreeMap::from([("cluster".to_owned(), "eu-1".to_owned())]),
            installation,
            docs,
            repository: &|_| Some("https://me:hunter2@github.com/a/b.git".to_owned()),
        };
        compose(&group, &Templates::default(), context).unwrap()
    }

    #[test]
    fn the_page_of_the_reason_is_a_link_where_the_pages_are_published() {
        let of = |state, docs| composed_with(items(&["shop"], Reason::ApplyFailed, state), docs);
        let path = "docs/operate/reasons.md#applyfailed";
        let begins = of(NoticeState::Begins, None);
        assert_eq!(
            (&*begins.reason_page, begins.text.contains(path)),
            (path, false)
        );
        let begins = of(NoticeState::Begins, Some("https://docs.corp/towline/"));
        let url = format!("https://docs.corp/towline/{path}");
        assert_eq!(
            (&begins.reason_page, &begins.problems[0].reason_page),
            (&url, &url)
        );
        assert!(
            begins.text.contains(&format!("\nAbout it: {url}\n")),
            "{}",
            begins.text
        );
        let ends = of(NoticeState::Ends, Some("https://docs.corp/towline/"));
        assert!(ends.problems[0].reason_page.ends_with("#diff"));
        assert!(!ends.text.contains("About it"));
    }

    #[test]
    fn a_message_says_what_who_which_commit_since_when_and_what_to_do() {
        let message = message(&["shop"], Reason::ApplyFailed, NoticeState::Begins);
        assert_eq!(message.title, "ApplyFailed: Sync prod/shop (eu-1)");
        for part in [
            "shop says <b>&",
            "Commit 0123456789ab by Anna: Raise the limit",
            &format!("https://github.com/a/b/commit/{COMMIT}"),
            "Since 2023-11-14T22:13:20Z",
            "kubectl -n prod describe sync shop",
            "Way out: The message is that of the server.",
        ] {
            assert!(message.text.contains(part), "{part} in:\n{}", message.text);
        }
        assert!(!format!("{message:?}").contains("hunter2"));
        assert_eq!(message.problems.len(), 1);
    }

    #[test]
    fn many_syncs_make_one_message_that_counts_them() {
        let names: Vec<String> = (0..50).map(|number| format!("app-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let message = message(&names, Reason::Converged, NoticeState::News);
        assert_eq!(message.title, "Converged: 50 Syncs (eu-1)");
        assert!(message.text.contains("and 30 more"), "{}", message.text);
        assert_eq!((message.total, message.notices.len()), (50, LINES));
        assert!(message.problems.is_empty());
    }

    #[test]
    fn the_end_of_a_problem_says_what_ended_and_how_long_it_was() {
        let message = message(&["shop"], Reason::Converged, NoticeState::Ends);
        assert_eq!(message.title, "Over: Diff of Sync prod/shop (eu-1)");
        assert!(
            message
                .text
                .contains("From 2023-11-14T21:56:40Z to 2023-11-14T22:13:20Z"),
            "{}",
            message.text
        );
        assert!(message.problems[0].until.is_some());
    }

    /// Who reads one of the begins reads that it is over, and one Sync that is told of twice is one Sync.
    #[test]
    fn a_title_names_all_that_ends_and_counts_resources() {
        let item = |name: &str, reasons: &[Reason]| {
            let notice = notice(name, Reason::Converged, 1_700_000_000);
            let ended = reasons.iter().zip(1..).map(|(reason, second)| Ended {
                reason: *reason,
                revision: None,
                since: Timestamp::from_second(second).unwrap(),
            });
            Item {
                id: Id::of(&notice),
                subject: Subject::of(&notice),
                state: match reasons.is_empty() {
                    true => NoticeState::News,
                    false => NoticeState::Ends,
                },
                ended: ended.collect(),
                notice: Arc::new(notice),
            }
        };
        let (failed, diff) = (Reason::ApplyFailed, Reason::Diff);
        for (items, title) in [
            (
                vec![item("shop", &[failed, diff])],
                "Over: ApplyFailed and Diff of Sync prod/shop",
            ),
            (
                vec![
                    item("a", &[failed, diff]),
                    item("b", &[failed, Reason::HookFailed]),
                ],
                "Over: ApplyFailed, Diff and HookFailed of 2 Syncs",
            ),
            (
                vec![item("shop", &[]), item("shop", &[])],
                "Converged: Sync prod/shop",
            ),
            (
                vec![item("a", &[]), item("a", &[]), item("b", &[])],
                "Converged: 2 Syncs",
            ),
        ] {
            assert_eq!(composed(items).title, format!("{title} (eu-1)"));
        }
    }

    #[test]
    fn a_problem_that_takes_the_place_of_another_says_so() {
        let notice = notice("shop", Reason::ApplyFailed, 1_700_000_000);
        let replaced = |reason| Ended {
            reason,
            revision: None,
            since: Timestamp::from_second(1).unwrap(),
        };
        let item = Item {
            id: Id::of(&notice),
            subject: Subject::of(&notice),
            state: NoticeState::Begins,
            ended: vec![replaced(Reason::InvalidManifest)],
            notice: Arc::new(notice),
        };
        let message = composed(vec![item]);
        let says = "Since 2023-11-14T22:13:20Z, in the place of InvalidManifest\n";
        assert!(message.text.contains(says), "{}", message.text);
    }

    /// The driver's clock has parts of a second, also in the problem that ends.
    #[test]
    fn times_are_whole_seconds() {
        let mut notice = notice("shop", Reason::Diff, 1_700_000_000);
        notice.at = Timestamp::new(1_700_000_000, 123_456_789).unwrap();
        let item = Item {
            id: Id::of(&notice),
            subject: Subject::of(&notice),
            state: NoticeState::Begins,
            ended: Vec::new(),
            notice: Arc::new(notice),
        };
        let message = composed(vec![item]);
        assert!(
            message.text.contains("Since 2023-11-14T22:13:20Z\n"),
            "{}",
            message.text
        );
        assert_eq!(message.at.to_string(), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn a_message_that_is_made_again_has_the_same_id() {
        let one = message(&["a", "b"], Reason::Converged, NoticeState::News);
        assert_eq!(
            one.id,
            message(&["a", "b"], Reason::Converged, NoticeState::News).id
        );
        assert_ne!(
            one.id,
            message(&["a"], Reason::Converged, NoticeState::News).id
        );
    }

    /// A revision may be live twice, and two clusters may have the same Syncs.
    #[test]
    fn a_later_message_and_that_of_another_cluster_have_other_ids() {
        let items = || items(&["a"], Reason::Converged, NoticeState::News);
        let first = composed(items());
        let mut later = items();
        Arc::make_mut(&mut later[0].notice).at = Timestamp::from_second(1_700_000_060).unwrap();
        assert_eq!(later[0].id, items()[0].id);
        assert_ne!(composed(later).id, first.id);
        assert_ne!(composed_in("fedcba9876543210", items(), None).id, first.id);
    }
}
