//! The output buffer of a body.

use std::io;

use bytes::Bytes;
use canon::write::plain_length;
use canon::{Error, ErrorKind, OutputFormat, Part, PartKind, Request, Result, Role, ToolKind};
use serde::Serialize;

use super::{push_escaped, push_key};

/// Text of a body with an approximately known length. A growing `Vec` doubles its capacity and holds both
/// buffers for a moment: three times the body. This one is allocated with its expected size when the first
/// text is written, and grows by a quarter. Until then writers can make tables that are larger than what
/// remains of them.
pub struct Output {
    text: Vec<u8>,
    expected: usize,
}

impl Output {
    /// Empty, for the request in a format.
    pub fn for_request(request: &Request, around: &FormatOverhead) -> Self {
        Self::expecting(room(request, around))
    }

    /// Empty, for a text of about this length.
    pub fn expecting(expected: usize) -> Self {
        Self { text: Vec::new(), expected }
    }

    /// Appends text that is JSON.
    pub fn push(&mut self, json: &[u8]) {
        self.room(json.len());
        self.text.extend_from_slice(json);
    }

    /// Appends `,"key":`; without the comma directly after an opening brace.
    pub fn key(&mut self, key: &str) {
        self.room(key.len() + 4);
        push_key(&mut self.text, key);
    }

    /// Appends a text as a JSON string.
    pub fn string(&mut self, text: &str) {
        self.push(b"\"");
        self.escaped(text);
        self.push(b"\"");
    }

    /// Appends a text as it is written between the quotes of a JSON string.
    pub fn escaped(&mut self, text: &str) {
        let plain = plain_length(text.as_bytes());
        self.push(&text.as_bytes()[..plain]);
        let rest = &text[plain..];
        self.room(rest.bytes().map(escaped_length).sum());
        push_escaped(&mut self.text, rest);
    }

    /// Appends `,"key":"text"`.
    pub fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        self.string(text);
    }

    /// Appends `,"key":"text"` where there is a text.
    pub fn opt_text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    /// Appends `,"key":` with a value that is already JSON.
    pub fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.push(json.as_bytes());
    }

    /// How much was written.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Removes everything after this position.
    pub fn truncate(&mut self, length: usize) {
        self.text.truncate(length);
    }

    /// A comma, unless a list or an object begins here.
    pub fn comma(&mut self) {
        if !matches!(self.text.last(), Some(b'[' | b'{')) {
            self.push(b",");
        }
    }

    fn room(&mut self, more: usize) {
        let least = if self.text.capacity() == 0 { self.expected } else { 0 };
        make_room(&mut self.text, more.max(least));
    }

    /// Appends a value.
    pub fn value(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(self, value)
            .map_err(|_| Error::gateway(ErrorKind::Internal, "The request cannot be written as JSON."))
    }

    /// Appends an item of a list whose opening bracket is already written.
    pub fn item(&mut self, value: &impl Serialize) -> Result<()> {
        if self.text.last() != Some(&b'[') {
            self.push(b",");
        }
        self.value(value)
    }

    /// Appends the members of an object to the object that is open, and closes it.
    pub fn members_of(&mut self, object: &impl Serialize) -> Result<()> {
        let start = self.text.len();
        self.value(object)?;
        match &mut self.text[start..] {
            [b'{', b'}'] => drop(self.text.remove(start)),
            [open, ..] => *open = b',',
            [] => {}
        }
        Ok(())
    }

    /// The written bytes.
    pub fn into_bytes(self) -> Bytes {
        self.text.into()
    }
}

/// Appends to a list that grows by a quarter.
pub fn append(list: &mut Vec<u8>, more: &[u8]) {
    make_room(list, more.len());
    list.extend_from_slice(more);
}

/// Appends a text of one's own, which is not copied to an empty list.
pub fn put(list: &mut Vec<u8>, text: Vec<u8>) {
    if list.is_empty() {
        *list = text;
    } else {
        append(list, &text);
    }
}

/// Makes space for so many bytes in a list that grows by a quarter.
pub fn make_room(list: &mut Vec<u8>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more.max(list.len() / 4));
    }
}

/// The length of a byte in a JSON string.
fn escaped_length(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
        byte if byte < 0x20 => 6,
        _ => 1,
    }
}

/// Text that is completely written before it is read. It is stored in pieces, so that growth copies nothing.
#[derive(Debug, Default)]
pub struct Pieces {
    full: Vec<Vec<u8>>,
    last: Vec<u8>,
    length: usize,
}

/// The size of a piece.
const PIECE: usize = 16 << 10;

impl Pieces {
    /// How much there is.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Appends the output of `write` to the last piece.
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.last.len();
        write(&mut self.last);
        self.length += self.last.len() - before;
        if self.last.len() >= PIECE {
            let next = Vec::with_capacity(PIECE + PIECE / 4);
            self.full.push(std::mem::replace(&mut self.last, next));
        }
    }

    /// A reader from the beginning.
    pub fn read(&self) -> PiecesReader<'_> {
        PiecesReader { pieces: self, piece: 0, at: 0, place: 0 }
    }
}

/// Copies the text of [`Pieces`] in order.
pub struct PiecesReader<'a> {
    pieces: &'a Pieces,
    piece: usize,
    at: usize,
    place: usize,
}

impl PiecesReader<'_> {
    /// Copies everything up to this position.
    pub fn copy_until(&mut self, place: usize, out: &mut Vec<u8>) {
        while self.place < place {
            let piece = self.pieces.full.get(self.piece).unwrap_or(&self.pieces.last);
            let rest = &piece[self.at..];
            if rest.is_empty() {
                (self.piece, self.at) = (self.piece + 1, 0);
                continue;
            }
            let count = rest.len().min(place - self.place);
            out.extend_from_slice(&rest[..count]);
            self.at += count;
            self.place += count;
        }
    }
}

impl io::Write for Output {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.push(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Approximate bytes of names and brackets around the texts in a format.
pub struct FormatOverhead {
    /// Around a message.
    pub message: usize,
    /// Around a text among others.
    pub part: usize,
    /// The same in the model's turn.
    pub answer: usize,
    /// Around the only text of a message.
    pub only: usize,
    /// Around a call.
    pub call: usize,
    /// Around a result, besides what is around its message.
    pub result: usize,
    /// Around the name of a tool.
    pub tool: usize,
    /// Messages of one side are joined, and empty texts are left out.
    pub joins: bool,
}

/// The bytes around a file.
const AROUND_FILE: usize = 64;
/// The bytes around the schema or the description of a tool.
const AROUND_TEXT: usize = 20;
/// The bytes around a thought.
const AROUND_THOUGHT: usize = 28;
/// The bytes of a request's settings.
const SETTINGS: usize = 256;

fn room(request: &Request, around: &FormatOverhead) -> usize {
    let mut before = None;
    let messages = request.messages.iter().map(|message| {
        let is_answer = message.role == Role::Assistant;
        let goes_on = before.replace(is_answer) == Some(is_answer) && around.joins;
        let text = if is_answer { around.answer } else { around.part };
        match &message.parts[..] {
            parts if goes_on => room_of(parts, text, around),
            [one] if is_text(one) => around.message + around.only + room_of(&message.parts, 0, around),
            parts => around.message + room_of(parts, text, around),
        }
    });
    let tools = request.tools.iter().map(|tool| {
        let kind = match &tool.kind {
            ToolKind::Function { parameters: json, .. } | ToolKind::Custom { format: json } => {
                json.as_ref().map_or(0, |json| AROUND_TEXT + json.as_str().len())
            }
            // The tool is passed as it is, or is not the provider's own.
            ToolKind::Native(json) => return json.as_str().len(),
        };
        let described = tool.description.as_ref().map_or(0, |text| AROUND_TEXT + text.len());
        around.tool + tool.name.len() + described + kind
    });
    let schema = match &request.output {
        OutputFormat::JsonSchema { schema: Some(schema), .. } => schema.as_str().len(),
        _ => 0,
    };
    let stop: usize = request.stop.iter().map(|text| text.len() + 3).sum();
    SETTINGS + messages.sum::<usize>() + tools.sum::<usize>() + schema + stop
}

fn is_text(part: &Part) -> bool {
    matches!(part.kind, PartKind::Text(_))
}

fn room_of(parts: &[Part], around_text: usize, around: &FormatOverhead) -> usize {
    let length = |part: &Part| match &part.kind {
        PartKind::Text(text) if around.joins && text.is_empty() => 0,
        PartKind::Text(text) | PartKind::Refusal(text) => around_text + text.len(),
        PartKind::Media(media) => {
            AROUND_FILE
                + match &media.source {
                    canon::Source::Url(text) | canon::Source::FileId(text) | canon::Source::Text(text) => {
                        text.len()
                    }
                    canon::Source::Base64 { data, .. } => data.len(),
                }
        }
        PartKind::ToolCall(call) => around.call + call.id.len() + call.name.len() + call.arguments.len(),
        PartKind::ToolResult(result) => {
            let text = if result.content.len() == 1 { 0 } else { around_text };
            around.result + result.call_id.len() + room_of(&result.content, text, around)
        }
        PartKind::Native(json) => json.as_str().len(),
        PartKind::Reasoning(thought) => {
            AROUND_THOUGHT
                + thought.text.len()
                + thought.encrypted.as_ref().map_or(0, String::len)
                + part.signature.as_ref().map_or(0, |proof| proof.len())
        }
    };
    parts.iter().map(length).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_are_copied_up_to_each_position() {
        let mut pieces = Pieces::default();
        let expected: Vec<u8> = (0..60_000_u32).flat_map(|number| number.to_string().into_bytes()).collect();
        (0..60_000_u32).for_each(|number| {
            pieces.write(|out| out.extend_from_slice(number.to_string().as_bytes()));
        });
        assert_eq!(pieces.len(), expected.len());
        let (mut out, mut reader) = (Vec::new(), pieces.read());
        for place in [0, 1, 70_000, 70_000, expected.len()] {
            reader.copy_until(place, &mut out);
            assert!(out == expected[..place], "{place}");
        }
    }

    #[test]
    fn items_and_members_are_appended_to_open_lists_and_objects() {
        for (settings, expected) in [
            (json!({"a": {"b": {}}}), r#"{"list":[1,{"x":2}],"a":{"b":{}}}"#),
            (json!({}), r#"{"list":[1,{"x":2}]}"#),
        ] {
            let mut output = Output::expecting(1);
            output.push(br#"{"list":["#);
            output.item(&1).unwrap();
            output.item(&json!({"x": 2})).unwrap();
            output.push(b"]");
            output.members_of(&settings).unwrap();
            assert_eq!(output.into_bytes(), expected.as_bytes());
        }
    }
}
