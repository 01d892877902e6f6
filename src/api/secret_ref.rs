//! A Secret that a resource names.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A Secret of the same namespace.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
