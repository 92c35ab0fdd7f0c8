//! The messages between nodes that share counters and their common store.
//!
//! A node holds a part of each shared account and takes from it without asking. It sends a [`Demand`] when its
//! part is too small for a request, and periodically to return what it does not use and to report what it has
//! spent. The store answers ([`Granted`]) in one step for all accounts of a project. The store always believes
//! the part that a node reports as its own, so that a store that lost its memory learns everything again. A
//! node does not use a returned amount from the moment it sends the message. A lost message, in either
//! direction, therefore leaves the store's sum too high and never too low.
//!
//! [`Pool`] is the store's side. The script in Redis does the same; a test compares the two.

use std::collections::BTreeMap;
use std::sync::Arc;

use canon::Pico;

use crate::policy::Period;
use crate::rule::{AccountId, Scope};
use crate::{Bucket, Window};

/// The state of the other nodes, where counters are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Others {
    /// Not asked yet: a missing amount is [`Refusal::Short`].
    #[default]
    Unasked,
    /// Asked just now: a missing amount is refused.
    Asked,
    /// They do not answer: this node counts alone, starting from their last known state.
    Away,
}

/// This node's part of an account is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    pub(crate) account: AccountId,
    pub(crate) missing: i64,
}

/// A node's report about an account, and its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    pub(crate) account: AccountId,
    /// The owner of the account within its project.
    pub scope: Scope,
    /// Only for these models.
    pub model: Option<Arc<str>>,
    pub wanted: Amount,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Money of a budget. Amounts are those of this window since the node began.
    Money {
        window: Window,
        /// The first day of the window.
        start: i64,
        ceiling: Pico,
        spent: Pico,
        /// The amount that it already may spend and reserve.
        has: Pico,
        /// The amount that the waiting request needs.
        needed: Pico,
        want: Pico,
    },
    /// Requests or tokens of a rate.
    Rate {
        /// Tokens, not requests.
        is_tokens: bool,
        limit: u64,
        period: Period,
        /// Used without having been taken; the store takes it whether it fits or not.
        owed: u64,
        /// Needed by the waiting request: all or nothing.
        needed: u64,
        /// Taken if it is available.
        want: u64,
        /// Taken before and not needed.
        back: u64,
    },
    /// Requests at a time.
    Places {
        most: u64,
        /// How many the node already has.
        has: u64,
        /// How many the waiting request needs.
        needed: u64,
        /// How many the node prefers to have.
        want: u64,
    },
}

/// The store's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// Of a budget.
    Money {
        /// The amount that this node may have spent and reserved.
        allowed: Pico,
        /// The same for all nodes, this one included.
        all_allowed: Pico,
        /// Spent by all nodes, this one included.
        all_spent: Pico,
    },
    Rate {
        /// Taken, out of the wanted amount.
        taken: u64,
        /// The level of the bucket, in units times milliseconds of its period.
        level_ms: u64,
    },
    /// Of requests at a time.
    Places {
        /// How many places this node has.
        allowed: u64,
    },
}

/// The rate at which an account is used, from one report to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    used: i64,
    pace: i64,
}

impl Pace {
    pub(crate) fn add(&mut self, more: i64) {
        self.used = self.used.saturating_add(more);
    }

    /// How much to hold: about the use within two report intervals. `is_report` starts the next measurement.
    pub(crate) fn slack(&mut self, is_report: bool) -> i64 {
        let used = self.used.max(0);
        if is_report {
            // An idle node returns everything. A later burst then costs one question, while an amount held
            // here would be refused elsewhere.
            self.pace = if used == 0 { 0 } else { used.max(self.pace / 2) };
            self.used = 0;
        }
        self.pace.saturating_mul(2).max(used)
    }
}

/// The common store's side: the shared accounts by name. It does the same as the script in the store, for
/// simulations and tests.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    accounts: BTreeMap<String, Common>,
}

#[derive(Clone, Debug)]
enum Common {
    Money { allowed: BTreeMap<u32, i64>, spent: BTreeMap<u32, i64>, last: BTreeMap<u32, Last> },
    Rate(Bucket),
    Places(BTreeMap<u32, (u64, i64)>),
}

/// A node's last message about an account of money.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// The amount that it had spent and reserved.
    used: i64,
    at_ms: i64,
}

/// The part of a node that has `has` and wants more or less. An amount below what it needs is left to others.
fn part(left: i64, has: i64, needed: i64, want: i64) -> i64 {
    if want <= has {
        want
    } else if has + left.max(0) < needed {
        has
    } else {
        has + left.clamp(0, want - has)
    }
}

/// A node without a report for this long loses its places, in milliseconds.
pub const GONE_MS: i64 = 15_000;
/// A node gives up what it holds of budgets in advance when the store has not answered for this long, in
/// milliseconds: the store may give it to others later.
pub const PART_MS: i64 = 600_000;
/// The store releases the part of a lost node only if it has been silent for this long. It exceeds
/// [`PART_MS`], so that a node that was only stopped spends nothing that others were given.
pub const LOST_MS: i64 = 900_000;

impl Pool {
    /// Serves a demand of a node for this account. None when it wants money and the account is unknown:
    /// [`Pool::begin`] then sets the amount spent before.
    pub fn serve(&mut self, name: &str, node: u32, wanted: &Amount, now_ms: i64) -> Option<Granted> {
        match *wanted {
            Amount::Money { ceiling, spent, has, needed, want, .. } => {
                let Some(Common::Money { allowed, spent: all_spent, last }) = self.accounts.get_mut(name)
                else {
                    return None;
                };
                all_spent.insert(node, spent.0);
                allowed.insert(node, has.0);
                let left = ceiling.0.saturating_sub(allowed.values().sum());
                let mine = part(left, has.0, needed.0, want.0);
                allowed.insert(node, mine);
                last.insert(node, Last { used: needed.0.min(mine), at_ms: now_ms });
                Some(Granted::Money {
                    allowed: Pico(mine),
                    all_allowed: Pico(allowed.values().sum()),
                    all_spent: Pico(all_spent.values().sum()),
                })
            }
            Amount::Rate { limit, period, owed, needed, want, back, .. } => {
                let begin = || Common::Rate(Bucket::new(limit, period.ms()));
                let common = self.accounts.entry(name.to_owned()).or_insert_with(begin);
                let Common::Rate(bucket) = common else { return None };
                bucket.leak(now_ms);
                bucket.take_back(back);
                bucket.pour(owed);
                let free = bucket.remaining();
                let taken = if want <= free {
                    want
                } else if bucket.wait_ms(needed) == Some(0) {
                    needed.max(free)
                } else {
                    0
                };
                bucket.pour(taken);
                Some(Granted::Rate { taken, level_ms: bucket.level_ms() })
            }
            Amount::Places { most, has, needed, want } => {
                let common =
                    self.accounts.entry(name.to_owned()).or_insert_with(|| Common::Places(BTreeMap::new()));
                let Common::Places(nodes) = common else { return None };
                nodes.retain(|_, (_, heard_ms)| now_ms - *heard_ms < GONE_MS);
                nodes.remove(&node);
                let others: u64 = nodes.values().map(|(places, _)| places).sum();
                let left = (most as i64).saturating_sub(others as i64).saturating_sub(has as i64);
                let mine = part(left, has as i64, needed as i64, want as i64) as u64;
                if mine > 0 {
                    nodes.insert(node, (mine, now_ms));
                }
                Some(Granted::Places { allowed: mine })
            }
        }
    }

    /// Begins an account of money, unless it is known, from each node's spending in the ledger.
    pub fn begin(&mut self, name: &str, spent: &BTreeMap<u32, i64>) {
        let begin = || Common::Money { allowed: spent.clone(), spent: spent.clone(), last: BTreeMap::new() };
        self.accounts.entry(name.to_owned()).or_insert_with(begin);
    }

    /// A node has ended, and the ledger contains all its spending.
    pub fn retire(&mut self, name: &str, node: u32, ledger: i64) {
        if let Some(Common::Money { allowed, spent, last }) = self.accounts.get_mut(name) {
            allowed.insert(node, ledger);
            spent.insert(node, ledger);
            last.remove(&node);
        }
    }

    /// A node will not deliver its records: what it had spent and reserved at its last message counts as spent,
    /// and the rest of its part is free. Returns what counts as spent; none if it has reported recently.
    pub fn release(&mut self, name: &str, node: u32, ledger: i64, now_ms: i64) -> Option<i64> {
        let Some(Common::Money { allowed, spent, last }) = self.accounts.get_mut(name) else {
            return Some(ledger);
        };
        if last.get(&node).is_some_and(|last| now_ms - last.at_ms < LOST_MS) {
            return None;
        }
        let used = last.remove(&node).map_or(0, |last| last.used);
        let charged = ledger.max(used).max(spent.get(&node).copied().unwrap_or_default());
        allowed.insert(node, charged);
        spent.insert(node, charged);
        Some(charged)
    }

    /// Loses everything, as a flushed store does.
    pub fn flush(&mut self) {
        self.accounts.clear();
    }
}
