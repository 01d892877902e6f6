//! Null stands for absent in whatever the cluster sends: Go writes an empty list that was never set as null.

use serde::{Deserialize, Deserializer};

/// Reads null as the default: for `#[serde(default, deserialize_with = "…")]`.
pub(super) fn as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
