//! Google's generateContent, with and without server-sent events.

use crate::client::{plain, post, weather_schema};
use serde_json::{Value, json};

const STREAM: &str = "/v1beta/models/gemini-2.0-flash-001:streamGenerateContent";
const WHOLE: &str = "/v1beta/models/gemini-2.0-flash-001:generateContent";

fn request(text: &str) -> Value {
    json!({ "contents": [{ "role": "user", "parts": [{ "text": text }] }] })
}

fn text_of(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk.pointer("/candidates/0/content/parts/0/text")?.as_str()).collect()
}

#[tokio::test]
async fn answers_whole() {
    let mock = plain().await;
    let answer = post(&mock, WHOLE, &request("What is the capital of France?")).await.json();
    assert_eq!(text_of(std::slice::from_ref(&answer)), "The capital of France is Paris.");
    assert_eq!(answer["candidates"][0]["finishReason"], "STOP");
    assert_eq!(answer["modelVersion"], "gemini-2.0-flash-001");
}

#[tokio::test]
async fn streams_events_with_crlf() {
    let mock = plain().await;
    let answer = post(&mock, &format!("{STREAM}?alt=sse"), &request("Count to 10")).await;
    assert!(answer.text().ends_with("}\r\n\r\n"));
    let events = answer.events();
    assert_eq!(text_of(&events), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10");
    assert!(events.len() > 3);
    assert_eq!(events[0]["candidates"][0].get("finishReason"), None);
    assert_eq!(events.last().unwrap()["candidates"][0]["finishReason"], "STOP");
}

#[tokio::test]
async fn streams_an_array_without_server_sent_events() {
    let mock = plain().await;
    let path =
        "/v1/projects/p/locations/global/publishers/google/models/gemini-2.0-flash-001:streamGenerateContent";
    let answer = post(&mock, path, &request("Count to 10")).await.json();
    assert_eq!(text_of(answer.as_array().unwrap()), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10");
}

#[tokio::test]
async fn signs_calls_from_gemini_3_on_and_requires_the_signature_back() {
    let mock = plain().await;
    let path = "/v1beta/models/gemini-3-pro-preview:generateContent";
    let mut body = request("What's the weather in Rome?");
    body["tools"] =
        json!([{ "functionDeclarations": [{ "name": "get_weather", "parameters": weather_schema() }] }]);
    let answer = post(&mock, path, &body).await.json();
    let mut turn = answer["candidates"][0]["content"].clone();
    assert_eq!(turn["parts"][0]["functionCall"]["args"], json!({ "location": "Rome" }));
    let result =
        json!({ "functionResponse": { "name": "get_weather", "response": { "output": "18 degrees" } } });
    let follow = async |turn: &Value| {
        let mut next = body.clone();
        let contents = next["contents"].as_array_mut().unwrap();
        contents.push(turn.clone());
        contents.push(json!({ "role": "user", "parts": [result] }));
        post(&mock, path, &next).await
    };
    let answer = follow(&turn).await.json();
    assert_eq!(text_of(&[answer]), "The tool answered: 18 degrees");
    turn["parts"][0].as_object_mut().unwrap().shift_remove("thoughtSignature");
    let answer = follow(&turn).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("missing a thought_signature"));
}

#[tokio::test]
async fn thinks_and_answers_in_json() {
    let mock = plain().await;
    let mut body = request("Generate a user profile");
    body["generationConfig"] = json!({
        "thinkingConfig": { "includeThoughts": true }, "responseMimeType": "application/json",
        "responseSchema": { "type": "OBJECT", "properties": { "name": { "type": "STRING" } } }
    });
    let answer = post(&mock, WHOLE, &body).await.json();
    let parts = &answer["candidates"][0]["content"]["parts"];
    assert_eq!(parts[0]["thought"], true);
    assert_eq!(parts[1]["text"], r#"{"name":"Ada Lovelace"}"#);
    assert!(answer["usageMetadata"]["thoughtsTokenCount"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn takes_snake_case_as_well() {
    let mock = plain().await;
    let mut body = request("What's the weather in Rome?");
    body["tools"] = json!([{ "function_declarations": [
        { "name": "get_weather", "parameters_json_schema": weather_schema() }
    ] }]);
    let answer = post(&mock, WHOLE, &body).await.json();
    let call = &answer["candidates"][0]["content"]["parts"][0]["functionCall"];
    assert_eq!(call["args"], json!({ "location": "Rome" }));
}

#[tokio::test]
async fn refuses_as_google_does() {
    let mock = plain().await;
    let refuse = async |body: Value| {
        let answer = post(&mock, WHOLE, &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["status"], "INVALID_ARGUMENT");
        answer.json()["error"]["message"].as_str().unwrap().to_string()
    };
    assert!(refuse(json!({ "contents": [], "n": 1 })).await.contains("Unknown name \"n\""));
    assert!(
        refuse(json!({ "contents": [{ "role": "user", "parts": [] }] })).await.contains("must not be empty")
    );
    let mut foreign = request("x");
    foreign["generationConfig"] = json!({
        "responseMimeType": "application/json", "responseSchema": { "type": "OBJECT", "$schema": "x" }
    });
    assert!(refuse(foreign).await.contains("Unknown name \"$schema\""));
    let unanswered = json!({ "contents": [
        { "role": "user", "parts": [{ "text": "x" }] },
        { "role": "model", "parts": [{ "functionCall": { "name": "f", "args": {} } }] },
        { "role": "user", "parts": [{ "text": "y" }] }
    ] });
    assert!(refuse(unanswered).await.contains("number of function response parts"));
}
