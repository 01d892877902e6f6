//! What the chart renders from its values, with the real Helm and without a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use towline::manifest::documents;

use towline_testing::helm::Helm;
use towline_testing::scratch::Scratch;

/// The chart's folder.
pub fn chart() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/chart")
}

/// A values file that the chart includes for its tests.
pub fn values(name: &str) -> String {
    format!("{}/ci/{name}-values.yaml", chart())
}

/// The documents of a file or of Helm's output.
pub fn read(text: &str) -> Vec<Value> {
    let documents = documents(text.as_bytes()).unwrap();
    documents
        .into_iter()
        .map(|document| document.value)
        .collect()
}

/// The objects that the chart renders, by `Kind/name`. `args` are further arguments of Helm.
pub async fn rendered(args: &[&str]) -> BTreeMap<String, Value> {
    let template = ["template", "towline", chart(), "--namespace=towline-system"];
    let text = Helm::offline().await.run(&[&template, args].concat()).await;
    let objects = read(&text).into_iter();
    objects.map(|object| (title(&object), object)).collect()
}

fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!(
        "{}/{}",
        text(&object["kind"]),
        text(&object["metadata"]["name"])
    )
}

/// Helm's error when it renders the chart with these settings.
async fn refusal(settings: &[&str]) -> String {
    let mut args = vec!["template", "towline", chart()];
    for setting in settings {
        args.extend(["--set-json", setting]);
    }
    let refused = Helm::offline().await.try_run(&args).await;
    refused.expect_err(&format!("{settings:?} are taken"))
}

fn file(path: &str) -> Value {
    let text = fs::read_to_string(Path::new(chart()).join(path)).unwrap();
    read(&text).remove(0)
}

#[test]
fn the_chart_has_the_programs_version() {
    let chart = file("Chart.yaml");
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn helm_lint_succeeds() {
    let helm = Helm::offline().await;
    helm.run(&["lint", "--strict", chart()]).await;
    for name in ["everything", "nothing", "namespace"] {
        helm.run(&["lint", "--strict", chart(), "--values", &values(name)])
            .await;
    }
}

#[tokio::test]
async fn by_default_one_pod_follows_the_whole_cluster() {
    let objects = rendered(&[]).await;
    let titles: Vec<&str> = objects.keys().map(String::as_str).collect();
    let expected = [
        "ClusterRole/towline",
        "ClusterRoleBinding/towline",
        "ClusterRoleBinding/towline-applies-anything",
        "CustomResourceDefinition/alerts.towline.dev",
        "CustomResourceDefinition/gitrepositories.towline.dev",
        "CustomResourceDefinition/providers.towline.dev",
        "CustomResourceDefinition/syncs.towline.dev",
        "Deployment/towline",
        "Role/towline-key",
        "Role/towline-lease",
        "RoleBinding/towline-key",
        "RoleBinding/towline-lease",
        "Service/towline-metrics",
        "Service/towline-webhook",
        "ServiceAccount/towline",
    ];
    assert_eq!(titles, expected);
    let deployment = &objects["Deployment/towline"]["spec"];
    assert_eq!(deployment["replicas"], 1);
    // In an upgrade, the new pod is ready before the old one ends.
    assert_eq!(deployment["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    let image = &deployment["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, concat!("towline:", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn every_switch_turns_something_on() {
    let objects = rendered(&["--values", &values("everything")]).await;
    let titles: BTreeSet<&str> = objects.keys().map(String::as_str).collect();
    for title in [
        "ClusterRole/towline-all-applies",
        "ClusterRole/towline-all-edit",
        "ClusterRole/towline-all-view",
        "ClusterRoleBinding/towline-all-applies",
        "ConfigMap/towline-all-dashboard",
        "Ingress/towline-all-webhook",
        "NetworkPolicy/towline-all",
        "PersistentVolumeClaim/towline-all-cache",
        "PodDisruptionBudget/towline-all",
        "PrometheusRule/towline-all",
        "ServiceAccount/deployer",
        "ServiceMonitor/towline-all",
    ] {
        assert!(titles.contains(title), "{title} is not in {titles:#?}");
    }
    assert!(!titles.contains("ClusterRoleBinding/towline-all-applies-anything"));
    for (title, object) in &objects {
        let labels = &object["metadata"]["labels"];
        assert_eq!(labels["team"], "platform", "{title}");
        assert_eq!(labels["app.kubernetes.io/name"], "towline", "{title}");
    }
    let crd = &objects["CustomResourceDefinition/syncs.towline.dev"]["metadata"];
    assert_eq!(crd["annotations"]["helm.sh/resource-policy"], "keep");
    assert_eq!(crd["annotations"]["example.com/owner"], "platform");
    let pod = &objects["Deployment/towline-all"]["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "deployer");
    let image = pod["containers"][0]["image"].as_str().unwrap();
    assert!(image.starts_with("registry.example/towline@sha256:0123"));
    let written = &objects["ClusterRole/towline-all-applies"]["rules"];
    let verbs: Vec<&str> = written[0]["verbs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let all = ["get", "list", "watch", "create", "patch", "delete"];
    assert_eq!(
        verbs, all,
        "the verbs that towline needs for managed objects"
    );
    assert_eq!(written[1]["resourceNames"][0], "web");
}

/// What towline itself may do where only tenants' accounts apply.
#[tokio::test]
async fn tenants_only_is_impersonation_reading_and_towlines_own_kinds() {
    for more in [&[][..], &["--set=watchNamespace=shop"]] {
        let only = ["--set=rbac.tenantsOnly=true", "--set=crds.install=false"];
        let objects = rendered(&[&only, more].concat()).await;
        let mut writes = BTreeSet::new();
        // Not even an Alert reaches into another tenant's namespace.
        let containers = &objects["Deployment/towline"]["spec"]["template"]["spec"]["containers"];
        let variables = containers[0]["env"].as_array().unwrap();
        let own_only = json!({"name": "TOWLINE_NO_CROSS_NAMESPACE", "value": "true"});
        assert!(variables.contains(&own_only), "{variables:?}");
        for (title, object) in &objects {
            assert!(!title.contains("applies"), "{title}");
            for rule in object["rules"].as_array().into_iter().flatten() {
                let words = |field: &str| -> Vec<String> {
                    let words = rule[field].as_array().into_iter().flatten();
                    words.filter_map(Value::as_str).map(str::to_owned).collect()
                };
                for verb in words("verbs") {
                    if !["get", "list", "watch"].contains(&&*verb) {
                        let resources = words("resources").join(",");
                        writes.insert(format!("{title}: {verb} {resources}"));
                    }
                }
            }
        }
        let scope = if more.is_empty() {
            "ClusterRole"
        } else {
            "Role"
        };
        let expected = [
            format!("{scope}/towline: impersonate serviceaccounts"),
            format!("{scope}/towline: create events"),
            format!("{scope}/towline: update gitrepositories/finalizers"),
            format!("{scope}/towline: patch alerts/status,gitrepositories/status,providers/status"),
            format!("{scope}/towline: update syncs/status"),
            format!("{scope}/towline: patch syncs/status"),
            format!("{scope}/towline: create syncs"),
            format!("{scope}/towline: patch syncs"),
            format!("{scope}/towline: delete syncs"),
            "Role/towline-key: create secrets".to_owned(),
            "Role/towline-lease: create leases".to_owned(),
            "Role/towline-lease: update leases".to_owned(),
        ];
        assert_eq!(writes, BTreeSet::from(expected));
        let container = &objects["Deployment/towline"]["spec"]["template"]["spec"]["containers"][0];
        let mut variables = container["env"].as_array().into_iter().flatten();
        let account = variables.find(|is| is["name"] == "TOWLINE_DEFAULT_SERVICE_ACCOUNT");
        assert_eq!(account.unwrap()["value"], "default");
    }
}

/// By the verb `update`, towline knows that Git may hold its own kinds.
#[tokio::test]
async fn a_rule_for_towlines_own_kinds_lets_git_hold_them() {
    for (group, updates) in [("towline.dev", true), ("*", true), ("apps", false)] {
        let rules = format!(
            "rbac={{\"applyAnything\":false,\"rules\":[{{\"apiGroups\":[\"{group}\"],\"resources\":[\"*\"]}}]}}"
        );
        let objects = rendered(&["--set-json", &rules]).await;
        let verbs = &objects["ClusterRole/towline-applies"]["rules"][0]["verbs"];
        let verbs = verbs.as_array().unwrap();
        assert_eq!(
            verbs.iter().any(|verb| verb == "update"),
            updates,
            "{group}"
        );
    }
}

#[tokio::test]
async fn every_switch_turns_something_off() {
    let objects = rendered(&["--values", &values("nothing")]).await;
    let titles: Vec<&str> = objects.keys().map(String::as_str).collect();
    assert_eq!(titles, ["Deployment/towline"]);
    let deployment = &objects["Deployment/towline"]["spec"];
    assert_eq!(deployment["strategy"]["type"], "Recreate");
    let pod = &deployment["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "given");
}

#[tokio::test]
async fn one_namespace_needs_no_right_outside_of_it() {
    for more in [
        &["--set", "watchNamespace=shop"][..],
        &["--values", &values("namespace")],
    ] {
        let objects = rendered(&[more, &["--set", "crds.install=false"]].concat()).await;
        for (title, object) in &objects {
            assert!(!title.starts_with("Cluster"), "{title}");
            let namespace = &object["metadata"]["namespace"];
            let is_own = title.ends_with("-lease") || title.ends_with("-key");
            let is_right = title.starts_with("Role") && !is_own;
            let expected = if is_right { "shop" } else { "towline-system" };
            assert_eq!(namespace, expected, "{title}");
        }
        let container = &objects["Deployment/towline"]["spec"]["template"]["spec"]["containers"][0];
        let variable = container["env"].as_array().into_iter().flatten();
        let mut watched = variable.filter(|is| is["name"] == "TOWLINE_WATCH_NAMESPACE");
        assert_eq!(watched.next().unwrap()["value"], "shop");
    }
}

#[tokio::test]
async fn traces_go_where_the_values_say_and_their_headers_come_from_a_secret() {
    let variables = async |args: &[&str]| -> Vec<Value> {
        let objects = rendered(args).await;
        let containers = &objects["Deployment/towline"]["spec"]["template"]["spec"]["containers"];
        let all = containers[0]["env"].as_array().into_iter().flatten();
        let ours = all.filter(|is| is["name"].as_str().unwrap_or_default().starts_with("OTEL_"));
        ours.cloned().collect()
    };
    let (endpoint, secret) = (
        "--set=traces.endpoint=http://c:4318",
        "--set=traces.headersSecret=collector",
    );
    assert_eq!(variables(&[]).await, [] as [Value; 0]);
    // Headers alone ask for no traces.
    assert_eq!(variables(&[secret]).await, [] as [Value; 0]);
    let address = json!({"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://c:4318"});
    let from = json!({"secretKeyRef": {"name": "collector", "key": "headers"}});
    let headers = json!({"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": from});
    let both = [address, headers];
    assert_eq!(variables(&[endpoint]).await, both[..1]);
    assert_eq!(variables(&[endpoint, secret]).await, both);
}

/// The package contains every file that the templates read.
#[tokio::test]
async fn the_package_contains_every_file() {
    let scratch = Scratch::new().unwrap();
    let folder = scratch.path().to_str().unwrap();
    let helm = Helm::offline().await;
    helm.run(&["package", chart(), "--destination", folder])
        .await;
    let package = format!("{folder}/towline-{}.tgz", env!("CARGO_PKG_VERSION"));
    let mut rendered = Vec::new();
    for chart in [chart(), &package] {
        let args = ["template", "towline", chart, "--values"];
        let everything = values("everything");
        rendered.push(helm.run(&[&args[..], &[&everything]].concat()).await);
    }
    assert_eq!(rendered[0], rendered[1]);
}

/// The chart installs the same rules and dashboard that the tests with Prometheus use.
#[tokio::test]
async fn rules_and_dashboard_are_the_files_that_are_tested() {
    let objects = rendered(&["--values", &values("everything")]).await;
    let of_kind = |kind: &str, ends: &str| {
        let mut objects = objects.iter();
        let found = objects.find(|(title, _)| title.starts_with(kind) && title.ends_with(ends));
        found.unwrap_or_else(|| panic!("no {kind}")).1
    };
    let rules = of_kind("PrometheusRule/", "");
    // With `docsUrl`, the runbooks are links.
    let mut expected = file("files/rules.yaml");
    let groups = expected["groups"].as_array_mut().unwrap();
    for rule in groups
        .iter_mut()
        .flat_map(|group| group["rules"].as_array_mut().unwrap())
    {
        if let Some(runbook) = rule.pointer_mut("/annotations/runbook") {
            let url = "https://git.example.com/platform/towline/blob/main";
            *runbook = format!("{url}/{}", runbook.as_str().unwrap()).into();
        }
    }
    assert_eq!(rules["spec"], expected);
    let dashboard = of_kind("ConfigMap/", "-dashboard");
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = dashboard["data"]["towline.json"].as_str().unwrap();
    let kept = fs::read_to_string(Path::new(chart()).join("files/dashboard.json")).unwrap();
    assert_eq!(text.trim(), kept.trim());
}

/// Compares kubectl's result, because Helm parses and prints the definitions again.
#[tokio::test]
async fn the_definitions_are_those_of_the_program() {
    let objects = rendered(&[]).await;
    let plain = rendered(&["--set", "crds.keep=false"]).await;
    for (_, text) in towline::crds::files().unwrap() {
        let crd = read(&text).remove(0);
        let title = title(&crd);
        assert_eq!(objects[&title]["spec"], crd["spec"], "{title}");
        let labels = &objects[&title]["metadata"]["labels"];
        for (name, value) in crd["metadata"]["labels"].as_object().into_iter().flatten() {
            assert_eq!(&labels[name], value, "{title}");
        }
        let policy = |object: &Value| {
            let annotations = &object["metadata"]["annotations"];
            annotations["helm.sh/resource-policy"].clone()
        };
        assert_eq!(policy(&objects[&title]), "keep");
        assert_eq!(policy(&plain[&title]), Value::Null);
    }
}

#[tokio::test]
async fn an_invalid_value_is_refused_with_its_path() {
    for (setting, says) in [
        (
            "replica=2",
            &["additional properties 'replica' not allowed"][..],
        ),
        ("image.tag=1", &["/image/tag", "got number, want string"]),
        (
            "image.digest=\"latest\"",
            &["/image/digest", "does not match pattern"],
        ),
        (
            "logFormat=\"xml\"",
            &["/logFormat", "must be one of 'text', 'json'"],
        ),
        (
            "diffAfter=\"soon\"",
            &["/diffAfter", "does not match pattern"],
        ),
        (
            "leaderElection.leaseDuration=\"500ms\"",
            &["/leaderElection/leaseDuration", "does not match pattern"],
        ),
        (
            "metrics.serviceMonitor.interval=\"1.5s\"",
            &["/metrics/serviceMonitor/interval", "does not match pattern"],
        ),
        (
            "watchNamespace=\"Team A\"",
            &["/watchNamespace", "does not match pattern"],
        ),
        (
            "cache.type=\"hostPath\"",
            &["/cache/type", "must be one of"],
        ),
        (
            "rbac.rules=[{\"resources\":[\"pods\"]}]",
            &["/rbac/rules/0", "missing property 'apiGroups'"],
        ),
        (
            "traces.endpoint=\"collector:4318\"",
            &["/traces/endpoint", "does not match pattern"],
        ),
        (
            "webhook.ingress.host=\"a.example\"",
            &["/webhook/ingress", "'host' not allowed"],
        ),
    ] {
        let refusal = refusal(&[setting]).await;
        for part in says {
            assert!(refusal.contains(part), "{setting}: {refusal}");
        }
    }
}

#[tokio::test]
async fn settings_that_do_not_go_together_are_refused() {
    let rules = "rbac.rules=[{\"apiGroups\":[\"\"],\"resources\":[\"pods\"]}]";
    for (settings, says) in [
        (&[rules][..], "set rbac.applyAnything to false"),
        (
            &[rules, "rbac.tenantsOnly=true"],
            "gives towline rights of its own",
        ),
        (
            &["replicas=2", "leaderElection.enabled=false"],
            "several replicas need leaderElection.enabled",
        ),
        (
            &["replicas=2", "cache.type=\"persistentVolumeClaim\""],
            "each needs a cache of its own",
        ),
        (
            &["webhook.ingress.enabled=true"],
            "webhook.ingress.hosts is empty",
        ),
        (
            &[
                "webhook.ingress.enabled=true",
                "webhook.service.enabled=false",
            ],
            "needs webhook.service.enabled",
        ),
        (
            &[
                "metrics.serviceMonitor.enabled=true",
                "metrics.serviceMonitor.interval=\"1m\"",
                "metrics.serviceMonitor.scrapeTimeout=\"1m1s\"",
            ],
            "scrapeTimeout is longer than its interval",
        ),
        (
            &[
                "metrics.serviceMonitor.enabled=true",
                "metrics.service.enabled=false",
            ],
            "needs metrics.service.enabled",
        ),
    ] {
        let refusal = refusal(settings).await;
        assert!(refusal.contains(says), "{settings:?}: {refusal}");
    }
}

/// Every setting with a fixed set of words has an effect in the rendered objects for each word.
#[tokio::test]
async fn every_word_of_a_setting_is_rendered() {
    let schema = file("values.schema.json");
    let mut settings = settings_of_the_schema(&schema, "");
    settings.retain(|path| words(&schema, path).is_some());
    assert!(settings.contains("cache.type"), "{settings:?}");
    for path in settings {
        for word in words(&schema, &path).into_iter().flatten() {
            let word = word.as_str().unwrap();
            let objects = rendered(&["--set", &format!("{path}={word}")]).await;
            let is_said = objects.values().any(|object| says(object, word));
            assert!(is_said, "{path}={word}");
        }
    }
}

/// The words that a setting allows.
fn words<'a>(schema: &'a Value, path: &str) -> Option<&'a Vec<Value>> {
    let inner = path
        .split('.')
        .try_fold(schema, |schema, name| schema["properties"].get(name))?;
    inner["enum"].as_array()
}

/// Whether an object contains a word as a value or as a field's name.
fn says(object: &Value, word: &str) -> bool {
    match object {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, inner)| name == word || says(inner, word)),
        Value::Array(items) => items.iter().any(|inner| says(inner, word)),
        _ => object == word,
    }
}

#[tokio::test]
async fn egress_without_rules_allows_only_the_other_replica() {
    let settings = "networkPolicy={\"enabled\":true,\"egress\":{\"enabled\":true,\"rules\":[]}}";
    let objects = rendered(&["--set-json", settings]).await;
    let egress = objects["NetworkPolicy/towline"]["spec"]["egress"].as_array();
    assert_eq!(egress.map(Vec::len), Some(1));
}

/// Helm allows 53 characters for a release name, Kubernetes 63 for a Service name.
#[tokio::test]
async fn a_long_name_fits() {
    let release = "r".repeat(53);
    let helm = Helm::offline().await;
    let text = helm.run(&["template", &release, chart()]).await;
    let objects = read(&text);
    let services = objects.iter().filter(|object| object["kind"] == "Service");
    let names: Vec<&str> = services
        .filter_map(|service| service["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| name.len() <= 63), "{names:?}");
}

/// Fails if a setting has no rule in the schema, or a rule has no setting.
#[test]
fn the_schema_names_exactly_the_values() {
    let mut allowed = settings_of_the_schema(&file("values.schema.json"), "");
    assert!(
        allowed.remove("global"),
        "the schema allows global, which a parent chart passes on"
    );
    let values = file("values.yaml");
    for path in &allowed {
        assert!(at(&values, path).is_some(), "{path} has no default");
    }
    let closed = |value: &Value, path: &str| {
        let inner = value.as_object().filter(|_| !allowed.contains(path));
        inner.cloned()
    };
    let mut open = vec![(String::new(), values)];
    while let Some((path, value)) = open.pop() {
        for (name, inner) in closed(&value, &path).into_iter().flatten() {
            let path = join(&path, &name);
            let is_known = allowed.contains(&path)
                || allowed
                    .iter()
                    .any(|other| other.starts_with(&format!("{path}.")));
            assert!(is_known, "{path} is not in the schema");
            open.push((path, inner));
        }
    }
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    }
}

fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(value, |value, name| value.get(name))
}

/// The paths of the settings in the schema: those that have no named fields below them.
fn settings_of_the_schema(schema: &Value, path: &str) -> BTreeSet<String> {
    match schema["properties"].as_object() {
        Some(properties) => properties
            .iter()
            .flat_map(|(name, inner)| settings_of_the_schema(inner, &join(path, name)))
            .collect(),
        None => BTreeSet::from([path.to_owned()]),
    }
}

/// A template reads every setting.
#[test]
fn every_setting_does_something() {
    let mut templates = String::new();
    let mut folders = vec![PathBuf::from(chart()).join("templates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            templates.push_str(&fs::read_to_string(entry.unwrap().path()).unwrap());
        }
    }
    let mut settings = settings_of_the_schema(&file("values.schema.json"), "");
    settings.remove("global");
    for setting in settings {
        // Templates also read inner settings through a variable.
        let said = setting
            .strip_prefix("metrics.")
            .map(|inner| format!("$metrics.{inner}"));
        let is_read = templates.contains(&format!(".Values.{setting}"))
            || said.is_some_and(|said| templates.contains(&said));
        assert!(is_read, "no template reads {setting}");
    }
}

/// The program reads every variable that the Deployment sets.
#[tokio::test]
async fn every_variable_is_one_of_the_program() {
    use clap::CommandFactory as _;
    let mut command = towline::config::Cli::command();
    let run = command.find_subcommand_mut("run").unwrap();
    let known: BTreeSet<String> = run
        .get_arguments()
        .filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()))
        .collect();
    let objects = rendered(&["--set", "watchNamespace=shop"]).await;
    let container = &objects["Deployment/towline"]["spec"]["template"]["spec"]["containers"][0];
    let variables = container["env"].as_array().into_iter().flatten();
    let names: Vec<&str> = variables.filter_map(|is| is["name"].as_str()).collect();
    assert!(names.len() > 3, "{names:?}");
    let ours = names.iter().filter(|name| name.starts_with("TOWLINE_"));
    for name in ours {
        assert!(known.contains(*name), "{name}");
    }
}
