//! The decoder reads what the encoder wrote: the identity on events, streamed and whole.

use canon::{Event, FinishReason, Json, ReasoningDetail, Usage};
use proptest::prelude::*;
use serde_json::json;
use wire::{AnswerForm, DecoderContext};

use super::super::generate::words;
use super::{assert_stream_rules, decoded, encoded, form};

/// One choice: thinking, then text, then calls, then the end.
fn choice(choice: u32) -> impl Strategy<Value = Vec<Event>> {
    let pieces = |most| prop::collection::vec(words(), 0..most);
    let calls = prop::collection::vec(
        (any::<bool>(), prop::collection::vec(words(), 1..4), prop::option::of(words())),
        0..3,
    );
    let signed = prop::option::of(words());
    let cut_off = any::<bool>();
    (pieces(3), signed, pieces(4), calls, cut_off).prop_map(
        move |(thoughts, proof, texts, calls, cut_off)| {
            let thought = |detail, format| Event::Reasoning { choice, block: 0, detail, format };
            let format =
                if proof.is_some() && !thoughts.is_empty() { "anthropic-claude-v1" } else { "unknown" };
            let mut events = Vec::new();
            let has_thoughts = !thoughts.is_empty();
            events.extend(thoughts.into_iter().map(|text| thought(ReasoningDetail::Text(text), format)));
            events.extend(
                proof
                    .filter(|_| has_thoughts)
                    .map(|proof| thought(ReasoningDetail::Signature(proof), format)),
            );
            events.extend(texts.into_iter().map(|text| Event::Text { choice, text }));
            let has_calls = !calls.is_empty();
            for (index, (custom, fragments, signature)) in calls.into_iter().enumerate() {
                let (index, id) = (index as u32, format!("call_{choice}_{index}"));
                events.push(Event::ToolCallStart { choice, index, id, name: "f".into(), signature, custom });
                let fragment = |fragment| Event::ToolCallArguments { choice, index, fragment };
                events.extend(fragments.into_iter().map(fragment));
            }
            let reason = match (cut_off, has_calls) {
                (true, _) => FinishReason::Length,
                (false, true) => FinishReason::ToolCalls,
                (false, false) => FinishReason::Stop,
            };
            events.push(Event::Finish { choice, reason, native: Some(reason.as_str().to_owned()) });
            events
        },
    )
}

fn answer() -> impl Strategy<Value = Vec<Event>> {
    let usage = prop::option::of((1..9_u64, 0..9_u64, 0..9_u64, 0..9_u64));
    (choice(0), prop::option::of(choice(1)), usage).prop_map(|(first, second, usage)| {
        let mut events =
            vec![Event::Start { id: Some("a".into()), model: Some("m".into()), created: Some(5) }];
        events.push(Event::Field { name: "service_tier", value: Json::of(&json!("default")) });
        events.extend(first);
        events.extend(second.into_iter().flatten());
        events.extend(usage.map(|(input, cache_read, cache_write, output)| {
            let counts =
                Usage { input, cache_read, cache_write, output, reasoning: output / 2, ..Usage::default() };
            Event::Usage(counts)
        }));
        events
    })
}

/// Choices one after the other, pieces of text joined, ends last; a family's name only beside its proof.
fn joined(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by_key(|event| match event {
        Event::Start { .. } | Event::Field { .. } => 0,
        Event::Text { choice, .. }
        | Event::Reasoning { choice, .. }
        | Event::ToolCallStart { choice, .. }
        | Event::ToolCallArguments { choice, .. } => 1 + choice,
        _ => u32::MAX,
    });
    let mut found: Vec<Event> = Vec::new();
    let mut ends = Vec::new();
    for mut event in events {
        if let Event::Reasoning { detail: ReasoningDetail::Text(_), format, .. } = &mut event {
            *format = "unknown";
        }
        match (found.last_mut(), event) {
            (_, event @ (Event::Finish { .. } | Event::Usage(_))) => ends.push(event),
            (Some(Event::Text { choice, text }), Event::Text { choice: same, text: more })
                if *choice == same =>
            {
                text.push_str(&more);
            }
            (
                Some(Event::Reasoning { choice, detail: ReasoningDetail::Text(text), .. }),
                Event::Reasoning { choice: same, detail: ReasoningDetail::Text(more), .. },
            ) if *choice == same => text.push_str(&more),
            (
                Some(Event::ToolCallArguments { choice, index, fragment }),
                Event::ToolCallArguments { choice: same, index: call, fragment: more },
            ) if (*choice, *index) == (same, call) => fragment.push_str(&more),
            (_, event) => found.push(event),
        }
    }
    found.extend(ends);
    found
}

proptest! {
    #![proptest_config(testkit::random::cases(200))]

    #[test]
    fn encoded_events_are_decoded_as_the_same_events(events in answer()) {
        for streaming in [true, false] {
            let text = encoded(&form(streaming), &events);
            if streaming {
                assert_stream_rules(&text, true);
            }
            let heard = decoded(streaming, &DecoderContext::default(), [text.as_bytes()]).unwrap();
            prop_assert_eq!(joined(heard), joined(events.clone()), "{}", text);
        }
    }
}

#[test]
fn a_provider_that_is_a_gateway_itself_does_not_write_our_metadata() {
    let chunk = |choices: &str, more: &str| {
        format!(
            r#"data: {{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":{choices}{more}}}"#
        )
    };
    let text = r#"[{"index":0,"delta":{"content":"a"},"finish_reason":null}]"#;
    let end = r#"[{"index":0,"delta":{},"finish_reason":"stop"}]"#;
    let theirs = r#","metadata":{"request_id":"theirs"}"#;
    let body =
        [chunk(text, ""), chunk(text, theirs), chunk(end, theirs), "data: [DONE]".to_owned()].join("\n\n");
    for include_usage in [true, false] {
        let form = AnswerForm { stream: true, include_usage, ..AnswerForm::default() };
        crate::checks::relayed(&form, format!("{body}\n\n").as_bytes());
    }
}
