use std::collections::HashMap;
use std::convert::Infallible;

use super::*;
use crate::content::ObjectId;

/// Files by path and content, and a count of reads.
#[derive(Default)]
struct Repository {
    texts: HashMap<BlobId, String>,
    files: Vec<SourceFile>,
    reads: usize,
    cache: Cache,
}

impl Repository {
    fn of(files: &[(&str, &str)]) -> Self {
        let mut repository = Self::default();
        repository.set(files);
        repository
    }

    fn set(&mut self, files: &[(&str, &str)]) {
        self.files.clear();
        for (path, text) in files {
            let digest = Digest::of(&serde_json::Value::String((*text).to_owned()));
            let blob = BlobId(ObjectId::new(&digest.0));
            self.texts.insert(blob, (*text).to_owned());
            self.files.push(SourceFile {
                path: (*path).into(),
                blob,
            });
        }
    }

    fn render(&mut self, settings: Settings<'_>) -> Result<Rendered, RenderError<Infallible>> {
        let Self {
            texts,
            files,
            reads,
            cache,
        } = self;
        render(files, settings, cache, |file| {
            *reads += 1;
            Ok(texts[&file.blob].clone().into_bytes())
        })
    }

    fn error(&mut self) -> String {
        self.render(Settings {
            root: "apps",
            ..Settings::default()
        })
        .unwrap_err()
        .to_string()
    }
}

fn map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

fn places(rendered: &Rendered) -> Vec<String> {
    let place = |e: &Entry| format!("{} {}:{}:{}", e.key(), e.file, e.document, e.item);
    rendered.entries().iter().map(place).collect()
}

#[test]
fn documents_and_lists_are_objects_with_a_place() {
    let list = "apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: c}\n- metadata: {name: d, namespace: ns}\n";
    let text = format!("{}---\n\n---\n{}---\n{list}", map("a"), map("b"));
    let mut repository = Repository::of(&[("x.yaml", &text)]);
    let rendered = repository.render(Settings::default()).unwrap();
    assert_eq!(
        places(&rendered),
        [
            "ConfigMap a x.yaml:1:0",
            "ConfigMap b x.yaml:3:0",
            "ConfigMap c x.yaml:4:0",
            "ConfigMap ns/d x.yaml:4:1"
        ]
    );
    let bodies = bodies(text.as_bytes(), &[(4, 1), (1, 0)]).unwrap();
    assert_eq!(bodies[0].body["metadata"]["name"], "d");
    assert_eq!(Digest::of(&bodies[1].body), rendered.entries()[0].digest);
    assert!(super::bodies(text.as_bytes(), &[(2, 0)]).is_err());
}

#[test]
fn only_a_changed_blob_is_read_again() {
    let (a, b, c) = (map("a"), map("b"), map("c"));
    let mut repository = Repository::of(&[("a.yaml", &a), ("b.yaml", &b)]);
    repository.render(Settings::default()).unwrap();
    repository.render(Settings::default()).unwrap();
    assert_eq!(repository.reads, 2);
    // Moved, and one replaced.
    repository.set(&[("moved/a.yaml", &a), ("b.yaml", &c)]);
    let rendered = repository.render(Settings::default()).unwrap();
    assert_eq!(
        places(&rendered),
        ["ConfigMap a moved/a.yaml:1:0", "ConfigMap c b.yaml:1:0"]
    );
    assert_eq!((repository.reads, repository.cache.len()), (3, 2));
    // A broken file costs nothing but itself.
    repository.set(&[("a.yaml", &a), ("b.yaml", "x")]);
    assert!(repository.render(Settings::default()).is_err());
    repository.set(&[("a.yaml", &a), ("b.yaml", &c)]);
    repository.render(Settings::default()).unwrap();
    assert_eq!(repository.reads, 4);
}

#[test]
fn the_same_object_twice_names_both_places() {
    let text = format!("{}---\n{}", map("b"), map("a"));
    let mut repository = Repository::of(&[("x.yaml", &map("a")), ("y.yaml", &text)]);
    assert_eq!(
        repository.error(),
        "ConfigMap a is written twice: x.yaml document 1, and y.yaml document 2"
    );
}

#[test]
fn the_target_namespace_counts_for_what_is_the_same() {
    let apart = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: ns}\n";
    let mut repository = Repository::of(&[("x.yaml", &map("a")), ("y.yaml", apart)]);
    assert!(repository.render(Settings::default()).is_ok());
    let settings = Settings {
        target_namespace: Some("t"),
        root: "",
    };
    let error = repository.render(settings).unwrap_err().to_string();
    assert!(
        error.starts_with("ConfigMap t/a is written twice"),
        "{error}"
    );
}

#[test]
fn nothing_found_is_an_error() {
    for files in [&[][..], &[("a.yaml", "# nothing\n---\n")][..]] {
        assert_eq!(
            Repository::of(files).error(),
            "no manifest found under apps, or .towlineignore leaves all out; nothing is pruned"
        );
    }
}

#[test]
fn every_broken_file_is_named_with_its_place() {
    let mut repository = Repository::of(&[
        ("a.yaml", "a: 1\n---\nb: [\n"),
        ("b.yaml", &map("b")),
        (
            "c.yaml",
            "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: A, metadata: {name: 1}}]\n",
        ),
        ("d/Chart.yaml", "apiVersion: v2\nname: x\n"),
    ]);
    let error = repository.error();
    let parts: Vec<_> = error.split("; ").collect();
    assert!(
        parts[0].starts_with("a.yaml: invalid yaml: document 2, line 3: "),
        "{error}"
    );
    assert_eq!(
        parts[1],
        "c.yaml: document 1: item 0 of the list: metadata.name must be a string: quote it"
    );
    assert!(
        parts[2].starts_with("d/Chart.yaml: document 1: kind is missing (part of a Helm chart?"),
        "{error}"
    );

    let many: Vec<_> = (0..15).map(|n| format!("{n}.yaml")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "x")).collect();
    assert!(
        Repository::of(&many)
            .error()
            .ends_with("; and 5 more broken files")
    );
}

#[test]
fn a_kustomization_is_refused() {
    let text =
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n";
    let error = Repository::of(&[("a.yaml", &map("a")), ("kustomization.yaml", text)]).error();
    assert!(
        error.contains("kustomization.yaml: document 1: a Kustomization of kustomize"),
        "{error}"
    );
}

#[test]
fn an_lfs_pointer_is_refused_by_its_first_line() {
    for version in [
        "https://git-lfs.github.com/spec/v1",
        "https://hawser.github.com/spec/v1",
        "http://git-media.io/v/2",
    ] {
        let text = format!("version {version}\noid sha256:4d7a\nsize 12345\n");
        let error = Repository::of(&[("a.yaml", &map("a")), ("big.yaml", &text)]).error();
        assert!(
            error.contains("big.yaml: a Git LFS pointer") && error.contains(".towlineignore"),
            "{error}"
        );
    }
    let text = format!("# version https://git-lfs.github.com/spec/v1\n{}", map("a"));
    Repository::of(&[("a.yaml", &text)])
        .render(Settings::default())
        .unwrap();
}

#[test]
fn texts_are_shared() {
    let mut repository = Repository::of(&[("a.yaml", &map("a")), ("b.yaml", &map("b"))]);
    let rendered = repository.render(Settings::default()).unwrap();
    let [a, b] = rendered.entries() else { panic!() };
    assert!(Arc::ptr_eq(&a.gvk.kind, &b.gvk.kind));
    assert!(size_of::<Entry>() <= 160, "{}", size_of::<Entry>());
}

/// `cargo test --release --lib render::tests::measure -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn measure() {
    for count in [1_010, 10_000] {
        let texts: Vec<_> = (0..count)
            .map(|n| {
                (
                    format!("{n}.yaml"),
                    format!(
                        "{}data: {{key: value, n: \"{n}\"}}\n",
                        map(&format!("m{n}"))
                    ),
                )
            })
            .collect();
        let files: Vec<_> = texts
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        let mut repository = Repository::of(&files);
        for what in ["first", "again"] {
            let begin = std::time::Instant::now();
            repository.render(Settings::default()).unwrap();
            println!("{count} files, {what}: {:?}", begin.elapsed());
        }
        let one = texts
            .iter()
            .map(|(_, text)| text.as_str())
            .collect::<Vec<_>>()
            .join("---\n");
        let mut repository = Repository::of(&[("all.yaml", &one)]);
        let begin = std::time::Instant::now();
        repository.render(Settings::default()).unwrap();
        println!("{count} documents in one file: {:?}", begin.elapsed());
    }
}
