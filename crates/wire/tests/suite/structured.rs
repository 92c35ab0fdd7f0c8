//! Structured output: native where the format has it, by a forced tool or an instruction where not, and schemas that hold
//! only what each provider knows, without touching names.

use canon::{Feature, Features, LossAction, ModelFacts, Quirks, Target};
use serde_json::{Map, Value, json};
use wire::protocols::openai_chat::{OpenaiChat, Outline, forward};
use wire::{Dialect, Encoded, Protocol, adapter};

/// Names of properties that are keywords too, and every keyword that someone does not know.
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
            {"next": {"$ref": "#/$defs/node"}, "default": {"type": "string", "default": "d"}}, "required": ["next"]}},
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
        Protocol::OpenaiChat => forward(&Outline::read(body.as_bytes()).unwrap(), target).unwrap(),
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

/// Where each format keeps the schema of the answer.
fn native_schema(protocol: Protocol, body: &Value) -> Value {
    let place = match protocol {
        Protocol::OpenaiChat => "/response_format/json_schema/schema",
        Protocol::AnthropicMessages => "/output_config/format/schema",
        Protocol::Gemini => "/generationConfig/responseJsonSchema",
        Protocol::BedrockConverse => "/outputConfig/textFormat/structure/jsonSchema/schema",
        Protocol::CohereChat => "/response_format/json_schema",
        Protocol::OllamaChat => "/format",
    };
    match body.pointer(place) {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap(),
        found => found.cloned().unwrap_or_else(|| panic!("{protocol:?}: {body}")),
    }
}

/// Visits every schema of a schema; what stands under `properties` and `$defs` are names.
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

const NATIVE: [(Protocol, &str); 6] = [
    (Protocol::OpenaiChat, "gpt-5.1"),
    (Protocol::AnthropicMessages, "claude-sonnet-4-5"),
    (Protocol::Gemini, "gemini-3-pro-preview"),
    (Protocol::BedrockConverse, "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    (Protocol::CohereChat, "command-a-03-2025"),
    (Protocol::OllamaChat, "qwen3"),
];

/// By the documentation of each provider; none where everything is taken.
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
        Protocol::OpenaiChat | Protocol::OllamaChat => None,
    }
}

#[test]
fn schemas_hold_what_the_provider_knows_and_names_stay() {
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
        // What may be null still may, and what is fixed still is.
        let nullable = &found["properties"]["nullable"];
        let takes_null =
            nullable["type"] == json!(["string", "null"]) || nullable["anyOf"][1]["type"] == "null";
        assert!(takes_null, "{protocol:?}: {nullable}");
        let fixed = &found["properties"]["const"];
        assert!(fixed["const"] == "fixed" || fixed["enum"] == json!(["fixed"]), "{protocol:?}: {fixed}");
        assert_eq!(found["properties"]["$ref"]["$ref"], "#/$defs/node", "{protocol:?}");
        let loss = encoded.losses.iter().find(|loss| loss.field.starts_with("response_format"));
        let loss = loss.unwrap_or_else(|| panic!("{protocol:?}: {:?}", encoded.losses));
        assert_eq!(loss.action, LossAction::Approximated, "{protocol:?}");
    }
}

/// A model without schemas answers through a tool that it must call, or is told in words; either way it is said.
#[test]
fn what_is_not_native_is_emulated_and_said_to_be() {
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
                .any(|loss| loss.field == "response_format" && loss.action == LossAction::Emulated);
            assert!(emulated, "{protocol:?}: {:?}", encoded.losses);
            match &encoded.undo.json_tool {
                Some(name) if by_tool => {
                    let text = body.to_string();
                    assert!(text.contains(&format!("\"name\":\"{name}\"")), "{protocol:?}: {text}");
                    assert!(text.contains("patternProperties"), "{protocol:?}: the schema is the tool's");
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

/// Any JSON object is to be had everywhere: by a field of the format, a tool, or in words.
#[test]
fn json_objects_are_to_be_had_everywhere() {
    let format = json!({"type": "json_object"});
    for (protocol, model) in NATIVE {
        let encoded = encoded(protocol, model, true, &format, json!({}));
        let body = sent(&encoded);
        let native = match protocol {
            Protocol::OpenaiChat | Protocol::CohereChat => body["response_format"]["type"] == "json_object",
            Protocol::Gemini => body["generationConfig"]["responseMimeType"] == "application/json",
            Protocol::OllamaChat => body["format"] == "json",
            Protocol::AnthropicMessages | Protocol::BedrockConverse => false,
        };
        let emulated = encoded.losses.iter().any(|loss| loss.action == LossAction::Emulated);
        assert!(native != emulated, "{protocol:?}: {:?} {body}", encoded.losses);
        assert!(native || body.to_string().contains("JSON"), "{protocol:?}: {body}");
    }
}
