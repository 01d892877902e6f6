//! A Secret that a resource names.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::names::OBJECT;

/// A Secret of the same namespace.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT))]
    pub name: String,
}
