//! After a failed attempt: give up, or whom to try next.

use std::time::Duration;

use canon::Error;

use crate::{Candidate, Health, Permit, Plan, RetryBudget, Settings, Timestamp};

/// One attempt to make.
#[derive(Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Index into the candidates.
    pub index: usize,
    /// Index into its keys.
    pub key: usize,
    /// Wait this long before.
    pub after: Option<Duration>,
    /// To be given back with `Health::finish`.
    pub permit: Permit,
}

/// What to do after a failure.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Return the error.
    GiveUp,
    /// Try this.
    Candidate(Attempt),
}

/// The attempts of one request.
#[derive(Debug)]
pub struct Attempts<'a> {
    plan: &'a Plan,
    candidates: &'a [Candidate<'a>],
    settings: &'a Settings,
    no_fallback: bool,
    made: u32,
}

impl<'a> Attempts<'a> {
    /// Before the first attempt. `candidates` are those that the plan was made of.
    pub fn new(plan: &'a Plan, candidates: &'a [Candidate<'a>], settings: &'a Settings) -> Self {
        Self { plan, candidates, settings, no_fallback: false, made: 0 }
    }

    /// With `true`: only the first candidate, each of its keys at most once.
    pub fn no_fallback(mut self, no_fallback: bool) -> Self {
        self.no_fallback = no_fallback;
        self
    }

    /// The first attempt. There always is one.
    pub fn first(&mut self, health: &Health, now: Timestamp) -> Attempt {
        let choice = self.plan.order[0];
        self.made += 1;
        let route = self.candidates[choice.index].route(choice.key);
        let permit = health.begin(route, now).unwrap_or(Permit { probe: false });
        Attempt { index: choice.index, key: choice.key, after: None, permit }
    }

    /// What to do after an attempt failed with this error. Only for failures before the first byte went to the caller.
    pub fn next(
        &mut self,
        _error: &Error,
        _health: &Health,
        _budget: &RetryBudget,
        _now: Timestamp,
        _random: u64,
    ) -> Next {
        let _ = (self.settings, self.no_fallback);
        Next::GiveUp
    }
}
