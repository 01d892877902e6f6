use std::ops::ControlFlow;

use super::*;
use crate::content::testing::Files;
use crate::manifest::{Digest, GroupVersionKind, Manifest};

fn map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

fn intent(path: &str, namespace: Option<&str>) -> RenderIntent {
    RenderIntent {
        path: path.to_owned(),
        target_namespace: namespace.map(str::to_owned),
        ..RenderIntent::default()
    }
}

fn task(tree: &Arc<Files>, intent: &RenderIntent) -> Task {
    Task {
        tree: tree.clone(),
        chart: None,
        bases: BTreeMap::new(),
        intent: intent.clone(),
        inputs: Arc::default(),
        renderers: Renderers::at("/nonexistent".into()),
        tenant: Arc::default(),
        releases: Releases::default(),
        lookup: None,
        kept_for: None,
    }
}

fn read_anew(tree: &Arc<Files>, intent: &RenderIntent) -> Result<Desired, DesiredError> {
    match read(&task(tree, intent), None, &mut Cache::default())? {
        Reading::Changed(desired) => Ok(*desired),
        Reading::Unchanged => panic!("nothing was there before"),
    }
}

fn all_of(tree: &Arc<Files>) -> Desired {
    read_anew(tree, &intent("", None)).unwrap()
}

fn error(tree: &Arc<Files>, intent: &RenderIntent) -> String {
    read_anew(tree, intent).unwrap_err().to_string()
}

fn places(desired: &Desired) -> Vec<String> {
    let objects = desired.objects().iter().enumerate();
    objects
        .map(|(index, object)| {
            let place = desired.provenance(index).unwrap();
            format!("{} {place} {}", object.key(), object.origin.place().1)
        })
        .collect()
}

#[test]
fn documents_and_lists_are_objects_with_a_provenance() {
    let list = "apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: c}\n- metadata: {name: d, namespace: ns}\n";
    let text = format!("{}---\n\n---\n{}---\n{list}", map("a"), map("b"));
    let desired = all_of(&Files::of([("x.yaml", text)]));
    assert_eq!(
        places(&desired),
        [
            "ConfigMap a x.yaml (document 1) 0",
            "ConfigMap b x.yaml (document 3) 0",
            "ConfigMap c x.yaml (document 4) 0",
            "ConfigMap ns/d x.yaml (document 4) 1"
        ]
    );
}

/// The bodies of `wanted`, with the index of each.
fn bodies(
    desired: &Desired,
    tree: Arc<dyn Tree>,
    wanted: &[usize],
) -> Vec<(usize, Result<Manifest, BodyError>)> {
    let mut bodies = Vec::new();
    desired.each_body(tree, wanted, |position, body| {
        bodies.push((wanted[position], body));
        ControlFlow::Continue(())
    });
    bodies
}

#[test]
fn bodies_come_text_by_text_and_one_document_at_a_time() {
    let two = format!("{}---\n{}", map("a"), map("b"));
    let tree = Files::of([("x.yaml", &two), ("y.yaml", &map("c"))]);
    let desired = all_of(&tree);
    let before = tree.reads();
    let found = bodies(&desired, tree.clone(), &[1, 0, 2, 0]);
    let names: Vec<String> = found
        .iter()
        .map(|(index, body)| {
            let body = body.as_ref().unwrap();
            assert_eq!(Digest::of(&body.body), desired.objects()[*index].digest);
            body.name.to_string()
        })
        .collect();
    assert_eq!(names, ["a", "b", "c", "a"]);
    assert_eq!(tree.reads() - before, 3, "x, y, x");
    // Nothing is read that nobody takes.
    desired.each_body(tree.clone(), &[0, 2], |_, _| ControlFlow::Break(()));
    assert_eq!(tree.reads() - before, 4);
}

#[test]
fn a_body_that_cannot_be_read_is_its_own_failure() {
    let tree = Files::of([("a.yaml", map("a")), ("b.yaml", map("b"))]);
    let desired = all_of(&tree);
    let partial = Files::of([("b.yaml", map("b"))]);
    let found = bodies(&desired, partial, &[0, 1, 7]);
    let outcome: Vec<_> = found
        .iter()
        .map(|(index, body)| (*index, body.as_ref().map(|_| ()).map_err(BodyError::reason)))
        .collect();
    use crate::api::Reason::{FetchFailed, InvalidManifest};
    assert_eq!(
        outcome,
        [
            (0, Err(FetchFailed)),
            (1, Ok(())),
            (7, Err(InvalidManifest))
        ]
    );
}

#[test]
fn the_same_content_is_not_read_again() {
    let cache = &mut Cache::default();
    let scope = intent("apps", None);
    let first = Files::of([("apps/a.yaml", map("a")), ("other.yaml", map("o"))]);
    let Reading::Changed(before) = read(&task(&first, &scope), None, cache).unwrap() else {
        panic!()
    };
    let second = Files::of([("apps/a.yaml", map("a")), ("other.yaml", map("p"))]);
    assert!(before.is_known_in(&*second, &scope, &Inputs::default()));
    let again = read(&task(&second, &scope), Some(&before), cache).unwrap();
    assert!(matches!(again, Reading::Unchanged));
    assert_eq!(second.reads(), 0);
    // Another intent is another content, though no file has to be parsed again.
    let elsewhere = intent("apps", Some("t"));
    assert!(!before.is_known_in(&*second, &elsewhere, &Inputs::default()));
    let again = read(&task(&second, &elsewhere), Some(&before), cache).unwrap();
    assert!(matches!(again, Reading::Changed(_)));
    assert_eq!(second.reads(), 0);
    let third = Files::of([("apps/a.yaml", map("b"))]);
    assert!(!before.is_known_in(&*third, &scope, &Inputs::default()));
    let again = read(&task(&third, &scope), Some(&before), cache).unwrap();
    assert!(matches!(again, Reading::Changed(_)));
}

#[test]
fn a_path_may_be_one_file() {
    let tree = Files::of([("apps/a.yaml", map("a")), ("apps/b.yaml", map("b"))]);
    let desired = read_anew(&tree, &intent("apps/a.yaml", None)).unwrap();
    assert_eq!(places(&desired), ["ConfigMap a apps/a.yaml (document 1) 0"]);
}

#[test]
fn ignore_files_above_the_path_count() {
    let files = [
        ("apps/a.yaml", map("a")),
        ("apps/b.yaml", map("b")),
        (".towlineignore", "b.yaml\n".to_owned()),
    ];
    let desired = read_anew(&Files::of(files), &intent("apps", None)).unwrap();
    assert_eq!(places(&desired), ["ConfigMap a apps/a.yaml (document 1) 0"]);
}

#[test]
fn the_same_object_twice_names_both_places() {
    let text = format!("{}---\n{}", map("b"), map("a"));
    let tree = Files::of([("x.yaml", &map("a")), ("y.yaml", &text)]);
    assert_eq!(
        error(&tree, &intent("", None)),
        "ConfigMap a is written twice: x.yaml document 1, and y.yaml document 2"
    );
}

#[test]
fn the_target_namespace_decides_which_objects_are_the_same() {
    let apart = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: ns}\n";
    let tree = Files::of([("x.yaml", map("a").as_str()), ("y.yaml", apart)]);
    assert!(read_anew(&tree, &intent("", None)).is_ok());
    let error = error(&tree, &intent("", Some("t")));
    assert!(
        error.starts_with("ConfigMap t/a is written twice"),
        "{error}"
    );
}

#[test]
fn nothing_found_is_an_error() {
    for text in ["# nothing\n---\n", ""] {
        let tree = Files::of([("apps/a.yaml", text)]);
        let error = read_anew(&tree, &intent("apps", None)).unwrap_err();
        assert_eq!(error.reason(), crate::api::Reason::EmptyRender);
        assert_eq!(
            error.to_string(),
            "no manifest found under apps, or .towlineignore leaves all out, or spec.ignore does; nothing is pruned"
        );
    }
}

/// A Sync may have ten thousand objects: no field is added without a look at this.
#[test]
fn an_object_is_small() {
    // It was 144 with file, blob and kind in it.
    assert!(
        size_of::<DesiredObject>() <= 80,
        "{}",
        size_of::<DesiredObject>()
    );
    let tree = Files::of([("a.yaml", map("a")), ("b.yaml", map("b"))]);
    let desired = all_of(&tree);
    let [a, b] = desired.objects() else { panic!() };
    assert!(Arc::ptr_eq(&a.gvk, &b.gvk));
}

/// What the cluster of these tests serves.
fn is_namespaced(gvk: &GroupVersionKind) -> Option<bool> {
    match &*gvk.kind {
        "ConfigMap" => Some(true),
        "Namespace" => Some(false),
        _ => None,
    }
}

#[test]
fn objects_are_resolved_by_what_the_cluster_serves() {
    let of =
        |kind: &str, rest: &str| format!("apiVersion: v1\nkind: {kind}\nmetadata: {{{rest}}}\n");
    let tree = Files::of([
        ("a.yaml", of("ConfigMap", "name: a, namespace: ns")),
        ("b.yaml", of("ConfigMap", "name: b")),
        ("c.yaml", of("Namespace", "name: c, namespace: ignored")),
        ("d.yaml", of("Zeta", "name: d")),
        ("e.yaml", of("Alpha", "name: e")),
        ("f.yaml", of("Namespace", "name: c, namespace: other")),
    ]);
    let desired = all_of(&tree);
    let resolved = resolve(&desired, is_namespaced, None);
    let mut items: Vec<String> = resolved.items.keys().map(ToString::to_string).collect();
    items.sort();
    assert_eq!(items, ["ConfigMap ns/a", "Namespace c"]);
    let waiting: Vec<String> = resolved.waiting.keys().map(ToString::to_string).collect();
    assert_eq!(waiting, ["Alpha", "Zeta"]);
    assert_eq!(
        resolved.misplaced,
        [
            (1, Misplaced::NoNamespace),
            (5, Misplaced::Twice("c.yaml (document 1)".to_owned()))
        ]
    );

    let resolved = resolve(&desired, is_namespaced, Some(Limit::Operator("ns")));
    assert_eq!(resolved.items.len(), 1);
    let outside = Misplaced::Outside("ns".to_owned());
    assert!(resolved.misplaced.contains(&(2, outside)));
}

#[test]
fn a_variable_without_a_value_that_leaves_no_namespace_is_named() {
    let of = |kind: &str, name: &str, namespace: &str| {
        format!(
            "apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        )
    };
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: ConfigMap, metadata: {{name: b}}}}\n- {{apiVersion: v1, kind: \
         ConfigMap, metadata: {{name: c, namespace: '${{third}}'}}}}\n---\n{}",
        of("Namespace", "a", "'${cluster}'")
    );
    let tree = Files::of([
        ("a.yaml", of("ConfigMap", "a", "'${first}'")),
        ("b.yaml", list),
        ("c.yaml", of("ConfigMap", "d", "'${given}'")),
    ]);
    let mut variables = crate::substitute::Variables::default();
    variables.set("given", "ns").unwrap();
    let mut task = task(&tree, &intent("", None));
    let mut inputs = Inputs::default();
    inputs.variables = Some(variables);
    task.inputs = Arc::new(inputs);
    let read = |task: &Task| match read(task, None, &mut Cache::default()).unwrap() {
        Reading::Changed(desired) => resolve(&desired, is_namespaced, None),
        Reading::Unchanged => panic!("nothing was there before"),
    };
    let unset = |name: &str| Misplaced::NoVariable(name.to_owned());
    assert_eq!(
        read(&task).misplaced,
        [
            (0, unset("first")),
            (1, Misplaced::NoNamespace),
            (2, unset("third")),
        ]
    );
    // The Sync's own namespace takes its place.
    task.intent.target_namespace = Some("other".to_owned());
    assert_eq!(read(&task).misplaced, []);
}

#[test]
fn an_object_of_two_groups_is_one_object() {
    let of = |version: &str, name: &str| {
        format!("apiVersion: {version}\nkind: Event\nmetadata: {{name: {name}, namespace: ns}}\n")
    };
    let tree = Files::of([
        ("a.yaml", of("events.k8s.io/v1", "twice")),
        ("b.yaml", of("v1", "twice")),
        ("c.yaml", of("events.k8s.io/v1", "once")),
        ("d.yaml", of("v1", "other")),
        ("e.yaml", of("example.com/v1", "other")),
    ]);
    let resolved = resolve(&all_of(&tree), |_| Some(true), None);
    let mut items: Vec<String> = resolved.items.keys().map(ToString::to_string).collect();
    items.sort();
    assert_eq!(
        items,
        [
            "Event ns/once",
            "Event ns/other",
            "Event ns/twice",
            "Event.example.com ns/other",
        ]
    );
    let [(0, why)] = &*resolved.misplaced else {
        panic!("{:?}", resolved.misplaced)
    };
    assert_eq!(
        why.to_string(),
        "the API server keeps it as one object with v1 Event ns/twice, which is in b.yaml (document 1): keep one of the two"
    );
}

/// `cargo test --release --lib desired::tests::measure -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn measure() {
    for count in [1_010, 10_000] {
        let texts: Vec<_> = (0..count)
            .map(|n| {
                let text = map(&format!("m{n}"));
                (
                    format!("{n}.yaml"),
                    format!("{text}data: {{key: value, n: \"{n}\"}}\n"),
                )
            })
            .collect();
        let one = texts.iter().map(|(_, text)| text.as_str());
        let one = Files::of([("all.yaml", one.collect::<Vec<_>>().join("---\n"))]);
        let begin = std::time::Instant::now();
        all_of(&one);
        println!("{count} documents in one file: {:?}", begin.elapsed());
    }
}

fn leaves_out(source: &str, own: &str) -> RenderIntent {
    RenderIntent {
        source_ignore: source.into(),
        ignore: own.to_owned(),
        ..intent("apps", None)
    }
}

#[test]
fn a_commit_that_touches_only_what_is_left_out_changes_nothing() {
    let files = |text: &str| {
        let (note, other) = (format!("# {text}"), format!("{}# {text}", map("other")));
        Files::of([
            ("apps/a.yaml", map("a")),
            ("apps/README.md", note.clone()),
            ("apps/old/x.yaml", other.clone()),
            ("apps/tests/x.yaml", other),
            ("apps/tests/Kustomization", note.clone()),
            ("apps/.towlineignore", format!("old/\n# {text}\n")),
            ("elsewhere.yaml", note),
        ])
    };
    let (one, two) = (files("one"), files("two"));
    let intent = leaves_out("/apps/tests", "");
    let desired = read_anew(&one, &intent).unwrap();
    assert_eq!(places(&desired), ["ConfigMap a apps/a.yaml (document 1) 0"]);
    let next = |tree: &Arc<Files>, intent: &RenderIntent| {
        read(&task(tree, intent), Some(&desired), &mut Cache::default()).unwrap()
    };
    let inputs = Inputs::default();
    assert!(!desired.is_known_in(&*two, &intent, &inputs));
    assert!(matches!(next(&two, &intent), Reading::Unchanged));
    assert!(
        desired.is_known_in(&*two, &intent, &inputs),
        "known from now on"
    );
    // Other patterns are another content, also where the objects are the same.
    for other in [leaves_out("", "tests"), leaves_out("/apps/tests", "*.md")] {
        assert!(matches!(next(&two, &other), Reading::Changed(_)));
    }
    let moved = Files::of([("apps/b.yaml", map("a"))]);
    assert!(matches!(next(&moved, &intent), Reading::Changed(_)));
}

#[test]
fn a_spec_may_leave_out_the_file_that_makes_a_folder_a_kustomization() {
    let tree = Files::of([
        ("apps/a.yaml", map("a")),
        (
            "apps/kustomization.yaml",
            "resources: [https://example.com/x]".to_owned(),
        ),
    ]);
    let whole = read_anew(&tree, &intent("apps", None)).unwrap_err();
    assert_eq!(whole.reason(), crate::api::Reason::RenderFailed, "{whole}");
    for leaving in [
        leaves_out("kustomization.yaml", ""),
        leaves_out("", "/kustomization.yaml"),
    ] {
        let desired = read_anew(&tree, &leaving).unwrap();
        assert_eq!(places(&desired), ["ConfigMap a apps/a.yaml (document 1) 0"]);
    }
}

#[test]
fn a_pattern_that_is_none_names_its_field_and_line() {
    let tree = Files::of([("apps/a.yaml", map("a"))]);
    for (leaving, says) in [
        (
            leaves_out("a\n[z-a]", ""),
            "spec.ignore of the source, line 2: \"[z-a]\"",
        ),
        (leaves_out("", "{x"), "spec.ignore, line 1: \"{x\""),
    ] {
        let error = read_anew(&tree, &leaving).unwrap_err();
        assert_eq!(error.reason(), crate::api::Reason::InvalidSpec);
        assert!(
            error.is_lasting() && error.to_string().contains(says),
            "{error}"
        );
    }
}
