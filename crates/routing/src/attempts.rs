//! Decides what follows a failed attempt: give up, or which candidate to try next.
//!
//! - An error that the caller caused is never retried.
//! - A refused key or an empty account: another key of the same provider, else the next candidate; never this key again.
//! - A rate limit: another key, else the next candidate, else the same again when its wait is short.
//! - A failure, a timeout, a lost connection: the next candidate, else another key, else the same after a back-off.
//! - A model that the provider does not serve: the next candidate.
//! - When no healthy candidate remains, the unhealthy ones, those with an open breaker and repetitions are compared,
//!   and the one with the best chance is tried.
//!
//! A fault that can be repaired (an expired token, thinking that the provider refuses) is repaired and
//! retried once with the same key first.
//!
//! A request makes at most `max_retries` further attempts (a candidate that cannot represent the request, and
//! was not sent it, does not count), within two retry budgets: that of all requests
//! together, and that of the caller's key. A healthy provider that was not tried yet is always asked.

use std::time::Duration;

use canon::{Error, ErrorKind, Origin, Retry};

use crate::chance::fraction;
use crate::plan::HEALTHY_UPTIME;
use crate::{
    Candidate, Choice, Health, KeyBudget, KeyState, Moment, Outcome, Permit, Plan, Settings, Timestamp,
};

/// Back-offs and waits are stretched by up to this share, so that waiting requests do not return together.
const WAIT_JITTER: f64 = 0.1;
/// A provider with a lower uptime is not tried as the last resort.
const MIN_HOPE: f64 = 0.2;
/// Candidates that cannot represent a request are passed over, up to this many: the request is written for each.
const MOST_UNFIT: u32 = 16;
/// The estimated chance of a request that waits for the end of a rate limit: many others wait too.
const CROWDED: f64 = 0.4;

#[derive(Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Index into the candidates.
    pub index: usize,
    /// Index into its keys.
    pub key: usize,
    /// Wait this long before.
    pub after: Option<Duration>,
    /// Must be returned with `Health::finish`.
    pub permit: Permit,
}

/// What to do after a failure.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    GiveUp,
    Candidate(Attempt),
}

#[derive(Debug)]
pub struct Attempts<'a> {
    plan: &'a Plan,
    candidates: &'a [Candidate<'a>],
    settings: &'a Settings,
    no_fallback: bool,
    current: Option<Choice>,
    /// Requests to providers that failed.
    failed_requests: u32,
    /// Candidates that cannot represent the request.
    unfit: u32,
    failed: Vec<Failed>,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    choice: Choice,
    class: Class,
    /// The same key may be tried again, not before this time.
    again: Option<Duration>,
}

/// Failures by what can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Another key.
    Credential,
    /// Another key, or time.
    RateLimit,
    /// Another provider, or time.
    Fault,
    /// Another provider: this one does not serve such a request.
    Unfit,
}

impl Class {
    /// None when nothing helps.
    fn of(error: &Error) -> Option<Self> {
        if error.kind == ErrorKind::Cancelled {
            return None;
        }
        match Outcome::of(error) {
            Outcome::NotServed if error.kind != ErrorKind::ModelNotFound => Some(Self::Credential),
            Outcome::Credential => Some(Self::Credential),
            Outcome::RateLimit(_) => Some(Self::RateLimit),
            Outcome::NotServed => Some(Self::Unfit),
            Outcome::Fault | Outcome::Timeout => (error.retry != Retry::No).then_some(Self::Fault),
            Outcome::Neutral | Outcome::Success => match error.retry {
                Retry::No => None,
                Retry::Elsewhere => Some(Self::Unfit),
                Retry::Again | Retry::After(_) => (error.origin == Origin::Gateway).then_some(Self::Fault),
            },
        }
    }
}

impl<'a> Attempts<'a> {
    /// `candidates` are those that the plan was made from.
    pub fn new(plan: &'a Plan, candidates: &'a [Candidate<'a>], settings: &'a Settings) -> Self {
        Self {
            plan,
            candidates,
            settings,
            no_fallback: false,
            current: None,
            failed_requests: 0,
            unfit: 0,
            failed: Vec::new(),
        }
    }

    /// With `true`: only the first candidate, each of its keys at most once.
    pub fn no_fallback(mut self, no_fallback: bool) -> Self {
        self.no_fallback = no_fallback;
        self
    }

    /// There is always a first attempt: when the breakers of all routes have opened since the plan was made, the first
    /// candidate is tried anyway.
    pub fn first(&mut self, health: &Health, now: Timestamp) -> Attempt {
        if let Some(attempt) = self.next_candidate(0.0, health, now) {
            return attempt;
        }
        let choice = self.plan.order[0];
        let permit = health.begin_last_resort(self.candidates[choice.index].route(choice.key), now);
        self.start(choice, None, permit)
    }

    /// What to do after an attempt failed with this error. Call it after the permit was returned, and only
    /// for failures before the first byte went to the caller.
    pub fn next(&mut self, error: &Error, budget: &KeyBudget<'_>, moment: Moment<'_>) -> Next {
        let Moment { health, now, .. } = moment;
        let (Some(choice), Some(class)) = (self.current, Class::of(error)) else { return Next::GiveUp };
        // A request that was refused before it was sent has put no load on a provider.
        let was_sent = error.origin != Origin::Caller;
        let count = if was_sent { &mut self.failed_requests } else { &mut self.unfit };
        *count += 1;
        if self.failed_requests > self.settings.max_retries || self.unfit > MOST_UNFIT {
            return Next::GiveUp;
        }
        let again = self.earliest_repetition(choice, class, error, moment);
        self.failed.push(Failed { choice, class, again });
        let paid = was_sent && budget.withdraw(now);
        // A healthy provider that this request has not tried yet is asked whatever the budget says: each
        // provider then gets at most one attempt per request.
        let attempt = if paid || !was_sent {
            self.after(class, choice, health, now)
        } else {
            self.next_candidate(HEALTHY_UPTIME, health, now)
        };
        let is_free = attempt.as_ref().is_none_or(|attempt| self.is_fresh_and_sound(attempt, health, now));
        if paid && is_free {
            budget.refund();
        }
        let Some(attempt) = attempt else { return Next::GiveUp };
        Next::Candidate(attempt)
    }

    fn is_fresh_and_sound(&self, attempt: &Attempt, health: &Health, now: Timestamp) -> bool {
        let candidate = &self.candidates[attempt.index];
        let is_healthy = || health.metrics(candidate.provider, candidate.model, now).uptime >= HEALTHY_UPTIME;
        attempt.permit == Permit::Normal && !self.was_tried(attempt.index) && is_healthy()
    }

    /// Whether the current key may be tried once more immediately because the cause of the failure was
    /// repaired: a token was renewed, or the part that the provider refused was left out. The permit stays
    /// with the caller, who repairs each thing at most once. A repair does not count towards `max_retries`,
    /// but it is one more request to the provider and is taken from the retry budget.
    pub fn repair(&self, budget: &KeyBudget<'_>, now: Timestamp) -> bool {
        self.current.is_some() && budget.withdraw(now)
    }

    fn after(&mut self, class: Class, choice: Choice, health: &Health, now: Timestamp) -> Option<Attempt> {
        let own_key = match class {
            Class::Credential | Class::RateLimit => self.another_key(choice.index, health, now),
            Class::Fault | Class::Unfit => None,
        };
        own_key
            .or_else(|| self.next_candidate(HEALTHY_UPTIME, health, now))
            .or_else(|| self.any_key(health, now))
            .or_else(|| self.last_chance(health, now))
            .or_else(|| self.next_candidate(0.0, health, now))
    }

    /// The first candidate in order that was not tried yet, has at least this uptime and a route that takes requests.
    /// Less healthy candidates are compared with all others in `last_chance`.
    fn next_candidate(&mut self, least_uptime: f64, health: &Health, now: Timestamp) -> Option<Attempt> {
        let is_healthy = |choice: &&Choice| {
            let candidate = &self.candidates[choice.index];
            least_uptime == 0.0
                || health.metrics(candidate.provider, candidate.model, now).uptime >= least_uptime
        };
        let fresh = self.allowed().iter().filter(|choice| !self.was_tried(choice.index));
        let (choice, permit) = fresh.filter(is_healthy).find_map(|choice| {
            self.try_key(*choice, health, now).or_else(|| self.try_keys(choice.index, health, now))
        })?;
        Some(self.start(choice, None, permit))
    }

    /// A key of this candidate that was not tried yet.
    fn another_key(&mut self, index: usize, health: &Health, now: Timestamp) -> Option<Attempt> {
        let (choice, permit) = self.try_keys(index, health, now)?;
        Some(self.start(choice, None, permit))
    }

    /// Another key of any candidate that was tried.
    fn any_key(&mut self, health: &Health, now: Timestamp) -> Option<Attempt> {
        let tried = self.allowed().iter().filter(|choice| self.was_tried(choice.index));
        let (choice, permit) = { tried }.find_map(|choice| self.try_keys(choice.index, health, now))?;
        Some(self.start(choice, None, permit))
    }

    /// The candidate with the best chance among those that failed before, are unhealthy or have an open breaker.
    fn last_chance(&mut self, health: &Health, now: Timestamp) -> Option<Attempt> {
        if self.no_fallback {
            return None;
        }
        let all = self.plan.order.iter().chain(&self.plan.reserve);
        let hopes = all.filter_map(|choice| {
            let (choice, wait) = self.repetition(*choice, health, now)?;
            let candidate = &self.candidates[choice.index];
            let uptime = health.metrics(candidate.provider, candidate.model, now).uptime;
            let is_cooling_down =
                health.key_access(candidate.route(choice.key), now).0 == KeyState::CoolingDown;
            let hope = if is_cooling_down { uptime * CROWDED } else { uptime };
            (hope >= MIN_HOPE).then_some((choice, wait, hope))
        });
        let better = |a: &(Choice, Duration, f64), b: &(Choice, Duration, f64)| a.2.total_cmp(&b.2);
        let (choice, wait, _) = hopes.max_by(better)?;
        let route = self.candidates[choice.index].route(choice.key);
        let permit = health.begin_last_resort(route, now.plus(wait));
        Some(self.start(choice, (wait > Duration::ZERO).then_some(wait), permit))
    }

    /// A key of a candidate that can be retried or has an open breaker, and the wait before the attempt.
    fn repetition(&self, choice: Choice, health: &Health, now: Timestamp) -> Option<(Choice, Duration)> {
        if let Some(failed) = self.failed.iter().rev().find(|failed| failed.choice.index == choice.index) {
            let wait = failed.again.filter(|_| !self.is_spent(failed.choice))?;
            return Some((failed.choice, wait));
        }
        if self.is_spent(choice) {
            return None;
        }
        let (state, until) = health.key_access(self.candidates[choice.index].route(choice.key), now);
        let wait = match state {
            KeyState::Ready | KeyState::HalfOpen | KeyState::Open | KeyState::Probing => 0,
            KeyState::CoolingDown => until.since(now),
            KeyState::Refused | KeyState::Suspended => return None,
        };
        (wait <= self.settings.retry.max_wait_ms).then_some((choice, Duration::from_millis(wait)))
    }

    fn was_tried(&self, index: usize) -> bool {
        self.failed.iter().any(|failed| failed.choice.index == index)
    }

    fn try_keys(&self, index: usize, health: &Health, now: Timestamp) -> Option<(Choice, Permit)> {
        let mut keys = 0..self.candidates[index].key_count();
        keys.find_map(|key| self.try_key(Choice { index, key }, health, now))
    }

    fn try_key(&self, choice: Choice, health: &Health, now: Timestamp) -> Option<(Choice, Permit)> {
        let tried = self.failed.iter().any(|failed| failed.choice == choice);
        if tried || self.is_spent(choice) {
            return None;
        }
        let route = self.candidates[choice.index].route(choice.key);
        Some((choice, health.begin(route, now)?))
    }

    /// True when the provider refused this key, or serves such a request with no key.
    fn is_spent(&self, choice: Choice) -> bool {
        let candidate = &self.candidates[choice.index];
        self.failed.iter().any(|failed| {
            let other = &self.candidates[failed.choice.index];
            match failed.class {
                Class::Credential => {
                    other.provider == candidate.provider
                        && other.key(failed.choice.key) == candidate.key(choice.key)
                }
                Class::Unfit => failed.choice.index == choice.index,
                Class::RateLimit | Class::Fault => false,
            }
        })
    }

    fn allowed(&self) -> &'a [Choice] {
        let most = if self.no_fallback { 1 } else { self.plan.order.len() };
        &self.plan.order[..most]
    }

    fn start(&mut self, choice: Choice, after: Option<Duration>, permit: Permit) -> Attempt {
        self.current = Some(choice);
        Attempt { index: choice.index, key: choice.key, after, permit }
    }

    /// How long to wait before the same key may be tried again. None when waiting does not help or takes too
    /// long.
    fn earliest_repetition(
        &self,
        choice: Choice,
        class: Class,
        error: &Error,
        Moment { health, now, random }: Moment<'_>,
    ) -> Option<Duration> {
        let asked = error.retry_after().unwrap_or_default();
        let wait = match class {
            Class::Credential | Class::Unfit => return None,
            Class::Fault if error.retry == Retry::Elsewhere => return None,
            Class::Fault => asked.max(self.backoff(random)),
            Class::RateLimit => {
                let route = self.candidates[choice.index].route(choice.key);
                let (state, until) = health.key_access(route, now);
                let cooling = if state == KeyState::CoolingDown { until.since(now) } else { 0 };
                asked.max(Duration::from_millis(cooling))
            }
        };
        let longest = Duration::from_millis(self.settings.retry.max_wait_ms);
        (wait <= longest).then(|| wait.mul_f64(1.0 + WAIT_JITTER * fraction(random)))
    }

    /// Doubles with each attempt; half of it is random.
    fn backoff(&self, random: u64) -> Duration {
        let retry = &self.settings.retry;
        let doubled = retry.backoff_ms.saturating_mul(1 << self.failed_requests.saturating_sub(1).min(16));
        let most = doubled.min(retry.max_backoff_ms) as f64;
        Duration::from_millis((most * (0.5 + fraction(random) / 2.0)) as u64)
    }
}
