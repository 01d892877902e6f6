//! Pictures of the command line at work, for its guide: made by the real program on a real cluster, and as they are
//! in Git but for ages, ids and addresses. `TOWLINE_BLESS=1` takes them again:
//!
//! ```sh
//! TOWLINE_BLESS=1 cargo test --test e2e captures
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anstyle_svg::Term;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use regex::Regex;
use serde_json::json;
use towline_testing::kubeconfig::User;
use towline_testing::operator::built;
use towline_testing::scratch::Scratch;
use towline_testing::wait::eventually;

use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::{Case, PATIENCE, World, condition, world};

/// A namespace whose name is as a reader would choose it. No other test uses it.
const NAMESPACE: &str = "shop";

async fn scene(world: &World) -> Case<'_> {
    let client = world.cp.client().await;
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
    Api::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    Case {
        world,
        repo: world.git.repo(NAMESPACE),
        client,
        namespace: NAMESPACE.to_owned(),
    }
}

/// What a person types in a folder and what the program answers.
async fn typed(case: &Case<'_>, folder: &Path, line: &str) -> String {
    let mut command = Command::new(built());
    command
        .current_dir(folder)
        .args(line.split(' ').skip(1))
        .args(["--namespace", &case.namespace, "--color=always"])
        .env("KUBECONFIG", case.world.cp.kubeconfig_for(User::Person));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error, "", "{line}");
    let answer = String::from_utf8(output.stdout).unwrap();
    format!("\x1b[1m$ {line}\x1b[0m\n{answer}")
}

/// A picture without what differs each time: ages, ids, names of pods, and how wide columns are by that.
fn lasting(picture: &str) -> String {
    let mut text = picture.to_owned();
    for (pattern, instead) in [
        (r"search-[a-z0-9]+-[a-z0-9]+", "search-pod"),
        (r"[0-9a-f]{7,40}", "id"),
        (r"([0-9]+(ms|s|m|h))+\b", "age"),
        (r"[0-9]+", "0"),
        (r"[ \u{a0}]+", " "),
    ] {
        text = Regex::new(pattern)
            .unwrap()
            .replace_all(&text, instead)
            .into_owned();
    }
    text
}

/// Panics unless the picture in Git shows the same. With `TOWLINE_BLESS`, writes it instead.
fn assert_picture(name: &str, text: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("docs/captures/{name}.svg"));
    let picture = format!("{}\n", Term::new().render_svg(text).trim_end());
    if std::env::var_os("TOWLINE_BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &picture).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        lasting(&found),
        lasting(&picture),
        "docs/captures/{name}.svg is out of date, take it again with \
         TOWLINE_BLESS=1 cargo test --test e2e captures"
    );
}

#[tokio::test]
async fn the_pictures_of_the_guide_are_fresh() {
    let case = scene(world().await).await;
    let web = deployment("web", NAMESPACE, "");
    let settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: shop}\n\
                    data:\n  greeting: Welcome\n  currency: EUR\n";
    let search = deployment("search", NAMESPACE, UNSCHEDULABLE);
    let mail = deployment("mail", NAMESPACE, "").replace("replicas: 1", "replicas: -1");
    let files = [
        ("web/deployment.yaml", web.as_str()),
        ("web/settings.yaml", settings),
        ("search/deployment.yaml", &search),
        ("mail/deployment.yaml", &mail),
        (
            "reports/settings.yaml",
            &settings.replace("name: settings", "name: reports"),
        ),
    ];
    let committed: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, Some(*text)))
        .collect();
    let commit = case.repo.commit(&committed, "Open the shop");
    case.repository(json!({})).await;
    for name in ["web", "search", "mail", "reports"] {
        case.sync(name, json!({"path": name, "wait": true})).await;
    }
    case.synced("web", &commit).await;
    case.synced("reports", &commit).await;
    case.ready_becomes("search", "False", "HealthPending").await;
    case.until("mail", "it fails", |sync| {
        sync.status
            .as_ref()
            .is_some_and(|status| !status.failures.is_empty())
    })
    .await;
    let scratch = Scratch::new().unwrap();
    let folder = scratch.path();
    let reason = "towline suspend reports --reason=migration";
    typed(&case, folder, reason).await;
    case.until("reports", "it is suspended", |sync| {
        condition(sync, "Ready").1 == "Suspended"
    })
    .await;
    case.until("search", "the Deployment's state", |sync| {
        condition(sync, "Ready")
            .2
            .contains("0 of 1 replicas available")
    })
    .await;
    assert_picture("get", &typed(&case, folder, "towline get").await);
    let why = eventually("the scheduler's words", PATIENCE, async || {
        let text = typed(&case, folder, "towline why deploy/search").await;
        match text.contains("didn't match Pod's node affinity") {
            true => Ok(text),
            false => Err(text),
        }
    });
    assert_picture("why", &why.await);

    fs::create_dir(folder.join("web")).unwrap();
    let changed = [
        (
            "web/deployment.yaml",
            web.replace("replicas: 1", "replicas: 3"),
        ),
        ("web/settings.yaml", settings.replace("Welcome", "Hello")),
        (
            "web/banner.yaml",
            settings.replace("name: settings", "name: banner"),
        ),
    ];
    for (path, text) in changed {
        fs::write(folder.join(path), text).unwrap();
    }
    assert_picture("diff", &typed(&case, folder, "towline diff web").await);
}
