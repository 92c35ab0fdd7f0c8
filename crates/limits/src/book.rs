//! The counters of a project and of its keys, with the open reservations.

use std::collections::HashMap;
use std::sync::Arc;

use canon::Pico;

use crate::account::{Account, AccountName, Claim, ConcurrencyCount, Fit, Kind, Money, Notice, Rate};
use crate::lease::{Demand, Granted, Others, PART_MS, Short};
use crate::policy::{Limit, OnExhausted, Policy};
use crate::rule::{AccountId, Quantity, Rule, Scope};
use crate::{Pattern, Window, day_of};

/// Minimum time between two searches for overdue reservations.
const SWEEP_EVERY_MS: i64 = 60_000;
/// The wait before a retry when only the end of another request can make room.
const CONCURRENT_RETRY_MS: u64 = 1000;

/// The most that a request may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    pub cost: Pico,
    /// Tokens of prompt and answer.
    pub tokens: u64,
    /// The request is served by the alias that a budget names for its exhaustion: such budgets count the
    /// request and do not refuse it.
    pub is_downgraded: bool,
    /// The reservation is overdue after this time, in milliseconds since 1970.
    pub deadline_ms: i64,
    /// The policy when counters are shared and this node's part of them is too small.
    pub others: Others,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actual {
    /// The charged money.
    pub cost: Pico,
    /// None where the number is unknown: the estimate then stays.
    pub tokens: Option<u64>,
}

/// A reservation. Its holder must settle it exactly once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a reservation holds its amounts until it is settled"]
pub struct Ticket {
    slot: u32,
}

/// The state of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    pub limit: u64,
    /// The remaining amount.
    pub remaining: u64,
    /// How long until the full limit is available again.
    pub reset_ms: u64,
}

/// The remaining amounts for the next request, by the tightest limit of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    pub requests: Option<Figure>,
    pub tokens: Option<Figure>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A budget is exhausted, or its rest is smaller than the possible cost of the request.
    Exhausted {
        rule: Box<Rule>,
        /// Neither spent nor reserved.
        left: Pico,
        /// The possible cost of the request.
        needed: Pico,
        retry_ms: Option<u64>,
    },
    /// A budget is exhausted and names an alias that serves instead.
    Downgrade { alias: String },
    /// A limit is reached.
    Limited {
        rule: Box<Rule>,
        /// How long until the request fits.
        retry_ms: u64,
    },
    /// This node's part of shared counters is too small: ask the others for more, then try the reservation
    /// again.
    Short(Box<[Short]>),
}

/// A refusal and the remaining limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub refusal: Refusal,
    pub remaining: Remaining,
}

/// The accounts of one project and of its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    accounts: Vec<Account>,
    names: HashMap<AccountName, AccountId>,
    open: Vec<OpenReservation>,
    free: Vec<u32>,
    swept_ms: i64,
    notices: Vec<Notice>,
    /// Accounts of money that are new or have a new ceiling.
    unread: Vec<AccountId>,
    /// The name of each account when other nodes hold parts of them. None where this node is alone.
    shared: Option<Vec<AccountName>>,
    /// Nothing has changed since the last time there was nothing to report.
    is_quiet: bool,
    /// When the common store last answered.
    answered_ms: i64,
}

/// A reservation that is not settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OpenReservation {
    claims: Vec<Claim>,
    deadline_ms: i64,
    is_expired: bool,
}

impl Book {
    /// A book whose accounts other nodes share.
    pub fn shared() -> Self {
        Self { shared: Some(Vec::new()), ..Self::default() }
    }

    /// The rules of a policy, with their accounts. Creates the accounts that are missing.
    pub fn rules(&mut self, scope: &Scope, policy: &Policy) -> Vec<Rule> {
        let mut rules = Vec::with_capacity(policy.budgets.len() + policy.limits.len());
        let mut concurrent = HashMap::new();
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
            if let Quantity::Concurrent(most) = quantity {
                concurrent
                    .entry(account)
                    .and_modify(|least: &mut u64| *least = most.min(*least))
                    .or_insert(most);
            }
            let model = limit.model.as_deref().map(Pattern::new);
            rules.push(Rule { account, scope: scope.clone(), quantity, model });
        }
        for (account, most) in concurrent {
            if let Some(Account::Concurrent(places)) = self.accounts.get_mut(account.0 as usize) {
                places.most = most;
            }
        }
        rules
    }

    /// Notices for the budgets of this scope follow the policy from now on.
    fn set_ceilings(&mut self, scope: &Scope, policy: &Policy) {
        for window in Window::ALL {
            let name = AccountName { scope: scope.clone(), kind: Kind::Money(window), model: None };
            let is_new = !self.names.contains_key(&name);
            let ceilings = policy.budgets.iter().filter(|it| it.per == window).map(|it| it.usd);
            if is_new && ceilings.clone().next().is_none() {
                continue;
            }
            let account = self.account(scope, Kind::Money(window), None);
            if let Some(Account::Money(money)) = self.accounts.get_mut(account.0 as usize)
                && money.set_ceilings(ceilings)
                && money.is_loaded
            {
                self.unread.push(account);
            }
        }
    }

    /// Whether there are notices to take.
    pub fn has_notices(&self) -> bool {
        !self.notices.is_empty()
    }

    /// The notices since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn account(&mut self, scope: &Scope, kind: Kind, model: Option<&str>) -> AccountId {
        let name = AccountName { scope: scope.clone(), kind, model: model.map(Arc::from) };
        if let Some(id) = self.names.get(&name) {
            return *id;
        }
        let id = AccountId(self.accounts.len() as u32);
        let is_shared = self.shared.is_some();
        self.accounts.push(match kind {
            Kind::Money(window) => {
                self.unread.push(id);
                Account::Money(Money::new(scope.clone(), window, is_shared))
            }
            Kind::Requests(limit, per) => Account::Requests(Rate::new(limit, per, is_shared)),
            Kind::Tokens(limit, per) => Account::Tokens(Rate::new(limit, per, is_shared)),
            Kind::Concurrent => Account::Concurrent(ConcurrencyCount::new(is_shared)),
        });
        if let Some(names) = &mut self.shared {
            names.push(name.clone());
        }
        self.names.insert(name, id);
        id
    }

    /// Budgets whose earlier spending is not loaded yet. Notices the thresholds of new ceilings that are already
    /// reached: an exhausted budget settles nothing that would notice them.
    pub fn unloaded(&mut self, now_ms: i64) -> Vec<(AccountId, Scope, Window)> {
        let mut unloaded = Vec::new();
        for id in std::mem::take(&mut self.unread) {
            let Some(Account::Money(money)) = self.accounts.get_mut(id.0 as usize) else { continue };
            if money.is_loaded {
                money.look(day_of(now_ms), &mut self.notices);
            } else {
                unloaded.push((id, money.scope().clone(), money.window));
            }
        }
        self.unread.extend(unloaded.iter().map(|(id, ..)| *id));
        unloaded
    }

    /// Whether [`Book::unloaded`] has something to do.
    pub fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Sets the amount that was spent before, in the window of this time.
    pub fn load(&mut self, account: AccountId, spent: Pico, now_ms: i64) {
        if let Some(Account::Money(money)) = self.accounts.get_mut(account.0 as usize) {
            money.load(spent, day_of(now_ms), &mut self.notices);
        }
    }

    /// The amount spent (by other nodes too, as far as it is known) and reserved here, for a rule about
    /// money.
    pub fn spent(&self, account: AccountId, now_ms: i64) -> Option<(Pico, Pico)> {
        let Account::Money(money) = self.accounts.get(account.0 as usize)? else { return None };
        let is_over = money.window.start(day_of(now_ms)) > money.start;
        Some(if is_over { (Pico::ZERO, Pico::ZERO) } else { (money.total(), money.reserved) })
    }

    /// How many requests are under way, for a rule about concurrency.
    pub fn held(&self, account: AccountId) -> Option<u64> {
        match self.accounts.get(account.0 as usize)? {
            Account::Concurrent(places) => Some(places.held),
            _ => None,
        }
    }

    /// How many reservations are not settled.
    pub fn open(&self) -> usize {
        self.open.len() - self.free.len()
    }

    /// Reserves the most that a request may use under every rule, or changes nothing.
    pub fn reserve<'r>(
        &mut self,
        rules: impl Iterator<Item = &'r Rule> + Clone,
        ask: Ask,
        now_ms: i64,
    ) -> Result<(Ticket, Remaining), Refused> {
        self.sweep(now_ms);
        self.give_up_old_parts(now_ms);
        self.check(rules.clone(), &[], ask, now_ms)?;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.open.push(OpenReservation::default());
            self.open.len() as u32 - 1
        });
        self.take(slot, rules.clone(), ask);
        Ok((Ticket { slot }, self.remaining(rules)))
    }

    /// Enlarges a reservation for another attempt, by another model or a more expensive provider. Its
    /// requests and places are not taken again. A refusal leaves it unchanged.
    pub fn raise<'r>(
        &mut self,
        ticket: &Ticket,
        rules: impl Iterator<Item = &'r Rule> + Clone,
        ask: Ask,
        now_ms: i64,
    ) -> Result<(), Refused> {
        let Some(open) = self.open.get_mut(ticket.slot as usize) else { return Ok(()) };
        let claims = std::mem::take(&mut open.claims);
        self.give_up_old_parts(now_ms);
        let checked = self.check(rules.clone(), &claims, ask, now_ms);
        self.open[ticket.slot as usize].claims = claims;
        checked?;
        self.take(ticket.slot, rules, ask);
        Ok(())
    }

    /// Replaces a reservation by the actual use.
    pub fn settle(&mut self, ticket: Ticket, actual: Actual) {
        let Some(open) = self.open.get_mut(ticket.slot as usize) else { return };
        self.is_quiet = false;
        let mut open = std::mem::take(open);
        for claim in open.claims.drain(..) {
            match self.accounts.get_mut(claim.account.0 as usize) {
                Some(Account::Money(money)) if money.start == claim.start => {
                    money.settle(&claim, open.is_expired, actual.cost, &mut self.notices);
                }
                Some(Account::Tokens(rate)) => {
                    let (taken, used) = (claim.taken as u64, actual.tokens.unwrap_or(claim.taken as u64));
                    match taken.checked_sub(used) {
                        Some(less) => rate.take_back(less),
                        None => rate.take(used - taken),
                    }
                }
                Some(Account::Concurrent(places)) => places.give_back(),
                _ => {}
            }
        }
        // The list of claims keeps its capacity for the next reservation in this slot.
        open.is_expired = false;
        self.open[ticket.slot as usize] = open;
        self.free.push(ticket.slot);
    }

    /// Counts overdue reservations as spent, because their holders do not answer. If one is settled later,
    /// the actual cost replaces the estimate. Returns how many expired.
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
                    money.expire(claim.taken, &mut self.notices);
                }
            }
        }
        expired
    }

    /// The remaining rates of these rules, as far as this node knows them.
    pub fn left<'r>(&mut self, rules: impl Iterator<Item = &'r Rule> + Clone, now_ms: i64) -> Remaining {
        for rule in rules.clone() {
            if let Some(Account::Requests(rate) | Account::Tokens(rate)) =
                self.accounts.get_mut(rule.account.0 as usize)
            {
                rate.bucket.leak(now_ms);
            }
        }
        self.remaining(rules)
    }

    /// The amounts that this node wants of the accounts that it shares. With `short`: the accounts that are
    /// too small for a request. Without: the amounts to report and to return.
    pub fn demands(&mut self, short: Option<&[Short]>, is_exact: bool, now_ms: i64) -> Vec<Demand> {
        self.give_up_old_parts(now_ms);
        let Some(names) = &self.shared else { return Vec::new() };
        let day = day_of(now_ms);
        let mut demand = |(id, missing): (AccountId, Option<i64>)| {
            let account = self.accounts.get_mut(id.0 as usize)?;
            if let Account::Money(money) = account {
                money.roll(day);
            }
            let (wanted, name) = (account.demand(missing, is_exact, now_ms)?, names.get(id.0 as usize)?);
            Some(Demand { account: id, scope: name.scope.clone(), model: name.model.clone(), wanted })
        };
        match short {
            Some(short) => short.iter().filter_map(|it| demand((it.account, Some(it.missing)))).collect(),
            None if self.is_quiet => Vec::new(),
            None => {
                let demands: Vec<Demand> =
                    (0..names.len() as u32).filter_map(|id| demand((AccountId(id), None))).collect();
                self.is_quiet = demands.is_empty() && self.open.len() == self.free.len();
                demands
            }
        }
    }

    pub fn money(&self) -> Vec<(Scope, Window)> {
        let money = self.accounts.iter().filter_map(|account| match account {
            Account::Money(money) => Some((money.scope().clone(), money.window)),
            _ => None,
        });
        money.collect()
    }

    /// Whether this node's parts are still too small.
    pub fn is_short(&self, short: &[Short]) -> bool {
        let account = |short: &Short| self.accounts.get(short.account.0 as usize);
        short.iter().any(|short| account(short).is_some_and(|account| account.is_short(short.missing)))
    }

    /// Whether any of these is about money.
    pub fn is_about_money(&self, short: &[Short]) -> bool {
        let account = |short: &Short| self.accounts.get(short.account.0 as usize);
        short.iter().any(|short| matches!(account(short), Some(Account::Money(_))))
    }

    /// Applies the store's answer.
    pub fn granted(&mut self, demand: &Demand, answer: &Granted, now_ms: i64) {
        if let Some(account) = self.accounts.get_mut(demand.account.0 as usize) {
            self.is_quiet = false;
            self.answered_ms = now_ms;
            account.granted(&demand.wanted, answer, now_ms, &mut self.notices);
        }
    }

    fn sweep(&mut self, now_ms: i64) {
        if now_ms.saturating_sub(self.swept_ms) >= SWEEP_EVERY_MS {
            self.swept_ms = now_ms;
            self.expire(now_ms);
        }
    }

    fn give_up_old_parts(&mut self, now_ms: i64) {
        if self.shared.is_none() || now_ms.saturating_sub(self.answered_ms) < PART_MS {
            return;
        }
        self.answered_ms = now_ms;
        for account in &mut self.accounts {
            if let Account::Money(money) = account {
                money.give_up();
            }
        }
    }

    /// Whether every rule is met. Of several refusals the budget that names a downgrade comes first: its alias is checked
    /// against the other rules with its own, lower cost. Then comes the exhausted budget, because waiting does not help
    /// there; then the limit with the longest wait.
    fn check<'r>(
        &mut self,
        rules: impl Iterator<Item = &'r Rule> + Clone,
        claims: &[Claim],
        ask: Ask,
        now_ms: i64,
    ) -> Result<(), Refused> {
        let day = day_of(now_ms);
        let (mut exhausted, mut limited, mut downgrade): (_, Option<(&Rule, u64)>, _) = (None, None, None);
        let mut short = Vec::new();
        for rule in rules.clone() {
            let claim = claims.iter().find(|claim| claim.account == rule.account);
            let has = claim.map_or(0, |claim| claim.taken);
            let Some(account) = self.accounts.get_mut(rule.account.0 as usize) else { continue };
            let fit = match (account, &rule.quantity) {
                (Account::Money(money), Quantity::Money { ceiling, on_exhausted, .. }) => {
                    money.roll(day);
                    let has = claim.map_or(0, |claim| claim.held_of(money));
                    let more = ask.cost.0.saturating_sub(has);
                    match (money.fit(more, *ceiling, ask.others, now_ms), on_exhausted) {
                        (Fit::Fits, _) => Fit::Fits,
                        (_, OnExhausted::Downgrade(_)) if ask.is_downgraded => Fit::Fits,
                        (Fit::Short(missing), _) => Fit::Short(missing),
                        (Fit::Wait(_), OnExhausted::Block) => {
                            exhausted = exhausted.or(Some((rule, money.left(*ceiling), money.window)));
                            Fit::Fits
                        }
                        (Fit::Wait(_), OnExhausted::Downgrade(alias)) => {
                            downgrade = downgrade.or(Some(alias));
                            Fit::Fits
                        }
                    }
                }
                (Account::Requests(rate), _) if claim.is_none() => rate.fit(1, ask.others, now_ms),
                (Account::Tokens(rate), _) => {
                    rate.fit(ask.tokens.saturating_sub(has as u64), ask.others, now_ms)
                }
                (Account::Concurrent(places), Quantity::Concurrent(most)) if claim.is_none() => {
                    places.fit(*most, CONCURRENT_RETRY_MS, ask.others, now_ms)
                }
                _ => Fit::Fits,
            };
            match fit {
                Fit::Fits => {}
                Fit::Short(missing) => short.push(Short { account: rule.account, missing }),
                Fit::Wait(wait_ms) if wait_ms > limited.map_or(0, |(_, longest)| longest) => {
                    limited = Some((rule, wait_ms));
                }
                Fit::Wait(_) => {}
            }
        }
        let refusal = if let Some(alias) = downgrade {
            Refusal::Downgrade { alias: alias.clone() }
        } else if let Some((rule, left, window)) = exhausted {
            let left = left.max(Pico::ZERO);
            let retry_ms = window.left_ms(now_ms);
            Refusal::Exhausted { rule: Box::new(rule.clone()), left, needed: ask.cost, retry_ms }
        } else if let Some((rule, retry_ms)) = limited {
            Refusal::Limited { rule: Box::new(rule.clone()), retry_ms }
        } else if !short.is_empty() {
            Refusal::Short(short.into())
        } else {
            return Ok(());
        };
        Err(Refused { refusal, remaining: self.remaining(rules) })
    }

    /// Takes amounts that were checked to fit.
    fn take<'r>(&mut self, slot: u32, rules: impl Iterator<Item = &'r Rule>, ask: Ask) {
        self.is_quiet = false;
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
                    // If a new window has begun since, the claim holds nothing of it yet.
                    let has = claim.held_of(money).min(has);
                    let more = ask.cost.0.saturating_sub(has).max(0);
                    if open.is_expired {
                        money.spent += Pico(more);
                    } else {
                        money.reserve(more);
                    }
                    claim = Claim { taken: has.saturating_add(more), start: money.start, ..claim };
                }
                Account::Tokens(rate) => {
                    let more = ask.tokens.saturating_sub(has as u64);
                    rate.take(more);
                    claim.taken = has.saturating_add(i64::try_from(more).unwrap_or(i64::MAX));
                }
                Account::Requests(rate) if known.is_none() => rate.take(1),
                Account::Concurrent(places) if known.is_none() => places.take(),
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
            let (figure, rate) = match self.accounts.get(rule.account.0 as usize) {
                Some(Account::Requests(rate)) => (&mut remaining.requests, rate),
                Some(Account::Tokens(rate)) => (&mut remaining.tokens, rate),
                _ => continue,
            };
            let (left, bucket) = (rate.remaining(), &rate.bucket);
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
