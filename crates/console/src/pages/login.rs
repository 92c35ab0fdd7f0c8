//! `/ui/login`

use axum::response::Response;
use http::{HeaderMap, StatusCode};
use maud::{DOCTYPE, Markup, html};

use crate::Console;
use crate::auth;
use crate::components::icon::brand;
use crate::components::mark;
use crate::components::page::{document, head, theme};
use crate::gateway::NoSignOn;
use crate::sign_on;

/// Why a sign-in failed.
pub enum Refusal {
    /// The key is unknown.
    Unknown,
    /// The key has other roles.
    Role {
        /// Whose it is.
        project: String,
    },
    /// The code of the link was used, or is too old.
    Code,
    /// Too many wrong keys came from this address.
    TooMany,
    /// The database does not answer.
    Away,
    /// The identity provider refused the sign-in.
    SignOn(NoSignOn),
}

/// The page, with the error of the last attempt.
pub fn page(console: &Console, headers: &HeaderMap, next: &str, refusal: Option<&Refusal>) -> Response {
    let node = console.gateway.node();
    let of_key = refusal.filter(|refusal| !matches!(refusal, Refusal::SignOn(_)));
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
                        @if let Some(words) = console.gateway.offer() {
                            a.btn.primary href=(sign_on::start_of(next)) { (words) }
                            p.t3.sm { "Or with a key of the gateway:" }
                        }
                        form.stack method="post" action="/ui/login" {
                            input type="hidden" name="next" value=(next);
                            label.field {
                                span { "Admin or viewer key" }
                                input.in.mono type="password" name="key" autocomplete="current-password" spellcheck="false"
                                    required aria-invalid=[of_key.map(|_| "true")] aria-describedby=[of_key.map(|_| "lerr")];
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

/// The page after a sign-in by the provider. A redirect would still belong to the provider's navigation, and browsers would
/// leave out the session's cookie (`SameSite=Strict`). This page begins a navigation of our own.
pub fn signed_in(headers: &HeaderMap, next: &str) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme(headers)] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content=(format!("0; url={next}"));
                title { "Signed in · llmgateway" }
                link rel="stylesheet" href=(crate::assets::url("style.css"));
            }
            body data-page="login" {
                main.login #main {
                    div.lcard { h1 { "Signed in" } p { a href=(next) { "Continue to the dashboard" } } }
                }
            }
        }
    };
    document(StatusCode::OK, markup)
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
        Refusal::SignOn(NoSignOn::Off) => (
            "No identity provider is configured.",
            html! { "Sign in with a key; " code { "[auth.oidc]" } " would name a provider." },
        ),
        Refusal::SignOn(NoSignOn::Away(reason)) => (
            "The identity provider cannot be asked.",
            html! { (reason) ". Try again, or sign in with a key." },
        ),
        Refusal::SignOn(NoSignOn::Refused(reason)) => ("That did not sign in.", html! { (reason) }),
        Refusal::SignOn(NoSignOn::Role { name }) => (
            "That account may not sign in here.",
            html! {
                "The identity provider knows " b { (name) } ", and no value of its roles is one of "
                code { "auth.oidc.admins" } " or " code { "auth.oidc.viewers" } "."
            },
        ),
        Refusal::Away => {
            ("The key cannot be checked.", html! { "The database does not answer; the log has the reason." })
        }
    };
    html! {
        div.banner.bad role="alert" #lerr { (mark("bad", "badc")) div { b { (title) } " " span.t2 { (words) } } }
    }
}
