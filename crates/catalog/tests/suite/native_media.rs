//! Images and sound at providers with a format of their own, through the rows of the catalog: the written
//! requests, and the results of handmade answers in the shapes of the providers' documentation.

#![expect(clippy::unwrap_used, reason = "a fixture that is no such thing ends the test")]

use ::catalog::Catalog;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use canon::{ErrorKind, Operation, Unit};
use http::header::{ACCEPT, CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use testkit::corpus::{assert_enough, other_records};
use wire::endpoints::{
    EndpointAnswer, EndpointFacts, EndpointTarget, PartAnswer, ProviderRequest, read, read_form,
};
use wire::multipart::{Boundary, Form};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n...";
const JPEG: &[u8] = b"\xFF\xD8\xFF...";

type EncodeResult = canon::Result<ProviderRequest>;

/// The request that a provider gets for this body.
fn written(provider: &str, operation: Operation, body: &Value) -> EncodeResult {
    let model = body["model"].as_str().unwrap().to_owned();
    let request = read(operation, &Bytes::from(body.to_string()))?;
    to(provider, &model, |target| request.write(target))
}

fn to(provider: &str, model: &str, write: impl Fn(EndpointTarget<'_>) -> EncodeResult) -> EncodeResult {
    let catalog = Catalog::embedded().unwrap();
    let rows = &catalog.provider(provider).unwrap().operations;
    let serving = catalog.serving(provider, model);
    let unknown = EndpointFacts::default();
    let facts = serving.and_then(|serving| serving.endpoint.as_deref()).unwrap_or(&unknown);
    write(EndpointTarget { model, facts, rows })
}

/// The same for a form with these texts and files.
fn of_form(
    provider: &str,
    operation: Operation,
    fields: &[(&str, &str)],
    files: &[(&str, &str, &[u8])],
) -> EncodeResult {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.extend(
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
        );
    }
    for (name, file, content) in files {
        let head =
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\r\n");
        bytes.extend([head.as_bytes(), content, b"\r\n"].concat());
    }
    bytes.extend(b"--b--\r\n");
    let mut form = Form::new(Boundary::of("multipart/form-data; boundary=b").unwrap());
    form.push(&bytes).unwrap();
    form.finish().unwrap();
    let model = form.text("model").unwrap().unwrap().to_owned();
    let request = read_form(operation, form)?;
    to(provider, &model, |target| request.write(target))
}

fn body(request: &ProviderRequest) -> Value {
    serde_json::from_slice(&request.parts[0].body).unwrap()
}

fn lost(request: &ProviderRequest) -> Vec<String> {
    request.losses.iter().map(|loss| loss.field.to_string()).collect()
}

fn part(kind: &'static str, body: impl Into<Bytes>) -> PartAnswer {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(DATE, HeaderValue::from_static("Wed, 19 Aug 2026 14:41:14 GMT"));
    PartAnswer { headers, body: body.into() }
}

fn whole(body: &Value) -> PartAnswer {
    part("application/json", body.to_string())
}

fn json_of(read: &EndpointAnswer) -> Value {
    serde_json::from_slice(&read.body).unwrap()
}

fn param(refused: EncodeResult) -> String {
    refused.map(|_| ()).unwrap_err().param.unwrap().to_string()
}

#[test]
fn google_makes_and_edits_images() {
    let data = format!("data:image/jpeg;base64,{}", STANDARD.encode(JPEG));
    let asked = json!({
        "model": "gemini-3.1-flash-image", "prompt": "a fox", "n": 2, "size": "1792x1024", "quality": "high",
        "response_format": "b64_json", "images": [{"image_url": data}]
    });
    let sent = written("google-ai-studio", Operation::ImageEdits, &asked).unwrap();
    assert_eq!((sent.parts.len(), &*sent.parts[1].path), (2, "generateContent"));
    let expected = json!({
        "contents": [{"role": "user", "parts": [
            {"inlineData": {"mimeType": "image/jpeg", "data": STANDARD.encode(JPEG)}}, {"text": "a fox"}
        ]}],
        "generationConfig": {
            "responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"}
        }
    });
    assert_eq!((body(&sent), lost(&sent)), (expected, vec!["quality".to_owned(), "size".to_owned()]));
    let answer = json!({
        "candidates": [{"content": {"role": "model", "parts": [
            {"thought": true, "inlineData": {"mimeType": "image/png", "data": "DRAFT"}},
            {"text": "Here it is."}, {"inlineData": {"mimeType": "image/png", "data": STANDARD.encode(PNG)}}
        ]}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": 7, "candidatesTokenCount": 1295, "totalTokenCount": 1312, "thoughtsTokenCount": 10,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]
        }
    });
    let read = sent.reader.read(&[whole(&answer), whole(&answer)]).unwrap();
    let out = json_of(&read);
    assert_eq!(out["data"], json!(vec![json!({"b64_json": STANDARD.encode(PNG)}); 2]));
    assert_eq!((&out["created"], &out["output_format"]), (&json!(1_787_150_474), &json!("png")));
    let usage = read.progress.usage.unwrap();
    assert_eq!((usage.input, usage.image_output, usage.output, usage.reasoning), (14, 2580, 30, 20));
    assert_eq!(out["usage"]["output_tokens"], 2610);
    let amount = read.progress.amount.unwrap();
    assert_eq!((amount.unit, amount.count), (Unit::Image, 2));
    // If one of two images is blocked, the caller gets the other. If all are blocked, the caller gets the
    // reason.
    for blocked in [
        json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
        json!({"candidates": [{"finishReason": "IMAGE_SAFETY"}]}),
        json!({"candidates": [{"content": null, "finishReason": "NO_IMAGE"}], "usageMetadata": null}),
        json!({"candidates": [{"content": {"parts": [{"text": "Which fox?"}]}, "finishReason": "STOP"}]}),
    ] {
        let some = sent.reader.read(&[whole(&answer), whole(&blocked)]).unwrap();
        assert_eq!(json_of(&some)["data"].as_array().unwrap().len(), 1);
        let none = sent.reader.read(&[whole(&blocked)]).unwrap_err();
        assert_eq!(none.kind, ErrorKind::ContentFilter, "{blocked}");
    }
    assert!(sent.reader.read(&[part("text/html", "<html>")]).is_err());
}

#[test]
fn features_of_images_that_google_lacks_are_refused_by_name() {
    let asked = |name: &str, value: Value| {
        let image = json!({"image_url": "data:image/png;base64,AAAA"});
        let mut asked = json!({"model": "gemini-3-pro-image", "prompt": "a fox", "images": [image]});
        asked[name] = value;
        written("google-vertex", Operation::ImageEdits, &asked)
    };
    assert_eq!(param(asked("response_format", json!("url"))), "response_format");
    assert_eq!(param(asked("mask", json!({"image_url": "data:image/png;base64,AAAA"}))), "mask");
    assert_eq!(param(asked("n", json!(0))), "n");
    assert_eq!(param(asked("images", json!([{"image_url": "https://example.com/a.png"}]))), "images[0]");
    assert_eq!(param(asked("images", json!([{"file_id": "file-1"}]))), "images[0].file_id");
    assert_eq!(param(asked("images", json!([{"image_url": "data:image/png,xx"}]))), "images[0].image_url");
}

#[test]
fn a_stream_at_a_provider_without_streams_has_one_event_per_image() {
    let asked = json!({"model": "gemini-3-pro-image", "prompt": "a fox", "stream": true});
    let sent = written("google-ai-studio", Operation::ImageGenerations, &asked).unwrap();
    let answer = json!({
        "candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5}
    });
    let read = sent.reader.read(&[whole(&answer)]).unwrap();
    let text = String::from_utf8(read.body).unwrap();
    let data = text.strip_prefix("event: image_generation.completed\ndata: ").unwrap();
    let event: Value = serde_json::from_str(data.trim()).unwrap();
    assert_eq!((&event["b64_json"], &event["usage"]["total_tokens"]), (&json!("AAAA"), &json!(8)));
    assert_eq!(sent.reader.content_type(&HeaderMap::new()), "text/event-stream");
}

#[test]
fn stability_on_bedrock_gets_its_own_fields_and_a_filtered_image_is_an_error() {
    let asked = json!({
        "model": "stability.stable-image-core-v1:1", "prompt": "a fox", "size": "1024x1536", "seed": 7, "user": "me",
        "output_format": "png"
    });
    let sent = written("aws-bedrock", Operation::ImageGenerations, &asked).unwrap();
    assert_eq!(&*sent.parts[0].path, "invoke");
    let expected = json!({
        "seed": 7, "output_format": "png", "prompt": "a fox", "mode": "text-to-image", "aspect_ratio": "2:3"
    });
    assert_eq!((body(&sent), lost(&sent)), (expected, vec!["user".to_owned(), "size".to_owned()]));
    let good = json!({"images": ["AAAA"], "seeds": [7], "finish_reasons": [null]});
    let read = sent.reader.read(&[whole(&good)]).unwrap();
    assert_eq!(json_of(&read)["data"], json!([{"b64_json": "AAAA"}]));
    // The status is 200 even when the image is filtered.
    let filtered = json!({"images": ["AAAA"], "seeds": [7], "finish_reasons": ["Filter reason: prompt"]});
    assert_eq!(sent.reader.read(&[whole(&filtered)]).unwrap_err().kind, ErrorKind::ContentFilter);
    let fields = [("model", "stability.stable-image-inpaint-v1:0"), ("prompt", "a hat")];
    let files: [(&str, &str, &[u8]); 2] = [("image", "a.png", PNG), ("mask", "m.png", JPEG)];
    let sent = of_form("aws-bedrock", Operation::ImageEdits, &fields, &files).unwrap();
    let expected = json!({"prompt": "a hat", "image": STANDARD.encode(PNG), "mask": STANDARD.encode(JPEG)});
    assert_eq!(body(&sent), expected);
    let two: [(&str, &str, &[u8]); 2] = [("image[]", "a.png", PNG), ("image[]", "b.png", PNG)];
    assert_eq!(param(of_form("aws-bedrock", Operation::ImageEdits, &fields, &two)), "image");
}

#[test]
fn flux_at_fireworks_answers_with_bare_images_or_json() {
    let asked = json!({
        "model": "accounts/fireworks/models/flux-1-schnell-fp8", "prompt": "a fox", "n": 2, "size": "1024x1024",
        "output_format": "jpeg", "num_inference_steps": 4
    });
    let sent = written("fireworks", Operation::ImageGenerations, &asked).unwrap();
    assert_eq!((sent.parts.len(), &*sent.parts[0].path), (2, "/workflows/{model}/text_to_image"));
    assert_eq!(sent.parts[0].headers, [(ACCEPT, HeaderValue::from_static("image/jpeg"))]);
    assert_eq!(body(&sent), json!({"num_inference_steps": 4, "prompt": "a fox", "aspect_ratio": "1:1"}));
    let in_json =
        json!({"id": "1", "base64": ["data:image/png;base64,AAAA"], "finishReason": "SUCCESS", "seed": 1});
    let read = sent.reader.read(&[part("image/jpeg", JPEG), whole(&in_json)]).unwrap();
    let out = json_of(&read);
    assert_eq!(out["data"], json!([{"b64_json": STANDARD.encode(JPEG)}, {"b64_json": "AAAA"}]));
    assert_eq!(out["output_format"], "jpeg");
}

#[test]
fn flux_kontext_is_asked_for_its_image_until_it_is_there() {
    let model = "accounts/fireworks/models/flux-kontext-pro";
    let asked = json!({
        "model": model, "prompt": "a hat", "image": "https://example.com/a.png", "size": "1536x1024",
        "output_format": "jpeg", "seed": 7, "quality": "high"
    });
    let sent = written("fireworks", Operation::ImageEdits, &asked).unwrap();
    assert_eq!(&*sent.parts[0].path, "/workflows/{model}");
    let expected = json!({
        "prompt": "a hat", "input_image": "https://example.com/a.png", "aspect_ratio": "3:2",
        "output_format": "jpeg", "seed": 7
    });
    assert_eq!((body(&sent), lost(&sent)), (expected, vec!["quality".to_owned(), "size".to_owned()]));
    let begun = whole(&json!({"request_id": "r-1"}));
    let pending = whole(&json!({"id": "r-1", "status": "Pending", "result": null, "progress": 0.5}));
    for last in [&begun, &pending] {
        let follow_up = sent.reader.follow_up(&begun, last).unwrap().unwrap();
        assert_eq!(&*follow_up.part.path, "/workflows/{model}/get_result");
        assert_eq!(&follow_up.part.body[..], br#"{"id":"r-1"}"#);
    }
    let ready = whole(&json!({"id": "r-1", "status": "Ready", "result": {"sample": "https://x/1.png"}}));
    assert!(sent.reader.follow_up(&begun, &ready).unwrap().is_none());
    let read = sent.reader.read(&[ready]).unwrap();
    assert_eq!(json_of(&read)["data"], json!([{"url": "https://x/1.png"}]));
    for (status, kind) in [
        ("Content Moderated", ErrorKind::ContentFilter),
        ("Error", ErrorKind::Upstream),
        ("Task not found", ErrorKind::Upstream),
    ] {
        let failed = whole(&json!({"id": "r-1", "status": status, "result": null, "details": {"why": "x"}}));
        assert_eq!(sent.reader.follow_up(&begun, &failed).unwrap_err().kind, kind, "{status}");
    }
    assert!(sent.reader.follow_up(&whole(&json!({})), &pending).is_err(), "no id to ask for");
    let form = |model: &'static str, more: &[(&'static str, &'static str)], files: &[(&str, &str, &[u8])]| {
        let fields = [&[("model", model), ("prompt", "a hat")], more].concat();
        of_form("fireworks", Operation::ImageEdits, &fields, files)
    };
    let one: [(&str, &str, &[u8]); 1] = [("image", "a.png", PNG)];
    let sent = form(model, &[("response_format", "url")], &one).unwrap();
    let png = format!("data:image/png;base64,{}", STANDARD.encode(PNG));
    assert_eq!(body(&sent), json!({"prompt": "a hat", "input_image": png}));
    let two: [(&str, &str, &[u8]); 2] = [("image[]", "a.png", PNG), ("image[]", "b.png", PNG)];
    let masked: [(&str, &str, &[u8]); 2] = [("image", "a.png", PNG), ("mask", "m.png", PNG)];
    assert_eq!(param(form(model, &[], &two)), "image");
    assert_eq!(param(form(model, &[], &masked)), "mask");
    assert_eq!(param(form(model, &[("response_format", "b64_json")], &one)), "response_format");
    assert_eq!(param(form(model, &[("stream", "true")], &one)), "stream");
    assert_eq!(param(form("accounts/fireworks/models/flux-1-dev-fp8", &[], &one)), "model");
}

#[test]
fn edits_are_written_as_references_where_there_is_no_form() {
    let fields = [
        ("model", "m"),
        ("prompt", "a hat"),
        ("n", "2"),
        ("size", "1536x1024"),
        ("response_format", "b64_json"),
        ("user", "me"),
    ];
    let one: [(&str, &str, &[u8]); 1] = [("image", "a", JPEG)];
    let two: [(&str, &str, &[u8]); 2] = [("image[]", "a", PNG), ("image[]", "b", JPEG)];
    let png = format!("data:image/png;base64,{}", STANDARD.encode(PNG));
    let jpeg = format!("data:image/jpeg;base64,{}", STANDARD.encode(JPEG));
    let sent = of_form("xai", Operation::ImageEdits, &fields, &one).unwrap();
    let expected = json!({
        "model": "m", "prompt": "a hat", "n": 2, "aspect_ratio": "3:2", "response_format": "b64_json", "user": "me",
        "image": {"type": "image_url", "url": jpeg}
    });
    assert_eq!((body(&sent), &*sent.parts[0].path), (expected, "/images/edits"));
    let sent = of_form("xai", Operation::ImageEdits, &fields, &two).unwrap();
    assert_eq!(body(&sent)["images"][1], json!({"type": "image_url", "url": jpeg}));
    let sent = of_form("together-ai", Operation::ImageEdits, &fields, &one).unwrap();
    let expected = json!({
        "model": "m", "prompt": "a hat", "n": 2, "width": 1536, "height": 1024, "response_format": "base64", "image_url": jpeg
    });
    assert_eq!((body(&sent), &*sent.parts[0].path), (expected, "/images/generations"));
    assert_eq!(lost(&sent), ["user"]);
    let sent = of_form("openrouter", Operation::ImageEdits, &fields, &two).unwrap();
    assert_eq!((body(&sent)["size"].as_str(), &*sent.parts[0].path), (Some("1536x1024"), "/images"));
    assert_eq!(body(&sent)["input_references"][0], json!({"type": "image_url", "image_url": {"url": png}}));
    // A URL stays a URL.
    let asked =
        json!({"model": "m", "prompt": "a hat", "images": [{"image_url": "https://example.com/a.png"}]});
    let sent = written("xai", Operation::ImageEdits, &asked).unwrap();
    assert_eq!(body(&sent)["image"]["url"], "https://example.com/a.png");
    let answer = json!({"data": [{"url": "https://x/1.jpeg"}], "usage": {"cost_in_usd_ticks": 200_000_000}});
    let read = sent.reader.read(&[whole(&answer)]).unwrap();
    assert_eq!((read.progress.amount.unwrap().count, &json_of(&read)["data"]), (1, &answer["data"]));
    let mask: [(&str, &str, &[u8]); 2] = [("image", "a", PNG), ("mask", "m", PNG)];
    assert_eq!(param(of_form("xai", Operation::ImageEdits, &fields, &mask)), "mask");
    let streamed = [&fields[..], &[("stream", "true")]].concat();
    assert_eq!(param(of_form("together-ai", Operation::ImageEdits, &streamed, &one)), "stream");
}

#[test]
fn speech_of_google_is_wav_or_pcm() {
    let mut asked = json!({
        "model": "gemini-3.8-flash-tts", "input": "Hi there", "voice": "Kore", "instructions": "softly", "response_format": "pcm",
        "speed": 2
    });
    let sent = written("google-ai-studio", Operation::Speech, &asked).unwrap();
    let expected = json!({
        "contents": [{"role": "user", "parts": [{"text": "Hi there", "speechMetadata": {"style": "softly"}}]}],
        "generationConfig": {
            "responseModalities": ["AUDIO"],
            "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}
        }
    });
    assert_eq!((body(&sent), lost(&sent)), (expected, vec!["speed".to_owned()]));
    let mut wav = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    wav.extend(b"\xc0\x5d\0\0\x80\xbb\0\0\x02\0\x10\0data\x04\0\0\0\x01\x02\x03\x04");
    let answer = |kind: &str, sound: &[u8]| {
        json!({
            "candidates": [{"content": {"parts": [{"inlineData": {"mimeType": kind, "data": STANDARD.encode(sound)}}]}}],
            "usageMetadata": {
                "promptTokenCount": 4, "candidatesTokenCount": 50,
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}]
            }
        })
    };
    let read = sent.reader.read(&[whole(&answer("audio/wav", &wav))]).unwrap();
    assert_eq!(read.body, [1, 2, 3, 4]);
    let usage = read.progress.usage.unwrap();
    assert_eq!((usage.input, usage.audio_output, usage.output), (4, 50, 0));
    assert_eq!(sent.reader.content_type(&HeaderMap::new()), "audio/pcm");
    // The default format is MP3, which Google does not make: it is approximated. An explicit request for it
    // is refused.
    asked["response_format"] = Value::Null;
    let sent = written("google-ai-studio", Operation::Speech, &asked).unwrap();
    assert!(lost(&sent).contains(&"response_format".to_owned()));
    let bare = answer("audio/L16;codec=pcm;rate=24000", &[1, 2, 3, 4]);
    assert_eq!(sent.reader.read(&[whole(&bare)]).unwrap().body, wav);
    asked["response_format"] = "mp3".into();
    assert_eq!(param(written("google-ai-studio", Operation::Speech, &asked)), "response_format");
    let refused = json!({"candidates": [{"finishReason": "OTHER"}]});
    assert_eq!(sent.reader.read(&[whole(&refused)]).unwrap_err().kind, ErrorKind::ContentFilter);
    let old = json!({"model": "gemini-2.5-flash-preview-tts", "input": "Hi", "instructions": "softly", "response_format": "wav"});
    let sent = written("google-ai-studio", Operation::Speech, &old).unwrap();
    assert_eq!(body(&sent)["contents"][0]["parts"][0], json!({"text": "softly: Hi"}));
}

#[test]
fn speech_requests_are_written_for_deepgram_and_xai() {
    let asked = json!({
        "model": "aura-2", "input": "Hi", "voice": "aura-2-thalia-en", "response_format": "wav", "speed": 1.1, "instructions": "x"
    });
    let sent = written("deepgram", Operation::Speech, &asked).unwrap();
    let path = "/v1/speak?model=aura-2-thalia-en&encoding=linear16&container=wav&sample_rate=24000&speed=1.1";
    assert_eq!((&*sent.parts[0].path, body(&sent)), (path, json!({"text": "Hi"})));
    assert_eq!(lost(&sent), ["instructions"]);
    let mut other = asked.clone();
    other["voice"] = "alloy".into();
    assert_eq!(param(written("deepgram", Operation::Speech, &other)), "voice");
    other["model"] = "aura-2-thalia-en".into();
    let sent = written("deepgram", Operation::Speech, &other).unwrap();
    assert!(
        sent.parts[0].path.starts_with("/v1/speak?model=aura-2-thalia-en&")
            && lost(&sent).contains(&"voice".to_owned())
    );
    let asked = json!({"model": "grok-tts", "input": "Hi", "voice": "eve", "speed": 1.5});
    let sent = written("xai", Operation::Speech, &asked).unwrap();
    let expected = json!({"text": "Hi", "output_format": {"codec": "mp3"}, "language": "auto", "voice_id": "eve", "speed": 1.5});
    assert_eq!((&*sent.parts[0].path, body(&sent)), ("/tts", expected));
    let flac = json!({"model": "grok-tts", "input": "Hi", "response_format": "flac"});
    assert_eq!(param(written("xai", Operation::Speech, &flac)), "response_format");
}

#[test]
fn recordings_are_sent_without_a_form_where_the_provider_takes_none() {
    let fields = [
        ("model", "nova-3"),
        ("response_format", "diarized_json"),
        ("keywords[]", "Ümlaut & co"),
        ("numerals", "true"),
        ("prompt", "p"),
    ];
    let file: [(&str, &str, &[u8]); 1] = [("file", "a.mp3", b"\0\xFFID3")];
    let sent = of_form("deepgram", Operation::Transcriptions, &fields, &file).unwrap();
    let path = "/v1/listen?model=nova%2D3&smart_format=true&keyterm=%C3%9Cmlaut%20%26%20co&numerals=true&detect_language=true\
                &utterances=true&diarize=true";
    assert_eq!(&*sent.parts[0].path, path);
    assert_eq!(sent.parts[0].headers, [(CONTENT_TYPE, HeaderValue::from_static("audio/mpeg"))]);
    assert_eq!((&sent.parts[0].body[..], lost(&sent)), (&b"\0\xFFID3"[..], vec!["prompt".to_owned()]));
    let fields = [("model", "openai/whisper-1"), ("language", "en")];
    let sent = of_form("openrouter", Operation::Transcriptions, &fields, &file).unwrap();
    let sound = json!({"data": STANDARD.encode(b"\0\xFFID3"), "format": "mp3"});
    assert_eq!(body(&sent), json!({"model": "openai/whisper-1", "input_audio": sound}));
    let read =
        sent.reader.read(&[whole(&json!({"text": "Hi.", "usage": {"seconds": 2.5, "cost": 0.1}}))]).unwrap();
    assert_eq!((&json_of(&read)["text"], read.progress.amount.unwrap().count), (&json!("Hi."), 2500));
    let fields =
        [("model", "grok-stt"), ("response_format", "verbose_json"), ("timestamp_granularities[]", "word")];
    let sent = of_form("xai", Operation::Transcriptions, &fields, &file).unwrap();
    let text = String::from_utf8_lossy(&sent.parts[0].body).into_owned();
    assert!(
        &*sent.parts[0].path == "/stt" && !text.contains("model") && text.contains("name=\"file\""),
        "{text}"
    );
    let answer = json!({"text": "Hi you.", "language": "en", "duration": 1.5, "words": [
        {"text": "Hi", "start": 0.0, "end": 0.5, "speaker": 0}, {"text": "you.", "start": 0.5, "end": 1.5, "speaker": 0}
    ]});
    let out = json_of(&sent.reader.read(&[whole(&answer)]).unwrap());
    assert_eq!((&out["words"][1]["word"], &out["duration"]), (&json!("you."), &json!(1.5)));
    assert_eq!(
        param(of_form(
            "deepgram",
            Operation::Transcriptions,
            &[("model", "nova-3"), ("stream", "true")],
            &file
        )),
        "stream"
    );
}

#[test]
fn transcripts_of_deepgram_get_openais_form() {
    // One answer of our own, and the recorded ones.
    let word = |word: &str, start: f64, speaker: u32| {
        json!({
            "word": word.to_lowercase(), "punctuated_word": word, "start": start, "end": start + 0.5, "confidence": 0.9,
            "speaker": speaker
        })
    };
    let own = json!({
        "metadata": {"duration": 3.7, "channels": 1},
        "results": {"channels": [{"alternatives": [{
            "transcript": "Hi there. Yes.", "words": [word("Hi", 0.0, 0), word("there.", 0.5, 0), word("Yes.", 2.0, 1)]
        }], "detected_language": "en"}]}
    });
    let mut bodies = vec![own];
    bodies.extend(
        other_records("deepgram").iter().filter_map(|record| serde_json::from_slice(&record.body).ok()),
    );
    let count = bodies.len();
    let file: [(&str, &str, &[u8]); 1] = [("file", "a.wav", b"RIFF")];
    for answer in &bodies {
        let out = |form: &str| {
            let fields =
                [("model", "nova-3"), ("response_format", form), ("timestamp_granularities[]", "word")];
            let sent = of_form("deepgram", Operation::Transcriptions, &fields, &file).unwrap();
            sent.reader.read(&[whole(answer)]).unwrap()
        };
        let heard = answer.pointer("/results/channels/0/alternatives/0").unwrap();
        let verbose = out("verbose_json");
        let seconds = answer["metadata"]["duration"].as_f64().unwrap();
        let counted = verbose.progress.amount.unwrap();
        assert_eq!((counted.unit, counted.count), (Unit::Millisecond, (seconds * 1000.0).round() as u64));
        let verbose = json_of(&verbose);
        assert_eq!((&verbose["text"], verbose["duration"].as_f64()), (&heard["transcript"], Some(seconds)));
        assert_eq!(verbose["words"].as_array().unwrap().len(), heard["words"].as_array().unwrap().len());
        let diarized = json_of(&out("diarized_json"));
        if heard["words"][0]["speaker"].is_u64() {
            assert_eq!(diarized["segments"][0]["speaker"], "A");
        }
        assert!(out("srt").body.starts_with(b"1\n00:00:00,"));
        assert!(!out("text").body.is_empty());
    }
    let first = json_of(&{
        let fields = [("model", "nova-3"), ("response_format", "diarized_json")];
        let sent = of_form("deepgram", Operation::Transcriptions, &fields, &file).unwrap();
        sent.reader.read(&[whole(&bodies[0])]).unwrap()
    });
    assert_eq!(
        (&first["segments"][0]["text"], &first["segments"][1]["speaker"]),
        (&json!("Hi there."), &json!("B"))
    );
    assert_enough(count, 4);
}

/// Members that are null, missing or text leave the transcript.
#[test]
fn transcripts_with_unusual_members_are_read() {
    let deepgram = |word: Value, metadata: Value| {
        let heard = json!({"transcript": "Hi.", "words": word});
        json!({"metadata": metadata, "results": {"channels": [{"alternatives": [heard]}]}})
    };
    let file: [(&str, &str, &[u8]); 1] = [("file", "a.bin", b"RIFF")];
    for (provider, model, answer, milliseconds) in [
        ("deepgram", "nova-3", deepgram(Value::Null, json!({"duration": "1.5"})), Some(1500)),
        (
            "deepgram",
            "nova-3",
            deepgram(json!([{"word": "hi", "start": null, "end": "0.5"}]), Value::Null),
            None,
        ),
        ("mistral", "voxtral-mini-latest", json!({"text": "Hi.", "segments": null, "usage": null}), None),
        (
            "mistral",
            "voxtral-mini-latest",
            json!({"text": "Hi.", "usage": {"prompt_audio_seconds": "2"}}),
            Some(2000),
        ),
        (
            "xai",
            "grok-stt",
            json!({"text": "Hi.", "duration": "1", "words": [{"text": "Hi.", "start": null}]}),
            Some(1000),
        ),
        (
            "elevenlabs",
            "scribe_v1",
            json!({"text": "Hi.", "audio_duration_secs": "3", "words": null}),
            Some(3000),
        ),
    ] {
        let fields = [("model", model), ("response_format", "verbose_json")];
        let sent = of_form(provider, Operation::Transcriptions, &fields, &file).unwrap();
        let read = sent.reader.read(&[whole(&answer)]).unwrap();
        assert_eq!(json_of(&read)["text"], "Hi.", "{answer}");
        assert_eq!(read.progress.amount.map(|amount| amount.count), milliseconds, "{answer}");
    }
}

/// Clients of OpenAI's require `created`, and counts in `usage`.
#[test]
fn images_of_openais_form_have_the_members_that_its_clients_require() {
    let asked = json!({"model": "grok-imagine-image", "prompt": "a cat"});
    let request = written("xai", Operation::ImageGenerations, &asked).unwrap();
    let read = |answer: &Value| json_of(&request.reader.read(&[whole(answer)]).unwrap());
    // As xAI answers.
    let data = json!([{"url": "https://imgen.x.ai/a.jpeg", "mime_type": "image/jpeg"}]);
    let out = read(&json!({"data": data, "usage": {"cost_in_usd_ticks": 200_000_000}}));
    let expected =
        json!({"data": data, "provider_usage": {"cost_in_usd_ticks": 200_000_000}, "created": 1_787_150_474});
    assert_eq!(out, expected);
    // As OpenRouter answers.
    let usage = json!({
        "prompt_tokens": 1125, "completion_tokens": 1120, "total_tokens": 2245, "cost": 0.03388125,
        "completion_tokens_details": {"reasoning_tokens": 0, "image_tokens": 1120}
    });
    let out = read(&json!({"created": 0, "data": data, "usage": usage}));
    assert_eq!(out["created"], 1_787_150_474, "clients show it as a date");
    assert_eq!(out["usage"]["input_tokens_details"], json!({"image_tokens": 0, "text_tokens": 1125}));
    assert_eq!(out["usage"]["output_tokens_details"], json!({"image_tokens": 1120, "text_tokens": 0}));
    for (name, value) in
        [("input_tokens", 1125.0), ("output_tokens", 1120.0), ("total_tokens", 2245.0), ("cost", 0.03388125)]
    {
        assert_eq!(out["usage"][name].as_f64(), Some(value), "{name}");
    }
    // As OpenAI answers.
    let usage = json!({
        "input_tokens": 9, "output_tokens": 8, "total_tokens": 17, "input_tokens_details": {"image_tokens": 4, "text_tokens": 5}
    });
    let answer = json!({"created": 7, "data": [{"b64_json": "AAAA"}], "usage": usage});
    assert_eq!(request.reader.read(&[whole(&answer)]).unwrap().body, answer.to_string().into_bytes());
}

#[test]
fn an_answer_that_is_cut_or_a_page_is_an_error() {
    let asked = json!({"model": "gpt-image-2", "prompt": "a cat"});
    let images = written("openai", Operation::ImageGenerations, &asked).unwrap();
    let file: [(&str, &str, &[u8]); 1] = [("file", "a.wav", b"RIFF")];
    let heard = |form: &str| {
        let fields = [("model", "whisper-1"), ("response_format", form)];
        of_form("openai", Operation::Transcriptions, &fields, &file).unwrap()
    };
    let page = || part("text/html; charset=utf-8", "<html>Bad gateway</html>");
    let cut = || part("application/json", r#"{"created":7,"text":"Hi. {","data":[{"b64_json":"AAA"#);
    for request in [images, heard("json"), heard("verbose_json")] {
        for answer in [page(), cut(), part("application/json", ""), part("application/json", "[]")] {
            let error = request.reader.read(&[answer]).map(|_| ()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Upstream);
        }
    }
    let text = heard("text");
    assert!(text.reader.read(&[page()]).is_err());
    // A transcript may begin with a brace.
    assert_eq!(text.reader.read(&[part("text/plain", "{Hi")]).unwrap().body, b"{Hi");
}

#[test]
fn a_purpose_in_the_providers_own_word_is_kept() {
    let model = "amazon.nova-2-multimodal-embeddings-v1:0";
    for (word, expected) in [
        ("query", "GENERIC_RETRIEVAL"),
        ("TEXT_RETRIEVAL", "TEXT_RETRIEVAL"),
        ("IMAGE_RETRIEVAL", "IMAGE_RETRIEVAL"),
    ] {
        let asked = json!({"model": model, "input": "a", "embeddingPurpose": word});
        let sent = written("aws-bedrock", Operation::Embeddings, &asked).unwrap();
        assert_eq!(body(&sent)["singleEmbeddingParams"]["embeddingPurpose"], expected);
    }
}
