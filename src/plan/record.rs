//! What Helm keeps of a release: a Secret for each revision, of type `helm.sh/release.v1`. Pure.
//!
//! The form is that of Helm's storage driver for Secrets (`pkg/storage/driver` of Helm 3 and 4): JSON, compressed, in
//! base64, with labels by which Helm finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::SyncName;
use crate::desired::ReleaseBody;
use crate::manifest::{self, GroupKind, ObjectKey};

/// Annotation of a record that towline wrote: the Sync, and the content that the record holds.
pub const RECORD: &str = "towline.dev/release";

/// Records of a release that are kept.
const KEPT: usize = 5;

/// The largest values of a Secret together, in bytes, as the API server has it.
const MAX_SECRET: usize = 1 << 20;

/// The largest record that is read, in bytes of JSON.
const MAX_JSON: u64 = 32 << 20;

/// What a record says of its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordStatus {
    /// It is live.
    Deployed,
    /// A hook has failed, or objects did not become healthy. What was live before is live still.
    Failed,
}

impl RecordStatus {
    /// As Helm has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::Failed => "failed",
        }
    }
}

/// The Secret of a record.
pub fn record_key(namespace: &str, release: &str, version: u32) -> ObjectKey {
    ObjectKey {
        kind: GroupKind::new("", "Secret"),
        namespace: Some(namespace.into()),
        name: format!("sh.helm.release.v1.{release}.v{version}").into(),
    }
}

/// A record that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelmRecord {
    /// The Secret's name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The revision in Helm's counting.
    pub version: u32,
    /// `deployed`, `superseded`, `failed`, `pending-upgrade`, …
    pub status: String,
    /// The Sync that wrote it, and the content that it holds. None: Helm did.
    pub written: Option<(SyncName, String)>,
}

impl HelmRecord {
    /// Reads the metadata of a Secret; none if it is no record.
    pub fn of(secret: &Value) -> Option<Self> {
        let metadata = secret.get("metadata")?;
        let text = |pointer: &str| metadata.pointer(pointer).and_then(Value::as_str);
        let annotations = metadata.get("annotations");
        let mark = annotations.and_then(|all| all.get(RECORD)?.as_str());
        Some(Self {
            name: text("/name")?.to_owned(),
            uid: text("/uid")?.to_owned(),
            version: text("/labels/version")?.parse().ok()?,
            status: text("/labels/status").unwrap_or_default().to_owned(),
            written: mark.and_then(read_mark),
        })
    }

    /// Whether a Helm is at work on the release, or was killed while it was.
    fn is_pending(&self) -> bool {
        self.status.starts_with("pending-") || self.status == "uninstalling"
    }

    fn says(&self, status: RecordStatus) -> bool {
        self.status == status.as_str()
    }

    fn is_of(&self, sync: &SyncName) -> bool {
        let written = self.written.as_ref();
        written.is_some_and(|(writer, _)| writer == sync)
    }
}

fn mark(sync: &SyncName, content: &str) -> String {
    format!("{sync} {content}")
}

/// The longest mark of towline's own: names of 317 bytes, and a content of 64. Everybody who may write a Secret may write
/// another one.
const LONGEST_MARK: usize = 512;

fn read_mark(mark: &str) -> Option<(SyncName, String)> {
    if mark.len() > LONGEST_MARK {
        return None;
    }
    let (sync, content) = mark.split_once(' ')?;
    let (namespace, name) = sync.split_once('/')?;
    Some((SyncName::new(namespace, name), content.to_owned()))
}

/// Why no record is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordClash {
    /// Helm is at work.
    #[error(
        "Secret {name} says that Helm is at work on the release ({status}). If no Helm is, it was stopped on its way: \
         delete that Secret"
    )]
    Pending {
        /// The record.
        name: String,
        /// What it says.
        status: String,
    },
    /// Another Sync has a release of this name in the namespace.
    #[error(
        "Secret {name} is the record of Sync {sync}, which has a release of the same name in the same namespace: give \
         one of the two another spec.helm.releaseName"
    )]
    OfAnother {
        /// The record.
        name: String,
        /// Its Sync.
        sync: SyncName,
    },
}

/// The number of the last record, and whether it says that the release is installed. None where there is none.
///
/// # Errors
/// Helm is at work on the release.
pub fn installed_by_helm(records: &[HelmRecord]) -> Result<Option<(u32, bool)>, RecordClash> {
    let newest = records.iter().max_by_key(|record| record.version);
    let Some(newest) = newest else {
        return Ok(None);
    };
    refuse_pending(newest)?;
    // The first install of this Sync, which never succeeded.
    let has_only_failed = records
        .iter()
        .all(|record| record.written.is_some() && record.says(RecordStatus::Failed));
    let is_installed = newest.status != "uninstalled" && !has_only_failed;
    Ok(Some((newest.version, is_installed)))
}

fn refuse_pending(newest: &HelmRecord) -> Result<(), RecordClash> {
    let HelmRecord { name, status, .. } = newest.clone();
    match newest.is_pending() {
        true => Err(RecordClash::Pending { name, status }),
        false => Ok(()),
    }
}

/// What follows from a release that is live for the records that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Succession {
    /// The version of its record.
    pub version: u32,
    /// Whether that record is there.
    pub is_there: bool,
    /// The newest records of releases that are live no longer, which say that they are.
    pub superseded: Vec<HelmRecord>,
    /// Records that are too many.
    pub surplus: Vec<HelmRecord>,
}

/// The record of a Sync's content after those that are there. `number`: the number that its templates saw. `status`: what it
/// says. A content that is live is not said to have failed. `exists`: whether there is such a Sync.
///
/// # Errors
/// [`RecordClash`].
pub fn succeed(
    known: &[HelmRecord],
    sync: &SyncName,
    content: &str,
    number: u32,
    status: RecordStatus,
    exists: impl Fn(&SyncName) -> bool,
) -> Result<Succession, RecordClash> {
    let mut others = known.to_vec();
    others.sort_by_key(|record| std::cmp::Reverse(record.version));
    let mut next = Succession {
        version: number.max(1),
        ..Succession::default()
    };
    if let Some(newest) = others.first() {
        refuse_pending(newest)?;
        if let Some((writer, held)) = &newest.written {
            if writer != sync && exists(writer) {
                return Err(RecordClash::OfAnother {
                    name: newest.name.clone(),
                    sync: writer.clone(),
                });
            }
            let says_so = newest.says(status) || newest.says(RecordStatus::Deployed);
            next.is_there = writer == sync && held == content && says_so;
        }
        next.version = match next.is_there {
            true => newest.version,
            false => next.version.max(newest.version.saturating_add(1)),
        };
    }
    others.retain(|record| record.version != next.version);
    next.surplus = others.split_off(others.len().min(KEPT - 1));
    // As with Helm, no failure makes people forget what is live.
    next.surplus
        .retain(|record| status == RecordStatus::Deployed || !record.says(RecordStatus::Deployed));
    // As with Helm, what was live before a failure is live after it.
    others.retain(|record| record.says(RecordStatus::Deployed) && status == RecordStatus::Deployed);
    next.superseded = others;
    Ok(next)
}

/// How a release has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseEnd {
    /// Its Sync was deleted, with all objects.
    Deleted,
    /// Its Sync has another release now, or none. What it had taken over from Helm stays.
    Left,
}

/// The records of a release that go with it: all, unless a Helm has gone on since.
pub fn records_that_go(known: &[HelmRecord], sync: &SyncName, end: ReleaseEnd) -> Vec<HelmRecord> {
    let was_helms = known.iter().any(|record| !record.is_of(sync));
    if end == ReleaseEnd::Left && was_helms {
        return Vec::new();
    }
    let newest = known.iter().filter(|record| record.is_of(sync));
    let newest = newest.map(|record| record.version).max();
    let known = known.iter();
    let gone = known.filter(|record| Some(record.version) <= newest);
    gone.cloned().collect()
}

/// A record too large for a Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its record has {} KiB, and a Secret holds {} KiB", bytes.div_ceil(1024), MAX_SECRET >> 10)]
pub struct RecordTooLarge {
    bytes: usize,
}

/// A release that is live, or has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRelease<'a> {
    /// Which of the two.
    pub status: RecordStatus,
    /// Its Sync.
    pub sync: &'a SyncName,
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Identifies its content.
    pub content: &'a str,
    /// The number of its record.
    pub version: u32,
    /// What `helm history` shows as its description.
    pub description: &'a str,
    /// When it was first installed, as an earlier record says.
    pub first_deployed: Option<&'a str>,
    /// The time, in RFC 3339 and in seconds.
    pub now: (&'a str, i64),
}

impl LiveRelease<'_> {
    /// The Secret of its record.
    ///
    /// # Errors
    /// [`RecordTooLarge`].
    pub fn secret(&self, body: ReleaseBody) -> Result<Value, RecordTooLarge> {
        let (now, seconds) = self.now;
        let ReleaseBody {
            metadata,
            values,
            config,
            manifest,
            hooks,
            notes,
        } = body;
        // Without the field `apply_method`, so that a Helm 4 which gets the release back changes it as Helm 3 does: with
        // server-side apply, it would be refused each value that towline declared.
        let record = json!({
            "name": self.name,
            "namespace": self.namespace,
            "version": self.version,
            "info": {
                "first_deployed": self.first_deployed.unwrap_or(now),
                "last_deployed": now,
                "deleted": "",
                "description": self.description,
                "status": self.status.as_str(),
                "notes": notes,
            },
            // Helm reads neither templates nor other files of a chart from a record, and they would be the most of it.
            "chart": {
                "metadata": metadata, "values": values,
                "lock": null, "templates": [], "schema": null, "files": [],
            },
            "config": config,
            "manifest": manifest,
            "hooks": hooks,
        });
        let value = packed(&record).unwrap_or_default();
        if value.len() > MAX_SECRET {
            return Err(RecordTooLarge { bytes: value.len() });
        }
        let key = record_key(self.namespace, self.name, self.version);
        Ok(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
            "metadata": {
                "name": *key.name,
                "namespace": self.namespace,
                "annotations": {RECORD: mark(self.sync, self.content)},
                "labels": {
                    "name": self.name, "owner": "helm", "status": self.status.as_str(),
                    "version": self.version.to_string(), "createdAt": seconds.to_string(),
                },
            },
            "data": {"release": BASE64_STANDARD.encode(value)},
        }))
    }
}

/// A record as the value of its Secret.
fn packed(record: &Value) -> io::Result<String> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    serde_json::to_writer(&mut packer, record)?;
    Ok(BASE64_STANDARD.encode(packer.finish()?))
}

/// A record from its Secret; none where it cannot be read.
/// What a record holds. Anybody who may write Secrets of the namespace can write one, and what is small in it can take a thousand
/// times as much: what takes more memory than a document of Git may is none.
fn unpacked(secret: &Value) -> Option<Value> {
    let value = secret.pointer("/data/release")?.as_str()?;
    let packed = BASE64_STANDARD.decode(value).ok()?;
    let bytes = BASE64_STANDARD.decode(packed).ok()?;
    let mut json = Vec::new();
    let packed = GzDecoder::new(&*bytes).take(MAX_JSON);
    { packed }.read_to_end(&mut json).ok()?;
    let documents = manifest::documents(&json).ok()?;
    Some(documents.into_iter().next()?.value)
}

/// When the release of a record was first installed.
pub fn first_deployed(secret: &Value) -> Option<String> {
    let record = unpacked(secret)?;
    let first = record.pointer("/info/first_deployed")?.as_str()?;
    (!first.is_empty()).then(|| first.to_owned())
}

/// The most objects that a description names.
const MAX_NAMED: usize = 5;

/// What is said of a release of Helm that is taken over, whose record is `secret`: which objects of `manifest` are not those
/// that Helm has applied. None where the record cannot be read.
pub fn taken_over(secret: &Value, manifest: &str, namespace: &str) -> Option<String> {
    let record = unpacked(secret)?;
    let version = record.get("version")?.as_u64()?;
    let before = objects(record.get("manifest")?.as_str()?, namespace)?;
    let after = objects(manifest, namespace)?;
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = names.into_iter().filter_map(|name| {
        let what = match (before.get(name), after.get(name)) {
            (Some(before), Some(after)) if before == after => return None,
            (Some(_), Some(_)) => "changed",
            (None, _) => "new",
            (Some(_), None) => "not in Git",
        };
        Some(format!("{name} ({what})"))
    });
    let differs: Vec<String> = differs.collect();
    let shown = differs.iter().take(MAX_NAMED).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join(", ");
    let more = match differs.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(match differs.is_empty() {
        true => format!("takes over revision {version} of Helm, and no object differs from it"),
        false => format!("takes over revision {version} of Helm; what differs: {shown}{more}"),
    })
}

/// The objects of a manifest by kind and name. A namespace that is the release's is left out.
fn objects(manifest: &str, namespace: &str) -> Option<BTreeMap<String, Value>> {
    let documents = manifest::documents(manifest.as_bytes()).ok()?;
    let mut all = BTreeMap::new();
    for mut object in documents.into_iter().map(|document| document.value) {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
            && metadata.get("namespace").and_then(Value::as_str) == Some(namespace)
        {
            metadata.remove("namespace");
        }
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let (Some(kind), Some(name)) = (text("/kind"), text("/metadata/name")) else {
            continue;
        };
        let place = text("/metadata/namespace").map(|place| format!("{place}/"));
        let key = format!("{kind} {}{name}", place.unwrap_or_default());
        all.insert(key, object);
    }
    Some(all)
}

/// The change of a record's Secret when another one is live. It is on condition that nobody has changed the Secret
/// since. `seconds`: the time. None where it is no record.
pub fn superseded(secret: &Value, seconds: i64) -> Option<Value> {
    let mut record = unpacked(secret)?;
    record.get_mut("info")?["status"] = "superseded".into();
    let metadata = secret.get("metadata")?;
    Some(json!({
        "metadata": {
            "uid": metadata.get("uid")?,
            "resourceVersion": metadata.get("resourceVersion")?,
            "labels": {
                "status": "superseded", "modifiedAt": seconds.to_string(), "createdAt": null,
            },
        },
        "data": {"release": BASE64_STANDARD.encode(packed(&record).ok()?)},
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
