//! Values as YAML for people. Pure.

use serde::Serialize;

/// A value as YAML.
///
/// # Errors
/// It cannot be written as YAML.
pub fn written(value: &impl Serialize) -> Result<String, serde_saphyr::ser::Error> {
    // Folded lines would lose the second of two spaces at the end of a line.
    let plain = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(value, plain)
}
