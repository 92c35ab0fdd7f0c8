//! Forms with files, whose boundary is `b`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire_fuzz::checks::form(bytes));
