//! In the format of OpenAI's legacy completions.

use super::{Dimension, list, text};

pub fn dimensions() -> Vec<Dimension> {
    vec![
        text("length of a prompt", r#"{"model":"m","prompt":"@"}"#, "a"),
        text("escapes", r#"{"model":"m","prompt":"@"}"#, "\\u00e9\\n"),
        list("prompts", r#"{"model":"m","prompt":[@]}"#, r#""a prompt""#),
        list("least prompts", r#"{"model":"m","prompt":[@]}"#, r#""x""#),
        list("tokens of a prompt", r#"{"model":"m","prompt":[@]}"#, "1"),
        list("prompts of tokens", r#"{"model":"m","prompt":[@]}"#, "[1]"),
        text("length of a suffix", r#"{"model":"m","prompt":"x","suffix":"@"}"#, "a"),
        text("length of an echo", r#"{"model":"m","echo":true,"prompt":"@"}"#, "a"),
        list("stop words", r#"{"model":"m","prompt":"x","stop":[@]}"#, r#""stop №""#),
        list("empty stop words", r#"{"model":"m","prompt":"x","stop":[@]}"#, r#""""#),
        list("logit bias", r#"{"model":"m","prompt":"x","logit_bias":{@}}"#, r#""№":1"#),
        list("metadata", r#"{"model":"m","prompt":"x","metadata":{@}}"#, r#""key_№":"value""#),
        list("numbers of an unknown field", r#"{"model":"m","prompt":"x","unknown":[@]}"#, "1"),
        text("length of an unknown name", r#"{"model":"m","prompt":"x","@":1}"#, "u"),
    ]
}
