//! OpenAI's Responses API.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod answers;
mod kept;
mod passthrough;
mod recorded;
mod requests;

use canon::{Error, Event, ModelFacts, Quirks, Request, Target};
use serde_json::Value;
use testkit::notes::Notes;
use wire::{AnswerForm, DecoderContext, Encoded, Protocol};

fn adapter() -> &'static dyn wire::Adapter {
    wire::adapter(Protocol::OpenaiResponses)
}

fn dialect() -> &'static dyn wire::Dialect {
    wire::dialect(Protocol::OpenaiResponses).unwrap()
}

fn encode(request: &Request) -> Result<Encoded, Error> {
    encode_with(request, &ModelFacts::default(), &Quirks::default())
}

fn encode_with(request: &Request, facts: &ModelFacts, quirks: &Quirks) -> Result<Encoded, Error> {
    adapter().encode_request(request, Target { model: "m", facts, quirks })
}

fn body(encoded: &Encoded) -> Value {
    serde_json::from_slice(&encoded.body).unwrap()
}

fn read(request: &Value) -> Request {
    dialect().decode_request(request.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Decodes an answer that arrives in these pieces.
fn decode<'a>(
    streaming: bool,
    decoding: &DecoderContext,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Event>, Result<(), Error>) {
    crate::decoding::decode(adapter(), streaming, decoding, pieces)
}

fn notes() -> Notes {
    Notes { answer_id: "chatcmpl-0123abcd", metadata_name: Some("llmgateway"), ..Notes::default() }
}

/// Writes events as an answer.
fn write(stream: bool, events: &[Event]) -> String {
    let form = AnswerForm { stream, ..AnswerForm::default() };
    let mut encoder = dialect().encoder(&form, Box::new(notes()));
    let mut out = Vec::new();
    for event in events {
        encoder.push(event.clone(), &mut out);
    }
    encoder.finish(&mut out);
    String::from_utf8(out).unwrap()
}

/// The data of every event of a stream. The `event` line and the `type` of the data must agree.
fn documents(stream: &str) -> Vec<Value> {
    let mut documents: Vec<Value> = Vec::new();
    for event in stream.split("\n\n").filter(|event| !event.is_empty()) {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["type"], name.strip_prefix("event: ").unwrap());
        assert_eq!(data["sequence_number"], documents.len(), "numbers have no gaps");
        documents.push(data);
    }
    documents
}
