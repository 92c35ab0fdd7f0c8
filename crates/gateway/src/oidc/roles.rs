//! Rights and names of people who signed in by the provider.

use console::gateway::{Rights, Subject};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::token::Claims;
use crate::config::{EVERYBODY, OidcSettings};

/// The longest displayed name.
const SHOWN: usize = 80;

/// The subject as it is kept in a session: with it, rights can be determined again after a change of the
/// configuration.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredSubject {
    iss: String,
    sub: String,
    /// The values of the claim that gave them rights.
    roles: Vec<String>,
}

/// The values of the roles claim; none if it is missing or unverified.
pub fn values(claims: &Claims, name: &str) -> Option<Vec<String>> {
    let values = match found(claims, name)? {
        Value::Array(list) => list.iter().filter_map(text).collect(),
        single => text(single).into_iter().collect(),
    };
    // Some providers let people enter any address in their account.
    match claims.get("email_verified") {
        _ if name != "email" => Some(values),
        Some(Value::Bool(true)) => Some(values),
        Some(_) => Some(Vec::new()),
        None => None,
    }
}

/// A claim of exactly this name, which may contain dots, or the end of a path.
fn found<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let mut parts = name.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The subject of a session; none without any right.
pub fn subject(settings: &OidcSettings, claims: &Claims, values: &[String]) -> Option<Subject> {
    let is_named = |value: &&String| settings.admins.contains(value) || settings.viewers.contains(value);
    let kept = StoredSubject {
        iss: settings.issuer.clone(),
        sub: claims.get("sub")?.as_str()?.to_owned(),
        roles: values.iter().filter(is_named).cloned().collect(),
    };
    let rights = rights(settings, &kept)?;
    Some(Subject { id: serde_json::to_string(&kept).ok()?, name: name(claims), rights })
}

/// The present rights of a subject.
pub fn rights_of(settings: Option<&OidcSettings>, subject: &str) -> Option<Rights> {
    rights(settings?, &serde_json::from_str(subject).ok()?)
}

fn rights(settings: &OidcSettings, kept: &StoredSubject) -> Option<Rights> {
    let has = |names: &[String]| kept.roles.iter().any(|role| names.contains(role));
    if kept.iss != settings.issuer {
        return None;
    }
    if has(&settings.admins) {
        return Some(Rights::Admin);
    }
    let may_view = has(&settings.viewers) || settings.viewers.iter().any(|name| name == EVERYBODY);
    may_view.then_some(Rights::Viewer)
}

/// The displayed name: an address if possible, because it is unique.
pub fn name(claims: &Claims) -> String {
    let names = ["email", "preferred_username", "name", "sub"];
    let texts = names.iter().filter_map(|name| claims.get(*name)?.as_str());
    let mut plain = texts.map(|text| {
        text.chars().filter(|letter| !letter.is_control()).take(SHOWN).collect::<String>().trim().to_owned()
    });
    plain.find(|text| !text.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims(value: Value) -> Claims {
        match value {
            Value::Object(claims) => claims,
            _ => Claims::new(),
        }
    }

    #[test]
    fn a_claim_is_found_by_its_name_or_by_a_path() {
        let claims = claims(json!({
            "roles": ["a", "b"], "realm_access": {"roles": ["c"]}, "https://x.example/roles": "d", "n": 7, "odd": [{"a": 1}, true],
        }));
        for (name, wanted) in [
            ("roles", Some(vec!["a", "b"])),
            ("realm_access.roles", Some(vec!["c"])),
            ("https://x.example/roles", Some(vec!["d"])),
            ("n", Some(vec!["7"])),
            ("odd", Some(vec![])),
            ("groups", None),
            ("realm_access.groups", None),
        ] {
            let wanted = wanted.map(|texts| texts.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(values(&claims, name), wanted, "{name}");
        }
    }

    #[test]
    fn an_address_counts_only_if_it_is_verified() {
        for (verified, wanted) in [(json!(true), 1), (json!(false), 0), (json!("true"), 0), (Value::Null, 0)]
        {
            let claims = claims(json!({"email": "root@example.com", "email_verified": verified}));
            assert_eq!(values(&claims, "email").unwrap().len(), wanted, "{verified}");
        }
        let unsaid = claims(json!({"email": "root@example.com"}));
        assert_eq!(values(&unsaid, "email"), None, "userinfo may say it");
    }

    #[test]
    fn names_are_plain_and_short() {
        let name_of = |value: Value| name(&claims(value));
        assert_eq!(name_of(json!({"sub": "1", "name": "A", "email": "a@example.com"})), "a@example.com");
        assert_eq!(name_of(json!({"sub": "1", "email": " \n", "name": "A\u{7}\nB"})), "AB");
        assert_eq!(name_of(json!({"sub": "x".repeat(255)})).len(), SHOWN);
    }
}
