//! The memory of a module, read and written by addresses that the module names. Each is checked.

use wasmtime::{Caller, Extern, Memory, Result, bail};

/// An address in a module's memory, as the module passes it: an unsigned address in a signed number.
pub(super) type Pointer = i32;

fn memory<T: 'static>(caller: &mut Caller<'_, T>) -> Result<Memory> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => bail!("the module has no memory"),
    }
}

fn address(pointer: Pointer) -> usize {
    // 32 bits fit into usize on every machine that this runs on.
    usize::try_from(pointer.cast_unsigned()).unwrap_or(usize::MAX)
}

/// The bytes at a place.
pub(super) fn read<T: 'static>(
    caller: &mut Caller<'_, T>,
    from: Pointer,
    size: i32,
) -> Result<Vec<u8>> {
    let memory = memory(caller)?;
    let (from, size) = (address(from), address(size));
    let bytes = from
        .checked_add(size)
        .and_then(|end| memory.data(&*caller).get(from..end));
    match bytes {
        Some(bytes) => Ok(bytes.to_vec()),
        None => bail!("the module names memory that it does not have"),
    }
}

/// The text at a place.
pub(super) fn text<T: 'static>(
    caller: &mut Caller<'_, T>,
    from: Pointer,
    size: i32,
) -> Result<String> {
    match String::from_utf8(read(caller, from, size)?) {
        Ok(text) => Ok(text),
        Err(error) => Ok(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

/// Writes to a place.
pub(super) fn write<T: 'static>(
    caller: &mut Caller<'_, T>,
    to: Pointer,
    bytes: &[u8],
) -> Result<()> {
    let memory = memory(caller)?;
    if memory.write(&mut *caller, address(to), bytes).is_err() {
        bail!("the module names memory that it does not have");
    }
    Ok(())
}

/// A 32-bit number at a place.
pub(super) fn word<T: 'static>(caller: &mut Caller<'_, T>, from: Pointer) -> Result<i32> {
    let bytes = read(caller, from, 4)?;
    Ok(bytes.try_into().map_or(0, i32::from_le_bytes))
}
