//! `/ui/routing`: the decision for a request with its reasons; health of providers; how to enable the others.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::encoded;
use crate::Console;
use crate::components::chart::short;
use crate::components::number::{absent, money, percent};
use crate::components::page::{Page, Reader};
use crate::components::{Panel, Table, empty, form_token, icon, number, state, time};
use crate::fields::{Fields, Query};
use crate::gateway::{Identity, Provider};
use crate::session::Session;
use ::routing::KeyState;

/// The success estimate of a route starts at about 0.94 and rises. A few failures in a row bring it below this value.
const LIMPS_BELOW: f64 = 0.85;
/// The maximum length of the form's prompt: it is built in memory to be measured.
const MOST_TOKENS: u64 = 400_000;

/// A provider's figures over its models, weighted by their samples.
pub struct Figures {
    /// Share of requests that succeed; none without traffic.
    pub uptime: Option<f64>,
    /// Milliseconds.
    pub first_token_ms: Option<f64>,
    pub tokens_per_second: Option<f64>,
}

/// See [`Figures`].
pub fn figures(provider: &Provider) -> Figures {
    let mean = |of: fn(&::routing::Metrics) -> Option<f64>| {
        let known =
            provider.routes.iter().filter_map(|route| Some((of(&route.metrics)?, route.metrics.samples)));
        let (sum, weight) = known
            .fold((0.0, 0.0), |(sum, weight), (value, samples)| (sum + value * samples, weight + samples));
        (weight > 0.0).then(|| sum / weight)
    };
    Figures {
        uptime: mean(|metrics| (metrics.samples > 0.0).then_some(metrics.uptime)),
        first_token_ms: mean(|metrics| metrics.first_token_ms),
        tokens_per_second: mean(|metrics| metrics.tokens_per_second),
    }
}

/// The problem of an enabled provider: severity and text.
pub fn trouble(provider: &Provider) -> Option<(&'static str, String)> {
    if provider.suspension_of(None).is_some() {
        return Some(("warn", "suspended by an administrator".to_owned()));
    }
    let keys: Vec<KeyState> =
        provider.routes.iter().flat_map(|route| route.keys.iter().map(|key| key.state)).collect();
    let count = |state: KeyState| keys.iter().filter(|known| **known == state).count();
    let open = count(KeyState::Open) + count(KeyState::Probing);
    let refused = count(KeyState::Refused);
    let up = keys.contains(&KeyState::Ready);
    match (open, refused) {
        (_, refused) if refused > 0 && !up => Some(("bad", "refuses its key".to_owned())),
        (open, _) if open > 0 && !up => Some(("bad", "fails: its circuit breaker is open".to_owned())),
        (open, _) if open > 0 => Some(("warn", format!("fails on {open} of {} routes", keys.len()))),
        (_, refused) if refused > 0 => Some(("warn", "refuses one of its keys".to_owned())),
        _ if !provider.suspensions.is_empty() => Some(("warn", "has a suspended key".to_owned())),
        _ if count(KeyState::CoolingDown) > 0 => Some(("warn", "has a key in cool-down".to_owned())),
        _ if count(KeyState::HalfOpen) > 0 => Some(("warn", "probing after failures".to_owned())),
        _ if figures(provider).uptime.is_some_and(|share| share < LIMPS_BELOW) => {
            Some(("warn", "fails often".to_owned()))
        }
        _ => None,
    }
}

pub fn word(provider: &Provider) -> Markup {
    match trouble(provider) {
        Some((kind, words)) => state(kind, words),
        None if provider.routes.is_empty() => state("off", "no traffic yet"),
        None => state("ok", "healthy"),
    }
}

/// The number of failing providers, for the side navigation.
pub fn failing(console: &Console) -> usize {
    let providers = console.gateway.providers();
    let on = providers.iter().filter(|provider| provider.off.is_none());
    on.filter(|provider| trouble(provider).is_some_and(|(kind, _)| kind == "bad")).count()
}

/// `GET /ui/routing`
pub async fn page(
    State(console): State<Arc<Console>>,
    session: Session,
    Query(query): Query,
    headers: HeaderMap,
) -> Response {
    let asked = query.get("model").map(|_| body_of(&query));
    shown(&Reader { console: &console, session: &session, headers: &headers }, &query, asked)
}

/// `POST /ui/routing/explain`: a whole request. Nothing is sent and nothing changes, so that a viewer may use
/// it.
pub async fn explain(
    State(console): State<Arc<Console>>,
    session: Session,
    headers: HeaderMap,
    form: Fields,
) -> Response {
    if let Err(refused) = session.check_form(&form) {
        return refused;
    }
    let body = form.text("request").to_owned();
    shown(&Reader { console: &console, session: &session, headers: &headers }, &form, Some(body))
}

fn shown(reader: &Reader<'_>, query: &Fields, asked: Option<String>) -> Response {
    let providers = reader.console.gateway.providers();
    let (on, off): (Vec<_>, Vec<_>) = providers.into_iter().partition(|provider| provider.off.is_none());
    let answer = asked.map(|body| reader.console.gateway.explain(Bytes::from(body)));
    let body = html! {
        div.stack {
            (Panel { title: "Explain", id: Some("explain"), raw: true, note: Some(html! { "the provider that would serve the request now, and the reason; nothing is sent" }), ..Panel::default() }.around(html! {
                (ask(reader, query))
                @match &answer {
                    Some(Ok(answer)) => (verdict(answer)),
                    Some(Err(error)) => div.verdict role="status" { (state("bad", error.kind.as_str())) " " span.t2 { (error.message) } },
                    None => {}
                }
                details.body { summary { "Explain a whole request" } (paste(reader.session, query.text("request"))) }
            }))
            (Panel { title: "Health", raw: true, note: Some(html! { "as measured by this node, worst first" }), ..Panel::default() }.around(health(reader, &on, query.text("open"))))
            (Panel { title: "Off", raw: true, note: Some(html! { (off.len()) " disabled providers of the catalog, and how to enable each" }), ..Panel::default() }.around(html! {
                ul.offl { @for provider in &off { li { b.w5 { (provider.id) } span.t3 title=[provider.off.as_deref()] { (provider.off.as_deref().unwrap_or_default()) } } } }
            }))
        }
    };
    Page { nav: "routing", title: "Routing", ..Page::default() }.around(reader, body)
}

fn ask(reader: &Reader<'_>, query: &Fields) -> Markup {
    let sort = query.text("sort");
    html! {
        form.ask method="get" action="/ui/routing#explain" {
            label { "For " input.in name="model" list="modellist" value=(query.get("model").unwrap_or("auto")) required autocomplete="off" spellcheck="false"; }
            datalist #modellist {
                @for (alias, _) in reader.console.gateway.aliases() { option value=(alias) {} }
                @for model in reader.console.gateway.models() { option value=(model.id) {} }
            }
            label { "with " input.in.num name="prompt" inputmode="numeric" value=(query.get("prompt").unwrap_or("6,200")); " tokens in" }
            label { input.in.num.sm2 name="out" inputmode="numeric" value=(query.get("out").unwrap_or("500")); " out" }
            span.hstack.wrap {
                "and "
                @for (name, words) in [("tools", "tools"), ("vision", "images"), ("json_schema", "JSON schema"), ("stream", "stream")] {
                    label.check { input type="checkbox" name=(name) value="1" checked[query.has(name)]; (words) }
                }
            }
            label { "by " select.sel name="sort" { @for value in ["score", "price", "throughput", "latency"] { option value=(value) selected[sort == value] { (value) } } } }
            button.btn { "Explain" }
        }
    }
}

fn paste(session: &Session, text: &str) -> Markup {
    html! {
        form.stack method="post" action="/ui/routing/explain" {
            (form_token(session))
            label.field { span { "Request body of /v1/chat/completions" } textarea.area.mono name="request" rows="8" spellcheck="false" required { (text) } }
            div { button.btn { "Explain" } }
        }
    }
}

/// A request as the form describes it.
fn body_of(query: &Fields) -> String {
    let tokens = query.number("prompt").unwrap_or(100).clamp(1, MOST_TOKENS);
    let mut content = vec![json!({"type": "text", "text": "word ".repeat(tokens as usize * 4 / 5)})];
    if query.has("vision") {
        content.push(json!({"type": "image_url", "image_url": {"url": "https://example.com/picture.png"}}));
    }
    let mut body = json!({
        "model": query.text("model"),
        "messages": [{"role": "user", "content": content}],
        "max_completion_tokens": query.number("out").unwrap_or(500).max(1),
    });
    if query.has("stream") {
        body["stream"] = true.into();
    }
    if query.has("tools") {
        body["tools"] = json!([{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}]);
    }
    if query.has("json_schema") {
        body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object", "properties": {}, "additionalProperties": false}}});
    }
    if let Some(sort) = query.get("sort").filter(|sort| *sort != "score") {
        body["provider"] = json!({"sort": sort});
    }
    body.to_string()
}

fn verdict(answer: &Value) -> Markup {
    let scores = answer["selection"]["scores"].as_array().cloned().unwrap_or_default();
    let filtered = answer["selection"]["filtered"].as_array().cloned().unwrap_or_default();
    let losses = answer["losses"].as_array().cloned().unwrap_or_default();
    html! {
        div.verdict role="status" { span.t2 { (text(&answer["summary"])) } }
        details #why open {
            summary { (scores.len()) " can serve it, " (filtered.len()) " left out" }
            div #scores {
                (ranking(&scores))
                @if !losses.is_empty() {
                    div.excl { h3 { "Losses at the first candidate" } ul { @for loss in &losses { li { code { (text(&loss["field"])) } " " span.t2 { (text(&loss["action"])) ": " (text(&loss["reason"])) } } } } }
                }
                (left_out(&filtered))
            }
        }
    }
}

/// Candidates and exclusions of a decision.
pub fn candidates(selection: &Value) -> Markup {
    let list = |name: &str| selection[name].as_array().cloned().unwrap_or_default();
    html! { (ranking(&list("scores"))) (left_out(&list("filtered"))) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn ranking(scores: &[Value]) -> Markup {
    let table = Table {
        caption: "Candidates in order",
        class: "dense",
        columns: &[
            ("~Rank", "n"),
            ("Provider", ""),
            ("Model there", "p3"),
            ("Score", "p1"),
            ("~Score", "n"),
            ("Expected", "n"),
            ("Uptime", "n p1"),
            ("TTFT", "n p1"),
            ("Tokens/s", "n p1"),
        ],
    };
    let widest = scores.iter().filter_map(|score| score["score"].as_f64()).fold(0.08, f64::max);
    html! {
                (table.around(html! {
                    @for (rank, score) in scores.iter().enumerate().take(12) {
                        tr.cur[rank == 0] {
                            td.n.t3 { (rank + 1) }
                            td { b.w5 { (text(&score["provider"])) } }
                            td.p3 { span.mono.t2.clip.oid title=(text(&score["model"])) { (text(&score["model"])) } }
                            td.p1 { (parts(&score["parts"], score["score"].as_f64().unwrap_or_default(), widest)) }
                            td.n { (format!("{:.3}", score["score"].as_f64().unwrap_or_default())) }
                            td.n { (money(price(&score["price"]))) }
                            td.n.p1 { (percent(score["uptime"].as_f64().unwrap_or_default())) }
                            td.n.p1 { (number::maybe_duration(score["latency"].as_f64())) }
                            td.n.p1 { @match score["throughput"].as_f64() { Some(speed) => (format!("{speed:.0}")), None => (absent()) } }
                        }
                    }
                }))
                div.legend.lpad {
                    @for (class, words) in [("k1", "price"), ("k5", "uptime"), ("k3", "throughput"), ("k2", "latency")] { span class=(class) { i.sw {} (words) } }
                    span.t3 { "a lower score is better" }
                }
    }
}

fn left_out(filtered: &[Value]) -> Markup {
    html! {
                @if !filtered.is_empty() {
                    div.excl { h3 { "Left out" } ul {
                        @for left in filtered.iter().take(20) { li { b.w5 { (text(&left["provider"])) } " " span.t2 { (text(&left["reason"])) } } }
                        @if filtered.len() > 20 { li.t3 { "and " (filtered.len() - 20) " more" } }
                    } }
                }
    }
}

/// A request as large as a recorded one, for a dry run.
pub fn request_like(record: &store::UsageRecord) -> String {
    let usage = record.usage.unwrap_or_default();
    let prompt = usage.input + usage.cache_read + usage.cache_write + usage.cache_write_1h;
    let mut query = vec![
        ("model".to_owned(), record.requested_model.clone()),
        ("prompt".to_owned(), prompt.to_string()),
        ("out".to_owned(), usage.output.to_string()),
    ];
    if record.streamed {
        query.push(("stream".to_owned(), "1".to_owned()));
    }
    body_of(&Fields::of(query))
}

/// Money in JSON is a number, or a text that contains one.
fn price(value: &Value) -> Option<canon::Pico> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

fn parts(parts: &Value, score: f64, widest: f64) -> Markup {
    let mut at = 0.0;
    let mut rects = Vec::new();
    for (name, class) in [("price", "k1"), ("uptime", "k5"), ("throughput", "k3"), ("latency", "k2")] {
        let width = parts[name].as_f64().unwrap_or_default().max(0.0) / widest * 100.0;
        rects.push(html! { rect class={ "f " (class) } x={ (short(at)) "%" } width={ (short(width)) "%" } height="100%" {} });
        at += width;
    }
    html! { svg.bar.tall.w120 role="img" aria-label={ "score " (format!("{score:.3}")) } { @for rect in &rects { (rect) } } }
}

fn health(reader: &Reader<'_>, on: &[Provider], open: &str) -> Markup {
    if on.is_empty() {
        return empty(
            "No provider is enabled",
            "Set a provider's key, such as OPENAI_API_KEY, and restart the gateway.",
        );
    }
    let mut sorted: Vec<&Provider> = on.iter().collect();
    sorted.sort_by_key(|provider| match trouble(provider) {
        Some(("bad", _)) => 0,
        Some(_) => 1,
        None if !provider.routes.is_empty() => 2,
        None => 3,
    });
    let table = Table {
        caption: "Health of providers",
        class: "dense ht p8",
        columns: &[
            ("Provider", ""),
            ("State", ""),
            ("Uptime now", "n"),
            ("TTFT", "n"),
            ("Tokens/s", "n p1"),
            ("Keys", "p1"),
            ("Models used", "n p1"),
        ],
    };
    table.around(html! {
        @for provider in sorted {
            @let figures = figures(provider);
            @let is_open = open == provider.id;
            tr.mrow id=(provider.id) {
                td {
                    a.exp href={ "/ui/routing?open=" (if is_open { String::new() } else { encoded(&provider.id) }) "#" (encoded(&provider.id)) } aria-expanded=(is_open) {
                        (crate::components::icon::small("chev")) b.w5 { (provider.id) }
                    }
                }
                td { (word(provider)) }
                td.n { @match figures.uptime { Some(share) => (percent(share)), None => (absent()) } }
                td.n { (number::maybe_duration(figures.first_token_ms)) }
                td.n.p1 { @match figures.tokens_per_second { Some(speed) => (format!("{speed:.0}")), None => (absent()) } }
                td.p1 { @if provider.keys.is_empty() { span.t3 { "none needed" } } @else { (provider.keys.len()) } }
                td.n.p1 { (number::quiet_count(provider.routes.len() as u64)) }
            }
            @if is_open { tr.subrow { td colspan="7" { (routes(provider)) (suspensions(reader, provider)) } } }
        }
    })
}

fn routes(provider: &Provider) -> Markup {
    if provider.routes.is_empty() {
        return html! { p.t3.body { "No requests since this node started." } };
    }
    let caption = format!("Routes of {}", provider.id);
    let table = Table {
        caption: &caption,
        class: "dense subt nopad",
        columns: &[("Model there", ""), ("Key", ""), ("State", ""), ("Estimate", "n"), ("Next try in", "n")],
    };
    html! {
        (table.around(html! {
            @for route in &provider.routes { @for key in &route.keys {
                tr {
                    td { span.mono.clip.oid title=(route.model) { (route.model) } }
                    td { span.mono.t2 { (key.key) } }
                    td { (key_state(key.state)) }
                    td.n { (percent(route.metrics.uptime)) }
                    td.n { @match key.ready_in_ms { Some(ms) => { span data-countdown=(ms / 1000) { (ms / 1000) } " s" }, None => (absent()) } }
                }
            } }
        }))
        div.subfoot { (icon("info")) span.t3.sm { "A key with an open circuit breaker is tried again after its wait. A key that the provider refuses is not used for any model." } }
    }
}

/// Suspensions of a provider, and the forms for them.
fn suspensions(reader: &Reader<'_>, provider: &Provider) -> Markup {
    let now_ms = reader.console.now_ms();
    let form = |key: Option<&str>, does: &'static str, fields: Markup| {
        html! {
            form.hstack.wrap method="post" action="/ui/routing/suspend" {
                (form_token(reader.session))
                input type="hidden" name="provider" value=(provider.id);
                @if let Some(key) = key { input type="hidden" name="key" value=(key); }
                (fields)
                button.btn.sm name="does" value=(does) { (if does == "suspend" { "Suspend" } else { "Resume" }) }
            }
        }
    };
    let line = |key: Option<&str>| {
        let what = key.map_or_else(|| "Whole provider".to_owned(), |key| format!("Key {key}"));
        html! {
            li.hstack.wrap {
                b.w5 { (what) }
                @match provider.suspension_of(key) {
                    Some(suspension) => {
                        (state("warn", html! { "suspended since " (time::when(suspension.since_ms, now_ms)) }))
                        span.t2 { "by " (suspension.actor) @if !suspension.reason.is_empty() { ": " (suspension.reason) } }
                        @if let Some(until) = suspension.until_ms { span.t3 { "until " (time::when(until, now_ms)) } }
                        @if reader.session.is_admin() { (form(key, "end", html! {})) }
                    }
                    None if reader.session.is_admin() => (form(key, "suspend", html! {
                        input.in name="reason" maxlength="500" placeholder="Reason" aria-label={ "Reason to suspend: " (what) } autocomplete="off";
                        select.sel name="hours" aria-label="For how long" {
                            option value="" { "until it is resumed" }
                            @for hours in [1, 4, 24] { option value=(hours) { (hours) " h" } }
                        }
                    })),
                    None => span.t3 { "in use" },
                }
            }
        }
    };
    html! {
        div.excl {
            h3 { "Suspension" }
            p.t3.sm { "A suspended provider or key gets no requests on any node, also after a reload or restart." }
            ul {
                (line(None))
                @if provider.keys.len() > 1 { @for key in &provider.keys { (line(Some(key))) } }
            }
        }
    }
}

/// The seconds of a number of hours. Anything but a number is zero, which is refused.
fn seconds(form: &Fields) -> i64 {
    let hours = form.number("hours").and_then(|hours| i64::try_from(hours).ok());
    hours.unwrap_or(0).saturating_mul(3600)
}

/// `POST /ui/routing/suspend`: suspends or resumes a provider or a key.
pub async fn suspend(
    State(console): State<Arc<Console>>,
    session: Session,
    headers: HeaderMap,
    form: Fields,
) -> Response {
    if let Err(refused) = session.may_change(&form) {
        return refused;
    }
    let reader = Reader { console: &console, session: &session, headers: &headers };
    let (id, key) = (form.text("provider"), form.get("key"));
    let providers = console.gateway.providers();
    let found = providers.iter().find(|provider| provider.id == id);
    let has_key = |provider: &&Provider| key.is_none_or(|key| provider.keys.iter().any(|it| it == key));
    if found.filter(has_key).is_none() {
        return super::absent(
            &reader,
            "This provider or key does not exist",
            "The configuration may have changed.",
        );
    }
    let (now_ms, actor) = (console.now_ms(), session.actor());
    let done = if form.text("does") == "end" {
        console.store.end_suspension(id, key, store::Suspension::end(id, key, &actor), now_ms).await.map(drop)
    } else {
        let asked = store::NewSuspension {
            provider: id.to_owned(),
            key: key.map(str::to_owned),
            reason: form.text("reason").to_owned(),
            seconds: form.get("hours").map(|_| seconds(&form)),
        };
        match asked.begin(&actor, now_ms) {
            Ok((suspension, audit)) => console.store.suspend(&suspension, audit).await,
            Err(wrong) => {
                let back = format!("/ui/routing?open={0}#{0}", encoded(id));
                return super::refused(&reader, StatusCode::BAD_REQUEST, &wrong.message, &back);
            }
        }
    };
    if let Err(error) = done {
        return super::away(&error);
    }
    Identity::in_force(&*console.gateway).await;
    Redirect::to(&format!("/ui/routing?open={0}#{0}", encoded(id))).into_response()
}

fn key_state(key: KeyState) -> Markup {
    match key {
        KeyState::Ready => state("ok", "ready"),
        KeyState::HalfOpen => state("warn", "breaker half-open"),
        KeyState::CoolingDown => state("warn", "in cool-down after a rate limit"),
        KeyState::Probing => state("run", "probing"),
        KeyState::Open => state("bad", "breaker open"),
        KeyState::Refused => state("bad", "refused by the provider"),
        KeyState::Suspended => state("warn", "suspended by an administrator"),
    }
}
