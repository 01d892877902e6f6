//! Pods and Jobs.

use serde_json::Value;

use super::Health;
use super::fields::{condition, count, has, integer, list, message, shortened, text};

/// kstatus waits fifteen seconds before it calls an unschedulable pod failed. This function has no
/// clock, so the pod stays in progress until the Sync's timeout.
pub(super) fn pod(object: &Value) -> Health {
    match text(object, "/status/phase") {
        // kstatus calls a failed pod current. A failed pod in Git is not what was asked for.
        "Failed" => Health::Failed(ended(object)),
        "Succeeded" => Health::Current,
        "Running" if has(object, "Ready", "True") => Health::Current,
        "Running" => match crash_looping(object) {
            Some(container) => {
                Health::Failed(format!("container {container} crashes again and again"))
            }
            None => Health::InProgress("running, but not ready".to_owned()),
        },
        "Pending" => Health::InProgress(pending(object)),
        _ => Health::InProgress("not seen by a node yet".to_owned()),
    }
}

/// Whether no container of a pod will run again.
pub(super) fn has_ended(object: &Value) -> bool {
    let is_over = ["Succeeded", "Failed"].contains(&text(object, "/status/phase"));
    is_over && ["Never", "OnFailure"].contains(&text(object, "/spec/restartPolicy"))
}

/// Whether a Job will start no pod any longer.
pub(super) fn is_over(object: &Value) -> bool {
    has(object, "Complete", "True") || has(object, "Failed", "True")
}

/// How a Job has ended.
pub(super) fn job_outcome(object: &Value) -> Option<Result<(), String>> {
    if has(object, "Complete", "True") {
        return Some(Ok(()));
    }
    let failed = condition(object, "Failed").filter(|found| text(found, "/status") == "True");
    failed.map(|failed| Err(message(failed, "the Job failed")))
}

/// How a pod has ended.
pub(super) fn pod_outcome(object: &Value) -> Option<Result<(), String>> {
    match text(object, "/status/phase") {
        "Succeeded" => Some(Ok(())),
        "Failed" => Some(Err(ended(object))),
        _ => None,
    }
}

/// Whether a container of a Job or a pod runs.
pub(super) fn runs(object: &Value) -> bool {
    let is_running = text(object, "/status/phase") == "Running";
    is_running || integer(object, "/status/ready").is_some_and(|ready| ready > 0)
}

/// Which container of a pod is to blame, and for what. Without what the container itself wrote, which may be secret.
pub(super) fn blame(object: &Value) -> Option<String> {
    let of = |field| list(object, field).iter();
    let containers = of("/status/initContainerStatuses").chain(of("/status/containerStatuses"));
    // One that is ready may have failed once, long ago.
    let is_ready = |status: &&Value| status.get("ready").and_then(Value::as_bool) == Some(true);
    let mut sick = containers.filter(|status| !is_ready(status));
    sick.find_map(blame_container)
}

fn blame_container(status: &Value) -> Option<String> {
    let name = text(status, "/name");
    let waits = text(status, "/state/waiting/reason");
    for state in ["/state/terminated", "/lastState/terminated"] {
        let code = integer(status, &format!("{state}/exitCode")).filter(|code| *code != 0);
        if let Some(code) = code {
            let reason = text(status, &format!("{state}/reason"));
            let again = match waits {
                "CrashLoopBackOff" => ", again and again",
                _ => "",
            };
            return Some(format!(
                "container {name} ended with exit code {code} ({reason}){again}"
            ));
        }
    }
    let image = || shortened(text(status, "/image"));
    Some(match waits {
        "" => return None,
        "CrashLoopBackOff" => format!("container {name} crashes again and again"),
        // It says one and the other in turns.
        "ErrImagePull" | "ImagePullBackOff" => {
            format!("container {name}: its image {} cannot be pulled", image())
        }
        "InvalidImageName" => format!("container {name}: its image {} has no valid name", image()),
        "ErrImageNeverPull" => {
            let image = image();
            format!(
                "container {name}: its image {image} is not on the node, and imagePullPolicy is Never"
            )
        }
        // It names the Secret, ConfigMap or key that is missing, and no value.
        "CreateContainerConfigError" => {
            let said = text(status, "/state/waiting/message");
            format!("container {name}: {waits}: {}", shortened(said))
        }
        _ => format!("container {name}: {waits}"),
    })
}

fn ended(object: &Value) -> String {
    let said = [
        text(object, "/status/message"),
        text(object, "/status/reason"),
        "ended without success",
    ];
    shortened(
        said.into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or_default(),
    )
}

fn crash_looping(object: &Value) -> Option<&str> {
    let looping = |status: &&Value| text(status, "/state/waiting/reason") == "CrashLoopBackOff";
    list(object, "/status/containerStatuses")
        .iter()
        .find(looping)
        .map(|status| text(status, "/name"))
}

fn pending(object: &Value) -> String {
    if let Some(unscheduled) =
        condition(object, "PodScheduled").filter(|c| text(c, "/status") == "False")
    {
        return message(unscheduled, "not scheduled yet");
    }
    let waiting = list(object, "/status/containerStatuses")
        .iter()
        .find(|status| !text(status, "/state/waiting/reason").is_empty());
    waiting.map_or_else(
        || "pending".to_owned(),
        |status| {
            format!(
                "container {}: {}",
                text(status, "/name"),
                text(status, "/state/waiting/reason")
            )
        },
    )
}

/// kstatus calls a job current when it has started. As in Flux, it is in progress here until it is
/// complete, because others may wait for its result, such as a migration.
pub(super) fn job(object: &Value) -> Health {
    let parallelism = integer(object, "/spec/parallelism").unwrap_or(1);
    let wanted = integer(object, "/spec/completions").unwrap_or(parallelism);
    if let Some(failed) = condition(object, "Failed").filter(|c| text(c, "/status") == "True") {
        return Health::Failed(format!(
            "the job failed: {}",
            message(failed, "see its pods")
        ));
    }
    let suspend = object.pointer("/spec/suspend").and_then(Value::as_bool);
    let is_suspended = suspend == Some(true) && has(object, "Suspended", "True");
    if has(object, "Complete", "True") || is_suspended {
        return Health::Current;
    }
    if text(object, "/status/startTime").is_empty() {
        return Health::InProgress("not started yet".to_owned());
    }
    let (succeeded, failed) = (
        count(object, "/status/succeeded"),
        count(object, "/status/failed"),
    );
    Health::InProgress(format!(
        "{succeeded} of {wanted} pods succeeded, {failed} failed"
    ))
}
