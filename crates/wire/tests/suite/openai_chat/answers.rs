//! Unusual answers of OpenAI-like providers. Some provider sends each of them.

use canon::{ErrorKind, Event, FinishReason, Json};
use serde_json::{Value, json};
use wire::{AnswerForm, DecoderContext};

use super::answer_content::{content_of_documents, content_of_events};
use super::{assert_stream_rules, decoded, documents, form, relayed, stream};

fn chunk(choices: Value) -> Value {
    json!({"id": "a", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": choices})
}

fn delta(delta: Value) -> Value {
    chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]))
}

fn finish(reason: &str) -> Value {
    chunk(json!([{"index": 0, "delta": {}, "finish_reason": reason}]))
}

fn counts() -> Value {
    let mut usage = chunk(json!([]));
    usage["usage"] = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
    usage
}

fn relay(events: &[Value]) -> Vec<Value> {
    let (text, _) = relayed(form(true), [stream(events).as_bytes()]).unwrap();
    assert_stream_rules(&text, true);
    documents(true, &text)
}

fn whole(message: Value, reason: &str) -> Value {
    json!({"id": "a", "object": "chat.completion", "created": 5, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}})
}

fn relay_whole(body: &Value) -> Value {
    let (text, _) = relayed(form(false), [body.to_string().as_bytes()]).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn content_after_the_finish_is_moved_before_it() {
    let found =
        relay(&[delta(json!({"content": "a"})), finish("stop"), delta(json!({"content": "b"})), counts()]);
    assert_eq!(content_of_documents(&found).choices[&0].text, "ab");
}

#[test]
fn usage_may_come_before_the_finish() {
    let mut early = delta(json!({"content": "a"}));
    early["usage"] = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
    for events in
        [vec![early.clone(), finish("stop")], vec![delta(json!({"content": "a"})), counts(), finish("stop")]]
    {
        let found = relay(&events);
        assert_eq!(found.last().unwrap()["usage"]["total_tokens"], 3);
    }
}

#[test]
fn several_choices_end_once_each() {
    let piece = |index: u64, delta: Value, reason: Value| {
        chunk(json!([{"index": index, "delta": delta, "finish_reason": reason}]))
    };
    let both =
        chunk(json!([{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]));
    let found = relay(&[
        piece(1, json!({"role": "assistant", "content": ""}), Value::Null),
        both,
        piece(1, json!({}), json!("length")),
        piece(0, json!({"content": "c"}), Value::Null),
        piece(0, json!({}), json!("stop")),
    ]);
    let found = content_of_documents(&found);
    assert_eq!((found.choices[&0].text.as_str(), found.choices[&1].text.as_str()), ("ac", "b"));
    assert_eq!(found.choices[&1].finish.as_deref(), Some("length"));
    let cut = documents(
        true,
        &stream(&[piece(0, json!({"content": "a"}), Value::Null), piece(1, json!({}), json!("stop"))]),
    );
    let body: String = cut.iter().map(|event| format!("data: {event}\n\n")).collect();
    assert!(relayed(form(true), [body.as_bytes()]).is_err(), "one choice is still open");
}

#[test]
fn legacy_function_calls_keep_their_name() {
    let events = [
        delta(json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": ""}})),
        delta(json!({"function_call": {"arguments": "{\"a\":"}})),
        delta(json!({"function_call": {"arguments": "1}"}})),
        finish("function_call"),
    ];
    let found = relay(&events);
    assert_eq!(content_of_documents(&found).choices[&0].finish.as_deref(), Some("function_call"));
    let arguments: String = found
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["function_call"]["arguments"].as_str())
        .collect();
    assert_eq!(arguments, "{\"a\":1}");
    let message = json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"a\":1}"}});
    let whole = whole(message, "function_call");
    assert_eq!(relay_whole(&whole)["choices"][0]["finish_reason"], "function_call");
    for (streaming, body) in [(true, stream(&events)), (false, whole.to_string())] {
        let (choices, _) =
            content_of_events(&decoded(streaming, &DecoderContext::default(), [body.as_bytes()]).unwrap());
        assert_eq!(choices[&0].calls, [(String::new(), "f".to_owned(), "{\"a\":1}".to_owned())]);
        assert_eq!(choices[&0].finish.as_deref(), Some("tool_calls"));
    }
}

/// Some providers send usage without a request for it: in the chunk with the finish reason, or in every chunk
/// the sum so far.
#[test]
fn usage_that_was_not_requested_is_sent_at_most_once_at_the_end() {
    let so_far = |mut chunk: Value, output: u64| {
        chunk["usage"] = json!({"prompt_tokens": 1783, "completion_tokens": output, "total_tokens": 1783 + output,
            "prompt_tokens_details": {"cached_tokens": 1760}});
        chunk
    };
    let begin = || delta(json!({"role": "assistant", "content": "a"}));
    let in_the_finish = [begin(), delta(json!({"content": "b"})), so_far(finish("stop"), 4)];
    let in_every_chunk =
        [so_far(begin(), 1), so_far(delta(json!({"content": "b"})), 3), so_far(finish("stop"), 4)];
    for events in [in_the_finish, in_every_chunk] {
        let body = stream(&events);
        for include_usage in [true, false] {
            let form = AnswerForm { stream: true, include_usage, ..AnswerForm::default() };
            let (text, progress) = relayed(form, [body.as_bytes()]).unwrap();
            assert_stream_rules(&text, include_usage);
            assert_eq!(text.contains(r#""total_tokens":1787"#), include_usage, "{text}");
            let usage = progress.usage.unwrap();
            assert_eq!((usage.total_tokens(), usage.cache_read), (1787, 1760));
        }
        let (_, usage) =
            content_of_events(&decoded(true, &DecoderContext::default(), [body.as_bytes()]).unwrap());
        assert_eq!(usage.unwrap().total_tokens(), 1787);
    }
}

#[test]
fn refusals_logprobs_and_audio_are_relayed() {
    let logprobs = json!({"content": [{"token": "a", "logprob": -0.1, "bytes": null, "top_logprobs": []}], "refusal": null});
    let mut piece = delta(json!({"content": "a"}));
    piece["choices"][0]["logprobs"] = logprobs.clone();
    let mut late = delta(json!({}));
    late["choices"][0]["logprobs"] = logprobs;
    let sound = json!({"id": "s", "data": "AAAA", "transcript": "hi"});
    let events = [
        delta(json!({"role": "assistant", "content": "", "refusal": null})),
        piece,
        delta(json!({"refusal": "No"})),
        delta(json!({"audio": sound})),
        finish("stop"),
        late,
    ];
    let found = relay(&events);
    assert_eq!(content_of_documents(&found).choices[&0].refusal, "No");
    assert_eq!(content_of_documents(&found).choices[&0].logprobs, 2);
    assert!(found.iter().any(|event| event["choices"][0]["delta"]["audio"] == sound));
}

#[test]
fn an_empty_first_chunk_does_not_name_the_answer() {
    let first = json!({"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]});
    let body = stream(&[first, delta(json!({"role": "assistant", "content": "a"})), finish("stop")]);
    for include_usage in [true, false] {
        let form = AnswerForm { stream: true, include_usage, ..AnswerForm::default() };
        let (text, progress) = relayed(form, [body.as_bytes()]).unwrap();
        assert_stream_rules(&text, include_usage);
        assert_eq!(progress.model.as_deref(), Some("m"));
        assert_eq!(text.matches("prompt_filter_results").count(), 1, "{text}");
    }
    let events = decoded(true, &DecoderContext::default(), [body.as_bytes()]).unwrap();
    let start = Event::Start { id: Some("a".into()), model: Some("m".into()), created: Some(5) };
    assert_eq!(events[0], start);
}

#[test]
fn fields_in_late_chunks_are_not_lost() {
    let with_tier = |mut chunk: Value| {
        chunk["service_tier"] = json!("flex");
        chunk
    };
    let begin = delta(json!({"role": "assistant", "content": "a"}));
    let mut repeated = with_tier(finish("stop"));
    repeated["usage"] = counts()["usage"].clone();
    let alone = with_tier(counts());
    let streams = [
        vec![begin.clone(), with_tier(finish("stop"))],
        vec![begin.clone(), finish("stop"), alone],
        vec![begin, finish("stop"), repeated],
    ];
    for events in streams {
        let body = stream(&events);
        for include_usage in [true, false] {
            let form = AnswerForm { stream: true, include_usage, ..AnswerForm::default() };
            let (text, _) = relayed(form, [body.as_bytes()]).unwrap();
            assert_stream_rules(&text, include_usage);
            assert!(text.contains(r#""service_tier":"flex""#), "{text}");
        }
        let events = decoded(true, &DecoderContext::default(), [body.as_bytes()]).unwrap();
        let tier = Event::Field { name: "service_tier", value: Json::of("flex") };
        assert!(events.contains(&tier), "{events:?}");
    }
}

#[test]
fn excluded_thinking_is_removed_from_every_field() {
    let form =
        AnswerForm { exclude_reasoning: true, include_usage: true, stream: true, ..AnswerForm::default() };
    let body = stream(&[
        delta(json!({"role": "assistant", "reasoning": "hm"})),
        delta(json!({"reasoning_content": "hm"})),
        delta(json!({"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]})),
        delta(json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]})),
        delta(json!({"content": "a"})),
        finish("stop"),
    ]);
    let (text, _) = relayed(form.clone(), [body.as_bytes()]).unwrap();
    assert_stream_rules(&text, true);
    assert!(
        !text.contains("reasoning\"")
            && !text.contains("hm")
            && !text.contains("\"delta\":{},\"finish_reason\":null"),
        "{text}"
    );
    let message = json!({"role": "assistant", "content": "a", "reasoning_content": "hm"});
    let form = AnswerForm { stream: false, ..form };
    let (text, _) = relayed(form, [whole(message, "stop").to_string().as_bytes()]).unwrap();
    assert!(!text.contains("hm"), "{text}");
}

#[test]
fn an_empty_error_field_is_not_an_error() {
    for nothing in
        [json!(null), json!(""), json!({}), json!(false), json!({"message": "", "code": 0}), json!([])]
    {
        let mut body = whole(json!({"role": "assistant", "content": "a"}), "stop");
        body["error"] = nothing.clone();
        assert_eq!(relay_whole(&body)["choices"][0]["message"]["content"], "a", "{nothing}");
        let mut piece = delta(json!({"content": "a"}));
        piece["error"] = nothing;
        relay(&[piece, finish("stop")]);
    }
    let body = whole(json!({"role": "assistant", "content": "{\"error\": \"quoted\"}"}), "stop");
    relay_whole(&body);
}

#[test]
fn errors_in_good_answers_are_errors() {
    let first = delta(json!({"content": "a"}));
    let mut inside = first.clone();
    inside["choices"][0]["finish_reason"] = "error".into();
    inside["choices"][0]["error"] = json!({"code": 429, "message": "slow down"});
    let cases = [
        (json!({"error": {"message": "slow down", "code": 429}}), ErrorKind::RateLimit),
        (json!({"error": "slow down"}), ErrorKind::Upstream),
        (json!({"object": "error", "message": "slow down", "code": 429}), ErrorKind::RateLimit),
        (json!({"message": "slow down", "code": "rate_limit"}), ErrorKind::RateLimit),
        (json!({"base_resp": {"status_code": 1002, "status_msg": "slow down"}}), ErrorKind::Upstream),
        (inside, ErrorKind::RateLimit),
    ];
    for (error, kind) in cases {
        let body = stream(&[first.clone(), error.clone()]);
        let (found, sent) = relayed(form(true), [body.as_bytes()]).unwrap_err();
        assert!(found.message.contains("slow down"), "{error}: {}", found.message);
        assert!(!sent.contains("DONE") && sent.contains("\"a\""), "{sent}");
        assert_eq!(decoded(true, &DecoderContext::default(), [body.as_bytes()]).unwrap_err(), found);
        let found = relayed(form(false), [error.to_string().as_bytes()]).unwrap_err().0;
        assert!(found.message.contains("slow down"), "{error}: {}", found.message);
        if kind != ErrorKind::Upstream {
            assert_eq!(found.kind, kind, "{error}");
        }
    }
    let named = "event: error\ndata: {\"code\":\"x\",\"text\":\"slow down\"}\n\n";
    assert!(relayed(form(true), [named.as_bytes()]).unwrap_err().0.message.contains("slow down"));
}

#[test]
fn broken_answers_are_errors() {
    let bodies = [
        json!({}),
        json!([]),
        json!({"choices": []}),
        json!({"choices": {}}),
        json!({"choices": [7]}),
        whole(json!({"tool_calls": [{}]}), "tool_calls"),
        whole(json!({"tool_calls": [{"function": {"name": "", "arguments": "{}"}}]}), "tool_calls"),
        json!({"choices": [{"index": 4_000_000_000_u64, "message": {"content": "a"}, "finish_reason": "stop"}]}),
    ];
    for body in bodies {
        let text = body.to_string();
        assert!(relayed(form(false), [text.as_bytes()]).is_err(), "{text}");
        assert!(decoded(false, &DecoderContext::default(), [text.as_bytes()]).is_err(), "{text}");
    }
    let streams = [
        stream(&[]),
        stream(&[counts()]),
        String::new(),
        "data: {\n\n".to_owned(),
        "data: []\n\n".to_owned(),
        stream(&[chunk(json!([{"index": 4_000_000_000_u64, "delta": {"content": "a"}}]))]),
        stream(&[
            delta(json!({"tool_calls": [{"index": 0, "id": "c", "function": {"arguments": "{}"}}]})),
            finish("tool_calls"),
        ]),
    ];
    for text in streams {
        assert!(relayed(form(true), [text.as_bytes()]).is_err(), "{text}");
        assert!(decoded(true, &DecoderContext::default(), [text.as_bytes()]).is_err(), "{text}");
    }
}

#[test]
fn an_empty_call_leaves_no_gap() {
    let found = relay(&[
        delta(json!({"tool_calls": [{"index": 0, "id": "", "function": {"name": "", "arguments": ""}}]})),
        delta(json!({"tool_calls": [{"index": 1, "id": "c", "function": {"name": "f", "arguments": ""}}]})),
        finish("stop"),
    ]);
    assert_eq!(
        content_of_documents(&found).choices[&0].calls,
        [("c".to_owned(), "f".to_owned(), "{}".to_owned())]
    );
}

#[test]
fn thinking_outside_of_the_completion_counts_in_both_forms() {
    // xAI: the total includes the thinking, the completion does not.
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 123, "completion_tokens_details": {"reasoning_tokens": 111}});
    let mut body = whole(json!({"role": "assistant", "content": "a"}), "stop");
    body["usage"] = usage.clone();
    let mut last = counts();
    last["usage"] = usage;
    let streamed = relay(&[delta(json!({"content": "a"})), finish("stop"), last]);
    for found in [&relay_whole(&body)["usage"], &streamed.last().unwrap()["usage"]] {
        assert_eq!([&found["completion_tokens"], &found["total_tokens"]], [114, 123]);
    }
}

#[test]
fn impossible_counts_do_not_overflow() {
    for count in [json!(u64::MAX), json!(1e300), json!(-1), json!("7")] {
        let mut body = whole(json!({"role": "assistant", "content": "a"}), "stop");
        body["usage"] = json!({"prompt_tokens": count, "completion_tokens": count, "total_tokens": count,
            "completion_tokens_details": {"reasoning_tokens": count}, "prompt_tokens_details": {"cached_tokens": count}});
        relay_whole(&body);
    }
}

#[test]
fn odd_numbers_spaces_and_duplicates_are_repaired() {
    let body = r#" { "id" : "a" , "object" : "chat.completion" , "created" : 1.7e9 , "model" : "m" ,
        "choices" : [ { "index" : 0 , "message" : { "role" : "assistant" , "content" : "a" } , "finish_reason" : "stop" } ] ,
        "usage" : { "prompt_tokens" : 1 , "completion_tokens" : 2 , "total_tokens" : 3 } } "#;
    for body in [body.to_owned(), body.replace("1.7e9", "1700000000")] {
        let (text, progress) = relayed(form(false), [body.as_bytes()]).unwrap();
        let found: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(found["created"], 1_700_000_000);
        assert_eq!(found["usage"]["reasoning_tokens"], 0);
        assert_eq!(progress.finish_reason, Some(FinishReason::Stop));
        assert_eq!(progress.usage.unwrap().total_tokens(), 3);
        assert_eq!((progress.model.as_deref(), progress.output_chars), (Some("m"), 1));
    }
    let twice =
        body.replace("\"id\" : \"a\"", "\"id\" : \"b\" , \"usage\" : {\"prompt_tokens\":7} , \"id\" : \"a\"");
    let (text, progress) = relayed(form(false), [twice.as_bytes()]).unwrap();
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&found["id"], &found["usage"]["total_tokens"]), (&json!("a"), &json!(3)));
    assert_eq!(progress.usage.unwrap().total_tokens(), 3);
}

#[test]
fn half_a_surrogate_pair_does_not_fail_an_answer() {
    let piece = r#"data: {"id":"a","choices":[{"index":0,"delta":{"content":"x\ud83d\\ud83d\ud83d\ude00"},"finish_reason":"stop"}]}"#;
    let body = format!("{piece}\n\ndata: [DONE]\n\n");
    let (text, _) = relayed(form(true), [body.as_bytes()]).unwrap();
    assert_stream_rules(&text, true);
    assert_eq!(content_of_documents(&documents(true, &text)).choices[&0].text, "x\u{fffd}\\ud83d😀");
    assert!(decoded(true, &DecoderContext::default(), [body.as_bytes()]).is_ok());
}

#[test]
fn keep_alives_and_empty_lines_are_ignored() {
    let body = format!(
        ": OPENROUTER PROCESSING\r\n\r\n{}",
        stream(&[delta(json!({"content": "a"})), finish("stop")])
            .replace("\n\n", "\r\n\r\n: ping\r\n\r\ndata:\r\n\r\n")
    );
    let (text, _) = relayed(form(true), [body.as_bytes()]).unwrap();
    assert_stream_rules(&text, true);
}

#[test]
fn an_empty_delta_does_not_start_the_content() {
    let first = delta(json!({"role": "assistant", "content": "", "refusal": null, "tool_calls": null}));
    let body = format!("data: {first}\n\n");
    let mut relay = wire::protocols::openai_chat::relay(wire::protocols::openai_chat::RelayParts {
        form: form(true),
        annotator: Box::new(super::notes()),
        gathers: false,
        cached_outside_prompt: false,
        taken_ids: Default::default(),
    });
    let mut out = Vec::new();
    relay.push(&body.into(), &mut out).unwrap();
    assert!(!relay.progress().content_started);
    relay.push(&format!("data: {}\n\n", delta(json!({"content": "a"}))).into(), &mut out).unwrap();
    assert!(relay.progress().content_started);
}

/// The calls that a caller gets from a stream. The relay and the decoder must agree.
fn calls_of(events: &[Value]) -> Vec<(String, String, String)> {
    let relayed = content_of_documents(&relay(events)).choices[&0].calls.clone();
    let (choices, _) =
        content_of_events(&decoded(true, &DecoderContext::default(), [stream(events).as_bytes()]).unwrap());
    let told = |calls: &[(String, String, String)]| -> Vec<(String, String)> {
        calls.iter().map(|(_, name, text)| (name.clone(), text.clone())).collect()
    };
    assert_eq!(told(&choices[&0].calls), told(&relayed));
    relayed
}

#[test]
fn a_name_that_comes_in_pieces_is_joined() {
    let call = |call: Value| delta(json!({ "tool_calls": [call] }));
    let name = |name: &str| call(json!({"index": 0, "function": {"name": name}}));
    let first = |name: &str| {
        let function = json!({"name": name, "arguments": ""});
        call(json!({"index": 0, "id": "x", "type": "function", "function": function}))
    };
    let arguments = |text: &str| call(json!({"index": 0, "function": {"arguments": text}}));
    let repeated = |name: &str, text: &str| {
        call(json!({"index": 0, "id": "x", "function": {"name": name, "arguments": text}}))
    };
    let cases = [
        ("in two", vec![first("edit_ex"), name("isting_file"), arguments("{\"a\":1}")]),
        (
            "in many, with a letter twice",
            "editt".chars().map(|letter| name(&letter.to_string())).collect::<Vec<_>>(),
        ),
        (
            "the last one with arguments",
            vec![first("edit_"), repeated("existing_file", "{\"a\""), arguments(":1}")],
        ),
        ("repeated", vec![repeated("edit_existing_file", "{\"a\""), repeated("edit_existing_file", ":1}")]),
        ("repeated without arguments", vec![first("edit_existing_file"), first("edit_existing_file")]),
        ("growing", vec![first("edit_"), first("edit_existing_file"), arguments("{\"a\":1}")]),
        ("empty at first", vec![first(""), name("edit_"), name("existing_file"), arguments("{\"a\":1}")]),
    ];
    for (case, mut events) in cases {
        let expected = match case {
            "in many, with a letter twice" => "editt",
            _ => "edit_existing_file",
        };
        events.push(finish("tool_calls"));
        let calls = calls_of(&events);
        assert_eq!(calls.len(), 1, "{case}");
        assert_eq!(calls[0].1, expected, "{case}");
        assert!(["{\"a\":1}", "{}"].contains(&calls[0].2.as_str()), "{case}: {calls:?}");
    }
    // Two calls whose names come in pieces, the second before the arguments of the first.
    let second = |name: &str| {
        call(json!({"index": 1, "id": "y", "type": "function", "function": {"name": name, "arguments": ""}}))
    };
    let more = call(json!({"index": 1, "function": {"name": "te", "arguments": "{\"b\":2}"}}));
    let events = [first("re"), name("ad"), second("wri"), arguments("{\"a\":1}"), more, finish("tool_calls")];
    let calls: Vec<_> = calls_of(&events).into_iter().map(|(_, name, text)| (name, text)).collect();
    let expected = [("read", "{\"a\":1}"), ("write", "{\"b\":2}")];
    assert_eq!(calls, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
}

#[test]
fn calls_of_one_answer_have_different_ids() {
    let call = |index: u64, id: &str, q: &str| {
        let function = json!({"name": "get", "arguments": format!("{{\"q\":{q:?}}}")});
        json!({"index": index, "id": id, "type": "function", "function": function})
    };
    let calls = json!([call(0, "call_0", "a"), call(1, "call_0", "b"), call(2, "", "c"), call(3, "z", "d")]);
    let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
    let answer = relay_whole(&whole(message, "tool_calls"));
    let ids = |calls: &Value| -> Vec<String> {
        let ids = calls.as_array().unwrap().iter().map(|call| call["id"].as_str().unwrap().to_owned());
        ids.collect()
    };
    let expected = ["call_0", "call_ours0", "call_ours1", "z"];
    assert_eq!(ids(&answer["choices"][0]["message"]["tool_calls"]), expected);
    // In a stream, the provider goes on to use its own ids.
    let events: Vec<_> =
        calls.as_array().unwrap().iter().map(|call| delta(json!({ "tool_calls": [call] }))).collect();
    let found = relay(&[events, vec![finish("tool_calls")]].concat());
    let calls = &content_of_documents(&found).choices[&0].calls;
    assert_eq!(calls.iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>(), expected);
    assert_eq!(calls[1].2, "{\"q\":\"b\"}");
}
