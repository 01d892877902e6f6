//! A real Kubernetes control plane, a real Git server and the real operator, for tests, the demo and
//! the benchmark: `mod support;` in the test binary, `#[path = "../tests/support/mod.rs"] mod support;`
//! in an example.
//!
//! Everything started here ends with the value that stands for it, and with this process, however
//! that ends ([`process`]).

// Each program that includes this module uses a part of it.
#![allow(dead_code, unreachable_pub)]
// A harness that cannot do its work has nothing better to do than to say so and fail the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

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
pub mod life;
pub mod login;
pub mod nodes;
pub mod operator;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod repo;
pub mod scratch;
pub mod secret;
pub mod shared;
pub mod signing;
pub mod sshd;
pub mod tls;
pub mod usage;
pub mod verdict;
pub mod wait;
pub mod world;
