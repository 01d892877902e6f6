//! No files depend on each other in a circle, except a `mod` file and its own submodules.

use std::collections::{BTreeMap, BTreeSet};

use super::sources;
use super::sources::Source;

#[test]
fn no_circle_between_files() {
    let sources = sources();
    let found = circles(&sources);
    assert!(found.is_empty(), "circles: {found:#?}");
}

/// Sets of files that all depend on each other.
fn circles(sources: &[Source]) -> Vec<BTreeSet<&str>> {
    let index: BTreeMap<&[String], usize> = (0..sources.len())
        .filter(|place| sources[*place].file != "main.rs")
        .map(|place| (&sources[place].module[..], place))
        .collect();
    let edges: Vec<BTreeSet<usize>> = sources
        .iter()
        .map(|source| {
            let paths = source.named.iter().map(|named| &named.path);
            let targets = paths.filter_map(|path| file_of(path, sources, &index));
            // A `mod` file and its submodules count as one unit that is split into files.
            let kin = |other: &usize| {
                let other = &sources[*other].module;
                other.starts_with(&source.module) || source.module.starts_with(other)
            };
            targets.filter(|target| !kin(target)).collect()
        })
        .collect();
    let reach: Vec<BTreeSet<usize>> = (0..edges.len()).map(|from| reached(from, &edges)).collect();
    let mut found: Vec<BTreeSet<&str>> = Vec::new();
    for from in 0..edges.len() {
        let circle = reach[from].iter().filter(|to| reach[**to].contains(&from));
        let circle: BTreeSet<&str> = circle.map(|to| sources[*to].file.as_str()).collect();
        if !circle.is_empty() && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

/// The file that declares what a path names. Follows re-exports.
fn file_of(
    path: &[String],
    sources: &[Source],
    index: &BTreeMap<&[String], usize>,
) -> Option<usize> {
    let mut path = path.to_vec();
    for _ in 0..8 {
        if path[0] != "crate" {
            return None;
        }
        let depth = (1..=path.len())
            .rev()
            .find(|depth| index.contains_key(&path[..*depth]))?;
        let place = index[&path[..depth]];
        let again = path
            .get(depth)
            .and_then(|name| sources[place].aliases.get(name));
        match again {
            Some(is) if is[0] == "crate" && is[..] != path[..=depth] => {
                path = [&is[..], &path[depth + 1..]].concat();
            }
            _ => return Some(place),
        }
    }
    None
}

/// The files that `from` depends on, directly or not. `from` itself is included only if a circle leads
/// back to it.
fn reached(from: usize, edges: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut next: Vec<usize> = edges[from].iter().copied().collect();
    while let Some(at) = next.pop() {
        if found.insert(at) {
            next.extend(&edges[at]);
        }
    }
    found
}

#[test]
fn a_circle_is_found_through_re_exports() {
    let sources = [
        Source::parse("a/mod.rs", "mod b; pub use b::Thing;"),
        Source::parse("a/b.rs", "use crate::c; pub struct Thing;"),
        Source::parse("c.rs", "use crate::a::Thing;"),
        Source::parse("d.rs", "use crate::c;"),
    ];
    assert_eq!(circles(&sources), [BTreeSet::from(["a/b.rs", "c.rs"])]);
}
