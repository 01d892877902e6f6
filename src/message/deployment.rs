//! The deployments of commits: what a Git host is told of a commit in an environment. Pure.
//!
//! A deployment follows the same notices as the status of a commit. It differs in one point: a commit that was replaced is
//! not live, although the commit that replaced it is.

use super::service::{NotReportable, unique};
use super::{Course, Item, statuses};
use crate::api::Reason;

/// The longest name of an environment, and the longest URL, in bytes. GitLab takes no longer ones.
const LONGEST: usize = 255;

/// How a deployment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeploymentState {
    /// Work is in progress.
    Running,
    /// The commit is live.
    Live,
    /// It failed.
    Failed,
    /// The commit is not live, and nobody works on it any more.
    Inactive,
}

/// A deployment of a commit by one Sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// The commit.
    pub commit: String,
    /// The branch or the tag; the commit, where neither is known.
    pub reference: String,
    /// Whether it is a tag.
    pub is_tag: bool,
    /// How it goes.
    pub state: DeploymentState,
    /// Who deploys: `towline/<cluster>/<namespace>/<sync>`.
    pub owner: String,
    /// The name of the environment.
    pub environment: String,
    /// Where it runs, if that is known and it is live.
    pub url: Option<String>,
    /// The commit that was live before, if this one took its place.
    pub replaces: Option<String>,
    /// What is said about it.
    pub text: String,
}

/// What is known of the place where a Sync deploys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// The environment that the Sync's annotation names.
    pub environment: Option<String>,
    /// The URL that the Sync's annotation names.
    pub url: Option<String>,
    /// The URL at which its objects can be reached.
    pub found: Option<String>,
    /// Whether its source follows tags.
    pub follows_tags: bool,
    /// Whether the host was told already that a newer commit is live.
    pub is_overtaken: bool,
}

/// The deployments that an item means, for a cluster with this name.
///
/// # Errors
///
/// [`NotReportable`], if an annotation cannot be used.
pub fn deployments(
    item: &Item,
    cluster: &str,
    setting: &Setting,
) -> Result<Vec<Deployment>, NotReportable> {
    let own = item.notice.commit();
    let url = url(setting)?;
    let all = statuses(item, cluster, None).into_iter().map(|status| {
        let state = match status.course {
            _ if setting.is_overtaken => DeploymentState::Inactive,
            // A commit that was replaced.
            _ if own != Some(&*status.commit) => DeploymentState::Inactive,
            // The Sync went back to another commit.
            _ if item.notice.reason == Reason::Pinned => DeploymentState::Inactive,
            Course::Pending => DeploymentState::Running,
            Course::Live | Course::Partial => DeploymentState::Live,
            Course::Failed => DeploymentState::Failed,
            Course::GivenUp => DeploymentState::Inactive,
        };
        Ok(Deployment {
            reference: reference(item).unwrap_or(&status.commit).to_owned(),
            is_tag: setting.follows_tags && reference(item).is_some(),
            state,
            environment: environment(setting, &status.name)?,
            url: url.clone().filter(|_| state == DeploymentState::Live),
            replaces: replaced(item).filter(|_| state == DeploymentState::Live),
            commit: status.commit,
            owner: status.name,
            text: status.text,
        })
    });
    all.collect()
}

/// The commit whose place the item's takes.
fn replaced(item: &Item) -> Option<String> {
    let (_, commit) = item.notice.replaces.as_deref()?.rsplit_once(':')?;
    let is_other = item.notice.commit() != Some(commit);
    is_other.then(|| commit.to_owned())
}

/// The branch or the tag of the item's revision.
fn reference(item: &Item) -> Option<&str> {
    let (name, _) = item.notice.revision.as_deref()?.rsplit_once('@')?;
    let short = name
        .strip_prefix("refs/heads/")
        .or_else(|| name.strip_prefix("refs/tags/"));
    Some(short.unwrap_or(name))
}

/// The name of the environment: that of the annotation, or `<cluster>/<namespace>/<sync>`. `owner` is
/// `towline/<cluster>/<namespace>/<sync>`.
fn environment(setting: &Setting, owner: &str) -> Result<String, NotReportable> {
    let Some(name) = &setting.environment else {
        let name = owner.strip_prefix("towline/").unwrap_or(owner);
        return Ok(unique(name.trim_start_matches('/'), LONGEST));
    };
    // What GitLab takes.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./ ".contains(c);
    let is_outer = |c| matches!(c, '/' | ' ');
    let is_name = (1..=LONGEST).contains(&name.len())
        && name.chars().all(is_plain)
        && !name.starts_with(is_outer)
        && !name.ends_with(is_outer);
    is_name
        .then(|| name.clone())
        .ok_or(NotReportable::Environment)
}

/// Where it runs: the annotation's URL, or the one that was found.
fn url(setting: &Setting) -> Result<Option<String>, NotReportable> {
    match &setting.url {
        Some(url) if is_web(url) => Ok(Some(url.clone())),
        Some(_) => Err(NotReportable::Url),
        None => Ok(setting.found.clone().filter(|url| is_web(url))),
    }
}

/// Whether a text is an absolute URL of a page, without a user or a password.
fn is_web(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
    if text.len() > LONGEST || !text.chars().all(is_plain) {
        return false;
    }
    let Ok(url) = text.parse::<http::Uri>() else {
        return false;
    };
    let host = url.host().unwrap_or_default();
    let authority = url.authority().map(http::uri::Authority::as_str);
    matches!(url.scheme_str(), Some("http" | "https"))
        && !host.is_empty()
        && authority.is_some_and(|authority| !authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::message::testing::{COMMIT, notice};
    use crate::message::{Ended, Id, NoticeState, Subject};

    fn item(reason: Reason, ended: &[&str]) -> Item {
        let notice = notice("shop", reason, 1);
        let ended = ended.iter().map(|commit| Ended {
            reason: Reason::Progressing,
            revision: Some(format!("main@sha1:{commit}")),
            since: Timestamp::UNIX_EPOCH,
        });
        Item {
            id: Id::of(&notice),
            subject: Subject::of(&notice),
            state: NoticeState::News,
            ended: ended.collect(),
            notice: Arc::new(notice),
        }
    }

    fn found(url: &str) -> Setting {
        Setting {
            found: Some(url.to_owned()),
            ..Setting::default()
        }
    }

    #[test]
    fn a_deployment_follows_the_course_of_its_commit() {
        for (reason, state, url) in [
            (Reason::Progressing, DeploymentState::Running, None),
            (
                Reason::Converged,
                DeploymentState::Live,
                Some("https://a.b"),
            ),
            (Reason::HealthFailed, DeploymentState::Failed, None),
            (Reason::Pinned, DeploymentState::Inactive, None),
            (Reason::Suspended, DeploymentState::Inactive, None),
        ] {
            let said = deployments(&item(reason, &[]), "eu 1", &found("https://a.b")).unwrap();
            let [said] = &said[..] else {
                panic!("{said:?}");
            };
            assert_eq!((said.state, said.url.as_deref()), (state, url));
            assert_eq!(
                (&*said.commit, &*said.reference, said.is_tag),
                (COMMIT, "main", false)
            );
            assert_eq!(said.owner, "towline/eu-1/prod/shop");
            assert_eq!(said.environment, "eu-1/prod/shop");
        }
    }

    #[test]
    fn a_commit_that_was_replaced_is_not_live() {
        let said = deployments(&item(Reason::Converged, &["aa"]), "eu", &Setting::default());
        let said = said.unwrap();
        let said: Vec<_> = said.iter().map(|one| (&*one.commit, one.state)).collect();
        let expected = [
            (COMMIT, DeploymentState::Live),
            ("aa", DeploymentState::Inactive),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_commit_names_the_one_whose_place_it_takes() {
        for (reason, before, wanted) in [
            (Reason::Converged, "main@sha1:aa", Some("aa")),
            (Reason::Converged, &format!("v1@sha1:{COMMIT}"), None),
            (Reason::HealthFailed, "main@sha1:aa", None),
        ] {
            let mut item = item(reason, &[]);
            Arc::make_mut(&mut item.notice).replaces = Some(before.to_owned());
            let said = deployments(&item, "eu", &Setting::default()).unwrap();
            assert_eq!(said[0].replaces.as_deref(), wanted, "{before}");
        }
    }

    #[test]
    fn what_is_told_late_does_not_make_a_commit_live_again() {
        let setting = Setting {
            is_overtaken: true,
            ..found("https://a.b")
        };
        for reason in [Reason::Converged, Reason::HealthFailed] {
            let said = &deployments(&item(reason, &[]), "eu", &setting).unwrap()[0];
            assert_eq!((said.state, &said.url), (DeploymentState::Inactive, &None));
        }
    }

    #[test]
    fn the_annotations_stand_before_what_is_found() {
        let setting = Setting {
            environment: Some("production/EU 1".to_owned()),
            url: Some("https://shop.example.com:8443/x?y=%20#z".to_owned()),
            follows_tags: true,
            ..found("http://a.b")
        };
        let said = &deployments(&item(Reason::Converged, &[]), "eu", &setting).unwrap()[0];
        assert_eq!(said.environment, "production/EU 1");
        assert_eq!(said.url, setting.url);
        assert!(said.is_tag);
        let long = "a".repeat(1024);
        let said = deployments(&item(Reason::Converged, &[]), &long, &Setting::default());
        assert_eq!(said.unwrap()[0].environment.len(), LONGEST);
    }

    #[test]
    fn annotations_that_cannot_be_used_are_refused() {
        let said = |environment: Option<&str>, url: Option<&str>| {
            let setting = Setting {
                environment: environment.map(str::to_owned),
                url: url.map(str::to_owned),
                ..found("https://a.b")
            };
            deployments(&item(Reason::Converged, &[]), "eu", &setting)
        };
        let long = "a".repeat(256);
        for name in [
            "",
            "/a",
            "a/",
            " a",
            "a ",
            "a?b",
            "a\nb",
            "\u{e4}",
            "a\u{202e}",
            long.as_str(),
        ] {
            assert_eq!(
                said(Some(name), None),
                Err(NotReportable::Environment),
                "{name}"
            );
        }
        let long = format!("https://a.b/{long}");
        for url in [
            "",
            "a.b",
            "//a.b",
            "javascript:alert(1)",
            "javascript://a.b/%0aalert(1)",
            "data:text/html,x",
            "ftp://a.b",
            "https://",
            "https:///x",
            "https://me:secret@a.b",
            "https://a.b/ x",
            "https://a.b/\"onclick",
            "https://a.b/<b>",
            "https://\u{e4}.b",
            "https://a.b\n",
            long.as_str(),
        ] {
            assert_eq!(said(None, Some(url)), Err(NotReportable::Url), "{url}");
        }
        // What is found and cannot be used is left out.
        let odd = deployments(&item(Reason::Converged, &[]), "eu", &found("https://a b"));
        assert_eq!(odd.unwrap()[0].url, None);
    }
}
