//! The adapter: what towline's own custom resources tell the drivers to do.
//!
//! Specs are taken apart without `..`, so that a new field cannot be forgotten.

use kube::{Resource as _, ResourceExt as _};

use super::{
    DeletionPolicy, GitRef, GitRepository, GitRepositorySpec, Mode, REQUESTED_AT, SecretRef,
    SourceKind, SourceRef, Sync, SyncSettings, SyncSpec, Verification, VerificationMode, Webhook,
};
use crate::intent::{
    self, GitIntent, GitReference, OnDeletion, RenderIntent, SignedPart, SourceIntent, SyncIntent,
    VerifyIntent,
};

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
            target_namespace: _,
            prune,
            mode,
            depends_on,
            wait,
            timeout,
            interval,
            suspend,
            deletion_policy,
        } = settings;
        let depends_on = depends_on.iter();
        Self {
            generation: object.metadata.generation,
            requested_at: object.annotations().get(REQUESTED_AT).cloned(),
            deleting: object.metadata.deletion_timestamp.is_some(),
            source: source.clone(),
            render: RenderIntent::from(settings),
            prune: *prune,
            mode: (*mode).into(),
            depends_on: depends_on.map(|sync| sync.name.clone()).collect(),
            wait: *wait,
            timeout: (*timeout).into(),
            interval: (*interval).into(),
            suspend: *suspend,
            on_deletion: match (deletion_policy, prune) {
                (DeletionPolicy::Delete, _) | (DeletionPolicy::MirrorPrune, true) => {
                    OnDeletion::Delete
                }
                (DeletionPolicy::Orphan, _) | (DeletionPolicy::MirrorPrune, false) => {
                    OnDeletion::Orphan
                }
            },
        }
    }
}

impl From<&SyncSettings> for RenderIntent {
    fn from(settings: &SyncSettings) -> Self {
        Self {
            path: settings.path.clone(),
            target_namespace: settings.target_namespace.clone(),
        }
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
            full_history,
            webhook,
            suspend,
            // Another resource, which the repository's driver keeps.
            sync: _,
        } = &object.spec;
        let secret = |secret: &SecretRef| secret.name.clone();
        let webhook = webhook.as_ref();
        Self {
            generation: object.metadata.generation,
            requested_at: object.annotations().get(REQUESTED_AT).cloned(),
            deleting: object.metadata.deletion_timestamp.is_some(),
            interval: (*interval).into(),
            timeout: (*timeout).into(),
            suspend: *suspend,
            credentials: secret_ref.as_ref().map(secret),
            proxy: proxy_secret_ref.as_ref().map(secret),
            webhook: webhook.map(|Webhook { secret_ref }| secret(secret_ref)),
            verify: verify.as_ref().map(VerifyIntent::from),
            git: GitIntent {
                url: url.clone(),
                reference: GitReference::from(reference.as_ref()),
                recurse_submodules: *recurse_submodules,
                full_history: *full_history,
            },
        }
    }
}

impl From<Option<&GitRef>> for GitReference {
    /// The most exact of what the spec names: `commit`, `name`, `semver`, `tag`, `branch`.
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
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sync(spec: &Value) -> SyncIntent {
        let object = json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
            "metadata": {"name": "s", "namespace": "ns", "generation": 3}, "spec": spec,
        });
        SyncIntent::from(&serde_json::from_value::<Sync>(object).unwrap())
    }

    #[test]
    fn a_sync_with_nothing_but_a_source_has_the_defaults() {
        let intent = sync(&json!({"sourceRef": {"name": "repo"}}));
        assert_eq!((intent.generation, &*intent.source), (Some(3), "repo"));
        assert_eq!(intent.render, RenderIntent::default());
        assert_eq!(intent.mode, intent::Mode::Correct);
        assert_eq!(
            (intent.timeout.as_secs(), intent.interval.as_secs()),
            (300, 3600)
        );
        assert!(!(intent.prune || intent.wait || intent.suspend || intent.deleting));
    }

    #[test]
    fn deletion_mirrors_prune_unless_the_policy_says_more() {
        use OnDeletion::{Delete, Orphan};
        for (policy, prune, wanted) in [
            ("MirrorPrune", true, Delete),
            ("MirrorPrune", false, Orphan),
            ("Delete", false, Delete),
            ("Orphan", true, Orphan),
        ] {
            let source = json!({"name": "repo"});
            let intent =
                sync(&json!({"sourceRef": source, "prune": prune, "deletionPolicy": policy}));
            assert_eq!(intent.on_deletion, wanted, "{policy} {prune}");
        }
    }

    #[test]
    fn the_most_exact_reference_wins() {
        let mut spec = GitRef::default();
        assert_eq!(GitReference::from(None), GitReference::Default);
        assert_eq!(GitReference::from(Some(&spec)), GitReference::Default);
        let text = |text: &str| Some(text.to_owned());
        let mut wins = |set: &dyn Fn(&mut GitRef), reference| {
            set(&mut spec);
            assert_eq!(GitReference::from(Some(&spec)), reference);
        };
        wins(&|s| s.branch = text("b"), GitReference::Branch("b".into()));
        wins(&|s| s.tag = text("t"), GitReference::Tag("t".into()));
        wins(
            &|s| s.semver = text("1.x"),
            GitReference::Semver("1.x".into()),
        );
        wins(
            &|s| s.name = text("refs/n"),
            GitReference::Name("refs/n".into()),
        );
        wins(&|s| s.commit = text("c"), GitReference::Commit("c".into()));
    }

    #[test]
    fn a_repository_names_its_most_exact_reference_and_its_secrets() {
        let object = json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository",
            "metadata": {"name": "repo", "namespace": "ns"},
            "spec": {
                "url": "https://git.example/shop.git",
                "ref": {"branch": "main", "tag": "v1"},
                "secretRef": {"name": "login"},
                "webhook": {"secretRef": {"name": "hook"}},
                "verify": {"mode": "Tag", "secretRef": {"name": "keys"}},
            },
        });
        let intent = SourceIntent::from(&serde_json::from_value::<GitRepository>(object).unwrap());
        assert_eq!(intent.git.reference, GitReference::Tag("v1".to_owned()));
        assert_eq!(intent.credentials.as_deref(), Some("login"));
        assert_eq!(
            (intent.webhook.as_deref(), intent.proxy),
            (Some("hook"), None)
        );
        let verify = intent.verify.unwrap();
        assert_eq!((verify.part, &*verify.signers), (SignedPart::Tag, "keys"));
    }
}
