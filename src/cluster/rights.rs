//! Whether an account may write an object, by the API server's word: a Sync keeps no object from others that its account
//! may not write.

use http::{Request, header};
use serde_json::{Value, json};

use super::write::read;
use super::{Acting, ServedKind};
use crate::manifest::{GroupKind, ObjectKey};

/// Where an account reviews its own rights. Everybody who is authenticated may.
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// What an apply needs.
const VERB: &str = "patch";

impl Acting<'_> {
    /// Whether the actor may apply objects of a kind in a namespace: all of them, or the one of this name. What the API
    /// server does not answer counts as yes, for it refuses the apply itself.
    pub async fn may_apply(
        &self,
        served: &ServedKind,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> bool {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "group": served.resource.group, "resource": served.resource.plural,
                "namespace": namespace, "name": name, "verb": VERB,
            }},
        });
        let key = ObjectKey {
            kind: GroupKind::new("authorization.k8s.io", "SelfSubjectAccessReview"),
            namespace: None,
            name: served.resource.plural.as_str().into(),
        };
        let writer = self.writer();
        let answer = writer.send(&key, &[], || {
            Request::post(REVIEWS)
                .header(header::CONTENT_TYPE, "application/json")
                .body(review.to_string().into_bytes())
        });
        let Ok(answer) = answer.await else {
            return true;
        };
        let answer: Result<Value, _> = read(&answer.text);
        let allowed = answer
            .ok()
            .and_then(|answer| answer["status"]["allowed"].as_bool());
        allowed.unwrap_or(true)
    }
}
