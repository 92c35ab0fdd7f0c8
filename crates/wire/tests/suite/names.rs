//! Callers read the names of their own dialect: each lost or refused field is named by a path in the body
//! that the caller sent, whichever format it was translated to.

use canon::{Error, Field, ModelFacts, PartKind, Quirks, ReasoningControl, Request, Target};
use proptest::prelude::*;
use serde_json::{Value, json};
use wire::{Dialect, Protocol, dialect};

use super::round_trip::{columns, relent};

/// Names that are valid although the caller need not have written them: additions of an adapter, and marks,
/// which have the same name wherever they are. From the documentation of both formats.
const MESSAGES_FIELDS: [&str; 6] =
    ["messages", "tools", "cache_control", "max_tokens", "output_config.effort", "thinking"];
const GEMINI_FIELDS: [&str; 4] = ["contents", "tools", "generationConfig.maxOutputTokens", "toolConfig"];

/// Names of OpenAI's chat format that neither of the other two has.
const FOREIGN: [&str; 17] = [
    "response_format",
    "json_schema.",
    "reasoning_effort",
    "reasoning.",
    "max_completion_tokens",
    "parallel_tool_calls",
    "tool_calls",
    "tool_call_id",
    "image_url",
    "file_data",
    "input_audio",
    "top_logprobs",
    "frequency_penalty",
    "presence_penalty",
    "web_search_options",
    "extra_content",
    "send n",
];
/// Names of chat and of Messages that Gemini does not have.
const FOREIGN_TO_GEMINI: [&str; 6] =
    ["max_tokens", "top_p", "top_k", "stop_sequences", "messages[", "tool_choice"];

// ---------------------------------------------------------------------------------------------- generated requests

/// Choices for a body, from random bytes. When the bytes are used up, each choice is the first.
struct Dice<'a>(std::slice::Iter<'a, u8>);

impl Dice<'_> {
    fn below(&mut self, count: usize) -> usize {
        self.0.next().map_or(0, |byte| usize::from(*byte) % count)
    }

    fn one(&mut self, choices: Vec<Value>) -> Value {
        let index = self.below(choices.len());
        choices.into_iter().nth(index).unwrap_or_default()
    }

    fn some(&mut self, most: usize, choices: &dyn Fn() -> Vec<Value>) -> Vec<Value> {
        (0..self.below(most + 1)).map(|_| self.one(choices())).collect()
    }

    /// Sets one of the values, or none; none is as likely as each of them.
    fn put(&mut self, body: &mut Value, name: &str, choices: Vec<Value>) {
        let index = self.below(choices.len() + 1);
        if let Some(value) = choices.into_iter().nth(index) {
            body[name] = value;
        }
    }
}

fn schemas() -> Vec<Value> {
    vec![
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false}),
        json!({"type": "object", "properties": {"a": {"type": "string", "not": {"const": "b"}}}}),
        json!({"type": "object", "properties": {}, "anyOf": [{"required": ["a"]}]}),
    ]
}

fn contents_of_messages() -> Vec<Value> {
    vec![
        json!({"type": "text", "text": "a"}),
        json!({"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}, "x_new": 1}),
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}),
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "Qk0="}}),
        json!({"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}),
        json!({"type": "image", "source": {"type": "file", "file_id": "f"}}),
        json!({"type": "document", "title": "a.b.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}),
        json!({"type": "document", "context": "c", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}),
        json!({"type": "container_upload", "file_id": "f"}),
        json!({"type": "search_result", "title": "t", "source": "u", "content": [{"type": "text", "text": "b"}]}),
    ]
}

fn answered_in_messages(call: usize) -> Vec<Value> {
    vec![
        json!({"type": "text", "text": "so"}),
        json!({"type": "tool_use", "id": format!("call_{call}"), "name": "f", "input": {"a": 1}}),
        json!({"type": "thinking", "thinking": "hm", "signature": "c2ln"}),
        json!({"type": "thinking", "thinking": "hm"}),
        json!({"type": "thinking", "thinking": "hm", "signature": "google-gemini-v1:c2ln"}),
        json!({"type": "redacted_thinking", "data": "ZGF0YQ=="}),
        json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}),
    ]
}

fn messages_body(dice: &mut Dice<'_>) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 100 + 1500 * dice.below(3)});
    let texts = json!([{"type": "text", "text": "s", "x_new": 1}, {"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}]);
    dice.put(&mut body, "system", vec![json!("s"), texts]);
    let mut messages = Vec::new();
    let mut calls = 0;
    for _ in 0..=dice.below(3) {
        let mut content = dice.some(2, &contents_of_messages);
        content.push(json!({"type": "text", "text": "go"}));
        messages.push(json!({"role": "user", "content": content}));
        if dice.below(5) == 4 {
            messages.push(json!({"role": "system", "content": "later"}));
        }
        let before = calls;
        let mut answer = Vec::new();
        for _ in 0..dice.below(5) {
            answer.push(dice.one(answered_in_messages(calls)));
            calls += usize::from(answer.last().is_some_and(|block| block["type"] == "tool_use"));
        }
        if answer.is_empty() {
            continue;
        }
        messages.push(json!({"role": "assistant", "content": answer}));
        let mut results = Vec::new();
        for call in before..calls {
            if dice.below(4) == 3 {
                results.push(json!({"type": "text", "text": "between"}));
            }
            let content = Value::from(dice.some(2, &contents_of_messages));
            let content = dice.one(vec![json!("done"), content]);
            let mut result =
                json!({"type": "tool_result", "tool_use_id": format!("call_{call}"), "content": content});
            dice.put(&mut result, "is_error", vec![json!(true)]);
            results.push(result);
        }
        if !results.is_empty() {
            messages.push(json!({"role": "user", "content": results}));
        }
    }
    body["messages"] = messages.into();
    let function = |name: &str, schema: Value| json!({"name": name, "description": "d", "input_schema": schema, "strict": true});
    let tools = vec![
        json!([{"type": "web_search_20250305", "name": "web_search"}, function("f", dice.one(schemas()))]),
        json!([function("f", dice.one(schemas())), {"type": "x_tool", "name": "x"}]),
        json!([{"name": "f", "input_schema": dice.one(schemas()), "x_new": 1}]),
    ];
    dice.put(&mut body, "tools", tools);
    if body["tools"].is_array() {
        let choices = [json!("auto"), json!("any"), json!("none")]
            .map(|kind| json!({"type": kind, "disable_parallel_tool_use": true}));
        dice.put(
            &mut body,
            "tool_choice",
            choices.into_iter().chain([json!({"type": "tool", "name": "f"})]).collect(),
        );
    }
    let thinking = [
        json!({"type": "enabled", "budget_tokens": 5000}),
        json!({"type": "adaptive"}),
        json!({"type": "disabled"}),
        json!({"type": "enabled", "budget_tokens": 1}),
    ];
    dice.put(&mut body, "thinking", thinking.to_vec());
    let format = json!({"type": "json_schema", "schema": dice.one(schemas())});
    let config = vec![
        json!({"effort": "max"}),
        json!({"effort": "low", "format": format}),
        json!({"format": format, "x_new": 1}),
    ];
    dice.put(&mut body, "output_config", config);
    dice.put(&mut body, "output_format", vec![format]);
    dice.put(&mut body, "temperature", vec![json!(0.5), json!(1.0)]);
    dice.put(&mut body, "top_p", vec![json!(0.5), json!(0.999)]);
    dice.put(&mut body, "top_k", vec![json!(5), json!(1000)]);
    dice.put(&mut body, "stop_sequences", vec![json!([" "]), json!(["a", "b", "c", "d", "e", "f"])]);
    dice.put(
        &mut body,
        "metadata",
        vec![json!({"user_id": "u"}), json!({"user_id": "a@x.test", "team": "t"})],
    );
    dice.put(&mut body, "service_tier", vec![json!("standard_only")]);
    dice.put(&mut body, "x_new", vec![json!({"a": 1})]);
    body
}

fn parts_of_gemini() -> Vec<Value> {
    vec![
        json!({"text": "a"}),
        json!({"text": "b", "xNew": 1}),
        json!({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}),
        json!({"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}),
        json!({"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0=", "displayName": "a.b.pdf"}}),
        json!({"fileData": {"mimeType": "video/mp4", "fileUri": "https://x.test/a.mp4"}, "videoMetadata": {"fps": 1}}),
        json!({"fileData": {"fileUri": "gs://bucket/a.pdf"}}),
    ]
}

fn answered_in_gemini() -> Vec<Value> {
    vec![
        json!({"text": "so"}),
        json!({"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}),
        json!({"functionCall": {"name": "f", "args": {"a": 2}, "xNew": 1}}),
        json!({"text": "hm", "thought": true}),
        json!({"text": "hm", "thought": true, "thoughtSignature": "c2ln"}),
        json!({"text": "signed", "thoughtSignature": "c2ln"}),
        json!({"executableCode": {"code": "1"}}),
        json!({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}),
    ]
}

fn gemini_contents(dice: &mut Dice<'_>) -> Vec<Value> {
    let mut contents = Vec::new();
    for _ in 0..=dice.below(3) {
        let mut parts = dice.some(2, &parts_of_gemini);
        parts.push(json!({"text": "go"}));
        contents.push(json!({"role": "user", "parts": parts}));
        let answer = dice.some(4, &answered_in_gemini);
        if answer.is_empty() {
            continue;
        }
        let calls = answer.iter().filter(|part| part.get("functionCall").is_some()).count();
        contents.push(json!({"role": "model", "parts": answer}));
        let results = gemini_results(dice, calls);
        if !results.is_empty() {
            contents.push(json!({"role": "user", "parts": results}));
        }
    }
    contents
}

fn gemini_results(dice: &mut Dice<'_>, calls: usize) -> Vec<Value> {
    let mut results = Vec::new();
    for _ in 0..calls {
        if dice.below(4) == 3 {
            results.push(json!({"text": "between"}));
        }
        let response = dice.one(vec![json!({"output": "done"}), json!({"error": "no"})]);
        let mut result = json!({"name": "f", "response": response});
        let picture = json!([{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}]);
        dice.put(&mut result, "parts", vec![picture]);
        results.push(json!({"functionResponse": result}));
    }
    results
}

fn put_gemini_tools(dice: &mut Dice<'_>, body: &mut Value) {
    let function = |schema: Value| json!({"name": "f", "description": "d", "parametersJsonSchema": schema});
    let tools = vec![
        json!([{"googleSearch": {}}, {"functionDeclarations": [function(dice.one(schemas()))]}]),
        json!([{"functionDeclarations": [{"name": "g", "parameters": {"type": "OBJECT", "properties": {}}, "response": {}}, function(dice.one(schemas()))]}]),
    ];
    dice.put(body, "tools", tools);
    if body["tools"].is_array() {
        let calling = [
            json!({"mode": "ANY"}),
            json!({"mode": "ANY", "allowedFunctionNames": ["f"]}),
            json!({"mode": "NONE", "xNew": 1}),
        ];
        let configs = calling.map(|calling| json!({"functionCallingConfig": calling}));
        dice.put(body, "toolConfig", configs.to_vec());
    }
}

fn gemini_config(dice: &mut Dice<'_>) -> Value {
    let mut config = json!({});
    for (name, values) in [
        ("temperature", vec![json!(0.5), json!(1.5)]),
        ("topP", vec![json!(0.5)]),
        ("topK", vec![json!(5), json!(1000)]),
        ("presencePenalty", vec![json!(0.5), json!(-1.0)]),
        ("frequencyPenalty", vec![json!(1.5)]),
        ("seed", vec![json!(7)]),
        ("maxOutputTokens", vec![json!(10), json!(3000)]),
        ("candidateCount", vec![json!(1), json!(2)]),
        ("stopSequences", vec![json!([" "]), json!(["a"])]),
        ("responseLogprobs", vec![json!(true)]),
        ("logprobs", vec![json!(3)]),
        ("responseModalities", vec![json!(["TEXT"]), json!(["TEXT", "IMAGE"])]),
        ("mediaResolution", vec![json!("MEDIA_RESOLUTION_LOW")]),
    ] {
        dice.put(&mut config, name, values);
    }
    let thinking = [
        json!({"thinkingBudget": 0}),
        json!({"thinkingBudget": 5000}),
        json!({"thinkingLevel": "HIGH", "includeThoughts": true}),
        json!({"thinkingBudget": 1}),
    ];
    dice.put(&mut config, "thinkingConfig", thinking.to_vec());
    if dice.below(2) == 1 {
        config["responseMimeType"] = json!("application/json");
        dice.put(&mut config, "responseJsonSchema", schemas());
        if config.get("responseJsonSchema").is_none() {
            dice.put(
                &mut config,
                "responseSchema",
                vec![json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}})],
            );
        }
    }
    config
}

fn gemini_body(dice: &mut Dice<'_>) -> Value {
    let mut body = json!({});
    let instructions = vec![json!("s"), json!({"parts": [{"text": "s"}, {"text": "t"}]})];
    dice.put(&mut body, "systemInstruction", instructions);
    body["contents"] = gemini_contents(dice).into();
    put_gemini_tools(dice, &mut body);
    body["generationConfig"] = gemini_config(dice);
    dice.put(&mut body, "safetySettings", vec![json!([{"category": "x", "threshold": "y"}])]);
    dice.put(&mut body, "serviceTier", vec![json!("flex")]);
    body
}

// ---------------------------------------------------------------------------------------------- checks

/// The value at a path.
fn at<'a>(body: &'a Value, path: &str) -> Option<&'a Value> {
    let mut found = body;
    for piece in path.split(['.', '[']) {
        found = match piece.strip_suffix(']') {
            Some(index) => found.get(index.parse::<usize>().ok()?)?,
            None => found.get(piece)?,
        };
    }
    Some(found)
}

struct Caller<'a> {
    dialect: &'static dyn Dialect,
    protocol: Protocol,
    body: &'a Value,
    request: &'a Request,
}

impl Caller<'_> {
    /// The name is a path to something that the caller wrote.
    fn check_name(&self, name: &str) -> Result<(), String> {
        let fields: &[&str] =
            if self.protocol == Protocol::Gemini { &GEMINI_FIELDS } else { &MESSAGES_FIELDS };
        if at(self.body, name).is_some() || fields.contains(&name) {
            Ok(())
        } else {
            Err(format!("{name:?} is nowhere in the body"))
        }
    }

    fn check_sentence(&self, sentence: &str) -> Result<(), String> {
        let more: &[&str] = if self.protocol == Protocol::Gemini { &FOREIGN_TO_GEMINI } else { &[] };
        match FOREIGN.iter().chain(more).find(|word| sentence.contains(**word)) {
            Some(word) => Err(format!("{word:?} is a word of another dialect: {sentence}")),
            None => Ok(()),
        }
    }

    /// The path leads to exactly the call, result or thought of the field.
    fn check_place(&self, field: &Field, name: &str) -> Result<(), String> {
        let found = at(self.body, name).unwrap_or(&Value::Null);
        let is_right = match *field {
            Field::ToolCall { message, call, of: canon::CallField::Whole } => {
                let call = self.request.messages[message].tool_calls().nth(call);
                let id = found["id"].as_str().or(found["name"].as_str());
                call.is_some_and(|call| id == Some(&call.id) || id == Some(&call.name))
            }
            Field::Part { message, part, of: canon::PartField::Thinking } => {
                let says = found["thinking"].as_str().or(found["text"].as_str()).unwrap_or_default();
                match &self.request.messages[message].parts[part].kind {
                    PartKind::Reasoning(thought) => says == thought.text,
                    PartKind::Native(block) => block.to_value().is_ok_and(|block| block == *found),
                    _ => return Err("no thought".to_owned()),
                }
            }
            Field::Message { of: canon::MessageField::Failed, .. } => {
                *found == true || found.get("error").is_some()
            }
            Field::Message { of: canon::MessageField::Role, .. } => {
                found.is_string() || name.starts_with("system")
            }
            _ => true,
        };
        if is_right { Ok(()) } else { Err(format!("{name} is {found}, which {field:?} is not about")) }
    }

    fn check_error(&self, error: Error) -> Result<(), String> {
        self.check_sentence(&error.message)?;
        let Some(field) = error.param.clone() else { return Ok(()) };
        let name = error.named(|field| self.dialect.name_of(field, Some(self.request))).param_name().unwrap();
        self.check_name(&name)?;
        self.check_place(&field, &name)
    }
}

fn check(protocol: Protocol, body: &Value) -> Result<(), String> {
    let caller_dialect = dialect(protocol).unwrap();
    let mut request = caller_dialect
        .decode_request(body.to_string().as_bytes())
        .map_err(|error| format!("the body is not understood: {error:?}"))?;
    // Gemini's callers name the model in the path.
    request.model = "m".to_owned();
    for column in columns() {
        let mut asked = request.clone();
        let mut tries = 0;
        let encoded = loop {
            let caller = Caller { dialect: caller_dialect, protocol, body, request: &asked };
            let error = match column.encode(&asked) {
                Ok(encoded) => break Some((encoded, asked)),
                Err(error) => error,
            };
            caller
                .check_error(error.clone())
                .map_err(|fault| format!("{}: {error:?}: {fault}", column.model))?;
            tries += 1;
            // Without one of its tools it is another request, whose tools have other numbers.
            if tries > 20 || relent(&mut asked, &error).is_err() || asked.tools != request.tools {
                break None;
            }
        };
        let Some((encoded, asked)) = encoded else { continue };
        let caller = Caller { dialect: caller_dialect, protocol, body, request: &asked };
        for loss in encoded.losses.iter() {
            let name = caller_dialect.name_of(&loss.field, Some(&asked));
            let checked = caller
                .check_name(&name)
                .and_then(|()| caller.check_place(&loss.field, &name))
                .and_then(|()| caller.check_sentence(&loss.reason));
            checked.map_err(|fault| format!("{}: {loss:?}: {fault}", column.model))?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(testkit::random::cases(80))]

    #[test]
    fn messages_callers_read_the_names_of_their_own_format(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let body = messages_body(&mut Dice(bytes.iter()));
        let result = check(Protocol::AnthropicMessages, &body);
        prop_assert!(result.is_ok(), "{}\n{body:#}", result.unwrap_err());
    }

    #[test]
    fn gemini_callers_read_the_names_of_their_own_format(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let body = gemini_body(&mut Dice(bytes.iter()));
        let result = check(Protocol::Gemini, &body);
        prop_assert!(result.is_ok(), "{}\n{body:#}", result.unwrap_err());
    }
}

/// The names of the losses of a body at a provider.
fn lost(protocol: Protocol, body: &Value, upstream: Protocol, facts: &ModelFacts) -> Vec<String> {
    let caller = dialect(protocol).unwrap();
    let request = caller.decode_request(body.to_string().as_bytes()).unwrap();
    let target = Target { model: "m", facts, quirks: &Quirks::default() };
    let encoded = wire::adapter(upstream).encode_request(&request, target).unwrap();
    let losses = encoded.losses.named(|field| caller.name_of(field, Some(&request)));
    losses.iter().map(|loss| loss.field.to_string()).collect()
}

#[test]
fn paths_are_right_when_one_turn_becomes_several_messages() {
    let body = json!({"model": "m", "max_tokens": 99, "system": "s", "messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm"},
            {"type": "text", "text": "so"},
            {"type": "tool_use", "id": "1", "name": "f", "input": {}},
            {"type": "tool_use", "id": "2", "name": "f", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": "one"},
            {"type": "tool_result", "tool_use_id": "2", "is_error": true, "content": [{"type": "text", "text": "two"}]},
            {"type": "text", "text": "why?"},
        ]},
        {"role": "system", "content": "be brief"},
    ]});
    let none = ModelFacts::default();
    let messages = Protocol::AnthropicMessages;
    assert_eq!(lost(messages, &body, Protocol::CohereChat, &none)[0], "messages[2].content[1].is_error");
    let names = lost(messages, &body, messages, &none);
    assert_eq!(names, ["messages[1].content[0]", "messages[3].role", "tools"]);

    let body = json!({"systemInstruction": {"parts": [{"text": "s"}]}, "contents": [
        {"role": "user", "parts": [{"text": "a"}]},
        {"role": "model", "parts": [{"text": "so"}, {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "s"}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"error": "no"}}}, {"text": "why?"}]},
    ], "generationConfig": {"topK": 5, "seed": 3, "thinkingConfig": {"thinkingBudget": 0}}});
    let names = lost(Protocol::Gemini, &body, Protocol::AnthropicMessages, &none);
    assert_eq!(names, ["contents[1].parts[1].thoughtSignature", "tools", "generationConfig.seed"]);
}

#[test]
fn losses_are_named_by_the_spelling_that_the_caller_used() {
    let facts = ModelFacts { reasoning: Some(ReasoningControl::None), ..ModelFacts::default() };
    let at_ollama = |protocol, body: Value| lost(protocol, &body, Protocol::OllamaChat, &facts);
    let user = json!([{"role": "user", "content": "a"}]);
    let thinking = json!({"model": "m", "max_tokens": 9, "messages": user, "thinking": {"type": "adaptive"}});
    assert_eq!(at_ollama(Protocol::AnthropicMessages, thinking), ["thinking"]);
    let effort = json!({"model": "m", "max_tokens": 9, "messages": user, "output_config": {"effort": "low"}});
    assert_eq!(at_ollama(Protocol::AnthropicMessages, effort), ["output_config.effort"]);
    let contents = json!([{"parts": [{"text": "a"}]}]);
    let level =
        json!({"contents": contents, "generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}});
    assert_eq!(at_ollama(Protocol::Gemini, level), ["generationConfig.thinkingConfig.thinkingLevel"]);
}
