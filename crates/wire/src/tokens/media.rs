//! Images, documents, audio and videos.

use std::io::Read;

use base64::engine::general_purpose::STANDARD;
use base64::read::DecoderReader;
use canon::{Media, MediaKind, Source};
use serde::Deserialize;

use super::Rules;
use super::text::pieces;

/// How much of an image is read to find its size: a JPEG may have a thumbnail and colour profiles before it.
const PICTURE_HEAD: u64 = 256 << 10;
/// The assumed size of an image that is given by reference: a page of text or a screen, as most providers
/// scale it.
const USUAL_PICTURE: (f64, f64) = (1024.0, 1024.0);
/// Bytes per page of a PDF in which no page is found because it is compressed.
const PAGE_BYTES: usize = 40_000;
/// Bytes per second of audio without a header: MP3 of 128 kbit/s.
const SOUND_BYTES: f64 = 16_000.0;
/// Bytes per second of video.
const VIDEO_BYTES: f64 = 250_000.0;
/// Seconds of audio or video that is given by reference.
const USUAL_SECONDS: f64 = 60.0;

/// How a family counts pictures.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "by")]
pub enum Picture {
    /// One token per this many pixels, after scaling down to the maximum tokens and the longest side.
    Area {
        /// Pixels of a token.
        pixels: f64,
        /// Most tokens.
        most: f64,
        /// Longest side.
        side: f64,
    },
    /// Squares of 512 pixels, after scaling into 2048 by 2048 and to a shortest side of 768.
    Tiles {
        /// Tokens of a square.
        tile: f64,
        /// Tokens of the picture besides its squares; the total in low detail.
        base: f64,
    },
    /// Squares of a fixed size, after scaling down to the maximum number of squares.
    Patches {
        /// Pixels of a square's side.
        side: f64,
        /// Most squares.
        most: f64,
        /// Tokens of a square.
        times: f64,
    },
    /// One unit for a small picture, else one per square that it is cut into.
    Crops {
        /// Tokens of a unit.
        unit: f64,
    },
    /// The same for every picture.
    Each { tokens: f64 },
}

impl Default for Picture {
    fn default() -> Self {
        Self::Area { pixels: 784.0, most: 1600.0, side: 1568.0 }
    }
}

impl Picture {
    /// The tokens of a picture of this size.
    fn tokens(self, (width, height): (f64, f64), is_low: bool) -> f64 {
        match self {
            Self::Area { pixels, most, side } => {
                let scale = (side / width.max(height)).min(1.0);
                (width * height * scale * scale / pixels).min(most).ceil()
            }
            Self::Tiles { base, .. } if is_low => base,
            Self::Tiles { tile, base } => {
                let scale = (2048.0 / width.max(height)).min(1.0);
                let scale = scale * (768.0 / (width.min(height) * scale)).min(1.0);
                let squares = |length: f64| (length * scale / 512.0).ceil();
                base + tile * squares(width) * squares(height)
            }
            Self::Patches { side, most, times } => {
                let squares = |length: f64| (length / side).ceil();
                (squares(width) * squares(height)).min(most) * times
            }
            Self::Crops { unit } if width <= 384.0 && height <= 384.0 => unit,
            Self::Crops { unit } => {
                let side = (width.min(height) / 1.5).floor().clamp(256.0, 768.0);
                unit * (width / side).ceil() * (height / side).ceil()
            }
            Self::Each { tokens } => tokens,
        }
    }
}

pub(super) fn tokens(media: &Media, rules: &Rules) -> f64 {
    let data = match &media.source {
        Source::Base64 { data, .. } => Some(data.as_str()),
        _ => None,
    };
    let bytes = data.map(|data| data.len() / 4 * 3);
    match media.kind {
        MediaKind::Image => {
            let is_low = media.detail.as_deref() == Some("low");
            rules.picture.tokens(data.and_then(picture_size).unwrap_or(USUAL_PICTURE), is_low)
        }
        MediaKind::Document if is_text(&media.source) => {
            let mut text = String::new();
            let is_read = reader(data.unwrap_or_default()).read_to_string(&mut text).is_ok();
            let found = pieces(if is_read { &text } else { "" });
            rules.text * (found.latin + found.triplets) + rules.scripts * found.scripts
        }
        MediaKind::Document => rules.page * data.map_or(1, pages) as f64,
        MediaKind::Audio => {
            rules.audio
                * data.zip(bytes).map_or(USUAL_SECONDS, |(data, bytes)| bytes as f64 / sound_rate(data))
        }
        MediaKind::Video => rules.video * bytes.map_or(USUAL_SECONDS, |bytes| bytes as f64 / VIDEO_BYTES),
    }
}

fn reader(data: &str) -> impl Read {
    DecoderReader::new(data.as_bytes(), &STANDARD)
}

fn is_text(source: &Source) -> bool {
    matches!(source, Source::Base64 { mime, .. } if mime.starts_with("text/") || mime == "application/json")
}

fn picture_size(data: &str) -> Option<(f64, f64)> {
    let mut head = Vec::new();
    // A truncated image may still contain its size.
    let _ = reader(data).take(PICTURE_HEAD).read_to_end(&mut head);
    let size = imagesize::blob_size(&head).ok()?;
    (size.width > 0 && size.height > 0).then_some((size.width as f64, size.height as f64))
}

/// The pages of a PDF: objects of type `Page`.
fn pages(data: &str) -> usize {
    let mut reader = reader(data);
    let (mut window, mut found) = (Vec::new(), 0);
    let mut piece = [0; 16 << 10];
    while let Ok(read @ 1..) = reader.read(&mut piece) {
        window.extend_from_slice(&piece[..read]);
        // A name that is cut at the end of a piece is found with the next piece.
        let whole = window.len().saturating_sub(LONGEST_NAME);
        found += memchr::memmem::find_iter(&window, b"/Type")
            .take_while(|at| *at < whole)
            .filter(|at| is_page(&window[at + 5..]))
            .count();
        window.drain(..whole);
    }
    found += memchr::memmem::find_iter(&window, b"/Type").filter(|at| is_page(&window[at + 5..])).count();
    if found == 0 { (data.len() / 4 * 3).div_ceil(PAGE_BYTES) } else { found }
}

/// Longest `/Type /Page` with the following character.
const LONGEST_NAME: usize = 24;

fn is_page(rest: &[u8]) -> bool {
    let name = rest.trim_ascii_start().strip_prefix(b"/Page");
    name.is_some_and(|rest| rest.first().is_none_or(|next| !next.is_ascii_alphanumeric()))
}

/// Bytes per second of audio: a WAV file states it.
fn sound_rate(data: &str) -> f64 {
    let mut head = [0; 44];
    let is_wav = reader(data).read_exact(&mut head).is_ok() && head.starts_with(b"RIFF");
    let rate = u32::from_le_bytes([head[28], head[29], head[30], head[31]]);
    if is_wav && rate > 0 { f64::from(rate) } else { SOUND_BYTES }
}

#[cfg(test)]
mod tests {
    use base64::Engine;

    use super::*;

    /// The beginning of a PNG of this size.
    fn png(width: u32, height: u32) -> Media {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
        inline(MediaKind::Image, "image/png", &bytes)
    }

    fn inline(kind: MediaKind, mime: &str, bytes: &[u8]) -> Media {
        let source = Source::Base64 { mime: mime.to_owned(), data: STANDARD.encode(bytes) };
        Media { kind, source, filename: None, detail: None }
    }

    fn near(media: &Media, rules: &Rules, expected: f64) {
        let found = tokens(media, rules);
        assert!((found - expected).abs() < 0.5, "{found}, not {expected}");
    }

    fn by(picture: Picture) -> Rules {
        Rules { picture, ..Rules::default() }
    }

    /// The examples of the providers' own pages.
    #[test]
    fn pictures_count_as_documented() {
        let tiles = by(Picture::Tiles { tile: 170.0, base: 85.0 });
        near(&png(1024, 1024), &tiles, 765.0);
        near(&png(2048, 4096), &tiles, 1105.0);
        near(&Media { detail: Some("low".to_owned()), ..png(2048, 4096) }, &tiles, 85.0);
        let area = by(Picture::Area { pixels: 750.0, most: 1600.0, side: 1568.0 });
        near(&png(200, 200), &area, 54.0);
        near(&png(1000, 1000), &area, 1334.0);
        near(&png(8000, 8000), &area, 1600.0);
        let patches = by(Picture::Patches { side: 32.0, most: 1536.0, times: 1.0 });
        near(&png(1024, 1024), &patches, 1024.0);
        near(&png(4000, 4000), &patches, 1536.0);
        let crops = by(Picture::Crops { unit: 258.0 });
        near(&png(384, 384), &crops, 258.0);
        near(&png(960, 540), &crops, 6.0 * 258.0);
    }

    #[test]
    fn media_that_cannot_be_measured_count_as_assumed() {
        let area = by(Picture::Area { pixels: 750.0, most: 1600.0, side: 1568.0 });
        let url = Media { source: Source::Url("https://example.com/a.png".to_owned()), ..png(1, 1) };
        near(&url, &area, 1399.0);
        near(&inline(MediaKind::Image, "image/png", b"no picture"), &area, 1399.0);
    }

    #[test]
    fn documents_count_by_page_or_by_text() {
        let rules = Rules { page: 1000.0, ..Rules::default() };
        let mut pdf = b"%PDF-1.4\n<</Type /Pages /Count 3>>".to_vec();
        for _ in 0..3 {
            pdf.extend(vec![b' '; 9000]);
            pdf.extend(b"<</Type/Page/Parent 1 0 R>>");
        }
        near(&inline(MediaKind::Document, "application/pdf", &pdf), &rules, 3000.0);
        // A name at every position where a piece may be cut.
        for before in (16 << 10) - 30..=(16 << 10) + 2 {
            let cut = [vec![b' '; before], b"/Type /Page ".to_vec(), vec![b' '; 20_000]].concat();
            near(&inline(MediaKind::Document, "application/pdf", &cut), &rules, 1000.0);
        }
        let compressed = vec![b'x'; 3 * PAGE_BYTES];
        near(&inline(MediaKind::Document, "application/pdf", &compressed), &rules, 3000.0);
        near(&inline(MediaKind::Document, "text/plain", b"four words of text"), &rules, 4.0 * 0.885);
    }

    #[test]
    fn audio_counts_by_the_second() {
        let rules = Rules { audio: 32.0, ..Rules::default() };
        let mut wav = b"RIFF....WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        wav.extend(16_000_u32.to_le_bytes());
        wav.extend(32_000_u32.to_le_bytes());
        wav.resize(64_000, 0);
        near(&inline(MediaKind::Audio, "audio/wav", &wav), &rules, 64.0);
        near(&inline(MediaKind::Audio, "audio/mp3", &vec![0; 32_000]), &rules, 64.0);
    }
}
