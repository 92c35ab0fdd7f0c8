//! The circuit breaker of one route.
//!
//! Closed, every request passes. After several failures in a row, or when too many of the last ones failed,
//! it opens: nothing passes for a while. Then it is half open: one request may try. When it succeeds the
//! breaker closes; when it fails the breaker opens again for twice as long. A breaker that has just closed
//! opens again after fewer failures, and each such relapse requires one more consecutive success before it
//! closes.

use crate::{BreakerSettings, Timestamp};

/// Consecutive failures that open a breaker which has not yet proven itself since it closed.
const RELAPSE_FAILURES: u32 = 2;
/// The most consecutive successes that are required before it closes.
const MAX_PROOFS: u32 = 5;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Breaker {
    state: State,
    /// How often it opened without a proven recovery in between.
    opened: u32,
    /// Consecutive successes since it opened.
    proofs: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed(Window),
    Open { until: Timestamp },
    Probing { since: Timestamp },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed(Window::default())
    }
}

/// The last outcomes, a set bit for each failure.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    bits: u32,
    filled: u32,
    in_a_row: u32,
}

/// The breaker's answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Closed,
    HalfOpen,
    Probing { until: Timestamp },
    Open { until: Timestamp },
}

impl Breaker {
    pub(crate) fn gate(&self, settings: &BreakerSettings, now: Timestamp) -> Gate {
        match self.state {
            State::Closed(_) => Gate::Closed,
            State::Open { until } if now >= until => Gate::HalfOpen,
            State::Open { until } => Gate::Open { until },
            State::Probing { since } => {
                let until = since.plus_ms(settings.probe_seconds.saturating_mul(1000));
                if now >= until { Gate::HalfOpen } else { Gate::Probing { until } }
            }
        }
    }

    /// The breaker of another node opened: this one is as careful.
    pub(crate) fn open_until(&mut self, until: Timestamp) {
        self.state = State::Open { until };
        self.proofs = 0;
    }

    pub(crate) fn probe(&mut self, now: Timestamp) {
        self.state = State::Probing { since: now };
    }

    /// The probe ended without information about the provider: the next request may try.
    pub(crate) fn release(&mut self, now: Timestamp) {
        if matches!(self.state, State::Probing { .. }) {
            self.state = State::Open { until: now };
        }
    }

    /// A request succeeded. `decisive`: it was let through a breaker that was not closed. Returns true when
    /// the breaker closed.
    pub(crate) fn success(&mut self, settings: &BreakerSettings, decisive: bool, now: Timestamp) -> bool {
        match &mut self.state {
            State::Closed(window) => {
                window.push(settings, false);
                if window.filled >= settings.window {
                    self.opened = 0;
                }
                false
            }
            State::Open { .. } | State::Probing { .. } if decisive => {
                self.proofs += 1;
                let proven = self.proofs >= self.opened.min(MAX_PROOFS);
                self.state = if proven { State::default() } else { State::Open { until: now } };
                proven
            }
            State::Open { .. } | State::Probing { .. } => false,
        }
    }

    /// A request failed. `probe`: it was the probe. Requests that were under way when the breaker opened do
    /// not count.
    pub(crate) fn failure(&mut self, settings: &BreakerSettings, probe: bool, now: Timestamp) {
        match &mut self.state {
            State::Closed(window) => {
                window.push(settings, true);
                let relapse = self.opened > 0 && window.in_a_row >= RELAPSE_FAILURES;
                if relapse || window.is_bad(settings) {
                    self.open(settings, now);
                }
            }
            State::Probing { .. } if probe => self.open(settings, now),
            // The probe's answer had begun and then broke. Others were let through meanwhile.
            State::Open { until } if probe && now >= *until => self.open(settings, now),
            State::Probing { .. } | State::Open { .. } => {}
        }
    }

    fn open(&mut self, settings: &BreakerSettings, now: Timestamp) {
        let seconds = settings.open_seconds.saturating_mul(1 << self.opened.min(20));
        let milliseconds = seconds.min(settings.max_open_seconds).saturating_mul(1000);
        self.state = State::Open { until: now.plus_ms(milliseconds) };
        self.opened = self.opened.saturating_add(1);
        self.proofs = 0;
    }
}

impl Window {
    fn push(&mut self, settings: &BreakerSettings, failed: bool) {
        let mask = u32::MAX >> (32 - settings.window.clamp(1, 32));
        self.bits = (self.bits << 1 | u32::from(failed)) & mask;
        self.filled = (self.filled + 1).min(settings.window);
        self.in_a_row = if failed { self.in_a_row.saturating_add(1) } else { 0 };
    }

    fn is_bad(&self, settings: &BreakerSettings) -> bool {
        let share = f64::from(self.bits.count_ones()) / f64::from(settings.window.max(1));
        let too_many = self.filled >= settings.window && share >= settings.failure_ratio;
        too_many || self.in_a_row >= settings.consecutive_failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: BreakerSettings = BreakerSettings {
        consecutive_failures: 5,
        failure_ratio: 0.5,
        window: 20,
        open_seconds: 10,
        max_open_seconds: 30,
        probe_seconds: 60,
    };

    fn opened(at: u64) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            assert_eq!(breaker.gate(&S, Timestamp(at)), Gate::Closed);
            breaker.failure(&S, false, Timestamp(at));
        }
        breaker
    }

    #[test]
    fn a_breaker_opens_after_consecutive_failures_and_allows_a_probe() {
        let mut breaker = opened(0);
        assert_eq!(breaker.gate(&S, Timestamp(9_999)), Gate::Open { until: Timestamp(10_000) });
        assert_eq!(breaker.gate(&S, Timestamp(10_000)), Gate::HalfOpen);
        breaker.probe(Timestamp(10_000));
        assert_eq!(breaker.gate(&S, Timestamp(10_001)), Gate::Probing { until: Timestamp(70_000) });
        assert!(breaker.success(&S, true, Timestamp(10_001)));
        assert_eq!(breaker.gate(&S, Timestamp(10_002)), Gate::Closed);
    }

    #[test]
    fn a_breaker_opens_when_half_of_the_last_requests_failed() {
        let mut breaker = Breaker::default();
        for round in 0..10 {
            assert_eq!(breaker.gate(&S, Timestamp(0)), Gate::Closed, "{round}");
            breaker.success(&S, false, Timestamp(0));
            breaker.failure(&S, false, Timestamp(0));
        }
        assert_eq!(breaker.gate(&S, Timestamp(0)), Gate::Open { until: Timestamp(10_000) });
    }

    #[test]
    fn a_failed_probe_doubles_the_wait_up_to_the_limit() {
        let mut breaker = opened(0);
        let mut now = Timestamp(10_000);
        for wait in [20_000, 30_000, 30_000] {
            breaker.probe(now);
            breaker.failure(&S, true, now);
            assert_eq!(breaker.gate(&S, now), Gate::Open { until: now.plus_ms(wait) });
            now = now.plus_ms(wait);
        }
    }

    #[test]
    fn answers_that_come_after_the_opening_change_nothing() {
        let mut breaker = opened(0);
        breaker.failure(&S, false, Timestamp(9_000));
        assert!(!breaker.success(&S, false, Timestamp(9_000)));
        assert_eq!(breaker.gate(&S, Timestamp(9_999)), Gate::Open { until: Timestamp(10_000) });
        breaker.probe(Timestamp(10_000));
        breaker.failure(&S, false, Timestamp(10_001));
        assert!(matches!(breaker.gate(&S, Timestamp(10_002)), Gate::Probing { .. }));
    }

    #[test]
    fn a_lost_probe_is_abandoned_and_a_relapse_opens_sooner() {
        let mut breaker = opened(0);
        breaker.probe(Timestamp(10_000));
        assert_eq!(breaker.gate(&S, Timestamp(70_000)), Gate::HalfOpen);
        breaker.success(&S, true, Timestamp(70_000));
        breaker.failure(&S, false, Timestamp(70_000));
        assert_eq!(breaker.gate(&S, Timestamp(70_000)), Gate::Closed);
        breaker.failure(&S, false, Timestamp(70_000));
        assert_eq!(breaker.gate(&S, Timestamp(70_000)), Gate::Open { until: Timestamp(90_000) });
        for proven in [false, true] {
            assert_eq!(breaker.gate(&S, Timestamp(90_000)), Gate::HalfOpen);
            breaker.probe(Timestamp(90_000));
            assert_eq!(breaker.success(&S, true, Timestamp(90_000)), proven);
        }
        assert_eq!(breaker.gate(&S, Timestamp(90_000)), Gate::Closed);
    }
}
