//! Simulated nodes.

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde_json::json;

/// Creates `count` nodes, which kwok simulates.
pub async fn create(client: &Client, count: u32) -> Result<(), String> {
    let nodes: Api<Node> = Api::all(client.clone());
    for index in 0..count {
        let name = format!("node-{index}");
        let node = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": {
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64",
                },
            },
        }))
        .expect("a node");
        nodes
            .create(&PostParams::default(), &node)
            .await
            .map_err(|error| format!("create {name}: {error}"))?;
    }
    Ok(())
}

/// Ok if pods can run on all `count` nodes. Otherwise the error says how many nodes are ready.
pub async fn ready(client: &Client, count: u32) -> Result<(), String> {
    let list = Api::<Node>::all(client.clone())
        .list(&ListParams::default())
        .await
        .map_err(|error| error.to_string())?;
    let ready = list.iter().filter(|node| is_ready(node)).count();
    if ready == count as usize {
        Ok(())
    } else {
        Err(format!("{ready} of {count} nodes are ready"))
    }
}

/// Ready, and without the taint of a new node, which the controller manager removes a moment later.
fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        && taints.is_none_or(Vec::is_empty)
}
