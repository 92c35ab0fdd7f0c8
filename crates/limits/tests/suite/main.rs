//! Tests of policies, budgets and limits.
#![expect(clippy::unwrap_used, reason = "a helper of a test that panics fails the test")]

mod book;
mod bucket;
mod interleavings;
mod lease;
mod policy;

use canon::Pico;
use limits::{Ask, Book, Policy, Rule, Scope};

/// 2024-02-28, at noon.
pub const NOON: i64 = 19_781 * limits::DAY_MS + limits::DAY_MS / 2;

/// A policy, as it is written in JSON.
pub fn policy(json: &str) -> Policy {
    let policy: Policy = serde_json::from_str(json).unwrap();
    assert_eq!(policy.mistakes(), []);
    policy
}

/// A book with the rules of a project's policy and of a key's. Nothing was spent before.
pub fn book(project: &str, key: &str) -> (Book, Vec<Rule>) {
    let mut book = Book::default();
    let mut rules = book.rules(&Scope::Project, &policy(project));
    rules.extend(book.rules(&Scope::Key("k".into()), &policy(key)));
    for (account, ..) in book.unloaded(NOON) {
        book.load(account, Pico::ZERO, NOON);
    }
    (book, rules)
}

/// A request of at most this cost and these tokens.
pub fn ask(cost: i64, tokens: u64) -> Ask {
    Ask { cost: Pico(cost), tokens, deadline_ms: i64::MAX, ..Ask::default() }
}
