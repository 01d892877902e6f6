//! The order of rooms: a room names only rooms below its own.

use super::{room, sources};

/// Lowest first. A room may be one file.
const ROOMS: [&str; 43] = [
    "glob",
    "backoff",
    "allowance",
    "fair",
    "text",
    "url",
    "chain",
    "intent",
    "api",
    "content",
    "manifest",
    "substitute",
    "decrypt",
    "render",
    "desired",
    "verify",
    "source",
    "health",
    "plan",
    "webhook",
    "metrics",
    "cluster",
    "preview",
    "leader",
    "notify",
    "message",
    "trace",
    "fleet",
    "secrets",
    "server",
    "outbox",
    "driver",
    "alert",
    "sync",
    "repository",
    "proposal",
    "config",
    "log",
    "crds",
    "operator",
    "cli",
    "lib",
    "main",
];

fn height(room: &str) -> usize {
    let found = ROOMS.iter().position(|is| *is == room);
    found.unwrap_or_else(|| panic!("the room {room} is not listed in ROOMS"))
}

#[test]
fn rooms_depend_downwards_only() {
    let sources = sources();
    let mut found = Vec::new();
    for source in &sources {
        let here = room(&source.file);
        for named in source.named.iter().filter(|named| named.path[0] == "crate") {
            let there = named.path[1].as_str();
            let is_room = sources.iter().any(|source| room(&source.file) == there);
            if is_room && height(there) > height(here) {
                let path = named.path.join("::");
                found.push(format!("{}:{}: {path}", source.file, named.line));
            }
        }
    }
    assert!(
        found.is_empty(),
        "these name a room above their own:\n{}",
        found.join("\n")
    );
}
