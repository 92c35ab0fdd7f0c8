//! In the format of OpenAI's chat completions.

use super::{Dimension, TEXT, list, repeat};

pub fn dimensions() -> Vec<Dimension> {
    let conversation = [messages(), parts(), fields_of_messages(), calls_and_results()];
    let others = [tools(), schemas(), outputs(), settings()];
    conversation.into_iter().chain(others).flatten().collect()
}

fn body(messages: &str, fields: &str) -> String {
    format!(r#"{{"model":"m","messages":[{messages}]{fields}}}"#)
}

fn field(fields: &str) -> String {
    body(r#"{"role":"user","content":"hello"}"#, fields)
}

fn schema(inner: &str) -> String {
    field(&format!(
        r#","tools":[{{"type":"function","function":{{"name":"f","description":"d","parameters":{{"type":"object",{inner}}}}}}}]"#
    ))
}

fn output(inner: &str) -> String {
    field(&format!(
        r#","response_format":{{"type":"json_schema","json_schema":{{"name":"f","strict":true,"schema":{{"type":"object",{inner}}}}}}}"#
    ))
}

fn call(id: &str) -> String {
    format!(r#"{{"id":"{id}","type":"function","function":{{"name":"f","arguments":"{{\"a\":1}}"}}}}"#)
}

fn result(id: &str) -> String {
    format!(r#"{{"role":"tool","tool_call_id":"{id}","content":"a result of the tool"}}"#)
}

fn calls(count: usize, id: impl Fn(usize) -> String) -> String {
    let made = repeat(count, |at| call(&id(at)));
    let results = repeat(count, |at| result(&id(at)));
    body(
        &format!(r#"{{"role":"user","content":"x"}},{{"role":"assistant","tool_calls":[{made}]}},{results}"#),
        "",
    )
}

fn messages() -> Vec<Dimension> {
    vec![
        list("least messages", r#"{"model":"m","messages":[@]}"#, r#"{"role":"user","content":"x"}"#),
        list(
            "least parts",
            r#"{"model":"m","messages":[{"role":"user","content":[@]}]}"#,
            r#"{"type":"text","text":"x"}"#,
        ),
        list(
            "empty parts",
            r#"{"model":"m","messages":[{"role":"user","content":[@]}]}"#,
            r#"{"type":"text","text":""}"#,
        ),
        Dimension::new("messages", move |count| {
            body(
                &repeat(count, |at| {
                    format!(r#"{{"role":"{}","content":"{TEXT}"}}"#, ["user", "assistant"][at % 2])
                }),
                "",
            )
        }),
        Dimension::new("system messages", move |count| {
            body(
                &format!(
                    r#"{},{{"role":"user","content":"x"}}"#,
                    repeat(count, |_| format!(r#"{{"role":"system","content":"{TEXT}"}}"#))
                ),
                "",
            )
        }),
        Dimension::new("length of a text", |count| {
            body(&format!(r#"{{"role":"user","content":"{}"}}"#, "a".repeat(count)), "")
        }),
        Dimension::new("escapes", |count| {
            body(&format!(r#"{{"role":"user","content":"{}"}}"#, "\\u00e9\\n".repeat(count)), "")
        }),
    ]
}

fn parts() -> Vec<Dimension> {
    vec![
        Dimension::new("parts", move |count| {
            body(
                &format!(
                    r#"{{"role":"user","content":[{}]}}"#,
                    repeat(count, |_| format!(r#"{{"type":"text","text":"{TEXT}"}}"#))
                ),
                "",
            )
        }),
        Dimension::new("pictures", |count| {
            let data = "A".repeat(400);
            body(
                &format!(
                    r#"{{"role":"user","content":[{}]}}"#,
                    repeat(count, |_| format!(
                        r#"{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}"#
                    ))
                ),
                "",
            )
        }),
        Dimension::new("length of a picture", |count| {
            body(
                &format!(
                    r#"{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{}"}}}}]}}"#,
                    "AAAA".repeat(count)
                ),
                "",
            )
        }),
    ]
}

fn fields_of_messages() -> Vec<Dimension> {
    vec![
        Dimension::new("unknown fields of messages", |count| {
            body(
                &repeat(count, |_| r#"{"role":"user","content":"x","unknown":1,"further":2}"#.to_owned()),
                "",
            )
        }),
        Dimension::new("unknown fields of one message", |count| {
            body(
                &format!(
                    r#"{{"role":"user","content":"x",{}}}"#,
                    repeat(count, |at| format!(r#""unknown_{at}":1"#))
                ),
                "",
            )
        }),
        Dimension::new("unknown fields of parts", |count| {
            body(
                &format!(
                    r#"{{"role":"user","content":[{}]}}"#,
                    repeat(count, |_| r#"{"type":"text","text":"x","unknown":1}"#.to_owned())
                ),
                "",
            )
        }),
        Dimension::new("thinking", |count| {
            body(
                &repeat(count, |at| {
                    format!(
                        r#"{{"role":"assistant","content":"x","reasoning_details":[{{"type":"reasoning.text","text":"a thought {at}","signature":"c2lnbmF0dXJl","format":"anthropic-claude-v1","index":0}}]}},{{"role":"user","content":"and then?"}}"#
                    )
                }),
                "",
            )
        }),
        Dimension::new("cache marks", |count| {
            body(
                &repeat(count, |_| {
                    format!(
                        r#"{{"role":"user","content":[{{"type":"text","text":"{}","cache_control":{{"type":"ephemeral"}}}}]}}"#,
                        "a".repeat(60)
                    )
                }),
                "",
            )
        }),
        Dimension::new("names of speakers", |count| {
            body(
                &repeat(count, |at| {
                    format!(r#"{{"role":"user","name":"speaker_{at}","content":"a word of mine"}}"#)
                }),
                "",
            )
        }),
    ]
}

fn calls_and_results() -> Vec<Dimension> {
    vec![
        Dimension::new("tool calls and results", |count| calls(count, |at| format!("call_{at}"))),
        Dimension::new("tool calls with one id", |count| calls(count, |_| "call_1".to_owned())),
        Dimension::new("rounds of tools", |count| {
            body(
                &format!(
                    r#"{{"role":"user","content":"x"}},{}"#,
                    repeat(count, |at| format!(
                        r#"{{"role":"assistant","content":"{at}","tool_calls":[{}]}},{}"#,
                        call(&format!("call_{at}")),
                        result(&format!("call_{at}"))
                    ))
                ),
                "",
            )
        }),
        Dimension::new("length of an id", |count| calls(1, |_| "i".repeat(count))),
        Dimension::new("length of arguments", |count| {
            let arguments = r#"\"a\","#.repeat(count);
            body(
                &format!(
                    r#"{{"role":"user","content":"x"}},{{"role":"assistant","tool_calls":[{{"id":"c","type":"function","function":{{"name":"f","arguments":"{{\"a\":[{arguments}1]}}"}}}}]}},{}"#,
                    result("c")
                ),
                "",
            )
        }),
    ]
}

fn tools() -> Vec<Dimension> {
    vec![
        Dimension::new("tools", |count| {
            field(&format!(
                r#","tools":[{}]"#,
                repeat(count, |at| format!(
                    r#"{{"type":"function","function":{{"name":"tool_{at}","description":"what it does","parameters":{{"type":"object","properties":{{"a":{{"type":"string"}}}}}}}}}}"#
                ))
            ))
        }),
        Dimension::new("length of a tool's name", |count| {
            field(&format!(
                r#","tools":[{{"type":"function","function":{{"name":"{}","parameters":{{"type":"object"}}}}}}]"#,
                "n".repeat(count)
            ))
        }),
        Dimension::new("names of tools that become one", |count| {
            field(&format!(
                r#","tools":[{}]"#,
                repeat(count, |at| {
                    let letters =
                        [at / 1000, at % 1000].map(|at| char::from_u32(0x4e00 + at as u32).unwrap());
                    format!(
                        r#"{{"type":"function","function":{{"name":"{}{}","parameters":{{"type":"object"}}}}}}"#,
                        letters[0], letters[1]
                    )
                })
            ))
        }),
    ]
}

fn schemas() -> Vec<Dimension> {
    vec![
        list(
            "depth of a schema",
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{@}}}}]}"#,
            r#""p№":{"type":"object","properties":{"a":{"type":"object","properties":{"a":{"type":"object","properties":{"a":{"type":"object","properties":{}}}}}}}}"#,
        ),
        Dimension::new("properties", |count| {
            schema(&format!(
                r#""properties":{{{}}}"#,
                repeat(count, |at| format!(
                    r#""property_{at}":{{"type":"string","description":"what it means"}}"#
                ))
            ))
        }),
        Dimension::new("required names", |count| {
            schema(&format!(r#""required":[{}]"#, repeat(count, |at| format!(r#""property_{at}""#))))
        }),
        Dimension::new("words of an enum", |count| {
            schema(&format!(
                r#""properties":{{"a":{{"enum":[{}]}}}}"#,
                repeat(count, |at| format!(r#""word {at}""#))
            ))
        }),
        Dimension::new("numbers of an enum", |count| {
            schema(&format!(r#""properties":{{"a":{{"enum":[{}]}}}}"#, repeat(count, |_| "1".to_owned())))
        }),
        Dimension::new("alternatives", |count| {
            schema(&format!(
                r#""properties":{{"a":{{"anyOf":[{}]}}}}"#,
                repeat(count, |_| r#"{"type":"string"}"#.to_owned())
            ))
        }),
        Dimension::new("definitions", |count| {
            schema(&format!(
                r##""properties":{{"a":{{"$ref":"#/$defs/d0"}}}},"$defs":{{{}}}"##,
                repeat(count, |at| format!(
                    r##""d{at}":{{"type":"object","properties":{{"next":{{"$ref":"#/$defs/d{}"}}}}}}"##,
                    at + 1
                ))
            ))
        }),
        Dimension::new("references", |count| {
            schema(&format!(
                r##""properties":{{{}}},"$defs":{{"d":{{"type":"object","properties":{{"x":{{"type":"string"}},"y":{{"type":"number"}}}}}}}}"##,
                repeat(count, |at| format!(r##""p{at}":{{"$ref":"#/$defs/d"}}"##))
            ))
        }),
        Dimension::new("nested arrays of a schema", |count| {
            schema(&format!(r#""x-a":[{}]"#, repeat(count, |_| "[[[1]]]".to_owned())))
        }),
    ]
}

fn outputs() -> Vec<Dimension> {
    vec![
        Dimension::new("properties of an output", |count| {
            output(&format!(
                r#""properties":{{{}}}"#,
                repeat(count, |at| format!(
                    r#""property_{at}":{{"type":"string","description":"what it means"}}"#
                ))
            ))
        }),
        Dimension::new("properties of an audio output", |count| {
            output(&format!(
                r#""additionalProperties":false,"required":[{}],"properties":{{{}}}"#,
                repeat(count, |at| format!(r#""p{at}""#)),
                repeat(count, |at| format!(r#""p{at}":{{"type":"string"}}"#))
            ))
        }),
        Dimension::new("numbers of an output's enum", |count| {
            output(&format!(r#""properties":{{"a":{{"enum":[{}]}}}}"#, repeat(count, |_| "1".to_owned())))
        }),
    ]
}

fn settings() -> Vec<Dimension> {
    vec![
        list(
            "empty stop words",
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"stop":[@]}"#,
            r#""""#,
        ),
        Dimension::new("stop words", |count| {
            field(&format!(r#","stop":[{}]"#, repeat(count, |at| format!(r#""stop {at}""#))))
        }),
        Dimension::new("numbers of an unknown field", |count| {
            field(&format!(r#","unknown":[{}]"#, repeat(count, |_| "1".to_owned())))
        }),
        Dimension::new("nested arrays", |count| {
            field(&format!(r#","unknown":[{}]"#, repeat(count, |_| "[[[[[[1]]]]]]".to_owned())))
        }),
        Dimension::new("length of an unknown name", |count| field(&format!(r#","{}":1"#, "u".repeat(count)))),
        Dimension::new("metadata", |count| {
            field(&format!(r#","metadata":{{{}}}"#, repeat(count, |at| format!(r#""key_{at}":"value""#))))
        }),
        Dimension::new("logit bias", |count| {
            field(&format!(r#","logit_bias":{{{}}}"#, repeat(count, |at| format!(r#""{at}":1"#))))
        }),
    ]
}
