//! The live objects of a Sync, as far as a person may see them.

use std::collections::BTreeSet;

use kube::ResourceExt as _;
use serde_json::Value;

use super::CliError;
use super::access::{Access, AccessError, Doing};
use super::lineage::manager;
use super::terminal::Terminal;
use crate::api::Sync;
use crate::cluster::{ServedKind, Viewer};
use crate::manifest::ObjectKey;
use crate::plan::{PART_OF, SyncName, contained};

/// Namespaces of objects.
pub(super) type Places = BTreeSet<String>;

/// The namespaces that a Sync's spec and status name.
pub(super) fn named(sync: &Sync) -> Places {
    let status = sync.status.iter();
    let failures = status
        .clone()
        .flat_map(|status| &status.failures)
        .map(|failure| &*failure.object);
    let history = status.flat_map(|status| status.history.iter().chain(&status.unfinished));
    let changed = history
        .flat_map(|entry| &entry.objects)
        .filter_map(|change| Some(change.split_once(' ')?.1));
    let keys = failures.chain(changed).filter_map(ObjectKey::parse);
    let mut places: Places = keys
        .filter_map(|key| Some(key.namespace?.to_string()))
        .collect();
    places.extend(sync.namespace());
    places.extend(sync.spec.settings.target_namespace.clone());
    places
}

/// What could be listed of a kind.
struct Listed {
    objects: Vec<Value>,
    /// The kind, if only these namespaces were looked at.
    narrowed: Option<String>,
    /// The kind with the namespace in which it may not be listed.
    left_out: Vec<String>,
    /// The first refusal.
    refusal: Option<AccessError>,
}

/// The live objects of a Sync, by their label. Kinds that the user may not list in all namespaces are listed in `places`.
/// What may not be seen there either is left out, with a warning. It is an error if nothing may be seen.
pub(super) async fn owned(
    access: &Access,
    viewer: &Viewer,
    sync: &Sync,
    name: &SyncName,
    places: Places,
) -> Result<Vec<Value>, CliError> {
    let kinds = sync.status.iter().flat_map(|status| &status.kinds);
    let selector = format!("{PART_OF}={}", name.applyset_id());
    let kinds = kinds
        .flat_map(|kind| contained(kind))
        .filter_map(|kind| viewer.kinds.preferred(&kind));
    let lists = kinds.map(|served| listed(access, viewer, served, &selector, &places));
    let lists = futures::future::try_join_all(lists).await?;
    let (mut objects, mut narrowed, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    let (mut refusal, mut is_seen) = (None, false);
    for listed in lists {
        let is_whole = listed.narrowed.is_none() && listed.left_out.is_empty();
        is_seen |= is_whole || !listed.objects.is_empty();
        // A namespace without objects may be seen as well.
        is_seen |= listed.narrowed.is_some() && listed.left_out.len() < places.len();
        refusal = refusal.or(listed.refusal);
        objects.extend(listed.objects);
        narrowed.extend(listed.narrowed);
        left_out.extend(listed.left_out);
    }
    if let Some(refusal) = refusal.filter(|_| !is_seen) {
        return Err(refusal.into());
    }
    if let Some(warning) = warning(&narrowed, &left_out, &places) {
        Terminal::note(&format!("towline: warning: {warning}"));
    }
    // A copied label makes no object ours.
    Ok(objects
        .into_iter()
        .filter(|object| manager(object).as_ref() == Some(name))
        .collect())
}

async fn listed(
    access: &Access,
    viewer: &Viewer,
    served: ServedKind,
    selector: &str,
    places: &Places,
) -> Result<Listed, AccessError> {
    let what = served.definition().trim_end_matches('.').to_owned();
    let list = async |place: Option<&str>| {
        let doing = Doing::on(&served, "list", place);
        let listed = viewer.list(&served, place, Some(selector)).await;
        listed.map_err(|error| access.explain(error, &doing))
    };
    let mut found = Listed {
        objects: Vec::new(),
        narrowed: None,
        left_out: Vec::new(),
        refusal: None,
    };
    match list(None).await {
        Ok(objects) => {
            found.objects = objects;
            return Ok(found);
        }
        Err(error @ AccessError::Forbidden { .. }) => found.refusal = Some(error),
        Err(error) => return Err(error),
    }
    if !served.namespaced {
        found.left_out.push(what);
        return Ok(found);
    }
    for place in places {
        match list(Some(place)).await {
            Ok(objects) => found.objects.extend(objects),
            Err(AccessError::Forbidden { .. }) => {
                found.left_out.push(format!("{what} in {place}"));
            }
            Err(error) => return Err(error),
        }
    }
    found.narrowed = Some(what);
    Ok(found)
}

/// What is said once of what may not be seen.
fn warning(narrowed: &[String], left_out: &[String], places: &Places) -> Option<String> {
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let narrowed = (!narrowed.is_empty()).then(|| {
        format!(
            "you may not list {} in all namespaces; looked at: {}",
            narrowed.join(", "),
            places.join(", ")
        )
    });
    let left_out = (!left_out.is_empty()).then(|| {
        format!(
            "left out, since you may not list them: {}",
            left_out.join(", ")
        )
    });
    let parts: Vec<String> = narrowed.into_iter().chain(left_out).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::standing::testing::{ready, sync};
    use super::*;

    #[test]
    fn the_namespaces_are_those_of_the_objects_that_a_status_names() {
        let status = json!({
            "conditions": ready("True", "Converged", "m"),
            "failures": [{"object": "ConfigMap prod/m", "reason": "ApplyFailed", "message": "no"},
                {"object": "Namespace lone", "reason": "ApplyFailed", "message": "no"}],
            "history": [{"revision": "main@sha1:1", "author": "a", "applied": "2026-01-02T03:04:05Z",
                "changed": 1, "pruned": 0, "objects": ["created Deployment.apps web/shop", "odd"]}],
        });
        let mut sync = sync(&status, &json!({}));
        assert_eq!(
            Vec::from_iter(named(&sync)),
            ["prod", "team-a", "web"].map(str::to_owned)
        );
        sync.spec.settings.target_namespace = Some("target".to_owned());
        assert!(named(&sync).contains("target"));
    }

    #[test]
    fn what_may_not_be_seen_is_said_once() {
        let places = Places::from(["a".to_owned(), "b".to_owned()]);
        let both = ["configmaps".to_owned(), "deployments.apps".to_owned()];
        assert_eq!(warning(&[], &[], &places), None);
        assert_eq!(
            warning(&both, &["namespaces".to_owned()], &places).unwrap(),
            "you may not list configmaps, deployments.apps in all namespaces; looked at: a, b; \
             left out, since you may not list them: namespaces"
        );
    }
}
