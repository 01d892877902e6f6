//! Lists in the answers of hosts. Pure.

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny};

/// What was read of a list.
pub(super) struct Listed<T> {
    /// Its elements.
    pub(super) items: Vec<T>,
    /// How many more it has that are of another form.
    pub(super) odd: usize,
}

impl<T> Listed<T> {
    /// How many elements the list has.
    pub(super) fn total(&self) -> usize {
        self.items.len() + self.odd
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Element<T> {
    Read(T),
    Odd(IgnoredAny),
}

/// Reads a list. An element of another form is left out, so that it does not hide the others. None if the answer is no list.
pub(super) fn listed<T: DeserializeOwned>(body: &str) -> Option<Listed<T>> {
    let elements: Vec<Element<T>> = serde_json::from_str(body).ok()?;
    let mut listed = Listed {
        items: Vec::with_capacity(elements.len()),
        odd: 0,
    };
    for element in elements {
        match element {
            Element::Read(item) => listed.items.push(item),
            Element::Odd(_) => listed.odd += 1,
        }
    }
    Some(listed)
}

/// A field that may be null: then it has its default.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    field: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(field)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Named {
        id: u64,
        #[serde(default, deserialize_with = "or_default")]
        name: String,
    }

    #[test]
    fn an_odd_element_hides_no_other() {
        let good = r#"{"id": 1, "name": "a"}"#;
        for odd in [
            "null",
            "7",
            "\"text\"",
            "[]",
            "{}",
            r#"{"id": null}"#,
            r#"{"id": "1"}"#,
            r#"{"id": 1, "name": {}}"#,
            r#"{"id": -1}"#,
        ] {
            for body in [format!("[{odd}, {good}]"), format!("[{good}, {odd}]")] {
                let listed = listed::<Named>(&body).unwrap();
                assert_eq!((listed.items.len(), listed.odd), (1, 1), "{body}");
                assert_eq!(listed.items[0].name, "a");
            }
            let listed = listed::<Named>(&format!("[{odd}]")).unwrap();
            assert_eq!((listed.total(), listed.odd), (1, 1), "{odd}");
        }
        let empty = listed::<Named>("[]").unwrap();
        assert_eq!(empty.total(), 0);
        let null = listed::<Named>(r#"[{"id": 1, "name": null}, {"id": 2}]"#).unwrap();
        assert!(null.items.iter().all(|one| one.name.is_empty()) && null.odd == 0);
        for broken in ["", "{}", "null", "<html>", "[{\"id\": 1}"] {
            assert!(listed::<Named>(broken).is_none(), "{broken}");
        }
    }
}
