//! OpenAI's legacy text completions, as OpenAI, vLLM and other servers of open models speak them.

use crate::brain::{Answer, Finish, Prompt, pieces};
use crate::format::{Call, Format, Refusal, Reply, data_frame, has, strings};
use crate::openai_chat::OpenAiChat;
use bytes::Bytes;
use serde_json::{Value, json};

pub struct OpenAiCompletions;

impl Format for OpenAiCompletions {
    fn read(&self, call: &Call) -> Result<Prompt, Refusal> {
        if call.model.is_empty() {
            return Err(Refusal::bad("you must provide a model parameter"));
        }
        let body = &call.body;
        if has(body, "messages") {
            return Err(Refusal::bad("Unrecognized request argument supplied: messages").at("messages"));
        }
        let mut prompt = Prompt::new();
        prompt.begin_user();
        match prompts(body).first() {
            Some(Value::String(text)) => prompt.say(text),
            Some(tokens) => prompt.say(&format!("Tokens {tokens}")),
            None => return Err(Refusal::bad("Missing required parameter: 'prompt'.").at("prompt")),
        }
        // The legacy default.
        prompt.max_tokens = Some(body.get("max_tokens").and_then(Value::as_u64).unwrap_or(16));
        prompt.stop = strings(body.get("stop"));
        prompt.count = prompts(body).len() * body.get("n").and_then(Value::as_u64).unwrap_or(1) as usize;
        Ok(prompt)
    }

    fn write(&self, call: &Call, prompt: &Prompt, answer: &Answer) -> Reply {
        if call.streaming {
            Reply::stream("text/event-stream; charset=utf-8", stream(call, prompt, answer))
        } else {
            Reply::json(200, &whole(call, prompt, answer))
        }
    }

    fn refuse(&self, call: &Call, refusal: &Refusal) -> Reply {
        OpenAiChat.refuse(call, refusal)
    }

    fn stream_error(&self, call: &Call) -> Bytes {
        OpenAiChat.stream_error(call)
    }
}

/// The prompts: texts, or lists of token numbers.
fn prompts(body: &Value) -> Vec<Value> {
    match body.get("prompt") {
        Some(Value::Array(items)) if items.iter().all(Value::is_number) && !items.is_empty() => {
            vec![Value::Array(items.clone())]
        }
        Some(Value::Array(items)) => items.clone(),
        Some(Value::String(text)) => vec![text.as_str().into()],
        _ => Vec::new(),
    }
}

/// The text that an echo puts before a choice.
fn echo(call: &Call, prompt: &Prompt, index: usize) -> String {
    let prompts = prompts(&call.body);
    let each = (prompt.count / prompts.len().max(1)).max(1);
    let text = prompts.get(index / each).and_then(Value::as_str);
    text.filter(|_| call.body.get("echo") == Some(&Value::Bool(true))).unwrap_or_default().to_owned()
}

fn document(call: &Call, choices: Vec<Value>) -> Value {
    json!({ "id": call.id("cmpl-"), "object": "text_completion", "created": call.created, "model": call.model, "choices": choices })
}

fn choice(index: usize, text: &str, finish: Option<&str>) -> Value {
    json!({ "text": text, "index": index, "logprobs": null, "finish_reason": finish })
}

fn finish(answer: &Answer) -> &'static str {
    if answer.finish == Finish::Length { "length" } else { "stop" }
}

fn usage(prompt: &Prompt, answer: &Answer) -> Value {
    let (input, output) = (answer.input_tokens, answer.output_tokens * prompt.count as u64);
    json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output })
}

fn whole(call: &Call, prompt: &Prompt, answer: &Answer) -> Value {
    let choices = (0..prompt.count)
        .map(|index| choice(index, &(echo(call, prompt, index) + &answer.text), Some(finish(answer))));
    let mut whole = document(call, choices.collect());
    whole["usage"] = usage(prompt, answer);
    whole
}

fn stream(call: &Call, prompt: &Prompt, answer: &Answer) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let mut chunk = |choice| frames.push(data_frame(&document(call, vec![choice])));
    for index in 0..prompt.count {
        let echo = echo(call, prompt, index);
        if !echo.is_empty() {
            chunk(choice(index, &echo, None));
        }
        pieces(&answer.text).into_iter().for_each(|piece| chunk(choice(index, piece, None)));
        chunk(choice(index, "", Some(finish(answer))));
    }
    if call.body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true)) {
        let mut last = document(call, Vec::new());
        last["usage"] = usage(prompt, answer);
        frames.push(data_frame(&last));
    }
    frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
    frames
}
