//! Answers of providers, relayed and translated.

use bytes::Bytes;
use canon::{Annotator, AnswerFacts, Cost, Usage};
use wire::protocols::openai_chat::{RelayParts, relay};
use wire::{AnswerForm, DecoderContext, Protocol, TranscoderParts};

use super::{Case, Dimension, Work};

/// Most memory of an answer that is read, as a multiple of it.
const READ: f64 = 6.0;
/// Of one that is relayed, where a list of many calls is mended: it is read once more, as a list of its own.
const RELAYED: f64 = 7.0;

struct Words;

impl Annotator for Words {
    fn answer_id(&self) -> &str {
        "chatcmpl-ours"
    }
    fn created(&self) -> i64 {
        1_700_000_000
    }
    fn model(&self) -> &str {
        "ours"
    }
    fn cost(&self, _usage: &Usage, _tier: Option<&str>) -> Option<Cost> {
        None
    }
    fn write_metadata(&self, _facts: AnswerFacts<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{}");
    }
    fn tool_call_id(&self) -> String {
        "call_ours".to_owned()
    }
}

fn repeat(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(",")
}

fn events(count: usize, event: impl Fn(usize) -> String) -> String {
    (0..count).map(|at| format!("data: {}\n\n", event(at))).collect()
}

fn chunk(delta: &str, finish: &str) -> String {
    format!(
        r#"{{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#
    )
}

fn openai_stream(count: usize, delta: impl Fn(usize) -> String) -> String {
    let ending = chunk("{}", "\"stop\"");
    format!("{}data: {ending}\n\ndata: [DONE]\n\n", events(count, |at| chunk(&delta(at), "null")))
}

fn openai_whole(message: &str) -> String {
    format!(
        r#"{{"id":"a","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant",{message}}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}}}"#
    )
}

type Shape = (Protocol, bool, &'static str, Box<dyn Fn(usize) -> String>);

fn shape(
    protocol: Protocol,
    stream: bool,
    name: &'static str,
    body: impl Fn(usize) -> String + 'static,
) -> Shape {
    (protocol, stream, name, Box::new(body))
}

fn shapes() -> Vec<Shape> {
    use Protocol::{AnthropicMessages, BedrockConverse, CohereChat, Gemini, OllamaChat, OpenaiChat};
    let call = |at: usize| {
        format!(
            r#"{{"index":{at},"id":"call_{at}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}"#
        )
    };
    vec![
        shape(OpenaiChat, true, "pieces of text", |count| {
            openai_stream(count, |_| r#"{"content":"a word"}"#.to_owned())
        }),
        shape(OpenaiChat, true, "pieces of thinking", |count| {
            openai_stream(count, |_| r#"{"reasoning_content":"a word"}"#.to_owned())
        }),
        shape(OpenaiChat, true, "thinking, then text", |count| {
            let kind = |at: usize| if at < count / 2 { "reasoning" } else { "content" };
            openai_stream(count, |at| format!(r#"{{"{}":"word "}}"#, kind(at)))
        }),
        shape(OpenaiChat, true, "calls", move |count| {
            openai_stream(count, |at| format!(r#"{{"tool_calls":[{}]}}"#, call(at)))
        }),
        shape(OpenaiChat, true, "calls without index", move |count| {
            openai_stream(count, |at| {
                format!(
                    r#"{{"tool_calls":[{{"id":"call_{at}","function":{{"name":"f","arguments":"{{}}"}}}}]}}"#
                )
            })
        }),
        shape(OpenaiChat, true, "pieces of arguments", move |count| {
            openai_stream(count, |at| {
                if at == 0 {
                    format!(r#"{{"tool_calls":[{}]}}"#, call(0))
                } else {
                    r#"{"tool_calls":[{"index":0,"function":{"arguments":"a piece"}}]}"#.to_owned()
                }
            })
        }),
        shape(OpenaiChat, true, "early arguments", move |count| {
            openai_stream(count, |_| {
                r#"{"tool_calls":[{"index":0,"function":{"arguments":"a piece"}}]}"#.to_owned()
            })
        }),
        shape(OpenaiChat, true, "details of thinking", |count| {
            openai_stream(count, |at| {
                format!(r#"{{"reasoning_details":[{{"type":"reasoning.text","text":"x","index":{at}}}]}}"#)
            })
        }),
        shape(OpenaiChat, true, "chunks without choices", |count| {
            format!(
                "{}{}",
                events(count, |at| format!(r#"{{"id":"a","choices":[],"x_{at}":1}}"#)),
                openai_stream(1, |_| r#"{"content":"a"}"#.to_owned())
            )
        }),
        shape(OpenaiChat, true, "usage in every chunk", |count| {
            format!(
                "{}data: [DONE]\n\n",
                events(count, |_| chunk(r#"{"content":"a"}"#, "null").replace(
                    r#""model""#,
                    r#""usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3},"model""#
                ))
            )
        }),
        shape(OpenaiChat, false, "length of a text", |count| {
            openai_whole(&format!(r#""content":"{}""#, "a".repeat(count)))
        }),
        shape(OpenaiChat, false, "escapes", |count| {
            openai_whole(&format!(r#""content":"{}\ud83d""#, "\\u00e9".repeat(count)))
        }),
        shape(OpenaiChat, false, "calls", move |count| {
            openai_whole(&format!(r#""content":null,"tool_calls":[{}]"#, repeat(count, call)))
        }),
        shape(OpenaiChat, false, "numbers", |count| {
            openai_whole(&format!(r#""content":"a","unknown":[{}]"#, repeat(count, |_| "1".to_owned())))
        }),
        shape(OpenaiChat, false, "annotations", |count| {
            openai_whole(&format!(
                r#""content":"a","annotations":[{}]"#,
                repeat(count, |at| format!(
                    r#"{{"type":"url_citation","url_citation":{{"start_index":0,"end_index":1,"title":"t{at}","url":"https://x.test"}}}}"#
                ))
            ))
        }),
        shape(AnthropicMessages, true, "pieces of text", |count| {
            format!(
                "data: {{\"type\":\"message_start\",\"message\":{{\"id\":\"m\",\"model\":\"m\",\"usage\":{{\"input_tokens\":1}}}}}}\n\ndata: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{{\"type\":\"text\",\"text\":\"\"}}}}\n\n{}data: {{\"type\":\"message_stop\"}}\n\n",
                events(count, |_| {
                    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a word"}}"#.to_owned()
                })
            )
        }),
        shape(AnthropicMessages, true, "calls", |count| {
            events(count, |at| {
                format!(
                    "{{\"type\":\"content_block_start\",\"index\":{at},\"content_block\":{{\"type\":\"tool_use\",\"id\":\"t{at}\",\"name\":\"f\",\"input\":{{}}}}}}\n\ndata: {{\"type\":\"content_block_stop\",\"index\":{at}}}"
                )
            })
        }),
        shape(AnthropicMessages, false, "calls", |count| {
            format!(
                r#"{{"type":"message","id":"m","model":"m","role":"assistant","content":[{}],"stop_reason":"tool_use","usage":{{"input_tokens":1,"output_tokens":2}}}}"#,
                repeat(count, |at| format!(
                    r#"{{"type":"tool_use","id":"t{at}","name":"f","input":{{"x":[1,1,1,1]}}}}"#
                ))
            )
        }),
        shape(Gemini, true, "pieces of text", |count| {
            events(count, |_| r#"{"candidates":[{"content":{"parts":[{"text":"a word"}]}}]}"#.to_owned())
        }),
        shape(Gemini, false, "calls", |count| {
            format!(
                r#"{{"candidates":[{{"content":{{"parts":[{}]}},"finishReason":"STOP"}}]}}"#,
                repeat(count, |_| r#"{"functionCall":{"name":"f","args":{"a":[1,1,1,1]}}}"#.to_owned())
            )
        }),
        shape(Gemini, false, "citations", |count| {
            format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":"STOP","groundingMetadata":{{"groundingChunks":[{}],"groundingSupports":[{}]}}}}]}}"#,
                repeat(count, |_| r#"{"web":{"uri":"u","title":"t"}}"#.to_owned()),
                repeat(count, |at| format!(
                    r#"{{"segment":{{"startIndex":0,"endIndex":1}},"groundingChunkIndices":[{at}]}}"#
                ))
            )
        }),
        shape(BedrockConverse, false, "calls", |count| {
            format!(
                r#"{{"output":{{"message":{{"role":"assistant","content":[{}]}}}},"stopReason":"tool_use","usage":{{"inputTokens":1,"outputTokens":2,"totalTokens":3}}}}"#,
                repeat(count, |at| format!(
                    r#"{{"toolUse":{{"toolUseId":"t{at}","name":"f","input":{{"x":[1,1,1,1]}}}}}}"#
                ))
            )
        }),
        shape(CohereChat, true, "pieces of text", |count| {
            events(count, |_| {
                r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"a word"}}}}"#
                    .to_owned()
            })
        }),
        shape(CohereChat, true, "citations", |count| {
            events(count, |at| {
                format!(
                    r#"{{"type":"citation-start","index":{at},"delta":{{"message":{{"citations":{{"start":0,"end":1,"text":"a","sources":[{{"type":"tool","id":"s"}}]}}}}}}}}"#
                )
            })
        }),
        shape(OllamaChat, true, "pieces of text", |count| {
            (0..count).map(|_| "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"a word\"},\"done\":false}\n".to_owned()).collect()
        }),
        shape(OllamaChat, true, "calls", |count| {
            (0..count).map(|_| "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[1,1,1]}}}]},\"done\":false}\n".to_owned()).collect()
        }),
    ]
}

/// What is written is taken away piece by piece, as the connection does.
fn transcode(mut transcoder: Box<dyn wire::Transcoder>, body: &[u8]) {
    let mut out = Vec::new();
    for piece in body.chunks(4096) {
        out.clear();
        if transcoder.push(&Bytes::copy_from_slice(piece), &mut out).is_err() {
            return;
        }
    }
    out.clear();
    let _ = std::hint::black_box(transcoder.finish(&mut out));
}

fn works(protocol: Protocol, stream: bool) -> Vec<Work> {
    let form = move || AnswerForm { stream, include_usage: true, ..AnswerForm::default() };
    let translated = Work {
        name: "translating".to_owned(),
        most_memory: READ,
        run: Box::new(move |body| {
            let decoding = DecoderContext::default();
            let parts = TranscoderParts {
                caller: wire::dialect(Protocol::OpenaiChat).unwrap(),
                upstream: protocol,
                upstream_streams: stream,
                form: form(),
                decoding: &decoding,
                quirks: &canon::Quirks::default(),
                annotator: std::sync::Arc::new(Words),
            };
            transcode(wire::exchange::translator(parts), body);
        }),
    };
    let mut works = vec![translated];
    if protocol == Protocol::OpenaiChat {
        works.push(Work {
            name: "relaying".to_owned(),
            most_memory: RELAYED,
            run: Box::new(move |body| {
                transcode(
                    relay(RelayParts {
                        form: form(),
                        annotator: Box::new(Words),
                        cached_outside_prompt: false,
                        gathers: true,
                    }),
                    body,
                )
            }),
        });
    }
    works
}

pub fn cases() -> Vec<Case> {
    let case = |(protocol, stream, name, body): Shape| Case {
        dimension: Dimension::new(
            format!("{} {}, {name}", protocol.as_str(), if stream { "stream" } else { "answer" }),
            body,
        ),
        works: works(protocol, stream),
    };
    shapes().into_iter().map(case).collect()
}
