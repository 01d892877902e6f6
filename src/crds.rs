//! The custom resource definitions as files: the output of `towline crds` and the content of
//! `crds/`.

use crate::api;
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
