//! Requests of the legacy completions API.

#![no_main]

use wire::protocols::openai_completions::OpenaiCompletions;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire_fuzz::checks::request_of(&OpenaiCompletions, bytes));
