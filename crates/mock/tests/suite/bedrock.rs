//! Bedrock's Converse: JSON, and the event stream with its checksums.

use crate::client::{plain, post, weather_schema};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const WHOLE: &str = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse";
const STREAM: &str = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream";

fn request(text: &str) -> Value {
    json!({ "messages": [{ "role": "user", "content": [{ "text": text }] }] })
}

fn tool_config() -> Value {
    json!({ "tools": [{ "toolSpec": { "name": "get_weather", "inputSchema": { "json": weather_schema() } } }] })
}

/// One frame, checked by code that shares nothing with the mock's.
pub struct Frame {
    pub headers: BTreeMap<String, String>,
    pub payload: Value,
}

pub fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
    while !bytes.is_empty() {
        let (total, headers) = (number(bytes) as usize, number(&bytes[4..]) as usize);
        assert_eq!(crc32(&bytes[..8]), number(&bytes[8..]), "prelude");
        assert_eq!(crc32(&bytes[..total - 4]), number(&bytes[total - 4..]), "message");
        frames.push(Frame {
            headers: parse_headers(&bytes[12..12 + headers]),
            payload: serde_json::from_slice(&bytes[12 + headers..total - 4]).unwrap(),
        });
        bytes = &bytes[total..];
    }
    frames
}

fn parse_headers(mut bytes: &[u8]) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    while !bytes.is_empty() {
        let name = bytes[0] as usize;
        assert_eq!(bytes[1 + name], 7, "a string");
        let value = u16::from_be_bytes([bytes[2 + name], bytes[3 + name]]) as usize;
        let text = |range: &[u8]| String::from_utf8(range.to_vec()).unwrap();
        headers.insert(text(&bytes[1..1 + name]), text(&bytes[4 + name..4 + name + value]));
        bytes = &bytes[4 + name + value..];
    }
    headers
}

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[test]
fn the_checksum_of_the_test_is_right() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[tokio::test]
async fn answers_whole() {
    let mock = plain().await;
    let answer = post(&mock, WHOLE, &request("What is the capital of France?")).await;
    let json = answer.json();
    assert_eq!(json["output"]["message"]["content"][0]["text"], "The capital of France is Paris.");
    assert_eq!(json["stopReason"], "end_turn");
    assert!(answer.headers.contains_key("x-amzn-requestid"));
}

#[tokio::test]
async fn streams_thinking_and_text() {
    let mock = plain().await;
    let mut body = request("Count to 10");
    body["additionalModelRequestFields"] =
        json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } });
    let answer = post(&mock, STREAM, &body).await;
    assert_eq!(answer.headers["content-type"], "application/vnd.amazon.eventstream");
    let frames = frames(&answer.body);
    let types: Vec<&str> = frames.iter().map(|frame| frame.headers[":event-type"].as_str()).collect();
    assert_eq!(types[0], "messageStart");
    assert_eq!(types[types.len() - 2..], ["messageStop", "metadata"]);
    assert!(!types.contains(&"contentBlockStart"));
    assert!(frames.iter().all(|frame| frame.payload["p"].is_string()));
    let text: String =
        frames.iter().filter_map(|frame| frame.payload.pointer("/delta/text")?.as_str()).collect();
    assert_eq!(text, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10");
    let signed = |frame: &Frame| frame.payload.pointer("/delta/reasoningContent/signature").is_some();
    assert_eq!(frames.iter().filter(|frame| signed(frame)).count(), 1);
}

#[tokio::test]
async fn streams_a_call_in_fragments() {
    let mock = plain().await;
    let mut body = request("What's the weather in Rome?");
    body["toolConfig"] = tool_config();
    let frames = frames(&post(&mock, STREAM, &body).await.body);
    assert_eq!(frames[1].payload["start"]["toolUse"]["name"], "get_weather");
    let inputs = frames.iter().filter_map(|frame| frame.payload.pointer("/delta/toolUse/input")?.as_str());
    assert_eq!(inputs.collect::<String>(), r#"{"location":"Rome"}"#);
}

#[tokio::test]
async fn reports_errors_inside_the_stream_as_exceptions() {
    let mock = plain().await;
    let answer = post(&mock, "/model/fault-stream-error-2/converse-stream", &request("Count to 10")).await;
    let frames = frames(&answer.body);
    assert_eq!(frames.len(), 3);
    assert_eq!(frames[2].headers[":message-type"], "exception");
    assert_eq!(frames[2].headers[":exception-type"], "internalServerException");
}

#[tokio::test]
async fn refuses_as_bedrock_does() {
    let mock = plain().await;
    let refuse = async |body: Value| {
        let answer = post(&mock, WHOLE, &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.headers["x-amzn-errortype"].starts_with("ValidationException:"));
        answer.json()["message"].as_str().unwrap().to_string()
    };
    let turn = |role: &str, block: Value| json!({ "role": role, "content": [block] });
    let hello = || json!({ "text": "hello" });
    let twice = json!({ "messages": [turn("user", hello()), turn("user", hello())] });
    assert!(refuse(twice).await.contains("must alternate"));
    assert!(
        refuse(json!({ "messages": [turn("assistant", hello())] }))
            .await
            .contains("start with a user message")
    );
    assert!(refuse(request(" ")).await.contains("is blank"));
    assert!(refuse(json!({ "messages": [turn("user", hello())], "n": 1 })).await.contains("unknown field n"));
    let call = turn("assistant", json!({ "toolUse": { "toolUseId": "a", "name": "f", "input": {} } }));
    let unanswered = json!({
        "messages": [turn("user", hello()), call, turn("user", hello())], "toolConfig": tool_config()
    });
    assert!(refuse(unanswered).await.contains("Expected toolResult blocks at messages.2.content"));
    let result = turn("user", json!({ "toolResult": { "toolUseId": "a", "content": [{ "text": "x" }] } }));
    let orphan = json!({ "messages": [result], "toolConfig": tool_config() });
    assert!(refuse(orphan).await.contains("exceeds the number of toolUse blocks"));
}
