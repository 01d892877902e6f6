//! `towline export`: manifests of live objects, to start a repository with.

mod defaults;

use serde_json::{Map, Value, json};

use self::defaults::{
    CLAIM, CONTAINER, CRON_JOB, DAEMON_SET, DEPLOYMENT, Defaults, JOB, POD, PROBE, PROBES, SERVICE,
    STATEFUL_SET,
};
use super::access::{Access, Doing};
use super::lineage::{absent, kind, manager, wanted};
use super::terminal::Terminal;
use super::{CliError, Exit, output};
use crate::config::ExportArgs;

/// What the cluster allocates or decides. It is kept where a person declared it: a node port that a firewall knows, a claim
/// on one volume.
const ALLOCATED: [&str; 7] = [
    "clusterIP",
    "clusterIPs",
    "finalizers",
    "ipFamilies",
    "ipFamilyPolicy",
    "nodeName",
    "volumeName",
];

/// How the names of those field managers begin that decide for the cluster.
const CONTROLLERS: [&str; 3] = ["kube-controller-manager", "kube-scheduler", "kubelet"];

/// Labels that a Job's controller writes, beside those of [`WRITTEN`].
const OF_JOBS: [&str; 2] = ["controller-uid", "job-name"];

/// How the name of the volume begins by which a pod gets its account's token.
const ACCOUNT_VOLUME: &str = "kube-api-access-";

/// What every pod tolerates for five minutes.
const TOLERATED: [&str; 2] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
];

/// Annotations and labels that controllers write, by their beginning.
const WRITTEN: [&str; 8] = [
    "applyset.kubernetes.io/",
    "autoscaling.alpha.kubernetes.io/",
    "batch.kubernetes.io/",
    "deployment.kubernetes.io/",
    "kubectl.kubernetes.io/",
    "kubernetes.io/metadata.name",
    "pv.kubernetes.io/",
    "volume.kubernetes.io/",
];

/// Prints manifests of live objects.
pub(super) async fn export(args: &ExportArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let viewer = access.viewer().await?;
    let (mut manifests, mut missing, mut exit) = (Vec::new(), Vec::new(), Exit::Done);
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
            None => missing.push(absent(&wanted(&served, object, &access.namespace))),
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
    CliError::if_any(missing)?;
    Ok(exit)
}

/// The manifest of a live object: without what the cluster writes, and without known defaults.
fn manifest(mut live: Value) -> Value {
    let version = live["apiVersion"].as_str().unwrap_or_default();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let kind = (
        group.to_owned(),
        live["kind"].as_str().unwrap_or_default().to_owned(),
    );
    let kind = (&*kind.0, &*kind.1);
    let metadata = live["metadata"].take();
    let mut kept = Map::new();
    for field in ["name", "namespace", "labels", "annotations"] {
        let mut value = metadata[field].clone();
        without_written(&mut value, kind);
        if !value.is_null() {
            kept.insert(field.to_owned(), value);
        }
    }
    live["metadata"] = Value::Object(kept);
    if let Some(whole) = live.as_object_mut() {
        whole.remove("status");
    }
    if let Some(spec) = live.get_mut("spec") {
        let declared = declared(&metadata);
        match kind {
            ("", "Namespace") => allocated(spec, &declared),
            ("", "Service") => service(spec, &declared),
            ("", "PersistentVolumeClaim") => {
                allocated(spec, &declared);
                without(spec, CLAIM);
            }
            ("", "Pod") => {
                allocated(spec, &declared);
                pod(spec);
            }
            ("apps", "Deployment") => workload(spec, DEPLOYMENT, kind),
            ("apps", "StatefulSet") => workload(spec, STATEFUL_SET, kind),
            ("apps", "DaemonSet") => workload(spec, DAEMON_SET, kind),
            ("apps", "ReplicaSet") => workload(spec, &[], kind),
            ("batch", "Job") => job(spec),
            ("batch", "CronJob") => {
                without(spec, CRON_JOB);
                if let Some(template) = spec.pointer_mut("/jobTemplate/spec") {
                    job(template);
                }
            }
            _ => (),
        }
        if *spec == json!({})
            && let Some(whole) = live.as_object_mut()
        {
            whole.remove("spec");
        }
    }
    live
}

/// Removes the labels or annotations that controllers write. What is empty then becomes null.
fn without_written(value: &mut Value, kind: (&str, &str)) {
    let Some(map) = value.as_object_mut() else {
        return;
    };
    let is_written = |name: &str| {
        WRITTEN.iter().any(|start| name.starts_with(start))
            || name.starts_with("towline.dev/")
            || kind == ("batch", "Job") && OF_JOBS.contains(&name)
    };
    map.retain(|name, _| !is_written(name));
    if map.is_empty() {
        *value = Value::Null;
    }
}

/// The fields of `spec` that somebody declared who is no controller of the cluster, in the form of `fieldsV1`.
fn declared(metadata: &Value) -> Vec<&Value> {
    let entries = metadata["managedFields"].as_array();
    let of_people = entries.into_iter().flatten().filter(|entry| {
        let manager = entry["manager"].as_str().unwrap_or_default();
        let is_whole = entry["subresource"].as_str().unwrap_or_default().is_empty();
        is_whole && !CONTROLLERS.iter().any(|start| manager.starts_with(start))
    });
    of_people
        .filter_map(|entry| entry.pointer("/fieldsV1/f:spec"))
        .collect()
}

/// Removes what the cluster allocated, and nobody declared.
fn allocated(spec: &mut Value, declared: &[&Value]) {
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|name, _| {
            let is_declared = || {
                declared
                    .iter()
                    .any(|fields| fields.get(format!("f:{name}")).is_some())
            };
            !ALLOCATED.contains(&&**name) || name != "finalizers" && is_declared()
        });
    }
}

fn service(spec: &mut Value, declared: &[&Value]) {
    // A Service without an address is another kind of Service.
    let is_headless = spec["clusterIP"] == "None";
    allocated(spec, declared);
    if is_headless {
        spec["clusterIP"] = "None".into();
    }
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("clusterIPs");
    }
    let ports: Vec<&Value> = declared
        .iter()
        .filter_map(|fields| fields.get("f:ports"))
        .collect();
    for port in spec
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let is_declared = ports.iter().any(|ports| declares_node_port(ports, port));
        let number = port["port"].clone();
        if let Some(fields) = port.as_object_mut() {
            // The same as `port` unless somebody says otherwise.
            fields.retain(|name, value| match &**name {
                "targetPort" => *value != number,
                "nodePort" => is_declared,
                _ => true,
            });
        }
    }
    without(spec, SERVICE);
}

/// Whether these fields of `ports` name the node port of one of them, by the port's number and protocol.
fn declares_node_port(ports: &Value, port: &Value) -> bool {
    let items = ports.as_object().into_iter().flatten();
    items
        .filter(|(_, fields)| fields.get("f:nodePort").is_some())
        .any(|(key, _)| {
            let keys = key
                .strip_prefix("k:")
                .and_then(|text| serde_json::from_str::<Value>(text).ok());
            keys.is_some_and(|keys| {
                keys["port"] == port["port"] && keys["protocol"] == port["protocol"]
            })
        })
}

/// What makes pods by a template.
fn workload(spec: &mut Value, defaults: &Defaults, kind: (&str, &str)) {
    without(spec, defaults);
    let Some(template) = spec.get_mut("template") else {
        return;
    };
    for field in ["labels", "annotations"] {
        if let Some(value) = template.pointer_mut(&format!("/metadata/{field}")) {
            without_written(value, kind);
        }
    }
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, value| !value.is_null() && name != "creationTimestamp");
        if metadata.is_empty()
            && let Some(template) = template.as_object_mut()
        {
            template.remove("metadata");
        }
    }
    if let Some(spec) = template.get_mut("spec") {
        pod(spec);
    }
}

fn job(spec: &mut Value) {
    // The controller chooses the selector, and refuses any other.
    if spec["manualSelector"] != true
        && let Some(fields) = spec.as_object_mut()
    {
        fields.remove("selector");
    }
    workload(spec, JOB, ("batch", "Job"));
}

fn pod(spec: &mut Value) {
    let is_of_account = |volume: &Value, field: &str| {
        volume[field]
            .as_str()
            .is_some_and(|name| name.starts_with(ACCOUNT_VOLUME))
    };
    if let Some(fields) = spec.as_object_mut() {
        // The old name of `serviceAccountName`, and the number of the priority class.
        fields.remove("serviceAccount");
        fields.remove("priority");
        without_items(fields, "volumes", |volume| is_of_account(volume, "name"));
        without_items(fields, "tolerations", |one| {
            let is_known = one["key"]
                .as_str()
                .is_some_and(|key| TOLERATED.contains(&key));
            is_known && one["effect"] == "NoExecute" && one["tolerationSeconds"] == 300
        });
    }
    without(spec, POD);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(fields) = container.as_object_mut() {
                without_items(fields, "volumeMounts", |mount| is_of_account(mount, "name"));
            }
            without(container, CONTAINER);
            for probe in PROBES {
                if let Some(probe) = container.get_mut(probe) {
                    without(probe, PROBE);
                }
            }
        }
    }
}

/// Removes items of a list, and the list if nothing is left.
fn without_items(fields: &mut Map<String, Value>, list: &str, is_made: impl Fn(&Value) -> bool) {
    if let Some(items) = fields.get_mut(list).and_then(Value::as_array_mut) {
        items.retain(|item| !is_made(item));
        if items.is_empty() {
            fields.remove(list);
        }
    }
}

/// Removes defaults.
fn without(value: &mut Value, defaults: &Defaults) {
    for (path, text) in defaults {
        if let Ok(default) = serde_json::from_str(text) {
            remove(value, path, &default);
        }
    }
}

fn remove(value: &mut Value, path: &str, default: &Value) {
    match (path.split_once('/'), value) {
        (Some(("*", rest)), Value::Array(items)) => {
            items
                .iter_mut()
                .for_each(|item| remove(item, rest, default));
        }
        (Some((name, rest)), Value::Object(fields)) => {
            if let Some(inner) = fields.get_mut(name) {
                remove(inner, rest, default);
            }
        }
        (None, Value::Object(fields)) if fields.get(path) == Some(default) => {
            fields.remove(path);
        }
        _ => (),
    }
}

#[cfg(test)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "json! at every call is easier to read"
)]
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

    /// An object with this spec and these entries of field managers.
    fn object(kind: &str, version: &str, spec: Value, managers: Value) -> Value {
        json!({"apiVersion": version, "kind": kind, "spec": spec,
            "metadata": {"name": "n", "managedFields": managers}})
    }

    fn managed(manager: &str, spec: Value) -> Value {
        json!({"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": spec}})
    }

    #[test]
    fn what_has_another_meaning_than_the_default_stays() {
        let pod = |container: Value, more: Value| {
            let mut spec = json!({"containers": [container]});
            spec.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            spec
        };
        for (what, kind, version, spec) in [
            (
                "a sidecar",
                "Pod",
                "v1",
                pod(
                    json!({"name": "a"}),
                    json!({"initContainers": [{"name": "s", "restartPolicy": "Always"}]}),
                ),
            ),
            (
                "a probe's own grace period",
                "Pod",
                "v1",
                pod(
                    json!({"name": "a", "livenessProbe": {"terminationGracePeriodSeconds": 30}}),
                    json!({"terminationGracePeriodSeconds": 5}),
                ),
            ),
            (
                "attributes of a driver",
                "Pod",
                "v1",
                pod(
                    json!({"name": "a"}),
                    json!({"volumes": [{"name": "v", "csi": {"driver": "d", "volumeAttributes": {"protocol": "TCP", "scheme": "HTTP"}}}]}),
                ),
            ),
            (
                "a Job's own selector",
                "Job",
                "batch/v1",
                json!({"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"restartPolicy": "Never"}}}),
            ),
            (
                "a headless Service",
                "Service",
                "v1",
                json!({"clusterIP": "None", "ports": [{"port": 80}]}),
            ),
            (
                "a Service of another group",
                "Service",
                "serving.knative.dev/v1",
                json!({"template": {"spec": {"serviceAccount": "x", "finalizers": ["a"], "clusterIP": "b", "restartPolicy": "Always"}}}),
            ),
        ] {
            let live = object(kind, version, spec.clone(), json!([]));
            assert_eq!(manifest(live)["spec"], spec, "{what}");
        }
    }

    #[test]
    fn what_is_allocated_stays_where_a_person_declared_it() {
        let port = |protocol: &str| format!("k:{{\"port\":80,\"protocol\":\"{protocol}\"}}");
        let spec = json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilyPolicy": "PreferDualStack", "type": "NodePort",
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 80, "protocol": "UDP", "nodePort": 31234}]});
        let theirs = managed(
            "kubectl-create",
            json!({"f:ipFamilyPolicy": {}, "f:ports": {
            port("TCP"): {"f:nodePort": {}}, port("UDP"): {"f:port": {}}}}),
        );
        let live = object("Service", "v1", spec, json!([theirs]));
        assert_eq!(
            manifest(live)["spec"],
            json!({"ipFamilyPolicy": "PreferDualStack", "type": "NodePort",
            "ports": [{"port": 80, "nodePort": 30080}, {"port": 80, "protocol": "UDP"}]})
        );
        for (manager, expected) in [
            ("kubectl", json!("pv-1")),
            ("kube-controller-manager", Value::Null),
        ] {
            let bound = managed(manager, json!({"f:volumeName": {}}));
            let claim = object(
                "PersistentVolumeClaim",
                "v1",
                json!({"volumeName": "pv-1", "accessModes": []}),
                json!([bound]),
            );
            assert_eq!(manifest(claim)["spec"]["volumeName"], expected, "{manager}");
        }
    }

    #[test]
    fn what_controllers_add_to_jobs_and_pods_is_left_out() {
        let labels = json!({"controller-uid": "1", "batch.kubernetes.io/job-name": "j", "job-name": "j", "app": "a"});
        let live = object(
            "Job",
            "batch/v1",
            json!({
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "1"}}, "suspend": false, "backoffLimit": 6,
            "template": {"metadata": {"creationTimestamp": null, "labels": labels}, "spec": {"restartPolicy": "Never"}}}),
            json!([]),
        );
        assert_eq!(
            manifest(live)["spec"],
            json!({"template": {"metadata": {"labels": {"app": "a"}}, "spec": {"restartPolicy": "Never"}}})
        );
        let live = object(
            "Pod",
            "v1",
            json!({
            "nodeName": "n1", "serviceAccount": "x", "serviceAccountName": "x", "priority": 0,
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "operator": "Exists", "tolerationSeconds": 300}],
            "volumes": [{"name": "kube-api-access-abc", "projected": {}}],
            "containers": [{"name": "a", "resources": {}, "volumeMounts": [{"name": "kube-api-access-abc", "mountPath": "/x"}],
                "readinessProbe": {"httpGet": {"port": 80, "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1}}]}),
            json!([]),
        );
        assert_eq!(
            manifest(live)["spec"],
            json!({"serviceAccountName": "x",
            "containers": [{"name": "a", "readinessProbe": {"httpGet": {"port": 80}}}]})
        );
    }
}
