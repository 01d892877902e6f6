//! A real Kubernetes control plane, a real Git server and the real operator, for tests, the demo and
//! the benchmark.
//!
//! Everything started here ends with the value that stands for it, and with this process, however
//! that ends ([`process`]).
//!
//! Nothing here names towline's types: what tests share that does is in `tests/world`.

// A harness that cannot do its work stops the test with a message.
#![allow(clippy::unwrap_used, clippy::expect_used)]
// Only this repository's tests use it: a name that says everything needs no sentence beside it.
#![allow(missing_docs)]
// A `Default` that makes keys or starts a server would surprise.
#![allow(clippy::new_without_default)]

use std::path::{Path, PathBuf};

pub mod audit;
pub mod binaries;
pub mod bulk;
mod cgi;
pub mod components;
pub mod control_plane;
pub mod definitions;
pub mod deployed;
pub mod git;
pub mod helm;
pub mod hook;
pub mod hostile;
pub mod kubeconfig;
pub mod kubectl;
pub mod manifest;
pub mod nodes;
pub mod operator;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod renderers;
pub mod repo;
pub mod scratch;
pub mod secret;
pub mod shared;
pub mod signing;
pub mod sshd;
pub mod tls;
pub mod usage;
pub mod wait;

/// A path of the repository: `crds`, `README.md`.
pub fn in_repository(path: &str) -> PathBuf {
    let support = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = support.ancestors().nth(2).expect("two folders above");
    root.join(path)
}
