//! Services of one commit that trade their node ports. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// How far from a Service's own port another one is looked for that is free for a moment, and how often.
const NEAR: u64 = 64;
const TRIES: usize = 16;

/// The node ports of a Service, as it is and as Git wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    has: BTreeSet<u64>,
    wants: BTreeSet<u64>,
}

impl Ports {
    /// The ports of a live Service, and of its manifest.
    pub fn of(live: &Value, body: &Value) -> Self {
        Self {
            has: node_ports(live),
            wants: node_ports(body),
        }
    }

    fn lacks(&self) -> impl Iterator<Item = &u64> {
        self.wants.difference(&self.has)
    }

    fn gives_up(&self) -> impl Iterator<Item = &u64> {
        self.has.difference(&self.wants)
    }

    fn waits_for(&self, other: &Self) -> bool {
        self.lacks()
            .any(|port| other.gives_up().any(|given| given == port))
    }

    /// Values for the ports that it lacks, each with another one for it: those that it gives up, so that it is as
    /// before.
    pub fn as_before(&self) -> BTreeMap<u64, u64> {
        self.lacks()
            .copied()
            .zip(self.gives_up().copied())
            .collect()
    }

    /// The same with ports near its own, which none of `all` has or wants. They may be free.
    pub fn aside(&self, all: &[Self]) -> impl Iterator<Item = BTreeMap<u64, u64>> {
        let is_used = |port: &u64| {
            let mut all = all.iter();
            all.any(|one| one.has.contains(port) || one.wants.contains(port))
        };
        let own = self.has.first().copied().unwrap_or_default();
        let near = (1..NEAR).flat_map(|by| [own.checked_add(by), own.checked_sub(by)]);
        let near: Vec<u64> = near.flatten().filter(|port| !is_used(port)).collect();
        let lacks: Vec<u64> = self.lacks().copied().collect();
        (0..TRIES).map(move |first| {
            let free = near.iter().skip(first * lacks.len()).copied();
            lacks.iter().copied().zip(free).collect()
        })
    }
}

/// The position of a Service that waits for others in a circle: each has what the one before it wants.
pub fn circle(all: &[Ports]) -> Option<usize> {
    (0..all.len()).find(|start| {
        let (mut at, mut seen) = (vec![*start], BTreeSet::new());
        while let Some(one) = at.pop() {
            for (next, other) in all.iter().enumerate() {
                if next != one && all[one].waits_for(other) {
                    if next == *start {
                        return true;
                    }
                    if seen.insert(next) {
                        at.push(next);
                    }
                }
            }
        }
        false
    })
}

/// A Service with other values for some of its node ports.
#[must_use]
pub fn with_ports(service: &Value, values: &BTreeMap<u64, u64>) -> Value {
    let mut service = service.clone();
    let ports = service.pointer_mut("/spec/ports");
    for port in ports.and_then(Value::as_array_mut).into_iter().flatten() {
        let other = port["nodePort"].as_u64().and_then(|port| values.get(&port));
        if let Some(other) = other {
            port["nodePort"] = (*other).into();
        }
    }
    service
}

fn node_ports(service: &Value) -> BTreeSet<u64> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array);
    let ports = ports.into_iter().flatten();
    ports.filter_map(|port| port["nodePort"].as_u64()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(ports: &[u64]) -> Value {
        let ports: Vec<Value> = ports.iter().map(|port| json!({"nodePort": port})).collect();
        json!({"spec": {"ports": ports}})
    }

    fn ports(has: &[u64], wants: &[u64]) -> Ports {
        Ports::of(&service(has), &service(wants))
    }

    #[test]
    fn only_a_circle_is_untied() {
        let swap = [ports(&[1], &[2]), ports(&[2], &[1])];
        assert_eq!(circle(&swap), Some(0));
        let three = [
            ports(&[9], &[1]),
            ports(&[1], &[2]),
            ports(&[2], &[3]),
            ports(&[3], &[1]),
        ];
        assert_eq!(circle(&three), Some(1));
        // The port that the last one wants is held by something else.
        let line = [ports(&[1], &[2]), ports(&[2], &[3])];
        assert_eq!(circle(&line), None);
        assert_eq!(circle(&[ports(&[1], &[2]), ports(&[3], &[4])]), None);
        assert_eq!(circle(&[]), None);
        // It keeps what the other one wants.
        assert_eq!(circle(&[ports(&[1], &[1, 2]), ports(&[2], &[1])]), None);
    }

    #[test]
    fn other_ports_are_near_and_nobodys() {
        let all = [ports(&[30_001], &[30_002]), ports(&[30_002], &[30_001])];
        let first = all[0].aside(&all).next().unwrap();
        assert_eq!(first, BTreeMap::from([(30_002, 30_000)]));
        let values: Vec<u64> = all[0]
            .aside(&all)
            .filter_map(|one| one.get(&30_002).copied())
            .collect();
        assert_eq!(
            (values.len(), values.iter().collect::<BTreeSet<_>>().len()),
            (16, 16)
        );
        let moved = with_ports(&service(&[30_002, 7]), &first);
        assert_eq!(moved, service(&[30_000, 7]));
        let back = with_ports(&service(&[30_002, 7]), &all[0].as_before());
        assert_eq!(back, service(&[30_001, 7]));
    }
}
