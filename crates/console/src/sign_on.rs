//! The browser's round trip to the identity provider.
//!
//! Only the browser stores a sign-in under way, so that it may return to another node: a cookie contains a
//! random text, the time and the requested page, and state, nonce and PKCE verifier are derived from it. An
//! attacker who has not begun the sign-in has no cookie that matches the state, and cannot make another
//! person's browser sign in.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use store::StoreError;

use crate::Console;
use crate::auth::{Begin, begin_session};
use crate::fields::Query;
use crate::gateway::{NoSignOn, SignOnAnswer, SignOnSecrets};
use crate::pages::login::{self, Refusal};
use crate::security::next_page;
use crate::session::{self, cookie};

const COOKIE_NAME: &str = "llmgateway_sign_on";
/// How long a sign-in may take at the provider.
const LASTS_MS: i64 = 10 * 60 * 1000;
/// The longest page that is kept; cookies have 4 KiB.
const LONGEST_PAGE: usize = 1500;
/// The longest code that is passed on.
const LONGEST_CODE: usize = 4096;

/// A sign-in under way: `RANDOM.MILLISECONDS.PAGE`.
struct PendingSignOn(String);

impl PendingSignOn {
    fn begin(now_ms: i64, next: &str) -> Result<Self, StoreError> {
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random)?;
        let next = if next.len() > LONGEST_PAGE { "/ui" } else { next };
        Ok(Self(format!("{}.{now_ms}.{}", URL_SAFE_NO_PAD.encode(random), URL_SAFE_NO_PAD.encode(next))))
    }

    /// The content of the cookie, with the page; none when it is too old.
    fn of(headers: &HeaderMap, now_ms: i64) -> Option<(Self, String)> {
        let value = cookie(headers, COOKIE_NAME)?;
        let mut parts = value.split('.');
        let (random, began, page) = (parts.next()?, parts.next()?, parts.next()?);
        let began: i64 = began.parse().ok()?;
        let is_fresh = (0..LASTS_MS).contains(&now_ms.saturating_sub(began));
        let is_good = random.len() == 43 && parts.next().is_none() && is_fresh;
        let page = String::from_utf8(URL_SAFE_NO_PAD.decode(page).ok()?).ok()?;
        let next = next_page(Some(&page)).to_owned();
        is_good.then(|| (Self(value.to_owned()), next))
    }

    /// None of them reveals another. The whole cookie is hashed, so that no part of it can be changed.
    fn secrets(&self) -> SignOnSecrets {
        let derived = |context: &str| URL_SAFE_NO_PAD.encode(blake3::derive_key(context, self.0.as_bytes()));
        SignOnSecrets {
            state: derived("llmgateway dashboard sign-on state"),
            nonce: derived("llmgateway dashboard sign-on nonce"),
            verifier: derived("llmgateway dashboard sign-on verifier"),
        }
    }

    /// The cookie. `Lax`, because the way back begins at the provider's page.
    fn cookie(&self, is_secure: bool) -> HeaderValue {
        set_cookie(&self.0, LASTS_MS / 1000, is_secure)
    }
}

fn set_cookie(value: &str, seconds: i64, is_secure: bool) -> HeaderValue {
    let secure = if is_secure { "; Secure" } else { "" };
    let text =
        format!("{COOKIE_NAME}={value}; Path=/ui/oidc; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// The link that begins a sign-in, which ends at this page.
pub fn start_of(next: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("next", next);
    format!("/ui/oidc/start?{}", query.finish())
}

/// `GET /ui/oidc/start`: sends the browser to the provider.
pub async fn start(State(console): State<Arc<Console>>, headers: HeaderMap, Query(query): Query) -> Response {
    let next = next_page(query.get("next"));
    if console.gateway.offer().is_none() {
        return login::page(&console, &headers, next, Some(&Refusal::SignOn(NoSignOn::Off)));
    }
    let under_way = match PendingSignOn::begin(console.now_ms(), next) {
        Ok(under_way) => under_way,
        Err(error) => return crate::pages::away(&error),
    };
    match console.gateway.departure(&under_way.secrets()).await {
        Ok(url) => {
            let cookie = under_way.cookie(session::is_secure(&console, &headers));
            let Ok(url) = HeaderValue::try_from(url) else { return StatusCode::BAD_GATEWAY.into_response() };
            (StatusCode::SEE_OTHER, [(SET_COOKIE, cookie), (LOCATION, url)]).into_response()
        }
        Err(reason) => login::page(&console, &headers, next, Some(&Refusal::SignOn(reason))),
    }
}

/// `GET /ui/oidc/callback`: the browser comes back.
pub async fn callback(
    State(console): State<Arc<Console>>,
    Query(query): Query,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let headers = &parts.headers;
    let address = session::address(&parts);
    let is_secure = session::is_secure(&console, headers);
    let (next, arrived) = match PendingSignOn::of(headers, console.now_ms()) {
        // Each answer makes the gateway send a request to the provider.
        Some((_, next)) if !console.gate.may_try(address, console.now_ms()) => (next, Err(Refusal::TooMany)),
        Some((under_way, next)) => {
            let arrived = arrival(&console, &under_way.secrets(), &query).await;
            if arrived.is_ok() {
                console.gate.was_right(address);
            }
            (next, arrived.map_err(Refusal::SignOn))
        }
        None => ("/ui".to_owned(), Err(Refusal::SignOn(not_begun()))),
    };
    let mut response = match arrived {
        Ok(who) => match begin_session(&console, Begin { who, means: "oidc", address, next: &next }).await {
            Ok(token) => {
                ([(SET_COOKIE, token.cookie(is_secure))], login::signed_in(headers, &next)).into_response()
            }
            Err(error) => crate::pages::away(&error),
        },
        Err(refusal) => {
            if let Refusal::SignOn(reason) = &refusal {
                tracing::warn!(?reason, %address, "a sign-in by the identity provider failed");
            }
            login::page(&console, headers, &next, Some(&refusal))
        }
    };
    // A code is valid once, and so is its cookie.
    response.headers_mut().append(SET_COOKIE, set_cookie("", 0, is_secure));
    response
}

fn not_begun() -> NoSignOn {
    let words = "This sign-in was started in another browser or more than ten minutes ago. Start again.";
    NoSignOn::Refused(words.to_owned())
}

async fn arrival(
    console: &Console,
    secrets: &SignOnSecrets,
    query: &crate::fields::Fields,
) -> Result<crate::gateway::Subject, NoSignOn> {
    // Hashes compare in constant time.
    if blake3::hash(query.text("state").as_bytes()) != blake3::hash(secrets.state.as_bytes()) {
        return Err(not_begun());
    }
    if let Some(error) = query.get("error") {
        return Err(NoSignOn::Refused(refused(error)));
    }
    match query.get("code").filter(|code| code.len() <= LONGEST_CODE) {
        Some(code) => console.gateway.arrival(secrets, SignOnAnswer { code, issuer: query.get("iss") }).await,
        None => Err(NoSignOn::Refused("The identity provider sent no code.".to_owned())),
    }
}

/// The provider's error code for its refusal; any other text is not repeated.
fn refused(error: &str) -> String {
    let is_word = error.len() <= 60 && error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_word {
        format!("The identity provider refused the sign-in: {error}.")
    } else {
        "The identity provider refused the sign-in.".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::COOKIE;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, HeaderValue::try_from(format!("{COOKIE_NAME}={value}")).unwrap())])
    }

    #[test]
    fn the_cookie_holds_a_sign_in_for_ten_minutes() {
        let begun = PendingSignOn::begin(1_000, "/ui/audit").unwrap();
        let (found, next) = PendingSignOn::of(&headers(&begun.0), 2_000).unwrap();
        assert_eq!(next, "/ui/audit");
        assert!(found.secrets() == begun.secrets());
        assert!(PendingSignOn::of(&headers(&begun.0), 1_000 + LASTS_MS).is_none());
        assert!(PendingSignOn::of(&headers(&begun.0), 999).is_none());
        let other = begun.0.replace(".1000.", ".1001.");
        let (other, _) = PendingSignOn::of(&headers(&other), 2_000).unwrap();
        assert!(other.secrets() != begun.secrets(), "no part of the cookie can be changed");
        let secrets = begun.secrets();
        assert!(secrets.state != secrets.nonce && secrets.nonce != secrets.verifier);
        assert_eq!(secrets.verifier.len(), 43, "the length that PKCE requires");
    }

    #[test]
    fn an_invalid_cookie_is_no_sign_in() {
        let random = "a".repeat(43);
        let page = URL_SAFE_NO_PAD.encode("https://evil.example/");
        for wrong in [
            "",
            "a.1.b",
            "x",
            &format!("{random}.x.{page}"),
            &format!("{random}.{}.{page}", i64::MAX),
            &format!("{random}.{}.{page}", i64::MIN),
            &format!("{random}.1.%"),
            &format!("{random}.1.{page}.1"),
        ] {
            assert!(PendingSignOn::of(&headers(wrong), 2).is_none(), "{wrong}");
        }
        let (_, next) = PendingSignOn::of(&headers(&format!("{random}.1.{page}")), 2).unwrap();
        assert_eq!(next, "/ui", "no other page than ours");
    }

    #[test]
    fn only_error_codes_of_the_provider_are_repeated() {
        assert_eq!(refused("access_denied"), "The identity provider refused the sign-in: access_denied.");
        assert_eq!(refused("<b>Call 0800"), "The identity provider refused the sign-in.");
    }
}
