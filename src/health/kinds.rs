//! The rules for other built-in kinds.

use serde_json::Value;

use super::Health;
use super::fields::{condition, has, message, reason, text};

fn awaiting(what: &str) -> Health {
    Health::InProgress(what.to_owned())
}

pub(super) fn claim(object: &Value) -> Health {
    match text(object, "/status/phase") {
        "Bound" => Health::Current,
        "" => awaiting("not bound yet"),
        phase => Health::InProgress(format!("not bound yet: {phase}")),
    }
}

/// The Sealed Secrets controller says by `Synced` whether it could make the Secret. What it could not decrypt it cannot
/// decrypt later, unless it gets another key. Argo CD and Flux's documentation judge in the same way.
pub(super) fn sealed_secret(object: &Value) -> Health {
    let Some(synced) = condition(object, "Synced") else {
        return awaiting("the Sealed Secrets controller has not unsealed it yet");
    };
    match text(synced, "/status") {
        "True" => Health::Current,
        _ => Health::Failed(message(synced, "it cannot be unsealed")),
    }
}

/// A load balancer needs its cluster address, but not an address from the cloud: many clusters have no
/// cloud that gives one.
pub(super) fn service(object: &Value) -> Health {
    if text(object, "/spec/type") == "LoadBalancer" && text(object, "/spec/clusterIP").is_empty() {
        return awaiting("no cluster address yet");
    }
    Health::Current
}

/// The health of towline's own kinds, as far as the general rules do not give it. To kstatus, what has no status is
/// current. But what was just made has none, and would count as converged before anybody has looked at it.
pub(super) fn own(kind: &str, object: &Value) -> Option<Health> {
    let Some(ready) = condition(object, "Ready") else {
        return Some(awaiting(
            "it has no status yet; only a towline that follows its namespace writes one",
        ));
    };
    (kind == "Sync").then(|| sync(object, ready))
}

/// The health of a Sync follows its conditions. Its message is left out, because it may name another
/// Sync, whose message names another one.
fn sync(object: &Value, ready: &Value) -> Health {
    if text(ready, "/status") == "True" {
        return Health::Current;
    }
    let message = format!("not ready: {}", reason(ready, "no reason given"));
    match has(object, "Stalled", "True") {
        true => Health::Failed(message),
        false => Health::InProgress(message),
    }
}

pub(super) fn definition(object: &Value) -> Health {
    if let Some(names) =
        condition(object, "NamesAccepted").filter(|c| text(c, "/status") == "False")
    {
        return Health::Failed(format!(
            "names are not accepted: {}",
            message(names, "in conflict")
        ));
    }
    match condition(object, "Established") {
        Some(established) if text(established, "/status") == "True" => Health::Current,
        Some(established)
            if text(established, "/status") == "False"
                && text(established, "/reason") != "Installing" =>
        {
            Health::Failed(format!(
                "not established: {}",
                message(established, "no reason given")
            ))
        }
        _ => awaiting("not established yet"),
    }
}
