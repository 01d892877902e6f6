//! How long the lists of a kustomization, and of the files that it names, may be. Pure.

use serde_json::Value;

use crate::text::shorten;

/// The most entries of a list of paths or of a generator's values: a render makes no more documents. kustomize takes minutes for
/// more.
const MOST: usize = 20_000;

/// The lists that may have that many.
const LONG: [&str; 5] = ["resources", "bases", "literals", "files", "envs"];

/// The most entries of every other list: patches, images, replacements and their targets, for example. Of 20,000, kustomize
/// takes all memory and all time that a render may have, and then fails.
const MOST_OTHERS: usize = 5_000;

/// The most mappings of a list in a strategic merge patch. kustomize finds the fellow of each among all others, twice: for 5,000
/// containers or variables it takes all the time that a render may have.
const MOST_MERGED: usize = 2_000;

/// The shortest text with a list that is too long, in bytes: an entry has two at least.
pub(super) const SHORTEST: usize = MOST_MERGED * 2;

/// The longest place of a list in a message, in bytes: the keys of values may be long.
const LONGEST_PATH: usize = 200;

/// What a list is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ListFile {
    /// A kustomization, or another file that configures kustomize.
    Settings,
    /// A strategic merge patch or a JSON patch.
    Patch,
}

impl ListFile {
    /// The most entries of a list.
    fn most(self, field: &str, entries: &[Value]) -> usize {
        let is_merged = || entries.iter().any(Value::is_object);
        match self {
            Self::Settings if LONG.contains(&field) => MOST,
            Self::Settings => MOST_OTHERS,
            // The steps of a JSON patch are not merged with anything.
            Self::Patch if field == STEPS => MOST_OTHERS,
            Self::Patch if is_merged() => MOST_MERGED,
            Self::Patch => MOST,
        }
    }
}

/// The name of a list that is a whole document, in messages.
const STEPS: &str = "the list";

/// A list or a mapping with too many entries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{list} has {count} entries, and it may have {limit}")]
pub(super) struct TooLong {
    /// Where it is: `patches`, `configMapGenerator[0].literals`.
    list: String,
    count: usize,
    limit: usize,
}

/// The first list below a field of a kustomization that has more entries than kustomize can read in its time. YAML does not
/// nest deeply.
pub(super) fn too_long(field: &str, value: &Value) -> Result<(), TooLong> {
    below(&mut field.to_owned(), field, value, ListFile::Settings)
}

/// The first list in the documents of a text that has more entries than kustomize can read in its time.
pub(super) fn too_long_in<'d>(
    documents: impl ExactSizeIterator<Item = &'d Value>,
    kind: ListFile,
) -> Result<(), TooLong> {
    check("the file", documents.len(), MOST_MERGED)?;
    for document in documents {
        match document {
            Value::Object(fields) => {
                for (field, value) in fields {
                    below(&mut field.clone(), field, value, kind)?;
                }
            }
            other => below(&mut STEPS.to_owned(), STEPS, other, kind)?,
        }
    }
    Ok(())
}

/// The first list in the documents of a text over which kustomize may take long, in words. A manifest may have one: it matters
/// only where something is merged into it.
pub(super) fn long_list_in<'d>(
    documents: impl ExactSizeIterator<Item = &'d Value>,
) -> Option<String> {
    let TooLong { list, count, .. } = too_long_in(documents, ListFile::Patch).err()?;
    Some(format!("{list} has {count} entries"))
}

/// Whether a file with lines of `KEY=value` has more of them than kustomize can read in its time.
pub(super) fn too_many_lines(text: &[u8]) -> Result<(), TooLong> {
    check("the file", text.split(|byte| *byte == b'\n').count(), MOST)
}

fn check(path: &str, count: usize, limit: usize) -> Result<(), TooLong> {
    if count <= limit {
        return Ok(());
    }
    Err(TooLong {
        list: shorten(path, LONGEST_PATH),
        count,
        limit,
    })
}

/// `path`: where the value is. The text is longer after an error only.
fn below(path: &mut String, field: &str, value: &Value, kind: ListFile) -> Result<(), TooLong> {
    let before = path.len();
    match value {
        Value::Array(entries) => {
            check(path, entries.len(), kind.most(field, entries))?;
            for (index, entry) in entries.iter().enumerate() {
                if matches!(entry, Value::Array(_) | Value::Object(_)) {
                    path.push_str(&format!("[{index}]"));
                    below(path, field, entry, kind)?;
                    path.truncate(before);
                }
            }
        }
        Value::Object(fields) => {
            check(path, fields.len(), MOST)?;
            for (name, value) in fields {
                if matches!(value, Value::Array(_) | Value::Object(_)) {
                    path.push('.');
                    path.push_str(name);
                    below(path, name, value, kind)?;
                    path.truncate(before);
                }
            }
        }
        _ => (),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn many(entry: Value, count: usize) -> Value {
        Value::Array(vec![entry; count])
    }

    #[test]
    fn each_list_has_its_limit_and_the_error_says_which() {
        let patch = json!({"path": "p.yaml"});
        let said = |text: &str| Some(text.to_owned());
        for (field, value, wanted) in [
            ("resources", many("a.yaml".into(), 20_000), None),
            ("bases", many("../a".into(), 20_000), None),
            (
                "resources",
                many("a.yaml".into(), 20_001),
                said("resources has 20001 entries, and it may have 20000"),
            ),
            ("patches", many(patch.clone(), 5_000), None),
            (
                "patches",
                many(patch, 5_001),
                said("patches has 5001 entries, and it may have 5000"),
            ),
            (
                "images",
                many(json!({"name": "a", "newTag": "b"}), 20_000),
                said("images has 20000 entries, and it may have 5000"),
            ),
            (
                "components",
                many("../c".into(), 6_000),
                said("components has 6000 entries, and it may have 5000"),
            ),
            (
                "replacements",
                json!([{"source": {}}, {"targets": many(json!({"fieldPaths": ["a"]}), 5_001)}]),
                said("replacements[1].targets has 5001 entries, and it may have 5000"),
            ),
            (
                "configMapGenerator",
                json!([{"name": "a", "literals": many("a=b".into(), 20_000)}]),
                None,
            ),
            (
                "configMapGenerator",
                json!([{"name": "a", "files": many("a=b".into(), 20_001)}]),
                said("configMapGenerator[0].files has 20001 entries, and it may have 20000"),
            ),
            (
                "helmCharts",
                json!([{"valuesInline": {"a": {"b": many(0.into(), 5_001)}}}]),
                said("helmCharts[0].valuesInline.a.b has 5001 entries, and it may have 5000"),
            ),
            // A list in a list is one of the same field.
            (
                "images",
                json!([[], many(0.into(), 5_001)]),
                said("images[1] has 5001 entries, and it may have 5000"),
            ),
            ("labels", json!({"a": [1, 2], "b": "c"}), None),
        ] {
            let told = too_long(field, &value).err().map(|long| long.to_string());
            assert_eq!(told, wanted, "{field}");
        }
    }

    #[test]
    fn lists_of_patches_and_of_other_files_have_limits_of_their_own() {
        let env = |count| json!({"spec": {"env": many(json!({"name": "a"}), count)}});
        let args = |count| json!({"spec": {"args": many("a".into(), count)}});
        let step = json!({"op": "remove", "path": "/a"});
        let keys = |count| {
            let keys = (0..count).map(|number| (number.to_string(), Value::Null));
            json!({"data": Value::Object(keys.collect())})
        };
        let targets = |count| json!({"targets": many(json!({"fieldPaths": ["a"]}), count)});
        let literals =
            |count| json!({"kind": "ConfigMapGenerator", "literals": many("a=b".into(), count)});
        for (documents, kind, wanted) in [
            (vec![env(2_000)], ListFile::Patch, None),
            (
                vec![env(2), env(2_001)],
                ListFile::Patch,
                Some("spec.env has 2001 entries, and it may have 2000"),
            ),
            (vec![args(20_000)], ListFile::Patch, None),
            (
                vec![args(20_001)],
                ListFile::Patch,
                Some("spec.args has 20001 entries, and it may have 20000"),
            ),
            (vec![many(step.clone(), 5_000)], ListFile::Patch, None),
            (
                vec![many(step, 5_001)],
                ListFile::Patch,
                Some("the list has 5001 entries, and it may have 5000"),
            ),
            (
                vec![json!([{"op": "add", "value": env(2_001)}])],
                ListFile::Patch,
                Some("the list[0].value.spec.env has 2001 entries, and it may have 2000"),
            ),
            (vec![keys(20_000)], ListFile::Patch, None),
            (
                vec![keys(20_001)],
                ListFile::Patch,
                Some("data has 20001 entries, and it may have 20000"),
            ),
            (vec![targets(5_000)], ListFile::Settings, None),
            (
                vec![targets(5_001)],
                ListFile::Settings,
                Some("targets has 5001 entries, and it may have 5000"),
            ),
            (
                vec![json!([targets(1), targets(5_001)])],
                ListFile::Settings,
                Some("the list[1].targets has 5001 entries, and it may have 5000"),
            ),
            (vec![literals(20_000)], ListFile::Settings, None),
            (
                vec![literals(20_001)],
                ListFile::Settings,
                Some("literals has 20001 entries, and it may have 20000"),
            ),
            (
                vec![json!({}); 2_001],
                ListFile::Settings,
                Some("the file has 2001 entries, and it may have 2000"),
            ),
            (vec![Value::Null], ListFile::Settings, None),
        ] {
            let told = too_long_in(documents.iter(), kind).err();
            let told = told.map(|long| long.to_string());
            assert_eq!(told.as_deref(), wanted);
        }
        assert_eq!(too_many_lines(&b"a=b\n".repeat(19_999)), Ok(()));
        assert!(too_many_lines(&b"a=b\n".repeat(20_000)).is_err());
    }
}
