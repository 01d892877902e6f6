//! The wire format: OTLP over HTTP with JSON, <https://opentelemetry.io/docs/specs/otlp/>. Ids are hexadecimal, times are
//! decimal nanoseconds in a string, and enumerations are numbers.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::{Span, Trace, Value};
use crate::message::{Answer, pause};
use crate::text::{shorten, visible};

/// `SPAN_KIND_INTERNAL` and `STATUS_CODE_ERROR`.
const INTERNAL: u8 = 1;
const ERROR: u8 = 2;

/// The longest words of a receiver that are repeated, in bytes.
const LONGEST_WORDS: usize = 300;

/// The text of the spans of a trace, with commas between them.
pub fn written(trace: &Trace) -> String {
    let id = hex::encode(trace.id);
    let spans = trace.spans.iter().map(|one| span(&id, one).to_string());
    spans.collect::<Vec<_>>().join(",")
}

fn span(trace: &str, span: &Span) -> Json {
    let mut written = json!({
        "traceId": trace,
        "spanId": hex::encode(span.id),
        "name": span.name,
        "kind": INTERNAL,
        "startTimeUnixNano": nanoseconds(span.period.began),
        "endTimeUnixNano": nanoseconds(span.period.ended),
    });
    if let Some(parent) = span.parent {
        written["parentSpanId"] = hex::encode(parent).into();
    }
    if !span.attributes.is_empty() {
        let all = span.attributes.iter();
        written["attributes"] = all.map(|(name, value)| attribute(name, value)).collect();
    }
    if let Some(message) = &span.error {
        written["status"] = json!({"code": ERROR, "message": message});
    }
    written
}

fn nanoseconds(at: Timestamp) -> String {
    at.as_nanosecond().max(0).to_string()
}

fn attribute(name: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({"stringValue": text}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
    };
    json!({"key": name, "value": value})
}

/// The begin of each body: who tells the traces.
pub fn head<'a>(resource: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let attributes = resource.into_iter();
    let attributes = attributes.map(|(name, value)| attribute(name, &Value::Text(value.into())));
    let resource = json!({"attributes": attributes.collect::<Json>()});
    let scope = json!({"name": "towline", "version": env!("CARGO_PKG_VERSION")});
    format!(
        r#"{{"resourceSpans":[{{"resource":{resource},"scopeSpans":[{{"scope":{scope},"spans":["#
    )
}

/// The body of a request with these traces, each as [`written`] gives it.
pub fn body<'a>(head: &str, traces: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let traces = traces.collect::<Vec<_>>().join(",");
    format!("{head}{traces}]}}]}}]}}").into_bytes()
}

/// What a receiver says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It has the spans, but for some that it does not take.
    Taken {
        /// How many it does not take.
        rejected: usize,
        /// Its words about that.
        why: String,
    },
    /// It never takes them.
    Refused(String),
    /// It may take them later, and not before this pause is over.
    Later(String, Option<Duration>),
}

/// Judges an answer. The specification names the four statuses after which the same spans are sent again.
pub fn judge(answer: &Answer, now: Timestamp) -> Reply {
    let status = answer.status;
    match status {
        200..=299 => partial(&answer.body),
        429 | 502 | 503 | 504 => Reply::Later(
            format!("it takes no spans now (HTTP status {status})"),
            answer
                .retry_after
                .as_deref()
                .and_then(|text| pause(text, now)),
        ),
        300..=399 => Reply::Refused(format!(
            "it redirects (HTTP status {status}), and redirects are not followed"
        )),
        401 | 403 => Reply::Refused(format!(
            "it refuses the credentials (HTTP status {status}): correct the headers"
        )),
        404 | 405 => Reply::Refused(format!(
            "it takes no traces at this address (HTTP status {status}): correct the endpoint, to which /v1/traces is \
             appended"
        )),
        _ => Reply::Refused(format!(
            "it refuses the spans (HTTP status {status}){}",
            said(&answer.body)
        )),
    }
}

/// The field `message` of an answer, which says what was wrong.
fn said(body: &str) -> String {
    let body: Option<Json> = serde_json::from_str(body).ok();
    let message = body.as_ref().and_then(|body| body["message"].as_str());
    message.map_or_else(String::new, |message| format!(": {}", words(message)))
}

fn words(text: &str) -> String {
    shorten(&visible(text), LONGEST_WORDS)
}

/// A receiver may take some of the spans only. An answer that cannot be read says nothing against them.
fn partial(body: &str) -> Reply {
    let body: Json = serde_json::from_str(body).unwrap_or_default();
    let partial = &body["partialSuccess"];
    let rejected = &partial["rejectedSpans"];
    // 64 bits are a string in the JSON of protobuf.
    let rejected = rejected
        .as_u64()
        .or_else(|| rejected.as_str()?.parse().ok());
    Reply::Taken {
        rejected: rejected
            .unwrap_or_default()
            .try_into()
            .unwrap_or(usize::MAX),
        why: words(partial["errorMessage"].as_str().unwrap_or_default()),
    }
}
