//! What is said to the host: the open requests, the comment on one, and the status of its newest commit.

use crate::message::{
    Answer, Comment, CommitStatus, Labeller, NotReportable, Outcome, PullRequest, PullRequests,
    Repository, Request, status_request,
};
use crate::outbox::Endpoint;

/// The most pages of open requests, and of comments on one.
const MOST_PAGES: usize = 6;
const MOST_COMMENT_PAGES: usize = 45;

/// The most pages of what happened to one.
const MOST_EVENT_PAGES: usize = 10;

const TO_LIST: &str = "read the repository and its pull requests";
const TO_ASK: &str = "read who may push to the repository";
const TO_COMMENT: &str = "comment on pull requests";
const TO_SET: &str = "set statuses of commits";

/// Why the host did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum HostError {
    /// It does not answer, or does nothing more for anybody now.
    #[error("{0}")]
    Unwell(String),
    /// It does not do this.
    #[error("{0}")]
    Refused(String),
    /// What it asked about is not there.
    #[error("its answer cannot be read: it is no {0}, or longer than towline reads")]
    Unreadable(&'static str),
    /// The repository is none of the host's.
    #[error(transparent)]
    NotReportable(#[from] NotReportable),
    /// towline does not know how to ask this host.
    #[error(
        "pull requests can be planned on GitHub, GitLab, and Gitea or Forgejo: name a Provider of such a type"
    )]
    Unknown,
}

/// Who set a label.
#[derive(Debug)]
pub(super) enum Labelled {
    /// The host lets nobody else set one than those who may push.
    ByPushers,
    /// The last one who did.
    By(Labeller),
    /// It is not known: the account is gone, or very much happened since.
    Unknown,
}

/// The pull requests of one repository.
pub(super) struct Host<'a> {
    endpoint: &'a Endpoint,
    repository: Option<Repository>,
    api: PullRequests<'a>,
}

impl<'a> Host<'a> {
    pub(super) fn new(
        endpoint: &'a Endpoint,
        repository: Option<Repository>,
    ) -> Result<Self, HostError> {
        let api = PullRequests::of(repository.as_ref(), &endpoint.destination)?;
        Ok(Self {
            endpoint,
            repository,
            api: api.ok_or(HostError::Unknown)?,
        })
    }

    pub(super) fn api(&self) -> &PullRequests<'a> {
        &self.api
    }

    /// The open requests into a branch, those that changed last first, and how many more are listed that cannot be read.
    pub(super) async fn open(&self, target: &str) -> Result<(Vec<PullRequest>, usize), HostError> {
        let (mut all, mut odd) = (Vec::new(), 0);
        for page in 1..=MOST_PAGES {
            let answer = self.ask(self.api.list(target, page), TO_LIST).await?;
            let read = self.api.read_list(&answer.body, target);
            let page = read.ok_or(HostError::Unreadable("list of pull requests"))?;
            all.extend(page.items);
            odd += page.odd;
            if !page.is_full {
                break;
            }
        }
        Ok((all, odd))
    }

    /// The newest commit that a request and its target have both.
    pub(super) async fn merge_base(&self, request: &PullRequest) -> Result<String, HostError> {
        let asked = match (&request.merge_base, self.api.merge_base(request)) {
            (Some(known), _) => return Ok(known.clone()),
            (None, Some(asked)) => asked,
            (None, None) => return Err(HostError::Unknown),
        };
        let answer = self.ask(asked, TO_LIST).await?;
        let read = self.api.read_merge_base(&answer.body);
        read.ok_or(HostError::Unreadable("comparison of commits"))
    }

    /// Who set a label on a request.
    pub(super) async fn labeller(&self, number: u64, label: &str) -> Result<Labelled, HostError> {
        let mut last = None;
        for page in 1..=MOST_EVENT_PAGES {
            let Some(asked) = self.api.labelling(number, page) else {
                return Ok(Labelled::ByPushers);
            };
            let answer = self.ask(asked, TO_LIST).await?;
            let read = self.api.read_labelling(&answer.body, label, &mut last);
            if !read.ok_or(HostError::Unreadable("list of what happened"))? {
                return Ok(last.map_or(Labelled::Unknown, Labelled::By));
            }
        }
        Ok(Labelled::Unknown)
    }

    /// Whether somebody may push to the repository.
    pub(super) async fn may_push(&self, person: &Labeller) -> Result<bool, HostError> {
        let found = self.endpoint.find(self.api.rights_of(person), TO_ASK).await;
        // Whom the repository does not know, such as a workflow, may not push.
        let Some(answer) = found.map_err(not_done)? else {
            return Ok(false);
        };
        let read = self.api.read_may_push(&answer.body);
        read.ok_or(HostError::Unreadable("statement of rights"))
    }

    /// The newest comment on a request that begins with its marker. `marker` makes the one of the comment with an id, and of
    /// one that had no id yet: if no other one is there, that was left by an operator that ended.
    ///
    /// Others can read a marker. They may copy it into a comment of theirs, also into one that is older.
    pub(super) async fn comment(
        &self,
        number: u64,
        marker: impl Fn(Option<u64>) -> String,
    ) -> Result<Option<Comment>, HostError> {
        let unfinished = marker(None);
        let (mut ours, mut begun) = (None, None);
        for page in 1..=MOST_COMMENT_PAGES {
            let asked = self.api.comments(number, page);
            let answer = self.ask(asked, TO_LIST).await?;
            let read = self.api.read_comments(&answer.body);
            let page = read.ok_or(HostError::Unreadable("list of comments"))?;
            if page.odd > 0 {
                tracing::warn!(
                    request = number,
                    comments = page.odd,
                    "comments of a pull request cannot be read"
                );
            }
            for comment in page.items {
                if comment.body.starts_with(&marker(Some(comment.id))) {
                    ours = Some(comment);
                } else if begun.is_none() && comment.body.starts_with(&unfinished) {
                    begun = Some(comment);
                }
            }
            if !page.is_full {
                break;
            }
        }
        Ok(ours.or(begun))
    }

    /// Writes a comment, and returns its id.
    pub(super) async fn write(&self, number: u64, text: &str) -> Result<u64, HostError> {
        let written = self.api.comment(number, None, text);
        let answer = self.ask(written, TO_COMMENT).await?;
        let id = self.api.read_written(&answer.body);
        id.ok_or(HostError::Unreadable("comment"))
    }

    /// Writes over the comment with this id. False if the host does not let the token do that: it is gone, or somebody
    /// else's.
    pub(super) async fn rewrite(
        &self,
        number: u64,
        id: u64,
        text: &str,
    ) -> Result<bool, HostError> {
        let written = self.api.comment(number, Some(id), text);
        match self.ask(written, TO_COMMENT).await {
            Ok(_) => Ok(true),
            Err(HostError::Refused(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn set(&self, status: &CommitStatus) -> Result<(), HostError> {
        let to = &self.endpoint.destination;
        let request = status_request(status, self.repository.as_ref(), to)?;
        self.ask(request, TO_SET).await.map(drop)
    }

    async fn ask(&self, request: Request, doing: &str) -> Result<Answer, HostError> {
        self.endpoint.ask(request, doing).await.map_err(not_done)
    }
}

fn not_done(outcome: Outcome) -> HostError {
    match outcome {
        Outcome::Later(why, _) => HostError::Unwell(why),
        Outcome::Refused(why) | Outcome::NotThis(why) => HostError::Refused(why),
        // Not an error.
        Outcome::Delivered => HostError::Unreadable("answer"),
    }
}
