//! In the format of OpenAI's Responses.

use super::{Dimension, list, repeat, schemas, text};

pub fn dimensions() -> Vec<Dimension> {
    let schemas = [
        schemas(
            "a tool",
            r#"{"model":"m","input":"x","tools":[{"type":"function","name":"f","parameters":@}]}"#,
        ),
        schemas(
            "an output",
            r#"{"model":"m","input":"x","text":{"format":{"type":"json_schema","name":"f","schema":@}}}"#,
        ),
    ];
    [conversation(), calls(), tools(), settings()].into_iter().chain(schemas).flatten().collect()
}

const INPUT: &str = r#"{"model":"m","input":[@]}"#;
const PARTS: &str = r#"{"model":"m","input":[{"role":"user","content":[@]}]}"#;
const SAID: &str = r#"{"model":"m","input":[{"role":"user","content":"x"},{"type":"message","role":"assistant","content":[@]}]}"#;
const TOOLS: &str = r#"{"model":"m","input":"x","tools":[@]}"#;

fn conversation() -> Vec<Dimension> {
    vec![
        list(
            "messages",
            INPUT,
            r#"{"role":"user","content":"a sentence of some length, as people write them"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"and one that answers it","annotations":[]}]}"#,
        ),
        list("least messages", INPUT, r#"{"role":"user","content":"x"}"#),
        list("least answers", INPUT, r#"{"role":"assistant","content":"x"}"#),
        list(
            "parts",
            PARTS,
            r#"{"type":"input_text","text":"a sentence of some length, as people write them"}"#,
        ),
        list("least parts", PARTS, r#"{"type":"input_text","text":"x"}"#),
        list("empty parts", PARTS, r#"{"type":"input_text","text":""}"#),
        list("parts of an answer", SAID, r#"{"type":"output_text","text":"x"}"#),
        list(
            "annotations",
            SAID,
            r#"{"type":"output_text","text":"x","annotations":[{"type":"url_citation","start_index":0,"end_index":1,"title":"t","url":"u"}]}"#,
        ),
        text("length of a text", r#"{"model":"m","input":"@"}"#, "a"),
        text("escapes", r#"{"model":"m","input":"@"}"#, "\\u00e9\\n"),
        text("length of the instructions", r#"{"model":"m","input":"x","instructions":"@"}"#, "a"),
        list(
            "pictures",
            PARTS,
            r#"{"type":"input_image","image_url":"data:image/png;base64,QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"}"#,
        ),
        text(
            "length of a picture",
            r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,@"}]}]}"#,
            "AAAA",
        ),
        list(
            "files",
            PARTS,
            r#"{"type":"input_file","filename":"f.pdf","file_data":"data:application/pdf;base64,QUFB"}"#,
        ),
        list(
            "thinking",
            INPUT,
            r#"{"type":"reasoning","id":"rs_№","summary":[{"type":"summary_text","text":"a thought"}],"encrypted_content":"gAAAc2lnbmF0dXJl"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"x"}]},{"role":"user","content":"y"}"#,
        ),
        list(
            "pieces of a summary",
            r#"{"model":"m","input":[{"role":"user","content":"x"},{"type":"reasoning","id":"r","summary":[@]}]}"#,
            r#"{"type":"summary_text","text":"x"}"#,
        ),
        list("blocks of thinking", INPUT, r#"{"type":"reasoning","summary":[]}"#),
        list("items of no known type", INPUT, r#"{"type":"web_search_call","id":"w№"}"#),
        list("unknown fields of items", INPUT, r#"{"role":"user","content":"x","unknown":1,"further":2}"#),
        list("unknown fields of parts", PARTS, r#"{"type":"input_text","text":"x","unknown":1}"#),
        list(
            "unknown fields of one item",
            r#"{"model":"m","input":[{"role":"user","content":"x",@}]}"#,
            r#""unknown_№":1"#,
        ),
    ]
}

fn calls() -> Vec<Dimension> {
    let many = |name: &str, call: &'static str, result: &'static str| {
        Dimension::new(name, move |count| {
            let numbered = |item: &'static str| repeat(count, |at| item.replace('№', &at.to_string()));
            format!(
                r#"{{"model":"m","input":[{{"role":"user","content":"x"}},{},{}]}}"#,
                numbered(call),
                numbered(result)
            )
        })
    };
    vec![
        many(
            "calls and results",
            r#"{"type":"function_call","call_id":"c№","name":"f","arguments":"{\"a\":1}"}"#,
            r#"{"type":"function_call_output","call_id":"c№","output":"found"}"#,
        ),
        many(
            "calls with one id",
            r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{\"a\":1}"}"#,
            r#"{"type":"function_call_output","call_id":"c","output":"found"}"#,
        ),
        many(
            "calls of free text",
            r#"{"type":"custom_tool_call","call_id":"c№","name":"f","input":"text"}"#,
            r#"{"type":"custom_tool_call_output","call_id":"c№","output":"found"}"#,
        ),
        list(
            "rounds of tools",
            INPUT,
            r#"{"type":"function_call","call_id":"c№","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c№","output":[{"type":"input_text","text":"found"}]}"#,
        ),
        list(
            "parts of a result",
            r#"{"model":"m","input":[{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":[@]}]}"#,
            r#"{"type":"input_text","text":"x"}"#,
        ),
        text(
            "length of an id",
            r#"{"model":"m","input":[{"type":"function_call","call_id":"@","name":"f","arguments":"{}"}]}"#,
            "i",
        ),
        text(
            "length of arguments",
            r#"{"model":"m","input":[{"type":"function_call","call_id":"c","name":"f","arguments":"{\"a\":[@1]}"}]}"#,
            r#"\"a\","#,
        ),
    ]
}

fn tools() -> Vec<Dimension> {
    vec![
        list(
            "tools",
            TOOLS,
            r#"{"type":"function","name":"tool_№","description":"what it does","parameters":{"type":"object","properties":{"a":{"type":"string"}}}}"#,
        ),
        list("least tools", TOOLS, r#"{"type":"function","name":"t№"}"#),
        list(
            "names of tools that become one",
            TOOLS,
            r#"{"type":"function","name":"tool.with.dots.№…","parameters":{"type":"object"}}"#,
        ),
        list("tools of free text", TOOLS, r#"{"type":"custom","name":"t№"}"#),
        list("hosted tools", TOOLS, r#"{"type":"web_search"}"#),
        list(
            "namespaces",
            TOOLS,
            r#"{"type":"namespace","name":"n№","tools":[{"type":"function","name":"f","parameters":{}}]}"#,
        ),
        text(
            "length of a tool's name",
            r#"{"model":"m","input":"x","tools":[{"type":"function","name":"@","parameters":{}}]}"#,
            "n",
        ),
        list(
            "allowed tools",
            r#"{"model":"m","input":"x","tools":[{"type":"function","name":"t1","parameters":{}}],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[@]}}"#,
            r#"{"type":"function","name":"t№"}"#,
        ),
    ]
}

fn settings() -> Vec<Dimension> {
    vec![
        list("metadata", r#"{"model":"m","input":"x","metadata":{@}}"#, r#""key_№":"value""#),
        list("includes", r#"{"model":"m","input":"x","include":[@]}"#, r#""i№""#),
        list("numbers of an unknown field", r#"{"model":"m","input":"x","unknown":[@]}"#, "1"),
        text("length of an unknown name", r#"{"model":"m","input":"x","@":1}"#, "u"),
    ]
}
