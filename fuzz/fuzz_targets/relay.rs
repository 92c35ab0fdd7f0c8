//! Answers between equal formats.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for (stream, include_usage) in [(true, true), (true, false), (false, false)] {
        let form = wire::AnswerForm { stream, include_usage, ..wire::AnswerForm::default() };
        wire_fuzz::checks::relayed(&form, bytes);
    }
});
