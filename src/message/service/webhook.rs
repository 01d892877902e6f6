//! Webhooks of one's own, CloudEvents, and annotations of Grafana.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::chat::unmarked;
use super::{Destination, Message, Request, json};

/// The body of a generic webhook: that of Flux's events, and beside it all fields that templates have.
fn body(message: &Message) -> Value {
    let first = message.notices.first();
    let mut metadata = json!(message.metadata);
    if let (Some(metadata), Some(revision)) = (metadata.as_object_mut(), &message.revision) {
        metadata.insert("revision".to_owned(), json!(revision));
    }
    json!({
        "involvedObject": first.map(|line| json!({
            "apiVersion": "towline.dev/v1alpha1",
            "kind": line.kind,
            "namespace": line.namespace,
            "name": line.name,
        })),
        "severity": message.severity,
        "timestamp": message.at.to_string(),
        "message": message.text,
        "reason": message.reason,
        "metadata": metadata,
        "reportingController": "towline",
        "id": message.id,
        "state": message.state,
        "title": message.title,
        "alert": message.alert,
        "reasonPage": message.reason_page,
        "wayOut": message.way_out,
        "since": message.since.to_string(),
        "at": message.at.to_string(),
        "revision": message.revision,
        "commit": message.commit,
        "shortCommit": message.short_commit,
        "commitUrl": message.commit_url,
        "author": message.author,
        "subject": message.subject,
        "total": message.total,
        "more": message.more,
        "resources": message.resources,
        "ended": message.ended,
        "notices": message.notices,
    })
}

/// A webhook of one's own. The receiver knows a message that is sent again by `X-Towline-Id`.
pub(super) fn generic(message: &Message, to: &Destination) -> Request {
    let mut request = json(to.address.url(), to, &body(message));
    let id = ("x-towline-id".to_owned(), message.id.clone());
    request.headers.push(id);
    request
}

/// The same with a signature in the header of Flux: `X-Signature: sha256=…`, the HMAC of the body.
pub(super) fn signed(message: &Message, to: &Destination) -> Request {
    let mut request = generic(message, to);
    // HMAC takes a key of any length.
    if let Ok(mac) = Hmac::<Sha256>::new_from_slice(to.token().as_bytes()) {
        let tag = mac.chain_update(&request.body).finalize().into_bytes();
        let signature = format!("sha256={}", hex::encode(tag));
        request.headers.push(("x-signature".to_owned(), signature));
    }
    request
}

/// `CloudEvents` 1.0 in structured mode (HTTP protocol binding, section 3.2).
pub(super) fn cloud_event(message: &Message, to: &Destination) -> Request {
    let event = json!({
        "specversion": "1.0",
        "id": message.id,
        "source": format!("/towline/alerts/{}", message.alert),
        "type": format!("dev.towline.{}", message.reason.to_lowercase()),
        "subject": message.notices.first().map(|line| {
            format!("{}/{}/{}", line.kind, line.namespace, line.name)
        }),
        "time": message.at.to_string(),
        "datacontenttype": "application/json",
        "data": body(message),
    });
    let mut request = json(to.address.url(), to, &event);
    request.headers[0].1 = "application/cloudevents+json; charset=utf-8".to_owned();
    request
}

/// An annotation of Grafana (HTTP API, Annotations, "Create annotation"). Grafana shows its text as HTML.
pub(super) fn annotation(message: &Message, to: &Destination) -> Request {
    let first = message.notices.first();
    let mut tags = vec![
        "towline".to_owned(),
        format!("reason: {}", message.reason),
        format!("severity: {}", message.severity),
    ];
    if let Some(line) = first {
        tags.push(format!("kind: {}", line.kind));
        tags.push(format!("namespace: {}", line.namespace));
        tags.push(format!("name: {}", line.name));
    }
    let more = message.metadata.iter();
    tags.extend(more.map(|(key, value)| format!("{key}: {value}")));
    let annotation = json!({
        "time": message.at.as_millisecond(),
        "tags": tags,
        "text": unmarked(&format!("{}\n{}", message.title, message.text)),
    });
    json(to.address.with_path("/api/annotations"), to, &annotation)
}
