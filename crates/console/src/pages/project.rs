//! `/ui/projects/ID`: budgets with their burn-down, keys, allowed models, changes; and one key with its
//! actions.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use canon::Pico;
use http::{HeaderMap, StatusCode};
use limits::{Pattern, Policy, Window};
use maud::{Markup, html};
use store::{KeyFields, KeyRow, LedgerDay, Project, StoreError, WriteOutcome};

use super::projects::{all, colour, policy_fields, share};
use super::tags;
use super::{absent, encoded, refused};
use crate::Console;
use crate::components::chart::{bar, line_path, round_step, short};
use crate::components::number::{dollars, money, quiet_count};
use crate::components::page::{Page, Reader};
use crate::components::parts::{copy_from, unreadable};
use crate::components::time::{self, DAY_MS};
use crate::components::{Panel, Table, empty, form_token, icon, state};
use crate::fields::{Fields, Query};
use crate::gateway::{Identity, MayUse, RuleUse};
use crate::policy;
use crate::session::Session;

async fn find(console: &Console, id: &str) -> Result<Option<Project>, StoreError> {
    Ok(all(console).await?.into_iter().find(|project| project.id == id))
}

fn policy_of(project: &Project) -> Policy {
    serde_json::from_str(&project.policy).unwrap_or_default()
}

pub async fn page(
    State(console): State<Arc<Console>>,
    session: Session,
    Path(id): Path<String>,
    Query(query): Query,
    headers: HeaderMap,
) -> Response {
    let reader = Reader { console: &console, session: &session, headers: &headers };
    let now_ms = console.now_ms();
    let today = now_ms.div_euclid(DAY_MS);
    let found = async {
        let Some(project) = find(&console, &id).await? else { return Ok(None) };
        let mut keys = console.store.list_keys().await?;
        keys.retain(|key| key.fields.project_id == id);
        keys.reverse();
        let days =
            console.store.ledger(&format!("project:{id}"), today - PAST_DAYS, PAST_DAYS as u32 + 1).await?;
        Ok::<_, StoreError>(Some((project, keys, days)))
    };
    let (project, keys, days) = match found.await {
        Ok(Some(found)) => found,
        Ok(None) => return absent(&reader, "This project does not exist", "It may have been deleted."),
        Err(error) => {
            let body = html! { section.panel { (unreadable("The project", &error)) } };
            return Page { nav: "projects", title: &id, ..Page::default() }.around(&reader, body);
        }
    };
    let (policy, taken) = (policy_of(&project), console.gateway.taken(&id));
    let may_change = session.is_admin() && project.version > 0;
    let month_ms = Window::Month.start(today) * DAY_MS;
    let shown = tags::TagScope { project: Some(&id), since_ms: month_ms, now_ms };
    let path = format!("/ui/projects/{}", encoded(&id));
    let by_tag = tags::panel(&console, &shown, (&path, &query)).await;
    let body = html! {
        div.stack {
            div.cols.c-side {
                div.stack {
                    (burn_down(&taken, &days, now_ms))
                    (by_tag)
                    (keys_panel(&project, &keys, &session, now_ms))
                    (models_panel(&console, &project, &policy, query.get("model")))
                    @if may_change { (edit_panel(&project, &policy, &session)) }
                }
                div.stack {
                    (Panel { title: "Budgets and limits", raw: true, ..Panel::default() }.around(meters(&taken)))
                    (Panel { title: "Policy", ..Panel::default() }.around(facts(&project, &policy)))
                }
            }
        }
    };
    let crumb = html! { a href="/ui/projects" { "Projects" } (crate::components::icon::small("chev")) span.clip { (project.name) } };
    let sub = match (project.version, project.disabled_at_ms) {
        (0, _) => Some(html! { "declared in the configuration file; change it there" }),
        (_, Some(_)) => Some(state("off", "disabled: all its keys are refused")),
        _ => None,
    };
    Page { nav: "projects", title: &id, crumb: Some(crumb), sub, ..Page::default() }.around(&reader, body)
}

fn meters(taken: &[RuleUse]) -> Markup {
    if taken.is_empty() {
        return empty(
            "No budget and no limit",
            "Requests are recorded. None is refused for its cost or rate.",
        );
    }
    html! {
        ul.meters {
            @for taken in taken {
                li {
                    span.hstack.between { span { (taken.rule) } }
                    @if let Some((ceiling, _, spent, reserved)) = taken.money {
                        @let spent_share = share(spent, ceiling);
                        @let both = share(Pico(spent.0.saturating_add(reserved.0)), ceiling);
                        (bar(spent_share, colour(spent_share), Some(both), &format!("{:.0} % spent", spent_share * 100.0)))
                        span.t3.sm { (dollars(spent)) " spent, " (dollars(reserved)) " reserved" }
                    }
                    @if let Some((most, now)) = taken.concurrent {
                        (bar(now as f64 / most.max(1) as f64, "kacc", None, &format!("{now} of {most} running")))
                        span.t3.sm { (now) " of " (most) " running" }
                    }
                }
            }
        }
    }
}

fn facts(project: &Project, policy: &Policy) -> Markup {
    html! {
        dl.kv {
            dt { "Unpriced models" }
            dd { @match policy.unpriced { Some(limits::Unpriced::Allow) => "allowed", Some(limits::Unpriced::Block) => "refused", None if policy.budgets.is_empty() => "allowed", None => "refused, because a budget applies" } }
            dt { "Answers stored" } dd { (if policy.stored_responses == Some(false) { "no" } else { "if the request asks for it" }) }
            dt { "Guardrails" }
            dd { @if policy.guardrails.is_empty() { span.t3 { "–" } } @for name in &policy.guardrails { span.tag.clip { (name) } " " } }
            dt { "Tags" }
            dd { @if policy.tags.is_empty() { span.t3 { "–" } } @for (name, value) in &policy.tags { span.tag.clip { (name) "=" (value) } " " } }
            @if !policy.limits.is_empty() { dt { "Limits" } dd { @for limit in &policy.limits { div { (policy::limit_words(limit)) } } } }
            @if project.created_at_ms > 0 { dt { "Created" } dd { (time::iso(project.created_at_ms)) } }
        }
    }
}

/// How far back the ledger is read: a month, and the four weeks before today.
const PAST_DAYS: i64 = 31;
/// Whole weeks that make a forecast by weekdays.
const WEEKS: i64 = 4;

/// The forecast cost of future days.
struct Forecast {
    /// By the day modulo 7.
    by_weekday: [i64; 7],
    /// The number of whole days that it is based on.
    days: i64,
    by_weeks: bool,
}

impl Forecast {
    /// With four weeks of data the mean of the same weekdays, otherwise the mean of the last seven whole days. Today is not a
    /// whole day, and counts only if it is the only one.
    fn of(ledger: &[LedgerDay], today: i64) -> Self {
        let spent_on =
            |day: i64| ledger.iter().filter(|it| it.day == day).map(|it| it.spent_pico).sum::<i64>();
        let first = ledger.iter().map(|it| it.day).min().unwrap_or(today);
        if first <= today - WEEKS * 7 {
            let mut by_weekday = [0; 7];
            for back in 1..=7 {
                let day = today - back;
                let sum: i64 = (0..WEEKS).map(|week| spent_on(day - week * 7)).sum();
                by_weekday[day.rem_euclid(7) as usize] = sum / WEEKS;
            }
            return Self { by_weekday, days: WEEKS * 7, by_weeks: true };
        }
        let days = (today - first).min(7);
        let pace = match days {
            0 => spent_on(today),
            days => (1..=days).map(|back| spent_on(today - back)).sum::<i64>() / days,
        };
        Self { by_weekday: [pace; 7], days, by_weeks: false }
    }

    /// The remaining amount after each day from tomorrow to the end.
    fn left(&self, left: i64, today: i64, end: i64) -> Vec<i64> {
        (today + 1..end)
            .scan(left, |left, day| {
                *left = left.saturating_sub(self.by_weekday[day.rem_euclid(7) as usize]);
                Some(*left)
            })
            .collect()
    }

    /// What it is based on, as the beginning of a sentence.
    fn basis(&self) -> String {
        match (self.by_weeks, self.days) {
            (true, _) => "At the pace of the same weekdays of the last four weeks".to_owned(),
            (false, 0) => "At today's pace".to_owned(),
            (false, 1) => "At yesterday's pace".to_owned(),
            (false, days) => format!("At the pace of the last {days} days"),
        }
    }
}

/// The remaining budget of the month: the days so far, an even pace, and the pace of the last seven days.
fn burn_down(taken: &[RuleUse], days: &[LedgerDay], now_ms: i64) -> Markup {
    let monthly = taken.iter().filter_map(|taken| taken.money).find(|(_, per, ..)| *per == Window::Month);
    let today = now_ms.div_euclid(DAY_MS);
    let (start, end) = (Window::Month.start(today), Window::Month.end(today).unwrap_or(today + 1));
    let spent_on = |day: i64| days.iter().filter(|it| it.day == day).map(|it| it.spent_pico).sum::<i64>();
    let mut left = monthly.map_or(0, |(ceiling, ..)| ceiling.0);
    let ceiling = left;
    let mut points = vec![Some(left as f64)];
    let mut rows = Vec::new();
    for day in start..end {
        if day > today {
            points.push(None);
            continue;
        }
        let spent = spent_on(day);
        left -= spent;
        points.push(Some(left as f64));
        rows.push((day, spent, left));
    }
    let forecast = Forecast::of(days, today);
    let ahead = forecast.left(left, today, end);
    let crossing = (left > 0).then(|| ahead.iter().position(|left| *left <= 0)).flatten();
    let crossing = crossing.map(|after| today + 1 + after as i64).filter(|_| ceiling > 0);
    let table = Table {
        caption: "Spend by day",
        class: "dense",
        columns: &[("Day", ""), ("Spent", "n"), ("Left", "n")],
    };
    let table = table.around(html! {
        @for (day, spent, left) in rows.iter().rev() {
            tr {
                td { (time::day_of(day * DAY_MS, now_ms)) }
                td.n { (money(Some(Pico(*spent)))) }
                td.n { @if ceiling > 0 { (dollars(Pico(*left))) } @else { span.t3 { "–" } } }
            }
        }
    });
    if ceiling == 0 {
        let note = html! { "no monthly budget" };
        return Panel { title: "Spend of the month", note: Some(note), raw: true, ..Panel::default() }
            .around(table);
    }
    let label =
        format!("Remaining of the month's budget of {}: {}", dollars(Pico(ceiling)), dollars(Pico(left)));
    let top = ceiling as f64;
    // The line begins where the days so far end.
    let drawn: Vec<Option<f64>> = (start..=end)
        .map(|day| match day - today {
            1 => Some(left as f64),
            after @ 2.. => ahead.get(after as usize - 2).map(|left| *left as f64).filter(|left| *left >= 0.0),
            _ => None,
        })
        .collect();
    let chart = html! {
        figure.chart {
            (frame(&label, top, start..end, now_ms, html! {
                path.ln.dash.kmute d=(line_path(&[Some(top), Some(0.0)], top)) {}
                path.ln.kacc d=(line_path(&points, top)) {}
                path.ln.fore d=(line_path(&drawn, top)) {}
            }))
            details.tv { summary { (crate::components::icon::small("chev")) "Show as a table" } (table) }
        }
    };
    let foot = match crossing {
        Some(day) => {
            html! { span.badc { (forecast.basis()) " the budget is spent on " (time::day_of(day * DAY_MS, now_ms)) "." } }
        }
        None if left <= 0 => {
            html! { span.badc { "Spent: requests are refused or downgraded until " (time::day_of(end * DAY_MS, now_ms)) "." } }
        }
        None => html! { (forecast.basis()) " the budget lasts until the end of the month." },
    };
    let note = html! { (dollars(Pico(left))) " of " (dollars(Pico(ceiling))) " left" };
    Panel { title: "Remaining monthly budget", note: Some(note), foot: Some(foot), ..Panel::default() }
        .around(chart)
}

fn frame(label: &str, top: f64, days: std::ops::Range<i64>, now_ms: i64, inner: Markup) -> Markup {
    let (start, end) = (days.start, days.end);
    let (height, above, below) = (200.0, 8.0, 22.0);
    let plot = height - above - below;
    let step = round_step(top, 4.0);
    let ticks: Vec<f64> =
        (0..=5).map(|at| f64::from(at) * step).filter(|tick| *tick <= top * 1.001).collect();
    let y = |value: f64| above + plot - plot * value / top;
    let days: Vec<i64> = (start..end).step_by(5).collect();
    let span = (end - start).max(1) as f64;
    html! {
        div.cg {
            svg.ya.h-200 width="44" height="200" aria-hidden="true" {
                @for tick in &ticks { text.e x="36" y=(short(y(*tick) + 3.5)) { (dollars(Pico(*tick as i64)).trim_end_matches(".00")) } }
            }
            svg.xa.h-200 width="100%" height="200" role="img" aria-label=(label) {
                @for tick in &ticks { line.grid x1="0" x2="100%" y1=(short(y(*tick))) y2=(short(y(*tick))) {} }
                @for day in &days { text x={ (short((day - start) as f64 / span * 100.0)) "%" } y="194" { (time::day_of(day * DAY_MS, now_ms)) } }
                svg.plot y="8" width="100%" height="170" viewBox="0 0 1000 100" preserveAspectRatio="none" overflow="visible" { (inner) }
            }
        }
    }
}

fn key_state(key: &KeyRow, now_ms: i64) -> Markup {
    let fields = &key.fields;
    match (key.revoked_at_ms, fields.disabled_at_ms, fields.expires_at_ms) {
        (Some(at), ..) => html! { (state("off", html! { "revoked " (time::when(at, now_ms)) })) },
        (_, Some(_), _) => state("off", "disabled"),
        (.., Some(at)) if at <= now_ms => state("off", "expired"),
        (.., Some(at)) if at - now_ms < 7 * DAY_MS => {
            state("warn", format!("ends in {}", time::span(at - now_ms)))
        }
        _ => state("ok", "active"),
    }
}

fn keys_panel(project: &Project, keys: &[KeyRow], session: &Session, now_ms: i64) -> Markup {
    let table = Table {
        caption: "Keys",
        class: "dense keys",
        columns: &[("Key", "max"), ("Begins with", "p1"), ("Roles", "p1"), ("Created", "p2"), ("State", "")],
    };
    let rows = html! {
        @for key in keys {
            tr.go.dim[key.revoked_at_ms.is_some()] {
                td.max { a.main.clip href={ "/ui/keys/" (encoded(&key.id)) } title=(key.fields.name) { (key.fields.name) } }
                td.p1 { span.mono.t2 { (key.prefix) "…" } }
                td.p1 { (key.fields.roles) }
                td.p2 { span.t3 { (time::when(key.created_at_ms, now_ms)) } }
                td {
                    (key_state(key, now_ms))
                    @if let Some(until) = key.previous_until_ms.filter(|until| *until > now_ms && key.revoked_at_ms.is_none()) {
                        " " span.t3.sm { "the old key works until " (time::when(until, now_ms)) }
                    }
                }
            }
        }
    };
    Panel { title: "Keys", id: Some("keys"), raw: true, ..Panel::default() }.around(html! {
        @if keys.is_empty() { (empty("No key yet", "Keys of the configuration file are not listed here.")) } @else { (table.around(rows)) }
        @if session.is_admin() {
            div.body #create {
                h3 { "Create a key for " (project.id) }
                form.stack method="post" action={ "/ui/projects/" (encoded(&project.id)) "/keys" } {
                    (form_token(session)) (once_field())
                    div.cols.c-3 {
                        label.field { span { "Name" } input.in name="name" required placeholder="the application that uses the key" autocomplete="off" maxlength="200"; }
                        label.field { span { "Role" } select.sel name="role" { @for role in ["inference", "viewer", "passthrough", "admin"] { option { (role) } } } }
                        label.field { span { "Expires" } select.sel name="days" { @for (value, words) in [("", "never"), ("7", "in 7 days"), ("30", "in 30 days"), ("90", "in 90 days")] { option value=(value) { (words) } } } }
                    }
                    details { summary { "Restrict it further than its project" } div.stack { (policy_fields(&Policy::default())) } }
                    div { button.btn.primary { (icon("key")) "Create" } }
                }
            }
        }
    })
}

/// A form that creates a secret works once: going back or reloading creates no second one.
fn once_field() -> Markup {
    let mut bytes = [0_u8; 12];
    let _ = getrandom::fill(&mut bytes);
    let once: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    html! { input type="hidden" name="once" value=(once); }
}

fn models_panel(console: &Console, project: &Project, policy: &Policy, asked: Option<&str>) -> Markup {
    let models = console.gateway.models();
    let count = |pattern: &String| {
        let pattern = Pattern::new(pattern);
        models.iter().filter(|model| model.is_matched(&pattern)).count()
    };
    let globs = |words: &str, list: &[String]| {
        html! {
            @if !list.is_empty() {
                div.globs {
                    @if !words.is_empty() { span.lab { (words) } }
                    @for pattern in list { span.chip { code { (pattern) } span.op { (count(pattern)) } } }
                }
            }
        }
    };
    Panel { title: "Allowed models", id: Some("models"), ..Panel::default() }.around(html! {
        div.stack {
            @if policy.restricts_models() {
                (globs("", &policy.models)) (globs("except", &policy.deny))
                @if !policy.providers.is_empty() { div.globs { span.lab { "at" } @for it in &policy.providers { span.chip { code { (it) } } } } }
                @if !policy.deny_providers.is_empty() { div.globs { span.lab { "not at" } @for it in &policy.deny_providers { span.chip { code { (it) } } } } }
                @if !policy.regions.is_empty() { div.globs { span.lab { "in" } @for it in &policy.regions { span.chip { code { (it) } } } } }
                @if policy.data_collection == Some(canon::DataCollection::Deny) { p.t2 { "Only providers that are known not to train models with data." } }
                @if policy.zdr == Some(true) { p.t2 { "Only providers that are known to store nothing." } }
            } @else { p.t2 { "Every model of every provider." } }
            form.hstack method="get" action={ "/ui/projects/" (encoded(&project.id)) "#models" } {
                label.field.grow { span { "May this project use the model…" } input.in.mono name="model" value=[asked] spellcheck="false" autocomplete="off"; }
                button.btn { "Check" }
            }
            @if let Some(asked) = asked { (may_use(&console.gateway.refusals(policy, asked))) }
        }
    })
}

fn may_use(answer: &MayUse) -> Markup {
    match answer {
        MayUse::Unknown => {
            html! { p role="status" { (state("off", "No enabled provider serves a model of this name")) } }
        }
        MayUse::Providers { allowed, refused } => html! {
            div role="status" {
                @if allowed.is_empty() { (state("bad", "No")) } @else { (state("ok", "Yes")) " " span.t2 { "at " (allowed.join(", ")) } }
                @for (offer, rule) in refused { div.t3.sm { (offer) ": " (rule) } }
            }
        },
    }
}

fn edit_panel(project: &Project, policy: &Policy, session: &Session) -> Markup {
    let action = format!("/ui/projects/{}", encoded(&project.id));
    Panel { title: "Change", id: Some("change"), ..Panel::default() }.around(html! {
        details {
            summary { "Name, models, budgets, limits" }
            form.stack method="post" action=(action) {
                (form_token(session))
                input type="hidden" name="version" value=(project.version);
                label.field { span { "Name" } input.in name="name" value=(project.name); }
                (policy_fields(policy))
                label.check { input type="checkbox" name="disabled" value="1" checked[project.disabled_at_ms.is_some()]; "Disabled: all its keys are refused" }
                div { button.btn.primary { "Save" } }
            }
        }
    })
}

/// `POST /ui/projects/ID`
pub async fn change(
    State(console): State<Arc<Console>>,
    session: Session,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: Fields,
) -> Response {
    if let Err(refused) = session.may_change(&form) {
        return refused;
    }
    let reader = Reader { console: &console, session: &session, headers: &headers };
    let back = format!("/ui/projects/{}", encoded(&id));
    let mut project = match console.store.project(&id).await {
        Ok(Some(project)) if console.gateway.declared().iter().all(|(declared, _)| *declared != id) => {
            project
        }
        Ok(_) => {
            return absent(
                &reader,
                "This project cannot be changed here",
                "It does not exist, or the configuration file declares it. Change it there.",
            );
        }
        Err(error) => return super::away(&error),
    };
    if form.text("version") != project.version.to_string() {
        return refused(
            &reader,
            StatusCode::CONFLICT,
            "The project was changed after this form was loaded.",
            &back,
        );
    }
    project.policy = match policy::checked(&console, &form, &policy_of(&project)) {
        Ok(policy) => policy,
        Err(mistake) => return refused(&reader, StatusCode::BAD_REQUEST, &mistake, &back),
    };
    project.name = form.get("name").unwrap_or(&id).to_owned();
    if let Some(wrong) = store::wrong_name(&project.name) {
        let mistake = format!("The name is not valid: {wrong}.");
        return refused(&reader, StatusCode::BAD_REQUEST, &mistake, &back);
    }
    project.disabled_at_ms = form.has("disabled").then(|| project.disabled_at_ms.unwrap_or(console.now_ms()));
    let detail = serde_json::json!({"name": project.name, "policy": project.policy, "disabled": project.disabled_at_ms.is_some()});
    let audit = session.audit("project.update", format!("project:{id}"), &detail);
    match console.store.update_project(&project, Some(&audit), console.now_ms()).await {
        Ok(WriteOutcome::Done) => {
            Identity::in_force(&*console.gateway).await;
            Redirect::to(&back).into_response()
        }
        Ok(_) => refused(&reader, StatusCode::CONFLICT, "The project was changed at the same time.", &back),
        Err(error) => super::away(&error),
    }
}

/// `POST /ui/projects/ID/keys`
pub async fn create_key(
    State(console): State<Arc<Console>>,
    session: Session,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: Fields,
) -> Response {
    if let Err(refused) = session.may_change(&form) {
        return refused;
    }
    let reader = Reader { console: &console, session: &session, headers: &headers };
    let back = format!("/ui/projects/{}", encoded(&id));
    match find(&console, &id).await {
        Ok(Some(_)) => {}
        Ok(None) => return absent(&reader, "This project does not exist", "It may have been deleted."),
        Err(error) => return super::away(&error),
    }
    let Some(name) = form.get("name") else {
        return refused(&reader, StatusCode::BAD_REQUEST, "The key has no name.", &back);
    };
    if let Some(wrong) = store::wrong_name(name) {
        let mistake = format!("The name is not valid: {wrong}.");
        return refused(&reader, StatusCode::BAD_REQUEST, &mistake, &back);
    }
    let policy = match policy::checked(&console, &form, &Policy::default()) {
        Ok(policy) => policy,
        Err(mistake) => return refused(&reader, StatusCode::BAD_REQUEST, &mistake, &back),
    };
    let role = form.get("role").and_then(limits::Role::named).unwrap_or(limits::Role::Inference);
    if !console.gate.is_first(form.text("once")) {
        return refused(
            &reader,
            StatusCode::CONFLICT,
            "This form already created its key. A key is shown only once.",
            &back,
        );
    }
    let now_ms = console.now_ms();
    let fields = KeyFields {
        name: name.to_owned(),
        project_id: id.clone(),
        roles: role.as_str().to_owned(),
        policy,
        expires_at_ms: form.number("days").map(|days| now_ms + days.min(3660) as i64 * DAY_MS),
        disabled_at_ms: None,
    };
    let detail = serde_json::json!({"name": fields.name, "project": id, "roles": fields.roles});
    let audit = session.audit("key.create", String::new(), &detail);
    match console.store.create_key_with(&fields, Some(&audit), now_ms).await {
        Ok((row, secret)) => {
            Identity::in_force(&*console.gateway).await;
            shown_once(&reader, &row, secret.expose())
        }
        Err(error) => super::away(&error),
    }
}

/// The only page that contains a key: an answer to a form, which no cache stores.
fn shown_once(reader: &Reader<'_>, key: &KeyRow, secret: &str) -> Response {
    let body = Panel { title: "Your key", ..Panel::default() }.around(html! {
        div.stack {
            p.t2 { "Copy it now. The gateway keeps only a hash and cannot show it again." }
            div.code { pre #newkey tabindex="0" { (secret) } (copy_from("#newkey", "Copy the key")) }
            div.code { pre tabindex="0" {
                "curl http://127.0.0.1:4000/v1/chat/completions \\\n  -H \"Authorization: Bearer $KEY\" -H \"Content-Type: application/json\" \\\n  \
                 -d '{\"model\": \"auto\", \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'"
            } }
            div { a.btn.primary href={ "/ui/projects/" (encoded(&key.fields.project_id)) "#keys" } { "I have copied it" } }
        }
    });
    Page { nav: "projects", title: &key.fields.name, ..Page::default() }.around(reader, body)
}

/// `GET /ui/keys/ID`
pub async fn key_page(
    State(console): State<Arc<Console>>,
    session: Session,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let reader = Reader { console: &console, session: &session, headers: &headers };
    let key = match console.store.key(&id).await {
        Ok(Some(key)) => key,
        Ok(None) => {
            return absent(
                &reader,
                "This key does not exist",
                "Keys of the configuration file have no page.",
            );
        }
        Err(error) => return super::away(&error),
    };
    let now_ms = console.now_ms();
    let since = now_ms.div_euclid(DAY_MS) - 29;
    let days = console.store.ledger(&format!("key:{id}"), since, 30).await;
    let used = match days {
        Ok(days) => {
            let table = Table {
                caption: "Usage by day",
                class: "dense",
                columns: &[("Day", ""), ("Requests", "n"), ("Unpriced", "n"), ("Spent", "n")],
            };
            html! {
                @if days.is_empty() { (empty("Not used in the last 30 days", "A request is counted when its record is in the database.")) } @else {
                    (table.around(html! { @for day in &days { tr {
                        td { (time::day_of(day.day * DAY_MS, now_ms)) } td.n { (quiet_count(day.requests.unsigned_abs())) }
                        td.n { (quiet_count(day.unpriced.unsigned_abs())) } td.n { (money(Some(Pico(day.spent_pico)))) }
                    } } }))
                }
            }
        }
        Err(error) => unreadable("The usage of the key", &error),
    };
    let policy: Policy = serde_json::from_str(&key.fields.policy).unwrap_or_default();
    let taken = console.gateway.taken_by_key(&id);
    let is_active = key.revoked_at_ms.is_none();
    let body = html! {
        div.cols.c-2 {
            div.stack {
                (Panel { title: "Key", ..Panel::default() }.around(html! {
                    dl.kv {
                        dt { "State" } dd { (key_state(&key, now_ms)) }
                        dt { "Id" } dd.mono { (key.id) }
                        dt { "Begins with" } dd.mono { (key.prefix) "…" }
                        dt { "Roles" } dd { (key.fields.roles) }
                        dt { "Project" } dd { a.link href={ "/ui/projects/" (encoded(&key.fields.project_id)) } { (key.fields.project_id) } }
                        dt { "Created" } dd { (time::iso(key.created_at_ms)) }
                        dt { "Expires" } dd { @match key.fields.expires_at_ms { Some(at) => (time::iso(at)), None => "never" } }
                        dt { "Restrictions" } dd { @if policy == Policy::default() { span.t3 { "the project's" } } @else { code { (key.fields.policy) } } }
                    }
                }))
                @if !taken.is_empty() {
                    (Panel { title: "Budgets and limits", raw: true, ..Panel::default() }.around(meters(&taken)))
                }
                (Panel { title: "Usage", raw: true, ..Panel::default() }.around(used))
            }
            @if is_active && session.is_admin() { (key_forms(&key, &session)) }
        }
    };
    let crumb = html! { a href="/ui/projects" { "Projects" } (crate::components::icon::small("chev")) a.clip href={ "/ui/projects/" (encoded(&key.fields.project_id)) } { (key.fields.project_id) } };
    Page { nav: "projects", title: &key.fields.name, crumb: Some(crumb), ..Page::default() }
        .around(&reader, body)
}

fn key_forms(key: &KeyRow, session: &Session) -> Markup {
    let action = |what: &str| format!("/ui/keys/{}/{what}", encoded(&key.id));
    let is_off = key.fields.disabled_at_ms.is_some();
    html! {
        div.stack {
            (Panel { title: "Rotate", ..Panel::default() }.around(html! {
                form.stack method="post" action=(action("rotate")) {
                    (form_token(session)) (once_field())
                    p.t2 { "Creates a new key with the same rights. The old key works for the time below, so that its users can change over." }
                    label.field { span { "Keep the old key for" } select.sel name="hours" {
                        @for (value, words) in [("6", "6 hours"), ("1", "1 hour"), ("24", "1 day"), ("168", "7 days"), ("0", "0: disable it now")] { option value=(value) { (words) } }
                    } }
                    div { button.btn.primary { "Rotate" } }
                }
            }))
            (Panel { title: if is_off { "Enable" } else { "Disable" }, ..Panel::default() }.around(html! {
                form.stack method="post" action=(action(if is_off { "enable" } else { "disable" })) {
                    (form_token(session))
                    p.t2 { @if is_off { "Every node accepts the key again within a second." } @else { "Every node refuses the key within a second, until it is enabled again." } }
                    div { button.btn { @if is_off { "Enable" } @else { "Disable" } } }
                }
            }))
            (Panel { title: "Revoke", ..Panel::default() }.around(html! {
                form.stack method="post" action=(action("revoke")) {
                    (form_token(session))
                    p.t2 { "Every node refuses the key within a second. A revoked key cannot be enabled again." }
                    label.field { span { "Type " b { (key.fields.name) } " to revoke it" } input.in name="sure" autocomplete="off" spellcheck="false" required; }
                    div { button.btn.danger.primary { "Revoke" } }
                }
            }))
        }
    }
}

/// `POST /ui/keys/ID/WHAT`
pub async fn change_key(
    State(console): State<Arc<Console>>,
    session: Session,
    Path((id, what)): Path<(String, String)>,
    headers: HeaderMap,
    form: Fields,
) -> Response {
    if let Err(refused) = session.may_change(&form) {
        return refused;
    }
    let reader = Reader { console: &console, session: &session, headers: &headers };
    let back = format!("/ui/keys/{}", encoded(&id));
    let mut key = match console.store.key(&id).await {
        Ok(Some(key)) if key.revoked_at_ms.is_none() => key,
        Ok(_) => return absent(&reader, "No active key has this id", "It may have been revoked."),
        Err(error) => return super::away(&error),
    };
    let now_ms = console.now_ms();
    let audit = |action, detail: serde_json::Value| session.audit(action, format!("key:{id}"), &detail);
    let done = match what.as_str() {
        "rotate" => {
            if !console.gate.is_first(form.text("once")) {
                return refused(
                    &reader,
                    StatusCode::CONFLICT,
                    "This form already rotated the key. The new key was shown once.",
                    &back,
                );
            }
            let hours = form.number("hours").unwrap_or(6).min(24 * 366) as i64;
            let audit = audit("key.rotate", serde_json::json!({"overlap_seconds": hours * 3600}));
            match console.store.rotate_key(&id, now_ms + hours * 3_600_000, Some(&audit), now_ms).await {
                Ok(Some(secret)) => {
                    Identity::in_force(&*console.gateway).await;
                    return shown_once(&reader, &key, secret.expose());
                }
                Ok(None) => {
                    return absent(&reader, "No active key has this id", "It may have been revoked.");
                }
                Err(error) => Err(error),
            }
        }
        "revoke" if form.text("sure") != key.fields.name.trim() => {
            return refused(
                &reader,
                StatusCode::BAD_REQUEST,
                "The typed name is not the name of the key.",
                &back,
            );
        }
        "revoke" => console
            .store
            .revoke_key_with(&id, Some(&audit("key.revoke", serde_json::json!({}))), now_ms)
            .await
            .map(drop),
        "disable" | "enable" => {
            key.fields.disabled_at_ms = (what == "disable").then_some(now_ms);
            let audit = audit("key.update", serde_json::json!({"disabled": what == "disable"}));
            console.store.update_key(&key, Some(&audit), now_ms).await.map(drop)
        }
        _ => {
            return absent(
                &reader,
                "This action does not exist",
                "A key can be rotated, disabled, enabled or revoked.",
            );
        }
    };
    match done {
        Ok(()) => {
            Identity::in_force(&*console.gateway).await;
            Redirect::to(&back).into_response()
        }
        Err(error) => super::away(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(days: &[(i64, i64)]) -> Vec<LedgerDay> {
        let day = |(day, spent_pico): &(i64, i64)| LedgerDay {
            scope: "project:a".to_owned(),
            day: *day,
            spent_pico: *spent_pico,
            requests: 1,
            unpriced: 0,
        };
        days.iter().map(day).collect()
    }

    #[test]
    fn a_forecast_takes_whole_days_and_weekdays_once_there_are_four_weeks() {
        let today = 20_000;
        let new = Forecast::of(&ledger(&[(today, 70)]), today);
        assert_eq!((new.by_weekday[0], new.basis().as_str()), (70, "At today's pace"));
        let young = Forecast::of(&ledger(&[(today - 2, 10), (today - 1, 30), (today, 1_000)]), today);
        assert_eq!((young.by_weekday[0], young.basis().as_str()), (20, "At the pace of the last 2 days"));
        let week = Forecast::of(&ledger(&[(today - 20, 7_000), (today - 7, 70), (today - 1, 7)]), today);
        assert_eq!(week.by_weekday, [11; 7], "(70 + 7) / 7");
        // 400 on each day like tomorrow, nothing on the others.
        let tomorrow = [today - 6, today - 13, today - 20, today - 27];
        let mut weeks: Vec<(i64, i64)> = tomorrow.iter().map(|day| (*day, 400)).collect();
        weeks.push((today - 28, 0));
        let weeks = Forecast::of(&ledger(&weeks), today);
        assert!(weeks.by_weeks);
        assert_eq!(weeks.left(1_000, today, today + 10), [600, 600, 600, 600, 600, 600, 600, 200, 200]);
    }
}
