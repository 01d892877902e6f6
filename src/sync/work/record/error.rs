//! Why Helm has no record of a release, and what a person can do about it.

use crate::cluster::WriteError;
use crate::desired::ReleaseBodyError;
use crate::intent::HelmIntent;
use crate::plan::{RecordClash, RecordTooLarge};
use crate::text::{redact, shorten};

/// The longest reason in a warning, in bytes.
const LONGEST_REASON: usize = 512;

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// A Secret cannot be read or written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It is somebody else's to write.
    #[error(transparent)]
    Clash(#[from] RecordClash),
    /// It does not fit.
    #[error(transparent)]
    TooLarge(#[from] RecordTooLarge),
    /// What it would hold cannot be read.
    #[error(transparent)]
    Body(#[from] ReleaseBodyError),
    /// The task that made it ended early.
    #[error("making it was interrupted")]
    Interrupted,
}

impl RecordError {
    /// Whether it may be otherwise in a moment, although nobody does anything to the Sync.
    pub(super) fn passes(&self) -> bool {
        match self {
            // A right may be given, and the namespace may come, without a word to the Sync.
            Self::Write(WriteError::Refused { code, .. }) => {
                matches!(code, 403 | 404 | 409) || *code >= 500
            }
            Self::Write(
                WriteError::Unavailable(_) | WriteError::NotServed | WriteError::NoNamespace { .. },
            )
            | Self::Clash(_)
            | Self::Interrupted => true,
            Self::Write(
                WriteError::Indivisible(_) | WriteError::Unmarked { .. } | WriteError::Answer(_),
            )
            | Self::TooLarge(_)
            | Self::Body(_) => false,
        }
    }

    /// What a person should know and can do.
    pub(super) fn warning(&self, helm: &HelmIntent) -> String {
        let why = shorten(&redact(&crate::chain(self)), LONGEST_REASON);
        let way_out = match self {
            Self::Write(error) if error.is_denied() => {
                "; let the Sync's account get, list, create, patch and delete Secrets there, or set \
                 spec.helm.releaseRecord: false"
            }
            Self::TooLarge(_) | Self::Body(ReleaseBodyError::TooLarge) => {
                "; set spec.helm.releaseRecord: false, or split the chart"
            }
            _ => "",
        };
        not_shown(helm, &format!("{why}{way_out}"))
    }
}

/// That there is no record, for people.
pub(super) fn not_shown(helm: &HelmIntent, why: &str) -> String {
    let HelmIntent {
        release_name,
        release_namespace,
        ..
    } = helm;
    format!(
        "Helm does not show this revision as release {release_name} in namespace {release_namespace}: {why}"
    )
}
