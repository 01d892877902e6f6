//! The API server's audit log: which user sent which request, and when.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

/// Logs the metadata of every request when the server answers it. A watch is logged when it begins, too.
pub const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
";

/// One request.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`
    pub verb: String,
    pub user: String,
    /// The user that the request impersonates, if any.
    pub impersonated: Option<String>,
    pub user_agent: String,
    pub uri: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// The HTTP status.
    pub code: u16,
    pub received: Timestamp,
    /// When the server answered the request. None while a watch runs.
    pub completed: Option<Timestamp>,
}

impl Entry {
    /// Whether the request changes something.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// A position in the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark(u64);

/// An audit log file, which may still grow.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The end of the log as it is now.
    pub fn mark(&self) -> Mark {
        Mark(std::fs::metadata(&self.path).map_or(0, |file| file.len()))
    }

    /// The requests written since `mark`, in the order of their first line. A request's line may appear a
    /// moment after its answer; [`super::control_plane::ControlPlane::audit_since`] waits for it.
    pub fn since(&self, mark: Mark) -> Vec<Entry> {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(&self.path) {
            let start = mark.0.saturating_sub(1);
            file.seek(SeekFrom::Start(start))
                .expect("seek in the audit log");
            file.read_to_end(&mut bytes).expect("read the audit log");
        }
        let text = String::from_utf8_lossy(&bytes);
        // The mark may stand inside of a line that the server was writing then.
        let begin = match mark.0 {
            0 => Some(0),
            _ => text.find('\n').map(|end| end + 1),
        };
        let text = begin.map_or("", |begin| &text[begin..]);
        // The last line may be incomplete: the server may still be writing it.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut places = HashMap::new();
        let mut entries: Vec<Entry> = Vec::new();
        for line in whole.lines() {
            let event: Event = serde_json::from_str(line).expect("parse an audit line");
            let place = *places
                .entry(event.audit_id.clone())
                .or_insert(entries.len());
            let entry = Entry::from(event);
            match entries.get_mut(place) {
                Some(earlier) => *earlier = entry,
                None => entries.push(entry),
            }
        }
        entries
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: Identity,
    impersonated_user: Option<Identity>,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    response_status: Option<Status>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct Identity {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

impl From<Event> for Entry {
    fn from(event: Event) -> Self {
        let complete = event.stage != "ResponseStarted";
        Self {
            verb: event.verb,
            user: event.user.username,
            impersonated: event.impersonated_user.map(|user| user.username),
            user_agent: event.user_agent,
            uri: event.request_uri,
            group: event.object_ref.api_group,
            resource: event.object_ref.resource,
            subresource: event.object_ref.subresource,
            namespace: event.object_ref.namespace,
            name: event.object_ref.name,
            code: event.response_status.map_or(0, |status| status.code),
            received: event.request_received_timestamp,
            completed: complete.then_some(event.stage_timestamp),
        }
    }
}
