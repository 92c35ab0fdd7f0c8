//! Signing in and out: with a key, or with the code of the printed link.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::header::SET_COOKIE;
use http::{HeaderMap, Method, StatusCode};
use store::{Audit, ConsoleSession, StoreError};

use crate::Console;
use crate::fields::{Fields, Query};
use crate::gateway::{NoSignOn, Rights, Subject, WrongKey};
use crate::pages::login::{self, Refusal};
use crate::security::next_page;
use crate::session::{self, LASTS_MS, Session, Token, no_cookie};

/// Every answer to a wrong key takes this long from its arrival, whatever the error.
const WRONG_KEY_TAKES: Duration = Duration::from_millis(400);
/// Maximum number of wrong keys from one address within [`WINDOW_MS`].
const WRONG_KEYS: u32 = 10;
/// The maximum for all addresses together: an attacker can have many addresses.
const ALL_WRONG_KEYS: u32 = 1000;
const WINDOW_MS: i64 = 60_000;
/// How long the code of the printed link is valid.
const CODE_LASTS_MS: i64 = 3600 * 1000;

/// Counts wrong keys, and remembers the code of the printed link.
#[derive(Default)]
pub struct Gate {
    wrong: Mutex<FailedSignIns>,
    code: Mutex<Option<(blake3::Hash, i64)>>,
    /// Forms that have created a secret, the newest last.
    used: Mutex<VecDeque<String>>,
}

#[derive(Default)]
struct FailedSignIns {
    since_ms: i64,
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

impl Gate {
    /// Whether another key may be tried from this address. A try counts as wrong until [`Gate::was_right`].
    pub fn may_try(&self, address: IpAddr, now_ms: i64) -> bool {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ms - wrong.since_ms >= WINDOW_MS || now_ms < wrong.since_ms {
            *wrong = FailedSignIns { since_ms: now_ms, ..FailedSignIns::default() };
        }
        let tries = *wrong.by_address.get(&network(address)).unwrap_or(&0);
        if tries >= WRONG_KEYS || wrong.all >= ALL_WRONG_KEYS {
            return false;
        }
        wrong.all += 1;
        wrong.by_address.insert(network(address), tries + 1);
        true
    }

    /// Withdraws a counted try.
    pub fn was_right(&self, address: IpAddr) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.all = wrong.all.saturating_sub(1);
        if let Some(tries) = wrong.by_address.get_mut(&network(address)) {
            *tries = tries.saturating_sub(1);
        }
    }

    /// Makes the code of the printed link; the previous one becomes invalid.
    pub fn new_code(&self, now_ms: i64) -> Result<String, StoreError> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes)?;
        let code: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut kept = self.code.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((blake3::hash(code.as_bytes()), now_ms + CODE_LASTS_MS));
        Ok(code)
    }

    /// Whether a form that creates a secret is sent for the first time.
    pub fn is_first(&self, once: &str) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if once.is_empty() || used.iter().any(|known| known == once) {
            return false;
        }
        if used.len() >= 1000 {
            used.pop_front();
        }
        used.push_back(once.to_owned());
        true
    }

    /// Uses the code up: it signs in once.
    fn take_code(&self, code: &str, now_ms: i64) -> bool {
        let mut kept = self.code.lock().unwrap_or_else(PoisonError::into_inner);
        // Hashes compare in constant time.
        let is_it = kept.is_some_and(|(hash, until)| hash == blake3::hash(code.as_bytes()) && now_ms < until);
        if is_it {
            *kept = None;
        }
        is_it
    }
}

/// The owner of one IPv6 address has the others of its network.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        },
    }
}

/// `GET /ui/login`: the form, or the requested page when the reader is signed in.
pub async fn form(
    State(console): State<Arc<Console>>,
    session: Option<Session>,
    Query(query): Query,
    request: Request,
) -> Response {
    let next = next_page(query.get("next"));
    if session.is_some() {
        return Redirect::to(next).into_response();
    }
    let (parts, _) = request.into_parts();
    // A preview of the link must not use the code up.
    if let Some(code) = query.get("code").filter(|_| parts.method == Method::GET) {
        let address = session::address(&parts);
        if !console.gate.may_try(address, console.now_ms()) {
            return login::page(&console, &parts.headers, next, Some(&Refusal::TooMany));
        }
        if !console.gate.take_code(code, console.now_ms()) {
            return login::page(&console, &parts.headers, next, Some(&Refusal::Code));
        }
        console.gate.was_right(address);
        let who = Subject { id: String::new(), name: "first start".to_owned(), rights: Rights::Admin };
        return begin(&console, &parts.headers, Begin { who, means: "code", address, next }).await;
    }
    login::page(&console, &parts.headers, next, None)
}

/// `POST /ui/login`
pub async fn sign_in(State(console): State<Arc<Console>>, request: Request) -> Response {
    let arrived = tokio::time::sleep(WRONG_KEY_TAKES);
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts.clone(), body);
    let form = match <Fields as axum::extract::FromRequest<()>>::from_request(request, &()).await {
        Ok(form) => form,
        Err(refused) => return refused,
    };
    let next = next_page(form.get("next"));
    let address = session::address(&parts);
    let refusal = if !console.gate.may_try(address, console.now_ms()) {
        Refusal::TooMany
    } else {
        match console.gateway.sign_in(form.text("key")).await {
            Ok(who) => {
                console.gate.was_right(address);
                return begin(&console, &parts.headers, Begin { who, means: "key", address, next }).await;
            }
            Err(WrongKey::Unknown) => Refusal::Unknown,
            Err(WrongKey::Role { project }) => Refusal::Role { project },
            Err(WrongKey::Away) => {
                console.gate.was_right(address);
                Refusal::Away
            }
        }
    };
    arrived.await;
    login::page(&console, &parts.headers, next, Some(&refusal))
}

/// The data of a new session.
pub struct Begin<'a> {
    pub who: Subject,
    /// `key`, `code`, `oidc`.
    pub means: &'static str,
    /// From where.
    pub address: IpAddr,
    pub next: &'a str,
}

async fn begin(console: &Console, headers: &HeaderMap, begin: Begin<'_>) -> Response {
    let next = begin.next;
    match begin_session(console, begin).await {
        Ok(token) => {
            let cookie = token.cookie(session::is_secure(console, headers));
            ([(SET_COOKIE, cookie)], Redirect::to(next)).into_response()
        }
        Err(error) => crate::pages::away(&error),
    }
}

/// Stores a session, and returns the content of its cookie.
pub async fn begin_session(console: &Console, begin: Begin<'_>) -> Result<Token, StoreError> {
    let Begin { who, means, address, .. } = begin;
    let now_ms = console.now_ms();
    let token = Token::random()?;
    let row = ConsoleSession {
        id: token.id(),
        name: who.name,
        subject: who.id,
        means: means.to_owned(),
        role: who.rights.as_str().to_owned(),
        address: address.to_string(),
        created_at_ms: now_ms,
        expires_at_ms: now_ms + LASTS_MS,
    };
    let mut detail = serde_json::json!({"role": row.role, "address": row.address});
    // People can change the name that their provider shows, but not its subject.
    if means == "oidc" {
        detail["subject"] = serde_json::from_str(&row.subject).unwrap_or_default();
    }
    let audit = Audit {
        actor: format!("{means}:{}", row.name),
        action: "session.create",
        target: format!("session:{}", row.id),
        detail: detail.to_string(),
    };
    console.store.create_session(&row, audit).await?;
    Ok(token)
}

/// `POST /ui/logout`
pub async fn sign_out(
    State(console): State<Arc<Console>>,
    session: Session,
    headers: HeaderMap,
    form: Fields,
) -> Response {
    if let Err(refused) = session.check_form(&form) {
        return refused;
    }
    let target = format!("session:{}", session.row.id);
    let audit = session.audit("session.end", target, &serde_json::json!({}));
    match console.store.end_session(&session.row.id, audit, console.now_ms()).await {
        Ok(_) => {
            let cookie = no_cookie(session::is_secure(&console, &headers));
            ([(SET_COOKIE, cookie)], Redirect::to("/ui/login")).into_response()
        }
        Err(error) => crate::pages::away(&error),
    }
}

/// `POST /ui/settings/sessions/end`: an admin ends any session, others their own.
pub async fn end(State(console): State<Arc<Console>>, session: Session, form: Fields) -> Response {
    let id = form.text("id");
    let checked = if id == session.row.id { session.check_form(&form) } else { session.may_change(&form) };
    if let Err(refused) = checked {
        return refused;
    }
    let audit = session.audit("session.end", format!("session:{id}"), &serde_json::json!({}));
    match console.store.end_session(id, audit, console.now_ms()).await {
        Ok(_) => Redirect::to("/ui/settings#sessions").into_response(),
        Err(error) => crate::pages::away(&error),
    }
}

/// The status of a refused sign-in.
pub fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Away => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Role { .. } => StatusCode::FORBIDDEN,
        Refusal::Unknown | Refusal::Code => StatusCode::UNAUTHORIZED,
        Refusal::SignOn(NoSignOn::Off) => StatusCode::NOT_FOUND,
        Refusal::SignOn(NoSignOn::Away(_)) => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::SignOn(NoSignOn::Refused(_)) => StatusCode::UNAUTHORIZED,
        Refusal::SignOn(NoSignOn::Role { .. }) => StatusCode::FORBIDDEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_ten_tries_a_minute_and_shares_them_with_its_network() {
        let gate = Gate::default();
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let other: IpAddr = "10.0.0.1".parse().unwrap();
        for _ in 0..10 {
            assert!(gate.may_try(one, 1_000_000));
        }
        assert!(!gate.may_try(one, 1_000_001) && !gate.may_try(neighbour, 1_000_001));
        assert!(gate.may_try(other, 1_000_001));
        assert!(gate.may_try(one, 1_060_000), "the next minute");
        for _ in 0..100 {
            assert!(gate.may_try(other, 1_060_001));
            gate.was_right(other);
        }
    }

    #[test]
    fn a_code_signs_in_once_within_an_hour() {
        let gate = Gate::default();
        assert!(!gate.take_code("", 0));
        let first = gate.new_code(0).unwrap();
        let second = gate.new_code(0).unwrap();
        assert!(!gate.take_code(&first, 1), "another one was made");
        assert!(gate.take_code(&second, 1));
        assert!(!gate.take_code(&second, 1));
        let late = gate.new_code(0).unwrap();
        assert!(!gate.take_code(&late, CODE_LASTS_MS));
    }
}
