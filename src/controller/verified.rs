//! Whether a fetched revision may go live: the signatures that `spec.verify` asks for.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;
use tokio::sync::watch;

use super::{Context, secrets};
use crate::api::{GitRepository, Reason, Verification, VerificationMode};
use crate::source::{self, Snapshot};
use crate::verify::{self, Refusal, Signers, SignersError};

/// Why a revision was not found good.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("spec.verify.secretRef: {0}")]
    Secret(#[from] secrets::Error),
    #[error("spec.verify.secretRef: Secret {secret}: {source}")]
    Signers {
        secret: String,
        source: SignersError,
    },
    #[error(transparent)]
    Read(#[from] source::Error),
    #[error("{0}")]
    Refused(String),
    #[error("the check of signatures was interrupted")]
    Interrupted,
}

impl Error {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Secret(secrets::Error::Unavailable(..)) => Reason::ApiUnavailable,
            Self::Secret(_) | Self::Signers { .. } => Reason::SignersInvalid,
            Self::Read(error) => error.reason(),
            Self::Refused(_) | Self::Interrupted => Reason::VerificationFailed,
        }
    }
}

/// Whose signatures a repository's revisions have.
#[derive(Default)]
pub(super) struct Verifier {
    /// The signers as they were read last, if they were.
    read: Option<Read>,
    /// The last answer: a revision is looked at once, until it or what is asked of it changes.
    answer: Option<Answer>,
}

/// Signers, and the Secret that they are from.
struct Read {
    secret: String,
    changes: watch::Receiver<u64>,
    /// None where they cannot be used.
    signers: Option<Arc<Signers>>,
}

struct Answer {
    snapshot: Arc<Snapshot>,
    signers: Arc<Signers>,
    mode: VerificationMode,
    /// Who signed, for people, or why not.
    outcome: Result<String, String>,
}

impl Verifier {
    /// Says who signed a revision, where `spec.verify` asks for it.
    pub(super) async fn check(
        &mut self,
        context: &Context,
        object: &GitRepository,
        snapshot: &Arc<Snapshot>,
    ) -> Result<Option<String>, Error> {
        let Some(wanted) = &object.spec.verify else {
            *self = Self::default();
            return Ok(None);
        };
        let namespace = object.namespace().unwrap_or_default();
        let signers = self.signers(context, &namespace, wanted).await?;
        let is_answer = |answer: &&Answer| {
            Arc::ptr_eq(&answer.snapshot, snapshot)
                && Arc::ptr_eq(&answer.signers, &signers)
                && answer.mode == wanted.mode
        };
        let outcome = match self.answer.as_ref().filter(is_answer) {
            Some(answer) => answer.outcome.clone(),
            None => {
                let answer = answer(Arc::clone(snapshot), signers, wanted.mode).await?;
                self.answer.insert(answer).outcome.clone()
            }
        };
        outcome.map(Some).map_err(Error::Refused)
    }

    /// The signers of `spec.verify.secretRef`, read again only when the Secret changed.
    async fn signers(
        &mut self,
        context: &Context,
        namespace: &str,
        wanted: &Verification,
    ) -> Result<Arc<Signers>, Error> {
        let secret = &wanted.secret_ref.name;
        if let Some(read) = &self.read
            && read.secret == *secret
            && context.secrets.is_in_step()
            && let Some(signers) = &read.signers
        {
            return Ok(Arc::clone(signers));
        }
        // Listened to also where it is missing: its coming is a change.
        let changes = context.secrets.subscribe(namespace, secret);
        let data = secrets::read(context, namespace, secret).await;
        let title = format!("{namespace}/{secret}");
        let result = data.map_err(Error::from).and_then(|data| {
            let signers = Signers::from_secret(&title, &data).map(Arc::new);
            signers.map_err(|source| Error::Signers {
                secret: title,
                source,
            })
        });
        self.read = Some(Read {
            secret: secret.clone(),
            changes,
            signers: result.as_ref().ok().cloned(),
        });
        result
    }

    /// Waits until the Secret has changed: it is read again at the next poll. False: it will not.
    pub(super) async fn changed(&mut self) -> bool {
        let Some(read) = &mut self.read else {
            return std::future::pending().await;
        };
        let changed = read.changes.changed().await.is_ok();
        if changed {
            self.read = None;
        }
        changed
    }
}

/// Reads and checks what has to be signed. On a thread of its own: RSA takes its time, and a defect in
/// what reads a hostile signature ends that thread only.
async fn answer(
    snapshot: Arc<Snapshot>,
    signers: Arc<Signers>,
    mode: VerificationMode,
) -> Result<Answer, Error> {
    let check = move || {
        let outcome = signed_by(&snapshot, &signers, mode, Timestamp::now())?;
        Ok(Answer {
            outcome: outcome.map_err(|refusal| refusal.about(&snapshot.revision.to_string())),
            snapshot,
            signers,
            mode,
        })
    };
    let checked = tokio::task::spawn_blocking(check).await;
    checked.map_err(|_| Error::Interrupted)?
}

/// Who signed what `mode` asks for, as the end of "fetched …,".
fn signed_by(
    snapshot: &Snapshot,
    signers: &Signers,
    mode: VerificationMode,
    now: Timestamp,
) -> Result<Result<String, Refusal>, source::Error> {
    let commit = snapshot.commit_object()?;
    let tag = snapshot.tag_object()?;
    let of_commit = || verify::commit(&commit, signers, now);
    let of_tag = || verify::tag(tag.as_ref(), &commit.id, signers, now);
    let both = || Ok((of_commit()?, of_tag()?));
    Ok(match mode {
        VerificationMode::Commit => of_commit().map(|signer| format!("signed by {signer}")),
        VerificationMode::Tag => of_tag().map(|signer| format!("its tag signed by {signer}")),
        VerificationMode::CommitAndTag => {
            both().map(|(commit, tag)| format!("signed by {commit}, its tag by {tag}"))
        }
    })
}
