//! Bad input is refused clearly or forwarded. It never causes a panic, a hang, or a failure of the gateway itself.

use std::net::SocketAddr;

use mock::{Mock, Options};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::{KEY, Reply, TestGateway, Upstream, answer, at, question, streamed};

/// One model for each format, the first one forwarded and all others translated.
const MODELS: [&str; 4] = [
    "openai/gpt-4o-mini",
    "anthropic/claude-sonnet-4-5",
    "google-ai-studio/gemini-2.5-flash",
    "aws-bedrock/anthropic.claude-3-5-sonnet-20241022-v2:0",
];

async fn gateway() -> (Mock, TestGateway) {
    gateway_before(Options::plain()).await
}

/// A gateway whose providers are played by a mock, each in its own format.
pub async fn gateway_before(options: Options) -> (Mock, TestGateway) {
    let mock = mock::start(SocketAddr::from(([127, 0, 0, 1], 0)), options).await.unwrap();
    let address = mock.address();
    let config = format!(
        "[providers.openai]\nbase_url = \"http://{address}/openai-like/v1\"\napi_key = \"k\"\n\
         [providers.anthropic]\nbase_url = \"http://{address}\"\napi_key = \"k\"\n\
         [providers.google-ai-studio]\nbase_url = \"http://{address}\"\napi_key = \"k\"\n\
         [providers.aws-bedrock]\nbase_url = \"http://{address}\"\napi_key = \"k\"\n\
         [routing]\nmax_retries = 0\n"
    );
    (mock, TestGateway::start(&config).await)
}

/// A request with everything in it.
fn full(model: &str) -> Value {
    json!({
        "model": model,
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": [
                {"type": "text", "text": "The weather in Paris?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
            ]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}}
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": "clear"},
            {"role": "user", "content": "Thanks. And in Rome?"}
        ],
        "tools": [{"type": "function", "function": {
            "name": "get_weather", "description": "d", "strict": false,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        }}],
        "tool_choice": "auto", "temperature": 0.5, "top_p": 0.9, "max_tokens": 50, "stop": ["END"], "stream": false,
        "user": "u"
    })
}

/// The answer is a success, or a client error in OpenAI's shape with a message.
fn assert_clear(reply: &Reply, sent: &str) {
    let sent: String = sent.chars().take(700).collect();
    assert!(reply.complete, "{sent}");
    if reply.status == 200 {
        return;
    }
    assert!((400..500).contains(&reply.status), "{sent}\n{}: {}", reply.status, reply.text());
    let error = reply.at("/error");
    assert!(error["message"].as_str().is_some_and(|text| text.len() > 5), "{sent}\n{error}");
    assert!(error["type"].is_string(), "{sent}\n{error}");
    // An error of the gateway itself has `param`.
    if at(&reply.json(), "/metadata/routing/0/status_code") == 0 {
        assert!(error.get("param").is_some(), "{sent}\n{error}");
    }
}

#[tokio::test]
async fn the_full_request_is_valid() {
    let (_mock, gateway) = gateway().await;
    for model in MODELS {
        let reply = gateway.chat(&full(model)).await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_body_cut_anywhere_is_malformed() {
    let (_mock, gateway) = gateway().await;
    let text = full(MODELS[1]).to_string();
    for end in (0..text.len()).step_by(7) {
        let reply = gateway.chat_bytes(&text.as_bytes()[..end]).await;
        assert_eq!(reply.error().2, "invalid_parameters", "{}", &text[..end]);
        assert_eq!(reply.status, 400);
    }
}

/// Every place in a value, as JSON pointers.
pub fn places(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(name, value)| places(value, &format!("{path}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| places(value, &format!("{path}/{at}"), found));
        }
        _ => {}
    }
}

#[tokio::test]
async fn a_wrong_type_anywhere_is_refused_or_forwarded() {
    let (_mock, gateway) = gateway().await;
    let wrong = [json!(null), json!(7), json!(true), json!("text"), json!([]), json!({}), json!([[1]])];
    for model in MODELS {
        let good = full(model);
        let mut all = Vec::new();
        places(&good, "", &mut all);
        for place in all.iter().filter(|place| !place.is_empty() && *place != "/model") {
            for value in &wrong {
                let mut body = good.clone();
                *body.pointer_mut(place).unwrap() = value.clone();
                let reply = gateway.chat(&body).await;
                assert_clear(&reply, &format!("{model} {place} = {value}"));
            }
        }
    }
}

#[tokio::test]
async fn odd_requests_are_refused_or_forwarded() {
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let user = r#"[{"role": "user", "content": "hi"}]"#;
    let fields: Vec<(&str, String)> = vec![
        ("messages", "[]".into()),
        ("messages", "[{}]".into()),
        ("messages", r#"[{"role": "wizard", "content": "hi"}]"#.into()),
        ("messages", r#"[{"role": "user"}]"#.into()),
        ("messages", r#"[{"role": "user", "content": []}]"#.into()),
        ("messages", r#"[{"role": "user", "content": "nul \u0000 here"}]"#.into()),
        ("messages", r#"[{"role": "user", "content": "lone \ud800 surrogate"}]"#.into()),
        ("messages", r#"[{"role": "tool", "tool_call_id": "nothing", "content": "x"}]"#.into()),
        ("messages", r#"[{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{broken"}}]}, {"role": "tool", "tool_call_id": "1", "content": "x"}]"#.into()),
        ("messages", r#"[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "no address"}}]}]"#.into()),
        ("messages", r#"[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,???"}}]}]"#.into()),
        ("messages", r#"[{"role": "user", "content": [{"type": "hologram", "hologram": 1}]}]"#.into()),
        ("messages", format!(r#"[{{"role": "user", "content": {deep}}}]"#)),
        ("temperature", "1e400".into()),
        ("temperature", "-5".into()),
        ("max_tokens", "10000000000000000000000000000000000000000".into()),
        ("max_tokens", "-1".into()),
        ("max_tokens", "1.5".into()),
        ("n", "0".into()),
        ("n", "99999999999".into()),
        ("stop", r#"["a","b","c","d","e","f"]"#.into()),
        ("tools", r#"[{"type": "function", "function": {"name": ""}}]"#.into()),
        ("tools", r#"[{"type": "function", "function": {"name": "f", "parameters": {"type": 7}}}]"#.into()),
        ("tools", format!(r#"[{{"type": "function", "function": {{"name": "f", "parameters": {deep}}}}}]"#)),
        ("tool_choice", r#"{"type": "function", "function": {"name": "missing"}}"#.into()),
        ("response_format", r#"{"type": "json_schema"}"#.into()),
        ("response_format", r#"{"type": "nonsense"}"#.into()),
        ("unknown_field", deep.clone()),
        ("\\u006d", "1".into()),
    ];
    let (_mock, gateway) = gateway().await;
    for model in MODELS {
        for (name, value) in &fields {
            let messages =
                if *name == "messages" { String::new() } else { format!(r#", "messages": {user}"#) };
            let body = format!(r#"{{"model": "{model}"{messages}, "{name}": {value}}}"#);
            let reply = gateway.chat_bytes(body.as_bytes()).await;
            assert_clear(&reply, &body);
        }
        // A repeated key: the last one counts, or the request is refused. The two are never mixed.
        let twice = format!(r#"{{"model": "x/y", "messages": {user}, "model": "{model}"}}"#);
        assert_clear(&gateway.chat_bytes(twice.as_bytes()).await, &twice);
        let bytes = [
            br#"{"model": "openai/gpt-4o", "messages": [{"role": "user", "content": ""#.as_slice(),
            b"\xff\xfe\"}]}",
        ]
        .concat();
        assert_eq!(gateway.chat_bytes(&bytes).await.status, 400, "no UTF-8");
    }
}

#[tokio::test]
async fn unknown_fields_are_forwarded_unchanged() {
    let (mock, gateway) = gateway().await;
    let body = r#"{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"hi","own":1}],"x_own":{"a":[1,2,{"b":null}]},"seed":7}"#;
    let reply = gateway.chat_bytes(body.as_bytes()).await;
    assert!(reply.status == 200 || reply.status == 400, "{}", reply.text());
    let sent = mock.journal().pop().unwrap().body;
    assert_eq!(sent["x_own"], json!({"a": [1, 2, {"b": null}]}));
    assert_eq!((&sent["messages"][0]["own"], &sent["seed"]), (&json!(1), &json!(7)));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e300..1e300f64).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop_oneof!["text", "user", "assistant", "tool", "image_url", "function", "auto"]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("(type|role|content|text|name|[a-z]{1,4})", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

#[test]
fn mutations_of_a_good_request_are_refused_or_forwarded() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_mock, gateway) = runtime.block_on(gateway());
    let config = Config { max_shrink_iters: 200, ..testkit::random::cases(300) };
    let mut runner = TestRunner::new(config);
    let strategy = (0..MODELS.len(), any::<proptest::sample::Index>(), any_json(), any::<bool>());
    let result = runner.run(&strategy, |(model, place, value, stream)| {
        let mut body = full(MODELS[model]);
        let mut all = Vec::new();
        places(&body, "", &mut all);
        all.retain(|place| !place.is_empty() && place != "/model" && place != "/stream");
        let place = place.get(&all);
        *body.pointer_mut(place).unwrap() = value;
        body["stream"] = json!(stream);
        let reply = runtime.block_on(gateway.chat(&body));
        let clear = reply.complete && (reply.status == 200 || (400..500).contains(&reply.status));
        prop_assert!(clear, "{place} {body}\n{}: {}", reply.status, reply.text());
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// A Messages request with everything in it.
fn full_message(model: &str) -> Value {
    json!({
        "model": model, "max_tokens": 50, "stream": false, "system": [{"type": "text", "text": "Be short."}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "The weather in Paris?", "cache_control": {"type": "ephemeral"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
            ]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "clear"}], "is_error": false},
                {"type": "text", "text": "Thanks. And in Rome?"}
            ]}
        ],
        "tools": [{
            "name": "get_weather", "description": "d",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        }],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": false}, "temperature": 0.5,
        "stop_sequences": ["END"], "metadata": {"user_id": "u"}
    })
}

/// The answer is a success, or a client error in Anthropic's shape without terms of OpenAI's API.
fn assert_clear_message(reply: &Reply, sent: &str) {
    let sent: String = sent.chars().take(700).collect();
    assert!(reply.complete, "{sent}");
    if reply.status == 200 {
        return;
    }
    assert!((400..500).contains(&reply.status), "{sent}\n{}: {}", reply.status, reply.text());
    let body = reply.json();
    assert_eq!(body["type"], "error", "{sent}\n{body}");
    assert!(body["error"]["type"].is_string(), "{sent}\n{body}");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.len() > 5, "{sent}\n{body}");
    if at(&body, "/llmgateway/routing/0/status_code") == 0 {
        assert!(!message.contains("tool_calls") && !message.contains("response_format"), "{sent}\n{body}");
    }
}

#[tokio::test]
async fn a_messages_body_cut_anywhere_is_malformed() {
    let (_mock, gateway) = gateway().await;
    let text = full_message(MODELS[0]).to_string();
    assert_eq!(gateway.post("/v1/messages", text.as_bytes()).await.status, 200);
    for end in (0..text.len()).step_by(7) {
        let reply = gateway.post("/v1/messages", &text.as_bytes()[..end]).await;
        assert_eq!((reply.status, reply.at("/error/type")), (400, json!("invalid_request_error")));
    }
}

#[tokio::test]
async fn a_wrong_type_anywhere_in_a_messages_request_is_refused_or_forwarded() {
    let (_mock, gateway) = gateway().await;
    let wrong = [json!(null), json!(7), json!(true), json!("text"), json!([]), json!({}), json!([[1]])];
    for model in MODELS {
        let good = full_message(model);
        assert_eq!(gateway.post("/v1/messages", good.to_string().as_bytes()).await.status, 200, "{model}");
        let mut all = Vec::new();
        places(&good, "", &mut all);
        for place in all.iter().filter(|place| !place.is_empty() && *place != "/model") {
            for value in &wrong {
                let mut body = good.clone();
                *body.pointer_mut(place).unwrap() = value.clone();
                let reply = gateway.post("/v1/messages", body.to_string().as_bytes()).await;
                assert_clear_message(&reply, &format!("{model} {place} = {value}"));
            }
        }
    }
}

#[tokio::test]
async fn odd_messages_requests_are_refused_or_forwarded() {
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let user = r#"[{"role": "user", "content": "hi"}]"#;
    let refused: Vec<(&str, String)> = vec![
        ("messages", "[]".into()),
        ("messages", "[{}]".into()),
        ("messages", "null".into()),
        ("messages", r#"[{"role": "user"}]"#.into()),
        ("messages", r#"[{"role": "user", "content": "lone \ud800 surrogate"}]"#.into()),
        ("messages", r#"[{"role": "user", "content": {"type": "text", "text": "x"}}]"#.into()),
        ("messages", r#"[{"role": "user", "role": "user", "content": "x"#.into()),
        ("messages", format!(r#"[{{"role": "user", "content": {deep}}}]"#)),
        ("max_tokens", "10000000000000000000000000000000000000000".into()),
        ("max_tokens", "-1".into()),
        ("max_tokens", "1.5".into()),
        ("max_tokens", "\"many\"".into()),
        ("model", "7".into()),
        ("stream", "\"yes\"".into()),
        ("system", "{}".into()),
        ("tools", "[7]".into()),
        ("tool_choice", "\"auto\"".into()),
    ];
    let odd: Vec<(&str, String)> = vec![
        ("messages", r#"[{"role": "wizard", "content": "hi"}]"#.into()),
        ("messages", r#"[{"role": "user", "content": []}]"#.into()),
        ("messages", r#"[{"role": "user", "content": "nul \u0000 here"}]"#.into()),
        ("messages", r#"[{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "nothing", "content": "x"}]}]"#.into()),
        ("messages", r#"[{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "no address"}}]}]"#.into()),
        ("messages", r#"[{"role": "user", "content": [{"type": "hologram", "hologram": 1}]}]"#.into()),
        ("temperature", "1e400".into()),
        ("tools", r#"[{"name": ""}]"#.into()),
        ("tools", format!(r#"[{{"name": "f", "input_schema": {deep}}}]"#)),
        ("tool_choice", r#"{"type": "tool", "name": "missing"}"#.into()),
        ("output_config", r#"{"format": {"type": "nonsense"}}"#.into()),
        ("thinking", r#"{"type": "loud"}"#.into()),
        ("unknown_field", deep.clone()),
        ("\\u006d", "1".into()),
    ];
    let (_mock, gateway) = gateway().await;
    for model in MODELS {
        let body = |name: &str, value: &str| {
            let mut fields = vec![
                ("model", format!("{model:?}")),
                ("messages", user.to_owned()),
                ("max_tokens", "9".to_owned()),
            ];
            fields.retain(|(other, _)| *other != name);
            fields.push((name, value.to_owned()));
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
            format!("{{{}}}", fields.join(", "))
        };
        for (name, value) in &refused {
            let body = body(name, value);
            let reply = gateway.post("/v1/messages", body.as_bytes()).await;
            assert_clear_message(&reply, &body);
            assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        }
        for (name, value) in &odd {
            let body = body(name, value);
            assert_clear_message(&gateway.post("/v1/messages", body.as_bytes()).await, &body);
        }
        for twice in ["model", "mod\\u0065l"] {
            let twice =
                format!(r#"{{"model": "x/y", "max_tokens": 9, "messages": {user}, "{twice}": "{model}"}}"#);
            assert_eq!(gateway.post("/v1/messages", twice.as_bytes()).await.status, 400, "{twice}");
        }
    }
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: g\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n\r\n",
        65 << 20
    );
    let large = gateway.send(head.as_bytes()).await;
    assert_eq!((large.status, large.at("/error/type")), (413, json!("request_too_large")));
}

/// The lists and headers that the gateway iterates over have a maximum length.
#[tokio::test]
async fn lists_and_headers_have_a_bound() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    let asking = |field: &str, value: Value| {
        let mut body = question("openai/gpt-4o");
        body[field] = value;
        body
    };
    let names = |count: usize| vec!["openai/gpt-4o"; count];
    for (body, status) in [
        (asking("models", json!(names(10))), 200),
        (asking("models", json!(names(11))), 400),
        (asking("models", json!(names(100_000))), 400),
        (asking("models", json!(["x".repeat(400_000)])), 400),
        (asking("provider", json!({"order": vec!["openai"; 200]})), 200),
        (asking("provider", json!({"order": vec!["openai"; 201]})), 400),
        (asking("provider", json!({"only": vec!["openai"; 100_000]})), 400),
        (asking("provider", json!({"order": ["y".repeat(400_000)]})), 400),
    ] {
        let reply = gateway.chat(&body).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        assert!(reply.text().len() < 4000, "the error does not repeat the whole value");
    }
    let lines: Vec<String> = (0..5000).map(|at| format!("x-header-{at}: value\r\n")).collect();
    for headers in [lines.concat(), format!("x-long: {}\r\n", "v".repeat(200_000))] {
        let text = format!("GET /v1/models HTTP/1.1\r\nhost: g\r\nconnection: close\r\n{headers}\r\n");
        assert_eq!(gateway.send(text.as_bytes()).await.status, 431);
    }
}

/// A Gemini request with everything in it.
fn full_generation() -> Value {
    json!({
        "systemInstruction": {"parts": [{"text": "Be short."}]},
        "contents": [
            {"role": "user", "parts": [
                {"text": "The weather in Paris?"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
            ]},
            {"role": "model", "parts": [{"functionCall": {"name": "get_weather", "args": {"city": "Paris"}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "get_weather", "response": {"output": "clear"}}}]},
            {"role": "model", "parts": [{"text": "It is clear."}]},
            {"role": "user", "parts": [{"text": "Thanks. And in Rome?"}]}
        ],
        "tools": [{"functionDeclarations": [{
            "name": "get_weather", "description": "d",
            "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
        }]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {"temperature": 0.5, "topP": 0.9, "maxOutputTokens": 50, "stopSequences": ["END"]}
    })
}

async fn generate(gateway: &TestGateway, model: &str, body: &[u8]) -> Reply {
    gateway.post(&format!("/v1beta/models/{model}:generateContent"), body).await
}

/// The answer is a success, or a client error in Google's shape.
fn assert_clear_generation(reply: &Reply, sent: &str) {
    let sent: String = sent.chars().take(700).collect();
    assert!(reply.complete, "{sent}");
    if reply.status == 200 {
        return;
    }
    assert!((400..500).contains(&reply.status), "{sent}\n{}: {}", reply.status, reply.text());
    let error = reply.at("/error");
    assert_eq!(error["code"], reply.status, "{sent}\n{error}");
    assert!(error["status"].is_string(), "{sent}\n{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.len() > 5, "{sent}\n{error}");
    if at(&reply.json(), "/llmgateway/routing/0/status_code") == 0 {
        assert!(!message.contains("tool_calls") && !message.contains("response_format"), "{sent}\n{error}");
    }
}

#[tokio::test]
async fn a_gemini_body_cut_anywhere_is_malformed() {
    let (_mock, gateway) = gateway().await;
    let text = full_generation().to_string();
    for model in [MODELS[0], MODELS[2]] {
        let good = generate(&gateway, model, text.as_bytes()).await;
        assert_eq!(good.status, 200, "{}", good.text());
        for end in (0..text.len()).step_by(11) {
            let reply = generate(&gateway, model, &text.as_bytes()[..end]).await;
            assert_eq!((reply.status, reply.at("/error/status")), (400, json!("INVALID_ARGUMENT")));
        }
    }
}

#[tokio::test]
async fn a_wrong_type_anywhere_in_a_gemini_request_is_refused_or_forwarded() {
    let (_mock, gateway) = gateway().await;
    let wrong = [json!(null), json!(7), json!(true), json!("text"), json!([]), json!({}), json!([[1]])];
    for model in MODELS {
        let good = full_generation();
        let mut all = Vec::new();
        places(&good, "", &mut all);
        for place in all.iter().filter(|place| !place.is_empty()) {
            for value in &wrong {
                let mut body = good.clone();
                *body.pointer_mut(place).unwrap() = value.clone();
                let reply = generate(&gateway, model, body.to_string().as_bytes()).await;
                assert_clear_generation(&reply, &format!("{model} {place} = {value}"));
            }
        }
    }
}

#[tokio::test]
async fn odd_gemini_requests_are_refused_or_forwarded() {
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let user = r#"{"role":"user","parts":[{"text":"hi"}]}"#;
    let refused = [
        r#"{"contents":[{"parts":[{"text":"lone \ud800 surrogate"}]}]}"#.to_owned(),
        format!(r#"{{"contents":[{user}],"contents":[{user}]}}"#),
        format!(r#"{{"contents":[{user}],"cont\u0065nts":[{user}]}}"#),
        format!(r#"{{"contents":[{user}],"system_instruction":{{}},"systemInstruction":{{}}}}"#),
        format!(r#"{{"contents":[{user}],"x":{deep}}}"#),
        format!("[{user}]"),
        "7".to_owned(),
        String::new(),
    ];
    let odd = [
        r#"{}"#.to_owned(),
        r#"{"contents":[]}"#.to_owned(),
        r#"{"contents":"hi"}"#.to_owned(),
        r#"{"contents":[{"role":"wizard","parts":[{"text":"hi"}]}]}"#.to_owned(),
        r#"{"contents":[{"role":"user","parts":[]}]}"#.to_owned(),
        r#"{"contents":[{"role":"user","parts":[{"text":"nul \u0000 here"}]}]}"#.to_owned(),
        r#"{"contents":[{"role":"user","parts":[{"hologram":1}]}]}"#.to_owned(),
        r#"{"contents":[{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"???"}}]}]}"#
            .to_owned(),
        r#"{"contents":[{"role":"user","parts":[{"functionResponse":{"name":"f","response":{}}}]}]}"#
            .to_owned(),
        r#"{"contents":[{"role":"user","parts":[{"fileData":{"fileUri":"no address"}}]}]}"#.to_owned(),
        format!(r#"{{"contents":[{user}],"generationConfig":{{"temperature":1e400}}}}"#),
        format!(
            r#"{{"contents":[{user}],"generationConfig":{{"maxOutputTokens":10000000000000000000000000000000}}}}"#
        ),
        format!(r#"{{"contents":[{user}],"generationConfig":{{"maxOutputTokens":-1}}}}"#),
        format!(r#"{{"contents":[{user}],"generationConfig":{{"topK":1,"top_k":2}}}}"#),
        format!(r#"{{"contents":[{user}],"generationConfig":{{"responseSchema":{{"type":7}}}}}}"#),
        format!(r#"{{"contents":[{user}],"tools":[{{"functionDeclarations":[{{"name":""}}]}}]}}"#),
        format!(r#"{{"contents":[{user}],"tools":[{{"hologram":{{}}}}]}}"#),
        format!(r#"{{"contents":[{user}],"toolConfig":{{"functionCallingConfig":{{"mode":"MAYBE"}}}}}}"#),
    ];
    let (_mock, gateway) = gateway().await;
    for model in MODELS {
        for body in &refused {
            let reply = generate(&gateway, model, body.as_bytes()).await;
            assert_clear_generation(&reply, body);
            assert_eq!(reply.status, 400, "{body:.300}: {}", reply.text());
        }
        for body in &odd {
            assert_clear_generation(&generate(&gateway, model, body.as_bytes()).await, body);
        }
    }
    let path = format!("/v1beta/models/{}:generateContent", MODELS[2]);
    let head = |more: &str| format!("POST {path} HTTP/1.1\r\nhost: g\r\nx-goog-api-key: {KEY}\r\n{more}\r\n");
    let large = gateway.send(head(&format!("content-length: {}\r\n", 65 << 20)).as_bytes()).await;
    assert_eq!((large.status, large.at("/error/code")), (413, json!(413)));
    let typed = gateway.send(head("content-type: text/html\r\ncontent-length: 0\r\n").as_bytes()).await;
    assert_eq!((typed.status, typed.at("/error/code")), (415, json!(415)));
}

/// In a path, `..` would lead to another operation of the provider, with the gateway's credential.
#[tokio::test]
async fn a_model_of_dots_reaches_no_path_of_a_provider() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let url = upstream.url();
    let gateway = TestGateway::start(&format!(
        "[providers.aws-bedrock]\nbase_url = \"{url}\"\napi_key = \"k\"\n\
         [providers.azure]\nbase_url = \"{url}\"\napi_key = \"k\"\napi_version = \"2024-10-21\"\n\
         [providers.google-ai-studio]\nbase_url = \"{url}\"\napi_key = \"k\"\n\
         [providers.google-vertex]\nbase_url = \"{url}\"\naccess_token = \"t\"\nproject = \"p\"\nregion = \"eu\"\n\
         [routing]\nmax_retries = 0\n"
    ))
    .await;
    for provider in ["aws-bedrock", "azure", "google-ai-studio", "google-vertex"] {
        for model in ["..", "%2e%2e", "%252E%252e", "../../x", "a/%2E./b", "..%2fx", "..;x=y", "."] {
            let name = format!("{provider}/{model}");
            let mut fallback = question("google-ai-studio/..");
            fallback["models"] = json!([name]);
            let contents = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}).to_string();
            let escaped = name.replace('%', "%25").replace('/', "%2F");
            let path = format!("/v1beta/models/{escaped}:generateContent");
            for reply in [
                gateway.chat(&question(&name)).await,
                gateway.chat(&streamed(&name)).await,
                gateway.chat(&fallback).await,
                gateway.post(&path, contents.as_bytes()).await,
                gateway
                    .post("/v1/embeddings", json!({"model": name, "input": "a"}).to_string().as_bytes())
                    .await,
            ] {
                // Other publishers at Vertex are called by one path, with the model in the body.
                let is_in_body = provider == "google-vertex" && model.contains('/');
                let is_refused = (400..500).contains(&reply.status);
                assert!(is_refused || is_in_body, "{name}: {} {}", reply.status, reply.text());
            }
        }
        for heard in upstream.received() {
            let line = heard.head.lines().next().unwrap();
            assert!(line.contains("/endpoints/openapi/"), "{provider}: {line}");
            assert!(!line.contains("..") && !line.to_ascii_lowercase().contains("%2e"), "{provider}: {line}");
        }
    }
}
