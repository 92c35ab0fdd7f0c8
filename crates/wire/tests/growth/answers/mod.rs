//! Answers of providers, relayed and translated, and their errors.

mod shapes;

use std::sync::Arc;

use bytes::Bytes;
use canon::Quirks;
use testkit::notes::Notes;
use wire::{AnswerForm, DecoderContext, Protocol, Transcoder, TranscoderParts};

use super::limits::Kind;
use super::{Case, Dimension, Work};
use shapes::{AnswerShape, shapes};

fn notes() -> Notes {
    Notes { metadata: "{}", ..Notes::default() }
}

/// Returns the length of the longest piece of output. Each piece is dropped after it was read, as the
/// connection does.
fn transcode(mut transcoder: Box<dyn Transcoder>, body: &[u8]) -> usize {
    let mut longest = 0;
    let mut out = Vec::new();
    for piece in body.chunks(4096) {
        out.clear();
        if transcoder.push(&Bytes::copy_from_slice(piece), &mut out).is_err() {
            return longest;
        }
        longest = longest.max(out.len());
    }
    out.clear();
    let _ = std::hint::black_box(transcoder.finish(&mut out));
    longest.max(out.len())
}

/// The formats of callers.
const CALLERS: [Protocol; 5] = [
    Protocol::OpenaiChat,
    Protocol::AnthropicMessages,
    Protocol::OpenaiResponses,
    Protocol::Gemini,
    Protocol::OpenaiCompletions,
];

fn work(name: String, caller: Protocol, upstream: Protocol, upstream_streams: bool, streams: bool) -> Work {
    let run = move |body: &Bytes| {
        let form = AnswerForm { stream: streams, include_usage: true, ..AnswerForm::default() };
        let parts = TranscoderParts {
            caller: wire::dialect(caller).unwrap(),
            upstream,
            upstream_streams,
            form,
            decoding: &DecoderContext::default(),
            quirks: &Quirks::default(),
            annotator: Arc::new(notes()),
            filter: None,
        };
        transcode(wire::exchange::transcoder(parts), body)
    };
    let is_once = [caller, upstream].contains(&Protocol::OpenaiChat) || caller == upstream;
    let is_counted = is_once && upstream_streams == streams;
    Work { name, kind: Kind::Answered, is_counted, run: Box::new(run) }
}

fn works(upstream: Protocol, upstream_streams: bool) -> Vec<Work> {
    let mut works = Vec::new();
    for caller in CALLERS.into_iter().filter(|caller| is_served(*caller, upstream)) {
        let what = if caller == upstream { "relaying" } else { "translating" };
        let to = caller.as_str();
        works.push(work(format!("{what} to {to}"), caller, upstream, upstream_streams, upstream_streams));
        let form = if upstream_streams { "one answer" } else { "a stream" };
        works.push(work(
            format!("making {form} of it for {to}"),
            caller,
            upstream,
            upstream_streams,
            !upstream_streams,
        ));
    }
    works
}

/// Only callers of the Completions format use providers of that format.
fn is_served(caller: Protocol, upstream: Protocol) -> bool {
    upstream != Protocol::OpenaiCompletions || caller == upstream
}

pub fn cases() -> Vec<Case> {
    let case = |shape: AnswerShape| {
        let AnswerShape { protocol, stream, name, body } = shape;
        let kind = if stream { "stream" } else { "answer" };
        let dimension = Dimension { name: format!("{} {kind}, {name}", protocol.as_str()), input: body };
        Case { dimension, works: works(protocol, stream) }
    };
    shapes().into_iter().map(case).chain(errors()).collect()
}

/// Errors of providers, decoded and written for callers of every format.
fn errors() -> Vec<Case> {
    let shapes: [(&str, [&str; 3]); 5] = [
        ("length of a message", ["{\"error\":{\"type\":\"x\",\"message\":\"", "a word ", "\"}}"]),
        ("escapes", ["{\"error\":{\"message\":\"", "\\u00e9\\n", "\"}}"]),
        ("numbers", ["{\"error\":{\"message\":\"x\",\"details\":[1", ",1", "]}}"]),
        ("nested arrays", ["{\"error\":{\"message\":\"x\",\"details\":[1", ",[[[[1]]]]", "]}}"]),
        ("what is no JSON", ["<html>", "<p>refused</p>", "</html>"]),
    ];
    let cases = Protocol::ALL.into_iter().flat_map(|protocol| {
        shapes.map(|(name, [first, piece, last])| Case {
            dimension: Dimension::new(format!("{} error, {name}", protocol.as_str()), move |count| {
                format!("{first}{}{last}", piece.repeat(count))
            }),
            works: vec![refusal(protocol)],
        })
    });
    cases.collect()
}

fn refusal(upstream: Protocol) -> Work {
    let run = move |body: &Bytes| {
        let headers = http::HeaderMap::new();
        let error = wire::adapter(upstream).decode_error(http::StatusCode::BAD_REQUEST, &headers, body);
        let told = CALLERS.map(|caller| {
            let dialect = wire::dialect(caller).unwrap();
            let event = dialect.error_event(&AnswerForm::default(), &error, None);
            event.len().max(dialect.error(&error, None).1.len())
        });
        told.into_iter().max().unwrap_or_default()
    };
    Work { name: "telling it".to_owned(), kind: Kind::Answered, is_counted: true, run: Box::new(run) }
}
