//! The parser of manifests.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = towline_fuzz::manifest::documents(input);
});
