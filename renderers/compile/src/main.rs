//! `towline-compile-renderer IN.wasm OUT.cwasm` compiles a Go reactor for WASI to a module that wasmtime
//! maps and starts in a fraction of a millisecond. It works in three steps: it merges a hundred thousand
//! data segments into a few, takes a snapshot after Go's initialization, and generates machine code.
//!
//! Also writes OUT.sha256 with the digest, which the operator checks before it maps the module.

mod segments;
#[path = "../../../src/render/wasm/settings.rs"]
mod settings;
mod snapshot;

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;
use std::{env, fs};

use sha2::{Digest, Sha256};
use wasmtime::Engine;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        return Err("usage: towline-compile-renderer IN.wasm OUT.cwasm".into());
    };
    let started = Instant::now();
    let wasm = segments::merged(&fs::read(from)?)?;
    let mut config = settings::settings();
    config.target(target())?;
    let engine = Engine::new(&config)?;
    let ready = std::thread::Builder::new()
        .stack_size(4 * settings::STACK)
        .spawn({
            let engine = engine.clone();
            move || snapshot::snapshot(&engine, &wasm).map_err(|error| format!("{error:?}"))
        })?
        .join()
        .map_err(|_| "the snapshot panicked")??;
    eprintln!(
        "  {:3} s: snapshot of {} MB",
        started.elapsed().as_secs(),
        ready.len() >> 20
    );
    let compiled = engine.precompile_module(&ready)?;
    eprintln!(
        "  {:3} s: machine code of {} MB",
        started.elapsed().as_secs(),
        compiled.len() >> 20
    );
    fs::write(to, &compiled)?;
    let mut digest = String::new();
    for byte in Sha256::digest(&compiled) {
        write!(digest, "{byte:02x}")?;
    }
    fs::write(Path::new(to).with_extension("cwasm.sha256"), digest)?;
    Ok(())
}

/// The target of the compilation. Every processor of the architecture can run it.
fn target() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "aarch64-unknown-linux-gnu"
    } else {
        "x86_64-unknown-linux-gnu"
    }
}
