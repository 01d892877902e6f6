//! A real Kubernetes control plane, a real Git server and the real operator, for tests, the demo and
//! the benchmark.
//!
//! Every program started here ends when its value is dropped, and when this process ends for any reason
//! (see [`process`]).
//!
//! Nothing here names towline's types. Test code that does is in `tests/world`.

// An error of the harness stops the test with a message.
#![allow(clippy::unwrap_used, clippy::expect_used)]
// Only the tests of this repository use the harness, and most names need no explanation.
#![allow(missing_docs)]
// `Default` would be a surprise for a constructor that makes keys or starts a server.
#![allow(clippy::new_without_default)]

use std::path::{Path, PathBuf};

pub mod alertmanager;
pub mod audit;
pub mod binaries;
pub mod bulk;
mod cgi;
pub mod components;
pub mod control_plane;
pub mod definitions;
pub mod deployed;
pub mod faults;
pub mod git;
pub mod helm;
pub mod hook;
pub mod hostile;
pub mod impostor;
pub mod kubeconfig;
pub mod kubectl;
pub mod mail;
pub mod manifest;
pub mod nodes;
pub mod operator;
pub mod otlp;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod random;
pub mod recorder;
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

/// The path of a file of the repository, such as `crds` or `README.md`.
pub fn in_repository(path: &str) -> PathBuf {
    let support = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = support.ancestors().nth(2).expect("two folders above");
    root.join(path)
}
