//! Runs a module's initialization once, and writes the module in the state after it.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmtime::{
    AsContextMut, Caller, Engine, Extern, Instance, Linker, Module, Result, Store, Val, bail,
};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

/// The export that initializes a reactor. The snapshot does not have it.
const INITIALIZE: &str = "_initialize";

/// The module after its initialization.
pub fn snapshot(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>> {
    let mut wizer = Wizer::new();
    wizer.init_func(INITIALIZE);
    let (context, instrumented) = wizer.instrument(wasm)?;
    let module = Module::new(engine, &instrumented)?;
    let mut linker = Linker::new(engine);
    imports(&mut linker)?;
    linker.define_unknown_imports_as_traps(&module)?;
    let mut store = Store::new(engine, Clock(1_000_000_000));
    // Nothing interrupts an initialization, because it is our own code.
    store.set_epoch_deadline(u64::MAX / 2);
    let instance = linker.instantiate(&mut store, &module)?;
    instance
        .get_typed_func::<(), ()>(&mut store, INITIALIZE)?
        .call(&mut store, ())?;
    let mut state = State { store, instance };
    ready(wizer.snapshot(&context, &mut state))
}

/// The value of a future that never waits.
fn ready<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => bail!("the snapshot waits for something"),
    }
}

/// Nanoseconds of the monotonic clock, which advances only when the module waits.
struct Clock(u64);

struct State {
    store: Store<Clock>,
    instance: Instance,
}

impl InstanceState for State {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let global = self.instance.get_global(&mut self.store, name);
        match global.map(|global| global.get(&mut self.store)) {
            Some(Val::I32(value)) => SnapshotVal::I32(value),
            Some(Val::I64(value)) => SnapshotVal::I64(value),
            Some(Val::F32(value)) => SnapshotVal::F32(value),
            Some(Val::F64(value)) => SnapshotVal::F64(value),
            other => panic!("global {name} is {other:?}"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        match self.instance.get_memory(&mut self.store, name) {
            Some(memory) => contents(memory.data(&self.store)),
            None => panic!("no memory {name}"),
        }
    }
}

const WASI: &str = "wasi_snapshot_preview1";
/// The program's name, which some packages read during initialization.
const NAME: &[u8] = b"renderer\0";
const SUCCESS: i32 = 0;
const BAD_FILE: i32 = 8;

/// The functions that Go's runtime calls during initialization. Their results are the same on every
/// machine.
fn imports(linker: &mut Linker<Clock>) -> Result<()> {
    linker.func_wrap(
        WASI,
        "args_sizes_get",
        |caller: Caller<'_, Clock>, count: i32, size: i32| {
            write(
                caller,
                &[
                    (count, &1_u32.to_le_bytes()),
                    (size, &NAME.len().to_le_bytes()[..4]),
                ],
            )
        },
    )?;
    linker.func_wrap(
        WASI,
        "args_get",
        |caller: Caller<'_, Clock>, list: i32, text: i32| {
            write(caller, &[(list, &text.to_le_bytes()), (text, NAME)])
        },
    )?;
    linker.func_wrap(
        WASI,
        "environ_sizes_get",
        |caller: Caller<'_, Clock>, count: i32, size: i32| {
            write(caller, &[(count, &[0; 4]), (size, &[0; 4])])
        },
    )?;
    linker.func_wrap(WASI, "environ_get", |_: i32, _: i32| SUCCESS)?;
    linker.func_wrap(
        WASI,
        "clock_time_get",
        |caller: Caller<'_, Clock>, _: i32, _: i64, time: i32| {
            let now = caller.data().0.to_le_bytes();
            write(caller, &[(time, &now)])
        },
    )?;
    linker.func_wrap(
        WASI,
        "random_get",
        |caller: Caller<'_, Clock>, buffer: i32, size: i32| {
            let bytes: Vec<u8> = (0..size)
                .map(|n| n.wrapping_mul(167).to_le_bytes()[0])
                .collect();
            write(caller, &[(buffer, &bytes)])
        },
    )?;
    linker.func_wrap(WASI, "poll_oneoff", wait)?;
    linker.func_wrap(WASI, "sched_yield", || SUCCESS)?;
    linker.func_wrap(WASI, "fd_fdstat_get", |_: i32, _: i32| BAD_FILE)?;
    linker.func_wrap(WASI, "fd_prestat_get", |_: i32, _: i32| BAD_FILE)?;
    linker.func_wrap(WASI, "fd_fdstat_set_flags", |_: i32, _: i32| BAD_FILE)?;
    linker.func_wrap(WASI, "fd_write", print)?;
    Ok(())
}

/// Answers a wait for a time at once, and sets the clock to that time.
fn wait(
    mut caller: Caller<'_, Clock>,
    subscription: i32,
    event: i32,
    count: i32,
    happened: i32,
) -> Result<i32> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        bail!("no memory");
    };
    let at = subscription as u32 as usize;
    let subscription = memory.data(&caller).get(at..at + 48).map(<[u8]>::to_vec);
    let (1.., Some(subscription)) = (count, subscription) else {
        bail!("waits for nothing");
    };
    if subscription[8] != 0 {
        bail!("waits for a file");
    }
    let timeout = subscription[24..32]
        .try_into()
        .map_or(0, u64::from_le_bytes);
    caller.data_mut().0 += timeout;
    let mut woken = [0; 32];
    woken[..8].copy_from_slice(&subscription[..8]);
    write(caller, &[(event, &woken), (happened, &1_u32.to_le_bytes())])
}

/// Output during initialization is the reason of a failure.
fn print(
    mut caller: Caller<'_, Clock>,
    _: i32,
    vectors: i32,
    count: i32,
    written: i32,
) -> Result<i32> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        bail!("no memory");
    };
    let data = memory.data(&caller);
    let word = |at: usize| -> usize {
        data.get(at..at + 4)
            .and_then(|word| word.try_into().ok())
            .map_or(0, |word| u32::from_le_bytes(word) as usize)
    };
    let mut total = 0;
    for index in 0..count as usize {
        let (from, size) = (
            word(vectors as usize + 8 * index),
            word(vectors as usize + 8 * index + 4),
        );
        eprint!(
            "{}",
            String::from_utf8_lossy(data.get(from..from + size).unwrap_or_default())
        );
        total += size as u32;
    }
    write(caller, &[(written, &total.to_le_bytes())])
}

fn write(mut caller: Caller<'_, Clock>, pieces: &[(i32, &[u8])]) -> Result<i32> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        bail!("no memory");
    };
    for (to, bytes) in pieces {
        memory.write(caller.as_context_mut(), *to as u32 as usize, bytes)?;
    }
    Ok(SUCCESS)
}
