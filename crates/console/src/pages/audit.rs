//! `/ui/audit`: the log of changes.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use maud::{Markup, html};
use store::AuditRow;

use crate::Console;
use crate::components::page::{Page, Reader};
use crate::components::parts::unreadable;
use crate::components::{Panel, Table, empty, time};
use crate::fields::Query;
use crate::session::Session;

const PAGE: u32 = 100;

/// The log, the newest first, page by page.
pub async fn page(
    State(console): State<Arc<Console>>,
    session: Session,
    Query(query): Query,
    headers: HeaderMap,
) -> Response {
    let before = query.get("before").and_then(|text| text.parse().ok()).unwrap_or(i64::MAX);
    let body = match console.store.audit_before(before, PAGE + 1).await {
        Ok(rows) => {
            let next = rows.get(PAGE as usize).and_then(|_| rows.get(PAGE as usize - 1)).map(|row| row.id);
            let shown = &rows[..rows.len().min(PAGE as usize)];
            html! {
                @if shown.is_empty() { (empty("Nothing yet", "Changes of projects and keys, sign-ins and reloads are recorded here.")) }
                @else { (table(shown, console.now_ms())) }
                @if let Some(next) = next {
                    footer { a.link href={ "/ui/audit?before=" (next) } rel="next" { "Older" } }
                }
            }
        }
        Err(error) => unreadable("The audit log", &error),
    };
    let reader = Reader { console: &console, session: &session, headers: &headers };
    let page = Page {
        nav: "settings",
        title: "Audit log",
        crumb: Some(html! { a href="/ui/settings" { "Settings" } }),
        ..Page::default()
    };
    page.around(&reader, Panel { raw: true, ..Panel::default() }.around(body))
}

/// Entries as a table.
pub fn table(rows: &[AuditRow], now_ms: i64) -> Markup {
    let table = Table {
        caption: "Who changed what",
        class: "dense",
        columns: &[("When", ""), ("Who", ""), ("Action", ""), ("Target", "max")],
    };
    table.around(html! {
        @for row in rows {
            tr {
                td { span.t3 { (time::when(row.at_ms, now_ms)) } }
                td { span.clip.mx160 title=(row.actor) { (row.actor) } }
                td { (row.action) }
                td.max { span.clip title=(row.detail) { (row.target) " " span.t3 { (row.detail) } } }
            }
        }
    })
}
