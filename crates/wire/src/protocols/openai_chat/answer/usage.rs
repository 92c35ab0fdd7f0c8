//! Token counts as OpenAI-like servers report them, and as the gateway writes them.

use canon::{Cost, Usage};
use serde_json::value::RawValue;

use crate::json::{Kind, Scanner, Syntax, push_count, push_key, push_string};

/// A server's usage object. Servers put counts in different members; all of them are read.
#[derive(Debug, Default)]
struct Reported {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    inputs: Details,
    outputs: Details,
    /// DeepSeek's, Moonshot's, Mistral's and Databricks' members for cached tokens.
    cached: [Option<u64>; 4],
    /// Databricks.
    cache_written: Option<u64>,
    /// Perplexity, SGLang.
    reasoning: Option<u64>,
    /// Perplexity.
    searches: Option<u64>,
    /// There are members besides the three counts and their details.
    has_more: bool,
    /// A count is negative or impossibly large: the whole object is ignored.
    is_impossible: bool,
    /// A count is not written as OpenAI's type has it: a whole number.
    is_odd: bool,
}

/// The parts of a count.
#[derive(Debug, Default)]
struct Details {
    cached: Option<u64>,
    cache_written: Option<u64>,
    /// Alibaba.
    cache_created: Option<u64>,
    audio: Option<u64>,
    image: Option<u64>,
    reasoning: Option<u64>,
    is_impossible: bool,
    is_odd: bool,
}

/// A count as a server wrote it.
struct Count {
    value: Option<u64>,
    /// Neither a whole number nor null.
    is_odd: bool,
}

/// An impossible count: sums of a few of them do not overflow.
const IMPOSSIBLE: u64 = 1 << 48;

impl Reported {
    fn take_all(scanner: &mut Scanner<'_>) -> Result<Self, Syntax> {
        let json = scanner.json();
        let mut reported = Self::default();
        scanner.object(|scanner, key| reported.take(scanner, &json[key.range]))?;
        Ok(reported)
    }

    fn take(&mut self, scanner: &mut Scanner<'_>, name: &[u8]) -> Result<(), Syntax> {
        let place = match name {
            b"prompt_tokens" => &mut self.prompt,
            b"completion_tokens" => &mut self.completion,
            b"total_tokens" => &mut self.total,
            b"prompt_tokens_details" | b"completion_tokens_details" if scanner.kind()? != Kind::Object => {
                self.has_more = true;
                return scanner.value().map(drop);
            }
            b"prompt_tokens_details" => return self.take_inputs(scanner),
            b"completion_tokens_details" => return self.take_outputs(scanner),
            name => {
                self.has_more = true;
                match name {
                    // Mistral's spelling.
                    b"prompt_token_details" => return self.take_inputs(scanner),
                    b"prompt_cache_hit_tokens" => &mut self.cached[0],
                    b"cached_tokens" => &mut self.cached[1],
                    b"num_cached_tokens" => &mut self.cached[2],
                    b"cache_read_input_tokens" => &mut self.cached[3],
                    b"cache_creation_input_tokens" => &mut self.cache_written,
                    b"reasoning_tokens" => &mut self.reasoning,
                    b"num_search_queries" => &mut self.searches,
                    _ => return scanner.value().map(drop),
                }
            }
        };
        let count = count(scanner)?;
        *place = count.value;
        self.is_impossible |= count.value == Some(IMPOSSIBLE);
        self.is_odd |= count.is_odd;
        Ok(())
    }

    fn take_inputs(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Syntax> {
        self.inputs.take_all(scanner)?;
        self.is_impossible |= self.inputs.is_impossible;
        self.is_odd |= self.inputs.is_odd;
        Ok(())
    }

    fn take_outputs(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Syntax> {
        self.outputs.take_all(scanner)?;
        self.is_impossible |= self.outputs.is_impossible;
        self.is_odd |= self.outputs.is_odd;
        Ok(())
    }

    /// The counts in disjoint buckets; none without counts, or with impossible ones. `cached_outside_prompt`:
    /// the prompt excludes cached tokens.
    fn usage(&self, cached_outside_prompt: bool) -> Option<Usage> {
        if self.is_impossible {
            return None;
        }
        let mut prompt = self.prompt?;
        let mut completion = self.completion.unwrap_or(0);
        let (inputs, outputs) = (&self.inputs, &self.outputs);
        let cached = first([inputs.cached].into_iter().chain(self.cached));
        let written = first([inputs.cache_written, inputs.cache_created, self.cache_written]);
        let audio = inputs.audio.unwrap_or(0);
        // Mistral counts audio besides the prompt, as the total shows (recorded: rig,
        // blocking_raw_model_sends_audio).
        let audio_apart = match self.total {
            Some(total) => total == prompt + completion + audio,
            None => audio > prompt,
        };
        if audio > 0 && audio_apart {
            prompt += audio;
        }
        let reasoning = first([outputs.reasoning, self.reasoning]);
        // xAI counts thinking outside of the completion, as the total shows.
        let apart = match self.total {
            Some(total) => total == prompt + completion + reasoning,
            None => reasoning > completion,
        };
        if reasoning > 0 && apart {
            completion += reasoning;
        }
        // The cached part may be outside of the prompt. Where it is larger than the prompt, that is certain;
        // otherwise the total may show it, or else the facts of the model decide.
        let total = |parts: u64| self.total == Some(parts + completion);
        let told_by_total = cached > 0 && total(prompt + cached) && !total(prompt);
        if cached_outside_prompt || cached > prompt || told_by_total {
            prompt += cached;
        }
        let audio_input = audio.min(prompt);
        let audio_output = outputs.audio.unwrap_or(0).min(completion);
        let image_output = outputs.image.unwrap_or(0).min(completion - audio_output);
        let usage = Usage {
            input: prompt.saturating_sub(cached + written + audio_input),
            cache_read: cached.min(prompt),
            cache_write: written.min(prompt.saturating_sub(cached)),
            cache_write_1h: 0,
            audio_input: audio_input.min(prompt.saturating_sub(cached + written)),
            output: completion - audio_output - image_output,
            audio_output,
            image_output,
            reasoning,
            web_searches: self.searches.unwrap_or(0),
        };
        usage.is_plausible().then_some(usage)
    }
}

impl Details {
    /// Takes the object; other types are ignored.
    fn take_all(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Syntax> {
        if scanner.kind()? != Kind::Object {
            return scanner.value().map(drop);
        }
        let json = scanner.json();
        scanner.object(|scanner, key| {
            let place = match &json[key.range] {
                b"cached_tokens" => &mut self.cached,
                b"cache_write_tokens" => &mut self.cache_written,
                b"cache_creation_input_tokens" => &mut self.cache_created,
                b"audio_tokens" => &mut self.audio,
                b"image_tokens" => &mut self.image,
                b"reasoning_tokens" => &mut self.reasoning,
                _ => return scanner.value().map(drop),
            };
            let count = count(scanner)?;
            *place = count.value;
            self.is_impossible |= count.value == Some(IMPOSSIBLE);
            self.is_odd |= count.is_odd;
            Ok(())
        })
    }
}

/// Takes a count. Some servers write `12.0` or `"12"`; null is none, and other types are ignored. A negative
/// one is impossible.
fn count(scanner: &mut Scanner<'_>) -> Result<Count, Syntax> {
    let kind = scanner.kind()?;
    let json = scanner.json();
    let raw = &json[scanner.value()?];
    let digits = match kind {
        Kind::Null => return Ok(Count { value: None, is_odd: false }),
        Kind::Number => raw,
        Kind::String => &raw[1..raw.len() - 1],
        Kind::Bool | Kind::Array | Kind::Object => b"",
    };
    let whole = digits.iter().all(u8::is_ascii_digit);
    let value = match str::from_utf8(digits).unwrap_or("") {
        text if whole => text.parse().unwrap_or(if text.is_empty() { 0 } else { IMPOSSIBLE }),
        text => match text.parse::<f64>() {
            Ok(number) if number < 0.0 => IMPOSSIBLE,
            number => number.unwrap_or(0.0) as u64,
        },
    };
    Ok(Count { value: Some(value.min(IMPOSSIBLE)), is_odd: kind != Kind::Number || !whole })
}

/// Reads a usage object; none without prompt tokens, or with impossible counts.
pub(crate) fn read(json: &[u8], cached_outside_prompt: bool) -> Option<Usage> {
    let mut scanner = Scanner::new(json);
    let reported = Reported::take_all(&mut scanner).ok()?;
    scanner.end().ok()?;
    reported.usage(cached_outside_prompt)
}

/// Takes a usage object; some if it can be copied: standard fields only, and correct sums. Thinking outside
/// of the completion or cached tokens outside of the prompt change the sums; vendors' own counts need a full
/// read.
pub(crate) fn take_plain(
    scanner: &mut Scanner<'_>,
    cached_outside_prompt: bool,
) -> Result<Option<Usage>, Syntax> {
    let reported = Reported::take_all(scanner)?;
    let Some(usage) = reported.usage(cached_outside_prompt) else {
        return Ok(None);
    };
    if reported.has_more || reported.is_odd {
        return Ok(None);
    }
    let meant = [usage.prompt_tokens(), usage.completion_tokens(), usage.total_tokens()];
    let is_meant = [reported.prompt, reported.completion, reported.total] == meant.map(Some);
    Ok(is_meant.then_some(usage))
}

/// The first count that is present.
fn first(counts: impl IntoIterator<Item = Option<u64>>) -> u64 {
    counts.into_iter().flatten().find(|count| *count > 0).unwrap_or(0)
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

/// Writes the usage object: OpenAI's counts, the cost, and the provider's other members.
pub(crate) fn write(out: &mut Vec<u8>, usage: &Usage, cost: Option<Cost>, reported: Option<&RawValue>) {
    let raw: serde_json::Map<String, serde_json::Value> =
        reported.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    out.push(b'{');
    for (name, count) in [
        ("prompt_tokens", usage.prompt_tokens()),
        ("completion_tokens", usage.completion_tokens()),
        ("total_tokens", usage.total_tokens()),
        ("reasoning_tokens", usage.reasoning),
    ] {
        push_count(out, name, count);
    }
    let prompt = [
        ("cached_tokens", usage.cache_read),
        ("audio_tokens", usage.audio_input),
        ("cache_write_tokens", usage.cache_writes()),
    ];
    write_details(out, "prompt_tokens_details", &prompt, raw.get("prompt_tokens_details"));
    let completion = [
        ("reasoning_tokens", usage.reasoning),
        ("audio_tokens", usage.audio_output),
        ("image_tokens", usage.image_output),
    ];
    // Image tokens are rare and have their own price.
    let completion = &completion[..if usage.image_output > 0 { 3 } else { 2 }];
    write_details(out, "completion_tokens_details", completion, raw.get("completion_tokens_details"));
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
        push_count(out, name, *count);
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
pub(crate) fn write_cost(out: &mut Vec<u8>, cost: Option<Cost>) {
    let parts = cost.map(|cost| [cost.total, cost.input, cost.output, cost.cached_input]);
    for (index, name) in
        ["cost_usd_total", "cost_usd_input", "cost_usd_output", "cost_usd_cached_input"].iter().enumerate()
    {
        push_key(out, name);
        match parts {
            Some(parts) => parts[index].push(out),
            None => out.extend_from_slice(b"null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_in_every_member_that_servers_use() {
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
            let usage = read(json.as_bytes(), false).unwrap();
            let found = [
                usage.prompt_tokens(),
                usage.completion_tokens(),
                usage.cache_read,
                usage.cache_writes(),
                usage.reasoning,
            ];
            assert_eq!(found, expected, "{json}");
        }
        assert!(read(b"{}", false).is_none() && read(b"null", false).is_none());
    }

    #[test]
    fn cached_tokens_beside_the_prompt_are_added_and_shown_as_priced() {
        let cases = [
            // Larger than the prompt: they cannot be within it.
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":100}}"#,
                false,
                110,
            ),
            // Fewer: the total or a fact of the model decides.
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":19,"prompt_tokens_details":{"cached_tokens":4}}"#,
                false,
                14,
            ),
            (
                r#"{"prompt_tokens":205,"completion_tokens":18,"total_tokens":223,"prompt_tokens_details":{"cached_tokens":159}}"#,
                true,
                364,
            ),
            (
                r#"{"prompt_tokens":205,"completion_tokens":18,"total_tokens":223,"prompt_tokens_details":{"cached_tokens":159}}"#,
                false,
                205,
            ),
        ];
        for (json, outside, prompt) in cases {
            let usage = read(json.as_bytes(), outside).unwrap();
            let mut out = Vec::new();
            write(&mut out, &usage, None, Some(&RawValue::from_string(json.to_owned()).unwrap()));
            let shown: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(usage.prompt_tokens(), prompt, "{json}");
            assert_eq!(shown["prompt_tokens"], prompt, "{json}");
            assert_eq!(shown["total_tokens"], usage.total_tokens(), "{json}");
        }
    }

    #[test]
    fn impossible_counts_are_ignored() {
        for count in ["-1", "-0.5", "\"-3\"", "1e18", "99999999999999999999", "200000000"] {
            for json in [
                format!(r#"{{"prompt_tokens":{count},"completion_tokens":5}}"#),
                format!(r#"{{"prompt_tokens":5,"completion_tokens":{count}}}"#),
                format!(
                    r#"{{"prompt_tokens":5,"completion_tokens":5,"prompt_tokens_details":{{"cached_tokens":{count}}}}}"#
                ),
                format!(
                    r#"{{"prompt_tokens":5,"completion_tokens":5,"completion_tokens_details":{{"reasoning_tokens":{count}}}}}"#
                ),
            ] {
                assert_eq!(read(json.as_bytes(), false), None, "{json}");
            }
        }
    }

    #[test]
    fn audio_is_counted_once_inside_or_outside_of_the_prompt() {
        for prompt in [11, 386] {
            let json = format!(
                r#"{{"prompt_tokens":{prompt},"completion_tokens":15,"total_tokens":401,"prompt_tokens_details":{{"audio_tokens":375,"cached_tokens":9}}}}"#
            );
            let usage = read(json.as_bytes(), false).unwrap();
            assert_eq!((usage.input, usage.cache_read, usage.audio_input), (2, 9, 375), "{json}");
        }
    }

    #[test]
    fn written_usage_reads_back_and_keeps_vendor_counts() {
        let reported = r#"{"prompt_tokens":9,"completion_tokens":3,"cost":0.1,"completion_tokens_details":{"accepted_prediction_tokens":1}}"#;
        let usage = read(reported.as_bytes(), false).unwrap();
        let raw: Box<RawValue> = RawValue::from_string(reported.to_owned()).unwrap();
        let mut out = Vec::new();
        write(&mut out, &usage, None, Some(&raw));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(read(text.as_bytes(), false), Some(usage));
        for part in [r#""cost":0.1"#, r#""accepted_prediction_tokens":1"#, r#""cost_usd_total":null"#] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
