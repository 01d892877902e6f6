//! Commits that cannot be read. The condition names the file and the cause, applied objects stay, and the
//! commit that fixes the file is applied.

use serde_json::json;

use crate::world::verdict::{assert_not_disclosed, assert_says};
use crate::world::{config_map, world};
use towline_testing::repo::{Change, NewCommit};

/// Stands in for a secret, on the broken lines and beside them.
const MARKER: &str = "hunter2-on-a-broken-line";

/// The file that Git LFS commits in place of the real file.
const LFS_POINTER: &str = concat!(
    "version https://git-lfs.github.com/spec/v1\n",
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n",
    "size 12345\n",
);

/// A folder that one commit breaks.
struct Row {
    folder: &'static str,
    /// The changes of that commit, with names relative to the folder.
    changes: Vec<(&'static str, Change<'static>)>,
    reason: &'static str,
    /// Parts of the condition's message.
    says: &'static [&'static str],
}

/// Breaks all folders in one commit and fixes them in another.
async fn each_is_reported_and_keeps_its_objects(prefix: &str, rows: Vec<Row>) {
    let case = world().await.case(prefix).await;
    let namespace = case.namespace.as_str();
    let good = |value| {
        let written = rows.iter().map(move |row| {
            let path = format!("{}/good.yaml", row.folder);
            (path, Some(config_map(row.folder, namespace, value)))
        });
        written.collect::<Vec<_>>()
    };
    let first = case.repo.commit(&good("one"), "all is well");
    case.repository(json!({})).await;
    for row in &rows {
        case.sync(row.folder, json!({"path": row.folder})).await;
    }
    for row in &rows {
        case.synced(row.folder, &first).await;
    }

    let changes = rows.iter().flat_map(|row| {
        let changes = row.changes.iter();
        changes.map(|(name, change)| (format!("{}/{name}", row.folder), *change))
    });
    let changes: Vec<(String, Change<'_>)> = changes.collect();
    let changes: Vec<(&str, Change<'_>)> = changes
        .iter()
        .map(|(path, change)| (path.as_str(), *change))
        .collect();
    let broken = case.repo.commit_with(NewCommit {
        message: "broken",
        changes: &changes,
        ..NewCommit::default()
    });
    case.announce().await;
    for row in &rows {
        let message = case.ready_becomes(row.folder, "False", row.reason).await;
        assert_says(&message, row.says);
        assert_says(&message, &[&broken, &first, "stays live"]);
        let data = case.data(row.folder).await;
        assert_eq!(data, Some(json!({"value": "one"})), "{}", row.folder);
    }
    assert_not_disclosed(&case, MARKER).await;

    let added = changes.iter().map(|(path, _)| (path.to_string(), None));
    let mut fix: Vec<(String, Option<String>)> = added.collect();
    fix.extend(good("two"));
    let fixed = case.repo.commit(&fix, "fixed");
    case.announce().await;
    for row in &rows {
        case.synced(row.folder, &fixed).await;
        case.has(row.folder, "value", Some("two")).await;
    }
}

#[tokio::test]
async fn missing_paths_and_bad_links_are_reported() {
    let large: &'static str = Box::leak(" ".repeat((16 << 20) + 1).into_boxed_str());
    let row = |folder, changes, reason, says| Row {
        folder,
        changes,
        reason,
        says,
    };
    let rows = vec![
        row(
            "vanished",
            vec![("good.yaml", Change::Delete)],
            "PathNotFound",
            &["path vanished is not in main@sha1:"],
        ),
        row(
            "no-manifests",
            vec![
                ("good.yaml", Change::Delete),
                ("README.md", Change::Write("# Nothing\n")),
            ],
            "EmptyRender",
            &["no manifest found under no-manifests", "nothing is pruned"],
        ),
        row(
            "empty-documents",
            vec![("good.yaml", Change::Write("---\n# nothing\n---\n"))],
            "EmptyRender",
            &["no manifest found under empty-documents"],
        ),
        row(
            "all-ignored",
            vec![(".towlineignore", Change::Write("*.yaml\n"))],
            "EmptyRender",
            &["no manifest found under all-ignored"],
        ),
        row(
            "link-leaves",
            vec![("link.yaml", Change::Symlink("../../outside.yaml"))],
            "InvalidManifest",
            &["symbolic link link-leaves/link.yaml leaves the repository"],
        ),
        row(
            "link-absolute",
            vec![("link.yaml", Change::Symlink("/etc/passwd"))],
            "InvalidManifest",
            &["symbolic link link-absolute/link.yaml leaves the repository"],
        ),
        row(
            "link-dangles",
            vec![("link.yaml", Change::Symlink("nowhere.yaml"))],
            "InvalidManifest",
            &["symbolic link link-dangles/link.yaml points at nowhere.yaml"],
        ),
        row(
            "link-loop",
            vec![
                ("one.yaml", Change::Symlink("two.yaml")),
                ("two.yaml", Change::Symlink("one.yaml")),
            ],
            "InvalidManifest",
            &["symbolic link link-loop/", "is part of a loop"],
        ),
        row(
            "submodule",
            vec![(
                "nested",
                Change::Submodule("0123456789012345678901234567890123456789"),
            )],
            "InvalidManifest",
            &["submodule/nested is a submodule"],
        ),
        row(
            "too-large",
            vec![("large.yaml", Change::Write(large))],
            "TooLarge",
            &[
                "cannot read too-large/large.yaml: the file has 16777217 bytes, more than the limit of 16777216",
            ],
        ),
    ];
    each_is_reported_and_keeps_its_objects("bad-path", rows).await;
}

#[tokio::test]
async fn an_ignore_file_above_the_path_applies_as_in_git() {
    let case = world().await.case("ignore-above").await;
    let [a, b] = ["a", "b"].map(|name| config_map(name, &case.namespace, "one"));
    let first = case.repo.commit(
        &[("apps/a.yaml", Some(&a)), ("apps/b.yaml", Some(&b))],
        "two",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "apps"})).await;
    case.synced("all", &first).await;
    let ignore = |text| [(".towlineignore", Some(text))];
    let one = case.push(&ignore("/apps/b.yaml\n"), "one").await;
    case.synced("all", &one).await;
    case.has("b", "value", None).await;
    case.push(&ignore("apps/\n"), "none").await;
    let message = case.ready_becomes("all", "False", "EmptyRender").await;
    let leaves =
        "no manifest found under apps, or .towlineignore leaves all out, or spec.ignore does";
    assert_says(&message, &[leaves, "stays live"]);
    case.has("a", "value", Some("one")).await;
    let both = case.push(&ignore("*.txt\n"), "both").await;
    case.synced("all", &both).await;
    case.has("b", "value", Some("one")).await;
}

#[tokio::test]
async fn files_that_are_not_manifests_are_reported() {
    let row = |folder, name, text, says| Row {
        folder,
        changes: vec![(name, Change::Write(text))],
        reason: "InvalidManifest",
        says,
    };
    let twice = concat!(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData:\n",
        "  password: hunter2-on-a-broken-line\n  password: hunter2-on-a-broken-line\n",
    );
    let syntax = concat!(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData:\n",
        "  before: hunter2-on-a-broken-line\n",
        "  password: [hunter2-on-a-broken-line\n",
        "  after: hunter2-on-a-broken-line\n",
    );
    let mut rows = vec![
        row(
            "syntax",
            "x.yaml",
            syntax,
            &["syntax/x.yaml", "document 1, line "],
        ),
        row(
            "tab",
            "x.yaml",
            "a:\n\thunter2-on-a-broken-line: hunter2-on-a-broken-line\n",
            &["tab/x.yaml", "line 2"],
        ),
        row(
            "json",
            "x.json",
            "{\"a\": \"hunter2-on-a-broken-line\",\n\"b\": hunter2-on-a-broken-line\n",
            &["json/x.json", "line "],
        ),
        row(
            "duplicate-key",
            "x.yaml",
            twice,
            &[
                "duplicate-key/x.yaml",
                "document 1, line 6: a key appears twice",
            ],
        ),
        row(
            "no-kind",
            "x.yaml",
            "# empty\n---\napiVersion: v1\nmetadata: {name: x}\n",
            &[
                "no-kind/x.yaml: document 2: kind is missing",
                ".towlineignore",
            ],
        ),
        row(
            "no-api-version",
            "x.yaml",
            "kind: ConfigMap\nmetadata: {name: x}\n",
            &["no-api-version/x.yaml: document 1: apiVersion is missing"],
        ),
        row(
            "no-name",
            "x.yaml",
            "apiVersion: v1\nkind: ConfigMap\n",
            &["no-name/x.yaml: document 1: metadata.name is missing"],
        ),
        row(
            "scalar",
            "x.yaml",
            "hunter2-on-a-broken-line\n",
            &["scalar/x.yaml: document 1: not an object"],
        ),
        row(
            "label",
            "x.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, labels: {version: 1.2}}\n",
            &[
                "label/x.yaml: document 1: metadata.labels: the value of \"version\" must be a string",
            ],
        ),
        row(
            "item",
            "x.yaml",
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n",
            &["item/x.yaml: document 1: item 0 of the list: metadata.name is missing"],
        ),
        row(
            "generate-name",
            "x.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: x-}\n",
            &["generate-name/x.yaml: document 1: metadata.generateName cannot be applied"],
        ),
        row(
            "kustomize",
            "build.yaml",
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [good.yaml]\n",
            &[
                "kustomize/build.yaml: document 1: a Kustomization of kustomize",
                "call the file kustomization.yaml",
            ],
        ),
        row(
            "helm",
            "values.yaml",
            "password: hunter2-on-a-broken-line\n",
            &["helm/values.yaml: document 1", "part of a Helm chart?"],
        ),
    ];
    rows.push(Row {
        folder: "kustomize-bare",
        changes: vec![(
            "kustomization.yaml",
            Change::Write("resources: [good.yaml, gone.yaml]\n"),
        )],
        reason: "RenderFailed",
        says: &["kustomize", "gone.yaml"],
    });
    rows.push(Row {
        folder: "lfs",
        changes: vec![("x.yaml", Change::Write(LFS_POINTER))],
        reason: "InvalidManifest",
        says: &[
            "lfs/x.yaml: a Git LFS pointer",
            "commit the file itself, or list it in .towlineignore",
        ],
    });
    rows.push(Row {
        folder: "encoding",
        changes: vec![("x.yaml", Change::Bytes(b"a: b\nc: \xff\n"))],
        reason: "InvalidManifest",
        says: &["encoding/x.yaml", "line 2: not valid UTF-8"],
    });
    each_is_reported_and_keeps_its_objects("bad-file", rows).await;
}

#[tokio::test]
async fn an_object_twice_in_one_sync_names_both_places() {
    let case = world().await.case("bad-twice").await;
    let map = config_map("x", &case.namespace, "one");
    let first = case.repo.commit(&[("apps/a.yaml", Some(&map))], "once");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "apps"})).await;
    case.synced("all", &first).await;
    let other = config_map("x", &case.namespace, "two");
    let other = format!("# nothing\n---\n{other}");
    case.push(&[("apps/deep/b.yaml", Some(&other))], "twice")
        .await;
    let message = case.ready_becomes("all", "False", "InvalidManifest").await;
    let named = format!("ConfigMap {}/x is written twice", case.namespace);
    let places = "apps/a.yaml document 1, and apps/deep/b.yaml document 2";
    assert_says(&message, &[&named, places, "stays live"]);
    case.has("x", "value", Some("one")).await;
    let fixed = case.push(&[("apps/a.yaml", None)], "once again").await;
    case.synced("all", &fixed).await;
    case.has("x", "value", Some("two")).await;
}
