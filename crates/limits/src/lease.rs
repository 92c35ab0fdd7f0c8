//! What nodes that share counters say to each other, through a common store.
//!
//! A node has a part of each shared account and takes from it without asking. It asks ([`Wish`]) when its part is too small
//! for a request, and once in a while to give back what it does not use and to say what it has spent. The store answers
//! ([`Told`]) in one step for all accounts of a project. What a node says that it *has* is always believed, so that a store
//! that lost its memory learns everything again; what is given back is not used from that moment on. So a message that is
//! lost, on its way there or back, leaves the store's sum too high and never too low.
//!
//! [`Pool`] is the store's side of it. The script that the store runs does the same; a test compares the two.

use std::collections::BTreeMap;
use std::sync::Arc;

use canon::Pico;

use crate::policy::Period;
use crate::rule::{AccountId, Scope};
use crate::{Bucket, Window};

/// What is known of the other nodes, where counters are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Others {
    /// They were not asked yet: what is missing is [`Refusal::Short`].
    #[default]
    Unasked,
    /// They were asked just now: what is missing is refused.
    Asked,
    /// They cannot be asked: this node counts for itself, beginning with what it last knew of them.
    Away,
}

/// This node's part of an account is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    pub(crate) account: AccountId,
    pub(crate) missing: i64,
}

/// What a node says about an account, and wants of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub(crate) account: AccountId,
    /// Whose the account is, within its project.
    pub scope: Scope,
    /// Only for these models.
    pub model: Option<Arc<str>>,
    /// What is wanted.
    pub wanted: Wanted,
}

/// What is wanted of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Money of a budget. The amounts are those of this window, since the node began.
    Money {
        /// The time in which it is spent.
        window: Window,
        /// The first day of the window.
        start: i64,
        /// The budget.
        ceiling: Pico,
        /// What the node has spent.
        spent: Pico,
        /// What it may spend and reserve already, or has.
        has: Pico,
        /// What it must be allowed for the request that waits.
        needed: Pico,
        /// What it would like to be allowed.
        want: Pico,
    },
    /// Requests or tokens of a rate.
    Rate {
        /// Tokens, not requests.
        is_tokens: bool,
        /// So many.
        limit: u64,
        /// In this time.
        period: Period,
        /// What was used without having been taken; it is taken whether it fits or not.
        owed: u64,
        /// What the request that waits needs: all of it, or nothing.
        needed: u64,
        /// What would be taken if it is there.
        want: u64,
        /// What was taken and is not needed.
        back: u64,
    },
    /// Requests at a time.
    Places {
        /// So many.
        most: u64,
        /// How many the node has already.
        has: u64,
        /// How many it must have for the request that waits.
        needed: u64,
        /// How many it would like to have.
        want: u64,
    },
}

/// What the store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Of a budget.
    Money {
        /// What this node may have spent and reserved.
        allowed: Pico,
        /// The same of all nodes, this one included.
        all_allowed: Pico,
        /// What all nodes have spent, this one included.
        all_spent: Pico,
    },
    /// Of a rate.
    Rate {
        /// What was taken, of what was wanted.
        taken: u64,
        /// How full the bucket is: until it is empty, in units times milliseconds of its period.
        level_ms: u64,
    },
    /// Of requests at a time.
    Places {
        /// How many places this node has.
        allowed: u64,
    },
}

/// How fast an account is used, from one report to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    used: i64,
    pace: i64,
}

impl Pace {
    pub(crate) fn add(&mut self, more: i64) {
        self.used = self.used.saturating_add(more);
    }

    /// How much to have at hand: about what two reports' time uses. `is_report` begins the next measure.
    pub(crate) fn slack(&mut self, is_report: bool) -> i64 {
        let used = self.used.max(0);
        if is_report {
            // Who pauses gives everything back: a burst later costs one question, and what is held here is refused elsewhere.
            self.pace = if used == 0 { 0 } else { used.max(self.pace / 2) };
            self.used = 0;
        }
        self.pace.saturating_mul(2).max(used)
    }
}

/// The common store's side: the shared accounts, by name. It is what the script in the store does, for simulations and tests.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    accounts: BTreeMap<String, Common>,
}

#[derive(Clone, Debug)]
enum Common {
    Money { allowed: BTreeMap<u32, i64>, spent: BTreeMap<u32, i64> },
    Rate(Bucket),
    Places(BTreeMap<u32, (u64, i64)>),
}

/// What a node gets that has so much and wants more, or less. What does not reach what it needs is left to others.
fn part(left: i64, has: i64, needed: i64, want: i64) -> i64 {
    if want <= has {
        want
    } else if has + left.max(0) < needed {
        has
    } else {
        has + left.clamp(0, want - has)
    }
}

/// A node that has not been heard of for this long has no places any more, in milliseconds.
pub const GONE_MS: i64 = 15_000;

impl Pool {
    /// Serves a wish of a node at an account of this name. None when money is wanted and nothing is known of the account:
    /// [`Pool::begin`] says what was spent before.
    pub fn serve(&mut self, name: &str, node: u32, wanted: &Wanted, now_ms: i64) -> Option<Told> {
        match *wanted {
            Wanted::Money { ceiling, spent, has, needed, want, .. } => {
                let Some(Common::Money { allowed, spent: all_spent }) = self.accounts.get_mut(name) else {
                    return None;
                };
                all_spent.insert(node, spent.0);
                allowed.insert(node, has.0);
                let left = ceiling.0.saturating_sub(allowed.values().sum());
                let mine = part(left, has.0, needed.0, want.0);
                allowed.insert(node, mine);
                Some(Told::Money {
                    allowed: Pico(mine),
                    all_allowed: Pico(allowed.values().sum()),
                    all_spent: Pico(all_spent.values().sum()),
                })
            }
            Wanted::Rate { limit, period, owed, needed, want, back, .. } => {
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
                Some(Told::Rate { taken, level_ms: bucket.level_ms() })
            }
            Wanted::Places { most, has, needed, want } => {
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
                Some(Told::Places { allowed: mine })
            }
        }
    }

    /// Begins an account of money, unless it is known: what each node spent, as the ledger has it.
    pub fn begin(&mut self, name: &str, spent: &BTreeMap<u32, i64>) {
        let begin = || Common::Money { allowed: spent.clone(), spent: spent.clone() };
        self.accounts.entry(name.to_owned()).or_insert_with(begin);
    }

    /// A node has ended, and the ledger has everything that it spent.
    pub fn retire(&mut self, name: &str, node: u32, ledger: i64) {
        if let Some(Common::Money { allowed, spent }) = self.accounts.get_mut(name) {
            allowed.insert(node, ledger);
            spent.insert(node, ledger);
        }
    }

    /// Loses everything, as a store does that is flushed.
    pub fn flush(&mut self) {
        self.accounts.clear();
    }
}
