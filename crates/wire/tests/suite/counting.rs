//! Estimates of prompts against what providers counted.

use bytes::Bytes;
use serde_json::Value;
use wire::{Addressed, Protocol, dialect};

/// Recorded requests with the number of tokens that the provider counted for them, and what the gateway would estimate.
fn measured(provider: &str, protocol: Protocol, count: impl Fn(&str) -> Option<u64>) -> Vec<(u64, u64)> {
    let dialect = dialect(protocol).unwrap();
    let mut found = Vec::new();
    for record in testkit::corpus::records(provider) {
        let Some(request) = record.request.filter(|_| record.status == 200) else { continue };
        let body = Bytes::from(request.to_string());
        let rest = format!("{}:generateContent", record.model);
        let Ok(intake) = dialect.intake(Addressed { rest: &rest, query: "" }, &body) else { continue };
        let text = String::from_utf8_lossy(&record.body);
        // Media weigh by their size, and tools of the provider's own read pages: neither is in the text.
        if intake.size.media_parts == 0
            && has_no_hosted_tool(&request)
            && let Some(tokens) = count(&text).filter(|tokens| *tokens > 0)
        {
            found.push((tokens, intake.most_tokens()));
        }
    }
    found
}

/// Whether the caller runs all tools: hosted ones put what they find into the prompt.
fn has_no_hosted_tool(request: &Value) -> bool {
    let is_own = |tool: &Value| {
        let names = ["input_schema", "function", "functionDeclarations", "function_declarations"];
        names.iter().any(|name| tool.get(name).is_some())
    };
    request["tools"].as_array().is_none_or(|tools| tools.iter().all(is_own))
        && request.get("mcp_servers").is_none()
}

/// The largest number behind these names.
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
    let mut sum = None;
    for name in names {
        if let Some(most) = of(name) {
            sum = Some(sum.unwrap_or(0) + most);
        }
    }
    sum
}

#[test]
fn estimates_seldom_fall_short() {
    let messages = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];
    let all = [
        ("anthropic", measured("anthropic", Protocol::AnthropicMessages, |text| largest(text, &messages))),
        (
            "google-ai-studio",
            measured("google-ai-studio", Protocol::Gemini, |text| largest(text, &["promptTokenCount"])),
        ),
        ("openai", measured("openai", Protocol::OpenaiChat, |text| largest(text, &["prompt_tokens"]))),
    ];
    for (provider, found) in all {
        let enough = found.iter().filter(|(counted, estimated)| estimated >= counted).count();
        let mut ratios: Vec<f64> =
            found.iter().map(|(counted, estimated)| *estimated as f64 / *counted as f64).collect();
        ratios.sort_by(f64::total_cmp);
        let at = |share: f64| ratios.get((ratios.len() as f64 * share) as usize).copied().unwrap_or(1.0);
        eprintln!(
            "{provider}: {enough} of {} are enough; ratio {:.2} at 5 %, {:.2} at half, {:.2} at 95 %",
            found.len(),
            at(0.05),
            at(0.5),
            at(0.95)
        );
        assert!(enough * 100 >= found.len() * 90, "{provider}");
    }
}
