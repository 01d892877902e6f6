//! towline: an in-cluster, pull-based GitOps operator.
//!
//! Git says what should be (desired). The cluster says what is (observed). towline makes the cluster equal to
//! Git, and reports on it. `docs/architecture.md` has the map of the code, and the way of one commit as a list
//! of calls.
//!
//! # Bird's-eye view
//!
//! Data flows one way, and every step is a module:
//!
//! ```text
//! poll / push → source (fetch, I/O) → Tree → desired: select → decrypt → render → substitute → parse
//!     → resolve → plan (pure) → apply, prune (I/O) → health (pure) → assess (pure) → status, notices → sinks
//! ```
//!
//! # Architecture invariants
//!
//! - `content`, `text`, `url`, `manifest`, `intent`, `substitute`, `decrypt`, `render`, `desired`, `plan`, `health`,
//!   `verify`, `webhook`, `message` and `trace` import no client, no runtime, no file system and no clock. The
//!   sandbox, `render::wasm`, is the exception.
//! - Where `spec.verify` asks for a signature, a revision is published only after the signature was found good.
//! - Only `source` names git2, only `manifest` names the YAML crate, only `render::wasm` names wasmtime, and only
//!   `cluster` calls the API for managed objects.
//! - A render that failed or came out empty never reaches prune. Prune deletes by uid precondition, and only
//!   objects that label, identity and field manager all call ours, and whose proof is right.
//! - No secret value, and no user or password of a URL, reaches a log, event, condition, diff or error.
//! - Metric labels and condition reasons come from closed sets. The names of Syncs and repositories are the
//!   exception: the first 1,000 of each have series of their own, the others count only in sums.
//! - No subprocess and no shell on the apply path.
//! - One object's failure is that object's failure. Objects that do not depend on it continue.
//! - With several replicas, no write starts without the Lease, by this machine's own clock at that moment. Only
//!   `leader` makes the clients that write, and all of their writes pass its gate. A command of `cli` is a person
//!   and no replica: it writes annotations and `spec.suspend` of what its arguments name, with that person's rights.

mod alert;
mod allowance;
pub mod api;
mod backoff;
mod chain;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod content;
pub mod crds;
pub mod decrypt;
pub mod desired;
mod driver;
mod fair;
pub mod fleet;
mod glob;
pub mod health;
pub mod intent;
pub mod leader;
mod log;
pub mod manifest;
pub mod message;
pub mod metrics;
pub mod notify;
pub mod operator;
pub mod outbox;
pub mod plan;
mod preview;
mod proposal;
pub mod render;
mod repository;
pub mod secrets;
pub mod server;
pub mod source;
pub mod substitute;
mod sync;
pub mod text;
pub mod trace;
mod url;
pub mod verify;
pub mod webhook;

pub use chain::chain;
