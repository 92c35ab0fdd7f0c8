//! Google's generateContent: recorded answers and requests, the rules of its requests, and its adapter and
//! its dialect against each other.
#![allow(clippy::unwrap_used, reason = "helpers of tests may")]

use canon::*;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use testkit::corpus::{Record, assert_enough, cases};
use testkit::notes::Notes;
use wire::{AnswerForm, DecoderContext, Encoded, Protocol, adapter, dialect};

use super::caller_answer::{CallerAnswer, read_at_every_split};

const FLASH: &str = "gemini-2.5-flash";
const THREE: &str = "gemini-3-flash-preview";

// Answers.

/// Recorded exchanges with both of Google's services.
fn recorded(is_case: impl Fn(&Record) -> bool) -> Vec<Record> {
    let is_chat = |record: &Record| matches!(&*record.api, "generateContent" | "streamGenerateContent");
    cases(["google-ai-studio", "vertex-gemini"], |record| is_chat(record) && is_case(record))
}

/// The documents of an answer, read without the code under test.
fn documents(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    match serde_json::from_str(text) {
        Ok(Value::Array(documents)) => documents,
        Ok(document) => vec![document],
        Err(_) => {
            let lines = text.lines().filter_map(|line| line.strip_prefix("data:"));
            lines.map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Expected {
    text: String,
    reasoning: String,
    calls: Vec<(String, Value)>,
    signatures: usize,
    images: usize,
    finish: Option<FinishReason>,
    output: u64,
    prompt: u64,
}

fn expected(documents: &[Value]) -> Expected {
    let mut expected = Expected::default();
    let mut word = "";
    for document in documents {
        for candidate in document["candidates"].as_array().into_iter().flatten() {
            for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
                expect_part(part, &mut expected);
            }
            word = match &candidate["finishReason"] {
                Value::String(word) => word,
                Value::Number(number) => {
                    if *number == 1.into() {
                        "STOP"
                    } else {
                        "MAX_TOKENS"
                    }
                }
                _ => word,
            };
        }
        let usage = &document["usageMetadata"];
        let count = |name: &str| usage[name].as_u64().unwrap_or(0);
        if usage["promptTokenCount"].is_u64() || usage["candidatesTokenCount"].is_u64() {
            expected.prompt = count("promptTokenCount") + count("toolUsePromptTokenCount");
            expected.output = count("candidatesTokenCount") + count("thoughtsTokenCount");
        }
    }
    if documents.iter().any(|document| document["promptFeedback"]["blockReason"].is_string()) {
        word = "SAFETY";
    }
    expected.finish = Some(match word {
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY" | "MODEL_ARMOR" => FinishReason::ContentFilter,
        "STOP" | "UNEXPECTED_TOOL_CALL" if !expected.calls.is_empty() => FinishReason::ToolCalls,
        "STOP" => FinishReason::Stop,
        other => panic!("{other}"),
    });
    expected
}

fn expect_part(part: &Value, expected: &mut Expected) {
    if let Some(call) = part.get("functionCall") {
        let args = call.get("args").cloned().unwrap_or(json!({}));
        expected.calls.push((call["name"].as_str().unwrap().to_owned(), args));
    } else if let Some(text) = part["text"].as_str() {
        let is_thought = part["thought"] == true;
        *(if is_thought { &mut expected.reasoning } else { &mut expected.text }) += text;
        expected.signatures += usize::from(part["thoughtSignature"].is_string());
    } else if let Some(code) = part["executableCode"]["code"].as_str() {
        let end = if code.ends_with('\n') { "" } else { "\n" };
        expected.text += &format!("\n```python\n{code}{end}```\n");
    } else if part.get("codeExecutionResult").is_some() {
        let output = part["codeExecutionResult"]["output"].as_str().unwrap_or("");
        let end = if output.ends_with('\n') { "" } else { "\n" };
        expected.text += &format!("\n```\n{output}{end}```\n");
    } else if part.get("inlineData").is_some() {
        expected.images += 1;
    }
}

fn content(heard: &CallerAnswer) -> Expected {
    let usage = heard.usage.unwrap_or_default();
    Expected {
        text: heard.text.clone(),
        reasoning: heard.reasoning(),
        calls: heard.parsed_calls(),
        signatures: heard.thoughts.values().filter(|thought| !thought.1.is_empty()).count(),
        images: heard.images.len(),
        finish: heard.finish.as_ref().map(|(reason, _)| *reason),
        output: usage.completion_tokens(),
        prompt: usage.prompt_tokens(),
    }
}

#[test]
fn recorded_gemini_answers_are_decoded_as_an_independent_reader_reads_them() {
    let mut count = 0;
    for record in recorded(|record| record.status == 200) {
        let documents = documents(&record.body);
        let heard =
            read_at_every_split(Protocol::Gemini, record.streaming, &DecoderContext::default(), &record.body);
        if documents.iter().any(|document| document.get("error").is_some()) {
            assert!(heard.is_err(), "{}", record.id);
            continue;
        }
        let heard = heard.unwrap_or_else(|error| panic!("{}: {error}", record.id));
        assert_eq!(content(&heard), expected(&documents), "{}", record.id);
        assert_eq!(heard.model.as_deref(), documents[0]["modelVersion"].as_str(), "{}", record.id);
        assert_eq!(heard.id.as_deref(), documents[0]["responseId"].as_str(), "{}", record.id);
        count += 1;
    }
    assert_enough(count, 400);
}

#[test]
fn recorded_gemini_streams_give_the_same_events_for_every_cut() {
    let mut streams = recorded(|record| record.streaming && record.status == 200);
    streams.sort_by_key(|record| record.body.len());
    for record in streams.iter().take(6) {
        let whole = events(&[&record.body]).unwrap();
        for cut in 1..record.body.len() {
            let (left, right) = record.body.split_at(cut);
            assert_eq!(events(&[left, right]).unwrap(), whole, "{} at {cut}", record.id);
        }
    }
}

#[test]
fn recorded_streams_that_break_off_are_errors() {
    for record in recorded(|record| record.streaming && record.status == 200) {
        let text = String::from_utf8(record.body.clone()).unwrap();
        if text.trim_start().starts_with(['{', '[']) || text.matches("finishReason").count() != 1 {
            continue;
        }
        let end = text.find("finishReason").unwrap();
        let cut = text[..end].rfind("data:").unwrap();
        assert!(events(&[&record.body[..cut]]).is_err(), "{}", record.id);
        assert!(events(&[&record.body[..end]]).is_err(), "{}", record.id);
    }
}

#[test]
fn recorded_gemini_errors_have_a_kind_and_a_message() {
    use ErrorKind::*;
    let mut kinds = Vec::new();
    for record in recorded(|record| record.status != 200) {
        let status = StatusCode::from_u16(record.status).unwrap();
        let error = adapter(Protocol::Gemini).decode_error(status, &HeaderMap::new(), &record.body);
        let message = documents(&record.body)[0]["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(error.message, message, "{}", record.id);
        assert_eq!(error.origin, Origin::Upstream);
        kinds.push((record.status, error.kind));
    }
    kinds.sort_by_key(|(status, kind)| (*status, kind.as_str()));
    kinds.dedup();
    let expected = [(400, InvalidRequest), (400, UpstreamCredential), (404, ModelNotFound), (429, RateLimit)];
    assert_eq!(kinds, expected);
}

fn events(pieces: &[&[u8]]) -> Result<Vec<Event>> {
    events_with(pieces, &DecoderContext::default())
}

fn events_with(pieces: &[&[u8]], decoding: &DecoderContext) -> Result<Vec<Event>> {
    let mut decoder = adapter(Protocol::Gemini).decoder(true, decoding);
    let mut events = Vec::new();
    for piece in pieces {
        decoder.push(piece, &mut events)?;
    }
    decoder.finish(&mut events)?;
    Ok(events)
}

/// A stream of these documents as the service frames it.
fn sse(documents: &[Value]) -> Vec<u8> {
    documents.iter().flat_map(|document| format!("data: {document}\r\n\r\n").into_bytes()).collect()
}

fn piece(parts: Value) -> Value {
    json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}], "modelVersion": THREE, "responseId": "r1"})
}

fn last(parts: Value, reason: &str) -> Value {
    let mut last = piece(parts);
    last["candidates"][0]["finishReason"] = json!(reason);
    last
}

fn read_answer(documents: &[Value]) -> Result<CallerAnswer> {
    let stream = read_at_every_split(Protocol::Gemini, true, &DecoderContext::default(), &sse(documents));
    let list = serde_json::to_vec_pretty(documents).unwrap();
    assert_eq!(
        read_at_every_split(Protocol::Gemini, true, &DecoderContext::default(), &list),
        stream,
        "as a list"
    );
    stream
}

#[test]
fn thoughts_calls_and_signatures_are_decoded() {
    let documents = [
        piece(json!([{"text": "Let me ", "thought": true}])),
        piece(json!([{"text": "see. é", "thought": true, "thoughtSignature": "s0"}])),
        piece(json!([{"text": "Hi"}, {"functionCall": {"name": "a"}, "thoughtSignature": "s1"}])),
        piece(json!([{"functionCall": {"name": "b", "id": "x", "args": {"n": 1.50, "s": "a b"}}}])),
        last(json!([{"text": "", "thoughtSignature": "s2"}]), "STOP"),
        json!({"usageMetadata": {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 5,
            "thoughtsTokenCount": 7, "toolUsePromptTokenCount": 3, "totalTokenCount": 25}}),
    ];
    let found = read_answer(&documents).unwrap();
    assert_eq!((found.text.as_str(), found.reasoning().as_str()), ("Hi", "Let me see. é"));
    assert_eq!(found.thoughts[&0].1, "s0");
    assert_eq!(found.thoughts[&1], (String::new(), "s2".into(), String::new()));
    let calls: Vec<_> = found
        .calls
        .iter()
        .map(|call| (call.id.as_str(), call.name.as_str(), call.arguments.as_str()))
        .collect();
    assert_eq!(calls, [("", "a", "{}"), ("x", "b", r#"{"n":1.5,"s":"a b"}"#)]);
    assert_eq!(found.finish, Some((FinishReason::ToolCalls, Some("STOP".into()))));
    let usage = Usage { input: 9, cache_read: 4, output: 12, reasoning: 7, ..Usage::default() };
    assert_eq!(found.usage, Some(usage));
    let signatures: Vec<_> = events(&[&sse(&documents)]).unwrap();
    let signed =
        |event: &Event| matches!(event, Event::ToolCallStart { signature: Some(s), .. } if s == "s1");
    assert!(signatures.iter().any(signed));
}

#[test]
fn finish_reasons_of_gemini_are_mapped_and_failures_are_errors() {
    use FinishReason::*;
    for (word, reason) in [
        ("STOP", Stop),
        ("MAX_TOKENS", Length),
        ("CONTINUATION", Length),
        ("SAFETY", ContentFilter),
        ("LANGUAGE", ContentFilter),
        ("IMAGE_SAFETY", ContentFilter),
        ("OTHER", Stop),
        ("SOMETHING_NEW", Stop),
        ("MALFORMED_FUNCTION_CALL", Stop),
    ] {
        let found = read_answer(&[last(json!([{"text": "a"}]), word)]).unwrap();
        assert_eq!(found.finish, Some((reason, Some(word.into()))));
    }
    let mut failed = last(json!([]), "MALFORMED_FUNCTION_CALL");
    failed["candidates"][0]["finishMessage"] = json!("Malformed function call: print(");
    let error = read_answer(&[failed]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Upstream);
    assert!(error.message.contains("print("));
}

#[test]
fn refused_prompts_end_with_content_filter() {
    let document = json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 5}});
    let found = read_answer(&[document]).unwrap();
    assert_eq!(found.finish, Some((FinishReason::ContentFilter, Some("PROHIBITED_CONTENT".into()))));
    assert_eq!(found.usage.unwrap().input, 5);
}

#[test]
fn broken_answers_are_errors() {
    let text = piece(json!([{"text": "a"}]));
    for documents in [vec![], vec![json!({})], vec![text.clone()], vec![json!({"usageMetadata": {}})]] {
        assert_eq!(events(&[&sse(&documents)]).unwrap_err().kind, ErrorKind::Upstream, "{documents:?}");
    }
    for body in [
        "",
        "data: {\"candidates\"\r\n\r\n",
        "{\"candidates\": [",
        "<html>",
        "[1]",
        "[[{}]]",
        "\"a\"",
        "data: 5\n\n",
    ] {
        let error = events(&[body.as_bytes()]).unwrap_err();
        assert_eq!((error.kind, error.origin), (ErrorKind::Upstream, Origin::Upstream), "{body}");
    }
    let status = json!({"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"});
    for failure in [json!({"error": status}), json!([{"error": status}])] {
        let error = events(&[&sse(&[text.clone(), failure])]).unwrap_err();
        assert_eq!((error.kind, error.status().as_u16()), (ErrorKind::Overloaded, 503));
        assert_eq!(error.message, "The model is overloaded.");
    }
}

#[test]
fn arguments_in_pieces_are_joined_by_their_paths() {
    let call = |call: Value| piece(json!([{"functionCall": call}]));
    let documents = [
        piece(json!([{"functionCall": {"name": "f", "willContinue": true}, "thoughtSignature": "s"}])),
        call(
            json!({"partialArgs": [{"jsonPath": "$.city", "stringValue": "Par", "willContinue": true}], "willContinue": true}),
        ),
        call(
            json!({"partialArgs": [{"jsonPath": "$.city", "stringValue": "is"}, {"jsonPath": "$.days[1].n", "numberValue": 2}], "willContinue": true}),
        ),
        call(
            json!({"partialArgs": [{"jsonPath": "$['a.b']", "boolValue": true}, {"jsonPath": "$.none", "nullValue": "NULL_VALUE"}], "willContinue": true}),
        ),
        call(json!({})),
        last(json!([{"text": ""}]), "STOP"),
    ];
    let found = read_answer(&documents).unwrap();
    let args = json!({"city": "Paris", "days": [null, {"n": 2}], "a.b": true, "none": null});
    assert_eq!(found.parsed_calls(), [("f".to_owned(), args)]);
    assert!(read_answer(&documents[..2]).is_err());
}

#[test]
fn positions_of_sources_are_counted_in_characters() {
    let mut end = last(json!([{"text": "und Köln."}]), "STOP");
    end["candidates"][0]["groundingMetadata"] = json!({
        "webSearchQueries": ["a", "b"],
        "groundingChunks": [{"web": {"uri": "https://a.test", "title": "A"}}, {"web": {"uri": "https://b.test"}}],
        "groundingSupports": [{"segment": {"startIndex": 9, "endIndex": 18, "text": "und Köln"}, "groundingChunkIndices": [0]}],
    });
    end["usageMetadata"] = json!({"promptTokenCount": 1});
    let found = read_answer(&[piece(json!([{"text": "Größe "}])), end]).unwrap();
    let citation = |start: u32, end: u32, url: &str, title: &str| json!({"type": "url_citation", "url_citation": {"start_index": start, "end_index": end, "url": url, "title": title}});
    let expected =
        [citation(6, 14, "https://a.test", "A"), citation(0, 15, "https://b.test", "https://b.test")];
    assert_eq!(found.annotations, expected);
    assert_eq!(found.usage.unwrap().web_searches, 2);
}

#[test]
fn changed_names_custom_tools_and_json_tools_are_restored() {
    let decoding = DecoderContext {
        json_tool: Some("answer".into()),
        tool_names: [("_1st".into(), "1st".into())].into_iter().collect(),
        custom_tools: vec!["1st".into()],
        ..DecoderContext::default()
    };
    let parts = json!([
        {"functionCall": {"name": "_1st", "args": {"input": "free \"text\""}}},
        {"functionCall": {"name": "answer", "args": {"a": 1}}},
    ]);
    let body = sse(&[last(parts, "STOP")]);
    let found = read_at_every_split(Protocol::Gemini, true, &decoding, &body).unwrap();
    assert_eq!((found.calls[0].name.as_str(), found.calls[0].arguments.as_str()), ("1st", "free \"text\""));
    assert_eq!(found.text, r#"{"a":1}"#);
}

#[test]
fn several_choices_and_counts_of_media_are_decoded() {
    let candidate = |index: u32, text: &str| json!({"content": {"parts": [{"text": text}]}, "finishReason": "STOP", "index": index});
    let document = json!({"candidates": [candidate(1, "b"), candidate(0, "a")], "usageMetadata": {
        "promptTokenCount": 100, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 60}, {"modality": "TEXT", "tokenCount": 40}],
        "candidatesTokenCount": 50, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 30}], "totalTokenCount": 150}});
    let found = events(&[document.to_string().as_bytes()]).unwrap();
    assert_eq!(found[1], Event::Text { choice: 1, text: "b".into() });
    assert_eq!(found.iter().filter(|event| matches!(event, Event::Finish { .. })).count(), 2);
    let usage = Usage { input: 40, audio_input: 60, output: 20, image_output: 30, ..Usage::default() };
    assert!(found.contains(&Event::Usage(usage)));
}

#[test]
fn errors_of_google_are_classified() {
    let decode = |status: u16, body: Value| {
        let status = StatusCode::from_u16(status).unwrap();
        adapter(Protocol::Gemini).decode_error(status, &HeaderMap::new(), body.to_string().as_bytes())
    };
    let error = |status: u16, name: &str, message: &str, details: Value| json!({"error": {"code": status, "message": message, "status": name, "details": details}});
    let quota = |id: &str| json!([{"@type": "QuotaFailure", "violations": [{"quotaId": id}]}, {"@type": "RetryInfo", "retryDelay": "34.5s"}]);
    let key = json!([{"@type": "ErrorInfo", "reason": "API_KEY_INVALID"}]);
    let none = json!([]);
    let wait = std::time::Duration::from_secs_f64(34.5);
    let day = quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier");
    let minute = quota("GenerateRequestsPerMinutePerProjectPerModel");
    use ErrorKind::*;
    for (status, body, kind, retry) in [
        (
            400,
            error(400, "INVALID_ARGUMENT", "API key not valid.", key),
            UpstreamCredential,
            Retry::Elsewhere,
        ),
        (
            429,
            error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", minute.clone()),
            RateLimit,
            Retry::After(wait),
        ),
        (429, json!([error(429, "RESOURCE_EXHAUSTED", "Quota", day)]), Quota, Retry::Elsewhere),
        (429, error(429, "RESOURCE_EXHAUSTED", "Resource exhausted.", none.clone()), RateLimit, Retry::Again),
        (
            400,
            error(
                400,
                "INVALID_ARGUMENT",
                "The input token count (5) exceeds the maximum number of tokens allowed (4).",
                none.clone(),
            ),
            ContextLength,
            Retry::Elsewhere,
        ),
        (
            400,
            error(400, "FAILED_PRECONDITION", "User location is not supported", none.clone()),
            UpstreamCredential,
            Retry::Elsewhere,
        ),
        (400, error(400, "INVALID_ARGUMENT", "Unknown name \"x\"", none.clone()), InvalidRequest, Retry::No),
        (
            404,
            error(404, "NOT_FOUND", "models/x is not found for API version v1beta", none.clone()),
            ModelNotFound,
            Retry::Elsewhere,
        ),
        (503, error(503, "UNAVAILABLE", "The model is overloaded.", none.clone()), Overloaded, Retry::Again),
        (500, error(500, "INTERNAL", "Internal error", none.clone()), Upstream, Retry::Again),
        (502, json!("<html>"), Upstream, Retry::Again),
    ] {
        let found = decode(status, body.clone());
        assert_eq!((found.kind, found.retry), (kind, retry), "{body}");
        assert_eq!(found.origin, Origin::Upstream);
    }
    assert_eq!(decode(429, error(429, "RESOURCE_EXHAUSTED", "x", minute)).retry_after(), Some(wait));
}

proptest::proptest! {
    #![proptest_config(testkit::random::cases(256))]

    #[test]
    fn damaged_bytes_never_panic(at in 0usize..1500, byte: u8, cut in 0usize..1500) {
        let mut end = last(json!([{"text": "é ü"}]), "STOP");
        end["candidates"][0]["groundingMetadata"] = json!({
            "groundingChunks": [{"web": {"uri": "u"}}],
            "groundingSupports": [{"segment": {"startIndex": 1, "endIndex": 4}, "groundingChunkIndices": [0]}],
        });
        end["usageMetadata"] = json!({"promptTokenCount": 9, "cachedContentTokenCount": 4, "thoughtsTokenCount": 3});
        let call = json!([{"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a[0]['b']", "stringValue": "x"}]}}]);
        let mut body = sse(&[piece(call), end]);
        if let Some(place) = body.get_mut(at) {
            *place = byte;
        }
        let _ = events(&[&body]);
        let _ = events(&[&body[..cut.min(body.len())]]);
        let _ = adapter(Protocol::Gemini).decode_error(StatusCode::BAD_REQUEST, &HeaderMap::new(), &body[6..]);
        let mut request = written(&answer(), false);
        if let Some(place) = request.get_mut(at) {
            *place = byte;
        }
        let _ = dialect(Protocol::Gemini).unwrap().decode_request(&request);
    }
}

// Requests.

fn encode_for(model: &str, facts: &ModelFacts, request: &Request) -> Result<Encoded> {
    let quirks = Quirks::default();
    adapter(Protocol::Gemini).encode_request(request, Target { model, facts, quirks: &quirks })
}

fn encode(model: &str, request: &Request) -> Result<(Value, Vec<String>)> {
    let encoded = encode_for(model, &ModelFacts::default(), request)?;
    let losses =
        encoded.losses.iter().map(|loss| format!("{} {}", loss.action.as_str(), loss.field)).collect();
    Ok((serde_json::from_slice(&encoded.body).unwrap(), losses))
}

fn body_of(model: &str, messages: Vec<Message>) -> (Value, Vec<String>) {
    encode(model, &Request { messages, ..Request::default() }).unwrap()
}

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

fn call_part(id: &str, name: &str, arguments: &str) -> Part {
    PartKind::from(ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), custom: false })
        .into()
}

fn calls(calls: &[(&str, &str, &str)]) -> Message {
    Message::new(Role::Assistant, calls.iter().map(|(id, name, args)| call_part(id, name, args)).collect())
}

fn result(id: &str, text: &str) -> Message {
    let result = ToolResult { call_id: id.into(), content: vec![Part::text(text)], is_error: false };
    Message::new(Role::Tool, vec![PartKind::from(result).into()])
}

fn media(kind: MediaKind, source: Source) -> Part {
    PartKind::from(Media { kind, source, filename: None, detail: None }).into()
}

fn image() -> Part {
    media(MediaKind::Image, Source::Base64 { mime: "image/png".into(), data: "AAAA".into() })
}

fn function(name: &str, parameters: Value) -> Tool {
    let kind = ToolKind::Function { parameters: Some(Json::of(&parameters)), strict: None };
    Tool { name: name.into(), description: Some("d".into()), kind, cache: None, place: canon::Place::NOWHERE }
}

#[test]
fn instructions_and_turns_are_written_in_the_form_of_gemini() {
    let (body, losses) = body_of(
        FLASH,
        vec![
            Message::text(Role::System, "S"),
            Message::text(Role::Developer, "D"),
            user("a"),
            user("b"),
            user("  \n"),
            Message::text(Role::Assistant, "c"),
            Message::text(Role::Assistant, ""),
            Message::text(Role::System, "late"),
            user("d"),
        ],
    );
    assert_eq!(body["systemInstruction"], json!({"parts": [{"text": "S"}, {"text": "D"}]}));
    assert_eq!(
        body["contents"],
        json!([
            {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
            {"role": "model", "parts": [{"text": "c"}]},
            {"role": "user", "parts": [{"text": "late"}, {"text": "d"}]},
        ])
    );
    assert_eq!(losses, ["approximated messages[7].role"]);
    let (body, _) = body_of(FLASH, vec![Message::text(Role::System, "S")]);
    assert_eq!(body, json!({"contents": [{"role": "user", "parts": [{"text": "S"}]}]}));
    let (body, losses) = body_of(FLASH, vec![Message::text(Role::Assistant, "a"), user("b")]);
    assert_eq!(body["contents"][0], json!({"role": "user", "parts": [{"text": "."}]}));
    assert_eq!(losses, ["approximated messages[0]"]);
    let empty = Request { messages: vec![user(" ")], ..Request::default() };
    assert_eq!(encode(FLASH, &empty).unwrap_err().param_name().as_deref(), Some("messages"));
    let (body, _) = body_of("gemma-3-27b-it", vec![Message::text(Role::System, "S"), user("a")]);
    assert_eq!(body["contents"][0]["parts"], json!([{"text": "S"}, {"text": "a"}]));
}

#[test]
fn results_answer_calls_in_order() {
    let (body, losses) = body_of(
        FLASH,
        vec![
            user("q"),
            calls(&[("1", "f", r#"{"a": [1]}"#), ("2", "g", ""), ("3", "f", "{}")]),
            Message::text(Role::System, "late"),
            result("3", "three"),
            result("2", r#" {"ok": true} "#),
            result("1", "[1,2]"),
            user("thanks"),
        ],
    );
    assert_eq!(
        body["contents"],
        json!([
            {"role": "user", "parts": [{"text": "q"}]},
            {"role": "model", "parts": [
                {"functionCall": {"name": "f", "args": {"a": [1]}}},
                {"functionCall": {"name": "g", "args": {}}},
                {"functionCall": {"name": "f", "args": {}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "f", "response": {"output": [1, 2]}}},
                {"functionResponse": {"name": "g", "response": {"ok": true}}},
                {"functionResponse": {"name": "f", "response": {"output": "three"}}},
                {"text": "late"},
                {"text": "thanks"},
            ]},
        ])
    );
    assert_eq!(losses, ["approximated messages[2].role"]);
}

#[test]
fn a_result_without_its_call_is_refused_and_a_call_without_a_result_failed() {
    let request = Request { messages: vec![user("q"), result("x", "?")], ..Request::default() };
    assert_eq!(
        encode(FLASH, &request).unwrap_err().param_name().as_deref(),
        Some("messages[1].tool_call_id")
    );
    let (body, losses) =
        body_of(FLASH, vec![user("q"), calls(&[("1", "f", "{}"), ("2", "g", "{}")]), result("2", "")]);
    let parts = &body["contents"][2]["parts"];
    assert_eq!(parts[0]["functionResponse"]["name"], "f");
    assert!(parts[0]["functionResponse"]["response"]["error"].is_string());
    assert_eq!(parts[1]["functionResponse"]["response"], json!({"output": ""}));
    assert_eq!(losses, ["approximated messages[1].tool_calls[0]"]);
}

#[test]
fn invalid_arguments_are_wrapped_and_failed_tools_are_errors() {
    let failed = ToolResult { call_id: "1".into(), content: vec![Part::text("no")], is_error: true };
    let messages = vec![
        user("q"),
        calls(&[("1", "f", "{broken")]),
        Message::new(Role::Tool, vec![PartKind::from(failed).into()]),
    ];
    let (body, losses) = body_of(FLASH, messages);
    assert_eq!(body["contents"][1]["parts"][0]["functionCall"]["args"], json!({"input": "{broken"}));
    assert_eq!(body["contents"][2]["parts"][0]["functionResponse"]["response"], json!({"error": "no"}));
    assert_eq!(losses, ["approximated messages[1].tool_calls[0].function.arguments"]);
}

#[test]
fn media_are_sent_inline_or_by_urls_that_google_reads() {
    let text = media(MediaKind::Document, Source::Text("hi".into()));
    let video = media(MediaKind::Video, Source::Url("https://www.youtube.com/watch?v=1".into()));
    let stored = media(MediaKind::Document, Source::Url("gs://bucket/a.pdf".into()));
    let file = media(MediaKind::Image, Source::FileId("files/abc".into()));
    let message = Message::new(Role::User, vec![image(), text, video, stored, file]);
    let (body, _) = body_of(FLASH, vec![message]);
    assert_eq!(
        body["contents"][0]["parts"],
        json!([
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
            {"inlineData": {"mimeType": "text/plain", "data": "aGk="}},
            {"fileData": {"mimeType": "video/mp4", "fileUri": "https://www.youtube.com/watch?v=1"}},
            {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://bucket/a.pdf"}},
            {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        ])
    );
    let web = media(MediaKind::Image, Source::Url("https://a.test/a.png".into()));
    let request = Request {
        messages: vec![Message::new(Role::User, vec![Part::text("x"), web])],
        ..Request::default()
    };
    let error = encode(FLASH, &request).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UnsupportedFeature);
    assert_eq!(error.param_name().as_deref(), Some("messages[0].content[1].image_url"));
}

#[test]
fn media_of_results_are_inside_of_the_result_from_gemini_3_on() {
    let content = vec![Part::text("see"), image()];
    let answer = ToolResult { call_id: "1".into(), content, is_error: false };
    let messages = vec![
        user("q"),
        calls(&[("1", "f", "{}")]),
        Message::new(Role::Tool, vec![PartKind::from(answer).into()]),
    ];
    let blob = json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}});
    let (body, _) = body_of(FLASH, messages.clone());
    let beside = json!([{"functionResponse": {"name": "f", "response": {"output": "see"}}}, blob]);
    assert_eq!(body["contents"][2]["parts"], beside);
    let (body, _) = body_of(THREE, messages);
    let within = json!([{"functionResponse": {"name": "f", "response": {"output": "see"}, "parts": [blob]}}]);
    assert_eq!(body["contents"][2]["parts"], within);
}

#[test]
fn signatures_go_back_to_the_part_that_they_came_with() {
    let reasoning = |text: &str, format: Option<&str>, signature: Option<&str>| Part {
        signature: signature.map(Into::into),
        ..PartKind::from(Reasoning {
            text: text.into(),
            format: format.map(str::to_owned),
            ..Reasoning::default()
        })
        .into()
    };
    let signed = Part { signature: Some("s3".into()), ..call_part("1", "f", "{}") };
    let google = Some("google-gemini-v1");
    let messages = vec![
        user("q"),
        Message::new(
            Role::Assistant,
            vec![
                reasoning("t", google, Some("s1")),
                reasoning("", google, Some("s2")),
                reasoning("t", Some("anthropic-claude-v1"), Some("s")),
                Part::text("x"),
                signed,
                call_part("2", "f", "{}"),
            ],
        ),
        result("1", "a"),
        result("2", "b"),
        calls(&[("3", "f", "{}"), ("4", "f", "{}")]),
        result("3", "a"),
        result("4", "b"),
    ];
    let (body, losses) = body_of(THREE, messages.clone());
    assert_eq!(
        body["contents"][1]["parts"],
        json!([
            {"text": "t", "thought": true, "thoughtSignature": "s1"},
            {"text": "x", "thoughtSignature": "s2"},
            {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "s3"},
            {"functionCall": {"name": "f", "args": {}}},
        ])
    );
    assert_eq!(body["contents"][3]["parts"][0]["thoughtSignature"], "skip_thought_signature_validator");
    assert_eq!(body["contents"][3]["parts"][1].get("thoughtSignature"), None);
    assert_eq!(losses, ["dropped messages[1].reasoning", "approximated messages[4].tool_calls[0]"]);
    let (body, _) = body_of(FLASH, messages.clone());
    assert_eq!(body["contents"][3]["parts"][0].get("thoughtSignature"), None);
    // The tool loop is over once the user speaks again: nothing is lost then, and the earlier turns are sent
    // unchanged.
    let (body, losses) = body_of(THREE, [messages, vec![user("next")]].concat());
    assert_eq!(body["contents"][3]["parts"][0]["thoughtSignature"], "skip_thought_signature_validator");
    assert_eq!(losses, ["dropped messages[1].reasoning"]);
}

#[test]
fn functions_and_choices_are_written_in_the_form_of_gemini() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "exclusiveMinimum": 0}}});
    let custom = Tool {
        name: "free".into(),
        description: None,
        kind: ToolKind::Custom { format: None },
        cache: None,
        place: canon::Place::NOWHERE,
    };
    let tools =
        vec![function("f", schema), function("1 g", json!({"type": "object", "properties": {}})), custom];
    let messages = vec![user("q")];
    let request = Request { messages, tools, parallel_tool_calls: Some(false), ..Request::default() };
    let (body, losses) = encode(FLASH, &request).unwrap();
    assert_eq!(
        body["tools"],
        json!([{"functionDeclarations": [
            {"name": "f", "description": "d", "parametersJsonSchema": {"type": "object", "properties": {"n": {"type": "integer"}}}},
            {"name": "_1_g", "description": "d"},
            {"name": "free", "parametersJsonSchema": {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}},
        ]}])
    );
    assert_eq!(
        losses,
        ["approximated tools[0].function.parameters", "emulated tools[2]", "dropped parallel_tool_calls"]
    );
    let decoding = encode_for(FLASH, &ModelFacts::default(), &request).unwrap().decoding;
    assert_eq!(decoding.tool_names.get("_1_g"), Some("1 g"));
    assert_eq!(decoding.custom_tools, ["free"]);
    let choose = |choice| {
        let request = Request { tool_choice: Some(choice), ..request.clone() };
        encode(FLASH, &request).unwrap().0
    };
    let config = |choice| choose(choice)["toolConfig"]["functionCallingConfig"].clone();
    assert_eq!(config(ToolChoice::Auto), json!({"mode": "AUTO"}));
    assert_eq!(config(ToolChoice::None), json!({"mode": "NONE"}));
    assert_eq!(config(ToolChoice::Required), json!({"mode": "ANY"}));
    assert_eq!(
        config(ToolChoice::Named("1 g".into())),
        json!({"mode": "ANY", "allowedFunctionNames": ["_1_g"]})
    );
    let some = |required| ToolChoice::Allowed { names: vec!["f".into()], required };
    assert_eq!(config(some(true)), json!({"mode": "ANY", "allowedFunctionNames": ["f"]}));
    assert_eq!(choose(some(false))["tools"][0]["functionDeclarations"].as_array().unwrap().len(), 1);
}

#[test]
fn tools_of_the_provider_are_translated_or_refused() {
    let native = |entry: Value| Tool {
        name: "x".into(),
        description: None,
        kind: ToolKind::Native(Json::of(&entry)),
        cache: None,
        place: canon::Place::NOWHERE,
    };
    let with = |tools: Vec<Tool>| Request { messages: vec![user("q")], tools, ..Request::default() };
    let search =
        with(vec![native(json!({"type": "web_search_preview"})), native(json!({"code_execution": {}}))]);
    let (body, _) = encode(FLASH, &search).unwrap();
    assert_eq!(body["tools"], json!([{"googleSearch": {}}, {"codeExecution": {}}]));
    let unknown = with(vec![native(json!({"type": "computer_use_preview"}))]);
    assert_eq!(encode(FLASH, &unknown).unwrap_err().kind, ErrorKind::UnsupportedFeature);
    let mixed = with(vec![native(json!({"googleSearch": {}})), function("f", json!({}))]);
    let (body, losses) = encode(FLASH, &mixed).unwrap();
    assert_eq!((body["tools"].as_array().unwrap().len(), losses), (1, vec!["dropped tools[0]".to_owned()]));
    let runs = with(vec![native(json!({"codeExecution": {}})), function("f", json!({}))]);
    assert_eq!(encode(FLASH, &runs).unwrap_err().kind, ErrorKind::UnsupportedFeature);
    let (body, _) = encode(THREE, &mixed).unwrap();
    assert_eq!(body["toolConfig"], json!({"includeServerSideToolInvocations": true}));
    assert_eq!(body["tools"][1], json!({"googleSearch": {}}));
    let mut options = with(vec![]);
    options.extra.push(("web_search_options".into(), Json::of(&json!({}))));
    assert_eq!(encode(FLASH, &options).unwrap().0["tools"], json!([{"googleSearch": {}}]));
    let facts = ModelFacts { features: Some(Features::NONE), ..ModelFacts::default() };
    assert_eq!(encode_for(FLASH, &facts, &options).unwrap_err().kind, ErrorKind::UnsupportedFeature);
}

fn full() -> Request {
    Request {
        messages: vec![user("q")],
        max_tokens: Some(100),
        sampling: Sampling {
            temperature: Some(2.0),
            top_p: Some(0.5),
            top_k: Some(40),
            frequency_penalty: Some(2.0),
            presence_penalty: Some(-1.0),
            seed: Some(1 << 40),
        },
        stop: ["a", "", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec(),
        n: Some(2),
        logprobs: Some(true),
        top_logprobs: Some(3),
        reasoning: ReasoningRequest { effort: Some(Effort::Low), ..ReasoningRequest::default() },
        user: Some("u".into()),
        extra: vec![
            ("logit_bias".into(), Json::of(&json!({"1": 2}))),
            ("store".into(), Json::of(&false)),
            ("safety_settings".into(), Json::of(&json!([]))),
        ],
        ..Request::default()
    }
}

#[test]
fn generation_settings_are_written_within_the_limits_of_gemini() {
    let (body, losses) = encode(FLASH, &full()).unwrap();
    assert_eq!(
        body["generationConfig"],
        json!({
            "temperature": 2.0, "topP": 0.5, "topK": 40, "maxOutputTokens": 100, "candidateCount": 2,
            "stopSequences": ["a", "b", "c", "d", "e"], "presencePenalty": -1.0, "frequencyPenalty": 1.99,
            "responseLogprobs": true, "logprobs": 3,
            "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 1024},
        })
    );
    assert_eq!(body["safetySettings"], json!([]));
    let expected = [
        "approximated frequency_penalty",
        "dropped seed",
        "approximated stop",
        "dropped user",
        "dropped logit_bias",
    ];
    assert_eq!(losses, expected);
    let rejects = vec!["temperature".to_owned(), "stop".to_owned()];
    let facts = ModelFacts { rejects, ..ModelFacts::default() };
    let encoded = encode_for(FLASH, &facts, &full()).unwrap();
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!(body["generationConfig"].get("temperature"), None);
    assert_eq!(body["generationConfig"].get("stopSequences"), None);
    let (body, _) = encode(FLASH, &Request { messages: vec![user("q")], ..Request::default() }).unwrap();
    assert_eq!(body, json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}]}));
}

#[test]
fn formats_of_the_answer_are_native_or_instructions() {
    let schema = json!({"type": "object", "properties": {"a": {"const": 1}}, "$schema": "x"});
    let output = OutputFormat::JsonSchema {
        name: "n".into(),
        description: None,
        schema: Some(Json::of(&schema)),
        strict: None,
    };
    let mut request = Request { messages: vec![user("q")], output, ..Request::default() };
    let (body, losses) = encode(FLASH, &request).unwrap();
    let clean = json!({"type": "object", "properties": {"a": {"enum": [1], "type": "integer"}}});
    assert_eq!(
        body["generationConfig"],
        json!({"responseMimeType": "application/json", "responseJsonSchema": clean})
    );
    assert_eq!(losses, [""; 0]);
    request.tools = vec![function("f", json!({}))];
    let (body, losses) = encode(FLASH, &request).unwrap();
    assert_eq!(body.get("generationConfig"), None);
    assert!(body["systemInstruction"]["parts"][0]["text"].as_str().unwrap().contains("\"const\":1"));
    assert_eq!(losses, ["emulated response_format"]);
    let (body, _) = encode(THREE, &request).unwrap();
    assert_eq!(body["generationConfig"]["responseJsonSchema"], clean);
    let silenced = Request { tool_choice: Some(ToolChoice::None), ..request.clone() };
    let (body, losses) = encode(FLASH, &silenced).unwrap();
    assert_eq!((body.get("tools"), losses.len()), (None, 0));
    assert_eq!(body["generationConfig"]["responseJsonSchema"], clean);
    let json = Request { output: OutputFormat::JsonObject, tools: vec![], ..request };
    assert_eq!(
        encode(FLASH, &json).unwrap().0["generationConfig"],
        json!({"responseMimeType": "application/json"})
    );
}

#[test]
fn answers_with_pictures_are_requested_and_answers_with_audio_refused() {
    let asking = |modalities: Value| Request {
        messages: vec![user("q")],
        extra: vec![("modalities".into(), Json::of(&modalities))],
        ..Request::default()
    };
    let (body, _) = encode("gemini-2.5-flash-image", &asking(json!(["text", "image"]))).unwrap();
    assert_eq!(body["generationConfig"]["responseModalities"], json!(["TEXT", "IMAGE"]));
    assert_eq!(encode(FLASH, &asking(json!(["audio"]))).unwrap_err().kind, ErrorKind::UnsupportedFeature);
    assert_eq!(encode(FLASH, &asking(json!(["text"]))).unwrap().0.get("generationConfig"), None);
}

// Adapter and dialect.

#[test]
fn requests_survive_adapter_and_dialect() {
    let google = |text: &str| Reasoning {
        text: text.into(),
        format: Some("google-gemini-v1".into()),
        ..Reasoning::default()
    };
    let signed = |kind: PartKind, signature: &str| Part { signature: Some(signature.into()), ..kind.into() };
    let tool = |name: &str, parameters: Option<Value>| Tool {
        name: name.into(),
        description: None,
        kind: ToolKind::Function { parameters: parameters.as_ref().map(Json::of), strict: None },
        cache: None,
        place: canon::Place::NOWHERE,
    };
    let conversation = Request {
        messages: vec![
            Message::text(Role::System, "S"),
            Message::new(Role::User, vec![Part::text("q"), image()]),
            Message::new(
                Role::Assistant,
                vec![
                    signed(PartKind::from(google("t")), "s0"),
                    signed(PartKind::Text("x".into()), "s1"),
                    signed(call_part("call_1_2", "f", r#"{"a":1}"#).kind, "s2"),
                    call_part("call_1_3", "g", "{}"),
                ],
            ),
            result("call_1_2", "one"),
            result("call_1_3", r#"{"two":2}"#),
            Message::text(Role::Assistant, "done"),
            user("next"),
        ],
        tools: vec![
            tool("f", Some(json!({"type": "object", "properties": {"a": {"type": "integer"}}}))),
            tool("g", None),
        ],
        tool_choice: Some(ToolChoice::Named("f".into())),
        ..Request::default()
    };
    let mut settings = Request { output: OutputFormat::JsonObject, ..full() };
    settings.sampling.frequency_penalty = Some(1.5);
    settings.sampling.seed = Some(7);
    settings.stop = vec!["a".into()];
    settings.user = None;
    settings.extra.truncate(0);
    settings.reasoning = ReasoningRequest { budget_tokens: Some(2000), ..ReasoningRequest::default() };
    for request in [conversation, settings] {
        let encoded = encode_for(FLASH, &ModelFacts::default(), &request).unwrap();
        assert!(encoded.losses.is_empty(), "{:?}", encoded.losses);
        let mut back = dialect(Protocol::Gemini).unwrap().decode_request(&encoded.body).unwrap();
        // The adapter's request says nothing about thoughts: none are shown.
        back.reasoning.exclude = false;
        back.format = request.format;
        assert_eq!(back, request);
    }
}

fn notes() -> Notes {
    Notes {
        answer_id: "id",
        model: "model",
        created: 0,
        cost: Some(Cost { total: Pico(26_000_000), ..Cost::default() }),
        metadata_name: Some("llmgateway"),
        metadata: "{\"request_id\":\"r\"}",
        tool_call_id: "call",
        ..Notes::default()
    }
}

fn written(events: &[Event], stream: bool) -> Vec<u8> {
    let form = AnswerForm { stream, ..AnswerForm::default() };
    let mut encoder = dialect(Protocol::Gemini).unwrap().encoder(&form, Box::new(notes()));
    let mut out = Vec::new();
    events.iter().for_each(|event| encoder.push(event.clone(), &mut out));
    assert_eq!(out.is_empty(), !stream);
    encoder.finish(&mut out);
    out
}

fn answer() -> Vec<Event> {
    let choice = 0;
    let reasoning = |block, detail| Event::Reasoning { choice, block, detail, format: "google-gemini-v1" };
    let citation = json!({"type": "url_citation", "url_citation":
        {"start_index": 1, "end_index": 3, "url": "https://a.test", "title": "A"}});
    let token = |token: &str| json!({"token": token, "logprob": -0.5, "bytes": token.as_bytes()});
    let mut chosen = token("é");
    chosen["top_logprobs"] = json!([token("e")]);
    vec![
        Event::Start { id: Some("r1".into()), model: Some("gemini-3".into()), created: None },
        reasoning(0, ReasoningDetail::Text("thinking".into())),
        reasoning(0, ReasoningDetail::Signature("s0".into())),
        Event::Text { choice, text: "é ü.".into() },
        reasoning(1, ReasoningDetail::Signature("s1".into())),
        Event::Image { choice, mime: "image/png".into(), data: "AAAA".into() },
        Event::ToolCallStart {
            choice,
            index: 0,
            id: "c1".into(),
            name: "f".into(),
            signature: Some("s2".into()),
            custom: false,
        },
        Event::ToolCallArguments { choice, index: 0, fragment: r#"{"a":[1,"x y"]}"#.into() },
        Event::ToolCallStart {
            choice,
            index: 1,
            id: "c2".into(),
            name: "g".into(),
            signature: None,
            custom: false,
        },
        Event::ToolCallArguments { choice, index: 1, fragment: "{}".into() },
        Event::Logprobs { choice, logprobs: Json::of(&json!({"content": [chosen], "refusal": null})) },
        Event::Annotation { choice, annotation: Json::of(&citation) },
        Event::Finish { choice, reason: FinishReason::ToolCalls, native: Some("STOP".into()) },
        Event::Usage(Usage {
            input: 6,
            cache_read: 4,
            output: 12,
            reasoning: 5,
            image_output: 3,
            ..Usage::default()
        }),
    ]
}

#[test]
fn answers_survive_adapter_and_dialect() {
    for stream in [true, false] {
        let body = written(&answer(), stream);
        let mut expected = answer();
        let mut found = events(&[&body]).unwrap();
        let order = |event: &Event| match event {
            Event::Usage(_) => 1,
            Event::Logprobs { .. } => 2,
            Event::Annotation { .. } => 3,
            Event::Finish { .. } => 4,
            _ => 0,
        };
        expected.sort_by_key(order);
        found.sort_by_key(order);
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(&body));
    }
}

#[test]
fn streams_are_written_as_google_writes_them() {
    let body = String::from_utf8(written(&answer(), true)).unwrap();
    assert!(body.ends_with("\r\n\r\n") && !body.contains("[DONE]"));
    let pieces: Vec<Value> = body
        .split("\r\n\r\n")
        .filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok())
        .collect();
    assert!(pieces.iter().all(|piece| piece["responseId"] == "r1" && piece["modelVersion"] == "gemini-3"));
    let end = pieces.last().unwrap();
    assert_eq!(end["candidates"][0]["finishReason"], "STOP");
    assert_eq!(end["llmgateway"]["request_id"], "r");
    assert!(body.contains(r#""cost":{"usd_total":0.000026,"usd_input":0"#));
    assert_eq!(
        end["usageMetadata"],
        json!({"promptTokenCount": 10, "candidatesTokenCount": 10, "totalTokenCount": 25, "cachedContentTokenCount": 4,
            "thoughtsTokenCount": 5, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 3}]})
    );
    let form = AnswerForm { stream: true, ..AnswerForm::default() };
    let mut encoder = dialect(Protocol::Gemini).unwrap().encoder(&form, Box::new(notes()));
    let mut out = Vec::new();
    encoder.push(Event::Text { choice: 0, text: "a".into() }, &mut out);
    out.clear();
    encoder.fail(&Error::upstream(ErrorKind::Timeout, Retry::Again, "Too late."), &mut out);
    let failure: Value = serde_json::from_slice(out.strip_prefix(b"data: ").unwrap()).unwrap();
    assert_eq!(
        (&failure["error"]["status"], &failure["error"]["code"]),
        (&json!("DEADLINE_EXCEEDED"), &json!(504))
    );
}

#[test]
fn a_stream_without_events_is_one_list() {
    let form = AnswerForm { stream: true, is_list: true, ..AnswerForm::default() };
    let gemini = dialect(Protocol::Gemini).unwrap();
    let mut encoder = gemini.encoder(&form, Box::new(notes()));
    let mut out = gemini.ping(&form).to_vec();
    answer().into_iter().for_each(|event| encoder.push(event, &mut out));
    encoder.finish(&mut out);
    let list: Vec<Value> = serde_json::from_slice(&out).unwrap();
    assert!(list.len() > 3);
    assert_eq!(list.last().unwrap()["candidates"][0]["finishReason"], "STOP");
    // A client that reads the pieces one by one gets the same.
    assert_eq!(events(&[&out]).unwrap(), events(&[&written(&answer(), true)]).unwrap());
    let late = Error::upstream(ErrorKind::Timeout, Retry::Again, "Too late.");
    for has_begun in [true, false] {
        let mut encoder = gemini.encoder(&form, Box::new(notes()));
        let mut out = Vec::new();
        if has_begun {
            encoder.push(Event::Text { choice: 0, text: "a".into() }, &mut out);
        }
        encoder.fail(&late, &mut out);
        let list: Vec<Value> = serde_json::from_slice(&out).unwrap();
        assert_eq!(list.last().unwrap()["error"]["code"], 504);
        assert_eq!(list.len(), 1 + usize::from(has_begun));
    }
    let list: Vec<Value> = serde_json::from_slice(&gemini.error_event(&form, &late, None)).unwrap();
    assert_eq!(list[0]["error"]["status"], "DEADLINE_EXCEEDED");
}

#[test]
fn the_method_is_read_from_the_url() {
    let read = |rest: &str, query: &str| {
        let body = bytes::Bytes::from_static(br#"{"contents":[{"parts":[{"text":"hi"}]}]}"#);
        dialect(Protocol::Gemini).unwrap().intake(wire::Addressed { rest, query }, &body)
    };
    let form = |rest, query| read(rest, query).unwrap().form;
    assert!(!form("a/b:generateContent", "").stream);
    assert!(form("m:streamGenerateContent", "key=x&alt=sse").stream);
    assert!(!form("m:streamGenerateContent", "key=x&alt=sse").is_list);
    assert!(form("m:streamGenerateContent", "alt=json").is_list);
    assert!(form("m:countTokens", "").counts);
    assert_eq!(read("models/a/b:c:generateContent", "").unwrap().model, "a/b:c");
    for (rest, words) in [
        ("m:embedContent", "does not serve embedContent"),
        ("m:batchGenerateContent", "does not serve batchGenerateContent"),
        ("m:foo", "no method \"foo\""),
        ("m", "names no method"),
    ] {
        let error = read(rest, "").unwrap_err();
        assert_eq!(error.status(), StatusCode::NOT_FOUND);
        assert!(error.message.contains(words), "{}", error.message);
    }
}

#[test]
fn two_spellings_of_one_field_are_a_duplicate() {
    let twice = [
        r#"{"contents":[],"system_instruction":{},"systemInstruction":{}}"#,
        r#"{"contents":[{"parts":[{"text":"a"}]}],"generationConfig":{"topK":1,"top_k":2}}"#,
        r#"{"contents":[{"parts":[{"function_call":{"name":"f"},"functionCall":{"name":"g"}}]}]}"#,
    ];
    for body in twice {
        let error = dialect(Protocol::Gemini).unwrap().decode_request(body.as_bytes()).unwrap_err();
        assert_eq!(error.status(), StatusCode::BAD_REQUEST, "{body}");
        assert!(error.message.contains("twice"), "{}", error.message);
    }
}

#[test]
fn errors_are_written_as_google_writes_them() {
    let error = Error::invalid("contents[0].role", "Wrong role.");
    let (status, body) = dialect(Protocol::Gemini).unwrap().error(&error, None);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["error"]["status"], "INVALID_ARGUMENT");
    assert_eq!(body["error"]["details"][1]["fieldViolations"][0]["field"], "contents[0].role");
    let limited =
        Error::upstream(ErrorKind::RateLimit, Retry::After(std::time::Duration::from_secs(3)), "Slow down.");
    let (status, body) = dialect(Protocol::Gemini).unwrap().error(&limited, None);
    let back = adapter(Protocol::Gemini).decode_error(status, &HeaderMap::new(), &body);
    assert_eq!((back.kind, back.retry, back.message), (limited.kind, limited.retry, limited.message));
}

#[test]
fn requests_are_read_in_either_spelling() {
    let body = json!({
        "system_instruction": {"parts": [{"text": "S"}]},
        "contents": [
            {"parts": [{"text": "q"}, {"inline_data": {"mime_type": "image/png", "data": "_-8"}}]},
            {"role": "model", "parts": [{"function_call": {"name": "f", "args": {"snake_case": 1}}, "thought_signature": "s"}]},
            {"role": "function", "parts": [{"function_response": {"name": "f", "response": {"error": "no"}}}]},
        ],
        "tools": [
            {"function_declarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {"snake_case": {"type": "STRING", "nullable": true}}}}]},
            {"google_search": {}},
        ],
        "tool_config": {"function_calling_config": {"mode": "any", "allowed_function_names": ["f", "g"]}},
        "generation_config": {"max_output_tokens": 5, "thinking_config": {"thinking_level": "HIGH", "include_thoughts": true},
            "response_mime_type": "application/json", "response_schema": {"type": "ARRAY", "items": {"type": "INTEGER"}}},
        "labels": {"a": "b"},
    });
    let request = dialect(Protocol::Gemini).unwrap().decode_request(body.to_string().as_bytes()).unwrap();
    assert_eq!(request.messages[0], Message::text(Role::System, "S"));
    let Source::Base64 { data, .. } = (match &request.messages[1].parts[1].kind {
        PartKind::Media(media) => media.source.clone(),
        other => panic!("{other:?}"),
    }) else {
        panic!()
    };
    assert_eq!(data, "/+8=");
    let call = request.messages[2].tool_calls().next().unwrap();
    assert_eq!(
        (&*call.arguments, request.messages[2].parts[0].signature.as_deref()),
        (r#"{"snake_case":1}"#, Some("s"))
    );
    let PartKind::ToolResult(result) = &request.messages[3].parts[0].kind else { panic!() };
    assert!(result.is_error && result.call_id == call.id);
    let ToolKind::Function { parameters: Some(parameters), .. } = &request.tools[0].kind else { panic!() };
    assert_eq!(
        parameters.as_str(),
        r#"{"type":"object","properties":{"snake_case":{"type":["string","null"]}}}"#
    );
    assert_eq!(request.tools[1].kind, ToolKind::Native(Json::of(&json!({"googleSearch": {}}))));
    let allowed = ToolChoice::Allowed { names: vec!["f".into(), "g".into()], required: true };
    assert_eq!(request.tool_choice, Some(allowed));
    assert_eq!((request.max_tokens, request.reasoning.effort), (Some(5), Some(Effort::High)));
    assert!(!request.reasoning.exclude);
    let OutputFormat::JsonSchema { schema: Some(schema), .. } = &request.output else { panic!() };
    assert_eq!(schema.as_str(), r#"{"type":"array","items":{"type":"integer"}}"#);
    assert_eq!(request.extra("labels").unwrap().as_str(), r#"{"a":"b"}"#);
}

#[test]
fn wrong_requests_name_the_field() {
    for (body, param) in [
        (json!([]), ""),
        (json!({}), "contents"),
        (json!({"contents": [{"role": "bot"}]}), "contents[0].role"),
        (json!({"contents": [{"parts": [{"text": 5}]}]}), "contents[0].parts[0].text"),
        (
            json!({"contents": [{"parts": [{"functionResponse": {"name": "f"}}]}]}),
            "contents[0].parts[0].functionResponse",
        ),
        (json!({"contents": [{"parts": []}], "generationConfig": {"topP": "x"}}), "generationConfig.topP"),
        (
            json!({"contents": [{"parts": []}], "generationConfig": {"thinkingConfig": {"thinkingLevel": "x"}}}),
            "generationConfig.thinkingConfig.thinkingLevel",
        ),
        (
            json!({"contents": [{"parts": []}], "toolConfig": {"functionCallingConfig": {"mode": "x"}}}),
            "toolConfig.functionCallingConfig.mode",
        ),
    ] {
        let error =
            dialect(Protocol::Gemini).unwrap().decode_request(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.param_name().as_deref(), Some(param), "{body}");
    }
}

#[test]
fn recorded_gemini_requests_survive_decoding_and_encoding() {
    let (mut count, mut refused) = (0, Vec::new());
    for record in recorded(|_| true) {
        let Some(body) = &record.request else { continue };
        let decoded = dialect(Protocol::Gemini).unwrap().decode_request(body.to_string().as_bytes());
        let request = match decoded {
            Ok(request) => request,
            Err(error) => {
                refused.push((record.id, record.status, error));
                continue;
            }
        };
        count += 1;
        let encoded = encode_for(&record.model, &ModelFacts::default(), &request);
        let encoded = match encoded {
            // URLs that only the newest models or Vertex AI fetch themselves.
            Err(error) if error.kind == ErrorKind::UnsupportedFeature => {
                refused.push((record.id, record.status, error));
                continue;
            }
            encoded => encoded.unwrap_or_else(|error| panic!("{}: {error}", record.id)),
        };
        let again = dialect(Protocol::Gemini).unwrap().decode_request(&encoded.body).unwrap();
        let texts = |request: &Request| -> String {
            let spoken = request.messages.iter().filter(|message| !message.role.is_instruction());
            spoken.map(Message::joined_text).collect()
        };
        let squeezed = |text: String| text.split_whitespace().collect::<String>();
        let calls = |request: &Request| {
            request.messages.iter().map(|message| message.tool_calls().count()).sum::<usize>()
        };
        // If there are only instructions, they become the user's message.
        if !squeezed(texts(&request)).is_empty() {
            assert_eq!(squeezed(texts(&again)), squeezed(texts(&request)), "{}", record.id);
        }
        assert_eq!(calls(&again), calls(&request), "{}", record.id);
        assert_eq!(again.tools.len(), request.tools.len(), "{}", record.id);
    }
    for (id, status, error) in &refused {
        assert!(*status != 200 || error.kind == ErrorKind::UnsupportedFeature, "{id}: {error}");
        eprintln!("{id} ({status}): {:?} {error}", error.param);
    }
    assert_enough(count, 400);
}
