//! The host functions of a renderer: reading files of one tree, writing documents, and nothing else.
//!
//! `renderers/guest/guest.go` is the other side.

use wasmtime::{Caller, Linker, Result};

use super::host::{Host, Stop};
use super::memory::{self, Pointer};

const MODULE: &str = "towline";

/// The longest path and the longest other text that a renderer hands over.
const MAX_PATH: i32 = 64 << 10;
const MAX_TEXT: i32 = 1 << 20;

/// Defines what `renderers/guest` imports.
pub(super) fn define(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(MODULE, "request", |mut caller: Caller<'_, Host>| {
        i32::try_from(caller.data_mut().request()).unwrap_or_default()
    })?;
    linker.func_wrap(MODULE, "stat", |mut caller: Caller<'_, Host>, at, size| {
        let path = path(&mut caller, at, size)?;
        Ok(caller.data_mut().stat(&path)?)
    })?;
    linker.func_wrap(MODULE, "read", |mut caller: Caller<'_, Host>, at, size| {
        let path = path(&mut caller, at, size)?;
        Ok(caller.data_mut().read(&path)?)
    })?;
    linker.func_wrap(MODULE, "list", |mut caller: Caller<'_, Host>, at, size| {
        let path = path(&mut caller, at, size)?;
        Ok(caller.data_mut().list(&path)?)
    })?;
    linker.func_wrap(
        MODULE,
        "lookup",
        |mut caller: Caller<'_, Host>, at, size| {
            let query = memory::text(&mut caller, at, bounded(size, MAX_TEXT)?)?;
            Ok(caller.data_mut().look_up(&query)?)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "prime",
        |mut caller: Caller<'_, Host>, bits: i32| caller.data_mut().prime(bits),
    )?;
    linker.func_wrap(MODULE, "take", take)?;
    linker.func_wrap(MODULE, "emit", emit)?;
    linker.func_wrap(MODULE, "warn", |mut caller: Caller<'_, Host>, at, size| {
        let text = memory::text(&mut caller, at, bounded(size, MAX_TEXT)?)?;
        caller.data_mut().warn(&text);
        Ok(())
    })?;
    linker.func_wrap(
        MODULE,
        "fail",
        |mut caller: Caller<'_, Host>, at, size: i32| {
            let text = memory::text(&mut caller, at, size.clamp(0, MAX_TEXT))?;
            caller.data_mut().failure.get_or_insert(text);
            Ok(())
        },
    )?;
    Ok(())
}

fn take(mut caller: Caller<'_, Host>, to: Pointer, size: i32) -> Result<()> {
    let answer = caller.data_mut().take();
    if usize::try_from(size) != Ok(answer.len()) {
        wasmtime::bail!("an answer of {} bytes is taken as {size}", answer.len());
    }
    memory::write(&mut caller, to, &answer)
}

fn emit(
    mut caller: Caller<'_, Host>,
    about: Pointer,
    about_size: i32,
    body: Pointer,
    body_size: i32,
) -> Result<()> {
    let about = memory::text(&mut caller, about, bounded(about_size, MAX_TEXT)?)?;
    let body = memory::read(&mut caller, body, body_size)?;
    Ok(caller.data_mut().emit(&about, body)?)
}

fn path(caller: &mut Caller<'_, Host>, at: Pointer, size: i32) -> Result<String> {
    memory::text(caller, at, bounded(size, MAX_PATH)?)
}

/// The size of a text. A longer one ends the render: a chart may say as much as it likes of itself.
fn bounded(size: i32, max: i32) -> Result<i32, Stop> {
    if (0..=max).contains(&size) {
        return Ok(size);
    }
    let what = if max == MAX_PATH {
        "looks at a path of"
    } else {
        "hands over a text of"
    };
    let limit = format!("{} KiB", max >> 10);
    Err(Stop::TooMuch { what, limit })
}
