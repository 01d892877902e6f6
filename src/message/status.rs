//! The statuses of commits: which notices are about the delivery of a commit, and what the status of the commit is then.
//! Pure.
//!
//! A status is a state and no message: of several, the last one counts. A commit that was replaced before its content was
//! live has the fate of the commit that replaced it.

use super::Item;
use super::problem::reason_page;
use crate::api::{Reason, short_commits};
use crate::notify::{Level, Notice};

/// How the delivery of a commit goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Work is in progress.
    Pending,
    /// Its content is live.
    Live,
    /// It is good as far as it was looked at, which is not all of it.
    Partial,
    /// It failed.
    Failed,
    /// It is neither live, nor does anybody work on it any more.
    GivenUp,
}

/// The status of a commit for one Sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitStatus {
    /// The commit.
    pub commit: String,
    /// How it goes.
    pub course: Course,
    /// What tells it from the statuses of others: `towline/<cluster>/<namespace>/<sync>`.
    pub name: String,
    /// What is said about it.
    pub text: String,
    /// Where more about it is.
    pub url: Option<String>,
}

/// The notice as one about the commit that brought the content; none if it says nothing about a delivery.
pub fn about_commit(notice: &Notice) -> Option<Notice> {
    let revision = notice.delivers.clone()?;
    let is_course = match notice.reason {
        Reason::Progressing | Reason::Converged | Reason::Pinned => true,
        // How long it takes is no failure.
        Reason::Diff | Reason::StatusRefused => false,
        _ => notice.level == Level::Warning,
    };
    is_course.then(|| Notice {
        revision: Some(revision),
        ..notice.clone()
    })
}

/// The statuses that an item means, for a cluster with this name. `docs`: where towline's documentation is published.
pub fn statuses(item: &Item, cluster: &str, docs: Option<&str>) -> Vec<CommitStatus> {
    let Item {
        subject,
        ended,
        notice,
        ..
    } = item;
    let name = status_name(cluster, &subject.namespace, &subject.name);
    let message = short_commits(&notice.message);
    let course = match notice.reason {
        Reason::Progressing => Course::Pending,
        Reason::Converged => Course::Live,
        Reason::Suspended | Reason::Deleting => Course::GivenUp,
        _ => Course::Failed,
    };
    let text = match course {
        Course::Failed => format!("{}: {message}", notice.reason.as_str()),
        Course::Pending | Course::Live | Course::Partial | Course::GivenUp => message,
    };
    let url = docs.filter(|_| course == Course::Failed);
    let url = url.map(|docs| reason_page(notice.reason, Some(docs)));
    let status = |commit: &str, course, text| CommitStatus {
        commit: commit.to_owned(),
        course,
        name: name.clone(),
        text,
        url: url.clone(),
    };
    let by = notice.commit().map(short_commits);
    let replaced = ended
        .iter()
        .filter(|ended| ended.reason == Reason::Progressing)
        .filter_map(|ended| ended.revision.as_deref()?.rsplit_once(':'))
        .map(|(_, commit)| commit)
        .filter(|commit| notice.commit() != Some(commit));
    let replaced = replaced.map(|commit| {
        let text = match &by {
            Some(by) => format!("superseded by {by}: {text}"),
            None => text.clone(),
        };
        status(commit, course, text)
    });
    let own = notice
        .commit()
        .map(|commit| status(commit, course, text.clone()));
    own.into_iter().chain(replaced).collect()
}

/// `towline/<cluster>/<namespace>/<sync>`. Hosts take neither blanks nor control characters well.
pub fn status_name(cluster: &str, namespace: &str, name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let cluster: String = cluster
        .chars()
        .map(|c| if is_plain(c) { c } else { '-' })
        .collect();
    format!("towline/{cluster}/{namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::message::testing::{COMMIT, notice};
    use crate::message::{Ended, Id, NoticeState, Subject};

    fn item(reason: Reason, ended: &[(Reason, &str)]) -> Item {
        let notice = notice("shop", reason, 1);
        Item {
            id: Id::of(&notice),
            subject: Subject::of(&notice),
            state: NoticeState::News,
            ended: ended
                .iter()
                .map(|(reason, commit)| Ended {
                    reason: *reason,
                    revision: Some(format!("main@sha1:{commit}")),
                    since: Timestamp::UNIX_EPOCH,
                })
                .collect(),
            notice: Arc::new(notice),
        }
    }

    #[test]
    fn a_status_says_which_sync_how_it_goes_and_why() {
        for (reason, course, text) in [
            (Reason::Progressing, Course::Pending, "shop says <b>&"),
            (Reason::Converged, Course::Live, "shop says <b>&"),
            (
                Reason::ApplyFailed,
                Course::Failed,
                "ApplyFailed: shop says <b>&",
            ),
            (Reason::Pinned, Course::Failed, "Pinned: shop says <b>&"),
        ] {
            let found = statuses(&item(reason, &[]), "eu 1/a", None);
            let expected = CommitStatus {
                commit: COMMIT.to_owned(),
                course,
                name: "towline/eu-1-a/prod/shop".to_owned(),
                text: text.to_owned(),
                url: None,
            };
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn a_failure_leads_to_the_page_of_its_reason() {
        let docs = Some("https://git.example/towline/");
        let page = "https://git.example/towline/docs/operate/reasons.md#applyfailed";
        for (reason, docs, url) in [
            (Reason::ApplyFailed, docs, Some(page)),
            (Reason::ApplyFailed, None, None),
            (Reason::Progressing, docs, None),
            (Reason::Converged, docs, None),
            (Reason::Suspended, docs, None),
        ] {
            // A commit that was replaced by it has its fate, and its page.
            let found = statuses(&item(reason, &[(Reason::Progressing, "aa")]), "eu", docs);
            assert_eq!(found.len(), 2);
            assert!(
                found.iter().all(|status| status.url.as_deref() == url),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_commit_that_was_replaced_has_the_fate_of_the_one_that_replaced_it() {
        let ended = [
            (Reason::Progressing, "aa"),
            (Reason::Progressing, COMMIT),
            (Reason::ApplyFailed, "bb"),
        ];
        let found = statuses(&item(Reason::Converged, &ended), "eu", None);
        let shown: Vec<_> = found
            .iter()
            .map(|status| (&*status.commit, status.course, &*status.text))
            .collect();
        let expected = [
            (COMMIT, Course::Live, "shop says <b>&"),
            (
                "aa",
                Course::Live,
                "superseded by 0123456789ab: shop says <b>&",
            ),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_end_of_a_sync_ends_what_was_under_way() {
        let mut gone = item(Reason::Deleting, &[(Reason::Progressing, "aa")]);
        let mut notice = (*gone.notice).clone();
        notice.revision = None;
        gone.notice = Arc::new(notice);
        let found = statuses(&gone, "eu", None);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&*found[0].commit, found[0].course),
            ("aa", Course::GivenUp)
        );
    }

    #[test]
    fn only_notices_of_a_delivery_are_about_a_commit() {
        for (reason, is_about) in [
            (Reason::Converged, true),
            (Reason::Progressing, true),
            (Reason::Pinned, true),
            (Reason::Unpinned, false),
            (Reason::ApplyFailed, true),
            (Reason::PruneHeld, true),
            (Reason::Diff, false),
            (Reason::StatusRefused, false),
            (Reason::DriftCorrected, false),
            (Reason::ChangeCommitted, false),
        ] {
            let mut notice = notice("shop", reason, 1);
            assert_eq!(about_commit(&notice), None, "{reason:?}");
            notice.delivers = Some("main@sha1:aa".to_owned());
            let found = about_commit(&notice);
            let commit = found.as_ref().and_then(Notice::commit);
            assert_eq!(commit, is_about.then_some("aa"), "{reason:?}");
        }
    }
}
