//! Answers of endpoints without a conversation: vectors, ranks, sound, images, transcripts.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire_fuzz::checks::endpoint_answer(bytes));
