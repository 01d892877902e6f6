//! The values of a Provider's Secret, and what is wrong with them. Pure.

use std::collections::BTreeMap;

/// The longest value of a Secret's key, in bytes.
const LONGEST_VALUE: usize = 16 << 10;

/// Why a Provider cannot be used. The text names keys and fields, and never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// There is no address.
    #[error("there is no address: set spec.address, or the key address of the Secret")]
    NoAddress,
    /// The address cannot be used.
    #[error("{place} cannot be used: {problem}")]
    Address {
        /// Where the address is.
        place: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A key of the Secret is missing.
    #[error("the Secret has no {0}")]
    Absent(&'static str),
    /// A Secret is not named, but needed.
    #[error("{0} needs a Secret in spec.secretRef with the key {1}")]
    NoSecret(&'static str, &'static str),
    /// A field of the spec is malformed.
    #[error("{0} cannot be used: {1}")]
    Field(&'static str, &'static str),
    /// A value is malformed.
    #[error("{0} in the Secret cannot be used: {1}")]
    Malformed(&'static str, &'static str),
}

/// The value of a key as text of several lines. The break at the end of the last line is a usual mistake.
pub(super) fn text_of_lines(
    secret: Option<&BTreeMap<String, Vec<u8>>>,
    key: &'static str,
) -> Result<Option<String>, DestinationError> {
    let Some(value) = secret.and_then(|secret| secret.get(key)) else {
        return Ok(None);
    };
    let wrong = |problem| Err(DestinationError::Malformed(key, problem));
    let Ok(text) = std::str::from_utf8(value) else {
        return wrong("it is not UTF-8");
    };
    match text.trim() {
        "" => wrong("it is empty"),
        text if text.len() > LONGEST_VALUE => wrong("it is longer than 16 KiB"),
        text => Ok(Some(text.to_owned())),
    }
}

/// The value of a key as one line of text.
pub(super) fn text(
    secret: Option<&BTreeMap<String, Vec<u8>>>,
    key: &'static str,
) -> Result<Option<String>, DestinationError> {
    let text = text_of_lines(secret, key)?;
    match text {
        Some(text) if text.chars().any(char::is_control) => Err(DestinationError::Malformed(
            key,
            "it holds a line break or another control character",
        )),
        text => Ok(text),
    }
}
