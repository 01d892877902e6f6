//! What a kustomization has kustomize do to objects, in files of their own or in place: patches, replacements, generators,
//! transformers and their settings. kustomize takes very long for long lists of them, so they are counted first. Pure.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::inflate::{joined, parsed};
use super::kustomization_error::KustomizationError;
use super::lists::{self, ListFile, SHORTEST};
use crate::intent::Overrides;
use crate::manifest::{self, MAX_DOCUMENT, YamlCause};

/// The fields of a kustomization that name instructions or have them in place, and what these are.
const FIELDS: [(&str, ListFile); 8] = [
    ("patches", ListFile::Patch),
    ("patchesStrategicMerge", ListFile::Patch),
    ("patchesJson6902", ListFile::Patch),
    ("replacements", ListFile::Settings),
    ("configurations", ListFile::Settings),
    ("transformers", ListFile::Settings),
    ("generators", ListFile::Settings),
    ("validators", ListFile::Settings),
];

/// The generators of a kustomization, whose files with lines are counted as well.
const GENERATORS: [&str; 2] = ["configMapGenerator", "secretGenerator"];

/// What a kustomization takes from other folders. What is in a folder of transformers are transformers.
const TAKEN: [&str; 3] = ["resources", "components", "bases"];

/// How instructions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Form {
    /// Documents.
    Yaml(ListFile),
    /// Lines with `KEY=value`.
    Lines,
}

/// The paths of instructions, from the root of the tree.
pub(super) type Instructions = HashMap<String, Form>;

/// Notes the files and folders with instructions that the kustomization in `folder` names. Of most kustomizations there are
/// none, and they are not parsed.
pub(super) fn note(known: &mut Instructions, folder: &str, text: &[u8]) {
    let above = known.get(folder).copied();
    let names = |field: &str| {
        text.windows(field.len())
            .any(|part| part == field.as_bytes())
    };
    let mut fields = FIELDS.iter().map(|(field, _)| field).chain(&GENERATORS);
    if above.is_none() && !fields.any(|field| names(field)) {
        return;
    }
    let fields = parsed(text).unwrap_or_default();
    let mut add = |path: &str, form: Form| {
        if let Some(path) = joined(folder, path).filter(|_| !path.contains('\n')) {
            let known = known.entry(path).or_insert(form);
            // A patch has the lower limits.
            *known = form.max(*known);
        }
    };
    for (field, kind) in FIELDS {
        for entry in entries(&fields, field) {
            if let Some(path) = entry.as_str().or_else(|| entry["path"].as_str()) {
                add(path, Form::Yaml(kind));
            }
        }
    }
    for entry in GENERATORS.iter().flat_map(|field| entries(&fields, field)) {
        let many = entry["envs"].as_array().into_iter().flatten();
        for path in many.chain([&entry["env"]]).filter_map(Value::as_str) {
            add(path, Form::Lines);
        }
    }
    for field in TAKEN {
        for path in entries(&fields, field).filter_map(Value::as_str) {
            if let Some(form) = above {
                add(path, form);
            }
        }
    }
}

/// Counts the lists of a file with instructions.
pub(super) fn count(file: &str, text: &[u8], form: Form) -> Result<(), KustomizationError> {
    if text.len() < SHORTEST {
        return Ok(());
    }
    let kind = match form {
        Form::Yaml(kind) => kind,
        Form::Lines => {
            let counted = lists::too_many_lines(text);
            return counted.map_err(|long| too_large(file, &long.to_string()));
        }
    };
    counted(text, kind).map_err(|why| too_large(file, &why))
}

/// Counts the lists of the patches that a Sync has on top.
pub(super) fn count_overrides(overrides: &Overrides) -> Result<(), KustomizationError> {
    let patches = overrides.patches.iter().enumerate();
    let mut long = patches.filter(|(_, patch)| patch.patch.len() >= SHORTEST);
    long.try_for_each(|(index, patch)| {
        counted(patch.patch.as_bytes(), ListFile::Patch)
            .map_err(|why| too_large("spec.kustomize", &format!("patches[{index}]: {why}")))
    })
}

/// Counts the lists of the instructions that a kustomization has in place.
pub(super) fn count_in_place(
    file: &str,
    fields: &Map<String, Value>,
) -> Result<(), KustomizationError> {
    for (field, kind) in FIELDS {
        for (index, entry) in entries(fields, field).enumerate() {
            let text = entry.as_str().or_else(|| entry["patch"].as_str());
            let Some(text) = text.filter(|text| text.len() >= SHORTEST) else {
                continue;
            };
            counted(text.as_bytes(), kind)
                .map_err(|why| too_large(file, &format!("{field}[{index}]: {why}")))?;
        }
    }
    Ok(())
}

fn counted(text: &[u8], kind: ListFile) -> Result<(), String> {
    match manifest::documents(text) {
        Ok(documents) => {
            let documents = documents.iter().map(|document| &document.value);
            lists::too_long_in(documents, kind).map_err(|long| long.to_string())
        }
        Err(error) if error.cause == YamlCause::TooLarge => {
            let mib = MAX_DOCUMENT >> 20;
            Err(format!("it takes more than {mib} MiB of memory"))
        }
        // kustomize itself says what is wrong with it.
        Err(_) => Ok(()),
    }
}

fn too_large(file: &str, what: &str) -> KustomizationError {
    KustomizationError::too_large(
        file,
        &format!("{what}: shorten it, or write its outcome into the resources themselves"),
    )
}

fn entries<'f>(
    fields: &'f Map<String, Value>,
    field: &str,
) -> impl Iterator<Item = &'f Value> + use<'f> {
    let entries = fields.get(field).and_then(Value::as_array);
    entries.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_instructions_are_known_by_the_field_that_names_them() {
        let mut known = Instructions::default();
        note(
            &mut known,
            "apps/web",
            b"resources: [web.yaml]\npatches:\n- path: ../p.yaml\n- patch: 'a: b'\npatchesStrategicMerge: [s.yaml, \"a:\\n  b\"]\n\
              replacements: [{path: r.yaml}, {source: {}}]\ntransformers: [more]\n\
              configMapGenerator: [{name: a, env: one.env, envs: [two.env], files: [f.txt]}]\n",
        );
        note(&mut known, "apps/web/more", b"resources: [t.yaml]\n");
        note(&mut known, "apps/other", b"resources: [t.yaml]\n");
        let mut found: Vec<_> = known.iter().map(|(path, form)| (&**path, *form)).collect();
        found.sort_unstable();
        let settings = Form::Yaml(ListFile::Settings);
        let patch = Form::Yaml(ListFile::Patch);
        assert_eq!(
            found,
            [
                ("apps/p.yaml", patch),
                ("apps/web/more", settings),
                ("apps/web/more/t.yaml", settings),
                ("apps/web/one.env", Form::Lines),
                ("apps/web/r.yaml", settings),
                ("apps/web/s.yaml", patch),
                ("apps/web/two.env", Form::Lines),
            ]
        );
    }

    #[test]
    fn long_lists_in_a_file_or_in_place_are_named_with_what_to_do() {
        let steps = "- {op: remove, path: /a}\n".repeat(5_001);
        let error = count("p.yaml", steps.as_bytes(), Form::Yaml(ListFile::Patch)).unwrap_err();
        assert!(error.is_too_large);
        assert_eq!(
            error.to_string(),
            "p.yaml: too large: the list has 5001 entries, and it may have 5000: shorten it, or write its outcome into the \
             resources themselves"
        );
        let fields = serde_json::json!({"patches": [{"patch": "a: b"}, {"patch": &steps}]});
        let error = count_in_place("k.yaml", fields.as_object().unwrap()).unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("k.yaml: too large: patches[1]: the list has 5001 entries"));
        let overrides = Overrides {
            patches: vec![crate::intent::Patch {
                patch: steps,
                target: None,
            }],
            ..Overrides::default()
        };
        let error = count_overrides(&overrides).unwrap_err().to_string();
        assert!(error.starts_with("spec.kustomize: too large: patches[0]: the list has 5001"));
        let lines = "a=b\n".repeat(20_001);
        assert!(count("a.env", lines.as_bytes(), Form::Lines).is_err());
        // kustomize itself says what is wrong with it.
        let broken = "a: [\n".repeat(5_000);
        let counted = count("p.yaml", broken.as_bytes(), Form::Yaml(ListFile::Patch));
        assert!(counted.is_ok());
    }
}
