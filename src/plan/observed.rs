//! The observed state of one managed object, which is kept instead of its body.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

use super::owner::{DIGEST, IDENTITY, LEFT, PART_OF, PROOF, SyncName};
use super::proof::Proof;
use super::share::{Appliers, is_ours, is_saved, subresource};
use crate::health::{Exposed, Health};
use crate::manifest::{Digest, Modes, ObjectKey};
use crate::text::listing;

/// Finalizers that are named.
const NAMED: usize = 3;

/// The state of a managed object in the last watch event or answer to an apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The Sync that label and identity name.
    pub owner: SyncName,
    /// The object's uid. A delete is conditional on it.
    pub uid: Arc<str>,
    /// Its resourceVersion, comparable within a resource (KEP-5504).
    pub version: u64,
    /// The hash of our `Apply` entry in `managedFields`. None if there is no such entry. It changes
    /// exactly when somebody else changed or removed a field that we declare.
    pub entry: Option<u64>,
    /// The digest of the manifest that was applied last, from the object's annotation.
    pub digest: Option<Box<str>>,
    /// What the object carries as the proof of its marks. It may be anything: the inventory says what it
    /// proves.
    pub proof: Option<Proof>,
    /// The second in which the object was created, by the API server's clock.
    pub created: i64,
    /// The object is being deleted.
    pub deleting: bool,
    /// The health by the rules of kstatus.
    pub health: Health,
    /// The field manager that wrote last, if it was not us.
    pub writer: Option<Box<str>>,
    /// The hash of the entry that names it.
    pub writer_entry: Option<u64>,
    /// Whether another applier of whole manifests owns fields of the object.
    pub shared: bool,
    /// The hash of the `apiVersion` that our entry is written in.
    pub version_hash: u32,
    /// The last writer of a subresource among those whose `managedFields` entry has no time, such as the
    /// entry for `scale`.
    pub timeless: Option<Box<Timeless>>,
    /// The fields that are left to other controllers, from the object's annotation.
    pub left: Option<Box<str>>,
    /// How its annotations want it to be treated.
    pub modes: Modes,
    /// It was made to run once, and has.
    pub finished: bool,
    /// While it is being deleted: the finalizers that hold it.
    pub held_by: Option<Box<str>>,
    /// Where it can be reached. Only a watch that sees the body knows it.
    pub exposed: Option<Arc<Exposed>>,
}

/// A writer without a time in `managedFields`.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeless {
    pub(super) manager: Box<str>,
    /// The hash of its entry.
    entry: u64,
}

impl Observed {
    /// Reads an object's metadata. None unless label and identity agree that it is managed. A copied
    /// object, or one that inherited its owner's labels, is not managed.
    pub fn read(key: &ObjectKey, meta: &ObjectMeta, health: Health) -> Option<Self> {
        let annotations = meta.annotations.as_ref()?;
        let owner = SyncName::of(annotations.get(IDENTITY)?, key)?;
        if meta.labels.as_ref()?.get(PART_OF)? != &owner.applyset_id() {
            return None;
        }
        let writer = last_writer(meta);
        Some(Self {
            uid: meta.uid.as_deref()?.into(),
            version: meta.resource_version.as_deref()?.parse().ok()?,
            entry: applied_entry(meta).map(hash_of),
            digest: short(annotations.get(DIGEST), LONGEST_DIGEST),
            proof: annotations.get(PROOF).and_then(|text| Proof::parse(text)),
            created: meta
                .creation_timestamp
                .as_ref()
                .map_or(0, |time| time.0.as_second()),
            deleting: meta.deletion_timestamp.is_some(),
            health,
            writer: writer.and_then(|entry| entry.manager.as_deref().map(Into::into)),
            writer_entry: writer.map(hash_of),
            timeless: timeless(meta).map(Box::new),
            shared: false,
            version_hash: applied_entry(meta)
                .and_then(|entry| entry.api_version.as_deref())
                .map_or(0, version_hash),
            left: short(annotations.get(LEFT), LONGEST_LEFT),
            modes: Modes::of_live(Some(annotations), meta.labels.as_ref()),
            finished: false,
            held_by: held_by(meta),
            exposed: None,
            owner,
        })
    }

    /// The same, with the information from `appliers` about the object's field managers.
    pub fn shared_with(mut self, meta: &ObjectMeta, appliers: &Appliers) -> Self {
        let (mut entries, saved) = (meta.managed_fields.iter().flatten(), is_saved(meta));
        self.shared = entries.any(|entry| appliers.is_one(entry, saved));
        self
    }

    /// Whether our entry has another version of the kind than `api_version`.
    pub fn is_of_another_version(&self, api_version: &str) -> bool {
        self.entry.is_some() && self.version_hash != version_hash(api_version)
    }

    /// Whether the object says that this manifest was applied to it last.
    pub fn is_of(&self, manifest: &Digest) -> bool {
        self.digest.as_deref() == Some(&*manifest.to_string())
    }

    /// If our entry changed since `known`, names as the writer the one without a time whose entry was
    /// added or changed too. An autoscaler's entry stays the same, so it is not named.
    ///
    /// Who only removes a field leaves no entry. A writer whose entry is the same as in `known` wrote something
    /// else, so then nobody is named.
    pub fn since(mut self, known: &Self) -> Self {
        if self.writer_entry == known.writer_entry {
            self.writer = match known.entry == self.entry {
                true => known.writer.clone(),
                false => None,
            };
        }
        if let Some(timeless) = &self.timeless {
            let wrote = match known.entry == self.entry {
                true => known.writer.as_ref() == Some(&timeless.manager),
                false => known.timeless.as_ref() != Some(timeless),
            };
            if wrote {
                self.writer = Some(timeless.manager.clone());
            }
        }
        self
    }

    /// The other Sync whose the object says that it is. Only the inventory knows whether the proof is right, and whether that
    /// Sync still wants the object.
    pub fn other_than(&self, sync: &SyncName) -> Option<&SyncName> {
        let is_marked = self.proof.is_some();
        (self.owner != *sync && is_marked).then_some(&self.owner)
    }

    /// Whether label, identity and field manager all call the object `owner`'s. Everybody who can patch the
    /// object can write these, so a prune needs its proof as well.
    pub fn is_ours(&self, owner: &SyncName) -> bool {
        &self.owner == owner && self.entry.is_some()
    }
}

/// Whether towline has applied an object that stays, and that carries no marks of anybody.
pub fn is_stray(key: &ObjectKey, meta: &ObjectMeta) -> bool {
    applied_entry(meta).is_some()
        && meta.deletion_timestamp.is_none()
        && Observed::read(key, meta, Health::Current).is_none()
}

/// The longest annotations that towline writes, in bytes. Everybody who can write an object with towline's label can
/// write longer ones, and they would stay in memory.
const LONGEST_DIGEST: usize = 64;
const LONGEST_LEFT: usize = 8 << 10;

/// The value of an annotation, if it is no longer than towline's own.
fn short(value: Option<&String>, longest: usize) -> Option<Box<str>> {
    let value = value.filter(|value| value.len() <= longest)?;
    Some(value.as_str().into())
}

/// Versions are only compared. A hash saves memory for ten thousand objects.
fn version_hash(api_version: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    api_version.hash(&mut hasher);
    (hasher.finish() >> 32) as u32
}

/// Foreground deletion has a finalizer of its own, which says nothing to people.
fn held_by(meta: &ObjectMeta) -> Option<Box<str>> {
    let finalizers = meta.finalizers.as_deref().unwrap_or_default();
    let is_held = meta.deletion_timestamp.is_some() && !finalizers.is_empty();
    is_held.then(|| listing(finalizers.iter().take(NAMED).cloned(), finalizers.len()).into())
}

fn applied_entry(meta: &ObjectMeta) -> Option<&ManagedFieldsEntry> {
    meta.managed_fields
        .as_ref()?
        .iter()
        .find(|entry| is_ours(entry))
}

fn hash_of(entry: &ManagedFieldsEntry) -> u64 {
    let mut hasher = DefaultHasher::new();
    entry
        .time
        .as_ref()
        .map(|time| time.0.as_nanosecond())
        .hash(&mut hasher);
    if let Some(fields) = &entry.fields_v1 {
        hash_value(&fields.0, &mut hasher);
    }
    hasher.finish()
}

/// `fieldsV1` holds only nested objects, whose keys serde_json keeps sorted.
fn hash_value(value: &Value, hasher: &mut DefaultHasher) {
    if let Value::Object(fields) = value {
        fields.len().hash(hasher);
        for (name, inner) in fields {
            name.hash(hasher);
            hash_value(inner, hasher);
        }
    }
}

/// The entry of the field manager that wrote last, as far as `managedFields` shows. None if it was us.
///
/// Writers of the status do not count: a controller that reports does not change what Git declares. Of
/// all other writers, the newest that is newer than our own entry is returned. If there is none, it is a
/// writer of another subresource whose entry has no time. The API server sets no time for `scale`. An
/// autoscaler's entry stays on the object, so a writer with a time has precedence. Times are whole
/// seconds: a writer in the same second as our entry is returned too, if there is no newer one.
fn last_writer(meta: &ObjectMeta) -> Option<&ManagedFieldsEntry> {
    let entries = meta.managed_fields.as_ref()?;
    let ours = applied_entry(meta);
    let our_time = ours.and_then(time);
    let others = entries.iter().filter(|entry| {
        subresource(entry) != "status" && !ours.is_some_and(|ours| std::ptr::eq(ours, *entry))
    });
    let (_, newest) = others
        .filter_map(|entry| {
            let rank = match time(entry) {
                time if time > our_time => (2, time),
                None if !subresource(entry).is_empty() => (1, None),
                Some(_) if time(entry) == our_time => (0, None),
                _ => return None,
            };
            Some((rank, entry))
        })
        .max_by_key(|(rank, _)| *rank)?;
    Some(newest)
}

fn timeless(meta: &ObjectMeta) -> Option<Timeless> {
    let entries = meta.managed_fields.iter().flatten();
    let mut timeless = entries
        .filter(|entry| time(entry).is_none() && !["", "status"].contains(&subresource(entry)));
    let entry = timeless.next_back()?;
    Some(Timeless {
        manager: entry.manager.as_deref()?.into(),
        entry: hash_of(entry),
    })
}

fn time(entry: &ManagedFieldsEntry) -> Option<jiff::Timestamp> {
    entry.time.as_ref().map(|time| time.0)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// An object of the Sync `ns/<owner>` with nothing remarkable.
    pub(crate) fn observed(owner: &str, uid: &str) -> Observed {
        Observed {
            owner: SyncName::new("ns", owner),
            uid: uid.into(),
            version: 1,
            entry: Some(1),
            digest: None,
            proof: None,
            created: 0,
            deleting: false,
            health: Health::Current,
            writer: None,
            writer_entry: None,
            timeless: None,
            shared: false,
            version_hash: 0,
            left: None,
            modes: Modes::default(),
            finished: false,
            held_by: None,
            exposed: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::GroupKind;

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            kind: GroupKind::new("", "ConfigMap"),
            namespace: Some("prod".into()),
            name: name.into(),
        }
    }

    #[test]
    fn what_towline_applied_and_nobodys_marks_are_on_is_a_stray() {
        let is = |change: fn(&mut Value)| is_stray(&key("web"), &meta(change));
        assert!(!is(|_| ()));
        assert!(is(|meta| meta["labels"] = Value::Null));
        assert!(is(|meta| meta["annotations"] = Value::Null));
        // It goes, or somebody else made it.
        assert!(!is(|meta| {
            meta["labels"] = Value::Null;
            meta["deletionTimestamp"] = json!("2026-01-04T00:00:00Z");
        }));
        assert!(!is(|meta| {
            meta["labels"] = Value::Null;
            meta["managedFields"] = Value::Null;
        }));
    }

    fn meta(change: impl FnOnce(&mut Value)) -> ObjectMeta {
        let owner = SyncName::new("team-a", "shop");
        let mut value = json!({
            "name": "web", "namespace": "prod", "uid": "u1", "resourceVersion": "7",
            "labels": {PART_OF: owner.applyset_id()},
            "annotations": {IDENTITY: owner.identity(&key("web")), DIGEST: "abc"},
            "managedFields": [
                {"manager": "towline", "operation": "Apply", "time": "2026-01-01T00:00:00Z",
                 "fieldsV1": {"f:data": {"f:a": {}, "f:b": {}}}},
                {"manager": "kubectl", "operation": "Update", "time": "2026-01-02T00:00:00Z"},
                {"manager": "kubelet", "operation": "Update", "subresource": "status",
                 "time": "2026-01-03T00:00:00Z"}
            ],
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    fn read(change: impl FnOnce(&mut Value)) -> Option<Observed> {
        Observed::read(&key("web"), &meta(change), Health::Current)
    }

    #[test]
    fn a_managed_object_is_read() {
        let observed = read(|_| ()).unwrap();
        assert!(observed.is_ours(&SyncName::new("team-a", "shop")));
        assert!(!observed.is_ours(&SyncName::new("team-a", "other")));
        assert_eq!(observed.writer.as_deref(), Some("kubectl"));
        assert_eq!((observed.version, &*observed.uid), (7, "u1"));
    }

    #[test]
    fn annotations_that_are_longer_than_ours_are_not_kept() {
        let observed = read(|v| {
            v["annotations"][DIGEST] = json!("d".repeat(200_000));
            v["annotations"][LEFT] = json!("l".repeat(200_000));
            v["annotations"][PROOF] = json!("p".repeat(200_000));
            v["finalizers"] = json!(["f".repeat(300)]);
        });
        let observed = observed.unwrap();
        assert_eq!((observed.digest, observed.left), (None, None));
        assert_eq!(observed.proof, None);
        let observed = read(|v| v["annotations"][LEFT] = json!("[]")).unwrap();
        assert_eq!(observed.left.as_deref(), Some("[]"));
        assert_eq!(observed.digest.as_deref(), Some("abc"));
    }

    #[test]
    fn copies_and_inherited_labels_are_not_managed() {
        let copy = Observed::read(&key("copy"), &meta(|_| ()), Health::Current);
        assert_eq!(copy, None);
        assert_eq!(read(|v| v["annotations"] = json!({})), None);
        assert_eq!(
            read(|v| v["labels"] = json!({PART_OF: "applyset-x-v1"})),
            None
        );
    }

    #[test]
    fn without_our_apply_entry_an_object_is_not_ours() {
        let shop = SyncName::new("team-a", "shop");
        for change in [
            json!([]),
            json!([{"manager": "towline", "operation": "Update"}]),
            json!([{"manager": "towline", "operation": "Apply", "subresource": "status"}]),
        ] {
            let observed = read(|v| v["managedFields"] = change).unwrap();
            assert!(!observed.is_ours(&shop));
        }
    }

    #[test]
    fn the_entry_changes_with_its_fields_and_time_only() {
        let before = read(|_| ()).unwrap().entry;
        let same = read(|v| v["managedFields"][1]["time"] = json!("2026-02-02T00:00:00Z"));
        assert_eq!(same.unwrap().entry, before);
        let fields = read(|v| v["managedFields"][0]["fieldsV1"] = json!({"f:data": {"f:a": {}}}));
        assert_ne!(fields.unwrap().entry, before);
        let nested = read(|v| {
            v["managedFields"][0]["fieldsV1"] = json!({"f:data": {"f:a": {"f:b": {}}}});
        });
        assert_ne!(nested.unwrap().entry, before);
        let time = read(|v| v["managedFields"][0]["time"] = json!("2026-01-09T00:00:00Z"));
        assert_ne!(time.unwrap().entry, before);
    }

    #[test]
    fn the_last_writer_is_named() {
        // Manager, operation, subresource, second; none where the entry has no time.
        type FieldsEntry = (&'static str, &'static str, &'static str, Option<u32>);
        const OURS: FieldsEntry = ("towline", "Apply", "", Some(5));
        let table: [(&str, &[FieldsEntry], Option<&str>); 16] = [
            ("nobody else", &[OURS], None),
            (
                "an older edit",
                &[OURS, ("kubectl-edit", "Update", "", Some(4))],
                None,
            ),
            (
                "a newer edit",
                &[OURS, ("kubectl-edit", "Update", "", Some(6))],
                Some("kubectl-edit"),
            ),
            (
                "an edit in the same second",
                &[("kubectl-edit", "Update", "", Some(5)), OURS],
                Some("kubectl-edit"),
            ),
            (
                "the same in the other order",
                &[OURS, ("kubectl-edit", "Update", "", Some(5))],
                Some("kubectl-edit"),
            ),
            (
                "scale, which has no time",
                &[("kubectl", "Update", "scale", None), OURS],
                Some("kubectl"),
            ),
            (
                "an autoscaler",
                &[OURS, ("kube-controller-manager", "Update", "scale", None)],
                Some("kube-controller-manager"),
            ),
            (
                "scale with a time that is older",
                &[OURS, ("kubectl", "Update", "scale", Some(4))],
                None,
            ),
            (
                "scale applied, beside an older edit",
                &[
                    ("kubectl-edit", "Update", "", Some(4)),
                    OURS,
                    ("autoscaler", "Apply", "scale", None),
                ],
                Some("autoscaler"),
            ),
            (
                "a newer edit beside an autoscaler, whose entry stays",
                &[
                    ("kube-controller-manager", "Update", "scale", None),
                    OURS,
                    ("kubectl-edit", "Update", "", Some(6)),
                ],
                Some("kubectl-edit"),
            ),
            (
                "scale beside an edit in our own second",
                &[
                    ("kubectl-create", "Update", "", Some(5)),
                    OURS,
                    ("kubectl", "Update", "scale", None),
                ],
                Some("kubectl"),
            ),
            (
                "our own entry is gone",
                &[
                    ("kubectl-edit", "Update", "", Some(4)),
                    ("kubectl-replace", "Update", "", Some(6)),
                ],
                Some("kubectl-replace"),
            ),
            (
                "status",
                &[OURS, ("kubelet", "Update", "status", Some(9))],
                None,
            ),
            (
                "status without a time",
                &[OURS, ("kubelet", "Update", "status", None)],
                None,
            ),
            (
                "an entry of the object itself without a time",
                &[("before-first-apply", "Update", "", None), OURS],
                None,
            ),
            (
                "an update under our own name",
                &[OURS, ("towline", "Update", "", Some(6))],
                Some("towline"),
            ),
        ];
        for (name, entries, writer) in table {
            let entries: Vec<Value> = entries
                .iter()
                .map(|(manager, operation, subresource, second)| {
                    let time = second.map(|second| format!("2026-01-01T00:00:0{second}Z"));
                    json!({"manager": manager, "operation": operation, "time": time,
                           "subresource": subresource})
                })
                .collect();
            let observed = read(|value| value["managedFields"] = json!(entries)).unwrap();
            assert_eq!(observed.writer.as_deref(), writer, "{name}");
        }
    }

    #[test]
    fn of_writers_without_a_time_the_one_that_just_wrote_is_named() {
        let ours = |replicas: bool| {
            let fields = match replicas {
                true => json!({"f:spec": {"f:replicas": {}, "f:template": {}}}),
                false => json!({"f:spec": {"f:template": {}}}),
            };
            json!({"manager": "towline", "operation": "Apply", "time": "2026-01-01T00:00:05Z",
                   "fieldsV1": fields})
        };
        let scale = json!({"manager": "kubectl", "operation": "Update", "subresource": "scale",
                           "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        let restart = json!({"manager": "kubectl-rollout", "operation": "Update",
                             "time": "2026-01-01T00:00:07Z"});
        let seen = |entries: &[&Value]| read(|v| v["managedFields"] = json!(entries)).unwrap();
        let writer = |known: &Observed, seen: Observed| seen.since(known).writer;

        // Somebody else wrote before, and took nothing of ours.
        let known = seen(&[&ours(true), &restart]);
        let scaled = seen(&[&scale, &ours(false), &restart]).since(&known);
        assert_eq!(scaled.writer.as_deref(), Some("kubectl"));
        // Another event before it is healed.
        let again = writer(&scaled, seen(&[&scale, &ours(false), &restart]));
        assert_eq!(again.as_deref(), Some("kubectl"));
        // An autoscaler's entry was there before.
        let known = seen(&[&scale, &ours(true)]);
        let edited = writer(&known, seen(&[&scale, &ours(false), &restart]));
        assert_eq!(edited.as_deref(), Some("kubectl-rollout"));
    }
    #[test]
    fn who_wrote_something_else_is_not_named_for_a_field_that_is_gone() {
        let ours = |data: Value| {
            json!({"manager": "towline", "operation": "Apply", "time": "2026-01-01T00:00:05Z",
                   "fieldsV1": {"f:data": data}})
        };
        let (whole, less) = (
            ours(json!({"f:a": {}, "f:b": {}})),
            ours(json!({"f:a": {}})),
        );
        let edit = |second: u32, fields: Value| {
            json!({"manager": "kubectl-edit", "operation": "Update",
                   "time": format!("2026-01-01T00:00:0{second}Z"), "fieldsV1": fields})
        };
        let label = json!({"f:metadata": {"f:labels": {"f:mine": {}}}});
        let seen = |entries: &[&Value]| read(|v| v["managedFields"] = json!(entries)).unwrap();
        for second in [5, 7] {
            let labelled = edit(second, label.clone());
            let known = seen(&[&whole, &labelled]);
            assert_eq!(known.writer.as_deref(), Some("kubectl-edit"));
            let removed = seen(&[&less, &labelled]).since(&known);
            assert_eq!(removed.writer, None, "nobody's entry changed");
            let again = seen(&[&less, &labelled]).since(&removed);
            assert_eq!(again.writer, None, "another event before it is healed");
            // Who wrote before and takes the field is named, also within a second.
            let taken = edit(second, json!({"f:data": {"f:b": {}}, "f:metadata": {}}));
            let taken = seen(&[&less, &taken]).since(&known);
            assert_eq!(taken.writer.as_deref(), Some("kubectl-edit"));
        }
    }
}
