//! The rules for other built-in kinds.

use serde_json::Value;

use super::Health;
use super::fields::{condition, has, integer, list, message, text};

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

/// kstatus only asks for a cluster address. As in Argo CD, a load balancer is ready when it has an
/// ingress.
pub(super) fn service(object: &Value) -> Health {
    if text(object, "/spec/type") != "LoadBalancer" {
        return Health::Current;
    }
    if list(object, "/status/loadBalancer/ingress").is_empty() {
        return awaiting("the load balancer has no address yet");
    }
    Health::Current
}

/// Every kind's observed generation is checked, but only if it is set. A disruption budget must
/// have set it; kstatus does not require that.
pub(super) fn disruption_budget(object: &Value) -> Health {
    if integer(object, "/status/observedGeneration").is_none() {
        return awaiting("not observed by its controller yet");
    }
    Health::Current
}

/// kstatus has no rule for autoscalers. An autoscaler that cannot read its target or its metrics is
/// not in effect. Without conditions, its controller has not seen it.
pub(super) fn autoscaler(object: &Value) -> Health {
    // Version v1 has no conditions. The API server moves them to an annotation.
    if text(object, "/apiVersion") == "autoscaling/v1" {
        return Health::Current;
    }
    let Some(able) = condition(object, "AbleToScale") else {
        return awaiting("not observed by its controller yet");
    };
    if text(able, "/status") == "False" {
        return Health::InProgress(format!(
            "cannot scale: {}",
            message(able, "no reason given")
        ));
    }
    match condition(object, "ScalingActive") {
        // A person switches the autoscaler off by scaling the target to zero. That is not a fault.
        Some(active)
            if text(active, "/status") == "False"
                && text(active, "/reason") != "ScalingDisabled" =>
        {
            Health::InProgress(format!(
                "not in effect: {}",
                message(active, "no reason given")
            ))
        }
        _ => Health::Current,
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

/// kstatus has no rule for API services. Kinds of an API that is down cannot be applied.
pub(super) fn api_service(object: &Value) -> Health {
    if has(object, "Available", "True") {
        return Health::Current;
    }
    let said =
        condition(object, "Available").map(|available| message(available, "no reason given"));
    Health::InProgress(said.map_or_else(
        || "not available yet".to_owned(),
        |said| format!("not available: {said}"),
    ))
}
