//! References between the chart's objects match: selectors and labels, port names and ports, object
//! names.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::chart::{rendered, values};

/// The objects of a release that has every switch on.
struct Release(BTreeMap<String, Value>);

impl Release {
    async fn new() -> Self {
        Self(rendered(&["--values", &values("everything")]).await)
    }

    fn of_kind(&self, kind: &str) -> Vec<&Value> {
        let of_kind = self.0.values().filter(|object| object["kind"] == kind);
        of_kind.collect()
    }

    /// The only object of a kind.
    fn the(&self, kind: &str) -> &Value {
        let [object] = self.of_kind(kind)[..] else {
            panic!("not one {kind}");
        };
        object
    }

    fn pod(&self) -> &Value {
        &self.the("Deployment")["spec"]["template"]
    }

    fn container(&self) -> &Value {
        &self.pod()["spec"]["containers"][0]
    }

    /// The number of one of the container's ports.
    fn port(&self, name: &Value) -> u64 {
        let mut ports = list(&self.container()["ports"]);
        let port = ports.find(|port| port["name"] == *name);
        let port = port.unwrap_or_else(|| panic!("the container has no port {name}"));
        port["containerPort"].as_u64().unwrap()
    }

    fn variable(&self, name: &str) -> &str {
        let mut variables = list(&self.container()["env"]);
        let variable = variables.find(|variable| variable["name"] == name).unwrap();
        variable["value"].as_str().unwrap()
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whether an object has the labels that a selector asks for.
fn selects(selector: &Value, labels: &Value) -> bool {
    let asked = selector.as_object().expect("a selector");
    assert!(
        !asked.is_empty(),
        "the selector is empty and selects everything"
    );
    asked.iter().all(|(name, value)| labels[name] == *value)
}

#[tokio::test]
async fn every_selector_selects_the_pods() {
    let release = Release::new().await;
    let policy = &release.the("NetworkPolicy")["spec"];
    let peers = list(&policy["ingress"]).flat_map(|rule| list(&rule["from"]));
    let peers = peers.chain(list(&policy["egress"]).flat_map(|rule| list(&rule["to"])));
    let replicas: Vec<&Value> = peers.filter_map(|peer| peer.get("podSelector")).collect();
    assert_eq!(
        replicas.len(),
        2,
        "expected the policy to let the standby reach the leader"
    );
    let selectors =
        ["Deployment", "PodDisruptionBudget"].map(|kind| &release.the(kind)["spec"]["selector"]);
    let mut labels: Vec<&Value> = selectors
        .into_iter()
        .chain([&policy["podSelector"]])
        .chain(replicas)
        .map(|selector| &selector["matchLabels"])
        .collect();
    let services = release.of_kind("Service");
    assert_eq!(services.len(), 2);
    labels.extend(services.iter().map(|service| &service["spec"]["selector"]));
    let pods = &release.pod()["metadata"]["labels"];
    for selector in labels {
        assert!(selects(selector, pods), "{selector} of {pods}");
    }
}

#[tokio::test]
async fn every_port_is_one_of_the_container() {
    let release = Release::new().await;
    let container = release.container();
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(release.port(&container[probe]["httpGet"]["port"]), 8080);
    }
    for service in release.of_kind("Service") {
        for port in list(&service["spec"]["ports"]) {
            release.port(&port["targetPort"]);
        }
    }
    let policy = &release.the("NetworkPolicy")["spec"];
    let allowed = list(&policy["ingress"]).flat_map(|rule| list(&rule["ports"]));
    let allowed: BTreeSet<u64> = allowed.map(|port| release.port(&port["port"])).collect();
    assert_eq!(allowed, BTreeSet::from([8080, 9292]));
    let standby = list(&policy["egress"]).last().unwrap();
    assert_eq!(release.port(&standby["ports"][0]["port"]), 9292);
    assert_eq!(release.variable("TOWLINE_ADVERTISE"), "$(POD_IP):9292");
}

/// The program listens on the container's ports.
#[tokio::test]
async fn the_ports_are_those_of_the_program() {
    use clap::Parser as _;
    use towline::config::{Cli, Command};
    let release = Release::new().await;
    let Command::Run(args) = Cli::parse_from(["towline", "run"]).command else {
        panic!("the container's command is not run");
    };
    for (name, address) in [("metrics", args.listen), ("webhooks", args.webhook_listen)] {
        assert_eq!(release.port(&name.into()), u64::from(address.port()));
    }
}

#[tokio::test]
async fn the_monitor_and_the_ingress_lead_to_a_service() {
    let release = Release::new().await;
    let has_port = |service: &Value, name: &Value| {
        let mut ports = list(&service["spec"]["ports"]);
        ports.any(|port| port["name"] == *name)
    };
    let monitor = &release.the("ServiceMonitor")["spec"];
    let mut services = release.of_kind("Service");
    services.retain(|service| {
        selects(
            &monitor["selector"]["matchLabels"],
            &service["metadata"]["labels"],
        )
    });
    let [metrics] = services[..] else {
        panic!("it selects {services:#?}");
    };
    assert!(has_port(metrics, &monitor["endpoints"][0]["port"]));
    let namespaces = &monitor["namespaceSelector"]["matchNames"];
    assert_eq!(namespaces[0], metrics["metadata"]["namespace"]);

    let rule = &release.the("Ingress")["spec"]["rules"][0];
    let backend = &rule["http"]["paths"][0]["backend"]["service"];
    let title = format!("Service/{}", backend["name"].as_str().unwrap());
    assert!(has_port(&release.0[&title], &backend["port"]["name"]));
}

#[tokio::test]
async fn every_named_object_exists() {
    let release = Release::new().await;
    let account = &release.pod()["spec"]["serviceAccountName"];
    assert_eq!(release.the("ServiceAccount")["metadata"]["name"], *account);
    let mut bindings = release.of_kind("RoleBinding");
    bindings.extend(release.of_kind("ClusterRoleBinding"));
    // Of the operator's own kinds, of the Lease, of the key, and cluster-admin.
    assert_eq!(bindings.len(), 4);
    for binding in bindings {
        assert_eq!(binding["subjects"][0]["name"], *account);
        let role = &binding["roleRef"];
        let title = [&role["kind"], &role["name"]].map(|part| part.as_str().unwrap());
        assert!(release.0.contains_key(&title.join("/")), "{title:?}");
    }
    // The roles for the Lease and for the key name one object each.
    for (suffix, variable) in [
        ("-lease", "TOWLINE_LEASE_NAME"),
        ("-key", "TOWLINE_KEY_SECRET"),
    ] {
        let mut roles = release.of_kind("Role").into_iter();
        let is_named = |role: &&Value| role["metadata"]["name"].as_str().unwrap().ends_with(suffix);
        let role = roles.find(is_named).unwrap();
        let mut rules = list(&role["rules"]);
        let named = rules.find_map(|rule| rule.pointer("/resourceNames/0"));
        assert_eq!(
            named.and_then(Value::as_str),
            Some(release.variable(variable))
        );
    }
    let mut volumes = list(&release.pod()["spec"]["volumes"]);
    let claim = volumes.find_map(|volume| volume.pointer("/persistentVolumeClaim/claimName"));
    let made = &release.the("PersistentVolumeClaim")["metadata"]["name"];
    assert_eq!(claim, Some(made));
}
