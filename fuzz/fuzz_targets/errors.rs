//! Error answers of every provider.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire_fuzz::checks::errors(bytes));
