//! Sessions: the cookie, the token against forged forms, and the reader of a page.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use store::{Audit, ConsoleSession, StoreError};

use crate::Console;
use crate::fields::Fields;
use crate::gateway::Rights;

/// How long a session lasts.
pub const LASTS_MS: i64 = 12 * 3600 * 1000;
const COOKIE_NAME: &str = "llmgateway_session";

/// The reader of a page.
#[derive(Clone, Debug)]
pub struct Session {
    pub row: ConsoleSession,
    /// The current rights.
    pub rights: Rights,
    /// The token of every form.
    pub form_token: String,
}

/// A token that only the browser keeps. The server has it for the duration of a request.
pub struct Token(String);

impl Token {
    pub fn random() -> Result<Self, StoreError> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = cookie(headers, COOKIE_NAME)?;
        (value.len() == 43).then(|| Self(value.to_owned()))
    }

    /// The stored hash of it.
    pub fn id(&self) -> String {
        blake3::derive_key("llmgateway dashboard session", self.0.as_bytes())[..16].iter().fold(
            String::with_capacity(32),
            |mut hex, byte| {
                hex.push_str(&format!("{byte:02x}"));
                hex
            },
        )
    }

    /// The token in forms of the session: it can be derived from the cookie, but not the cookie from it.
    fn form_token(&self) -> String {
        URL_SAFE_NO_PAD.encode(&blake3::derive_key("llmgateway dashboard forms", self.0.as_bytes())[..18])
    }

    /// The cookie. It has no `expires`, so it ends with the browser's session at the latest.
    pub fn cookie(&self, is_secure: bool) -> HeaderValue {
        let secure = if is_secure { "; Secure" } else { "" };
        let text = format!(
            "{COOKIE_NAME}={}; Path=/ui; Max-Age={}; HttpOnly; SameSite=Strict{secure}",
            self.0,
            LASTS_MS / 1000
        );
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
    }
}

pub fn no_cookie(is_secure: bool) -> HeaderValue {
    let secure = if is_secure { "; Secure" } else { "" };
    let text = format!("{COOKIE_NAME}=; Path=/ui; Max-Age=0; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// Whether the browser used TLS: to us, or to a proxy that reports it.
pub fn is_secure(console: &Console, headers: &HeaderMap) -> bool {
    let forwarded = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    console.gateway.node().tls || forwarded.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
}

/// The address of the reader, for the list of sessions and the limit of wrong keys.
pub fn address(parts: &Parts) -> IpAddr {
    let unknown = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    parts.extensions.get::<crate::gateway::From>().map_or(unknown, |from| from.0)
}

impl Session {
    /// Whether they may change things.
    pub fn is_admin(&self) -> bool {
        self.rights == Rights::Admin
    }

    /// The actor, for the audit log.
    pub fn actor(&self) -> String {
        match self.row.means.as_str() {
            "key" => format!("key:{}", self.row.name),
            means => format!("{means}:{}", self.row.name),
        }
    }

    /// An entry for the audit log.
    pub fn audit(&self, action: &'static str, target: String, detail: &serde_json::Value) -> Audit {
        Audit { actor: self.actor(), action, target, detail: detail.to_string() }
    }

    /// Refuses a form that was not made for this session, and viewers.
    pub fn may_change(&self, form: &Fields) -> Result<(), Response> {
        self.check_form(form)?;
        if self.is_admin() {
            Ok(())
        } else {
            let text = "A viewer may not change anything. Sign in with a key that has the role admin.\n";
            Err((StatusCode::FORBIDDEN, text).into_response())
        }
    }

    /// Refuses a form that was not made for this session.
    pub fn check_form(&self, form: &Fields) -> Result<(), Response> {
        self.check_token(form.text("token"))
    }

    /// The same for requests of scripts.
    pub fn check_token(&self, token: &str) -> Result<(), Response> {
        let is_equal = token.len() == self.form_token.len()
            && token.bytes().zip(self.form_token.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0;
        if is_equal {
            Ok(())
        } else {
            let text =
                "This form belongs to another session. Go back, reload the page and submit it again.\n";
            Err((StatusCode::FORBIDDEN, text).into_response())
        }
    }
}

async fn find(console: &Console, parts: &Parts) -> Result<Option<Session>, StoreError> {
    let Some(token) = Token::of(&parts.headers) else { return Ok(None) };
    let Some(row) = console.store.session(&token.id(), console.now_ms()).await? else { return Ok(None) };
    let given = Rights::named(&row.role);
    let rights = match row.means.as_str() {
        "key" => console.gateway.rights(&row.subject).await.map(|now| given.and(now)),
        "oidc" => console.gateway.still(&row.subject).map(|now| given.and(now)),
        _ => Some(given),
    };
    // Readers whose key was revoked, or whose provider or role is no longer configured, are signed out.
    Ok(rights.map(|rights| Session { row, rights, form_token: token.form_token() }))
}

impl FromRequestParts<Arc<Console>> for Session {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self, Response> {
        match find(console, parts).await {
            Ok(Some(session)) => Ok(session),
            Ok(None) if is_page(parts) => {
                // The router has removed `/ui`.
                let asked = parts.uri.path_and_query().map_or("/", |path| path.as_str());
                let asked = format!("/ui{}", if asked == "/" { "" } else { asked });
                let mut query = form_urlencoded::Serializer::new(String::new());
                query.append_pair("next", &asked);
                Err(Redirect::to(&format!("/ui/login?{}", query.finish())).into_response())
            }
            Ok(None) => {
                Err((StatusCode::UNAUTHORIZED, "The session has ended. Sign in again.\n").into_response())
            }
            Err(error) => Err(crate::pages::away(&error)),
        }
    }
}

impl OptionalFromRequestParts<Arc<Console>> for Session {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        console: &Arc<Console>,
    ) -> Result<Option<Self>, Self::Rejection> {
        Ok(find(console, parts).await.ok().flatten())
    }
}

/// Whether a person sees the answer: only a person can be sent to the sign-in page.
fn is_page(parts: &Parts) -> bool {
    let wants = parts.headers.get(http::header::ACCEPT).and_then(|accept| accept.to_str().ok());
    matches!(parts.method, Method::GET | Method::HEAD)
        && wants.is_none_or(|accept| !accept.contains("text/event-stream"))
}
