//! Aggregated discovery: everything that the API server serves, in two requests.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::{Request, header};
use kube::Client;
use kube::api::ApiResource;
use kube::core::discovery::v2::{ACCEPT_AGGREGATED_DISCOVERY_V2, APIGroupDiscoveryList};
use serde_json::Value;

use super::ServedKind;
use crate::manifest::{GroupKind, without_nulls};

/// The freshness of a group version whose server does not answer.
const STALE: &str = "Stale";

/// What the API server says that it serves.
#[derive(Default)]
pub(super) struct Found {
    /// Every kind that can be managed, with its versions in the server's order of preference.
    pub(super) kinds: HashMap<GroupKind, Vec<ServedKind>>,
    /// Groups of aggregated API servers that do not answer at present. Their kinds may be missing.
    pub(super) away: HashSet<Arc<str>>,
}

/// Reads everything that is served.
pub(super) async fn all(client: &Client) -> Result<Found, kube::Error> {
    let (core, groups) = lists(client).await?;
    Ok(found_in(core, groups))
}

/// The same, and the words by which people name a kind: `deployment`, `deployments`, `deploy`.
pub(super) async fn with_words(client: &Client) -> Result<(Found, Words), kube::Error> {
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

fn found_in(core: APIGroupDiscoveryList, groups: APIGroupDiscoveryList) -> Found {
    let mut found = found(core);
    let more = self::found(groups);
    found.kinds.extend(more.kinds);
    found.away.extend(more.away);
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

fn found(list: APIGroupDiscoveryList) -> Found {
    let mut found = Found::default();
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
                let (Some(plural), Some(kind)) = (
                    resource.resource,
                    resource.response_kind.and_then(|response| response.kind),
                ) else {
                    continue;
                };
                // A kind that cannot be patched and watched cannot be managed.
                if !["patch", "watch", "delete"]
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
}
