//! Answers of Gemini, streamed and whole.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wire_fuzz::checks::answer(wire::Protocol::Gemini, true, bytes);
    wire_fuzz::checks::answer(wire::Protocol::Gemini, false, bytes);
});
