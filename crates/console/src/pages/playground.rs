//! `/ui/playground`: up to three models side by side. The page is a form; its script sends it and draws the streams.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use maud::{Markup, html};

use crate::Console;
use crate::components::page::{Page, Reader};
use crate::components::parts::copy_from;
use crate::components::{empty, icon};
use crate::fields::Query;
use crate::session::Session;

/// The maximum number of compared models.
const COLUMNS: usize = 3;

pub async fn page(
    State(console): State<Arc<Console>>,
    session: Session,
    Query(query): Query,
    headers: HeaderMap,
) -> Response {
    let reader = Reader { console: &console, session: &session, headers: &headers };
    if !session.is_admin() {
        let words = "Requests of the playground cost money, and a viewer may not cause costs. Sign in with a key that has the role admin.";
        let body = html! { section.panel { (empty("The playground needs an administrator", words)) } };
        return Page { nav: "playground", title: "Playground", ..Page::default() }.around(&reader, body);
    }
    let mut models: Vec<&str> = query.all("model").take(COLUMNS).collect();
    if models.is_empty() {
        models.push("auto");
    }
    let projects = console.gateway.project_ids();
    let body = html! {
        div.play #play data-token=(session.form_token) {
            div.pmain {
                div.pcols #pcols data-n=(models.len()) { @for model in &models { (column(model)) } }
                form.composer.panel #composer {
                    label.vh for="prompt" { "Message" }
                    textarea #prompt rows="2" placeholder="Enter sends the message. Shift+Enter starts a new line." {}
                    div.hstack {
                        label.btn.sm.ghost { "Attach" input.vh #files type="file" multiple accept="image/*,application/pdf,text/plain,text/markdown,text/csv"; }
                        span.t3.sm.clip #attached {}
                        span.push {}
                        button.btn.ghost.sm type="button" data-clear { "Clear" }
                        button.btn.primary.sm #send { (icon("send")) "Send" }
                    }
                }
                noscript { p.banner.warn { "The playground needs JavaScript." } }
            }
            (parameters(&projects))
        }
        template #blank { (column("auto")) }
        datalist #modellist {
            @for (alias, _) in console.gateway.aliases() { option value=(alias) {} }
            @for model in console.gateway.models().iter().filter(|model| model.offers.iter().any(|offer| offer.on)) { option value=(model.id) {} }
        }
        dialog.wide #code aria-labelledby="code-h" {
            div.dlg {
                div.hstack.between {
                    h2 #code-h { "This request as code" }
                    div.seg.sm role="group" aria-label="Language" {
                        @for (at, language) in ["curl", "Python", "Node"].iter().enumerate() { button type="button" data-lang data-v=(language) aria-pressed=(at == 0) { (language) } }
                    }
                }
                div.code { (copy_from("#snippet", "Copy")) pre #snippet tabindex="0" {} }
                div.acts { button.btn type="button" data-close { "Close" } }
            }
        }
    };
    let acts = html! {
        button.btn type="button" data-addcol { (icon("plus")) "Model" }
        button.btn type="button" data-code { (icon("code")) "Code" }
    };
    let page = Page {
        nav: "playground",
        title: "Playground",
        acts: Some(acts),
        scripts: &["playground.js"],
        ..Page::default()
    };
    page.around(&reader, body)
}

fn column(model: &str) -> Markup {
    html! {
        section.panel.pcol aria-label="Answer" {
            header {
                div.pick.grow { input.in.sm name="model" list="modellist" value=(model) aria-label="Model" spellcheck="false" autocomplete="off"; }
                button.btn.ghost.icon type="button" data-drop aria-label="Remove this column" { (icon("x")) }
            }
            div.thread tabindex="0" role="log" aria-label="Conversation" {}
            div.pmeta {
                dl.pm { @for (name, label) in [("ttft", "TTFT"), ("speed", "Tokens/s"), ("tokens", "Tokens"), ("cost", "Cost")] { div { dt { (label) } dd data-fig=(name) { "–" } } } }
                div.hstack.wrap.lo data-losses {}
            }
        }
    }
}

fn parameters(projects: &[String]) -> Markup {
    let number = |name: &str, label: &str| {
        html! { label.field { span { (label) } input.in name=(name) inputmode="decimal" placeholder="model's default" autocomplete="off"; } }
    };
    let switch = |name: &str, label: &str, is_on: bool| {
        html! { label.switch { input type="checkbox" role="switch" name=(name) checked[is_on]; (label) } }
    };
    html! {
        form.params.panel #params aria-label="Parameters" {
            header { h2 { "Parameters" } }
            div.body.stack {
                label.field { span { "Project" } select.sel name="project" { @for project in projects { option selected[project == store::DEFAULT_PROJECT] { (project) } } } }
                label.field { span { "System prompt" } textarea.area name="system" rows="3" {} }
                div.cols.c-2 { (number("temperature", "Temperature")) (number("top_p", "Top p")) }
                div.cols.c-2 { (number("max_completion_tokens", "Maximum output tokens")) (number("seed", "Seed")) }
                label.field { span { "Reasoning" } select.sel name="reasoning_effort" { @for (value, words) in [("", "model's default"), ("none", "none"), ("low", "low"), ("medium", "medium"), ("high", "high")] { option value=(value) { (words) } } } }
                details { summary { "Tools, structured output" } div.stack {
                    label.field { span { "Tools, a JSON array" } textarea.area.mono name="tools" rows="4" spellcheck="false" placeholder="[{\"type\": \"function\", \"function\": {…}}]" {} }
                    label.field { span { "JSON schema of the answer" } textarea.area.mono name="schema" rows="4" spellcheck="false" placeholder="{\"type\": \"object\", …}" {} }
                } }
                div.stack.g6 {
                    (switch("stream", "Stream", true)) (switch("strict", "Strict: refuse losses", false)) (switch("fallback", "Fall back to other providers", true))
                }
                p.note-b.t3.sm { "Requests are charged to the project. Their key is “console”." }
            }
        }
    }
}
