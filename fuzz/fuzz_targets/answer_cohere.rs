//! Answers of CohereChat, streamed and whole.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wire_fuzz::checks::answer(wire::Protocol::CohereChat, true, bytes);
    wire_fuzz::checks::answer(wire::Protocol::CohereChat, false, bytes);
});
