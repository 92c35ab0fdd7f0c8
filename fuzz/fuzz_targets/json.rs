//! The scanner and the edit of raw JSON, against serde_json.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire_fuzz::checks::json(bytes));
