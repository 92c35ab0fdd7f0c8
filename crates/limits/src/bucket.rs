//! A rate as a leaky bucket (GCRA): exact, one number.

/// Requests or tokens within a period. A bucket holds as much as the limit and leaks evenly, the whole limit in one period.
/// What is asked for is poured in; what does not fit is refused.
///
/// The level is counted in units times milliseconds of the period, so that leaking is exact: `limit` of these in a
/// millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    limit: u64,
    period_ms: u64,
    level: u128,
    at_ms: i64,
}

impl Bucket {
    /// An empty bucket: all of the limit is there.
    pub fn new(limit: u64, period_ms: u64) -> Self {
        Self { limit, period_ms: period_ms.max(1), level: 0, at_ms: i64::MIN }
    }

    /// The limit.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Lets leak what has leaked since. A clock that goes back leaks nothing.
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

    /// How long until so many units fit, in milliseconds: 0 when they fit now. More than the limit fits into an empty
    /// bucket: else it would never be served, and what it takes beyond delays those after it. None where nothing ever fits.
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

    /// Takes back what was poured in and not used.
    pub fn take_back(&mut self, units: u64) {
        self.level = self.level.saturating_sub(self.scaled(units));
    }

    /// How many units fit now.
    pub fn remaining(&self) -> u64 {
        let free = self.full().saturating_sub(self.level);
        u64::try_from(free / u128::from(self.period_ms)).unwrap_or(u64::MAX)
    }

    /// How full it is, in units times milliseconds of the period.
    pub fn level_ms(&self) -> u64 {
        u64::try_from(self.level).unwrap_or(u64::MAX)
    }

    /// Makes it as full as somebody says who knows better.
    pub fn set(&mut self, level_ms: u64, now_ms: i64) {
        self.level = u128::from(level_ms);
        self.at_ms = now_ms;
    }

    /// How long until all of the limit is there again, in milliseconds.
    pub fn reset_ms(&self) -> u64 {
        match self.limit {
            0 => 0,
            limit => u64::try_from(self.level.div_ceil(u128::from(limit))).unwrap_or(u64::MAX),
        }
    }
}
