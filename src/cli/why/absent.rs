//! What is said of an object that does not exist. Pure.

use super::{Diagnosis, refused};
use crate::api::Sync;
use crate::cli::CliError;
use crate::cli::standing::Standing;
use crate::cli::trace::failure;
use crate::manifest::ObjectKey;

/// What is wrong with an object that does not exist.
///
/// # Errors
/// [`CliError::Unknown`] if no status says that it should.
pub(super) fn of_absent(object: ObjectKey, syncs: &[Sync]) -> Result<Diagnosis, CliError> {
    let name = object.to_string();
    for sync in syncs {
        let failures = sync.status.iter().flat_map(|status| &status.failures);
        let failures: Vec<_> = failures.cloned().collect();
        if let Some(failure) = failure(&name, &failures) {
            return Ok(refused(
                &name,
                sync,
                &failure.reason,
                &failure.message,
                failure.file.as_deref(),
            ));
        }
    }
    let failing = syncs.iter().map(Standing::of);
    let failing: Vec<String> = failing
        .filter(|standing| !standing.is_ready())
        .map(|standing| {
            format!(
                "{}/{} ({})",
                standing.namespace,
                standing.name,
                standing.state.word()
            )
        })
        .collect();
    let way = match failing.is_empty() {
        true => {
            "all Syncs are ready, so no path of Git declares it: check its kind, name and namespace"
                .to_owned()
        }
        false => format!(
            "these Syncs are not ready and may declare it: {}",
            failing.join(", ")
        ),
    };
    Err(CliError::Unknown { object, way })
}

/// The same error with the namespaces that have an object of this kind and name, as far as they may be seen.
pub(super) fn hinted(error: CliError, elsewhere: &[String]) -> CliError {
    match error {
        CliError::Unknown { object, way } if !elsewhere.is_empty() => {
            let name = &object.name;
            let found: Vec<String> = elsewhere
                .iter()
                .map(|namespace| format!("{namespace}/{name} (-n {namespace})"))
                .collect();
            let way = format!(
                "but there is {}; {way}",
                crate::text::listing(found.iter().take(3).cloned(), found.len())
            );
            CliError::Unknown { object, way }
        }
        error => error,
    }
}
