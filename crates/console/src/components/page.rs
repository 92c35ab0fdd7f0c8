//! The frame of every page: side navigation, find, theme, heading, dialogs.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use maud::{DOCTYPE, Markup, html};

use super::icon::brand;
use super::{form_token, icon};
use crate::Console;
use crate::assets;
use crate::session::{Session, cookie};

/// Path, name, key after `g`; the icon is called like the page.
const PAGES: &[(&str, &str, &str, &str)] = &[
    ("/ui", "overview", "Overview", "o"),
    ("/ui/requests", "requests", "Requests", "r"),
    ("/ui/models", "models", "Models", "m"),
    ("/ui/routing", "routing", "Routing", "h"),
    ("/ui/projects", "projects", "Projects", "p"),
    ("/ui/playground", "playground", "Playground", "y"),
    ("/ui/settings", "settings", "Settings", "s"),
];

/// The reader of a page: what a page needs besides its own content.
pub struct Reader<'a> {
    pub console: &'a Console,
    /// Who is signed in.
    pub session: &'a Session,
    pub headers: &'a HeaderMap,
}

#[derive(Default)]
pub struct Page<'a> {
    /// Its name among [`PAGES`].
    pub nav: &'a str,
    pub title: &'a str,
    /// A grey sentence beside it.
    pub sub: Option<Markup>,
    /// The path to it.
    pub crumb: Option<Markup>,
    /// Buttons.
    pub acts: Option<Markup>,
    /// Scripts besides those of every page.
    pub scripts: &'a [&'a str],
    /// The status, where it is not 200.
    pub status: Option<StatusCode>,
}

impl Page<'_> {
    /// Draws it around its content.
    pub fn around(self, reader: &Reader<'_>, body: Markup) -> Response {
        let markup = html! {
            (DOCTYPE)
            html lang="en" data-theme=[theme(reader.headers)] {
                (head(self.title, self.scripts))
                body data-page=(self.nav) {
                    a.skip href="#main" { "Skip to content" }
                    div.shell {
                        (topbar())
                        (side(reader, self.nav))
                        main #main tabindex="-1" {
                            div.page-head {
                                div.grow {
                                    @if let Some(crumb) = &self.crumb { nav.crumb aria-label="Breadcrumb" { (crumb) } }
                                    div.title {
                                        h1.clip title=(self.title) { (self.title) }
                                        @if let Some(sub) = &self.sub { span.t3 { (sub) } }
                                    }
                                }
                                @if let Some(acts) = &self.acts { div.acts { (acts) } }
                            }
                            (body)
                        }
                    }
                    (dialogs())
                }
            }
        };
        document(self.status.unwrap_or(StatusCode::OK), markup)
    }
}

/// A whole document as an answer.
pub fn document(status: StatusCode, markup: Markup) -> Response {
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    (status, [(CONTENT_TYPE, kind)], markup.into_string()).into_response()
}

/// The theme that the reader chose; without one the page follows the system.
pub fn theme(headers: &HeaderMap) -> Option<&'static str> {
    match cookie(headers, "theme") {
        Some("light") => Some("light"),
        Some("dark") => Some("dark"),
        _ => None,
    }
}

/// The head of a document.
pub fn head(title: &str, scripts: &[&str]) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " · llmgateway" }
            link rel="icon" href=(assets::url("icon.svg"));
            link rel="stylesheet" href=(assets::url("style.css"));
            script type="module" src=(assets::url("app.js")) {}
            @for script in scripts { script type="module" src=(assets::url(script)) {} }
        }
    }
}

fn topbar() -> Markup {
    html! {
        div.topbar {
            button.btn.ghost.icon popovertarget="nav" aria-label="Menu" { (icon("menu")) }
            a.brand href="/ui" { (brand()) "llmgateway" }
            button.btn.ghost.icon data-palette aria-label="Search or jump" { (icon("search")) }
        }
    }
}

fn side(reader: &Reader<'_>, current: &str) -> Markup {
    let node = reader.console.gateway.node();
    let role = reader.session.rights.as_str();
    let failing = crate::pages::routing::failing(reader.console);
    html! {
        nav.side #nav popover aria-label="Main" {
            a.brand href="/ui" { (brand()) "llmgateway" }
            button.find data-palette { (icon("search")) span.grow { "Find or jump" } kbd { "/" } }
            @for (path, name, label, _) in PAGES {
                a.nav href=(path) aria-current=[(*name == current).then_some("page")] {
                    (icon(name)) (label)
                    @if *name == "routing" && failing > 0 { span.n.alert { (failing) span.vh { " providers fail" } } }
                }
            }
            span.push {}
            div.foot {
                a.rowx href="/ui/settings#nodes" { span.clip { (node.name) } span.grow.right { (node.version) } }
                a.rowx href="/ui/settings#sessions" { span.clip title=(reader.session.row.name) { (reader.session.row.name) } span.grow.right { (role) } }
                div.rowx {
                    span { "Theme" }
                    span.themes role="group" aria-label="Theme" {
                        @for (value, label, name) in [("light", "Light", "sun"), ("auto", "Same as the system", "auto"), ("dark", "Dark", "moon")] {
                            @let is_on = theme(reader.headers).unwrap_or("auto") == value;
                            button type="button" data-theme-set=(value) aria-label=(label) aria-pressed=(is_on) { (icon(name)) }
                        }
                    }
                }
                form.rowx method="post" action="/ui/logout" { (form_token(reader.session)) button.btn.ghost.sm { "Sign out" } }
            }
        }
    }
}

fn dialogs() -> Markup {
    let keys: &[(&[&str], &str)] = &[
        (&["/"], "Find or jump"),
        (&["g", "o r m h p y s"], "Overview, requests, models, routing, projects, playground, settings"),
        (&["l"], "Turn live updates on or off (requests)"),
        (&["←", "→"], "Move through the points of a chart"),
        (&["j", "k"], "Next, previous row"),
        (&["Enter"], "Open the row"),
        (&["f"], "Filter this page"),
        (&["?"], "Show this list"),
        (&["Esc"], "Close, or leave a field"),
    ];
    html! {
        dialog.palette #palette aria-label="Find or jump" {
            div.q {
                (icon("search"))
                input role="combobox" aria-expanded="true" aria-controls="pl" aria-autocomplete="list" aria-label="Find or jump"
                    placeholder="Page, model, provider, project, or a request id" autocomplete="off" spellcheck="false";
                kbd { "esc" }
            }
            ul #pl role="listbox" aria-label="Results" {}
        }
        dialog #help aria-labelledby="help-h" {
            div.dlg {
                h2 #help-h { "Keyboard" }
                dl.kv {
                    @for (keys, words) in keys {
                        dt { @for key in *keys { kbd { (key) } " " } }
                        dd.t2 { (words) }
                    }
                }
                div.acts { button.btn type="button" data-close { "Close" } }
            }
        }
        // What “Find” knows without asking the server.
        ul hidden #pages {
            @for (path, _, label, key) in PAGES { li data-u=(path) data-k=(key) { (label) } }
        }
    }
}
