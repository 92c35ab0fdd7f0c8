//! `[auth.oidc]`: the identity provider that signs people in to the dashboard.

use canon::Secret;

use super::file::OidcSection;
use super::settings::Check;
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
    /// What it calls us.
    pub client_id: String,
    /// What proves to it that we are this client; a public client has none.
    pub client_secret: Option<Secret>,
    /// Where it sends the browser back to.
    pub redirect_url: String,
    /// What is asked for, with spaces between.
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

impl Check<'_> {
    pub(super) fn oidc(&mut self, section: Option<&OidcSection>) -> Option<OidcSettings> {
        let section = section?;
        let issuer = self.needed("auth.oidc.issuer", &section.issuer);
        let client_id = self.needed("auth.oidc.client_id", &section.client_id);
        let public_url = self.needed("auth.oidc.public_url", &section.public_url);
        let client_secret =
            section.client_secret.as_ref().map(|text| self.needed("auth.oidc.client_secret", text));
        if !issuer.is_empty() && (!is_safe(&issuer) || super::base_url::mistake(&issuer).is_some()) {
            let message = "must be an https:// URL without a query (http:// on this machine only)";
            self.mistake("auth.oidc.issuer", message);
        }
        let origin = public_url.trim_end_matches('/');
        let is_origin = origin.split_once("://").is_some_and(|(_, rest)| !rest.contains('/'))
            && super::base_url::mistake(origin).is_none();
        if !public_url.is_empty() && !is_origin {
            let message = "must be where browsers reach the gateway, such as https://gateway.example.com, without a path";
            self.mistake("auth.oidc.public_url", message);
        }
        self.oidc_roles(section);
        if !section.scopes.iter().any(|scope| scope == "openid")
            || section.scopes.iter().any(|scope| scope.is_empty() || scope.contains(char::is_whitespace))
        {
            self.mistake("auth.oidc.scopes", "must hold \"openid\", and one scope in each text");
        }
        if section.clock_skew_seconds > MOST_SKEW_SECONDS {
            self.mistake("auth.oidc.clock_skew_seconds", format!("must be at most {MOST_SKEW_SECONDS}"));
        }
        let host = issuer.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or(rest));
        Some(OidcSettings {
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
        })
    }

    fn oidc_roles(&mut self, section: &OidcSection) {
        if section.admins.is_empty() && section.viewers.is_empty() {
            self.mistake("auth.oidc", "needs admins or viewers: without them nobody could sign in");
        }
        if section.admins.iter().any(|value| value == EVERYBODY) {
            let message = "must not hold \"*\": everybody whom the provider knows would be an administrator";
            self.mistake("auth.oidc.admins", message);
        }
        if section.roles_claim.is_empty() {
            self.mistake(
                "auth.oidc.roles_claim",
                "is empty; it names a claim, such as \"roles\" or \"groups\"",
            );
        }
    }

    fn needed(&mut self, path: &str, text: &str) -> String {
        let found = self.text(path, text).trim().to_owned();
        if found.is_empty() && !self.has_mistake(path) {
            self.mistake(path, "is missing or empty");
        }
        found
    }
}
