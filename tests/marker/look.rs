//! The places where a secret could be disclosed, and the forms that it could have.

use std::fs;
use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::api::ListParams;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use towline::api::{GitRepository, Sync};

use super::MARKER;
use crate::world::Case;
use towline_testing::sshd::COMMENT;

pub fn base64(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

/// The forms of a text: as it is, in base64 at every offset, in hexadecimal, and as a list of bytes.
fn forms(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_ascii_lowercase()];
    for before in 0..3 {
        let whole = base64(&format!("{}{text}", "x".repeat(before)));
        // The first and the last characters depend on the neighbouring text.
        forms.push(whole[4..whole.len() - 4].to_owned());
    }
    let bytes = text.bytes();
    forms.push(bytes.clone().map(|byte| format!("{byte:02x}")).collect());
    let list: Vec<String> = bytes.map(|byte| byte.to_string()).collect();
    forms.push(list.join(", "));
    forms
}

/// Panics with the place if a secret is disclosed.
pub async fn everywhere(case: &Case<'_>, answers: &[String]) {
    let operator = &case.world.operator;
    let mut places = vec![
        ("the log".to_owned(), operator.log()),
        ("events".to_owned(), all::<Event>(case).await),
        ("repositories".to_owned(), all::<GitRepository>(case).await),
        ("Syncs".to_owned(), all::<Sync>(case).await),
        ("ConfigMaps".to_owned(), all::<ConfigMap>(case).await),
        ("answers to webhooks".to_owned(), answers.concat()),
    ];
    for page in ["/metrics", "/healthz", "/readyz", "/"] {
        let text = operator.page(page).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 "), "{text}");
        places.push((page.to_owned(), text));
    }
    let folder = operator.cache_folder();
    let before = places.len();
    files(&folder, &mut places);
    assert!(places.len() > before, "no files in {}", folder.display());
    // If the log were empty, the search would prove nothing.
    assert!(places[0].1.contains("TRACE"), "the log has no TRACE lines");
    let secrets: Vec<String> = [MARKER, COMMENT].into_iter().flat_map(forms).collect();
    let mut found = Vec::new();
    for (place, text) in &places {
        for line in text.lines() {
            let lower = line.to_ascii_lowercase();
            // Base64 depends on case. All other forms are in lower case.
            let told = |form: &&String| line.contains(&**form) || lower.contains(&**form);
            if let Some(form) = secrets.iter().find(told) {
                found.push(format!("{form} in {place}: {line:.1000}"));
            }
        }
    }
    let first = found.iter().take(30).cloned().collect::<Vec<_>>();
    assert!(
        found.is_empty(),
        "{} times: {}",
        found.len(),
        first.join("\n")
    );
}

/// All objects of a kind, without their specs: a user wrote the specs.
async fn all<K>(case: &Case<'_>) -> String
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let api: Api<K> = Api::all(case.client.clone());
    let objects = api.list(&ListParams::default()).await.unwrap();
    let mut objects: Vec<Value> = objects
        .iter()
        .map(|object| serde_json::to_value(object).unwrap())
        .collect();
    for object in &mut objects {
        object.as_object_mut().unwrap().remove("spec");
    }
    serde_json::to_string_pretty(&objects).unwrap()
}

/// Paths and contents of all files.
fn files(folder: &Path, places: &mut Vec<(String, String)>) {
    // A temporary folder of a fetch may have been removed.
    let entries = fs::read_dir(folder).into_iter().flatten();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, places);
        } else {
            // A lock file or a temporary pack may have been removed.
            let bytes = fs::read(&path).unwrap_or_default();
            let text = format!("{}\n{}", path.display(), String::from_utf8_lossy(&bytes));
            places.push((path.display().to_string(), text));
        }
    }
}
