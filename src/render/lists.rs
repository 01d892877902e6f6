//! How long the lists of a kustomization may be. Pure.

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

/// The shortest text with a list that is too long, in bytes: an entry has two at least.
pub(super) const SHORTEST: usize = MOST_OTHERS * 2;

/// The longest place of a list in a message, in bytes: the keys of values may be long.
const LONGEST_PATH: usize = 200;

/// A list with too many entries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{list} has {count} entries, and it may have {limit}")]
pub(super) struct TooLong {
    /// Where it is: `patches`, `configMapGenerator[0].literals`.
    list: String,
    count: usize,
    limit: usize,
}

/// The first list below a field that has more entries than kustomize can read in its time. YAML does not nest deeply.
pub(super) fn too_long(field: &str, value: &Value) -> Result<(), TooLong> {
    below(&mut field.to_owned(), field, value)
}

/// `path`: where the value is. The text is longer after an error only.
fn below(path: &mut String, field: &str, value: &Value) -> Result<(), TooLong> {
    let before = path.len();
    match value {
        Value::Array(entries) => {
            let limit = match LONG.contains(&field) {
                true => MOST,
                false => MOST_OTHERS,
            };
            if entries.len() > limit {
                return Err(TooLong {
                    list: shorten(path, LONGEST_PATH),
                    count: entries.len(),
                    limit,
                });
            }
            for (index, entry) in entries.iter().enumerate() {
                if matches!(entry, Value::Array(_) | Value::Object(_)) {
                    path.push_str(&format!("[{index}]"));
                    below(path, field, entry)?;
                    path.truncate(before);
                }
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                if matches!(value, Value::Array(_) | Value::Object(_)) {
                    path.push('.');
                    path.push_str(name);
                    below(path, name, value)?;
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
}
