//! Recorded answers of OpenAI-like providers, compared with a simple reader of their bytes.

use http::{HeaderMap, StatusCode};
use serde_json::Value;
use testkit::corpus::{Record, cases};
use testkit::split::pieces;
use wire::{AnswerForm, DecoderContext, Protocol, adapter};

use super::answer_content::{AnswerContent, content_of_documents, content_of_events, is_reason};
use super::{assert_stream_rules, decoded, documents, encoded, form, relayed};

const PROVIDERS: [&str; 25] = [
    "alibaba",
    "azure",
    "bedrock-mantle",
    "cerebras",
    "copilot",
    "crusoe",
    "deepseek",
    "doubleword",
    "google-openai-compat",
    "gpustack",
    "groq",
    "heroku",
    "huggingface",
    "litellm-proxy",
    "llamacpp",
    "mistral",
    "mistralrs",
    "ollama",
    "openai",
    "openrouter",
    "perplexity",
    "snowflake",
    "together",
    "venice",
    "vllm",
];
const MORE: [&str; 2] = ["xai", "zai"];

fn exchanges(is_case: impl Fn(&Record) -> bool) -> Vec<Record> {
    cases(PROVIDERS.into_iter().chain(MORE), |record| record.api == "chat" && is_case(record))
}

fn answers() -> Vec<Record> {
    exchanges(|record| record.status == 200)
}

fn native(record: &Record) -> AnswerContent {
    let text = std::str::from_utf8(&record.body).unwrap().replace("\nerror: ", "\ndata: ");
    content_of_documents(&documents(record.streaming, &text)).in_our_words()
}

/// Removes the ids that the gateway made because the provider sent none.
fn without_made_up_ids(mut found: AnswerContent) -> AnswerContent {
    for call in found.choices.values_mut().flat_map(|choice| &mut choice.calls) {
        if call.0.starts_with("call_ours") {
            call.0.clear();
        }
    }
    found
}

fn assert_usage(id: &str, found: &Value, native: &Value) {
    let count = |usage: &Value, name: &str| usage[name].as_f64().unwrap_or_default() as u64;
    if native.is_null() {
        assert!(found.is_null(), "{id}: no usage is invented");
        return;
    }
    let [prompt, completion, total] =
        ["prompt_tokens", "completion_tokens", "total_tokens"].map(|name| count(found, name));
    // Some providers count cached tokens, or audio, outside the prompt.
    let inside = count(native, "prompt_tokens");
    let [cached, audio] =
        ["cached_tokens", "audio_tokens"].map(|name| count(&native["prompt_tokens_details"], name));
    let beside = [cached, audio].map(|part| if part > inside { part } else { 0 });
    assert!(cached <= prompt, "{id}: {found} of {native}");
    assert_eq!(prompt, inside + beside[0] + beside[1], "{id}");
    assert_eq!(total, prompt + completion, "{id}");
    let thinking = count(&native["completion_tokens_details"], "reasoning_tokens");
    let thinking = thinking.max(count(native, "reasoning_tokens"));
    let inside = count(native, "completion_tokens");
    assert!(completion == inside || completion == inside + thinking, "{id}: {found} of {native}");
    assert_eq!(count(found, "reasoning_tokens"), thinking, "{id}");
    let cached = count(&native["prompt_tokens_details"], "cached_tokens");
    if cached > 0 {
        assert_eq!(count(&found["prompt_tokens_details"], "cached_tokens"), cached, "{id}");
    }
}

#[test]
fn the_relay_passes_all_content_on() {
    let (mut count, mut failed) = (0, 0);
    for record in answers() {
        let id = &record.id;
        let expected = native(&record);
        count += 1;
        let result = relayed(form(record.streaming), [&record.body[..]]);
        if let Some(words) = &expected.error {
            let (error, _) = result.unwrap_err();
            assert!(error.message.contains(words.as_str()), "{id}: {}", error.message);
            assert_eq!(error.origin, canon::Origin::Upstream, "{id}");
            failed += 1;
            continue;
        }
        let (text, progress) = result.unwrap_or_else(|(error, _)| panic!("{id}: {error}"));
        if record.streaming {
            assert_stream_rules(&text, true);
        }
        let found = without_made_up_ids(content_of_documents(&documents(record.streaming, &text)));
        assert_eq!(found.choices, expected.choices, "{id}");
        assert_usage(id, &found.usage, &expected.usage);
        assert!(progress.finished && progress.content_started, "{id}");
        let first = expected.choices.values().next().unwrap();
        let reason = progress.finish_reason.unwrap();
        assert!(is_reason(first.finish.as_deref().unwrap(), reason), "{id}: {reason:?}");
        if record.streaming {
            let bare = AnswerForm { stream: true, ..AnswerForm::default() };
            let (text, _) = relayed(bare, [&record.body[..]]).unwrap();
            assert_stream_rules(&text, false);
        }
    }
    eprintln!("{count} recorded answers relayed, {failed} of them errors with a good status");
}

#[test]
fn all_content_is_decoded_and_encoded_in_both_forms() {
    let mut count = 0;
    for record in answers() {
        let id = &record.id;
        let expected = native(&record);
        let result = decoded(record.streaming, &DecoderContext::default(), [&record.body[..]]);
        if let Some(words) = &expected.error {
            assert!(result.unwrap_err().message.contains(words.as_str()), "{id}");
            continue;
        }
        let events = result.unwrap_or_else(|error| panic!("{id}: {error}"));
        count += 1;
        let (choices, usage) = content_of_events(&events);
        let legacy =
            expected.choices.values().any(|choice| choice.finish.as_deref() == Some("function_call"));
        if !legacy {
            assert_eq!(choices, expected.choices, "{id}");
        }
        assert_eq!(usage.is_some(), !expected.usage.is_null(), "{id}");
        let whole = content_of_documents(&documents(false, &encoded(&form(false), &events)));
        let text = encoded(&form(true), &events);
        if !events
            .iter()
            .any(|event| matches!(event, canon::Event::ToolCallStart { id, .. } if id.is_empty()))
        {
            assert_stream_rules(&text, true);
        }
        let streamed = content_of_documents(&documents(true, &text));
        assert_eq!(streamed, whole, "{id}");
        assert_eq!(whole.choices, choices, "{id}");
    }
    eprintln!("{count} recorded answers decoded and encoded again");
}

#[test]
fn every_split_gives_the_same_relayed_answer_and_events() {
    let mut in_two = 0;
    for (number, record) in answers().into_iter().enumerate() {
        let (id, body, form) = (&record.id, &record.body[..], form(record.streaming));
        let relay = |pieces: Vec<&[u8]>| relayed(form.clone(), pieces).map_err(|(error, _)| error);
        let decode = |pieces: Vec<&[u8]>| decoded(record.streaming, &DecoderContext::default(), pieces);
        let (text, events) = (relay(vec![body]), decode(vec![body]));
        let same = |cut: Vec<&[u8]>, how: &str| {
            assert!(relay(cut.clone()) == text, "{id}: relayed {how}");
            assert!(decode(cut) == events, "{id}: decoded {how}");
        };
        if body.len() < 8_000 {
            same(body.chunks(1).collect(), "byte by byte");
        }
        for seed in 0..if body.len() < 20_000 { 2 } else { 1 } {
            same(pieces(body, 1 << (3 + 5 * seed), seed + number as u64), "in random pieces");
        }
        if body.len() < 1200 && record.streaming && in_two < 6 {
            in_two += 1;
            for cut in 1..body.len() {
                same(vec![&body[..cut], &body[cut..]], "in two");
            }
        }
    }
}

#[test]
fn a_cut_before_the_finish_is_an_error() {
    for record in exchanges(|record| record.status == 200 && record.streaming && record.body.len() < 60_000) {
        let text = std::str::from_utf8(&record.body).unwrap();
        let mut finished = false;
        let step = 1 + text.matches("data:").count() / 12;
        for (number, (at, _)) in text.match_indices("data:").enumerate() {
            let before = &text[..at];
            finished |= before
                .rsplit("data:")
                .next()
                .is_some_and(|event| event.contains("\"finish_reason\":") && !is_open(event));
            if finished || before.contains("[DONE]") {
                break;
            }
            if number % step == 0 {
                assert!(relayed(form(true), [before.as_bytes()]).is_err(), "{} cut at {at}", record.id);
                assert!(
                    decoded(true, &DecoderContext::default(), [before.as_bytes()]).is_err(),
                    "{} cut at {at}",
                    record.id
                );
            }
        }
    }
}

/// No choice of the event ends.
fn is_open(event: &str) -> bool {
    let event: Value =
        serde_json::from_str(event.trim().lines().next().unwrap_or_default()).unwrap_or_default();
    let choices = event["choices"].as_array().cloned().unwrap_or_default();
    choices.iter().all(|choice| choice["finish_reason"].as_str().unwrap_or_default().is_empty())
}

#[test]
fn errors_keep_the_providers_message() {
    let mut count = 0;
    for record in exchanges(|record| record.status >= 400) {
        let status = StatusCode::from_u16(record.status).unwrap();
        let error = adapter(Protocol::OpenaiChat).decode_error(status, &HeaderMap::new(), &record.body);
        let id = &record.id;
        let json: Value = serde_json::from_slice(&record.body).unwrap_or_default();
        let words =
            json["error"]["message"].as_str().or(json["message"].as_str()).or(json["detail"].as_str());
        let plain = words.filter(|words| !words.contains("sk-")).unwrap_or_default();
        assert!(error.message.contains(plain) && !error.message.is_empty(), "{id}: {}", error.message);
        // A provider's refusal of the gateway's credential is not the caller's fault.
        let told = if error.refuses_gateway() { StatusCode::BAD_GATEWAY } else { status };
        assert_eq!(error.status(), told, "{id}");
        use canon::ErrorKind::*;
        let fits = match record.status {
            401 => matches!(error.kind, UpstreamCredential),
            404 => matches!(error.kind, ModelNotFound | NotFound | InvalidRequest),
            429 => matches!(error.kind, RateLimit | Quota),
            500.. => matches!(error.kind, Upstream | Overloaded),
            _ => true,
        };
        assert!(fits, "{id}: {:?}", error.kind);
        count += 1;
    }
    eprintln!("{count} recorded errors");
}
