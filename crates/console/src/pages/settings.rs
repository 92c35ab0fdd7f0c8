//! `/ui/settings`: the last reload, this node and its stores, the configuration in force, sessions, the audit log.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::HeaderMap;
use maud::{Markup, html};
use store::{Audit, ConsoleSession};

use super::audit;
use crate::Console;
use crate::components::number::bytes;
use crate::components::page::{Page, Reader};
use crate::components::parts::{copy_from, unreadable};
use crate::components::{Panel, Table, empty, form_token, icon, state, time};
use crate::fields::Fields;
use crate::gateway::{EffectiveSettings, LastReload, Node};
use crate::session::Session;

pub async fn page(State(console): State<Arc<Console>>, session: Session, headers: HeaderMap) -> Response {
    let now_ms = console.now_ms();
    let node = console.gateway.node();
    let (sessions, log, all) = futures_util::future::join3(
        console.store.sessions(now_ms),
        console.store.audit_before(i64::MAX, 8),
        console.store.nodes(),
    )
    .await;
    let nodes = match all {
        Ok(rows) if !rows.is_empty() => nodes(&rows, now_ms),
        Ok(_) => empty("No node has reported yet", "A node reports within seconds of its start."),
        Err(error) => unreadable("The list of nodes", &error),
    };
    let sessions = match sessions {
        Ok(rows) => sessions_table(&rows, &session, now_ms),
        Err(error) => unreadable("The list of sessions", &error),
    };
    let log = match log {
        Ok(rows) if rows.is_empty() => empty("Nothing yet", "Changes and sign-ins are recorded here."),
        Ok(rows) => audit::table(&rows, now_ms),
        Err(error) => unreadable("The audit log", &error),
    };
    let configuration = crate::gateway::Configuration::in_force(&*console.gateway);
    let body = html! {
        div.stack {
            div.cols.c-2.eq {
                (reload_panel(console.gateway.last_reload().as_ref(), &session, now_ms))
                (Panel { title: "Stores", ..Panel::default() }.around(stores(&node)))
            }
            (Panel { title: "Nodes", id: Some("nodes"), raw: true, ..Panel::default() }.around(nodes))
            div.cols.c-2.eq {
                (configuration_panel(&configuration))
                div.stack {
                    (Panel {
                        title: "Sessions", id: Some("sessions"), raw: true, note: Some(html! { "12 hours each" }), ..Panel::default()
                    }.around(sessions))
                    (Panel {
                        title: "Audit log", raw: true, acts: Some(html! { a.btn.ghost.sm href="/ui/audit" { "All" } }), ..Panel::default()
                    }.around(log))
                }
            }
        }
    };
    let reader = Reader { console: &console, session: &session, headers: &headers };
    let acts = html! { a.btn.ghost href="/openapi.json" { "OpenAPI" } };
    let page = Page {
        nav: "settings",
        title: "Settings",
        sub: Some(html! { "read only: change the configuration file" }),
        acts: Some(acts),
        ..Page::default()
    };
    page.around(&reader, body)
}

/// `POST /ui/settings/reload`
pub async fn reload(State(console): State<Arc<Console>>, session: Session, form: Fields) -> Response {
    if let Err(refused) = session.may_change(&form) {
        return refused;
    }
    let result = console.gateway.reload().await;
    let detail = match &result {
        Ok(needs_restart) => serde_json::json!({"reloaded": true, "needs_restart": needs_restart}),
        Err(reason) => serde_json::json!({"reloaded": false, "reason": reason}),
    };
    let audit: Audit = session.audit("reload", "configuration".to_owned(), &detail);
    if let Err(error) = console.store.note(audit, console.now_ms()).await {
        tracing::warn!(%error, "a reload is not in the audit log");
    }
    Redirect::to("/ui/settings").into_response()
}

fn reload_panel(last: Option<&LastReload>, session: &Session, now_ms: i64) -> Markup {
    let acts = session.is_admin().then(|| {
        html! {
            form method="post" action="/ui/settings/reload" {
                (form_token(session))
                button.btn.sm { (icon("refresh")) "Check and reload" }
            }
        }
    });
    let body = match last {
        None => html! {
            div.rl { p.t2 { "Not reloaded since this node started. A file with mistakes is refused as a whole and changes nothing." } }
        },
        Some(LastReload { at_ms, result: Ok(needs_restart) }) => html! {
            div.rl {
                div.rl-h { (state("ok", html! { b { "In force since " (time::when(*at_ms, now_ms)) } })) }
                @if !needs_restart.is_empty() {
                    p.t2 { "Changed in the file; these take effect only after a restart: " @for name in needs_restart { code { (name) } " " } }
                }
            }
        },
        Some(LastReload { at_ms, result: Err(reason) }) => html! {
            div.rl {
                div.rl-h {
                    (state("bad", html! { b { "Refused at " (time::when(*at_ms, now_ms)) } }))
                    span.t2 { "Nothing changed; the previous configuration is still in force." }
                }
                ol.mist { @for line in reason.lines().filter(|line| !line.trim().is_empty()) { li { span { (line.trim()) } } } }
            }
        },
    };
    Panel { title: "Last reload", raw: true, acts, ..Panel::default() }.around(body)
}

fn stores(node: &Node) -> Markup {
    html! {
        dl.kv.stores {
            dt { "Database" } dd { (node.database) }
            dt { "Spool" } dd { (bytes(node.spool_bytes)) " " span.t3 { "records waiting for the database" } }
        }
    }
}

fn node_state(node: &store::Node, now_ms: i64) -> Markup {
    match node.state_at(now_ms) {
        store::STOPPED => state("off", "stopped"),
        "gone" => state("bad", html! { "not seen since " (time::when(node.seen_at_ms, now_ms)) }),
        "draining" => state("run", "draining"),
        _ => state("ok", "serving"),
    }
}

/// The processes on the database. Serving ones should have the same configuration.
fn nodes(rows: &[store::Node], now_ms: i64) -> Markup {
    let table = Table {
        caption: "Nodes",
        class: "dense",
        columns: &[
            ("Node", "max"),
            ("State", ""),
            ("Version", "p1"),
            ("Configuration", "p1"),
            ("Up", "p1"),
            ("Last reload", "p2"),
            ("Spool", "n"),
        ],
    };
    let serves = |node: &&store::Node| node.state_at(now_ms) == "serving";
    let newest = rows.iter().filter(serves).max_by_key(|node| node.started_at_ms);
    table.around(html! {
        @for node in rows {
            @let reload: serde_json::Value = serde_json::from_str(&node.reload).unwrap_or_default();
            @let differs = serves(&node) && newest.is_some_and(|newest| newest.config != node.config);
            tr {
                td.max { span.hstack { b.w5.clip title=(node.name) { (node.name) } span.mono.t3 title=(node.id) { (node.id.get(..8).unwrap_or_default()) } } }
                td { (node_state(node, now_ms)) }
                td.p1 { (node.version) }
                td.p1 {
                    @if node.config.is_empty() { span.t3 { "no file" } } @else { span.mono { (node.config) } }
                    @if differs { " " span.tag.warn { "differs" } }
                }
                td.p1 { span.t2 { (time::span(node.seen_at_ms - node.started_at_ms)) } }
                td.p2 {
                    @match reload["reloaded"].as_bool() {
                        Some(true) => (state("ok", "in force")),
                        Some(false) => span title=[reload["reason"].as_str()] { (state("bad", "refused")) },
                        None => span.t3 { "none" },
                    }
                }
                td.n { (bytes(u64::try_from(node.spool_bytes).unwrap_or_default())) }
            }
        }
    })
}

fn configuration_panel(configuration: &EffectiveSettings) -> Markup {
    let section = |path: &str| path.rsplit_once('.').map_or(String::new(), |(section, _)| section.to_owned());
    let mut last = String::new();
    let lines = html! {
        @for setting in &configuration.settings {
            @let here = section(&setting.path);
            @if here != last {
                div.cl { span { "[" span.hd { (here) } "]" } }
                ({ last.clone_from(&here); "" })
            }
            @let name = setting.path.rsplit('.').next().unwrap_or_default();
            div.cl.def[setting.source == "default"] {
                span { span.k { (name) } " = " span.s { (setting.value) } }
                span.src { (setting.source) }
            }
        }
    };
    let note = html! { (configuration.file.as_deref().unwrap_or("no file; variables and defaults")) ", secrets masked" };
    Panel {
        title: "Configuration in force",
        raw: true,
        note: Some(note),
        acts: Some(copy_from(".cfg", "Copy the configuration")),
        ..Panel::default()
    }
    .around(html! { div.code.flush { pre.cfg tabindex="0" { (lines) } } })
}

fn sessions_table(rows: &[ConsoleSession], session: &Session, now_ms: i64) -> Markup {
    let table = Table {
        caption: "Sessions",
        class: "dense",
        columns: &[("Who", "max"), ("By", ""), ("Since", ""), ("From", "p3"), ("~End", "n")],
    };
    table.around(html! {
        @for row in rows {
            @let is_own = row.id == session.row.id;
            tr {
                td.max { span.hstack { b.w5.clip title=(row.name) { (row.name) } @if is_own { span.tag { "you" } } } }
                td { (row.means) ", " (row.role) }
                td { span.t3 { (time::when(row.created_at_ms, now_ms)) } }
                td.p3 { span.t3 { (row.address) } }
                td.n {
                    @if is_own || session.is_admin() {
                        form method="post" action="/ui/settings/sessions/end" {
                            (form_token(session))
                            input type="hidden" name="id" value=(row.id);
                            button.btn.ghost.sm aria-label={ "End the session of " (row.name) } { "End" }
                        }
                    }
                }
            }
        }
    })
}
