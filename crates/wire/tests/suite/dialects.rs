//! Fields that a dialect reads but cannot keep are reported, by every dialect and for every provider.

use canon::{LossAction, ModelFacts, Quirks, Target};
use serde_json::{Value, json};
use wire::Protocol;

fn losses_of(protocol: Protocol, body: &Value) -> Vec<String> {
    let request = wire::dialect(protocol).unwrap().decode_request(body.to_string().as_bytes()).unwrap();
    // The adapter reports the losses of the dialect, too.
    let (facts, quirks) = (ModelFacts::default(), Quirks::default());
    let target = Target { model: "m", facts: &facts, quirks: &quirks };
    for upstream in Protocol::ALL {
        if let Ok(encoded) = wire::adapter(upstream).encode_request(&request, target) {
            let told = request.losses.iter().all(|loss| encoded.losses.iter().any(|other| other == loss));
            assert!(told, "{upstream:?}: {:?}", encoded.losses);
        }
    }
    let line = |loss: &canon::Loss| match loss.action {
        LossAction::Dropped => loss.field.to_string(),
        action => format!("{} {}", loss.field, action.as_str()),
    };
    request.losses.iter().map(line).collect()
}

#[test]
fn losses_are_reported_to_anthropic_callers() {
    let lost = losses_of(
        Protocol::AnthropicMessages,
        &json!({
            "model": "m",
            "max_tokens": 9,
            "system": [{"type": "text", "text": "s", "citations": null}],
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "a", "x_new": 1},
                    {"type": "document", "title": "t", "context": "c", "citations": {"enabled": true},
                        "source": {"type": "content", "content": [{"type": "text", "text": "b"}]}},
                    {"type": "search_result", "title": "t", "source": "u", "content": [{"type": "text", "text": "b"}],
                        "citations": {"enabled": false}},
                ], "x_new": true},
                {"role": "assistant", "content": [
                    {"type": "text", "text": "a", "citations": [{"type": "char_location"}]},
                    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}, "x_new": 1},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "direct"}},
                    {"type": "tool_use", "id": "u", "name": "f", "input": {}, "caller": {"type": "code", "tool_id": "c"}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "a", "citations": []}]},
                    {"type": "tool_result", "tool_use_id": "u", "content": [{"type": "image", "x_new": 1,
                        "source": {"type": "url", "url": "https://x.test/a.png"}}]},
                ]},
            ],
            "tools": [
                {"name": "f", "input_schema": {"type": "object"}, "defer_loading": true, "input_examples": [{}]},
                {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
            ],
            "tool_choice": {"type": "auto", "x_new": 1},
            "thinking": {"type": "disabled"},
            "output_config": {"effort": "low"},
        }),
    );
    let want = [
        "messages[0].x_new",
        "messages[0].content[0].x_new",
        "messages[0].content[1].citations",
        "messages[0].content[1].context approximated",
        "messages[0].content[1].source approximated",
        "messages[0].content[2] approximated",
        "messages[1].content[0].citations",
        "messages[1].content[3].caller",
        "messages[2].content[1].content[0].x_new",
        "tools[0].defer_loading",
        "tools[0].input_examples",
        "tool_choice.x_new",
        "output_config.effort",
    ];
    assert_eq!(lost, want);
}

#[test]
fn losses_are_reported_to_google_callers() {
    let lost = losses_of(
        Protocol::Gemini,
        &json!({
            "contents": [
                {"role": "user", "x_new": 1, "parts": [
                    {"text": "a", "x_new": 1},
                    {"fileData": {"fileUri": "gs://b/a.png", "mimeType": "image/png"}, "videoMetadata": {"fps": 1}},
                    {"fileData": {"fileUri": "gs://b/a", "mimeType": "image/png"}},
                    {"x_part": {}},
                ]},
                {"role": "model", "parts": [
                    {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB"}},
                    {"executableCode": {"language": "PYTHON", "code": "1"}},
                    {"functionCall": {"name": "f", "args": {}, "x_new": 1}, "thoughtSignature": "s"},
                    {"thoughtSignature": "alone"},
                ]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "1"}, "scheduling": "SILENT"}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "f", "behavior": "BLOCKING", "response": {"type": "STRING"}}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "AUTO", "x_new": 1}, "retrievalConfig": {"languageCode": "en"}},
            "generationConfig": {"responseSchema": {"type": "STRING"}, "thinkingConfig": {"thinkingBudget": 5, "x_new": 1}},
        }),
    );
    let want = [
        "contents[0].parts[0].x_new",
        "contents[0].parts[1].videoMetadata",
        "contents[0].parts[2].fileData.mimeType",
        "contents[0].parts[3].xPart",
        "contents[0].xNew",
        "contents[1].parts[0].toolCall",
        "contents[1].parts[1].executableCode approximated",
        "contents[1].parts[2].functionCall.xNew",
        "contents[2].parts[0].functionResponse.scheduling",
        "tools[0].functionDeclarations[0].behavior",
        "tools[0].functionDeclarations[0].response",
        "toolConfig.retrievalConfig",
        "toolConfig.functionCallingConfig.xNew",
        "generationConfig.thinkingConfig.xNew",
        "generationConfig.responseSchema",
    ];
    let want: Vec<String> = want.iter().map(|field| field.replace("x_new", "xNew")).collect();
    assert_eq!(lost, want);
}

#[test]
fn losses_are_reported_to_openai_callers() {
    let lost = losses_of(
        Protocol::OpenaiChat,
        &json!({
            "model": "m",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a", "x_new": 1}, {"type": "text", "text": "b", "x_new": null}]},
                {"role": "assistant", "content": "a", "audio": {"id": "a"}, "annotations": [], "refusal": null, "prefix": true,
                    "x_new": "é"},
            ],
            "tools": [
                {"type": "function", "x_new": 1, "function": {"name": "f", "x_new": 1, "parameters": {"x_new": 1}}},
            ],
            "reasoning": {"effort": "low", "summary": "auto"},
        }),
    );
    let want = [
        "messages[0].content[0].x_new",
        "messages[1].audio",
        "messages[1].prefix",
        "messages[1].x_new",
        "tools[0].x_new",
        "tools[0].function.x_new",
        "reasoning.summary",
    ];
    assert_eq!(lost, want);
}
