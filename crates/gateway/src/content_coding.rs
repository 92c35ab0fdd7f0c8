//! Undoes content codings (RFC 9110, 8.4): gzip, deflate, br and zstd, piece by piece and within limits.

use std::io::{self, Write};

use bytes::{Buf, Bytes};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// No legitimate message stacks more codings.
const MOST_CODINGS: usize = 2;
/// Input is decoded in slices of this size, so that a slice decodes to at most 8 MiB before the limits are
/// checked.
const SLICE: usize = 8 << 10;

/// A text without its byte order mark. Some clients, servers and most text files of Windows begin with one,
/// which is not JSON.
pub fn without_byte_order_mark(mut text: Bytes) -> Bytes {
    if text.starts_with(b"\xef\xbb\xbf") {
        text.advance(3);
    }
    text
}

/// Limits of the decoded size.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most decoded bytes.
    pub total: usize,
    /// Most decoded bytes per coded byte, beyond the first `free` bytes. JSON compresses to a tenth, a
    /// compression bomb to a thousandth.
    pub ratio: usize,
    /// Decoded bytes that are exempt from the ratio.
    pub free: usize,
}

/// Why a body cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// A coding that is not known.
    #[error("the content coding {0:?} is not supported; supported are gzip, deflate, br and zstd")]
    Unknown(String),
    /// More than the limits allow.
    #[error("the decoded content is too large")]
    TooLarge,
    /// Not in the declared coding, or cut off.
    #[error("the content is not valid {0}, or is cut off")]
    Invalid(&'static str),
}

/// Undoes the codings of one body.
pub struct Decoder {
    /// In the order of decoding.
    steps: Vec<Step>,
    limits: Limits,
    coded: usize,
    decoded: usize,
}

impl Decoder {
    /// The decoder for a message's headers; none for content without a coding.
    pub fn of(headers: &HeaderMap, limits: Limits) -> Result<Option<Self>, CodingError> {
        let mut steps = Vec::new();
        for value in headers.get_all(CONTENT_ENCODING) {
            let value = value.to_str().map_err(|_| CodingError::Unknown(String::new()))?;
            let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
            for name in names.filter(|name| !name.eq_ignore_ascii_case("identity")) {
                steps.push(Step::of(name)?);
            }
        }
        if steps.len() > MOST_CODINGS {
            return Err(CodingError::Unknown(format!("{} codings on top of each other", steps.len())));
        }
        steps.reverse();
        Ok((!steps.is_empty()).then_some(Self { steps, limits, coded: 0, decoded: 0 }))
    }

    /// Decodes a piece and appends what comes out.
    pub fn push(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), CodingError> {
        for slice in data.chunks(SLICE) {
            self.coded += slice.len();
            self.step(slice, false, out)?;
        }
        Ok(())
    }

    /// Decodes the rest. Cut-off content is an error.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), CodingError> {
        self.step(&[], true, out)
    }

    fn step(&mut self, slice: &[u8], is_last: bool, out: &mut Vec<u8>) -> Result<(), CodingError> {
        let by_ratio = self.coded.saturating_mul(self.limits.ratio).max(self.limits.free);
        let room = self.limits.total.min(by_ratio).saturating_sub(self.decoded);
        let mut data = None;
        for step in &mut self.steps {
            let input = data.as_deref().unwrap_or(slice);
            data = Some(step.decode(input, is_last, room)?);
        }
        let data = data.unwrap_or_default();
        self.decoded += data.len();
        out.extend_from_slice(&data);
        Ok(())
    }
}

enum Step {
    Gzip(Box<MultiGzDecoder<Sink>>),
    Deflate(Deflate),
    Brotli(Box<brotli_decompressor::DecompressorWriter<Sink>>),
    Zstd(Box<Zstd>),
}

/// "deflate" is zlib by the standard, and raw deflate from some servers: the first byte decides.
enum Deflate {
    Undecided,
    Zlib(Box<ZlibDecoder<Sink>>),
    Plain(Box<DeflateDecoder<Sink>>),
}

impl Step {
    fn of(name: &str) -> Result<Self, CodingError> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Self::Gzip(Box::new(MultiGzDecoder::new(Sink::default()))),
            "deflate" => Self::Deflate(Deflate::Undecided),
            "br" => Self::Brotli(Box::new(brotli_decompressor::DecompressorWriter::new(
                Sink::default(),
                16 << 10,
            ))),
            "zstd" => Self::Zstd(Box::default()),
            _ => {
                let shown: String = name.chars().filter(|letter| !letter.is_control()).take(40).collect();
                return Err(CodingError::Unknown(shown));
            }
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Gzip(_) => "gzip",
            Self::Deflate(_) => "deflate",
            Self::Brotli(_) => "br",
            Self::Zstd(_) => "zstd",
        }
    }

    /// Decodes a piece into at most `room` bytes.
    fn decode(&mut self, data: &[u8], is_last: bool, room: usize) -> Result<Vec<u8>, CodingError> {
        let name = self.name();
        if let Self::Deflate(undecided @ Deflate::Undecided) = self {
            let Some(first) = data.first() else {
                return if is_last { Err(CodingError::Invalid(name)) } else { Ok(Vec::new()) };
            };
            *undecided = if first & 0x0f == 8 && first >> 4 <= 7 {
                Deflate::Zlib(Box::new(ZlibDecoder::new(Sink::default())))
            } else {
                Deflate::Plain(Box::new(DeflateDecoder::new(Sink::default())))
            };
        }
        if let Some(sink) = self.sink() {
            sink.room = room;
        }
        let written = match self {
            Self::Gzip(decoder) => write(decoder.as_mut(), data, is_last, MultiGzDecoder::try_finish),
            Self::Deflate(Deflate::Zlib(decoder)) => {
                write(decoder.as_mut(), data, is_last, ZlibDecoder::try_finish)
            }
            Self::Deflate(Deflate::Plain(decoder)) => {
                write(decoder.as_mut(), data, is_last, DeflateDecoder::try_finish)
            }
            Self::Deflate(Deflate::Undecided) => Ok(()),
            Self::Brotli(decoder) => write(decoder.as_mut(), data, is_last, |decoder| decoder.close()),
            Self::Zstd(decoder) => return decoder.decode(data, is_last, room),
        };
        let Some(sink) = self.sink() else { return Ok(Vec::new()) };
        match written {
            _ if sink.is_full => Err(CodingError::TooLarge),
            Ok(()) => Ok(std::mem::take(&mut sink.out)),
            Err(_) => Err(CodingError::Invalid(name)),
        }
    }

    fn sink(&mut self) -> Option<&mut Sink> {
        match self {
            Self::Gzip(decoder) => Some(decoder.get_mut()),
            Self::Deflate(Deflate::Zlib(decoder)) => Some(decoder.get_mut()),
            Self::Deflate(Deflate::Plain(decoder)) => Some(decoder.get_mut()),
            Self::Brotli(decoder) => Some(decoder.get_mut()),
            Self::Deflate(Deflate::Undecided) | Self::Zstd(_) => None,
        }
    }
}

/// Flushes after each piece: everything that a server has flushed is passed on immediately.
fn write<D: Write>(
    decoder: &mut D,
    data: &[u8],
    is_last: bool,
    finish: impl FnOnce(&mut D) -> io::Result<()>,
) -> io::Result<()> {
    decoder.write_all(data)?;
    if is_last { finish(decoder) } else { decoder.flush() }
}

/// Takes the output up to a limit.
#[derive(Default)]
struct Sink {
    out: Vec<u8>,
    room: usize,
    is_full: bool,
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.out.len() + data.len() > self.room {
            self.is_full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.out.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Zstandard (RFC 8878), block by block: a block decodes to 128 KiB at most. The decoder holds the window
/// back until the end of a frame, so streams in zstd arrive late. The gateway does not offer zstd to
/// providers.
#[derive(Default)]
struct Zstd {
    decoder: FrameDecoder,
    /// Input that is not yet a whole block.
    pending: Vec<u8>,
    /// The remaining bytes of a skippable frame.
    skip: usize,
    frame: Option<Frame>,
    has_begun: bool,
}

/// A frame that has begun.
struct Frame {
    has_checksum: bool,
}

/// A frame's head with all of its optional fields.
const LONGEST_HEAD: usize = 18;
/// The size and kind of a block.
const BLOCK_HEAD: usize = 3;
const CHECKSUM: usize = 4;
/// The limit of the content coding zstd (RFC 9659, 3). The decoder holds back as much.
const LARGEST_WINDOW: u64 = 8 << 20;
/// The bit of a frame's descriptor for frames without a window other than the content.
const SINGLE_SEGMENT: u8 = 0x20;
const INVALID_ZSTD: CodingError = CodingError::Invalid("zstd");

impl Zstd {
    fn decode(&mut self, data: &[u8], is_last: bool, room: usize) -> Result<Vec<u8>, CodingError> {
        self.pending.extend_from_slice(data);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        let mut sink = Sink { room, ..Sink::default() };
        while self.advance(&mut rest, is_last, &mut sink)? {}
        self.pending = rest.to_vec();
        let is_whole = self.has_begun && self.frame.is_none() && self.skip == 0 && self.pending.is_empty();
        if is_last && !is_whole {
            return Err(INVALID_ZSTD);
        }
        Ok(sink.out)
    }

    /// Takes a head or a block. False when more input is needed.
    fn advance(&mut self, rest: &mut &[u8], is_last: bool, sink: &mut Sink) -> Result<bool, CodingError> {
        let skipped = self.skip.min(rest.len());
        *rest = &rest[skipped..];
        self.skip -= skipped;
        if rest.is_empty() || self.skip > 0 {
            return Ok(false);
        }
        match &self.frame {
            None if rest.len() < LONGEST_HEAD && !is_last && !holds_head(rest) => Ok(false),
            None => self.begin(rest).map(|()| true),
            Some(frame) => match block_length(rest, frame) {
                Some(length) if length <= rest.len() => self.block(rest, sink).map(|()| true),
                _ => Ok(false),
            },
        }
    }

    fn begin(&mut self, rest: &mut &[u8]) -> Result<(), CodingError> {
        self.has_begun = true;
        let [descriptor, window] = [4, 5].map(|place| rest.get(place).copied().unwrap_or_default());
        match self.decoder.init(&mut *rest) {
            Ok(()) => {
                let is_single = descriptor & SINGLE_SEGMENT != 0;
                let window = if is_single { self.decoder.content_size() } else { window_size(window) };
                if window > LARGEST_WINDOW {
                    return Err(CodingError::TooLarge);
                }
                self.frame = Some(Frame { has_checksum: descriptor & 4 != 0 });
                Ok(())
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                self.skip = length as usize;
                Ok(())
            }
            Err(_) => Err(INVALID_ZSTD),
        }
    }

    fn block(&mut self, rest: &mut &[u8], sink: &mut Sink) -> Result<(), CodingError> {
        let one = BlockDecodingStrategy::UptoBlocks(1);
        let is_over = self.decoder.decode_blocks(&mut *rest, one).map_err(|_| INVALID_ZSTD)?;
        if is_over {
            self.frame = None;
        }
        match self.decoder.collect_to_writer(&mut *sink) {
            _ if sink.is_full => Err(CodingError::TooLarge),
            Ok(_) => Ok(()),
            Err(_) => Err(INVALID_ZSTD),
        }
    }
}

/// RFC 8878, 3.1.1.1.2.
fn window_size(descriptor: u8) -> u64 {
    let base = 1u64 << (10 + (descriptor >> 3));
    base + base / 8 * u64::from(descriptor & 7)
}

/// True for the whole head of a frame: magic number, descriptor, window, dictionary, content size.
fn holds_head(bytes: &[u8]) -> bool {
    let [magic @ .., descriptor] = bytes.get(..5).unwrap_or_default() else { return false };
    if magic[1..] == [0x2a, 0x4d, 0x18] {
        return bytes.len() >= 8;
    }
    let is_single = descriptor & SINGLE_SEGMENT != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content = match descriptor >> 6 {
        0 => usize::from(is_single),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    bytes.len() >= 5 + usize::from(!is_single) + dictionary + content
}

/// The length of the block that begins here, including the checksum after the last one.
fn block_length(bytes: &[u8], frame: &Frame) -> Option<usize> {
    let &[low, middle, high] = bytes.get(..BLOCK_HEAD)? else { return None };
    let head = u32::from_le_bytes([low, middle, high, 0]);
    let (is_last, is_run) = (head & 1 == 1, head >> 1 & 3 == 1);
    let content = if is_run { 1 } else { (head >> 3) as usize };
    let checksum = if is_last && frame.has_checksum { CHECKSUM } else { 0 };
    Some(BLOCK_HEAD + content + checksum)
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    const LIMITS: Limits = Limits { total: 1 << 30, ratio: 100, free: 1 << 20 };
    /// `{"text": "a"}` forty times, by the reference encoder of Brotli.
    const BROTLI: &[u8] = include_bytes!("../tests/data/forty.br");

    fn headers(coding: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_str(coding).unwrap())])
    }

    fn decoder(coding: &str, limits: Limits) -> Decoder {
        Decoder::of(&headers(coding), limits).unwrap().unwrap()
    }

    fn decode(coding: &str, coded: &[u8], piece: usize) -> Result<Vec<u8>, CodingError> {
        let (mut decoder, mut out) = (decoder(coding, LIMITS), Vec::new());
        for piece in coded.chunks(piece) {
            decoder.push(piece, &mut out)?;
        }
        decoder.finish(&mut out)?;
        Ok(out)
    }

    fn text() -> Vec<u8> {
        let line =
            |number: usize| format!("data: {{\"number\":{number},\"text\":\"é{}\"}}\n\n", number * 7919);
        (0..600).flat_map(|number| line(number).into_bytes()).collect()
    }

    macro_rules! coded {
        ($encoder:ident, $text:expr) => {{
            let mut encoder = $encoder::new(Vec::new(), Compression::default());
            encoder.write_all($text).unwrap();
            encoder.finish().unwrap()
        }};
    }

    fn codings(text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let gzip = coded!(GzEncoder, text);
        let twice = compress_to_vec(gzip.as_slice(), CompressionLevel::Fastest);
        vec![
            ("gzip", gzip.clone()),
            ("X-GZip", gzip),
            ("deflate", coded!(ZlibEncoder, text)),
            ("deflate", coded!(DeflateEncoder, text)),
            ("zstd", compress_to_vec(text, CompressionLevel::Fastest)),
            ("gzip, zstd", twice),
        ]
    }

    #[test]
    fn every_coding_is_decoded_in_pieces_of_every_size() {
        let text = text();
        for (coding, coded) in codings(&text) {
            for piece in [1, 7, 1000, usize::MAX] {
                assert!(decode(coding, &coded, piece).unwrap() == text, "{coding} in pieces of {piece}");
            }
        }
        let forty = "{\"text\": \"a\"}".repeat(40).into_bytes();
        for piece in [1, 5, 100] {
            assert_eq!(decode("br", BROTLI, piece).unwrap(), forty);
        }
        assert!(Decoder::of(&headers("identity"), LIMITS).unwrap().is_none());
        assert!(Decoder::of(&HeaderMap::new(), LIMITS).unwrap().is_none());
    }

    #[test]
    fn flushed_text_is_decoded_at_once() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let (mut decoder, mut sent, mut out) = (decoder("gzip", LIMITS), 0, Vec::new());
        for event in ["data: one\n\n", "data: two\n\n"] {
            encoder.write_all(event.as_bytes()).unwrap();
            encoder.flush().unwrap();
            out.clear();
            decoder.push(&encoder.get_ref()[sent..], &mut out).unwrap();
            sent = encoder.get_ref().len();
            assert_eq!(out, event.as_bytes());
        }
    }

    #[test]
    fn cut_or_broken_text_is_an_error() {
        let text = text();
        for (coding, coded) in codings(&text).into_iter().chain([("br", BROTLI.to_vec())]) {
            assert!(decode(coding, &coded[..coded.len() - 1], 100).is_err(), "{coding} cut off");
            assert!(decode(coding, b"{\"no\": \"such coding\"}", 100).is_err(), "{coding} of nothing");
            assert!(decode(coding, b"", 100).is_err(), "{coding} of no byte");
        }
        let unknown = Decoder::of(&headers("gzip, compress"), LIMITS).err().unwrap();
        assert_eq!(unknown, CodingError::Unknown("compress".to_owned()));
        assert!(Decoder::of(&headers("gzip, gzip, gzip"), LIMITS).is_err());
    }

    #[test]
    fn bombs_are_stopped() {
        let zeros = vec![b' '; 4 << 20];
        for (coding, coded) in codings(&zeros) {
            let (mut decoder, mut out) = (decoder(coding, LIMITS), Vec::new());
            let result = decoder.push(&coded, &mut out);
            assert_eq!(result, Err(CodingError::TooLarge), "{coding}");
            assert!(out.len() <= 1 << 20, "{coding}: {} bytes", out.len());
        }
        let mut small = decoder("gzip", Limits { total: 1000, ..LIMITS });
        let result = small.push(&coded!(GzEncoder, &[b'a'; 1001]), &mut Vec::new());
        assert_eq!(result, Err(CodingError::TooLarge));
    }
}
