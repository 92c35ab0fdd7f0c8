//! Legacy text completions over HTTP: any provider, its errors, streams and records.

use serde_json::{Value, json};

use crate::support::{
    KEY, Reply, TestGateway, Upstream, answer, chunk, error, events, raw, settle, stream_of, whole,
};

async fn complete(gateway: &TestGateway, body: &Value) -> Reply {
    let body = body.to_string();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    gateway.send(format!("{head}{body}").as_bytes()).await
}

fn prompt(model: &str) -> Value {
    json!({"model": model, "prompt": "Once upon a time", "max_tokens": 20})
}

#[tokio::test]
async fn a_prompt_is_completed_by_any_provider() {
    let messages = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "there was a king."}], "usage": {"input_tokens": 4, "output_tokens": 6}});
    let chat = Upstream::playing(vec![error("503 Service Unavailable"), answer("there was a queen.")]).await;
    let claude = Upstream::playing(vec![whole("200 OK", &messages), whole("200 OK", &messages)]).await;
    let config = chat.provider("first", "openai-chat") + &claude.provider("second", "anthropic-messages");
    let gateway = TestGateway::start(&config).await;
    let mut asked = prompt("first/a");
    asked["models"] = json!(["second/b"]);
    let fallen = complete(&gateway, &asked).await;
    assert_eq!(fallen.status, 200, "{}", fallen.text());
    assert_eq!(
        fallen.at("/choices"),
        json!([{"text": "there was a king.", "index": 0, "logprobs": null, "finish_reason": "stop"}])
    );
    assert_eq!(
        (fallen.at("/object"), fallen.at("/usage/total_tokens")),
        (json!("text_completion"), json!(10))
    );
    assert_eq!(fallen.at("/llmgateway/used_provider"), "second");
    assert_eq!(fallen.at("/metadata"), Value::Null);
    let plain = complete(&gateway, &prompt("first/a")).await;
    assert_eq!(plain.at("/choices/0/text"), "there was a queen.", "{}", plain.text());
    assert_eq!(chat.bodies()[1]["messages"], json!([{"role": "user", "content": "Once upon a time"}]));
    let mut lossy = prompt("second/b");
    lossy["logit_bias"] = json!({"5": 1});
    lossy["best_of"] = json!(2);
    let told = complete(&gateway, &lossy).await;
    let mut fields: Vec<Value> =
        told.at("/llmgateway/losses").as_array().unwrap().iter().map(|loss| loss["field"].clone()).collect();
    fields.sort_by_key(Value::to_string);
    assert_eq!(fields, ["best_of", "logit_bias"]);
    let records = gateway.records().await;
    assert_eq!(records.len(), 3);
}

#[tokio::test]
async fn a_stream_has_the_legacy_chunks() {
    let upstream = Upstream::playing(vec![stream_of(&["there ", "was"])]).await;
    let gateway = TestGateway::start(&upstream.provider("first", "openai-chat")).await;
    let mut asked = prompt("first/a");
    asked["stream"] = json!(true);
    asked["echo"] = json!(true);
    let reply = complete(&gateway, &asked).await;
    assert_eq!((reply.status, reply.done()), (200, 1), "{}", reply.text());
    let events = reply.events();
    let text: String = events.iter().filter_map(|event| event.pointer("/choices/0/text")?.as_str()).collect();
    assert_eq!(text, "Once upon a timethere was");
    assert!(events.iter().all(|event| event["object"] == "text_completion"), "{}", reply.text());
    assert_eq!(events.last().unwrap()["llmgateway"]["used_provider"], "first");
}

#[tokio::test]
async fn unsupported_fields_are_refused_by_name_before_a_provider_is_asked() {
    let upstream = Upstream::playing(vec![]).await;
    let gateway = TestGateway::start(&upstream.provider("first", "openai-chat")).await;
    let cases = [("prompt", json!([1, 2])), ("prompt", json!([[1], [2]])), ("suffix", json!("end"))];
    for (field, value) in cases {
        let mut asked = prompt("first/a");
        asked[field] = value;
        let reply = complete(&gateway, &asked).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, json!(field)), "{}", reply.text());
        assert_eq!(reply.at("/error/code"), "unsupported_feature");
    }
    let reply =
        gateway.send(b"POST /v1/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 2\r\n\r\n{}").await;
    assert_eq!((reply.status, reply.at("/error/code")), (401, json!("invalid_api_key")));
    assert!(upstream.bodies().is_empty());
}

/// An answer of a provider that serves text completions itself.
fn completed(choices: &Value) -> Value {
    json!({"id": "cmpl-7", "object": "text.completion", "created": 5, "model": "m-1", "choices": choices, "new": [1],
        "usage": {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10}})
}

fn legacy(upstream: &Upstream) -> String {
    upstream.provider("texts", "openai-chat").replace("api_key", "also = [\"openai-completions\"]\napi_key")
}

#[tokio::test]
async fn text_completion_providers_get_the_request_unchanged() {
    let logprobs =
        json!({"tokens": ["a"], "token_logprobs": [null], "top_logprobs": [null], "text_offset": [0]});
    let choices = json!([
        {"text": "one", "index": 0, "logprobs": logprobs, "finish_reason": "length", "stop_reason": null},
        {"text": "two", "index": 1, "logprobs": null, "finish_reason": "stop"},
    ]);
    let upstream = Upstream::playing(vec![whole("200 OK", &completed(&choices))]).await;
    let gateway = TestGateway::start(&legacy(&upstream)).await;
    let asked = json!({"model": "texts/m", "prompt": [[1, 2], [3]], "suffix": "end", "echo": true, "logprobs": 1,
        "best_of": 3, "min_p": 0.5, "user": null, "provider": {"order": ["texts"]}});
    let reply = complete(&gateway, &asked).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!((reply.at("/choices"), reply.at("/new")), (choices, json!([1])));
    assert_eq!((reply.at("/object"), reply.at("/id")), (json!("text_completion"), json!("cmpl-7")));
    assert_eq!(
        (reply.at("/usage/total_tokens"), reply.at("/usage/cost_usd_total")),
        (json!(10), Value::Null)
    );
    assert_eq!(reply.at("/llmgateway/used_provider"), "texts");
    assert_eq!(reply.at("/llmgateway/losses"), json!([]));
    assert!(upstream.received()[0].head.starts_with("POST /v1/completions "));
    let expected = json!({"model": "m", "prompt": [[1, 2], [3]], "suffix": "end", "echo": true, "logprobs": 1,
        "best_of": 3, "min_p": 0.5});
    assert_eq!(upstream.bodies()[0], expected);
    let record = gateway.record().await;
    assert_eq!(record.usage.map(|usage| (usage.input, usage.output)), Some((4, 6)));
}

#[tokio::test]
async fn a_text_completion_stream_is_relayed_with_its_usage() {
    let chunk = |index: u64, text: &str, finish: Value| {
        let choice = json!({"text": text, "index": index, "logprobs": null, "finish_reason": finish});
        json!({"id": "cmpl-7", "object": "text_completion", "created": 5, "model": "m-1", "choices": [choice], "usage": null})
    };
    let mut last = completed(&json!([]));
    last["object"] = json!("text_completion");
    let chunks = [
        chunk(0, "there ", Value::Null),
        chunk(1, "a king", json!("length")),
        chunk(0, "was", json!("stop")),
        last,
    ];
    let body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    let stream = |body: &str| raw("200 OK", "content-type: text/event-stream\r\n", body);
    let cut = format!("data: {}\n\n", chunk(0, "there ", Value::Null));
    let upstream = Upstream::playing(vec![
        stream(&format!("{body}data: [DONE]\n\n")),
        stream(&format!("{body}data: [DONE]\n\n")),
        stream(&cut),
    ])
    .await;
    let gateway = TestGateway::start(&legacy(&upstream)).await;
    let mut asked = prompt("texts/m");
    asked["stream"] = json!(true);
    let plain = complete(&gateway, &asked).await;
    let events = plain.events();
    assert_eq!((plain.status, plain.done(), events.len()), (200, 1, 3), "{}", plain.text());
    assert!(events.iter().all(|event| event.get("usage").is_none()), "{}", plain.text());
    assert_eq!(events[2]["llmgateway"]["used_provider"], "texts");
    assert!(events[..2].iter().all(|event| event.get("llmgateway").is_none()));
    asked["stream_options"] = json!({"include_usage": true});
    let counted = complete(&gateway, &asked).await;
    let events = counted.events();
    assert_eq!((events.len(), &events[3]["choices"]), (4, &json!([])), "{}", counted.text());
    assert_eq!(events[3]["usage"]["completion_tokens"], 6);
    assert_eq!(events[3]["llmgateway"]["used_provider"], "texts");
    assert!(upstream.bodies().iter().all(|body| body["stream_options"]["include_usage"] == true));
    let broken = complete(&gateway, &asked).await;
    assert_eq!(broken.done(), 0, "{}", broken.text());
    assert!(broken.text().contains("\"error\""), "{}", broken.text());
}

#[tokio::test]
async fn text_completion_providers_serve_fields_that_chat_lacks() {
    let chat = Upstream::playing(vec![answer("never")]).await;
    let choices = json!([{"text": "one", "index": 0, "logprobs": null, "finish_reason": "stop"}]);
    let texts = Upstream::playing(vec![whole("200 OK", &completed(&choices))]).await;
    let config = format!("{}{}", chat.provider("chat", "openai-chat"), legacy(&texts));
    let gateway = TestGateway::start(&config).await;
    let mut asked = prompt("chat/a");
    asked["suffix"] = json!("end");
    asked["models"] = json!(["texts/m"]);
    let reply = complete(&gateway, &asked).await;
    assert_eq!((reply.status, reply.at("/choices/0/text")), (200, json!("one")), "{}", reply.text());
    assert!(chat.received().is_empty());
}

#[tokio::test]
async fn completion_only_models_are_served_at_completions_only() {
    let choices = json!([{"text": "one", "index": 0, "logprobs": null, "finish_reason": "stop"}]);
    let upstream = Upstream::playing(vec![whole("200 OK", &completed(&choices))]).await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    let reply = complete(&gateway, &prompt("gpt-3.5-turbo-instruct")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // 4 tokens at 1.5 and 6 at 2 dollars a million.
    assert_eq!(reply.at("/usage/cost_usd_total"), json!(0.000018));
    assert!(upstream.received()[0].head.starts_with("POST /v1/completions "));
    let refused = gateway.chat(&crate::support::question("openai/davinci-002")).await;
    assert_eq!((refused.status, refused.at("/error/param")), (400, json!("model")), "{}", refused.text());
    assert!(refused.message().contains("POST /v1/completions"), "{}", refused.text());
    assert_eq!(upstream.received().len(), 1);
}

/// Takes this many requests and answers them in reverse order.
async fn answered_backwards(upstream: &mut Upstream, count: usize, reply: impl Fn(&str) -> Vec<u8>) {
    let mut lines = Vec::new();
    for _ in 0..count {
        lines.push(upstream.next().await);
    }
    let bodies = upstream.bodies();
    let bodies = &bodies[bodies.len() - count..];
    for (mut line, body) in lines.into_iter().zip(bodies).rev() {
        line.send(reply(body["messages"][0]["content"].as_str().unwrap())).await;
    }
}

#[tokio::test]
async fn each_prompt_is_a_request_of_its_own() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = TestGateway::start(&upstream.provider("first", "openai-chat")).await;
    let two = |prompt: &str| {
        let choice = |index: u64, text: &str| json!({"index": index, "finish_reason": "stop", "message": {"role": "assistant", "content": format!("{prompt}{text}")}});
        let body = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [choice(0, "!"), choice(1, "?")], "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}});
        whole("200 OK", &body)
    };
    let prompts = ["a", "b", "c", "d", "e", "f"];
    let asked = json!({"model": "first/m", "prompt": prompts, "n": 2, "echo": true, "best_of": 3});
    let (reply, ()) = tokio::join!(complete(&gateway, &asked), async {
        answered_backwards(&mut upstream, 4, two).await;
        answered_backwards(&mut upstream, 2, two).await;
    });
    assert_eq!(reply.status, 200, "{}", reply.text());
    let choices = reply.at("/choices");
    let choices = choices.as_array().unwrap();
    for (number, prompt) in prompts.iter().enumerate() {
        for (index, end) in ["!", "?"].iter().enumerate() {
            let choice = &choices[2 * number + index];
            assert_eq!(choice["index"], json!(2 * number + index));
            assert_eq!(choice["text"], json!(format!("{prompt}{prompt}{end}")));
        }
    }
    assert_eq!((choices.len(), reply.at("/usage/total_tokens")), (12, json!(30)));
    assert_eq!(reply.at("/llmgateway/routing").as_array().unwrap().len(), 6);
    assert_eq!(
        reply.at("/llmgateway/losses").as_array().unwrap().len(),
        1,
        "best_of, once: {}",
        reply.text()
    );
    assert_eq!(reply.header("x-llmgateway-attempts"), Some("6"));
    assert!(upstream.bodies().iter().all(|body| body["n"] == 2));
    let records = gateway.records().await;
    assert_eq!(records.len(), 6);
    assert!(records.iter().all(|record| record.status == 200 && record.usage.is_some()));
}

#[tokio::test]
async fn streams_of_several_prompts_are_merged_into_one() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = TestGateway::start(&upstream.provider("first", "openai-chat")).await;
    let asked = json!({"model": "first/m", "prompt": ["a", "b", "c"], "stream": true,
        "stream_options": {"include_usage": true}});
    let (reply, ()) = tokio::join!(complete(&gateway, &asked), async {
        answered_backwards(&mut upstream, 3, |prompt| stream_of(&[prompt, "!"])).await;
    });
    assert_eq!((reply.status, reply.done()), (200, 1), "{}", reply.text());
    let events = reply.events();
    for (index, text) in ["a!", "b!", "c!"].iter().enumerate() {
        let of = |event: &Value| {
            let choice = event.pointer("/choices/0")?;
            (choice["index"] == json!(index)).then(|| choice["text"].as_str().unwrap().to_owned())
        };
        assert_eq!(events.iter().filter_map(of).collect::<String>(), *text, "{}", reply.text());
    }
    let finishes =
        events.iter().filter(|event| event.pointer("/choices/0/finish_reason").is_some_and(|f| !f.is_null()));
    assert_eq!(finishes.count(), 3);
    assert!(events.iter().all(|event| event["id"] == events[0]["id"]), "{}", reply.text());
    let usages: Vec<_> = events.iter().filter(|event| event["choices"] == json!([])).collect();
    assert_eq!(usages.len(), 1);
    assert_eq!(usages[0]["llmgateway"]["routing"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn one_failed_prompt_fails_the_request() {
    let mut upstream = Upstream::by_hand().await;
    let config = upstream.provider("first", "openai-chat") + "[routing]\nmax_retries = 0\n";
    let gateway = TestGateway::start(&config).await;
    let refused = json!({"error": {"message": "too rude", "type": "invalid_request_error", "code": "rude"}});
    let reply = |prompt: &str| match prompt {
        "b" => whole("400 Bad Request", &refused),
        _ => answer("fine"),
    };
    let asked = json!({"model": "first/m", "prompt": ["a", "b"]});
    let (failed, ()) = tokio::join!(complete(&gateway, &asked), async {
        answered_backwards(&mut upstream, 2, reply).await;
    });
    assert_eq!((failed.status, failed.at("/error/param")), (400, json!("prompt[1]")), "{}", failed.text());
    assert!(failed.message().starts_with("prompt[1]: ") && failed.message().contains("too rude"));
    // In a stream that has begun the error is the last event.
    let cut = events(&[chunk(json!({"content": "x"}), None)]);
    let asked = json!({"model": "first/m", "prompt": ["a", "b"], "stream": true});
    let (broken, ()) = tokio::join!(complete(&gateway, &asked), async {
        let (mut first, _second) = (upstream.next().await, upstream.next().await);
        first.send(&cut).await;
        settle().await;
    });
    assert_eq!((broken.status, broken.done()), (200, 0), "{}", broken.text());
    let last = broken.events().pop().unwrap();
    assert!(last["error"]["message"].as_str().unwrap().starts_with("prompt["), "{}", broken.text());
    assert!(gateway.records().await.iter().any(|record| record.status == 400));
}

#[tokio::test]
async fn text_completion_providers_get_several_prompts_in_one_request() {
    let choices = json!([{"text": "one", "index": 0, "finish_reason": "stop"}, {"text": "two", "index": 1, "finish_reason": "stop"}]);
    let upstream = Upstream::playing(vec![whole("200 OK", &completed(&choices))]).await;
    let gateway = TestGateway::start(&legacy(&upstream)).await;
    let reply = complete(&gateway, &json!({"model": "texts/m", "prompt": ["a", "b"]})).await;
    assert_eq!((reply.status, reply.at("/choices/1/text")), (200, json!("two")), "{}", reply.text());
    assert_eq!(upstream.bodies()[0]["prompt"], json!(["a", "b"]));
}
