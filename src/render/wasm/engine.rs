//! The engine that runs modules. There is one in a process.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use wasmtime::{InstanceAllocationStrategy, PoolingAllocationConfig};

use super::Limits;
use super::host::MAX_FUNCTIONS;
use super::settings::settings;
use crate::fair::{Order, Ticket};

/// How often the clock that stops renders ticks. It stands still while nothing renders.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// How large an engine is.
#[derive(Clone, Copy, Debug)]
pub struct EngineSettings {
    /// How many renders run at once: one for each core and one more, as far as memory reaches.
    pub slots: u32,
    /// How many of them one tenant may have. A render may take all its time, and others are not to wait for it.
    pub slots_of_tenant: u32,
    /// The most memory that any render may ask for, in bytes.
    pub max_memory: usize,
    /// Memory that a slot keeps between renders, in bytes: cleared, not given back.
    pub keep_resident: usize,
}

impl Default for EngineSettings {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (slots, slots_of_tenant) = slots(cores, memory_limit());
        Self {
            slots,
            slots_of_tenant,
            max_memory: 1 << 30,
            keep_resident: 0,
        }
    }
}

/// The most memory that renders leave to the rest of the operator, in bytes.
const REST: u64 = 256 << 20;

/// How many renders fit beside each other into a memory limit, if each takes all that it may, and how many of them one
/// tenant may have: one for each core, and one is left to others where more than one fits.
fn slots(cores: usize, limit: Option<u64>) -> (u32, u32) {
    let cores = u32::try_from(cores).unwrap_or(u32::MAX).max(1);
    let one = u64::try_from(Limits::default().memory).unwrap_or(u64::MAX);
    let fit = limit.map_or(u64::MAX, |limit| limit.saturating_sub(REST) / one);
    let fit = u32::try_from(fit).unwrap_or(u32::MAX);
    let all = fit.clamp(1, cores.saturating_add(1));
    (all, (all - 1).max(1))
}

/// The container's memory limit in bytes, as cgroup v2 or v1 has it. Version 1 says "no limit" by a number that is
/// larger than any machine.
fn memory_limit() -> Option<u64> {
    const FILES: [&str; 2] = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let mut texts = FILES
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok());
    texts.find_map(|text| text.trim().parse().ok())
}

/// Runs modules, a bounded number at once. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    engine: wasmtime::Engine,
    turns: Mutex<Order>,
    /// Woken when a slot is free, and when a render begins.
    changed: Condvar,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Reserves address space for all slots, and no memory.
    ///
    /// # Errors
    /// Where the machine has not that much address space, in wasmtime's words.
    pub fn new(size: EngineSettings) -> Result<Self, String> {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_core_instances(size.slots)
            .total_memories(size.slots)
            .total_tables(size.slots)
            .table_elements(MAX_FUNCTIONS)
            .max_memory_size(size.max_memory)
            .linear_memory_keep_resident(size.keep_resident)
            .table_keep_resident(1 << 20);
        let mut config = settings();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = wasmtime::Engine::new(&config).map_err(|error| format!("{error:#}"))?;
        let inner = Arc::new(Inner {
            engine,
            turns: Mutex::new(Order::new(size.slots, size.slots_of_tenant)),
            changed: Condvar::new(),
        });
        let ticking = Arc::downgrade(&inner);
        thread::Builder::new()
            .name("renderer-clock".to_owned())
            .spawn(move || tick(&ticking))
            .map_err(|error| error.to_string())?;
        Ok(Self { inner })
    }

    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner.engine
    }

    /// Waits for a free slot and the turn of `tenant`. The slot is in use until the returned value is dropped.
    pub(super) fn slot(&self, tenant: &Arc<str>) -> Slot<'_> {
        let mut turns = self.inner.turns();
        let ticket = turns.join(tenant, tenant);
        while !turns.take(&ticket) {
            turns = wait(&self.inner.changed, turns);
        }
        // Another slot may be free for who is next.
        self.inner.changed.notify_all();
        Slot {
            inner: &self.inner,
            ticket,
        }
    }
}

impl Inner {
    fn turns(&self) -> MutexGuard<'_, Order> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a>(changed: &Condvar, turns: MutexGuard<'a, Order>) -> MutexGuard<'a, Order> {
    changed.wait(turns).unwrap_or_else(PoisonError::into_inner)
}

/// A place for one render.
pub(super) struct Slot<'a> {
    inner: &'a Inner,
    ticket: Ticket,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.inner.turns().give_back(&self.ticket);
        self.inner.changed.notify_all();
    }
}

/// Ticks while anything renders, and ends with the engine.
fn tick(engine: &Weak<Inner>) {
    while let Some(inner) = engine.upgrade() {
        let turns = inner.turns();
        if turns.is_idle() {
            // Waits only for a limited time, because the engine may be dropped meanwhile.
            let patience = Duration::from_secs(60);
            drop(
                inner
                    .changed
                    .wait_timeout(turns, patience)
                    .unwrap_or_else(PoisonError::into_inner),
            );
            continue;
        }
        drop(turns);
        inner.engine.increment_epoch();
        drop(inner);
        thread::sleep(TICK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_at_once_fit_into_the_memory_limit_and_one_is_left_to_others() {
        const MIB: u64 = 1 << 20;
        for (cores, limit, expected) in [
            (2, Some(640 * MIB), (1, 1)),
            (2, Some(1024 * MIB), (2, 1)),
            (2, Some(1536 * MIB), (3, 2)),
            (64, Some(1536 * MIB), (3, 2)),
            (64, Some(4096 * MIB), (10, 9)),
            (4, Some(4096 * MIB), (5, 4)),
            (4, Some(128 * MIB), (1, 1)),
            (1, None, (2, 1)),
            (4, None, (5, 4)),
            (4, Some(u64::MAX / 2), (5, 4)),
            (0, None, (2, 1)),
        ] {
            assert_eq!(slots(cores, limit), expected, "{cores} {limit:?}");
        }
    }

    #[test]
    fn a_tenant_that_wants_all_places_leaves_one_to_others() {
        let engine = Engine::new(EngineSettings {
            slots: 2,
            slots_of_tenant: 1,
            max_memory: 1 << 20,
            keep_resident: 0,
        });
        let engine = engine.unwrap();
        let _first = engine.slot(&"one".into());
        // It ends with the test's process.
        let again = engine.clone();
        thread::spawn(move || {
            let _second = again.slot(&"one".into());
            thread::park();
        });
        thread::sleep(Duration::from_millis(100));
        let (tell, told) = std::sync::mpsc::channel();
        let third = engine.clone();
        thread::spawn(move || {
            let _other = third.slot(&"other".into());
            tell.send(())
        });
        told.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}
