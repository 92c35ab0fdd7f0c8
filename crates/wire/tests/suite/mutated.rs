//! A short fuzz run without a fuzzer: small answers and requests, hand-made and recorded, with random damage,
//! under the same checks as the fuzz targets. Each finding of it or of the fuzzer is a named test, as in
//! `openai_chat/strict.rs`.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use wire::{AnswerForm, Protocol};

use super::checks;

const STREAM: &str = r#"data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"é\ud83d\ude00"},"finish_reason":null}]}

data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}

data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}

data: [DONE]

"#;
const WHOLE: &str = r#"{"id":"a","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"é"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
const REQUEST: &str = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"\u00e9"}]}],"x":[1.0e3,{"y":null}],"stream":true,"tools":[{"type":"function","function":{"name":"f"}}]}"#;
const GEMINI: &str = r#"{"contents":[{"role":"user","parts":[{"text":"a"}]}],"model":"m","candidates":[{"content":{"parts":[{"text":"b"},{"functionCall":{"name":"f","args":{}}}]},"finishReason":"STOP"}]}"#;
const ANTHROPIC: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}],"type":"message","content":[{"type":"text","text":"b"},{"type":"tool_use","id":"t","name":"f","input":{"x":1}}],"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":2}}"#;

/// Both a request and an answer.
const RESPONSES: &str = r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"a"}]},{"type":"reasoning","summary":[],"content":null,"encrypted_content":"llmgateway.1.e30"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"b"}],"tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"f"}]},{"type":"local_shell"}],"object":"response","status":"completed","output":[{"type":"reasoning","summary":[{"type":"summary_text","text":"t"}],"encrypted_content":"e"},{"type":"message","content":[{"type":"output_text","text":"é"}]},{"type":"function_call","call_id":"c","name":"parallel","arguments":"{\"tool_uses\":[]}"}],"usage":{"input_tokens":1,"output_tokens":2}}"#;
const RESPONSES_STREAM: &str = r#"event: response.created
data: {"type":"response.created","response":{"id":"resp_1","model":"m","created_at":1.0}}

data: {"type":"response.output_item.added","output_index":0,"item":{"type":"message","content":[]}}

data: {"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"é","logprobs":[]}

data: {"type":"response.output_item.added","output_index":1,"item":{"type":"custom_tool_call","call_id":"c","name":"f","input":""}}

data: {"type":"response.custom_tool_call_input.delta","output_index":1,"delta":"x"}

data: {"type":"response.completed","response":{"status":"completed","output":[],"usage":{"input_tokens":1,"output_tokens":2}}}

"#;

const ANTHROPIC_STREAM: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant","content":[],"model":"m","usage":{"input_tokens":1,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"é\ud83d\ude00"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}

event: message_stop
data: {"type":"message_stop"}

"#;
const GEMINI_STREAM: &str = r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"é\ud83d\ude00"}]}}],"modelVersion":"m"}

data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2}}

"#;

/// One change: its place (a fraction of the length), its kind, and a byte.
type Damage = (u16, u8, u8);

fn damaged(seed: &[u8], damages: &[Damage]) -> Vec<u8> {
    const TELLING: &[u8] = b"\"{}[],:0-9e.\\u\n\r dn\xff\x00";
    let mut bytes = seed.to_vec();
    for (place, kind, byte) in damages {
        let at = usize::from(*place) * bytes.len() / (usize::from(u16::MAX) + 1);
        let telling = TELLING[usize::from(*byte) % TELLING.len()];
        match kind % 6 {
            _ if bytes.is_empty() => {}
            0 => bytes[at] = *byte,
            1 => bytes[at] = telling,
            2 => bytes.insert(at, telling),
            3 => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            _ => {
                let end = (at + usize::from(*byte)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

/// Runs a check on damaged versions of the seeds.
fn run(seeds: Vec<Vec<u8>>, cases: u32, check: impl Fn(&[u8])) {
    let damages = prop::collection::vec(any::<Damage>(), 0..4);
    let strategy = (0..seeds.len(), damages);
    let result = TestRunner::new(testkit::random::cases(cases)).run(&strategy, |(seed, damages)| {
        check(&damaged(&seeds[seed], &damages));
        Ok(())
    });
    if let Err(fault) = result {
        panic!("{fault}");
    }
}

/// Hand-made seeds and the small recorded answers of a provider.
fn seeds(own: &[&str], provider: &str, streaming: bool) -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = own.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    let recorded = testkit::corpus::records(provider).into_iter();
    let small = recorded.filter(|record| record.streaming == streaming && record.body.len() < 1500);
    seeds.extend(small.take(8).map(|record| record.body));
    seeds
}

#[test]
fn damaged_frames_pass_the_checks() {
    run(seeds(&[STREAM], "groq", true), 300, checks::sse);
    run(seeds(&[WHOLE, STREAM], "ollama", true), 300, checks::json_lines);
    run(seeds(&[WHOLE], "bedrock-converse", true), 300, checks::aws_eventstream);
}

#[test]
fn damaged_requests_pass_the_checks() {
    let own = |text: &str| vec![text.as_bytes().to_vec()];
    run(own(REQUEST), 600, checks::json);
    run(own(REQUEST), 300, |bytes| checks::request(Protocol::OpenaiChat, bytes));
    run(own(ANTHROPIC), 300, |bytes| checks::request(Protocol::AnthropicMessages, bytes));
    run(own(GEMINI), 300, |bytes| checks::request(Protocol::Gemini, bytes));
    run(own(RESPONSES), 600, |bytes| checks::request(Protocol::OpenaiResponses, bytes));
}

#[test]
fn damaged_answers_pass_the_checks() {
    let cases = [
        (Protocol::OpenaiChat, true, "openai", STREAM),
        (Protocol::OpenaiChat, false, "openai", WHOLE),
        (Protocol::AnthropicMessages, true, "anthropic", STREAM),
        (Protocol::AnthropicMessages, false, "anthropic", ANTHROPIC),
        (Protocol::Gemini, true, "google-ai-studio", STREAM),
        (Protocol::Gemini, false, "google-ai-studio", GEMINI),
        (Protocol::BedrockConverse, true, "bedrock-converse", STREAM),
        (Protocol::BedrockConverse, false, "bedrock-converse", WHOLE),
        (Protocol::CohereChat, true, "cohere", STREAM),
        (Protocol::OllamaChat, true, "ollama", WHOLE),
        (Protocol::OpenaiResponses, true, "openai-responses", RESPONSES_STREAM),
        (Protocol::OpenaiResponses, false, "openai-responses", RESPONSES),
    ];
    for (protocol, streaming, provider, own) in cases {
        run(seeds(&[own], provider, streaming), 80, |bytes| checks::answer(protocol, streaming, bytes));
    }
}

#[test]
fn damaged_errors_pass_the_checks() {
    let own = [
        r#"{"error":{"message":"Slow down.","type":"rate_limit_error","code":"x","param":null}}"#,
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#,
        r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[{"@type":"t","reason":"API_KEY_INVALID"}]}}"#,
        r#"{"message":"m","__type":"ThrottlingException"}"#,
        "<html><head><title>502</title></head><body>Bad gateway</body></html>",
    ];
    run(own.iter().map(|body| body.as_bytes().to_vec()).collect(), 400, checks::errors);
    for provider in
        ["openai", "anthropic", "google-ai-studio", "bedrock-converse", "cohere", "ollama", "groq"]
    {
        let failed = testkit::corpus::cases([provider], |record| record.status >= 400);
        failed.iter().for_each(|record| checks::errors(&record.body));
    }
}

#[test]
fn damaged_relays_pass_the_checks() {
    for (stream, include_usage) in [(true, true), (true, false), (false, false)] {
        let form = AnswerForm { stream, include_usage, ..AnswerForm::default() };
        let own = if stream { STREAM } else { WHOLE };
        run(seeds(&[own], "openai", stream), 250, |bytes| checks::relayed(&form, bytes));
        run(seeds(&[own], "groq", stream), 100, |bytes| checks::relayed(&form, bytes));
    }
}

#[test]
fn damaged_forwarded_answers_pass_the_checks() {
    let cases = [
        (Protocol::AnthropicMessages, true, "anthropic", ANTHROPIC_STREAM),
        (Protocol::AnthropicMessages, false, "anthropic", ANTHROPIC),
        (Protocol::Gemini, true, "google-ai-studio", GEMINI_STREAM),
        (Protocol::Gemini, false, "google-ai-studio", GEMINI),
        (Protocol::OpenaiResponses, true, "openai-responses", RESPONSES_STREAM),
        (Protocol::OpenaiResponses, false, "openai-responses", RESPONSES),
    ];
    for (protocol, stream, provider, own) in cases {
        run(seeds(&[own], provider, stream), 150, |bytes| checks::forwarded(protocol, stream, bytes));
    }
}
