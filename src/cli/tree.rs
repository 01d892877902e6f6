//! `towline tree`: the objects of a Sync, and the pods of its workloads.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::access::Access;
use super::lineage::key;
use super::owned::{named, owned};
use super::standing::Standing;
use super::terminal::{Paint, Terminal};
use super::{CliError, Exit, output};
use crate::api::Sync;
use crate::cluster::Viewer;
use crate::config::NamedArgs;
use crate::health::{Health, assess};
use crate::manifest::ObjectKey;
use crate::plan::SyncName;

/// Kinds that stand between a workload and its pods.
const BETWEEN: [&str; 2] = ["replicasets.apps", "pods"];

/// One object with those that it owns.
#[derive(Debug)]
struct Node {
    key: ObjectKey,
    health: Health,
    below: Vec<Node>,
}

/// Shows a Sync's objects.
pub(super) async fn tree(args: &NamedArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let name = &*args.name;
    let sync: Sync = access.get(name).await?;
    let viewer = access.viewer().await?;
    let owner = SyncName::new(&access.namespace, name);
    let objects = owned(&access, &viewer, &sync, &owner, named(&sync)).await?;
    let nodes = nodes(&objects, &below(&viewer, &objects).await);
    let text = match args.output {
        Some(format) => {
            let objects: Vec<Value> = nodes.iter().map(Node::value).collect();
            output::value(&json!({"sync": name, "objects": objects}), format)?
        }
        None => {
            let terminal = Terminal::of(args.cluster.color);
            drawn(&Standing::of(&sync), &nodes, terminal)
        }
    };
    Terminal::print(&text)?;
    Ok(Exit::Done)
}

/// Pods, and what stands between them and workloads, in the namespaces of these objects. What may not be read is left
/// out.
async fn below(viewer: &Viewer, objects: &[Value]) -> Vec<Value> {
    let has_pods = |object: &&Value| object["spec"].get("template").is_some();
    let namespaces: BTreeSet<&str> = objects
        .iter()
        .filter(has_pods)
        .filter_map(|object| object["metadata"]["namespace"].as_str())
        .collect();
    let mut found = Vec::new();
    for namespace in namespaces {
        for kind in BETWEEN {
            if let Some(served) = viewer.named(kind) {
                let listed = viewer.list(&served, Some(namespace), None).await;
                found.extend(listed.unwrap_or_default());
            }
        }
    }
    found
}

/// The objects as trees, by their owners.
fn nodes(objects: &[Value], below: &[Value]) -> Vec<Node> {
    let mut owned: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for object in below {
        let owners = object["metadata"]["ownerReferences"].as_array();
        for owner in owners.into_iter().flatten() {
            owned
                .entry(owner["uid"].as_str().unwrap_or_default())
                .or_default()
                .push(object);
        }
    }
    let mut nodes: Vec<Node> = objects
        .iter()
        .filter_map(|object| node(object, &owned, 0))
        .collect();
    nodes.sort_by(|one, other| one.key.cmp(&other.key));
    nodes
}

fn node(object: &Value, owned: &BTreeMap<&str, Vec<&Value>>, depth: usize) -> Option<Node> {
    let key = key(object)?;
    let uid = object["metadata"]["uid"].as_str().unwrap_or("-");
    let below = owned.get(uid).into_iter().flatten().filter(|_| depth < 4);
    let mut below: Vec<Node> = below
        .filter_map(|object| node(object, owned, depth + 1))
        .collect();
    // A ReplicaSet of an earlier rollout has no pods.
    below.retain(|node| &*node.key.kind.kind != "ReplicaSet" || !node.below.is_empty());
    Some(Node {
        health: assess(&key.kind, object),
        key,
        below,
    })
}

impl Node {
    fn state(&self) -> (&'static str, &str, Paint) {
        match &self.health {
            Health::Current => ("Current", "", Paint::Green),
            Health::InProgress(why) => ("InProgress", why, Paint::Yellow),
            Health::Failed(why) => ("Failed", why, Paint::Red),
            Health::Terminating(why) => ("Terminating", why, Paint::Yellow),
        }
    }

    fn value(&self) -> Value {
        let (health, why, _) = self.state();
        let below: Vec<Value> = self.below.iter().map(Self::value).collect();
        json!({"object": self.key.to_string(), "health": health, "message": why, "owns": below})
    }

    /// Its lines, with what stands before the first of them and before the others.
    fn lines(&self, before: (&str, &str), terminal: Terminal) -> String {
        let (health, why, paint) = self.state();
        let key = format!("{}  ", self.key);
        let why = match why.is_empty() {
            true => String::new(),
            false => format!(": {why}"),
        };
        let parts = [(&*key, Paint::Plain), (health, paint), (&why, Paint::Plain)];
        terminal.paragraph(before, &parts)
    }
}

fn drawn(sync: &Standing, nodes: &[Node], terminal: Terminal) -> String {
    let heading = format!("{}  {}  {}", sync.name, sync.state.word(), sync.revision);
    let trunk = if nodes.is_empty() { "" } else { "│  " };
    let mut text = terminal.paragraph(("", trunk), &[(&heading, Paint::Plain)]);
    draw(&mut text, "", nodes, terminal);
    text
}

fn draw(text: &mut String, indent: &str, nodes: &[Node], terminal: Terminal) {
    for (index, node) in nodes.iter().enumerate() {
        let (branch, trunk) = match index + 1 == nodes.len() {
            true => ("└─ ", "   "),
            false => ("├─ ", "│  "),
        };
        let below = format!("{indent}{trunk}");
        // What does not fit stands beside the trunk of what comes below.
        let own = if node.below.is_empty() { "  " } else { "│ " };
        let before = (&*format!("{indent}{branch}"), &*format!("{below}{own}"));
        text.push_str(&node.lines(before, terminal));
        draw(text, &below, &node.below, terminal);
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::super::standing::testing::{ready, sync};
    use super::*;

    #[test]
    fn a_tree_has_the_pods_below_their_workload() {
        let object = |kind: &str, api: &str, name: &str, uid: &str, owner: &str| {
            json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "a", "uid": uid,
                "ownerReferences": [{"uid": owner}]}, "status": {"phase": "Succeeded"}})
        };
        let web = object("Deployment", "apps/v1", "web", "1", "0");
        let map = object("ConfigMap", "v1", "m", "9", "0");
        let below = [
            object("ReplicaSet", "apps/v1", "web-2", "2", "1"),
            object("ReplicaSet", "apps/v1", "web-1", "3", "1"),
            object("Pod", "v1", "web-2-a", "4", "2"),
            object("Pod", "v1", "other", "5", "8"),
        ];
        let status =
            json!({"conditions": ready("True", "Converged", ""), "shortRevision": "main@sha1:1"});
        let sync = Standing::of(&sync(&status, &json!({})));
        let all = nodes(&[web.clone(), map.clone()], &below);
        let text = drawn(&sync, &all, Terminal::default());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "sync/shop  Ready  main@sha1:1");
        assert_eq!(lines[1], "├─ ConfigMap a/m  Current");
        assert!(
            lines[2].starts_with("└─ Deployment.apps a/web  InProgress: "),
            "{text}"
        );
        assert!(
            lines[3].starts_with("   └─ ReplicaSet.apps a/web-2  "),
            "{text}"
        );
        assert_eq!(lines[4], "      └─ Pod a/web-2-a  Current");
        assert_eq!(lines.len(), 5, "{text}");

        let words = |text: &str| -> Vec<String> {
            let words = text.split(|c: char| c.is_whitespace() || "├└─│".contains(c));
            let words = words.filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        };
        for width in [32, 40, 60, 80] {
            let terminal = Terminal {
                width: Some(width),
                colour: false,
            };
            let narrow = drawn(&sync, &nodes(&[web.clone(), map.clone()], &below), terminal);
            for line in narrow.lines() {
                assert!(line.width() <= width, "{width}: {line}");
            }
            assert_eq!(words(&narrow), words(&text), "{narrow}");
        }
    }
}
