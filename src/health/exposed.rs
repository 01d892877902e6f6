//! Where a live object can be reached from outside of the cluster: an Ingress, a Service of the type `LoadBalancer`, and
//! HTTPRoute and Gateway of the Gateway API.
//!
//! What is read here may end in a link on a Git host. So only hosts, ports and paths of plain characters count, and their
//! number is bounded.

use core::net::IpAddr;

use serde_json::Value;

use super::fields::{integer, list, text};
use crate::manifest::GroupKind;

/// How many entries of a list are looked at, and how many addresses of an object are kept.
const LOOKED_AT: usize = 64;
const KEPT: usize = 8;

/// The longest path that is a part of an address, in bytes.
const LONGEST_PATH: usize = 100;

/// Where one live object can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposed {
    addresses: Vec<Address>,
    /// What a Gateway listens for.
    listeners: Vec<Listener>,
}

/// An address in the order of preference: of several, the least one is used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Address {
    rank: Rank,
    port: Port,
    length: usize,
    host: String,
    path: String,
}

/// A name that people chose stands before what a load balancer was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Route,
    Gateway,
    Service,
    Bare,
}

/// How a host is reached. The order is that of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Port {
    Https,
    /// The Gateway says it.
    Unknown,
    Http,
    HttpsAt(u16),
    HttpAt(u16),
}

impl Port {
    fn of(is_https: bool, port: u16) -> Self {
        match (is_https, port) {
            (true, 443) => Self::Https,
            (true, port) => Self::HttpsAt(port),
            (false, 80) => Self::Http,
            (false, port) => Self::HttpAt(port),
        }
    }
}

/// A listener of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listener {
    /// Empty for every host. `*.example.com` for those below.
    host: String,
    port: Port,
}

impl Address {
    fn new(rank: Rank, port: Port, host: String, path: &str) -> Self {
        let path = plain_path(path).to_owned();
        Self {
            rank,
            port,
            // A shorter path, and then a shorter host, leads to the whole rather than to a part.
            length: path.len() * 1000 + host.len(),
            host,
            path,
        }
    }

    fn url(&self, port: Port) -> String {
        let (scheme, port) = match port {
            Port::Https | Port::Unknown => ("https", String::new()),
            Port::Http => ("http", String::new()),
            Port::HttpsAt(port) => ("https", format!(":{port}")),
            Port::HttpAt(port) => ("http", format!(":{port}")),
        };
        let Self { host, path, .. } = self;
        format!("{scheme}://{host}{port}{path}")
    }
}

/// Where a live object can be reached. None for kinds that say nothing of this, and for objects without an address.
pub fn exposed(kind: &GroupKind, object: &Value) -> Option<Exposed> {
    let mut found = match (&*kind.group, &*kind.kind) {
        ("networking.k8s.io" | "extensions", "Ingress") => ingress(object),
        ("", "Service") => service(object),
        ("gateway.networking.k8s.io", "HTTPRoute") => route(object),
        ("gateway.networking.k8s.io", "Gateway") => gateway(object),
        _ => return None,
    };
    found.addresses.sort_unstable();
    found.addresses.truncate(KEPT);
    found.listeners.truncate(LOOKED_AT);
    (found != Exposed::default()).then_some(found)
}

/// The URL of what these objects expose together. Of several, always the same one.
pub fn url<'a>(objects: impl IntoIterator<Item = &'a Exposed> + Clone) -> Option<String> {
    let all = objects.clone().into_iter();
    let best = all.flat_map(|object| &object.addresses).min()?;
    let port = match best.port {
        Port::Unknown => {
            let all = objects.into_iter();
            let listeners = all.flat_map(|object| &object.listeners);
            let theirs = listeners.filter(|listener| covers(&listener.host, &best.host));
            theirs.map(|listener| listener.port).min()
        }
        known => Some(known),
    };
    // Most Gateways that belong to somebody else end TLS.
    Some(best.url(port.unwrap_or(Port::Https)))
}

fn ingress(object: &Value) -> Exposed {
    let mut found = Exposed::default();
    let tls = list(object, "/spec/tls");
    let is_secure = |host: &str| {
        // Without hosts, the certificate is for whatever the controller makes of it.
        let hosts = |tls: &&Value| list(tls, "/hosts").len();
        let named = tls.iter().take(LOOKED_AT);
        named.clone().any(|tls| hosts(&tls) == 0)
            || named
                .flat_map(|tls| list(tls, "/hosts").iter().take(LOOKED_AT))
                .filter_map(Value::as_str)
                .any(|pattern| covers(pattern, host))
    };
    let port = |host: &str| match is_secure(host) {
        true => Port::Https,
        false => Port::Http,
    };
    let rules = list(object, "/spec/rules");
    for rule in rules.iter().take(LOOKED_AT) {
        let paths = list(rule, "/http/paths").iter().take(LOOKED_AT);
        let path = shortest(paths.map(|path| text(path, "/path")));
        match text(rule, "/host") {
            "" => {
                for host in balancers(object) {
                    let address = Address::new(Rank::Bare, port(&host), host, path);
                    found.addresses.push(address);
                }
            }
            host => {
                let host = host_name(host);
                let address = host.map(|host| Address::new(Rank::Route, port(&host), host, path));
                found.addresses.extend(address);
            }
        }
    }
    found
}

fn service(object: &Value) -> Exposed {
    if text(object, "/spec/type") != "LoadBalancer" {
        return Exposed::default();
    }
    let ports = list(object, "/spec/ports").iter().take(LOOKED_AT);
    let Some(port) = ports.filter_map(web_port).min() else {
        return Exposed::default();
    };
    let hosts = balancers(object);
    Exposed {
        addresses: hosts
            .into_iter()
            .map(|host| Address::new(Rank::Service, port, host, ""))
            .collect(),
        listeners: Vec::new(),
    }
}

/// How a browser reaches a port of a Service. None if no browser does: a database has no URL.
fn web_port(port: &Value) -> Option<Port> {
    let number = port_of(port, "/port")?;
    let (name, protocol) = (text(port, "/name"), text(port, "/appProtocol"));
    if !matches!(text(port, "/protocol"), "" | "TCP") {
        return None;
    }
    let says = |word: &str| name.starts_with(word) || protocol.starts_with(word);
    match number {
        443 | 8443 => Some(Port::of(true, number)),
        _ if says("https") => Some(Port::of(true, number)),
        80 | 8080 => Some(Port::of(false, number)),
        _ if says("http") => Some(Port::of(false, number)),
        _ => None,
    }
}

/// The match of a rule that has none.
const EVERY_PATH: &[Value] = &[Value::Null];

fn route(object: &Value) -> Exposed {
    let parents = list(object, "/spec/parentRefs");
    let says = |number: i64, word: &str| {
        let is = |parent: &Value| {
            integer(parent, "/port") == Some(number)
                || integer(parent, "/port").is_none() && text(parent, "/sectionName") == word
        };
        parents.iter().take(LOOKED_AT).any(is)
    };
    let port = match (says(443, "https"), says(80, "http")) {
        (true, _) => Port::Https,
        (false, true) => Port::Http,
        (false, false) => Port::Unknown,
    };
    let rules = list(object, "/spec/rules").iter().take(LOOKED_AT);
    let matches = rules.flat_map(|rule| match list(rule, "/matches") {
        [] => EVERY_PATH,
        matches => matches,
    });
    let paths = matches.take(LOOKED_AT).map(|found| {
        let kind = text(found, "/path/type");
        match matches!(kind, "" | "PathPrefix" | "Exact") {
            true => text(found, "/path/value"),
            false => "",
        }
    });
    let path = shortest(paths);
    let hosts = list(object, "/spec/hostnames").iter().take(LOOKED_AT);
    let hosts = hosts.filter_map(|host| host_name(host.as_str()?));
    Exposed {
        addresses: hosts
            .map(|host| Address::new(Rank::Route, port, host, path))
            .collect(),
        ..Exposed::default()
    }
}

fn gateway(object: &Value) -> Exposed {
    let mut found = Exposed::default();
    let given = list(object, "/status/addresses").iter().take(LOOKED_AT);
    let given: Vec<String> = given
        .filter_map(|address| host_name_or_ip(text(address, "/value")))
        .collect();
    for listener in list(object, "/spec/listeners").iter().take(LOOKED_AT) {
        let is_https = match text(listener, "/protocol") {
            "HTTPS" => true,
            "HTTP" => false,
            _ => continue,
        };
        let Some(number) = port_of(listener, "/port") else {
            continue;
        };
        let port = Port::of(is_https, number);
        let host = text(listener, "/hostname");
        if host.is_empty() {
            let addresses = given.iter().cloned();
            let addresses = addresses.map(|host| Address::new(Rank::Bare, port, host, ""));
            found.addresses.extend(addresses);
        }
        let named = host_name(host).map(|host| Address::new(Rank::Gateway, port, host, ""));
        found.addresses.extend(named);
        if host.len() <= LONGEST_HOST {
            let host = host.to_ascii_lowercase();
            found.listeners.push(Listener { host, port });
        }
    }
    found
}

/// What a load balancer was given: names and addresses.
fn balancers(object: &Value) -> Vec<String> {
    let given = list(object, "/status/loadBalancer/ingress").iter();
    let given = given.take(LOOKED_AT).filter_map(|given| {
        host_name_or_ip(text(given, "/hostname")).or_else(|| host_name_or_ip(text(given, "/ip")))
    });
    given.collect()
}

fn port_of(object: &Value, pointer: &str) -> Option<u16> {
    let port = u16::try_from(integer(object, pointer)?).ok()?;
    (port > 0).then_some(port)
}

/// The longest name in DNS.
const LONGEST_HOST: usize = 253;

/// The name of a host in lower case. None if it is not one, such as one with a wildcard.
fn host_name(text: &str) -> Option<String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = text.len() <= LONGEST_HOST && text.split('.').all(is_label);
    is_name.then(|| text.to_ascii_lowercase())
}

/// The name of a host, or an address as a URL has it.
fn host_name_or_ip(text: &str) -> Option<String> {
    match text.parse() {
        Ok(IpAddr::V6(ip)) => Some(format!("[{ip}]")),
        _ => host_name(text),
    }
}

/// Whether a pattern such as `*.example.com` is about a host.
fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(domain) => {
            let below = host.split_once('.').map(|(_, domain)| domain);
            below.is_some_and(|below| below.eq_ignore_ascii_case(domain))
        }
        None => pattern.is_empty() || pattern.eq_ignore_ascii_case(host),
    }
}

/// The shortest path, which leads to the whole rather than to a part.
fn shortest<'a>(paths: impl Iterator<Item = &'a str>) -> &'a str {
    let paths = paths.map(plain_path);
    paths.min_by_key(|path| (path.len(), *path)).unwrap_or("")
}

/// A path that can be followed. Empty for the root, and for a pattern.
fn plain_path(path: &str) -> &str {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    let is_path = path.starts_with('/')
        && path.len() <= LONGEST_PATH
        && path.chars().all(is_plain)
        && !path.contains("//")
        && !path.contains("..");
    match is_path {
        true => path.trim_end_matches('/'),
        false => "",
    }
}

#[cfg(test)]
mod tests;
