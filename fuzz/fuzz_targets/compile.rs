//! See `weir_fuzz::compile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_fuzz::compile(bytes));
