//! The WASI that a renderer gets: no file, no environment, no network, a clock that only this render
//! moves, and random bytes out of a seed. Equal requests are rendered to equal bytes.

use std::collections::HashSet;

use wasmtime::{Caller, ExternType, Linker, Module, Result, Val, ValType, bail};

use super::host::{Host, Stop};
use super::memory::{self, Pointer};

const MODULE: &str = "wasi_snapshot_preview1";

/// Errors as WASI numbers them.
const SUCCESS: i32 = 0;
const BAD_FILE: i32 = 8;
const NOT_SUPPORTED: i32 = 52;

/// The most random bytes for one call, and pieces of one write.
const MAX_RANDOM: i32 = 1 << 20;
const MAX_PIECES: i32 = 1024;

/// What there is of WASI.
const DEFINED: [&str; 14] = [
    "args_get",
    "args_sizes_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_close",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_prestat_get",
    "fd_write",
    "poll_oneoff",
    "proc_exit",
    "random_get",
    "sched_yield",
];

/// Defines all that `module` wants of WASI: what is not here is answered with "not supported".
pub(super) fn define(linker: &mut Linker<Host>, module: &Module) -> Result<()> {
    linker.func_wrap(MODULE, "args_sizes_get", no_strings)?;
    linker.func_wrap(MODULE, "args_get", |_: Pointer, _: Pointer| SUCCESS)?;
    linker.func_wrap(MODULE, "environ_sizes_get", no_strings)?;
    linker.func_wrap(MODULE, "environ_get", |_: Pointer, _: Pointer| SUCCESS)?;
    linker.func_wrap(MODULE, "clock_time_get", clock)?;
    linker.func_wrap(MODULE, "random_get", random)?;
    linker.func_wrap(MODULE, "sched_yield", || SUCCESS)?;
    linker.func_wrap(MODULE, "poll_oneoff", poll)?;
    linker.func_wrap(MODULE, "proc_exit", exit)?;
    linker.func_wrap(MODULE, "fd_write", fd_write)?;
    linker.func_wrap(MODULE, "fd_close", |_: i32| BAD_FILE)?;
    linker.func_wrap(MODULE, "fd_fdstat_get", |_: i32, _: Pointer| BAD_FILE)?;
    linker.func_wrap(MODULE, "fd_fdstat_set_flags", |_: i32, _: i32| BAD_FILE)?;
    linker.func_wrap(MODULE, "fd_prestat_get", |_: i32, _: Pointer| BAD_FILE)?;
    // A module may import one function twice.
    let mut defined: HashSet<&str> = DEFINED.into();
    for import in module.imports() {
        let ExternType::Func(kind) = import.ty() else {
            continue;
        };
        let a_number = kind.results().map(|of| matches!(of, ValType::I32));
        if import.module() != MODULE || !a_number.eq([true]) || !defined.insert(import.name()) {
            continue;
        }
        linker.func_new(MODULE, import.name(), kind, |_, _, results| {
            if let Some(result) = results.first_mut() {
                *result = Val::I32(NOT_SUPPORTED);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// No arguments, no environment.
fn no_strings(mut caller: Caller<'_, Host>, count: Pointer, size: Pointer) -> Result<i32> {
    memory::write(&mut caller, count, &[0; 4])?;
    memory::write(&mut caller, size, &[0; 4])?;
    Ok(SUCCESS)
}

fn clock(mut caller: Caller<'_, Host>, which: i32, _: i64, time: Pointer) -> Result<i32> {
    let process = &mut caller.data_mut().process;
    let now = if which == 0 {
        process.now()
    } else {
        process.passed()
    };
    memory::write(&mut caller, time, &now.to_le_bytes())?;
    Ok(SUCCESS)
}

fn random(mut caller: Caller<'_, Host>, to: Pointer, size: i32) -> Result<i32> {
    if !(0..=MAX_RANDOM).contains(&size) {
        return Ok(NOT_SUPPORTED);
    }
    let bytes = caller
        .data_mut()
        .process
        .random(size.unsigned_abs() as usize);
    memory::write(&mut caller, to, &bytes)?;
    Ok(SUCCESS)
}

/// A renderer that waits has waited: its clock moves to when it wanted to be woken.
fn poll(
    mut caller: Caller<'_, Host>,
    subscriptions: Pointer,
    events: Pointer,
    count: i32,
    happened: Pointer,
) -> Result<i32> {
    /// Sizes and places of WASI's `subscription` and `event`.
    const SUBSCRIPTION: i32 = 48;
    for index in 0..count.clamp(0, 64) {
        let at = subscriptions.wrapping_add(index * SUBSCRIPTION);
        let subscription = memory::read(&mut caller, at, SUBSCRIPTION)?;
        if subscription.get(8) != Some(&0) {
            continue;
        }
        let timeout = subscription
            .get(24..32)
            .and_then(|bytes| bytes.try_into().ok());
        let timeout = timeout.map_or(0, u64::from_le_bytes);
        let process = &mut caller.data_mut().process;
        let is_absolute = subscription.get(40) == Some(&1);
        process.wait(timeout, is_absolute);
        let mut event = [0; 32];
        event[..8].copy_from_slice(subscription.get(..8).unwrap_or(&[0; 8]));
        memory::write(&mut caller, events, &event)?;
        memory::write(&mut caller, happened, &1_i32.to_le_bytes())?;
        return Ok(SUCCESS);
    }
    Ok(NOT_SUPPORTED)
}

fn exit(code: i32) -> Result<()> {
    Err(Stop::Exit(code).into())
}

fn fd_write(
    mut caller: Caller<'_, Host>,
    file: i32,
    pieces: Pointer,
    count: i32,
    written: Pointer,
) -> Result<i32> {
    if !matches!(file, 1 | 2) {
        return Ok(BAD_FILE);
    }
    if !(0..=MAX_PIECES).contains(&count) {
        bail!("a write of {count} pieces");
    }
    let mut total: i32 = 0;
    for index in 0..count {
        let at = pieces.wrapping_add(8 * index);
        let from = memory::word(&mut caller, at)?;
        let size = memory::word(&mut caller, at.wrapping_add(4))?;
        let bytes = memory::read(&mut caller, from, size)?;
        total = total.wrapping_add(size);
        caller.data_mut().process.print(&bytes);
    }
    memory::write(&mut caller, written, &total.to_le_bytes())?;
    Ok(SUCCESS)
}
