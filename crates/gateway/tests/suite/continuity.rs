//! Tool loops of several rounds with thinking, in every caller's dialect, where each round is served by another provider
//! than the one before: whatever the client does with the proofs, no provider refuses the next round.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use mock::{Mock, Options};
use serde_json::{Value, json};

use crate::support::{Reply, TestGateway};
use crate::thinking::merged;

/// One model for each way to prove thinking, and for providers without proofs.
const MODELS: [&str; 17] = [
    "anthropic/claude-sonnet-4-5",
    "anthropic/claude-opus-5-5",
    "aws-bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "google-vertex/claude-sonnet-4-5@20250929",
    "google-ai-studio/gemini-3-pro-preview",
    "google-ai-studio/gemini-3-flash-preview",
    "google-vertex/gemini-3-pro-preview",
    "openai/gpt-5.5",
    "azure/gpt-5.5",
    "openai/gpt-5.1",
    "deepseek/deepseek-v4-pro",
    "moonshot/kimi-k2.6",
    "openrouter/anthropic/claude-sonnet-4.5",
    "groq/openai/gpt-oss-120b",
    "mistral/magistral-medium-latest",
    "local/gpt-oss:20b",
    "cohere/command-a-reasoning-08-2025",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Speech {
    Chat,
    Messages,
    Responses,
    /// Responses, with the conversation kept by the gateway.
    Stored,
    Gemini,
}

const SPEECHES: [Speech; 5] =
    [Speech::Chat, Speech::Messages, Speech::Responses, Speech::Stored, Speech::Gemini];

/// What a client does with the proofs of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Client {
    Keeps,
    Drops,
    /// Keeps the thinking without its proofs.
    Empties,
    Truncates,
    /// Gives each answer the proofs of the one before it.
    Exchanges,
    /// Puts the thinking of the previous answer before that of this answer.
    Moves,
}

const CLIENTS: [Client; 6] =
    [Client::Keeps, Client::Drops, Client::Empties, Client::Truncates, Client::Exchanges, Client::Moves];

const TASK: &str = "Read `notes.txt`, replace `one` with `two`, run `cat notes.txt`. Take 4 turns.";

async fn start_mock() -> Mock {
    let options = Options { journal_limit: 16, ..Options::agent() };
    mock::start(SocketAddr::from(([127, 0, 0, 1], 0)), options).await.unwrap()
}

/// The providers of [`MODELS`], at an address of a mock, or at a path of it that misbehaves.
fn providers(at: &str) -> String {
    let mut config = format!(
        "[providers.aws-bedrock]\nbase_url = \"http://{at}/aws-bedrock\"\naccess_key_id = \"A\"\nsecret_access_key = \"s\"\n\
         [providers.google-vertex]\nbase_url = \"http://{at}/google-vertex\"\naccess_token = \"t\"\nproject = \"p\"\n\
         [providers.azure]\nbase_url = \"http://{at}/azure\"\napi_key = \"k\"\napi_version = \"v1\"\n\
         [providers.local]\nprotocol = \"ollama-chat\"\nbase_url = \"http://{at}/local\"\n"
    );
    for id in ["anthropic", "google-ai-studio", "cohere"] {
        config += &format!("[providers.{id}]\nbase_url = \"http://{at}/{id}\"\napi_key = \"k\"\n");
    }
    for id in ["openai", "deepseek", "moonshot", "openrouter", "groq", "mistral"] {
        config += &format!("[providers.{id}]\nbase_url = \"http://{at}/{id}/v1\"\napi_key = \"k\"\n");
    }
    config
}

/// A tool loop of one task.
struct ToolLoop {
    speech: Speech,
    client: Client,
    stream: bool,
    /// The conversation in the caller's format.
    turns: Vec<Value>,
    /// The previous answer.
    before: Before,
}

#[derive(Default)]
struct Before {
    proofs: Vec<String>,
    thinking: Vec<Value>,
    /// The id of the answer, if the gateway keeps the conversation.
    id: Option<Value>,
}

/// The outcome of one round.
struct Round {
    /// Calls of tools; none at the end.
    calls: usize,
    /// Requests to providers.
    attempts: usize,
    text: String,
}

impl ToolLoop {
    fn new(speech: Speech, client: Client, stream: bool) -> Self {
        let turns = vec![match speech {
            Speech::Gemini => json!({"role": "user", "parts": [{"text": TASK}]}),
            _ => json!({"role": "user", "content": TASK}),
        }];
        Self { speech, client, stream, turns, before: Before::default() }
    }

    /// Sends the conversation, and adds the answer and the results of its calls.
    async fn round(&mut self, gateway: &TestGateway, model: &str) -> Result<Round, String> {
        let reply = self.send(gateway, model).await;
        if reply.status != 200 {
            return Err(format!("{}: {}", reply.status, reply.message()));
        }
        let mut answer = self.speech.answer(&reply, self.stream);
        let calls = self.speech.calls(&answer);
        let text = answer.iter().map(Value::to_string).collect();
        if self.speech == Speech::Stored {
            self.before.id = Some(answer_id(&reply, self.stream));
            self.turns.clear();
        } else {
            let proofs = proofs_of(&mut answer);
            let thinking = thinking_of(self.speech, &answer);
            self.client.spoil(self.speech, &mut answer, &self.before);
            self.before = Before { proofs, thinking, id: None };
            self.turns.extend(answer);
        }
        self.turns.extend(self.speech.results(&calls));
        let attempts = reply.header("x-llmgateway-attempts").unwrap().parse().unwrap();
        Ok(Round { calls: calls.len(), attempts, text })
    }

    async fn send(&self, gateway: &TestGateway, model: &str) -> Reply {
        let method = if self.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        let (path, body) = match self.speech {
            Speech::Chat => ("/v1/chat/completions".to_owned(), self.chat(model)),
            Speech::Messages => ("/v1/messages".to_owned(), self.messages(model)),
            Speech::Responses | Speech::Stored => ("/v1/responses".to_owned(), self.responses(model)),
            Speech::Gemini => (format!("/v1beta/models/{model}:{method}"), self.gemini()),
        };
        gateway.post(&path, body.to_string().as_bytes()).await
    }

    fn chat(&self, model: &str) -> Value {
        let tools = tools().map(
            |(name, schema)| json!({"type": "function", "function": {"name": name, "parameters": schema}}),
        );
        json!({"model": model, "stream": self.stream, "messages": self.turns, "tools": tools, "reasoning_effort": "low"})
    }

    fn messages(&self, model: &str) -> Value {
        let tools = tools().map(|(name, schema)| json!({"name": name, "input_schema": schema}));
        let thinking = if model.contains("opus-5") {
            json!({"type": "adaptive"})
        } else {
            json!({"type": "enabled", "budget_tokens": 2048})
        };
        json!({"model": model, "stream": self.stream, "messages": self.turns, "tools": tools, "max_tokens": 8000,
               "thinking": thinking})
    }

    fn responses(&self, model: &str) -> Value {
        let tools =
            tools().map(|(name, schema)| json!({"type": "function", "name": name, "parameters": schema}));
        let mut body = json!({"model": model, "stream": self.stream, "input": self.turns, "tools": tools,
                              "reasoning": {"effort": "low", "summary": "auto"}});
        match (self.speech, &self.before.id) {
            (Speech::Stored, Some(id)) => body["previous_response_id"] = id.clone(),
            (Speech::Stored, None) => {}
            _ => {
                body["store"] = false.into();
                body["include"] = json!(["reasoning.encrypted_content"]);
            }
        }
        body
    }

    fn gemini(&self) -> Value {
        let tools = tools().map(|(name, schema)| json!({"name": name, "parametersJsonSchema": schema}));
        json!({"contents": self.turns, "tools": [{"functionDeclarations": tools}],
               "generationConfig": {"thinkingConfig": {"includeThoughts": true, "thinkingLevel": "LOW"}}})
    }
}

fn tools() -> [(&'static str, Value); 3] {
    let schema = |names: &[&str]| {
        let properties: BTreeMap<&str, Value> =
            names.iter().map(|name| (*name, json!({"type": "string"}))).collect();
        json!({"type": "object", "properties": properties, "required": names})
    };
    [
        ("read_file", schema(&["path"])),
        ("edit", schema(&["path", "old_string", "new_string"])),
        ("bash", schema(&["command"])),
    ]
}

/// A call: its id, if the format has one, and its name.
type Call = (Option<String>, String);

impl Speech {
    /// The answer in the form in which this format expects it in the next request.
    fn answer(self, reply: &Reply, stream: bool) -> Vec<Value> {
        match self {
            Speech::Chat if stream => vec![merged(&reply.events())],
            Speech::Chat => vec![reply.at("/choices/0/message")],
            Speech::Messages => {
                let blocks = if stream { blocks(&reply.events()) } else { list(reply.at("/content")) };
                vec![json!({"role": "assistant", "content": blocks})]
            }
            Speech::Responses | Speech::Stored if stream => {
                let events = reply.events();
                let done = events.iter().filter(|event| event["type"] == "response.output_item.done");
                done.map(|event| event["item"].clone()).collect()
            }
            Speech::Responses | Speech::Stored => list(reply.at("/output")),
            Speech::Gemini => {
                let events = if stream { reply.events() } else { vec![reply.json()] };
                let parts =
                    events.iter().flat_map(|event| list(event["candidates"][0]["content"]["parts"].clone()));
                vec![json!({"role": "model", "parts": parts.collect::<Vec<_>>()})]
            }
        }
    }

    fn calls(self, answer: &[Value]) -> Vec<Call> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let named = |id: &Value, name: &Value| (text(id), text(name).unwrap());
        match self {
            Speech::Chat => {
                let calls = list(answer[0]["tool_calls"].clone()).into_iter();
                calls.map(|call| named(&call["id"], &call["function"]["name"])).collect()
            }
            Speech::Messages => {
                let blocks = list(answer[0]["content"].clone()).into_iter();
                let calls = blocks.filter(|block| block["type"] == "tool_use");
                calls.map(|call| named(&call["id"], &call["name"])).collect()
            }
            Speech::Responses | Speech::Stored => {
                let calls = answer.iter().filter(|item| item["type"] == "function_call");
                calls.map(|call| named(&call["call_id"], &call["name"])).collect()
            }
            Speech::Gemini => {
                let parts = list(answer[0]["parts"].clone()).into_iter();
                let calls = parts.filter_map(|part| part.get("functionCall").cloned());
                calls.map(|call| named(&call["id"], &call["name"])).collect()
            }
        }
    }

    fn results(self, calls: &[Call]) -> Vec<Value> {
        const SAID: &str = "line one";
        let calls = calls.iter();
        match self {
            Speech::Chat => {
                calls.map(|(id, _)| json!({"role": "tool", "tool_call_id": id, "content": SAID})).collect()
            }
            Speech::Responses | Speech::Stored => calls
                .map(|(id, _)| json!({"type": "function_call_output", "call_id": id, "output": SAID}))
                .collect(),
            Speech::Messages => {
                let results: Vec<Value> = calls
                    .map(|(id, _)| json!({"type": "tool_result", "tool_use_id": id, "content": SAID}))
                    .collect();
                vec![json!({"role": "user", "content": results})]
            }
            Speech::Gemini => {
                let results = calls.map(|(id, name)| {
                    let mut response = json!({"name": name, "response": {"output": SAID}});
                    if let Some(id) = id {
                        response["id"] = id.as_str().into();
                    }
                    json!({"functionResponse": response})
                });
                vec![json!({"role": "user", "parts": results.collect::<Vec<_>>()})]
            }
        }
    }
}

/// The id of an answer that the gateway keeps.
fn answer_id(reply: &Reply, stream: bool) -> Value {
    if stream { reply.events().last().unwrap()["response"]["id"].clone() } else { reply.at("/id") }
}

fn list(value: Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// The blocks of a stream of Messages, put together as a client does.
fn blocks(events: &[Value]) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    let mut input = String::new();
    for event in events {
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                blocks.push(event["content_block"].clone());
                input.clear();
            }
            "content_block_delta" => {
                let block = blocks.last_mut().unwrap();
                for name in ["text", "thinking", "signature"] {
                    let Some(piece) = event["delta"][name].as_str() else { continue };
                    block[name] = format!("{}{piece}", block[name].as_str().unwrap_or_default()).into();
                }
                input += event["delta"]["partial_json"].as_str().unwrap_or_default();
            }
            "content_block_stop" if !input.is_empty() => {
                blocks.last_mut().unwrap()["input"] = serde_json::from_str(&input).unwrap();
                input.clear();
            }
            _ => {}
        }
    }
    blocks
}

/// The fields that hold a proof, in any of the formats.
const PROOFS: [&str; 5] = ["signature", "thoughtSignature", "thought_signature", "encrypted_content", "data"];

/// The proofs of an answer.
fn proofs_of(answer: &mut [Value]) -> Vec<String> {
    let mut proofs = Vec::new();
    answer.iter_mut().for_each(|turn| each_proof(turn, &mut |proof| proofs.push(proof.clone())));
    proofs
}

fn each_proof(value: &mut Value, visit: &mut dyn FnMut(&mut String)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each_proof(item, visit)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(proof) if PROOFS.contains(&name.as_str()) => visit(proof),
                    value => each_proof(value, visit),
                }
            }
        }
        _ => {}
    }
}

/// The list of an answer's parts that may be thinking.
fn parts(speech: Speech, answer: &mut Vec<Value>) -> &mut Vec<Value> {
    match speech {
        Speech::Responses | Speech::Stored => answer,
        Speech::Chat => {
            let details = answer[0].as_object_mut().unwrap().entry("reasoning_details");
            details.or_insert_with(|| json!([])).as_array_mut().unwrap()
        }
        Speech::Messages => answer[0]["content"].as_array_mut().unwrap(),
        Speech::Gemini => answer[0]["parts"].as_array_mut().unwrap(),
    }
}

fn is_thinking(part: &Value) -> bool {
    let kind = part["type"].as_str().unwrap_or_default();
    part["thought"] == true || kind.ends_with("thinking") || kind.starts_with("reasoning")
}

fn thinking_of(speech: Speech, answer: &[Value]) -> Vec<Value> {
    let mut answer = answer.to_vec();
    parts(speech, &mut answer).iter().filter(|part| is_thinking(part)).cloned().collect()
}

impl Client {
    fn spoil(self, speech: Speech, answer: &mut Vec<Value>, before: &Before) {
        let mut others = before.proofs.iter().cycle();
        let change: &mut dyn FnMut(&mut String) = match self {
            Client::Keeps => return,
            Client::Drops => return drop_thinking(speech, answer),
            Client::Moves => {
                parts(speech, answer).splice(0..0, before.thinking.iter().cloned());
                return;
            }
            Client::Empties => &mut String::clear,
            Client::Truncates => &mut |proof: &mut String| proof.truncate(proof.len() / 2),
            Client::Exchanges => &mut |proof: &mut String| {
                if let Some(other) = others.next() {
                    proof.clone_from(other);
                }
            },
        };
        answer.iter_mut().for_each(|turn| each_proof(turn, change));
    }
}

fn drop_thinking(speech: Speech, answer: &mut Vec<Value>) {
    if speech != Speech::Chat {
        parts(speech, answer).retain(|part| !is_thinking(part));
    }
    match speech {
        Speech::Chat => {
            let message = answer[0].as_object_mut().unwrap();
            message.retain(|name, _| matches!(name.as_str(), "role" | "content" | "tool_calls"));
            for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
                call.as_object_mut().unwrap().shift_remove("extra_content");
            }
        }
        Speech::Gemini => {
            let parts = parts(speech, answer).iter_mut();
            parts.for_each(|part| _ = part.as_object_mut().unwrap().shift_remove("thoughtSignature"));
        }
        _ => {}
    }
}

/// The failures, grouped by message.
#[derive(Default)]
struct Failures(BTreeMap<String, Vec<String>>);

impl Failures {
    fn add(&mut self, result: Result<(), String>, tool_loop: &ToolLoop, models: &str, mock: &Mock) {
        let Err(error) = result else { return };
        let journal = mock.journal();
        let refused = journal.iter().rfind(|received| received.status >= 400);
        let refusal = refused.map(|received| received.refusal.clone()).unwrap_or_default();
        let ToolLoop { speech, client, stream, .. } = tool_loop;
        let what = format!("{speech:?} {client:?} {error} | {refusal}");
        self.0.entry(what).or_default().push(format!("{models} -> stream {stream}"));
    }

    fn assert_none(&self) {
        let list = self.0.iter().map(|(what, places)| {
            let shown: Vec<&str> = places.iter().take(4).map(String::as_str).collect();
            format!("{} × {what}\n    {}", places.len(), shown.join("\n    "))
        });
        assert!(self.0.is_empty(), "{}", list.collect::<Vec<_>>().join("\n"));
    }
}

/// Runs the task to its end: in each round the next model, at the next gateway.
async fn run(
    tool_loop: &mut ToolLoop,
    gateways: &[&TestGateway],
    models: &[&str],
    most_attempts: usize,
) -> Result<(), String> {
    for number in 0..5 {
        let gateway = gateways[number % gateways.len()];
        let round = tool_loop.round(gateway, models[number % models.len()]).await;
        let round = round.map_err(|error| format!("round {number}: {error}"))?;
        if (number < 4) != (round.calls == 1) {
            return Err(format!("round {number}: {} calls: {}", round.calls, round.text));
        }
        if round.attempts > most_attempts {
            return Err(format!("round {number}: {} attempts", round.attempts));
        }
    }
    Ok(())
}

/// Whether the environment asks for every case, which takes some minutes.
fn tries_all() -> bool {
    std::env::var_os("LLMGATEWAY_TEST_ALL_LOOPS").is_some()
}

/// Every `of`th case, or every case if the environment asks for it.
fn is_chosen(case: usize, of: usize) -> bool {
    tries_all() || case.is_multiple_of(of)
}

/// All clients, or one of them that changes from case to case.
fn clients(case: usize) -> Vec<Client> {
    if tries_all() { CLIENTS.to_vec() } else { vec![CLIENTS[case % CLIENTS.len()]] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_loop_continues_at_any_provider_in_any_dialect() {
    let mock = start_mock().await;
    let gateway = TestGateway::start(&providers(&mock.address().to_string())).await;
    let mut failures = Failures::default();
    for (position, first) in MODELS.into_iter().enumerate() {
        for (other, second) in MODELS.into_iter().enumerate() {
            for (place, speech) in SPEECHES.into_iter().enumerate() {
                if !is_chosen(position + other + place, 2) {
                    continue;
                }
                for client in clients(position + 2 * other + place) {
                    let mut tool_loop = ToolLoop::new(speech, client, (position + other) % 2 == 0);
                    // Proofs that the gateway remembers, or finds in the request itself, cost no second request.
                    let is_sound = matches!(client, Client::Keeps | Client::Drops);
                    let most_attempts = if is_sound { 1 } else { 2 };
                    let result = run(&mut tool_loop, &[&gateway], &[first, second], most_attempts).await;
                    failures.add(result, &tool_loop, &format!("{first} and {second}"), &mock);
                }
            }
        }
    }
    failures.assert_none();
}

/// A second gateway does not know what the first one remembers: replicas, or one gateway before and after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_loop_continues_at_a_gateway_without_its_proofs() {
    let mock = start_mock().await;
    let config = providers(&mock.address().to_string());
    let gateways = [TestGateway::start(&config).await, TestGateway::start(&config).await];
    let mut failures = Failures::default();
    for (position, model) in MODELS.into_iter().enumerate() {
        let next = MODELS[(position + 1) % MODELS.len()];
        for speech in SPEECHES.into_iter().filter(|speech| *speech != Speech::Stored) {
            for client in CLIENTS {
                for models in [&[model][..], &[model, next, model]] {
                    let mut tool_loop = ToolLoop::new(speech, client, position % 2 == 0);
                    let result = run(&mut tool_loop, &[&gateways[0], &gateways[1]], models, 2).await;
                    failures.add(result, &tool_loop, &models.join(" and "), &mock);
                }
            }
        }
    }
    failures.assert_none();
}

/// The first provider fails in the middle of the task, and another one continues after its thinking.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_loop_continues_after_a_provider_fails_in_its_middle() {
    let mock = start_mock().await;
    let at = mock.address().to_string();
    let mut failures = Failures::default();
    for (position, first) in MODELS.into_iter().enumerate() {
        let provider = first.split('/').next().unwrap();
        let path = format!("http://{at}/{provider}");
        let config = providers(&at).replace(&path, &format!("{path}/fault-turn-2-503"));
        let others = MODELS.into_iter().filter(|other| !other.starts_with(provider));
        for (number, other) in others.enumerate().filter(|(number, _)| is_chosen(position + number, 3)) {
            // Each pair has a gateway of its own, which does not yet know that the first provider fails.
            let pair = format!("[models.pair]\ntargets = [{first:?}, {other:?}]\n");
            let gateway = TestGateway::start(&(config.clone() + &pair)).await;
            let speech = SPEECHES[(position + number) % SPEECHES.len()];
            for client in clients(number / SPEECHES.len() + position) {
                let mut tool_loop = ToolLoop::new(speech, client, number % 2 == 0);
                let result = run(&mut tool_loop, &[&gateway], &["pair"], 4).await;
                failures.add(result, &tool_loop, &format!("{first} and {other}"), &mock);
            }
        }
    }
    failures.assert_none();
}
