//! Thinking that is sent back to providers of the same format: gathered from answers, inserted in requests.

use std::sync::Arc;

use crate::checks::chat_intake;
use bytes::Bytes;
use canon::{ModelFacts, Quirks, ReasoningControl, Target};
use serde_json::{Value, json};
use wire::AnswerForm;
use wire::proofs::Memory;
use wire::proofs::{CallName, Proofs};
use wire::protocols::openai_chat::{RelayParts, forward_with, relay};

use super::{form, notes, stream};

fn gathered(form: AnswerForm, body: String) -> Option<Proofs> {
    let mut relay = relay(RelayParts {
        form,
        annotator: Box::new(notes()),
        gathers: true,
        cached_outside_prompt: false,
        taken_ids: Default::default(),
    });
    let mut out = Vec::new();
    for piece in body.as_bytes().chunks(7) {
        relay.push(&Bytes::copy_from_slice(piece), &mut out).unwrap();
    }
    relay.finish(&mut out).unwrap();
    relay.proofs()
}

fn chunk(delta: Value, finish: Option<&str>) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

fn whole(message: &Value) -> String {
    let choices = json!([{"index": 0, "message": message, "finish_reason": "tool_calls"}]);
    json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices})
        .to_string()
}

fn quirks(field: &str, stand_in: Option<&str>) -> Quirks {
    Quirks {
        reasoning_field: Some(field.to_owned()),
        reasoning_stand_in: stand_in.map(str::to_owned),
        ..Quirks::default()
    }
}

/// The request as it is sent, and the lost fields.
fn sent(body: &str, quirks: &Quirks, facts: &ModelFacts, known: &Proofs) -> (String, Vec<String>) {
    let known = Arc::new(known.clone());
    let find = |name: &CallName| known.calls.iter().any(|(call, _)| call == name).then(|| known.clone());
    let memory = Memory { provider: "here", model: "", find: &find };
    let intake = chat_intake(body.as_bytes()).unwrap();
    let encoded = forward_with(&intake, Target { model: "m", facts, quirks }, Some(memory)).unwrap();
    let losses = encoded.losses.iter().map(|loss| loss.field.to_string()).collect();
    (String::from_utf8(encoded.body.to_vec()).unwrap(), losses)
}

const CALL: &str = r#"{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\": 1}"}}"#;

#[test]
fn streams_and_whole_answers_give_the_same_thinking() {
    let streamed = stream(&[
        chunk(json!({"role": "assistant", "content": null, "reasoning_content": "Let me "}), None),
        chunk(json!({"reasoning_content": "see."}), None),
        chunk(
            json!({"tool_calls": [{"index": 0, "id": "a", "type": "function",
            "function": {"name": "f", "arguments": ""}}]}),
            None,
        ),
        chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"x\":"}}]}), None),
        chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}), None),
        chunk(json!({}), Some("tool_calls")),
    ]);
    let call: Value = serde_json::from_str(CALL).unwrap();
    let message = json!({"role": "assistant", "content": null, "reasoning_content": "Let me see.", "tool_calls": [call]});
    let from_stream = gathered(form(true), streamed).unwrap();
    assert_eq!(from_stream.text(), "Let me see.");
    assert_eq!(Some(&from_stream), gathered(form(false), whole(&message)).as_ref());
    // A caller that does not want to see the thinking still needs it for the next turn.
    let hidden = AnswerForm { exclude_reasoning: true, ..form(false) };
    assert_eq!(Some(from_stream), gathered(hidden, whole(&message)));
    let without_calls = json!({"role": "assistant", "content": "x", "reasoning_content": "y"});
    assert_eq!(gathered(form(false), whole(&without_calls)), None);
    let signed =
        json!([{"type": "reasoning.encrypted", "data": "e", "format": "google-gemini-v1", "index": 0}]);
    let signed = json!({"role": "assistant", "content": "x", "reasoning_details": signed});
    let issued = gathered(form(false), whole(&signed)).unwrap();
    assert_eq!((issued.names().count(), issued.thinking.len()), (1, 0), "only who issued it is of interest");
}

#[test]
fn details_are_assembled_and_sent_back_unchanged() {
    let piece = |detail: Value| chunk(json!({"reasoning_details": [detail]}), None);
    let streamed = stream(&[
        piece(
            json!({"type": "reasoning.text", "index": 0, "text": "Let me ", "format": "anthropic-claude-v1"}),
        ),
        piece(json!({"type": "reasoning.text", "index": 0, "text": "see.", "id": null})),
        piece(json!({"type": "reasoning.text", "index": 0, "signature": "proof"})),
        piece(json!({"type": "reasoning.encrypted", "index": 1, "data": "e", "id": "r1"})),
        chunk(
            json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\":1}"}}]}),
            None,
        ),
        chunk(json!({}), Some("tool_calls")),
    ]);
    let details = json!([
        {"type": "reasoning.text", "index": 0, "text": "Let me see.", "format": "anthropic-claude-v1", "signature": "proof"},
        {"type": "reasoning.encrypted", "index": 1, "data": "e", "id": "r1"},
    ]);
    let mut proofs = gathered(form(true), streamed).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(proofs.details.as_ref().unwrap().as_str()).unwrap()[1],
        details[1]
    );
    let body = format!(
        r#"{{"model":"x","messages":[{{"role":"user","content":"a"}},{{"role":"assistant","tool_calls":[{CALL}]}},{{"role":"tool","tool_call_id":"a","content":"r"}}]}}"#
    );
    let quirks = quirks("reasoning_details", None);
    let returned = |proofs: &Proofs| {
        let (body, losses) = sent(&body, &quirks, &ModelFacts::default(), proofs);
        let body: Value = serde_json::from_str(&body).unwrap();
        (body["messages"][1]["reasoning_details"].clone(), losses)
    };
    proofs.issuer = "here".to_owned();
    let (own, losses) = returned(&proofs);
    assert_eq!((own[0]["text"].as_str(), own[0]["signature"].as_str()), (Some("Let me see."), Some("proof")));
    assert_eq!((&own[1], losses.len()), (&details[1], 0));
    // Of another provider's proofs, only the parts that are valid everywhere are used.
    proofs.issuer = "elsewhere".to_owned();
    let (foreign, _) = returned(&proofs);
    assert_eq!((foreign.as_array().unwrap().len(), &foreign[0]["signature"]), (1, &json!("proof")));
}

/// Only the message that needs it is edited, and always in the same way: the provider's cache of the
/// conversation stays valid.
#[test]
fn restored_thinking_leaves_all_other_bytes_unchanged() {
    let known = gathered(
        form(false),
        whole(&json!({"role": "assistant", "reasoning_content": "A \"thought\"", "tool_calls": [
            serde_json::from_str::<Value>(CALL).unwrap()]})),
    )
    .unwrap();
    let first = format!(
        "{{\"model\": \"x\",\n \"messages\": [ {{\"role\": \"user\", \"content\": \"h\\u00e9\"}} , {{ \"role\":\"assistant\",\n \"content\":null, \"tool_calls\": [ {CALL} ] }},\n {{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":\"1.50\"}}"
    );
    let longer = format!(
        "{first}, {{\"role\":\"assistant\",\"content\":\"done\"}},{{\"role\":\"user\",\"content\":\"?\"}}"
    );
    let quirks = quirks("reasoning_content", Some(""));
    let facts = ModelFacts::default();
    let (short, losses) = sent(&format!("{first} ] }}"), &quirks, &facts, &known);
    assert!(losses.is_empty(), "{losses:?}");
    let expected = first.replace("\"model\": \"x\"", "\"model\":\"m\"").replace(
        &format!("{{ \"role\":\"assistant\",\n \"content\":null, \"tool_calls\": [ {CALL} ] }}"),
        &format!(
            "{{\"role\":\"assistant\",\n \"content\":null, \"tool_calls\": [ {CALL} ],\"reasoning_content\":\"A \\\"thought\\\"\"}}"
        ),
    );
    let messages = &expected[expected.find(" {\"role\": \"user\"").unwrap()..];
    assert!(short.ends_with(&format!("{messages} ]}}")), "{short}\n{expected}");
    let (long, _) = sent(&format!("{longer} ] }}"), &quirks, &facts, &known);
    let prefix = short.strip_suffix(" ]}").unwrap();
    assert!(long.starts_with(prefix), "{long}\n{prefix}");
}

#[test]
fn thinking_in_other_fields_is_sent_in_the_field_that_the_provider_reads() {
    let facts = ModelFacts::default();
    let nothing = Proofs::default();
    let message = |fields: &str| {
        format!(
            r#"{{"model":"x","messages":[{{"role":"user","content":"a"}},{{"role":"assistant",{fields},"content":"b"}}]}}"#
        )
    };
    let both = r#""reasoning":"t\u00e9","reasoning_content":"t\u00e9""#;
    let signed = r#""reasoning_details":[{"type":"reasoning.text","text":"té","signature":"s"}]"#;
    let unsigned = r#""reasoning_details":[{"type":"reasoning.summary","summary":"té"}]"#;
    let cases = [
        ("reasoning", both, r#"{"role":"assistant","reasoning":"t\u00e9","content":"b"}"#, ""),
        (
            "reasoning_content",
            both,
            r#"{"role":"assistant","reasoning_content":"t\u00e9","content":"b"}"#,
            "",
        ),
        (
            "reasoning",
            r#""reasoning_content":"x""#,
            r#"{"role":"assistant","content":"b","reasoning":"x"}"#,
            "",
        ),
        (
            "reasoning",
            signed,
            r#"{"role":"assistant","content":"b","reasoning":"té"}"#,
            "messages[1].reasoning_details",
        ),
        ("reasoning", unsigned, r#"{"role":"assistant","content":"b","reasoning":"té"}"#, ""),
        ("reasoning", r#""reasoning":null"#, r#"{"role":"assistant","reasoning":null,"content":"b"}"#, ""),
    ];
    for (field, fields, expected, lost) in cases {
        let (body, losses) = sent(&message(fields), &quirks(field, Some(" ")), &facts, &nothing);
        assert!(body.contains(expected), "{fields}: {body}");
        assert_eq!(losses.join(","), lost, "{fields}");
    }
    let kept = message(&format!("{both},{signed}"));
    let (body, losses) = sent(&kept, &quirks("reasoning_details", None), &facts, &nothing);
    assert_eq!((body, losses.len()), (kept.replace("\"x\"", "\"m\""), 0));
}

#[test]
fn a_stand_in_is_sent_only_where_the_model_thinks_and_its_thinking_is_unknown() {
    let body = |more: &str| {
        format!(
            r#"{{"model":"x","messages":[{{"role":"user","content":"a"}},{{"role":"assistant","tool_calls":[{CALL}]}},{{"role":"tool","tool_call_id":"a","content":"r"}}]{more}}}"#
        )
    };
    let quirks = quirks("reasoning_content", Some(" "));
    let silent = ModelFacts { reasoning: Some(ReasoningControl::None), ..ModelFacts::default() };
    let cases = [
        ("", ModelFacts::default(), true),
        ("", silent, false),
        (r#","thinking":{"type":"disabled"}"#, ModelFacts::default(), false),
        (r#","reasoning_effort":"none""#, ModelFacts::default(), false),
        (r#","reasoning":{"enabled":false}"#, ModelFacts::default(), false),
    ];
    for (more, facts, expected) in cases {
        let (sent, losses) = sent(&body(more), &quirks, &facts, &Proofs::default());
        assert_eq!(sent.contains(r#""reasoning_content":" ""#), expected, "{more}: {sent}");
        let lost = if expected { &["messages[1].reasoning_content"][..] } else { &[] };
        assert_eq!(losses, lost, "{more}");
    }
}

/// A thinking model may call a tool without a thought. The gateway knows that then, and nothing is lost.
#[test]
fn a_call_that_is_known_to_have_no_thought_is_not_a_loss() {
    let call: Value = serde_json::from_str(CALL).unwrap();
    let mut known =
        gathered(form(false), whole(&json!({"role": "assistant", "tool_calls": [call]}))).unwrap();
    known.issuer = "here".to_owned();
    let body = format!(
        r#"{{"model":"x","messages":[{{"role":"user","content":"a"}},{{"role":"assistant","tool_calls":[{CALL}]}},{{"role":"tool","tool_call_id":"a","content":"r"}}]}}"#
    );
    for stand_in in [Some(""), None] {
        let (sent, losses) =
            sent(&body, &quirks("reasoning_content", stand_in), &ModelFacts::default(), &known);
        assert_eq!(sent.contains(r#""reasoning_content":"""#), stand_in.is_some(), "{sent}");
        assert!(losses.is_empty(), "{losses:?}");
    }
}

#[test]
fn an_instruction_and_repaired_messages_do_not_undo_each_other() {
    let body = r#"{"model":"x","messages":[{"role":"developer","name":"n","content":"be brief"},{"role":"user","content":"a"}],
        "response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object"}}}}"#;
    let quirks = Quirks {
        no_developer_role: true,
        no_json_schema: true,
        drop_message_fields: vec!["name".to_owned()],
        ..Quirks::default()
    };
    let (sent, losses) = sent(body, &quirks, &ModelFacts::default(), &Proofs::default());
    let sent: Value = serde_json::from_str(&sent).unwrap();
    assert!(sent["messages"][0]["content"].as_str().unwrap().contains(r#"{"type":"object"}"#), "{sent}");
    assert_eq!(sent["messages"][1], json!({"role": "system", "content": "be brief"}));
    assert_eq!(losses, ["messages[0].name", "response_format"]);
}
