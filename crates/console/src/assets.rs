//! Style, scripts and icons, in the binary. Their URL holds a hash of all of them, so that browsers cache them without expiry and
//! never mix two releases.

use std::sync::OnceLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Name, type, content.
static ASSETS: &[(&str, &str, &str)] = &[
    ("style.css", CSS, include_str!("../assets/style.css")),
    ("app.js", JS, include_str!("../assets/app.js")),
    ("chart.js", JS, include_str!("../assets/chart.js")),
    ("live.js", JS, include_str!("../assets/live.js")),
    ("playground.js", JS, include_str!("../assets/playground.js")),
    ("icon.svg", SVG, include_str!("../assets/icon.svg")),
    ("chevron.svg", SVG, include_str!("../assets/chevron.svg")),
];

pub fn url(name: &str) -> String {
    format!("/ui/assets/{}/{name}", hash())
}

fn hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| {
        let mut hasher = blake3::Hasher::new();
        for (name, _, content) in ASSETS {
            hasher.update(name.as_bytes()).update(content.as_bytes());
        }
        hasher.finalize().to_hex()[..12].to_owned()
    })
}

/// `GET /ui/assets/{hash}/{name}`. Another hash belongs to a page of another release, which gets nothing: a
/// mix of both would break.
pub async fn serve(Path((asked, name)): Path<(String, String)>) -> Response {
    let found = ASSETS.iter().find(|(known, ..)| *known == name).filter(|_| asked == hash());
    let Some((_, kind, content)) = found else { return StatusCode::NOT_FOUND.into_response() };
    let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
    ([(CONTENT_TYPE, HeaderValue::from_static(kind)), (CACHE_CONTROL, kept)], *content).into_response()
}
