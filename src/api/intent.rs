//! The adapter: makes the drivers' intents from towline's own custom resources.
//!
//! Specs are destructured without `..`, so that no new field is forgotten.

use std::sync::Arc;

use kube::{Resource as _, ResourceExt};
use serde_json::Value;

use super::{
    APPROVE_PRUNE, ChartRef, Contents, DELETION_POLICY, Decryption, DecryptionProvider,
    DeletionPolicy, GitRef, GitRepository, GitRepositorySpec, IgnoredFields, Image, KeeperKind,
    Kustomize, LookupKind, Mode, PIN, PIN_CHART, PIN_HOLD, PIN_REASON, PINNED_AWAY, PINNED_BY,
    Patch, PatchTarget, PruneLimit, PullRequestMode, PullRequestPlans, REQUESTED_AT, RemoteBases,
    Renderer, SUSPEND_REASON, SUSPENDED_BY, SecretRef, SourceKind, SourceRef, Substitute,
    SubstituteFrom, Sync, SyncSettings, SyncSpec, UNPINNED_BY, ValuesFrom, Verification,
    VerificationMode, Webhook,
};
use crate::intent::{
    self, ChartIntent, FieldPattern, FieldRule, GitIntent, GitReference, HelmIntent, InputsIntent,
    Keeper, OnDeletion, Overrides, PinIntent, PullRequestsIntent, Reference, RenderIntent,
    RendererIntent, SignedPart, SourceIntent, SubstituteIntent, SyncIntent, VerifyIntent,
};
use crate::text;

/// The longest `timeout` of a Sync, and of a GitRepository. The definitions say so as well; an object that is older
/// than the rule may ask for more.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);
const LONGEST_FETCH: std::time::Duration = std::time::Duration::from_secs(3_600);

/// The longest name of a revision that is looked at, in bytes.
const LONGEST_REVISION: usize = 512;

impl From<&Sync> for SyncIntent {
    fn from(object: &Sync) -> Self {
        let SyncSpec {
            source_ref:
                SourceRef {
                    kind: SourceKind::GitRepository,
                    name: source,
                },
            settings,
        } = &object.spec;
        let SyncSettings {
            path: _,
            ignore: _,
            kustomize: _,
            renderer: _,
            common_metadata: _,
            target_namespace: _,
            helm,
            substitute,
            decryption,
            service_account_name,
            prune,
            prune_limit: PruneLimit { percent, contents },
            prune_adopted,
            mode,
            depends_on,
            wait,
            timeout,
            interval,
            validate,
            force,
            ignore_fields,
            suspend,
            deletion_policy,
        } = settings;
        let depends_on = depends_on.iter();
        let (ignore_fields, invalid) = field_rules(ignore_fields);
        let namespace = object.namespace().unwrap_or_default();
        Self {
            generation: object.metadata.generation,
            requested_at: object.annotations().get(REQUESTED_AT).cloned(),
            deleting: object.metadata.deletion_timestamp.is_some(),
            source: source.clone(),
            render: render(&object.name_any(), &namespace, settings),
            inputs: InputsIntent {
                substitute: substitute.as_ref().map(SubstituteIntent::from),
                keys: decryption.as_ref().map(
                    |Decryption {
                         provider: DecryptionProvider::Sops,
                         secret_ref,
                     }| secret_ref.name.clone(),
                ),
                values_from: helm
                    .iter()
                    .flat_map(|helm| &helm.values_from)
                    .map(values_from)
                    .collect(),
            },
            service_account: service_account_name.clone(),
            keeps_record: helm.as_ref().is_none_or(|helm| helm.release_record),
            prune: *prune,
            prune_limit: intent::PruneLimit {
                percent: *percent,
                holds_contents: *contents == Contents::Hold,
            },
            prune_adopted: *prune_adopted,
            approved_prune: object.annotations().get(APPROVE_PRUNE).cloned(),
            mode: (*mode).into(),
            depends_on: depends_on.map(|sync| sync.name.clone()).collect(),
            wait: *wait,
            timeout: std::time::Duration::from(*timeout).min(LONGEST_WAIT),
            interval: (*interval).into(),
            validate: *validate,
            force: *force,
            ignore_fields,
            suspended: suspend.then(|| suspended(object)),
            pin: pin(object),
            unpinned_by: annotation(object, UNPINNED_BY).map(|by| format!("unpinned by {by}")),
            invalid,
            on_deletion: match (asked_policy(object).unwrap_or(*deletion_policy), prune) {
                (DeletionPolicy::Delete, _) => OnDeletion::Delete { adopted: true },
                (DeletionPolicy::MirrorPrune, true) => OnDeletion::Delete {
                    adopted: *prune_adopted,
                },
                (DeletionPolicy::Orphan, _) | (DeletionPolicy::MirrorPrune, false) => {
                    OnDeletion::Orphan
                }
            },
        }
    }
}

/// Who suspended a resource and why, as far as `towline suspend` recorded it.
fn suspended<K: ResourceExt>(object: &K) -> String {
    by_whom("suspended", object, (SUSPENDED_BY, SUSPEND_REASON))
}

/// What was done, by whom, and why, as far as annotations record it.
fn by_whom<K: ResourceExt>(done: &str, object: &K, (by, why): (&str, &str)) -> String {
    match (annotation(object, by), annotation(object, why)) {
        (None, _) => done.to_owned(),
        (Some(by), None) => format!("{done} by {by}"),
        (Some(by), Some(reason)) => format!("{done} by {by}: {reason}"),
    }
}

/// An annotation that is not empty. Everybody who may edit the object can write it.
fn annotation<K: ResourceExt>(object: &K, name: &str) -> Option<String> {
    let text = text::printable(object.annotations().get(name)?);
    (!text.is_empty()).then_some(text)
}

/// The pin that the annotations ask for. Without the revision that it leads away from, only a person can end it.
fn pin(object: &Sync) -> Option<PinIntent> {
    let revision = |name| {
        let text = annotation(object, name)?;
        Some(text::shorten(&text, LONGEST_REVISION))
    };
    let away = revision(PINNED_AWAY);
    Some(PinIntent {
        revision: revision(PIN)?,
        chart: revision(PIN_CHART),
        holds: away.is_none() || annotation(object, PIN_HOLD).as_deref() == Some("true"),
        away,
        by_whom: by_whom("pinned", object, (PINNED_BY, PIN_REASON)),
    })
}

/// What the Sync's annotation says of its deletion; another value than a policy says nothing.
fn asked_policy(object: &Sync) -> Option<DeletionPolicy> {
    let asked = object.annotations().get(DELETION_POLICY)?;
    serde_json::from_value(asked.as_str().into()).ok()
}

/// The rules that can be read, and what is wrong with the first that cannot.
fn field_rules(ignored: &[IgnoredFields]) -> (Vec<FieldRule>, Option<String>) {
    let mut invalid = None;
    let mut rules = Vec::with_capacity(ignored.len());
    for (position, rule) in ignored.iter().enumerate() {
        let IgnoredFields {
            group,
            kind,
            name,
            namespace,
            fields,
        } = rule;
        let mut read = |(at, field): (usize, &String)| match FieldPattern::parse(field) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                invalid.get_or_insert_with(|| {
                    format!("spec.ignoreFields[{position}].fields[{at}]: {error}")
                });
                None
            }
        };
        rules.push(FieldRule {
            group: group.clone(),
            kind: kind.clone(),
            name: name.clone(),
            namespace: namespace.clone(),
            fields: fields.iter().enumerate().filter_map(&mut read).collect(),
        });
    }
    (rules, invalid)
}

/// A path without `.` and empty parts, as the paths of files are: `./apps//prod/` is `apps/prod`. The root is empty.
fn normal(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.collect::<Vec<_>>().join("/")
}

fn render(name: &str, namespace: &str, settings: &SyncSettings) -> RenderIntent {
    let metadata = settings.common_metadata.clone().unwrap_or_default();
    let target_namespace = settings.target_namespace.clone();
    let helm = settings.helm.clone().unwrap_or_default();
    RenderIntent {
        path: normal(&settings.path),
        ignore: settings.ignore.clone(),
        // The source says it, with each revision.
        source_ignore: Arc::default(),
        kustomize: overrides(settings.kustomize.as_ref()),
        remote_bases: settings
            .kustomize
            .as_ref()
            .is_some_and(|kustomize| kustomize.remote_bases == RemoteBases::Pinned),
        renderer: settings
            .renderer
            .as_ref()
            .map(|Renderer { name, parameters }| RendererIntent {
                name: name.clone(),
                parameters: parameters.clone(),
            }),
        helm: HelmIntent {
            chart: helm.chart_ref.map(
                |ChartRef {
                     kind: SourceKind::GitRepository,
                     name,
                     path,
                 }| ChartIntent {
                    source: name,
                    path: normal(&path),
                },
            ),
            release_name: match helm.release_name.is_empty() {
                true => name.to_owned(),
                false => helm.release_name,
            },
            release_namespace: target_namespace
                .clone()
                .unwrap_or_else(|| namespace.to_owned()),
            values_files: helm.values_files,
            values: match helm.values.is_empty() {
                true => String::new(),
                false => Value::Object(helm.values).to_string(),
            },
            tests: helm.test,
            lookups: helm
                .lookup
                .into_iter()
                .map(|LookupKind { group, kind }| (group, kind))
                .collect(),
        },
        target_namespace,
        labels: metadata.labels,
        annotations: metadata.annotations,
    }
}

/// The changes of a spec, which make a kustomization of a path of manifests. What only allows something changes nothing.
fn overrides(spec: Option<&Kustomize>) -> Option<Overrides> {
    let allows_only = Kustomize {
        remote_bases: RemoteBases::Pinned,
        ..Kustomize::default()
    };
    let spec = spec.filter(|spec| **spec != allows_only);
    spec.map(Overrides::from)
}

impl From<&Kustomize> for Overrides {
    fn from(spec: &Kustomize) -> Self {
        let Kustomize {
            name_prefix,
            name_suffix,
            patches,
            components,
            ignore_missing_components,
            images,
            remote_bases: _,
        } = spec.clone();
        Self {
            name_prefix,
            name_suffix,
            patches: patches.into_iter().map(intent::Patch::from).collect(),
            components,
            ignore_missing_components,
            images: images.into_iter().map(intent::Image::from).collect(),
            ..Self::default()
        }
    }
}

impl From<Patch> for intent::Patch {
    fn from(Patch { patch, target }: Patch) -> Self {
        let target = target.map(
            |PatchTarget {
                 group,
                 version,
                 kind,
                 name,
                 namespace,
                 annotation_selector,
                 label_selector,
             }| intent::Selector {
                group,
                version,
                kind,
                name,
                namespace,
                annotation_selector,
                label_selector,
            },
        );
        Self { patch, target }
    }
}

impl From<Image> for intent::Image {
    fn from(image: Image) -> Self {
        let Image {
            name,
            new_name,
            new_tag,
            digest,
        } = image;
        Self {
            name,
            new_name,
            new_tag,
            digest,
        }
    }
}

impl From<&Substitute> for SubstituteIntent {
    fn from(
        Substitute {
            values,
            from,
            strict,
        }: &Substitute,
    ) -> Self {
        let from = from.iter();
        Self {
            values: values.clone(),
            from: from
                .map(
                    |SubstituteFrom {
                         kind,
                         name,
                         optional,
                     }| reference(*kind, name, *optional),
                )
                .collect(),
            strict: *strict,
        }
    }
}

fn values_from(from: &ValuesFrom) -> intent::ValuesFrom {
    let ValuesFrom {
        kind,
        name,
        values_key,
        optional,
    } = from;
    intent::ValuesFrom {
        reference: reference(*kind, name, *optional),
        key: values_key.clone(),
    }
}

fn reference(kind: KeeperKind, name: &str, optional: bool) -> Reference {
    Reference {
        kind: match kind {
            KeeperKind::ConfigMap => Keeper::ConfigMap,
            KeeperKind::Secret => Keeper::Secret,
        },
        name: name.to_owned(),
        optional,
    }
}

impl From<Mode> for intent::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Correct => Self::Correct,
            Mode::Report => Self::Report,
        }
    }
}

impl GitRepository {
    /// Whether `spec.sync` asks for a Sync.
    pub fn has_child(&self) -> bool {
        self.spec.sync.is_some()
    }

    /// The Sync that `spec.sync` asks for. It has the name of its repository, which owns it.
    pub fn child(&self) -> Option<Sync> {
        let spec = SyncSpec {
            source_ref: SourceRef {
                kind: SourceKind::GitRepository,
                name: self.name_any(),
            },
            settings: self.spec.sync.clone()?,
        };
        let mut child = Sync::new(&self.name_any(), spec);
        child.metadata.owner_references = self.controller_owner_ref(&()).map(|owner| vec![owner]);
        Some(child)
    }
}

impl From<&GitRepository> for SourceIntent {
    fn from(object: &GitRepository) -> Self {
        let GitRepositorySpec {
            url,
            reference,
            interval,
            timeout,
            secret_ref,
            verify,
            proxy_secret_ref,
            recurse_submodules,
            ignore,
            full_history,
            webhook,
            suspend,
            pull_requests,
            // The child Sync, which the repository's driver keeps up to date.
            sync: _,
        } = &object.spec;
        let secret = |secret: &SecretRef| secret.name.clone();
        let webhook = webhook.as_ref();
        Self {
            generation: object.metadata.generation,
            requested_at: object.annotations().get(REQUESTED_AT).cloned(),
            deleting: object.metadata.deletion_timestamp.is_some(),
            interval: (*interval).into(),
            timeout: std::time::Duration::from(*timeout).min(LONGEST_FETCH),
            suspended: suspend.then(|| suspended(object)),
            ignore: ignore.as_str().into(),
            credentials: secret_ref.as_ref().map(secret),
            proxy: proxy_secret_ref.as_ref().map(secret),
            webhook: webhook.map(|Webhook { secret_ref }| secret(secret_ref)),
            verify: verify.as_ref().map(VerifyIntent::from),
            pull_requests: pull_requests.as_ref().map(PullRequestsIntent::from),
            git: GitIntent {
                url: url.clone(),
                reference: GitReference::from(reference.as_ref()),
                recurse_submodules: *recurse_submodules,
                full_history: *full_history,
            },
        }
    }
}

impl From<&PullRequestPlans> for PullRequestsIntent {
    fn from(plans: &PullRequestPlans) -> Self {
        let PullRequestPlans {
            provider_ref,
            mode,
            label,
            interval,
            limit,
        } = plans;
        Self {
            provider: provider_ref.name.clone(),
            only_labelled: *mode == PullRequestMode::Labelled,
            label: label.clone(),
            interval: (*interval).into(),
            limit: usize::from(*limit),
        }
    }
}

impl From<Option<&GitRef>> for GitReference {
    /// The most exact field of the spec: `commit`, `name`, `semver`, `tag`, `branch`.
    fn from(reference: Option<&GitRef>) -> Self {
        let Some(GitRef {
            branch,
            tag,
            semver,
            name,
            commit,
        }) = reference.cloned()
        else {
            return Self::Default;
        };
        commit
            .map(Self::Commit)
            .or(name.map(Self::Name))
            .or(semver.map(Self::Semver))
            .or(tag.map(Self::Tag))
            .or(branch.map(Self::Branch))
            .unwrap_or(Self::Default)
    }
}

impl From<&Verification> for VerifyIntent {
    fn from(Verification { mode, secret_ref }: &Verification) -> Self {
        Self {
            part: match mode {
                VerificationMode::Commit => SignedPart::Commit,
                VerificationMode::Tag => SignedPart::Tag,
                VerificationMode::CommitAndTag => SignedPart::CommitAndTag,
            },
            signers: secret_ref.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
