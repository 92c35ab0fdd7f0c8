//! Requests in OpenAI's format, forwarded and translated.

use canon::{ModelFacts, Quirks, Target};
use wire::Protocol;
use wire::protocols::openai_chat::{MediaUrls, forward, intake};

use super::{Case, Dimension, Work};

/// Most memory of what is forwarded as it is, as a multiple of the body.
const FORWARDED: f64 = 2.0;
/// Of what is edited message by message.
const EDITED: f64 = 6.0;
/// Of what is translated: the body, the request as it is read, what the provider's format makes of it, and the new body.
const TRANSLATED: f64 = 6.0;
/// Of schemas that are translated: the text is the body's, the request's, the provider's and the written one's.
const FITTED: f64 = 6.0;

fn repeat(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(",")
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

fn dimensions() -> Vec<Dimension> {
    let text = "a sentence of some length, as people write them to each other every day";
    vec![
        Dimension::new("messages", move |count| {
            body(
                &repeat(count, |at| {
                    format!(r#"{{"role":"{}","content":"{text}"}}"#, ["user", "assistant"][at % 2])
                }),
                "",
            )
        }),
        Dimension::new("system messages", move |count| {
            body(
                &format!(
                    r#"{},{{"role":"user","content":"x"}}"#,
                    repeat(count, |_| format!(r#"{{"role":"system","content":"{text}"}}"#))
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
        Dimension::new("parts", move |count| {
            body(
                &format!(
                    r#"{{"role":"user","content":[{}]}}"#,
                    repeat(count, |_| format!(r#"{{"type":"text","text":"{text}"}}"#))
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
        Dimension::new("properties of an output", |count| {
            output(&format!(
                r#""properties":{{{}}}"#,
                repeat(count, |at| format!(
                    r#""property_{at}":{{"type":"string","description":"what it means"}}"#
                ))
            ))
        }),
        Dimension::new("properties of a sound output", |count| {
            output(&format!(
                r#""additionalProperties":false,"required":[{}],"properties":{{{}}}"#,
                repeat(count, |at| format!(r#""p{at}""#)),
                repeat(count, |at| format!(r#""p{at}":{{"type":"string"}}"#))
            ))
        }),
        Dimension::new("numbers of an output's enum", |count| {
            output(&format!(r#""properties":{{"a":{{"enum":[{}]}}}}"#, repeat(count, |_| "1".to_owned())))
        }),
        Dimension::new("stop words", |count| {
            field(&format!(r#","stop":[{}]"#, repeat(count, |at| format!(r#""stop {at}""#))))
        }),
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

fn forwarded(name: &str, most_memory: f64, quirks: &str) -> Work {
    forwarded_with(name, most_memory, quirks, ModelFacts::default())
}

fn forwarded_with(name: &str, most_memory: f64, quirks: &str, facts: ModelFacts) -> Work {
    let quirks: Quirks = serde_json::from_str(quirks).unwrap();
    Work {
        name: name.to_owned(),
        most_memory,
        run: Box::new(move |body| {
            // A refusal is work too.
            let Ok(intake) = intake(body) else { return };
            drop(std::hint::black_box(forward(
                &intake,
                Target { model: "m", facts: &facts, quirks: &quirks },
            )));
        }),
    }
}

/// What one dimension may take where it is translated.
fn most_translated(dimension: &str, protocol: Protocol) -> f64 {
    use Protocol::{AnthropicMessages, BedrockConverse, Gemini, OllamaChat, OpenaiResponses};
    match (dimension, protocol) {
        // A round is 200 bytes: two messages (56 each), their parts (3 of 72), call and result (80 and 56), and five copied
        // texts are read; ids take 90, and the blocks of a turn that waits for its results 250 before 240 are written.
        ("rounds of tools", AnthropicMessages | BedrockConverse | Gemini) => 7.2,
        (
            "tool calls and results" | "tool calls with one id",
            AnthropicMessages | BedrockConverse | Gemini,
        ) => 6.6,
        // A tool of 80 bytes has its name four times, in two maps, so that names stay different and can be told back.
        ("names of tools that become one", AnthropicMessages | OpenaiResponses) => 7.0,
        // A text of 8 bytes is a string of 24, in a list that doubles.
        ("stop words", OllamaChat) => 7.5,
        // All of them become parts (48) of one turn, in a list that doubles; a message is 52 bytes.
        ("unknown fields of messages", Gemini) => 6.7,
        // The parts (80) of one message, each 41 bytes of the body.
        ("unknown fields of parts", OpenaiResponses) => 7.5,
        // A pair of 16 bytes is looked at as two values.
        ("metadata", BedrockConverse) => 6.6,
        _ => most_fitted(dimension),
    }
}

/// The same where all formats are alike.
fn most_fitted(dimension: &str) -> f64 {
    match dimension {
        "properties"
        | "required names"
        | "words of an enum"
        | "numbers of an enum"
        | "alternatives"
        | "definitions"
        | "references"
        | "nested arrays of a schema"
        | "properties of an output"
        | "properties of a sound output"
        | "numbers of an output's enum" => FITTED,
        _ => TRANSLATED,
    }
}

fn works(dimension: &str) -> Vec<Work> {
    let every = r#"{"no_developer_role":true,"drop_message_fields":["name"],"string_content":true,"short_tool_call_ids":true,"reasoning_field":"reasoning_content","drop_tool_fields":["strict"]}"#;
    let mut works = vec![
        forwarded("forwarding", FORWARDED, "{}"),
        forwarded("forwarding with quirks", EDITED, every),
        forwarded_with(
            "forwarding to a model that enforces a part of JSON schema",
            EDITED,
            "{}",
            ModelFacts { strict_subset: true, ..ModelFacts::default() },
        ),
        Work {
            name: "looking for media".to_owned(),
            most_memory: TRANSLATED,
            run: Box::new(|body| {
                if let Ok(intake) = intake(body) {
                    drop(std::hint::black_box(MediaUrls::of(&intake)));
                }
            }),
        },
    ];
    // Between equal formats nothing is translated.
    for protocol in Protocol::ALL.into_iter().filter(|protocol| *protocol != Protocol::OpenaiChat) {
        works.push(Work {
            name: format!("translating to {}", protocol.as_str()),
            most_memory: most_translated(dimension, protocol),
            run: Box::new(move |body| {
                let (facts, quirks) = (ModelFacts::default(), Quirks::default());
                let dialect = wire::dialect(Protocol::OpenaiChat).unwrap();
                let Ok(request) = dialect.decode_request(body) else { return };
                let target = Target { model: "m", facts: &facts, quirks: &quirks };
                drop(std::hint::black_box(wire::adapter(protocol).encode_request(&request, target)));
            }),
        });
    }
    works
}

pub fn cases() -> Vec<Case> {
    let case = |dimension: Dimension| Case { works: works(&dimension.name), dimension };
    dimensions().into_iter().map(case).collect()
}
