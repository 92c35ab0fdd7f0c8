//! `/ui`: problems and cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use canon::Pico;
use http::HeaderMap;
use maud::{Markup, html};
use store::{Bucket, Dim, RequestFilter, StoreError, UsageQuery, UsageRow, UsageSums};

use super::projects::share;
use super::requests::{self, first_steps, range, ranges};
use super::routing::{self, trouble};
use super::tags;
use crate::Console;
use crate::components::chart::{self, area_path, bar, line, line_path, round_step, short};
use crate::components::number::{self, count, dollars, percent, sum};
use crate::components::page::{Page, Reader};
use crate::components::parts::unreadable;
use crate::components::time::{self, DAY_MS};
use crate::components::{Panel, Table, empty, icon, mark};
use crate::fields::Query;
use crate::session::Session;

/// The number of separate series; the rest are "others".
const SERIES: usize = 7;
/// The maximum number of notices.
const NOTICES: usize = 5;

/// The time that is shown, on whole hours or days, so that sums come from the roll-ups.
pub(super) struct Span {
    pub(super) since_ms: i64,
    until_ms: i64,
    pub(super) bucket: Bucket,
}

impl Span {
    pub(super) fn of(since_ms: i64, now_ms: i64) -> Self {
        let bucket = if now_ms - since_ms > 3 * DAY_MS { Bucket::Day } else { Bucket::Hour };
        let step = bucket.ms();
        Self { since_ms: since_ms.div_euclid(step) * step, until_ms: now_ms, bucket }
    }

    /// The end of the current hour, which the sums have as a whole: its records need not be summed one by one.
    pub(super) fn end_ms(&self) -> i64 {
        let hour = Bucket::Hour.ms();
        (self.until_ms.div_euclid(hour) + 1) * hour
    }

    pub(super) fn buckets(&self) -> Vec<i64> {
        let step = self.bucket.ms();
        (self.since_ms..self.until_ms).step_by(step as usize).collect()
    }

    /// The previous period of the same length.
    fn before(&self) -> (i64, i64) {
        (self.since_ms - (self.until_ms - self.since_ms), self.since_ms)
    }
}

struct Data {
    by_model: Vec<UsageRow>,
    by_outcome: Vec<UsageRow>,
    before: UsageSums,
}

async fn data(console: &Console, span: &Span) -> Result<Data, StoreError> {
    let query = |group: Vec<Dim>, bucket: Option<Bucket>, (since_ms, until_ms): (i64, i64)| UsageQuery {
        since_ms,
        until_ms,
        group,
        bucket,
        ..UsageQuery::default()
    };
    let whole = (span.since_ms, span.end_ms());
    let by_model = query(vec![Dim::Model], Some(span.bucket), whole);
    let by_outcome = query(vec![Dim::Outcome], Some(span.bucket), whole);
    let before = query(Vec::new(), None, span.before());
    let mut sums = UsageSums::default();
    for row in console.store.usage_sums(&before).await? {
        sums.add(&row.sums);
    }
    Ok(Data {
        by_model: console.store.usage_sums(&by_model).await?,
        by_outcome: console.store.usage_sums(&by_outcome).await?,
        before: sums,
    })
}

pub async fn page(
    State(console): State<Arc<Console>>,
    session: Session,
    Query(query): Query,
    headers: HeaderMap,
) -> Response {
    let now_ms = console.now_ms();
    let (range_name, since_ms) = range(&query, now_ms);
    let span = Span::of(since_ms, now_ms);
    let (sums, unpriced) = match data(&console, &span).await {
        Ok(data) => (drawn(&data, &span, now_ms), total(&data.by_model).unpriced()),
        Err(error) => (html! { section.panel { (unreadable("The totals", &error)) } }, 0),
    };
    let body = html! {
        div.stack {
            (notices(&console, unpriced, range_name))
            (sums)
            (tags::panel(&console, &tags::TagScope { project: None, since_ms, now_ms }, ("/ui", &query)).await)
            div.cols.c-2.eq {
                (Panel { title: "Providers", raw: true, acts: Some(html! { a.btn.ghost.sm href="/ui/routing" { "Routing" } }), ..Panel::default() }.around(providers(&console)))
                (Panel { title: "Budgets", raw: true, acts: Some(html! { a.btn.ghost.sm href="/ui/projects" { "Projects" } }), ..Panel::default() }.around(budgets(&console).await))
            }
            (Panel { title: "Latest failures", raw: true, acts: Some(html! { a.btn.ghost.sm href="/ui/requests?view=is%3Afailed" { "All" } }), ..Panel::default() }.around(failures(&console, since_ms, now_ms).await))
        }
    };
    let reader = Reader { console: &console, session: &session, headers: &headers };
    let page = Page {
        nav: "overview",
        title: "Overview",
        acts: Some(ranges("/ui", &query, range_name)),
        scripts: &["chart.js"],
        ..Page::default()
    };
    page.around(&reader, body)
}

/// The share of the spool's limit from which on waiting records need attention.
const SPOOL_SHARE: f64 = 0.5;

/// A notice when the spool fills: its records are not in the sums yet, and beyond the limit records are lost.
fn spool_notice(node: &crate::gateway::Node) -> Option<(&'static str, Markup, String)> {
    let share = node.spool_bytes as f64 / node.spool_limit.max(1) as f64;
    (share >= SPOOL_SHARE).then(|| {
        let words = html! {
            b { "The spool is " (format!("{:.0} %", share * 100.0)) " full." }
            " Its records wait for the database; " code { "database.spool_limit" } " is its maximum size."
        };
        (if share >= 0.9 { "bad" } else { "warn" }, words, "/ui/settings".to_owned())
    })
}

/// The notices that need action, worst first. `unpriced` requests are in no sum of the range.
fn notices(console: &Console, unpriced: u64, range: &str) -> Markup {
    let mut list: Vec<(&str, Markup, String)> = spool_notice(&console.gateway.node()).into_iter().collect();
    if unpriced > 0 {
        let words = html! { b { (count(unpriced)) " requests have no known price." } " No sum includes them. You can set prices of a model in the configuration." };
        list.push(("warn", words, format!("/ui/requests?view=is%3Aunpriced&range={range}")));
    }
    if let Some(crate::gateway::LastReload { result: Err(_), .. }) = console.gateway.last_reload() {
        list.push((
            "bad",
            html! { b { "The last reload was refused." } " The previous configuration is still in force." },
            "/ui/settings".to_owned(),
        ));
    }
    for provider in console.gateway.providers().iter().filter(|provider| provider.off.is_none()) {
        if let Some((kind, words)) = trouble(provider) {
            list.push((
                kind,
                html! { b { (provider.id) } " " (words) },
                format!("/ui/routing?open={0}#{0}", super::encoded(&provider.id)),
            ));
        }
    }
    for (project, (ceiling, per, spent, _)) in all_budgets(console) {
        let part = share(spent, ceiling);
        if part >= 0.8 {
            let kind = if part >= 1.0 { "bad" } else { "warn" };
            let words = html! { b { (project) } " has spent " (format!("{:.0} %", part * 100.0)) " of its " (dollars(ceiling)) " per " (per.as_str()) };
            list.push((kind, words, format!("/ui/projects/{}", super::encoded(&project))));
        }
    }
    list.sort_by_key(|(kind, ..)| *kind != "bad");
    html! {
        @if !list.is_empty() {
            ul.notice aria-label="What needs attention" {
                @for (kind, words, link) in list.iter().take(NOTICES) {
                    li { (mark(kind, if *kind == "bad" { "badc" } else { "warnc" })) span { (words) } a.btn.ghost.sm href=(link) aria-label="Show" { (icon("chev")) } }
                }
            }
        }
    }
}

type Money = (Pico, limits::Window, Pico, Pico);

fn all_budgets(console: &Console) -> Vec<(String, Money)> {
    let projects = console.gateway.project_ids().into_iter();
    let of_project = |id: String| {
        let taken = console.gateway.taken(&id);
        let urgent = taken.into_iter().filter_map(|taken| taken.money);
        urgent
            .max_by_key(|(ceiling, _, spent, _)| (share(*spent, *ceiling) * 1e6) as i64)
            .map(|money| (id, money))
    };
    let mut found: Vec<_> = projects.filter_map(of_project).collect();
    found
        .sort_by_key(|(_, (ceiling, _, spent, _))| std::cmp::Reverse((share(*spent, *ceiling) * 1e6) as i64));
    found
}

async fn budgets(console: &Console) -> Markup {
    let list = all_budgets(console);
    if list.is_empty() {
        return empty("No budget", "Projects with a budget are listed here with the remaining amount.");
    }
    html! {
        ul.meters {
            @for (project, (ceiling, per, spent, _)) in list.iter().take(6) {
                @let part = share(*spent, *ceiling);
                li {
                    span.hstack.between { a.clip href={ "/ui/projects/" (super::encoded(project)) } { (project) } span.t3.nw { (dollars(*spent)) " of " (dollars(*ceiling)) " per " (per.as_str()) } }
                    (bar(part, super::projects::colour(part), None, &format!("{:.0} % spent", part * 100.0)))
                }
            }
        }
    }
}

fn providers(console: &Console) -> Markup {
    let on: Vec<_> =
        console.gateway.providers().into_iter().filter(|provider| provider.off.is_none()).collect();
    let table = Table {
        caption: "Enabled providers",
        class: "dense",
        columns: &[("Provider", "max"), ("State", ""), ("TTFT", "n"), ("Tokens/s", "n p1")],
    };
    if on.is_empty() {
        return empty(
            "No provider is enabled",
            "Set a provider's key, such as OPENAI_API_KEY, and restart the gateway.",
        );
    }
    table.around(html! {
        @for provider in on.iter().take(10) {
            @let figures = routing::figures(provider);
            tr {
                td.max { a.main.clip href={ "/ui/routing?open=" (super::encoded(&provider.id)) "#" (super::encoded(&provider.id)) } { (provider.id) } }
                td { (routing::word(provider)) }
                td.n { (number::maybe_duration(figures.first_token_ms)) }
                td.n.p1 { @match figures.tokens_per_second { Some(speed) => (format!("{speed:.0}")), None => (number::absent()) } }
            }
        }
    })
}

async fn failures(console: &Console, since_ms: i64, now_ms: i64) -> Markup {
    let Ok(mut filter) = RequestFilter::parse("is:failed") else { return html! {} };
    filter.since_ms = Some(since_ms);
    match console.store.requests(&filter, None, 5).await {
        Ok(page) if page.rows.is_empty() => empty("No request failed", "None in this time range."),
        Ok(page) => requests::table("Latest failures", &page.rows, now_ms),
        Err(error) => unreadable("The failures", &error),
    }
}

fn total(rows: &[UsageRow]) -> UsageSums {
    rows.iter().fold(UsageSums::default(), |mut all, row| {
        all.add(&row.sums);
        all
    })
}

#[derive(Clone, Copy, Default)]
pub(super) struct Outcomes {
    pub(super) all: u64,
    pub(super) recovered: u64,
    pub(super) callers: u64,
    pub(super) failed: u64,
}

impl Outcomes {
    pub(super) fn of<'a>(rows: impl Iterator<Item = &'a UsageRow>) -> Self {
        let mut outcomes = Self::default();
        for row in rows {
            let requests = row.sums.requests();
            outcomes.all += requests;
            match row.of.first().map_or("", String::as_str) {
                "ok" | "cancelled" => {}
                "recovered" => outcomes.recovered += requests,
                kind if is_callers(kind) => outcomes.callers += requests,
                _ => outcomes.failed += requests,
            }
        }
        outcomes
    }
}

/// Kinds of errors that the caller can avoid.
fn is_callers(kind: &str) -> bool {
    use canon::ErrorKind::{
        Authentication, ContextLength, InvalidRequest, MethodNotAllowed, ModelNotFound, NotFound, Permission,
        UnsupportedFeature,
    };
    let callers = [
        Authentication,
        ContextLength,
        InvalidRequest,
        MethodNotAllowed,
        ModelNotFound,
        NotFound,
        Permission,
        UnsupportedFeature,
    ];
    callers.iter().any(|known| known.as_str() == kind)
}

fn drawn(data: &Data, span: &Span, now_ms: i64) -> Markup {
    let all = total(&data.by_model);
    if all.requests() == 0 && data.before.requests() == 0 {
        return Panel { title: "Requests", raw: true, ..Panel::default() }.around(first_steps());
    }
    html! {
        (strip(&all, data))
        (cost_panel(data, span, now_ms))
        div.cols.c-2.eq {
            (outcome_panel(data, span, now_ms))
            (Panel { title: "Time to first token", ..Panel::default() }.around(ttft(&all, data, span, now_ms)))
        }
    }
}

fn strip(all: &UsageSums, data: &Data) -> Markup {
    let outcomes = Outcomes::of(data.by_outcome.iter());
    let served =
        if outcomes.all == 0 { None } else { Some(1.0 - outcomes.failed as f64 / outcomes.all as f64) };
    let usage = all.usage();
    let prompt =
        usage.input + usage.cache_read + usage.cache_write + usage.cache_write_1h + usage.audio_input;
    let change = |now: f64, before: f64| {
        (before > 0.0).then(|| format!("{:+.0} % against the period before", (now / before - 1.0) * 100.0))
    };
    // Requests of unknown price are in no sum, so their number is shown beside it.
    let beside = match all.unpriced() {
        0 => change(all.cost().0 as f64, data.before.cost().0 as f64),
        unpriced => Some(format!("and {} unpriced requests", count(unpriced))),
    };
    let figure = |label: &str, value: Markup, words: Option<String>| {
        html! { div { div.fig-l { (label) } div.fig-v { (value) } div.fig-s { (words.unwrap_or_default()) } } }
    };
    html! {
        div.strip {
            (figure("Cost", number::money(Some(all.cost())), beside))
            (figure("Requests", html! { span title=(count(all.requests())) { (number::short(all.requests())) } }, change(all.requests() as f64, data.before.requests() as f64)))
            (figure("Served", html! { @match served { Some(share) => (percent(share)), None => (number::absent()) } }, Some(format!("{} failed", count(outcomes.failed)))))
            (figure("First token, p50", number::maybe_duration(all.ttft().quantile(0.5).map(|ms| ms as f64)), all.ttft().quantile(0.95).map(|ms| format!("p95 {}", number::duration(ms as f64)))))
            (figure("Tokens", html! { span title=(count(prompt + usage.output)) { (number::short(prompt + usage.output)) } }, Some(format!("{} in, {} out", number::short(prompt), number::short(usage.output)))))
            (figure("Read from prompt caches", html! { @if prompt > 0 { (format!("{:.0} %", usage.cache_read as f64 * 100.0 / prompt as f64)) } @else { (number::absent()) } }, Some("of all prompt tokens".to_owned())))
        }
    }
}

/// Percentiles of the time to the first token, by bucket; a bucket where nothing was measured breaks the line.
fn ttft_chart(data: &Data, span: &Span, now_ms: i64) -> Markup {
    let buckets = span.buckets();
    let of = |bucket: i64| {
        let rows = data.by_model.iter().filter(|row| row.start_ms == Some(bucket));
        rows.fold(UsageSums::default(), |mut all, row| {
            all.add(&row.sums);
            all
        })
    };
    let sums: Vec<UsageSums> = buckets.iter().map(|bucket| of(*bucket)).collect();
    let lines = [("p50", "k1", 0.5), ("p95", "k2", 0.95)].map(|(name, class, share)| {
        let values: Vec<Option<f64>> =
            sums.iter().map(|sums| sums.ttft().quantile(share).map(|ms| ms as f64)).collect();
        (name, class, values)
    });
    let highest = lines.iter().flat_map(|(_, _, values)| values).flatten().copied().fold(0.0, f64::max);
    let step = round_step(highest * 1.02, 4.0).max(1.0);
    let top = step * (highest / step).ceil().max(1.0);
    let labels: Vec<String> = buckets.iter().map(|bucket| label(*bucket, span, now_ms)).collect();
    let numbers = serde_json::json!({
        "x": labels, "u": "ms",
        "s": lines.iter().map(|(name, class, values)| serde_json::json!({"n": name, "k": class, "y": values})).collect::<Vec<_>>(),
    });
    let inner = html! { @for (_, class, values) in &lines { (line(class, values, top)) } };
    let legend = html! { div.legend.lpad { @for (name, class, _) in &lines { span class=(class) { i.sw {} (name) } } } };
    let axes = Axes { top, step, labels: &labels, format: &number::duration };
    let drawing = chart("Time to first token over time", &axes, &numbers, inner);
    html! { (drawing) (legend) }
}

fn ttft(all: &UsageSums, data: &Data, span: &Span, now_ms: i64) -> Markup {
    let histogram = all.ttft();
    if histogram.count() == 0 {
        return empty("No measurements", "Only streamed requests have a time to the first token.");
    }
    html! {
        (ttft_chart(data, span, now_ms))
        dl.kv {
            @for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)] {
                dt { (name) } dd { (number::maybe_duration(histogram.quantile(share).map(|ms| ms as f64))) }
            }
            dt { "Measured" } dd { (count(histogram.count())) " requests" }
        }
    }
}

struct Series {
    name: String,
    class: &'static str,
    sums: UsageSums,
    values: Vec<f64>,
}

const CLASSES: [&str; SERIES + 1] = ["k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8"];

fn series(data: &Data, buckets: &[i64]) -> Vec<Series> {
    let mut by_name: BTreeMap<&str, UsageSums> = BTreeMap::new();
    for row in &data.by_model {
        by_name.entry(row.of.first().map_or("", String::as_str)).or_default().add(&row.sums);
    }
    let mut ranked: Vec<(&str, UsageSums)> = by_name.into_iter().collect();
    ranked.sort_by_key(|(name, sums)| (std::cmp::Reverse((sums.cost().0, sums.requests())), *name));
    let place: BTreeMap<&str, usize> =
        ranked.iter().enumerate().map(|(at, (name, _))| (*name, at.min(SERIES))).collect();
    let number = ranked.len().min(SERIES + 1);
    let mut series: Vec<Series> = (0..number)
        .map(|at| Series {
            name: if at == SERIES { "others".to_owned() } else { shown_model(ranked[at].0) },
            class: CLASSES[at],
            sums: UsageSums::default(),
            values: vec![0.0; buckets.len()],
        })
        .collect();
    for row in &data.by_model {
        let at = place.get(row.of.first().map_or("", String::as_str)).copied().unwrap_or(SERIES);
        let Some(one) = series.get_mut(at) else { continue };
        one.sums.add(&row.sums);
        if let Some(bucket) =
            row.start_ms.and_then(|start| buckets.iter().position(|bucket| *bucket == start))
        {
            one.values[bucket] += row.sums.cost().as_usd();
        }
    }
    series
}

fn shown_model(name: &str) -> String {
    if name.is_empty() { "not sent to a provider".to_owned() } else { name.to_owned() }
}

fn cost_panel(data: &Data, span: &Span, now_ms: i64) -> Markup {
    let buckets = span.buckets();
    let series = series(data, &buckets);
    let table = Table {
        caption: "Cost by model",
        class: "dense",
        columns: &[("Model", "max"), ("Requests", "n"), ("Cost", "n"), ("Share", "n p1")],
    };
    let whole: i64 = series.iter().map(|one| one.sums.cost().0).sum();
    let rows = html! {
        @for one in &series {
            tr data-s=(one.class) {
                td.max { span.hstack { i class={ "sw " (one.class) } {} span.clip title=(one.name) { (one.name) } } }
                td.n { (count(one.sums.requests())) }
                td.n { (sum(one.sums.cost(), one.sums.unpriced())) }
                td.n.p1 { @if whole > 0 { (format!("{:.0} %", one.sums.cost().0 as f64 * 100.0 / whole as f64)) } @else { (number::absent()) } }
            }
        }
    };
    let body = html! { div.costgrid { div.body { (stacked(&series, &buckets, span, now_ms)) } (table.around(rows)) } };
    let note = html! { "by " (if span.bucket == Bucket::Day { "day" } else { "hour" }) ", UTC" };
    Panel { title: "Cost by model", raw: true, note: Some(note), ..Panel::default() }.around(body)
}

pub(super) fn label(at_ms: i64, span: &Span, now_ms: i64) -> String {
    match span.bucket {
        Bucket::Day => time::day_of(at_ms, now_ms),
        Bucket::Hour => time::clock(at_ms)[..5].to_owned(),
    }
}

fn stacked(series: &[Series], buckets: &[i64], span: &Span, now_ms: i64) -> Markup {
    let number = buckets.len();
    let totals: Vec<f64> = (0..number).map(|at| series.iter().map(|one| one.values[at]).sum()).collect();
    let highest = totals.iter().copied().fold(0.0, f64::max);
    let step = round_step(highest * 1.02, 4.0);
    let top = step * (highest / step).ceil().max(1.0);
    let mut base = vec![0.0; number];
    let mut paths = Vec::new();
    for one in series {
        let upper: Vec<f64> = base.iter().zip(&one.values).map(|(low, value)| low + value).collect();
        let line: Vec<Option<f64>> = upper.iter().copied().map(Some).collect();
        paths.push(html! {
            path class={ "ar " (one.class) } data-s=(one.class) d=(area_path(&base, &upper, top)) {}
            path.sep d=(line_path(&line, top)) {}
        });
        base = upper;
    }
    let labels: Vec<String> = buckets.iter().map(|at| label(*at, span, now_ms)).collect();
    let numbers = serde_json::json!({
        "x": labels, "u": "$", "total": true,
        "s": series.iter().map(|one| serde_json::json!({"n": one.name, "k": one.class, "y": one.values})).collect::<Vec<_>>(),
    });
    chart(
        "Cost by model over time, stacked",
        &Axes {
            top,
            step,
            labels: &labels,
            format: &|tick| dollars(Pico((tick * 1e12) as i64)).trim_end_matches(".00").to_owned(),
        },
        &numbers,
        html! { @for path in &paths { (path) } },
    )
}

struct Axes<'a> {
    /// The value at the upper edge.
    top: f64,
    /// The distance between two lines of the grid.
    step: f64,
    /// Labels below the points, the first at the left edge.
    labels: &'a [String],
    format: &'a dyn Fn(f64) -> String,
}

/// A chart in its frame, with its numbers beside it for the reading line.
fn chart(words: &str, axes: &Axes<'_>, numbers: &serde_json::Value, inner: Markup) -> Markup {
    let Axes { top, step, labels, format } = *axes;
    let plot = 170.0;
    let y = |value: f64| 8.0 + plot - plot * value / top;
    let ticks: Vec<f64> =
        (0..=5).map(|at| f64::from(at) * step).filter(|tick| *tick <= top * 1.0001).collect();
    let last = labels.len().saturating_sub(1).max(1);
    let every = labels.len().div_ceil(6).max(1);
    html! {
        figure.chart data-chart tabindex="0" aria-label={ (words) ". Arrow keys move through the points." } {
            div.cg {
                svg.ya.h-200 width="44" height="200" aria-hidden="true" { @for tick in &ticks { text.e x="36" y=(short(y(*tick) + 3.5)) { (format(*tick)) } } }
                svg.xa.h-200 width="100%" height="200" role="img" aria-label=(words) {
                    @for (at, tick) in ticks.iter().enumerate() { line class=(if at == 0 { "axis" } else { "grid" }) x1="0" x2="100%" y1=(short(y(*tick))) y2=(short(y(*tick))) {} }
                    @for (at, text) in labels.iter().enumerate().step_by(every) { text class=(if at == 0 { "" } else { "c" }) x={ (short(at as f64 / last as f64 * 100.0)) "%" } y="194" { (text) } }
                    svg.plot y="8" width="100%" height="170" viewBox="0 0 1000 100" preserveAspectRatio="none" overflow="visible" { (inner) }
                    line.cross y1="8" y2="178" visibility="hidden" {}
                }
            }
            (chart::numbers(numbers))
        }
    }
}

/// A line of the chart: its name, its colour, and what it counts.
type Kind = (&'static str, &'static str, fn(&Outcomes) -> u64);

fn outcome_panel(data: &Data, span: &Span, now_ms: i64) -> Markup {
    let buckets = span.buckets();
    let at = |bucket: i64| Outcomes::of(data.by_outcome.iter().filter(|row| row.start_ms == Some(bucket)));
    let outcomes: Vec<Outcomes> = buckets.iter().map(|bucket| at(*bucket)).collect();
    let kinds: [Kind; 3] = [
        ("recovered by a retry", "k2", |it| it.recovered),
        ("caller's error", "kmute", |it| it.callers),
        ("failed", "kbad", |it| it.failed),
    ];
    let highest =
        outcomes.iter().map(|it| it.recovered.max(it.callers).max(it.failed)).max().unwrap_or(0) as f64;
    let step = round_step(highest * 1.02, 4.0).max(1.0);
    let top = step * (highest / step).ceil().max(1.0);
    let labels: Vec<String> = buckets.iter().map(|bucket| label(*bucket, span, now_ms)).collect();
    let numbers = serde_json::json!({
        "x": labels, "u": "",
        "s": kinds.iter().map(|(name, class, of)| serde_json::json!({"n": name, "k": class, "y": outcomes.iter().map(of).collect::<Vec<_>>()})).collect::<Vec<_>>(),
    });
    let inner = html! {
        @for (_, class, of) in &kinds {
            @let points: Vec<Option<f64>> = outcomes.iter().map(|it| (it.all > 0).then(|| of(it) as f64)).collect();
            (line(class, &points, top))
        }
    };
    let whole = Outcomes::of(data.by_outcome.iter());
    let legend = html! {
        div.legend.lpad { @for (name, class, of) in &kinds { span class=(class) { i.sw {} (name) " " b { (count(of(&whole))) } } } }
    };
    let axes = Axes { top, step, labels: &labels, format: &|tick| number::short(tick as u64) };
    let drawing = chart("Recovered and failed requests over time", &axes, &numbers, inner);
    Panel { title: "Recovered and failed", ..Panel::default() }.around(html! { (drawing) (legend) })
}
