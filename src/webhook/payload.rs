//! The few fields of each provider's payload that say which refs of which repository moved, or that its pull
//! requests changed. Unknown
//! fields are skipped. A known field of another type is an error.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use http::HeaderValue;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

use super::{Error, Name, Push, Refs, RepositoryUrl};

/// How many refs of one push are read. The next poll finds the others.
const MAX_REFS: usize = 1000;

type Parsed = Result<Option<Push>, Error>;

/// The JSON of a body. GitHub and Gitea can also send it in the field `payload` of a form.
pub(super) fn unwrapped<'a>(kind: Option<&HeaderValue>, body: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    const FORM: &[u8] = b"application/x-www-form-urlencoded";
    let kind = kind?.as_bytes().get(..FORM.len())?;
    if !kind.eq_ignore_ascii_case(FORM) {
        return None;
    }
    let (_, payload) = form_urlencoded::parse(body).find(|(name, _)| name == "payload")?;
    Some(match payload {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    })
}

#[derive(Deserialize)]
struct Generic {
    url: String,
    #[serde(rename = "ref")]
    reference: Option<String>,
}

/// `{"url": "https://git.example/team/shop.git", "ref": "refs/heads/main"}`. Without `ref`, any ref
/// may have moved.
pub(super) fn generic(body: &[u8]) -> Parsed {
    let body: Generic = serde_json::from_slice(body)?;
    let refs = match body.reference {
        None => Refs::Unknown,
        Some(name) if name.starts_with("refs/") => Refs::Named(vec![name]),
        Some(_) => return Err(NOT_UNDERSTOOD),
    };
    push([Some(body.url)], refs, None)
}

#[derive(Deserialize)]
struct GitHub {
    #[serde(rename = "ref")]
    reference: Option<String>,
    ref_type: Option<String>,
    repository: GitHubRepository,
}

#[derive(Deserialize)]
struct GitHubRepository {
    clone_url: Option<String>,
    ssh_url: Option<String>,
    html_url: Option<String>,
    default_branch: Option<String>,
}

/// GitHub's, Gitea's and Forgejo's `push`, `create`, `delete` and `pull_request`. `create` and `delete`
/// have a short name in `ref`, and its kind in `ref_type`.
pub(super) fn github(event: &str, body: &[u8]) -> Parsed {
    if !matches!(event, "push" | "create" | "delete" | "pull_request") {
        return Ok(None);
    }
    let body: GitHub = serde_json::from_slice(body)?;
    let refs = match (event, body.reference) {
        ("pull_request", _) => Refs::OfRequest,
        (_, None) => return Ok(None),
        (_, Some(name)) => Refs::Named(vec![match body.ref_type.as_deref() {
            _ if name.starts_with("refs/") => name,
            Some("branch") => format!("refs/heads/{name}"),
            Some("tag") => format!("refs/tags/{name}"),
            _ => return Err(NOT_UNDERSTOOD),
        }]),
    };
    let of = body.repository;
    let urls = [of.clone_url, of.ssh_url, of.html_url];
    push(urls, refs, of.default_branch)
}

#[derive(Deserialize)]
struct GitLabEvent {
    event_name: Option<String>,
    object_kind: Option<String>,
}

#[derive(Deserialize)]
struct GitLab {
    #[serde(rename = "ref")]
    reference: Option<String>,
    project: GitLabProject,
}

#[derive(Deserialize)]
struct GitLabProject {
    git_http_url: Option<String>,
    git_ssh_url: Option<String>,
    web_url: Option<String>,
    default_branch: Option<String>,
}

/// GitLab's push, tag push and merge request, from a hook of a project, a group or the system.
pub(super) fn gitlab(event: &str, body: &[u8]) -> Parsed {
    let is_push = match event {
        "Push Hook" | "Tag Push Hook" => true,
        "Merge Request Hook" => false,
        "System Hook" => {
            let event: GitLabEvent = serde_json::from_slice(body)?;
            match (event.event_name.as_deref(), event.object_kind.as_deref()) {
                (Some("push" | "tag_push"), _) => true,
                (None, Some("merge_request")) => false,
                _ => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    let body: GitLab = serde_json::from_slice(body)?;
    let refs = match (is_push, body.reference) {
        (false, _) => Refs::OfRequest,
        (true, Some(name)) => Refs::Named(vec![name]),
        (true, None) => return Err(NOT_UNDERSTOOD),
    };
    let of = body.project;
    let urls = [of.git_http_url, of.git_ssh_url, of.web_url];
    push(urls, refs, of.default_branch)
}

#[derive(Deserialize)]
struct Bitbucket {
    push: BitbucketPush,
    repository: BitbucketRepository,
}

#[derive(Deserialize)]
struct BitbucketPush {
    #[serde(deserialize_with = "bounded")]
    changes: Vec<BitbucketChange>,
}

#[derive(Deserialize)]
struct BitbucketChange {
    new: Option<BitbucketRef>,
    old: Option<BitbucketRef>,
}

#[derive(Deserialize)]
struct BitbucketRef {
    #[serde(rename = "type")]
    kind: String,
    name: String,
}

#[derive(Deserialize)]
struct BitbucketRepository {
    links: BitbucketLinks,
}

#[derive(Deserialize)]
struct BitbucketLinks {
    html: Link,
}

#[derive(Deserialize)]
struct Link {
    href: String,
}

/// Bitbucket Cloud's `repo:push`. It has no URL for cloning, but the URL of its web page is the
/// same.
pub(super) fn bitbucket(body: &[u8]) -> Parsed {
    let body: Bitbucket = serde_json::from_slice(body)?;
    let changes = body.push.changes.into_iter();
    let moved = changes
        .flat_map(|change| [change.new, change.old])
        .flatten();
    let refs = moved.filter_map(|moved| match moved.kind.as_str() {
        "branch" | "named_branch" => Some(format!("refs/heads/{}", moved.name)),
        "tag" | "annotated_tag" => Some(format!("refs/tags/{}", moved.name)),
        _ => None,
    });
    let refs = Refs::Named(refs.collect());
    push([Some(body.repository.links.html.href)], refs, None)
}

#[derive(Deserialize)]
struct BitbucketServer {
    #[serde(deserialize_with = "bounded")]
    changes: Vec<ServerChange>,
    repository: ServerRepository,
}

#[derive(Deserialize)]
struct ServerChange {
    #[serde(rename = "ref")]
    reference: ServerRef,
}

#[derive(Deserialize)]
struct ServerRef {
    id: String,
}

#[derive(Deserialize)]
struct ServerRepository {
    slug: String,
    project: ServerProject,
    #[serde(default)]
    links: ServerLinks,
}

#[derive(Deserialize)]
struct ServerProject {
    key: String,
}

#[derive(Default, Deserialize)]
struct ServerLinks {
    #[serde(default, deserialize_with = "bounded")]
    clone: Vec<Link>,
}

/// Bitbucket Server's and Data Center's `repo:refs_changed`. Older versions send no links, so the
/// host is unknown.
pub(super) fn bitbucket_server(event: &str, body: &[u8]) -> Parsed {
    if event != "repo:refs_changed" {
        return Ok(None);
    }
    let body: BitbucketServer = serde_json::from_slice(body)?;
    let refs = body.changes.into_iter().map(|change| change.reference.id);
    let refs = Refs::Named(refs.collect());
    let of = body.repository;
    if of.links.clone.is_empty() {
        let path = format!("{}/{}", of.project.key, of.slug);
        return Ok(Some(Push {
            repository: vec![Name::Path(path)],
            refs,
            default_branch: None,
        }));
    }
    let urls = of.links.clone.into_iter().map(|link| Some(link.href));
    push(urls, refs, None)
}

#[derive(Deserialize)]
struct AzureEvent {
    #[serde(rename = "eventType")]
    event: String,
}

#[derive(Deserialize)]
struct Azure {
    resource: AzureResource,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AzureResource {
    #[serde(deserialize_with = "bounded")]
    ref_updates: Vec<AzureUpdate>,
    repository: AzureRepository,
}

#[derive(Deserialize)]
struct AzureUpdate {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AzureRepository {
    remote_url: Option<String>,
    ssh_url: Option<String>,
    web_url: Option<String>,
    default_branch: Option<String>,
}

/// Azure DevOps' `git.push`, with all resource details.
pub(super) fn azure(body: &[u8]) -> Parsed {
    let event: AzureEvent = serde_json::from_slice(body)?;
    if event.event != "git.push" {
        return Ok(None);
    }
    let body: Azure = serde_json::from_slice(body)?;
    let refs = body.resource.ref_updates.into_iter();
    let of = body.resource.repository;
    let branch = of.default_branch.map(|name| {
        let short = name.strip_prefix("refs/heads/");
        short.unwrap_or(&name).to_owned()
    });
    push(
        [of.remote_url, of.ssh_url, of.web_url],
        Refs::Named(refs.map(|update| update.name).collect()),
        branch,
    )
}

/// Valid JSON that does not have the provider's format.
const NOT_UNDERSTOOD: Error = Error::Malformed { line: 0, column: 0 };

fn push(
    urls: impl IntoIterator<Item = Option<String>>,
    refs: Refs,
    default_branch: Option<String>,
) -> Parsed {
    let urls = urls.into_iter().flatten();
    let repository: Vec<Name> = urls
        .filter_map(|url| RepositoryUrl::parse(&url))
        .map(Name::Url)
        .collect();
    if repository.is_empty() {
        return Err(NOT_UNDERSTOOD);
    }
    Ok(Some(Push {
        repository,
        refs,
        default_branch,
    }))
}

/// A list of at most [`MAX_REFS`] items. Without the limit, each `{}` in a body would take many
/// times its two bytes of memory.
fn bounded<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Bounded<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = list.next_element()? {
                if items.len() == MAX_REFS {
                    return Err(A::Error::custom("the list is too long"));
                }
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(Bounded(PhantomData))
}
