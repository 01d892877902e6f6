//! Fields that the API server fills in from other fields of the same object. Pure.
//!
//! Such a value stays when the field from which it was made changes or leaves Git: the server fills in only what is not there.
//! So a removed `serviceAccountName` would come back from its older name, and a NetworkPolicy that gets its first `egress` would not
//! restrict it. What the server would fill in for a new object is therefore declared with each apply: then it follows Git.

use serde_json::{Map, Value, json};

/// Where Kubernetes' own kinds with pods have the spec of the pod.
const POD_SPECS: [&[&str]; 4] = [
    &["spec"],
    &["template", "spec"],
    &["spec", "template", "spec"],
    &["spec", "jobTemplate", "spec", "template", "spec"],
];

/// The versions of all kinds with pods. No other kind in them has a `serviceAccountName` at such a place.
const WITH_PODS: [&str; 3] = ["v1", "apps/v1", "batch/v1"];

/// One field under two names: a value of one becomes that of the other, where only one is set.
const ACCOUNT: [&str; 2] = ["serviceAccountName", "serviceAccount"];

/// Declares in an object what the API server would fill in from the object's other fields.
pub(super) fn declare_implied(body: &mut Value) {
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if WITH_PODS.contains(&&*version) {
        for path in POD_SPECS {
            if let Some(spec) = at(body, path, "") {
                declare_account(spec);
            }
        }
    }
    if (&*version, &*kind) == ("networking.k8s.io/v1", "NetworkPolicy")
        && let Some(spec) = at(body, &["spec"], "")
    {
        declare_policy_types(spec);
    }
}

/// Adds to the fields of an entry in `managedFields` those that were filled in from them.
pub(super) fn own_implied(fields: &mut Value, api_version: &str) {
    if !WITH_PODS.contains(&api_version) {
        return;
    }
    for path in POD_SPECS {
        let Some(spec) = at(fields, path, "f:") else {
            continue;
        };
        let keys = ACCOUNT.map(|name| format!("f:{name}"));
        if keys.iter().any(|key| spec.contains_key(key)) {
            spec.extend(keys.map(|key| (key, json!({}))));
        }
    }
}

fn at<'v>(value: &'v mut Value, path: &[&str], prefix: &str) -> Option<&'v mut Map<String, Value>> {
    let mut steps = path.iter();
    let found = steps.try_fold(value, |inner, step| {
        inner.get_mut(format!("{prefix}{step}"))
    })?;
    found.as_object_mut()
}

fn declare_account(spec: &mut Map<String, Value>) {
    let is_set = |name: &&str| spec.get(*name).is_some_and(|value| *value != json!(""));
    let set: Vec<&str> = ACCOUNT.into_iter().filter(is_set).collect();
    let [only] = set[..] else { return };
    let value = spec[only].clone();
    for name in ACCOUNT {
        spec.insert(name.to_owned(), value.clone());
    }
}

fn declare_policy_types(spec: &mut Map<String, Value>) {
    let has = |field: &str| {
        let items = spec.get(field).and_then(Value::as_array);
        items.is_some_and(|items| !items.is_empty())
    };
    if has("policyTypes") {
        return;
    }
    let types = match has("egress") {
        true => json!(["Ingress", "Egress"]),
        false => json!(["Ingress"]),
    };
    spec.insert("policyTypes".to_owned(), types);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_fills_in_from_other_fields_is_declared() {
        let pod = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
        let both = json!({"serviceAccountName": "a", "serviceAccount": "a"});
        let two = json!({"serviceAccountName": "a", "serviceAccount": "b"});
        let policy = |spec: Value| json!({ "spec": spec });
        for (version, kind, object, expected) in [
            (
                "apps/v1",
                "Deployment",
                pod(json!({"serviceAccountName": "a"})),
                pod(both.clone()),
            ),
            (
                "apps/v1",
                "Deployment",
                pod(json!({"serviceAccount": "a"})),
                pod(both.clone()),
            ),
            ("apps/v1", "Deployment", pod(two.clone()), pod(two)),
            ("apps/v1", "Deployment", pod(json!({})), pod(json!({}))),
            (
                "batch/v1",
                "CronJob",
                json!({"spec": {"jobTemplate": pod(json!({"serviceAccountName": "a"}))}}),
                json!({"spec": {"jobTemplate": pod(both.clone())}}),
            ),
            (
                "v1",
                "Pod",
                json!({"spec": {"serviceAccountName": "a"}}),
                json!({ "spec": both }),
            ),
            (
                "example.com/v1",
                "Deployment",
                pod(json!({"serviceAccountName": "a"})),
                pod(json!({"serviceAccountName": "a"})),
            ),
            (
                "networking.k8s.io/v1",
                "NetworkPolicy",
                policy(json!({"egress": []})),
                policy(json!({"egress": [], "policyTypes": ["Ingress"]})),
            ),
            (
                "networking.k8s.io/v1",
                "NetworkPolicy",
                policy(json!({"egress": [{}], "policyTypes": []})),
                policy(json!({"egress": [{}], "policyTypes": ["Ingress", "Egress"]})),
            ),
            (
                "networking.k8s.io/v1",
                "NetworkPolicy",
                policy(json!({"egress": [{}], "policyTypes": ["Egress"]})),
                policy(json!({"egress": [{}], "policyTypes": ["Egress"]})),
            ),
        ] {
            let whole = |object: &Value| {
                let mut whole = object.clone();
                (whole["apiVersion"], whole["kind"]) = (version.into(), kind.into());
                whole
            };
            let mut body = whole(&object);
            declare_implied(&mut body);
            assert_eq!(body, whole(&expected), "{object}");
        }
    }

    #[test]
    fn a_share_of_one_name_is_one_of_both() {
        let fields = |names: &[&str]| {
            let names = names.iter().map(|name| (format!("f:{name}"), json!({})));
            let spec: Map<String, Value> = names.collect();
            json!({"f:spec": {"f:template": {"f:spec": spec}}})
        };
        for (version, before, after) in [
            ("apps/v1", &ACCOUNT[..1], &ACCOUNT[..]),
            ("apps/v1", &["hostNetwork"], &["hostNetwork"]),
            ("example.com/v1", &ACCOUNT[..1], &ACCOUNT[..1]),
        ] {
            let mut found = fields(before);
            own_implied(&mut found, version);
            assert_eq!(found, fields(after), "{version} {before:?}");
        }
    }
}
