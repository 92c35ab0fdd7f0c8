//! Stored answers.

use bytes::Bytes;
use canon::{Event, FinishReason};
use serde_json::{Value, json};
use wire::stored_items::{self, Turn};
use wire::{Addressed, AnswerForm, Intake, StoredAnswer, StoredAnswerUse};

use super::{dialect, documents, notes};

fn intake(body: &Value) -> Intake {
    dialect().intake(Addressed::default(), &Bytes::from(body.to_string())).unwrap()
}

fn keeping(body: &Value) -> StoredAnswerUse {
    *intake(body).keeping.unwrap()
}

fn written(stream: bool, keep: bool) -> (Vec<u8>, Option<StoredAnswer>) {
    let request =
        json!({"model": "m", "input": "hi", "metadata": {"a": ",\"store\":true,\"background\":false"}});
    let form =
        AnswerForm { stream, kept: keep, request: Some(request.to_string().into()), ..AnswerForm::default() };
    let mut encoder = dialect().encoder(&form, Box::new(notes()));
    let mut out = Vec::new();
    encoder.push(Event::Start { id: Some("resp_theirs".into()), model: None, created: None }, &mut out);
    encoder.push(Event::Text { choice: 0, text: "Hello.".into() }, &mut out);
    encoder.push(Event::Finish { choice: 0, reason: FinishReason::Stop, native: None }, &mut out);
    assert_eq!(encoder.stored_answer(), None, "the stream has not ended");
    encoder.finish(&mut out);
    (out, encoder.stored_answer())
}

#[test]
fn a_stored_answer_equals_the_one_that_its_caller_gets() {
    for stream in [false, true] {
        let (mut out, kept) = written(stream, true);
        let kept = kept.unwrap();
        let last = |out: &[u8]| {
            if stream {
                documents(std::str::from_utf8(out).unwrap()).pop().unwrap()["response"].take()
            } else {
                serde_json::from_slice(out).unwrap()
            }
        };
        let answer: Value = serde_json::from_slice(&kept.answer).unwrap();
        assert_eq!(last(&out), answer);
        assert_eq!(
            (&answer["id"], &answer["store"]),
            (&json!("resp_0123abcd"), &json!(true)),
            "an id of ours"
        );
        assert_eq!(kept.id, "resp_0123abcd");
        kept.retract(&mut out);
        let mut expected = answer;
        expected["store"] = json!(false);
        assert_eq!(last(&out), expected);
    }
    let (out, kept) = written(false, false);
    let answer: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((kept, &answer["id"], &answer["store"]), (None, &json!("resp_theirs"), &json!(false)));
}

#[test]
fn a_request_names_the_stored_answers_that_it_needs() {
    let plain = json!({"model": "m", "input": "hi"});
    assert_eq!(keeping(&plain), StoredAnswerUse { store: true, ..StoredAnswerUse::default() });
    let input = json!([{"id": "msg_1", "type": "item_reference"}, {"type": "item_reference", "id": "fc_\u{e9}"},
        {"type": "function_call_output", "id": "fco_1", "call_id": "c", "output": "x"}]);
    let all = json!({"model": "m", "input": input, "store": false, "previous_response_id": "resp_1"});
    let references = vec!["msg_1".to_owned(), "fc_é".to_owned()];
    let expected =
        StoredAnswerUse { store: false, previous: Some("resp_1".to_owned()), references, conversation: None };
    assert_eq!(keeping(&all), expected);
    let null = json!({"model": "m", "input": "hi", "store": null, "previous_response_id": null});
    assert_eq!(keeping(&null), StoredAnswerUse { store: true, ..StoredAnswerUse::default() });
}

#[test]
fn an_input_is_stored_as_items_with_ids() {
    let unique = "0123456789abcdef0123456789abcdef";
    let kept = |input: Value| -> Value {
        let text = stored_items::input(input.to_string().as_bytes(), &format!("resp_{unique}"));
        serde_json::from_str(&text.unwrap()).unwrap()
    };
    let id = |prefix: &str, number: usize| format!("{prefix}_{unique}i{number:02}");
    let said = json!([{"type": "input_text", "text": "a \"b\" \u{e9}"}]);
    let user = json!({"role": "user", "content": said, "type": "message", "id": id("msg", 0)});
    assert_eq!(kept(json!("a \"b\" \u{e9}")), json!([user]));
    let items = json!([
        {"role": "assistant", "content": "b", "id": null},
        {"type": "message", "id": "msg_mine", "role": "user", "content": [{"type": "input_text", "text": "c"}]},
        {"type": "function_call_output", "call_id": "c", "output": "d"},
        {"type": "something_new", "x": [1.50, {"y": null}]},
    ]);
    let expected = json!([
        {"role": "assistant", "content": [{"type": "output_text", "text": "b", "annotations": []}], "id": id("msg", 0), "type": "message"},
        {"type": "message", "id": "msg_mine", "role": "user", "content": [{"type": "input_text", "text": "c"}]},
        {"type": "function_call_output", "call_id": "c", "output": "d", "id": id("fco", 2)},
        {"type": "something_new", "x": [1.50, {"y": null}], "id": id("item", 3)},
    ]);
    assert_eq!(kept(items), expected);
    assert_eq!(stored_items::answers_of(&id("fco", 2)), [format!("resp_{unique}"), unique.to_owned()]);
    assert_eq!(stored_items::answers_of(&format!("msg_{unique}00")), [format!("resp_{unique}")]);
    for other in [
        "",
        "msg",
        "msg_",
        "msg_mine",
        "msg_0123456789abcdef0123456789abcdeé",
        "msg_0123456789abcdef0123456789abcdeg",
    ] {
        assert!(stored_items::answers_of(other).is_empty(), "{other}");
    }
}

#[test]
fn the_conversation_is_put_before_the_input() {
    let turns = [Turn {
        input: r#"[{"type":"message","id":"msg_1","role":"user","content":"one"}]"#,
        answer: r#"{"id":"resp_1","output":[{"type":"message","id":"msg_2","role":"assistant","content":[{"type":"output_text","text":"two"}]}]}"#,
    }];
    let input = json!([{"type": "item_reference", "id": "rs_9"}, {"role": "user", "content": "three"}]);
    let body = json!({"model": "m", "input": input, "previous_response_id": "resp_1", "temperature": 0.5});
    let asked = intake(&body);
    let found =
        |id: &str| (id == "rs_9").then(|| r#"{"type":"reasoning","id":"rs_9","summary":[]}"#.to_owned());
    let expanded = stored_items::expanded(&asked, &stored_items::items(&turns).unwrap(), found).unwrap();
    let sent: Value = serde_json::from_slice(&expanded).unwrap();
    let ids: Vec<&Value> = sent["input"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert_eq!(ids, [&json!("msg_1"), &json!("msg_2"), &json!("rs_9"), &Value::Null]);
    assert_eq!((sent.get("previous_response_id"), &sent["store"]), (None, &json!(false)));
    assert_eq!(sent["temperature"], 0.5);
    let again = stored_items::reread(&asked, &expanded).unwrap();
    assert_eq!(again.form.request.as_ref(), Some(asked.body()), "an answer repeats what its caller sent");
    assert_eq!((again.size.messages, again.keeping.is_none()), (4, true));
    assert_eq!(dialect().decode(&again).unwrap().messages.len(), 3);
    let error = stored_items::expanded(&asked, &[], |_| None).unwrap_err();
    assert_eq!(error.param_name().as_deref(), Some("input[0].id"));
}

#[test]
fn ids_that_were_made_for_items_do_not_reach_a_provider() {
    let unique = "0123456789abcdef0123456789abcdef";
    let made = format!("item_{unique}i03");
    let input = json!([{"type": "something_new", "id": made}, {"type": "message", "id": "msg_theirs", "role": "user", "content": "x"}]);
    let turn = Turn {
        input: &input.to_string(),
        answer: r#"{"output":[{"type":"reasoning","id":"rs_1","summary":[]}]}"#,
    };
    let asked = intake(&json!({"model": "m", "input": "y", "previous_response_id": "resp_1"}));
    let sent = stored_items::expanded(&asked, &stored_items::items(&[turn]).unwrap(), |_| None).unwrap();
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    let ids: Vec<&Value> = sent["input"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert_eq!(ids, [&Value::Null, &json!("msg_theirs"), &json!("rs_1"), &Value::Null]);
}

#[test]
fn items_with_ids_of_a_provider_are_listed() {
    let own = "resp_0123456789abcdef0123456789abcdef";
    let answer = r#"{"output":[{"id":"msg_0123456789abcdef0123456789abcdef00"},{"id":"rs_68x"},{"id":""},{"type":"message"}]}"#;
    assert_eq!(stored_items::foreign_items(own, answer), ["rs_68x"]);
}
