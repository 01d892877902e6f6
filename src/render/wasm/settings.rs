//! How modules are compiled. Shared with `renderers/compile`: wasmtime refuses a module that was compiled
//! under other settings than it is run under.

use wasmtime::Config;

/// The settings that both sides need to have in common.
pub fn settings() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    // A backtrace of compiled Go says nothing to a reader; the tables for it are a quarter of the module.
    config.wasm_backtrace_max_frames(None);
    config.generate_address_map(false);
    config.native_unwind_info(false);
    // Bounds are checked by the processor: the whole 32-bit space is reserved.
    config.memory_reservation(1 << 32);
    config.memory_guard_size(32 << 20);
    config.memory_init_cow(true);
    // A snapshot is mapped, however many empty pages are in it: `guest.Settle` leaves some.
    config.memory_guaranteed_dense_image_size(256 << 20);
    config.max_wasm_stack(STACK);
    // Not used, but it may not be less.
    config.async_stack_size(2 * STACK);
    config
}

/// Stack of a module in bytes. Helm allows an `include` 1,000 levels deep; each takes several kilobytes.
pub const STACK: usize = 16 << 20;
