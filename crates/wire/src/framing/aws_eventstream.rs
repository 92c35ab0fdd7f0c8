//! Amazon's binary event stream (`application/vnd.amazon.eventstream`): length-prefixed messages with typed headers
//! and two checksums. Facts: "Amazon event stream encoding" in the AWS developer documentation; limits as in botocore.

use canon::{Error, ErrorKind, Result, Retry};

/// Largest payload of one message.
pub const PAYLOAD_LIMIT: usize = 24 << 20;
/// Largest headers of one message.
pub const HEADERS_LIMIT: usize = 128 << 10;

/// Most headers of one message. Services send three or four.
const MOST_HEADERS: usize = 256;

/// Total length, headers length and the checksum of both.
const PRELUDE: usize = 12;
/// The prelude and the checksum at the end.
const OVERHEAD: usize = PRELUDE + 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderValue<'a> {
    /// True or false, without further bytes.
    Bool(bool),
    Byte(i8),
    /// Two bytes.
    Short(i16),
    /// Four bytes.
    Int(i32),
    /// Eight bytes.
    Long(i64),
    /// Any bytes.
    Bytes(&'a [u8]),
    Text(&'a str),
    /// Milliseconds since 1970.
    Timestamp(i64),
    Uuid([u8; 16]),
}

/// One message of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Headers in the order of the wire.
    pub headers: Vec<(&'a str, HeaderValue<'a>)>,
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The text of a header; none when it is absent or not text.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(key, _)| *key == name).and_then(|(_, value)| match value {
            HeaderValue::Text(text) => Some(*text),
            _ => None,
        })
    }
}

/// Finds messages in a stream that arrives in pieces. Each byte is copied at most once.
#[derive(Debug, Default)]
pub struct EventStreamParser {
    /// The bytes of the message that is not complete yet.
    held: Vec<u8>,
}

impl EventStreamParser {
    /// Takes the next bytes and calls `on_message` for each message that they complete.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        mut on_message: impl FnMut(Message<'_>) -> Result<()>,
    ) -> Result<()> {
        while !bytes.is_empty() {
            if self.held.is_empty() {
                match total_length(bytes)? {
                    Some(total) if total <= bytes.len() => {
                        on_message(parse(&bytes[..total])?)?;
                        bytes = &bytes[total..];
                        continue;
                    }
                    _ => {}
                }
            }
            let wanted = total_length(&self.held)?.unwrap_or(PRELUDE);
            let missing = (wanted - self.held.len()).min(bytes.len());
            self.held.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if total_length(&self.held)? == Some(self.held.len()) {
                let whole = std::mem::take(&mut self.held);
                on_message(parse(&whole)?)?;
                self.held = whole;
                self.held.clear();
            }
        }
        Ok(())
    }

    /// Takes the end of the stream, which must not be within a message.
    pub fn finish(&self) -> Result<()> {
        if self.held.is_empty() {
            Ok(())
        } else {
            Err(broken("The provider's stream ended within a message."))
        }
    }
}

/// Appends a message with these headers and this payload.
pub fn encode(headers: &[(&str, HeaderValue<'_>)], payload: &[u8], out: &mut Vec<u8>) {
    let mut header_bytes = Vec::new();
    for (name, value) in headers {
        header_bytes.push(name.len() as u8);
        header_bytes.extend_from_slice(name.as_bytes());
        encode_value(value, &mut header_bytes);
    }
    let start = out.len();
    let total = OVERHEAD + header_bytes.len() + payload.len();
    out.extend_from_slice(&(total as u32).to_be_bytes());
    out.extend_from_slice(&(header_bytes.len() as u32).to_be_bytes());
    let prelude_checksum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&prelude_checksum.to_be_bytes());
    out.extend_from_slice(&header_bytes);
    out.extend_from_slice(payload);
    let checksum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&checksum.to_be_bytes());
}

/// Appends an event as Bedrock sends it: its name in a header, its JSON as the payload.
pub fn encode_event(event_type: &str, payload: &[u8], out: &mut Vec<u8>) {
    let headers = [
        (":event-type", HeaderValue::Text(event_type)),
        (":content-type", HeaderValue::Text("application/json")),
        (":message-type", HeaderValue::Text("event")),
    ];
    encode(&headers, payload, out);
}

/// Appends an exception, which ends a stream.
pub fn encode_exception(exception_type: &str, payload: &[u8], out: &mut Vec<u8>) {
    let headers = [
        (":exception-type", HeaderValue::Text(exception_type)),
        (":content-type", HeaderValue::Text("application/json")),
        (":message-type", HeaderValue::Text("exception")),
    ];
    encode(&headers, payload, out);
}

fn encode_value(value: &HeaderValue<'_>, out: &mut Vec<u8>) {
    match value {
        HeaderValue::Bool(true) => out.push(0),
        HeaderValue::Bool(false) => out.push(1),
        HeaderValue::Byte(number) => {
            out.push(2);
            out.extend_from_slice(&number.to_be_bytes());
        }
        HeaderValue::Short(number) => {
            out.push(3);
            out.extend_from_slice(&number.to_be_bytes());
        }
        HeaderValue::Int(number) => {
            out.push(4);
            out.extend_from_slice(&number.to_be_bytes());
        }
        HeaderValue::Long(number) => {
            out.push(5);
            out.extend_from_slice(&number.to_be_bytes());
        }
        HeaderValue::Bytes(bytes) => encode_sized(6, bytes, out),
        HeaderValue::Text(text) => encode_sized(7, text.as_bytes(), out),
        HeaderValue::Timestamp(number) => {
            out.push(8);
            out.extend_from_slice(&number.to_be_bytes());
        }
        HeaderValue::Uuid(bytes) => {
            out.push(9);
            out.extend_from_slice(bytes);
        }
    }
}

fn encode_sized(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The length of the message that begins here, once its prelude is complete and verified.
fn total_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(prelude) = bytes.first_chunk::<PRELUDE>() else { return Ok(None) };
    let total = read_u32(&prelude[0..4]) as usize;
    let headers = read_u32(&prelude[4..8]) as usize;
    if crc32fast::hash(&prelude[..8]) != read_u32(&prelude[8..12]) {
        return Err(broken(
            "The provider's stream is damaged: the checksum of a message's prelude is wrong.",
        ));
    }
    let fits = headers <= HEADERS_LIMIT && total >= OVERHEAD + headers;
    if !fits || total - OVERHEAD - headers > PAYLOAD_LIMIT {
        return Err(broken("The provider's stream holds a message of impossible length."));
    }
    Ok(Some(total))
}

/// Reads one whole message whose prelude has been checked.
fn parse(message: &[u8]) -> Result<Message<'_>> {
    let (content, checksum) = message.split_at(message.len() - 4);
    if crc32fast::hash(content) != read_u32(checksum) {
        return Err(broken("The provider's stream is damaged: the checksum of a message is wrong."));
    }
    let headers_length = read_u32(&content[4..8]) as usize;
    let (headers, payload) = content[PRELUDE..].split_at(headers_length);
    let headers = parse_headers(headers)
        .ok_or_else(|| broken("The provider's stream holds a message with damaged headers."))?;
    Ok(Message { headers, payload })
}

/// None for a duplicate name, as in botocore: the meaning would be ambiguous.
fn parse_headers(mut bytes: &[u8]) -> Option<Vec<(&str, HeaderValue<'_>)>> {
    let mut headers: Vec<(&str, HeaderValue<'_>)> = Vec::with_capacity(4);
    while !bytes.is_empty() {
        let name_length = take(&mut bytes, 1)?[0] as usize;
        let name = std::str::from_utf8(take(&mut bytes, name_length)?).ok()?;
        if headers.len() == MOST_HEADERS || headers.iter().any(|(known, _)| *known == name) {
            return None;
        }
        headers.push((name, parse_value(&mut bytes)?));
    }
    Some(headers)
}

fn parse_value<'a>(bytes: &mut &'a [u8]) -> Option<HeaderValue<'a>> {
    Some(match take(bytes, 1)?[0] {
        0 => HeaderValue::Bool(true),
        1 => HeaderValue::Bool(false),
        2 => HeaderValue::Byte(i8::from_be_bytes(*take(bytes, 1)?.first_chunk()?)),
        3 => HeaderValue::Short(i16::from_be_bytes(*take(bytes, 2)?.first_chunk()?)),
        4 => HeaderValue::Int(i32::from_be_bytes(*take(bytes, 4)?.first_chunk()?)),
        5 => HeaderValue::Long(i64::from_be_bytes(*take(bytes, 8)?.first_chunk()?)),
        6 => HeaderValue::Bytes(take_sized(bytes)?),
        7 => HeaderValue::Text(std::str::from_utf8(take_sized(bytes)?).ok()?),
        8 => HeaderValue::Timestamp(i64::from_be_bytes(*take(bytes, 8)?.first_chunk()?)),
        9 => HeaderValue::Uuid(*take(bytes, 16)?.first_chunk()?),
        _ => return None,
    })
}

fn take_sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_be_bytes(*take(bytes, 2)?.first_chunk()?);
    take(bytes, length as usize)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn read_u32(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn broken(message: &'static str) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Again, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Messages = Vec<(Vec<(String, String)>, Vec<u8>)>;

    /// Made with the encoder of botocore's test suite: one `messageStop` event.
    const FOREIGN: &str = "000000590000003076f8427f0d3a6d6573736167652d747970650700056576656e740b3a6576656e742d\
                           7479706507000b6d65737361676553746f707b2273746f70526561736f6e223a22656e645f7475726e227d\
                           ef4f02c7";

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Messages> {
        let mut parser = EventStreamParser::default();
        let mut found = Vec::new();
        for piece in pieces {
            parser.push(piece, |message| {
                let headers =
                    message.headers.iter().map(|(name, value)| (name.to_string(), format!("{value:?}")));
                found.push((headers.collect(), message.payload.to_vec()));
                Ok(())
            })?;
        }
        parser.finish()?;
        Ok(found)
    }

    fn sample() -> Vec<u8> {
        let mut stream = Vec::new();
        let headers = [
            ("t", HeaderValue::Bool(true)),
            ("f", HeaderValue::Bool(false)),
            ("b", HeaderValue::Byte(-1)),
            ("s", HeaderValue::Short(-2)),
            ("i", HeaderValue::Int(-3)),
            ("l", HeaderValue::Long(-4)),
            ("bytes", HeaderValue::Bytes(b"\0\xff")),
            ("text", HeaderValue::Text("é")),
            ("time", HeaderValue::Timestamp(5)),
            ("uuid", HeaderValue::Uuid([7; 16])),
        ];
        encode(&headers, b"payload", &mut stream);
        encode(&[], b"", &mut stream);
        encode_event("messageStop", b"{}", &mut stream);
        encode_exception("throttlingException", br#"{"message":"slow"}"#, &mut stream);
        stream
    }

    #[test]
    fn a_message_of_another_encoder_is_read() {
        let bytes = unhex(FOREIGN);
        let mut parser = EventStreamParser::default();
        let mut count = 0;
        parser
            .push(&bytes, |message| {
                count += 1;
                assert_eq!(message.text(":event-type"), Some("messageStop"));
                assert_eq!(message.payload, br#"{"stopReason":"end_turn"}"#);
                Ok(())
            })
            .unwrap();
        assert_eq!(count, 1);
        let headers = [
            (":message-type", HeaderValue::Text("event")),
            (":event-type", HeaderValue::Text("messageStop")),
        ];
        let mut ours = Vec::new();
        encode(&headers, br#"{"stopReason":"end_turn"}"#, &mut ours);
        assert_eq!(ours, bytes);
    }

    #[test]
    fn every_split_gives_the_same_messages() {
        let stream = sample();
        let expected = read([&stream[..]]).unwrap();
        assert_eq!(expected.len(), 4);
        assert_eq!(expected[0].0[7], ("text".to_owned(), "Text(\"é\")".to_owned()));
        assert_eq!(read(stream.chunks(1)).unwrap(), expected);
        for cut in 0..stream.len() {
            assert_eq!(read([&stream[..cut], &stream[cut..]]).unwrap(), expected, "cut at {cut}");
        }
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        let stream = sample();
        for at in 0..stream.len() {
            for bit in 0..8 {
                let mut damaged = stream.clone();
                damaged[at] ^= 1 << bit;
                assert!(read([&damaged[..]]).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn every_missing_end_is_detected() {
        let stream = unhex(FOREIGN);
        for length in 1..stream.len() {
            assert!(read([&stream[..length]]).is_err(), "{length} bytes");
        }
        assert_eq!(read([]).unwrap(), []);
    }

    #[test]
    fn impossible_lengths_are_refused_before_anything_is_buffered() {
        let prelude = |total: u32, headers: u32| {
            let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
            bytes
        };
        let too_much = (PAYLOAD_LIMIT + OVERHEAD + 1) as u32;
        for (total, headers) in [(0, 0), (15, 0), (16, 1), (too_much, 0), (u32::MAX, 0), (300_000, 200_000)] {
            let bytes = prelude(total, headers);
            assert!(EventStreamParser::default().push(&bytes, |_| Ok(())).is_err(), "{total} {headers}");
        }
        assert!(EventStreamParser::default().push(&prelude(too_much - 1, 0), |_| Ok(())).is_ok());
    }

    #[test]
    fn damaged_headers_are_refused() {
        let twice = b"\x01a\x00\x01a\x01";
        let damaged =
            [&b"\x05ab"[..], b"\x01a\x0a", b"\x01a\x07\x00\x05ab", b"\x01\xff\x00", b"\x01a", twice];
        for headers in damaged {
            let mut message = Vec::new();
            message.extend_from_slice(&((OVERHEAD + headers.len()) as u32).to_be_bytes());
            message.extend_from_slice(&(headers.len() as u32).to_be_bytes());
            message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
            message.extend_from_slice(headers);
            message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
            assert!(read([&message[..]]).is_err(), "{headers:?}");
        }
    }
}
