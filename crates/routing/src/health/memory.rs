//! Measurements of one model at one provider.

use std::time::Duration;

use super::breaker::{Breaker, Gate};
use super::{KeyState, Metrics, Outcome, Permit, Report};
use crate::{HealthSettings, Settings, Timestamp};

/// How many requests the long memory counts for when it is combined with the quick one.
const RECENT_PRIOR_WEIGHT: f64 = 10.0;
/// Maximum sample count; the neutral assumption about speed counts for this many samples, see `score`.
const MAX_SAMPLES: u32 = 1_000;
/// Most keys of one model: their labels come from the configuration, this only bounds the memory.
const MAX_KEYS: usize = 64;

#[derive(Debug)]
pub(super) struct Memory {
    pub(super) provider: Box<str>,
    pub(super) model: Box<str>,
    pub(super) used: Timestamp,
    pub(super) keys: Vec<KeyMemory>,
    long: Decayed,
    recent: Decayed,
    first_token_ms: Average,
    tokens_per_second: Average,
}

impl Memory {
    pub(super) fn new(provider: &str, model: &str, now: Timestamp) -> Self {
        Self {
            provider: provider.into(),
            model: model.into(),
            used: now,
            keys: Vec::new(),
            long: Decayed::default(),
            recent: Decayed::default(),
            first_token_ms: Average::default(),
            tokens_per_second: Average::default(),
        }
    }

    pub(super) fn metrics(&self, settings: &HealthSettings, now: Timestamp) -> Metrics {
        let (good, bad) = self.long.read(settings.half_life_seconds, now);
        let (recent_good, recent_bad) = self.recent.read(settings.recent_half_life_seconds, now);
        let weight = good + bad + settings.prior_weight;
        let mean = (good + settings.prior_uptime * settings.prior_weight) / weight;
        let deviation = (mean * (1.0 - mean) / (weight + 1.0)).sqrt();
        let careful = mean - settings.caution * deviation;
        let recently =
            (recent_good + mean * RECENT_PRIOR_WEIGHT) / (recent_good + recent_bad + RECENT_PRIOR_WEIGHT);
        Metrics {
            uptime: careful.min(recently).max(0.0),
            samples: good + bad,
            first_token_ms: self.first_token_ms.value(),
            tokens_per_second: self.tokens_per_second.value(),
        }
    }

    pub(super) fn key(&self, label: &str) -> Option<&KeyMemory> {
        self.keys.iter().find(|key| *key.label == *label)
    }

    pub(super) fn key_mut(&mut self, label: &str) -> Option<&mut KeyMemory> {
        self.keys.iter_mut().find(|key| *key.label == *label)
    }

    pub(super) fn key_or_new(&mut self, label: &str, now: Timestamp) -> &mut KeyMemory {
        let place = match self.keys.iter().position(|key| *key.label == *label) {
            Some(place) => place,
            None => {
                if self.keys.len() >= MAX_KEYS {
                    let oldest = (0..self.keys.len()).min_by_key(|place| self.keys[*place].used).unwrap_or(0);
                    self.keys.swap_remove(oldest);
                }
                self.keys.push(KeyMemory::new(label, now));
                self.keys.len() - 1
            }
        };
        &mut self.keys[place]
    }

    /// Records an outcome. A refused key is handled by the caller, because it affects all models.
    pub(super) fn finish(
        &mut self,
        label: &str,
        (permit, report): (&Permit, &Report),
        settings: &Settings,
        now: Timestamp,
    ) {
        self.used = self.used.max(now);
        let health = &settings.health;
        match report.outcome {
            Outcome::Success => self.succeeded(label, (permit, report), settings, now),
            Outcome::Fault | Outcome::Timeout => {
                self.count(health, 0.0, 1.0, now);
                let was_probe = matches!(permit, Permit::Probe | Permit::Begun);
                self.key_or_new(label, now).breaker.failure(&settings.breaker, was_probe, now);
            }
            Outcome::RateLimit(asked) => self.key_or_new(label, now).limited(health, permit, asked, now),
            Outcome::NotServed => {
                let key = self.key_or_new(label, now);
                key.cooling_until = now.plus(Duration::from_secs(health.not_served_seconds));
                key.release(permit, now);
            }
            Outcome::Neutral | Outcome::Credential => {
                if let Some(key) = self.key_mut(label) {
                    key.release(permit, now);
                }
            }
        }
    }

    fn succeeded(
        &mut self,
        label: &str,
        (permit, report): (&Permit, &Report),
        settings: &Settings,
        now: Timestamp,
    ) {
        let key = self.key_or_new(label, now);
        key.used = now;
        key.limits_in_a_row = 0;
        if key.breaker.success(&settings.breaker, *permit != Permit::Normal, now) {
            // The route has recovered, so the long history no longer predicts the future. The quick memory
            // stays, so that one lucky probe does not make an unhealthy provider look healthy.
            self.long = Decayed::default();
        }
        self.count(&settings.health, 1.0, 0.0, now);
        let share = settings.health.speed_smoothing;
        if let Some(wait) = report.first_token {
            self.first_token_ms.add(wait.as_secs_f64() * 1000.0, share);
        }
        if let Some(speed) = report.tokens_per_second {
            self.tokens_per_second.add(speed, share);
        }
    }

    fn count(&mut self, settings: &HealthSettings, good: f64, bad: f64, now: Timestamp) {
        self.long.add(settings.half_life_seconds, good, bad, now);
        self.recent.add(settings.recent_half_life_seconds, good, bad, now);
    }
}

/// Measurements of one key for one model.
#[derive(Debug)]
pub(super) struct KeyMemory {
    pub(super) label: Box<str>,
    pub(super) breaker: Breaker,
    pub(super) cooling_until: Timestamp,
    /// The end of the last outage that another gateway reported.
    pub(super) reported: Timestamp,
    limits_in_a_row: u32,
    used: Timestamp,
}

/// Whether a key can be used, and when that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) state: KeyState,
    pub(crate) until: Timestamp,
}

impl Access {
    pub(crate) const READY: Self = Self { state: KeyState::Ready, until: Timestamp(0) };
}

impl KeyMemory {
    fn new(label: &str, now: Timestamp) -> Self {
        Self {
            label: label.into(),
            breaker: Breaker::default(),
            cooling_until: Timestamp(0),
            reported: Timestamp(0),
            limits_in_a_row: 0,
            used: now,
        }
    }

    pub(super) fn access(&self, settings: &Settings, now: Timestamp) -> Access {
        if now < self.cooling_until {
            return Access { state: KeyState::CoolingDown, until: self.cooling_until };
        }
        match self.breaker.gate(&settings.breaker, now) {
            Gate::Closed => Access::READY,
            Gate::HalfOpen => Access { state: KeyState::HalfOpen, until: now },
            Gate::Probing { until } => Access { state: KeyState::Probing, until },
            Gate::Open { until } => Access { state: KeyState::Open, until },
        }
    }

    fn limited(
        &mut self,
        settings: &HealthSettings,
        permit: &Permit,
        asked: Option<Duration>,
        now: Timestamp,
    ) {
        self.release(permit, now);
        // Several concurrent requests that hit a limit are one limit.
        if asked.is_none() && now < self.cooling_until {
            return;
        }
        let most = settings.max_rate_limit_seconds.saturating_mul(1000);
        let doubled = settings.rate_limit_seconds.saturating_mul(1000 << self.limits_in_a_row.min(16));
        let wait = asked.map_or(doubled, |asked| u64::try_from(asked.as_millis()).unwrap_or(u64::MAX));
        self.limits_in_a_row = self.limits_in_a_row.saturating_add(1);
        self.cooling_until = self.cooling_until.max(now.plus_ms(wait.min(most)));
    }

    fn release(&mut self, permit: &Permit, now: Timestamp) {
        if *permit == Permit::Probe {
            self.breaker.release(now);
        }
    }
}

/// Counts of successes and failures that decay with time.
#[derive(Clone, Copy, Debug, Default)]
struct Decayed {
    good: f64,
    bad: f64,
    at: Timestamp,
}

impl Decayed {
    fn add(&mut self, half_life_seconds: u64, good: f64, bad: f64, now: Timestamp) {
        let (old_good, old_bad) = self.read(half_life_seconds, now);
        *self = Self { good: old_good + good, bad: old_bad + bad, at: self.at.max(now) };
    }

    fn read(&self, half_life_seconds: u64, now: Timestamp) -> (f64, f64) {
        let elapsed = now.since(self.at);
        if elapsed == 0 {
            return (self.good, self.bad);
        }
        let left = (-(elapsed as f64) / (half_life_seconds as f64 * 1000.0)).exp2();
        (self.good * left, self.bad * left)
    }
}

/// An average in which older samples decay.
#[derive(Clone, Copy, Debug, Default)]
struct Average {
    mean: f64,
    samples: u32,
}

impl Average {
    fn add(&mut self, sample: f64, share: f64) {
        if !sample.is_finite() || sample < 0.0 {
            return;
        }
        self.samples = (self.samples + 1).min(MAX_SAMPLES);
        // The first samples form a plain average, so that the very first one does not dominate for long.
        let share = share.max(1.0 / f64::from(self.samples));
        self.mean += (sample - self.mean) * share;
    }

    fn value(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_halve_after_each_half_life() {
        let mut counts = Decayed::default();
        counts.add(300, 8.0, 2.0, Timestamp(0));
        assert_eq!(counts.read(300, Timestamp(300_000)), (4.0, 1.0));
        assert_eq!(counts.read(300, Timestamp(600_000)), (2.0, 0.5));
    }

    #[test]
    fn the_first_samples_form_a_plain_average() {
        let mut average = Average::default();
        assert_eq!(average.value(), None);
        for sample in [100.0, 200.0, 300.0, f64::NAN, -1.0] {
            average.add(sample, 0.1);
        }
        assert!((average.value().unwrap() - 200.0).abs() < 1e-9);
    }

    #[test]
    fn uptime_starts_below_the_assumption_and_grows_with_evidence() {
        let settings = Settings::default();
        let mut memory = Memory::new("p", "m", Timestamp(0));
        let mut before = memory.metrics(&settings.health, Timestamp(0)).uptime;
        assert!(before < settings.health.prior_uptime);
        for _ in 0..200 {
            memory.finish("", (&Permit::Normal, &Report::success(None, None)), &settings, Timestamp(0));
            let after = memory.metrics(&settings.health, Timestamp(0)).uptime;
            assert!(after > before && after < 1.0);
            before = after;
        }
    }

    #[test]
    fn a_brown_out_is_detected_within_seconds() {
        let settings = Settings::default();
        let mut memory = Memory::new("p", "m", Timestamp(0));
        let report = |bad: bool| Report {
            outcome: if bad { Outcome::Fault } else { Outcome::Success },
            first_token: None,
            tokens_per_second: None,
        };
        for step in 0..6_000u64 {
            memory.finish("", (&Permit::Normal, &report(false)), &settings, Timestamp(step * 100));
        }
        assert!(memory.metrics(&settings.health, Timestamp(600_000)).uptime > 0.99);
        for step in 0..60u64 {
            memory.finish(
                "",
                (&Permit::Normal, &report(step % 3 == 0)),
                &settings,
                Timestamp(600_000 + step * 100),
            );
        }
        assert!(memory.metrics(&settings.health, Timestamp(606_000)).uptime < 0.95);
    }
}
