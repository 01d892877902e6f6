//! The items of a list by their keys in `fieldsV1`, such as `k:{"name":"web"}`. Pure.
//!
//! A manifest may have lists of tens of thousands of items. So an item is found by an index, and not by a look at each.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// The keys that `k:{…}` in `fieldsV1` names. None where it is something else.
pub(super) fn keys_of(segment: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(segment.strip_prefix("k:")?).ok()
}

/// A list whose items are found by their keys.
pub(super) struct Items<'a> {
    list: &'a [Value],
    /// One index for each set of names. All keys of a list have the same names, as long as its schema is the same.
    indexes: HashMap<Vec<String>, Index>,
}

/// The first item with these values of keys. A key that the item leaves out has no value.
type Values = Vec<Option<String>>;

#[derive(Default)]
struct Index {
    first: HashMap<Values, usize>,
    /// Which keys items leave out, in the order of the items.
    shapes: Vec<Vec<bool>>,
}

impl<'a> Items<'a> {
    pub(super) fn of(list: Option<&'a Value>) -> Self {
        Self {
            list: list.and_then(Value::as_array).map_or(&[], Vec::as_slice),
            indexes: HashMap::new(),
        }
    }

    /// The position of the item that has all of these keys.
    pub(super) fn with(&mut self, keys: &Map<String, Value>) -> Option<usize> {
        let values: Values = keys.values().map(|value| Some(value.to_string())).collect();
        self.index(keys).first.get(&values).copied()
    }

    /// The same, or that of an item that leaves out some of the keys. Such a key has its default value, as `protocol` of
    /// a port has.
    pub(super) fn with_defaults(&mut self, keys: &Map<String, Value>) -> Option<usize> {
        let exact = self.with(keys);
        if exact.is_some() {
            return exact;
        }
        let Index { first, shapes } = self.index(keys);
        shapes.iter().find_map(|shape| {
            let values = keys.values().zip(shape);
            let values: Values = values
                .map(|(value, has)| has.then(|| value.to_string()))
                .collect();
            first.get(&values).copied()
        })
    }

    /// An item by its position.
    pub(super) fn at(&self, position: usize) -> Option<&'a Value> {
        self.list.get(position)
    }

    fn index(&mut self, keys: &Map<String, Value>) -> &Index {
        let list = self.list;
        let names: Vec<String> = keys.keys().cloned().collect();
        self.indexes
            .entry(names)
            .or_insert_with_key(|names| Index::of(list, names))
    }
}

impl Index {
    fn of(list: &[Value], names: &[String]) -> Self {
        let mut index = Self::default();
        for (position, item) in list.iter().enumerate() {
            let values = names
                .iter()
                .map(|name| item.get(name).map(Value::to_string));
            let values: Values = values.collect();
            let shape: Vec<bool> = values.iter().map(Option::is_some).collect();
            // An item without any of the keys is none of the list that the server merges.
            if shape.contains(&true) && !index.shapes.contains(&shape) {
                index.shapes.push(shape);
            }
            index.first.entry(values).or_insert(position);
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_is_found_by_its_keys_and_one_that_leaves_some_out_by_the_others() {
        let list = json!([
            {"port": 80}, {"port": 80, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}, {"name": "none"}, 7
        ]);
        let mut items = Items::of(Some(&list));
        for (keys, with, with_defaults) in [
            (r#"k:{"port":80,"protocol":"UDP"}"#, Some(1), Some(1)),
            (r#"k:{"port":80,"protocol":"TCP"}"#, None, Some(0)),
            (r#"k:{"port":53,"protocol":"TCP"}"#, Some(2), Some(2)),
            (r#"k:{"port":53,"protocol":"UDP"}"#, None, None),
            (r#"k:{"port":"80","protocol":"TCP"}"#, None, None),
            (r#"k:{"name":"none"}"#, Some(3), Some(3)),
            (r#"k:{"other":"none"}"#, None, None),
        ] {
            let keys = keys_of(keys).unwrap();
            assert_eq!(items.with(&keys), with, "{keys:?}");
            assert_eq!(items.with_defaults(&keys), with_defaults, "{keys:?}");
        }
        assert_eq!(items.at(1), Some(&json!({"port": 80, "protocol": "UDP"})));
        let no_list = json!({});
        let mut none = Items::of(Some(&no_list));
        assert_eq!(none.with(&keys_of(r#"k:{"name":"a"}"#).unwrap()), None);
        for other in ["v:1", "f:name", "k:7", "i:0"] {
            assert_eq!(keys_of(other), None);
        }
    }
}
