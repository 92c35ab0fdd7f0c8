//! Nodes that share a project's accounts: no ceiling is exceeded, whichever messages are lost and whichever
//! nodes die.

use std::collections::BTreeMap;

use canon::Pico;
use limits::{Actual, Amount, Book, Demand, Granted, Others, Pool, Refusal, Rule, Scope, Short, Ticket};

use routing::chance::{STEP, mixed};

use crate::{NOON, ask, policy};

const CEILING: i64 = 1_000_000;
const PLACES: u64 = 5;
const REQUESTS: u64 = 40;

/// A node, and the message that it waits for.
struct Node {
    id: u32,
    book: Book,
    rules: Vec<Rule>,
    open: Vec<(Ticket, i64)>,
    waiting: Option<InTransit>,
    spent: i64,
    reserved: i64,
}

/// A message on its way. A node sends one at a time.
struct InTransit {
    demands: Vec<Demand>,
    answer: Option<Vec<Option<Granted>>>,
    /// The cost of the request that is then tried again.
    retry: Option<i64>,
}

struct World {
    random: u64,
    pool: Pool,
    nodes: Vec<Node>,
    now: i64,
    next_id: u32,
    /// Spent and reserved by dead nodes: their requests may have cost that.
    dead: i64,
    /// The amount that answers cost beyond their reservations.
    beyond: i64,
    /// The amount that nodes held when the store forgot it.
    forgotten: i64,
    /// Nodes that are stopped, and what counts as spent by them.
    stopped: Vec<Node>,
    /// The amount that lost nodes had used after their last message.
    unreported: i64,
    /// The amount that lost nodes held in advance, now free.
    freed: i64,
    admitted: u64,
    refused: u64,
    ledger: BTreeMap<u32, i64>,
}

fn name(demand: &Demand) -> String {
    let kind = match &demand.wanted {
        Amount::Money { window, start, .. } => format!("{window:?}{start}"),
        Amount::Rate { is_tokens, limit, .. } => format!("{is_tokens}{limit}"),
        Amount::Places { .. } => "places".to_owned(),
    };
    format!("{:?} {kind}", demand.scope)
}

impl Node {
    fn new(id: u32, json: &str) -> Self {
        let mut book = Book::shared();
        let rules = book.rules(&Scope::Project, &policy(json));
        for (account, ..) in book.unloaded(NOON) {
            book.load(account, Pico::ZERO, NOON);
        }
        Self { id, book, rules, open: Vec::new(), waiting: None, spent: 0, reserved: 0 }
    }

    fn reserve(&mut self, cost: i64, others: Others, now: i64) -> Result<(), Option<Box<[Short]>>> {
        let asked = limits::Ask { others, ..ask(cost, 10) };
        match self.book.reserve(self.rules.iter(), asked, now) {
            Ok((ticket, _)) => {
                self.open.push((ticket, cost));
                self.reserved += cost;
                Ok(())
            }
            Err(refused) => match refused.refusal {
                Refusal::Short(short) => Err(Some(short)),
                _ => Err(None),
            },
        }
    }
}

impl World {
    fn new(seed: u64, nodes: u32, json: &str) -> Self {
        Self {
            random: seed,
            pool: Pool::default(),
            nodes: (0..nodes).map(|id| Node::new(id, json)).collect(),
            now: NOON,
            next_id: nodes,
            dead: 0,
            beyond: 0,
            forgotten: 0,
            stopped: Vec::new(),
            unreported: 0,
            freed: 0,
            admitted: 0,
            refused: 0,
            ledger: BTreeMap::new(),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(STEP);
        mixed(self.random) % bound
    }

    fn step(&mut self, json: &str, may_flush: bool) {
        self.now += self.below(30) as i64;
        let who = self.below(self.nodes.len() as u64) as usize;
        match self.below(100) {
            0..40 => self.request(who),
            40..65 => self.deliver(who),
            65..85 => self.settle(who),
            85..97 => self.report(who),
            97 if may_flush => {
                self.forgotten += self.nodes.iter().map(|node| node.spent + node.reserved).sum::<i64>();
                self.pool.flush();
            }
            98 => self.kill(who, json),
            _ => {}
        }
    }

    fn request(&mut self, who: usize) {
        let cost = 1 + self.below(CEILING as u64 / 20) as i64;
        let (now, is_exact) = (self.now, self.below(4) == 0);
        let node = &mut self.nodes[who];
        match node.reserve(cost, Others::Unasked, now) {
            Ok(()) => self.admitted += 1,
            Err(None) => self.refused += 1,
            Err(Some(short)) if node.waiting.is_none() => {
                let demands = node.book.demands(Some(&short), is_exact, now);
                assert_eq!(demands.len(), short.len());
                node.waiting = Some(InTransit { demands, answer: None, retry: Some(cost) });
            }
            Err(Some(_)) => {}
        }
    }

    fn report(&mut self, who: usize) {
        let now = self.now;
        let node = &mut self.nodes[who];
        if node.waiting.is_none() {
            let demands = node.book.demands(None, false, now);
            node.waiting = Some(InTransit { demands, answer: None, retry: None });
        }
    }

    /// A message goes one step on its way, or is lost.
    fn deliver(&mut self, who: usize) {
        let (is_lost, now) = (self.below(10) == 0, self.now);
        let node = &mut self.nodes[who];
        let Some(waiting) = node.waiting.take().filter(|_| !is_lost) else { return };
        match waiting.answer {
            None => {
                let serve = |demand: &Demand| {
                    let name = name(demand);
                    self.pool.serve(&name, node.id, &demand.wanted, now).or_else(|| {
                        self.pool.begin(&name, &self.ledger);
                        self.pool.serve(&name, node.id, &demand.wanted, now)
                    })
                };
                let answer = Some(waiting.demands.iter().map(serve).collect());
                node.waiting = Some(InTransit { answer, ..waiting });
            }
            Some(answer) => {
                for (demand, answer) in waiting.demands.iter().zip(answer) {
                    node.book.granted(demand, &answer.unwrap(), now);
                }
                if let Some(cost) = waiting.retry {
                    match node.reserve(cost, Others::Asked, now) {
                        Ok(()) => self.admitted += 1,
                        Err(short) => {
                            assert_eq!(short, None, "a refused question is not asked again");
                            self.refused += 1;
                        }
                    }
                }
            }
        }
    }

    fn settle(&mut self, who: usize) {
        let dice = self.below(100);
        let node = &mut self.nodes[who];
        if node.open.is_empty() {
            return;
        }
        let (ticket, reserved) = node.open.swap_remove(dice as usize % node.open.len());
        let cost = match dice {
            0..10 => reserved + reserved / 4,
            10..20 => reserved,
            _ => reserved * dice as i64 / 200,
        };
        node.book.settle(ticket, Actual { cost: Pico(cost), tokens: Some(5) });
        node.reserved -= reserved;
        node.spent += cost;
        self.beyond += (cost - reserved).max(0);
        // The ledger receives the spent amount at some later time.
        if dice.is_multiple_of(2) {
            self.ledger.insert(node.id, node.spent);
        }
    }

    /// A node dies; another one takes its place.
    fn kill(&mut self, who: usize, json: &str) {
        let node = std::mem::replace(&mut self.nodes[who], Node::new(self.next_id, json));
        self.next_id += 1;
        self.dead += node.spent + node.reserved;
        // Its files deliver its last records: estimates for requests that had not ended.
        self.ledger.insert(node.id, node.spent + node.reserved);
        self.pool.retire("Project Day19781", node.id, node.spent + node.reserved);
    }

    /// A node is lost: it says nothing for a long time, and its part is released. Half of them were only stopped.
    fn lose(&mut self, who: usize, json: &str) {
        let node = std::mem::replace(&mut self.nodes[who], Node::new(self.next_id, json));
        self.next_id += 1;
        let (account, ledger) = ("Project Day19781", self.ledger.get(&node.id).copied().unwrap_or_default());
        self.now += limits::LOST_MS;
        let charged = self.pool.release(account, node.id, ledger, self.now).unwrap();
        assert_eq!(
            self.pool.release(account, node.id, ledger, self.now),
            Some(charged),
            "once more changes nothing"
        );
        self.unreported += (node.spent + node.reserved - charged).max(0);
        self.freed += 1;
        self.stopped.push(node);
    }

    /// A stopped node continues, in the place of another one.
    fn resume(&mut self, who: usize, json: &str) {
        if let Some(node) = self.stopped.pop() {
            self.kill(who, json);
            self.nodes[who] = node;
        }
    }

    fn check(&self) {
        let all = self.nodes.iter().chain(&self.stopped);
        let live: i64 = all.map(|node| node.spent + node.reserved).sum();
        let most = CEILING + self.beyond + self.forgotten + self.unreported;
        assert!(live + self.dead <= most, "{live} + {} is more than {most}", self.dead);
    }
}

#[test]
fn no_ceiling_is_exceeded_when_messages_are_lost() {
    let json = r#"{"budgets":[{"usd":"0.000001","per":"day"}]}"#;
    let (mut admitted, mut refused, mut full) = (0, 0, 0);
    for seed in 0..300 {
        let mut world = World::new(seed, 2 + (seed % 3) as u32, json);
        for _ in 0..600 {
            world.step(json, false);
            world.check();
        }
        admitted += world.admitted;
        let live: i64 = world.nodes.iter().map(|node| node.spent).sum();
        full += u64::from(live + world.dead > CEILING * 8 / 10);
        refused += u64::from(world.refused > 0);
    }
    assert!(admitted > 300 * 20, "{admitted}");
    assert!(refused > 250, "the ceiling is reached: {refused}");
    assert!(full > 120, "unused amounts are returned and spent by others: {full}");
}

#[test]
fn a_store_that_forgot_everything_exceeds_ceilings_at_most_by_the_nodes_parts() {
    let json = r#"{"budgets":[{"usd":"0.000001","per":"day"}]}"#;
    for seed in 1000..1200 {
        let mut world = World::new(seed, 3, json);
        for _ in 0..600 {
            world.step(json, true);
            world.check();
        }
    }
}

/// Neither a lost node nor one that continues after its part was released exceeds the ceiling by more than the
/// lost nodes had used since their last message.
#[test]
fn parts_of_lost_nodes_are_spent_once() {
    let json = r#"{"budgets":[{"usd":"0.000001","per":"day"}]}"#;
    let (mut lost, mut unreported, mut full) = (0, 0, 0);
    for seed in 3000..3300 {
        let mut world = World::new(seed, 3, json);
        for step in 0..600 {
            world.step(json, false);
            let who = world.below(3) as usize;
            match (step % 50, world.below(2)) {
                (30, 0) => world.lose(who, json),
                (40, 0) => world.resume(who, json),
                _ => {}
            }
            world.check();
        }
        lost += world.freed;
        unreported += i64::from(world.unreported > 0);
        let nodes = world.nodes.iter().chain(&world.stopped);
        let used = nodes.map(|node| node.spent + node.reserved).sum::<i64>() + world.dead;
        full += u64::from(used > CEILING * 8 / 10);
    }
    assert!(lost > 1000 && unreported < 300, "{lost} {unreported}");
    assert!(full > 120, "what lost nodes held in advance is spent by others: {full}");
}

#[test]
fn a_part_lasts_ten_minutes_without_the_store() {
    let json = r#"{"budgets":[{"usd":"0.000001","per":"total"}]}"#;
    let (mut pool, mut node) = (Pool::default(), Node::new(0, json));
    let Err(Some(short)) = node.reserve(100, Others::Unasked, NOON) else { panic!("it has nothing yet") };
    let mut account = String::new();
    for demand in node.book.demands(Some(&short), false, NOON) {
        account = name(&demand);
        pool.begin(&name(&demand), &BTreeMap::new());
        let answer = pool.serve(&name(&demand), 0, &demand.wanted, NOON).unwrap();
        node.book.granted(&demand, &answer, NOON);
    }
    node.reserve(60, Others::Unasked, NOON + limits::PART_MS - 1).unwrap();
    assert!(matches!(node.reserve(30, Others::Unasked, NOON + limits::PART_MS), Err(Some(_))));
    assert_eq!(
        pool.release(&account, 0, 10, NOON + limits::LOST_MS - 1),
        None,
        "it may still spend its part"
    );
    assert_eq!(pool.release(&account, 0, 10, NOON + limits::LOST_MS), Some(100), "what it had asked for");
}

#[test]
fn places_and_rates_are_limited_over_all_nodes() {
    let json = format!(r#"{{"limits":[{{"concurrent":{PLACES}}},{{"requests":{REQUESTS},"per":"day"}}]}}"#);
    let mut admitted = 0;
    for seed in 2000..2200 {
        let mut world = World::new(seed, 3, &json);
        for _ in 0..400 {
            world.step(&json, false);
            let open: usize = world.nodes.iter().map(|node| node.open.len()).sum();
            // Other nodes get the places of a dead node after a time without reports; here the node is
            // removed at once.
            assert!(open as u64 <= PLACES, "seed {seed}: {open}");
            let leaked = REQUESTS * (world.now - NOON) as u64 / limits::DAY_MS as u64 + 1;
            assert!(world.admitted <= REQUESTS + leaked, "seed {seed}: {}", world.admitted);
        }
        admitted += world.admitted;
    }
    assert!(admitted > 200 * 10, "{admitted}");
}

#[test]
fn a_node_without_the_store_counts_alone() {
    let json = r#"{"budgets":[{"usd":"0.000001","per":"day"}],"limits":[{"requests":2,"per":"minute"},{"concurrent":3}]}"#;
    let mut node = Node::new(0, json);
    assert!(matches!(node.reserve(10, Others::Unasked, NOON), Err(Some(short)) if short.len() == 3));
    node.reserve(10, Others::Away, NOON).unwrap();
    node.reserve(10, Others::Away, NOON).unwrap();
    assert_eq!(node.reserve(10, Others::Away, NOON), Err(None), "two requests a minute");
    // When the store answers again it learns everything that was used.
    let demands = node.book.demands(None, false, NOON);
    let owed = demands.iter().find_map(|demand| match demand.wanted {
        Amount::Rate { owed, .. } => Some(owed),
        _ => None,
    });
    assert_eq!(owed, Some(2));
    let has = demands.iter().find_map(|demand| match demand.wanted {
        Amount::Money { has, .. } => Some(has),
        _ => None,
    });
    assert_eq!(has, Some(Pico(20)));
}

#[test]
fn a_refusal_is_remembered_for_a_short_time() {
    let json = r#"{"budgets":[{"usd":"0.0000000001","per":"day"}]}"#;
    let (mut pool, mut first, mut second) = (Pool::default(), Node::new(0, json), Node::new(1, json));
    let mut lease = |node: &mut Node, cost, now| {
        let Err(Some(short)) = node.reserve(cost, Others::Unasked, now) else { return false };
        for demand in node.book.demands(Some(&short), false, now) {
            let name = name(&demand);
            pool.begin(&name, &BTreeMap::new());
            let answer = pool.serve(&name, node.id, &demand.wanted, now).unwrap();
            node.book.granted(&demand, &answer, now);
        }
        true
    };
    assert!(lease(&mut first, 90, NOON));
    first.reserve(90, Others::Asked, NOON).unwrap();
    assert!(lease(&mut second, 20, NOON));
    assert_eq!(second.reserve(20, Others::Asked, NOON), Err(None));
    assert_eq!(second.reserve(25, Others::Unasked, NOON + 100), Err(None), "the store has just refused it");
    assert!(
        matches!(second.reserve(5, Others::Unasked, NOON + 100), Err(Some(_)) | Ok(())),
        "a smaller amount may fit"
    );
    assert!(matches!(second.reserve(20, Others::Unasked, NOON + 300), Err(Some(_))), "asked again later");
}
