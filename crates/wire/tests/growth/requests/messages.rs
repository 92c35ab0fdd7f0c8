//! In the format of Anthropic's messages.

use super::{Dimension, list, schemas, text};

pub fn dimensions() -> Vec<Dimension> {
    let schemas = [
        schemas(
            "a tool",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"tools":[{"name":"f","input_schema":@}]}"#,
        ),
        schemas(
            "an output",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"output_config":{"format":{"type":"json_schema","schema":@}}}"#,
        ),
    ];
    [conversation(), media(), calls(), tools(), settings()].into_iter().chain(schemas).flatten().collect()
}

const MESSAGES: &str = r#"{"model":"m","max_tokens":9,"messages":[@]}"#;
const PARTS: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[@]}]}"#;
const SAID: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[@]},{"role":"user","content":"y"}]}"#;
const STOP: &str =
    r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"stop_sequences":[@]}"#;
const SYSTEM: &str =
    r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"system":[@]}"#;
const TOOLS: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"tools":[@]}"#;

fn conversation() -> Vec<Dimension> {
    vec![
        list(
            "messages",
            MESSAGES,
            r#"{"role":"user","content":"a sentence of some length, as people write them"},{"role":"assistant","content":"and one that answers it"}"#,
        ),
        list("least messages", MESSAGES, r#"{"role":"user","content":"x"}"#),
        list("system blocks", SYSTEM, r#"{"type":"text","text":"a rule that the model has to keep"}"#),
        list("least system blocks", SYSTEM, r#"{"type":"text","text":"x"}"#),
        list("parts", PARTS, r#"{"type":"text","text":"a sentence of some length, as people write them"}"#),
        list("least parts", PARTS, r#"{"type":"text","text":"x"}"#),
        list("empty parts", PARTS, r#"{"type":"text","text":""}"#),
        text(
            "length of a text",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"@"}]}"#,
            "a",
        ),
        text(
            "escapes",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"@"}]}"#,
            "\\u00e9\\n",
        ),
        list(
            "cache marks",
            PARTS,
            r#"{"type":"text","text":"a sentence of some length","cache_control":{"type":"ephemeral"}}"#,
        ),
        list(
            "thinking",
            MESSAGES,
            r#"{"role":"assistant","content":[{"type":"thinking","thinking":"a thought №","signature":"c2lnbmF0dXJl"},{"type":"text","text":"x"}]},{"role":"user","content":"and then?"}"#,
        ),
        list("blocks of thinking", SAID, r#"{"type":"thinking","thinking":"a","signature":"c2ln"}"#),
        list("redacted thinking", SAID, r#"{"type":"redacted_thinking","data":"c2lnbmF0dXJl"}"#),
        list(
            "unknown fields of messages",
            MESSAGES,
            r#"{"role":"user","content":"x","unknown":1,"further":2}"#,
        ),
        list("unknown fields of parts", PARTS, r#"{"type":"text","text":"x","unknown":1}"#),
        list(
            "unknown fields of one part",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"x",@}]}]}"#,
            r#""unknown_№":1"#,
        ),
        list(
            "blocks of a server's tools",
            SAID,
            r#"{"type":"server_tool_use","id":"s№","name":"web_search","input":{"query":"x"}}"#,
        ),
    ]
}

fn media() -> Vec<Dimension> {
    const DOCUMENT: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"@","media_type":"text/plain","data":"x"}}]}]}"#;
    vec![
        list(
            "pictures",
            PARTS,
            r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"}}"#,
        ),
        list(
            "pictures by address",
            PARTS,
            r#"{"type":"image","source":{"type":"url","url":"https://x.test/№.png"}}"#,
        ),
        text(
            "length of a picture",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"@"}}]}]}"#,
            "AAAA",
        ),
        list(
            "documents",
            PARTS,
            r#"{"type":"document","title":"the title","context":"c","source":{"type":"text","media_type":"text/plain","data":"what it says"}}"#,
        ),
        list(
            "documents of one name",
            PARTS,
            r#"{"type":"document","title":"t","source":{"type":"base64","media_type":"application/pdf","data":"QUFB"}}"#,
        ),
        text("length of a kind", DOCUMENT, "k"),
        list(
            "blocks of a document",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"content","content":[@]}}]}]}"#,
            r#"{"type":"text","text":"x"}"#,
        ),
        list(
            "search results",
            PARTS,
            r#"{"type":"search_result","title":"t","source":"https://x.test","content":[{"type":"text","text":"found"}]}"#,
        ),
    ]
}

fn calls() -> Vec<Dimension> {
    let many = |name: &str, call: &'static str, result: &'static str| {
        Dimension::new(name, move |count| {
            let numbered = |item: &'static str| super::repeat(count, |at| item.replace('№', &at.to_string()));
            format!(
                r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"x"}},{{"role":"assistant","content":[{}]}},{{"role":"user","content":[{}]}}]}}"#,
                numbered(call),
                numbered(result)
            )
        })
    };
    vec![
        many(
            "calls and results",
            r#"{"type":"tool_use","id":"t№","name":"f","input":{"a":1}}"#,
            r#"{"type":"tool_result","tool_use_id":"t№","content":"found"}"#,
        ),
        many(
            "calls with one id",
            r#"{"type":"tool_use","id":"t","name":"f","input":{"a":1}}"#,
            r#"{"type":"tool_result","tool_use_id":"t","content":"found"}"#,
        ),
        many(
            "least calls and results",
            r#"{"type":"tool_use","id":"№","name":"f"}"#,
            r#"{"type":"tool_result","tool_use_id":"№"}"#,
        ),
        list(
            "rounds of tools",
            MESSAGES,
            r#"{"role":"assistant","content":[{"type":"tool_use","id":"t№","name":"f","input":{"a":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t№","content":[{"type":"text","text":"found"}]}]}"#,
        ),
        list(
            "numbers of a call",
            SAID,
            r#"{"type":"tool_use","id":"t№","name":"f","input":{"a":[1,1,1,1,1,1,1,1,1,1,1,1]}}"#,
        ),
        list(
            "parts of a result",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[@]}]}]}"#,
            r#"{"type":"text","text":"x"}"#,
        ),
        text(
            "length of an id",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"@","name":"f","input":{}}]},{"role":"user","content":"y"}]}"#,
            "i",
        ),
    ]
}

fn tools() -> Vec<Dimension> {
    vec![
        list(
            "tools",
            TOOLS,
            r#"{"name":"tool_№","description":"what it does","input_schema":{"type":"object","properties":{"a":{"type":"string"}}}}"#,
        ),
        list("least tools", TOOLS, r#"{"name":"t№","input_schema":{}}"#),
        list(
            "names of tools that become one",
            TOOLS,
            r#"{"name":"tool.with.dots.№…","input_schema":{"type":"object"}}"#,
        ),
        list("hosted tools", TOOLS, r#"{"type":"web_search_20250305","name":"web_search","max_uses":№}"#),
        text(
            "length of a tool's name",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"tools":[{"name":"@","input_schema":{"type":"object"}}]}"#,
            "n",
        ),
    ]
}

fn settings() -> Vec<Dimension> {
    vec![
        list("stop words", STOP, r#""stop №""#),
        list("empty stop words", STOP, r#""""#),
        text(
            "length of a user's id",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"metadata":{"user_id":"@"}}"#,
            "u",
        ),
        list(
            "metadata",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"metadata":{@}}"#,
            r#""key_№":"value""#,
        ),
        text(
            "length of an unknown name",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"@":1}"#,
            "u",
        ),
        list(
            "numbers of an unknown field",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"unknown":[@]}"#,
            "1",
        ),
        list(
            "servers",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"mcp_servers":[@]}"#,
            r#"{"type":"url","name":"s№","url":"https://x.test"}"#,
        ),
    ]
}
