//! Requests and answers of endpoints without a conversation, in every format of a provider.

use bytes::Bytes;
use canon::Operation::{
    self, Embeddings, ImageEdits, ImageGenerations, Moderations, Rerank, Speech, Transcriptions,
};
use http::HeaderMap;
use wire::endpoints::embeddings::{EmbeddingsFormat, EmbeddingsRow};
use wire::endpoints::media::{MediaFormat, MediaRow};
use wire::endpoints::moderations::ModerationsRow;
use wire::endpoints::rerank::{RerankFormat, RerankRow};
use wire::endpoints::{
    EndpointFacts, EndpointRequest, EndpointTarget, OperationRows, PartAnswer, ProviderRequest,
};
use wire::multipart::{Boundary, Form};

use super::limits::Kind;
use super::{Case, Dimension, Work, repeat};
use Item::{Joined, Listed};

/// A provider's format of an operation, by its name.
type Served = (String, OperationRows);

fn served(operation: Operation) -> Vec<Served> {
    match operation {
        Embeddings => EmbeddingsFormat::ALL
            .map(|format| {
                let rows =
                    OperationRows { embeddings: Some(EmbeddingsRow::of(format)), ..OperationRows::default() };
                (format!("{format:?}"), rows)
            })
            .into(),
        Rerank => RerankFormat::ALL
            .map(|format| {
                let rerank = Some(RerankRow { format, ..RerankRow::default() });
                (format!("{format:?}"), OperationRows { rerank, ..OperationRows::default() })
            })
            .into(),
        Moderations => {
            let moderations = Some(ModerationsRow::default());
            vec![("Openai".to_owned(), OperationRows { moderations, ..OperationRows::default() })]
        }
        _ => MediaFormat::ALL
            .map(|format| {
                let row = || Some(MediaRow { format, ..MediaRow::default() });
                let rows = OperationRows {
                    speech: row(),
                    image_generations: row(),
                    image_edits: row(),
                    transcriptions: row(),
                    ..OperationRows::default()
                };
                (format!("{format:?}"), rows)
            })
            .into(),
    }
}

/// The request that a body of JSON or of a form contains.
fn read(operation: Operation, body: &Bytes) -> canon::Result<Box<dyn EndpointRequest>> {
    if body.starts_with(b"{") {
        return wire::endpoints::read(operation, body);
    }
    let mut form = Form::new(Boundary::of("multipart/form-data; boundary=b")?);
    form.push(body)?;
    form.finish()?;
    wire::endpoints::read_form(operation, form)
}

fn written(operation: Operation, rows: &OperationRows, body: &Bytes) -> canon::Result<ProviderRequest> {
    let facts = EndpointFacts::default();
    read(operation, body)?.write(EndpointTarget { model: "m", facts: &facts, rows })
}

/// Writes a request for a provider. A refusal counts as work too.
fn writing(operation: Operation, (name, rows): Served) -> Work {
    let run = move |body: &Bytes| {
        let written = written(operation, &rows, body);
        written.map_or(0, |written| written.parts.iter().map(|part| part.body.len()).sum())
    };
    Work { name: format!("writing for {name}"), kind: Kind::Translated, is_counted: true, run: Box::new(run) }
}

/// Reads an answer to `request`: whole, and as a stream of events.
fn reading(operation: Operation, request: &'static str, (name, rows): Served) -> Work {
    let run = move |body: &Bytes| {
        let Ok(sent) = written(operation, &rows, &Bytes::from_static(request.as_bytes())) else { return 0 };
        let mut headers = HeaderMap::new();
        let part = |_| PartAnswer { headers: HeaderMap::new(), body: body.clone() };
        let parts: Vec<PartAnswer> = sent.parts.iter().map(part).collect();
        let whole = sent.reader.read(&parts).map_or(0, |answer| answer.body.len());
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/event-stream"));
        let mut out = Vec::new();
        if let Some(mut transcoder) = sent.reader.transcoder(&headers)
            && transcoder.push(body, &mut out).is_ok()
        {
            let _end = transcoder.finish(&mut out);
        }
        whole.max(out.len())
    };
    Work { name: format!("reading of {name}"), kind: Kind::Answered, is_counted: true, run: Box::new(run) }
}

/// An input that grows: `frame` has `@` in its place, and an item has `№` for its number.
type Shape = (Operation, &'static str, &'static str, Item);

/// What an input has many of.
#[derive(Clone, Copy)]
enum Item {
    /// Items with commas between them.
    Listed(&'static str),
    /// A piece of text, an event, or a field of a form.
    Joined(&'static str),
}

fn dimension(kind: &str, (operation, name, frame, item): Shape) -> Dimension {
    Dimension::new(format!("{operation:?} {kind}, {name}"), move |count| {
        let numbered = |item: &str, at: usize| item.replace('№', &at.to_string());
        let items = match item {
            Listed(item) => repeat(count, |at| numbered(item, at)),
            Joined(item) => (0..count).map(|at| numbered(item, at)).collect(),
        };
        frame.replacen('@', &items, 1)
    })
}

const REQUESTS: [Shape; 20] = [
    (Embeddings, "texts", r#"{"model":"m","input":[@]}"#, Listed(r#""a sentence of some length""#)),
    (Embeddings, "short texts", r#"{"model":"m","input":[@]}"#, Listed(r#""a""#)),
    (Embeddings, "lists of tokens", r#"{"model":"m","input":[@]}"#, Listed("[1,2,3]")),
    (Embeddings, "tokens", r#"{"model":"m","input":[@]}"#, Listed("1")),
    (Embeddings, "length of a text", r#"{"model":"m","input":"@"}"#, Joined("a word ")),
    (Embeddings, "escapes", r#"{"model":"m","input":"@"}"#, Joined(r"\u00e9\n")),
    (Embeddings, "unknown members", r#"{"model":"m","input":"a",@}"#, Listed(r#""f№":1"#)),
    (Rerank, "documents", r#"{"model":"m","query":"a","documents":[@]}"#, Listed(r#""a document""#)),
    (Rerank, "short documents", r#"{"model":"m","query":"a","documents":[@]}"#, Listed(r#""a""#)),
    (
        Rerank,
        "returned documents",
        r#"{"model":"m","query":"a","return_documents":true,"documents":[@]}"#,
        Listed(r#""a""#),
    ),
    (Rerank, "objects", r#"{"model":"m","query":"a","documents":[@]}"#, Listed(r#"{"text":"a","n":№}"#)),
    (Rerank, "length of a query", r#"{"model":"m","query":"@","documents":["a"]}"#, Joined("a word ")),
    (Moderations, "texts", r#"{"model":"m","input":[@]}"#, Listed(r#""a""#)),
    (Moderations, "pictures", r#"{"model":"m","input":[@]}"#, Listed(PICTURE)),
    (Speech, "length of a text", r#"{"model":"m","voice":"v","input":"@"}"#, Joined("a word ")),
    (ImageGenerations, "length of a prompt", r#"{"model":"m","prompt":"@"}"#, Joined("a word ")),
    (ImageEdits, "pictures", r#"{"model":"m","prompt":"a","images":[@]}"#, Listed(EDITED)),
    (ImageEdits, "fields of a form", EDIT_FORM, Joined(FIELD)),
    (Transcriptions, "fields of a form", SOUND_FORM, Joined(FIELD)),
    (Transcriptions, "length of a file", LONG_FORM, Joined("RIFFabcd")),
];

const PICTURE: &str = r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}"#;
const EDITED: &str = r#"{"image_url":"data:image/png;base64,AAAA"}"#;
const FIELD: &str = "--b\r\nContent-Disposition: form-data; name=\"f№\"\r\n\r\nv\r\n";
const EDIT_FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n@\
    --b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na\r\n\
    --b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\nPNG\r\n--b--\r\n";
const SOUND_FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n@\
    --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b--\r\n";
const LONG_FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n\
    --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n@\r\n--b--\r\n";

/// The request whose answer grows.
fn request_of(operation: Operation) -> &'static str {
    match operation {
        Embeddings => r#"{"model":"m","input":["a"]}"#,
        Rerank => r#"{"model":"m","query":"a","documents":["a","b"],"return_documents":true}"#,
        Moderations => r#"{"model":"m","input":"a"}"#,
        Speech => r#"{"model":"m","input":"a","voice":"v","response_format":"wav"}"#,
        ImageGenerations => r#"{"model":"m","prompt":"a"}"#,
        _ => {
            "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n\
             --b\r\nContent-Disposition: form-data; name=\"response_format\"\r\n\r\nverbose_json\r\n\
             --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b--\r\n"
        }
    }
}

const ANSWERS: [Shape; 23] = [
    (Embeddings, "numbers", r#"{"data":[{"index":0,"embedding":[@]}]}"#, Listed("0.5")),
    (Embeddings, "numbers of Gemini", r#"{"embeddings":[{"values":[@]}]}"#, Listed("-0.25")),
    (Embeddings, "numbers of Vertex", r#"{"predictions":[{"embeddings":{"values":[@]}}]}"#, Listed("0.5")),
    (Embeddings, "numbers of Titan", r#"{"embedding":[@],"inputTextTokenCount":2}"#, Listed("1e-3")),
    (
        Embeddings,
        "numbers of Nova",
        r#"{"embeddings":[{"embeddingType":"TEXT","embedding":[@]}]}"#,
        Listed("0.5"),
    ),
    (Embeddings, "numbers of Cohere", r#"{"embeddings":{"float":[[@]]}}"#, Listed("0.5")),
    (Embeddings, "numbers of TEI", "[[@]]", Listed("0.5")),
    (Embeddings, "vectors", r#"{"data":[@]}"#, Listed(r#"{"index":№,"embedding":[0.5]}"#)),
    (Rerank, "results", r#"{"results":[@]}"#, Listed(r#"{"index":№,"relevance_score":0.5}"#)),
    (Rerank, "equal results", r#"{"results":[@]}"#, Listed(r#"{"index":0,"relevance_score":0.5}"#)),
    (
        Rerank,
        "results of Voyage",
        r#"{"data":[@]}"#,
        Listed(r#"{"index":0,"relevance_score":0.5,"document":"b"}"#),
    ),
    (Rerank, "scores", r#"{"scores":[@]}"#, Listed("0.5")),
    (Rerank, "a bare list", "[@]", Listed(r#"{"index":1,"score":0.5}"#)),
    (
        Moderations,
        "results",
        r#"{"results":[@]}"#,
        Listed(r#"{"flagged":true,"categories":{"a":true},"category_scores":{"a":0.5}}"#),
    ),
    (Moderations, "categories", r#"{"results":[{"flagged":true,"categories":{@}}]}"#, Listed(r#""c№":true"#)),
    (Speech, "length of a sound", r#"{"audio_data":"@"}"#, Joined("UklGRklG")),
    (
        ImageGenerations,
        "pictures",
        r#"{"data":[@],"usage":{"input_tokens":1,"output_tokens":9}}"#,
        Listed(r#"{"b64_json":"AAAA"}"#),
    ),
    (
        ImageGenerations,
        "pictures of Gemini",
        r#"{"candidates":[{"content":{"parts":[@]},"finishReason":"STOP"}]}"#,
        Listed(r#"{"inlineData":{"mimeType":"image/png","data":"UklGRg=="}}"#),
    ),
    (ImageGenerations, "length of a picture", r#"{"data":[{"b64_json":"@"}]}"#, Joined("UklGRklG")),
    (
        ImageGenerations,
        "events",
        "@",
        Joined(
            "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"AAAA\"}\n\n",
        ),
    ),
    (
        Transcriptions,
        "words",
        r#"{"text":"Hi.","words":[@]}"#,
        Listed(r#"{"text":"Hi.","start":0,"end":1,"type":"word","speaker_id":"s"}"#),
    ),
    (
        Transcriptions,
        "words of Deepgram",
        r#"{"results":{"channels":[{"alternatives":[{"transcript":"Hi.","words":[@]}]}]}}"#,
        Listed(r#"{"word":"hi","start":0,"end":1,"speaker":0}"#),
    ),
    (Transcriptions, "length of a text", r#"{"text":"@"}"#, Joined("a word ")),
];

pub fn cases() -> Vec<Case> {
    let requests = REQUESTS.into_iter().map(|shape| Case {
        works: served(shape.0).into_iter().map(|served| writing(shape.0, served)).collect(),
        dimension: dimension("request", shape),
    });
    let answers = ANSWERS.into_iter().map(|shape| Case {
        works: served(shape.0)
            .into_iter()
            .map(|served| reading(shape.0, request_of(shape.0), served))
            .collect(),
        dimension: dimension("answer", shape),
    });
    requests.chain(answers).collect()
}
