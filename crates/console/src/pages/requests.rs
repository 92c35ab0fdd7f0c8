//! `/ui/requests`: the log. Filter, views, live tail, page by cursor.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use maud::{Markup, html};
use store::{Cursor, RequestFilter, RequestRow, StoreError, UsageRecord};

use super::encoded;
use super::histogram::histogram;
use crate::Console;
use crate::components::number::{absent, count, duration, maybe_duration, money};
use crate::components::page::{Page, Reader, document};
use crate::components::parts::{segments, unreadable};
use crate::components::time::{self, DAY_MS};
use crate::components::{Table, icon, state};
use crate::fields::{Fields, Query};
use crate::session::Session;

const ROWS: u32 = 60;
/// Ranges by their name in the query.
const RANGES: &[(&str, i64)] =
    &[("15m", 900_000), ("1h", 3_600_000), ("24h", DAY_MS), ("7d", 7 * DAY_MS), ("30d", 30 * DAY_MS)];
/// The fixed views: label and filter.
const VIEWS: &[(&str, &str)] = &[
    ("All", ""),
    ("Errors", "is:failed"),
    ("Recovered", "is:recovered"),
    ("Slow", "is:slow"),
    ("Lossy", "is:lossy"),
    ("Unpriced", "is:unpriced"),
    ("Cached", "is:cached"),
    ("From the response cache", "is:hit"),
    ("Cancelled", "is:cancelled"),
];
/// The interval of checks for new requests.
const LOOK_EVERY: Duration = Duration::from_millis(700);
/// A request that takes longer appears when the page is loaded again.
const TAIL_LOOKS_BACK_MS: i64 = 600_000;
/// A tail in the background ends; the browser opens another one when the page is visible again.
const TAIL_LASTS: Duration = Duration::from_secs(3600);

/// The start of the range that a query names, 24 hours without one.
pub fn range(query: &Fields, now_ms: i64) -> (&'static str, i64) {
    let asked = query.text("range");
    let found = RANGES.iter().find(|(name, _)| *name == asked).unwrap_or(&RANGES[2]);
    (found.0, now_ms - found.1)
}

/// Links to the ranges.
pub fn ranges(path: &str, query: &Fields, current: &str) -> Markup {
    let link = |name: &str| format!("{path}?{}", query.with("range", Some(name)));
    segments("Time range", RANGES.iter().map(|(name, _)| (*name, link(name), *name == current)))
}

/// The filter of a query: its words, and its range.
fn filter(query: &Fields, since_ms: i64) -> Result<RequestFilter, store::FilterError> {
    let words = format!("{} {}", query.text("q"), query.text("view"));
    let mut filter = RequestFilter::parse(words.trim())?;
    filter.since_ms = Some(since_ms);
    Ok(filter)
}

pub async fn page(
    State(console): State<Arc<Console>>,
    session: Session,
    Query(query): Query,
    headers: HeaderMap,
) -> Response {
    let now_ms = console.now_ms();
    let (range_name, since_ms) = range(&query, now_ms);
    let before = query.get("before").and_then(|text| text.parse::<Cursor>().ok());
    let body = match filter(&query, since_ms) {
        Err(wrong) => html! {
            section.panel { div.empty role="alert" { h3 { "The filter is not valid" } p { (wrong.to_string()) } } }
        },
        Ok(filter) => match console.store.requests(&filter, before, ROWS).await {
            Ok(found) => {
                let chart = match before {
                    // Without the sums the log is still worth showing.
                    None => histogram(&console, &filter, since_ms).await.unwrap_or_default(),
                    Some(_) => Markup::default(),
                };
                let next = found.next.map(|next| query.with("before", Some(&next.to_string())));
                html! {
                    section.panel {
                        (chart)
                        (log(&found.rows, now_ms))
                        @if found.rows.is_empty() { (nothing(&console, &query, found.next.is_some(), now_ms).await) }
                        footer {
                            span { (found.rows.len()) " shown" @if found.next.is_some() { ", searched back to " (time::when(found.searched_to_ms, now_ms)) } }
                            span.push {}
                            @if before.is_some() { a.btn.sm href={ "/ui/requests?" (query.with("before", None)) } { "Newest" } }
                            @if let Some(next) = next { a.btn.sm rel="next" href={ "/ui/requests?" (next) } { "Older" } }
                        }
                    }
                }
            }
            Err(error) => html! { section.panel { (unreadable("The requests", &error)) } },
        },
    };
    let body = html! {
        div.stack {
            form.filters method="get" action="/ui/requests" role="search" {
                label.fbox {
                    (icon("search")) span.vh { "Filter" }
                    input.in data-filter name="q" value=(query.text("q")) autocomplete="off" spellcheck="false"
                        placeholder="model:claude-* status:5* project:atlas cost:>0.05";
                    kbd { "f" }
                }
                input type="hidden" name="range" value=(range_name);
                @if let Some(view) = query.get("view") { input type="hidden" name="view" value=(view); }
                button.btn.sm { "Filter" }
            }
            div.seg.views role="group" aria-label="Views" {
                @for (label, view) in VIEWS {
                    @let link = Fields::parse(query.with("before", None).as_bytes()).with("view", (!view.is_empty()).then_some(*view));
                    a href={ "/ui/requests?" (link) } aria-current=[(query.text("view") == *view).then_some("true")] { (label) }
                }
            }
            (body)
            span.vh role="status" #live-said {}
        }
        button.btn.primary.held #held type="button" hidden { "0 new" }
    };
    let live = before.is_none().then(|| {
        html! { label.switch hidden { input type="checkbox" role="switch" data-live=(query.with("before", None)); "Live " kbd { "l" } } }
    });
    let acts = html! { @if let Some(live) = live { (live) } (ranges("/ui/requests", &query, range_name)) };
    let reader = Reader { console: &console, session: &session, headers: &headers };
    Page {
        nav: "requests",
        title: "Requests",
        acts: Some(acts),
        scripts: &["live.js", "chart.js"],
        ..Page::default()
    }
    .around(&reader, body)
}

/// The text in place of an empty list: the reason, and what to do.
async fn nothing(console: &Console, query: &Fields, searches_on: bool, now_ms: i64) -> Markup {
    if searches_on {
        return html! { div.empty { h3 { "No match so far" } p { "One page searches a limited number of requests. “Older” continues the search." } } };
    }
    let last = console.store.requests(&RequestFilter::default(), None, 1).await;
    let last = last.ok().and_then(|page| page.rows.first().map(|row| row.record.started_at_ms));
    match last {
        None => first_steps(),
        Some(at) => html! {
            div.empty {
                h3 { "No request in this time range matches" }
                p { "The last request arrived " (time::when(at, now_ms)) ". Choose a longer time range, or clear the filter." }
                div.acts {
                    a.btn href="/ui/requests" { "Clear the filter" }
                    a.btn href={ "/ui/requests?" (query.with("range", Some("30d"))) } { "Last 30 days" }
                }
            }
        },
    }
}

/// What to do before the first request.
pub fn first_steps() -> Markup {
    html! {
        div.empty {
            h3 { "No request yet" }
            p { "Requests appear here within a second. While no provider has a key, " b { "demo/echo" } " answers." }
        }
        div.code.flush {
            pre #firstcurl tabindex="0" {
                "curl http://127.0.0.1:4000/v1/chat/completions \\\n  -H \"Authorization: Bearer $LLMGATEWAY_API_KEY\" -H \"Content-Type: application/json\" \\\n  \
                 -d '{\"model\": \"demo/echo\", \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'"
            }
            (crate::components::parts::copy_from("#firstcurl", "Copy"))
        }
    }
}

fn log(rows: &[RequestRow], now_ms: i64) -> Markup {
    html! { div #log { (table("Requests, newest first", rows, now_ms)) } }
}

/// Requests, a line each.
pub fn table(caption: &str, rows: &[RequestRow], now_ms: i64) -> Markup {
    let table = Table {
        caption,
        class: "dense reqs",
        columns: &[
            ("Time", ""),
            ("Status", ""),
            ("Model", "cm"),
            ("Provider", ""),
            ("Project, key", "p2"),
            ("TTFT", "n"),
            ("Whole", "n"),
            ("Tokens in", "n"),
            ("Cached", "n p3"),
            ("out", "n"),
            ("Cost", "n"),
            ("~Tags", "p3"),
        ],
    };
    table.around(html! { @for row in rows { (line(row, now_ms)) } })
}

pub fn status_kind(record: &UsageRecord) -> &'static str {
    match record.status {
        _ if record.canceled => "off",
        200..=299 if record.error_kind.is_none() => "ok",
        429 | 402 => "warn",
        400..=499 => "off",
        _ => "bad",
    }
}

/// Small squares, one for each attempt.
pub fn pips(record: &UsageRecord) -> Markup {
    let words = |error: &str| match error {
        "" => ("kok", "answered"),
        "rate_limit" => ("kwarn x", "rate-limited"),
        _ => ("kbad x", "failed"),
    };
    let marks: Vec<_> = record.attempts.iter().map(|attempt| words(&attempt.error_type)).collect();
    let label: Vec<&str> = marks.iter().map(|mark| mark.1).collect();
    html! {
        span.pips role="img" aria-label={ (marks.len()) " attempts: " (label.join(", ")) } { @for (class, _) in marks { i class=(class) {} } }
    }
}

/// One row of the log.
fn line(row: &RequestRow, now_ms: i64) -> Markup {
    let record = &row.record;
    let used = record.used_model.as_deref().filter(|used| {
        !used.is_empty()
            && *used != record.requested_model
            && !record.requested_model.ends_with(&format!("/{used}"))
    });
    let usage = record.usage.as_ref();
    let prompt = usage.map(|usage| {
        usage.input + usage.cache_read + usage.cache_write + usage.cache_write_1h + usage.audio_input
    });
    let cached = usage.filter(|usage| usage.cache_read > 0).zip(prompt.filter(|prompt| *prompt > 0));
    let is_today = record.started_at_ms.div_euclid(DAY_MS) == now_ms.div_euclid(DAY_MS);
    let time = if is_today {
        time::clock_tenths(record.started_at_ms)
    } else {
        time::day_of(record.started_at_ms, now_ms) + " " + &time::clock(record.started_at_ms)[..5]
    };
    html! {
        tr.go data-c=(row.cursor) {
            td { span.mono.t3 title=(time::iso(record.started_at_ms)) { (time) } }
            td.a-st { (state(status_kind(record), record.status)) }
            td.cm.a-model {
                a.main.clip href={ "/ui/requests/" (encoded(&record.request_id)) } title=(record.requested_model) {
                    @if record.requested_model.is_empty() { "–" } @else { (record.requested_model) }
                    @if let Some(used) = used { span.t3 { " → " (used) } }
                }
            }
            td.a-prov {
                span.hstack {
                    @match &record.used_provider {
                        Some(provider) => span.clip { (provider) },
                        None if record.attempts.is_empty() => span.t3 { "not sent" },
                        None => span.t3 { (record.attempts.len()) " tried" },
                    }
                    @if record.attempts.len() > 1 || record.attempts.iter().any(|attempt| !attempt.error_type.is_empty()) { (pips(record)) }
                }
            }
            td.p2.a-proj { span.clip.mx160 title={ (record.project) ", " (record.key_id) } { (record.project) " " span.t3 { (record.key_id) } } }
            td.n.a-ttft { (maybe_duration(record.ttft_ms.map(|ms| ms as f64))) }
            td.n.a-dur { (duration(record.duration_ms as f64)) }
            td.n.a-in { @match prompt { Some(tokens) => (count(tokens)), None => (absent()) } }
            td.n.p3.a-ca { @if let Some((usage, prompt)) = cached { span.t3 { (usage.cache_read * 100 / prompt) " %" } } }
            td.n.a-out { @match usage { Some(usage) => (count(usage.output)), None => (absent()) } }
            td.n.a-cost { (money(record.cost.as_ref().map(|cost| cost.total))) }
            td.p3.a-tags { (tags(record)) }
        }
    }
}

fn tags(record: &UsageRecord) -> Markup {
    let mut all: Vec<(String, &str)> = Vec::new();
    if let Some(kind) = &record.error_kind {
        all.push((kind.clone(), "bad"));
    }
    if !record.losses.is_empty() {
        let plural = if record.losses.len() == 1 { "" } else { "es" };
        all.push((format!("{} loss{plural}", record.losses.len()), "warn"));
    }
    if let Some(operation) = &record.operation {
        all.push((operation.to_string(), ""));
    }
    all.extend(record.tags.iter().map(|(name, value)| (format!("{name}={value}"), "")));
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    html! {
        span.hstack.tags {
            @if let Some((name, kind)) = all.first() { span class={ "tag clip mx160 " (kind) } title=(names.join(", ")) { (name) } }
            @if all.len() > 1 { span.tag.line title=(names.join(", ")) { "+" (all.len() - 1) } }
        }
    }
}

/// `GET /ui/requests/live`: how many requests have come, as events.
pub async fn live(State(console): State<Arc<Console>>, session: Session, Query(query): Query) -> Response {
    let Ok(filter) = filter(&query, 0) else {
        return (http::StatusCode::BAD_REQUEST, "The filter is not valid.\n").into_response();
    };
    let tail =
        Tail { console, filter, seen: None, session: session.row.id, left: TAIL_LASTS, is_open: false };
    let events = futures_util::stream::unfold(tail, |mut tail| async move {
        let event = tail.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(event)), tail))
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(events)).into_response()
}

/// The state of a live tail.
struct Tail {
    console: Arc<Console>,
    filter: RequestFilter,
    /// Rows of the last check. Rows are in the order of their start: a long request appears below newer ones.
    seen: Option<HashSet<String>>,
    session: String,
    left: Duration,
    is_open: bool,
}

impl Tail {
    /// The next event; none when the tail or its session has ended.
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.is_open, true) {
            // Browsers treat an answer as open once it has a byte.
            return Some(": open\n\n".to_owned());
        }
        if self.seen.is_some() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.left = self.left.checked_sub(LOOK_EVERY)?;
        match self.look(self.console.now_ms()).await {
            Ok(event) => Some(event),
            Err(_) => Some("event: away\ndata: \n\n".to_owned()),
        }
    }

    async fn look(&mut self, now_ms: i64) -> Result<String, StoreError> {
        if self.console.store.session(&self.session, now_ms).await?.is_none() {
            self.left = Duration::ZERO;
            return Ok("event: over\ndata: \n\n".to_owned());
        }
        self.filter.since_ms = Some(now_ms - TAIL_LOOKS_BACK_MS);
        let rows = self.console.store.requests(&self.filter, None, ROWS).await?.rows;
        let now: HashSet<String> = rows.iter().map(|row| row.cursor.to_string()).collect();
        let fresh = self.seen.as_ref().map_or(0, |seen| now.difference(seen).count());
        self.seen = Some(now);
        // A comment without news also detects whether the browser is still there.
        Ok(if fresh > 0 { format!("event: rows\ndata: {fresh}\n\n") } else { ": nothing\n\n".to_owned() })
    }
}

/// `GET /ui/requests/rows`: the newest rows as a small document, for the live tail. The script parses it as a
/// document and moves its rows: no text becomes markup in the browser.
pub async fn rows(State(console): State<Arc<Console>>, _session: Session, Query(query): Query) -> Response {
    let now_ms = console.now_ms();
    let found = async {
        let filter = filter(&query, now_ms - TAIL_LOOKS_BACK_MS).ok()?;
        Some(console.store.requests(&filter, None, ROWS).await.ok()?.rows)
    };
    let rows = found.await.unwrap_or_default();
    document(http::StatusCode::OK, html! { (maud::DOCTYPE) title { "Rows" } (log(&rows, now_ms)) })
}
