//! The bodies and headers of a request, where they are kept.

use limits::Bodies;
use maud::{Markup, html};
use serde_json::Value;
use store::UsageRecord;

use crate::components::number::count;
use crate::components::page::Reader;
use crate::components::parts::{copy_from, unreadable};
use crate::components::{Panel, empty};

/// The panel for one request. `number` distinguishes requests with the same id on one page.
pub async fn panel(reader: &Reader<'_>, record: &UsageRecord, number: usize) -> Markup {
    let body = if reader.session.is_admin() {
        content(reader, record, number).await
    } else {
        empty("Only administrators see bodies", "They contain what callers and models wrote.")
    };
    Panel { title: "Bodies and headers", raw: true, ..Panel::default() }.around(body)
}

async fn content(reader: &Reader<'_>, record: &UsageRecord, number: usize) -> Markup {
    let console = reader.console;
    let kept = console.store.bodies(&record.request_id, record.started_at_ms, console.now_ms()).await;
    let content = match kept {
        Ok(Some(content)) => serde_json::from_str(&content).unwrap_or(Value::Null),
        Ok(None) => return absent(console.gateway.keeps_bodies(&record.project), record),
        Err(error) => return unreadable("The bodies", &error),
    };
    html! {
        (exchange("As received", &content["request"], &format!("received-{number}")))
        @for (at, attempt) in list(&content["attempts"]).iter().enumerate() {
            @let provider = attempt["provider"].as_str().unwrap_or_default();
            (exchange(&format!("As sent, attempt {} at {provider}", at + 1), attempt, &format!("sent-{number}-{at}")))
            @if attempt["status"].is_u64() { (answer_of(attempt, provider, &format!("back-{number}-{at}"))) }
        }
        details.body {
            summary { "Answer to the caller" }
            @match content["answer_withheld"].as_str() {
                Some(reason) => p.t2 { (reason) },
                None => (text(&content["answer"], &format!("answer-{number}"))),
            }
        }
    }
}

/// Why there is nothing, and the setting that would change it.
fn absent(keeps: Bodies, record: &UsageRecord) -> Markup {
    let setting = |value: &str, rest: &str| {
        html! { code { "bodies = \"" (value) "\"" } " applies to " b { (record.project) } ": " (rest) " Tokens, cost, attempts and losses are kept in any case." }
    };
    match keeps {
        Bodies::None => empty(
            "The gateway keeps no bodies",
            setting("none", "set keep in [bodies], or bodies in the project's policy."),
        ),
        Bodies::Errors if record.error_kind.is_none() => empty(
            "Bodies of this request are not kept",
            setting("errors", "only bodies of failed and cancelled requests are kept."),
        ),
        keeps => empty(
            "No bodies of this request are stored",
            setting(
                keeps.as_str(),
                "they are older than bodies.keep_days, could not be written, or the endpoint stores none (files, batches, passthrough).",
            ),
        ),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Headers and a body.
fn exchange(title: &str, of: &Value, id: &str) -> Markup {
    html! {
        details.body {
            summary { (title) }
            (headers(&of["headers"]))
            (text(&of["body"], id))
        }
    }
}

fn answer_of(attempt: &Value, provider: &str, id: &str) -> Markup {
    html! {
        details.body {
            summary { "Answer of " (provider) ", status " (attempt["status"]) }
            (headers(&attempt["answer_headers"]))
            @if attempt["error"].is_object() { (text(&attempt["error"], id)) }
        }
    }
}

fn headers(list_of: &Value) -> Markup {
    html! {
        dl.kv.headers {
            @for pair in list(list_of) { dt.mono.clip { (pair[0].as_str().unwrap_or_default()) } dd.mono { (pair[1].as_str().unwrap_or_default()) } }
        }
    }
}

/// A body; JSON is indented.
fn text(body: &Value, id: &str) -> Markup {
    let bytes = body["bytes"].as_u64().unwrap_or_default();
    let Some(text) = body["text"].as_str() else {
        let words = if body.is_null() {
            "No body was kept: the request was refused before its body was read."
        } else {
            "The body is not text."
        };
        return html! { p.t3.sm { (words) @if bytes > 0 { " " (count(bytes)) " bytes." } } };
    };
    let indented = serde_json::from_str::<Value>(text).and_then(|json| serde_json::to_string_pretty(&json));
    html! {
        div.code {
            pre id=(id) tabindex="0" { (indented.as_deref().unwrap_or(text)) }
            (copy_from(&format!("#{id}"), "Copy the body"))
        }
        @if body["is_cut"] == true { p.t3.sm { "Truncated: the whole body has " (count(bytes)) " bytes (bodies.size_limit)." } }
    }
}
