//! The stream of requests.

use routing::chance;

use super::scenario::Scenario;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    pub id: u64,
    /// When it arrives, in milliseconds.
    pub at: u64,
    /// Length of its prompt.
    pub prompt_tokens: u64,
    /// Length of its answer.
    pub answer_tokens: u64,
}

/// All requests of a scenario, at random intervals with the given mean.
pub fn requests(scenario: &Scenario) -> Vec<Request> {
    let end = scenario.hours * 3_600_000.0;
    let mut at = 0.0;
    let mut requests = Vec::new();
    loop {
        let id = requests.len() as u64;
        let draw = |purpose| chance(&[scenario.seed, id, purpose]);
        at -= (1.0 - draw(1)).ln() / scenario.requests_per_second * 1000.0;
        if at >= end {
            return requests;
        }
        let prompt_tokens = 50 + (draw(2) * draw(3) * 6_000.0) as u64;
        let answer_tokens = 20 + (draw(4) * draw(5) * 1_500.0) as u64;
        requests.push(Request { id, at: at as u64, prompt_tokens, answer_tokens });
    }
}

/// A number from its circumstances, so that all policies have the same luck: uniform over 0 ≤ x < 1.
pub fn chance(circumstances: &[u64]) -> f64 {
    (random(circumstances) >> 11) as f64 / (1u64 << 53) as f64
}

/// The same with all bits (the finisher of SplitMix64).
pub fn random(circumstances: &[u64]) -> u64 {
    circumstances
        .iter()
        .fold(0x5eed_0fc4_a7ce, |state: u64, part| chance::mixed((state ^ part).wrapping_add(chance::STEP)))
}
