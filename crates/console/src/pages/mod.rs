//! The pages, one file each.

pub mod audit;
mod bodies;
pub mod find;
mod histogram;
pub mod login;
pub mod models;
pub mod overview;
pub mod playground;
pub mod project;
pub mod projects;
pub mod request;
pub mod requests;
pub mod routing;
pub mod settings;
mod tags;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use maud::html;
use store::StoreError;

use crate::Console;
use crate::components::page::{Page, Reader, document, head};
use crate::components::{empty, mark};
use crate::session::Session;

/// The page for unknown paths, for readers who are signed in.
pub async fn not_found(
    State(console): State<Arc<Console>>,
    session: Session,
    headers: HeaderMap,
) -> Response {
    let reader = Reader { console: &console, session: &session, headers: &headers };
    absent(&reader, "This page does not exist", "The navigation lists the pages.")
}

/// Something that does not exist.
pub fn absent(reader: &Reader<'_>, title: &str, words: &str) -> Response {
    let page = Page { title: "Not found", status: Some(StatusCode::NOT_FOUND), ..Page::default() };
    page.around(reader, html! { section.panel { (empty(title, words)) } })
}

/// The database does not answer, and without it no reader can be identified.
pub fn away(error: &StoreError) -> Response {
    tracing::warn!(%error, "the dashboard could not use the database");
    let markup = html! {
        (maud::DOCTYPE)
        html lang="en" {
            (head("Unavailable", &[]))
            body data-page="login" {
                main.login #main {
                    div.empty {
                        (mark("bad", "badc"))
                        h1 { "The database does not answer" }
                        p { "The dashboard cannot check sessions without it. Requests of callers continue; the log has the reason." }
                        div.acts { a.btn href="" { "Try again" } }
                    }
                }
            }
        }
    };
    document(StatusCode::SERVICE_UNAVAILABLE, markup)
}

/// A mistake in a form, with a link back.
pub fn refused(reader: &Reader<'_>, status: StatusCode, words: &str, back: &str) -> Response {
    let page = Page { title: "Refused", status: Some(status), ..Page::default() };
    let body = html! {
        section.panel {
            div.empty role="alert" {
                (mark("bad", "badc"))
                h3 { "Nothing was changed" }
                p { (words) }
                div.acts { a.btn.primary href=(back) { "Back" } }
            }
        }
    };
    page.around(reader, body).into_response()
}

/// A name as a part of a path.
pub fn encoded(name: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const ESCAPED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(name, &ESCAPED).to_string()
}
