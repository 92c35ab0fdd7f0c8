//! Images, documents, audio and videos, inline: the API fetches only objects in S3.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use canon::{Error, Field, Losses, Media, MediaKind, PartField, Result, Source};

use crate::protocols::bedrock_converse::request::types::*;

/// Writes media. Names of documents must be unique within a request.
#[derive(Debug, Default)]
pub(super) struct Documents {
    names: BTreeSet<String>,
    /// How often a name was written, so that the search for a free one starts after the last.
    counts: BTreeMap<String, usize>,
}

impl Documents {
    /// The block of one piece of media; `path` is its place in the request.
    pub fn media<'a>(&mut self, media: &'a Media, path: &Field, losses: &mut Losses) -> Result<Block<'a>> {
        let table = match media.kind {
            MediaKind::Image => IMAGE_FORMATS,
            MediaKind::Document => DOCUMENT_FORMATS,
            MediaKind::Video => VIDEO_FORMATS,
            MediaKind::Audio => AUDIO_FORMATS,
        };
        let filename = media.filename.as_deref();
        let (source, format) = match &media.source {
            Source::Base64 { mime, data } => {
                (MediaSource::Bytes(data.into()), format_of(table, Some(mime), filename))
            }
            Source::Text(text) => {
                let format = format_of(table, None, filename).filter(|format| TEXT_FORMATS.contains(format));
                (MediaSource::Bytes(STANDARD.encode(text).into()), format.or(Some("txt")))
            }
            Source::Url(uri) if uri.starts_with("s3://") => {
                (MediaSource::S3Location { uri }, format_of(table, None, Some(uri)))
            }
            Source::Url(_) => {
                return Err(Error::unsupported(
                    path.clone(),
                    "This provider does not fetch URLs; send the file itself as base64 or in a data URL.",
                ));
            }
            Source::FileId(_) => {
                return Err(Error::unsupported(
                    path.clone(),
                    "This provider keeps no uploaded files; send the file itself as base64 or in a data URL.",
                ));
            }
        };
        let format = format.ok_or_else(|| {
            let known: Vec<_> = table.iter().map(|(_, format)| *format).collect();
            Error::unsupported(
                path.clone(),
                format!("This provider does not accept media of this type; it accepts {}.", known.join(", ")),
            )
        })?;
        let name = (media.kind == MediaKind::Document).then(|| {
            let name = self.name(filename);
            if filename.is_some_and(|given| !given.is_empty() && stem_of(given) != name) {
                let reason = "The provider accepts letters, digits and a few signs, and each name only once.";
                losses.approximated(path.clone().with(PartField::Filename), reason);
            }
            name
        });
        let block = Box::new(MediaBlock { format, name, source });
        Ok(match media.kind {
            MediaKind::Image => Block::Image(block),
            MediaKind::Document => Block::Document(block),
            MediaKind::Video => Block::Video(block),
            MediaKind::Audio => Block::Audio(block),
        })
    }

    /// A name of letters, digits, single spaces, hyphens, parentheses and brackets, unique within the request.
    fn name(&mut self, filename: Option<&str>) -> String {
        let clean = clean_document_name(filename.unwrap_or_default());
        if self.names.insert(clean.clone()) {
            return clean;
        }
        let count = self.counts.entry(clean.clone()).or_insert(1);
        loop {
            *count += 1;
            let name = format!("{clean} {count}");
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// A file's name without the extension, which the format already states.
fn stem_of(filename: &str) -> &str {
    match filename.rsplit_once('.') {
        Some((stem, ending))
            if DOCUMENT_FORMATS.iter().any(|(_, format)| ending.eq_ignore_ascii_case(format)) =>
        {
            stem
        }
        _ => filename,
    }
}

fn clean_document_name(filename: &str) -> String {
    let stem = stem_of(filename.rsplit(['/', '\\']).next().unwrap_or_default());
    let allowed = |letter: char| match letter {
        _ if letter.is_ascii_alphanumeric() || "-()[]".contains(letter) => letter,
        _ if letter.is_whitespace() => ' ',
        _ => '-',
    };
    let letters: String = stem.chars().map(allowed).collect();
    let words: Vec<_> = letters.split_whitespace().collect();
    let name: String = words.join(" ").chars().take(150).collect();
    if name.trim().is_empty() { "document".to_owned() } else { name.trim().to_owned() }
}

/// By MIME type, else by the extension of the file's name.
fn format_of(
    table: &[(&'static str, &'static str)],
    mime: Option<&str>,
    filename: Option<&str>,
) -> Option<&'static str> {
    let mime = mime.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let by_mime = table.iter().find(|(known, _)| *known == mime).map(|(_, format)| *format);
    let by_name = || {
        let ending = filename?.rsplit_once('.')?.1;
        let ending = if ending.eq_ignore_ascii_case("htm") { "html" } else { ending };
        table.iter().find(|(_, format)| format.eq_ignore_ascii_case(ending)).map(|(_, format)| *format)
    };
    // Every other text type can be sent as plain text.
    let is_text = mime.starts_with("text/") || mime == "application/json";
    let as_text = || table.iter().find(|(_, format)| is_text && *format == "txt").map(|(_, format)| *format);
    by_mime.or_else(by_name).or_else(as_text)
}

const IMAGE_FORMATS: &[(&str, &str)] = &[
    ("image/png", "png"),
    ("image/jpeg", "jpeg"),
    ("image/jpg", "jpeg"),
    ("image/gif", "gif"),
    ("image/webp", "webp"),
];

const DOCUMENT_FORMATS: &[(&str, &str)] = &[
    ("application/pdf", "pdf"),
    ("text/csv", "csv"),
    ("application/msword", "doc"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("text/html", "html"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
    ("text/x-markdown", "md"),
    ("text/md", "md"),
];

/// The text formats among them.
const TEXT_FORMATS: [&str; 4] = ["csv", "html", "txt", "md"];

const VIDEO_FORMATS: &[(&str, &str)] = &[
    ("video/mp4", "mp4"),
    ("video/x-matroska", "mkv"),
    ("video/quicktime", "mov"),
    ("video/webm", "webm"),
    ("video/x-flv", "flv"),
    ("video/mpeg", "mpeg"),
    ("video/mpg", "mpg"),
    ("video/x-ms-wmv", "wmv"),
    ("video/3gpp", "three_gp"),
];

const AUDIO_FORMATS: &[(&str, &str)] = &[
    ("audio/mpeg", "mp3"),
    ("audio/mp3", "mp3"),
    ("audio/wav", "wav"),
    ("audio/x-wav", "wav"),
    ("audio/opus", "opus"),
    ("audio/aac", "aac"),
    ("audio/flac", "flac"),
    ("audio/mp4", "mp4"),
    ("audio/ogg", "ogg"),
    ("audio/x-m4a", "m4a"),
    ("audio/webm", "webm"),
    ("audio/pcm", "pcm"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_names_are_cleaned() {
        let cases = [
            ("report.pdf", "report"),
            ("dir/My  résumé (v1).docx", "My r-sum- (v1)"),
            ("a_b.tar.gz", "a-b-tar-gz"),
            ("", "document"),
            ("   .pdf", "document"),
        ];
        for (filename, name) in cases {
            assert_eq!(clean_document_name(filename), name, "{filename}");
        }
        assert_eq!(clean_document_name(&"x".repeat(500)).len(), 150);
    }
}
