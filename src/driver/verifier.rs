//! Checks the signatures that `spec.verify` requires before a fetched revision may go live.

use std::sync::Arc;

use jiff::Timestamp;

use crate::api::Reason;
use crate::fleet::SourceName;
use crate::intent::{SignedPart, VerifyIntent};
use crate::secrets::{Data, SecretName, Secrets, ValueError, Watched};
use crate::source::{self, Snapshot};
use crate::verify::{self, Refusal, Signers, SignersError};

/// Why a revision may not go live.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("spec.verify.secretRef: {0}")]
    Signers(#[from] ValueError<SignersError>),
    #[error(transparent)]
    Read(#[from] source::Error),
    #[error("{0}")]
    Refused(String),
    #[error("the check of signatures was interrupted")]
    Interrupted,
}

impl Error {
    /// The reason of the condition.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Signers(error) if error.is_unavailable() => Reason::ApiUnavailable,
            Self::Signers(_) => Reason::SignersInvalid,
            Self::Read(error) => error.reason(),
            Self::Refused(_) | Self::Interrupted => Reason::VerificationFailed,
        }
    }
}

/// Checks the signatures of one repository's revisions.
#[derive(Default)]
pub(crate) struct Verifier {
    signers: Watched<Arc<Signers>>,
    /// The last answer. A revision is checked once, until the revision, the spec or the Secret
    /// changes.
    answer: Option<Answer>,
}

struct Answer {
    snapshot: Arc<Snapshot>,
    signers: Arc<Signers>,
    part: SignedPart,
    /// The signer as text for people, or why the revision is refused.
    outcome: Result<String, String>,
}

impl Verifier {
    /// Returns the signer of a revision, if `spec.verify` requires a signature.
    pub(crate) async fn check(
        &mut self,
        secrets: &Secrets,
        wanted: Option<&VerifyIntent>,
        name: &SourceName,
        snapshot: &Arc<Snapshot>,
    ) -> Result<Option<String>, Error> {
        let Some(wanted) = wanted else {
            *self = Self::default();
            return Ok(None);
        };
        let secret = SecretName::new(&name.namespace, &wanted.signers);
        let title = secret.to_string();
        let parse = |data: &Data| Signers::from_secret(&title, data).map(Arc::new);
        let signers = self.signers.get(secrets, &secret, "", parse).await?;
        let is_answer = |answer: &&Answer| {
            Arc::ptr_eq(&answer.snapshot, snapshot)
                && Arc::ptr_eq(&answer.signers, &signers)
                && answer.part == wanted.part
        };
        let outcome = match self.answer.as_ref().filter(is_answer) {
            Some(answer) => answer.outcome.clone(),
            None => {
                let answer = answer(Arc::clone(snapshot), signers, wanted.part).await?;
                self.answer.insert(answer).outcome.clone()
            }
        };
        outcome.map(Some).map_err(Error::Refused)
    }

    /// Waits until the Secret with the signers has changed.
    pub(crate) async fn changed(&mut self) {
        self.signers.changed().await;
    }
}

/// Reads and checks the signatures. It runs on a thread of its own, because RSA takes time, and a
/// panic on a hostile signature must end only that thread.
async fn answer(
    snapshot: Arc<Snapshot>,
    signers: Arc<Signers>,
    part: SignedPart,
) -> Result<Answer, Error> {
    let check = move || {
        let outcome = signed_by(&snapshot, &signers, part, Timestamp::now())?;
        Ok(Answer {
            outcome: outcome.map_err(|refusal| refusal.about(&snapshot.revision.to_string())),
            snapshot,
            signers,
            part,
        })
    };
    let checked = tokio::task::spawn_blocking(check).await;
    checked.map_err(|_| Error::Interrupted)?
}

/// The signers of the parts that `part` asks for, as the end of "fetched …,".
fn signed_by(
    snapshot: &Snapshot,
    signers: &Signers,
    part: SignedPart,
    now: Timestamp,
) -> Result<Result<String, Refusal>, source::Error> {
    let commit = snapshot.commit_object()?;
    let tag = snapshot.tag_object()?;
    let of_commit = || verify::commit(&commit, signers, now);
    let of_tag = || verify::tag(tag.as_ref(), &commit.id, signers, now);
    let both = || Ok((of_commit()?, of_tag()?));
    Ok(match part {
        SignedPart::Commit => of_commit().map(|signer| format!("signed by {signer}")),
        SignedPart::Tag => of_tag().map(|signer| format!("its tag signed by {signer}")),
        SignedPart::CommitAndTag => {
            both().map(|(commit, tag)| format!("signed by {commit}, its tag by {tag}"))
        }
    })
}
