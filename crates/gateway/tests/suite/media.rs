//! Speech and images: what is relayed unchanged, what is metered, and what is refused.

use std::net::SocketAddr;

use canon::{Amount, Unit};
use mock::Options;
use serde_json::{Value, json};

use crate::support::{Reply, TestGateway, Upstream, error, raw, stream_head, whole};

const SPEECH: &str = "/v1/audio/speech";
const IMAGES: &str = "/v1/images/generations";

async fn ask(gateway: &TestGateway, path: &str, body: &Value) -> Reply {
    gateway.post(path, body.to_string().as_bytes()).await
}

fn provider(id: &str, upstream: &Upstream) -> String {
    format!("[providers.{id}]\nbase_url = \"http://{}/v1\"\napi_key = \"k\"\n", upstream.address)
}

/// Bytes that are no text in any encoding.
fn sound(length: usize) -> Vec<u8> {
    (0..length).map(|number| (number * 37 % 251) as u8 | 0x80).collect()
}

#[tokio::test]
async fn speech_is_relayed_unchanged_and_billed_by_character() {
    let bytes = sound(200_000);
    let upstream = Upstream::playing(vec![raw("200 OK", "content-type: audio/mpeg\r\n", &bytes)]).await;
    let gateway = TestGateway::start(&provider("openai", &upstream)).await;
    let body =
        json!({"model": "tts-1", "input": "Grüße 😀", "voice": "alloy", "provider": null, "speed": 1.0});
    let reply = ask(&gateway, SPEECH, &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("audio/mpeg"));
    assert_eq!(reply.header("x-llmgateway-model"), Some("tts-1"));
    assert!(reply.body == bytes);
    let sent: Value = serde_json::from_slice(&upstream.received()[0].body).unwrap();
    assert_eq!(sent, json!({"model": "tts-1", "input": "Grüße 😀", "voice": "alloy", "speed": 1.0}));
    let record = gateway.record().await;
    assert_eq!(record.operation.as_deref(), Some("speech"));
    assert_eq!(record.amount, Some(Amount { unit: Unit::Character, count: 7 }));
    assert_eq!(record.cost.unwrap().total.to_string(), "0.000105");
}

#[tokio::test]
async fn a_generic_audio_type_is_replaced_by_that_of_the_format() {
    for (asked, given, wanted) in [
        (json!("wav"), "application/octet-stream", "audio/wav"),
        (json!("opus"), "audio/opus", "audio/opus"),
        (Value::Null, "application/octet-stream", "audio/mpeg"),
    ] {
        let headers = format!("content-type: {given}\r\n");
        let upstream = Upstream::playing(vec![raw("200 OK", &headers, sound(10))]).await;
        let gateway = TestGateway::start(&provider("openai", &upstream)).await;
        let body = json!({"model": "tts-1", "input": "hi", "voice": {"id": "v"}, "response_format": asked});
        assert_eq!(ask(&gateway, SPEECH, &body).await.header("content-type"), Some(wanted));
    }
}

#[tokio::test]
async fn speech_as_events_has_its_tokens_counted() {
    let audio = "QUJD".repeat(100_000);
    let events = format!(
        "data: {{\"type\":\"speech.audio.delta\",\"audio\":\"{audio}\"}}\r\n\r\ndata: {}\r\n\r\n",
        json!({"type": "speech.audio.done", "usage": {"input_tokens": 10, "output_tokens": 100, "total_tokens": 110}})
    );
    let upstream = Upstream::playing(vec![[stream_head(), events.clone().into_bytes()].concat()]).await;
    let gateway = TestGateway::start(&provider("openai", &upstream)).await;
    let body = json!({"model": "gpt-4o-mini-tts", "input": "hi", "voice": "alloy", "stream_format": "sse"});
    let reply = ask(&gateway, SPEECH, &body).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/event-stream")));
    assert!(reply.text() == events);
    let record = gateway.record().await;
    assert_eq!(record.usage.map(|usage| (usage.input, usage.audio_output)), Some((10, 100)));
    assert_eq!(record.cost.unwrap().total.to_string(), "0.001206");
}

#[tokio::test]
async fn interrupted_audio_is_never_a_complete_answer() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 1000\r\n\r\n";
    let upstream = Upstream::playing(vec![[head.as_bytes(), &sound(500)].concat()]).await;
    let gateway = TestGateway::start(&provider("openai", &upstream)).await;
    let body = json!({"model": "tts-1", "input": "hi", "voice": "alloy"});
    let reply = ask(&gateway, SPEECH, &body).await;
    assert_eq!(reply.status, 200);
    assert!(!reply.complete, "the last chunk says that the answer is whole");
    let record = gateway.record().await;
    assert_eq!((record.status, record.error_kind.is_some()), (502, true));
}

#[tokio::test]
async fn another_attempt_serves_before_the_first_byte() {
    for broken in [
        error("503 Service Unavailable"),
        raw("200 OK", "content-type: audio/mpeg\r\n", b""),
        whole("200 OK", &json!({"error": {"message": "no"}})),
    ] {
        let good = raw("200 OK", "content-type: audio/mpeg\r\n", sound(10));
        let (bad, second) = (Upstream::playing(vec![broken]).await, Upstream::playing(vec![good]).await);
        let (bad, second) = (bad.provider("one", "openai-chat"), second.provider("two", "openai-chat"));
        let alias = "[models.voice]\ntargets = [\"one/x\", \"two/x\"]\n";
        let gateway = TestGateway::start(&format!("{bad}{second}{alias}")).await;
        let reply = ask(&gateway, SPEECH, &json!({"model": "voice", "input": "hi", "voice": "v"})).await;
        assert_eq!((reply.status, reply.body.len()), (200, 10), "{}", reply.text());
        assert_eq!(reply.header("x-llmgateway-provider"), Some("two"));
    }
}

#[tokio::test]
async fn image_answers_have_usage_cost_and_provider() {
    let image = "iVBORw0KGgo".repeat(50_000);
    let usage = json!({
        "input_tokens": 50, "input_tokens_details": {"text_tokens": 50, "image_tokens": 0},
        "output_tokens": 1364, "output_tokens_details": {"image_tokens": 1056, "text_tokens": 308}, "total_tokens": 1414
    });
    let answer = json!({"created": 1, "data": [{"b64_json": image}], "output_format": "png", "usage": usage});
    let upstream = Upstream::playing(vec![whole("200 OK", &answer)]).await;
    let gateway = TestGateway::start(&provider("openai", &upstream)).await;
    let body =
        json!({"model": "gpt-image-1.5", "prompt": "a fox", "response_format": "b64_json", "size": "auto"});
    let reply = ask(&gateway, IMAGES, &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.at("/data/0/b64_json") == json!(image));
    // 50 at 5, 308 at 10 and 1056 at 32 USD per million.
    assert_eq!(reply.at("/llmgateway/cost_usd_total"), json!(0.037122));
    let sent: Value = serde_json::from_slice(&upstream.received()[0].body).unwrap();
    assert_eq!(sent, json!({"model": "gpt-image-1.5", "prompt": "a fox", "size": "auto"}));
    let record = gateway.record().await;
    assert_eq!(record.amount, Some(Amount { unit: Unit::Image, count: 1 }));
    assert_eq!(
        record.usage.map(|usage| (usage.input, usage.output, usage.image_output)),
        Some((50, 308, 1056))
    );
}

/// A transcription of a recording of some bytes.
async fn transcribe(gateway: &TestGateway, model: &str) -> Reply {
    let form = format!(
        "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n\
         --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b--\r\n"
    );
    let header = "content-type: multipart/form-data; boundary=b\r\n";
    gateway.post_with("/v1/audio/transcriptions", header, form.as_bytes()).await
}

/// Counts that a proxy writes as text or fractions, and under several names.
#[tokio::test]
async fn counts_in_other_forms_are_counts() {
    let heard = json!({"prompt_tokens": "14", "input_tokens": "14", "output_tokens": 45.0,
        "input_tokens_details": null, "prompt_tokens_details": null, "input_token_details": {"audio_tokens": 14.0}});
    let made = json!({"input_tokens": 50.0, "output_tokens": "100", "completion_tokens": 100, "prompt_tokens": 50,
        "output_tokens_details": null, "completion_tokens_details": {"image_tokens": "100"}});
    let upstream = Upstream::playing(vec![
        whole("200 OK", &json!({"text": "Hi.", "model": 5, "usage": heard})),
        whole("200 OK", &json!({"created": 1, "data": [{"b64_json": "AA"}], "usage": made})),
    ])
    .await;
    let gateway = TestGateway::start(&provider("openai", &upstream)).await;
    let reply = transcribe(&gateway, "gpt-4o-transcribe").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let reply = ask(&gateway, IMAGES, &json!({"model": "gpt-image-1.5", "prompt": "a fox"})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let records = gateway.records().await;
    let usages: Vec<_> = records.iter().filter_map(|record| record.usage).collect();
    assert_eq!((usages[0].audio_input, usages[0].output), (14, 45));
    assert_eq!((usages[1].input, usages[1].image_output), (50, 100));
}

/// The last event has counts as text, and no empty line follows it.
#[tokio::test]
async fn an_unusual_last_event_completes_a_stream() {
    let delta = json!({"type": "speech.audio.delta", "audio": "QUJD"});
    let done = json!({"type": "speech.audio.done", "usage": {"input_tokens": "10", "output_tokens": 100.0}});
    let events = format!("data: {delta}\n\ndata: {done}");
    let upstream = Upstream::playing(vec![[stream_head(), events.clone().into_bytes()].concat()]).await;
    let gateway = TestGateway::start(&provider("openai", &upstream)).await;
    let body = json!({"model": "gpt-4o-mini-tts", "input": "hi", "voice": "alloy", "stream_format": "sse"});
    let reply = ask(&gateway, SPEECH, &body).await;
    assert_eq!(reply.text(), format!("{events}\n\n"), "the event ends");
    let record = gateway.record().await;
    assert_eq!(record.usage.map(|usage| (usage.input, usage.audio_output)), Some((10, 100)));
    assert_eq!(record.status, 200);
}

/// Some hosts send their errors with a status of success, in whole answers and in events.
#[tokio::test]
async fn an_error_with_a_status_of_success_is_the_providers_error() {
    let refusal = json!({"error": {"message": "Too much.", "type": "rate_limit_error", "code": 429}});
    let speech = json!({"model": "one/m", "input": "hi", "voice": "v"});
    let events = json!({"model": "one/m", "input": "hi", "voice": "v", "stream_format": "sse"});
    let image = json!({"model": "one/m", "prompt": "a fox"});
    let stream = [stream_head(), format!("data: {refusal}\n\n").into_bytes()].concat();
    for (path, body, answer) in [
        (SPEECH, &speech, whole("200 OK", &refusal)),
        (SPEECH, &events, stream),
        (IMAGES, &image, whole("200 OK", &refusal)),
        ("/v1/embeddings", &json!({"model": "one/m", "input": "a"}), whole("200 OK", &refusal)),
        ("/v1/moderations", &json!({"model": "one/m", "input": "a"}), whole("200 OK", &refusal)),
        (
            "/v1/rerank",
            &json!({"model": "one/m", "query": "q", "documents": ["a"]}),
            whole("200 OK", &refusal),
        ),
    ] {
        let upstream = Upstream::playing(vec![answer]).await;
        let gateway = TestGateway::start(&upstream.provider("one", "openai-chat")).await;
        let reply = ask(&gateway, path, body).await;
        assert_eq!((reply.status, reply.message()), (429, "Too much.".to_owned()), "{path} {}", reply.text());
    }
    let upstream = Upstream::playing(vec![whole("200 OK", &refusal)]).await;
    let gateway = TestGateway::start(&upstream.provider("one", "openai-chat")).await;
    assert_eq!(transcribe(&gateway, "one/m").await.status, 429);
}

#[tokio::test]
async fn an_answer_without_a_result_is_an_error() {
    let page = || raw("200 OK", "content-type: text/html\r\n", b"<html>Sign in</html>");
    let image = json!({"model": "one/m", "prompt": "a fox"});
    let speech = json!({"model": "one/m", "input": "hi", "voice": "v"});
    for (path, body, answer) in [
        (IMAGES, &image, whole("200 OK", &json!({"created": 1, "data": []}))),
        (IMAGES, &image, whole("200 OK", &json!({"created": 1, "data": [{"b64_json": null}]}))),
        (IMAGES, &image, whole("200 OK", &json!({"status": "queued"}))),
        (SPEECH, &speech, page()),
        (SPEECH, &speech, raw("200 OK", "content-type: application/problem+json\r\n", b"{}")),
    ] {
        let upstream = Upstream::playing(vec![answer]).await;
        let gateway = TestGateway::start(&upstream.provider("one", "openai-chat")).await;
        let reply = ask(&gateway, path, body).await;
        assert_eq!(reply.status, 502, "{path} {}", reply.text());
    }
    let upstream = Upstream::playing(vec![whole("200 OK", &json!({"text": null}))]).await;
    let gateway = TestGateway::start(&upstream.provider("one", "openai-chat")).await;
    assert_eq!(transcribe(&gateway, "one/m").await.status, 502);
}

#[tokio::test]
async fn images_are_streamed_while_they_are_made() {
    let usage = json!({"input_tokens": 5, "output_tokens": 100, "total_tokens": 105});
    let image = "AAAA".repeat(300_000);
    let partial =
        json!({"type": "image_generation.partial_image", "b64_json": image, "partial_image_index": 0});
    let completed = json!({"type": "image_generation.completed", "b64_json": image, "usage": usage});
    let events = format!("event: a\ndata: {partial}\n\nevent: b\ndata: {completed}\n\n");
    let upstream = Upstream::playing(vec![[stream_head(), events.clone().into_bytes()].concat()]).await;
    let gateway = TestGateway::start(&provider("openai", &upstream)).await;
    let body = json!({"model": "gpt-image-1.5", "prompt": "a fox", "stream": true, "partial_images": 1});
    let reply = ask(&gateway, IMAGES, &body).await;
    assert!(reply.text() == events);
    let record = gateway.record().await;
    assert_eq!((record.status, record.streamed), (200, true));
    assert_eq!(record.usage.map(|usage| (usage.input, usage.image_output)), Some((5, 100)));
}

#[tokio::test]
async fn a_stream_without_its_last_event_ends_with_an_error() {
    let partial =
        json!({"type": "image_generation.partial_image", "b64_json": "AA", "partial_image_index": 0});
    let events = format!("data: {partial}\n\n");
    let upstream = Upstream::playing(vec![[stream_head(), events.into_bytes()].concat()]).await;
    let gateway = TestGateway::start(&provider("openai", &upstream)).await;
    let body = json!({"model": "gpt-image-1.5", "prompt": "a fox", "stream": true});
    let reply = ask(&gateway, IMAGES, &body).await;
    let last = reply.events().pop().unwrap();
    assert_eq!(last["error"]["type"], json!("upstream_error"), "{}", reply.text());
    assert_eq!(gateway.record().await.status, 502);
}

#[tokio::test]
async fn image_fields_get_the_names_of_the_provider() {
    let answer = whole("200 OK", &json!({"data": [{"url": "https://x/1"}, {"url": "https://x/2"}]}));
    let upstream = Upstream::playing(vec![answer]).await;
    let gateway = TestGateway::start(&provider("xai", &upstream)).await;
    let body =
        json!({"model": "grok-imagine-image", "prompt": "a fox", "size": "1536x1024", "n": 2, "seed": 7});
    let reply = ask(&gateway, IMAGES, &body).await;
    let sent: Value = serde_json::from_slice(&upstream.received()[0].body).unwrap();
    assert_eq!(
        sent,
        json!({"model": "grok-imagine-image", "prompt": "a fox", "n": 2, "aspect_ratio": "3:2"})
    );
    let fields: Vec<_> =
        reply.at("/llmgateway/losses").as_array().unwrap().iter().map(|loss| loss["field"].clone()).collect();
    assert_eq!(fields, [json!("seed"), json!("size")]);
    assert_eq!(reply.at("/llmgateway/cost_usd_total"), json!(0.04), "{}", reply.text());

    let upstream = Upstream::playing(vec![whole("200 OK", &json!({"data": []}))]).await;
    let gateway = TestGateway::start(&provider("together-ai", &upstream)).await;
    let body =
        json!({"model": "together-ai/flux", "prompt": "x", "size": "512x256", "response_format": "b64_json"});
    ask(&gateway, IMAGES, &body).await;
    let sent: Value = serde_json::from_slice(&upstream.received()[0].body).unwrap();
    assert_eq!(
        sent,
        json!({"model": "flux", "prompt": "x", "response_format": "base64", "width": 512, "height": 256})
    );
}

#[tokio::test]
async fn bad_requests_name_their_field_and_reach_no_provider() {
    let upstream = Upstream::playing(vec![]).await;
    let gateway = TestGateway::start(&provider("openai", &upstream)).await;
    for (path, body, param, words) in [
        (SPEECH, json!({"model": "tts-1", "voice": "a"}), "input", "missing"),
        (SPEECH, json!({"model": "tts-1", "input": "", "voice": "a"}), "input", "empty"),
        (SPEECH, json!({"model": "tts-1", "input": ["a"]}), "input", "string"),
        (SPEECH, json!({"input": "a"}), "model", "missing"),
        (SPEECH, json!({"model": "tts-1", "input": "a", "speed": "fast"}), "speed", "number"),
        (SPEECH, json!({"model": "gpt-5.4-mini", "input": "a"}), "model", "POST /v1/chat/completions"),
        (SPEECH, json!({"model": "gpt-image-1.5", "input": "a"}), "model", "POST /v1/images/generations"),
        (IMAGES, json!({"model": "tts-1", "prompt": "a"}), "model", "POST /v1/audio/speech"),
        (IMAGES, json!({"model": "gpt-image-1.5"}), "prompt", "missing"),
        (
            IMAGES,
            json!({"model": "gpt-image-1.5", "prompt": "a", "response_format": "gif"}),
            "response_format",
            "url",
        ),
        (
            IMAGES,
            json!({"model": "gpt-image-1.5", "prompt": "a", "response_format": "url"}),
            "response_format",
            "URL",
        ),
        ("/v1/images/edits", json!({"model": "gpt-image-1.5", "prompt": "a"}), "images", "missing"),
        (
            "/v1/images/edits",
            json!({"model": "gpt-image-1.5", "prompt": "a", "images": [ ]}),
            "images",
            "missing",
        ),
        (IMAGES, json!({"model": "gpt-image-1.5", "prompt": "a", "n": 0}), "n", "1 or more"),
        (IMAGES, json!({"model": "gpt-image-1.5", "prompt": "a", "n": 1.5}), "n", "whole"),
    ] {
        let reply = ask(&gateway, path, &body).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, json!(param)), "{}", reply.text());
        assert!(reply.message().contains(words), "{}", reply.text());
    }
    assert!(upstream.received().is_empty());
}

/// OpenRouter's images come in base64 and at once, whatever is asked.
#[tokio::test]
async fn a_form_that_the_provider_never_has_is_refused() {
    let upstream = Upstream::playing(vec![whole("200 OK", &json!({"data": [{"b64_json": "AA"}]}))]).await;
    let gateway = TestGateway::start(&upstream.known("openrouter")).await;
    let image = "DATA:image/PNG;Base64,iVBORw0KGgo=";
    let edit = json!({"model": "openrouter/m", "prompt": "a", "images": [{"image_url": image}]});
    let made = json!({"model": "openrouter/m", "prompt": "a"});
    for (path, body) in [(IMAGES, &made), ("/v1/images/edits", &edit)] {
        for (name, value) in [("response_format", json!("url")), ("stream", json!(true))] {
            let mut body = body.clone();
            body[name] = value;
            let reply = ask(&gateway, path, &body).await;
            assert_eq!((reply.status, reply.at("/error/param")), (400, json!(name)), "{}", reply.text());
        }
    }
    assert!(upstream.received().is_empty());
    let mut body = edit;
    body["response_format"] = json!("b64_json");
    assert_eq!(ask(&gateway, "/v1/images/edits", &body).await.status, 200);
    let sent: Value = serde_json::from_slice(&upstream.received()[0].body).unwrap();
    let url = "data:image/png;base64,iVBORw0KGgo=";
    assert_eq!(sent["input_references"], json!([{"type": "image_url", "image_url": {"url": url}}]));
    assert_eq!(sent.get("response_format"), None);
}

#[tokio::test]
async fn the_mock_serves_speech_and_images() {
    let mock = mock::start(SocketAddr::from(([127, 0, 0, 1], 0)), Options::plain()).await.unwrap();
    let config =
        format!("[providers.openai]\nbase_url = \"http://{}/v1\"\napi_key = \"k\"\n", mock.address());
    let gateway = TestGateway::start(&config).await;
    for format in ["mp3", "opus", "aac", "flac", "wav", "pcm"] {
        let body =
            json!({"model": "tts-1", "input": "two words", "voice": "alloy", "response_format": format});
        let reply = ask(&gateway, SPEECH, &body).await;
        assert_eq!(reply.status, 200, "{format}");
        assert!(reply.body.len() >= 48_000, "{format}");
    }
    let body = json!({"model": "tts-1", "input": "a", "voice": "v", "stream_format": "sse"});
    assert_eq!(ask(&gateway, SPEECH, &body).await.events().len(), 2);
    let body = json!({"model": "gpt-image-1.5", "prompt": "a fox", "n": 2});
    assert_eq!(ask(&gateway, IMAGES, &body).await.at("/data").as_array().unwrap().len(), 2);
    let images = json!([{"image_url": "data:image/png;base64,AA"}]);
    let body = json!({"model": "gpt-image-1.5", "prompt": "a", "images": images, "stream": true, "partial_images": 2});
    let events = ask(&gateway, "/v1/images/edits", &body).await.events();
    let kinds: Vec<_> = events.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["image_edit.partial_image", "image_edit.partial_image", "image_edit.completed"]);
}

#[tokio::test]
async fn a_budget_limits_requests_billed_by_character_image_or_image_token() {
    let image = r#"{"created":1,"data":[{"b64_json":"AA"}]}"#;
    for (path, body, reply, provider_id) in [
        // Ten characters are 0.00015 USD.
        (
            SPEECH,
            json!({"model": "tts-1", "input": "0123456789", "voice": "v"}),
            raw("200 OK", "content-type: audio/mpeg\r\n", sound(9)),
            "openai",
        ),
        // An image is 0.02 USD.
        (
            IMAGES,
            json!({"model": "grok-imagine-image", "prompt": "a"}),
            whole("200 OK", &serde_json::from_str(image).unwrap()),
            "xai",
        ),
        // A large image may have 6240 tokens at 30 USD a million.
        (
            IMAGES,
            json!({"model": "gpt-image-2", "prompt": "a"}),
            whole("200 OK", &serde_json::from_str(image).unwrap()),
            "openai",
        ),
    ] {
        let worst = match body["model"].as_str().unwrap() {
            "tts-1" => 0.00015,
            "gpt-image-2" => 6240.0 * 30e-6,
            _ => 0.02,
        };
        for (budget, status) in [(worst * 1.01, 200), (worst * 0.99, 402)] {
            let upstream = Upstream::playing(vec![reply.clone()]).await;
            let project = format!(
                "{}[projects.default]\nbudgets = [{{ usd = \"{budget:.9}\", per = \"total\" }}]\n",
                provider(provider_id, &upstream)
            );
            let gateway = TestGateway::start(&project).await;
            let reply = ask(&gateway, path, &body).await;
            assert_eq!(reply.status, status, "{body}: {}", reply.text());
            assert_eq!(upstream.received().len(), usize::from(status == 200));
        }
    }
}

const KONTEXT: &str = "fireworks/accounts/fireworks/models/flux-kontext-pro";

fn work(status: &str) -> Vec<u8> {
    let result = (status == "Ready").then(|| json!({"sample": "https://x/1.png"}));
    whole("200 OK", &json!({"id": "w-1", "status": status, "result": result}))
}

#[tokio::test]
async fn an_image_that_is_made_in_the_background_is_one_answer_and_one_attempt() {
    let begun = whole("200 OK", &json!({"request_id": "w-1"}));
    // A question that fails is asked again.
    let replies = vec![begun, work("Pending"), error("503 Service Unavailable"), work("Ready")];
    let upstream = Upstream::playing(replies).await;
    let gateway = TestGateway::start(&provider("fireworks", &upstream)).await;
    let body = json!({"model": KONTEXT, "prompt": "a hat", "image": "https://example.com/a.png"});
    let reply = ask(&gateway, "/v1/images/edits", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.at("/data"), json!([{"url": "https://x/1.png"}]));
    let heard: Vec<(String, Value)> = upstream
        .received()
        .iter()
        .map(|heard| {
            (heard.head.split(' ').nth(1).unwrap().to_owned(), serde_json::from_slice(&heard.body).unwrap())
        })
        .collect();
    let path = "/v1/workflows/accounts/fireworks/models/flux-kontext-pro";
    let asked = json!({"prompt": "a hat", "input_image": "https://example.com/a.png"});
    let question = (format!("{path}/get_result"), json!({"id": "w-1"}));
    assert_eq!(heard, [(path.to_owned(), asked), question.clone(), question.clone(), question]);
    let record = gateway.record().await;
    assert_eq!(record.amount, Some(Amount { unit: Unit::Image, count: 1 }));
    assert_eq!((record.attempts.len(), record.status), (1, 200));
}

#[tokio::test]
async fn an_image_that_fails_in_the_background_is_not_made_twice() {
    let begun = || whole("200 OK", &json!({"request_id": "w-1"}));
    let away = || error("503 Service Unavailable");
    let refused = (vec![begun(), work("Content Moderated")], 400, 2);
    let lost = (vec![begun(), away(), away(), away(), away(), begun()], 503, 5);
    for (replies, status, requests) in [refused, lost] {
        let upstream = Upstream::playing(replies).await;
        let gateway = TestGateway::start(&provider("fireworks", &upstream)).await;
        let body = json!({"model": KONTEXT, "prompt": "a hat"});
        let reply = ask(&gateway, IMAGES, &body).await;
        assert_eq!((reply.status, upstream.received().len()), (status, requests), "{}", reply.text());
    }
}
