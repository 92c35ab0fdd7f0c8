//! Answers of the Responses API, streamed and whole.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wire_fuzz::checks::answer(wire::Protocol::OpenaiResponses, true, bytes);
    wire_fuzz::checks::answer(wire::Protocol::OpenaiResponses, false, bytes);
});
