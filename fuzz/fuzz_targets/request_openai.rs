//! Requests in OpenAI's format.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire_fuzz::checks::request(wire::Protocol::OpenaiChat, bytes));
