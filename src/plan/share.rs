//! Each field manager's share of an object, and how another applier's share becomes ours. Pure.
//!
//! Server-side apply removes a field that left Git only if our entry in `managedFields` names the field
//! and no other manager does. So to take over an object from `kubectl apply`, Helm, Flux or Argo CD,
//! their entries must be moved into ours. A write of `managedFields` alone changes no value and restarts
//! nothing.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta};
use serde_json::{Map, Value, json};

use super::implied::own_implied;
use super::release::{Indivisible, release};
use crate::api::FIELD_MANAGER;
use crate::intent::FieldPattern;

/// Field managers that apply whole manifests. `kubectl` is not among them: see [`Appliers::is_one`].
///
/// `Terraform` (`kubernetes_manifest`) and `pulumi-kubernetes…` are none: under the same name, `kubernetes_labels`,
/// `kubernetes_env` and Pulumi's `…Patch` resources write single fields of what others manage, such as the limits that a
/// platform team puts on a Deployment of Git. To take those away would undo that team's work at each write, while a field
/// that stays after a move from Terraform is seen and removed once. Who moves whole manifests from them names them in
/// `--takeover-managers`.
const APPLIERS: [&str; 20] = [
    "kubectl-client-side-apply",
    "kubectl-last-applied",
    BEFORE_FIRST_APPLY,
    "helm",
    "Helm",
    "helm-controller",
    "kustomize-controller",
    "flux",
    "flux-client-side-apply",
    "argocd",
    "argocd-controller",
    "argocd-application-controller",
    "fleetagent",
    "kapp-server-side-fieldmanager",
    "kapp",
    "configsync",
    "kluctl",
    "timoni",
    "werf",
    "HashiCorp",
];

/// How the names of those begin that have one for each of their versions.
const APPLIER_FAMILY: &str = "terraform-provider-helm";

/// The field manager that empties objects before an apply. Where defaults take their place, they are its share.
pub const EMPTIER: &str = "towline-emptier";

/// The API server's manager name for fields from the time before field management.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The field manager whose fields `kubectl apply` declares, if [`SAVED`] says that the manifest is one of its own:
/// `kubectl create --save-config`. `kubectl replace` writes all fields of an edited dump, which nobody declared.
const SAVER: &str = "kubectl-create";

/// The annotation in which `kubectl apply` keeps its manifest.
const SAVED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Whether `kubectl apply` has the manifest of an object.
pub(super) fn is_saved(meta: &ObjectMeta) -> bool {
    let annotations = meta.annotations.as_ref();
    annotations.is_some_and(|annotations| annotations.contains_key(SAVED))
}

/// The field managers that apply whole manifests.
#[derive(Clone, Debug, Default)]
pub struct Appliers {
    more: Arc<[String]>,
}

impl Appliers {
    /// The known appliers and `more` field managers.
    pub fn with(more: Vec<String>) -> Self {
        let named = more.into_iter().map(|name| name.trim().to_owned());
        Self {
            more: named.filter(|name| !name.is_empty()).collect(),
        }
    }

    /// Whether an entry is the share of an applier of whole manifests. `saved`: whether `kubectl apply` has the object's
    /// manifest.
    ///
    /// `kubectl` is one if it used server-side apply. Fields that `kubectl scale`, `edit` or `patch`
    /// wrote belong to a person, and stay. A subresource is never part of a manifest. Defaults that took
    /// the place of what towline emptied are meant, too.
    pub(super) fn is_one(&self, entry: &ManagedFieldsEntry, saved: bool) -> bool {
        let manager = entry.manager.as_deref().unwrap_or_default();
        let is_applied = entry.operation.as_deref() == Some(APPLY);
        let is_named = APPLIERS.contains(&manager)
            || manager.starts_with(APPLIER_FAMILY)
            || manager == EMPTIER
            || manager == "kubectl" && is_applied
            || saved && manager == SAVER
            || self.more.iter().any(|more| more == manager);
        is_named && subresource(entry).is_empty() && !is_ours(entry)
    }
}

const APPLY: &str = "Apply";

/// Whether an entry is our own share.
pub(super) fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER)
        && entry.operation.as_deref() == Some(APPLY)
        && subresource(entry).is_empty()
}

pub(super) fn subresource(entry: &ManagedFieldsEntry) -> &str {
    entry.subresource.as_deref().unwrap_or_default()
}

/// An object's `managedFields`, with planned changes.
#[derive(Clone, Debug)]
pub struct Share {
    entries: Vec<ManagedFieldsEntry>,
    /// The version of the kind that we apply, as in `apiVersion`.
    api_version: String,
    /// The object's resourceVersion. A write is conditional on it.
    version: String,
    changed: bool,
    /// Whether `kubectl apply` has its manifest.
    saved: bool,
}

impl Share {
    /// The shares of an object that is applied as `api_version`. None without a resourceVersion.
    pub fn of(meta: &ObjectMeta, api_version: &str) -> Option<Self> {
        Some(Self {
            entries: meta.managed_fields.clone().unwrap_or_default(),
            api_version: api_version.to_owned(),
            version: meta.resource_version.clone()?,
            changed: false,
            saved: is_saved(meta),
        })
    }

    /// Moves the entries of `appliers` into ours. With `was_ours`, towline managed the object before, and a
    /// `before-first-apply` entry means that the object lost its `managedFields`. That entry holds every field,
    /// including those of controllers, so it is dropped and not moved. So are defaults of what towline emptied.
    pub fn take_over(&mut self, appliers: &Appliers, was_ours: bool) {
        let (theirs, mut rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|entry| appliers.is_one(entry, self.saved));
        std::mem::swap(&mut self.entries, &mut rest);
        for entry in theirs {
            self.changed = true;
            let is_lost = is_lost(&entry, was_ours);
            if let Some(FieldsV1(mut fields)) = entry.fields_v1.filter(|_| !is_lost) {
                own_implied(&mut fields, &self.api_version);
                self.add(&fields);
            }
        }
    }

    /// The same without the entry that the API server made for the time before the first apply. None if there
    /// is no such entry. A second call returns none, so that this is tried only once.
    pub fn without_assumed(&mut self) -> Option<Self> {
        let is_assumed =
            |entry: &ManagedFieldsEntry| entry.manager.as_deref() == Some(BEFORE_FIRST_APPLY);
        self.entries.iter().any(is_assumed).then(|| {
            self.entries.retain(|entry| !is_assumed(entry));
            Self {
                changed: true,
                ..self.clone()
            }
        })
    }

    /// Takes fields out of our entry, so that an apply without them leaves them as they are. `body` is the manifest
    /// with the fields.
    ///
    /// # Errors
    /// [`Indivisible`] for a field that cannot be taken out by itself.
    pub fn release(&mut self, patterns: &[FieldPattern], body: &Value) -> Result<(), Indivisible> {
        let Some(ours) = self.entries.iter_mut().find(|entry| is_ours(entry)) else {
            return Ok(());
        };
        let fields = fields_of(ours);
        let before = fields.clone();
        release(fields, patterns, body)?;
        self.changed |= before != *fields;
        Ok(())
    }

    /// Changes the version of every entry whose version `is_stale` to the version that we apply. The paths stay:
    /// without a conversion webhook, a field has the same path in every version.
    pub fn relabel(&mut self, is_stale: impl Fn(&str) -> bool) {
        let mut relabelled: Vec<ManagedFieldsEntry> = Vec::with_capacity(self.entries.len());
        for mut entry in std::mem::take(&mut self.entries) {
            let is_other = entry.api_version.as_deref() != Some(&self.api_version);
            if is_other && is_stale(entry.api_version.as_deref().unwrap_or_default()) {
                entry.api_version = Some(self.api_version.clone());
                self.changed = true;
            }
            // A manager has only one entry for each version, so two entries of one version are merged.
            let twin = relabelled.iter_mut().find(|other| is_twin(other, &entry));
            match (twin, &entry.fields_v1) {
                (Some(twin), Some(FieldsV1(fields))) => union(fields_of(twin), fields),
                (Some(_), None) => (),
                (None, _) => relabelled.push(entry),
            }
        }
        self.entries = relabelled;
    }

    /// Moves fields (in the form of `fieldsV1`) from all other entries to ours, so that the next apply removes
    /// those that it does not declare. Returns whether any entry changed.
    pub fn claim(&mut self, fields: &Value) -> bool {
        let before = self.entries.clone();
        for entry in self.entries.iter_mut().filter(|entry| !is_ours(entry)) {
            if let Some(FieldsV1(theirs)) = &mut entry.fields_v1 {
                remove(theirs, fields);
            }
        }
        self.add(fields);
        let is_new = before != self.entries;
        self.changed |= is_new;
        is_new
    }

    /// Our fields.
    pub fn of_ours(&self) -> Value {
        self.fields(is_ours)
    }

    /// The fields of all other managers.
    pub fn of_others(&self) -> Value {
        self.fields(|entry| !is_ours(entry))
    }

    /// The fields that [`Self::take_over`] makes ours.
    pub(super) fn of_appliers(&self, appliers: &Appliers, was_ours: bool) -> Value {
        self.fields(|entry| appliers.is_one(entry, self.saved) && !is_lost(entry, was_ours))
    }

    /// The fields of all managers that are neither appliers nor towline.
    pub(super) fn of_rest(&self, appliers: &Appliers) -> Value {
        self.fields(|entry| !is_ours(entry) && !appliers.is_one(entry, self.saved))
    }

    /// The fields of all managers.
    pub fn of_all(&self) -> Value {
        self.fields(|_| true)
    }

    /// The JSON patch that writes the changed entries, on condition that nobody has written the object since.
    /// None if nothing changed.
    pub fn patch(&self) -> Option<Value> {
        let version =
            json!({"op": "replace", "path": "/metadata/resourceVersion", "value": self.version});
        let fields =
            json!({"op": "replace", "path": "/metadata/managedFields", "value": self.entries});
        self.changed.then(|| json!([version, fields]))
    }

    /// The same entries to write over those of another resourceVersion of the object.
    pub fn instead_of(&self, version: &str) -> Self {
        Self {
            changed: true,
            ..self.at(version)
        }
    }

    /// The same entries for another resourceVersion of the object.
    pub fn at(&self, version: &str) -> Self {
        Self {
            version: version.to_owned(),
            ..self.clone()
        }
    }

    fn fields(&self, is_meant: impl Fn(&ManagedFieldsEntry) -> bool) -> Value {
        let mut all = Value::Object(Map::new());
        for entry in self.entries.iter().filter(|entry| is_meant(entry)) {
            if let Some(FieldsV1(fields)) = &entry.fields_v1 {
                union(&mut all, fields);
            }
        }
        all
    }

    fn add(&mut self, fields: &Value) {
        if !self.entries.iter().any(is_ours) {
            self.entries.push(ManagedFieldsEntry {
                api_version: Some(self.api_version.clone()),
                fields_type: Some("FieldsV1".to_owned()),
                fields_v1: None,
                manager: Some(FIELD_MANAGER.to_owned()),
                operation: Some(APPLY.to_owned()),
                ..ManagedFieldsEntry::default()
            });
        }
        if let Some(ours) = self.entries.iter_mut().find(|entry| is_ours(entry)) {
            union(fields_of(ours), fields);
        }
    }
}

/// Whether nobody declared the fields of an applier's entry.
fn is_lost(entry: &ManagedFieldsEntry, was_ours: bool) -> bool {
    match entry.manager.as_deref() {
        Some(BEFORE_FIRST_APPLY) => was_ours,
        manager => manager == Some(EMPTIER),
    }
}

fn is_twin(a: &ManagedFieldsEntry, b: &ManagedFieldsEntry) -> bool {
    let is_applied = a.operation.as_deref() == Some(APPLY);
    a.manager == b.manager
        && a.operation == b.operation
        && subresource(a) == subresource(b)
        && (is_applied || a.api_version == b.api_version)
}

fn fields_of(entry: &mut ManagedFieldsEntry) -> &mut Value {
    let empty = || FieldsV1(Value::Object(Map::new()));
    &mut entry.fields_v1.get_or_insert_with(empty).0
}

/// Adds the paths of `more` to those of `fields`. `fieldsV1` holds only nested objects.
fn union(fields: &mut Value, more: &Value) {
    let (Value::Object(fields), Value::Object(more)) = (fields, more) else {
        return;
    };
    for (name, inner) in more {
        union(
            fields
                .entry(name)
                .or_insert_with(|| Value::Object(Map::new())),
            inner,
        );
    }
}

/// Removes from `fields` the ends of `paths` and everything below them.
fn remove(fields: &mut Value, paths: &Value) {
    let (Value::Object(fields), Value::Object(paths)) = (fields, paths) else {
        return;
    };
    for (name, inner) in paths {
        if inner.as_object().is_none_or(Map::is_empty) {
            fields.remove(name);
        } else if let Some(below) = fields.get_mut(name) {
            remove(below, inner);
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "json! at every call is easier to read"
)]
mod tests {
    use super::*;

    fn share(entries: Value) -> Share {
        let meta = json!({"resourceVersion": "7", "managedFields": entries});
        Share::of(&serde_json::from_value(meta).unwrap(), "v1").unwrap()
    }

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1",
               "fieldsV1": fields})
    }

    #[test]
    fn what_kubectl_created_is_a_persons_unless_it_saved_the_manifest() {
        let saved = json!({SAVED: "{}"});
        for (manager, annotations, is_taken) in [
            ("kubectl-create", json!({}), false),
            ("kubectl-create", saved.clone(), true),
            ("kubectl-replace", saved, false),
        ] {
            let created = entry(manager, "Update", json!({"f:data": {"f:b": {}}}));
            let meta = json!({"resourceVersion": "1", "annotations": annotations, "managedFields": [created]});
            let mut share = Share::of(&serde_json::from_value(meta).unwrap(), "v1").unwrap();
            share.take_over(&Appliers::default(), false);
            assert_eq!(
                !entries(&share).is_null(),
                is_taken,
                "{manager} {annotations}"
            );
        }
    }

    fn entries(share: &Share) -> Value {
        share
            .patch()
            .map_or(Value::Null, |patch| patch[1]["value"].clone())
    }

    #[test]
    fn appliers_of_whole_manifests_are_told_from_those_who_write_single_fields() {
        let appliers = Appliers::with(vec![" our-tool ".to_owned()]);
        for (manager, operation, subresource, expected) in [
            ("helm", "Update", "", true),
            ("terraform-provider-helm_v2.12.1_x5", "Update", "", true),
            ("HashiCorp", "Update", "", true),
            ("configsync", "Apply", "", true),
            ("kapp", "Update", "", true),
            ("kluctl", "Apply", "", true),
            ("our-tool", "Apply", "", true),
            ("kubectl", "Apply", "", true),
            ("argocd-controller", "Update", "status", false),
            ("helm", "Update", "scale", false),
            // See `APPLIERS`: these also write single labels and fields of what others manage.
            ("Terraform", "Apply", "", false),
            ("pulumi-kubernetes-1a2b3c4d", "Apply", "", false),
            ("kubectl-edit", "Update", "", false),
            ("kubectl-set", "Update", "", false),
            ("kubectl-rollout", "Update", "", false),
            ("kubectl-autoscale", "Update", "", false),
            ("kubectl-label", "Update", "", false),
            ("kubectl-annotate", "Update", "", false),
            ("kube-controller-manager", "Update", "", false),
            ("helm-like-operator", "Apply", "", false),
            ("towline", "Apply", "", false),
            ("", "Update", "", false),
        ] {
            let entry =
                json!({"manager": manager, "operation": operation, "subresource": subresource});
            let entry: ManagedFieldsEntry = serde_json::from_value(entry).unwrap();
            assert_eq!(
                appliers.is_one(&entry, false),
                expected,
                "{manager} {operation} {subresource}"
            );
        }
    }

    #[test]
    fn shares_of_appliers_become_ours_and_those_of_others_stay() {
        let appliers = Appliers::with(vec!["our-pipeline".to_owned()]);
        let ours = entry("towline", "Apply", json!({"f:data": {"f:a": {}}}));
        for (manager, operation, is_taken) in [
            ("kubectl-client-side-apply", "Update", true),
            ("kubectl", "Apply", true),
            ("kubectl", "Update", false),
            ("kubectl-edit", "Update", false),
            ("kubectl-patch", "Update", false),
            ("kubectl-create", "Update", false),
            ("before-first-apply", "Update", true),
            ("helm", "Update", true),
            ("helm", "Apply", true),
            ("Helm", "Update", true),
            ("kustomize-controller", "Apply", true),
            ("helm-controller", "Update", true),
            ("argocd-controller", "Apply", true),
            ("our-pipeline", "Update", true),
            ("kube-controller-manager", "Update", false),
            ("cluster-autoscaler", "Apply", false),
            ("towline", "Update", false),
        ] {
            let theirs = entry(manager, operation, json!({"f:data": {"f:b": {}}}));
            let mut share = share(json!([ours, theirs]));
            share.take_over(&appliers, false);
            let both = entry(
                "towline",
                "Apply",
                json!({"f:data": {"f:a": {}, "f:b": {}}}),
            );
            let expected = match is_taken {
                true => json!([both]),
                false => Value::Null,
            };
            assert_eq!(entries(&share), expected, "{manager} {operation}");
        }
    }

    #[test]
    fn a_subresource_is_never_taken_and_a_first_entry_is_made() {
        let mut status = entry("helm", "Update", json!({"f:status": {}}));
        status["subresource"] = json!("status");
        let theirs = entry("helm", "Update", json!({"f:spec": {}}));
        let mut share = share(json!([status, theirs]));
        share.take_over(&Appliers::default(), false);
        let ours = entry("towline", "Apply", json!({"f:spec": {}}));
        assert_eq!(entries(&share), json!([status, ours]));
        assert_eq!(share.patch().unwrap()[0]["value"], "7");
    }

    #[test]
    fn a_claimed_field_is_ours_alone() {
        let person = entry(
            "person",
            "Update",
            json!({"f:a": {"f:b": {"f:c": {}}, "f:d": {}}}),
        );
        let mut share = share(json!([person]));
        assert!(share.claim(&json!({"f:a": {"f:b": {}}})));
        assert!(!share.claim(&json!({"f:a": {"f:b": {}}})));
        let person = entry("person", "Update", json!({"f:a": {"f:d": {}}}));
        let ours = entry("towline", "Apply", json!({"f:a": {"f:b": {}}}));
        let patch = share.patch().unwrap();
        assert_eq!(patch[1]["value"], json!([person, ours]));
    }

    #[test]
    fn fields_of_lost_managed_fields_belong_to_nobody() {
        let ours = entry("towline", "Apply", json!({"f:data": {"f:a": {}}}));
        let lost = entry(
            "before-first-apply",
            "Update",
            json!({"f:data": {"f:b": {}}}),
        );
        let mut share = share(json!([ours, lost]));
        share.take_over(&Appliers::default(), true);
        assert_eq!(entries(&share), json!([ours]));
    }

    #[test]
    fn entries_of_another_version_are_relabelled_and_merged() {
        let of = |version: &str, manager: &str, fields: Value| {
            let mut entry = entry(manager, "Update", fields);
            entry["apiVersion"] = json!(version);
            entry
        };
        let mut share = share(json!([
            of("v0", "controller", json!({"f:a": {}})),
            of("v1", "controller", json!({"f:b": {}})),
            of("v0", "person", json!({"f:c": {}})),
        ]));
        share.relabel(|version| version == "v0");
        let merged = of("v1", "controller", json!({"f:a": {}, "f:b": {}}));
        let person = of("v1", "person", json!({"f:c": {}}));
        assert_eq!(entries(&share), json!([merged, person]));
        let mut same = share.clone();
        same.changed = false;
        same.relabel(|_| true);
        assert_eq!(same.patch(), None);
    }
}
