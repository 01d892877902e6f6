//! Which kinds a webhook or a policy of the cluster may change when an object is written.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Request;
use kube::Client;
use kube::api::DynamicObject;
use kube::core::Resource as _;
use serde::Deserialize;

use super::{Kinds, ServedKind, null};
use crate::manifest::GroupKind;

/// How long an answer counts until it is read again. The applies of that moment go by the old one: none waits for it.
const KEPT: Duration = Duration::from_secs(60);

const GROUP: &str = "admissionregistration.k8s.io";

/// The kinds by which a cluster is told to change objects.
const KINDS: [&str; 2] = ["MutatingWebhookConfiguration", "MutatingAdmissionPolicy"];

/// The most of each kind that are read.
const MOST: usize = 500;

/// What changes objects when they are written.
pub(super) struct Admission {
    /// None where towline manages one namespace only, and so may not ask.
    client: Option<Client>,
    known: Arc<Mutex<Option<Answer>>>,
    /// The first answer is read once.
    first: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Answer {
    at: Instant,
    rules: Arc<Known>,
}

/// None where it cannot be known.
type Known = Option<Vec<Rule>>;

#[derive(Deserialize)]
struct List {
    #[serde(default, deserialize_with = "null::as_default")]
    items: Vec<Mutating>,
}

/// A configuration of webhooks, or a policy.
#[derive(Deserialize)]
struct Mutating {
    #[serde(default, deserialize_with = "null::as_default")]
    webhooks: Vec<Webhook>,
    #[serde(default, deserialize_with = "null::as_default")]
    spec: Policy,
}

#[derive(Deserialize)]
struct Webhook {
    #[serde(default, deserialize_with = "null::as_default")]
    rules: Vec<Rule>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    #[serde(default, deserialize_with = "null::as_default")]
    match_constraints: Constraints,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Constraints {
    #[serde(default, deserialize_with = "null::as_default")]
    resource_rules: Vec<Rule>,
}

/// Which resources are meant.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default, deserialize_with = "null::as_default")]
    api_groups: Vec<String>,
    #[serde(default, deserialize_with = "null::as_default")]
    resources: Vec<String>,
}

impl Rule {
    fn is_about(&self, group: &str, resource: &str) -> bool {
        let groups = self.api_groups.iter();
        let resources = self.resources.iter();
        groups.into_iter().any(|one| one == "*" || one == group)
            && resources
                .into_iter()
                .any(|one| one == resource || one == "*" || one == "*/*")
    }
}

impl Admission {
    pub(super) fn new(client: Option<Client>) -> Self {
        Self {
            client,
            known: Arc::default(),
            first: tokio::sync::Mutex::default(),
        }
    }

    /// Whether something may change objects of this kind. Without the right to know it, everything may. Only the first
    /// call waits for the API server.
    pub(super) async fn may_change(&self, kinds: &Kinds, served: &ServedKind) -> bool {
        let Some(client) = &self.client else {
            return true;
        };
        let rules = match self.fresh(client, kinds) {
            Some(rules) => rules,
            None => {
                let _first = self.first.lock().await;
                match self.fresh(client, kinds) {
                    Some(rules) => rules,
                    None => keep(&self.known, read(client, folders(kinds)).await),
                }
            }
        };
        let resource = &served.resource;
        rules.as_ref().as_ref().is_none_or(|rules| {
            let mut rules = rules.iter();
            rules.any(|rule| rule.is_about(&resource.group, &resource.plural))
        })
    }

    /// What is known. If it is old, it is read again beside.
    fn fresh(&self, client: &Client, kinds: &Kinds) -> Option<Arc<Known>> {
        let mut known = lock(&self.known);
        let answer = known.as_mut()?;
        if answer.at.elapsed() >= KEPT {
            answer.at = Instant::now();
            let (client, folders, known) =
                (client.clone(), folders(kinds), Arc::clone(&self.known));
            tokio::spawn(async move {
                let rules = read(&client, folders).await;
                keep(&known, rules);
            });
        }
        Some(Arc::clone(&answer.rules))
    }
}

fn lock(known: &Mutex<Option<Answer>>) -> std::sync::MutexGuard<'_, Option<Answer>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(known: &Mutex<Option<Answer>>, rules: Known) -> Arc<Known> {
    let rules = Arc::new(rules);
    *lock(known) = Some(Answer {
        at: Instant::now(),
        rules: Arc::clone(&rules),
    });
    rules
}

/// Where the configurations and policies are that this API server has.
fn folders(kinds: &Kinds) -> Vec<String> {
    let served = KINDS
        .iter()
        .filter_map(|kind| kinds.preferred(&GroupKind::new(GROUP, *kind)));
    served
        .map(|served| DynamicObject::url_path(&served.resource, None))
        .collect()
}

async fn read(client: &Client, folders: Vec<String>) -> Known {
    let mut rules = Vec::new();
    for folder in folders {
        let request = Request::get(format!("{folder}?limit={MOST}")).body(Vec::new());
        let list: List = match client.request(request.ok()?).await {
            Ok(list) => list,
            Err(error) => {
                tracing::debug!(folder, %error, "what admission changes is not known");
                return None;
            }
        };
        rules.extend(list.items.into_iter().flat_map(Mutating::rules));
    }
    Some(rules)
}

impl Mutating {
    fn rules(self) -> impl Iterator<Item = Rule> {
        let webhooks = self.webhooks.into_iter().flat_map(|webhook| webhook.rules);
        webhooks.chain(self.spec.match_constraints.resource_rules)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_of_webhooks_and_policies_say_which_kinds_are_meant() {
        let list = json!({"items": [
            {"webhooks": [{"rules": [{"apiGroups": ["apps"], "resources": ["deployments", "pods/status"]}]},
                {"rules": null}]},
            {"spec": {"matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "resources": ["secrets"]}]}}},
            {"spec": {"matchConstraints": null}},
            {"webhooks": [{"rules": [{"apiGroups": ["batch"], "resources": ["*/*"]}]}]},
        ]});
        let list: List = serde_json::from_value(list).unwrap();
        let rules: Vec<Rule> = list.items.into_iter().flat_map(Mutating::rules).collect();
        for (group, resource, is_meant) in [
            ("apps", "deployments", true),
            ("", "secrets", true),
            ("batch", "jobs", true),
            ("apps", "statefulsets", false),
            ("", "pods", false),
        ] {
            let found = rules.iter().any(|rule| rule.is_about(group, resource));
            assert_eq!(found, is_meant, "{group} {resource}");
        }
        let none: List = serde_json::from_value(json!({"items": null})).unwrap();
        assert!(none.items.is_empty());
    }
}
