//! `/ui/projects`: all projects with their spending, and the form for a new one.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use canon::Pico;
use http::{HeaderMap, StatusCode};
use limits::Window;
use maud::{Markup, html};
use store::{KeyRow, Project, StoreError, WriteOutcome};

use super::{encoded, refused};
use crate::Console;
use crate::components::chart::bar;
use crate::components::number::{dollars, money, quiet_count};
use crate::components::page::{Page, Reader};
use crate::components::parts::unreadable;
use crate::components::time::DAY_MS;
use crate::components::{Panel, Table, form_token, state};
use crate::fields::Fields;
use crate::gateway::RuleUse;
use crate::policy;
use crate::session::Session;

/// A project as the list shows it.
pub struct Line {
    pub id: String,
    pub name: String,
    /// It is in the configuration file.
    pub is_declared: bool,
    /// It is switched off.
    pub is_disabled: bool,
    active_keys: u64,
    today: Pico,
    month: Pico,
    requests_today: u64,
    unpriced: u64,
    taken: Vec<RuleUse>,
}

/// Every project: those of the file and those of the database.
pub async fn all(console: &Console) -> Result<Vec<Project>, StoreError> {
    let declared = console.gateway.declared();
    let mut stored = console.store.projects_after("", 10_000).await?;
    stored.retain(|project| declared.iter().all(|(id, _)| *id != project.id));
    stored.extend(declared.into_iter().map(|(id, policy)| Project {
        name: id.clone(),
        id,
        policy: serde_json::to_string(&policy).unwrap_or_default(),
        version: 0,
        created_at_ms: 0,
        disabled_at_ms: None,
    }));
    stored.sort_by(|left, right| left.id.cmp(&right.id));
    Ok(stored)
}

async fn lines(console: &Console) -> Result<Vec<Line>, StoreError> {
    let projects = all(console).await?;
    let keys = console.store.list_keys().await?;
    let today = console.now_ms().div_euclid(DAY_MS);
    let month = Window::Month.start(today);
    let mut lines = Vec::new();
    for project in projects {
        let of_project = |key: &&KeyRow| key.fields.project_id == project.id && key.revoked_at_ms.is_none();
        let days = console.store.ledger(&format!("project:{}", project.id), month, 40).await?;
        let last = days.first().filter(|day| day.day == today);
        lines.push(Line {
            active_keys: keys.iter().filter(of_project).count() as u64,
            today: Pico(last.map_or(0, |day| day.spent_pico)),
            month: Pico(days.iter().map(|day| day.spent_pico).sum()),
            requests_today: last.map_or(0, |day| day.requests.unsigned_abs()),
            unpriced: days.iter().map(|day| day.unpriced.unsigned_abs()).sum(),
            taken: console.gateway.taken(&project.id),
            is_declared: project.version == 0,
            is_disabled: project.disabled_at_ms.is_some(),
            name: project.name,
            id: project.id,
        });
    }
    lines.sort_by_key(|line| std::cmp::Reverse((line.urgency(), line.month.0)));
    Ok(lines)
}

impl Line {
    /// The largest used share of a budget, in thousandths.
    fn urgency(&self) -> i64 {
        let spent = self.taken.iter().filter_map(|taken| taken.money);
        spent.map(|(ceiling, _, spent, _)| (share(spent, ceiling) * 1000.0) as i64).max().unwrap_or(-1)
    }
}

/// The spent share of a ceiling.
pub fn share(spent: Pico, ceiling: Pico) -> f64 {
    if ceiling.0 <= 0 { 1.0 } else { spent.0 as f64 / ceiling.0 as f64 }
}

pub fn colour(share: f64) -> &'static str {
    match share {
        share if share > 0.9 => "kbad",
        share if share > 0.7 => "kwarn",
        _ => "kacc",
    }
}

pub async fn page(State(console): State<Arc<Console>>, session: Session, headers: HeaderMap) -> Response {
    let reader = Reader { console: &console, session: &session, headers: &headers };
    let body = match lines(&console).await {
        Ok(lines) => html! {
            div.stack {
                (Panel {
                    raw: true,
                    foot: Some(html! {
                        "Budgets are hard ceilings: a request whose worst case does not fit is refused or downgraded before it is \
                         sent. Periods are calendar days and months in UTC. The spent amounts are this node's counts."
                    }),
                    ..Panel::default()
                }.around(table(&lines)))
                @if session.is_admin() { (create_form(&session)) }
            }
        },
        Err(error) => html! { section.panel { (unreadable("The projects", &error)) } },
    };
    Page { nav: "projects", title: "Projects", ..Page::default() }.around(&reader, body)
}

fn table(lines: &[Line]) -> Markup {
    let table = Table {
        caption: "Projects",
        class: "projt",
        columns: &[
            ("Project", "max"),
            ("Budget", "budt"),
            ("State", ""),
            ("Today", "n p1"),
            ("This month", "n p1"),
            ("Requests today", "n p1"),
            ("Unpriced", "n p2"),
            ("Keys", "n p2"),
        ],
    };
    table.around(html! {
        @for line in lines {
            tr.go.two {
                td.max {
                    a.main.clip href={ "/ui/projects/" (encoded(&line.id)) } title=(line.id) { (line.id) }
                    @if line.name != line.id { span.sub.clip { (line.name) } }
                }
                td.budt { (budget(line)) }
                td { (word(line)) }
                td.n.p1 { (money(Some(line.today))) }
                td.n.p1 { (money(Some(line.month))) }
                td.n.p1 { (quiet_count(line.requests_today)) }
                td.n.p2 { @if line.unpriced > 0 { span.unpriced { (line.unpriced) } } @else { (quiet_count(0)) } }
                td.n.p2 { (quiet_count(line.active_keys)) }
            }
        }
    })
}

fn budget(line: &Line) -> Markup {
    let urgent = line
        .taken
        .iter()
        .filter_map(|taken| taken.money)
        .max_by_key(|(ceiling, _, spent, _)| (share(*spent, *ceiling) * 1e6) as i64);
    let Some((ceiling, per, spent, reserved)) = urgent else {
        return html! { div.budc { span.hstack.between { span { (dollars(line.month)) } span.t3 { "this month" } } } };
    };
    let spent_share = share(spent, ceiling);
    let with_reserved = share(Pico(spent.0.saturating_add(reserved.0)), ceiling);
    html! {
        div.budc {
            span.hstack.between { span { (dollars(spent)) } span.t3 { "of " (dollars(ceiling)) " per " (per.as_str()) } }
            (bar(spent_share, colour(spent_share), Some(with_reserved), &format!("{:.0} % spent", spent_share * 100.0)))
        }
    }
}

fn word(line: &Line) -> Markup {
    let most = line.urgency();
    match most {
        _ if line.is_disabled => state("off", "disabled"),
        most if most >= 1000 => state("bad", "a budget is spent"),
        most if most > 700 => state("warn", format!("{} % of a budget", most / 10)),
        -1 if line.is_declared => state("off", "no budget, declared in the file"),
        -1 => state("off", "no budget"),
        _ => state("ok", "within budget"),
    }
}

fn create_form(session: &Session) -> Markup {
    Panel { title: "Create a project", id: Some("create"), ..Panel::default() }.around(html! {
        form.stack method="post" action="/ui/projects" {
            (form_token(session))
            div.cols.c-2 {
                label.field { span { "Id" } input.in name="id" required maxlength="64" pattern="[a-z0-9._\\-]+" placeholder="lower-case letters, digits, hyphens" autocomplete="off"; }
                label.field { span { "Name" } input.in name="name" placeholder="same as the id" autocomplete="off"; }
            }
            (policy_fields(&limits::Policy::default()))
            div { button.btn.primary { "Create" } }
        }
    })
}

pub fn policy_fields(given: &limits::Policy) -> Markup {
    let area = |name: &str, label: &str, hint: &str, text: String| {
        html! { label.field { span { (label) " " span.t3 { (hint) } } textarea.area.mono name=(name) rows="3" spellcheck="false" { (text) } } }
    };
    let unpriced = match given.unpriced {
        None => "",
        Some(limits::Unpriced::Allow) => "allow",
        Some(limits::Unpriced::Block) => "block",
    };
    html! {
        div.cols.c-2 {
            (area("models", "Allowed models", "one pattern per line; empty allows all", policy::lines(&given.models)))
            (area("deny", "Denied models", "one pattern per line; take precedence", policy::lines(&given.deny)))
            (area("providers", "Allowed providers", "one per line; empty allows all", policy::lines(&given.providers)))
            (area("deny_providers", "Denied providers", "one per line", policy::lines(&given.deny_providers)))
            (area("regions", "Regions", "eu*, one per line; empty allows all", policy::lines(&given.regions)))
            (area("guardrails", "Guardrails", "names from the configuration, one per line", policy::lines(&given.guardrails)))
            (area("budgets", "Budgets, USD", "250 per month; 20 per day downgrade:ALIAS", policy::budget_lines(given)))
            (area("limits", "Limits", "600 requests per minute; 40 concurrent; 5 requests per minute for o3-*", policy::limit_lines(given)))
        }
        label.check {
            input type="checkbox" name="no_training" value="1" checked[given.data_collection == Some(canon::DataCollection::Deny)];
            "Only providers known not to train on data"
        }
        label.check { input type="checkbox" name="zdr" value="1" checked[given.zdr == Some(true)]; "Only providers known to store nothing" }
        label.field {
            span { "Models without a known price" }
            select.sel name="unpriced" {
                @for (value, words) in [("", "refused where a budget applies"), ("allow", "allowed"), ("block", "refused")] {
                    option value=(value) selected[value == unpriced] { (words) }
                }
            }
        }
    }
}

/// `POST /ui/projects`
pub async fn create(
    State(console): State<Arc<Console>>,
    session: Session,
    headers: HeaderMap,
    form: Fields,
) -> Response {
    if let Err(refused) = session.may_change(&form) {
        return refused;
    }
    let reader = Reader { console: &console, session: &session, headers: &headers };
    let id = form.text("id").to_owned();
    let wrong = |words: &str| refused(&reader, StatusCode::BAD_REQUEST, words, "/ui/projects#create");
    if let Some(mistake) = console.gateway.wrong_project_id(&id) {
        return wrong(&format!("The id is not valid: {mistake}."));
    }
    if console.gateway.declared().iter().any(|(declared, _)| *declared == id) {
        return wrong("The configuration file declares a project with this id.");
    }
    let policy = match policy::checked(&console, &form, &limits::Policy::default()) {
        Ok(policy) => policy,
        Err(mistake) => return wrong(&mistake),
    };
    let project = Project {
        name: form.get("name").unwrap_or(&id).to_owned(),
        id: id.clone(),
        policy,
        version: 1,
        created_at_ms: console.now_ms(),
        disabled_at_ms: None,
    };
    let detail = serde_json::json!({"name": project.name, "policy": project.policy});
    let audit = session.audit("project.create", format!("project:{id}"), &detail);
    match console.store.create_project(&project, Some(&audit)).await {
        Ok(WriteOutcome::Done) => {
            crate::gateway::Identity::in_force(&*console.gateway).await;
            Redirect::to(&format!("/ui/projects/{}", encoded(&id))).into_response()
        }
        Ok(_) => refused(
            &reader,
            StatusCode::CONFLICT,
            "A project with this id exists already.",
            "/ui/projects#create",
        ),
        Err(error) => super::away(&error),
    }
}
