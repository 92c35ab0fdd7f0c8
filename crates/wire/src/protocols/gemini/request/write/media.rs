//! Images, audio, documents and videos of a request.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use canon::{Error, Field, Media, MediaKind, PartField, Result, Source};

use crate::protocols::gemini::request::types::{Blob, File, Kind};
use crate::protocols::media_types::document_type;

/// The Files API of the Gemini API: it names uploaded files by URI.
const FILES_API: &str = "https://generativelanguage.googleapis.com/";

/// The part that holds the media. `part` names the caller's content part.
pub(super) fn media_part<'a>(media: &'a Media, part: Field) -> Result<Kind<'a>> {
    let field = || part.with(PartField::Source(media.kind));
    match &media.source {
        Source::Base64 { data, .. } => Ok(inline(media, data.as_str())),
        Source::Text(text) => Ok(inline(media, STANDARD.encode(text))),
        Source::Url(url) => from_url(media.kind, url).ok_or_else(|| {
            Error::unsupported(
                field(),
                "The provider does not fetch media from the web: send the file itself as base64 or in a data URL.",
            )
        }),
        Source::FileId(id) => from_file_id(media.kind, id).ok_or_else(|| {
            Error::unsupported(
                field(),
                "The provider does not know this file id: send the file's content, or a URI of its Files API.",
            )
        }),
    }
}

/// True for media whose URL the provider cannot read itself.
pub(crate) fn wants_bytes(media: &Media) -> bool {
    matches!(&media.source, Source::Url(url) if from_url(media.kind, url).is_none())
}

/// True for a URL that the provider reads itself for any model.
pub(crate) fn is_read_by_provider(url: &str) -> bool {
    from_url(MediaKind::Document, url).is_some()
}

/// The kind of media of a MIME type.
pub(crate) fn kind_of(mime: &str) -> MediaKind {
    match mime.split('/').next() {
        Some("image") => MediaKind::Image,
        Some("audio") => MediaKind::Audio,
        Some("video") => MediaKind::Video,
        _ => MediaKind::Document,
    }
}

/// The MIME type of media that are sent inline.
pub(super) fn inline_mime(media: &Media) -> Option<Cow<'_, str>> {
    match &media.source {
        Source::Base64 { mime, .. } => Some(mime_name(mime)),
        Source::Text(_) => {
            let mime = media.filename.as_deref().and_then(document_type);
            Some(mime_name(mime.filter(|mime| mime.starts_with("text/")).unwrap_or("text/plain")))
        }
        Source::Url(_) | Source::FileId(_) => None,
    }
}

fn inline<'a>(media: &'a Media, data: impl Into<Cow<'a, str>>) -> Kind<'a> {
    Kind::Inline(Blob { mime_type: inline_mime(media).unwrap_or_default(), data: data.into() })
}

/// Text formats that the API lists ("Document understanding"); every other text is sent as plain text.
const TEXTS: [&str; 8] =
    ["text/plain", "text/html", "text/css", "text/md", "text/markdown", "text/csv", "text/xml", "text/rtf"];
/// Text types without a `text/` prefix.
const OTHER_TEXTS: [&str; 3] = ["application/json", "application/xml", "application/yaml"];

/// Names that clients use and the API does not accept.
fn mime_name(mime: &str) -> Cow<'_, str> {
    match mime {
        "text/javascript" | "text/x-python" => Cow::Borrowed(mime),
        "text/x-markdown" => Cow::Borrowed("text/markdown"),
        "application/rtf" => Cow::Borrowed("text/rtf"),
        mime if mime.starts_with("text/") && !TEXTS.contains(&mime) || OTHER_TEXTS.contains(&mime) => {
            Cow::Borrowed("text/plain")
        }
        "image/jpg" => Cow::Borrowed("image/jpeg"),
        "audio/mpeg" | "audio/mpga" => Cow::Borrowed("audio/mp3"),
        "audio/x-wav" | "audio/wave" => Cow::Borrowed("audio/wav"),
        mime => Cow::Borrowed(mime),
    }
}

/// A URL that the provider reads itself: YouTube, Cloud Storage, its own Files API.
fn from_url(kind: MediaKind, url: &str) -> Option<Kind<'_>> {
    let file = |mime_type| file(mime_type, Cow::Borrowed(url));
    if url.starts_with(FILES_API) {
        return Some(file(mime_of_path(url)));
    }
    if is_youtube(url) {
        return Some(file(Some("video/mp4")));
    }
    url.starts_with("gs://").then(|| file(Some(guessed_mime(kind, url))))
}

fn file<'a>(mime_type: Option<&'static str>, file_uri: Cow<'a, str>) -> Kind<'a> {
    Kind::File(File { mime_type, file_uri })
}

fn is_youtube(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return false;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    matches!(host, "youtube.com" | "www.youtube.com" | "m.youtube.com" | "youtu.be")
}

fn from_file_id(kind: MediaKind, id: &str) -> Option<Kind<'_>> {
    if id.starts_with("files/") {
        let file_uri = Cow::Owned(format!("{FILES_API}v1beta/{id}"));
        return Some(file(None, file_uri));
    }
    from_url(kind, id)
}

/// The type of a URL's file, guessed from its name.
pub(crate) fn guessed_mime(kind: MediaKind, url: &str) -> &'static str {
    mime_of_path(url).unwrap_or_else(|| usual_mime(kind))
}

fn usual_mime(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "image/jpeg",
        MediaKind::Audio => "audio/mp3",
        MediaKind::Document => "application/pdf",
        MediaKind::Video => "video/mp4",
    }
}

fn mime_of_path(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let name = path.rsplit('/').next()?;
    let mime = match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "gif" => "image/gif",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "ogg" => "audio/ogg",
        "aac" => "audio/aac",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "csv" => "text/csv",
        "html" => "text/html",
        "md" => "text/markdown",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mov" => "video/quicktime",
        "mpeg" | "mpg" => "video/mpeg",
        _ => return None,
    };
    Some(mime)
}
