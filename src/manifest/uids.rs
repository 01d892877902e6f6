//! Uids of live objects in manifests that were exported from a cluster. An object that is made anew has other ones.

use serde_json::{Map, Value};

/// The labels by which a Job knows its pods. The API server adds them.
const OF_JOBS: [&str; 4] = [
    "controller-uid",
    "batch.kubernetes.io/controller-uid",
    "job-name",
    "batch.kubernetes.io/job-name",
];

/// Removes what names the uid of the exported object, or of another one: a Job's selector and labels, and the identity
/// of a PersistentVolume's claim. The API server refuses the first in a new object, and the second in a new cluster
/// binds the volume to nothing.
pub fn forget_uids(object: &mut Map<String, Value>) {
    let text = |field: &str| {
        object
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    match (text("apiVersion"), text("kind")) {
        ("batch/v1", "Job") => forget_uids_of_job(object),
        ("v1", "PersistentVolume") => {
            let claim = object
                .get_mut("spec")
                .and_then(|spec| spec.get_mut("claimRef"));
            if let Some(claim) = claim.and_then(Value::as_object_mut) {
                claim.remove("uid");
                claim.remove("resourceVersion");
            }
        }
        _ => (),
    }
}

fn forget_uids_of_job(job: &mut Map<String, Value>) {
    let Some(spec) = job.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    // Somebody chose this selector.
    if spec.get("manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    let selected = spec
        .get("selector")
        .and_then(|selector| selector.get("matchLabels"));
    let is_generated = selected
        .and_then(Value::as_object)
        .is_some_and(|labels| labels.keys().any(|key| key.ends_with("controller-uid")));
    if is_generated {
        spec.remove("selector");
    }
    let labels = spec
        .get_mut("template")
        .and_then(|template| template.pointer_mut("/metadata/labels"));
    forget_labels(labels);
    let labels = job
        .get_mut("metadata")
        .and_then(|metadata| metadata.get_mut("labels"));
    forget_labels(labels);
}

fn forget_labels(labels: Option<&mut Value>) {
    if let Some(labels) = labels.and_then(Value::as_object_mut)
        && labels.keys().any(|key| key.ends_with("controller-uid"))
    {
        labels.retain(|key, _| !OF_JOBS.contains(&key.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn forgotten(mut object: Value) -> Value {
        forget_uids(object.as_object_mut().unwrap());
        object
    }

    #[test]
    fn what_a_job_has_of_its_own_life_goes_and_what_a_person_chose_stays() {
        let generated = json!({"controller-uid": "u", "batch.kubernetes.io/controller-uid": "u",
                               "job-name": "a", "batch.kubernetes.io/job-name": "a", "app": "a"});
        let job = |labels: &Value, manual: bool| {
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "labels": labels},
                "spec": {"manualSelector": manual, "selector": {"matchLabels": labels},
                         "template": {"metadata": {"labels": labels}}}})
        };
        let expected = json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "a", "labels": {"app": "a"}},
            "spec": {"manualSelector": false, "template": {"metadata": {"labels": {"app": "a"}}}}});
        assert_eq!(forgotten(job(&generated, false)), expected);
        let own = json!({"app": "a", "job-name": "mine"});
        for job in [job(&generated, true), job(&own, false), job(&own, true)] {
            assert_eq!(forgotten(job.clone()), job);
        }
        for odd in [
            json!(null),
            json!(7),
            json!({"template": []}),
            json!({"selector": "a"}),
        ] {
            let job = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": odd});
            assert_eq!(forgotten(job.clone()), job);
        }
    }

    #[test]
    fn a_volume_is_for_a_claim_of_its_name() {
        let volume = |claim: Value| json!({"apiVersion": "v1", "kind": "PersistentVolume", "spec": {"claimRef": claim}});
        let exported = json!({"namespace": "a", "name": "b", "uid": "u", "resourceVersion": "7"});
        let claim = json!({"namespace": "a", "name": "b"});
        assert_eq!(forgotten(volume(exported)), volume(claim));
    }
}
