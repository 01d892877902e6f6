//! The modules of towline that parse bytes from outside, compiled without the rest. They are pure and need
//! few crates, so that the fuzzer builds in seconds.

// The targets do not use everything in these modules.
#![allow(dead_code, unused_imports)]

#[path = "../../src/manifest/mod.rs"]
pub mod manifest;
#[path = "../../src/text/mod.rs"]
pub mod text;
#[path = "../../src/url/mod.rs"]
pub mod url;
#[path = "../../src/webhook/mod.rs"]
pub mod webhook;

/// The grammar of remote bases, and what it is made of.
#[path = "../../src/render"]
pub mod render {
    mod inflate;
    pub mod remote;
}
