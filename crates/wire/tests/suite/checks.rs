//! Checks that hold for any bytes. Used with damaged recordings here, and by the fuzz targets.

use std::sync::Arc;

use bytes::Bytes;
use canon::{Error, Event, ModelFacts, Quirks, Target};
use http::{HeaderMap, StatusCode};
use serde::de::IgnoredAny;
use testkit::notes::Notes;
use wire::endpoints::embeddings::{EmbeddingsFormat, EmbeddingsRow};
use wire::endpoints::media::{MediaFormat, MediaRow};
use wire::endpoints::moderations::ModerationsRow;
use wire::endpoints::rerank::{RerankFormat, RerankRow};
use wire::endpoints::{
    AnswerReader, EndpointFacts, EndpointRequest, EndpointTarget, OperationRows, PartAnswer,
};
use wire::framing::{aws_eventstream::EventStreamParser, json_lines::JsonLines, sse::SseParser};
use wire::multipart::{Boundary, Form, PartHead};
use wire::protocols::openai_chat::{RelayParts, forward, relay};
use wire::protocols::openai_completions::OpenaiCompletions;
use wire::{AnswerForm, DecoderContext, Dialect, Intake, Protocol, ROUTING_FIELDS, TranscoderParts};

/// A chat request as routing sees it.
pub fn chat_intake(body: &[u8]) -> canon::Result<Intake> {
    wire::protocols::openai_chat::intake(&Bytes::copy_from_slice(body))
}

/// Notes that are the same for every answer.
pub fn notes() -> Notes {
    Notes { metadata: "{\"of\":\"ours\"}", ..Notes::default() }
}

/// Three ways to cut: whole, byte by byte, and in pieces whose size depends on the bytes.
fn cuts(bytes: &[u8]) -> [Vec<&[u8]>; 3] {
    let size = 2 + bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>() % 40;
    [vec![bytes], bytes.chunks(1).collect(), bytes.chunks(size).collect()]
}

/// Reads each of the cuts, which must all give the same result.
fn same<T: PartialEq + std::fmt::Debug>(bytes: &[u8], read: impl Fn(Vec<&[u8]>) -> T) -> T {
    let [whole, single, pieces] = cuts(bytes).map(read);
    assert_eq!(single, whole, "byte by byte");
    assert_eq!(pieces, whole, "in pieces");
    whole
}

/// JSON that strict parsers accept too: `IgnoredAny` does not validate escapes.
fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok() && !has_lone_surrogate(bytes)
}

fn has_lone_surrogate(json: &[u8]) -> bool {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut at = 0;
    while at < json.len() {
        at += match (json[at], unit(at)) {
            (b'\\', Some(0xd800..0xdc00)) if matches!(unit(at + 6), Some(0xdc00..0xe000)) => 12,
            (b'\\', Some(0xd800..0xe000)) => return true,
            (b'\\', _) => 2,
            _ => 1,
        };
    }
    false
}

fn assert_json(bytes: &[u8]) {
    assert!(is_json(bytes), "not JSON: {}", String::from_utf8_lossy(bytes));
}

/// Server-sent events.
pub fn sse(bytes: &[u8]) {
    same(bytes, |pieces| {
        let mut found = Vec::new();
        let mut parser = SseParser::default();
        let mut note = |event: wire::framing::sse::SseEvent<'_>| {
            found.push((event.event.to_vec(), event.data.to_vec()));
            Ok(())
        };
        for piece in pieces {
            parser.push(piece, &mut note).expect("no limit is reached");
        }
        parser.finish(&mut note).expect("no limit is reached");
        found
    });
}

/// Amazon's binary event stream.
pub fn aws_eventstream(bytes: &[u8]) {
    same(bytes, |pieces| {
        let mut found = Vec::new();
        let mut parser = EventStreamParser::default();
        let mut result = Ok(());
        for piece in pieces {
            result = result.and_then(|()| {
                parser.push(piece, |message| {
                    found.push(format!("{message:?}"));
                    Ok(())
                })
            });
        }
        (result.and_then(|()| parser.finish()).is_ok(), found)
    });
}

/// JSON lines: one document on each line.
pub fn json_lines(bytes: &[u8]) {
    same(bytes, |pieces| {
        let mut found = Vec::new();
        let mut parser = JsonLines::default();
        let mut note = |line: &[u8]| {
            found.push(line.to_vec());
            Ok(())
        };
        for piece in pieces {
            parser.push(piece, &mut note).expect("no limit is reached");
        }
        parser.finish(&mut note).expect("no limit is reached");
        found
    });
}

/// A form has the same parts for every cut, and a form that the writer wrote is read as the same form.
pub fn form(bytes: &[u8]) {
    let boundary = || Boundary::of("multipart/form-data; boundary=b").expect("a boundary");
    let read = |pieces: Vec<&[u8]>| {
        let mut form = Form::new(boundary());
        pieces.into_iter().try_for_each(|piece| form.push(piece)).and_then(|()| form.finish()).map(|()| form)
    };
    let parts = |form: &Form| -> Vec<(PartHead, Vec<u8>)> {
        form.parts().iter().map(|part| (part.head.clone(), form.value(part).to_vec())).collect()
    };
    let found = same(bytes, |pieces| read(pieces).map(|form| parts(&form)).map_err(|error| error.message));
    let Ok(found) = found else { return };
    let form = read(vec![bytes]).expect("the form was read above");
    let written = form.rewritten(|part, _, writer| {
        form.keep(part, writer);
        Ok(())
    });
    let again =
        read(vec![&written.expect("the writer made the values")]).expect("the written form can be read");
    assert_eq!(parts(&again), found);
    for operation in [canon::Operation::Transcriptions, canon::Operation::ImageEdits] {
        let again = read(vec![bytes]).expect("the form was read above");
        let Ok(request) = wire::endpoints::read_form(operation, again) else { continue };
        let (rows, facts) = (OperationRows::usual(Protocol::OpenaiChat), EndpointFacts::default());
        let target = EndpointTarget { model: "m", facts: &facts, rows: &rows };
        if let Ok(sent) = request.write(target) {
            let body = sent.parts[0].body.clone();
            assert!(read(vec![&body]).is_ok(), "not a form: {}", String::from_utf8_lossy(&body));
        }
    }
}

/// The reader of every endpoint without a conversation turns any answer of a provider into an answer in the
/// caller's format, or into an error.
pub fn endpoint_answer(bytes: &[u8]) {
    use canon::Operation::{Embeddings, ImageEdits, ImageGenerations, Moderations, Rerank, Speech};
    let json_reads = |rows: &OperationRows, operation, body: &'static str| {
        endpoint_reads(rows, wire::endpoints::read(operation, &Bytes::from(body)), bytes);
    };
    for format in EmbeddingsFormat::ALL {
        let rows = OperationRows { embeddings: Some(EmbeddingsRow::of(format)), ..OperationRows::default() };
        json_reads(&rows, Embeddings, r#"{"model":"m","input":["a","b"],"encoding_format":"base64"}"#);
        json_reads(&rows, Embeddings, r#"{"model":"m","input":["a","b"]}"#);
    }
    for format in RerankFormat::ALL {
        let rerank = Some(RerankRow { format, ..RerankRow::default() });
        let rows = OperationRows { rerank, ..OperationRows::default() };
        json_reads(
            &rows,
            Rerank,
            r#"{"model":"m","query":"a","documents":["a","b"],"return_documents":true}"#,
        );
    }
    let moderations = Some(ModerationsRow::default());
    let rows = OperationRows { moderations, ..OperationRows::default() };
    json_reads(&rows, Moderations, r#"{"model":"m","input":"a"}"#);
    for format in MediaFormat::ALL {
        let row = || Some(MediaRow { format, ..MediaRow::default() });
        let rows = OperationRows {
            speech: row(),
            image_generations: row(),
            image_edits: row(),
            transcriptions: row(),
            ..OperationRows::default()
        };
        json_reads(&rows, Speech, r#"{"model":"m","input":"a","voice":"v","response_format":"wav"}"#);
        json_reads(&rows, ImageGenerations, r#"{"model":"m","prompt":"a"}"#);
        let edit = r#"{"model":"m","prompt":"a","images":[{"image_url":"data:image/png;base64,AAAA"}]}"#;
        json_reads(&rows, ImageEdits, edit);
        for asked in ["text", "verbose_json", "srt", "diarized_json"] {
            transcript_reads(&rows, asked, bytes);
        }
    }
}

fn transcript_reads(rows: &OperationRows, asked: &str, bytes: &[u8]) {
    let text = format!(
        "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n\
         --b\r\nContent-Disposition: form-data; name=\"response_format\"\r\n\r\n{asked}\r\n\
         --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b--\r\n"
    );
    let mut form = Form::new(Boundary::of("multipart/form-data; boundary=b").expect("a boundary"));
    form.push(text.as_bytes()).expect("a form");
    form.finish().expect("a whole form");
    endpoint_reads(rows, wire::endpoints::read_form(canon::Operation::Transcriptions, form), bytes);
}

/// A streamed answer is the same for every cut of its bytes.
fn endpoint_streams(reader: &dyn AnswerReader, bytes: &[u8]) {
    for kind in ["text/event-stream", "audio/wav"] {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        if reader.transcoder(&headers).is_none() {
            continue;
        }
        let _same = same(bytes, |pieces| {
            let mut transcoder = reader.transcoder(&headers).expect("there was one before");
            let mut out = Vec::new();
            let mut read = pieces
                .into_iter()
                .try_for_each(|piece| transcoder.push(&Bytes::copy_from_slice(piece), &mut out));
            // The text behind the provider's error depends on the cut.
            if read.is_ok() {
                read = transcoder.finish(&mut out);
                let added = out.strip_prefix(bytes).expect("audio and events are relayed unchanged");
                assert!(added.is_empty() || added == b"\n\n", "only the end of the last event may be added");
            }
            (read.map_err(|error| error.message), transcoder.progress().usage)
        });
    }
}

fn endpoint_reads(rows: &OperationRows, request: canon::Result<Box<dyn EndpointRequest>>, bytes: &[u8]) {
    let facts = EndpointFacts::default();
    let sent = request.and_then(|request| request.write(EndpointTarget { model: "m", facts: &facts, rows }));
    let Ok(sent) = sent else { return };
    endpoint_streams(&*sent.reader, bytes);
    let part = || PartAnswer { headers: HeaderMap::new(), body: Bytes::copy_from_slice(bytes) };
    let parts: Vec<PartAnswer> = sent.parts.iter().map(|_| part()).collect();
    let Ok(read) = sent.reader.read(&parts) else { return };
    // A body that is passed unchanged need not be JSON if the provider's was not.
    let is_json = sent.reader.content_type(&HeaderMap::new()) == "application/json";
    if is_json && read.body != bytes.trim_ascii_end() && read.body != bytes {
        let shown = String::from_utf8_lossy(&read.body);
        assert!(serde_json::from_slice::<IgnoredAny>(&read.body).is_ok(), "not JSON: {shown}");
    }
    assert!(read.progress.usage.is_none_or(|usage| usage.is_plausible()), "{:?}", read.progress);
}

/// A request that is understood can be written for every provider, or is refused with a message.
pub fn request(dialect: Protocol, body: &[u8]) {
    request_of(wire::dialect(dialect).expect("a dialect"), body);
}

/// The same for a dialect that is not in `Protocol`.
pub fn request_of(dialect: &dyn Dialect, body: &[u8]) {
    let Ok(request) = dialect.decode_request(body) else { return };
    let (facts, quirks) = (ModelFacts::default(), Quirks::default());
    for protocol in Protocol::ALL {
        let target = Target { model: "m", facts: &facts, quirks: &quirks };
        match wire::adapter(protocol).encode_request(&request, target) {
            Ok(encoded) => assert_json(&encoded.body),
            Err(error) => assert!(!error.message.is_empty(), "{protocol:?}"),
        }
    }
}

/// The intake accepts nothing but JSON, and what is forwarded is JSON with the same fields.
pub fn json(body: &[u8]) {
    let Ok(intake) = chat_intake(body) else { return };
    assert_json(body);
    let (facts, quirks) = (ModelFacts::default(), Quirks::default());
    let target = Target { model: "m\"\\", facts: &facts, quirks: &quirks };
    let Ok(encoded) = forward(&intake, target) else { return };
    assert_json(&encoded.body);
    let sent = chat_intake(&encoded.body).expect("the forwarded request can be read");
    assert_eq!(sent.model, "m\"\\");
    for (name, value) in intake.fields() {
        let changed = ["model", "stream_options", "tools", "tool_choice", "parallel_tool_calls"];
        let for_us = ROUTING_FIELDS.contains(&name);
        if value != b"null" && !changed.contains(&name) && !for_us {
            assert_eq!(sent.field(name), Some(value), "{name}");
        }
    }
}

/// An answer decodes to the same events for every cut, and those can be written in every format.
pub fn answer(protocol: Protocol, streaming: bool, body: &[u8]) {
    let (events, _) = same(body, |pieces| {
        let mut decoder = wire::adapter(protocol).decoder(streaming, &DecoderContext::default());
        let mut events = Vec::new();
        let mut result = Ok(());
        for piece in pieces {
            result = result.and_then(|()| decoder.push(piece, &mut events));
        }
        let result = result.and_then(|()| decoder.finish(&mut events));
        (events, result)
    });
    for caller in
        [Protocol::OpenaiChat, Protocol::OpenaiResponses, Protocol::AnthropicMessages, Protocol::Gemini]
    {
        for stream in [false, true] {
            encode(wire::dialect(caller).expect("a dialect"), stream, &events);
        }
    }
    for stream in [false, true] {
        encode(&OpenaiCompletions, stream, &events);
    }
    let error = wire::adapter(protocol).decode_error(StatusCode::BAD_GATEWAY, &HeaderMap::new(), body);
    assert_eq!(error.status(), StatusCode::BAD_GATEWAY);
}

/// An error answer becomes an error with a message in every provider's format, and can be sent to every
/// caller.
pub fn errors(body: &[u8]) {
    const STATUSES: [u16; 14] = [400, 401, 402, 403, 404, 408, 413, 422, 429, 498, 500, 502, 503, 529];
    // One status per body keeps the check quick.
    let sum: usize = body.iter().map(|byte| usize::from(*byte)).sum();
    let status = StatusCode::from_u16(STATUSES[sum % STATUSES.len()]).expect("a status");
    for protocol in Protocol::ALL {
        let error = wire::adapter(protocol).decode_error(status, &HeaderMap::new(), body);
        // The body may change the kind of the error, but never turn it into a success.
        let told = error.status();
        assert!(told.is_client_error() || told.is_server_error(), "{protocol:?}: {told}");
        assert!(!error.message.trim().is_empty(), "{protocol:?}");
        for caller in
            [Protocol::OpenaiChat, Protocol::OpenaiResponses, Protocol::AnthropicMessages, Protocol::Gemini]
        {
            let (_, told) = wire::dialect(caller).expect("a dialect").error(&error, None);
            assert_json(&told);
        }
    }
}

fn encode(caller: &dyn Dialect, stream: bool, events: &[Event]) {
    let form = AnswerForm { stream, include_usage: true, ..AnswerForm::default() };
    let mut encoder = caller.encoder(&form, Box::new(notes()));
    let mut out = Vec::new();
    events.iter().for_each(|event| encoder.push(event.clone(), &mut out));
    encoder.finish(&mut out);
    if stream { assert_events(&out) } else { assert_json(&out) }
}

fn assert_events(stream: &[u8]) {
    let text = std::str::from_utf8(stream).expect("UTF-8");
    for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        assert!(data == "[DONE]" || is_json(data.as_bytes()), "{data}");
    }
}

/// A relayed answer is the same for every cut, and well formed.
pub fn relayed(form: &AnswerForm, body: &[u8]) {
    let (out, result) = same(body, |pieces| -> (Vec<u8>, Result<(), Error>) {
        let mut relay = relay(RelayParts {
            form: form.clone(),
            annotator: Box::new(notes()),
            gathers: true,
            cached_outside_prompt: false,
            taken_ids: Default::default(),
        });
        let mut out = Vec::new();
        let mut result = Ok(());
        for piece in pieces {
            result = result.and_then(|()| relay.push(&Bytes::copy_from_slice(piece), &mut out));
        }
        let result = result.and_then(|()| relay.finish(&mut out));
        (out, result)
    });
    match (form.stream, result) {
        (true, Ok(())) => {
            super::openai_chat_rules(std::str::from_utf8(&out).expect("UTF-8"), form.include_usage)
        }
        (true, Err(_)) => assert_events(&out),
        (false, Ok(())) => assert_json(&out),
        (false, Err(_)) => assert!(out.is_empty(), "a failed whole answer writes nothing"),
    }
}

/// An answer that is forwarded in the caller's own format is the same for every cut, and all JSON that leaves
/// is well formed.
pub fn forwarded(protocol: Protocol, stream: bool, body: &[u8]) {
    let quirks = Quirks::default();
    let (out, result) = same(body, |pieces| -> (Vec<u8>, Result<(), Error>) {
        let mut transcoder = wire::exchange::transcoder(TranscoderParts {
            caller: wire::dialect(protocol).expect("a dialect"),
            upstream: protocol,
            upstream_streams: stream,
            form: AnswerForm { stream, include_usage: true, ..AnswerForm::default() },
            decoding: &DecoderContext::default(),
            quirks: &quirks,
            annotator: Arc::new(notes()),
            filter: None,
        });
        let mut out = Vec::new();
        let mut result = Ok(());
        for piece in pieces {
            result = result.and_then(|()| transcoder.push(&Bytes::copy_from_slice(piece), &mut out));
        }
        let result = result.and_then(|()| transcoder.finish(&mut out));
        (out, result)
    });
    match (stream, result) {
        (true, _) => assert_events(&out),
        (false, Ok(())) => assert_json(&out),
        (false, Err(_)) => assert!(out.is_empty(), "a failed whole answer writes nothing"),
    }
}
