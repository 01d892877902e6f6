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
    if kind == ("", "ServiceAccount") {
        account(&mut live, metadata["name"].as_str().unwrap_or_default());
    }
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

/// Removes the Secrets that controllers add to a ServiceAccount: its tokens, and OpenShift's logins to its registry. What has
/// no name cannot be applied.
fn account(live: &mut Value, name: &str) {
    let made = ["-token-", "-dockercfg-"].map(|word| format!("{name}{word}"));
    let Some(fields) = live.as_object_mut() else {
        return;
    };
    for list in ["secrets", "imagePullSecrets"] {
        without_items(fields, list, |item| {
            item["name"]
                .as_str()
                .is_none_or(|name| made.iter().any(|start| name.starts_with(start)))
        });
    }
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
mod tests;
