//! Aggregated discovery: everything that the API server serves, in two requests.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::{Request, header};
use kube::Client;
use kube::api::ApiResource;
use kube::core::discovery::v2::{
    ACCEPT_AGGREGATED_DISCOVERY_V2, APIGroupDiscoveryList, APIResourceDiscovery,
};
use serde_json::Value;

use super::ServedKind;
use crate::manifest::{GroupKind, without_nulls};

/// The verbs of a kind that can be managed.
const MANAGED: [&str; 3] = ["patch", "watch", "delete"];

/// The freshness of a group version whose server does not answer.
const STALE: &str = "Stale";

/// What the API server says that it serves.
#[derive(Default)]
pub(super) struct DiscoveredKinds {
    /// Every kind that can be managed, with its versions in the server's order of preference.
    pub(super) kinds: HashMap<GroupKind, Vec<ServedKind>>,
    /// Groups of aggregated API servers that do not answer at present. Their kinds may be missing.
    pub(super) away: HashSet<Arc<str>>,
    /// Kinds of which the server answers requests, but keeps no object that can be managed.
    pub(super) unkept: HashMap<GroupKind, Unkept>,
}

/// Why a kind that the API server knows has no objects to manage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unkept {
    /// It can be sent only, such as a TokenReview or an Eviction.
    Sent,
    /// It can be read only, such as the figures of a node.
    Read,
}

/// What is wrong with a manifest of such a kind, after its name.
impl std::fmt::Display for Unkept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sent => {
                "is a question or an order to the API server, which keeps no such object, so that it cannot be a manifest: take it \
                 out of Git"
            }
            Self::Read => {
                "can be read but not written: the API server makes such objects itself, so that it cannot be a manifest: take it \
                 out of Git"
            }
        })
    }
}

/// Reads everything that is served.
pub(super) async fn all(client: &Client) -> Result<DiscoveredKinds, kube::Error> {
    let (core, groups) = lists(client).await?;
    Ok(found_in(core, groups))
}

/// The same, and the words by which people name a kind: `deployment`, `deployments`, `deploy`.
pub(super) async fn with_words(client: &Client) -> Result<(DiscoveredKinds, Words), kube::Error> {
    let (core, groups) = lists(client).await?;
    let mut words = Words::new();
    for list in [&core, &groups] {
        add_words(&mut words, list);
    }
    Ok((found_in(core, groups), words))
}

/// Kinds by the words that name them, in the server's order.
pub(super) type Words = HashMap<String, Vec<GroupKind>>;

fn add_words(words: &mut Words, list: &APIGroupDiscoveryList) {
    for group in &list.items {
        let name = group
            .metadata
            .as_ref()
            .and_then(|meta| meta.name.as_deref());
        let resources = group.versions.iter().flat_map(|version| &version.resources);
        for resource in resources {
            let kind = resource
                .response_kind
                .as_ref()
                .and_then(|is| is.kind.as_deref());
            let Some(kind) = kind else { continue };
            let own = [
                resource.resource.as_deref(),
                resource.singular_resource.as_deref(),
                Some(kind),
            ];
            let short = resource.short_names.iter().map(String::as_str);
            for word in own.into_iter().flatten().chain(short) {
                let kinds = words.entry(word.to_lowercase()).or_default();
                let kind = GroupKind::new(name.unwrap_or_default(), kind);
                if !word.is_empty() && !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
        }
    }
}

async fn lists(
    client: &Client,
) -> Result<(APIGroupDiscoveryList, APIGroupDiscoveryList), kube::Error> {
    futures::try_join!(list(client, "/api"), list(client, "/apis"))
}

fn found_in(core: APIGroupDiscoveryList, groups: APIGroupDiscoveryList) -> DiscoveredKinds {
    let mut found = found(core);
    let more = self::found(groups);
    found.kinds.extend(more.kinds);
    found.away.extend(more.away);
    found.unkept.extend(more.unkept);
    let DiscoveredKinds { kinds, unkept, .. } = &mut found;
    unkept.retain(|kind, _| !kinds.contains_key(kind));
    found
}

async fn list(client: &Client, path: &str) -> Result<APIGroupDiscoveryList, kube::Error> {
    let request = Request::get(path)
        .header(header::ACCEPT, ACCEPT_AGGREGATED_DISCOVERY_V2)
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    read(client.request(request).await?).map_err(kube::Error::SerdeError)
}

/// kube's types refuse a null list, and one such field would hide all kinds.
fn read(mut answer: Value) -> Result<APIGroupDiscoveryList, serde_json::Error> {
    without_nulls(&mut answer);
    serde_json::from_value(answer)
}

fn found(list: APIGroupDiscoveryList) -> DiscoveredKinds {
    let mut found = DiscoveredKinds::default();
    for group in list.items {
        let name = group
            .metadata
            .and_then(|meta| meta.name)
            .unwrap_or_default();
        for version in group.versions {
            let version_name = version.version.unwrap_or_default();
            if version.freshness.as_deref() == Some(STALE) {
                found.away.insert(name.as_str().into());
            }
            for resource in version.resources {
                add_unkept(&mut found.unkept, &name, &resource);
                let (Some(plural), Some(kind)) = (
                    resource.resource,
                    resource.response_kind.and_then(|response| response.kind),
                ) else {
                    continue;
                };
                // A kind that cannot be patched and watched cannot be managed.
                if !MANAGED
                    .iter()
                    .all(|verb| resource.verbs.iter().any(|has| has == verb))
                {
                    continue;
                }
                let gvk = kube::core::GroupVersionKind::gvk(&name, &version_name, &kind);
                found
                    .kinds
                    .entry(GroupKind::new(name.as_str(), kind.as_str()))
                    .or_default()
                    .push(ServedKind {
                        resource: ApiResource::from_gvk_with_plural(&gvk, &plural),
                        namespaced: resource.scope.as_deref() == Some("Namespaced"),
                    });
            }
        }
    }
    found
}

/// Adds the kinds of a resource and of its subresources that cannot be managed. A kind that is also kept, such as that of
/// `deployments/status`, is left out at the end.
fn add_unkept(
    unkept: &mut HashMap<GroupKind, Unkept>,
    group: &str,
    resource: &APIResourceDiscovery,
) {
    let own = resource.response_kind.as_ref();
    let own = own.map(|kind| (group, kind.kind.as_deref(), &resource.verbs));
    let below = resource.subresources.iter().filter_map(|below| {
        let kind = below.response_kind.as_ref()?;
        let group = kind.group.as_deref().unwrap_or_default();
        Some((group, kind.kind.as_deref(), &below.verbs))
    });
    for (group, kind, verbs) in own.into_iter().chain(below) {
        let has = |verb: &str| verbs.iter().any(|is| is == verb);
        let why = match (has("get") || has("list"), has("create")) {
            (true, _) => Unkept::Read,
            (false, true) => Unkept::Sent,
            (false, false) => continue,
        };
        let is_kept = MANAGED.iter().all(|verb| has(verb));
        if let Some(kind) = kind.filter(|kind| !kind.is_empty() && !is_kept) {
            unkept.insert(GroupKind::new(group, kind), why);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn discovery_with_nulls_is_parsed() {
        let answer = json!({
            "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": null,
            "items": [
                {"metadata": {"name": "down.example.com", "creationTimestamp": null}, "versions": null},
                {"metadata": {"name": "example.com"}, "versions": [
                    {"version": "v2", "resources": null, "freshness": "Stale"},
                    {"version": "v1", "freshness": null, "resources": [
                        {"resource": "widgets", "responseKind": {"kind": "Widget", "group": null},
                         "scope": "Namespaced", "verbs": ["patch", "watch", "delete", "list"],
                         "shortNames": null, "categories": null, "subresources": [
                            {"subresource": "status", "acceptedTypes": null, "verbs": null}]},
                        {"resource": "reviews", "responseKind": null, "verbs": null},
                    ]},
                ]},
            ],
        });
        let found = found(read(answer).unwrap());
        assert_eq!(
            found.away.iter().map(|group| &**group).collect::<Vec<_>>(),
            ["example.com"]
        );
        let served = &found.kinds[&GroupKind::new("example.com", "Widget")];
        assert_eq!(found.kinds.len(), 1);
        assert_eq!(
            (&*served[0].resource.version, served[0].namespaced),
            ("v1", true)
        );
        let mut words = Words::new();
        add_words(&mut words, &read(json!({"items": [{"metadata": {"name": "apps"}, "versions": [
            {"version": "v1", "resources": [{"resource": "deployments", "singularResource": "deployment",
                "responseKind": {"kind": "Deployment"}, "shortNames": ["deploy"]}]}]}]}))
        .unwrap());
        for word in ["deployment", "deployments", "deploy"] {
            assert_eq!(words[word], [GroupKind::new("apps", "Deployment")]);
        }
        let nothing = self::found(read(json!({"items": null})).unwrap());
        assert!(nothing.kinds.is_empty() && nothing.away.is_empty());
    }

    #[test]
    fn kinds_that_are_sent_or_read_only_are_known() {
        let sent = |kind: &str| json!({"resource": kind, "responseKind": {"kind": kind}, "verbs": ["create"]});
        let core = json!({"items": [{"metadata": {"name": ""}, "versions": [{"version": "v1", "resources": [
            {"resource": "pods", "responseKind": {"kind": "Pod"}, "verbs": ["get", "list", "patch", "watch", "delete"],
             "subresources": [
                {"subresource": "eviction", "responseKind": {"group": "policy", "version": "v1", "kind": "Eviction"},
                 "verbs": ["create"]},
                {"subresource": "status", "responseKind": {"group": "", "version": "v1", "kind": "Pod"},
                 "verbs": ["get", "patch"]},
                {"subresource": "log", "responseKind": null, "verbs": ["get"]}]},
            sent("Binding"),
            {"resource": "componentstatuses", "responseKind": {"kind": "ComponentStatus"}, "verbs": ["get", "list"]},
        ]}]}]});
        let groups = json!({"items": [{"metadata": {"name": "authentication.k8s.io"}, "versions": [
            {"version": "v1", "resources": [sent("TokenReview")]}]}]});
        let found = found_in(read(core).unwrap(), read(groups).unwrap());
        for (group, kind, wanted) in [
            ("authentication.k8s.io", "TokenReview", Some(Unkept::Sent)),
            ("", "Binding", Some(Unkept::Sent)),
            ("policy", "Eviction", Some(Unkept::Sent)),
            ("", "ComponentStatus", Some(Unkept::Read)),
            ("", "Pod", None),
            ("", "TokenReview", None),
        ] {
            let known = found.unkept.get(&GroupKind::new(group, kind));
            assert_eq!(known.copied(), wanted, "{group} {kind}");
        }
    }
}
