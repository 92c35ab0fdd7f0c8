//! Requests of the Responses API.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire_fuzz::checks::request(wire::Protocol::OpenaiResponses, bytes));
