//! `[auth.oidc]`: the identity provider that signs people in to the dashboard.

use canon::Secret;

use super::file::{Mistake, OidcSection};
use crate::upstream::credentials::exchange::is_safe;

/// More would let a token live on noticeably longer than its provider says.
const MOST_SKEW_SECONDS: u64 = 300;
/// Stands for everybody whom the provider signs in.
pub const EVERYBODY: &str = "*";

/// An identity provider, and who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcSettings {
    /// Its URL, exactly as it names itself.
    pub issuer: String,
    /// The gateway's id at the provider.
    pub client_id: String,
    /// The gateway's secret at the provider; a public client has none.
    pub client_secret: Option<Secret>,
    /// Where it sends the browser back to.
    pub redirect_url: String,
    /// The requested scopes, separated by spaces.
    pub scopes: String,
    /// The claim that says what somebody may do.
    pub roles_claim: String,
    /// Its values for administrators.
    pub admins: Vec<String>,
    /// Its values for viewers.
    pub viewers: Vec<String>,
    /// The words of the button.
    pub label: String,
    /// How far its clock may be from ours.
    pub clock_skew_seconds: u64,
}

impl OidcSettings {
    /// Checks a section. `resolve` reads a reference (`env:NAME`), by the name of its field, and reports what is wrong with it;
    /// mistakes have paths within the section.
    pub fn new(
        section: &OidcSection,
        mut resolve: impl FnMut(&str, &str) -> String,
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        let mut needed = |name: &str, text: &str| {
            let found = resolve(name, text).trim().to_owned();
            if found.is_empty() {
                mistakes.push(mistake(name, "is missing or empty"));
            }
            found
        };
        let issuer = needed("issuer", &section.issuer);
        let client_id = needed("client_id", &section.client_id);
        let public_url = needed("public_url", &section.public_url);
        let client_secret = section.client_secret.as_ref().map(|text| needed("client_secret", text));
        let origin = public_url.trim_end_matches('/');
        check_addresses(&issuer, origin, mistakes);
        check_roles(section, mistakes);
        if !section.scopes.iter().any(|scope| scope == "openid")
            || section.scopes.iter().any(|scope| scope.is_empty() || scope.contains(char::is_whitespace))
        {
            mistakes.push(mistake("scopes", "must contain \"openid\", and each text must be one scope"));
        }
        if section.clock_skew_seconds > MOST_SKEW_SECONDS {
            mistakes.push(mistake("clock_skew_seconds", &format!("must be at most {MOST_SKEW_SECONDS}")));
        }
        let host = issuer.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or(rest));
        Self {
            label: section.label.clone().unwrap_or_else(|| format!("Sign in with {host}")),
            redirect_url: format!("{origin}/ui/oidc/callback"),
            scopes: section.scopes.join(" "),
            roles_claim: section.roles_claim.clone(),
            admins: section.admins.clone(),
            viewers: section.viewers.clone(),
            clock_skew_seconds: section.clock_skew_seconds,
            client_secret: client_secret.map(Secret::new),
            issuer,
            client_id,
        }
    }
}

fn check_addresses(issuer: &str, origin: &str, mistakes: &mut Vec<Mistake>) {
    if !issuer.is_empty() && (!is_safe(issuer) || super::base_url::mistake(issuer).is_some()) {
        let message = "must be an https:// URL without a query (http:// on this machine only)";
        mistakes.push(mistake("issuer", message));
    }
    let is_origin = origin.split_once("://").is_some_and(|(_, rest)| !rest.contains('/'))
        && super::base_url::mistake(origin).is_none();
    if !origin.is_empty() && !is_origin {
        let message =
            "must be where browsers reach the gateway, such as https://gateway.example.com, without a path";
        mistakes.push(mistake("public_url", message));
    }
}

fn check_roles(section: &OidcSection, mistakes: &mut Vec<Mistake>) {
    if section.admins.is_empty() && section.viewers.is_empty() {
        mistakes.push(mistake("", "needs admins or viewers: otherwise no one can sign in"));
    }
    if section.admins.iter().any(|value| value == EVERYBODY) {
        let message = "must not hold \"*\": everybody whom the provider knows would be an administrator";
        mistakes.push(mistake("admins", message));
    }
    if section.roles_claim.is_empty() {
        mistakes.push(mistake("roles_claim", "is empty; it names a claim, such as \"roles\" or \"groups\""));
    }
}

fn mistake(name: &str, message: &str) -> Mistake {
    Mistake { path: name.to_owned(), message: message.to_owned() }
}
