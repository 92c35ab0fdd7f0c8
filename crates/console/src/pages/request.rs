//! `/ui/requests/ID`: one request: its time, cost, losses and other facts.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use canon::Usage;
use http::HeaderMap;
use maud::{Markup, html};
use store::{AttemptRecord, Phases, UsageRecord};

use super::requests::{pips, status_kind};
use super::{absent, bodies, encoded, routing};
use crate::Console;
use crate::components::chart::short;
use crate::components::number::{self, count, duration, exact, money};
use crate::components::page::{Page, Reader};
use crate::components::parts::{copy, unreadable};
use crate::components::{Panel, Table, empty, state, time};
use crate::session::Session;

/// The page. Callers may choose ids, so several requests may have one id: all are shown, the newest first.
pub async fn page(
    State(console): State<Arc<Console>>,
    session: Session,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let reader = Reader { console: &console, session: &session, headers: &headers };
    let rows = match console.store.request(&id).await {
        Ok(rows) => rows,
        Err(error) => {
            let body = html! { section.panel { (unreadable("The request", &error)) } };
            return Page { nav: "requests", title: "Request", ..Page::default() }.around(&reader, body);
        }
    };
    let Some(newest) = rows.first() else {
        let words = "It may still be running, its record may have expired, or another gateway received it.";
        return absent(&reader, "No request with this id is recorded", words);
    };
    let crumb = html! {
        a href="/ui/requests" { "Requests" } (crate::components::icon::small("chev"))
        span.mono.clip { (id) } (copy(&id, "Copy the request id"))
    };
    let title = match newest.record.requested_model.as_str() {
        "" => "Request",
        model => model,
    };
    let sub = match (&newest.record.used_provider, newest.record.error_kind.as_deref()) {
        (_, Some(kind)) => html! { span.badc { (kind) } },
        (Some(provider), None) => html! { "answered by " (provider) },
        (None, None) => html! { "answered by the gateway" },
    };
    let mut shown = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let bodies = bodies::panel(&reader, &row.record, number).await;
        shown.push(one(&reader, &row.record, bodies));
    }
    let body = html! {
        div.stack {
            @if rows.len() > 1 {
                div.banner.warn { (crate::components::mark("warn", "warnc")) div { b { (rows.len()) " requests have this id." } " " span.t2 { "Callers may choose ids; the newest comes first." } } }
            }
            @for one in &shown { (one) }
        }
    };
    Page { nav: "requests", title, sub: Some(sub), crumb: Some(crumb), ..Page::default() }
        .around(&reader, body)
}

fn one(reader: &Reader<'_>, record: &UsageRecord, bodies: Markup) -> Markup {
    html! {
        (figures(record))
        div.cols.c-side {
            div.stack {
                (Panel { title: "Timeline", raw: true, note: Some(html! { "total " (duration(record.duration_ms as f64)) }), ..Panel::default() }.around(timeline(record)))
                (Panel { title: "Attempts", raw: true, ..Panel::default() }.around(attempts(record)))
                (decision(reader, record))
                (bodies)
            }
            div.stack {
                (Panel { title: "Tokens and cost", raw: true, ..Panel::default() }.around(tokens(record)))
                (Panel { title: "Losses", raw: true, note: Some(html! { (record.losses.len()) ", reported to the caller" }), ..Panel::default() }.around(losses(record)))
                (Panel { title: "Facts", ..Panel::default() }.around(facts(record, reader.console.now_ms())))
            }
        }
    }
}

fn prompt_tokens(usage: &Usage) -> u64 {
    usage.input + usage.cache_read + usage.cache_write + usage.cache_write_1h + usage.audio_input
}

fn figures(record: &UsageRecord) -> Markup {
    let failed = record.attempts.iter().filter(|attempt| !attempt.error_type.is_empty()).count();
    let stream_ms = record
        .ttft_ms
        .map(|ttft| record.duration_ms.saturating_sub(ttft))
        .filter(|ms| *ms > 0 && record.streamed);
    let speed = stream_ms.zip(record.usage.as_ref()).map(|(ms, usage)| usage.output * 1000 / ms);
    let figure = |label: &str, value: Markup, words: Markup| {
        html! { div { div.fig-l { (label) } div.fig-v { (value) } div.fig-s { (words) } } }
    };
    html! {
        div.strip.reqk {
            (figure("Status", state(&format!("{} big", status_kind(record)), record.status), html! {
                @if record.canceled { "the caller disconnected" } @else if let Some(kind) = &record.error_kind { (kind) } @else { (record.attempts.len()) (if record.attempts.len() == 1 { " attempt, " } else { " attempts, " }) (failed) " failed" }
            }))
            (figure("First token", number::maybe_duration(record.ttft_ms.map(|ms| ms as f64)), html! { "total " (duration(record.duration_ms as f64)) }))
            (figure("Speed", html! { @match speed { Some(speed) => { (count(speed)) span.u { "tokens/s" } }, None => (number::absent()) } }, html! { (if record.streamed { "streamed" } else { "not streamed" }) }))
            (figure("Tokens", html! { @match &record.usage { Some(usage) => { (count(prompt_tokens(usage))) span.u { "in" } " " (count(usage.output)) span.u { "out" } }, None => (number::absent()) } },
                html! { @if record.usage_estimated { "estimated" } @else if let Some(usage) = record.usage.as_ref().filter(|usage| usage.cache_read > 0) { (usage.cache_read * 100 / prompt_tokens(usage).max(1)) " % of the prompt cached" } @else { "as reported by the provider" } }))
            (figure("Cost", money(record.cost.as_ref().map(|cost| cost.total)), html! {
                @match (record.cost.as_ref().map(|cost| cost.total), record.upstream_cost) {
                    (Some(charged), Some(billed)) if billed != charged => { "providers bill " (number::dollars(billed)) },
                    (None, _) => "no price is known",
                    _ => "charged as billed",
                }
            }))
        }
    }
}

/// A stretch of the timeline: from, to, colour.
type TimelineSpan = (f64, f64, &'static str);

/// Attempts one after the other, as their times were recorded. An attempt's time ends with the head of its
/// answer, so a stream continues after the last one; the time before the first one is the gateway's and the
/// queue's.
fn timeline(record: &UsageRecord) -> Markup {
    let whole = record.duration_ms.max(1) as f64;
    let tried = record.attempts.iter().map(|attempt| attempt.latency_ms).sum::<u64>() as f64;
    let first_token = record.ttft_ms.map(|ms| ms as f64).filter(|_| record.streamed);
    let begins = |attempt: &AttemptRecord| record.phases.is_some().then_some(attempt.start_ms as f64);
    let guessed = (first_token.unwrap_or(record.duration_ms as f64) - tried).max(0.0);
    let mut at = record.attempts.first().and_then(begins).unwrap_or(guessed);
    let mut lines = vec![(
        "Before".to_owned(),
        "reading, limits, planning".to_owned(),
        vec![(0.0, at, "kink")],
        duration(at),
    )];
    let mut sentence = format!("Timeline: {} before the first attempt", duration(at));
    for (number, attempt) in record.attempts.iter().enumerate() {
        let from = begins(attempt).unwrap_or(at);
        let to = from + attempt.latency_ms as f64;
        at = to;
        let is_bad = !attempt.error_type.is_empty();
        let streams = !is_bad && number + 1 == record.attempts.len() && first_token.is_some();
        let (stretches, words): (Vec<TimelineSpan>, String) = if is_bad {
            (vec![(from, to, "kbad")], failure(attempt))
        } else if streams {
            let words =
                format!("{}, then {} of streaming", duration(to - from), duration((whole - to).max(0.0)));
            (vec![(from, to, "kacc h"), (to, whole.max(to), "kacc")], words)
        } else {
            (vec![(from, to, "kacc")], duration(to - from))
        };
        sentence += &format!("; {}: {words}", attempt.provider);
        lines.push((format!("{} {}", number + 1, attempt.provider), attempt.key.clone(), stretches, words));
    }
    html! {
        div.wfall role="group" aria-label=(sentence) {
            ol { @for (label, more, stretches, words) in &lines { (stretch(whole, label, more, stretches, words)) } }
        }
        @match &record.phases {
            Some(times) => (phases(times, record.duration_ms)),
            None => p.t3.sm.body { "An earlier release wrote this record: only the times of attempts are known." },
        }
    }
}

/// The time by phase. From planning on the phases add up to the whole; earlier ones precede it.
fn phases(times: &Phases, duration_ms: u64) -> Markup {
    let names = [
        ("Admission", "check of the key and of the node's capacity"),
        ("Reading", "the body"),
        ("Planning", "model names, provider choice, budgets and limits"),
        ("Queue", "pauses between attempts"),
        ("Connecting", "opening new connections"),
        ("Waiting", "until the first content or a failure"),
        ("Streaming", "from the first content to the last"),
        ("Settling", "from the answer to the record"),
    ];
    let table = Table {
        caption: "Time by phase",
        class: "dense",
        columns: &[("Phase", ""), ("What", "p1"), ("Time", "n"), ("Share", "n p1")],
    };
    let list = times.list();
    let whole: u64 = list[2..].iter().sum();
    html! {
        details.body {
            summary { "Time by phase" }
            (table.around(html! {
                @for (at, ((name, what), micros)) in names.iter().zip(list).enumerate() {
                    tr {
                        td { (name) }
                        td.p1 { span.t3 { (what) } }
                        td.n { @if micros == 0 { (number::quiet_count(0)) } @else { (precise(micros)) } }
                        td.n.p1 { @if at >= 2 && whole > 0 { (format!("{:.1} %", micros as f64 * 100.0 / whole as f64)) } @else { span.t3 { "before" } } }
                    }
                }
                tr {
                    td { b { "Total" } }
                    td.p1 { span.t3 { "without the phases before planning; the record has " (duration(duration_ms as f64)) } }
                    td.n { (precise(whole)) }
                    td.n.p1 { }
                }
            }))
        }
    }
}

/// Microseconds.
fn precise(micros: u64) -> Markup {
    if micros < 10_000 {
        html! { (count(micros)) " µs" }
    } else {
        html! { (duration(micros as f64 / 1000.0)) }
    }
}

/// The reason for the first provider: as stored, or as it would be now.
fn decision(reader: &Reader<'_>, record: &UsageRecord) -> Markup {
    let is_chat = record.operation.as_deref().is_none_or(|operation| operation == "chat");
    let (note, selection) = match &record.decision {
        Some(kept) => ("as recorded with the request", Some(kept.clone())),
        None if is_chat && !record.requested_model.is_empty() => {
            let answer = reader.console.gateway.explain(routing::request_like(record).into());
            (
                "not recorded: computed now for a request of this size",
                answer.ok().map(|it| it["selection"].clone()),
            )
        }
        None => return html! {},
    };
    let body = match selection {
        Some(selection) => html! {
            div.body { p.t2 { "Reason: " b { (selection["reason"].as_str().unwrap_or("unknown").replace('_', " ")) } } }
            (routing::candidates(&selection))
        },
        None => empty(
            "No provider can serve this request now",
            "The model, its providers or the settings have changed.",
        ),
    };
    Panel { title: "Decision", raw: true, note: Some(html! { (note) }), ..Panel::default() }.around(body)
}

fn stretch(whole: f64, label: &str, more: &str, stretches: &[TimelineSpan], words: &str) -> Markup {
    let percent = |ms: f64| format!("{}%", short((ms / whole * 100.0).clamp(0.0, 100.0)));
    let is_bad = stretches.iter().any(|(.., class)| *class == "kbad");
    let begins = stretches.first().map_or(0.0, |first| first.0);
    let is_right = begins > whole * 0.6;
    html! {
        li.wf.att[label != "Before"].bad[is_bad] {
            span.wl { b.clip { (label) } span.t3.clip { (more) } }
            svg.w100 height="26" aria-hidden="true" {
                @for (from, to, class) in stretches {
                    rect class={ "f " (class) } x=(percent(*from)) width=(percent((to - from).max(whole * 0.002))) y="7" height="12" rx="1.5" {}
                }
                text class={ (if is_bad { "bad" } else { "m" }) (if is_right { " e" } else { "" }) } x=(if is_right { "100%".to_owned() } else { percent(begins) }) y="3" { (words) }
            }
        }
    }
}

fn failure(attempt: &AttemptRecord) -> String {
    match attempt.status_code {
        0 => attempt.error_type.clone(),
        status => format!("{status} {}", attempt.error_type),
    }
}

fn attempts(record: &UsageRecord) -> Markup {
    if record.attempts.is_empty() {
        return empty(
            "No request was sent to a provider",
            "The gateway refused the request or answered from its cache.",
        );
    }
    let table = Table {
        caption: "Attempts",
        class: "dense",
        columns: &[
            ("#", "n"),
            ("Provider", ""),
            ("Model there", "max"),
            ("Key", "p1"),
            ("Result", ""),
            ("Time", "n"),
            ("Provider's id", "p3"),
        ],
    };
    html! {
        (table.around(html! {
            @for (number, attempt) in record.attempts.iter().enumerate() {
                tr {
                    td.n.t3 { (number + 1) }
                    td { b.w5 { (attempt.provider) } }
                    td.max { span.mono.t2.clip title=(attempt.model) { (attempt.model) } }
                    td.p1 { span.mono.t2.clip.mx160 { (attempt.key) } }
                    td { @if attempt.error_type.is_empty() { (state("ok", "answered")) } @else { (state("bad", failure(attempt))) } }
                    td.n { (duration(attempt.latency_ms as f64)) }
                    td.p3 { span.mono.t3.clip.mx160 title=[attempt.provider_request_id.as_deref()] { (attempt.provider_request_id.as_deref().unwrap_or("–")) } }
                }
            }
        }))
        footer {
            @if record.attempts.len() > 1 { (pips(record)) }
            span.push {}
            a.btn.ghost.sm href={ "/ui/routing?model=" (encoded(&record.requested_model)) "#explain" } { "Explain again now" }
        }
    }
}

fn tokens(record: &UsageRecord) -> Markup {
    let Some(usage) = &record.usage else {
        let amount = record.amount.map(|amount| format!("{} {:?}", amount.count, amount.unit));
        return html! {
            div.body {
                dl.kv {
                    @if let Some(amount) = amount { dt { "Amount" } dd { (amount) } }
                    dt { "Cost" } dd { (exact(record.cost.as_ref().map(|cost| cost.total))) }
                    @if record.amount.is_none() { dt { "Tokens" } dd { span.t3 { "not counted" } } }
                }
            }
        };
    };
    let rows: [(&str, u64); 10] = [
        ("Prompt", usage.input),
        ("read from the cache", usage.cache_read),
        ("written to the cache", usage.cache_write),
        ("written for an hour", usage.cache_write_1h),
        ("audio in the prompt", usage.audio_input),
        ("Answer", usage.output),
        ("reasoning in the answer", usage.reasoning),
        ("audio in the answer", usage.audio_output),
        ("images in the answer", usage.image_output),
        ("Searches", usage.web_searches),
    ];
    let table =
        Table { caption: "Tokens by bucket", class: "dense", columns: &[("Bucket", ""), ("Tokens", "n")] };
    let parts = record.cost.as_ref().map(|cost| {
        [
            ("Prompt", cost.input),
            ("Cached prompt", cost.cached_input),
            ("Answer", cost.output),
            ("Other", cost.other),
        ]
    });
    html! {
        (table.around(html! { @for (name, tokens) in rows { @if tokens > 0 || name == "Prompt" || name == "Answer" { tr { td { (name) } td.n { (number::quiet_count(tokens)) } } } } }))
        div.body {
            dl.kv {
                @for (name, amount) in parts.into_iter().flatten().filter(|(_, amount)| amount.0 != 0) { dt { (name) } dd.right { (exact(Some(amount))) } }
                dt { b { "Charged" } } dd.right { (exact(record.cost.as_ref().map(|cost| cost.total))) }
                @if record.upstream_cost != record.cost.as_ref().map(|cost| cost.total) { dt { "Billed by providers" } dd.right { (exact(record.upstream_cost)) } }
            }
            @if record.usage_estimated { p.t3.sm { "The provider reported no token counts; these are estimates." } }
        }
    }
}

fn losses(record: &UsageRecord) -> Markup {
    html! {
        @if record.losses.is_empty() { (empty("Nothing was lost", "The provider received every field of the request.")) }
        @else {
            ul.losses {
                @for loss in &record.losses {
                    li { div.hstack.between { code.clip { (loss.field) } span.tag.warn { (loss.action) } } p.t2 { (loss.reason) } }
                }
            }
        }
    }
}

/// The text for what the gateway's own cache did.
fn cache_words(cache: &str) -> &str {
    match cache {
        "hit" => "hit: the stored answer to an equal request; no provider was called",
        "miss" => "miss: no answer to an equal request was stored",
        other => other,
    }
}

fn facts(record: &UsageRecord, now_ms: i64) -> Markup {
    let fact = |name: &str, value: Option<&str>| {
        html! { @if let Some(value) = value.filter(|value| !value.is_empty()) { dt { (name) } dd { (value) } } }
    };
    html! {
        dl.kv {
            dt { "Arrived" } dd { (time::iso(record.started_at_ms)) " " span.t3 { (time::span(now_ms - record.started_at_ms)) " ago" } }
            dt { "Project" } dd { a.link href={ "/ui/projects/" (encoded(&record.project)) } { (record.project) } }
            dt { "Key" } dd.mono { (record.key_id) }
            (fact("Requested model", Some(&record.requested_model)))
            (fact("Requested provider", record.requested_provider.as_deref()))
            (fact("Served by", record.used_provider.as_deref()))
            (fact("Model there", record.used_model.as_deref()))
            (fact("Underlying model", record.underlying_model.as_deref()))
            (fact("Operation", record.operation.as_deref()))
            @if let Some(session) = &record.session_id {
                dt { "Session" } dd { a.link href={ "/ui/requests?range=30d&q=" (encoded(&format!("session:{session}"))) } { (session) } }
            }
            (fact("Response cache", record.cache.as_deref().map(cache_words)))
            (fact("Finish reason", record.finish_reason.as_deref()))
            (fact("Error", record.error_kind.as_deref()))
            @if !record.tags.is_empty() { dt { "Tags" } dd { @for (name, value) in &record.tags { span.tag { (name) "=" (value) } " " } } }
        }
    }
}
