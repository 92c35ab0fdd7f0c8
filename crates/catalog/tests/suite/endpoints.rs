//! Requests and answers of real providers at endpoints without a conversation, through the rows of the
//! catalog.

#![expect(clippy::unwrap_used, reason = "a record that is no such thing ends the test")]

use ::catalog::Catalog;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use canon::Operation;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use testkit::corpus::{Record, assert_enough, other_records};
use wire::endpoints::{EndpointFacts, EndpointTarget, PartAnswer, ProviderRequest, read, read_form};
use wire::multipart::{Boundary, Form};

/// Folders of recordings with their providers.
const FOLDERS: [(&str, &str); 17] = [
    ("azure", "azure"),
    ("bedrock-agent", "aws-bedrock"),
    ("bedrock-invoke", "aws-bedrock"),
    ("cohere", "cohere"),
    ("doubleword", "vllm"),
    ("elevenlabs", "elevenlabs"),
    ("groq", "groq"),
    ("google-ai-studio", "google-ai-studio"),
    ("llamacpp", "llamacpp"),
    ("mistral", "mistral"),
    ("openai", "openai"),
    ("openrouter", "openrouter"),
    ("perplexity", "perplexity"),
    ("together", "together-ai"),
    ("venice", "venice"),
    ("vllm", "vllm"),
    ("voyage", "voyage"),
];

/// Every exchange with this API. There is always at least one: our own fixture.
fn records(api: &str) -> Vec<(&'static str, Record)> {
    let of = |(folder, provider): (&'static str, &'static str)| {
        other_records(folder)
            .into_iter()
            .filter(|record| record.api == api)
            .map(move |record| (provider, record))
    };
    let found: Vec<_> = FOLDERS.into_iter().flat_map(of).collect();
    assert!(!found.is_empty(), "{api}");
    found
}

/// The request for a provider's model, by the rows of the catalog.
fn written(
    catalog: &Catalog,
    provider: &str,
    operation: Operation,
    body: &Value,
) -> canon::Result<ProviderRequest> {
    let row = catalog.provider(provider).unwrap();
    let model = body["model"].as_str().unwrap().to_owned();
    let serving = catalog.serving(provider, &model);
    let unknown = EndpointFacts::default();
    let facts = serving.and_then(|serving| serving.endpoint.as_deref()).unwrap_or(&unknown);
    let target = EndpointTarget { model: &model, facts, rows: &row.operations };
    read(operation, &Bytes::from(body.to_string()))?.write(target)
}

fn answer(record: &Record) -> PartAnswer {
    let mut headers = HeaderMap::new();
    for (name, value) in &record.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    PartAnswer { headers, body: Bytes::from(record.body.clone()) }
}

/// Every vector of a provider's answer as float32, wherever it is.
fn vectors(value: &Value, is_int8: bool) -> Vec<Vec<f32>> {
    let of_text = |text: &str| -> Vec<f32> {
        let bytes = STANDARD.decode(text).unwrap_or_default();
        match () {
            () if is_int8 => bytes.iter().map(|byte| f32::from(byte.cast_signed())).collect(),
            // vLLM 0.6 sent float64.
            () if bytes.len() == 32_768 => bytes
                .chunks_exact(8)
                .map(|eight| f64::from_le_bytes(eight.try_into().unwrap()) as f32)
                .collect(),
            () => bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect(),
        }
    };
    match value {
        Value::Array(items) if items.len() > 1 && items.iter().all(Value::is_number) => {
            vec![items.iter().map(|number| number.to_string().parse().unwrap()).collect()]
        }
        Value::Array(items) => items.iter().flat_map(|item| vectors(item, is_int8)).collect(),
        Value::Object(fields) => {
            let known = ["embedding", "embeddings", "values", "data", "predictions", "float", "base64"];
            let named = fields.iter().filter(|(name, _)| known.contains(&name.as_str()));
            named.flat_map(|(_, field)| vectors(field, is_int8)).collect()
        }
        Value::String(text) => vec![of_text(text)],
        _ => Vec::new(),
    }
}

/// The provider's count, in any place where answers have it.
fn counted(record: &Record, body: &Value) -> Option<u64> {
    let header = record.headers.iter().find(|(name, _)| name == "x-amzn-bedrock-input-token-count");
    let places = [
        "/usage/prompt_tokens",
        "/usage/total_tokens",
        "/meta/billed_units/input_tokens",
        "/inputTextTokenCount",
        "/prompt_eval_count",
        "/usageMetadata/promptTokenCount",
    ];
    let in_body =
        places.into_iter().find_map(|place| body.pointer(place)?.as_f64()).map(|count| count as u64);
    let statistics = body["predictions"].as_array().map(|all| {
        let count = |one: &Value| one["embeddings"]["statistics"]["token_count"].as_f64().unwrap_or(0.0);
        all.iter().map(count).sum::<f64>() as u64
    });
    in_body.or(statistics).or_else(|| header?.1.parse().ok())
}

#[test]
fn recorded_embeddings_become_openais_with_exact_vectors_and_usage() {
    let catalog = Catalog::embedded().unwrap();
    let mut counted_records = 0;
    for (provider, record) in records("embeddings") {
        let Ok(body) = serde_json::from_slice::<Value>(&record.body) else { continue };
        if record.status != 200 || record.features.iter().any(|feature| feature == "image_in") {
            continue;
        }
        // Version 1 of Ollama's and Cohere's API has no request here; its answers are still read.
        let expected = vectors(&body, provider == "perplexity");
        if expected.is_empty() {
            continue;
        }
        let model = if record.model.is_empty() { "some-model" } else { &record.model };
        let texts: Vec<String> = (0..expected.len()).map(|number| format!("text {number}")).collect();
        for form in ["float", "base64"] {
            let asked = json!({"model": model, "input": texts, "encoding_format": form});
            let request = written(&catalog, provider, Operation::Embeddings, &asked).unwrap();
            if request.parts.len() > 1 {
                continue;
            }
            let read = request.reader.read(&[answer(&record)]);
            let read = read.unwrap_or_else(|error| panic!("{}: {}", record.id, error.message));
            let out: Value = serde_json::from_slice(&read.body).unwrap();
            assert_eq!(out["object"], "list", "{}", record.id);
            let data = out["data"].as_array().unwrap();
            for (index, entry) in data.iter().enumerate() {
                assert_eq!((&entry["object"], &entry["index"]), (&json!("embedding"), &json!(index)));
                assert_eq!(entry["embedding"].is_string(), form == "base64", "{}", record.id);
            }
            assert!(vectors(&out, false) == expected, "{}: the vectors differ", record.id);
            let tokens = counted(&record, &body);
            assert_eq!(read.progress.usage.map(|usage| usage.input), tokens, "{}", record.id);
            if let Some(tokens) = tokens {
                let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
                assert_eq!(out["usage"], usage, "{}", record.id);
            }
            counted_records += 1;
        }
    }
    assert_enough(counted_records, 60);
}

/// The fields of a provider's own request that OpenAI's has too, and the gateway caller's form of them.
fn asked_for(record: &Record, sent: &Value) -> Option<Value> {
    let mut asked = json!({"model": record.model});
    let texts =
        |field: &Value| field.as_array().filter(|all| all.iter().all(Value::is_string)).map(|all| json!(all));
    asked["input"] = match () {
        () if sent["texts"].is_array() => texts(&sent["texts"])?,
        () if sent["inputText"].is_string() => sent["inputText"].clone(),
        () if sent["requests"].is_array() => {
            let text = |request: &Value| request["content"]["parts"][0]["text"].clone();
            let is_one =
                |request: &Value| request["content"]["parts"].as_array().is_some_and(|all| all.len() == 1);
            sent["requests"].as_array().filter(|all| all.iter().all(is_one))?;
            json!(sent["requests"].as_array()?.iter().map(text).collect::<Vec<_>>())
        }
        () if sent["singleEmbeddingParams"].is_object() => {
            sent["singleEmbeddingParams"]["text"]["value"].clone()
        }
        () => return None,
    };
    for place in ["/input_type", "/requests/0/taskType", "/singleEmbeddingParams/embeddingPurpose"] {
        if let Some(word) = sent.pointer(place) {
            asked["input_type"] = word.clone();
        }
    }
    for place in [
        "/output_dimension",
        "/dimensions",
        "/requests/0/outputDimensionality",
        "/singleEmbeddingParams/embeddingDimension",
    ] {
        if let Some(length) = sent.pointer(place).filter(|length| !length.is_null()) {
            asked["dimensions"] = length.clone();
        }
    }
    for name in ["truncate", "normalize", "max_tokens"] {
        if let Some(value) = sent.get(name).filter(|value| !value.is_null()) {
            asked[name] = value.clone();
        }
    }
    Some(asked)
}

fn without_nulls(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

#[test]
fn recorded_requests_of_native_formats_are_reproduced() {
    let catalog = Catalog::embedded().unwrap();
    let mut compared = 0;
    for (provider, record) in records("embeddings") {
        let Some(sent) = &record.request else { continue };
        let Some(asked) = asked_for(&record, sent) else { continue };
        // "embedding-001" and others of v1 have other bodies; their first versions used other names.
        let is_v2 = provider != "cohere" || sent.get("embedding_types").is_some_and(Value::is_array);
        if !is_v2 || record.status != 200 {
            continue;
        }
        let request = match written(&catalog, provider, Operation::Embeddings, &asked) {
            Ok(request) => request,
            Err(error) => panic!("{}: {}: {asked}", record.id, error.message),
        };
        if request.parts.len() != 1 {
            continue;
        }
        let body: Value = serde_json::from_slice(&request.parts[0].body).unwrap();
        let mut expected = without_nulls(sent.clone());
        if provider == "aws-bedrock" && body["singleEmbeddingParams"].is_object() {
            expected["singleEmbeddingParams"]["text"]["truncationMode"] = json!("NONE");
        }
        if provider == "google-ai-studio" {
            // rig uses another spelling of the same field, and omits the model in the inner requests.
            expected.as_object_mut().unwrap().remove("model");
            let inner = expected["requests"].as_array_mut().unwrap();
            for one in inner {
                let fields = one.as_object_mut().unwrap();
                if let Some(content) = fields.get_mut("content").and_then(Value::as_object_mut) {
                    content.remove("role");
                }
                if let Some(length) = fields.remove("output_dimensionality") {
                    fields.insert("outputDimensionality".to_owned(), length);
                }
            }
            if body.to_string().contains("outputDimensionality")
                != expected.to_string().contains("outputDimensionality")
            {
                continue;
            }
        }
        let model_as_sent = body == expected;
        assert!(model_as_sent, "{}\n{body}\n{expected}", record.id);
        compared += 1;
    }
    assert_enough(compared, 4);
}

#[test]
fn recorded_requests_of_openais_format_arrive_unchanged() {
    let catalog = Catalog::embedded().unwrap();
    for (provider, record) in records("embeddings") {
        let Some(sent) = record.request.as_ref().filter(|sent| !sent["input"].is_null()) else { continue };
        if !["openai", "azure", "vllm", "llamacpp", "venice"].contains(&provider) || record.status != 200 {
            continue;
        }
        let request = match written(&catalog, provider, Operation::Embeddings, sent) {
            Ok(request) => request,
            Err(error) => panic!("{}: {}", record.id, error.message),
        };
        let body: Value = serde_json::from_slice(&request.parts[0].body).unwrap();
        let expected = without_nulls(sent.clone());
        if provider == "llamacpp" && sent.get("dimensions").is_some() {
            continue;
        }
        assert_eq!(body, expected, "{}", record.id);
        assert!(request.losses.is_empty());
    }
}

#[test]
fn recorded_errors_keep_the_providers_message() {
    let catalog = Catalog::embedded().unwrap();
    for (provider, record) in records("embeddings") {
        if record.status == 200 {
            continue;
        }
        let asked = json!({"model": record.model, "input": "a"});
        let request = written(&catalog, provider, Operation::Embeddings, &asked).unwrap();
        let part = answer(&record);
        let status = StatusCode::from_u16(record.status).unwrap();
        let error = request.reader.error(status, &part.headers, &part.body);
        let body: Value = serde_json::from_slice(&record.body).unwrap_or_default();
        let words = ["/error/message", "/message", "/error", "/detail"];
        let words = words.into_iter().find_map(|place| body.pointer(place)?.as_str()).unwrap_or_default();
        assert!(error.message.contains(words.get(..40).unwrap_or(words)), "{}: {}", record.id, error.message);
    }
}

#[test]
fn recorded_rankings_get_one_shape_with_exact_scores() {
    let catalog = Catalog::embedded().unwrap();
    for (provider, record) in records("rerank") {
        let Ok(body) = serde_json::from_slice::<Value>(&record.body) else { continue };
        let results = ["results", "data"].into_iter().find_map(|name| body[name].as_array());
        let Some(results) = results.filter(|_| record.status == 200) else { continue };
        let documents: Vec<String> = (0..200).map(|number| format!("document {number}")).collect();
        let model = if record.model.is_empty() { "some-model" } else { &record.model };
        let asked = json!({"model": model, "query": "q", "documents": documents, "return_documents": true});
        let request = written(&catalog, provider, Operation::Rerank, &asked).unwrap();
        let read = request.reader.read(&[answer(&record)]);
        let read = read.unwrap_or_else(|error| panic!("{}: {}", record.id, error.message));
        let out: Value = serde_json::from_slice(&read.body).unwrap();
        let expected: Vec<Value> = results
            .iter()
            .map(|result| {
                let score =
                    ["relevance_score", "relevanceScore"].into_iter().find_map(|name| result.get(name));
                let text = format!("document {}", result["index"]);
                json!({"index": result["index"], "relevance_score": score, "document": {"text": text}})
            })
            .collect();
        assert_eq!(out["results"], json!(expected), "{}", record.id);
        let units = body.pointer("/meta/billed_units/search_units").and_then(Value::as_u64);
        let units = units.or((provider == "aws-bedrock").then_some(2));
        assert_eq!(read.progress.amount.map(|amount| amount.count), units, "{}", record.id);
        let tokens = body.pointer("/usage/prompt_tokens").or(body.pointer("/usage/total_tokens"));
        assert_eq!(
            read.progress.usage.map(|usage| usage.input),
            tokens.and_then(Value::as_u64),
            "{}",
            record.id
        );
    }
}

#[test]
fn recorded_requests_to_rerank_are_reproduced() {
    let catalog = Catalog::embedded().unwrap();
    for (provider, record) in records("rerank") {
        let Some(sent) = record.request.as_ref().filter(|_| record.status == 200) else { continue };
        let mut asked = sent.clone();
        asked["model"] = json!(record.model);
        asked.as_object_mut().unwrap().remove("api_version");
        let request = written(&catalog, provider, Operation::Rerank, &asked).unwrap();
        let body: Value = serde_json::from_slice(&request.parts[0].body).unwrap();
        assert_eq!(&body, sent, "{}", record.id);
        assert!(request.losses.is_empty(), "{}", record.id);
    }
}

#[test]
fn impossible_rankings_are_errors() {
    let catalog = Catalog::embedded().unwrap();
    let asked = json!({"model": "rerank-2.5", "query": "q", "documents": ["a", "b"]});
    let request = written(&catalog, "voyage", Operation::Rerank, &asked).unwrap();
    let read = |body: &'static str| {
        request
            .reader
            .read(&[PartAnswer { headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) }])
    };
    for body in [
        "",
        "<html>",
        "{}",
        r#"{"results":[{"index":2,"relevance_score":1}]}"#,
        r#"{"results":[{"index":0,"relevance_score":1},{"index":0,"relevance_score":1}]}"#,
        r#"{"results":[{"index":0,"relevance_score":"high"}]}"#,
        r#"{"results":[{"relevance_score":1}]}"#,
    ] {
        assert!(read(body).is_err(), "{body}");
    }
    let bare = read(r#"[{"index":1,"score":0.25},{"index":0,"score":-4.5}]"#).unwrap();
    let out: Value = serde_json::from_slice(&bare.body).unwrap();
    assert_eq!(out["results"][0], json!({"index": 1, "relevance_score": 0.25}));
    let scores = read(r#"{"scores":[0.1,0.9],"input_tokens":7}"#).unwrap();
    let out: Value = serde_json::from_slice(&scores.body).unwrap();
    assert_eq!((&out["results"][0]["index"], &out["usage"]["total_tokens"]), (&json!(1), &json!(7)));
}

#[test]
fn recorded_moderations_pass_unchanged() {
    let catalog = Catalog::embedded().unwrap();
    for (provider, record) in records("moderations") {
        let Ok(body) = serde_json::from_slice::<Value>(&record.body) else { continue };
        let Some(sent) = record.request.as_ref().filter(|_| record.status == 200) else { continue };
        let mut asked = sent.clone();
        if asked["model"].is_null() {
            asked["model"] = json!("omni-moderation-latest");
        }
        let request = written(&catalog, provider, Operation::Moderations, &asked).unwrap();
        let written: Value = serde_json::from_slice(&request.parts[0].body).unwrap();
        assert_eq!(written, asked, "{}", record.id);
        let read = request.reader.read(&[answer(&record)]);
        let read = read.unwrap_or_else(|error| panic!("{}: {}", record.id, error.message));
        assert_eq!(serde_json::from_slice::<Value>(&read.body).unwrap(), body, "{}", record.id);
        assert!(read.losses.is_empty());
    }
}

#[test]
fn mistrals_moderations_get_openais_names() {
    let catalog = Catalog::embedded().unwrap();
    let asked = json!({"model": "mistral-moderation-latest", "input": [{"type": "text", "text": "a"}]});
    let request = written(&catalog, "mistral", Operation::Moderations, &asked).unwrap();
    let sent: Value = serde_json::from_slice(&request.parts[0].body).unwrap();
    assert_eq!(sent, json!({"model": "mistral-moderation-latest", "input": "a"}));
    let body = r#"{"id":"m","model":"mistral-moderation-2603","results":[{"categories":{"violence_and_threats":true,"dangerous":false,"criminal":true,"pii":false},"category_scores":{"violence_and_threats":0.75,"dangerous":0.5,"criminal":0.25,"pii":0.125}}]}"#;
    let part = PartAnswer { headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) };
    let read = request.reader.read(&[part]).unwrap();
    let out: Value = serde_json::from_slice(&read.body).unwrap();
    assert_eq!(out["results"][0]["flagged"], true);
    assert_eq!(out["results"][0]["categories"], json!({"violence": true, "illicit": true, "pii": false}));
    assert_eq!(out["results"][0]["category_scores"], json!({"violence": 0.75, "illicit": 0.5, "pii": 0.125}));
    assert_eq!(read.losses.len(), 1);
    let image = json!({"model": "m", "input": [{"type": "image_url", "image_url": {"url": "data:,"}}]});
    assert!(written(&catalog, "mistral", Operation::Moderations, &image).is_err());
}

/// A form for a transcript.
fn form(model: &str, fields: &[(&str, &str)]) -> Form {
    let mut text = format!("--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n");
    for (name, value) in fields {
        text.push_str(&format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
    }
    text.push_str(
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b--\r\n",
    );
    let mut form = Form::new(Boundary::of("multipart/form-data; boundary=b").unwrap());
    form.push(text.as_bytes()).unwrap();
    form.finish().unwrap();
    form
}

fn transcribed(catalog: &Catalog, provider: &str, form: Form) -> canon::Result<ProviderRequest> {
    let model = form.text("model").unwrap().unwrap().to_owned();
    let facts = EndpointFacts::default();
    let rows = &catalog.provider(provider).unwrap().operations;
    read_form(Operation::Transcriptions, form)?.write(EndpointTarget { model: &model, facts: &facts, rows })
}

#[test]
fn recorded_transcripts_get_openais_form() {
    let catalog = Catalog::embedded().unwrap();
    let mut natives = 0;
    for (provider, record) in records("transcriptions") {
        let Ok(body) = serde_json::from_slice::<Value>(&record.body) else { continue };
        let rows = &catalog.provider(provider).unwrap().operations;
        if record.status != 200 || rows.transcriptions.is_none() || !body["text"].is_string() {
            continue;
        }
        let request = transcribed(&catalog, provider, form("some-model", &[])).unwrap();
        let read = request.reader.read(&[answer(&record)]).unwrap();
        let out: Value = serde_json::from_slice(&read.body).unwrap();
        assert_eq!(out["text"], body["text"], "{}", record.id);
        let seconds = ["/usage/seconds", "/usage/prompt_audio_seconds", "/duration", "/audio_duration_secs"];
        let seconds = seconds.into_iter().find_map(|place| body.pointer(place)?.as_f64());
        let counted = read.progress.amount.map(|amount| amount.count as f64 / 1000.0);
        if let Some(seconds) = seconds {
            assert!((counted.unwrap() - seconds).abs() < 0.001, "{}: {counted:?}", record.id);
        }
        if !["elevenlabs", "mistral"].contains(&provider) {
            continue;
        }
        natives += 1;
        for (name, kind) in [
            ("srt", "text/plain; charset=utf-8"),
            ("vtt", "text/plain; charset=utf-8"),
            ("text", "text/plain; charset=utf-8"),
            ("verbose_json", "application/json"),
            ("diarized_json", "application/json"),
        ] {
            let fields = [("response_format", name), ("timestamp_granularities[]", "word")];
            let request = transcribed(&catalog, provider, form("some-model", &fields)).unwrap();
            assert_eq!(request.reader.content_type(&HeaderMap::new()), kind);
            match request.reader.read(&[answer(&record)]) {
                Ok(read) => assert!(!read.body.is_empty()),
                // Recorded without timestamps.
                Err(error) => assert!(error.message.contains("has no times"), "{}", error.message),
            }
        }
    }
    assert_enough(natives, 3);
}

#[test]
fn transcripts_of_words_become_sentences_and_subtitles() {
    let catalog = Catalog::embedded().unwrap();
    let body = json!({
        "language_code": "eng", "text": "Hi there. (laughs) You?", "audio_duration_secs": 3.5,
        "words": [
            {"text": "Hi", "start": 0.0, "end": 0.5, "type": "word", "speaker_id": "speaker_0"},
            {"text": " ", "start": 0.5, "end": 0.6, "type": "spacing", "speaker_id": "speaker_0"},
            {"text": "there.", "start": 0.6, "end": 1.0, "type": "word", "speaker_id": "speaker_0"},
            {"text": "(laughs)", "start": 1.0, "end": 2.0, "type": "audio_event", "speaker_id": "speaker_1"},
            {"text": "You?", "start": 2.0, "end": 3.25, "type": "word", "speaker_id": "speaker_1"}
        ]
    });
    let read = |fields: &[(&str, &str)]| {
        let request = transcribed(&catalog, "elevenlabs", form("scribe_v2", fields)).unwrap();
        let part = PartAnswer { headers: HeaderMap::new(), body: body.to_string().into() };
        (request.reader.read(&[part]).unwrap(), String::from_utf8_lossy(&request.parts[0].body).into_owned())
    };
    let (srt, sent) = read(&[("response_format", "srt"), ("language", "en"), ("prompt", "p")]);
    assert_eq!(
        String::from_utf8(srt.body).unwrap(),
        "1\n00:00:00,000 --> 00:00:01,000\nHi there.\n\n2\n00:00:02,000 --> 00:00:03,250\nYou?\n\n"
    );
    for (there, is_there) in
        [("model_id", true), ("language_code", true), ("\"prompt\"", false), ("response_format", false)]
    {
        assert_eq!(sent.contains(there), is_there, "{there}: {sent}");
    }
    let (vtt, _) = read(&[("response_format", "vtt")]);
    assert!(vtt.body.starts_with(b"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nHi there."));
    let (verbose, _) = read(&[("response_format", "verbose_json"), ("timestamp_granularities[]", "word")]);
    let verbose: Value = serde_json::from_slice(&verbose.body).unwrap();
    assert_eq!((verbose["words"].as_array().unwrap().len(), &verbose["duration"]), (3, &json!(3.5)));
    let (diarized, sent) = read(&[("response_format", "diarized_json")]);
    let diarized: Value = serde_json::from_slice(&diarized.body).unwrap();
    assert_eq!(diarized["segments"][1]["speaker"], "speaker_1");
    assert!(sent.contains("name=\"diarize\"\r\n\r\ntrue"), "{sent}");
    for fields in [[("stream", "true")], [("response_format", "html")]] {
        assert!(transcribed(&catalog, "elevenlabs", form("scribe_v2", &fields)).is_err());
    }
}

#[test]
fn speech_is_requested_in_the_providers_own_format() {
    let catalog = Catalog::embedded().unwrap();
    let asked = json!({
        "model": "eleven_v3", "input": "Hi \"there\"", "voice": "a/b c", "response_format": "wav", "speed": 2.0,
        "instructions": "softly", "seed": 7, "voice_settings": {"stability": 0.5}
    });
    let sent = written(&catalog, "elevenlabs", Operation::Speech, &asked).unwrap();
    assert_eq!(sent.parts[0].path, "/v1/text-to-speech/a%2Fb%20c?output_format=wav_24000");
    let body: Value = serde_json::from_slice(&sent.parts[0].body).unwrap();
    assert_eq!(
        body,
        json!({"model_id": "eleven_v3", "text": "Hi \"there\"", "seed": 7, "voice_settings": {"stability": 0.5, "speed": 1.2}})
    );
    let lost: Vec<_> = sent.losses.iter().map(|loss| loss.field.to_string()).collect();
    assert_eq!(lost, ["instructions", "speed"]);
    for (field, value) in [
        ("voice", json!("..")),
        ("voice", Value::Null),
        ("response_format", json!("flac")),
        ("stream_format", json!("sse")),
    ] {
        let mut bad = asked.clone();
        bad[field] = value;
        let error = written(&catalog, "elevenlabs", Operation::Speech, &bad).map(|_| ()).unwrap_err();
        assert_eq!(error.param.unwrap().to_string(), field);
    }
    let asked = json!({"model": "voxtral-mini-tts-3", "input": "Hi", "voice": "v"});
    let sent = written(&catalog, "mistral", Operation::Speech, &asked).unwrap();
    let part = |body: Value| PartAnswer { headers: HeaderMap::new(), body: body.to_string().into() };
    let read = sent.reader.read(&[part(json!({"audio_data": STANDARD.encode(b"ID3")}))]).unwrap();
    assert_eq!((&read.body[..], read.progress.amount.unwrap().count), (&b"ID3"[..], 2));
    assert_eq!(sent.reader.content_type(&HeaderMap::new()), "audio/mpeg");
    for bad in [json!({}), json!({"audio_data": ""}), json!({"audio_data": "!"})] {
        assert!(sent.reader.read(&[part(bad)]).is_err());
    }
}
