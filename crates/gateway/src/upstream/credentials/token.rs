//! Temporary tokens.
//!
//! A token is renewed before it expires, by one background refresh, which the first request near the expiry
//! starts; requests use the old token meanwhile. Without a valid token requests wait, all for the same
//! refresh. Without requests there is no refresh and no timer. A failed refresh is not repeated for a moment,
//! so that a failing token server is not asked by every request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use canon::{Error, ErrorKind, Retry, Secret};
use tokio::sync::watch;
use wire::providers::Credential;

use super::Recipe;
use super::mask::{self, Mask};
use crate::upstream::Client;

/// A token is renewed when less than this remains, or half of its lifetime if that is shorter.
const NEAR: Duration = Duration::from_secs(240);
/// The pause after a failed refresh while the old token is still valid.
const PAUSE_WITH_TOKEN: Duration = Duration::from_secs(10);
/// The pause after a failed refresh without a valid token.
const PAUSE_WITHOUT_TOKEN: Duration = Duration::from_secs(1);
/// A token that replaced a refused one is not discarded again before this: the token is then not the cause.
const TRUSTED: Duration = Duration::from_secs(60);

/// The result of a recipe, or the reason of its failure, which never contains a secret.
pub type Fetched<T> = Result<T, String>;

/// A credential and its expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub credential: Credential,
    /// When it expires; none for one that does not.
    pub expires: Option<SystemTime>,
}

impl Token {
    /// An access token with this lifetime.
    pub fn bearer(token: &str, seconds: u64, now: SystemTime) -> Self {
        Self {
            credential: Credential::Token(Secret::new(token)),
            expires: now.checked_add(Duration::from_secs(seconds)),
        }
    }
}

/// One source's token.
pub struct TokenCache {
    recipe: Recipe,
    label: String,
    client: Client,
    mask: Arc<Mask>,
    current: ArcSwapOption<CurrentToken>,
    refresh: Mutex<Refresh>,
}

struct CurrentToken {
    token: Token,
    since: SystemTime,
    /// It was fetched because the previous one was refused.
    replaces_refused: bool,
}

type Outcome = Result<Credential, Error>;
type RefreshReceiver = watch::Receiver<Option<Outcome>>;

#[derive(Default)]
struct Refresh {
    running: Option<RefreshReceiver>,
    failed: Option<(SystemTime, Error)>,
    after_refusal: bool,
    /// The previous token.
    earlier: Option<Credential>,
}

impl CurrentToken {
    fn is_valid(&self, now: SystemTime) -> bool {
        self.token.expires.is_none_or(|expires| now < expires)
    }

    fn is_near_its_end(&self, now: SystemTime) -> bool {
        let Some(expires) = self.token.expires else { return false };
        let life = expires.duration_since(self.since).unwrap_or_default();
        expires.duration_since(now).unwrap_or_default() < NEAR.min(life / 2)
    }
}

impl TokenCache {
    /// A source without a token yet.
    pub fn new(recipe: Recipe, label: String, client: Client, mask: Arc<Mask>) -> Arc<Self> {
        let current = ArcSwapOption::empty();
        Arc::new(Self { recipe, label, client, mask, current, refresh: Mutex::default() })
    }

    /// The tokens that a provider could quote: the current one, and the one that it replaced or that was
    /// refused, which earlier requests may still use.
    pub fn secrets(&self) -> Vec<Secret> {
        let current = self.current.load();
        let current = current.iter().flat_map(|kept| mask::secrets(&kept.token.credential)).cloned();
        let earlier = self.lock().earlier.clone();
        current.chain(earlier.iter().flat_map(mask::secrets).cloned()).collect()
    }

    /// The token. Waits only if there is no valid one. The log names the request that began a refresh.
    pub async fn get(self: &Arc<Self>, now: SystemTime, request_id: Option<&str>) -> Outcome {
        if let Some(credential) = self.valid(now, request_id) {
            return Ok(credential);
        }
        let mut landing = {
            let mut refresh = self.lock();
            // Another request's refresh may have finished since.
            if let Some(kept) = self.current.load().as_ref().filter(|kept| kept.is_valid(now)) {
                return Ok(kept.token.credential.clone());
            }
            if let Some(error) = refresh.failed_within(PAUSE_WITHOUT_TOKEN, now) {
                return Err(error);
            }
            self.join(&mut refresh, now, request_id)
        };
        match landing.wait_for(Option::is_some).await {
            Ok(outcome) => {
                outcome.clone().unwrap_or_else(|| Err(self.failure("the refresh was interrupted")))
            }
            Err(_) => Err(self.failure("the refresh was interrupted")),
        }
    }

    /// Discards a token that the provider refused. True when the next request gets another one.
    pub fn refused(&self, used: &Credential, now: SystemTime) -> bool {
        let mut refresh = self.lock();
        let current = self.current.load_full();
        let Some(kept) = current else { return true };
        if kept.token.credential != *used {
            return true;
        }
        let age = now.duration_since(kept.since).unwrap_or_default();
        if kept.replaces_refused && age < TRUSTED {
            return false;
        }
        refresh.earlier = Some(kept.token.credential.clone());
        self.current.store(None);
        refresh.after_refusal = true;
        refresh.failed = None;
        true
    }

    /// An example of this source's credential.
    pub fn example(&self) -> Credential {
        match &self.recipe {
            Recipe::Aws(_) => Credential::Aws {
                access_key_id: "ACCESS_KEY_ID".to_owned(),
                secret_access_key: Secret::new("SECRET_ACCESS_KEY"),
                session_token: None,
            },
            _ => Credential::Token(Secret::new("ACCESS_TOKEN")),
        }
    }

    /// The fast path: no lock, no waiting.
    fn valid(self: &Arc<Self>, now: SystemTime, request_id: Option<&str>) -> Option<Credential> {
        let current = self.current.load();
        let kept = current.as_ref().filter(|kept| kept.is_valid(now))?;
        if kept.is_near_its_end(now) {
            self.refresh_behind(now, request_id);
        }
        Some(kept.token.credential.clone())
    }

    fn refresh_behind(self: &Arc<Self>, now: SystemTime, request_id: Option<&str>) {
        let mut refresh = self.lock();
        let renewed = self.current.load().as_ref().is_some_and(|kept| !kept.is_near_its_end(now));
        if !renewed && refresh.failed_within(PAUSE_WITH_TOKEN, now).is_none() {
            self.join(&mut refresh, now, request_id);
        }
    }

    /// The running refresh, or a new one. It has its own task: a dropped request does not stop a refresh that
    /// others wait for.
    fn join(
        self: &Arc<Self>,
        refresh: &mut Refresh,
        now: SystemTime,
        request_id: Option<&str>,
    ) -> RefreshReceiver {
        if let Some(running) = &refresh.running
            && running.has_changed().is_ok()
        {
            return running.clone();
        }
        let (sender, landing) = watch::channel(None);
        refresh.running = Some(landing.clone());
        let cache = self.clone();
        let request_id = request_id.map(str::to_owned);
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with the deadline of the client; several requests wait for its result"
        )]
        tokio::spawn(async move {
            let fetched = cache.recipe.fetch(&cache.client, now).await;
            sender.send_replace(Some(cache.land(fetched, now, request_id)));
        });
        landing
    }

    fn land(&self, fetched: Fetched<Token>, now: SystemTime, request_id: Option<String>) -> Outcome {
        let mut refresh = self.lock();
        refresh.running = None;
        match fetched {
            Ok(token) => {
                refresh.failed = None;
                let replaces_refused = std::mem::take(&mut refresh.after_refusal);
                let credential = token.credential.clone();
                if let Some(kept) = self.current.load().as_ref() {
                    refresh.earlier = Some(kept.token.credential.clone());
                }
                self.current.store(Some(Arc::new(CurrentToken { token, since: now, replaces_refused })));
                Ok(credential)
            }
            Err(reason) => {
                let error = self.failure(&reason);
                let has_token = self.current.load().as_ref().is_some_and(|kept| kept.is_valid(now));
                tracing::warn!(request_id, has_token, "{}", error.message);
                refresh.failed = Some((now, error.clone()));
                Err(error)
            }
        }
    }

    fn failure(&self, reason: &str) -> Error {
        let reason = self.mask.apply(reason);
        Error::upstream(
            ErrorKind::UpstreamCredential,
            Retry::Elsewhere,
            format!("The provider's credentials ({}) could not be fetched: {reason}.", self.label),
        )
    }

    fn lock(&self) -> MutexGuard<'_, Refresh> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refresh {
    fn failed_within(&self, pause: Duration, now: SystemTime) -> Option<Error> {
        let (when, error) = self.failed.as_ref()?;
        // A clock that was set back ends the pause as well.
        now.duration_since(*when).is_ok_and(|passed| passed < pause).then(|| error.clone())
    }
}
