//! What of towline reads bytes from outside, compiled by itself: these modules are pure, so that they
//! need none of the crates below the rest of it, and the fuzzer is built in seconds.

// The rest of towline uses what the targets do not.
#![allow(dead_code, unused_imports)]

#[path = "../../src/manifest/mod.rs"]
pub mod manifest;
#[path = "../../src/text/mod.rs"]
pub mod text;
#[path = "../../src/webhook/mod.rs"]
pub mod webhook;
