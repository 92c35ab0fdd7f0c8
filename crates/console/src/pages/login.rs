//! `/ui/login`

use axum::response::Response;
use http::{HeaderMap, StatusCode};
use maud::{DOCTYPE, Markup, html};

use crate::Console;
use crate::auth;
use crate::components::icon::brand;
use crate::components::mark;
use crate::components::page::{document, head, theme};

/// Why somebody was not signed in.
pub enum Refusal {
    /// Nobody knows the key.
    Unknown,
    /// The key is for other things.
    Role {
        /// Whose it is.
        project: String,
    },
    /// The code of the link was used, or is old.
    Code,
    /// Too many wrong keys came from this address.
    TooMany,
    /// The database does not answer.
    Away,
}

/// The page, with what was wrong with the last try.
pub fn page(console: &Console, headers: &HeaderMap, next: &str, refusal: Option<&Refusal>) -> Response {
    let node = console.gateway.node();
    let markup = html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme(headers)] {
            (head("Sign in", &[]))
            body data-page="login" {
                main.login #main {
                    div.lcard {
                        a.brand href="/ui/login" { (brand()) "llmgateway" }
                        h1 { "Sign in" }
                        @if let Some(refusal) = refusal { (reason(refusal)) }
                        form.stack method="post" action="/ui/login" {
                            input type="hidden" name="next" value=(next);
                            label.field {
                                span { "Admin or viewer key" }
                                input.in.mono type="password" name="key" autocomplete="current-password" spellcheck="false"
                                    required aria-invalid=[refusal.map(|_| "true")] aria-describedby=[refusal.map(|_| "lerr")];
                            }
                            button.btn.primary type="submit" { "Sign in" }
                        }
                        p.t3.sm {
                            "No key yet? " code { "llmgateway keys create me --roles admin" }
                            " on the machine where it runs prints one."
                        }
                    }
                    p.t3.sm.lfoot {
                        span { (node.name) }
                        span { (node.version) }
                        span { "The session ends after 12 hours" }
                    }
                }
            }
        }
    };
    let status = refusal.map_or(StatusCode::OK, auth::status);
    document(status, markup)
}

fn reason(refusal: &Refusal) -> Markup {
    let (title, words) = match refusal {
        Refusal::Unknown => (
            "That key may not sign in.",
            html! { "The gateway does not know it, or it has expired or is disabled." },
        ),
        Refusal::Role { project } => (
            "That key may not sign in.",
            html! { "It is a key of " b { (project) } " for other things. Signing in needs the role admin or viewer." },
        ),
        Refusal::Code => (
            "That link has been used, or is too old.",
            html! { "It signs in once, within an hour of the start. Sign in with a key, or restart the gateway at a terminal." },
        ),
        Refusal::TooMany => {
            ("Too many wrong keys came from this address.", html! { "Try again in a minute." })
        }
        Refusal::Away => {
            ("The key cannot be checked.", html! { "The database does not answer; the log says why." })
        }
    };
    html! {
        div.banner.bad role="alert" #lerr { (mark("bad", "badc")) div { b { (title) } " " span.t2 { (words) } } }
    }
}
