use std::ops::ControlFlow;

use std::collections::BTreeMap;

use super::*;
use crate::content::testing::Files;
use crate::content::{BlobId, ReadError, Tree as _};
use crate::substitute::Variables;

fn map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

fn parsed(tree: &Files, cache: &mut Cache) -> Result<Vec<Arc<[ParsedObject]>>, RenderError> {
    let files = tree.list("").unwrap().files;
    let none = BTreeMap::new();
    let changes = Changes {
        variables: None,
        labels: &none,
        annotations: &none,
    };
    parse(&plain(files), cache, tree, &changes)
}

impl Texts for Files {
    fn text(&self, id: TextId) -> Result<Vec<u8>, ReadError> {
        self.read(BlobId(id.0))
    }
}

fn error(files: &[(&str, &str)]) -> String {
    let tree = Files::of(files.iter().copied());
    parsed(&tree, &mut Cache::default())
        .unwrap_err()
        .to_string()
}

#[test]
fn only_a_changed_text_is_read_again() {
    let (a, b, c) = (map("a"), map("b"), map("c"));
    let cache = &mut Cache::default();
    let tree = Files::of([("a.yaml", &a), ("b.yaml", &b)]);
    parsed(&tree, cache).unwrap();
    parsed(&tree, cache).unwrap();
    assert_eq!(tree.reads(), 2);
    // Moved, and one replaced.
    let tree = Files::of([("moved/a.yaml", &a), ("b.yaml", &c)]);
    parsed(&tree, cache).unwrap();
    assert_eq!((tree.reads(), cache.len()), (1, 2));
    // A broken file costs nothing but itself.
    let broken = Files::of([("a.yaml", a.as_str()), ("b.yaml", "x")]);
    parsed(&broken, cache).unwrap_err();
    let tree = Files::of([("a.yaml", &a), ("b.yaml", &c)]);
    parsed(&tree, cache).unwrap();
    assert_eq!((broken.reads(), tree.reads()), (1, 0));
}

#[test]
fn every_broken_file_is_named_with_its_place() {
    let error_of = error(&[
        ("a.yaml", "a: 1\n---\nb: [\n"),
        ("b.yaml", &map("b")),
        (
            "c.yaml",
            "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: A, metadata: {name: 1}}]\n",
        ),
        ("d/Chart.yaml", "apiVersion: v2\nname: x\n"),
    ]);
    let parts: Vec<_> = error_of.split("; ").collect();
    assert!(
        parts[0].starts_with("a.yaml: invalid yaml: document 2, line 3: "),
        "{error_of}"
    );
    assert_eq!(
        parts[1],
        "c.yaml: document 1: item 0 of the list: metadata.name must be a string: quote it"
    );
    assert!(
        parts[2].starts_with("d/Chart.yaml: document 1: kind is missing (part of a Helm chart?"),
        "{error_of}"
    );

    let many: Vec<_> = (0..15).map(|n| format!("{n}.yaml")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "x")).collect();
    assert!(error(&many).ends_with("; and 5 more broken files"));
}

/// Ignored, its resources would be applied without its changes, and its patches as whole objects.
#[test]
fn a_kustomization_of_another_name_is_refused_and_never_to_be_ignored() {
    let kind = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
    let text = format!("{kind}resources: [a.yaml]\n");
    let error = error(&[("a.yaml", &map("a")), ("build.yaml", &text)]);
    assert!(
        error.contains("build.yaml: document 1: ")
            && error.contains("call the file kustomization.yaml"),
        "{error}"
    );
    assert!(!error.contains(crate::content::IGNORE_FILE), "{error}");
}

#[test]
fn an_lfs_pointer_is_refused_by_its_first_line() {
    for version in [
        "https://git-lfs.github.com/spec/v1",
        "https://hawser.github.com/spec/v1",
        "http://git-media.io/v/2",
    ] {
        let text = format!("version {version}\noid sha256:4d7a\nsize 12345\n");
        let error = error(&[("a.yaml", &map("a")), ("big.yaml", &text)]);
        assert!(
            error.contains("big.yaml: a Git LFS pointer") && error.contains(".towlineignore"),
            "{error}"
        );
    }
    let text = format!("# version https://git-lfs.github.com/spec/v1\n{}", map("a"));
    let tree = Files::of([("a.yaml", &text)]);
    parsed(&tree, &mut Cache::default()).unwrap();
}

#[test]
fn kinds_are_shared() {
    let tree = Files::of([("a.yaml", map("a")), ("b.yaml", map("b"))]);
    let parsed = parsed(&tree, &mut Cache::default()).unwrap();
    assert!(Arc::ptr_eq(&parsed[0][0].gvk, &parsed[1][0].gvk));
    // The cache holds one for each object of every Sync; it was 104.
    assert!(
        size_of::<ParsedObject>() <= 64,
        "{}",
        size_of::<ParsedObject>()
    );
}

#[test]
fn variables_may_stand_wherever_a_text_may() {
    let mut variables = Variables::default();
    for (name, value) in [
        ("kind", "Secret"),
        ("version", "v1"),
        ("name", "shop"),
        ("ns", "prod"),
        ("token", "hunter22"),
        ("key", "token"),
    ] {
        variables.set(name, value).unwrap();
    }
    let none = BTreeMap::new();
    let changes = Changes {
        variables: Some(&variables),
        labels: &none,
        annotations: &none,
    };
    let object = "apiVersion: ${version}\nkind: ${kind}\nmetadata: {name: '${name}', namespace: '${ns}'}\n\
                  stringData: {'${key}': '${token}'}\n";
    let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: \
                {name: '${name}', namespace: '${ns}'}, stringData: {token: '${token}'}}\n";
    for text in [object, list] {
        let mut all = Vec::new();
        let read = manifests(text.as_bytes(), &[(1, 0)], &changes, |_, manifest| {
            all.push(manifest);
            ControlFlow::Continue(())
        });
        assert!(read.unwrap().is_continue());
        let manifest = all.remove(0);
        assert_eq!(
            (&*manifest.name, manifest.namespace.as_deref()),
            ("shop", Some("prod"))
        );
        assert_eq!(&*manifest.gvk.kind, "Secret");
        assert_eq!(
            manifest.body["data"],
            serde_json::json!({"token": "aHVudGVyMjI="})
        );
    }
    let mut invalid = variables.clone();
    invalid.set("name", "Not A Name").unwrap();
    let changes = Changes {
        variables: Some(&invalid),
        ..changes
    };
    let keep = |_, _| ControlFlow::Continue(());
    assert!(manifests(object.as_bytes(), &[(1, 0)], &changes, keep).is_err());
}

/// A text that a renderer wrote.
struct Written(&'static str);

impl Texts for Written {
    fn text(&self, _: TextId) -> Result<Vec<u8>, ReadError> {
        Ok(self.0.as_bytes().to_vec())
    }

    fn is_rendered(&self, _: TextId) -> bool {
        true
    }
}

#[test]
fn what_is_wrong_in_a_rendered_text_names_the_object_and_no_file_to_ignore() {
    let error = |text| {
        let files = Files::of([("web/templates/a.yaml", text)]);
        let files = plain(files.list("").unwrap().files);
        let read = parse(
            &files,
            &mut Cache::default(),
            &Written(text),
            &Changes::none(),
        );
        read.unwrap_err().to_string()
    };
    for (text, says) in [
        (
            "kind: ConfigMap\nmetadata:\n  labels:\n    app: a\n    app: b\n  name: web\n",
            "invalid yaml: line 5 of the rendered ConfigMap web: the key app appears twice in one mapping: remove one of the two. \
             kubectl and Helm would take the last",
        ),
        (
            "kind: A\nmetadata:\n  name: web\n",
            "the rendered A web: apiVersion is missing",
        ),
        (
            "metadata: {name: web}\n",
            "what is rendered: apiVersion is missing",
        ),
        (
            "kind: A\nmetadata: {labels: {}, name: 'a:web'}\n",
            "the rendered A a:web: apiVersion is missing",
        ),
        // The object is that of the document.
        (
            "---\napiVersion: v1\nkind: A\nmetadata:\n  name: a\n---\nkind: B\nmetadata:\n  name: b\n---\nkind: C\n",
            "the rendered B b: apiVersion is missing",
        ),
        (
            "apiVersion: kustomize.config.k8s.io/v1\nkind: Kustomization\n",
            "the rendered Kustomization: a Kustomization of kustomize, which no cluster has: name its folder among the \
             resources of a kustomization, or take it out",
        ),
    ] {
        assert_eq!(error(text), format!("web/templates/a.yaml: {says}"));
    }
}
