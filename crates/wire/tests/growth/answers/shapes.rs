//! Answers of providers, in each of their formats.

use wire::Protocol::{
    self, AnthropicMessages, BedrockConverse, CohereChat, Gemini, OllamaChat, OpenaiChat, OpenaiCompletions,
    OpenaiResponses,
};

use super::super::repeat;

/// An answer of a provider: its format, whether it is a stream, and the item that is repeated.
pub struct AnswerShape {
    pub protocol: Protocol,
    pub stream: bool,
    pub name: &'static str,
    pub body: Box<dyn Fn(usize) -> Vec<u8>>,
}

pub fn shapes() -> Vec<AnswerShape> {
    let openai = [chat_streams(), chat_answers(), completions(), responses_streams(), responses_answers()];
    let streams_and_answers = [messages_streams(), messages_answers(), gemini_streams(), gemini_answers()];
    let others = [bedrock(), cohere(), ollama()];
    openai.into_iter().chain(streams_and_answers).chain(others).flatten().collect()
}

fn shape(
    protocol: Protocol,
    stream: bool,
    name: &'static str,
    body: impl Fn(usize) -> String + 'static,
) -> AnswerShape {
    AnswerShape { protocol, stream, name, body: Box::new(move |count| body(count).into_bytes()) }
}

/// An answer with a list in place of `@`; each item has its number in place of `№`.
fn list(protocol: Protocol, name: &'static str, frame: &'static str, item: &'static str) -> AnswerShape {
    shape(protocol, false, name, move |count| {
        frame.replacen('@', &repeat(count, |at| item.replace('№', &at.to_string())), 1)
    })
}

/// A stream with a growing number of events between its first and its last part.
fn stream(protocol: Protocol, name: &'static str, [first, event, last]: [&'static str; 3]) -> AnswerShape {
    shape(protocol, true, name, move |count| {
        let events: String = (0..count).map(|at| event.replace('№', &at.to_string())).collect();
        format!("{first}{events}{last}")
    })
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

fn call(at: usize) -> String {
    format!(
        r#"{{"index":{at},"id":"call_{at}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}"#
    )
}

fn chat_streams() -> Vec<AnswerShape> {
    vec![
        shape(OpenaiChat, true, "calls that begin before others end", |count| {
            let begun = events(count, |at| {
                chunk(
                    &format!(r#"{{"tool_calls":[{{"index":{at},"id":"c{at}","function":{{"name":"f"}}}}]}}"#),
                    "null",
                )
            });
            let arguments = openai_stream(count, |at| {
                format!(r#"{{"tool_calls":[{{"index":{at},"function":{{"arguments":"{{}}"}}}}]}}"#)
            });
            format!("{begun}{arguments}")
        }),
        shape(OpenaiChat, true, "log probabilities", |count| {
            events(count, |at| {
                format!(
                    r#"{{"id":"a","choices":[{{"index":0,"delta":{{"content":"w"}},"logprobs":{{"content":[{{"token":"w","logprob":-0.{at},"bytes":[119],"top_logprobs":[]}}]}},"finish_reason":null}}]}}"#
                )
            }) + "data: [DONE]\n\n"
        }),
        shape(OpenaiChat, true, "candidates", |count| {
            events(count, |at| {
                format!(r#"{{"id":"a","choices":[{{"index":{},"delta":{{"content":"w"}}}}]}}"#, at % 100)
            }) + "data: [DONE]\n\n"
        }),
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
        shape(OpenaiChat, true, "calls", |count| {
            openai_stream(count, |at| format!(r#"{{"tool_calls":[{}]}}"#, call(at)))
        }),
        shape(OpenaiChat, true, "calls without index", |count| {
            openai_stream(count, |at| {
                format!(
                    r#"{{"tool_calls":[{{"id":"call_{at}","function":{{"name":"f","arguments":"{{}}"}}}}]}}"#
                )
            })
        }),
        shape(OpenaiChat, true, "pieces of arguments", |count| {
            openai_stream(count, |at| {
                if at == 0 {
                    format!(r#"{{"tool_calls":[{}]}}"#, call(0))
                } else {
                    r#"{"tool_calls":[{"index":0,"function":{"arguments":"a piece"}}]}"#.to_owned()
                }
            })
        }),
        shape(OpenaiChat, true, "early arguments", |count| {
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
    ]
}

fn chat_answers() -> Vec<AnswerShape> {
    vec![
        list(
            OpenaiChat,
            "log probabilities",
            r#"{"id":"a","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"logprobs":{"content":[@]},"finish_reason":"stop"}]}"#,
            r#"{"token":"w","logprob":-0.№,"bytes":[119],"top_logprobs":[{"token":"w","logprob":-0.№,"bytes":null}]}"#,
        ),
        list(
            OpenaiChat,
            "candidates",
            r#"{"id":"a","object":"chat.completion","choices":[@]}"#,
            r#"{"index":№,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}"#,
        ),
        list(
            OpenaiChat,
            "details of thinking",
            r#"{"id":"a","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"x","reasoning_details":[@]},"finish_reason":"stop"}]}"#,
            r#"{"type":"reasoning.text","text":"x","signature":"c2ln","index":№}"#,
        ),
        list(
            OpenaiChat,
            "pictures",
            r#"{"id":"a","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"x","images":[@]},"finish_reason":"stop"}]}"#,
            r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,QUFB"}}"#,
        ),
        shape(OpenaiChat, false, "length of a text", |count| {
            openai_whole(&format!(r#""content":"{}""#, "a".repeat(count)))
        }),
        shape(OpenaiChat, false, "escapes", |count| {
            openai_whole(&format!(r#""content":"{}\ud83d""#, "\\u00e9".repeat(count)))
        }),
        shape(OpenaiChat, false, "calls", |count| {
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
    ]
}

fn messages_streams() -> Vec<AnswerShape> {
    vec![
        stream(
            AnthropicMessages,
            "blocks",
            [
                MESSAGE_START,
                "data: {\"type\":\"content_block_start\",\"index\":№,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\ndata: {\"type\":\"content_block_delta\",\"index\":№,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\ndata: {\"type\":\"content_block_stop\",\"index\":№}\n\n",
                MESSAGE_STOP,
            ],
        ),
        stream(
            AnthropicMessages,
            "pieces of thinking",
            [
                THINKING_START,
                "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"a word\"}}\n\n",
                MESSAGE_STOP,
            ],
        ),
        stream(
            AnthropicMessages,
            "pieces of a signature",
            [
                THINKING_START,
                "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"QUFB\"}}\n\n",
                MESSAGE_STOP,
            ],
        ),
        stream(
            AnthropicMessages,
            "pieces of arguments",
            [
                CALL_START,
                "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"  \"}}\n\n",
                MESSAGE_STOP,
            ],
        ),
        stream(
            AnthropicMessages,
            "citations",
            [
                TEXT_START,
                "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"citations_delta\",\"citation\":{\"type\":\"char_location\",\"cited_text\":\"x\",\"document_index\":0,\"start_char_index\":0,\"end_char_index\":1}}}\n\n",
                MESSAGE_STOP,
            ],
        ),
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
    ]
}

fn messages_answers() -> Vec<AnswerShape> {
    vec![
        list(AnthropicMessages, "texts", MESSAGE, r#"{"type":"text","text":"a word"}"#),
        list(
            AnthropicMessages,
            "thinking",
            MESSAGE,
            r#"{"type":"thinking","thinking":"a word","signature":"c2ln"}"#,
        ),
        list(
            AnthropicMessages,
            "results of a server's tools",
            MESSAGE,
            r#"{"type":"web_search_tool_result","tool_use_id":"s№","content":[{"type":"web_search_result","url":"u","title":"t"}]}"#,
        ),
        list(
            AnthropicMessages,
            "citations",
            r#"{"type":"message","id":"m","model":"m","role":"assistant","content":[{"type":"text","text":"a","citations":[@]}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}}"#,
            r#"{"type":"web_search_result_location","url":"u","title":"t","cited_text":"c"}"#,
        ),
        shape(AnthropicMessages, false, "calls", |count| {
            format!(
                r#"{{"type":"message","id":"m","model":"m","role":"assistant","content":[{}],"stop_reason":"tool_use","usage":{{"input_tokens":1,"output_tokens":2}}}}"#,
                repeat(count, |at| format!(
                    r#"{{"type":"tool_use","id":"t{at}","name":"f","input":{{"x":[1,1,1,1]}}}}"#
                ))
            )
        }),
    ]
}

fn gemini_streams() -> Vec<AnswerShape> {
    vec![
        stream(
            Gemini,
            "calls",
            [
                "",
                "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f№\",\"args\":{\"a\":1}}}]}}]}\n\n",
                GEMINI_STOP,
            ],
        ),
        stream(
            Gemini,
            "pieces of thinking",
            [
                "",
                "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\",\"thought\":true}]}}]}\n\n",
                GEMINI_STOP,
            ],
        ),
        stream(
            Gemini,
            "signatures",
            [
                "",
                "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\",\"thoughtSignature\":\"c2ln\"}]}}]}\n\n",
                GEMINI_STOP,
            ],
        ),
        stream(
            Gemini,
            "grounding in every chunk",
            [
                "",
                "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a word\"}]},\"groundingMetadata\":{\"groundingChunks\":[{\"web\":{\"uri\":\"u№\",\"title\":\"t\"}}],\"groundingSupports\":[{\"segment\":{\"startIndex\":0,\"endIndex\":1},\"groundingChunkIndices\":[0]}]}}]}\n\n",
                GEMINI_STOP,
            ],
        ),
        stream(
            Gemini,
            "citations",
            [
                "",
                "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a word\"}]},\"citationMetadata\":{\"citationSources\":[{\"startIndex\":0,\"endIndex\":1,\"uri\":\"u№\"}]}}]}\n\n",
                GEMINI_STOP,
            ],
        ),
        stream(
            Gemini,
            "log probabilities",
            [
                "",
                "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"w\"}]},\"logprobsResult\":{\"chosenCandidates\":[{\"token\":\"w\",\"logProbability\":-0.5}],\"topCandidates\":[{\"candidates\":[{\"token\":\"w\",\"logProbability\":-0.5}]}]}}]}\n\n",
                GEMINI_STOP,
            ],
        ),
        stream(
            Gemini,
            "usage in every chunk",
            [
                "",
                "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"w\"}]}}],\"usageMetadata\":{\"promptTokenCount\":1,\"candidatesTokenCount\":№}}\n\n",
                GEMINI_STOP,
            ],
        ),
        shape(Gemini, true, "pieces of text", |count| {
            events(count, |_| r#"{"candidates":[{"content":{"parts":[{"text":"a word"}]}}]}"#.to_owned())
        }),
    ]
}

fn gemini_answers() -> Vec<AnswerShape> {
    vec![
        list(Gemini, "parts", GEMINI_ANSWER, r#"{"text":"a word"}"#),
        list(
            Gemini,
            "pictures",
            GEMINI_ANSWER,
            r#"{"inlineData":{"mimeType":"image/png","data":"QUFBQUFBQUFBQUFB"}}"#,
        ),
        list(
            Gemini,
            "pieces of code",
            GEMINI_ANSWER,
            r#"{"executableCode":{"language":"PYTHON","code":"x"}},{"codeExecutionResult":{"outcome":"OUTCOME_OK","output":"y"}}"#,
        ),
        list(
            Gemini,
            "candidates",
            r#"{"candidates":[@]}"#,
            r#"{"index":№,"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}"#,
        ),
        shape(Gemini, false, "citations of a long text", |count| {
            format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{}"}}]}},"finishReason":"STOP","groundingMetadata":{{"groundingChunks":[{{"web":{{"uri":"u","title":"t"}}}}],"groundingSupports":[{}]}}}}]}}"#,
                "é".repeat(count * 20),
                repeat(count, |at| format!(
                    r#"{{"segment":{{"startIndex":0,"endIndex":{},"text":"x"}},"groundingChunkIndices":[0]}}"#,
                    at * 40
                ))
            )
        }),
        list(
            Gemini,
            "log probabilities",
            r#"{"candidates":[{"content":{"parts":[{"text":"w"}]},"finishReason":"STOP","logprobsResult":{"chosenCandidates":[@],"topCandidates":[]}}]}"#,
            r#"{"token":"w","logProbability":-0.5}"#,
        ),
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
    ]
}

fn bedrock() -> Vec<AnswerShape> {
    vec![
        frames("pieces of text", "contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a word"}}"#),
        frames(
            "pieces of thinking",
            "contentBlockDelta",
            r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"a word"}}}"#,
        ),
        frames(
            "calls",
            "contentBlockStart",
            r#"{"contentBlockIndex":№,"start":{"toolUse":{"toolUseId":"t№","name":"f"}}}"#,
        ),
        frames(
            "pieces of arguments",
            "contentBlockDelta",
            r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"  "}}}"#,
        ),
        list(
            BedrockConverse,
            "texts",
            r#"{"output":{"message":{"role":"assistant","content":[@]}},"stopReason":"end_turn","usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}"#,
            r#"{"text":"a word"}"#,
        ),
        shape(BedrockConverse, false, "calls", |count| {
            format!(
                r#"{{"output":{{"message":{{"role":"assistant","content":[{}]}}}},"stopReason":"tool_use","usage":{{"inputTokens":1,"outputTokens":2,"totalTokens":3}}}}"#,
                repeat(count, |at| format!(
                    r#"{{"toolUse":{{"toolUseId":"t{at}","name":"f","input":{{"x":[1,1,1,1]}}}}}}"#
                ))
            )
        }),
    ]
}

fn cohere() -> Vec<AnswerShape> {
    vec![
        list(
            CohereChat,
            "citations",
            r#"{"id":"c","message":{"role":"assistant","content":[{"type":"text","text":"a"}],"citations":[@]},"finish_reason":"COMPLETE"}"#,
            r#"{"start":0,"end":1,"text":"a","sources":[{"type":"tool","id":"s№"}]}"#,
        ),
        list(
            CohereChat,
            "calls",
            r#"{"id":"c","message":{"role":"assistant","tool_calls":[@]},"finish_reason":"TOOL_CALL"}"#,
            r#"{"id":"t№","type":"function","function":{"name":"f","arguments":"{}"}}"#,
        ),
        list(
            CohereChat,
            "texts",
            r#"{"id":"c","message":{"role":"assistant","content":[@]},"finish_reason":"COMPLETE"}"#,
            r#"{"type":"text","text":"a word"}"#,
        ),
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
    ]
}

fn ollama() -> Vec<AnswerShape> {
    vec![
        shape(OllamaChat, true, "pieces of text", |count| {
            (0..count).map(|_| "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"a word\"},\"done\":false}\n".to_owned()).collect()
        }),
        shape(OllamaChat, true, "calls", |count| {
            (0..count).map(|_| "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[1,1,1]}}}]},\"done\":false}\n".to_owned()).collect()
        }),
    ]
}

fn completions() -> Vec<AnswerShape> {
    const END: &str = "data: [DONE]\n\n";
    vec![
        stream(
            OpenaiCompletions,
            "pieces of text",
            [
                "",
                "data: {\"id\":\"c\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"a word\",\"finish_reason\":null}]}\n\n",
                END,
            ],
        ),
        list(
            OpenaiCompletions,
            "candidates",
            r#"{"id":"c","object":"text_completion","choices":[@]}"#,
            r#"{"index":№,"text":"a word","finish_reason":"stop"}"#,
        ),
        list(
            OpenaiCompletions,
            "log probabilities",
            r#"{"id":"c","object":"text_completion","choices":[{"index":0,"text":"x","finish_reason":"stop","logprobs":{"token_logprobs":[@]}}]}"#,
            "-0.№",
        ),
    ]
}

fn responses_streams() -> Vec<AnswerShape> {
    const FIRST: &str = "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"status\":\"in_progress\",\"output\":[]}}\n\n";
    const LAST: &str = "data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}\n\n";
    let of = |name, event| stream(OpenaiResponses, name, [FIRST, event, LAST]);
    vec![
        of(
            "pieces of text",
            "data: {\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"output_index\":0,\"content_index\":0,\"delta\":\"a word\"}\n\n",
        ),
        of(
            "pieces of thinking",
            "data: {\"type\":\"response.reasoning_summary_text.delta\",\"item_id\":\"m\",\"output_index\":0,\"summary_index\":0,\"delta\":\"a word\"}\n\n",
        ),
        of(
            "items",
            "data: {\"type\":\"response.output_item.done\",\"output_index\":№,\"item\":{\"type\":\"message\",\"id\":\"m№\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"x\"}]}}\n\n",
        ),
        of(
            "calls",
            "data: {\"type\":\"response.output_item.added\",\"output_index\":№,\"item\":{\"type\":\"function_call\",\"id\":\"f№\",\"call_id\":\"c№\",\"name\":\"f\",\"arguments\":\"\"}}\n\ndata: {\"type\":\"response.output_item.done\",\"output_index\":№,\"item\":{\"type\":\"function_call\",\"id\":\"f№\",\"call_id\":\"c№\",\"name\":\"f\",\"arguments\":\"{}\"}}\n\n",
        ),
        of(
            "pieces of arguments",
            "data: {\"type\":\"response.function_call_arguments.delta\",\"item_id\":\"f\",\"output_index\":0,\"delta\":\"  \"}\n\n",
        ),
        of(
            "annotations",
            "data: {\"type\":\"response.output_text.annotation.added\",\"item_id\":\"m\",\"output_index\":0,\"content_index\":0,\"annotation_index\":№,\"annotation\":{\"type\":\"url_citation\",\"url\":\"u\",\"title\":\"t\",\"start_index\":0,\"end_index\":1}}\n\n",
        ),
    ]
}

fn responses_answers() -> Vec<AnswerShape> {
    const ANSWER: &str = r#"{"id":"r","object":"response","status":"completed","model":"m","output":[@],"usage":{"input_tokens":1,"output_tokens":2}}"#;
    vec![
        list(
            OpenaiResponses,
            "items",
            ANSWER,
            r#"{"type":"message","id":"m№","role":"assistant","content":[{"type":"output_text","text":"a word","annotations":[]}]}"#,
        ),
        list(
            OpenaiResponses,
            "parts",
            r#"{"id":"r","object":"response","status":"completed","model":"m","output":[{"type":"message","id":"m","role":"assistant","content":[@]}],"usage":{"input_tokens":1,"output_tokens":2}}"#,
            r#"{"type":"output_text","text":"x"}"#,
        ),
        list(
            OpenaiResponses,
            "annotations",
            r#"{"id":"r","object":"response","status":"completed","model":"m","output":[{"type":"message","id":"m","role":"assistant","content":[{"type":"output_text","text":"x","annotations":[@]}]}]}"#,
            r#"{"type":"url_citation","url":"u","title":"t","start_index":0,"end_index":1}"#,
        ),
        list(
            OpenaiResponses,
            "calls",
            ANSWER,
            r#"{"type":"function_call","id":"f№","call_id":"c№","name":"f","arguments":"{\"a\":1}"}"#,
        ),
        list(
            OpenaiResponses,
            "thinking",
            ANSWER,
            r#"{"type":"reasoning","id":"r№","summary":[{"type":"summary_text","text":"a word"}],"encrypted_content":"gAAA"}"#,
        ),
        list(
            OpenaiResponses,
            "items of no known type",
            ANSWER,
            r#"{"type":"web_search_call","id":"w№","status":"completed"}"#,
        ),
    ]
}

const MESSAGE: &str = r#"{"type":"message","id":"m","model":"m","role":"assistant","content":[@],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}}"#;
const MESSAGE_START: &str = "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"m\",\"usage\":{\"input_tokens\":1}}}\n\n";
const TEXT_START: &str = "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"m\",\"usage\":{\"input_tokens\":1}}}\n\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
const THINKING_START: &str = "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"m\",\"usage\":{\"input_tokens\":1}}}\n\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\"}}\n\n";
const CALL_START: &str = "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"m\",\"usage\":{\"input_tokens\":1}}}\n\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}}\n\n";
const MESSAGE_STOP: &str = "data: {\"type\":\"content_block_stop\",\"index\":0}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\ndata: {\"type\":\"message_stop\"}\n\n";
const GEMINI_ANSWER: &str = r#"{"candidates":[{"content":{"parts":[@]},"finishReason":"STOP"}]}"#;
const GEMINI_STOP: &str =
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}]},\"finishReason\":\"STOP\"}]}\n\n";

/// A stream of Amazon's frames with a growing number of frames of one kind.
fn frames(name: &'static str, kind: &'static str, payload: &'static str) -> AnswerShape {
    let body = move |count: usize| {
        let mut body = frame("messageStart", r#"{"role":"assistant"}"#);
        (0..count).for_each(|at| body.extend(frame(kind, &payload.replace('№', &at.to_string()))));
        body.extend(frame("messageStop", r#"{"stopReason":"end_turn"}"#));
        body.extend(frame("metadata", r#"{"usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}"#));
        body
    };
    AnswerShape { protocol: BedrockConverse, stream: true, name, body: Box::new(body) }
}

fn frame(kind: &str, payload: &str) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in [(":message-type", "event"), (":event-type", kind)] {
        headers.push(name.len() as u8);
        headers.extend(name.as_bytes());
        headers.push(7);
        headers.extend((value.len() as u16).to_be_bytes());
        headers.extend(value.as_bytes());
    }
    let mut frame = Vec::new();
    frame.extend(((16 + headers.len() + payload.len()) as u32).to_be_bytes());
    frame.extend((headers.len() as u32).to_be_bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend(headers);
    frame.extend(payload.as_bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}
