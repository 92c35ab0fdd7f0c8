//! Charges by day: the sums of the usage records, written in the transaction that inserts them.

use std::collections::BTreeMap;

/// The charge of a new record.
pub(crate) struct Charge<'a> {
    pub(crate) key_id: &'a str,
    pub(crate) project: &'a str,
    pub(crate) day: i64,
    /// None when the price is unknown.
    pub(crate) charged: Option<i64>,
}

/// The charge of a scope on one day.
#[derive(Default)]
pub(crate) struct Charged {
    pub(crate) spent: i64,
    pub(crate) requests: i64,
    pub(crate) unpriced: i64,
}

/// The sums of many charges, in the order of the table: by scope and day.
#[derive(Default)]
pub(crate) struct Charges {
    pub(crate) scopes: BTreeMap<String, BTreeMap<i64, Charged>>,
    name: String,
}

impl Charges {
    pub(crate) fn add(&mut self, charge: &Charge<'_>) {
        for (kind, id) in [("key:", charge.key_id), ("project:", charge.project)] {
            self.name.clear();
            self.name.push_str(kind);
            self.name.push_str(id);
            if !self.scopes.contains_key(&self.name) {
                self.scopes.insert(self.name.clone(), BTreeMap::new());
            }
            let Some(days) = self.scopes.get_mut(&self.name) else { continue };
            let sum = days.entry(charge.day).or_default();
            sum.spent = sum.spent.saturating_add(charge.charged.unwrap_or(0));
            sum.requests += 1;
            sum.unpriced += i64::from(charge.charged.is_none());
        }
    }
}

/// The spending in each window that a day belongs to, in 10⁻¹² USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// From each of three first days on.
    pub since: [i64; 3],
    /// In all time.
    pub total: i64,
}

/// One day of a project or a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerDay {
    /// `project:ID` or `key:ID`.
    pub scope: String,
    /// Days since 1970-01-01.
    pub day: i64,
    /// In 10⁻¹² USD.
    pub spent_pico: i64,
    pub requests: i64,
    /// How many of them have no known price.
    pub unpriced: i64,
}

pub(crate) const SPENT_OF: &str = "SELECT scope,
        CAST(sum(CASE WHEN day >= $1 THEN spent_pico ELSE 0 END) AS BIGINT),
        CAST(sum(CASE WHEN day >= $2 THEN spent_pico ELSE 0 END) AS BIGINT),
        CAST(sum(CASE WHEN day >= $3 THEN spent_pico ELSE 0 END) AS BIGINT),
        CAST(sum(spent_pico) AS BIGINT)
    FROM ledger WHERE scope = $4 GROUP BY scope";
pub(crate) const SPENT: &str = "SELECT scope,
        CAST(sum(CASE WHEN day >= $1 THEN spent_pico ELSE 0 END) AS BIGINT),
        CAST(sum(CASE WHEN day >= $2 THEN spent_pico ELSE 0 END) AS BIGINT),
        CAST(sum(CASE WHEN day >= $3 THEN spent_pico ELSE 0 END) AS BIGINT),
        CAST(sum(spent_pico) AS BIGINT)
    FROM ledger GROUP BY scope";
pub(crate) const DAYS: &str = "SELECT scope, day, spent_pico, requests, unpriced FROM ledger
    WHERE scope = $1 AND day >= $2 ORDER BY day DESC LIMIT $3";

pub(crate) type SpentRow = (String, i64, i64, i64, i64);

pub(crate) fn spent((scope, first, second, third, total): SpentRow) -> (String, Spent) {
    (scope, Spent { since: [first, second, third], total })
}

/// The charges of each process in a scope from a day on; under the empty name those from before processes had
/// names.
pub(crate) const BY_NODE: &str = "SELECT node, CAST(sum(spent_pico) AS BIGINT) FROM node_ledger
        WHERE scope = $1 AND day >= $2 GROUP BY node
    UNION ALL
    SELECT '', CAST(coalesce((SELECT sum(spent_pico) FROM ledger WHERE scope = $1 AND day >= $2), 0)
        - coalesce((SELECT sum(spent_pico) FROM node_ledger WHERE scope = $1 AND day >= $2), 0) AS BIGINT)";
