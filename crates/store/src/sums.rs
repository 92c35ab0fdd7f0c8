//! The counters of requests, and their durations.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use canon::{Pico, Usage};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::facts::Facts;
use crate::times::SLOW_MS;

/// The counters, in the order of the columns.
const COUNTERS: [&str; 23] = [
    "requests",
    "attempts",
    "unpriced",
    "estimated",
    "lossy",
    "streamed",
    "cached",
    "duration_ms",
    "ttft_ms",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "output_tokens",
    "audio_output_tokens",
    "image_output_tokens",
    "reasoning_tokens",
    "web_searches",
    "cost_pico",
    "upstream_cost_pico",
    "upstream_unpriced",
    "errors_before",
];
const COST: usize = 19;
const UPSTREAM: usize = 20;

/// The upper ends of a histogram's buckets in milliseconds; the last bucket has none. A factor of √2 up to 20 seconds: a percentile
/// is off by a fifth at most, where the values of a bucket are spread evenly by much less.
pub(crate) const BOUNDS_MS: [u64; 23] = [
    20, 28, 40, 57, 80, 113, 160, 226, 320, 453, 640, 905, 1_280, 1_810, 2_560, 3_620, 5_120, 7_241, 10_240,
    14_482, 20_480, 40_960, 81_920,
];
const BUCKETS: usize = BOUNDS_MS.len() + 1;
const TTFT: usize = COUNTERS.len();
const DURATION: usize = TTFT + BUCKETS;
pub(crate) const WIDTH: usize = DURATION + BUCKETS;

/// The counters of a set of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSums(pub(crate) [i64; WIDTH]);

impl Default for UsageSums {
    fn default() -> Self {
        Self([0; WIDTH])
    }
}

impl UsageSums {
    pub fn requests(&self) -> u64 {
        self.count(0)
    }

    /// How many attempts at providers.
    pub fn attempts(&self) -> u64 {
        self.count(1)
    }

    /// How many requests whose price is not known: they are in no sum of money.
    pub fn unpriced(&self) -> u64 {
        self.count(2)
    }

    /// How many requests whose tokens were estimated.
    pub fn estimated(&self) -> u64 {
        self.count(3)
    }

    /// How many requests of which the translation lost something.
    pub fn lossy(&self) -> u64 {
        self.count(4)
    }

    /// How many requests with a streamed answer.
    pub fn streamed(&self) -> u64 {
        self.count(5)
    }

    /// How many requests with tokens from a provider's cache.
    pub fn cached(&self) -> u64 {
        self.count(6)
    }

    /// How many requests took [`SLOW_MS`](crate::SLOW_MS) or longer to the first token.
    pub fn slow(&self) -> u64 {
        let slow = BOUNDS_MS.iter().position(|bound| *bound == SLOW_MS as u64).unwrap_or(BUCKETS);
        self.0[TTFT..DURATION][slow + 1..].iter().map(|count| count.unsigned_abs()).sum()
    }

    /// Milliseconds from the arrival to the end, of all of them together.
    pub fn duration_ms(&self) -> u64 {
        self.count(7)
    }

    /// How many failed attempts there were before the last attempt of a request.
    pub fn errors_before(&self) -> u64 {
        self.count(22)
    }

    pub fn usage(&self) -> Usage {
        Usage {
            input: self.count(9),
            cache_read: self.count(10),
            cache_write: self.count(11),
            cache_write_1h: self.count(12),
            audio_input: self.count(13),
            output: self.count(14),
            audio_output: self.count(15),
            image_output: self.count(16),
            reasoning: self.count(17),
            web_searches: self.count(18),
        }
    }

    /// The charges to callers, without requests of unknown price.
    pub fn cost(&self) -> Pico {
        Pico(self.0[COST])
    }

    /// The known bill of providers.
    pub fn upstream_cost(&self) -> Pico {
        Pico(self.0[UPSTREAM])
    }

    /// How many requests of which it is not known what providers bill.
    pub fn upstream_unpriced(&self) -> u64 {
        self.count(21)
    }

    /// Time to the first token.
    pub fn ttft(&self) -> Histogram {
        Histogram::of(&self.0[TTFT..DURATION], self.count(8))
    }

    /// Time to the end.
    pub fn duration(&self) -> Histogram {
        Histogram::of(&self.0[DURATION..], self.duration_ms())
    }

    /// Adds what was counted of others.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            *sum = sum.saturating_add(*more);
        }
    }

    fn count(&self, index: usize) -> u64 {
        self.0[index].unsigned_abs()
    }

    pub(crate) fn add_record(&mut self, facts: &Facts<'_>) {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let usage = facts.usage.unwrap_or_default();
        let counted: [i64; COUNTERS.len()] = [
            1,
            count(facts.attempts.all),
            i64::from(facts.charged.is_none()),
            i64::from(facts.usage_estimated),
            i64::from(facts.losses.all > 0),
            i64::from(facts.streamed),
            i64::from(usage.cache_read > 0),
            count(facts.duration_ms),
            count(facts.ttft_ms.unwrap_or(0)),
            count(usage.input),
            count(usage.cache_read),
            count(usage.cache_write),
            count(usage.cache_write_1h),
            count(usage.audio_input),
            count(usage.output),
            count(usage.audio_output),
            count(usage.image_output),
            count(usage.reasoning),
            count(usage.web_searches),
            facts.charged.unwrap_or(0),
            facts.upstream_cost.unwrap_or(0),
            i64::from(facts.upstream_cost.is_none()),
            count(facts.attempts.all.saturating_sub(1)),
        ];
        for (sum, more) in self.0.iter_mut().zip(counted) {
            *sum = sum.saturating_add(more);
        }
        if let Some(ttft_ms) = facts.ttft_ms {
            self.0[TTFT + bucket(ttft_ms)] += 1;
        }
        self.0[DURATION + bucket(facts.duration_ms)] += 1;
    }
}

fn bucket(ms: u64) -> usize {
    BOUNDS_MS.partition_point(|bound| *bound <= ms)
}

/// How many requests took how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum_ms: u64,
}

impl Histogram {
    fn of(counts: &[i64], sum_ms: u64) -> Self {
        Self { counts: std::array::from_fn(|index| counts[index].unsigned_abs()), sum_ms }
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The mean in milliseconds; none of nothing.
    pub fn mean(&self) -> Option<u64> {
        self.sum_ms.checked_div(self.count())
    }

    /// The quantile in milliseconds (`share` from 0 to 1), interpolated linearly within a bucket. None without samples.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (share.clamp(0.0, 1.0) * count as f64).max(1.0);
        let mut below = 0.0;
        for (index, in_bucket) in self.counts.iter().enumerate() {
            let in_bucket = *in_bucket as f64;
            if in_bucket > 0.0 && below + in_bucket >= rank {
                let start = if index == 0 { 0 } else { BOUNDS_MS[index - 1] };
                let Some(end) = BOUNDS_MS.get(index) else { return Some(start) };
                return Some(start + ((end - start) as f64 * (rank - below) / in_bucket) as u64);
            }
            below += in_bucket;
        }
        BOUNDS_MS.last().copied()
    }

    /// The buckets: the upper end in milliseconds, which the last one lacks, and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let ends = BOUNDS_MS.iter().copied().map(Some).chain([None]);
        ends.zip(self.counts.iter().copied())
    }

    pub fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, more)| *sum += more);
        self.sum_ms += other.sum_ms;
    }
}

static SUM_COLUMNS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let buckets = |name: &'static str| (0..BUCKETS).map(move |index| format!("{name}_{index}"));
    let counters = COUNTERS.iter().map(|name| (*name).to_owned());
    counters.chain(buckets("ttft")).chain(buckets("duration")).collect()
});

static PLACES: LazyLock<HashMap<&'static str, usize>> =
    LazyLock::new(|| sum_columns().enumerate().map(|(place, name)| (name, place)).collect());

/// Counters other than zero, by the names of the columns: another release may have more of them, in another
/// order.
impl Serialize for UsageSums {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(SUM_COLUMNS.iter().zip(self.0).filter(|(_, sum)| *sum != 0))
    }
}

impl<'de> Deserialize<'de> for UsageSums {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = UsageSums;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("sums")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UsageSums, A::Error> {
                let mut sums = UsageSums::default();
                while let Some((name, sum)) = map.next_entry::<&str, i64>()? {
                    if let Some(place) = PLACES.get(name) {
                        sums.0[*place] = sum;
                    }
                }
                Ok(sums)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// The columns, in the order of the sums.
pub(crate) fn sum_columns() -> impl Iterator<Item = &'static str> {
    SUM_COLUMNS.iter().map(String::as_str)
}

pub(crate) fn is_money(column: &str) -> bool {
    [COUNTERS[COST], COUNTERS[UPSTREAM]].contains(&column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_their_bucket() {
        let mut sums = UsageSums::default();
        for ms in [10, 100, 100, 1000, 100_000] {
            sums.add_record(&Facts { duration_ms: ms, ..Facts::default() });
        }
        let times = sums.duration();
        assert_eq!(times.count(), 5);
        assert!((80..=113).contains(&times.quantile(0.5).unwrap()));
        assert!((905..=1280).contains(&times.quantile(0.8).unwrap()));
        assert_eq!(times.quantile(1.0), Some(81_920));
        assert_eq!(sums.ttft().quantile(0.5), None);
        assert_eq!(times.buckets().map(|(_, count)| count).sum::<u64>(), 5);
    }
}
