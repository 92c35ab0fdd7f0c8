//! Fetches media that a request names by URL, for providers that take only bytes.
//!
//! The client controls the URL, so the guard is strict: only http and https, only public addresses (the
//! resolved address is checked and connected to, again for each redirect), no credentials, limits of size,
//! time, number and type. Only the URL of the request is sent: no header of the caller, no cookie, no key.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use canon::{Error, MediaKind, Result};
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use http::{Response, Uri};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wire::{MediaFile, MediaUrl};

use crate::buffers::Held;

use super::address_guard::Guard;
use super::client::{AnswerBody, Client};
use super::outbound::Route;

/// Most redirects that are followed.
const REDIRECTS: usize = 3;
/// Most files of one request.
const FILES: usize = 20;
/// Most files that are fetched at a time for one request.
const AT_A_TIME: usize = 4;
/// Most files that are fetched at a time for all requests: together with the size limit this bounds the
/// memory.
const AT_A_TIME_FOR_ALL: usize = 32;

/// The longest that connecting to a file's server may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The limits of size and time.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Largest file, in bytes.
    file: usize,
    /// All files of one request together, in bytes.
    request: usize,
    /// Longest time for one file, redirects included.
    time: Duration,
}

const LIMITS: Limits = Limits { file: 20 << 20, request: 50 << 20, time: Duration::from_secs(20) };

#[derive(Clone)]
pub struct MediaFetcher {
    client: Client,
    guard: Guard,
    limits: Limits,
    places: Arc<Semaphore>,
}

impl Default for MediaFetcher {
    fn default() -> Self {
        Self::new(Route::default(), Guard::default(), LIMITS)
    }
}

impl MediaFetcher {
    /// Fetches over this route, from public addresses only.
    pub fn guarded(route: Route) -> Self {
        Self::new(route, Guard::default(), LIMITS)
    }

    fn new(route: Route, guard: Guard, limits: Limits) -> Self {
        let route = Route { limit: CONNECT_LIMIT, ..route };
        Self {
            client: Client::guarded(route, guard.clone()),
            guard,
            limits,
            places: Arc::new(Semaphore::new(AT_A_TIME_FOR_ALL)),
        }
    }

    /// Fetches files, a few at a time, each URL once. Returns either all of them in order, or an error that
    /// names the first failed one. `held` grows by the memory of the files and of a body with them.
    pub async fn fetch_all(&self, wanted: Vec<MediaUrl>, held: &mut Held) -> Result<Vec<MediaFile>> {
        let mut addresses: Vec<Address<'_>> = Vec::new();
        let mut places = HashMap::new();
        for (first, MediaUrl { url, kind, .. }) in wanted.iter().enumerate() {
            let place = *places.entry((url.as_str(), *kind)).or_insert_with(|| {
                addresses.push(Address { url, kind: *kind, first, uses: 0 });
                addresses.len() - 1
            });
            addresses[place].uses += 1;
        }
        if let Some(address) = addresses.get(FILES) {
            let message = format!("The request names more than {FILES} files by URL.");
            return Err(Error::invalid(wanted[address.first].path.clone(), message));
        }
        let files = self.fetch_each(&addresses, held).await.map_err(|(failed, reason)| match reason {
            NotFetched::NoRoom(error) => error,
            NotFetched::Unusable(reason) => {
                let path = &wanted[addresses[failed].first].path;
                Error::invalid(path.clone(), format!("{path} cannot be used: {reason}"))
            }
        })?;
        let file = |wanted: &MediaUrl| files[places[&(wanted.url.as_str(), wanted.kind)]].clone();
        Ok(wanted.iter().map(file).collect())
    }

    async fn fetch_each(
        &self,
        addresses: &[Address<'_>],
        held: &mut Held,
    ) -> Result<Vec<MediaFile>, (usize, NotFetched)> {
        let mut files: Vec<Option<MediaFile>> = vec![None; addresses.len()];
        let mut tasks = JoinSet::new();
        let (mut next, mut total) = (0, 0);
        // Dropping the tasks ends them: a caller who hangs up, or a failed file, stops the others.
        loop {
            while next < addresses.len() && tasks.len() < AT_A_TIME {
                let (fetcher, Address { url, kind, .. }, place) = (self.clone(), addresses[next], next);
                let (url, mut share) = (url.to_owned(), held.further());
                tasks.spawn(async move { (place, fetcher.fetch(&url, kind, &mut share).await, share) });
                next += 1;
            }
            match tasks.join_next().await {
                None => break,
                Some(Ok((place, Ok((mime, data)), share))) => {
                    held.join(share);
                    let uses = addresses[place].uses;
                    total = data.len().saturating_mul(uses).saturating_add(total);
                    if total > self.limits.request {
                        let limit = self.limits.request;
                        let reason = format!("the files by URL are larger than {limit} bytes together.");
                        return Err((place, reason.into()));
                    }
                    // For each use the file as base64, and once more in the body.
                    let more = uses * 2 * (data.len().div_ceil(3) * 4) - data.len();
                    held.grow(more).await.map_err(|full| (place, NotFetched::NoRoom(full)))?;
                    files[place] = Some(MediaFile { mime, data: STANDARD.encode(data) });
                }
                Some(Ok((place, Err(reason), _))) => return Err((place, reason)),
                Some(Err(_)) => return Err((0, "it could not be fetched.".to_owned().into())),
            }
        }
        Ok(files.into_iter().flatten().collect())
    }

    async fn fetch(&self, url: &str, kind: MediaKind, held: &mut Held) -> Result<Fetched, NotFetched> {
        let fetching = async {
            let _place = self.places.acquire().await.map_err(|_| "the gateway stops.".to_owned())?;
            self.follow(url, kind, held).await
        };
        match tokio::time::timeout(self.limits.time, fetching).await {
            Ok(result) => result,
            Err(_) => {
                Err(format!("it did not arrive within {} seconds.", self.limits.time.as_secs_f64()).into())
            }
        }
    }

    async fn follow(&self, url: &str, kind: MediaKind, held: &mut Held) -> Result<Fetched, NotFetched> {
        let mut uri: Uri = url.parse().map_err(|_| "its URL is not valid.".to_owned())?;
        for _ in 0..=REDIRECTS {
            self.guard.check(&uri)?;
            let request = http::Request::get(uri.clone())
                .header(ACCEPT, "image/*, application/pdf, audio/*, video/*, text/plain")
                .body(Bytes::new())
                .map_err(|_| "its URL is not valid.".to_owned())?;
            let response = self.client.fetch(request).await.map_err(|reason| format!("{reason}."))?;
            match response.status().as_u16() {
                200 => return self.take(response, kind, held).await,
                301 | 302 | 303 | 307 | 308 => uri = next(&uri, &response)?,
                status => return Err(format!("its server answered with status {status}.").into()),
            }
        }
        Err(format!("its server redirects more than {REDIRECTS} times.").into())
    }

    /// Reads the file, up to the limit.
    async fn take(
        &self,
        response: Response<AnswerBody>,
        kind: MediaKind,
        held: &mut Held,
    ) -> Result<Fetched, NotFetched> {
        let (head, mut body) = response.into_parts();
        let limit = self.limits.file;
        if body.size_hint().lower() > limit as u64 {
            return Err(format!("it is larger than {limit} bytes.").into());
        }
        let declared =
            head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
        let mut data = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| "it broke off.".to_owned())?;
            let Ok(piece) = frame.into_data() else { continue };
            if data.len() + piece.len() > limit {
                return Err(format!("it is larger than {limit} bytes.").into());
            }
            held.grow(piece.len()).await.map_err(NotFetched::NoRoom)?;
            data.extend_from_slice(&piece);
        }
        let mime = mime_of(&data, &declared);
        if fits(kind, &mime, &data) {
            Ok((mime, data))
        } else {
            Err(format!("its content is {mime:?}, not {}.", kind_name(kind)).into())
        }
    }
}

/// A URL of a request.
#[derive(Clone, Copy)]
struct Address<'a> {
    url: &'a str,
    kind: MediaKind,
    /// The index of its first use among the wanted files.
    first: usize,
    /// How often the request names it.
    uses: usize,
}

/// A file: its MIME type and its content.
type Fetched = (String, Vec<u8>);

/// Why there is no file.
#[derive(Debug)]
enum NotFetched {
    /// The file or its server.
    Unusable(String),
    /// The gateway's memory for requests is full.
    NoRoom(Error),
}

impl From<String> for NotFetched {
    fn from(reason: String) -> Self {
        Self::Unusable(reason)
    }
}

fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "an image",
        MediaKind::Audio => "audio",
        MediaKind::Video => "a video",
        MediaKind::Document => "a PDF or text file",
    }
}

/// Whether the content has the expected kind. Images, audio, videos and PDF are detected by their content;
/// the server's content type is enough only for types without a signature, and never for a text in place of a
/// file.
fn fits(kind: MediaKind, mime: &str, data: &[u8]) -> bool {
    let marked = mark_of(data).is_some();
    let is_text = !data.is_empty() && std::str::from_utf8(data).is_ok_and(|text| !text.contains('\0'));
    match kind {
        MediaKind::Image => marked && mime.starts_with("image/"),
        MediaKind::Audio => mime.starts_with("audio/") && (marked || !is_text),
        MediaKind::Video => mime.starts_with("video/") && (marked || !is_text),
        MediaKind::Document if mime == "application/pdf" => marked,
        MediaKind::Document if mime.starts_with("text/") => is_text,
        MediaKind::Document => OFFICE.iter().any(|office| mime.starts_with(office)) && !is_text,
    }
}

/// Documents that some providers take and that have no signature.
const OFFICE: [&str; 3] =
    ["application/vnd.openxmlformats-officedocument.", "application/msword", "application/vnd.ms-excel"];

/// The type by the first bytes, which are unambiguous, else the server's content type.
fn mime_of(data: &[u8], declared: &str) -> String {
    let declared = declared.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match mark_of(data) {
        // These frames contain audio or video.
        Some("application/ogg") if declared.starts_with("video/") => "video/ogg".to_owned(),
        Some("application/ogg") => "audio/ogg".to_owned(),
        Some("video/webm") if declared.starts_with("audio/") => "audio/webm".to_owned(),
        Some("video/mp4") if declared.starts_with("audio/") || declared == "video/quicktime" => declared,
        Some(mime) => mime.to_owned(),
        None if declared.is_empty() => "application/octet-stream".to_owned(),
        None => declared,
    }
}

fn mark_of(data: &[u8]) -> Option<&'static str> {
    Some(match data {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => "image/bmp",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "image/tiff",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => "audio/wav",
        [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e' | b'm', ..] => "image/heic",
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f', ..] => "image/avif",
        [_, _, _, _, b'f', b't', b'y', b'p', b'M', b'4', b'A', ..] => "audio/mp4",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "video/mp4",
        [b'I', b'D', b'3', ..] | [0xff, 0xe3 | 0xf3 | 0xfa | 0xfb, ..] => "audio/mpeg",
        [0xff, 0xf1 | 0xf9, ..] => "audio/aac",
        [b'f', b'L', b'a', b'C', ..] => "audio/flac",
        [b'O', b'g', b'g', b'S', ..] => "application/ogg",
        [0x1a, 0x45, 0xdf, 0xa3, ..] => "video/webm",
        [b'%', b'P', b'D', b'F', ..] => "application/pdf",
        _ => return None,
    })
}

/// The target of a redirect: an absolute URL, or one relative to the last.
fn next(from: &Uri, response: &Response<AnswerBody>) -> Result<Uri, String> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("");
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map_or("", |authority| authority.as_str());
    let has_scheme = location.split_once(':').is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    let target = if has_scheme {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    target.parse().map_err(|_| "its server redirects to an address that is not valid.".to_owned())
}

#[cfg(test)]
mod tests;
