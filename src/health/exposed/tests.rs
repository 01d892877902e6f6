// `json!` takes references, and the cases read better without them.
#![allow(clippy::needless_pass_by_value)]

use serde_json::json;

use super::*;

fn seen_of(kind: &str, object: &Value) -> Option<Exposed> {
    let group = match kind {
        "Ingress" => "networking.k8s.io",
        "HTTPRoute" | "Gateway" => "gateway.networking.k8s.io",
        _ => "",
    };
    exposed(&GroupKind::new(group, kind), object)
}

fn url_of(objects: &[(&str, Value)]) -> Option<String> {
    let seen = objects
        .iter()
        .filter_map(|(kind, object)| seen_of(kind, object));
    let seen: Vec<Exposed> = seen.collect();
    let url = super::url(&seen);
    let mut reversed = seen;
    reversed.reverse();
    assert_eq!(super::url(&reversed), url, "the order says nothing");
    url
}

fn ingress(spec: Value) -> (&'static str, Value) {
    let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}});
    ("Ingress", json!({"spec": spec, "status": status}))
}

fn balanced(ports: Value, ingress: Value) -> (&'static str, Value) {
    let spec = json!({"type": "LoadBalancer", "ports": ports});
    let status = json!({"loadBalancer": {"ingress": ingress}});
    ("Service", json!({"spec": spec, "status": status}))
}

fn route(hosts: Value, parents: Value) -> (&'static str, Value) {
    let spec = json!({"hostnames": hosts, "parentRefs": parents});
    ("HTTPRoute", json!({"spec": spec}))
}

fn gateway(listeners: Value) -> (&'static str, Value) {
    let status = json!({"addresses": [{"type": "IPAddress", "value": "192.0.2.9"}]});
    (
        "Gateway",
        json!({"spec": {"listeners": listeners}, "status": status}),
    )
}

fn paths(paths: &[&str]) -> Value {
    let paths = paths.iter().map(|path| json!({"path": path}));
    json!({"paths": paths.collect::<Vec<_>>()})
}

#[test]
fn an_ingress_is_reached_at_its_hosts() {
    for (spec, url) in [
        (
            json!({"rules": [{"host": "Shop.example.com"}]}),
            Some("http://shop.example.com"),
        ),
        (
            json!({"rules": [{"host": "a.b"}], "tls": [{"hosts": ["x.y"]}, {"hosts": ["A.b"]}]}),
            Some("https://a.b"),
        ),
        (
            json!({"rules": [{"host": "a.b.c"}], "tls": [{"hosts": ["*.b.c"]}]}),
            Some("https://a.b.c"),
        ),
        (
            json!({"rules": [{"host": "x.a.b.c"}], "tls": [{"hosts": ["*.b.c"]}]}),
            Some("http://x.a.b.c"),
        ),
        (
            json!({"rules": [{"host": "a.b"}], "tls": [{"secretName": "x"}]}),
            Some("https://a.b"),
        ),
        // What has TLS, then the shorter path, then the shorter host.
        (
            json!({
                "rules": [{"host": "a.b"}, {"host": "longer.b", "http": paths(&["/x"])}, {"host": "long.b", "http": paths(&["/y"])}],
                "tls": [{"hosts": ["longer.b", "long.b"]}],
            }),
            Some("https://long.b/y"),
        ),
        (
            json!({"rules": [{"host": "a.b", "http": paths(&["/shop/api", "/shop/"])}]}),
            Some("http://a.b/shop"),
        ),
        (
            json!({"rules": [{"host": "a.b", "http": paths(&["/x(/|$)(.*)"])}]}),
            Some("http://a.b"),
        ),
        (
            json!({"rules": [{"host": "*.b"}, {"http": paths(&["/"])}]}),
            Some("http://192.0.2.7"),
        ),
        (json!({"rules": [{"host": "*.b"}]}), None),
        (json!({}), None),
    ] {
        assert_eq!(url_of(&[ingress(spec.clone())]).as_deref(), url, "{spec}");
    }
}

#[test]
fn a_load_balancer_is_reached_at_ports_that_a_browser_speaks_to() {
    let ip = json!([{"ip": "192.0.2.1"}]);
    for (ports, ingress, url) in [
        (json!([{"port": 80}]), &ip, Some("http://192.0.2.1")),
        (
            json!([{"port": 80}, {"port": 443}]),
            &ip,
            Some("https://192.0.2.1"),
        ),
        (
            json!([{"port": 9000, "name": "http-web"}]),
            &ip,
            Some("http://192.0.2.1:9000"),
        ),
        (
            json!([{"port": 9000, "appProtocol": "https"}]),
            &ip,
            Some("https://192.0.2.1:9000"),
        ),
        (
            json!([{"port": 8080}]),
            &json!([{"hostname": "lb.cloud", "ip": "192.0.2.1"}]),
            Some("http://lb.cloud:8080"),
        ),
        (
            json!([{"port": 80}]),
            &json!([{"ip": "2001:db8::1"}]),
            Some("http://[2001:db8::1]"),
        ),
        (json!([{"port": 5432, "name": "postgres"}]), &ip, None),
        (json!([{"port": 443, "protocol": "UDP"}]), &ip, None),
        (
            json!([{"port": 0}, {"port": 70_000}, {"port": "80"}]),
            &ip,
            None,
        ),
        (json!([{"port": 80}]), &json!([]), None),
    ] {
        let service = balanced(ports.clone(), ingress.clone());
        assert_eq!(url_of(&[service]).as_deref(), url, "{ports}");
    }
    let inner = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}});
    assert_eq!(url_of(&[("Service", inner)]), None);
}

#[test]
fn a_route_is_reached_as_its_gateway_listens() {
    let http = json!({"protocol": "HTTP", "port": 80});
    let https = json!({"protocol": "HTTPS", "port": 8443, "hostname": "*.b"});
    let any = || route(json!(["*.c", "a.b"]), json!([{"name": "gateway"}]));
    for (objects, url) in [
        (vec![any()], Some("https://a.b")),
        (vec![any(), gateway(json!([http]))], Some("http://a.b")),
        (
            vec![any(), gateway(json!([https]))],
            Some("https://a.b:8443"),
        ),
        (
            vec![
                any(),
                gateway(json!([{"protocol": "HTTPS", "port": 443, "hostname": "x.y"}])),
            ],
            Some("https://a.b"),
        ),
        (
            vec![route(json!(["a.b"]), json!([{"sectionName": "http"}]))],
            Some("http://a.b"),
        ),
        (
            vec![route(json!(["a.b"]), json!([{"port": 80}, {"port": 443}]))],
            Some("https://a.b"),
        ),
        (
            vec![route(json!([]), json!([])), gateway(json!([http]))],
            Some("http://192.0.2.9"),
        ),
        (
            vec![gateway(
                json!([{"protocol": "HTTPS", "port": 443, "hostname": "x.y"}, http]),
            )],
            Some("https://x.y"),
        ),
        (
            vec![gateway(json!([{"protocol": "TCP", "port": 443}]))],
            None,
        ),
    ] {
        assert_eq!(url_of(&objects).as_deref(), url, "{objects:?}");
    }
    let rules = json!({"hostnames": ["a.b"], "rules": [
        {"matches": [{"path": {"type": "PathPrefix", "value": "/shop/x"}}]},
        {"matches": [{"path": {"type": "PathPrefix", "value": "/shop"}}]},
    ]});
    let objects = [("HTTPRoute", json!({"spec": rules}))];
    assert_eq!(url_of(&objects).as_deref(), Some("https://a.b/shop"));
    let rules = json!({"hostnames": ["a.b"], "rules": [
        {"matches": [{"path": {"type": "RegularExpression", "value": "/x"}}]}, {},
    ]});
    let objects = [("HTTPRoute", json!({"spec": rules}))];
    assert_eq!(url_of(&objects).as_deref(), Some("https://a.b"));
}

#[test]
fn names_stand_before_addresses_that_were_given() {
    let service = || balanced(json!([{"port": 443}]), json!([{"ip": "192.0.2.1"}]));
    let bare = || ingress(json!({"rules": [{}]}));
    let named = || ingress(json!({"rules": [{"host": "a.b"}]}));
    assert_eq!(
        url_of(&[bare(), service(), named()]).as_deref(),
        Some("http://a.b")
    );
    assert_eq!(
        url_of(&[bare(), service()]).as_deref(),
        Some("https://192.0.2.1")
    );
}

#[test]
fn what_is_hostile_is_no_address_and_what_is_many_is_bounded() {
    let long = "a".repeat(1 << 20);
    for host in [
        "javascript:alert(1)",
        "a.b/x",
        "a.b?x",
        "a.b#x",
        "user@a.b",
        "a.b:80",
        "a b",
        "a.b\n",
        "<b>",
        "a..b",
        "-a.b",
        "a.b-",
        "\u{202e}a.b",
        "\u{e4}.b",
        "[::1",
        long.as_str(),
    ] {
        for objects in [
            ingress(json!({"rules": [{"host": host}]})),
            balanced(json!([{"port": 80}]), json!([{"hostname": host}])),
            balanced(json!([{"port": 80}]), json!([{"ip": host}])),
            route(json!([host]), json!([])),
            gateway(json!([{"protocol": "HTTP", "port": 80, "hostname": host}])),
        ] {
            assert_eq!(url_of(&[objects]), None, "{:.40}", host);
        }
    }
    for path in [
        "/a b",
        "/a\"",
        "/../x",
        "//evil",
        "/%0a",
        "/a?b",
        "/a#b",
        long.as_str(),
    ] {
        let objects = ingress(json!({"rules": [{"host": "a.b", "http": paths(&[path])}]}));
        assert_eq!(url_of(&[objects]).as_deref(), Some("http://a.b"));
    }
    let rules: Vec<Value> = (0..10_000)
        .map(|n| json!({"host": format!("h{n}.b")}))
        .collect();
    let (kind, object) = ingress(json!({"rules": rules}));
    let seen = seen_of(kind, &object).unwrap();
    assert_eq!(seen.addresses.len(), KEPT);
    assert_eq!(url([&seen]).as_deref(), Some("http://h0.b"));
    for broken in [
        json!(null),
        json!([]),
        json!({"spec": 1}),
        json!({"spec": {"rules": {}}}),
    ] {
        for kind in ["Ingress", "Service", "HTTPRoute", "Gateway"] {
            assert_eq!(seen_of(kind, &broken), None);
        }
    }
}
