//! Rates are exact: a request passes at the millisecond that was announced, and not before.

use limits::Bucket;
use proptest::prelude::*;

/// The same rate as a simple model: the level in units of one over `period`, leaked millisecond by
/// millisecond.
struct Model {
    limit: u64,
    period: u64,
    level: u64,
}

impl Model {
    fn leak(&mut self, ms: u64) {
        (0..ms).for_each(|_| self.level = self.level.saturating_sub(self.limit));
    }

    fn fits(&self, units: u64) -> bool {
        self.level + units.min(self.limit) * self.period <= self.limit * self.period
    }
}

proptest! {
    #![proptest_config(testkit::random::cases(300))]

    #[test]
    fn a_bucket_behaves_as_its_model(
        limit in 1_u64..50,
        period in 1_u64..500,
        steps in prop::collection::vec((0_u64..200, 0_u64..60, 0_u64..60), 1..40),
    ) {
        let mut bucket = Bucket::new(limit, period);
        let mut model = Model { limit, period, level: 0 };
        let mut now = 1_000_000;
        bucket.leak(now);
        for (pause, units, used) in steps {
            now += pause as i64;
            bucket.leak(now);
            model.leak(pause);
            let fits = model.fits(units);
            prop_assert_eq!(bucket.wait_ms(units) == Some(0), fits);
            if fits {
                bucket.pour(units);
                model.level += units * period;
                // Settled with less or more than was reserved.
                bucket.take_back(units.saturating_sub(used));
                bucket.pour(used.saturating_sub(units));
                model.level = (model.level + used * period).saturating_sub(units * period);
            } else {
                let wait = bucket.wait_ms(units).unwrap();
                let mut early = bucket;
                early.leak(now + wait as i64 - 1);
                prop_assert!(early.wait_ms(units) > Some(0));
                let mut later = bucket;
                later.leak(now + wait as i64);
                prop_assert_eq!(later.wait_ms(units), Some(0));
            }
            prop_assert_eq!(bucket.remaining(), (limit * period).saturating_sub(model.level) / period);
            prop_assert_eq!(bucket.reset_ms(), model.level.div_ceil(limit));
        }
    }
}

#[test]
fn a_clock_that_goes_backwards_leaks_nothing() {
    let mut bucket = Bucket::new(1, 60_000);
    bucket.leak(100_000);
    bucket.pour(1);
    bucket.leak(50_000);
    assert_eq!(bucket.wait_ms(1), Some(60_000));
    bucket.leak(160_000);
    assert_eq!(bucket.wait_ms(1), Some(0));
}

#[test]
fn more_than_the_limit_fits_only_into_an_empty_bucket() {
    let mut bucket = Bucket::new(100, 1000);
    bucket.leak(0);
    assert_eq!(bucket.wait_ms(250), Some(0));
    bucket.pour(250);
    assert_eq!((bucket.wait_ms(1), bucket.remaining()), (Some(1510), 0));
}

#[test]
fn the_largest_limits_do_not_overflow() {
    let mut bucket = Bucket::new(1_000_000_000_000, 86_400_000);
    bucket.leak(i64::MAX);
    bucket.pour(u64::MAX);
    assert_eq!(bucket.remaining(), 0);
    assert!(bucket.wait_ms(u64::MAX).is_some());
}
