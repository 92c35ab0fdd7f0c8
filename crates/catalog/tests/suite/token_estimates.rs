//! Estimates of prompts compared with providers' counts. Only recordings have true counts: without them
//! nothing is compared.

use std::collections::BTreeMap;

use bytes::Bytes;
use canon::{PartKind, Request, ToolChoice, ToolKind};
use serde_json::Value;
use testkit::corpus::Record;
use wire::{Addressed, Protocol, dialect};

/// The largest accepted errors: of half of a family's prompts, and of nine out of ten. Short prompts are most
/// of the recordings and have the largest errors: a provider's own instructions weigh more than their text.
const FAMILIES: [(&str, f64, f64); 10] = [
    ("claude", 0.12, 0.35),
    ("gpt", 0.12, 0.35),
    ("gpt-oss", 0.10, 0.30),
    ("gemini", 0.12, 0.45),
    // These counts include neither tools nor signatures of thoughts.
    ("gemini (Vertex AI)", 0.40, 5.00),
    ("mistral", 0.12, 0.40),
    ("qwen", 0.12, 0.40),
    ("deepseek", 0.12, 0.40),
    ("grok", 0.12, 0.60),
    ("llama", 0.12, 0.40),
];

struct CountedPrompt {
    id: String,
    model: String,
    tokens: u64,
    estimated: u64,
    /// The tokens that limits reserve for the prompt.
    reserved: u64,
}

impl CountedPrompt {
    fn error(&self) -> f64 {
        (self.estimated as f64 / self.tokens as f64 - 1.0).abs()
    }
}

#[test]
fn estimates_are_near_the_providers_counts() {
    let all = all_counted();
    let mut families: BTreeMap<&str, Vec<&CountedPrompt>> = BTreeMap::new();
    for counted in &all {
        families.entry(family(counted)).or_default().push(counted);
    }
    for (name, half, most) in FAMILIES {
        let Some(found) = families.get(name) else { continue };
        let median = share(found, 0.5, |counted| counted.error());
        let tenth = share(found, 0.9, |counted| counted.error());
        let reserved = |counted: &CountedPrompt| counted.reserved as f64 / counted.tokens as f64;
        eprintln!(
            "| {name} | {} | {median:.2} | {tenth:.2} | {:.2} | {:.2} | {:.2} |",
            found.len(),
            share(found, 0.05, reserved),
            share(found, 0.5, reserved),
            share(found, 0.95, reserved),
        );
        if tenth > most || median > half {
            let mut worst = found.clone();
            worst.sort_by(|a, b| b.error().total_cmp(&a.error()));
            for counted in worst.iter().take(20) {
                eprintln!(
                    "  {} for {}: {} ({})",
                    counted.estimated, counted.tokens, counted.id, counted.model
                );
            }
        }
        assert!(median <= half && tenth <= most, "{name}: {median:.2} at half, {tenth:.2} at nine of ten");
    }
}

/// A reservation that is too small lets spending exceed a ceiling by the difference. Few are too small, and
/// only slightly.
#[test]
fn reservations_are_rarely_too_small() {
    let all = all_counted();
    if all.is_empty() {
        return;
    }
    let all: Vec<&CountedPrompt> = all.iter().collect();
    let short = |counted: &CountedPrompt| counted.tokens as f64 - counted.reserved as f64;
    let large: Vec<_> = all.iter().copied().filter(|counted| counted.tokens >= 1000).collect();
    let ratio = |counted: &CountedPrompt| counted.reserved as f64 / counted.tokens as f64;
    let sum = |of: fn(&CountedPrompt) -> u64| all.iter().map(|counted| of(counted)).sum::<u64>() as f64;
    let in_all = sum(|counted| counted.reserved) / sum(|counted| counted.tokens);
    let (half, most) = (share(&all, 0.5, short), share(&all, 0.95, short));
    let of_large = share(&large, 0.25, ratio);
    eprintln!(
        "short by {half} at half and {most} at 95 %; {in_all:.2} in all; {of_large:.2} of one large prompt in four"
    );
    assert!(half <= 0.0 && most <= 200.0 && in_all >= 1.0 && of_large > 0.7);
}

fn all_counted() -> Vec<CountedPrompt> {
    let all = testkit::corpus::listed().flat_map(|(provider, _)| testkit::corpus::records(provider));
    all.filter(|record| !record.is_own()).filter_map(|record| counted(&record)).collect()
}

/// The value that this share of the family stays below.
fn share(found: &[&CountedPrompt], share: f64, value: impl Fn(&CountedPrompt) -> f64) -> f64 {
    let mut values: Vec<f64> = found.iter().map(|counted| value(counted)).collect();
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share) as usize]
}

fn family(counted: &CountedPrompt) -> &'static str {
    let model = counted.model.to_ascii_lowercase();
    let has = |name: &str| model.contains(name);
    match () {
        () if has("claude") => "claude",
        () if has("gpt-oss") => "gpt-oss",
        () if has("gpt") || has("o1") || has("o3") || has("o4-") => "gpt",
        () if has("gemini") && counted.id.starts_with("vertex") => "gemini (Vertex AI)",
        () if has("gemini") => "gemini",
        () if has("stral") => "mistral",
        () if has("qwen") || has("qwq") => "qwen",
        () if has("deepseek") => "deepseek",
        () if has("grok") => "grok",
        () if has("llama") => "llama",
        () => "other",
    }
}

fn counted(record: &Record) -> Option<CountedPrompt> {
    let (protocol, names): (_, &[&str]) = match record.api.as_str() {
        "chat" => (Protocol::OpenaiChat, &["prompt_tokens"]),
        "messages" => (
            Protocol::AnthropicMessages,
            &["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"],
        ),
        "generateContent" | "streamGenerateContent" => (Protocol::Gemini, &["promptTokenCount"]),
        "responses" => (Protocol::OpenaiResponses, &["input_tokens"]),
        _ => return None,
    };
    let request = record.request.as_ref().filter(|_| record.status == 200)?;
    let body = Bytes::from(request.to_string());
    let rest = format!("{}:generateContent", record.model);
    let intake = dialect(protocol)?.intake(Addressed { rest: &rest, query: "" }, &body).ok()?;
    let decoded = dialect(protocol)?.decode(&intake).ok()?;
    let tokens = largest(&String::from_utf8_lossy(&record.body), names).filter(|tokens| *tokens > 0)?;
    is_all_there(request, &decoded, record).then(|| CountedPrompt {
        id: record.id.clone(),
        model: record.model.clone(),
        tokens,
        estimated: catalog::token_rules(&record.model).estimate(&decoded),
        reserved: intake.reserved_tokens(),
    })
}

/// Whether the recorded request contains its whole prompt. Large media were replaced when the exchanges were
/// recorded, hosted tools and searching providers add their results, and some hosts add instructions of their
/// own.
fn is_all_there(body: &Value, request: &Request, record: &Record) -> bool {
    let elsewhere = [
        "previous_response_id",
        "conversation",
        "mcp_servers",
        "plugins",
        "web_search_options",
        "container",
        "cachedContent",
        "prompt",
    ];
    let is_media = |part: &canon::Part| match &part.kind {
        PartKind::Media(_) => true,
        PartKind::ToolResult(result) => {
            result.content.iter().any(|part| matches!(part.kind, PartKind::Media(_)))
        }
        _ => false,
    };
    let has_media = request.messages.iter().any(|message| message.parts.iter().any(is_media));
    let is_hosted = request.tools.iter().any(|tool| matches!(tool.kind, ToolKind::Native(_)));
    let is_unused = request.tool_choice == Some(ToolChoice::None) && !request.tools.is_empty();
    // Some providers count the thinking of earlier turns, others do not.
    let has_own_instructions = ["venice", "perplexity"].contains(&record.provider.as_str());
    !has_media
        && !is_hosted
        && !is_unused
        && !has_own_instructions
        && elsewhere.iter().all(|name| body.get(name).is_none_or(Value::is_null))
}

/// The sum of the largest numbers after these names.
fn largest(text: &str, names: &[&str]) -> Option<u64> {
    let of = |name: &str| {
        let name = format!("\"{name}\"");
        let numbers = text.match_indices(&name).filter_map(|(at, found)| {
            let rest = text[at + found.len()..].trim_start().strip_prefix(':')?.trim_start();
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse::<u64>().ok()
        });
        numbers.max()
    };
    let mut found = names.iter().filter_map(|name| of(name)).peekable();
    found.peek()?;
    Some(found.sum())
}
