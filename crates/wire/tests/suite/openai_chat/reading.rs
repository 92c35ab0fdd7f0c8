//! A request has one reading: the intake, the decoder and the forwarded body agree, whatever the spelling of
//! the JSON.

use crate::checks::chat_intake;
use canon::{Feature, ModelFacts, PartKind, Quirks, Request, Target};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use wire::MediaSlots;
use wire::Protocol;
use wire::protocols::openai_chat::{MediaUrls, forward};

use super::super::generate::json_value;
use super::super::spelling::{doubled, spelled, with_floats};

fn part() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[a-z\"é]{0,6}".prop_map(|text| json!({"type": "text", "text": text})),
        Just(json!({"type": "image_url", "image_url": {"url": "https://x.test/a.png"}})),
        Just(
            json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}})
        ),
        Just(json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})),
        Just(
            json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "f"}})
        ),
        Just(json!({"type": "video_url", "video_url": {"url": "https://x.test/a.mp4"}})),
    ]
}

fn message() -> impl Strategy<Value = Value> {
    prop_oneof![
        (select(vec!["user", "system", "developer"]), prop::collection::vec(part(), 1..3))
            .prop_map(|(role, parts)| json!({"role": role, "content": parts})),
        Just(json!({"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}
        ]})),
        Just(json!({"role": "tool", "tool_call_id": "call_1", "content": "r"})),
    ]
}

fn field() -> impl Strategy<Value = (&'static str, Value)> {
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let schema = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}});
    prop_oneof![
        (1..5_u32).prop_map(|n| ("n", n.into())),
        (1..900_u32).prop_map(|count| ("max_tokens", count.into())),
        any::<i32>().prop_map(|seed| ("seed", seed.into())),
        (1..5_u32).prop_map(|count| ("top_logprobs", count.into())),
        Just(("logprobs", true.into())),
        Just(("tools", json!([tool]))),
        Just(("response_format", schema.clone())),
        Just(("reasoning", json!({"exclude": true, "max_tokens": 2000}))),
        Just(("stop", json!(["a", "b"]))),
        json_value().prop_map(|value| ("x_new", value)),
    ]
}

fn request() -> impl Strategy<Value = Value> {
    let fields = prop::collection::vec(field(), 0..5);
    (prop::collection::vec(message(), 1..4), fields, any::<bool>()).prop_map(|(messages, fields, stream)| {
        let mut body = json!({"model": "m", "messages": messages});
        if stream {
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
        }
        for (name, value) in fields {
            body[name] = value;
        }
        body
    })
}

fn decode(body: &str) -> Request {
    let dialect = wire::dialect(Protocol::OpenaiChat).unwrap();
    dialect.decode_request(body.as_bytes()).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// The facts of the intake are those of the decoded request.
fn assert_agreement(intake: &wire::Intake, request: &Request) {
    let is_media = |kind: canon::MediaKind| {
        request.messages.iter().flat_map(|message| &message.parts).any(|part| match &part.kind {
            PartKind::Media(media) => media.kind == kind,
            _ => false,
        })
    };
    let needs = [
        (Feature::Vision, is_media(canon::MediaKind::Image)),
        (Feature::AudioInput, is_media(canon::MediaKind::Audio)),
        (Feature::Documents, is_media(canon::MediaKind::Document)),
        (Feature::Video, is_media(canon::MediaKind::Video)),
        (Feature::Tools, !request.tools.is_empty()),
        (Feature::MultipleChoices, request.n.is_some_and(|n| n > 1)),
        (Feature::Logprobs, request.logprobs == Some(true)),
        (Feature::JsonSchema, matches!(request.output, canon::OutputFormat::JsonSchema { .. })),
    ];
    for (feature, is_needed) in needs {
        assert_eq!(intake.needs.has(feature), is_needed, "{feature:?}");
    }
    assert_eq!(intake.size.messages, request.messages.len());
    assert_eq!((intake.form.stream, intake.form.include_usage), (request.stream, request.include_usage));
    assert_eq!(intake.max_output_tokens, request.max_tokens);
    assert_eq!(intake.form.exclude_reasoning, request.reasoning.exclude);
}

fn sent(body: &str, quirks: &Quirks) -> (Value, Vec<String>) {
    let intake = chat_intake(body.as_bytes()).unwrap();
    let facts = ModelFacts::default();
    let encoded = forward(&intake, Target { model: "n", facts: &facts, quirks }).unwrap();
    let losses = encoded.losses.iter().map(|loss| loss.field.to_string()).collect();
    (serde_json::from_slice(&encoded.body).unwrap(), losses)
}

proptest! {
    #![proptest_config(testkit::random::cases(400))]

    #[test]
    fn spelling_changes_nothing(body in request(), choices in prop::collection::vec(any::<u8>(), 1..40)) {
        let (plain, odd) = (body.to_string(), spelled(&body, &choices));
        let (intake, oddly) = (chat_intake(plain.as_bytes()).unwrap(), chat_intake(odd.as_bytes()));
        let oddly = oddly.unwrap_or_else(|error| panic!("{error}: {odd}"));
        let (request, again) = (decode(&plain), decode(&odd));
        assert_agreement(&intake, &request);
        assert_agreement(&oddly, &again);
        prop_assert_eq!(intake.needs, oddly.needs);
        prop_assert_eq!(intake.size.media_parts, oddly.size.media_parts);
        prop_assert_eq!(&request.messages, &again.messages);
        prop_assert_eq!((request.n, request.sampling.seed, request.top_logprobs), (again.n, again.sampling.seed, again.top_logprobs));
        prop_assert_eq!(request.reasoning, again.reasoning);
        let urls = |intake| MediaUrls::of(intake).map(|found| found.urls());
        prop_assert_eq!(urls(&intake), urls(&oddly));
        for quirks in ["{}", r#"{"no_developer_role":true,"drop_message_fields":["reasoning_content"],"short_tool_call_ids":true}"#, r#"{"reasoning_field":"reasoning","max_tokens_field":"max_completion_tokens"}"#] {
            let quirks: Quirks = serde_json::from_str(quirks).unwrap();
            let ((left, left_losses), (right, right_losses)) = (sent(&plain, &quirks), sent(&odd, &quirks));
            prop_assert_eq!(left_losses, right_losses);
            // Fields that need a whole number are written as one.
            for name in ["n", "max_tokens", "seed", "top_logprobs"] {
                prop_assert_eq!(&left[name], &right[name]);
            }
            prop_assert_eq!(with_floats(left), with_floats(right));
        }
    }

    /// A duplicate name, at any depth and in any spelling, is refused by every reader.
    #[test]
    fn duplicate_names_are_refused_by_every_reader(body in request(), choices in prop::collection::vec(any::<u8>(), 1..40), place in any::<prop::sample::Index>()) {
        let doubled = doubled(&spelled(&body, &choices), place);
        prop_assume!(doubled.is_some());
        let doubled = doubled.unwrap();
        prop_assert!(chat_intake(doubled.as_bytes()).is_err(), "{}", doubled);
        prop_assert!(wire::dialect(Protocol::OpenaiChat).unwrap().decode_request(doubled.as_bytes()).is_err());
    }
}
