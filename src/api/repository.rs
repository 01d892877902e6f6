//! `GitRepository`: where the desired state comes from.

// Clippy takes the columns of one definition for one attribute.
#![allow(clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::secret_ref::SecretRef;
use super::{Condition, Duration, SyncSettings, Time};

/// A Git repository whose commits say what the cluster should hold.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "towline.dev",
    version = "v1alpha1",
    kind = "GitRepository",
    plural = "gitrepositories",
    shortname = "gitrepo",
    category = "gitops",
    namespaced,
    status = "GitRepositoryStatus",
    derive = "PartialEq",
    doc = "A Git repository whose commits say what the cluster should hold. towline polls it; each Sync that names it applies one path of it.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the newest commit is fetched"
    ),
    printcolumn(
        name = "Revision",
        type_ = "string",
        json_path = ".status.shortRevision",
        description = "The revision that Syncs are given"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.summary",
        description = "What happened last"
    ),
    printcolumn(
        name = "URL",
        type_ = "string",
        json_path = ".spec.url",
        priority = 1,
        description = "Where the repository is"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since creation"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.verify) || self.verify.mode == 'Commit' || (has(self.ref) && !has(self.ref.commit) && (has(self.ref.name) ? self.ref.name.startsWith('refs/tags/') : (has(self.ref.semver) || has(self.ref.tag))))").message("verify.mode Tag and CommitAndTag need a ref that is a tag: tag, semver, or a name that begins with refs/tags/"))]
pub struct GitRepositorySpec {
    /// URL of the repository: `https://host/path`, `http://host/path`, `ssh://user@host:port/path`
    /// or `user@host:path`. Passwords do not belong here.
    #[x_kube(
        validation = Rule::new("self.matches('^https?://[^/?#\\\\s@]+/\\\\S+$') || self.matches('^ssh://([^/?#\\\\s@:]+@)?[^/?#\\\\s@]+/\\\\S+$') || self.matches('^([^/?#\\\\s@:]+@)?[^/?#\\\\s@:]+:/?[^\\\\s/:-]\\\\S*$')").message("url must be https://host/path, http://host/path, ssh://user@host:port/path or user@host:path, without a password"),
    )]
    #[schemars(length(max = 2048))]
    pub url: String,

    /// Which commit to follow: the most exact of what is named. Without it, the branch that the
    /// remote's HEAD names.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "ref")]
    pub reference: Option<GitRef>,

    /// Time between two polls of the remote, as `30s`, `5m` or `1h30m`.
    #[serde(default = "default_interval")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s')").message("interval must be 1s or more"))]
    #[schemars(schema_with = "super::sync::duration_schema")]
    pub interval: Duration,

    /// The longest that one fetch may take. One that failed is tried again after a growing pause, 5
    /// minutes at most.
    #[serde(default = "default_timeout")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s')").message("timeout must be 1s or more"))]
    #[schemars(schema_with = "super::sync::duration_schema")]
    pub timeout: Duration,

    /// The Secret with the credentials, under Flux's keys: `username` with `password`, or
    /// `bearerToken`; `ca.crt`; `tls.crt` with `tls.key`; over SSH `identity` (its passphrase in
    /// `password`) with `known_hosts`, which is required. A changed Secret is used at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,

    /// Take only revisions that are signed by who may. What is live stays live until one comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verification>,

    /// The Secret with the proxy that the repository is reached through, under Flux's keys:
    /// `address`, as `http://host:port` or `https://host:port`, and `username` with `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_secret_ref: Option<SecretRef>,

    /// Fetch submodules too, and read manifests in them. They are fetched with the repository's own
    /// credentials, and so from its own server only: same scheme, host and port.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recurse_submodules: bool,

    /// Fetch all commits that lead to the one that is followed, for a server that hands out no
    /// commit without them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full_history: bool,

    /// Poll at once when the Git server says that something was pushed, by `POST /hook` on port
    /// 9292. GitHub, GitLab, Bitbucket, Gitea, Forgejo and Azure DevOps are understood as they are,
    /// and any CI that signs `{"url": …, "ref": …}`. Polling goes on beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,

    /// Stop fetching; what is applied stays, and Syncs keep correcting drift.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,

    /// A Sync of this repository, made under the same name and owned by it, so that one object is
    /// enough for the common case. Removing it deletes that Sync, by its `deletionPolicy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncSettings>,
}

/// Which commit to follow. The most exact wins: `commit`, then `name`, `semver`, `tag`, `branch`.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.branch) || has(self.tag) || has(self.semver) || has(self.name) || has(self.commit)").message("name a branch, a tag, a semver range, a ref or a commit"))]
pub struct GitRef {
    /// A branch, without `refs/heads/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub branch: Option<String>,

    /// A tag, without `refs/tags/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub tag: Option<String>,

    /// A range of versions, such as `>=1.0.0 <2.0.0`, `~1.2`, `1.x`, `^1` or `1.2 - 2.0 || >=3`:
    /// the tag with the highest version in it, with or without a leading `v`, is followed.
    /// Pre-releases count only where the range names one, as `>=1.0.0-0` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = "^[0-9A-Za-z.*+<>=!~^|, -]+$")
    )]
    pub semver: Option<String>,

    /// A ref by its full name, such as `refs/pull/7/head`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255), regex(pattern = "^refs/[^\\s~^:?*\\[\\\\]+$"))]
    pub name: Option<String>,

    /// A full commit id, 40 hexadecimal digits; the server must allow fetching it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{40}$"))]
    pub commit: Option<String>,
}

/// Whose signature a revision needs.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// What has to be signed: the commit, the annotated tag that `ref` names, or both.
    #[serde(default)]
    pub mode: VerificationMode,

    /// A Secret of the same namespace with those who may sign: under the key `allowed_signers` SSH
    /// keys, in the format of ssh-keygen's allowed signers; under any other key ASCII-armoured
    /// OpenPGP public keys. A changed Secret is used at once.
    pub secret_ref: SecretRef,
}

/// What has to be signed.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum VerificationMode {
    /// The commit.
    #[default]
    Commit,
    /// The annotated tag that `ref` names.
    Tag,
    /// Both.
    CommitAndTag,
}

/// How the Git server's calls are known to be its own.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// A Secret of the same namespace that holds under the key `token` what the Git server was
    /// given as the webhook's secret. A call that does not prove to know it is refused.
    pub secret_ref: SecretRef,
}

/// What towline knows of the repository.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GitRepositoryStatus {
    /// The generation of the spec that this status is about.
    #[serde(default)]
    pub observed_generation: Option<i64>,

    /// `Ready` always; `Reconciling` and `Stalled` only while true (kstatus).
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// What the condition `Ready` says, in one line of at most 200 characters.
    #[serde(default)]
    pub summary: Option<String>,

    /// `revision` with the first 12 digits of the commit.
    #[serde(default)]
    pub short_revision: Option<String>,

    /// The revision that Syncs are given: `<ref>@sha1:<commit>`.
    #[serde(default)]
    pub revision: Option<String>,

    /// When that commit was made, by its committer's clock.
    #[serde(default)]
    pub committed_at: Option<Time>,

    /// When towline first saw that commit.
    #[serde(default)]
    pub observed_at: Option<Time>,

    /// The last `towline.dev/requested-at` that was acted on.
    #[serde(default)]
    pub last_handled_reconcile_at: Option<String>,
}

fn default_interval() -> Duration {
    std::time::Duration::from_secs(60).into()
}

fn default_timeout() -> Duration {
    std::time::Duration::from_secs(60).into()
}
