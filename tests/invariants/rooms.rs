//! Which room may know which: a room names only those below its own.

use super::{room, sources};

/// Lowest first. A room may be one file. Some are on their way: they have their place already.
const ROOMS: [&str; 31] = [
    "glob",
    "backoff",
    "text",
    "intent",
    "api",
    "content",
    "manifest",
    "render",
    "desired",
    "verify",
    "source",
    "health",
    "plan",
    "webhook",
    "metrics",
    "cluster",
    "leader",
    "notify",
    "fleet",
    "secrets",
    "server",
    "driver",
    "sync",
    "repository",
    "config",
    "log",
    "crds",
    "operator",
    "cli",
    "lib",
    "main",
];

/// Rooms that name a higher one today, and who mends it. An entry that nothing needs any more fails the test.
const LEFT: &[(&str, &str, &str)] = &[];

fn height(room: &str) -> usize {
    let found = ROOMS.iter().position(|is| *is == room);
    found.unwrap_or_else(|| panic!("the room {room} has no place in ROOMS"))
}

#[test]
fn rooms_depend_downwards_only() {
    let sources = sources();
    let (mut found, mut needed) = (Vec::new(), Vec::new());
    for source in &sources {
        let here = room(&source.file);
        for named in source.named.iter().filter(|named| named.path[0] == "crate") {
            let there = named.path[1].as_str();
            let is_room = sources.iter().any(|source| room(&source.file) == there);
            if !is_room || height(there) <= height(here) {
                continue;
            }
            let left = |(from, to, _): &&(&str, &str, &str)| (*from, *to) == (here, there);
            match LEFT.iter().find(left) {
                Some(entry) => needed.push(entry),
                None => found.push(format!(
                    "{}:{}: {}",
                    source.file,
                    named.line,
                    named.path.join("::")
                )),
            }
        }
    }
    assert!(
        found.is_empty(),
        "these name a room above their own:\n{}",
        found.join("\n")
    );
    for entry in LEFT {
        assert!(
            needed.contains(&entry),
            "{entry:?} is mended: take it out of LEFT"
        );
    }
}
