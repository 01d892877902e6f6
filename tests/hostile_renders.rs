//! Renders that take all that they can get, beside a Sync that goes live meanwhile.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::verdict::assert_says;
use crate::world::{Case, World, condition, config_map};
use towline_testing::control_plane::Options;
use towline_testing::renderers;
use towline_testing::repo::{Change, NewCommit};

/// A render may take 30 seconds, and each is tried in its turn.
const PATIENCE: Duration = Duration::from_secs(300);

const WEB: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {value: base}\n";

struct Row {
    name: &'static str,
    spec: Value,
    reasons: &'static [&'static str],
    /// Renderer, file, and what else is known.
    says: &'static [&'static str],
}

fn rows() -> Vec<Row> {
    let row = |name: &'static str, reasons, says| Row {
        name,
        spec: json!({"path": name}),
        reasons,
        says,
    };
    let mut large = row("large", &["TooLarge"], &["helm", "large/big.yaml", "bytes"]);
    large.spec = json!({"path": "large", "helm": {"valuesFiles": ["big.yaml"]}});
    vec![
        row(
            "loop",
            &["TooLarge"],
            &[
                "helm did not end within 30 seconds",
                "the chart is loop",
                "loop/templates/loop.yaml line 2",
            ],
        ),
        large,
        row(
            "bomb",
            &["TooLarge", "RenderFailed"],
            &["kustomize", "bomb/patch.yaml"],
        ),
        row(
            "patches",
            &["TooLarge"],
            &[
                "kustomize",
                "patches/kustomization.yaml: too large: it takes more than 80 MiB",
            ],
        ),
        row(
            "long-patch",
            &["TooLarge"],
            &[
                "kustomize",
                "long-patch/patch.yaml: too large: spec.template.spec.containers[0].env has 20000 entries",
            ],
        ),
        row(
            "long-replacements",
            &["TooLarge"],
            &[
                "kustomize",
                "long-replacements/more/all.yaml: too large: targets has 20000 entries",
            ],
        ),
        row("many", &["TooLarge"], &["helm", "many"]),
        row(
            "link",
            &["RenderFailed", "InvalidManifest"],
            &["helm", "link/templates/out.yaml", "out of the repository"],
        ),
        row(
            "base-link",
            &["RenderFailed", "InvalidManifest"],
            &["kustomize", "base-link/out.yaml"],
        ),
    ]
}

/// Every alias is nine of the level below.
fn bomb() -> String {
    let mut text = format!("{WEB}a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 9].join(",");
        text += &format!("a{level}: &a{level} [{below}]\n");
    }
    text
}

fn commit(case: &Case<'_>) {
    let chart = |name: &str| format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n");
    let loops = "{{ $all := dict }}\n{{ range until 100000 }}{{ range until 100000 }}{{ $_ := set $all \"n\" 1 }}{{ end }}\
                 {{ end }}\n";
    let big = format!("a:\n{}", "- some text of a line\n".repeat(2_500_000));
    let mut files: Vec<(String, String)> = vec![
        ("loop/Chart.yaml".into(), chart("loop")),
        ("loop/templates/loop.yaml".into(), format!("{loops}{WEB}")),
        ("large/Chart.yaml".into(), chart("large")),
        ("large/templates/web.yaml".into(), WEB.into()),
        ("large/big.yaml".into(), big),
        (
            "bomb/kustomization.yaml".into(),
            "resources: [web.yaml]\npatches: [{path: patch.yaml}]\n".into(),
        ),
        ("bomb/web.yaml".into(), WEB.into()),
        (
            "patches/kustomization.yaml".into(),
            format!(
                "resources: [web.yaml]\npatches:\n{}",
                "- {path: web.yaml}\n".repeat(100_000)
            ),
        ),
        ("patches/web.yaml".into(), WEB.into()),
        ("bomb/patch.yaml".into(), bomb()),
        (
            "long-patch/kustomization.yaml".into(),
            "resources: [web.yaml]\npatches: [{path: patch.yaml}]\n".into(),
        ),
        ("long-patch/web.yaml".into(), WEB.into()),
        (
            "long-patch/patch.yaml".into(),
            format!(
                "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  template:\n    spec:\n      containers:\n      \
                 - name: web\n        env:\n{}",
                "        - {name: a, value: b}\n".repeat(20_000),
            ),
        ),
        (
            "long-replacements/kustomization.yaml".into(),
            "resources: [web.yaml]\nreplacements: [{path: more/all.yaml}]\n".into(),
        ),
        ("long-replacements/web.yaml".into(), WEB.into()),
        (
            "long-replacements/more/all.yaml".into(),
            format!(
                "source: {{kind: ConfigMap, fieldPath: data.value}}\ntargets:\n{}",
                "- {select: {kind: ConfigMap}, fieldPaths: [data.a]}\n".repeat(20_000)
            ),
        ),
        ("many/Chart.yaml".into(), chart("many")),
        ("link/Chart.yaml".into(), chart("link")),
        ("link/templates/web.yaml".into(), WEB.into()),
        (
            "base-link/kustomization.yaml".into(),
            "resources: [out.yaml]\n".into(),
        ),
    ];
    // Ten thousand templates, each with more objects than fit.
    for number in 0..10_000 {
        let text = format!(
            "{{{{ range until 4 }}}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m{number}-{{{{ . }}}}}}\n{{{{ end }}}}\n"
        );
        files.push((format!("many/templates/m{number}.yaml"), text));
    }
    let mut changes: Vec<(&str, Change<'_>)> = files
        .iter()
        .map(|(path, text)| (&**path, Change::Write(text)))
        .collect();
    for path in ["link/templates/out.yaml", "base-link/out.yaml"] {
        changes.push((path, Change::Symlink("../../../../etc/passwd")));
    }
    case.repo.commit_with(NewCommit {
        message: "hostile",
        changes: &changes,
        ..NewCommit::default()
    });
}

#[tokio::test]
async fn renders_that_exceed_each_limit_hold_up_nobody_and_say_why() {
    // An operator of its own: a render of another test would wait for a turn among these.
    let folder = tokio::task::spawn_blocking(renderers::folder).await;
    let renderers = format!("--renderers-dir={}", folder.unwrap().display());
    let world = World::own(Options::default(), &[&renderers]).await;
    let hostile = world.case("hostile-renders").await;
    let healthy = world.case("healthy-render").await;
    commit(&hostile);
    let first = healthy.repo.commit(
        &[
            ("app/kustomization.yaml", Some("resources: [web.yaml]\n")),
            (
                "app/web.yaml",
                Some(&config_map("web", &healthy.namespace, "one")),
            ),
        ],
        "healthy",
    );
    hostile.repository(json!({})).await;
    for row in rows() {
        let mut spec = row.spec;
        spec["targetNamespace"] = json!(hostile.namespace);
        hostile.sync(row.name, spec).await;
    }
    // Meanwhile, another namespace goes live and follows.
    let began = Instant::now();
    healthy.repository(json!({})).await;
    healthy.sync("app", json!({"path": "app"})).await;
    healthy.synced("app", &first).await;
    for value in ["two", "three"] {
        let text = config_map("web", &healthy.namespace, value);
        let commit = healthy.push(&[("app/web.yaml", Some(&text))], value).await;
        healthy.synced("app", &commit).await;
        healthy.has("web", "value", Some(value)).await;
    }
    assert!(began.elapsed() < PATIENCE);

    for row in rows() {
        let began = Instant::now();
        let sync = loop {
            let sync = hostile
                .api::<towline::api::Sync>()
                .get(row.name)
                .await
                .unwrap();
            let (status, reason, message) = condition(&sync, "Ready");
            if status == "False" && row.reasons.contains(&&*reason) {
                break sync;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{}: {status} {reason} {message}",
                row.name
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let (.., message) = condition(&sync, "Ready");
        eprintln!("{}: {message}", row.name);
        assert_says(&message, row.says);
        hostile.has("web", "value", None).await;
    }
}
