//! `/ui/models`: the catalog in force: providers, prices and features of models.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use canon::Pico;
use http::HeaderMap;
use maud::{Markup, html};

use super::encoded;
use crate::Console;
use crate::components::number::{self, absent, count, tokens};
use crate::components::page::{Page, Reader};
use crate::components::parts::segments;
use crate::components::{Panel, Table, empty, icon, state};
use crate::fields::{Fields, Query};
use crate::gateway::{Model, Price};
use crate::session::Session;

/// Name in the catalog, label.
const FEATURES: &[(&str, &str)] = &[
    ("tools", "Tools"),
    ("vision", "Vision"),
    ("documents", "Docs"),
    ("audio_input", "Audio"),
    ("json_schema", "Schema"),
    ("reasoning", "Reason"),
    ("prompt_cache", "Cache"),
];
/// The number of rows that are shown at once.
const ROWS: usize = 150;
/// The maximum number of compared models.
const COMPARED: usize = 4;

pub async fn page(
    State(console): State<Arc<Console>>,
    session: Session,
    Query(query): Query,
    headers: HeaderMap,
) -> Response {
    let models = console.gateway.models();
    let compared: Vec<&Model> = query
        .all("compare")
        .filter_map(|id| models.iter().find(|model| model.id == id))
        .take(COMPARED)
        .collect();
    let found: Vec<&Model> = models.iter().filter(|model| matches(model, &query)).collect();
    let is_matrix = query.text("show") == "matrix";
    let body = html! {
        div.stack {
            @if compared.len() > 1 { (compare(&compared)) }
            (filters(&query))
            @if found.is_empty() { section.panel { (empty("No model matches", "Remove a filter, or include models that no enabled provider serves.")) } }
            @else if is_matrix { (matrix(&console, &found)) }
            @else { (list(&found, models.len(), &query)) }
        }
    };
    let served = models.iter().filter(|model| model.offers.iter().any(|offer| offer.on)).count();
    let link = |show: &str| format!("/ui/models?{}", query.with("show", Some(show)));
    let acts = segments("View", [("List", link("list"), !is_matrix), ("Matrix", link("matrix"), is_matrix)]);
    let sub = html! { (models.len()) " models, " (served) " of them served by enabled providers" };
    let reader = Reader { console: &console, session: &session, headers: &headers };
    Page { nav: "models", title: "Models", sub: Some(sub), acts: Some(acts), ..Page::default() }
        .around(&reader, body)
}

fn matches(model: &Model, query: &Fields) -> bool {
    let words = query.text("q").to_lowercase();
    let has_words = words.split_whitespace().all(|word| {
        let named = [&model.id, &model.name].into_iter().any(|name| name.to_lowercase().contains(word));
        named
            || model
                .offers
                .iter()
                .any(|offer| offer.provider.contains(word) || offer.id.to_lowercase().contains(word))
    });
    let is_shown = query.has("all") || model.offers.iter().any(|offer| offer.on);
    has_words && is_shown && query.all("need").all(|need| model.features.contains(&need))
}

fn filters(query: &Fields) -> Markup {
    let needs: Vec<&str> = query.all("need").collect();
    html! {
        form.filters method="get" action="/ui/models" role="search" {
            label.fbox { (icon("search")) span.vh { "Filter" } input.in data-filter name="q" value=(query.text("q")) placeholder="Name or provider" autocomplete="off" spellcheck="false"; kbd { "f" } }
            fieldset.hstack.wrap.needs {
                legend.vh { "Features" }
                @for (name, label) in FEATURES { label.check { input type="checkbox" name="need" value=(name) checked[needs.contains(name)]; (label) } }
            }
            @if let Some(show) = query.get("show") { input type="hidden" name="show" value=(show); }
            label.switch { input type="checkbox" role="switch" name="all" value="1" checked[query.has("all")]; "Include disabled providers" }
            button.btn.sm { "Filter" }
        }
    }
}

fn usd(price: Pico) -> Markup {
    let text = price.to_string();
    let (whole, digits) = text.split_once('.').unwrap_or((&text, ""));
    html! { (whole) "." (format!("{digits:0<2}")) }
}

fn input(price: Option<&Price>) -> Markup {
    price.map_or_else(number::unpriced, |price| usd(price.input))
}

fn output(price: Option<&Price>) -> Markup {
    price.map_or_else(number::unpriced, |price| usd(price.output))
}

fn cached(price: Option<&Price>) -> Markup {
    price.and_then(|price| price.cached).map_or_else(absent, usd)
}

fn list(found: &[&Model], all: usize, query: &Fields) -> Markup {
    let open = query.text("open");
    let mut columns = vec![
        ("~Compare", ""),
        ("Model", "max"),
        ("Enabled providers", "p1"),
        ("Input", "n"),
        ("Cached", "n p3"),
        ("Output", "n"),
        ("Cheapest at", "p3"),
        ("Context", "n p1"),
    ];
    columns.extend(FEATURES.iter().map(|(_, label)| (*label, "fx p1")));
    let table = Table {
        caption: "Models; prices in USD per million tokens at the cheapest enabled provider",
        class: "dense mt",
        columns: &columns,
    };
    let rows = html! { @for model in found.iter().take(ROWS) { (row(model, open == model.id, query, columns.len())) } };
    let foot = html! {
        span { (found.len().min(ROWS)) " of " (all) " models shown. USD per million tokens, at the cheapest enabled provider." }
        span.push {}
        button.btn.sm { "Compare selected" }
    };
    html! {
        form method="get" action="/ui/models" {
            @if let Some(words) = query.get("q") { input type="hidden" name="q" value=(words); }
            (Panel { raw: true, foot: Some(foot), ..Panel::default() }.around(table.around(rows)))
        }
    }
}

fn row(model: &Model, is_open: bool, query: &Fields, columns: usize) -> Markup {
    let on = model.offers.iter().filter(|offer| offer.on).count();
    let best = model.cheapest();
    let price = best.and_then(|offer| offer.price.as_ref());
    let link = query.with("open", (!is_open).then_some(model.id.as_str()));
    html! {
        tr.mrow.dim[on == 0] id=(model.id) {
            td { label.check { input type="checkbox" name="compare" value=(model.id); span.vh { "Compare " (model.id) } } }
            td.max {
                a.exp href={ "/ui/models?" (link) "#" (encoded(&model.id)) } aria-expanded=(is_open) {
                    (crate::components::icon::small("chev"))
                    span.clip title=(model.id) { b.w5 { (model.id) } " " span.t3 { (model.name) } }
                }
            }
            td.p1 { span class=(if on > 0 { "t2 sm" } else { "t3 sm" }) { (on) " of " (model.offers.len()) } }
            td.n { @if on > 0 { (input(price)) } @else { (absent()) } }
            td.n.p3 { (cached(price)) }
            td.n { @if on > 0 { (output(price)) } @else { (absent()) } }
            td.p3.sm { @match best { Some(offer) => span.t3 { (offer.provider) }, None if on == 0 => (state("off", "no enabled provider")), None => {} } }
            td.n.p1 { (tokens(model.context)) }
            @for (name, _) in FEATURES { td.fx.p1 { @if model.features.contains(name) { i {} span.vh { "yes" } } @else { span.vh { "no" } } } }
        }
        @if is_open { tr.subrow { td colspan=(columns) { (offers(model)) } } }
    }
}

fn offers(model: &Model) -> Markup {
    let caption = format!("Providers of {}", model.id);
    let table = Table {
        caption: &caption,
        class: "dense subt p8",
        columns: &[
            ("Provider", ""),
            ("Model id there", ""),
            ("Input", "n"),
            ("Cached", "n"),
            ("Output", "n"),
            ("Context", "n"),
            ("Features", ""),
            ("State", ""),
        ],
    };
    let mut sorted: Vec<_> = model.offers.iter().collect();
    sorted.sort_by_key(|offer| (!offer.on, offer.price.as_ref().map_or(i64::MAX, |price| price.input.0)));
    table.around(html! {
        @for offer in sorted {
            tr.dim[!offer.on] {
                td { b.w5 { (offer.provider) } }
                td { span.mono.t2.clip.oid title=(offer.id) { (offer.id) } }
                td.n { (input(offer.price.as_ref())) }
                td.n { (cached(offer.price.as_ref())) }
                td.n { (output(offer.price.as_ref())) }
                td.n { (tokens(offer.context.or(model.context))) }
                td { @if offer.lacks.is_empty() { span.t3 { "all" } } @for feature in &offer.lacks { span.tag.line { "no " (feature) } " " } }
                td {
                    @if offer.on { (state("ok", "on")) } @else { a href="/ui/routing" { (state("off", "off")) } }
                    @if let Some(day) = &offer.last_day { " " span.warnc.sm { "until " (day) } }
                }
            }
        }
    })
}

fn matrix(console: &Console, found: &[&Model]) -> Markup {
    let on: Vec<String> =
        console.gateway.providers().into_iter().filter(|it| it.off.is_none()).map(|it| it.id).collect();
    let rows = html! {
        @for model in found.iter().take(ROWS) {
            @let prices: Vec<i64> = model.offers.iter().filter(|offer| on.contains(&offer.provider)).filter_map(|offer| Some(offer.price.as_ref()?.input.0)).collect();
            @let lowest = prices.iter().min().filter(|low| prices.iter().any(|price| price != *low));
            tr {
                th scope="row" { span.clip title=(model.id) { (model.id) } }
                @for provider in &on {
                    @match model.offers.iter().find(|offer| offer.provider == *provider) {
                        None => td.mx.no { span.vh { "not offered" } },
                        Some(offer) => @match &offer.price {
                            None => td.mx { span.unpriced title="served, price unknown" { "?" } },
                            Some(price) => td.mx.best[lowest == Some(&price.input.0)] { (usd(price.input)) span.t3 { " / " (usd(price.output)) } },
                        },
                    }
                }
            }
        }
    };
    let foot = html! { span { "Input / output, USD per million tokens. Highlighted: the lowest input price, where prices differ. " span.unpriced { "?" } " served, price unknown." } };
    Panel { raw: true, foot: Some(foot), ..Panel::default() }.around(html! {
        div.tbl tabindex="0" role="region" aria-label="Prices by model and provider" {
            table.t.dense.matrix {
                caption.vh { "Input and output price by model and provider" }
                thead { tr { th scope="col" { "Model" } @for provider in &on { th.vt scope="col" { span { (provider) } } } } }
                tbody { (rows) }
            }
        }
    })
}

/// Up to four models side by side; the best value of each line is highlighted.
fn compare(models: &[&Model]) -> Markup {
    let price = |model: &Model| model.cheapest().and_then(|offer| offer.price);
    let asked = |model: &Model| {
        price(model).map(|price| {
            Pico(
                (price.input.0 / 1_000_000)
                    .saturating_mul(6000)
                    .saturating_add((price.output.0 / 1_000_000).saturating_mul(500)),
            )
        })
    };
    let lowest = |values: Vec<Option<i64>>| {
        let best = values.iter().flatten().min().copied();
        (values.iter().flatten().count() > 1).then_some(best).flatten()
    };
    let line = |label: &str, values: Vec<Option<Pico>>| {
        let best = lowest(values.iter().map(|value| value.map(|it| it.0)).collect());
        html! { tr { th.t3 scope="row" { (label) } @for value in values {
            td.n { @match value { None => (number::unpriced()), Some(value) if best == Some(value.0) => b.accentc { (usd(value)) }, Some(value) => (usd(value)) } }
        } } }
    };
    let figure = |label: &str, values: Vec<Option<u64>>| {
        let best = lowest(values.iter().map(|value| value.map(|it| -(it as i64))).collect());
        html! { tr { th.t3 scope="row" { (label) } @for value in values {
            td.n { @match value { None => (absent()), Some(value) if best == Some(-(value as i64)) => b.accentc { (count(value)) }, Some(value) => (count(value)) } }
        } } }
    };
    Panel { title: "Compare", raw: true, note: Some(html! { "at the cheapest enabled provider" }), ..Panel::default() }.around(html! {
        div.tbl tabindex="0" role="region" aria-label="Models side by side" { table.t.dense {
            caption.vh { "Models side by side" }
            thead { tr { td {} @for model in models { th scope="col" { b.clip.mx160 title=(model.id) { (model.id) } } } } }
            tbody {
                (line("Input, USD per million", models.iter().map(|model| price(model).map(|it| it.input)).collect()))
                (line("Cached input", models.iter().map(|model| price(model).and_then(|it| it.cached)).collect()))
                (line("Output", models.iter().map(|model| price(model).map(|it| it.output)).collect()))
                (line("Cost of 6,000 tokens in and 500 out", models.iter().map(|model| asked(model)).collect()))
                (figure("Context", models.iter().map(|model| model.context).collect()))
                (figure("Maximum output", models.iter().map(|model| model.longest_answer).collect()))
                tr { th.t3 scope="row" { "Enabled providers" } @for model in models { td.wrap { (model.offers.iter().filter(|offer| offer.on).map(|offer| offer.provider.as_str()).collect::<Vec<_>>().join(", ")) } } }
                tr { th.t3 scope="row" { "Features" } @for model in models { td.wrap { (model.features.join(", ")) } } }
            }
        } }
    })
}
