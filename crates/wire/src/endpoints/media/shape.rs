//! OpenAI's shape of answers with images: the members that its clients require.

use canon::Usage;
use http::HeaderMap;
use http::header::DATE;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::json::Edit;

/// The members besides the images.
#[derive(Default, Deserialize)]
#[serde(default)]
struct OtherMembers {
    created: Value,
    usage: Value,
}

/// An answer in OpenAI's format whose members of other names, or that are missing, are made OpenAI's. `condensed`
/// is the answer without its long strings.
pub fn completed(
    body: &[u8],
    condensed: &[u8],
    usage: Option<&Usage>,
    headers: &HeaderMap,
) -> Option<Vec<u8>> {
    let around: OtherMembers = serde_json::from_slice(condensed).ok()?;
    let mut edit = Edit::of(body).ok()?;
    // Some servers write 0.
    if around.created.as_u64().is_none_or(|seconds| seconds == 0) {
        edit.set("created", seconds(headers).to_string().as_bytes());
    }
    if let Value::Object(own) = around.usage
        && !is_whole(&own)
    {
        match usage {
            Some(usage) => edit.set("usage", merged(own, usage).to_string().as_bytes()),
            // It has no counts, such as a price alone: OpenAI's clients require counts there.
            None => edit.rename("usage", "provider_usage", Value::Object(own).to_string().as_bytes()),
        }
    }
    Some(edit.write(64))
}

fn is_whole(usage: &Map<String, Value>) -> bool {
    let is_count = |name: &str| usage.get(name).is_some_and(Value::is_u64);
    let has_details = usage.get("input_tokens_details").is_some_and(Value::is_object);
    ["input_tokens", "output_tokens", "total_tokens"].into_iter().all(is_count) && has_details
}

/// OpenAI's counts beside the provider's own members.
fn merged(own: Map<String, Value>, usage: &Usage) -> Value {
    let of_images = |details: &str| own.get(details)?.get("image_tokens")?.as_u64();
    let image_input = of_images("input_tokens_details").or_else(|| of_images("prompt_tokens_details"));
    let mut whole = counted(usage, image_input.unwrap_or_default());
    if let Value::Object(counts) = &mut whole {
        for (name, value) in own {
            counts.entry(name).or_insert(value);
        }
    }
    whole
}

/// OpenAI's counts.
pub fn counted(usage: &Usage, image_input: u64) -> Value {
    let (input, output) = (usage.input + usage.cache_read, usage.output + usage.image_output);
    let images = image_input.min(input);
    json!({
        "input_tokens": input, "output_tokens": output, "total_tokens": input + output,
        "input_tokens_details": {"image_tokens": images, "text_tokens": input - images},
        "output_tokens_details": {"image_tokens": usage.image_output, "text_tokens": usage.output}
    })
}

/// When the provider answered.
pub fn seconds(headers: &HeaderMap) -> u64 {
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let time = date.and_then(|date| httpdate::parse_http_date(date).ok());
    time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs())
}
