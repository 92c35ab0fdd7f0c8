//! The simulated providers.

use std::cell::RefCell;
use std::time::Duration;

use canon::{Error, ErrorKind, Retry};

use super::clock::Clock;
use super::scenario::{Provider, Scenario};
use super::traffic::{Request, chance};

/// A request without an answer is abandoned after this time.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How soon a provider reports a failure or a refusal.
const ERROR_DELAY: Duration = Duration::from_millis(150);

/// All providers and their load.
#[derive(Debug)]
pub struct World<'s> {
    pub scenario: &'s Scenario,
    pub clock: Clock,
    buckets: RefCell<Vec<Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The arrival time of the first token.
    pub first_token_at: u64,
    /// The time to the first token.
    pub first_token: Duration,
    /// Measured speed.
    pub tokens_per_second: f64,
}

impl<'s> World<'s> {
    /// The state at the beginning.
    pub fn new(scenario: &'s Scenario) -> Self {
        let bucket = |provider: &Provider| Bucket { tokens: provider.capacity.unwrap_or(0.0), at: 0 };
        let buckets = scenario.provider.iter().map(bucket).collect();
        Self { scenario, clock: Clock::default(), buckets: RefCell::new(buckets) }
    }

    /// Sends a request. `number` distinguishes repetitions.
    pub async fn send(&self, place: usize, request: &Request, number: u64) -> Result<Answer, Error> {
        let provider = &self.scenario.provider[place];
        if !self.take(place) {
            self.clock.sleep(ERROR_DELAY).await;
            return Err(too_many(provider));
        }
        let event = provider.event_at(self.clock.now());
        let draw = |purpose| chance(&[self.scenario.seed, request.id, place as u64, number, purpose]);
        let luck = draw(10);
        let (refuse, hang) = event.map_or((0.0, 0.0), |event| (event.refuse, event.hang));
        let failure = event.map_or(provider.failure, |event| event.failure.max(provider.failure));
        if luck < refuse {
            self.clock.sleep(ERROR_DELAY).await;
            return Err(Error::upstream(ErrorKind::UpstreamCredential, Retry::Elsewhere, "refused"));
        }
        if luck < refuse + hang {
            self.clock.sleep(TIMEOUT).await;
            return Err(Error::upstream(ErrorKind::Timeout, Retry::Again, "no answer"));
        }
        if luck < refuse + hang + failure {
            self.clock.sleep(ERROR_DELAY).await;
            return Err(Error::upstream(ErrorKind::Upstream, Retry::Again, "failed"));
        }
        let slow = event.map_or(1.0, |event| event.slow);
        Ok(self.answer(provider, request, slow, normal(draw(11), draw(12))).await)
    }

    /// True when the provider would serve the request now.
    pub fn would_serve(&self, place: usize, request: &Request) -> bool {
        let provider = &self.scenario.provider[place];
        let luck = chance(&[self.scenario.seed, request.id, place as u64, 0, 10]);
        let event = provider.event_at(self.clock.now());
        let failing = event.map_or(provider.failure, |event| {
            event.refuse + event.hang + event.failure.max(provider.failure)
        });
        luck >= failing && self.has_room(place)
    }

    /// The cost of the request at this provider, in USD.
    pub fn cost(&self, place: usize, request: &Request) -> f64 {
        let provider = &self.scenario.provider[place];
        let prompt = provider.prompt_price * request.prompt_tokens as f64;
        (prompt + provider.answer_price * request.answer_tokens as f64) / 1e6
    }

    async fn answer(&self, provider: &Provider, request: &Request, slow: f64, normal: f64) -> Answer {
        let wait = provider.first_token_ms * slow * (provider.spread * normal).exp();
        let first_token = Duration::from_millis(wait as u64);
        self.clock.sleep(first_token).await;
        let first_token_at = self.clock.now();
        let tokens_per_second = provider.tokens_per_second / slow * (0.1 * normal).exp();
        self.clock.sleep(Duration::from_secs_f64(request.answer_tokens as f64 / tokens_per_second)).await;
        Answer { first_token_at, first_token, tokens_per_second }
    }

    fn has_room(&self, place: usize) -> bool {
        self.refill(place).is_none_or(|tokens| tokens >= 1.0)
    }

    fn take(&self, place: usize) -> bool {
        let room = self.has_room(place);
        if room {
            self.buckets.borrow_mut()[place].tokens -= 1.0;
        }
        room
    }

    fn refill(&self, place: usize) -> Option<f64> {
        let capacity = self.scenario.provider[place].capacity?;
        let bucket = &mut self.buckets.borrow_mut()[place];
        let elapsed = (self.clock.now() - bucket.at) as f64 / 1000.0;
        // The bucket holds five seconds' worth.
        bucket.tokens = (bucket.tokens + elapsed * capacity).min((5.0 * capacity).max(1.0));
        bucket.at = self.clock.now();
        Some(bucket.tokens)
    }
}

fn too_many(provider: &Provider) -> Error {
    let retry = provider.retry_after.map_or(Retry::Again, |wait| Retry::After(Duration::from_secs(wait)));
    Error::upstream(ErrorKind::RateLimit, retry, "too many requests")
}

/// Box and Muller's normal deviate from two uniform ones.
fn normal(a: f64, b: f64) -> f64 {
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}
