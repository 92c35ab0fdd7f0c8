//! Forms with files: what is buffered and what is streamed, what is metered, and how each failure ends.

use std::net::SocketAddr;

use canon::{Amount, Unit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{
    KEY, Reply, TestGateway, Upstream, advance_seconds, assert_late, connect, error, raw, stream_head, whole,
    with_held_clock,
};

const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";
const BOUNDARY: &str = "----b0undary";

/// A form of fields and files: a part with a file name is a file.
fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, file, value) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"\r\ncontent-type: audio/wav"));
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"{}\r\n\r\n",
            file.unwrap_or_default()
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    out
}

fn recording(model: &str, audio: &[u8], fields: &[(&str, &str)]) -> Vec<u8> {
    let mut parts = vec![("model", None, model.as_bytes())];
    parts.extend(fields.iter().map(|(name, value)| (*name, None, value.as_bytes())));
    parts.push(("file", Some("a.wav"), audio));
    form(&parts)
}

fn content_type() -> String {
    format!("content-type: multipart/form-data; boundary={BOUNDARY}\r\n")
}

async fn send(gateway: &TestGateway, path: &str, body: &[u8]) -> Reply {
    gateway.post_with(path, &content_type(), body).await
}

fn provider(id: &str, address: SocketAddr) -> String {
    format!("[providers.{id}]\nbase_url = \"http://{address}/v1\"\napi_key = \"k\"\n")
}

fn sound(length: usize) -> Vec<u8> {
    (0..length).map(|number| (number * 37 % 251) as u8).collect()
}

#[tokio::test]
async fn a_recording_is_transcribed_and_billed_by_the_second() {
    let answer = json!({"text": "Hello.", "usage": {"type": "duration", "seconds": 6}});
    let upstream = Upstream::playing(vec![whole("200 OK", &answer)]).await;
    let gateway = TestGateway::start(&provider("openai", upstream.address)).await;
    let audio = sound(2000);
    let fields = [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")];
    let reply = send(&gateway, TRANSCRIPTIONS, &recording("openai/whisper-1", &audio, &fields)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!((reply.at("/text"), reply.at("/usage/seconds")), (json!("Hello."), json!(6)));
    assert_eq!(reply.at("/llmgateway/cost_usd_total"), json!(0.0006));
    assert_eq!(reply.header("x-llmgateway-model"), Some("whisper-1"));
    let heard = &upstream.received()[0];
    assert!(heard.body == recording("whisper-1", &audio, &fields));
    assert!(heard.head.starts_with("POST /v1/audio/transcriptions "), "{}", heard.head);
    let wanted = format!("multipart/form-data; boundary={BOUNDARY}");
    assert_eq!(heard.header("content-type"), Some(wanted.as_str()));
    let record = gateway.record().await;
    assert_eq!(record.operation.as_deref(), Some("transcriptions"));
    assert_eq!(record.amount, Some(Amount { unit: Unit::Millisecond, count: 6000 }));
}

#[tokio::test]
async fn every_response_format_is_relayed_unchanged() {
    let verbose = json!({
        "task": "transcribe", "language": "english", "duration": 5.489_999_8, "text": " Hi.",
        "segments": [{"id": 0, "start": 0.0, "end": 5.0, "text": " Hi."}], "words": [{"word": "Hi", "start": 0.0, "end": 1.0}]
    });
    let diarized = json!({
        "task": "transcribe", "duration": 2.5, "text": "Hi.",
        "segments": [{"type": "transcript.text.segment", "id": "seg_0", "start": 0.0, "end": 2.5, "text": "Hi.", "speaker": "A"}]
    });
    let text = "content-type: text/plain; charset=utf-8\r\n";
    let srt = "1\r\n00:00:00,000 --> 00:00:05,000\r\nHi {there}\r\n\r\n";
    for (format, reply, billed) in [
        ("verbose_json", whole("200 OK", &verbose), Some(5490)),
        ("diarized_json", whole("200 OK", &diarized), Some(2500)),
        ("srt", raw("200 OK", text, srt), Some(5000)),
        ("vtt", raw("200 OK", text, "WEBVTT\n\n00:00:00.000 --> 00:00:05.000\nHi\n"), Some(5000)),
        ("text", raw("200 OK", text, "Hi {there}"), None),
    ] {
        let body = reply.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let expected = reply[body..].to_vec();
        let upstream = Upstream::playing(vec![reply]).await;
        let gateway = TestGateway::start(&provider("openai", upstream.address)).await;
        let fields = [("response_format", format)];
        let reply = send(&gateway, TRANSCRIPTIONS, &recording("whisper-1", &sound(64), &fields)).await;
        assert_eq!(reply.status, 200, "{format}: {}", reply.text());
        if format.ends_with("json") {
            let mut given = reply.json();
            assert!(given.as_object_mut().unwrap().remove("llmgateway").is_some());
            assert_eq!(given, serde_json::from_slice::<Value>(&expected).unwrap());
        } else {
            assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
            assert!(reply.body == expected, "{format}: {}", reply.text());
        }
        let record = gateway.record().await;
        let milliseconds = |count| Amount { unit: Unit::Millisecond, count };
        assert_eq!(record.amount, billed.map(milliseconds), "{format}");
        // An unmeasured cost is unknown, not zero.
        assert_eq!(record.cost.is_some(), billed.is_some(), "{format}: {record:#?}");
    }
}

#[tokio::test]
async fn transcripts_stream_with_their_tokens() {
    let usage = json!({
        "type": "tokens", "input_tokens": 30, "input_token_details": {"text_tokens": 10, "audio_tokens": 20},
        "output_tokens": 5, "total_tokens": 35
    });
    let events = format!(
        "data: {}\r\n\r\ndata: {}\r\n\r\ndata: [DONE]\r\n\r\n",
        json!({"type": "transcript.text.delta", "delta": "Hi"}),
        json!({"type": "transcript.text.done", "text": "Hi", "usage": usage}),
    );
    let upstream = Upstream::playing(vec![[stream_head(), events.clone().into_bytes()].concat()]).await;
    let gateway = TestGateway::start(&provider("openai", upstream.address)).await;
    let body = recording("gpt-4o-transcribe", &sound(64), &[("stream", "true")]);
    let reply = send(&gateway, TRANSCRIPTIONS, &body).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/event-stream")));
    assert!(reply.text() == events);
    let record = gateway.record().await;
    assert!(record.streamed);
    assert_eq!(record.usage.map(|usage| (usage.input, usage.audio_input, usage.output)), Some((10, 20, 5)));
    // 10 at 2.5, 20 at 6 and 5 at 10 USD per million.
    assert_eq!(record.cost.unwrap().total.to_string(), "0.000195");
}

#[tokio::test]
async fn a_small_form_is_retried_at_another_provider() {
    let bad = Upstream::playing(vec![error("503 Service Unavailable")]).await;
    let good = Upstream::playing(vec![whole(
        "200 OK",
        &json!({"text": "Hi.", "usage": {"type": "duration", "seconds": 1}}),
    )])
    .await;
    let alias = "[models.ears]\ntargets = [\"one/x\", \"two/y\"]\n";
    let config =
        format!("{}{}{alias}", bad.provider("one", "openai-chat"), good.provider("two", "openai-chat"));
    let gateway = TestGateway::start(&config).await;
    for path in [TRANSCRIPTIONS, "/v1/audio/translations"] {
        let reply = send(&gateway, path, &recording("ears", &sound(100_000), &[])).await;
        assert_eq!(
            (reply.status, reply.header("x-llmgateway-provider")),
            (200, Some("two")),
            "{}",
            reply.text()
        );
    }
    assert!(good.received()[0].body == recording("y", &sound(100_000), &[]));
    assert!(good.received()[1].head.starts_with("POST /v1/audio/translations "));
}

#[tokio::test]
async fn a_large_file_is_streamed_completely() {
    let answer = json!({"text": "long", "duration": 60.0});
    let upstream = Upstream::playing(vec![whole("200 OK", &answer)]).await;
    let config = format!("[server]\nbuffer_limit = \"4MiB\"\n{}", provider("openai", upstream.address));
    let gateway = TestGateway::start(&config).await;
    let audio = sound(12 << 20);
    let body = recording("openai/whisper-1", &audio, &[("language", "de")]);
    let reply = send(&gateway, TRANSCRIPTIONS, &body).await;
    assert_eq!((reply.status, reply.at("/text")), (200, json!("long")), "{}", reply.text());
    let wanted = recording("whisper-1", &audio, &[("language", "de")]);
    let heard = &upstream.received()[0];
    assert_eq!(heard.header("content-length"), Some(wanted.len().to_string().as_str()));
    assert!(heard.body == wanted);
    // Also without a known length.
    let mut chunked = format!(
        "POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: g\r\nconnection: close\r\nx-api-key: {KEY}\r\ntransfer-encoding: chunked\r\n{}\r\n",
        content_type()
    )
    .into_bytes();
    let small = recording("openai/whisper-1", &sound(5000), &[]);
    for piece in small.chunks(1000) {
        chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(gateway.send(&chunked).await.status, 200);
    assert!(upstream.received()[1].body == recording("whisper-1", &sound(5000), &[]));
}

/// A provider that takes recordings in another form gets them whole, within the limits of bodies and of memory.
#[tokio::test]
async fn a_form_that_is_written_anew_is_held_within_bounds() {
    let answer = json!({"metadata": {"duration": 60.0}, "results": {"channels": [{"alternatives": [{"transcript": "long"}]}]}});
    let upstream = Upstream::playing(vec![whole("200 OK", &answer)]).await;
    let deepgram =
        format!("[providers.deepgram]\napi_key = \"k\"\nbase_url = \"http://{}\"\n", upstream.address);
    let gateway = TestGateway::start(&format!("[server]\nbody_limit = \"16MiB\"\n{deepgram}")).await;
    let audio = sound(12 << 20);
    let reply = send(&gateway, TRANSCRIPTIONS, &recording("deepgram/nova-3", &audio, &[])).await;
    assert_eq!((reply.status, reply.at("/text")), (200, json!("long")), "{}", reply.text());
    assert!(upstream.received()[0].body == audio);
    let reply = send(&gateway, TRANSCRIPTIONS, &recording("deepgram/nova-3", &sound(17 << 20), &[])).await;
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert!(reply.message().contains("server.body_limit"), "{}", reply.text());
    let gateway = TestGateway::start(&format!("[server]\nbuffer_limit = \"32MiB\"\n{deepgram}")).await;
    let reply = send(&gateway, TRANSCRIPTIONS, &recording("deepgram/nova-3", &audio, &[])).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_model_after_the_file_is_found_within_a_limit() {
    let answer = json!({"text": "Hi.", "duration": 1.0});
    let upstream = Upstream::playing(vec![whole("200 OK", &answer)]).await;
    let gateway = TestGateway::start(&provider("openai", upstream.address)).await;
    for (length, status) in [(6 << 20, 200), (33 << 20, 400)] {
        let audio = sound(length);
        let parts = [("file", Some("a.wav"), &audio[..]), ("model", None, b"openai/whisper-1")];
        let reply = send(&gateway, TRANSCRIPTIONS, &form(&parts)).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        if status == 400 {
            assert_eq!(reply.at("/error/param"), json!("model"));
            assert!(reply.message().contains("before the file"), "{}", reply.text());
        }
    }
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_streamed_file_is_not_sent_again() {
    let bad = Upstream::playing(vec![error("503 Service Unavailable")]).await;
    let good = Upstream::playing(vec![whole("200 OK", &json!({"text": "Hi.", "duration": 1.0}))]).await;
    // The first provider does not listen: nothing of the file was read, and the next provider gets it.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (first, status) in [(bad.address, 503), (nobody, 200)] {
        let config = format!(
            "[providers.one]\nprotocol = \"openai-chat\"\nbase_url = \"http://{first}/v1\"\napi_key = \"k\"\n{}[models.ears]\ntargets = [\"one/x\", \"two/y\"]\n",
            good.provider("two", "openai-chat")
        );
        let gateway = TestGateway::start(&config).await;
        let reply = send(&gateway, TRANSCRIPTIONS, &recording("ears", &sound(6 << 20), &[])).await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    assert_eq!(good.received().len(), 1);
}

#[tokio::test]
async fn an_early_refusal_by_the_provider_is_relayed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = [0; 2048];
        let _ = socket.read(&mut head).await.unwrap();
        let message = "Maximum content size limit (26214400) exceeded";
        let body =
            json!({"error": {"message": message, "type": "server_error", "param": null, "code": null}});
        socket.write_all(&whole("413 Payload Too Large", &body)).await.unwrap();
        socket.shutdown().await.unwrap();
        // The gateway reads the rest of the upload as far as it arrives.
        let mut rest = vec![0; 1 << 20];
        while !matches!(socket.read(&mut rest).await, Ok(0) | Err(_)) {}
    });
    let gateway = TestGateway::start(&provider("openai", address)).await;
    let body = recording("whisper-1", &sound(30 << 20), &[]);
    let reply = send(&gateway, TRANSCRIPTIONS, &body).await;
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert!(reply.message().contains("26214400"), "{}", reply.text());
    serving.await.unwrap();
    assert_eq!(gateway.record().await.status, 413);
}

#[tokio::test]
async fn a_caller_who_hangs_up_ends_the_providers_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = TestGateway::start(&provider("openai", address)).await;
    let body = recording("whisper-1", &sound(8 << 20), &[]);
    let head = format!(
        "POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: g\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n{}\r\n",
        body.len(),
        content_type()
    );
    let mut caller = connect(gateway.address).await;
    caller.write_all(&[head.as_bytes(), &body[..5 << 20]].concat()).await.unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    let (mut heard, mut piece) = (0, vec![0; 1 << 20]);
    while heard < 4 << 20 {
        heard += socket.read(&mut piece).await.unwrap();
    }
    drop(caller);
    while !matches!(socket.read(&mut piece).await, Ok(0) | Err(_)) {}
    let record = gateway.record().await;
    assert_eq!((record.status, record.error_kind.as_deref()), (499, Some("cancelled")), "{record:#?}");
}

#[tokio::test]
async fn a_file_that_breaks_off_or_is_too_large_is_refused_while_it_is_streamed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut piece = vec![0; 1 << 20];
                while !matches!(socket.read(&mut piece).await, Ok(0) | Err(_)) {}
            });
        }
    });
    let config = format!("[server]\nupload_limit = \"9MiB\"\n{}", provider("openai", address));
    let gateway = TestGateway::start(&config).await;
    let good = recording("whisper-1", &sound(5 << 20), &[]);
    let reply = send(&gateway, TRANSCRIPTIONS, &good[..good.len() - 10]).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(reply.message().contains("last boundary"), "{}", reply.text());
    let mut late = good.clone();
    late.truncate(good.len() - format!("--{BOUNDARY}--\r\n").len());
    late.extend_from_slice(&form(&[("model", None, b"other")]));
    let reply = send(&gateway, TRANSCRIPTIONS, &late).await;
    assert_eq!((reply.status, reply.at("/error/param")), (400, json!("model")), "{}", reply.text());
    let large = recording("whisper-1", &sound(10 << 20), &[]);
    let reply = send(&gateway, TRANSCRIPTIONS, &large).await;
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert!(reply.message().contains("server.upload_limit"), "{}", reply.text());
    let mut chunked = format!(
        "POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: g\r\nconnection: close\r\nx-api-key: {KEY}\r\ntransfer-encoding: chunked\r\n{}\r\n{:x}\r\n",
        content_type(),
        large.len()
    )
    .into_bytes();
    chunked.extend_from_slice(&large);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    assert_eq!(gateway.send(&chunked).await.status, 413);
    // The health of the provider is unchanged.
    let routing = gateway.get("/v1/routing").await.text();
    assert!(!routing.contains("\"open\""), "{routing}");
}

#[tokio::test]
async fn a_slow_caller_is_timed_out() {
    // The second caller never pauses for long, and is late as a whole.
    for (server, pause, setting) in
        [("", 31, "server.read_seconds"), ("[server]\nbody_seconds = 60\n", 25, "server.body_seconds")]
    {
        with_held_clock(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut piece = vec![0; 1 << 20];
                while !matches!(socket.read(&mut piece).await, Ok(0) | Err(_)) {}
            });
            let gateway = TestGateway::start(&(provider("openai", address) + server)).await;
            let body = recording("whisper-1", &sound(5 << 20), &[]);
            let head = format!(
                "POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: g\r\nconnection: close\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n{}\r\n",
                body.len(),
                content_type()
            );
            let mut caller = connect(gateway.address).await;
            caller.write_all(&[head.as_bytes(), &body[..100_000]].concat()).await.unwrap();
            for piece in [100_000..200_000, 200_000..300_000] {
                advance_seconds(20).await;
                caller.write_all(&body[piece]).await.unwrap();
            }
            assert_late(caller, pause, setting).await;
        })
        .await;
    }
}

#[tokio::test]
async fn bad_forms_are_refused_and_reach_no_provider() {
    let upstream = Upstream::playing(vec![]).await;
    let gateway = TestGateway::start(&provider("openai", upstream.address)).await;
    let audio = sound(10);
    let good = recording("whisper-1", &audio, &[]);
    for (headers, body, status, words) in [
        ("content-type: multipart/form-data\r\n".to_owned(), good.clone(), 400, "boundary"),
        ("content-type: multipart/form-data; boundary=other\r\n".to_owned(), good.clone(), 400, "boundary"),
        ("content-type: application/json\r\n".to_owned(), b"{}".to_vec(), 415, "multipart/form-data"),
        (content_type(), Vec::new(), 400, "no part"),
        (content_type(), good[..good.len() - 8].to_vec(), 400, "last boundary"),
        (content_type(), recording("whisper-1", b"", &[]), 400, "empty"),
        (content_type(), form(&[("model", None, b"whisper-1")]), 400, "file is missing"),
        (content_type(), form(&[("file", Some("a.mp3"), &audio)]), 400, "model is missing"),
        (content_type(), recording("whisper-1", &audio, &[("model", "tts-1")]), 400, "twice"),
        (content_type(), recording("tts-1", &audio, &[]), 400, "POST /v1/audio/speech"),
        (content_type(), recording("gpt-5.4-mini", &audio, &[]), 400, "POST /v1/chat/completions"),
    ] {
        let reply = gateway.post_with(TRANSCRIPTIONS, &headers, &body).await;
        assert_eq!(reply.status, status, "{words}: {}", reply.text());
        assert!(reply.message().contains(words), "{}", reply.text());
    }
    let reply = gateway.post_with("/v1/embeddings", &content_type(), &good).await;
    assert_eq!(reply.status, 415, "{}", reply.text());
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn images_are_edited_by_form() {
    let usage = json!({"input_tokens": 50, "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}, "output_tokens": 100, "total_tokens": 150});
    let answer = json!({"created": 1, "data": [{"b64_json": "AA"}], "usage": usage});
    let upstream = Upstream::playing(vec![whole("200 OK", &answer)]).await;
    let gateway = TestGateway::start(&provider("openai", upstream.address)).await;
    let image = sound(5000);
    let parts: Vec<(&str, Option<&str>, &[u8])> = vec![
        ("model", None, b"openai/gpt-image-2"),
        ("prompt", None, b"a hat"),
        ("response_format", None, b"b64_json"),
        ("image[]", Some("a.png"), &image),
        ("image[]", Some("b.png"), &image),
        ("mask", Some("m.png"), &image),
    ];
    let reply = send(&gateway, "/v1/images/edits", &form(&parts)).await;
    assert_eq!((reply.status, reply.at("/data/0/b64_json")), (200, json!("AA")), "{}", reply.text());
    let mut wanted = parts.clone();
    wanted[0].2 = b"gpt-image-2";
    wanted.remove(2);
    assert!(upstream.received()[0].body == form(&wanted));
    let mut asks_url = parts;
    asks_url[2].2 = b"url";
    let reply = send(&gateway, "/v1/images/edits", &form(&asks_url)).await;
    assert_eq!((reply.status, reply.at("/error/param")), (400, json!("response_format")), "{}", reply.text());
    let record = &gateway.records().await[0];
    assert_eq!(record.amount, Some(Amount { unit: Unit::Image, count: 1 }));
    assert_eq!(record.operation.as_deref(), Some("image_edits"));
}

#[tokio::test]
async fn a_deployment_is_named_in_the_form() {
    let answer = json!({"text": "Hi.", "duration": 1.0});
    let upstream = Upstream::playing(vec![whole("200 OK", &answer)]).await;
    let config = format!(
        "[providers.azure]\nbase_url = \"http://{}\"\napi_key = \"k\"\n[providers.azure.deployments]\nwhisper = \"ears\"\n",
        upstream.address
    );
    let gateway = TestGateway::start(&config).await;
    let reply = send(&gateway, TRANSCRIPTIONS, &recording("azure/whisper", &sound(10), &[])).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let heard = &upstream.received()[0];
    assert!(heard.head.starts_with("POST /openai/v1/audio/transcriptions "), "{}", heard.head);
    assert!(heard.body == recording("ears", &sound(10), &[]));
}

#[tokio::test]
async fn a_budget_reserves_a_recording_by_its_length() {
    // Uncompressed, 320,000 bytes are 20 seconds at most: 0.002 USD.
    for (budget, status) in [("0.0021", 200), ("0.0019", 402)] {
        let answer = json!({"text": "Hi.", "duration": 20.0});
        let upstream = Upstream::playing(vec![whole("200 OK", &answer)]).await;
        let config = format!(
            "{}[projects.default]\nbudgets = [{{ usd = \"{budget}\", per = \"total\" }}]\n",
            provider("openai", upstream.address)
        );
        let gateway = TestGateway::start(&config).await;
        let reply = send(&gateway, TRANSCRIPTIONS, &recording("whisper-1", &sound(320_000), &[])).await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
}

#[tokio::test]
async fn the_mock_transcribes_and_edits() {
    let mock = mock::start(SocketAddr::from(([127, 0, 0, 1], 0)), mock::Options::plain()).await.unwrap();
    let gateway = TestGateway::start(&provider("openai", mock.address())).await;
    let audio = sound(64_000);
    for (format, wanted) in [
        ("json", "I heard 64000 bytes of a.wav."),
        ("text", "I heard 64000 bytes of a.wav.\n"),
        ("srt", "00:00:00,000 --> 00:00:02,000"),
        ("vtt", "00:00:00.000 --> 00:00:02.000"),
        ("verbose_json", "\"duration\":2.0"),
    ] {
        let body = recording(
            "whisper-1",
            &audio,
            &[("response_format", format), ("timestamp_granularities[]", "word")],
        );
        let reply = send(&gateway, TRANSCRIPTIONS, &body).await;
        assert_eq!(reply.status, 200, "{format}: {}", reply.text());
        assert!(reply.text().contains(wanted), "{format}: {}", reply.text());
    }
    let reply =
        send(&gateway, TRANSCRIPTIONS, &recording("gpt-transcribe", &audio, &[("stream", "true")])).await;
    assert_eq!((reply.events().len(), reply.done()), (7, 1));
    let parts: Vec<(&str, Option<&str>, &[u8])> = vec![
        ("prompt", None, b"a hat"),
        ("model", None, b"gpt-image-2"),
        ("n", None, b"2"),
        ("image", Some("a.png"), &audio),
    ];
    let reply = send(&gateway, "/v1/images/edits", &form(&parts)).await;
    assert_eq!(reply.at("/data").as_array().map(Vec::len), Some(2), "{}", reply.text());
}

#[tokio::test]
async fn elevenlabs_serves_speech_and_transcripts_in_openais_format() {
    let mock = mock::start(SocketAddr::from(([127, 0, 0, 1], 0)), mock::Options::plain()).await.unwrap();
    let config =
        format!("[providers.elevenlabs]\nbase_url = \"http://{}\"\napi_key = \"k\"\n", mock.address());
    let gateway = TestGateway::start(&config).await;
    let body =
        json!({"model": "eleven_v3", "input": "two words", "voice": "george", "response_format": "wav"});
    let reply = gateway.post("/v1/audio/speech", body.to_string().as_bytes()).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("audio/wav")), "{}", reply.text());
    assert!(reply.body.starts_with(b"RIFF") && reply.body.len() > 48_000);
    let audio = sound(64_000);
    let verbose = [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")];
    let reply = send(&gateway, TRANSCRIPTIONS, &recording("scribe_v2", &audio, &verbose)).await;
    assert_eq!((reply.status, reply.at("/duration")), (200, json!(2.0)), "{}", reply.text());
    assert_eq!(reply.at("/words/0/word"), json!("I"));
    assert_eq!(reply.at("/llmgateway/cost_usd_total"), json!(0.000_122_2));
    let reply =
        send(&gateway, TRANSCRIPTIONS, &recording("scribe_v2", &audio, &[("response_format", "srt")])).await;
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(
        reply.text().starts_with("1\n00:00:00,000 --> 00:00:02,000\nI heard 64000 bytes of a.wav."),
        "{}",
        reply.text()
    );
    // A large file is streamed into the provider's own form too.
    let reply = send(&gateway, TRANSCRIPTIONS, &recording("scribe_v2", &sound(5 << 20), &[])).await;
    assert_eq!(
        (reply.status, reply.at("/text")),
        (200, json!(format!("I heard {} bytes of a.wav.", 5 << 20)))
    );
    let has_key = mock.journal()[0].headers.contains_key("xi-api-key");
    assert!(has_key);
    let records = gateway.records().await;
    assert_eq!(records[0].amount, Some(Amount { unit: Unit::Character, count: 9 }));
    assert_eq!(records[1].amount, Some(Amount { unit: Unit::Millisecond, count: 2000 }));
}
