//! What only one Service of a cluster may have, and Services of one commit that wait for it in a circle. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

/// What only one Service of a cluster may have. Node ports and ports for health checks are given out of one range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exclusive {
    /// A cluster IP. A Service keeps it until it is deleted.
    Address(String),
    /// A port of each node.
    Port(u64),
}

/// Everything of that kind that a Service has.
pub fn exclusive(service: &Value) -> BTreeSet<Exclusive> {
    let spec = &service["spec"];
    let addresses = list(spec, "clusterIPs").chain([&spec["clusterIP"]]);
    let mut all = node_ports(service);
    all.extend(addresses.filter_map(address));
    all.extend(port(&spec["healthCheckNodePort"]));
    all
}

/// Its node ports alone: they can be changed without its deletion.
pub fn node_ports(service: &Value) -> BTreeSet<Exclusive> {
    let ports = list(&service["spec"], "ports").map(|port| &port["nodePort"]);
    ports.filter_map(port).collect()
}

fn list<'a>(spec: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    spec[name].as_array().into_iter().flatten()
}

/// A Service without these values: the API server gives it others.
#[must_use]
pub fn without_exclusive(service: &Value, values: &BTreeSet<Exclusive>) -> Value {
    let mut service = service.clone();
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else {
        return service;
    };
    let is_one = |value: Option<Exclusive>| value.is_some_and(|value| values.contains(&value));
    // Both fields have the same first address.
    let all = spec.get("clusterIPs").and_then(Value::as_array);
    let mut addresses = all.into_iter().flatten().chain(spec.get("clusterIP"));
    if addresses.any(|value| is_one(address(value))) {
        spec.remove("clusterIPs");
        spec.remove("clusterIP");
    }
    if is_one(spec.get("healthCheckNodePort").and_then(port)) {
        spec.remove("healthCheckNodePort");
    }
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    let ports = ports.into_iter().flatten().filter_map(Value::as_object_mut);
    for fields in ports {
        if is_one(fields.get("nodePort").and_then(port)) {
            fields.remove("nodePort");
        }
    }
    service
}

fn address(value: &Value) -> Option<Exclusive> {
    let address = value.as_str()?;
    let is_one = !matches!(address, "" | "None");
    is_one.then(|| Exclusive::Address(address.to_lowercase()))
}

fn port(value: &Value) -> Option<Exclusive> {
    let port = value.as_u64().filter(|port| *port > 0)?;
    Some(Exclusive::Port(port))
}

/// What a Service has, and what Git wants it to have.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    has: BTreeSet<Exclusive>,
    wants: BTreeSet<Exclusive>,
    /// It may be deleted and made again.
    may_go: bool,
}

impl Exchange {
    /// That of a live Service and its manifest. `may_go`: it may be deleted and made again.
    pub fn of(live: &Value, body: &Value, may_go: bool) -> Self {
        Self {
            has: exclusive(live),
            wants: exclusive(body),
            may_go,
        }
    }

    /// What it has now.
    pub fn has(&self) -> &BTreeSet<Exclusive> {
        &self.has
    }

    /// Whether the other one has what this one lacks, and gives it up.
    fn waits_for(&self, other: &Self) -> bool {
        let mut lacks = self.wants.difference(&self.has);
        lacks.any(|value| other.has.contains(value) && !other.wants.contains(value))
    }
}

/// Services that wait for each other in circles, and one of them without which there is no circle.
#[derive(Debug, PartialEq, Eq)]
pub struct Knot {
    /// The positions of all of them.
    pub all: BTreeSet<usize>,
    /// The position of the one that is deleted first.
    pub first: usize,
}

/// The first knot that the deletion of one Service unties, where that one may be deleted.
pub fn knot(all: &[Exchange]) -> Option<Knot> {
    let waits: Vec<Vec<usize>> = all
        .iter()
        .map(|one| {
            let others = all.iter().enumerate();
            let held = others.filter(|(_, other)| one.waits_for(other));
            held.map(|(place, _)| place).collect()
        })
        .collect();
    let everything: BTreeSet<usize> = (0..all.len()).collect();
    let mut seen = BTreeSet::new();
    for start in 0..all.len() {
        if seen.contains(&start) {
            continue;
        }
        let reached = reached(start, &waits, &everything);
        if !reached.contains(&start) {
            continue;
        }
        let back = reached
            .iter()
            .filter(|place| self::reached(**place, &waits, &everything).contains(&start));
        let members: BTreeSet<usize> = back.copied().collect();
        let mut may_go = members.iter().filter(|place| all[**place].may_go);
        let is_free_without = |first: &usize| {
            let mut rest = members.clone();
            rest.remove(first);
            rest.iter()
                .all(|place| !self::reached(*place, &waits, &rest).contains(place))
        };
        if let Some(first) = may_go.find(|place| is_free_without(place)) {
            let first = *first;
            return Some(Knot {
                all: members,
                first,
            });
        }
        seen.extend(members);
    }
    None
}

/// The positions that can be reached from one, among these.
fn reached(start: usize, waits: &[Vec<usize>], among: &BTreeSet<usize>) -> BTreeSet<usize> {
    let (mut at, mut seen) = (vec![start], BTreeSet::new());
    while let Some(one) = at.pop() {
        for next in &waits[one] {
            if among.contains(next) && seen.insert(*next) {
                at.push(*next);
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Of a Service, only addresses and node ports can belong to one object alone. Two Services may have the same of all else.
    #[test]
    fn only_addresses_and_ports_of_nodes_are_exclusive() {
        let ip = |text: &str| Exclusive::Address(text.to_owned());
        for (spec, expected) in [
            (json!({"clusterIP": "10.0.0.1"}), vec![ip("10.0.0.1")]),
            (
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "FD00::1"]}),
                vec![ip("10.0.0.1"), ip("fd00::1")],
            ),
            (json!({"clusterIP": "None", "clusterIPs": ["None"]}), vec![]),
            (json!({"clusterIP": ""}), vec![]),
            (
                json!({"healthCheckNodePort": 31_000}),
                vec![Exclusive::Port(31_000)],
            ),
            (json!({"healthCheckNodePort": 0}), vec![]),
            (
                json!({"ports": [{"port": 80, "nodePort": 32_000}, {"port": 81}]}),
                vec![Exclusive::Port(32_000)],
            ),
            // Any number of Services may have these, although some of them cannot be changed.
            (json!({"loadBalancerClass": "example.com/a"}), vec![]),
            (json!({"loadBalancerIP": "192.0.2.1"}), vec![]),
            (json!({"externalIPs": ["192.0.2.1"]}), vec![]),
            (json!({"externalName": "10.0.0.1"}), vec![]),
            (
                json!({"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}),
                vec![],
            ),
            (json!({"type": "NodePort", "selector": {"a": "1"}}), vec![]),
            (json!(null), vec![]),
            (json!({"ports": null, "clusterIPs": [null, 1]}), vec![]),
        ] {
            let service = json!({"spec": spec});
            let found = exclusive(&service);
            assert_eq!(
                found.iter().cloned().collect::<Vec<_>>(),
                expected,
                "{spec}"
            );
            let without = without_exclusive(&service, &found);
            assert!(exclusive(&without).is_empty(), "{spec}");
            assert_eq!(
                without_exclusive(&service, &BTreeSet::new()),
                service,
                "{spec}"
            );
            if expected.is_empty() {
                assert_eq!(without, service, "{spec}");
            }
        }
    }

    #[test]
    fn only_the_values_of_others_are_left_out() {
        let service = json!({"spec": {
            "clusterIP": "10.0.0.1", "type": "LoadBalancer", "healthCheckNodePort": 31_000,
            "ports": [{"port": 1, "nodePort": 32_000}, {"port": 2, "nodePort": 32_001}],
        }});
        let others = BTreeSet::from([Exclusive::Port(32_001), Exclusive::Port(7)]);
        let expected = json!({"spec": {
            "clusterIP": "10.0.0.1", "type": "LoadBalancer", "healthCheckNodePort": 31_000,
            "ports": [{"port": 1, "nodePort": 32_000}, {"port": 2}],
        }});
        assert_eq!(without_exclusive(&service, &others), expected);
    }

    fn exchange(has: &[u64], wants: &[u64], may_go: bool) -> Exchange {
        let set = |values: &[u64]| values.iter().copied().map(Exclusive::Port).collect();
        Exchange {
            has: set(has),
            wants: set(wants),
            may_go,
        }
    }

    #[test]
    fn a_knot_is_untied_by_one() {
        for (what, all, expected) in [
            ("nothing", vec![], None),
            (
                "a row",
                vec![exchange(&[1], &[2], true), exchange(&[2], &[3], true)],
                None,
            ),
            (
                "a swap",
                vec![exchange(&[1], &[2], true), exchange(&[2], &[1], true)],
                Some((vec![0, 1], 0)),
            ),
            (
                "one of the two may not go",
                vec![exchange(&[1], &[2], false), exchange(&[2], &[1], true)],
                Some((vec![0, 1], 1)),
            ),
            (
                "none may go",
                vec![exchange(&[1], &[2], false), exchange(&[2], &[1], false)],
                None,
            ),
            (
                "it keeps what the other one wants",
                vec![exchange(&[1], &[1, 2], true), exchange(&[2], &[1], true)],
                None,
            ),
            (
                "three, and one that waits for them",
                vec![
                    exchange(&[9], &[1], true),
                    exchange(&[1], &[2], true),
                    exchange(&[2], &[3], true),
                    exchange(&[3], &[1], true),
                ],
                Some((vec![1, 2, 3], 1)),
            ),
            (
                "two circles through the last one",
                vec![
                    exchange(&[1], &[3], true),
                    exchange(&[2], &[4], true),
                    exchange(&[3, 4], &[1, 2], true),
                ],
                Some((vec![0, 1, 2], 2)),
            ),
            (
                "every one of three waits for both others: one is not enough",
                vec![
                    exchange(&[1, 2], &[3, 5], true),
                    exchange(&[3, 4], &[1, 6], true),
                    exchange(&[5, 6], &[2, 4], true),
                ],
                None,
            ),
        ] {
            let found = knot(&all).map(|knot| (knot.all.into_iter().collect(), knot.first));
            assert_eq!(found, expected, "{what}");
        }
    }
}
