//! The inputs of a render from the cluster.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::StandIns;
use crate::decrypt::Keys;
use crate::substitute::Variables;
use crate::text::Secrets;

/// Values of ConfigMaps and Secrets that an intent needs, and information about the cluster for charts.
#[derive(Default)]
pub struct Inputs {
    /// Variables of manifests. None if nothing is substituted.
    pub variables: Option<Variables>,
    /// Keys of encrypted files.
    pub keys: Option<Keys>,
    /// Values of a chart, each with a name for messages. Later ones have precedence.
    pub values: Vec<(String, String)>,
    /// Values of Secrets, which no text for users may show.
    pub secrets: Secrets,
    /// What stands in the place of everything that is secret, where the real values must not be used.
    pub stand_ins: Option<StandIns>,
    /// The cluster's version, as Helm writes it: `v1.36.3`.
    pub kube_version: String,
    /// The served versions and kinds: `v1`, `apps/v1`, `apps/v1/Deployment`. Sorted.
    pub api_versions: Arc<[String]>,
    /// Counts the times that what charts had looked up in the cluster was seen to have changed.
    pub lookups: u64,
    /// Equal identities are equal inputs.
    identity: [u8; 32],
}

/// Without the values, which may be secret.
impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inputs")
            .field("variables", &self.variables)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Inputs {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity && self.lookups == other.lookups
    }
}

impl Inputs {
    /// The inputs, identified by what they are made of: `parts` are the contents of the ConfigMaps and
    /// Secrets, in order. What the cluster serves is not a part of it: as with Helm, a kind that comes does
    /// not render a chart anew; the next revision does.
    #[must_use]
    pub fn identified<'p>(mut self, parts: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        for part in parts {
            add(part);
        }
        self.identity = hash.finalize().into();
        self
    }

    /// Their identity.
    #[must_use]
    pub fn identity(&self) -> &[u8] {
        &self.identity
    }
}
