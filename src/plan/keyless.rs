//! Items of live lists without the key that they are merged by, such as `secrets: [{}]` of a ServiceAccount. Pure.
//!
//! The API server takes them from whoever does not use server-side apply. It then forgets all `managedFields` of the object,
//! and refuses every apply to it (`typeConverter.ObjectToTyped`). An item that is empty says nothing, so it can go.

use serde_json::{Value, json};

/// The API server's words for such an item, after its place: `.secrets: element 0: `.
const OMITS: &str = ": associative list with keys has an element that omits ";

/// The API server's words about what was sent. All others are about the live object, in words of several versions.
const SENT: &str = "failed to create typed patch object";

/// Whether a refusal is about such an item of the live object.
pub fn is_keyless(said: &str) -> bool {
    said.contains(OMITS) && !said.starts_with(SENT)
}

/// The JSON patch that removes the empty items of that list, of the live object at this version. None if the place is not
/// understood, or if the items without a key say something.
pub fn without_keyless(said: &str, live: &Value) -> Option<Value> {
    let (before, _) = said.split_once(OMITS)?;
    let (before, _) = before.rsplit_once(": element ")?;
    let (_, place) = before.rsplit_once(": ")?;
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let names: Vec<&str> = place.strip_prefix('.')?.split('.').collect();
    if !names.iter().all(|name| !name.is_empty() && is_name(name)) {
        return None;
    }
    let list = format!("/{}", names.join("/"));
    let version = live["metadata"]["resourceVersion"].as_str()?;
    let condition = json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version});
    let items = live.pointer(&list)?.as_array()?.iter().enumerate();
    // From the end, so that those before keep their places.
    let empty = items.rev().filter(|(_, item)| **item == json!({}));
    let removals: Vec<Value> = empty
        .map(|(index, _)| json!({"op": "remove", "path": format!("{list}/{index}")}))
        .collect();
    let patch = std::iter::once(condition).chain(removals.iter().cloned());
    (!removals.is_empty()).then(|| patch.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_items_go_and_others_stay() {
        let said = |place: &str| {
            format!(
                "failed to create manager for existing fields: failed to convert new object (shop/odd; /v1, \
                 Kind=ServiceAccount) to smd typed: {place}: element 0: associative list with keys has an element that \
                 omits all key fields [\"name\"] (and doesn't have default values for any key fields)"
            )
        };
        let live = |secrets: Value| json!({"metadata": {"resourceVersion": "7"}, "secrets": secrets, "spec": {"list": [{}]}});
        let removed = |place: &str, secrets: Value| {
            let patch = without_keyless(&said(place), &live(secrets))?;
            assert_eq!(patch[0]["value"], "7");
            let removals = patch.as_array().unwrap().iter().skip(1);
            let paths = removals.map(|one| one["path"].as_str().unwrap().to_owned());
            Some(paths.collect::<Vec<_>>().join(" "))
        };
        for (place, secrets, paths) in [
            (".secrets", json!([{}]), Some("/secrets/0")),
            (
                ".secrets",
                json!([{}, {"name": "a"}, {}]),
                Some("/secrets/2 /secrets/0"),
            ),
            (".spec.list", json!([]), Some("/spec/list/0")),
            // It says something, so somebody has to look.
            (".secrets", json!([{"namespace": "a"}]), None),
            (".secrets", json!("text"), None),
            (".spec.list[name=\"a/b\"].x", json!([{}]), None),
            (".absent", json!([{}]), None),
        ] {
            assert_eq!(removed(place, secrets).as_deref(), paths, "{place}");
        }
        assert!(is_keyless(&said(".secrets")));
        let sent = said(".secrets").replace(
            "failed to create manager for existing fields",
            "failed to create typed patch object (shop/odd)",
        );
        assert!(!is_keyless(&sent) && !is_keyless("no room"));
        assert_eq!(without_keyless("no room", &live(json!([{}]))), None);
    }
}
