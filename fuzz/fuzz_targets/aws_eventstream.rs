//! Amazon's event stream.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire_fuzz::checks::aws_eventstream(bytes));
