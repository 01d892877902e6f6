//! Null means absent in every answer of the cluster: Go writes null for an empty list that was never set.

use serde::{Deserialize, Deserializer};

/// Reads null as the default value. For `#[serde(default, deserialize_with = "…")]`.
pub(super) fn as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
