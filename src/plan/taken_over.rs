//! What an object loses when towline takes over the shares of other appliers. Pure.
//!
//! Their fields become ours, and the apply that follows removes those that the manifest does not declare. A dry run of the
//! apply alone does not show that: it leaves their shares theirs.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::items::{Items, keys_of};
use super::share::{Appliers, Share};

/// The fields of other appliers, and those of managers that are neither these nor towline, in the form of `fieldsV1`.
#[derive(Debug)]
pub struct TakenOver {
    theirs: Value,
    rest: Value,
}

impl TakenOver {
    /// What is taken over from an object. None if nothing. With `was_ours`, towline managed it before.
    pub fn of(share: &Share, appliers: &Appliers, was_ours: bool) -> Option<Self> {
        let theirs = share.of_appliers(appliers, was_ours);
        let is_empty = theirs.as_object().is_none_or(Map::is_empty);
        let rest = share.of_rest(appliers);
        (!is_empty).then_some(Self { theirs, rest })
    }

    /// Removes from `object` what goes when `body` is applied.
    pub fn leave(&self, object: &mut Value, body: &Value) {
        leave(object, Some(body), &self.theirs, Some(&self.rest));
    }
}

fn leave(value: &mut Value, body: Option<&Value>, theirs: &Value, rest: Option<&Value>) {
    let Some(theirs) = theirs.as_object() else {
        return;
    };
    let of_others = |key: &str| rest.and_then(|rest| rest.get(key));
    if let Value::Object(fields) = value {
        for (key, inner) in theirs {
            let name = key.strip_prefix("f:").unwrap_or_default();
            let (declared, other) = (body.and_then(|body| body.get(name)), of_others(key));
            let Some(value) = fields.get_mut(name) else {
                continue;
            };
            let goes = is_undivided(inner) || {
                leave(value, declared, inner, other);
                is_empty(value)
            };
            if goes && declared.is_none() && other.is_none() {
                fields.remove(name);
            }
        }
        return;
    }
    let (mut live, mut declared) = (Items::of(Some(value)), Items::of(body));
    let items = theirs.iter().filter_map(|(key, inner)| {
        let keys = keys_of(key)?;
        let declared = declared
            .with_defaults(&keys)
            .and_then(|position| declared.at(position));
        Some((live.with(&keys)?, declared, inner, of_others(key)))
    });
    let items: Vec<_> = items.collect();
    let Value::Array(list) = value else {
        return;
    };
    let mut gone = BTreeSet::new();
    for (position, declared, inner, other) in items {
        leave(&mut list[position], declared, inner, other);
        if declared.is_none() && other.is_none() && inner.get(".").is_some() {
            gone.insert(position);
        }
    }
    let mut position = 0;
    list.retain(|_| {
        position += 1;
        !gone.contains(&(position - 1))
    });
}

/// Whether these fields are a place as a whole.
fn is_undivided(fields: &Value) -> bool {
    fields.as_object().is_none_or(Map::is_empty)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_only_another_applier_declared_goes() {
        let entry = |manager: &str, fields: Value| json!({"manager": manager, "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields});
        let port = |number: u16| format!("k:{{\"port\":{number},\"protocol\":\"TCP\"}}");
        let item = json!({".": {}, "f:port": {}});
        let meta = json!({"resourceVersion": "1", "managedFields": [
            entry("kubectl", json!({
                "f:data": {"f:extra": {}, "f:both": {}, "f:ours": {}},
                "f:metadata": {"f:labels": {"f:team": {}}},
                "f:ports": {port(80): item, port(81): item, port(82): item},
            })),
            entry("autoscaler", json!({"f:data": {"f:both": {}}, "f:ports": {port(82): item}})),
            entry("towline", json!({"f:data": {"f:ours": {}}})),
        ]});
        let share = Share::of(&serde_json::from_value(meta).unwrap(), "v1").unwrap();
        let taken = TakenOver::of(&share, &Appliers::default(), true).unwrap();
        let ports = |numbers: &[u16]| -> Value {
            numbers
                .iter()
                .map(|number| json!({"port": number, "protocol": "TCP"}))
                .collect()
        };
        let mut object = json!({
            "data": {"extra": "1", "both": "2", "ours": "3", "nobodys": "4"},
            "metadata": {"labels": {"team": "a"}}, "ports": ports(&[80, 81, 82]),
        });
        let body = json!({"data": {"ours": "3"}, "metadata": {}, "ports": [{"port": 80}]});
        taken.leave(&mut object, &body);
        assert_eq!(
            object,
            json!({"data": {"both": "2", "ours": "3", "nobodys": "4"}, "metadata": {}, "ports": ports(&[80, 82])})
        );
        let nobody = json!({"resourceVersion": "1", "managedFields": [entry("towline", json!({"f:data": {}}))]});
        let share = Share::of(&serde_json::from_value(nobody).unwrap(), "v1").unwrap();
        assert!(TakenOver::of(&share, &Appliers::default(), true).is_none());
    }
}
