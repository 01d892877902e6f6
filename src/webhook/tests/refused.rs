//! Deliveries that are not signed, or do not have a provider's format.

use http::HeaderMap;

use super::{SECRET, headers, signature, url};
use crate::webhook::*;

#[test]
fn what_is_not_signed_is_refused() {
    for pairs in [
        &[][..],
        &[("Content-Type", "application/json")],
        &[("X-Hub-Signature-256", "sha256=00")],
    ] {
        assert_eq!(Provider::of(&headers(pairs)), None, "{pairs:?}");
    }
    let hex = signature("");
    let (sha256, sha1) = (format!("sha256={hex}"), format!("sha1={}", &hex[..40]));
    for pairs in [
        &[("X-GitHub-Event", "push")][..],
        &[("X-GitHub-Event", "push"), ("X-Hub-Signature", &sha1)],
        &[("X-GitHub-Event", "push"), ("X-Hub-Signature-256", &hex)],
        &[("X-GitHub-Event", "push"), ("X-Gitlab-Token", SECRET)],
        &[
            ("X-GitHub-Event", "push"),
            ("X-Hub-Signature-256", &sha256),
            ("X-Hub-Signature-256", &sha256),
        ],
        &[("X-Gitlab-Event", "Push Hook")],
        &[("X-Gitea-Event", "push"), ("X-Gitea-Signature", &sha256)],
        &[("X-Event-Key", "repo:push")],
        &[("X-Event-Key", "repo:push"), ("X-Hub-Signature", &sha1)],
        &[
            ("X-Event-Key", "repo:refs_changed"),
            ("X-Hub-Signature", &hex),
        ],
        &[("Authorization", "Bearer abc")],
        &[("X-Towline-Signature", &hex)],
        &[("X-Towline-Signature", "")],
    ] {
        let headers = headers(pairs);
        let proof = Provider::of(&headers).unwrap().proof(&headers);
        assert_eq!(proof.err(), Some(Error::Unsigned), "{pairs:?}");
    }
}

#[test]
fn what_a_provider_does_not_send_is_refused() {
    let deep = format!(r#"{{"url": "https://h/p", "x": {}"#, "[".repeat(100_000));
    let long = format!(
        r#"{{"push": {{"changes": [{}{{}}]}}, "repository": {{"links": {{"html": {{"href": "https://h/p"}}}}}}}}"#,
        "{},".repeat(1000)
    );
    for (provider, event, body) in [
        (Provider::Generic, "", ""),
        (Provider::Generic, "", "null"),
        (Provider::Generic, "", "[]"),
        (Provider::Generic, "", "{}"),
        (Provider::Generic, "", r#"{"url": 1e999999999}"#),
        (Provider::Generic, "", r#"{"url": "https://h/p", "n": 1e}"#),
        (
            Provider::Generic,
            "",
            r#"{"url": "https://h/p", "url": "https://h/q"}"#,
        ),
        (
            Provider::Generic,
            "",
            r#"{"url": "https://h/p", "ref": "main"}"#,
        ),
        (
            Provider::Generic,
            "",
            r#"{"url": "https://h/p", "ref": ["refs/heads/main"]}"#,
        ),
        (Provider::Generic, "", r#"{"url": "nowhere"}"#),
        (Provider::Generic, "", r#"{"url": "https://h/p"} x"#),
        (Provider::Generic, "", "{\"url\": \"\\ud800\"}"),
        (Provider::Generic, "", &deep),
        (Provider::GitHub, "push", "{}"),
        (
            Provider::GitHub,
            "push",
            r#"{"ref": "refs/heads/main", "repository": {}}"#,
        ),
        (
            Provider::GitHub,
            "push",
            r#"{"ref": "main", "repository": {"clone_url": "https://h/p"}}"#,
        ),
        (
            Provider::GitHub,
            "push",
            r#"{"ref": 7, "repository": {"clone_url": "https://h/p"}}"#,
        ),
        (
            Provider::GitHub,
            "create",
            r#"{"ref": "a", "ref_type": "b", "repository": {"clone_url": "https://h/p"}}"#,
        ),
        (
            Provider::GitLab,
            "Push Hook",
            r#"{"ref": "refs/heads/main"}"#,
        ),
        (
            Provider::GitLab,
            "Push Hook",
            r#"{"ref": "refs/heads/main", "project": []}"#,
        ),
        (
            Provider::Bitbucket,
            "repo:push",
            r#"{"push": {"changes": {}}}"#,
        ),
        (Provider::Bitbucket, "repo:push", &long),
        (
            Provider::BitbucketServer,
            "repo:refs_changed",
            r#"{"changes": []}"#,
        ),
        (
            Provider::AzureDevOps,
            "",
            r#"{"eventType": "git.push", "resource": {"pushId": 1}}"#,
        ),
    ] {
        let headers = headers(&[
            ("X-GitHub-Event", event),
            ("X-Gitlab-Event", event),
            ("X-Event-Key", event),
        ]);
        let refused = provider.push(&headers, body.as_bytes());
        let shown = &body[..body.len().min(80)];
        assert!(matches!(refused, Err(Error::Malformed { .. })), "{shown}");
    }
}

/// Deep nesting and huge numbers in skipped fields are harmless.
#[test]
fn fields_that_are_not_read_do_not_matter() {
    let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let body = format!(r#"{{"x": {nested}, "n": 1e99999, "url": "https://h/p"}}"#);
    let push = Provider::Generic.push(&HeaderMap::new(), body.as_bytes());
    let push = push.unwrap().unwrap();
    assert!(push.is_of(&url("https://h/p")));
    assert_eq!(push.refs, Refs::Unknown);
}
