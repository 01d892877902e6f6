//! The custom resource definitions as files: the output of `towline crds` and the content of
//! `crds/`.

use std::path::PathBuf;

use crate::api;
use crate::config::CrdsArgs;
use crate::render;

/// The definitions as YAML, each with the name of its file in `crds/`.
///
/// # Errors
///
/// The serialiser's error. It cannot occur in practice, because the definitions are constants and a
/// test serialises them.
pub fn files() -> Result<Vec<(String, String)>, serde_saphyr::ser::Error> {
    api::crds()
        .iter()
        .map(|crd| {
            let name = crd.metadata.name.clone().unwrap_or_default();
            Ok((format!("{name}.yaml"), render::written(crd)?))
        })
        .collect()
}

/// Why the definitions could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They cannot be written as YAML.
    #[error("writing the definitions as YAML")]
    Yaml(#[from] serde_saphyr::ser::Error),
    /// A file cannot be written.
    #[error("writing {0}")]
    File(PathBuf, #[source] std::io::Error),
}

/// Prints the definitions as one YAML stream, or writes them into a folder.
///
/// # Errors
/// [`Error`].
pub fn run(args: &CrdsArgs) -> Result<(), Error> {
    for (name, text) in files()? {
        match &args.into {
            None => print!("---\n{text}"),
            Some(folder) => {
                let file = folder.join(name);
                std::fs::write(&file, text).map_err(|error| Error::File(file, error))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

    use super::*;
    use crate::manifest::documents;

    /// serde-saphyr only writes the YAML here. The test reads it back by kubectl's rules.
    #[test]
    fn the_files_are_fresh_and_mean_what_the_types_say() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
        for ((name, text), crd) in files().unwrap().into_iter().zip(api::crds()) {
            let read = documents(text.as_bytes()).unwrap().remove(0).value;
            // Compared as a definition, because kubectl reads `0.0` as `0`.
            let read: CustomResourceDefinition = serde_json::from_value(read).unwrap();
            assert_eq!(read, crd);
            let file = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
            assert_eq!(
                file, text,
                "write it anew: cargo run -q -- crds --into crds"
            );
        }
    }
}
