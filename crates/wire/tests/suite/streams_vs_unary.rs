//! A stream has the content of its whole answer. The whole answer is assembled from the stream's own
//! documents by small functions of the tests, and both are decoded.

use std::collections::BTreeMap;

use canon::Event;
use serde_json::{Map, Value, json};
use testkit::corpus::{Record, assert_enough, records};
use wire::{DecoderContext, Protocol, adapter};

use super::caller_answer::CallerAnswer;
use super::{bedrock, cohere};

/// The `data:` documents of server-sent events.
fn documents(body: &[u8]) -> Vec<Value> {
    // Google also streams as a list.
    if let Ok(list) = serde_json::from_slice(body) {
        return list;
    }
    let text = String::from_utf8_lossy(body);
    let lines = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
    lines.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

/// Assembles the documents of a stream into the whole answer, if there is one.
type Assemble = fn(&[u8]) -> Option<Value>;

/// Appends text to text.
fn append(place: &mut Value, more: &Value) {
    if let Some(more) = more.as_str() {
        *place = json!(place.as_str().unwrap_or_default().to_owned() + more);
    }
}

/// Appends the items of a list to a list.
fn extend(place: &mut Value, more: &Value) {
    let (before, after) = (place.as_array().into_iter().flatten(), more.as_array().into_iter().flatten());
    let all: Vec<Value> = before.chain(after).cloned().collect();
    if !all.is_empty() {
        *place = all.into();
    }
}

/// Takes over the members that have a value.
fn overwrite(place: &mut Value, later: &Value) {
    for (name, value) in later.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        place[name] = value.clone();
    }
}

// ---------------------------------------------------------------------------------------------- OpenAI

fn openai(body: &[u8]) -> Option<Value> {
    let mut whole = json!({"object": "chat.completion"});
    let mut choices: BTreeMap<u64, Value> = BTreeMap::new();
    for chunk in documents(body) {
        if chunk.get("choices").is_none() && chunk.get("usage").is_none() {
            return None;
        }
        // Verdicts on the prompt arrive before the answer, without its id.
        if chunk["id"] == "" && chunk["choices"] == json!([]) && chunk["usage"].is_null() {
            overwrite(&mut whole, &json!({"system_fingerprint": chunk["system_fingerprint"]}));
            continue;
        }
        for (name, value) in chunk.as_object()? {
            let is_later = matches!(
                name.as_str(),
                "usage"
                    | "service_tier"
                    | "system_fingerprint"
                    | "citations"
                    | "search_results"
                    | "x_groq"
                    | "timings"
            );
            if !matches!(name.as_str(), "choices" | "object")
                && !value.is_null()
                && (is_later || whole.get(name).is_none())
            {
                whole[name] = value.clone();
            }
        }
        for piece in chunk["choices"].as_array().into_iter().flatten() {
            let choice =
                choices.entry(piece["index"].as_u64().unwrap_or(0)).or_insert_with(|| json!({"message": {}}));
            choice["index"] = piece["index"].clone();
            openai_piece(choice, piece);
        }
    }
    whole["choices"] = choices.into_values().collect();
    // In a whole answer the counts are at the top level; in streams some servers have another place for them.
    if !whole["usage"].is_object() {
        let usage = json!({"usage": whole["x_groq"]["usage"]});
        overwrite(&mut whole, &usage);
    }
    Some(whole)
}

fn openai_piece(choice: &mut Value, piece: &Value) {
    overwrite(
        choice,
        &json!({"finish_reason": piece["finish_reason"], "native_finish_reason": piece["native_finish_reason"]}),
    );
    if piece["logprobs"]["content"].is_array() {
        extend(&mut choice["logprobs"]["content"], &piece["logprobs"]["content"]);
    }
    for (name, value) in piece["delta"].as_object().into_iter().flatten() {
        let place = &mut choice["message"][name];
        match (name.as_str(), value) {
            ("role", _) => *place = json!("assistant"),
            ("tool_calls", Value::Array(calls)) => calls.iter().for_each(|call| openai_call(place, call)),
            ("reasoning_details", Value::Array(details)) => {
                details.iter().for_each(|detail| openai_detail(place, detail));
            }
            (_, Value::String(_)) if place.is_array() => {
                extend(place, &json!([{"type": "text", "text": value}]))
            }
            (_, Value::String(_)) => append(place, value),
            (_, Value::Array(_)) if place.is_string() && place != "" => {
                let text = json!([{"type": "text", "text": place}]);
                *place = text;
                extend(place, value);
            }
            (_, Value::Array(_)) => extend(place, value),
            (_, Value::Null) => {}
            _ => overwrite(place, value),
        }
    }
}

fn openai_call(calls: &mut Value, piece: &Value) {
    let index = &piece["index"];
    let known = calls.as_array().and_then(|calls| calls.iter().position(|call| call["index"] == *index));
    let Some(at) = known else { return extend(calls, &json!([piece])) };
    let call = &mut calls[at];
    for name in ["arguments", "name"] {
        append(&mut call["function"][name], &piece["function"][name]);
    }
    overwrite(call, &json!({"extra_content": piece["extra_content"]}));
}

/// Pieces of thinking with one index and one kind are one block.
fn openai_detail(details: &mut Value, piece: &Value) {
    let is_same = |detail: &Value| detail["index"] == piece["index"] && detail["type"] == piece["type"];
    let known = details.as_array().and_then(|details| details.iter().position(is_same));
    let Some(at) = known.filter(|_| !piece["index"].is_null()) else {
        return extend(details, &json!([piece]));
    };
    for name in ["text", "summary", "data", "signature"] {
        append(&mut details[at][name], &piece[name]);
    }
}

/// The last event contains the whole answer. Items are taken from their own events: in the last event
/// encrypted content is encrypted again and log probabilities are rounded, and some servers leave the output
/// out of it or change ids.
fn responses(body: &[u8]) -> Option<Value> {
    let events = documents(body);
    let is_last =
        |event: &Value| matches!(event["type"].as_str(), Some("response.completed" | "response.incomplete"));
    // One recording holds the streams of two turns.
    let end = events.iter().position(is_last)?;
    let mut whole = events[end]["response"].clone();
    let events = &events[..end];
    let first = events.iter().find(|event| event["type"] == "response.created");
    if let Some(first) = first {
        whole["id"] = first["response"]["id"].clone();
    }
    let done = events.iter().filter(|event| event["type"] == "response.output_item.done");
    let mut items: Vec<Value> = done.map(|event| event["item"].clone()).collect();
    for event in events.iter().filter(|event| event["type"] == "response.output_text.delta") {
        if event["logprobs"].as_array().is_none_or(Vec::is_empty) {
            continue;
        }
        let item = items.get_mut(event["output_index"].as_u64()? as usize)?;
        let part = &mut item["content"][event["content_index"].as_u64()? as usize];
        if part["logprobs_of_deltas"].is_null() {
            part["logprobs"] = json!([]);
            part["logprobs_of_deltas"] = json!(true);
        }
        extend(&mut part["logprobs"], &event["logprobs"]);
    }
    if !items.is_empty() {
        whole["output"] = items.into();
    }
    Some(whole)
}

// ---------------------------------------------------------------------------------------------- Anthropic

fn anthropic(body: &[u8]) -> Option<Value> {
    let mut message = Value::Null;
    let mut inputs: BTreeMap<usize, String> = BTreeMap::new();
    for event in documents(body) {
        let index = event["index"].as_u64().unwrap_or(0) as usize;
        let delta = &event["delta"];
        match event["type"].as_str()? {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => extend(&mut message["content"], &json!([event["content_block"]])),
            "content_block_delta" => {
                let block = message["content"].get_mut(index)?;
                for name in ["text", "thinking", "signature"] {
                    append(&mut block[name], &delta[name]);
                }
                if let Some(piece) = delta["partial_json"].as_str() {
                    inputs.entry(index).or_default().push_str(piece);
                }
                if delta["citation"].is_object() {
                    extend(&mut block["citations"], &json!([delta["citation"]]));
                }
            }
            "message_delta" => {
                overwrite(&mut message, delta);
                anthropic_usage(&mut message["usage"], &event["usage"]);
            }
            "error" => return None,
            _ => {}
        }
    }
    for (index, input) in inputs.into_iter().filter(|(_, input)| !input.is_empty()) {
        message["content"].get_mut(index)?["input"] = serde_json::from_str(&input).ok()?;
    }
    for block in message["content"].as_array_mut().into_iter().flatten() {
        block.as_object_mut()?.retain(|_, value| !value.is_null());
    }
    Some(message)
}

/// Counts only grow. Some hosts repeat the prompt's counts as zero.
fn anthropic_usage(usage: &mut Value, later: &Value) {
    for (name, value) in later.as_object().into_iter().flatten() {
        let says_less = value.is_null() || value == &json!(0) && usage[name].as_u64().unwrap_or(0) > 0;
        if !says_less {
            usage[name] = value.clone();
        }
    }
}

// ---------------------------------------------------------------------------------------------- Google

fn gemini(body: &[u8]) -> Option<Value> {
    let mut whole = json!({});
    let mut candidates: BTreeMap<u64, Value> = BTreeMap::new();
    for piece in documents(body) {
        if piece.get("error").is_some() {
            return None;
        }
        let mut rest = piece.clone();
        rest.as_object_mut()?.remove("candidates");
        overwrite(&mut whole, &rest);
        for part in piece["candidates"].as_array().into_iter().flatten() {
            let known = candidates.entry(part["index"].as_u64().unwrap_or(0)).or_insert_with(|| json!({}));
            gemini_candidate(known, part)?;
        }
    }
    whole["candidates"] = candidates.into_values().collect();
    Some(whole)
}

fn gemini_candidate(known: &mut Value, piece: &Value) -> Option<()> {
    let mut rest = piece.clone();
    let fields: &mut Map<String, Value> = rest.as_object_mut()?;
    fields.remove("content");
    fields.remove("logprobsResult");
    overwrite(known, &rest);
    for name in ["chosenCandidates", "topCandidates"] {
        if piece["logprobsResult"][name].is_array() {
            extend(&mut known["logprobsResult"][name], &piece["logprobsResult"][name]);
        }
    }
    overwrite(&mut known["content"], &json!({"role": piece["content"]["role"]}));
    // Arguments in pieces have no counterpart in a whole answer.
    let parts = piece["content"]["parts"].as_array().into_iter().flatten();
    let is_partial = |part: &Value| {
        part["functionCall"]["partialArgs"].is_array() || part["functionCall"]["willContinue"] == true
    };
    if parts.clone().any(is_partial) {
        return None;
    }
    extend(&mut known["content"]["parts"], &parts.cloned().collect());
    Some(())
}

// ---------------------------------------------------------------------------------------------- the others

fn bedrock(body: &[u8]) -> Option<Value> {
    Some(bedrock::assembled(body))
}

fn cohere(body: &[u8]) -> Option<Value> {
    Some(cohere::assembled(&cohere::documents(body)))
}

fn ollama(body: &[u8]) -> Option<Value> {
    let lines = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    let mut whole = json!({});
    for line in lines {
        let mut line = line.ok()?;
        let message = line.as_object_mut()?.remove("message").unwrap_or_default();
        overwrite(&mut whole, &line);
        append(&mut whole["message"]["content"], &message["content"]);
        append(&mut whole["message"]["thinking"], &message["thinking"]);
        extend(&mut whole["message"]["tool_calls"], &message["tool_calls"]);
    }
    Some(whole)
}

// ---------------------------------------------------------------------------------------------- the comparison

/// The decoded content, choice by choice, in a form that does not depend on the pieces.
fn answers(protocol: Protocol, streaming: bool, body: &[u8]) -> canon::Result<BTreeMap<u32, CallerAnswer>> {
    let mut decoder = adapter(protocol).decoder(streaming, &DecoderContext::default());
    let mut events = Vec::new();
    decoder.push(body, &mut events)?;
    decoder.finish(&mut events)?;
    let choices: Vec<Option<u32>> = events.iter().map(choice_of).collect();
    let mut found = BTreeMap::new();
    for choice in choices.iter().flatten().copied() {
        let about = |of: &Option<u32>| of.is_none_or(|of| of == choice);
        let own = events.iter().zip(&choices).filter(|(_, of)| about(of)).map(|(event, _)| event.clone());
        found.entry(choice).or_insert_with(|| plain(CallerAnswer::of(own)));
    }
    Ok(found)
}

fn choice_of(event: &Event) -> Option<u32> {
    match event {
        Event::Start { .. } | Event::Usage(_) | Event::Field { .. } => None,
        Event::Text { choice, .. }
        | Event::Refusal { choice, .. }
        | Event::Reasoning { choice, .. }
        | Event::ToolCallStart { choice, .. }
        | Event::ToolCallArguments { choice, .. }
        | Event::Image { choice, .. }
        | Event::Annotation { choice, .. }
        | Event::Logprobs { choice, .. }
        | Event::Finish { choice, .. } => Some(*choice),
    }
}

/// Arguments compared by value, and fields in order.
fn plain(mut heard: CallerAnswer) -> CallerAnswer {
    for call in &mut heard.calls {
        if let Ok(arguments) = serde_json::from_str::<Value>(&call.arguments) {
            call.arguments = arguments.to_string();
        }
    }
    // Of several values of a field, the last one counts.
    heard.fields = heard.fields.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
    heard
}

/// How a stream and its whole differ; none for streams that have no whole form, such as those that end in an error.
fn compare(protocol: Protocol, stream: &[u8], whole: Assemble) -> Option<Result<(), String>> {
    let streamed = answers(protocol, true, stream).ok()?;
    let whole = whole(stream)?.to_string();
    Some(match answers(protocol, false, whole.as_bytes()) {
        Ok(at_once) if at_once == streamed => Ok(()),
        Ok(at_once) => Err(format!("the stream says {streamed:?}\nthe whole says {at_once:?}\n{whole}")),
        Err(error) => Err(format!("{error}: {whole}")),
    })
}

fn recorded(protocol: Protocol, providers: &[&str], api: &str, whole: Assemble) -> usize {
    let is_stream = |record: &Record| record.api == api && record.streaming && record.status == 200;
    let all = providers.iter().copied().flat_map(records).filter(is_stream);
    let compared: Vec<_> =
        all.filter_map(|record| Some((record.id, compare(protocol, &record.body, whole)?))).collect();
    let differ: Vec<_> =
        compared.iter().filter_map(|(id, result)| Some((id, result.as_ref().err()?))).collect();
    let differ: Vec<_> = differ.iter().map(|(id, difference)| format!("{id}: {difference}")).collect();
    assert!(differ.is_empty(), "{} differ: {}", differ.len(), differ.join("\n\n"));
    compared.len()
}

#[test]
fn recorded_streams_of_openais_format_equal_their_whole_answers() {
    let providers = [
        "openai",
        "openrouter",
        "mistral",
        "deepseek",
        "azure",
        "llamacpp",
        "groq",
        "doubleword",
        "ollama",
        "copilot",
        "venice",
        "perplexity",
        "xai",
        "together",
        "alibaba",
        "litellm-proxy",
        "snowflake",
        "huggingface",
        "mistralrs",
        "gpustack",
    ];
    let count = recorded(Protocol::OpenaiChat, &providers, "chat", openai);
    assert_enough(count, 300);
}

#[test]
fn recorded_streams_of_the_responses_api_equal_their_whole_answers() {
    let providers = [
        "openai-responses",
        "azure",
        "xai",
        "chatgpt-codex",
        "copilot",
        "bedrock-mantle",
        "deepseek",
        "openrouter",
        "lmstudio",
    ];
    let count = recorded(Protocol::OpenaiResponses, &providers, "responses", responses);
    assert_enough(count, 120);
}

#[test]
fn recorded_streams_of_the_other_formats_equal_their_whole_answers() {
    let counts = [
        recorded(Protocol::AnthropicMessages, &["anthropic"], "messages", anthropic),
        recorded(Protocol::Gemini, &["google-ai-studio", "vertex-gemini"], "streamGenerateContent", gemini),
        recorded(Protocol::BedrockConverse, &["bedrock-converse"], "converse-stream", bedrock),
        recorded(Protocol::CohereChat, &["cohere"], "chat-native", cohere),
        recorded(Protocol::OllamaChat, &["ollama"], "chat-native", ollama),
    ];
    eprintln!("{counts:?} recorded streams were compared with their whole");
    counts.iter().zip([90, 80, 30, 20, 5]).for_each(|(count, least)| assert_enough(*count, least));
}

fn sse(documents: &[Value]) -> Vec<u8> {
    documents.iter().map(|document| format!("data: {document}\n\n")).collect::<String>().into_bytes()
}

/// Small handmade streams with everything that pieces can hold.
#[test]
fn handmade_streams_equal_their_whole_answers() {
    let check = |protocol, stream: &[u8], whole: Assemble| match compare(protocol, stream, whole) {
        Some(Ok(())) => {}
        other => panic!("{protocol:?}: {other:?}"),
    };
    check(Protocol::OpenaiChat, &openai_stream(), openai);
    check(Protocol::AnthropicMessages, &anthropic_stream(), anthropic);
    check(Protocol::Gemini, &gemini_stream(), gemini);
    check(Protocol::BedrockConverse, &bedrock::call_stream(), bedrock);
    check(Protocol::CohereChat, &cohere::sse(&cohere::call_stream()), cohere);
    check(Protocol::OllamaChat, &ollama_stream(), ollama);
}

fn openai_stream() -> Vec<u8> {
    let chunk = |index: u64, delta: Value, finish: Option<&str>| {
        json!({"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices":
            [{"index": index, "delta": delta, "finish_reason": finish}]})
    };
    let call = |index: u64, id: Option<&str>, function: Value| json!({"tool_calls": [{"index": index, "id": id, "function": function}]});
    let mut token = chunk(0, json!({"content": "lo"}), None);
    token["choices"][0]["logprobs"] = json!({"content": [{"token": "lo", "logprob": -0.5}]});
    let end = json!({"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [],
        "service_tier": "flex", "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 2}}});
    let mut stream = sse(&[
        json!({"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [],
            "system_fingerprint": "fp"}),
        chunk(0, json!({"role": "assistant", "reasoning_content": "Hm"}), None),
        chunk(0, json!({"reasoning_content": "m."}), None),
        chunk(1, json!({"role": "assistant", "refusal": "N"}), None),
        chunk(0, json!({"content": "Hel"}), None),
        token,
        chunk(0, call(0, Some("a"), json!({"name": "f", "arguments": ""})), None),
        chunk(0, call(0, None, json!({"arguments": "{\"x\":"})), None),
        chunk(0, call(1, Some("b"), json!({"name": "g", "arguments": "{}"})), None),
        chunk(0, call(0, None, json!({"arguments": "1}"})), None),
        chunk(1, json!({"refusal": "o."}), None),
        chunk(
            0,
            json!({"annotations": [{"type": "url_citation", "url_citation": {"url": "https://x.test"}}]}),
            None,
        ),
        chunk(0, json!({}), Some("tool_calls")),
        chunk(1, json!({}), Some("stop")),
        end,
    ]);
    stream.extend_from_slice(b"data: [DONE]\n\n");
    stream
}

fn anthropic_stream() -> Vec<u8> {
    let start = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta =
        |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let stop = |index: u64| json!({"type": "content_block_stop", "index": index});
    let citation = json!({"type": "web_search_result_location", "url": "https://x.test", "title": "X", "cited_text": "t", "encrypted_index": "e"});
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    sse(&[
        json!({"type": "message_start", "message": {"type": "message", "id": "m", "role": "assistant", "model": "claude", "content": [],
            "stop_reason": null, "usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 1}}}),
        start(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "Hm"})),
        delta(0, json!({"type": "thinking_delta", "thinking": "m."})),
        delta(0, json!({"type": "signature_delta", "signature": "sig"})),
        stop(0),
        start(1, json!({"type": "redacted_thinking", "data": "hidden"})),
        stop(1),
        start(2, json!({"type": "text", "text": ""})),
        delta(2, json!({"type": "text_delta", "text": "It is "})),
        delta(2, json!({"type": "citations_delta", "citation": citation})),
        delta(2, json!({"type": "text_delta", "text": "so."})),
        stop(2),
        start(3, call("a")),
        delta(3, json!({"type": "input_json_delta", "partial_json": "{\"x\":"})),
        delta(3, json!({"type": "input_json_delta", "partial_json": "[1]}"})),
        stop(3),
        start(4, call("b")),
        stop(4),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"input_tokens": 0, "output_tokens": 9}}),
        json!({"type": "message_stop"}),
    ])
}

fn gemini_stream() -> Vec<u8> {
    let piece = |index: u64, part: Value| json!({"candidates": [{"index": index, "content": {"role": "model", "parts": [part]}}], "responseId": "r", "modelVersion": "gemini"});
    let mut end =
        piece(0, json!({"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "sig"}));
    end["candidates"][0]["finishReason"] = json!("STOP");
    end["candidates"][0]["groundingMetadata"] = json!({"groundingChunks": [{"web": {"uri": "https://x.test", "title": "X"}}],
        "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 2, "text": "Hé"}, "groundingChunkIndices": [0]}]});
    end["usageMetadata"] = json!({"promptTokenCount": 5, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 10,
        "cachedContentTokenCount": 1});
    let mut other = piece(1, json!({"text": "B"}));
    other["candidates"][0]["finishReason"] = json!("MAX_TOKENS");
    sse(&[
        piece(0, json!({"text": "Hm", "thought": true})),
        piece(0, json!({"text": "m.", "thought": true})),
        piece(1, json!({"text": "A"})),
        piece(0, json!({"text": "Hé"})),
        piece(0, json!({"text": "!"})),
        piece(0, json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}})),
        other,
        end,
    ])
}

fn ollama_stream() -> Vec<u8> {
    let line = |message: Value| json!({"model": "m", "message": message, "done": false});
    let call = json!([{"function": {"name": "f", "arguments": {"x": 1}}}]);
    let lines = [
        line(json!({"role": "assistant", "content": "", "thinking": "Hm"})),
        line(json!({"role": "assistant", "content": "", "thinking": "m."})),
        line(json!({"role": "assistant", "content": "Hé"})),
        line(json!({"role": "assistant", "content": "", "tool_calls": call})),
        line(json!({"role": "assistant", "content": "!", "tool_calls": call})),
        json!({"model": "m", "message": {"role": "assistant", "content": ""}, "done": true, "done_reason": "stop",
            "prompt_eval_count": 3, "eval_count": 4}),
    ];
    lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes()
}
