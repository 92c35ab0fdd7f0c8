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
    Role { project: String },
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
                            " on the gateway's machine creates one and prints it."
                        }
                    }
                    p.t3.sm.lfoot {
                        span { (node.name) }
                        span { (node.version) }
                        span { "Sessions end after 12 hours" }
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
        Refusal::Unknown => {
            ("This key cannot sign in.", html! { "The key is unknown, expired or disabled." })
        }
        Refusal::Role { project } => (
            "This key cannot sign in.",
            html! { "The key of project " b { (project) } " has neither the role admin nor viewer." },
        ),
        Refusal::Code => (
            "This link was used already or has expired.",
            html! { "It works once, within an hour of the gateway's start. Sign in with a key, or restart the gateway in a terminal for a new link." },
        ),
        Refusal::TooMany => {
            ("Too many wrong keys came from this address.", html! { "Try again in a minute." })
        }
        Refusal::SignOn(NoSignOn::Off) => (
            "No identity provider is configured.",
            html! { "Sign in with a key, or configure a provider in " code { "[auth.oidc]" } "." },
        ),
        Refusal::SignOn(NoSignOn::Away(reason)) => (
            "The identity provider cannot be reached.",
            html! { (reason) ". Try again, or sign in with a key." },
        ),
        Refusal::SignOn(NoSignOn::Refused(reason)) => ("The sign-in failed.", html! { (reason) }),
        Refusal::SignOn(NoSignOn::Role { name }) => (
            "This account cannot sign in here.",
            html! {
                "The identity provider confirmed " b { (name) } ", but none of the account's roles is in "
                code { "auth.oidc.admins" } " or " code { "auth.oidc.viewers" } "."
            },
        ),
        Refusal::Away => {
            ("The key cannot be verified.", html! { "The database does not answer; the log has the reason." })
        }
    };
    html! {
        div.banner.bad role="alert" #lerr { (mark("bad", "badc")) div { b { (title) } " " span.t2 { (words) } } }
    }
}
