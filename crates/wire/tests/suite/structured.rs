//! Structured output: native where the format has it, otherwise by a forced tool or an instruction. Schemas
//! contain only the keywords that each provider knows, and names of properties are never changed.

use crate::checks::chat_intake;
use canon::{Feature, Features, LossAction, ModelFacts, Quirks, Target};
use serde_json::{Map, Value, json};
use wire::protocols::openai_chat::{OpenaiChat, forward};
use wire::{Dialect, Encoded, Protocol, adapter};

/// Properties whose names are keywords, and every keyword that some provider does not know.
fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Answer",
        "type": "object",
        "additionalProperties": false,
        "required": ["const", "type"],
        "properties": {
            "const": {"const": "fixed"},
            "type": {"type": "string", "enum": ["a", "b"], "minLength": 1},
            "$ref": {"$ref": "#/$defs/node"},
            "properties": {"type": "object", "properties":
                {"additionalProperties": {"type": "integer", "minimum": 1, "exclusiveMaximum": 10}},
                "required": ["additionalProperties"], "additionalProperties": false},
            "anyOf": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "nullable": {"type": "string", "nullable": true},
            "items": {"type": "array", "items": {"$ref": "#/$defs/node"}, "minItems": 2, "uniqueItems": true},
            "oneOf": {"oneOf": [{"type": "integer"}, {"type": "boolean"}]},
            "not": {"not": {"type": "string"}},
            "patternProperties": {"type": "object", "patternProperties": {"^x": {"type": "string"}},
                "additionalProperties": {"type": "string"}},
            "format": {"type": "string", "x-vendor": "y", "format": "phone"},
        },
        "$defs": {"node": {"type": "object", "properties":
            {"next": {"$ref": "#/$defs/leaf"}, "default": {"type": "string", "default": "d"}}, "required": ["next"]},
            "leaf": {"type": "integer"}},
    })
}

fn body(format: &Value, extra: Value) -> Value {
    let mut body =
        json!({"model": "x", "messages": [{"role": "user", "content": "?"}], "response_format": format});
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn encoded(protocol: Protocol, model: &str, native: bool, format: &Value, extra: Value) -> Encoded {
    let body = body(format, extra).to_string();
    let features = if native { Features::all() } else { Features::all().without(Feature::JsonSchema) };
    let facts = ModelFacts { features: Some(features), ..ModelFacts::default() };
    let quirks = Quirks { no_json_schema: !native, ..Quirks::default() };
    let target = Target { model, facts: &facts, quirks: &quirks };
    match protocol {
        Protocol::OpenaiChat => forward(&chat_intake(body.as_bytes()).unwrap(), target).unwrap(),
        protocol => {
            let request = OpenaiChat.decode_request(body.as_bytes()).unwrap();
            adapter(protocol).encode_request(&request, target).unwrap()
        }
    }
}

fn json_schema() -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema()}})
}

fn sent(encoded: &Encoded) -> Value {
    serde_json::from_slice(&encoded.body).unwrap()
}

/// The place of the answer's schema in each format.
fn native_schema(protocol: Protocol, body: &Value) -> Value {
    let place = match protocol {
        Protocol::OpenaiChat => "/response_format/json_schema/schema",
        Protocol::AnthropicMessages => "/output_config/format/schema",
        Protocol::Gemini => "/generationConfig/responseJsonSchema",
        Protocol::BedrockConverse => "/outputConfig/textFormat/structure/jsonSchema/schema",
        Protocol::CohereChat => "/response_format/json_schema",
        Protocol::OllamaChat => "/format",
        Protocol::OpenaiResponses => "/text/format/schema",
        Protocol::OpenaiCompletions => unreachable!("texts have no schema"),
    };
    match body.pointer(place) {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap(),
        found => found.cloned().unwrap_or_else(|| panic!("{protocol:?}: {body}")),
    }
}

/// Visits every schema inside of a schema. The members of `properties` and `$defs` are names.
fn visit(schema: &Value, seen: &mut impl FnMut(&Map<String, Value>)) {
    let Some(members) = schema.as_object() else { return };
    seen(members);
    for (name, value) in members {
        match name.as_str() {
            "properties" | "$defs" | "definitions" | "patternProperties" => {
                value.as_object().unwrap().values().for_each(|inner| visit(inner, seen));
            }
            "anyOf" | "allOf" | "oneOf" | "prefixItems" => {
                value.as_array().unwrap().iter().for_each(|inner| visit(inner, seen));
            }
            "items" | "not" | "additionalProperties" => visit(value, seen),
            _ => {}
        }
    }
}

const NATIVE: [(Protocol, &str); 7] = [
    (Protocol::OpenaiChat, "gpt-5.1"),
    (Protocol::OpenaiResponses, "gpt-5.1"),
    (Protocol::AnthropicMessages, "claude-sonnet-4-5"),
    (Protocol::Gemini, "gemini-3-pro-preview"),
    (Protocol::BedrockConverse, "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    (Protocol::CohereChat, "command-a-03-2025"),
    (Protocol::OllamaChat, "qwen3"),
];

/// The keywords in each provider's documentation; none where all are accepted.
fn known(protocol: Protocol) -> Option<&'static [&'static str]> {
    match protocol {
        Protocol::AnthropicMessages | Protocol::BedrockConverse => Some(&[
            "type",
            "properties",
            "required",
            "additionalProperties",
            "items",
            "enum",
            "const",
            "anyOf",
            "allOf",
            "$ref",
            "$defs",
            "description",
            "title",
            "default",
            "format",
            "pattern",
            "minItems",
        ]),
        Protocol::Gemini => Some(&[
            "type",
            "properties",
            "required",
            "additionalProperties",
            "items",
            "enum",
            "anyOf",
            "$ref",
            "$defs",
            "description",
            "title",
            "default",
            "format",
            "pattern",
            "minItems",
            "maxItems",
            "uniqueItems",
            "minimum",
            "maximum",
            "minLength",
            "maxLength",
            "prefixItems",
            "propertyOrdering",
        ]),
        Protocol::CohereChat => Some(&[
            "type",
            "properties",
            "required",
            "additionalProperties",
            "items",
            "enum",
            "const",
            "anyOf",
            "$ref",
            "$defs",
            "description",
            "title",
            "default",
            "format",
            "pattern",
        ]),
        Protocol::OpenaiChat
        | Protocol::OpenaiResponses
        | Protocol::OllamaChat
        | Protocol::OpenaiCompletions => None,
    }
}

#[test]
fn schemas_hold_only_known_keywords_and_names_stay() {
    for (protocol, model) in NATIVE {
        let encoded = encoded(protocol, model, true, &json_schema(), json!({}));
        let found = native_schema(protocol, &sent(&encoded));
        let names = |schema: &Value| -> Vec<String> {
            let mut names: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(&found), names(&schema()), "{protocol:?}");
        assert_eq!(found["required"], json!(["const", "type"]), "{protocol:?}");
        let Some(known) = known(protocol) else {
            assert_eq!(found, schema(), "{protocol:?}");
            assert!(encoded.losses.is_empty(), "{protocol:?}: {:?}", encoded.losses);
            continue;
        };
        let closed = matches!(protocol, Protocol::AnthropicMessages | Protocol::BedrockConverse);
        visit(&found, &mut |members| {
            let unknown: Vec<_> = members.keys().filter(|name| !known.contains(&name.as_str())).collect();
            assert!(unknown.is_empty(), "{protocol:?}: {unknown:?} in {members:?}");
            if closed && members.get("type").is_some_and(|kind| kind == "object") {
                assert_eq!(members["additionalProperties"], false, "{protocol:?}: {members:?}");
            }
        });
        // A nullable property is still nullable, and a constant is still constant.
        let nullable = &found["properties"]["nullable"];
        let takes_null =
            nullable["type"] == json!(["string", "null"]) || nullable["anyOf"][1]["type"] == "null";
        assert!(takes_null, "{protocol:?}: {nullable}");
        let fixed = &found["properties"]["const"];
        assert!(fixed["const"] == "fixed" || fixed["enum"] == json!(["fixed"]), "{protocol:?}: {fixed}");
        assert_eq!(found["properties"]["$ref"]["$ref"], "#/$defs/node", "{protocol:?}");
        let loss = encoded.losses.iter().find(|loss| loss.field.name().starts_with("response_format"));
        let loss = loss.unwrap_or_else(|| panic!("{protocol:?}: {:?}", encoded.losses));
        assert_eq!(loss.action, LossAction::Approximated, "{protocol:?}");
    }
}

/// A model without schemas answers through a tool that it must call, or gets an instruction; both are reported.
#[test]
fn structured_output_that_is_not_native_is_emulated_and_reported() {
    let cases = [
        (Protocol::OpenaiChat, "m", false),
        (Protocol::AnthropicMessages, "claude-3-5-haiku-20241022", true),
        (Protocol::BedrockConverse, "us.anthropic.claude-3-5-haiku-20241022-v1:0", true),
    ];
    for (protocol, model, by_tool) in cases {
        for stream in [false, true] {
            let encoded = encoded(protocol, model, false, &json_schema(), json!({"stream": stream}));
            let body = sent(&encoded);
            let emulated = encoded
                .losses
                .iter()
                .any(|loss| loss.field.name() == "response_format" && loss.action == LossAction::Emulated);
            assert!(emulated, "{protocol:?}: {:?}", encoded.losses);
            match &encoded.decoding.json_tool {
                Some(name) if by_tool => {
                    let text = body.to_string();
                    assert!(text.contains(&format!("\"name\":\"{name}\"")), "{protocol:?}: {text}");
                    assert!(text.contains("patternProperties"), "{protocol:?}: the tool has the schema");
                }
                None if !by_tool => {
                    assert_eq!(body["response_format"], json!({"type": "json_object"}));
                    assert!(body["messages"][0]["content"].as_str().unwrap().contains("patternProperties"));
                }
                other => panic!("{protocol:?}: {other:?}"),
            }
        }
    }
}

/// Every format can return a JSON object: by a field of the format, a tool, or an instruction.
#[test]
fn json_objects_are_available_in_every_format() {
    let format = json!({"type": "json_object"});
    for (protocol, model) in NATIVE {
        let encoded = encoded(protocol, model, true, &format, json!({}));
        let body = sent(&encoded);
        let native = match protocol {
            Protocol::OpenaiChat | Protocol::CohereChat => body["response_format"]["type"] == "json_object",
            Protocol::Gemini => body["generationConfig"]["responseMimeType"] == "application/json",
            Protocol::OllamaChat => body["format"] == "json",
            Protocol::OpenaiResponses => body["text"]["format"]["type"] == "json_object",
            Protocol::AnthropicMessages | Protocol::BedrockConverse | Protocol::OpenaiCompletions => false,
        };
        let emulated = encoded.losses.iter().any(|loss| loss.action == LossAction::Emulated);
        assert!(native != emulated, "{protocol:?}: {:?} {body}", encoded.losses);
        assert!(native || body.to_string().contains("JSON"), "{protocol:?}: {body}");
    }
}

/// One family of models, in the format of each of its hosts.
const CLAUDE: [(Protocol, &str); 3] = [
    (Protocol::AnthropicMessages, "claude-sonnet-4-5"),
    (Protocol::AnthropicMessages, "claude-sonnet-4-5@20250929"),
    (Protocol::BedrockConverse, "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
];

/// The names of the tools that are sent as strict.
fn strict_tools(protocol: Protocol, body: &Value) -> Vec<String> {
    let tools = match protocol {
        Protocol::BedrockConverse => &body["toolConfig"]["tools"],
        _ => &body["tools"],
    };
    let tools = tools.as_array().into_iter().flatten().map(|tool| tool.get("toolSpec").unwrap_or(tool));
    let strict = tools.filter(|tool| tool["strict"] == true);
    strict.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn schemas_that_claude_cannot_enforce_are_emulated_at_every_host() {
    let node = json!({"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}},
        "required": ["children"], "additionalProperties": false});
    let of = |a: Value, definitions: Value| {
        json!({"type": "object", "properties": {"a": a}, "required": ["a"], "additionalProperties": false,
            "$defs": definitions})
    };
    let many = |count: usize, kind: Value, required: bool| {
        let fields: Map<String, Value> =
            (0..count).map(|field| (format!("f{field}"), kind.clone())).collect();
        let names: Vec<_> = fields.keys().filter(|_| required).cloned().collect();
        json!({"type": "object", "properties": fields, "required": names, "additionalProperties": false})
    };
    let leaf = json!({"type": "string"});
    let both = json!({"allOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]});
    let cases = [
        ("recursive", of(json!({"$ref": "#/$defs/Node"}), json!({"Node": node})), false),
        ("allOf of references", of(both, json!({"A": leaf, "B": leaf})), false),
        ("24 optional parameters", many(24, leaf.clone(), false), true),
        ("25 optional parameters", many(25, leaf.clone(), false), false),
        ("16 parameters of several types", many(16, json!({"type": ["string", "null"]}), true), true),
        ("17 parameters of several types", many(17, json!({"anyOf": [leaf, {"type": "null"}]}), true), false),
    ];
    for (name, schema, fits) in cases {
        let format =
            json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": schema}});
        let tool =
            json!({"type": "function", "function": {"name": "f", "parameters": schema, "strict": true}});
        for (protocol, model) in CLAUDE {
            let answer = encoded(protocol, model, true, &format, json!({}));
            let body = sent(&answer);
            let native = body.get("output_config").or(body.get("outputConfig")).is_some();
            assert_eq!(native, fits, "{name}: {body}");
            let told = answer.losses.iter().any(|loss| loss.field.name() == "response_format");
            assert_eq!(told, !fits, "{name}: {:?}", answer.losses);
            assert_eq!(answer.decoding.json_tool.is_some(), !fits, "{name}: {body}");

            let tools = encoded(protocol, model, true, &json!({"type": "text"}), json!({ "tools": [tool] }));
            let strict = strict_tools(protocol, &sent(&tools));
            assert_eq!(strict.len(), usize::from(fits), "{name}: {:?}", tools.losses);
            let told = tools.losses.iter().any(|loss| loss.field.name() == "tools[0].function.strict");
            assert_eq!(told, !fits, "{name}: {:?}", tools.losses);
        }
    }
}

#[test]
fn limits_on_schemas_count_the_answer_and_all_tools_together() {
    let closed = |optional: usize| {
        let fields = (0..optional).map(|field| (format!("f{field}"), json!({"type": "string"})));
        let fields: Map<String, Value> = fields.collect();
        json!({"type": "object", "properties": fields, "required": [], "additionalProperties": false})
    };
    let tool = |name: &str, optional: usize| json!({"type": "function", "function": {"name": name, "parameters": closed(optional), "strict": true}});
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": closed(20)}});
    for (protocol, model) in CLAUDE {
        let tools = json!({"tools": [tool("a", 5), tool("b", 4), tool("c", 1)]});
        let encoded_tools = encoded(protocol, model, true, &format, tools);
        assert_eq!(strict_tools(protocol, &sent(&encoded_tools)), ["b"], "{:?}", encoded_tools.losses);
        let tools: Vec<_> = (0..22).map(|number| tool(&format!("t{number}"), 0)).collect();
        let many = encoded(protocol, model, true, &json!({"type": "text"}), json!({ "tools": tools }));
        assert_eq!(strict_tools(protocol, &sent(&many)).len(), 20);
        let lost: Vec<_> = many.losses.iter().map(|loss| loss.field.name()).collect();
        assert_eq!(lost, ["tools[20].function.strict", "tools[21].function.strict"]);
    }
}
