//! This node's part of shared counters: larger for a request, reported and returned periodically.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use canon::Pico;
use futures_util::StreamExt;
use limits::{Amount, Demand, GONE_MS, Granted, LOST_MS, Scope, Short, Window};
use redis::Script;

use super::link::{LIMIT, Link, Patience, Unreachable};
use crate::admission::{Book, Books};
use crate::clock;
use crate::telemetry::Metrics;

/// How often spending is reported and unused amounts are returned. During this time others may be refused
/// amounts that this node does not use.
const REPORT: Duration = Duration::from_millis(500);
/// The same when no unused amount is to be held.
const EXACT_REPORT: Duration = Duration::from_millis(50);
/// How many projects are reported at once.
const AT_A_TIME: usize = 32;
/// How long an account is kept after its window, or after its last report.
const REMEMBERED_MS: u64 = 24 * 60 * 60 * 1000;
/// Redis counts money in units of 10⁻⁹ USD, this many of the ledger's units: scripts count in doubles.
const PICO: i64 = 1000;

/// This node's part of the counters that several nodes share.
pub struct Leases {
    link: Link,
    books: Books,
    node: &'static str,
    /// Each request asks for exactly what it needs, and nothing is held.
    is_exact: bool,
    metrics: Metrics,
    lease: Script,
    begin: Script,
    retire: Script,
    release: Script,
}

impl Leases {
    /// The parts of this node. The books must be shared ones.
    pub fn new(link: Link, books: Books, node: &'static str, is_exact: bool, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            link,
            books,
            node,
            is_exact,
            metrics,
            lease: Script::new(include_str!("lease.lua")),
            begin: Script::new(include_str!("begin.lua")),
            retire: Script::new(include_str!("retire.lua")),
            release: Script::new(include_str!("release.lua")),
        })
    }

    /// Whether the common counters do not answer.
    pub fn is_away(&self) -> bool {
        self.link.is_away()
    }

    /// Counts the outcome of a request for which this node's part was too small.
    pub fn count(&self, kind: &'static str) {
        self.metrics.shared_counters(kind);
    }

    /// Asks for the amounts that a request lacks. False when another request got enough in the meantime.
    pub async fn ask(&self, book: &Book, short: &[Short]) -> Result<bool, Unreachable> {
        if self.link.is_away() {
            return Err(Unreachable);
        }
        let _turn = tokio::time::timeout(LIMIT, book.turn().lock()).await.map_err(|_| Unreachable)?;
        let demands = {
            let mut counters = book.lock();
            if !counters.is_short(short) {
                return Ok(false);
            }
            counters.demands(Some(short), self.is_exact, clock::now_ms())
        };
        self.exchange(book, &demands, Patience::Request).await?;
        Ok(true)
    }

    /// Reports as long as it is polled.
    pub async fn run(&self) -> Infallible {
        let every = if self.is_exact { EXACT_REPORT } else { REPORT };
        loop {
            tokio::time::sleep(every).await;
            self.report(self.is_exact).await;
        }
    }

    /// Returns everything: no request is under way any more.
    pub async fn release_all(&self) {
        self.report(true).await;
        self.report(true).await;
    }

    async fn report(&self, is_exact: bool) {
        let books = self.books.all_of_them();
        let report = |book: Book| async move {
            let Ok(_turn) = book.turn().try_lock() else { return };
            let demands = book.lock().demands(None, is_exact, clock::now_ms());
            if !demands.is_empty() {
                let _ = self.exchange(&book, &demands, Patience::Report).await;
            }
        };
        if self.link.is_away() && self.try_again().await.is_err() {
            return;
        }
        futures_util::stream::iter(books).for_each_concurrent(AT_A_TIME, report).await;
    }

    /// Checks whether the server answers.
    pub async fn try_again(&self) -> Result<(), Unreachable> {
        let arguments = [self.node.to_owned()];
        self.link.run::<redis::Value>(&self.lease, &[], &arguments, Patience::Report).await.map(drop)
    }

    /// Reports the final spending of a node that has ended and whose records are all in the ledger: its parts
    /// are released.
    pub async fn retire(&self, nodes: &[String]) -> Result<(), Unreachable> {
        self.end_parts(&self.retire, nodes, &[]).await.map(drop)
    }

    /// Releases the parts of nodes whose records will not come. False if one of them has reported recently: it
    /// keeps its part of that account.
    pub async fn release(&self, nodes: &[String]) -> Result<bool, Unreachable> {
        self.end_parts(&self.release, nodes, &[LOST_MS.to_string()]).await
    }

    /// Runs a script with each of these nodes and its spending in the ledger, for each account of money.
    async fn end_parts(
        &self,
        script: &Script,
        nodes: &[String],
        further: &[String],
    ) -> Result<bool, Unreachable> {
        let (now, mut are_all) = (clock::now_ms(), true);
        for book in self.books.all_of_them() {
            let money = book.lock().money();
            for (scope, window) in money {
                let start = window.start(limits::day_of(now));
                let by_node = self.by_node(&ledger_scope(&book, &scope), start).await?;
                for node in nodes {
                    let spent = by_node.get(node).copied().unwrap_or(0);
                    let keys = [money_key(&book, &scope, window, start)];
                    let mut arguments = vec![node.clone(), spent.to_string()];
                    arguments.extend_from_slice(further);
                    are_all &= self.link.run::<i64>(script, &keys, &arguments, Patience::Report).await? >= 0;
                }
            }
        }
        Ok(are_all)
    }

    async fn exchange(&self, book: &Book, demands: &[Demand], patience: Patience) -> Result<(), Unreachable> {
        let now = clock::now_ms();
        let granted = self.serve(book, demands, patience).await?;
        let unknown: Vec<&Demand> = demands
            .iter()
            .zip(&granted)
            .filter(|(_, granted)| granted.is_none())
            .map(|(demand, _)| demand)
            .collect();
        if unknown.is_empty() {
            apply(book, demands.iter().zip(granted), now);
            return Ok(());
        }
        for demand in &unknown {
            self.begin(book, demand, patience).await?;
        }
        let again: Vec<Demand> = unknown.into_iter().cloned().collect();
        let granted_again = self.serve(book, &again, patience).await?;
        apply(book, demands.iter().zip(granted), now);
        apply(book, again.iter().zip(granted_again), now);
        Ok(())
    }

    async fn serve(
        &self,
        book: &Book,
        demands: &[Demand],
        patience: Patience,
    ) -> Result<Vec<Option<Granted>>, Unreachable> {
        let keys: Vec<String> = demands.iter().map(|demand| key(book, demand)).collect();
        let mut arguments = Vec::with_capacity(1 + 9 * demands.len());
        arguments.push(self.node.to_owned());
        demands.iter().for_each(|demand| push_arguments(&demand.wanted, &mut arguments));
        let numbers: Vec<Vec<i64>> = self.link.run(&self.lease, &keys, &arguments, patience).await?;
        let mut numbers = numbers.into_iter();
        demands
            .iter()
            .map(|demand| numbers.next().map(|numbers| granted(&demand.wanted, &numbers)).ok_or(Unreachable))
            .collect()
    }

    /// Fills an account of money from the ledger.
    async fn begin(&self, book: &Book, demand: &Demand, patience: Patience) -> Result<(), Unreachable> {
        let Amount::Money { window, start, .. } = demand.wanted else { return Ok(()) };
        let by_node = self.by_node(&ledger_scope(book, &demand.scope), start).await?;
        let mut arguments = vec![lives_ms(&demand.wanted).to_string()];
        for (node, spent) in by_node {
            arguments.extend([node, spent.to_string()]);
        }
        let keys = [money_key(book, &demand.scope, window, start)];
        self.link.run::<i64>(&self.begin, &keys, &arguments, patience).await.map(drop)
    }

    /// What each node spent in a scope from a day on, in 10⁻⁹ USD.
    async fn by_node(&self, scope: &str, start: i64) -> Result<BTreeMap<String, i64>, Unreachable> {
        let store = self.books.store().ok_or(Unreachable)?;
        let asked = tokio::time::timeout(LIMIT, store.spent_by_node(scope, start)).await;
        match asked {
            Ok(Ok(rows)) => Ok(rows.into_iter().map(|(node, spent)| (node, up(Pico(spent)))).collect()),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the ledger could not be read for the common counters");
                Err(Unreachable)
            }
            Err(_) => Err(Unreachable),
        }
    }
}

fn apply<'a>(book: &Book, granted: impl Iterator<Item = (&'a Demand, Option<Granted>)>, now: i64) {
    let mut counters = book.lock();
    for (demand, granted) in granted {
        if let Some(granted) = granted {
            counters.granted(demand, &granted, now);
        }
    }
}

/// In 10⁻⁹ USD, rounded up.
fn up(amount: Pico) -> i64 {
    amount.0.div_euclid(PICO) + i64::from(amount.0.rem_euclid(PICO) > 0)
}

/// In 10⁻⁹ USD, rounded down.
fn down(amount: Pico) -> i64 {
    amount.0.div_euclid(PICO)
}

fn pico(nano: i64) -> Pico {
    Pico(nano.saturating_mul(PICO))
}

fn ledger_scope(book: &Book, scope: &Scope) -> String {
    match scope {
        Scope::Project => format!("project:{}", book.project()),
        Scope::Key(id) => format!("key:{id}"),
    }
}

/// The braces put all accounts of a project on the same node of a Redis cluster.
fn prefix(book: &Book, scope: &Scope) -> String {
    match scope {
        Scope::Project => format!("llmgateway:{{{}}}:project", book.project()),
        Scope::Key(id) => format!("llmgateway:{{{}}}:key:{id}", book.project()),
    }
}

fn money_key(book: &Book, scope: &Scope, window: Window, start: i64) -> String {
    let prefix = prefix(book, scope);
    match window {
        Window::Total => format!("{prefix}:usd:total"),
        window => format!("{prefix}:usd:{}:{start}", window.as_str()),
    }
}

fn key(book: &Book, demand: &Demand) -> String {
    let mut key = match &demand.wanted {
        Amount::Money { window, start, .. } => return money_key(book, &demand.scope, *window, *start),
        Amount::Rate { is_tokens, limit, period, .. } => {
            let what = if *is_tokens { "tokens" } else { "requests" };
            format!("{}:{what}:{limit}:{}", prefix(book, &demand.scope), period.as_str())
        }
        Amount::Places { .. } => format!("{}:concurrent", prefix(book, &demand.scope)),
    };
    if let Some(model) = &demand.model {
        key.push(':');
        key.push_str(model);
    }
    key
}

/// How long an account is kept; 0 without limit.
fn lives_ms(wanted: &Amount) -> u64 {
    match wanted {
        Amount::Money { window, .. } => {
            window.left_ms(clock::now_ms()).map_or(0, |left_ms| left_ms + REMEMBERED_MS)
        }
        Amount::Rate { period, .. } => period.ms() + 60_000,
        Amount::Places { .. } => REMEMBERED_MS,
    }
}

fn push_arguments(wanted: &Amount, arguments: &mut Vec<String>) {
    let (kind, numbers) = match *wanted {
        Amount::Money { ceiling, spent, has, needed, want, .. } => {
            ("money", [down(ceiling), up(spent), up(has), up(needed), up(want), 0, 0])
        }
        Amount::Rate { limit, period, owed, needed, want, back, .. } => {
            ("rate", [limit, period.ms(), owed, needed, want, back, 0].map(|number| number as i64))
        }
        Amount::Places { most, has, needed, want } => {
            ("places", [most as i64, has as i64, needed as i64, want as i64, GONE_MS, 0, 0])
        }
    };
    arguments.push(kind.to_owned());
    arguments.push(lives_ms(wanted).to_string());
    arguments.extend(numbers.map(|number| number.to_string()));
}

/// The script's answer; none for an unknown account of money.
fn granted(wanted: &Amount, numbers: &[i64]) -> Option<Granted> {
    let &[first, second, third] = numbers else { return None };
    Some(match wanted {
        Amount::Money { .. } => {
            Granted::Money { allowed: pico(first), all_allowed: pico(second), all_spent: pico(third) }
        }
        Amount::Rate { .. } => Granted::Rate { taken: first as u64, level_ms: second as u64 },
        Amount::Places { .. } => Granted::Places { allowed: first as u64 },
    })
}

#[cfg(test)]
mod tests {
    use limits::{Period, Pool};
    use proptest::prelude::*;
    use testkit::redis::Redis;

    use super::*;
    use crate::config::redis_url::RedisUrl;

    const NODES: u32 = 3;
    const USD: i64 = 1_000_000_000_000;

    /// Amounts in whole cents, so that nothing is rounded.
    fn wanted() -> impl Strategy<Value = Amount> {
        let cents = |amount: i64| Pico(amount * USD / 100);
        let money = (0..200_i64, 0..200_i64, 0..200_i64).prop_map(move |(spent, has, want)| Amount::Money {
            window: Window::Month,
            start: 0,
            ceiling: cents(500),
            spent: cents(spent),
            has: cents(has),
            needed: cents(want),
            want: cents(want),
        });
        let rate = (0..20_u64, 0..60_u64, 0..40_u64, 0..20_u64).prop_map(|(owed, needed, more, back)| {
            Amount::Rate {
                is_tokens: true,
                limit: 100,
                // A day is so long that the level does not change between two calls of a test.
                period: Period::Day,
                owed,
                needed,
                want: needed + more,
                back,
            }
        });
        let places = (0..20_u64, 0..20_u64).prop_map(|(has, want)| Amount::Places {
            most: 25,
            has,
            needed: want,
            want,
        });
        prop_oneof![money, rate, places]
    }

    /// The level of a rate in whole units, because it decreases a little while a test runs.
    fn days(granted: Option<Granted>) -> Option<Granted> {
        match granted {
            Some(Granted::Rate { taken, level_ms }) => {
                Some(Granted::Rate { taken, level_ms: level_ms.div_ceil(Period::Day.ms()) })
            }
            granted => granted,
        }
    }

    /// The script in Redis behaves like `limits::Pool`, whose invariants are tested in `limits`.
    #[test]
    fn the_script_serves_like_the_pool() {
        let Some(redis) = Redis::start() else {
            eprintln!("skipped: there is no redis-server here");
            return;
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let link = Link::new(RedisUrl::parse(&redis.url()).unwrap(), &[], Default::default());
        let [lease, begin, retire, release] = [
            include_str!("lease.lua"),
            include_str!("begin.lua"),
            include_str!("retire.lua"),
            include_str!("release.lua"),
        ]
        .map(Script::new);
        let steps = prop::collection::vec((0..NODES, wanted(), 0..20_u8), 1..60);
        let round = std::cell::Cell::new(0);
        proptest!(testkit::random::cases(60), |(steps in steps)| {
            round.set(round.get() + 1);
            let round = round.get();
            let (mut pool, now) = (Pool::default(), clock::now_ms());
            let ledger = BTreeMap::from([(0, 30 * USD / 100), (7, 11 * USD / 100)]);
            let name = |wanted: &Amount| match wanted {
                Amount::Money { .. } => format!("t:{round}:money"),
                Amount::Rate { .. } => format!("t:{round}:rate"),
                Amount::Places { .. } => format!("t:{round}:places"),
            };
            for (node, wanted, dice) in steps {
                let keys = [name(&wanted)];
                let run = |script: &Script, arguments: Vec<String>| {
                    runtime.block_on(link.run::<redis::Value>(script, &keys, &arguments, Patience::Request)).unwrap()
                };
                let mut arguments = vec![node.to_string()];
                push_arguments(&wanted, &mut arguments);
                let numbers: Vec<Vec<i64>> = redis::from_redis_value(run(&lease, arguments.clone())).unwrap();
                let mut ours = granted(&wanted, &numbers[0]);
                prop_assert_eq!(days(ours), days(pool.serve(&keys[0], node, &wanted, now)), "{:?}", wanted);
                if ours.is_none() {
                    let mut rows = vec!["0".to_owned()];
                    for (node, spent) in &ledger {
                        rows.extend([node.to_string(), up(Pico(*spent)).to_string()]);
                    }
                    run(&begin, rows);
                    pool.begin(&keys[0], &ledger);
                    let numbers: Vec<Vec<i64>> = redis::from_redis_value(run(&lease, arguments)).unwrap();
                    ours = granted(&wanted, &numbers[0]);
                    prop_assert_eq!(ours, pool.serve(&keys[0], node, &wanted, now), "{:?}", wanted);
                }
                if dice == 0 && matches!(wanted, Amount::Money { .. }) {
                    let spent = 5 * USD / 100;
                    run(&retire, vec![node.to_string(), up(Pico(spent)).to_string()]);
                    pool.retire(&keys[0], node, spent);
                }
                if dice == 1 && matches!(wanted, Amount::Money { .. }) {
                    let spent = 5 * USD / 100;
                    // No time passes here, so the script is given none to wait for.
                    let arguments = vec![node.to_string(), up(Pico(spent)).to_string(), "0".to_owned()];
                    let charged: i64 = redis::from_redis_value(run(&release, arguments)).unwrap();
                    let same = pool.release(&keys[0], node, spent, now + LOST_MS);
                    prop_assert_eq!(Some(pico(charged).0), same);
                    let arguments = vec![node.to_string(), "0".to_owned(), LOST_MS.to_string()];
                    let again: i64 = redis::from_redis_value(run(&release, arguments)).unwrap();
                    prop_assert_eq!(again, charged, "it has said nothing since");
                }
            }
        });
    }

    #[test]
    fn money_is_rounded_against_the_node() {
        assert_eq!((up(Pico(1)), down(Pico(1))), (1, 0));
        assert_eq!((up(Pico(2000)), down(Pico(2000))), (2, 2));
        assert_eq!(pico(up(Pico(1999))), Pico(2000));
    }
}
