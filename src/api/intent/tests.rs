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
    let helm = HelmIntent {
        release_name: "s".to_owned(),
        release_namespace: "ns".to_owned(),
        ..HelmIntent::default()
    };
    let render = RenderIntent {
        helm,
        ..RenderIntent::default()
    };
    assert_eq!(
        (intent.render, intent.inputs),
        (render, InputsIntent::default())
    );
    assert_eq!(intent.mode, intent::Mode::Correct);
    assert_eq!(
        (intent.timeout.as_secs(), intent.interval.as_secs()),
        (300, 3600)
    );
    assert!(!(intent.prune || intent.wait || intent.suspended.is_some() || intent.deleting));
}

#[test]
fn deletion_mirrors_prune_unless_the_policy_says_more() {
    use OnDeletion::{Delete, Orphan};
    let (own, all) = (Delete { adopted: false }, Delete { adopted: true });
    for (policy, prune, wanted) in [
        ("MirrorPrune", true, own),
        ("MirrorPrune", false, Orphan),
        ("Delete", false, all),
        ("Orphan", true, Orphan),
    ] {
        let source = json!({"name": "repo"});
        let intent = sync(&json!({"sourceRef": source, "prune": prune, "deletionPolicy": policy}));
        assert_eq!(intent.on_deletion, wanted, "{policy} {prune}");
    }
    for (asked, wanted) in [("Orphan", Orphan), ("Delete", all), ("orphan it", own)] {
        let object = json!({"apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
                "metadata": {"name": "a", "annotations": {DELETION_POLICY: asked}},
                "spec": {"sourceRef": {"name": "repo"}, "prune": true}});
        let object: Sync = serde_json::from_value(object).unwrap();
        assert_eq!(SyncIntent::from(&object).on_deletion, wanted, "{asked}");
    }
}

#[test]
fn a_timeout_has_a_maximum() {
    let source = json!({"name": "repo"});
    for (given, sync_has, fetch_has) in [("30m", 1_800, 1_800), ("8760h", 24 * 3_600, 3_600)] {
        let intent = sync(&json!({"sourceRef": source, "timeout": given}));
        assert_eq!(intent.timeout.as_secs(), sync_has);
        let object = json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository",
            "metadata": {"name": "repo", "namespace": "ns"},
            "spec": {"url": "https://git.example/shop.git", "timeout": given},
        });
        let object: GitRepository = serde_json::from_value(object).unwrap();
        assert_eq!(SourceIntent::from(&object).timeout.as_secs(), fetch_has);
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

#[test]
fn a_path_is_written_as_those_of_files() {
    for (path, is) in [
        ("", ""),
        (".", ""),
        ("./", ""),
        ("./.", ""),
        ("apps", "apps"),
        ("./apps//prod/", "apps/prod"),
        ("apps/./prod", "apps/prod"),
        ("apps/../prod", "apps/../prod"),
        (".hidden/..prod", ".hidden/..prod"),
    ] {
        assert_eq!(normal(path), is, "{path}");
    }
}
