//! Answers of AnthropicMessages, streamed and whole.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wire_fuzz::checks::answer(wire::Protocol::AnthropicMessages, true, bytes);
    wire_fuzz::checks::answer(wire::Protocol::AnthropicMessages, false, bytes);
});
