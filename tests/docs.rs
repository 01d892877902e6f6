//! What README.md and `deploy/` promise: the API server takes them, and nothing is left unsaid.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use towline::api::{GitRepository, Sync};
use towline::metrics::Metrics;

use crate::world::{Case, PATIENCE, Plane, World, config_map, world};
use towline_testing::control_plane::{ControlPlane, Options};
use towline_testing::definitions::established;
use towline_testing::git::GitServer;
use towline_testing::kubectl::kubectl;
use towline_testing::operator::{Operator, OperatorOptions};
use towline_testing::scratch::Scratch;
use towline_testing::wait::eventually;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let begun = text.split(&fence).skip(1);
    begun
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// What `text` says in backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

async fn dry_run(cp: &ControlPlane, files: &[&Path]) -> String {
    let mut args = vec!["apply", "--server-side", "--dry-run=server"];
    for file in files {
        args.extend(["-f", file.to_str().unwrap()]);
    }
    kubectl(&cp.kubeconfig_path(), &args).await
}

#[tokio::test]
async fn the_manifests_of_the_readme_are_accepted() {
    let world = world().await;
    let scratch = Scratch::new().unwrap();
    let examples = blocks(&readme(), "yaml");
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

/// The first install on an empty cluster, in one command, as the README has it.
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
    // Pod security is checked when a pod is made, and the Deployment's answer is only a warning.
    let overrides = pod_of_the_deployment();
    let scratch = Scratch::new().unwrap();
    let file = scratch.path().join("pod.json");
    fs::write(&file, overrides.to_string()).unwrap();
    let pod = dry_run(&world.cp, &[&file]).await;
    assert!(pod.contains("pod/towline serverside-applied"), "{pod}");
}

const ACCOUNT: &str = "system:serviceaccount:towline-system:towline";
const GROUPS: [&str; 2] = ["system:serviceaccounts", "system:authenticated"];

/// The role that the Deployment's account has for towline's own work is enough, beside rights on what is
/// in Git: without cluster-admin, one namespace is driven, and nothing outside of it is touched.
#[tokio::test]
async fn the_least_rights_are_enough() {
    let cp = ControlPlane::start(Options {
        // As many clusters have it: who names an owner must be allowed to hold up its deletion.
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
    let message = case.stands("repo", "False", "InvalidManifest").await;
    assert!(message.contains("only objects of namespace"), "{message}");
    eventually("events", PATIENCE, async || {
        case.events("Converged").await.first().cloned()
    })
    .await;

    case.delete::<GitRepository>("repo").await;
    case.delete::<Sync>("repo").await;
    case.has("b", "value", None).await;
}

/// The Deployment's pod template as a pod.
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
    assert!(readme().contains(&format!("docker build -t registry.example/{image} .")));
}

#[test]
fn every_field_is_in_the_readme() {
    let readme = readme();
    let said = quoted(&readme);
    for crd in towline::api::crds() {
        let crd = serde_json::to_value(crd).unwrap();
        let properties = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let mut fields = BTreeSet::new();
        names(&properties["spec"], &mut fields);
        let status = properties["status"]["properties"].as_object().unwrap();
        if crd["spec"]["names"]["kind"] == "Sync" {
            let told_elsewhere = ["conditions", "observedGeneration"];
            let fields_of_status = status.keys().map(String::as_str);
            fields.extend(fields_of_status.filter(|name| !told_elsewhere.contains(name)));
        }
        for field in fields {
            let is_said = |text: &&str| text.split('.').any(|part| part == field);
            assert!(said.iter().any(is_said), "{field}");
        }
    }
}

/// The names of all fields in a schema.
fn names<'a>(schema: &'a Value, found: &mut BTreeSet<&'a str>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        found.insert(name);
        names(inner, found);
        names(&inner["items"], found);
    }
}

/// Every condition and reason, as the source spells them: `Self::X => "X"`.
#[test]
fn every_condition_and_reason_is_in_the_readme() {
    let source = fs::read_to_string(root().join("src/api/condition.rs")).unwrap();
    let arms = source.lines().filter_map(|line| {
        let name = line.trim().strip_prefix("Self::")?;
        let (_, name) = name.split_once(" => \"")?;
        name.strip_suffix("\",")
    });
    let reasons: Vec<&str> = arms.collect();
    assert!(reasons.len() > 20 && reasons.contains(&"Converged"));
    let readme = readme();
    let rows: BTreeSet<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    for reason in reasons {
        assert!(rows.contains(reason), "{reason} has no row");
    }
}

#[test]
fn every_metric_is_in_the_readme() {
    let readme = readme();
    let said = quoted(&readme);
    let metrics = Metrics::default();
    metrics.leads(true);
    // A family that has no series yet is not told of.
    metrics.webhook("github", "woken");
    metrics.driven("Sync", 1);
    let metrics = metrics.encode();
    let types = metrics.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some(match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
    });
    let names: Vec<String> = types.collect();
    assert!(names.len() > 30, "{metrics}");
    for name in names {
        assert!(said.contains(name.as_str()), "{name}");
    }
}

/// Flags, their variables and their defaults.
#[test]
fn every_flag_is_in_the_readme() {
    use clap::CommandFactory as _;
    let readme = readme();
    let mut command = towline::config::Cli::command();
    let run = command.find_subcommand_mut("run").unwrap();
    let flags: Vec<_> = run
        .get_arguments()
        .filter(|arg| !arg.is_global_set())
        .collect();
    assert!(flags.len() > 4);
    for flag in flags.into_iter().filter(|flag| flag.get_id() != "help") {
        let name = flag.get_long().unwrap();
        let variable = flag.get_env().unwrap().to_string_lossy();
        let mut row = format!("| `--{name}` | `{variable}` | ");
        if let Some(default) = flag.get_default_values().first() {
            row.push_str(&format!("`{}`", default.to_string_lossy()));
        }
        assert!(readme.contains(&row), "{row}");
    }
}

/// Paths that the README names are there.
#[test]
fn every_path_of_the_readme_exists() {
    let readme = readme();
    let paths = quoted(&readme).into_iter().filter(|text| {
        ["src/", "deploy/", "crds/", "tests/", ".ci/"]
            .iter()
            .any(|folder| text.starts_with(folder))
    });
    let missing: Vec<PathBuf> = paths
        .map(|path| root().join(path))
        .filter(|path| !path.exists())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
