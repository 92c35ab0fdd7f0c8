//! The counters of a project and of its keys, and what is reserved of them.

use std::collections::HashMap;
use std::sync::Arc;

use canon::Pico;

use crate::policy::{Limit, OnExhausted, Period, Policy};
use crate::rule::{AccountId, Quantity, Rule, Scope};
use crate::{Bucket, Pattern, Window, day_of};

/// Of a budget's ceiling, in per cent: what somebody is told when so much is spent.
const THRESHOLDS: [u8; 3] = [50, 80, 100];
/// How often overdue reservations are looked for, at most.
const SWEEP_EVERY_MS: i64 = 60_000;
/// When to try again where only the end of another request makes room.
const CONCURRENT_RETRY_MS: u64 = 1000;

/// What a request may take at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The money.
    pub cost: Pico,
    /// Tokens of prompt and answer.
    pub tokens: u64,
    /// The request is served by the alias that a budget names for when it is exhausted: such budgets count it, and do not
    /// refuse it.
    pub is_downgraded: bool,
    /// When the reservation is overdue, in milliseconds since 1970.
    pub deadline_ms: i64,
}

/// What a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actual {
    /// The money that it is charged.
    pub cost: Pico,
    /// Tokens; none where they are unknown, which keeps the estimate.
    pub tokens: Option<u64>,
}

/// A reservation. Whoever has it must settle it, once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is reserved stays reserved until it is settled"]
pub struct Ticket {
    slot: u32,
}

/// How much of a limit is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// The limit.
    pub limit: u64,
    /// What is left.
    pub remaining: u64,
    /// How long until all of it is there again.
    pub reset_ms: u64,
}

/// What is left for the next request, by the tightest limit of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Requests.
    pub requests: Option<Figure>,
    /// Tokens.
    pub tokens: Option<Figure>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A budget is exhausted, or the rest of it is smaller than what the request may cost.
    Exhausted {
        /// The budget.
        rule: Box<Rule>,
        /// What is neither spent nor reserved.
        left: Pico,
        /// What the request may cost.
        needed: Pico,
        /// How long until the next window; none for all time.
        retry_ms: Option<u64>,
    },
    /// A budget is exhausted, and says who serves then.
    Downgrade {
        /// The alias.
        alias: String,
    },
    /// A limit is reached.
    Limited {
        /// The limit.
        rule: Box<Rule>,
        /// How long until the request fits.
        retry_ms: u64,
    },
}

/// A refusal, with what is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// What is left.
    pub remaining: Remaining,
}

/// So much of a budget is spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whose budget it is.
    pub scope: Scope,
    /// In which time.
    pub per: Window,
    /// The first day of the window, in days since 1970-01-01.
    pub start: i64,
    /// The budget.
    pub ceiling: Pico,
    /// How much of it is spent at least, in per cent: 50, 80 or 100.
    pub percent: u8,
    /// What is spent.
    pub spent: Pico,
}

/// The accounts of one project and of its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    accounts: Vec<Account>,
    names: HashMap<Name, AccountId>,
    open: Vec<Open>,
    free: Vec<u32>,
    swept_ms: i64,
    notices: Vec<Notice>,
}

/// What tells accounts apart. A limit that is changed is another account, and begins anew; money that was spent stays
/// spent whatever the ceiling.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    scope: Scope,
    kind: Kind,
    model: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Money(Window),
    Requests(u64, Period),
    Tokens(u64, Period),
    Concurrent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Account {
    Money(Money),
    Requests(Bucket),
    Tokens(Bucket),
    Concurrent(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Money {
    scope: Scope,
    window: Window,
    /// The first day of the window.
    start: i64,
    spent: Pico,
    reserved: Pico,
    /// What was spent before this book began is in `spent`.
    is_loaded: bool,
    /// The budgets that are counted here, which differ in what they do when they are exhausted.
    ceilings: Vec<Ceiling>,
}

/// A budget, and what was noticed of it in the window that is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ceiling {
    amount: Pico,
    /// How many of [`THRESHOLDS`].
    noticed: usize,
}

impl Ceiling {
    fn new(amount: Pico) -> Self {
        Self { amount, noticed: 0 }
    }

    /// The highest threshold that is reached now and was not before.
    fn reached(&mut self, spent: Pico) -> Option<u8> {
        let before = self.noticed;
        while let Some(percent) = THRESHOLDS.get(self.noticed)
            && i128::from(spent.0) * 100 >= i128::from(self.amount.0) * i128::from(*percent)
        {
            self.noticed += 1;
        }
        (self.noticed > before).then(|| THRESHOLDS[self.noticed - 1])
    }
}

/// A reservation that is not settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Open {
    claims: Vec<Claim>,
    deadline_ms: i64,
    is_expired: bool,
}

/// What a reservation holds of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    account: AccountId,
    /// Money or tokens.
    taken: i64,
    /// Of the window that begins on this day.
    start: i64,
}

impl Claim {
    /// What it holds of the window that is running.
    fn held_of(&self, money: &Money) -> i64 {
        if self.start == money.start { self.taken } else { 0 }
    }
}

impl Money {
    /// Begins the window of a day, unless it has begun. Days never go back.
    fn roll(&mut self, day: i64) {
        let start = self.window.start(day);
        if start > self.start {
            self.start = start;
            self.spent = Pico::ZERO;
            self.reserved = Pico::ZERO;
            self.ceilings.iter_mut().for_each(|ceiling| ceiling.noticed = 0);
        }
    }

    /// Notes which budgets have reached a threshold. Those of a moment at which much was spent share a notice.
    fn notice(&mut self, notices: &mut Vec<Notice>) {
        for ceiling in &mut self.ceilings {
            if let Some(percent) = ceiling.reached(self.spent) {
                notices.push(Notice {
                    scope: self.scope.clone(),
                    per: self.window,
                    start: self.start,
                    ceiling: ceiling.amount,
                    percent,
                    spent: self.spent,
                });
            }
        }
    }

    /// Counts for these budgets from now on, and for no other.
    fn set_ceilings(&mut self, ceilings: impl Iterator<Item = Pico>) {
        let known = std::mem::take(&mut self.ceilings);
        let one = |amount| known.iter().find(|it| it.amount == amount).copied();
        self.ceilings = ceilings.map(|amount| one(amount).unwrap_or(Ceiling::new(amount))).collect();
    }

    fn left(&self, ceiling: Pico) -> Pico {
        Pico(ceiling.0.saturating_sub(self.spent.0).saturating_sub(self.reserved.0))
    }
}

impl Book {
    /// The rules of a policy, with their accounts; those that are not there are begun.
    pub fn rules(&mut self, scope: &Scope, policy: &Policy) -> Vec<Rule> {
        let mut rules = Vec::with_capacity(policy.budgets.len() + policy.limits.len());
        self.set_ceilings(scope, policy);
        for budget in &policy.budgets {
            let account = self.account(scope, Kind::Money(budget.per), None);
            let quantity = Quantity::Money {
                ceiling: budget.usd,
                per: budget.per,
                on_exhausted: budget.on_exhausted.clone(),
            };
            rules.push(Rule { account, scope: scope.clone(), quantity, model: None });
        }
        for limit in &policy.limits {
            let Some((kind, quantity)) = kind_of(limit) else { continue };
            let account = self.account(scope, kind, limit.model.as_deref());
            let model = limit.model.as_deref().map(Pattern::new);
            rules.push(Rule { account, scope: scope.clone(), quantity, model });
        }
        rules
    }

    /// What is noticed of the budgets of this scope is what the policy says now.
    fn set_ceilings(&mut self, scope: &Scope, policy: &Policy) {
        for window in Window::ALL {
            let name = Name { scope: scope.clone(), kind: Kind::Money(window), model: None };
            let is_new = !self.names.contains_key(&name);
            let ceilings = policy.budgets.iter().filter(|it| it.per == window).map(|it| it.usd);
            if is_new && ceilings.clone().next().is_none() {
                continue;
            }
            let account = self.account(scope, Kind::Money(window), None);
            if let Some(Account::Money(money)) = self.accounts.get_mut(account.0 as usize) {
                money.set_ceilings(ceilings);
            }
        }
    }

    /// What was noticed since this was last called.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn account(&mut self, scope: &Scope, kind: Kind, model: Option<&str>) -> AccountId {
        let name = Name { scope: scope.clone(), kind, model: model.map(Arc::from) };
        if let Some(id) = self.names.get(&name) {
            return *id;
        }
        let id = AccountId(self.accounts.len() as u32);
        self.accounts.push(match kind {
            Kind::Money(window) => Account::Money(Money {
                scope: scope.clone(),
                window,
                start: i64::MIN,
                spent: Pico::ZERO,
                reserved: Pico::ZERO,
                is_loaded: false,
                ceilings: Vec::new(),
            }),
            Kind::Requests(limit, per) => Account::Requests(Bucket::new(limit, per.ms())),
            Kind::Tokens(limit, per) => Account::Tokens(Bucket::new(limit, per.ms())),
            Kind::Concurrent => Account::Concurrent(0),
        });
        self.names.insert(name, id);
        id
    }

    /// Budgets of which it is not known what was spent before.
    pub fn unloaded(&self) -> Vec<(AccountId, Scope, Window)> {
        let money = self.accounts.iter().enumerate().filter_map(|(index, account)| match account {
            Account::Money(money) if !money.is_loaded => Some((index, money)),
            _ => None,
        });
        money.map(|(index, money)| (AccountId(index as u32), money.scope.clone(), money.window)).collect()
    }

    /// Says what was spent before, in the window of this time.
    pub fn load(&mut self, account: AccountId, spent: Pico, now_ms: i64) {
        if let Some(Account::Money(money)) = self.accounts.get_mut(account.0 as usize)
            && !money.is_loaded
        {
            money.roll(day_of(now_ms));
            money.spent += spent;
            money.is_loaded = true;
            money.notice(&mut self.notices);
        }
    }

    /// What is spent and what is reserved, for a rule about money.
    pub fn spent(&self, account: AccountId, now_ms: i64) -> Option<(Pico, Pico)> {
        let Account::Money(money) = self.accounts.get(account.0 as usize)? else { return None };
        let is_over = money.window.start(day_of(now_ms)) > money.start;
        Some(if is_over { (Pico::ZERO, Pico::ZERO) } else { (money.spent, money.reserved) })
    }

    /// How many requests are under way, for a rule about concurrency.
    pub fn held(&self, account: AccountId) -> Option<u64> {
        match self.accounts.get(account.0 as usize)? {
            Account::Concurrent(held) => Some(*held),
            _ => None,
        }
    }

    /// How many reservations are not settled.
    pub fn open(&self) -> usize {
        self.open.len() - self.free.len()
    }

    /// Reserves what a request may take, of every rule, or changes nothing.
    pub fn reserve<'r>(
        &mut self,
        rules: impl Iterator<Item = &'r Rule> + Clone,
        ask: Ask,
        now_ms: i64,
    ) -> Result<(Ticket, Remaining), Refused> {
        self.sweep(now_ms);
        self.check(rules.clone(), &[], ask, now_ms)?;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.open.push(Open::default());
            self.open.len() as u32 - 1
        });
        self.take(slot, rules.clone(), ask);
        Ok((Ticket { slot }, self.remaining(rules)))
    }

    /// Makes a reservation large enough for another attempt: by another model, or a more expensive provider. Requests and
    /// places that it has are not taken again. A refusal leaves it as it was.
    pub fn raise<'r>(
        &mut self,
        ticket: &Ticket,
        rules: impl Iterator<Item = &'r Rule> + Clone,
        ask: Ask,
        now_ms: i64,
    ) -> Result<(), Refused> {
        let Some(open) = self.open.get_mut(ticket.slot as usize) else { return Ok(()) };
        let claims = std::mem::take(&mut open.claims);
        let checked = self.check(rules.clone(), &claims, ask, now_ms);
        self.open[ticket.slot as usize].claims = claims;
        checked?;
        self.take(ticket.slot, rules, ask);
        Ok(())
    }

    /// Puts what a request took in the place of what was reserved.
    pub fn settle(&mut self, ticket: Ticket, actual: Actual) {
        let Some(open) = self.open.get_mut(ticket.slot as usize) else { return };
        let mut open = std::mem::take(open);
        for claim in open.claims.drain(..) {
            match self.accounts.get_mut(claim.account.0 as usize) {
                Some(Account::Money(money)) if money.start == claim.start => {
                    let held = if open.is_expired { &mut money.spent } else { &mut money.reserved };
                    held.0 = held.0.saturating_sub(claim.taken);
                    money.spent += actual.cost;
                    money.notice(&mut self.notices);
                }
                Some(Account::Tokens(bucket)) => {
                    let (taken, used) = (claim.taken as u64, actual.tokens.unwrap_or(claim.taken as u64));
                    bucket.take_back(taken.saturating_sub(used));
                    bucket.pour(used.saturating_sub(taken));
                }
                Some(Account::Concurrent(held)) => *held = held.saturating_sub(1),
                _ => {}
            }
        }
        // The list of claims keeps its room for the next reservation in this place.
        open.is_expired = false;
        self.open[ticket.slot as usize] = open;
        self.free.push(ticket.slot);
    }

    /// Counts overdue reservations as spent: whoever has them does not answer. Should they be settled after all, the real
    /// cost takes the place of the estimate. Returns how many expired.
    pub fn expire(&mut self, now_ms: i64) -> usize {
        let mut expired = 0;
        for open in &mut self.open {
            if open.is_expired || open.claims.is_empty() || open.deadline_ms > now_ms {
                continue;
            }
            open.is_expired = true;
            expired += 1;
            for claim in &open.claims {
                if let Some(Account::Money(money)) = self.accounts.get_mut(claim.account.0 as usize)
                    && money.start == claim.start
                {
                    money.reserved.0 = money.reserved.0.saturating_sub(claim.taken);
                    money.spent += Pico(claim.taken);
                    money.notice(&mut self.notices);
                }
            }
        }
        expired
    }

    fn sweep(&mut self, now_ms: i64) {
        if now_ms.saturating_sub(self.swept_ms) >= SWEEP_EVERY_MS {
            self.swept_ms = now_ms;
            self.expire(now_ms);
        }
    }

    /// Whether everything fits. Of several reasons the budget that is exhausted comes first, for waiting does not help
    /// there; then the limit that takes longest; then the budget that says who else serves.
    fn check<'r>(
        &mut self,
        rules: impl Iterator<Item = &'r Rule> + Clone,
        claims: &[Claim],
        ask: Ask,
        now_ms: i64,
    ) -> Result<(), Refused> {
        let day = day_of(now_ms);
        let (mut exhausted, mut limited, mut downgrade): (_, Option<(&Rule, u64)>, _) = (None, None, None);
        for rule in rules.clone() {
            let claim = claims.iter().find(|claim| claim.account == rule.account);
            let has = claim.map_or(0, |claim| claim.taken);
            let Some(account) = self.accounts.get_mut(rule.account.0 as usize) else { continue };
            let wait_ms = match (account, &rule.quantity) {
                (Account::Money(money), Quantity::Money { ceiling, on_exhausted, .. }) => {
                    money.roll(day);
                    let has = claim.map_or(0, |claim| claim.held_of(money));
                    let more = ask.cost.0.saturating_sub(has);
                    if more > 0 && more > money.left(*ceiling).0 {
                        match on_exhausted {
                            OnExhausted::Block => {
                                exhausted = exhausted.or(Some((rule, money.left(*ceiling), money.window)));
                            }
                            OnExhausted::Downgrade(_) if ask.is_downgraded => {}
                            OnExhausted::Downgrade(alias) => downgrade = downgrade.or(Some(alias)),
                        }
                    }
                    0
                }
                (Account::Requests(bucket), _) if claim.is_none() => {
                    bucket.leak(now_ms);
                    bucket.wait_ms(1).unwrap_or(u64::MAX)
                }
                (Account::Tokens(bucket), _) => {
                    bucket.leak(now_ms);
                    let more = ask.tokens.saturating_sub(has as u64);
                    bucket.wait_ms(more).unwrap_or(u64::MAX)
                }
                (Account::Concurrent(held), Quantity::Concurrent(most)) if claim.is_none() => {
                    if *held < *most { 0 } else { CONCURRENT_RETRY_MS }
                }
                _ => 0,
            };
            if wait_ms > limited.map_or(0, |(_, longest)| longest) {
                limited = Some((rule, wait_ms));
            }
        }
        let refusal = if let Some((rule, left, window)) = exhausted {
            let left = left.max(Pico::ZERO);
            let retry_ms = window.left_ms(now_ms);
            Refusal::Exhausted { rule: Box::new(rule.clone()), left, needed: ask.cost, retry_ms }
        } else if let Some((rule, retry_ms)) = limited {
            Refusal::Limited { rule: Box::new(rule.clone()), retry_ms }
        } else if let Some(alias) = downgrade {
            Refusal::Downgrade { alias: alias.clone() }
        } else {
            return Ok(());
        };
        Err(Refused { refusal, remaining: self.remaining(rules) })
    }

    /// Takes what was found to fit.
    fn take<'r>(&mut self, slot: u32, rules: impl Iterator<Item = &'r Rule>, ask: Ask) {
        let open = &mut self.open[slot as usize];
        open.deadline_ms = ask.deadline_ms;
        for rule in rules {
            let Some(account) = self.accounts.get_mut(rule.account.0 as usize) else { continue };
            let known = open.claims.iter().position(|claim| claim.account == rule.account);
            let has = known.map_or(0, |index| open.claims[index].taken);
            let mut claim = match known {
                Some(index) => open.claims[index],
                None => Claim { account: rule.account, taken: 0, start: 0 },
            };
            match account {
                Account::Money(money) => {
                    // A window that has begun since holds nothing of it yet.
                    let has = claim.held_of(money).min(has);
                    let more = ask.cost.0.saturating_sub(has).max(0);
                    let held = if open.is_expired { &mut money.spent } else { &mut money.reserved };
                    *held += Pico(more);
                    claim = Claim { taken: has.saturating_add(more), start: money.start, ..claim };
                }
                Account::Tokens(bucket) => {
                    let more = ask.tokens.saturating_sub(has as u64);
                    bucket.pour(more);
                    claim.taken = has.saturating_add(i64::try_from(more).unwrap_or(i64::MAX));
                }
                Account::Requests(bucket) if known.is_none() => bucket.pour(1),
                Account::Concurrent(held) if known.is_none() => *held += 1,
                _ => {}
            }
            match known {
                Some(index) => open.claims[index] = claim,
                None => open.claims.push(claim),
            }
        }
    }

    fn remaining<'r>(&self, rules: impl Iterator<Item = &'r Rule>) -> Remaining {
        let mut remaining = Remaining::default();
        for rule in rules {
            let (figure, bucket) = match self.accounts.get(rule.account.0 as usize) {
                Some(Account::Requests(bucket)) => (&mut remaining.requests, bucket),
                Some(Account::Tokens(bucket)) => (&mut remaining.tokens, bucket),
                _ => continue,
            };
            let left = bucket.remaining();
            if figure.is_none_or(|other| left < other.remaining) {
                *figure =
                    Some(Figure { limit: bucket.limit(), remaining: left, reset_ms: bucket.reset_ms() });
            }
        }
        remaining
    }
}

fn kind_of(limit: &Limit) -> Option<(Kind, Quantity)> {
    match (limit.requests, limit.tokens, limit.concurrent, limit.per) {
        (Some(most), None, None, Some(per)) => {
            Some((Kind::Requests(most, per), Quantity::Requests(most, per)))
        }
        (None, Some(most), None, Some(per)) => Some((Kind::Tokens(most, per), Quantity::Tokens(most, per))),
        (None, None, Some(most), None) => Some((Kind::Concurrent, Quantity::Concurrent(most))),
        _ => None,
    }
}
