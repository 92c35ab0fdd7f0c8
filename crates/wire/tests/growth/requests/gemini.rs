//! In the format of Google's `generateContent`.

use super::{Dimension, list, repeat, schemas, text};

pub fn dimensions() -> Vec<Dimension> {
    let schemas = [
        schemas(
            "a tool",
            r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":@}]}]}"#,
        ),
        schemas(
            "a tool in JSON schema",
            r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"tools":[{"functionDeclarations":[{"name":"f","parametersJsonSchema":@}]}]}"#,
        ),
        schemas(
            "an output",
            r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"generationConfig":{"responseMimeType":"application/json","responseSchema":@}}"#,
        ),
    ];
    [conversation(), calls(), tools(), settings()].into_iter().chain(schemas).flatten().collect()
}

const CONTENTS: &str = r#"{"contents":[@]}"#;
const PARTS: &str = r#"{"contents":[{"role":"user","parts":[@]}]}"#;
const SAID: &str = r#"{"contents":[{"role":"user","parts":[{"text":"x"}]},{"role":"model","parts":[@]},{"role":"user","parts":[{"text":"y"}]}]}"#;
const TOOLS: &str =
    r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"tools":[{"functionDeclarations":[@]}]}"#;
const CONFIG: &str = r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"generationConfig":{@}}"#;

fn conversation() -> Vec<Dimension> {
    vec![
        list(
            "messages",
            CONTENTS,
            r#"{"role":"user","parts":[{"text":"a sentence of some length, as people write them"}]},{"role":"model","parts":[{"text":"and one that answers it"}]}"#,
        ),
        list("least messages", CONTENTS, r#"{"parts":[{"text":"x"}]}"#),
        list(
            "instructions",
            r#"{"systemInstruction":{"parts":[@]},"contents":[{"role":"user","parts":[{"text":"x"}]}]}"#,
            r#"{"text":"x"}"#,
        ),
        list("parts", PARTS, r#"{"text":"a sentence of some length, as people write them"}"#),
        list("least parts", PARTS, r#"{"text":"x"}"#),
        list("empty parts", PARTS, r#"{"text":""}"#),
        list("parts of an answer", SAID, r#"{"text":"x"}"#),
        text("length of a text", r#"{"contents":[{"role":"user","parts":[{"text":"@"}]}]}"#, "a"),
        text("escapes", r#"{"contents":[{"role":"user","parts":[{"text":"@"}]}]}"#, "\\u00e9\\n"),
        list(
            "pictures",
            PARTS,
            r#"{"inlineData":{"mimeType":"image/png","data":"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"}}"#,
        ),
        text(
            "length of a picture",
            r#"{"contents":[{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"@"}}]}]}"#,
            "AAAA",
        ),
        text(
            "length of a picture for URLs",
            r#"{"contents":[{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"@"}}]}]}"#,
            "A-_A",
        ),
        list("files", PARTS, r#"{"fileData":{"mimeType":"application/pdf","fileUri":"https://x.test/№"}}"#),
        list("thinking", SAID, r#"{"text":"a thought №","thought":true,"thoughtSignature":"c2lnbmF0dXJl"}"#),
        list("pieces of code", SAID, r#"{"executableCode":{"language":"PYTHON","code":"x"}}"#),
        list("unknown fields of messages", CONTENTS, r#"{"role":"user","parts":[{"text":"x"}],"unknown":1}"#),
        list("unknown fields of parts", PARTS, r#"{"text":"x","unknown":1}"#),
        list(
            "unknown fields of one part",
            r#"{"contents":[{"role":"user","parts":[{"text":"x",@}]}]}"#,
            r#""unknown_№":1"#,
        ),
    ]
}

fn calls() -> Vec<Dimension> {
    let many = |name: &str, call: &'static str, result: &'static str| {
        Dimension::new(name, move |count| {
            let numbered = |item: &'static str| repeat(count, |at| item.replace('№', &at.to_string()));
            format!(
                r#"{{"contents":[{{"role":"user","parts":[{{"text":"x"}}]}},{{"role":"model","parts":[{}]}},{{"role":"user","parts":[{}]}}]}}"#,
                numbered(call),
                numbered(result)
            )
        })
    };
    vec![
        many(
            "calls and results",
            r#"{"functionCall":{"name":"f","args":{"a":1}}}"#,
            r#"{"functionResponse":{"name":"f","response":{"output":"x"}}}"#,
        ),
        many(
            "calls and results of many names",
            r#"{"functionCall":{"name":"f№","args":{"a":1}}}"#,
            r#"{"functionResponse":{"name":"f№","response":{"output":"x"}}}"#,
        ),
        many(
            "calls and results with ids",
            r#"{"functionCall":{"id":"c№","name":"f","args":{"a":1}}}"#,
            r#"{"functionResponse":{"id":"c№","name":"f","response":{"output":"x"}}}"#,
        ),
        many(
            "results of calls that nobody made",
            r#"{"functionCall":{"id":"c№","name":"f","args":{}}}"#,
            r#"{"functionResponse":{"id":"d№","name":"f","response":{"x":[1,1,1,1]}}}"#,
        ),
        list(
            "rounds of tools",
            CONTENTS,
            r#"{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"c2ln"}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"x"}}}]}"#,
        ),
        list(
            "numbers of a call",
            SAID,
            r#"{"functionCall":{"name":"f","args":{"a":[1,1,1,1,1,1,1,1,1,1,1,1]}}}"#,
        ),
        list(
            "members of a call",
            SAID,
            r#"{"functionCall":{"name":"f","args":{"a":{},"b":{},"c":{},"d":{}}}}"#,
        ),
        text(
            "length of a name",
            r#"{"contents":[{"role":"user","parts":[{"text":"x"}]},{"role":"model","parts":[{"functionCall":{"name":"@","args":{}}}]}]}"#,
            "n",
        ),
    ]
}

fn tools() -> Vec<Dimension> {
    vec![
        list(
            "tools",
            TOOLS,
            r#"{"name":"tool_№","description":"what it does","parameters":{"type":"OBJECT","properties":{"a":{"type":"STRING"}}}}"#,
        ),
        list("least tools", TOOLS, r#"{"name":"t№"}"#),
        list("tools in JSON schema", TOOLS, r#"{"name":"tool_№","parametersJsonSchema":{"type":"object"}}"#),
        list("names of tools that become one", TOOLS, r#"{"name":"tool.with.dots.№…"}"#),
        list(
            "hosted tools",
            r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"tools":[@]}"#,
            r#"{"googleSearch":{}}"#,
        ),
        list(
            "allowed tools",
            r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":[@]}}}"#,
            r#""t№""#,
        ),
    ]
}

fn settings() -> Vec<Dimension> {
    vec![
        list(
            "stop words",
            r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"generationConfig":{"stopSequences":[@]}}"#,
            r#""stop №""#,
        ),
        list(
            "empty stop words",
            r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"generationConfig":{"stopSequences":[@]}}"#,
            r#""""#,
        ),
        list(
            "safety settings",
            r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"safetySettings":[@]}"#,
            r#"{"category":"HARM_CATEGORY_HARASSMENT","threshold":"BLOCK_NONE"}"#,
        ),
        list(
            "labels",
            r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"labels":{@}}"#,
            r#""l№":"v""#,
        ),
        list("unknown settings", CONFIG, r#""unknown_№":1"#),
        list(
            "numbers of an unknown field",
            r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"unknown":[@]}"#,
            "1",
        ),
        list(
            "nested arrays",
            r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"unknown":[@]}"#,
            "[[[[1]]]]",
        ),
        text(
            "length of an unknown name",
            r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"@":1}"#,
            "u",
        ),
    ]
}
