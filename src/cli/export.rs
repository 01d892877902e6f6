//! `towline export`: manifests of live objects, to start a repository with.

use serde_json::{Map, Value, json};

use super::access::{Access, Doing};
use super::lineage::{kind, manager};
use super::terminal::Terminal;
use super::{CliError, Exit, output};
use crate::config::ExportArgs;

/// Defaults of the built-in workloads and Services. Each has this meaning wherever the field stands below `spec`.
const DEFAULTS: [(&str, &str); 27] = [
    ("completionMode", "\"NonIndexed\""),
    ("concurrencyPolicy", "\"Allow\""),
    ("defaultMode", "420"),
    ("dnsPolicy", "\"ClusterFirst\""),
    ("failedJobsHistoryLimit", "1"),
    ("failureThreshold", "3"),
    ("internalTrafficPolicy", "\"Cluster\""),
    ("periodSeconds", "10"),
    ("podManagementPolicy", "\"OrderedReady\""),
    ("podReplacementPolicy", "\"TerminatingOrFailed\""),
    ("progressDeadlineSeconds", "600"),
    ("protocol", "\"TCP\""),
    ("resources", "{}"),
    ("restartPolicy", "\"Always\""),
    ("revisionHistoryLimit", "10"),
    ("schedulerName", "\"default-scheduler\""),
    ("scheme", "\"HTTP\""),
    ("securityContext", "{}"),
    ("sessionAffinity", "\"None\""),
    (
        "strategy",
        r#"{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"}"#,
    ),
    ("successThreshold", "1"),
    ("successfulJobsHistoryLimit", "3"),
    ("terminationGracePeriodSeconds", "30"),
    ("terminationMessagePath", "\"/dev/termination-log\""),
    ("terminationMessagePolicy", "\"File\""),
    (
        "updateStrategy",
        r#"{"rollingUpdate":{"partition":0},"type":"RollingUpdate"}"#,
    ),
    ("volumeMode", "\"Filesystem\""),
];

/// Maps whose keys people choose.
const FREE: [&str; 6] = [
    "matchLabels",
    "labels",
    "annotations",
    "nodeSelector",
    "selector",
    "data",
];

/// Kinds whose defaults are known.
const KNOWN: [&str; 9] = [
    "CronJob",
    "DaemonSet",
    "Deployment",
    "Job",
    "PersistentVolumeClaim",
    "Pod",
    "ReplicaSet",
    "Service",
    "StatefulSet",
];

/// What the cluster allocates for a Service, a claim or a Namespace.
const ALLOCATED: [&str; 7] = [
    "clusterIP",
    "clusterIPs",
    "finalizers",
    "ipFamilies",
    "ipFamilyPolicy",
    "nodePort",
    "volumeName",
];

/// Annotations and labels that controllers write, by their beginning.
const WRITTEN: [&str; 9] = [
    "applyset.kubernetes.io/",
    "autoscaling.alpha.kubernetes.io/",
    "batch.kubernetes.io/",
    "deployment.kubernetes.io/",
    "kubectl.kubernetes.io/",
    "kubernetes.io/metadata.name",
    "pv.kubernetes.io/",
    "towline.dev/digest",
    "volume.kubernetes.io/",
];

/// Prints manifests of live objects.
pub(super) async fn export(args: &ExportArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let viewer = access.viewer().await?;
    let (mut manifests, mut exit) = (Vec::new(), Exit::Done);
    let mut note = |text: String| {
        Terminal::note(&format!("towline: {text}"));
        exit = Exit::Differs;
    };
    for object in &args.objects {
        let served = kind(&viewer, &object.kind)?;
        let name = &object.name;
        let doing = Doing::on(&served, "get", Some(&access.namespace)).of(name);
        if (&*served.resource.group, &*served.resource.kind) == ("", "Secret") {
            note(format!(
                "Secret {name} is left out: put it into Git encrypted (docs/guides/encrypted-secrets.md)"
            ));
            continue;
        }
        let live = viewer.get(&served, Some(&access.namespace), name).await;
        match live.map_err(|error| access.explain(error, &doing))? {
            None => note(format!("{} {name} does not exist", served.resource.kind)),
            Some(live) => {
                if let Some(sync) = manager(&live) {
                    note(format!(
                        "{} {name} is in Git already: Sync {sync} manages it",
                        served.resource.kind
                    ));
                }
                manifests.push(manifest(live));
            }
        }
    }
    Terminal::print(&output::yaml(&manifests)?)?;
    Ok(exit)
}

/// The manifest of a live object: without what the cluster writes, and without known defaults.
fn manifest(mut live: Value) -> Value {
    let kind = live["kind"].as_str().unwrap_or_default().to_owned();
    let metadata = live["metadata"].take();
    let mut kept = Map::new();
    for field in ["name", "namespace", "labels", "annotations"] {
        let mut value = metadata[field].clone();
        if let Some(map) = value.as_object_mut() {
            let is_written = |name: &str| WRITTEN.iter().any(|start| name.starts_with(start));
            map.retain(|name, _| !is_written(name) && !name.starts_with("towline.dev/"));
        }
        if !value.is_null() && value != json!({}) {
            kept.insert(field.to_owned(), value);
        }
    }
    live["metadata"] = Value::Object(kept);
    if let Some(whole) = live.as_object_mut() {
        whole.remove("status");
    }
    if KNOWN.contains(&&*kind) || kind == "Namespace" {
        if let Some(spec) = live.get_mut("spec") {
            without_defaults(spec);
        }
        if let Some(spec) = live["spec"].as_object_mut() {
            spec.retain(|field, value| {
                let is_type = kind == "Service" && field == "type" && value == "ClusterIP";
                !ALLOCATED.contains(&&**field) && !is_type
            });
        }
        if live["spec"] == json!({})
            && let Some(whole) = live.as_object_mut()
        {
            whole.remove("spec");
        }
    }
    live
}

/// Removes known defaults at every depth.
fn without_defaults(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_defaults),
        Value::Object(fields) => {
            let port = fields.get("port").cloned();
            fields.retain(|name, value| {
                let default = DEFAULTS.iter().find(|(field, _)| field == name);
                let is_default = default.is_some_and(|(_, text)| {
                    serde_json::from_str::<Value>(text).is_ok_and(|default| default == *value)
                });
                let is_written = match name.as_str() {
                    // The same as `port` unless somebody says otherwise.
                    "targetPort" => Some(&*value) == port.as_ref(),
                    "creationTimestamp" => value.is_null(),
                    // The old name of serviceAccountName.
                    "serviceAccount" | "nodePort" => true,
                    _ => false,
                };
                !is_default && !is_written
            });
            let inner = fields
                .iter_mut()
                .filter(|(name, _)| !FREE.contains(&name.as_str()));
            inner.for_each(|(_, value)| without_defaults(value));
        }
        _ => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cluster_made_is_left_out() {
        let live = json!({
            "apiVersion": "v1", "kind": "Service", "status": {"loadBalancer": {}},
            "metadata": {"name": "web", "namespace": "a", "uid": "1", "managedFields": [],
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x", "team": "a"}},
            "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "type": "ClusterIP", "sessionAffinity": "None",
                "selector": {"protocol": "TCP"}, "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}]},
        });
        assert_eq!(
            manifest(live),
            json!({"apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "web", "namespace": "a", "annotations": {"team": "a"}},
                "spec": {"selector": {"protocol": "TCP"}, "ports": [{"port": 80}]}})
        );
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"scheme": "HTTP"}});
        assert_eq!(manifest(map.clone()), map);
    }
}
