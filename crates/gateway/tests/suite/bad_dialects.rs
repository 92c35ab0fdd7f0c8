//! Bad input in the dialects beside chat completions. Each request gets an error in the dialect's own shape or is forwarded.
//! The gateway itself never fails, and every lost field is reported.

use std::collections::BTreeMap;

use mock::{Mock, Options};
use serde_json::{Value, json};

use crate::bad_input::places;
use crate::support::{Reply, TestGateway, at};

/// One endpoint, with a valid request that uses every field.
#[derive(Clone, Copy)]
struct Endpoint {
    path: &'static str,
    shape: ErrorShape,
    full: fn(&str) -> Value,
    models: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ErrorShape {
    OpenAi,
    Anthropic,
    Google,
}

/// One model for each format.
const MODELS: &[&str] = &[
    "openai/gpt-4o-mini",
    "anthropic/claude-sonnet-4-5",
    "google-ai-studio/gemini-2.5-flash",
    "aws-bedrock/us.amazon.nova-lite-v1:0",
];

const ENDPOINTS: [Endpoint; 8] = [
    Endpoint { path: "/v1/messages", shape: ErrorShape::Anthropic, full: messages, models: MODELS },
    Endpoint {
        path: "/v1/messages/count_tokens",
        shape: ErrorShape::Anthropic,
        full: counted_messages,
        models: MODELS,
    },
    Endpoint { path: "/v1/responses", shape: ErrorShape::OpenAi, full: responses, models: MODELS },
    Endpoint {
        path: "/v1/responses/input_tokens",
        shape: ErrorShape::OpenAi,
        full: counted_responses,
        models: MODELS,
    },
    Endpoint { path: "/v1/completions", shape: ErrorShape::OpenAi, full: completion, models: MODELS },
    Endpoint {
        path: "/v1beta/models/{}:generateContent",
        shape: ErrorShape::Google,
        full: gemini,
        models: MODELS,
    },
    Endpoint {
        path: "/v1beta/models/{}:streamGenerateContent?alt=sse",
        shape: ErrorShape::Google,
        full: gemini,
        models: &[MODELS[1]],
    },
    Endpoint {
        path: "/v1beta/models/{}:countTokens",
        shape: ErrorShape::Google,
        full: counted_gemini,
        models: MODELS,
    },
];

async fn gateway() -> (Mock, TestGateway) {
    let options = Options { journal_limit: 4, ..Options::plain() };
    crate::bad_input::gateway_before(options).await
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
}

fn messages(model: &str) -> Value {
    json!({
        "model": model, "max_tokens": 50, "stream": false, "temperature": 0.5, "top_k": 5, "stop_sequences": ["END"],
        "system": [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "The weather in Paris?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "clear"}]},
                {"type": "text", "text": "Thanks. And in Rome?"}]}],
        "tools": [{"name": "get_weather", "description": "d", "input_schema": schema()}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": false}, "metadata": {"user_id": "u"}
    })
}

fn counted_messages(model: &str) -> Value {
    let mut body = messages(model);
    for name in ["max_tokens", "stream", "temperature", "top_k", "stop_sequences", "metadata"] {
        body.as_object_mut().unwrap().shift_remove(name);
    }
    body
}

fn responses(model: &str) -> Value {
    json!({
        "model": model, "instructions": "Be short.", "max_output_tokens": 50, "temperature": 0.5, "top_p": 0.9,
        "stream": false, "store": false, "parallel_tool_calls": true, "user": "u",
        "input": [
            {"role": "user", "content": [
                {"type": "input_text", "text": "The weather in Paris?"},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look.", "annotations": []}]},
            {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{\"city\": \"Paris\"}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "clear"},
            {"role": "user", "content": "Thanks. And in Rome?"}],
        "tools": [{"type": "function", "name": "get_weather", "description": "d", "parameters": schema(), "strict": false}],
        "tool_choice": "auto", "text": {"format": {"type": "text"}}
    })
}

fn counted_responses(model: &str) -> Value {
    let mut body = responses(model);
    for name in ["max_output_tokens", "temperature", "top_p", "stream", "store", "user"] {
        body.as_object_mut().unwrap().shift_remove(name);
    }
    body
}

fn completion(model: &str) -> Value {
    json!({
        "model": model, "prompt": "Count to 3", "max_tokens": 50, "temperature": 0.5, "top_p": 0.9, "stop": ["END"],
        "stream": false, "user": "u", "seed": 4, "presence_penalty": 0.1
    })
}

fn gemini(_: &str) -> Value {
    json!({
        "systemInstruction": {"parts": [{"text": "Be short."}]},
        "contents": [
            {"role": "user", "parts": [
                {"text": "The weather in Paris?"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}]},
            {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "get_weather", "args": {"city": "Paris"}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "c1", "name": "get_weather", "response": {"output": "clear"}}}]},
            {"role": "model", "parts": [{"text": "It is clear."}]},
            {"role": "user", "parts": [{"text": "Thanks. And in Rome?"}]}],
        "tools": [{"functionDeclarations": [{"name": "get_weather", "description": "d", "parameters": schema()}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {"temperature": 0.5, "topP": 0.9, "maxOutputTokens": 50, "stopSequences": ["END"], "candidateCount": 1}
    })
}

fn counted_gemini(_: &str) -> Value {
    let mut body = gemini("");
    body.as_object_mut().unwrap().retain(|name, _| name == "contents");
    body
}

impl Endpoint {
    async fn post(&self, gateway: &TestGateway, model: &str, body: &[u8]) -> Reply {
        gateway.post(&self.path.replace("{}", model), body).await
    }
}

/// The fault of an answer; none for a success or an error in the dialect's own shape.
fn trouble(shape: ErrorShape, reply: &Reply) -> Option<String> {
    if reply.status == 200 {
        return None;
    }
    if !(400..500).contains(&reply.status) {
        return Some(format!("status {}: {}", reply.status, reply.text()));
    }
    let body = reply.json();
    let error = &body["error"];
    let is_text = |name: &str| error[name].is_string();
    let is_shaped = match shape {
        ErrorShape::OpenAi => is_text("type") && error.get("param").is_some() && error.get("code").is_some(),
        ErrorShape::Anthropic => body["type"] == "error" && is_text("type"),
        ErrorShape::Google => error["code"] == reply.status && is_text("status"),
    };
    let says = error["message"].as_str().is_some_and(|text| text.len() > 5);
    (!is_shaped || !says).then(|| format!("shape: {body}"))
}

/// Whether the gateway refused the request before it asked a provider.
fn is_own(reply: &Reply) -> bool {
    let body = reply.json();
    ["/llmgateway", "/metadata"]
        .iter()
        .all(|name| at(&body, &format!("{name}/routing/0/status_code")) == &Value::Null)
}

/// Whether the error names the field, or the part of it that is wrong.
fn names(shape: ErrorShape, reply: &Reply, place: &str) -> bool {
    let error = reply.at("/error");
    let said = match shape {
        ErrorShape::OpenAi => format!("{} {}", error["param"], error["message"]),
        _ => error.to_string(),
    };
    let parts = place.split('/').filter(|part| !part.is_empty() && part.parse::<u32>().is_err());
    parts.into_iter().any(|part| said.contains(part))
}

/// A list of failures by kind.
#[derive(Default)]
struct Failures(BTreeMap<String, Vec<String>>);

impl Failures {
    fn add(&mut self, what: &str, where_: String) {
        self.0.entry(what.chars().take(250).collect()).or_default().push(where_);
    }

    fn assert_none(&self) {
        let shown = self.0.iter().map(|(what, places)| {
            let some: Vec<&str> = places.iter().take(3).map(String::as_str).collect();
            format!("{} × {what}\n    {}", places.len(), some.join("\n    "))
        });
        assert!(self.0.is_empty(), "{}", shown.collect::<Vec<_>>().join("\n"));
    }
}

#[tokio::test]
async fn the_full_requests_are_valid() {
    let (_mock, gateway) = gateway().await;
    for endpoint in ENDPOINTS {
        for model in endpoint.models {
            let reply = endpoint.post(&gateway, model, (endpoint.full)(model).to_string().as_bytes()).await;
            assert_eq!(reply.status, 200, "{} {model}: {}", endpoint.path, reply.text());
        }
    }
}

#[tokio::test]
async fn a_body_cut_anywhere_is_malformed() {
    let (_mock, gateway) = gateway().await;
    for endpoint in ENDPOINTS {
        let text = (endpoint.full)(endpoint.models[0]).to_string();
        for end in (0..text.len()).step_by(31) {
            let reply = endpoint.post(&gateway, endpoint.models[0], &text.as_bytes()[..end]).await;
            assert_eq!(reply.status, 400, "{} {}: {}", endpoint.path, &text[..end], reply.text());
            assert_eq!(trouble(endpoint.shape, &reply), None, "{} {}", endpoint.path, &text[..end]);
        }
    }
}

/// The smallest request of an endpoint in which `said`, as raw JSON, is what the user says.
fn saying(endpoint: &Endpoint, model: &str, said: &str, more: &str) -> String {
    match endpoint.path {
        "/v1/messages" => format!(
            r#"{{"model": "{model}", "max_tokens": 9, "messages": [{{"role": "user", "content": {said}}}]{more}}}"#
        ),
        "/v1/messages/count_tokens" => {
            format!(r#"{{"model": "{model}", "messages": [{{"role": "user", "content": {said}}}]{more}}}"#)
        }
        "/v1/completions" => format!(r#"{{"model": "{model}", "prompt": {said}{more}}}"#),
        path if path.starts_with("/v1/responses") => {
            format!(r#"{{"model": "{model}", "input": {said}{more}}}"#)
        }
        _ => format!(r#"{{"contents": [{{"role": "user", "parts": [{{"text": {said}}}]}}]{more}}}"#),
    }
}

#[tokio::test]
async fn odd_bodies_are_refused_or_forwarded() {
    let (_mock, gateway) = gateway().await;
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let mut failures = Failures::default();
    for endpoint in ENDPOINTS {
        for model in endpoint.models {
            let with = |said: &str, more: &str| saying(&endpoint, model, said, more).into_bytes();
            assert_eq!(
                endpoint.post(&gateway, model, &with(r#""hi""#, "")).await.status,
                200,
                "{}",
                endpoint.path
            );
            let mut no_utf8 = with(r#""hi""#, "");
            let at = no_utf8.windows(2).position(|pair| pair == b"hi").unwrap();
            no_utf8[at] = 0xff;
            let refused = [
                Vec::new(),
                b"[]".to_vec(),
                b"7".to_vec(),
                b"null".to_vec(),
                b"\"text\"".to_vec(),
                no_utf8,
                with(r#""lone \ud800 surrogate""#, ""),
                with(r#""hi""#, ", }"),
                with(r#""hi""#, r#", "a": 01"#),
                with(r#""hi""#, r#", "a": NaN"#),
                with("{}", ""),
                with("true", ""),
            ];
            for body in refused {
                let reply = endpoint.post(&gateway, model, &body).await;
                let sent = format!("{} {model} {}", endpoint.path, String::from_utf8_lossy(&body));
                if let Some(what) = trouble(endpoint.shape, &reply) {
                    failures.add(&what, sent);
                } else if reply.status != 400 {
                    failures.add(&format!("taken: {}", reply.status), sent);
                }
            }
            let odd = [
                with(r#""nul \u0000 here""#, ""),
                with(r#""hi""#, r#", "temperature": 1e400"#),
                with(r#""hi""#, r#", "temperature": -5"#),
                with(r#""hi""#, r#", "max_tokens": 10000000000000000000000000000000000000000"#),
                with(r#""hi""#, r#", "max_output_tokens": -1, "n": 0"#),
                with(r#""hi""#, r#", "generationConfig": {"maxOutputTokens": 1e30, "candidateCount": -4}"#),
                with(r#""hi""#, r#", "\u006d": 1, "a": 1, "a": 2"#),
                with(r#""hi""#, r#", "stream": "yes""#),
                with(r#""hi""#, &format!(r#", "unknown": {deep}"#)),
                with(r#""hi""#, &format!(r#", "tools": {deep}, "tool_choice": {deep}"#)),
                with(&format!(r#""{}""#, "x".repeat(300_000)), ""),
                with("[]", ""),
                with("[[]]", ""),
                with("[1, 2]", ""),
                with(&deep, ""),
            ];
            for body in odd {
                let reply = endpoint.post(&gateway, model, &body).await;
                if let Some(what) = trouble(endpoint.shape, &reply) {
                    let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
                    failures.add(&what, format!("{} {model} {text}", endpoint.path));
                }
            }
        }
    }
    failures.assert_none();
}

/// Results without a call, and calls without a result.
#[tokio::test]
async fn results_without_calls_are_refused_or_repaired() {
    let (_mock, gateway) = gateway().await;
    let mut failures = Failures::default();
    let result = json!([{"type": "tool_result", "tool_use_id": "toolu_9", "content": "x"}]);
    let call = json!([{"type": "tool_use", "id": "toolu_9", "name": "f", "input": {}}]);
    let user = json!({"role": "user", "content": "hi"});
    let messages = [
        json!([{"role": "user", "content": result}]),
        json!([user, {"role": "assistant", "content": call}, user]),
        json!([user, {"role": "assistant", "content": call}, {"role": "assistant", "content": call}, {"role": "user", "content": result}]),
        json!([{"role": "assistant", "content": result}, user]),
    ];
    let output = json!({"type": "function_call_output", "call_id": "call_9", "output": "x"});
    let called = json!({"type": "function_call", "call_id": "call_9", "name": "f", "arguments": "{broken"});
    let inputs = [
        json!([output]),
        json!([user, called, user]),
        json!([user, called, called, output]),
        json!([user, {"type": "item_reference", "id": "fc_1"}]),
        json!([user, {"type": "reasoning", "id": "rs_1", "summary": []}]),
    ];
    let response = json!({"functionResponse": {"name": "f", "response": {"output": "x"}}});
    let function = json!({"functionCall": {"name": "f", "args": {}}});
    let say = json!({"role": "user", "parts": [{"text": "hi"}]});
    let contents = [
        json!([{"role": "user", "parts": [response]}]),
        json!([say, {"role": "model", "parts": [function]}, say]),
        json!([say, {"role": "model", "parts": [response]}, {"role": "user", "parts": [function]}]),
    ];
    for model in MODELS {
        let bodies = messages.iter().map(|given| {
            (
                "/v1/messages".to_owned(),
                ErrorShape::Anthropic,
                json!({"model": model, "max_tokens": 9, "messages": given}),
            )
        });
        let bodies = bodies.chain(inputs.iter().map(|given| {
            (
                "/v1/responses".to_owned(),
                ErrorShape::OpenAi,
                json!({"model": model, "input": given, "store": false}),
            )
        }));
        let path = format!("/v1beta/models/{model}:generateContent");
        let bodies = bodies.chain(
            contents.iter().map(|given| (path.clone(), ErrorShape::Google, json!({"contents": given}))),
        );
        for (path, shape, body) in bodies.collect::<Vec<_>>() {
            let reply = gateway.post(&path, body.to_string().as_bytes()).await;
            if let Some(what) = trouble(shape, &reply) {
                failures.add(&what, format!("{path} {body}"));
            }
        }
    }
    failures.assert_none();
}

/// The body that reached the provider, and the reported losses.
fn outcome(mock: &Mock, reply: &Reply) -> (Value, Value) {
    let losses = reply.json().pointer("/llmgateway/losses").cloned();
    (mock.journal().last().map(|last| last.body.clone()).unwrap_or_default(), losses.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_type_anywhere_is_refused_by_name_or_forwarded() {
    let (mock, gateway) = gateway().await;
    let wrong = [json!(null), json!(7), json!(true), json!("text"), json!([]), json!({}), json!([[1]])];
    let mut failures = Failures::default();
    for endpoint in ENDPOINTS {
        for model in endpoint.models {
            let good = (endpoint.full)(model);
            let mut all = Vec::new();
            places(&good, "", &mut all);
            for place in
                all.iter().filter(|place| !place.is_empty() && *place != "/model" && *place != "/stream")
            {
                let mut without = None;
                let (parent, name) = place.rsplit_once('/').unwrap();
                let mut removed = good.clone();
                if let Some(object) = removed.pointer_mut(parent).and_then(Value::as_object_mut)
                    && !endpoint.path.contains("stream")
                {
                    object.shift_remove(name);
                    let reply = endpoint.post(&gateway, model, removed.to_string().as_bytes()).await;
                    without = (reply.status == 200).then(|| outcome(&mock, &reply));
                }
                for value in &wrong {
                    let mut body = good.clone();
                    *body.pointer_mut(place).unwrap() = value.clone();
                    let reply = endpoint.post(&gateway, model, body.to_string().as_bytes()).await;
                    let sent = format!("{} {model} {place} = {value}", endpoint.path);
                    if let Some(what) = trouble(endpoint.shape, &reply) {
                        failures.add(&what, sent);
                    } else if reply.status != 200 {
                        if is_own(&reply) && !names(endpoint.shape, &reply, place) {
                            failures.add(&format!("unnamed: {}", reply.at("/error")), sent);
                        }
                    } else if let Some(without) =
                        without.as_ref().filter(|_| !reply.body.starts_with(b"data:"))
                    {
                        let says_nothing = value.is_null() || *value == json!([]) || *value == json!({});
                        let is_same = *at(&good, place) == *value;
                        // An estimate sends nothing to a provider.
                        let is_sent = reply.header("x-llmgateway-count").is_none();
                        if is_sent
                            && !says_nothing
                            && !is_same
                            && outcome(&mock, &reply) == *without
                            && !is_free(place)
                        {
                            let general: String = place.chars().filter(|c| !c.is_ascii_digit()).collect();
                            failures.add(&format!("lost without a word: {} {general}", endpoint.path), sent);
                        }
                    }
                }
            }
        }
    }
    failures.assert_none();
}

/// Fields whose value has no effect: schemas are cleaned for the provider, the type of a cache mark is ignored, citations
/// of earlier answers are not sent, results are matched by id, and the gateway itself stores answers.
fn is_free(place: &str) -> bool {
    let in_schema = ["/input_schema/", "/parameters/"].iter().any(|part| place.contains(part));
    let names = ["/cache_control/type", "/annotations", "/functionResponse/name", "/store"];
    in_schema || names.iter().any(|name| place.ends_with(name))
}
