//! `GitRepository`: the source of the desired state.

// Clippy mistakes the columns of one definition for duplicated attributes.
#![allow(clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::secret_ref::SecretRef;
use super::{Condition, Duration, ProviderRef, SyncSettings, Time};

/// A Git repository whose commits describe the desired state of the cluster.
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
#[x_kube(validation = Rule::new("!has(self.pullRequests) || !has(self.ref) || (has(self.ref.branch) && !has(self.ref.commit) && !has(self.ref.name) && !has(self.ref.semver) && !has(self.ref.tag))").message("pullRequests needs a repository that follows a branch: name ref.branch alone, or no ref"))]
#[x_kube(validation = Rule::new("!has(self.verify) || self.verify.mode == 'Commit' || (has(self.ref) && !has(self.ref.commit) && (has(self.ref.name) ? self.ref.name.startsWith('refs/tags/') : (has(self.ref.semver) || has(self.ref.tag))))").message("verify.mode Tag and CommitAndTag need a ref that is a tag: tag, semver, or a name that begins with refs/tags/"))]
pub struct GitRepositorySpec {
    /// URL of the repository: `https://host/path`, `http://host/path`, `ssh://user@host:port/path` or
    /// `user@host:path`. A URL with a password is refused.
    #[x_kube(
        validation = Rule::new("self.matches('^https?://[^/?#\\\\s@]+/\\\\S+$') || self.matches('^ssh://([^/?#\\\\s@:]+@)?[^/?#\\\\s@]+/\\\\S+$') || self.matches('^([^/?#\\\\s@:]+@)?[^/?#\\\\s@:]+:/?[^\\\\s/:-]\\\\S*$')").message("url must be https://host/path, http://host/path, ssh://user@host:port/path or user@host:path, without a password"),
    )]
    #[schemars(length(max = 2048))]
    pub url: String,

    /// The commit to follow. If several fields are set, the most exact one is used. Without this field,
    /// towline follows the branch that the remote's HEAD names.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "ref")]
    pub reference: Option<GitRef>,

    /// Time between two polls of the remote, such as `30s`, `5m` or `1h30m`.
    #[serde(default = "default_interval")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s')").message("interval must be 1s or more"))]
    #[schemars(schema_with = "super::sync::duration_schema")]
    pub interval: Duration,

    /// The longest time that one fetch may take. A failed fetch is tried again after a growing pause of
    /// at most 5 minutes.
    #[serde(default = "default_timeout")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('1h')").message("timeout must be 1s to 1h"))]
    #[schemars(schema_with = "super::sync::duration_schema")]
    pub timeout: Duration,

    /// The Secret with the credentials. Its keys are those of Flux: `username` with `password`, or
    /// `bearerToken`; `ca.crt`; `tls.crt` with `tls.key`; for SSH `identity` (with its passphrase in
    /// `password`) and `known_hosts`, which is required. A changed Secret is used at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,

    /// Accept only revisions with the signature of an allowed signer. Applied objects stay until there is
    /// such a revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verification>,

    /// The Secret with the proxy for this repository. Its keys are those of Flux: `address`, such as
    /// `http://host:port` or `https://host:port`, and `username` with `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_secret_ref: Option<SecretRef>,

    /// Also fetch submodules, and apply manifests in them. Submodules are fetched with the repository's
    /// own credentials, and so only from its own server: same scheme, host and port.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recurse_submodules: bool,

    /// Files of the repository to leave out, in the syntax of `.gitignore` and relative to the repository's root, for all
    /// Syncs of the repository. It has precedence over `.towlineignore` files: `!apps` brings a folder back that such a
    /// file leaves out. A Sync's own `ignore` has precedence over this one. Files that a kustomization or chart names are
    /// read even if they match.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16384))]
    pub ignore: String,

    /// Fetch all commits before the followed commit, for servers that do not support fetching a single
    /// commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full_history: bool,

    /// Poll at once when the Git server reports a push, by `POST /hook` on port 9292. towline understands
    /// the webhooks of GitHub, GitLab, Bitbucket, Gitea, Forgejo and Azure DevOps, and of any CI that
    /// sends and signs `{"url": …, "ref": …}`. Polling continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,

    /// Say on open pull requests (merge requests, on GitLab) what they would change in this cluster. The branch of each
    /// is rendered for the Syncs of this repository, and its objects are tried out as dry runs, with the rights of those
    /// Syncs. The result is a comment on the request and a status of its newest commit. Nothing is written to the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_requests: Option<PullRequestPlans>,

    /// Stop fetching. Applied objects stay, and Syncs still correct drift.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,

    /// Create a Sync of this repository with the same name, owned by the repository. So one object is
    /// enough for the common case. When this field is removed, that Sync is deleted, and its
    /// `deletionPolicy` applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncSettings>,
}

/// Which commit to follow. The most exact field is used: `commit`, then `name`, `semver`, `tag`,
/// `branch`.
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

    /// A range of versions, such as `>=1.0.0 <2.0.0`, `~1.2`, `1.x`, `^1` or `1.2 - 2.0 || >=3`. towline
    /// follows the tag with the highest version in the range, with or without a leading `v`. Pre-releases
    /// are included only if the range names one, as `>=1.0.0-0` does.
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

    /// A full commit id of 40 hexadecimal digits. The server must allow fetching it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{40}$"))]
    pub commit: Option<String>,
}

/// The signature that a revision needs.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// What must be signed: the commit, the annotated tag that `ref` names, or both.
    #[serde(default)]
    pub mode: VerificationMode,

    /// A Secret of the same namespace with the allowed signers. The key `allowed_signers` holds SSH keys
    /// in ssh-keygen's format of that name. All other keys hold ASCII-armoured OpenPGP public keys. A
    /// changed Secret is used at once.
    pub secret_ref: SecretRef,
}

/// What must be signed.
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

/// How webhook calls are authenticated.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// A Secret of the same namespace. Its key `token` holds the secret that is configured for the
    /// webhook at the Git server. A call without a proof of that secret is refused.
    pub secret_ref: SecretRef,
}

/// Which open pull requests are planned, and where the result is written.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.mode) || self.mode != 'Labelled' || has(self.label)").message("mode Labelled needs a label"))]
pub struct PullRequestPlans {
    /// The Provider of the host, of the same namespace. Its type is `github`, `gitlab` or `gitea`. Its token must be able to
    /// read the repository, to comment on pull requests, and to set statuses of commits.
    pub provider_ref: ProviderRef,

    /// Which requests are planned. `SameRepository`: those whose branch is in the repository itself, and those of forks
    /// that have the `label`. `Labelled`: only those that have the `label`.
    #[serde(default)]
    pub mode: PullRequestMode,

    /// The label with which somebody who may change labels asks for a plan. Without it, requests of forks are never
    /// planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub label: Option<String>,

    /// Time between two looks at the open requests, such as `1m`: 10 seconds or more.
    #[serde(default = "default_interval")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10s')").message("interval must be 10s or more"))]
    #[schemars(schema_with = "super::sync::duration_schema")]
    pub interval: Duration,

    /// The most requests that are planned: those that changed last.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 50))]
    pub limit: u8,
}

/// Which pull requests are planned.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum PullRequestMode {
    /// Those of the repository itself, and those with the label.
    #[default]
    SameRepository,
    /// Those with the label.
    Labelled,
}

/// The state of the repository.
//
// Atomic, as the status of a Sync.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct GitRepositoryStatus {
    /// The generation of the spec that this status is about.
    #[serde(default)]
    pub observed_generation: Option<i64>,

    /// `Ready` always; `Reconciling` and `Stalled` only while true (kstatus); `PullRequestsPlanned` where
    /// `spec.pullRequests` is set.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// The message of the condition `Ready`, on one line of at most 200 characters.
    #[serde(default)]
    pub summary: Option<String>,

    /// Since when `Ready` has its status and its reason. The `lastTransitionTime` of a condition is that of its status alone.
    #[serde(default)]
    pub reason_since: Option<Time>,

    /// `revision` with the first 12 digits of the commit.
    #[serde(default)]
    pub short_revision: Option<String>,

    /// The revision that Syncs use: `<ref>@sha1:<commit>`.
    #[serde(default)]
    pub revision: Option<String>,

    /// Commits that are known to come before `revision`, the newest first: those that it was made on, and, where the revision
    /// before is one of them, those that came before that. At most 10. `towline wait --commit` reads them.
    #[serde(default)]
    pub ancestors: Vec<String>,

    /// When that commit was made, by its committer's clock.
    #[serde(default)]
    pub committed_at: Option<Time>,

    /// When towline first saw that commit.
    #[serde(default)]
    pub observed_at: Option<Time>,

    /// When the poll began that found that commit.
    #[serde(default)]
    pub polled_at: Option<Time>,

    /// The last `towline.dev/requested-at` that was handled.
    #[serde(default)]
    pub last_handled_reconcile_at: Option<String>,
}

fn default_interval() -> Duration {
    std::time::Duration::from_secs(60).into()
}

fn default_limit() -> u8 {
    10
}

fn default_timeout() -> Duration {
    std::time::Duration::from_secs(60).into()
}
