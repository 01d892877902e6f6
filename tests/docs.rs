//! Promises of the documentation and `deploy/`: the API server accepts their manifests, and every reason
//! is described.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use towline::api::{GitRepository, Sync};

use crate::pages::{self, root};
use crate::world::{Case, PATIENCE, Plane, World, config_map, world};
use towline_testing::control_plane::{ControlPlane, Options};
use towline_testing::definitions::established;
use towline_testing::git::GitServer;
use towline_testing::kubectl::kubectl;
use towline_testing::operator::{Operator, OperatorOptions};
use towline_testing::scratch::Scratch;
use towline_testing::wait::eventually;

async fn dry_run(cp: &ControlPlane, files: &[&Path]) -> String {
    let mut args = vec!["apply", "--server-side", "--dry-run=server"];
    for file in files {
        args.extend(["-f", file.to_str().unwrap()]);
    }
    kubectl(&cp.kubeconfig_path(), &args).await
}

/// Each promise of the page on security names its tests, and they exist.
#[test]
fn every_promise_of_security_has_its_test() {
    let page = pages::text("docs/security.md");
    let rows = ["## Promises", "## Nothing is lost"].map(|heading| {
        let (_, promises) = page.split_once(heading).unwrap();
        let rows = promises
            .lines()
            .skip_while(|line| !line.starts_with("|---"));
        let rows = rows.skip(1).take_while(|line| line.starts_with('|'));
        rows.collect::<Vec<_>>()
    });
    let mut count = 0;
    for row in rows.concat() {
        count += 1;
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            let (module, name) = test.rsplit_once("::").unwrap();
            let path = module.replace("::", "/");
            let files = [
                format!("tests/{path}.rs"),
                format!("src/{path}.rs"),
                format!("src/{path}/tests.rs"),
            ];
            let texts = files.map(|file| fs::read_to_string(root().join(file)).unwrap_or_default());
            let declared = format!("fn {name}()");
            assert!(
                texts.iter().any(|text| text.contains(&declared)),
                "{test} does not exist"
            );
        }
    }
    assert!(count > 40, "{count} promises");
}

#[tokio::test]
async fn the_manifests_of_the_pages_are_accepted() {
    let world = world().await;
    let scratch = Scratch::new().unwrap();
    let pages = pages::all().into_values();
    let examples: Vec<String> = pages
        .flat_map(|page| pages::blocks(&page, "yaml"))
        .collect();
    assert!(!examples.is_empty(), "no examples found");
    for (index, example) in examples.iter().enumerate() {
        let file = scratch.path().join(format!("{index}.yaml"));
        fs::write(&file, example).unwrap();
        let applied = dry_run(&world.cp, &[&file]).await;
        let objects = example.matches("\nkind: ").count();
        assert_eq!(
            applied.matches("serverside-applied").count(),
            objects,
            "{applied}"
        );
    }
}

/// The first install without Helm, in one command as on its page, works on an empty cluster.
#[tokio::test]
async fn the_deployment_is_accepted() {
    let world = world().await;
    let (crds, deploy) = (root().join("crds"), root().join("deploy"));
    let args = [
        "apply",
        "--server-side",
        "-f",
        crds.to_str().unwrap(),
        "-f",
        deploy.to_str().unwrap(),
    ];
    let config = world.cp.kubeconfig_path();
    let applied = kubectl(&config, &args).await;
    assert!(applied.contains("deployment.apps/towline serverside-applied"));
    let command = "kubectl apply --server-side -f crds/ -f deploy/";
    assert!(pages::text("docs/guides/install.md").contains(command));
    // Pod security is enforced when a pod is created. For a Deployment the server only warns.
    let overrides = pod_of_the_deployment();
    let scratch = Scratch::new().unwrap();
    let file = scratch.path().join("pod.json");
    fs::write(&file, overrides.to_string()).unwrap();
    let pod = dry_run(&world.cp, &[&file]).await;
    assert!(pod.contains("pod/towline serverside-applied"), "{pod}");
}

const ACCOUNT: &str = "system:serviceaccount:towline-system:towline";
const GROUPS: [&str; 2] = ["system:serviceaccounts", "system:authenticated"];

/// The Deployment's role for towline's own work is enough, together with rights on the objects in Git.
/// Without cluster-admin, towline drives one namespace and changes nothing outside of it.
#[tokio::test]
async fn the_least_rights_are_enough() {
    let cp = ControlPlane::start(Options {
        // Many clusters have this plugin: setting an owner reference with blockOwnerDeletion needs a
        // right on the owner's finalizers.
        api_server_args: vec![
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned(),
        ],
        ..Options::default()
    })
    .await;
    let config = cp.kubeconfig_path();
    let (crds, deploy) = (root().join("crds"), root().join("deploy"));
    let namespace = cp.namespace("rights").await;
    let account = "towline-system:towline";
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    for command in [
        format!(
            "apply --server-side -f {} -f {}",
            path(&crds),
            path(&deploy)
        ),
        "delete clusterrolebinding towline-applies-anything".to_owned(),
        format!(
            "create role git -n {namespace} --resource=configmaps \
             --verb=get,list,watch,create,patch,delete"
        ),
        format!("create rolebinding git -n {namespace} --role=git --serviceaccount={account}"),
    ] {
        let args: Vec<&str> = command.split_whitespace().collect();
        kubectl(&config, &args).await;
    }
    established(&cp).await.unwrap();
    let mut options = OperatorOptions::watching(&cp, &namespace);
    options.kubeconfig = cp.kubeconfig_as(ACCOUNT, &GROUPS);
    // Where the role lets it make its key.
    options
        .args
        .push("--lease-namespace=towline-system".to_owned());
    let operator = Operator::start(options).await;
    let world = World {
        cp: Plane::Own(Box::new(cp)),
        git: GitServer::start(),
        operator,
    };
    let case = Case {
        repo: world.git.repo("rights"),
        client: world.cp.client().await,
        namespace: namespace.clone(),
        world: &world,
    };

    let [a, b] = ["a", "b"].map(|name| config_map(name, &namespace, "one"));
    let first = case
        .repo
        .commit(&[("a.yaml", Some(&a)), ("b.yaml", Some(&b))], "first");
    case.repository(json!({"sync": {"prune": true}})).await;
    case.synced("repo", &first).await;
    let second = case.push(&[("a.yaml", None)], "remove a").await;
    case.synced("repo", &second).await;
    case.has("a", "value", None).await;

    let outside = config_map("outside", "default", "one");
    case.push(&[("outside.yaml", Some(&outside))], "outside")
        .await;
    let message = case.ready_becomes("repo", "False", "InvalidManifest").await;
    assert!(message.contains("only objects of namespace"), "{message}");
    eventually("events", PATIENCE, async || {
        case.events("Converged").await.first().cloned()
    })
    .await;

    case.delete::<GitRepository>("repo").await;
    case.delete::<Sync>("repo").await;
    case.has("b", "value", None).await;
}

/// A pod with the Deployment's template.
fn pod_of_the_deployment() -> Value {
    let text = fs::read(root().join("deploy/towline.yaml")).unwrap();
    let documents = towline::manifest::documents(&text).unwrap();
    let mut deployment = documents
        .into_iter()
        .find(|document| document.value["kind"] == "Deployment")
        .unwrap()
        .value;
    let mut pod = deployment["spec"]["template"].take();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = "towline".into();
    pod["metadata"]["namespace"] = "towline-system".into();
    pod
}

#[test]
fn the_image_of_the_deployment_is_this_version() {
    let pod = pod_of_the_deployment();
    let image = pod["spec"]["containers"][0]["image"].as_str().unwrap();
    assert_eq!(image, format!("towline:{}", env!("CARGO_PKG_VERSION")));
    assert!(
        pages::text("README.md").contains(&format!("docker build -t registry.example/{image} ."))
    );
}

/// The variants of an enum of the API, parsed from its source.
fn variants(name: &str) -> BTreeSet<String> {
    let source = fs::read_to_string(root().join("src/api/condition.rs")).unwrap();
    let (_, body) = source.split_once(&format!("pub enum {name} {{")).unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let lines = body
        .lines()
        .filter_map(|line| line.trim().strip_suffix(','));
    lines
        .filter(|line| line.chars().all(char::is_alphanumeric))
        .map(str::to_owned)
        .collect()
}

/// Every reason has a heading, so that links such as `reasons.md#applyfailed` work, and says what to do.
#[test]
fn every_reason_is_described() {
    let reasons = variants("Reason");
    assert!(reasons.len() > 20 && reasons.contains("Converged"));
    let page = pages::text("docs/operate/reasons.md");
    let sections: BTreeMap<String, &str> = page
        .split("\n### ")
        .skip(1)
        .map(|section| {
            let (name, text) = section.split_once('\n').unwrap();
            (name.to_owned(), text)
        })
        .collect();
    let described: BTreeSet<String> = sections.keys().cloned().collect();
    assert_eq!(described, reasons);
    for (name, text) in sections {
        for part in ["**Where:**", "**Meaning:**", "**Way out:**"] {
            assert!(text.contains(part), "{name} has no {part}");
        }
    }
}

#[test]
fn every_condition_is_described() {
    let page = pages::text("docs/reference/status.md");
    let conditions = variants("ConditionType");
    assert!(conditions.len() > 3 && conditions.contains("Ready"));
    for condition in conditions {
        assert!(
            page.contains(&format!("\n| `{condition}` | ")),
            "{condition}"
        );
    }
}
