//! A rate as a leaky bucket (GCRA): exact, one number.

/// Requests or tokens within a period. A bucket holds as much as the limit and leaks evenly, the whole limit
/// in one period. A request pours its amount in; an amount that does not fit is refused.
///
/// The level is counted in units times milliseconds of the period, so that leaking is exact: `limit` of these
/// per millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    limit: u64,
    period_ms: u64,
    level: u128,
    at_ms: i64,
}

impl Bucket {
    /// An empty bucket: the full limit is available.
    pub fn new(limit: u64, period_ms: u64) -> Self {
        Self { limit, period_ms: period_ms.max(1), level: 0, at_ms: i64::MIN }
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Applies the leak up to now. A clock that goes backwards leaks nothing.
    pub fn leak(&mut self, now_ms: i64) {
        if now_ms > self.at_ms {
            let elapsed = u128::from(now_ms.abs_diff(self.at_ms));
            self.level = self.level.saturating_sub(elapsed.saturating_mul(u128::from(self.limit)));
            self.at_ms = now_ms;
        }
    }

    fn scaled(&self, units: u64) -> u128 {
        u128::from(units) * u128::from(self.period_ms)
    }

    fn full(&self) -> u128 {
        self.scaled(self.limit)
    }

    /// Milliseconds until this many units fit; 0 when they fit now. More units than the limit fit into an
    /// empty bucket: otherwise they would never be served, and the excess delays later requests. None where
    /// nothing ever fits.
    pub fn wait_ms(&self, units: u64) -> Option<u64> {
        if self.limit == 0 {
            return (units == 0).then_some(0);
        }
        let needed = self.level + self.scaled(units.min(self.limit));
        let over = needed.saturating_sub(self.full());
        u64::try_from(over.div_ceil(u128::from(self.limit))).ok()
    }

    /// Pours in, whether it fits or not.
    pub fn pour(&mut self, units: u64) {
        self.level = self.level.saturating_add(self.scaled(units));
    }

    /// Takes back units that were poured in and not used.
    pub fn take_back(&mut self, units: u64) {
        self.level = self.level.saturating_sub(self.scaled(units));
    }

    /// How many units fit now.
    pub fn remaining(&self) -> u64 {
        let free = self.full().saturating_sub(self.level);
        u64::try_from(free / u128::from(self.period_ms)).unwrap_or(u64::MAX)
    }

    /// The level in units times milliseconds of the period.
    pub fn level_ms(&self) -> u64 {
        u64::try_from(self.level).unwrap_or(u64::MAX)
    }

    /// Sets the level to one that the common store reports.
    pub fn set(&mut self, level_ms: u64, now_ms: i64) {
        self.level = u128::from(level_ms);
        self.at_ms = now_ms;
    }

    /// Milliseconds until the full limit is available again.
    pub fn reset_ms(&self) -> u64 {
        match self.limit {
            0 => 0,
            limit => u64::try_from(self.level.div_ceil(u128::from(limit))).unwrap_or(u64::MAX),
        }
    }
}
