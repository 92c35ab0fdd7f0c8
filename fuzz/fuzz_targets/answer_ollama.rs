//! Answers of OllamaChat, streamed and whole.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wire_fuzz::checks::answer(wire::Protocol::OllamaChat, true, bytes);
    wire_fuzz::checks::answer(wire::Protocol::OllamaChat, false, bytes);
});
