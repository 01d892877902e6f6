//! The operator as a Deployment would run it. Simulated nodes do not start containers. So a shell runs
//! the operator with the Deployment's arguments and environment, and with a token of its ServiceAccount.
//! The operator has exactly the rights of that ServiceAccount.

use serde_json::Value;

use super::{control_plane::ControlPlane, kubectl::kubectl, operator::OperatorOptions};

/// Returns the options that start the operator of a Deployment. The Deployment must have a pod.
///
/// Ports and the cache folder are replaced by local ones, as in [`super::operator`].
pub async fn as_deployed(cp: &ControlPlane, namespace: &str, name: &str) -> OperatorOptions {
    let admin = cp.kubeconfig_path();
    let get = async |what: &[&str]| -> Value {
        let args = [what, &["-n", namespace, "-o", "json"]].concat();
        serde_json::from_str(&kubectl(&admin, &args).await).expect("JSON of kubectl")
    };
    let deployment = get(&["get", "deployment", name]).await;
    let selector = deployment["spec"]["selector"]["matchLabels"].as_object();
    let selector: Vec<String> = selector
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    let pods = get(&["get", "pods", "-l", &selector.join(",")]).await;
    let pod = &pods["items"][0];
    assert!(pod.is_object(), "the Deployment {name} has no pod");
    let account = pod["spec"]["serviceAccountName"].as_str();
    let account = account.expect("a ServiceAccount");
    let token = ["create", "token", account, "-n", namespace];
    let token = kubectl(&admin, &token).await;
    let container = &pod["spec"]["containers"][0];
    let args = container["args"].as_array().into_iter().flatten();
    let mut args = args.filter_map(Value::as_str).map(str::to_owned);
    assert_eq!(args.next().as_deref(), Some("run"));
    OperatorOptions {
        kubeconfig: cp.kubeconfig_with(token.trim()),
        args: args.collect(),
        env: environment(pod, &container["env"]),
        ..OperatorOptions::new(cp)
    }
}

/// A container's environment, as the kubelet would set it.
fn environment(pod: &Value, declared: &Value) -> Vec<(String, String)> {
    let mut environment: Vec<(String, String)> = Vec::new();
    for variable in declared.as_array().into_iter().flatten() {
        let field = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str();
        let mut value = match field {
            Some(path) => pod
                .pointer(&format!("/{}", path.replace('.', "/")))
                .and_then(Value::as_str),
            None => variable["value"].as_str(),
        }
        .unwrap_or_default()
        .to_owned();
        for (earlier, is) in &environment {
            value = value.replace(&format!("$({earlier})"), is);
        }
        let name = variable["name"].as_str().unwrap_or_default();
        environment.push((name.to_owned(), value));
    }
    environment
}
