//! Maps compiled modules into memory: the one place of the renderers that is `unsafe`.

#![allow(
    unsafe_code,
    reason = "wasmtime trusts the machine code of a compiled module; see `module`"
)]

use std::fs::File;

use wasmtime::{Engine, Module};

/// Maps a module, which takes about a millisecond.
///
/// The caller has checked the digest of `file`: only code that the project's own compiler made gets here.
/// The file must not change while it is mapped, which is so for what lies in an image, or in a folder of
/// the cache that is only ever replaced as a whole.
pub(super) fn module(engine: &Engine, file: File) -> wasmtime::Result<Module> {
    // SAFETY: the file is what `Engine::precompile_module` wrote, which is what the caller's check of the
    // digest says; wasmtime itself checks version and settings.
    unsafe { Module::deserialize_open_file(engine, file) }
}
