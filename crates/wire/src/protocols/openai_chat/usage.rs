//! Token counts as OpenAI-like servers report them, and as the gateway shows them.

use canon::{Cost, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{push_key, push_string, push_u64};

/// A server's usage object. Counts stand in different places at different servers; all of them are read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reported {
    prompt_tokens: Option<Count>,
    completion_tokens: Option<Count>,
    total_tokens: Option<Count>,
    prompt_tokens_details: Option<Details>,
    /// Mistral's spelling.
    prompt_token_details: Option<Details>,
    completion_tokens_details: Option<Details>,
    /// DeepSeek.
    prompt_cache_hit_tokens: Option<Count>,
    /// Moonshot, Together.
    cached_tokens: Option<Count>,
    /// Mistral.
    num_cached_tokens: Option<Count>,
    /// Perplexity, SGLang.
    reasoning_tokens: Option<Count>,
    /// Perplexity.
    num_search_queries: Option<Count>,
    /// Databricks.
    cache_read_input_tokens: Option<Count>,
    cache_creation_input_tokens: Option<Count>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<Count>,
    cache_write_tokens: Option<Count>,
    /// Alibaba.
    cache_creation_input_tokens: Option<Count>,
    audio_tokens: Option<Count>,
    image_tokens: Option<Count>,
    reasoning_tokens: Option<Count>,
}

/// No answer has more tokens: sums of counts cannot overflow.
const MOST: u64 = 1 << 48;

/// A count; some servers write `12.0`, and nonsense counts as nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

/// Takes whatever is there: what is no count is none.
struct CountVisitor;

impl<'de> serde::de::Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a count")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
        Ok(Count(count.min(MOST)))
    }

    fn visit_i64<E>(self, count: i64) -> Result<Count, E> {
        Ok(Count((count.max(0) as u64).min(MOST)))
    }

    fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
        Ok(Count((count.max(0.0) as u64).min(MOST)))
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count(0))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count(0))
    }

    fn visit_str<E>(self, text: &str) -> Result<Count, E> {
        Ok(Count(text.parse().unwrap_or(0).min(MOST)))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
        while items.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(Count(0))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Count, A::Error> {
        while entries.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
        Ok(Count(0))
    }
}

/// Reads a usage object; none if it reports no prompt tokens.
pub(super) fn read(json: &str) -> Option<Usage> {
    let reported: Reported = serde_json::from_str(json).ok()?;
    let mut prompt = reported.prompt_tokens?.0;
    let mut completion = number(reported.completion_tokens);
    let inputs = reported.prompt_tokens_details.or(reported.prompt_token_details).unwrap_or_default();
    let outputs = reported.completion_tokens_details.unwrap_or_default();
    let cached = first([
        inputs.cached_tokens,
        reported.prompt_cache_hit_tokens,
        reported.cached_tokens,
        reported.num_cached_tokens,
        reported.cache_read_input_tokens,
    ]);
    let written = first([
        inputs.cache_write_tokens,
        inputs.cache_creation_input_tokens,
        reported.cache_creation_input_tokens,
    ]);
    let audio = number(inputs.audio_tokens);
    // Mistral counts sound beside the prompt, and the total tells so (recorded: rig, blocking_raw_model_sends_audio).
    let audio_apart = match reported.total_tokens {
        Some(total) => total.0 == prompt + completion + audio,
        None => audio > prompt,
    };
    if audio > 0 && audio_apart {
        prompt += audio;
    }
    let reasoning = first([outputs.reasoning_tokens, reported.reasoning_tokens]);
    // xAI counts thinking outside of the completion, and the total tells so.
    let apart = match reported.total_tokens {
        Some(total) => total.0 == prompt + completion + reasoning,
        None => reasoning > completion,
    };
    if reasoning > 0 && apart {
        completion += reasoning;
    }
    // xAI: the cached part may stand beside the prompt instead of within it.
    if cached > prompt {
        prompt += cached;
    }
    let audio_input = audio.min(prompt);
    let audio_output = number(outputs.audio_tokens).min(completion);
    let image_output = number(outputs.image_tokens).min(completion - audio_output);
    Some(Usage {
        input: prompt.saturating_sub(cached + written + audio_input),
        cache_read: cached.min(prompt),
        cache_write: written.min(prompt.saturating_sub(cached)),
        cache_write_1h: 0,
        audio_input: audio_input.min(prompt.saturating_sub(cached + written)),
        output: completion - audio_output - image_output,
        audio_output,
        image_output,
        reasoning,
        web_searches: number(reported.num_search_queries),
    })
}

fn number(count: Option<Count>) -> u64 {
    count.unwrap_or_default().0
}

/// The first count that says something.
fn first<const N: usize>(counts: [Option<Count>; N]) -> u64 {
    counts.into_iter().flatten().map(|count| count.0).find(|count| *count > 0).unwrap_or(0)
}

/// Fields of a usage object that the gateway writes itself.
const OWN: [&str; 11] = [
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "reasoning_tokens",
    "prompt_tokens_details",
    "completion_tokens_details",
    "cost_usd_total",
    "cost_usd_input",
    "cost_usd_output",
    "cost_usd_cached_input",
    "cost_usd_other",
];

/// Writes the usage object: OpenAI's counts, the cost, and whatever else the provider reported.
pub(super) fn write(out: &mut Vec<u8>, usage: &Usage, cost: Option<Cost>, reported: Option<&RawValue>) {
    let raw: serde_json::Map<String, serde_json::Value> =
        reported.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    // The provider's own sum stands where it reports one: its cached tokens may lie outside of its prompt tokens.
    let prompt_tokens = raw
        .get("prompt_tokens")
        .and_then(serde_json::Value::as_u64)
        .unwrap_or(usage.prompt_tokens())
        .min(MOST);
    out.push(b'{');
    for (name, count) in [
        ("prompt_tokens", prompt_tokens),
        ("completion_tokens", usage.completion_tokens()),
        ("total_tokens", prompt_tokens + usage.completion_tokens()),
        ("reasoning_tokens", usage.reasoning),
    ] {
        push_key(out, name);
        push_u64(out, count);
    }
    let prompt = [
        ("cached_tokens", usage.cache_read),
        ("audio_tokens", usage.audio_input),
        ("cache_write_tokens", usage.cache_writes()),
    ];
    write_details(out, "prompt_tokens_details", &prompt, raw.get("prompt_tokens_details"));
    let completion = [("reasoning_tokens", usage.reasoning), ("audio_tokens", usage.audio_output)];
    write_details(out, "completion_tokens_details", &completion, raw.get("completion_tokens_details"));
    write_cost(out, cost);
    for (name, value) in &raw {
        if !OWN.contains(&name.as_str()) {
            out.push(b',');
            push_string(out, name);
            out.push(b':');
            out.extend_from_slice(value.to_string().as_bytes());
        }
    }
    out.push(b'}');
}

fn write_details(
    out: &mut Vec<u8>,
    name: &str,
    counts: &[(&str, u64)],
    reported: Option<&serde_json::Value>,
) {
    push_key(out, name);
    out.push(b'{');
    for (name, count) in counts {
        push_key(out, name);
        push_u64(out, *count);
    }
    for (name, value) in reported.and_then(serde_json::Value::as_object).into_iter().flatten() {
        if !counts.iter().any(|(own, _)| own == name) {
            out.push(b',');
            push_string(out, name);
            out.push(b':');
            out.extend_from_slice(value.to_string().as_bytes());
        }
    }
    out.push(b'}');
}

/// Writes the four cost fields; each is null where the price is unknown.
pub(super) fn write_cost(out: &mut Vec<u8>, cost: Option<Cost>) {
    use std::io::Write;
    let parts = cost.map(|cost| [cost.total, cost.input, cost.output, cost.cached_input]);
    for (index, name) in
        ["cost_usd_total", "cost_usd_input", "cost_usd_output", "cost_usd_cached_input"].iter().enumerate()
    {
        push_key(out, name);
        let written = match parts {
            Some(parts) => write!(out, "{}", parts[index]),
            None => out.write_all(b"null"),
        };
        debug_assert!(written.is_ok(), "writing to memory");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_wherever_a_server_puts_them() {
        // (reported, prompt, completion, cached, written, reasoning)
        let cases = [
            (r#"{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}"#, [9, 3, 0, 0, 0]),
            (
                r#"{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}"#,
                [9, 3, 4, 0, 2],
            ),
            (r#"{"prompt_tokens":9,"completion_tokens":3,"prompt_cache_hit_tokens":4}"#, [9, 3, 4, 0, 0]),
            (
                r#"{"prompt_tokens":9,"completion_tokens":3,"cached_tokens":4,"prompt_tokens_details":null}"#,
                [9, 3, 4, 0, 0],
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":3,"total_tokens":32,"completion_tokens_details":{"reasoning_tokens":20}}"#,
                [9, 23, 0, 0, 20],
            ),
            (
                r#"{"prompt_tokens":2,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":7}}"#,
                [9, 3, 7, 0, 0],
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":1,"cache_write_tokens":5}}"#,
                [9, 3, 1, 5, 0],
            ),
            (r#"{"prompt_tokens":9.0,"completion_tokens":null}"#, [9, 0, 0, 0, 0]),
            (
                r#"{"prompt_tokens":11,"completion_tokens":15,"total_tokens":401,"prompt_tokens_details":{"audio_tokens":375,"cached_tokens":9}}"#,
                [386, 15, 9, 0, 0],
            ),
            (
                r#"{"prompt_tokens":386,"completion_tokens":15,"total_tokens":401,"prompt_tokens_details":{"audio_tokens":375}}"#,
                [386, 15, 0, 0, 0],
            ),
        ];
        for (json, expected) in cases {
            let usage = read(json).unwrap();
            let found = [
                usage.prompt_tokens(),
                usage.completion_tokens(),
                usage.cache_read,
                usage.cache_writes(),
                usage.reasoning,
            ];
            assert_eq!(found, expected, "{json}");
        }
        assert!(read("{}").is_none() && read("null").is_none());
    }

    #[test]
    fn sound_is_counted_once_wherever_it_stands() {
        for prompt in [11, 386] {
            let json = format!(
                r#"{{"prompt_tokens":{prompt},"completion_tokens":15,"total_tokens":401,"prompt_tokens_details":{{"audio_tokens":375,"cached_tokens":9}}}}"#
            );
            let usage = read(&json).unwrap();
            assert_eq!((usage.input, usage.cache_read, usage.audio_input), (2, 9, 375), "{json}");
        }
    }

    #[test]
    fn what_is_written_reads_back_and_keeps_vendor_counts() {
        let reported = r#"{"prompt_tokens":9,"completion_tokens":3,"cost":0.1,"completion_tokens_details":{"accepted_prediction_tokens":1}}"#;
        let usage = read(reported).unwrap();
        let raw: Box<RawValue> = RawValue::from_string(reported.to_owned()).unwrap();
        let mut out = Vec::new();
        write(&mut out, &usage, None, Some(&raw));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(read(&text), Some(usage));
        for part in [r#""cost":0.1"#, r#""accepted_prediction_tokens":1"#, r#""cost_usd_total":null"#] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
