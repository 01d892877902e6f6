//! Open pull requests of a repository (merge requests, on GitLab) and their comments, by the public documentation of
//! GitHub, GitLab, and Gitea and Forgejo. Pure.

use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::list::{Listed, listed, or_default};
use super::project::HostProject;
use super::{NotReportable, Repository, get, project, request};
use crate::intent::Service;
use crate::message::{Destination, Request};

/// The requests of one page of a list, and the comments of one page. Each comment may look like a plan of 60,000 bytes, and
/// a longer answer is not read.
const PAGE: usize = 20;
const COMMENTS: usize = 20;

/// The longest comment, in bytes. GitHub takes 65,536 characters.
const LONGEST_COMMENT: usize = 60_000;

/// An open pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// Its number in the repository.
    pub number: u64,
    /// The newest commit of its branch.
    pub head: String,
    /// The branch that it is to be merged into.
    pub target: String,
    /// Whether its branch is in the repository itself, and not in a fork.
    pub is_own: bool,
    /// Its labels.
    pub labels: Vec<String>,
    /// The newest commit that both branches have, where the list says it.
    pub merge_base: Option<String>,
}

/// A comment on a pull request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Comment {
    /// What names it in the repository.
    pub id: u64,
    /// Its text in Markdown.
    #[serde(default, deserialize_with = "or_default")]
    pub body: String,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// How many elements it has that are of another form than the host's documentation says.
    pub odd: usize,
    /// Whether there may be more pages.
    pub is_full: bool,
}

/// The API of a host for the pull requests of one repository.
pub struct PullRequests<'a> {
    project: HostProject,
    to: &'a Destination,
}

impl<'a> PullRequests<'a> {
    /// The API for the pull requests of a repository. None if pull requests of the host cannot be planned.
    ///
    /// # Errors
    ///
    /// [`NotReportable`], if the repository is none of the host's.
    pub fn of(
        repository: Option<&Repository>,
        to: &'a Destination,
    ) -> Result<Option<Self>, NotReportable> {
        let project = project(repository, to)?;
        let is_known = matches!(
            to.service,
            Service::GitHub | Service::GitLab | Service::Gitea
        );
        Ok(is_known.then_some(Self { project, to }))
    }

    /// The ref of a pull request's branch.
    pub fn head_ref(&self, number: u64) -> String {
        match self.to.service {
            Service::GitLab => format!("refs/merge-requests/{number}/head"),
            _ => format!("refs/pull/{number}/head"),
        }
    }

    /// The longest comment that the host takes, in bytes.
    pub fn longest_comment(&self) -> usize {
        LONGEST_COMMENT
    }

    pub(super) fn service(&self) -> Service {
        self.to.service
    }

    fn is_gitlab(&self) -> bool {
        self.service() == Service::GitLab
    }

    /// Asks for a page of the open requests into a branch, those that changed last first. Pages count from one.
    pub fn list(&self, target: &str, page: usize) -> Request {
        let (page, size) = (page.to_string(), PAGE.to_string());
        let (path, query): (_, &[(&str, &str)]) = match self.to.service {
            Service::GitLab => (
                "merge_requests",
                &[
                    ("state", "opened"),
                    ("target_branch", target),
                    ("order_by", "updated_at"),
                    ("sort", "desc"),
                    ("per_page", &size),
                    ("page", &page),
                ],
            ),
            Service::GitHub => (
                "pulls",
                &[
                    ("state", "open"),
                    ("base", target),
                    ("sort", "updated"),
                    ("direction", "desc"),
                    ("per_page", &size),
                    ("page", &page),
                ],
            ),
            _ => (
                "pulls",
                &[
                    ("state", "open"),
                    ("sort", "recentupdate"),
                    ("limit", &size),
                    ("page", &page),
                ],
            ),
        };
        self.get(path, query)
    }

    /// The open requests of a page into this branch. None if the answer is no list of them.
    pub fn read_list(&self, body: &str, target: &str) -> Option<Page<PullRequest>> {
        fn of<T: DeserializeOwned + Into<PullRequest>>(body: &str) -> Option<Listed<PullRequest>> {
            let Listed { items, odd } = listed::<T>(body)?;
            let items = items.into_iter().map(Into::into).collect();
            Some(Listed { items, odd })
        }
        let all = match self.is_gitlab() {
            true => of::<MergeRequest>(body)?,
            false => of::<Pull>(body)?,
        };
        // A list of something else.
        if all.odd > 1 && all.items.is_empty() {
            return None;
        }
        let is_full = all.total() >= PAGE;
        let is_fit = |request: &PullRequest| request.target == target && is_commit(&request.head);
        Some(Page {
            items: all.items.into_iter().filter(is_fit).collect(),
            odd: all.odd,
            is_full,
        })
    }

    /// Asks for the newest commit that a request and its target have both. None if the list has said it.
    pub fn merge_base(&self, request: &PullRequest) -> Option<Request> {
        if request.merge_base.is_some() {
            return None;
        }
        let PullRequest { head, target, .. } = request;
        Some(match self.is_gitlab() {
            true => self.get(
                "repository/merge_base",
                &[("refs[]", target), ("refs[]", head)],
            ),
            // The changed files are on the first page only, and they are not needed.
            false => self.get(
                &format!("compare/{}...{head}", escaped(target)),
                &[("per_page", "1"), ("page", "2")],
            ),
        })
    }

    /// The commit in the answer.
    pub fn read_merge_base(&self, body: &str) -> Option<String> {
        let body: serde_json::Value = serde_json::from_str(body).ok()?;
        let commit = match self.is_gitlab() {
            true => &body["id"],
            false => &body["merge_base_commit"]["sha"],
        };
        let commit = commit.as_str().filter(|commit| is_commit(commit))?;
        Some(commit.to_owned())
    }

    /// Asks for a page of the comments on a request, the oldest first.
    pub fn comments(&self, number: u64, page: usize) -> Request {
        let (page, size) = (page.to_string(), COMMENTS.to_string());
        match self.is_gitlab() {
            true => self.get(
                &format!("merge_requests/{number}/notes"),
                &[
                    ("order_by", "created_at"),
                    ("sort", "asc"),
                    ("per_page", &size),
                    ("page", &page),
                ],
            ),
            false => self.get(
                &format!("issues/{number}/comments"),
                &[("per_page", &size), ("page", &page)],
            ),
        }
    }

    /// The comments of a page. None if the answer is no list of them.
    pub fn read_comments(&self, body: &str) -> Option<Page<Comment>> {
        let comments = listed::<Comment>(body)?;
        // Gitea has no pages of comments.
        let is_full = comments.total() >= COMMENTS && self.to.service != Service::Gitea;
        let Listed { items, odd } = comments;
        Some(Page {
            items,
            odd,
            is_full,
        })
    }

    /// The id in the answer to a comment that was written. None if the answer has none.
    pub fn read_written(&self, body: &str) -> Option<u64> {
        let body: serde_json::Value = serde_json::from_str(body).ok()?;
        body["id"].as_u64()
    }

    /// Writes a comment: over the one with this id, or a new one.
    pub fn comment(&self, number: u64, id: Option<u64>, text: &str) -> Request {
        let (method, path) = match (self.is_gitlab(), id) {
            (true, None) => (Method::POST, format!("merge_requests/{number}/notes")),
            (true, Some(id)) => (Method::PUT, format!("merge_requests/{number}/notes/{id}")),
            (false, None) => (Method::POST, format!("issues/{number}/comments")),
            (false, Some(id)) => (Method::PATCH, format!("issues/comments/{id}")),
        };
        let url = format!("{}/{path}", self.project.repository(self.to));
        Request {
            method,
            ..request(url, self.to, &json!({"body": text}))
        }
    }

    pub(super) fn get(&self, path: &str, query: &[(&str, &str)]) -> Request {
        let mut url = format!("{}/{path}", self.project.repository(self.to));
        if !query.is_empty() {
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(query)
                .finish();
            url = format!("{url}?{query}");
        }
        get(&url, self.to)
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The name of a branch as a part of a path.
fn escaped(name: &str) -> String {
    let escaped: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    escaped.replace('+', "%20")
}

/// As GitHub, Gitea and Forgejo write a request.
#[derive(Deserialize)]
struct Pull {
    number: u64,
    head: Branch,
    base: Branch,
    #[serde(default, deserialize_with = "or_default")]
    labels: Vec<Label>,
    merge_base: Option<String>,
}

#[derive(Deserialize)]
struct Branch {
    #[serde(rename = "ref")]
    name: String,
    sha: String,
    /// None if a fork was deleted.
    repo: Option<Id>,
}

#[derive(Deserialize, PartialEq)]
struct Id {
    id: u64,
}

#[derive(Deserialize)]
struct Label {
    name: Option<String>,
}

impl From<Pull> for PullRequest {
    fn from(pull: Pull) -> Self {
        let labels = pull.labels.into_iter();
        Self {
            number: pull.number,
            head: pull.head.sha,
            target: pull.base.name,
            is_own: pull.head.repo.is_some() && pull.head.repo == pull.base.repo,
            labels: labels.filter_map(|label| label.name).collect(),
            merge_base: pull.merge_base.filter(|commit| is_commit(commit)),
        }
    }
}

/// As GitLab writes a request.
#[derive(Deserialize)]
struct MergeRequest {
    iid: u64,
    sha: Option<String>,
    target_branch: String,
    source_project_id: Option<u64>,
    target_project_id: u64,
    #[serde(default, deserialize_with = "or_default")]
    labels: Vec<String>,
}

impl From<MergeRequest> for PullRequest {
    fn from(request: MergeRequest) -> Self {
        Self {
            number: request.iid,
            head: request.sha.unwrap_or_default(),
            target: request.target_branch,
            is_own: request.source_project_id == Some(request.target_project_id),
            labels: request.labels,
            merge_base: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::destination::tests::{intent, secret};
    use super::*;

    const HEAD: &str = "0123456789012345678901234567890123456789";

    fn to(service: Service) -> Destination {
        let address = (service == Service::Gitea).then_some("https://git.corp/gitea");
        Destination::new(&intent(service, address), Some(&secret(&[("token", "t")]))).unwrap()
    }

    fn repository(service: Service) -> Repository {
        let host = match service {
            Service::GitHub => "github.com",
            Service::GitLab => "gitlab.com",
            _ => "git.corp",
        };
        Repository {
            host: host.to_owned(),
            path: "/a/b.git".to_owned(),
        }
    }

    fn line(request: &Request) -> String {
        format!("{} {}", request.method, request.url)
    }

    #[test]
    fn requests_are_those_of_the_documentation() {
        let request = |base: Option<&str>| PullRequest {
            number: 7,
            head: HEAD.to_owned(),
            target: "release/1 a".to_owned(),
            is_own: true,
            labels: Vec::new(),
            merge_base: base.map(str::to_owned),
        };
        for (service, lines) in [
            (
                Service::GitHub,
                [
                    "GET https://api.github.com/repos/a/b/pulls?state=open&base=release%2F1+a&sort=updated&direction=desc&per_page=20&page=2",
                    "GET https://api.github.com/repos/a/b/compare/release%2F1%20a...0123456789012345678901234567890123456789?per_page=1&page=2",
                    "GET https://api.github.com/repos/a/b/issues/7/comments?per_page=20&page=1",
                    "POST https://api.github.com/repos/a/b/issues/7/comments",
                    "PATCH https://api.github.com/repos/a/b/issues/comments/9",
                    "refs/pull/7/head",
                ],
            ),
            (
                Service::GitLab,
                [
                    "GET https://gitlab.com/api/v4/projects/a%2Fb/merge_requests?state=opened&target_branch=release%2F1+a&order_by=updated_at&sort=desc&per_page=20&page=2",
                    "GET https://gitlab.com/api/v4/projects/a%2Fb/repository/merge_base?refs%5B%5D=release%2F1+a&refs%5B%5D=0123456789012345678901234567890123456789",
                    "GET https://gitlab.com/api/v4/projects/a%2Fb/merge_requests/7/notes?order_by=created_at&sort=asc&per_page=20&page=1",
                    "POST https://gitlab.com/api/v4/projects/a%2Fb/merge_requests/7/notes",
                    "PUT https://gitlab.com/api/v4/projects/a%2Fb/merge_requests/7/notes/9",
                    "refs/merge-requests/7/head",
                ],
            ),
            (
                Service::Gitea,
                [
                    "GET https://git.corp/gitea/api/v1/repos/a/b/pulls?state=open&sort=recentupdate&limit=20&page=2",
                    "GET https://git.corp/gitea/api/v1/repos/a/b/compare/release%2F1%20a...0123456789012345678901234567890123456789?per_page=1&page=2",
                    "GET https://git.corp/gitea/api/v1/repos/a/b/issues/7/comments?per_page=20&page=1",
                    "POST https://git.corp/gitea/api/v1/repos/a/b/issues/7/comments",
                    "PATCH https://git.corp/gitea/api/v1/repos/a/b/issues/comments/9",
                    "refs/pull/7/head",
                ],
            ),
        ] {
            let (to, repository) = (to(service), repository(service));
            let api = PullRequests::of(Some(&repository), &to).unwrap().unwrap();
            let said = [
                line(&api.list("release/1 a", 2)),
                line(&api.merge_base(&request(None)).unwrap()),
                line(&api.comments(7, 1)),
                line(&api.comment(7, None, "text")),
                line(&api.comment(7, Some(9), "text")),
                api.head_ref(7),
            ];
            assert_eq!(said, lines);
            assert!(api.merge_base(&request(Some(HEAD))).is_none());
            assert_eq!(api.list("main", 1).body, b"");
        }
        let azure = to(Service::AzureDevOps);
        let repository = Repository {
            host: "dev.azure.com".to_owned(),
            path: "/o/p/_git/b".to_owned(),
        };
        assert!(
            PullRequests::of(Some(&repository), &azure)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn who_may_push_is_known_of_each_host() {
        let pull = |head: serde_json::Value, base: &str| {
            json!({
                "number": 7, "head": {"ref": "x", "sha": HEAD, "repo": head},
                "base": {"ref": base, "sha": HEAD, "repo": {"id": 1}}, "labels": [{"name": "plan"}],
                "title": "ignored",
            })
        };
        let to_github = to(Service::GitHub);
        let own = repository(Service::GitHub);
        let api = PullRequests::of(Some(&own), &to_github).unwrap().unwrap();
        let listed = json!([
            pull(json!({"id": 1}), "main"),
            pull(json!({"id": 2}), "main"),
            pull(serde_json::Value::Null, "main"),
            pull(json!({"id": 1}), "other"),
        ]);
        let read = api.read_list(&listed.to_string(), "main").unwrap();
        let own: Vec<bool> = read.items.iter().map(|request| request.is_own).collect();
        assert_eq!(
            (own, read.is_full, read.odd),
            (vec![true, false, false], false, 0)
        );
        assert_eq!(read.items[0].labels, ["plan"]);
        // An odd one hides no other, and counts as one of the page.
        let mut odd = vec![pull(json!({"id": 1}), "main"); PAGE - 1];
        odd[0]["labels"] = serde_json::Value::Null;
        odd[1]["labels"] = json!([{"name": null}, {"name": "plan"}]);
        odd.push(json!({"number": 8, "head": null}));
        let page = api.read_list(&json!(odd).to_string(), "main").unwrap();
        assert_eq!(
            (page.items.len(), page.odd, page.is_full),
            (PAGE - 1, 1, true)
        );
        assert!(page.items[0].labels.is_empty() && page.items[1].labels == ["plan"]);
        let comments =
            json!([{"id": 1, "body": "a"}, null, {"id": 2, "body": null}, {"body": "b"}]);
        let page = api.read_comments(&comments.to_string()).unwrap();
        assert_eq!((page.items.len(), page.odd, page.is_full), (2, 2, false));
        let to_gitlab = to(Service::GitLab);
        let own = repository(Service::GitLab);
        let api = PullRequests::of(Some(&own), &to_gitlab).unwrap().unwrap();
        let merge = |from: Option<u64>, sha: Option<&str>| {
            json!({
                "iid": 7, "sha": sha, "target_branch": "main", "source_project_id": from,
                "target_project_id": 1, "labels": ["plan"],
            })
        };
        let listed = json!([
            merge(Some(1), Some(HEAD)),
            merge(Some(2), Some(HEAD)),
            merge(None, Some(HEAD)),
            merge(Some(1), None),
        ]);
        let read = api.read_list(&listed.to_string(), "main").unwrap();
        let own: Vec<bool> = read.items.iter().map(|request| request.is_own).collect();
        assert_eq!(own, [true, false, false], "one has no commit yet");
        for broken in ["", "{}", "[{}, {}]", "<html>", "null"] {
            assert!(api.read_list(broken, "main").is_none(), "{broken}");
        }
    }
}
