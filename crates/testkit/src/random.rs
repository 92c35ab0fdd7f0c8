//! Random tests that use the same cases on every machine, so that a failure can be repeated. New cases are
//! found by the fuzzer (`fuzz/fuzz.sh`), or by a test with another seed in `PROPTEST_RNG_SEED`.

use proptest::test_runner::{Config, RngAlgorithm, RngSeed};

/// The seed of all random tests.
const SEED: u64 = 7;

/// This many cases from the fixed seed, which a failing test prints.
#[expect(clippy::disallowed_methods, reason = "a setting of test runs, not of the gateway")]
#[expect(clippy::print_stderr, reason = "the test runner shows it when the test fails")]
pub fn cases(cases: u32) -> Config {
    let given = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or(SEED);
    eprintln!("{cases} random cases from seed {seed} (PROPTEST_RNG_SEED takes another)");
    Config {
        cases,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 4000,
        ..Config::default()
    }
}
