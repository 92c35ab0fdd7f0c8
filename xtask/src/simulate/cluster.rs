//! `cargo xtask simulate cluster`: many nodes that share budgets and limits, as `crates/limits` counts them.
//!
//! Everything but the time is the gateway's own code: the books of the nodes and the common store ([`Pool`]).
//! Requests come at random, their keys by Zipf's law; messages take half a round trip each way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fmt::Write;

use anyhow::{Result, bail};
use canon::Pico;
use limits::{Actual, Ask, Book, Demand, Granted, Others, Policy, Pool, Refusal, Rule, Scope, Short, Ticket};
use routing::chance::{STEP, mixed};

/// 2026-01-05, a Monday, at midnight.
const START_MS: i64 = 20_458 * limits::DAY_MS;
/// The gateway's report interval, and the one with `limits.exact`.
const REPORT_MS: i64 = 500;
const EXACT_REPORT_MS: i64 = 50;
const SECONDS: i64 = 20;
const REQUESTS_PER_SECOND: u64 = 3000;
/// The reservation of a request in 10⁻¹² USD; its cost is between a tenth and all of it.
const RESERVED: i64 = 10_000_000_000;
/// Zipf's exponent: a few keys get most of the requests.
const SKEW: f64 = 1.1;
/// The number of requests that a budget can pay for.
const ROOM: i64 = 500;

/// One line of the table.
struct Case {
    nodes: usize,
    keys: u64,
    rtt_ms: i64,
    is_exact: bool,
    /// All nodes use one counter without messages: an impossible ideal, for comparison.
    is_ideal: bool,
}

/// Runs all cases. Returns the table.
pub fn run(arguments: &[&str]) -> Result<String> {
    if let Some(unknown) = arguments.iter().find(|argument| **argument != "--write-docs") {
        bail!("cargo xtask simulate cluster takes --write-docs, or nothing; not {unknown}");
    }
    let case = |nodes, keys, rtt_ms, is_exact| Case { nodes, keys, rtt_ms, is_exact, is_ideal: false };
    let cases = [
        case(1, 1_000_000, 1, false),
        case(3, 1_000_000, 1, false),
        case(10, 1_000_000, 1, false),
        case(50, 1_000_000, 1, false),
        case(200, 1_000_000, 1, false),
        case(10, 1_000_000, 20, false),
        case(200, 1_000_000, 20, false),
        case(10, 1_000_000, 1, true),
        case(200, 1_000_000, 1, true),
        case(10, 100, 1, false),
        case(200, 100, 1, false),
        case(200, 100, 1, true),
    ];
    let mut table = format!(
        "{REQUESTS_PER_SECOND} requests a second for {SECONDS} seconds, keys by Zipf's law ({SKEW}), each with a budget for about {ROOM} requests a day.\n\n\
         | nodes | keys | round trip | `exact` | over the ceiling | refused | by one counter | requests that asked | Redis operations a second |\n\
         |---|---|---|---|---|---|---|---|---|\n"
    );
    for case in &cases {
        let result = World::new(case).play();
        let ideal = World::new(&Case { is_ideal: true, ..*case }).play();
        let share = |part: u64, of: u64| 100.0 * part as f64 / of.max(1) as f64;
        writeln!(
            table,
            "| {} | {} | {} ms | {} | {} | {:.2} % | {:.2} % | {:.1} % | {} |",
            case.nodes,
            case.keys,
            case.rtt_ms,
            if case.is_exact { "yes" } else { "no" },
            if result.over == 0 { "never".to_owned() } else { format!("{} USD", Pico(result.over)) },
            share(result.refused, result.requests),
            share(ideal.refused, ideal.requests),
            share(result.asked, result.requests),
            result.operations / SECONDS as u64,
        )?;
    }
    Ok(table)
}

#[derive(Default)]
struct Totals {
    requests: u64,
    refused: u64,
    asked: u64,
    operations: u64,
    /// The most that was spent and reserved beyond a ceiling.
    over: i64,
}

/// An event at a point in time.
enum Event {
    Request,
    Report(usize),
    /// A message of a node about a key reaches the store.
    Asked((usize, u64), Vec<Demand>, Option<i64>),
    /// The answer reaches the node.
    Granted((usize, u64), Vec<(Demand, Granted)>, Option<i64>),
    Settle(usize, u64, Ticket, i64, i64),
}

/// The book of a key at a node.
struct Counter {
    book: Book,
    rules: Vec<Rule>,
    is_speaking: bool,
    waiting: Vec<i64>,
    is_listed: bool,
}

struct World<'a> {
    case: &'a Case,
    random: u64,
    policy: Policy,
    ceiling: i64,
    events: BinaryHeap<Reverse<(i64, u64)>>,
    bodies: HashMap<u64, Event>,
    next: u64,
    counters: HashMap<(usize, u64), Counter>,
    /// Keys of a node that may have something to report.
    busy: Vec<Vec<u64>>,
    pool: Pool,
    /// The true amount spent and reserved for each key, over all nodes.
    truth: HashMap<u64, i64>,
    totals: Totals,
}

impl<'a> World<'a> {
    fn new(case: &'a Case) -> Self {
        let ceiling = ROOM * RESERVED;
        let budget =
            limits::Budget { usd: Pico(ceiling), per: limits::Window::Day, on_exhausted: Default::default() };
        let policy = Policy { budgets: vec![budget], ..Policy::default() };
        Self {
            case,
            random: case.nodes as u64 ^ case.keys,
            policy,
            ceiling,
            events: BinaryHeap::new(),
            bodies: HashMap::new(),
            next: 0,
            counters: HashMap::new(),
            busy: vec![Vec::new(); case.nodes],
            pool: Pool::default(),
            truth: HashMap::new(),
            totals: Totals::default(),
        }
    }

    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_add(STEP);
        (mixed(self.random) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn at(&mut self, time: i64, event: Event) {
        self.events.push(Reverse((time, self.next)));
        self.bodies.insert(self.next, event);
        self.next += 1;
    }

    /// By the inverse of Zipf's distribution, taken as continuous.
    fn key(&mut self) -> u64 {
        let (uniform, power) = (self.uniform(), 1.0 - SKEW);
        let most = (self.case.keys as f64).powf(power);
        (((most - 1.0) * uniform + 1.0).powf(1.0 / power) as u64).min(self.case.keys)
    }

    fn play(mut self) -> Totals {
        self.at(START_MS, Event::Request);
        let every = if self.case.is_exact { EXACT_REPORT_MS } else { REPORT_MS };
        for node in 0..self.case.nodes {
            // Nodes report at different moments.
            self.at(START_MS + (node as i64 * every) / self.case.nodes as i64, Event::Report(node));
        }
        while let Some(Reverse((now, id))) = self.events.pop() {
            if now >= START_MS + SECONDS * 1000 {
                break;
            }
            match self.bodies.remove(&id) {
                Some(Event::Request) => {
                    let node = (self.uniform() * self.case.nodes as f64) as usize;
                    let node = if self.case.is_ideal { 0 } else { node };
                    let key = self.key();
                    self.totals.requests += 1;
                    self.reserve(node, key, Others::Unasked, now);
                    // Several requests may arrive in the same millisecond: only the average matters.
                    let gap = -self.uniform().max(1e-9).ln() * 1000.0 / REQUESTS_PER_SECOND as f64;
                    let carry = if self.uniform() < gap.fract() { 1 } else { 0 };
                    self.at(now + gap as i64 + carry, Event::Request);
                }
                Some(Event::Report(node)) => {
                    self.report(node, now);
                    self.at(now + every, Event::Report(node));
                }
                Some(Event::Asked((node, key), demands, retry)) => {
                    self.serve((node, key), demands, retry, now)
                }
                Some(Event::Granted((node, key), answers, retry)) => {
                    self.granted((node, key), &answers, retry, now)
                }
                Some(Event::Settle(node, key, ticket, reserved, cost)) => {
                    if let Some(counter) = self.counters.get_mut(&(node, key)) {
                        counter.book.settle(ticket, Actual { cost: Pico(cost), tokens: None });
                    }
                    self.list(node, key);
                    *self.truth.entry(key).or_default() += cost - reserved;
                }
                None => {}
            }
        }
        self.totals
    }

    fn counter(&mut self, node: usize, key: u64) -> &mut Counter {
        let (policy, is_ideal) = (&self.policy, self.case.is_ideal);
        self.counters.entry((node, key)).or_insert_with(|| {
            let mut book = if is_ideal { Book::default() } else { Book::shared() };
            let rules = book.rules(&Scope::Project, policy);
            for (account, ..) in book.unloaded(START_MS) {
                book.load(account, Pico::ZERO, START_MS);
            }
            Counter { book, rules, is_speaking: false, waiting: Vec::new(), is_listed: false }
        })
    }

    fn list(&mut self, node: usize, key: u64) {
        let counter = self.counter(node, key);
        if !std::mem::replace(&mut counter.is_listed, true) {
            self.busy[node].push(key);
        }
    }

    fn reserve(&mut self, node: usize, key: u64, others: Others, now: i64) {
        let ask = Ask { cost: Pico(RESERVED), deadline_ms: i64::MAX, others, ..Ask::default() };
        let is_exact = self.case.is_exact;
        let half = (self.case.rtt_ms / 2).max(1);
        let counter = self.counter(node, key);
        match counter.book.reserve(counter.rules.iter(), ask, now) {
            Ok((ticket, _)) => {
                let cost = (RESERVED as f64 * (0.1 + 0.9 * self.uniform())) as i64;
                let takes = (500.0 + 4000.0 * self.uniform()) as i64;
                let ceiling = self.ceiling;
                let held = self.truth.entry(key).or_default();
                *held += RESERVED;
                self.totals.over = self.totals.over.max(*held - ceiling);
                self.at(now + takes, Event::Settle(node, key, ticket, RESERVED, cost));
                self.list(node, key);
            }
            Err(refused) => match refused.refusal {
                Refusal::Short(_) if counter.is_speaking => counter.waiting.push(now),
                Refusal::Short(short) => {
                    let demands = counter.book.demands(Some(&short as &[Short]), is_exact, now);
                    counter.is_speaking = true;
                    self.totals.asked += 1;
                    self.at(now + half, Event::Asked((node, key), demands, Some(now)));
                }
                _ => self.totals.refused += 1,
            },
        }
    }

    fn report(&mut self, node: usize, now: i64) {
        let half = (self.case.rtt_ms / 2).max(1);
        let is_exact = self.case.is_exact;
        for key in std::mem::take(&mut self.busy[node]) {
            let counter = self.counter(node, key);
            counter.is_listed = false;
            if counter.is_speaking {
                self.list(node, key);
                continue;
            }
            let demands = counter.book.demands(None, is_exact, now);
            if !demands.is_empty() {
                counter.is_speaking = true;
                self.at(now + half, Event::Asked((node, key), demands, None));
            }
        }
    }

    fn serve(&mut self, (node, key): (usize, u64), demands: Vec<Demand>, retry: Option<i64>, now: i64) {
        self.totals.operations += 1;
        let name = key.to_string();
        let mut answers = Vec::with_capacity(demands.len());
        for demand in demands {
            if self.pool.serve(&name, node as u32, &demand.wanted, now).is_none() {
                self.pool.begin(&name, &BTreeMap::new());
            }
            if let Some(answer) = self.pool.serve(&name, node as u32, &demand.wanted, now) {
                answers.push((demand, answer));
            }
        }
        self.at(now + (self.case.rtt_ms / 2).max(1), Event::Granted((node, key), answers, retry));
    }

    fn granted(
        &mut self,
        (node, key): (usize, u64),
        answers: &[(Demand, Granted)],
        retry: Option<i64>,
        now: i64,
    ) {
        let counter = self.counter(node, key);
        for (demand, answer) in answers {
            counter.book.granted(demand, answer, now);
        }
        counter.is_speaking = false;
        let waiting = std::mem::take(&mut counter.waiting);
        if retry.is_some() {
            self.reserve(node, key, Others::Asked, now);
        }
        for _ in waiting {
            self.reserve(node, key, Others::Unasked, now);
        }
        self.list(node, key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The conclusions that the documentation draws from the table.
    #[test]
    fn no_ceiling_is_exceeded_and_few_requests_are_refused_in_error() {
        for case in [
            Case { nodes: 20, keys: 10_000, rtt_ms: 20, is_exact: false, is_ideal: false },
            Case { nodes: 20, keys: 10_000, rtt_ms: 1, is_exact: true, is_ideal: false },
        ] {
            let totals = World::new(&case).play();
            let ideal = World::new(&Case { is_ideal: true, ..case }).play();
            assert!(
                totals.requests > 50_000 && totals.refused > 1000,
                "{} {}",
                totals.requests,
                totals.refused
            );
            assert_eq!(totals.over, 0);
            let more = totals.refused.saturating_sub(ideal.refused);
            assert!(
                more * 50 < totals.requests,
                "{} and {} of {}",
                totals.refused,
                ideal.refused,
                totals.requests
            );
        }
    }
}
