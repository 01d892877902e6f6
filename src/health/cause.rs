//! Why the pods of a workload do not run: what its own status does not say.

use std::cmp::Reverse;

use serde_json::Value;

use super::Health;
use super::fields::{condition, list, message, text};
use super::pods::{blame, pod};

/// A pod that keeps its workload from being healthy.
#[derive(Debug, PartialEq)]
pub struct PodCause<'p> {
    /// The pod.
    pub pod: &'p Value,
    /// Whether it has failed. Otherwise it may still come.
    pub has_failed: bool,
    /// Why, in a few words.
    pub why: String,
}

/// The pod that says most about why a workload is not healthy. None where all of them are well.
pub(super) fn cause(pods: &[Value]) -> Option<PodCause<'_>> {
    let sick = pods.iter().filter_map(|live| {
        let is_leaving = !text(live, "/metadata/deletionTimestamp").is_empty();
        let (has_failed, why) = match pod(live) {
            Health::Current if !is_leaving => return None,
            Health::Failed(why) => (true, why),
            Health::InProgress(why) | Health::Terminating(why) => (false, why),
            Health::Current => (false, String::new()),
        };
        let known = trouble(live);
        // What leaves belongs to what was before, unless it is all there is.
        let rank = match (has_failed, &known) {
            _ if is_leaving => 3,
            (true, _) => 0,
            (false, Some(_)) => 1,
            (false, None) => 2,
        };
        let created = text(live, "/metadata/creationTimestamp");
        let found = PodCause {
            pod: live,
            has_failed: has_failed && !is_leaving,
            why: match is_leaving {
                true => "is being deleted, and is still there".to_owned(),
                false => known.unwrap_or(why),
            },
        };
        Some((rank, Reverse(created), found))
    });
    let first = sick.min_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    first.map(|(_, _, found)| found)
}

/// What a pod says of itself beside its phase.
fn trouble(live: &Value) -> Option<String> {
    let scheduled = condition(live, "PodScheduled").filter(|c| text(c, "/status") == "False");
    let unscheduled = scheduled.map(|scheduled| {
        let why = message(scheduled, "the scheduler does not say why");
        format!("cannot be scheduled: {why}")
    });
    unscheduled
        .or_else(|| blame(live))
        .or_else(|| unready(live))
}

/// The container that runs, and does not answer its readiness probe.
fn unready(live: &Value) -> Option<String> {
    let mut containers = list(live, "/status/containerStatuses").iter();
    let found = containers.find(|status| {
        let is_ready = status.get("ready").and_then(Value::as_bool);
        is_ready == Some(false) && status.pointer("/state/running").is_some()
    })?;
    let name = text(found, "/name");
    Some(format!(
        "container {name} runs, but is not ready: see its readiness probe"
    ))
}

/// The labels of the pods of a live workload, as the API server takes them; none where it has no such selector.
pub(super) fn pod_selector(workload: &Value) -> Option<String> {
    let selector = workload.pointer("/spec/selector")?;
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    let pairs = labels.filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    let expressions = list(selector, "/matchExpressions").iter();
    let expressions = expressions.filter_map(|wanted| {
        let key = text(wanted, "/key");
        let values = list(wanted, "/values").iter().filter_map(Value::as_str);
        let values = values.collect::<Vec<_>>().join(",");
        Some(match text(wanted, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        })
    });
    let all: Vec<String> = pairs.chain(expressions).collect();
    (!all.is_empty()).then(|| all.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(name: &str, phase: &str, more: &Value) -> Value {
        let mut pod = json!({"metadata": {"name": name, "creationTimestamp": "2026-01-02T03:04:05Z"},
            "status": {"phase": phase}});
        if let (Some(status), Some(more)) = (pod["status"].as_object_mut(), more.as_object()) {
            status.extend(more.clone());
        }
        pod
    }

    fn container(state: &Value) -> Value {
        let mut status = json!({"name": "web", "image": "registry.example/web:1", "ready": false});
        if let (Some(status), Some(state)) = (status.as_object_mut(), state.as_object()) {
            status.extend(state.clone());
        }
        json!({"containerStatuses": [{"name": "side", "ready": true, "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 9, "reason": "Error"}}}, status]})
    }

    fn waits(reason: &str, message: &str) -> Value {
        container(&json!({"state": {"waiting": {"reason": reason, "message": message}}}))
    }

    #[test]
    fn each_way_in_which_a_pod_does_not_run_is_named_without_secrets() {
        let secret = "password=hunter2";
        let exit = |code: i64, reason: &str, message: &str| {
            json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": code, "reason": reason, "message": message}}})
        };
        let unscheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient cpu."}]});
        for (phase, more, has_failed, why) in [
            (
                "Pending",
                waits("ImagePullBackOff", secret),
                false,
                "container web: its image registry.example/web:1 cannot be pulled",
            ),
            (
                "Pending",
                waits("ErrImagePull", secret),
                false,
                "container web: its image registry.example/web:1 cannot be pulled",
            ),
            (
                "Pending",
                waits("InvalidImageName", ""),
                false,
                "container web: its image registry.example/web:1 has no valid name",
            ),
            (
                "Pending",
                waits("CreateContainerConfigError", "secret \"db\" not found"),
                false,
                "container web: CreateContainerConfigError: secret \"db\" not found",
            ),
            (
                "Pending",
                waits("ContainerCreating", secret),
                false,
                "container web: ContainerCreating",
            ),
            (
                "Running",
                container(&exit(1, "Error", secret)),
                true,
                "container web ended with exit code 1 (Error), again and again",
            ),
            (
                "Running",
                container(&exit(137, "OOMKilled", "")),
                true,
                "container web ended with exit code 137 (OOMKilled), again and again",
            ),
            (
                "Running",
                waits("CrashLoopBackOff", secret),
                true,
                "container web crashes again and again",
            ),
            (
                "Running",
                container(&json!({"state": {"running": {}}})),
                false,
                "container web runs, but is not ready: see its readiness probe",
            ),
            (
                "Pending",
                unscheduled,
                false,
                "cannot be scheduled: 0/3 nodes are available: 3 Insufficient cpu.",
            ),
            (
                "Failed",
                json!({"reason": "Evicted", "message": "The node was low on resource: memory."}),
                true,
                "The node was low on resource: memory.",
            ),
            ("Pending", json!({}), false, "pending"),
        ] {
            let pods = [live("web-1", phase, &more)];
            let found = cause(&pods).unwrap();
            assert_eq!((found.has_failed, &*found.why), (has_failed, why), "{more}");
            assert!(!found.why.contains("hunter2"), "{found:?}");
        }
    }

    #[test]
    fn of_many_pods_the_one_that_says_most_counts() {
        let well = live(
            "well",
            "Running",
            &json!({"conditions": [{"type": "Ready", "status": "True"}]}),
        );
        let crashes = live("crashes", "Running", &waits("CrashLoopBackOff", ""));
        let pulls = live("pulls", "Pending", &waits("ImagePullBackOff", ""));
        let silent = live("silent", "Pending", &json!({}));
        let mut newer = silent.clone();
        newer["metadata"]["name"] = "newer".into();
        newer["metadata"]["creationTimestamp"] = "2026-01-02T03:04:06Z".into();
        let mut leaves = crashes.clone();
        leaves["metadata"]["name"] = "leaves".into();
        leaves["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:06Z".into();
        let ended = live("ended", "Succeeded", &json!({}));
        for (pods, named) in [
            (vec![&well, &ended], None),
            (vec![], None),
            (vec![&well, &pulls, &crashes, &leaves], Some("crashes")),
            (vec![&silent, &pulls, &leaves], Some("pulls")),
            (vec![&silent, &newer], Some("newer")),
            (vec![&leaves, &silent], Some("silent")),
            (vec![&well, &leaves], Some("leaves")),
        ] {
            let pods: Vec<Value> = pods.into_iter().cloned().collect();
            let found = cause(&pods).map(|found| text(found.pod, "/metadata/name"));
            assert_eq!(found, named);
        }
    }

    #[test]
    fn the_pods_of_a_workload_are_selected_as_it_selects_them() {
        for (selector, labels) in [
            (
                json!({"matchLabels": {"app": "web", "tier": "a"}}),
                Some("app=web,tier=a"),
            ),
            (
                json!({"matchLabels": {"app": "web"}, "matchExpressions": [
                    {"key": "a", "operator": "In", "values": ["1", "2"]}, {"key": "b", "operator": "NotIn", "values": ["3"]},
                    {"key": "c", "operator": "Exists"}, {"key": "d", "operator": "DoesNotExist"}]}),
                Some("app=web,a in (1,2),b notin (3),c,!d"),
            ),
            (json!({}), None),
            (json!({"app": "web"}), None),
            (Value::Null, None),
        ] {
            let found = pod_selector(&json!({"spec": {"selector": selector}}));
            assert_eq!(found.as_deref(), labels);
        }
    }
}
