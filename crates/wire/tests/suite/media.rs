//! Media reach each format with all their bytes: given as a data URL, as bare base64, or fetched by the
//! gateway.

use crate::checks::chat_intake;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use canon::{Error, Media, MediaKind, ModelFacts, Part, PartKind, Quirks, Request, Source, Target};
use serde_json::{Value, json};
use wire::protocols::openai_chat::{MediaUrls, OpenaiChat, forward};
use wire::{Dialect, Protocol, adapter};
use wire::{MediaFile, MediaSlots};

/// All byte values, after the signature of the file type.
fn bytes(mark: &[u8]) -> Vec<u8> {
    mark.iter().copied().chain(0..=255).chain([0; 3]).collect()
}

/// For each format, a model that takes everything the format can carry.
fn model(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::OpenaiChat | Protocol::OpenaiResponses => "gpt-5.1",
        Protocol::AnthropicMessages => "claude-sonnet-4-5",
        Protocol::Gemini => "gemini-3-pro-preview",
        Protocol::BedrockConverse => "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        Protocol::CohereChat => "command-a-vision-07-2025",
        Protocol::OllamaChat => "llava",
        Protocol::OpenaiCompletions => unreachable!("texts have no media"),
    }
}

fn sent(protocol: Protocol, messages: &Value) -> Result<Value, Error> {
    let body = json!({"model": "x", "messages": messages}).to_string();
    let (facts, quirks) = (ModelFacts::default(), Quirks::default());
    let target = Target { model: model(protocol), facts: &facts, quirks: &quirks };
    let encoded = match protocol {
        Protocol::OpenaiChat => forward(&chat_intake(body.as_bytes()).unwrap(), target)?,
        protocol => {
            let request = OpenaiChat.decode_request(body.as_bytes()).unwrap();
            adapter(protocol).encode_request(&request, target)?
        }
    };
    Ok(serde_json::from_slice(&encoded.body).unwrap())
}

/// True when some string in the body is these bytes: in base64, in a data URL, or as text.
fn holds(body: &Value, bytes: &[u8]) -> bool {
    match body {
        Value::String(text) => {
            let base64 = text.split_once(";base64,").map_or(text.as_str(), |(_, base64)| base64);
            text.as_bytes() == bytes || STANDARD.decode(base64).is_ok_and(|decoded| decoded == bytes)
        }
        Value::Array(items) => items.iter().any(|item| holds(item, bytes)),
        Value::Object(members) => members.values().any(|member| holds(member, bytes)),
        _ => false,
    }
}

fn part(kind: &str, data: &[u8]) -> Value {
    let base64 = STANDARD.encode(data);
    match kind {
        "image" => {
            json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{base64}")}})
        }
        "pdf" => {
            json!({"type": "file", "file": {"filename": "a.pdf", "file_data": format!("data:application/pdf;base64,{base64}")}})
        }
        "bare" => json!({"type": "file", "file": {"filename": "a.pdf", "file_data": base64}}),
        "text" => {
            json!({"type": "file", "file": {"filename": "a.txt", "file_data": format!("data:text/plain;base64,{base64}")}})
        }
        _ => json!({"type": "input_audio", "input_audio": {"format": "wav", "data": base64}}),
    }
}

fn conversations(part: &Value) -> [Value; 2] {
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    [
        json!([{"role": "user", "content": [{"type": "text", "text": "?"}, part]}]),
        json!([
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "r"}, part]},
        ]),
    ]
}

#[test]
fn bytes_stay_as_they_are_or_are_refused_by_name() {
    use Protocol::{
        AnthropicMessages, BedrockConverse, CohereChat, Gemini, OllamaChat, OpenaiChat, OpenaiResponses,
    };
    let everyone =
        [OpenaiChat, OpenaiResponses, AnthropicMessages, Gemini, BedrockConverse, CohereChat, OllamaChat];
    let readers = [OpenaiChat, OpenaiResponses, AnthropicMessages, Gemini, BedrockConverse];
    let hearers = [OpenaiChat, Gemini, BedrockConverse];
    let cases: [(&str, Vec<u8>, &[Protocol]); 5] = [
        ("image", bytes(b"\x89PNG"), &everyone),
        ("pdf", bytes(b"%PDF"), &readers),
        ("bare", bytes(b"%PDF"), &readers),
        ("text", "grüße\r\n\u{0}\u{10ffff}".as_bytes().to_vec(), &readers),
        ("audio", bytes(b"RIFF____WAVE"), &hearers),
    ];
    for (kind, data, takers) in cases {
        for protocol in Protocol::ALL {
            for (place, messages) in conversations(&part(kind, &data)).iter().enumerate() {
                let takes = takers.contains(&protocol);
                match sent(protocol, messages) {
                    Ok(body) => assert!(takes && holds(&body, &data), "{protocol:?} {kind} {place}: {body}"),
                    Err(error) => {
                        let param = error.param_name().unwrap_or_default();
                        let is_named = param.starts_with("messages[") && param.contains(".content[1]");
                        // Where results of tools are text, media in them are refused.
                        let may = !takes || (place == 1 && protocol == CohereChat);
                        assert!(may && is_named, "{protocol:?} {kind} {place}: {error:?}");
                    }
                }
            }
        }
    }
}

/// Media with a URL are fetched exactly where neither the format nor the provider fetches them.
#[test]
fn bytes_are_wanted_only_of_media_that_the_provider_does_not_fetch() {
    let cases = [
        (Protocol::AnthropicMessages, "https://a.test/x.png", false, false),
        (Protocol::AnthropicMessages, "http://a.test/x.png", false, true),
        (Protocol::AnthropicMessages, "https://a.test/x.png", true, true),
        (Protocol::Gemini, "https://a.test/x.png", false, true),
        (Protocol::Gemini, "gs://bucket/x.png", false, false),
        (Protocol::Gemini, "gs://bucket/x.png", true, false),
        (Protocol::Gemini, "https://www.youtube.com/watch?v=1", true, false),
        (Protocol::BedrockConverse, "https://a.test/x.png", false, true),
        (Protocol::BedrockConverse, "s3://bucket/x.png", false, false),
        (Protocol::CohereChat, "https://a.test/x.png", false, false),
        (Protocol::OllamaChat, "https://a.test/x.png", false, true),
    ];
    for (protocol, url, no_media_urls, expected) in cases {
        let source = Source::Url(url.to_owned());
        let media = Media { kind: MediaKind::Image, source, filename: None, detail: None };
        let quirks = Quirks { no_media_urls, ..Quirks::default() };
        let facts = ModelFacts::default();
        let target = Target { model: model(protocol), facts: &facts, quirks: &quirks };
        assert_eq!(adapter(protocol).wants_bytes(&media, target), expected, "{protocol:?} {url}");
    }
}

/// A URL that was not fetched is never sent to a provider that does not fetch it, not even in the result of a
/// tool.
#[test]
fn a_url_that_was_not_fetched_is_refused_by_name() {
    let url = json!({"type": "image_url", "image_url": {"url": "https://a.test/x.png"}});
    for protocol in [Protocol::Gemini, Protocol::BedrockConverse, Protocol::OllamaChat] {
        for messages in conversations(&url) {
            let error = sent(protocol, &messages).unwrap_err();
            let param = error.param_name().unwrap_or_default();
            assert!(param.starts_with("messages[") && param.contains(".content[1]"), "{protocol:?}: {param}");
        }
    }
}

/// Fetched bytes replace the URL, also between equal formats.
#[test]
fn bytes_replace_urls_in_the_raw_request() {
    let body = json!({
        "temperature": 0.7,
        "model": "x",
        "messages": [
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "https://a.test/x.png", "detail": "low"}},
                {"type": "image_url", "image_url": "http://a.test/y.png"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "https://a.test/a.pdf"}}]},
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "image_url", "image_url": {"url": "https://a.test/z.png"}}]},
        ],
    })
    .to_string();
    let intake = chat_intake(body.as_bytes()).unwrap();
    let urls = Box::new(MediaUrls::of(&intake).unwrap());
    let found: Vec<_> = urls.urls().into_iter().map(|url| (url.path, url.url, url.kind)).collect();
    let expected = [
        ("messages[0].content[0]", "https://a.test/x.png", MediaKind::Image),
        ("messages[0].content[1]", "http://a.test/y.png", MediaKind::Image),
        ("messages[0].content[3]", "https://a.test/a.pdf", MediaKind::Document),
        ("messages[1].content[0]", "https://a.test/z.png", MediaKind::Image),
    ];
    assert_eq!(found, expected.map(|(path, url, kind)| (path.to_owned(), url.to_owned(), kind)));
    let file = |data: &str| MediaFile { mime: "image/png".to_owned(), data: data.to_owned() };
    let files = ["0", "1", "2", "3"].map(file).to_vec();
    let replaced: Value = serde_json::from_slice(&urls.fill(&intake, files)).unwrap();
    let content = &replaced["messages"][0]["content"];
    assert_eq!(content[0]["image_url"], json!({"url": "data:image/png;base64,0", "detail": "low"}));
    assert_eq!(content[1]["image_url"], json!({"url": "data:image/png;base64,1"}));
    assert_eq!(content[2]["image_url"]["url"], "data:image/png;base64,AAAA");
    assert_eq!(content[3]["file"], json!({"filename": "a.pdf", "file_data": "data:image/png;base64,2"}));
    assert_eq!(replaced["messages"][1]["content"][0]["image_url"]["url"], "data:image/png;base64,3");
    assert_eq!(replaced["temperature"], 0.7);
    let plain = br#"{"model":"x","messages":[{"role":"user","content":"image_url"}]}"#;
    assert!(MediaUrls::of(&chat_intake(plain).unwrap()).is_none());
}

/// A format writes fetched media like those of a data URL.
#[test]
fn fetched_bytes_are_sent_like_given_ones() {
    let data = bytes(b"\x89PNG");
    let part = json!({"type": "image_url", "image_url": {"url": "https://a.test/x.png"}});
    for protocol in Protocol::ALL.into_iter().filter(|protocol| *protocol != Protocol::OpenaiChat) {
        let body = json!({"model": "x", "messages": conversations(&part)[0]}).to_string();
        let mut request: Request = OpenaiChat.decode_request(body.as_bytes()).unwrap();
        let Part { kind: PartKind::Media(media), .. } = &mut request.messages[0].parts[1] else { panic!() };
        media.source = Source::Base64 { mime: "image/png".to_owned(), data: STANDARD.encode(&data) };
        let (facts, quirks) = (ModelFacts::default(), Quirks::default());
        let target = Target { model: model(protocol), facts: &facts, quirks: &quirks };
        let encoded = adapter(protocol).encode_request(&request, target).unwrap();
        assert!(holds(&serde_json::from_slice(&encoded.body).unwrap(), &data), "{protocol:?}");
    }
}

#[test]
fn schemes_and_media_types_ignore_case() {
    let data = STANDARD.encode(bytes(b"\x89PNG"));
    let cases = [
        format!("data:image/PNG;base64,{data}"),
        format!("DATA:image/png;base64,{data}"),
        format!("data:image/png;BASE64,{data}"),
        format!("Data:Image/Png;charset=UTF-8;Base64,{data}"),
    ];
    for url in cases {
        let messages = json!([{"role": "user", "content": [
            {"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": url}}]}]);
        for protocol in [
            Protocol::AnthropicMessages,
            Protocol::Gemini,
            Protocol::BedrockConverse,
            Protocol::CohereChat,
            Protocol::OllamaChat,
        ] {
            let body = sent(protocol, &messages).unwrap();
            assert!(holds(&body, &bytes(b"\x89PNG")), "{url}: {body}");
            let text = body.to_string();
            let named = match protocol {
                Protocol::AnthropicMessages => text.contains(r#""media_type":"image/png""#),
                Protocol::Gemini => text.contains(r#""mimeType":"image/png""#),
                Protocol::BedrockConverse => text.contains(r#""format":"png""#),
                _ => true,
            };
            assert!(named, "{url}: {text}");
        }
    }
    let messages = json!([{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "HTTPS://x.test/A.png"}}]}]);
    let body = sent(Protocol::AnthropicMessages, &messages).unwrap();
    assert!(body.to_string().contains(r#""url":"https://x.test/A.png""#), "{body}");
}

#[test]
fn documents_keep_their_format_where_the_target_has_it() {
    let file = |name: &str, mime: &str, data: &[u8]| {
        let data = format!("data:{mime};base64,{}", STANDARD.encode(data));
        json!([{"role": "user", "content": [{"type": "text", "text": "x"},
            {"type": "file", "file": {"filename": name, "file_data": data}}]}])
    };
    const WORD: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    const SHEET: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    // Name, type, format at Bedrock, type at Gemini.
    let cases = [
        ("a.csv", "text/csv", "csv", "text/csv"),
        ("a.csv", "Text/CSV; charset=utf-8", "csv", "text/csv"),
        ("a.md", "text/markdown", "md", "text/markdown"),
        ("a.html", "text/html", "html", "text/html"),
        ("a.txt", "text/plain", "txt", "text/plain"),
        ("a.md", "text/plain", "md", "text/markdown"),
        ("a.json", "application/json", "txt", "text/plain"),
        ("a.log", "text/x-log", "txt", "text/plain"),
        ("a.pdf", "application/pdf", "pdf", "application/pdf"),
        ("a.docx", WORD, "docx", WORD),
        ("a.xlsx", SHEET, "xlsx", SHEET),
        ("a.xlsx", "application/octet-stream", "xlsx", SHEET),
    ];
    for (name, mime, format, gemini) in cases {
        let messages = file(name, mime, b"a,b\n1,2\n");
        let body = sent(Protocol::BedrockConverse, &messages).unwrap();
        let document = &body["messages"][0]["content"][1]["document"];
        assert_eq!(document["format"], format, "{name} {mime}");
        // The extension is left out where the format says the same.
        let is_told = name.ends_with(format);
        assert_eq!(document["name"] == "a", is_told || name == "a.md", "{name} {mime}");
        assert!(holds(document, b"a,b\n1,2\n"), "{name} {mime}");
        let body = sent(Protocol::Gemini, &messages).unwrap();
        let data = &body["contents"][0]["parts"][1]["inlineData"];
        assert_eq!(data["mimeType"], gemini, "{name} {mime}");
        assert!(holds(data, b"a,b\n1,2\n"), "{name} {mime}");
        if format == "txt" || format == "csv" || format == "md" || format == "html" {
            let body = sent(Protocol::AnthropicMessages, &messages).unwrap();
            let source = &body["messages"][0]["content"][1]["source"];
            assert_eq!(source, &json!({"type": "text", "media_type": "text/plain", "data": "a,b\n1,2\n"}));
        }
    }
}

#[test]
fn a_changed_name_of_a_document_is_a_loss() {
    let named = |name: &str| {
        let source = Source::Text("x".to_owned());
        let media =
            Media { kind: MediaKind::Document, source, filename: Some(name.to_owned()), detail: None };
        let part = Part::new(PartKind::from(media));
        let messages = vec![canon::Message::new(canon::Role::User, vec![part])];
        let request = Request { messages, ..Request::default() };
        let (facts, quirks) = (ModelFacts::default(), Quirks::default());
        let target = Target { model: model(Protocol::BedrockConverse), facts: &facts, quirks: &quirks };
        let encoded = adapter(Protocol::BedrockConverse).encode_request(&request, target).unwrap();
        encoded.losses.iter().map(|loss| loss.field.to_string()).collect::<Vec<_>>()
    };
    assert!(named("report (v1).pdf").is_empty());
    assert_eq!(named("r\u{e9}sum\u{e9}_2.pdf"), ["messages[0].content[0].file.filename"]);
}

#[test]
fn pictures_follow_results_where_the_model_takes_none_inside() {
    let picture = bytes(b"\x89PNG");
    let source = Source::Base64 { mime: "image/png".to_owned(), data: STANDARD.encode(&picture) };
    let media = Media { kind: MediaKind::Image, source, filename: None, detail: None };
    let call = canon::ToolCall { id: "c".into(), name: "f".into(), arguments: "{}".into(), custom: false };
    let content = vec![Part::new(PartKind::from(media))];
    let result = canon::ToolResult { call_id: "c".into(), content, is_error: false };
    let messages = vec![
        canon::Message::text(canon::Role::User, "hi"),
        canon::Message::new(canon::Role::Assistant, vec![PartKind::from(call).into()]),
        canon::Message::new(canon::Role::Tool, vec![PartKind::from(result).into()]),
    ];
    let request = Request { messages, ..Request::default() };
    for no_media_in_results in [false, true] {
        let facts = ModelFacts { no_media_in_results, ..ModelFacts::default() };
        let quirks = Quirks::default();
        let target =
            Target { model: "us.meta.llama4-scout-17b-instruct-v1:0", facts: &facts, quirks: &quirks };
        let encoded = adapter(Protocol::BedrockConverse).encode_request(&request, target).unwrap();
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        let content = &body["messages"][2]["content"];
        assert_eq!(holds(&content[0]["toolResult"], &picture), !no_media_in_results, "{content}");
        assert_eq!(holds(&content[1]["image"], &picture), no_media_in_results, "{content}");
        let fields: Vec<_> = encoded.losses.iter().map(|loss| loss.field.to_string()).collect();
        assert_eq!(fields.contains(&"messages[2].content[0]".to_owned()), no_media_in_results, "{fields:?}");
    }
}

/// Media to fetch are named by their place, also in results of tools, and the bytes go to the same place.
#[test]
fn media_of_a_draft_are_fetched_in_order() {
    let picture =
        |name: &str| json!({"type": "image_url", "image_url": {"url": format!("https://a.test/{name}")}});
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let body = json!({"model": "x", "messages": [
        {"role": "user", "content": [{"type": "text", "text": "x"}, picture("1")]},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "x"}, picture("2"), picture("3")]},
    ]});
    let intake = chat_intake(body.to_string().as_bytes()).unwrap();
    let (facts, quirks) = (ModelFacts::default(), Quirks::default());
    let exchange = wire::Exchange {
        dialect: wire::OWN,
        intake: &intake,
        upstream: Protocol::Gemini,
        target: Target { model: "m", facts: &facts, quirks: &quirks },
        memory: None,
    };
    let mut draft = exchange.draft(false).unwrap();
    let urls = draft.media();
    let places: Vec<_> = urls.iter().map(|url| (url.path.as_str(), url.url.as_str())).collect();
    assert_eq!(
        places,
        [
            ("messages[0].content[1]", "https://a.test/1"),
            ("messages[2].content[1]", "https://a.test/2"),
            ("messages[2].content[2]", "https://a.test/3"),
        ]
    );
    let file = |data: &str| MediaFile { mime: "image/png".to_owned(), data: data.to_owned() };
    draft.fill(["AAAA", "BBBB", "CCCC"].map(file).to_vec());
    assert!(draft.media().is_empty());
    let written = String::from_utf8(draft.write().unwrap().body.to_vec()).unwrap();
    let at = |data: &str| written.find(data).unwrap();
    assert!(at("AAAA") < at("BBBB") && at("BBBB") < at("CCCC"), "{written}");
}
