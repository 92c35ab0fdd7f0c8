//! A request has one reading in every caller's format: the intake, the decoder and the body for a provider agree,
//! whatever the spelling of the JSON. Chat completions have more such tests in `openai_chat/reading.rs`.

use bytes::Bytes;
use canon::{
    Feature, MediaKind, ModelFacts, OutputFormat, PartKind, Quirks, Request, Target, Tool, ToolKind,
};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;
use wire::{Addressed, Exchange, Intake, Protocol};

use super::generate::{Extent, request};
use super::spelling::{doubled, spelled, with_floats};

const CALLERS: [Protocol; 4] =
    [Protocol::OpenaiChat, Protocol::AnthropicMessages, Protocol::OpenaiResponses, Protocol::Gemini];

/// The request as a caller of this format writes it; none if the format cannot express it.
fn written(request: &Request, caller: Protocol) -> Option<Value> {
    let (facts, quirks) = (ModelFacts::default(), Quirks::default());
    let target = Target { model: "m", facts: &facts, quirks: &quirks };
    let body = wire::adapter(caller).encode_request(request, target).ok()?.body;
    Some(serde_json::from_slice(&body).unwrap())
}

fn intake(caller: Protocol, body: &str) -> canon::Result<Intake> {
    let rest = if caller == Protocol::Gemini { "m:generateContent" } else { "" };
    wire::dialect(caller)
        .unwrap()
        .intake(Addressed { rest, query: "" }, &Bytes::copy_from_slice(body.as_bytes()))
}

/// The body for a provider and the losses, or the error.
fn sent(caller: Protocol, intake: &Intake, upstream: Protocol) -> Result<(Value, Vec<String>), String> {
    let (facts, quirks) = (ModelFacts::default(), Quirks::default());
    let target = Target { model: "n", facts: &facts, quirks: &quirks };
    let exchange =
        Exchange { dialect: wire::dialect(caller).unwrap(), intake, upstream, target, memory: None };
    let encoded =
        exchange.draft(false).and_then(|draft| draft.write()).map_err(|error| error.message.to_string())?;
    let losses = encoded.losses.iter().map(|loss| loss.field.to_string()).collect();
    Ok((meaning(serde_json::from_slice(&encoded.body).unwrap()), losses))
}

/// A value without its spelling: numbers as floats, and JSON in texts, such as the arguments of calls or a
/// schema at the end of an instruction, as values.
fn meaning(value: Value) -> Value {
    match with_floats(value) {
        Value::String(text) => {
            let inner = |(at, _): (usize, &str)| Some((at, serde_json::from_str::<Value>(&text[at..]).ok()?));
            match text.match_indices(['{', '[']).find_map(inner) {
                Some((at, inner)) => Value::Array(vec![text[..at].into(), meaning(inner)]),
                None => Value::String(text),
            }
        }
        Value::Array(items) => items.into_iter().map(meaning).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, meaning(value))).collect(),
        other => other,
    }
}

/// What routing needs is what the decoder finds.
fn assert_agreement(intake: &Intake, request: &Request) {
    let has_media = |kind: MediaKind| {
        let parts = request.messages.iter().flat_map(|message| &message.parts);
        let inner = parts.flat_map(|part| match &part.kind {
            PartKind::ToolResult(result) => &result.content[..],
            _ => std::slice::from_ref(part),
        });
        inner.into_iter().any(|part| matches!(&part.kind, PartKind::Media(media) if media.kind == kind))
    };
    let needs = [
        (Feature::Vision, has_media(MediaKind::Image)),
        (Feature::AudioInput, has_media(MediaKind::Audio)),
        (Feature::Documents, has_media(MediaKind::Document)),
        (Feature::JsonSchema, matches!(request.output, OutputFormat::JsonSchema { .. })),
    ];
    for (feature, is_needed) in needs {
        assert_eq!(
            intake.needs.has(feature),
            is_needed,
            "{feature:?}: {}",
            String::from_utf8_lossy(intake.body())
        );
    }
    // Tools that providers run themselves are a need of their own in some formats.
    let is_native = |tool: &Tool| matches!(tool.kind, ToolKind::Native(_));
    if !request.tools.iter().any(is_native) {
        assert_eq!(intake.needs.has(Feature::Tools), !request.tools.is_empty());
    }
    assert_eq!((intake.form.stream, intake.max_output_tokens), (request.stream, request.max_tokens));
}

proptest! {
    #![proptest_config(testkit::random::cases(100))]

    #[test]
    fn spelling_changes_nothing(asked in request(Extent { beyond_openai: true }), choices in prop::collection::vec(any::<u8>(), 1..40)) {
        for caller in CALLERS {
            let Some(body) = written(&asked, caller) else { continue };
            let (plain, odd) = (body.to_string(), spelled(&body, &choices));
            let read = |text: &str| intake(caller, text).unwrap_or_else(|error| panic!("{caller:?} {error}: {text}"));
            let (plainly, oddly) = (read(&plain), read(&odd));
            prop_assert_eq!(plainly.needs, oddly.needs, "{:?}: {}", caller, odd);
            prop_assert_eq!((plainly.size.messages, plainly.size.media_parts), (oddly.size.messages, oddly.size.media_parts));
            prop_assert_eq!(&plainly.conversation, &oddly.conversation);
            let decoded = wire::dialect(caller).unwrap().decode(&oddly);
            prop_assert!(decoded.is_ok(), "{:?} {:?}: {}", caller, decoded.err(), odd);
            assert_agreement(&oddly, &decoded.unwrap());
            for upstream in Protocol::ALL {
                prop_assert_eq!(sent(caller, &plainly, upstream), sent(caller, &oddly, upstream), "{:?} to {:?}: {}", caller, upstream, odd);
            }
        }
    }

    /// A duplicate name, at any depth and in any spelling, is refused before the request is sent.
    #[test]
    fn duplicate_names_are_refused(asked in request(Extent { beyond_openai: true }), choices in prop::collection::vec(any::<u8>(), 1..40), place in any::<Index>()) {
        for caller in CALLERS {
            let Some(body) = written(&asked, caller) else { continue };
            let Some(doubled) = doubled(&spelled(&body, &choices), place) else { continue };
            prop_assert!(intake(caller, &doubled).is_err(), "{:?}: {}", caller, doubled);
        }
    }
}
