//! The documented deliveries of each provider, cut down to the relevant fields and one more.

mod hostile;
mod refused;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

use super::*;

const SECRET: &str = "It's a Secret to Everybody";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn signature(body: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    let tag = mac.chain_update(body).finalize().into_bytes();
    tag.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn url(text: &str) -> RepositoryUrl {
    RepositoryUrl::parse(text).unwrap()
}

/// One provider's delivery, the expected push, and the secret of its proof.
struct Case {
    provider: Provider,
    /// `{hex}`, `{token}` and `{basic}` are replaced with the proof.
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    /// Two forms of the repository's URL. None if the delivery is not a push.
    is_of: Option<[&'static str; 2]>,
    /// Empty for a pull request.
    refs: &'static [&'static str],
    default_branch: Option<&'static str>,
}

const GITHUB: &str = r#"{"ref": "refs/heads/main", "before": "6113728", "after": "0000000", "forced": true,
    "repository": {"id": 1, "full_name": "Octo/Hello-World", "private": false,
        "html_url": "https://github.com/Octo/Hello-World", "git_url": "git://github.com/Octo/Hello-World.git",
        "ssh_url": "git@github.com:Octo/Hello-World.git", "clone_url": "https://github.com/Octo/Hello-World.git",
        "default_branch": "trunk"},
    "pusher": {"name": "octo", "email": null}, "commits": [{"id": "0000000", "added": ["a"]}]}"#;

const GITLAB: &str = r#"{"object_kind": "push", "event_name": "push", "ref": "refs/heads/main", "checkout_sha": null,
    "project": {"id": 15, "name": "Diaspora", "web_url": "https://gitlab.example/mike/diaspora",
        "git_ssh_url": "git@gitlab.example:mike/diaspora.git", "git_http_url": "https://gitlab.example/mike/diaspora.git",
        "default_branch": "main", "ci_config_path": null},
    "commits": [], "total_commits_count": 4}"#;

const GITLAB_REQUEST: &str = r#"{"object_kind": "merge_request", "event_type": "merge_request", "user": {"id": 1},
    "project": {"id": 15, "web_url": "https://gitlab.example/mike/diaspora",
        "git_ssh_url": "git@gitlab.example:mike/diaspora.git", "git_http_url": "https://gitlab.example/mike/diaspora.git",
        "default_branch": "main"},
    "object_attributes": {"iid": 1, "action": "open", "source": {"git_http_url": "https://gitlab.example/guest/diaspora.git"}}}"#;

const GITEA: &str = r#"{"ref": "refs/heads/develop", "before": "28e1879", "after": "bffeb74",
    "repository": {"id": 140, "owner": {"id": 1, "login": "gitea"}, "name": "webhooks",
        "html_url": "https://gitea.example:3000/gitea/webhooks", "ssh_url": "ssh://git@gitea.example:2222/gitea/webhooks.git",
        "clone_url": "https://gitea.example:3000/gitea/webhooks.git", "default_branch": "master"},
    "pusher": {"id": 1}}"#;

const BITBUCKET: &str = r#"{"push": {"changes": [
        {"forced": false, "new": {"type": "branch", "name": "main", "target": {"type": "commit", "hash": "709d658"}},
         "old": {"type": "branch", "name": "main"}},
        {"new": {"type": "tag", "name": "v1"}, "old": null}, {"new": null, "old": {"type": "branch", "name": "gone"}}]},
    "repository": {"type": "repository", "full_name": "team/shop", "scm": "git",
        "links": {"self": {"href": "https://api.bitbucket.org/2.0/repositories/team/shop"},
            "html": {"href": "https://bitbucket.org/team/shop"}}}}"#;

const BITBUCKET_SERVER: &str = r#"{"eventKey": "repo:refs_changed", "date": "2017-09-19T09:45:32+1000",
    "repository": {"slug": "shop", "id": 84, "scmId": "git", "project": {"key": "PROJ", "id": 84, "type": "NORMAL"},
        "links": {"clone": [{"href": "ssh://git@bb.example:7999/proj/shop.git", "name": "ssh"},
                {"href": "https://bb.example/scm/proj/shop.git", "name": "http"}],
            "self": [{"href": "https://bb.example/projects/PROJ/repos/shop/browse"}]}},
    "changes": [{"ref": {"id": "refs/heads/master", "displayId": "master", "type": "BRANCH"},
        "refId": "refs/heads/master", "fromHash": "ecddabb", "toHash": "178864a", "type": "UPDATE"}]}"#;

const BITBUCKET_SERVER_OLD: &str = r#"{"eventKey": "repo:refs_changed",
    "repository": {"slug": "shop", "project": {"key": "PROJ"}},
    "changes": [{"ref": {"id": "refs/tags/v1"}, "type": "ADD"}]}"#;

const AZURE: &str = r#"{"id": "03c164c2", "eventType": "git.push", "publisherId": "tfs",
    "resource": {"commits": [{"commitId": "33b5539"}],
        "refUpdates": [{"name": "refs/heads/main", "oldObjectId": "aad331d", "newObjectId": "33b5539"}],
        "repository": {"id": "278d5cd", "name": "shop", "url": "https://dev.azure.com/org/_apis/git/repositories/278d5cd",
            "project": {"id": "6ce954b", "name": "project"}, "defaultBranch": "refs/heads/main",
            "remoteUrl": "https://dev.azure.com/org/project/_git/shop"}, "pushId": 14}}"#;

const GENERIC: &str =
    r#"{"url": "git@git.example:team/shop.git", "ref": "refs/tags/v1", "by": "ci"}"#;

const CASES: [Case; 18] = [
    Case {
        provider: Provider::GitHub,
        headers: &[
            ("X-GitHub-Event", "push"),
            ("X-GitHub-Delivery", "72d3162e"),
            (
                "X-Hub-Signature",
                "sha1=7d38cdd689735b008b3c702edd92eea23791c5f6",
            ),
            ("X-Hub-Signature-256", "sha256={hex}"),
        ],
        body: GITHUB,
        is_of: Some([
            "https://github.com/octo/hello-world",
            "ssh://git@ssh.github.com:443/Octo/Hello-World.git",
        ]),
        refs: &["refs/heads/main"],
        default_branch: Some("trunk"),
    },
    Case {
        provider: Provider::GitHub,
        headers: &[
            ("X-GitHub-Event", "delete"),
            ("X-Hub-Signature-256", "sha256={hex}"),
        ],
        body: r#"{"ref": "v1.0", "ref_type": "tag", "repository": {"clone_url": "https://github.com/o/h.git"}}"#,
        is_of: Some(["https://github.com/o/h", "git@github.com:o/h"]),
        refs: &["refs/tags/v1.0"],
        default_branch: None,
    },
    Case {
        provider: Provider::GitHub,
        headers: &[
            ("X-GitHub-Event", "ping"),
            ("X-Hub-Signature-256", "sha256={hex}"),
        ],
        body: r#"{"zen": "Keep it logically awesome.", "hook_id": 1}"#,
        is_of: None,
        refs: &[],
        default_branch: None,
    },
    Case {
        provider: Provider::GitLab,
        headers: &[
            ("X-Gitlab-Event", "Push Hook"),
            ("X-Gitlab-Token", "{token}"),
            ("X-Gitlab-Instance", "https://gitlab.example"),
        ],
        body: GITLAB,
        is_of: Some([
            "https://gitlab.example/mike/diaspora.git",
            "git@gitlab.example:mike/diaspora.git",
        ]),
        refs: &["refs/heads/main"],
        default_branch: Some("main"),
    },
    Case {
        provider: Provider::GitLab,
        headers: &[
            ("X-Gitlab-Event", "System Hook"),
            ("X-Gitlab-Token", "{token}"),
        ],
        body: r#"{"event_name": "tag_push", "ref": "refs/tags/v1", "project": {"web_url": "https://gitlab.example/a/b"}}"#,
        is_of: Some(["https://gitlab.example/a/b", "git@gitlab.example:a/b"]),
        refs: &["refs/tags/v1"],
        default_branch: None,
    },
    Case {
        provider: Provider::GitLab,
        headers: &[
            ("X-Gitlab-Event", "System Hook"),
            ("X-Gitlab-Token", "{token}"),
        ],
        body: r#"{"event_name": "user_create", "email": "a@b.example"}"#,
        is_of: None,
        refs: &[],
        default_branch: None,
    },
    Case {
        provider: Provider::GitLab,
        headers: &[
            ("X-Gitlab-Event", "Merge Request Hook"),
            ("X-Gitlab-Token", "{token}"),
        ],
        body: GITLAB_REQUEST,
        is_of: Some([
            "https://gitlab.example/mike/diaspora.git",
            "git@gitlab.example:mike/diaspora.git",
        ]),
        refs: &[],
        default_branch: Some("main"),
    },
    Case {
        provider: Provider::GitLab,
        headers: &[
            ("X-Gitlab-Event", "System Hook"),
            ("X-Gitlab-Token", "{token}"),
        ],
        body: GITLAB_REQUEST,
        is_of: Some([
            "https://gitlab.example/mike/diaspora.git",
            "git@gitlab.example:mike/diaspora.git",
        ]),
        refs: &[],
        default_branch: Some("main"),
    },
    Case {
        provider: Provider::GitHub,
        headers: &[
            ("X-GitHub-Event", "pull_request"),
            ("X-Hub-Signature-256", "sha256={hex}"),
        ],
        body: r#"{"action": "opened", "number": 2, "pull_request": {"head": {"ref": "changes", "repo": {
            "clone_url": "https://github.com/guest/h.git"}}, "base": {"ref": "main"}},
            "repository": {"clone_url": "https://github.com/o/h.git", "default_branch": "main"}}"#,
        is_of: Some(["https://github.com/o/h", "git@github.com:o/h"]),
        refs: &[],
        default_branch: Some("main"),
    },
    Case {
        provider: Provider::Gitea,
        headers: &[
            ("X-Gitea-Event", "pull_request"),
            ("X-Gitea-Event-Type", "pull_request_sync"),
            ("X-Gitea-Signature", "{hex}"),
        ],
        body: r#"{"action": "synchronized", "number": 2, "pull_request": {"id": 1, "labels": []},
            "repository": {"clone_url": "https://codeberg.org/a/b.git"}}"#,
        is_of: Some(["https://codeberg.org/a/b", "git@codeberg.org:a/b"]),
        refs: &[],
        default_branch: None,
    },
    Case {
        provider: Provider::Gitea,
        headers: &[
            ("X-GitHub-Event", "push"),
            ("X-Gitea-Event", "push"),
            ("X-Gogs-Event", "push"),
            ("X-Gitea-Signature", "{hex}"),
            ("X-Hub-Signature-256", "sha256={hex}"),
        ],
        body: GITEA,
        is_of: Some([
            "https://gitea.example:3000/gitea/webhooks",
            "git@gitea.example:gitea/webhooks.git",
        ]),
        refs: &["refs/heads/develop"],
        default_branch: Some("master"),
    },
    Case {
        provider: Provider::Gitea,
        headers: &[
            ("X-Forgejo-Event", "create"),
            ("X-Gitea-Event", "create"),
            ("X-GitHub-Event", "create"),
            ("X-Forgejo-Signature", "{hex}"),
            ("X-Gitea-Signature", "{hex}"),
        ],
        body: r#"{"ref": "v2", "ref_type": "tag", "repository": {"clone_url": "https://codeberg.org/a/b.git"}}"#,
        is_of: Some(["https://codeberg.org/a/b", "git@codeberg.org:a/b"]),
        refs: &["refs/tags/v2"],
        default_branch: None,
    },
    Case {
        provider: Provider::Bitbucket,
        headers: &[
            ("X-Event-Key", "repo:push"),
            ("X-Hook-UUID", "f3a1"),
            ("X-Hub-Signature", "sha256={hex}"),
        ],
        body: BITBUCKET,
        is_of: Some([
            "https://bitbucket.org/team/shop.git",
            "git@bitbucket.org:team/shop.git",
        ]),
        refs: &[
            "refs/heads/main",
            "refs/heads/main",
            "refs/tags/v1",
            "refs/heads/gone",
        ],
        default_branch: None,
    },
    Case {
        provider: Provider::BitbucketServer,
        headers: &[
            ("X-Event-Key", "repo:refs_changed"),
            ("X-Request-Id", "e3dd"),
            ("X-Hub-Signature", "sha256={hex}"),
        ],
        body: BITBUCKET_SERVER,
        is_of: Some([
            "https://bb.example/scm/PROJ/shop.git",
            "ssh://git@bb.example:7999/proj/shop.git",
        ]),
        refs: &["refs/heads/master"],
        default_branch: None,
    },
    Case {
        provider: Provider::BitbucketServer,
        headers: &[
            ("X-Event-Key", "repo:refs_changed"),
            ("X-Hub-Signature", "sha256={hex}"),
        ],
        body: BITBUCKET_SERVER_OLD,
        is_of: Some([
            "https://bb.example/bitbucket/scm/proj/shop.git",
            "ssh://git@other.example:7999/proj/shop.git",
        ]),
        refs: &["refs/tags/v1"],
        default_branch: None,
    },
    Case {
        provider: Provider::BitbucketServer,
        headers: &[
            ("X-Event-Key", "diagnostics:ping"),
            ("X-Hub-Signature", "sha256={hex}"),
        ],
        body: r#"{"test": true}"#,
        is_of: None,
        refs: &[],
        default_branch: None,
    },
    Case {
        provider: Provider::AzureDevOps,
        headers: &[("Authorization", "Basic {basic}")],
        body: AZURE,
        is_of: Some([
            "https://org@dev.azure.com/org/project/_git/shop",
            "git@ssh.dev.azure.com:v3/org/project/shop",
        ]),
        refs: &["refs/heads/main"],
        default_branch: Some("main"),
    },
    Case {
        provider: Provider::Generic,
        headers: &[("X-Towline-Signature", "sha256={hex}")],
        body: GENERIC,
        is_of: Some([
            "https://git.example/team/shop",
            "ssh://git@git.example:22/team/shop.git",
        ]),
        refs: &["refs/tags/v1"],
        default_branch: None,
    },
];

/// The headers of a case, with a proof by a secret.
fn of(case: &Case, secret: &str, body: &str) -> HeaderMap {
    let basic = BASE64_STANDARD.encode(format!("azure:{secret}"));
    let pairs: Vec<_> = case
        .headers
        .iter()
        .map(|(name, value)| {
            let value = value.replace("{hex}", &signature(body));
            (
                *name,
                value.replace("{token}", secret).replace("{basic}", &basic),
            )
        })
        .collect();
    let pairs: Vec<_> = pairs.iter().map(|(n, v)| (*n, v.as_str())).collect();
    headers(&pairs)
}

#[test]
fn every_provider_is_known_proven_and_read() {
    let (right, wrong) = (SECRET.as_bytes(), &SECRET.as_bytes()[1..]);
    for case in &CASES {
        let headers = of(case, SECRET, case.body);
        let provider = Provider::of(&headers).unwrap();
        assert_eq!(provider, case.provider, "{:?}", case.headers);
        let proof = provider.proof(&headers).unwrap();
        assert!(proof.is_of(&Secret::new(right).unwrap(), case.body.as_bytes()));
        assert!(!proof.is_of(&Secret::new(wrong).unwrap(), case.body.as_bytes()));
        let changed = case.body.replace('}', "} ");
        let still = proof.is_of(&Secret::new(right).unwrap(), changed.as_bytes());
        assert_eq!(still, !proof.is_of_body(), "{:?}", case.headers);

        let push = provider.push(&headers, case.body.as_bytes()).unwrap();
        let Some(names) = case.is_of else {
            assert_eq!(push, None, "{:?}", case.headers);
            continue;
        };
        let push = push.unwrap();
        for name in names {
            assert!(push.is_of(&url(name)), "{name}: {push:?}");
        }
        assert!(!push.is_of(&url("https://git.example/some/other")));
        let refs = case.refs.iter().map(|name| (*name).to_owned()).collect();
        let refs = match case.refs {
            [] => Refs::OfRequest,
            _ => Refs::Named(refs),
        };
        assert_eq!(push.refs, refs);
        assert_eq!(push.default_branch.as_deref(), case.default_branch);
    }
}

#[test]
fn a_form_is_read_as_its_payload() {
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair("payload", GITHUB)
        .finish();
    let headers = headers(&[
        ("X-GitHub-Event", "push"),
        (
            "Content-Type",
            "Application/x-www-form-urlencoded; charset=utf-8",
        ),
    ]);
    let push = Provider::GitHub.push(&headers, body.as_bytes()).unwrap();
    assert!(
        push.unwrap()
            .is_of(&url("https://github.com/Octo/Hello-World"))
    );
    let none = Provider::GitHub.push(&headers, b"other=1");
    assert!(matches!(none, Err(Error::Malformed { .. })));
}
