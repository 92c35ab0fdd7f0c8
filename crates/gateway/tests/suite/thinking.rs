//! Tool loops with thinking on: whatever a caller drops, keeps or sends to another provider, no provider refuses the next
//! turn. The mock requires the same proofs as the real providers, and detects a foreign or changed signature.

use std::net::SocketAddr;

use mock::{Mock, Options};
use serde_json::{Map, Value, json};

use crate::support::{Reply, TestGateway};

/// Providers by the proofs that they require, each with a model and the effort that makes it think.
const PROVIDERS: [(&str, Option<&str>); 14] = [
    ("anthropic/claude-sonnet-4-5", Some("low")),
    ("anthropic/claude-opus-4-6", Some("low")),
    ("aws-bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", Some("low")),
    ("google-vertex/claude-sonnet-4-5@20250929", Some("low")),
    ("google-ai-studio/gemini-3-pro-preview", Some("low")),
    ("google-vertex/gemini-3-pro-preview", Some("low")),
    ("deepseek/deepseek-v4-pro", None),
    ("moonshot/kimi-k2.6", None),
    ("openrouter/anthropic/claude-sonnet-4.5", Some("low")),
    ("groq/openai/gpt-oss-120b", Some("low")),
    ("cerebras/gpt-oss-120b", Some("low")),
    ("zai/glm-4.6", Some("high")),
    ("mistral/magistral-medium-latest", None),
    ("openai/gpt-5.1", Some("low")),
];

/// What a client sends back of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Client {
    /// The call by id, name and arguments, and nothing else: most clients.
    Plain,
    /// The same, with the arguments serialised anew, as frameworks do that keep them as objects.
    Rewriting,
    /// Everything that it received.
    Faithful,
}

async fn start() -> (Mock, TestGateway) {
    let mock = mock::start(SocketAddr::from(([127, 0, 0, 1], 0)), Options::plain()).await.unwrap();
    let at = mock.address();
    let mut config = format!(
        "[providers.aws-bedrock]\nbase_url = \"http://{at}/aws-bedrock\"\naccess_key_id = \"A\"\nsecret_access_key = \"s\"\n\
         [providers.google-vertex]\nbase_url = \"http://{at}/google-vertex\"\naccess_token = \"t\"\nproject = \"p\"\n"
    );
    for id in ["anthropic", "google-ai-studio"] {
        config += &format!("[providers.{id}]\nbase_url = \"http://{at}/{id}\"\napi_key = \"k\"\n");
    }
    for id in
        ["deepseek", "moonshot", "openrouter", "groq", "cerebras", "zai", "mistral", "openai", "minimax"]
    {
        config += &format!("[providers.{id}]\nbase_url = \"http://{at}/{id}/v1\"\napi_key = \"k\"\n");
    }
    config += "[routing]\nmax_retries = 0\n";
    (mock, TestGateway::start(&config).await)
}

/// A conversation about the weather.
struct Chat<'a> {
    gateway: &'a TestGateway,
    client: Client,
    stream: bool,
    messages: Vec<Value>,
}

impl<'a> Chat<'a> {
    fn new(gateway: &'a TestGateway, client: Client, stream: bool) -> Self {
        Self { gateway, client, stream, messages: Vec::new() }
    }

    /// Asks a question; the answer calls the tool, whose result is added.
    async fn call(&mut self, (model, effort): (&str, Option<&str>), place: &str) -> Reply {
        self.messages.push(json!({"role": "user", "content": format!("What is the weather in {place}?")}));
        let reply = self.send(model, effort).await;
        let message = self.message(&reply);
        let calls = message["tool_calls"].as_array().unwrap_or_else(|| panic!("{model}: {}", reply.text()));
        let ids: Vec<Value> = calls.iter().map(|call| call["id"].clone()).collect();
        assert!(!ids.is_empty(), "{model}: {message}");
        let kept = self.as_client_keeps_it(&message);
        self.messages.push(kept);
        for id in ids {
            self.messages.push(json!({"role": "tool", "tool_call_id": id, "content": "18 degrees"}));
        }
        reply
    }

    /// Sends the results and expects an answer without calls.
    async fn answer(&mut self, (model, effort): (&str, Option<&str>)) -> Reply {
        let reply = self.send(model, effort).await;
        let message = self.message(&reply);
        assert_eq!(message["tool_calls"], Value::Null, "{model}: {message}");
        let kept = self.as_client_keeps_it(&message);
        self.messages.push(kept);
        reply
    }

    async fn send(&self, model: &str, effort: Option<&str>) -> Reply {
        let mut request = json!({
            "model": model, "stream": self.stream, "messages": self.messages,
            "tools": [{"type": "function", "function": {"name": "get_weather", "parameters":
                {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}}}],
        });
        if let Some(effort) = effort {
            request["reasoning_effort"] = effort.into();
        }
        let reply = self.gateway.chat(&request).await;
        assert_eq!(reply.status, 200, "{model} {:?}: {} of {request:#}", self.client, reply.text());
        reply
    }

    fn message(&self, reply: &Reply) -> Value {
        if !self.stream {
            return reply.at("/choices/0/message");
        }
        assert_eq!(reply.done(), 1, "{}", reply.text());
        merged(&reply.events())
    }

    fn as_client_keeps_it(&self, message: &Value) -> Value {
        if self.client == Client::Faithful {
            return message.clone();
        }
        let mut kept = json!({"role": "assistant", "content": message["content"]});
        let calls = message["tool_calls"].as_array().into_iter().flatten().map(|call| {
            let mut function = call["function"].clone();
            if self.client == Client::Rewriting {
                let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
                function["arguments"] = format!("{arguments:#}").into();
            }
            json!({"id": call["id"], "type": "function", "function": function})
        });
        let calls: Vec<Value> = calls.collect();
        if !calls.is_empty() {
            kept["tool_calls"] = calls.into();
        }
        kept
    }
}

/// The message of a stream, put together as a client does.
pub fn merged(events: &[Value]) -> Value {
    let mut message = Map::new();
    message.insert("role".to_owned(), "assistant".into());
    let mut calls: Vec<Value> = Vec::new();
    for delta in events.iter().map(|event| &event["choices"][0]["delta"]) {
        for name in ["content", "reasoning", "reasoning_content"] {
            let Some(piece) = delta[name].as_str() else { continue };
            let text = message.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            message.insert(name.to_owned(), (text + piece).into());
        }
        if let Some(details) = delta["reasoning_details"].as_array() {
            let all = message.entry("reasoning_details").or_insert_with(|| json!([]));
            details.iter().for_each(|detail| add_detail(all.as_array_mut().unwrap(), detail));
        }
        for piece in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = piece["index"].as_u64().unwrap() as usize;
            if index == calls.len() {
                calls.push(piece.clone());
                calls[index].as_object_mut().unwrap().shift_remove("index");
            } else if let Some(more) = piece["function"]["arguments"].as_str() {
                let text = calls[index]["function"]["arguments"].as_str().unwrap().to_owned() + more;
                calls[index]["function"]["arguments"] = text.into();
            }
        }
    }
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.into());
    }
    Value::Object(message)
}

/// Pieces of one entry have the same index.
fn add_detail(details: &mut Vec<Value>, piece: &Value) {
    let Some(known) = details.iter_mut().find(|known| known["index"] == piece["index"]) else {
        return details.push(piece.clone());
    };
    for (name, value) in piece.as_object().unwrap() {
        match (known.get(name).and_then(Value::as_str), value.as_str()) {
            (Some(text), Some(more)) if name == "text" => known[name] = format!("{text}{more}").into(),
            _ => known[name] = value.clone(),
        }
    }
}

/// The losses that an answer reports.
fn losses(reply: &Reply) -> Vec<Value> {
    let from = |value: &Value| value.pointer("/metadata/losses").and_then(Value::as_array).cloned();
    if reply.text().starts_with("data:") {
        reply.events().iter().find_map(from).unwrap_or_default()
    } else {
        from(&reply.json()).unwrap_or_default()
    }
}

#[tokio::test]
async fn tool_loops_continue_whatever_the_client_sends_back() {
    let (_mock, gateway) = start().await;
    for provider in PROVIDERS {
        for client in [Client::Plain, Client::Rewriting, Client::Faithful] {
            for stream in [false, true] {
                let mut chat = Chat::new(&gateway, client, stream);
                let mut replies = Vec::new();
                for place in ["Paris", "Rome"] {
                    replies.push(chat.call(provider, place).await);
                    replies.push(chat.answer(provider).await);
                }
                // Providers that accept no thinking, with clients that send it.
                let drops = ["openai", "mistral"].iter().any(|id| provider.0.starts_with(id));
                for reply in replies.iter().filter(|_| !(drops && client == Client::Faithful)) {
                    assert_eq!(losses(reply), Vec::<Value>::new(), "{provider:?} {client:?} {stream}");
                }
            }
        }
    }
}

#[tokio::test]
async fn tool_loops_continue_at_another_provider_and_back() {
    let (_mock, gateway) = start().await;
    for (position, first) in PROVIDERS.into_iter().enumerate() {
        for second in PROVIDERS.into_iter().filter(|second| *second != first) {
            // Each pair comes twice, once in each order.
            let (client, stream) = match position % 2 {
                0 => (Client::Plain, false),
                _ => (Client::Faithful, true),
            };
            let mut chat = Chat::new(&gateway, client, stream);
            chat.call(first, "Paris").await;
            chat.answer(second).await;
            chat.call(second, "Rome").await;
            chat.answer(first).await;
        }
    }
}

#[tokio::test]
async fn thinking_signed_by_another_provider_is_a_reported_loss() {
    let (mock, gateway) = start().await;
    let google = "Another provider's signature";
    let cases = [
        (PROVIDERS[4], PROVIDERS[5], "messages[1].tool_calls[0].extra_content", google),
        (PROVIDERS[4], PROVIDERS[0], "messages[1].tool_calls[0].extra_content", google),
        (PROVIDERS[0], PROVIDERS[4], "messages[1].reasoning", "Claude's thinking"),
        (PROVIDERS[0], PROVIDERS[6], "messages[1].reasoning_details", "Claude's signature"),
        (PROVIDERS[6], PROVIDERS[0], "messages[1].reasoning", "thinking without a signature"),
        (PROVIDERS[9], PROVIDERS[6], "", "thinking without a signature is taken"),
        (PROVIDERS[0], PROVIDERS[2], "", "Claude's signatures hold everywhere"),
    ];
    for (first, second, field, what) in cases {
        for client in [Client::Plain, Client::Faithful] {
            let mut chat = Chat::new(&gateway, client, false);
            chat.call(first, "Paris").await;
            let reply = chat.answer(second).await;
            let fields: Vec<Value> = losses(&reply).iter().map(|loss| loss["field"].clone()).collect();
            match field {
                "" => assert!(fields.is_empty(), "{what}, {client:?}: {fields:?}"),
                // A proof that the caller never sent is no loss.
                field if client == Client::Plain => {
                    assert!(!fields.iter().any(|lost| lost == field), "{what}")
                }
                field => assert!(fields.iter().any(|lost| lost == field), "{what}, {client:?}: {fields:?}"),
            }
        }
    }
    let last = mock.journal().last().unwrap().body.to_string();
    assert!(last.contains("reasoningText"), "{last}");
}

#[tokio::test]
async fn unknown_thinking_is_replaced_by_a_placeholder() {
    let (mock, gateway) = start().await;
    for (model, stand_in) in [("deepseek/deepseek-v4-pro", ""), ("moonshot/kimi-k2.6", " ")] {
        let request = json!({
            "model": model,
            "messages": [
                {"role": "user", "content": "What is the weather in Paris?"},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"},
            ],
        });
        let reply = gateway.chat(&request).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let losses = losses(&reply);
        assert_eq!(losses.len(), 1, "{losses:?}");
        assert_eq!(losses[0]["field"], "messages[1].reasoning_content");
        assert_eq!(losses[0]["action"], "approximated");
        assert_eq!(mock.journal().last().unwrap().body["messages"][1]["reasoning_content"], stand_in);
        // Without thinking, nothing is missing.
        let mut silent = request.clone();
        silent["thinking"] = json!({"type": "disabled"});
        let reply = gateway.chat(&silent).await;
        assert_eq!((reply.status, reply.at("/metadata/losses")), (200, json!([])), "{}", reply.text());
        let sent = mock.journal().last().unwrap().body["messages"][1].clone();
        assert!(sent.get("reasoning_content").is_none(), "{sent}");
    }
}

#[tokio::test]
async fn one_key_never_gets_the_thinking_of_another() {
    let mock = mock::start(SocketAddr::from(([127, 0, 0, 1], 0)), Options::plain()).await.unwrap();
    let config = format!(
        "[auth]\napi_keys = [\"test-key\", \"other-key\"]\n\
         [providers.deepseek]\nbase_url = \"http://{}/deepseek/v1\"\napi_key = \"k\"\n",
        mock.address()
    );
    let gateway = TestGateway::start(&config).await;
    let mut chat = Chat::new(&gateway, Client::Plain, false);
    chat.call(PROVIDERS[6], "Paris").await;
    let request = json!({"model": PROVIDERS[6].0, "messages": chat.messages});
    let headers = [("authorization", "Bearer other-key")];
    let reply = gateway.chat_with(&headers, &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(mock.journal().last().unwrap().body["messages"][1]["reasoning_content"], "");
    chat.answer(PROVIDERS[6]).await;
    let own = mock.journal().last().unwrap().body["messages"][1]["reasoning_content"].clone();
    assert!(own.as_str().unwrap().contains("Paris"), "{own}");
}

/// How many attempts the metadata of an answer lists, whole or streamed.
fn attempts(reply: &Reply) -> usize {
    let metadata = if reply.data().is_empty() { reply.json() } else { reply.events().pop().unwrap() };
    metadata["metadata"]["routing"].as_array().unwrap().len()
}

/// Only the issuer can judge a signature, and the catalog does not know the requirements of an unknown provider. One more
/// request leaves out the refused part, and the loss is reported.
#[tokio::test]
async fn thinking_that_is_refused_is_left_out_in_one_more_try() {
    let mock = mock::start(SocketAddr::from(([127, 0, 0, 1], 0)), Options::plain()).await.unwrap();
    let at = mock.address();
    let mut config = "[routing]\nmax_retries = 0\n".to_owned();
    for id in ["anthropic", "google-ai-studio"] {
        config += &format!("[providers.{id}]\nbase_url = \"http://{at}/{id}\"\napi_key = \"k\"\n");
    }
    for (id, plays) in [("deep", "deepseek"), ("moon", "moonshot"), ("cere", "cerebras")] {
        config += &format!(
            "[providers.{id}]\nprotocol = \"openai-chat\"\nbase_url = \"http://{at}/{plays}/v1\"\napi_key = \"k\"\n"
        );
    }
    let gateway = TestGateway::start(&config).await;
    let claude = json!([{"type": "reasoning.text", "text": "t", "signature": "c2ln", "format": "anthropic-claude-v1"}]);
    let google = json!({"google": {"thought_signature": "c2ln"}});
    let cases = [
        ("anthropic/claude-sonnet-4-5", json!({"reasoning_details": claude}), Value::Null),
        ("google-ai-studio/gemini-3-pro-preview", json!({}), google),
        ("deep/some-model", json!({}), Value::Null),
        ("moon/some-model", json!({}), Value::Null),
        ("cere/some-model", json!({"reasoning": "t", "reasoning_content": "t"}), Value::Null),
    ];
    for (model, fields, extra) in cases {
        for stream in [false, true] {
            let function = json!({"name": "get_weather", "arguments": "{}"});
            let mut call = json!({"id": "call_1", "type": "function", "function": function});
            if !extra.is_null() {
                call["extra_content"] = extra.clone();
            }
            let mut assistant = json!({"role": "assistant", "content": null, "tool_calls": [call]});
            for (name, value) in fields.as_object().unwrap() {
                assistant[name] = value.clone();
            }
            let request = json!({
                "model": model, "reasoning_effort": "low", "stream": stream,
                "messages": [
                    {"role": "user", "content": "What is the weather in Paris?"}, assistant,
                    {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"}],
                "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}],
            });
            let before = mock.journal().len();
            let reply = gateway.chat(&request).await;
            assert_eq!(reply.status, 200, "{model}: {}", reply.text());
            assert_eq!(mock.journal().len() - before, 2, "{model}");
            assert_eq!(attempts(&reply), 2, "{model}: each request is an attempt");
            assert!(!losses(&reply).is_empty(), "{model}");
            // A caller that accepts no loss gets the provider's refusal.
            let strict = gateway.chat_with(&[("x-llmgateway-strict", "true")], &request).await;
            assert_eq!(strict.status, 400, "{model}: {}", strict.text());
        }
    }
}
