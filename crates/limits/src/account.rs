//! The accounts of a book: the counters of budgets and limits.
//!
//! A node without others counts everything itself. Where several nodes share an account, each holds a *part*
//! of it and takes from that part by itself. When its part is too small, it asks the common store for more,
//! and it returns what it does not use.

use std::sync::Arc;

use canon::Pico;

use crate::lease::{Amount, Granted, Others, Pace};
use crate::policy::Period;
use crate::rule::{AccountId, Scope};
use crate::{Bucket, Window};

/// A notice is sent when this percentage of a budget is spent.
const THRESHOLDS: [u8; 3] = [50, 80, 100];
/// A node does not repeat a refused question for this time, in milliseconds. Otherwise each request that an
/// exhausted budget refuses would cost a round trip.
const REFUSED_MS: i64 = 200;

/// A budget has reached a threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub scope: Scope,
    pub per: Window,
    pub start: i64,
    pub ceiling: Pico,
    pub percent: u8,
    pub spent: Pico,
}

/// A node that holds places renews its report this often, in milliseconds: well before
/// [`GONE_MS`](crate::GONE_MS).
const HEARD_MS: i64 = 5000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    Money(Money),
    Requests(Rate),
    Tokens(Rate),
    Concurrent(ConcurrencyCount),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    Fits,
    /// This node's part is too small by this amount.
    Short(i64),
    /// It fits after this time in milliseconds.
    Wait(u64),
}

/// A refused question, and until when this node does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Denied {
    until_ms: i64,
    missing: i64,
}

impl Denied {
    fn holds(denied: Option<Self>, missing: i64, now_ms: i64) -> bool {
        denied.is_some_and(|denied| now_ms < denied.until_ms && missing >= denied.missing)
    }
}

/// Money spent in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Money {
    scope: Scope,
    pub(crate) window: Window,
    /// The first day of the window.
    pub(crate) start: i64,
    /// Spent before this book began, and by other nodes as far as it is known.
    elsewhere: Pico,
    pub(crate) spent: Pico,
    pub(crate) reserved: Pico,
    /// The amount spent before this book began is known.
    pub(crate) is_loaded: bool,
    /// The budgets that are counted here. They differ in the action when they are exhausted.
    ceilings: Vec<Ceiling>,
    part: Option<Box<MoneyPart>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct MoneyPart {
    /// The amount that this node may spend and reserve in this window.
    allowed: Pico,
    /// The same for all nodes together, this one included.
    all_allowed: Pico,
    reported: Pico,
    denied: Option<Denied>,
    pace: Pace,
}

/// A budget, and the thresholds that it has reached in the current window.
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

    /// The highest threshold that is newly reached.
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

impl Money {
    pub(crate) fn new(scope: Scope, window: Window, is_shared: bool) -> Self {
        Self {
            scope,
            window,
            start: i64::MIN,
            elsewhere: Pico::ZERO,
            spent: Pico::ZERO,
            reserved: Pico::ZERO,
            is_loaded: false,
            ceilings: Vec::new(),
            part: is_shared.then(Box::default),
        }
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Begins the window of a day, unless it has begun. Days never go backwards.
    pub(crate) fn roll(&mut self, day: i64) {
        let start = self.window.start(day);
        if start > self.start {
            self.start = start;
            self.elsewhere = Pico::ZERO;
            self.spent = Pico::ZERO;
            self.reserved = Pico::ZERO;
            self.ceilings.iter_mut().for_each(|ceiling| ceiling.noticed = 0);
            if let Some(part) = &mut self.part {
                **part = MoneyPart::default();
            }
        }
    }

    /// Sets the amount that was spent before this book began, in the window of this day.
    pub(crate) fn load(&mut self, spent: Pico, day: i64, notices: &mut Vec<Notice>) {
        if !self.is_loaded {
            self.roll(day);
            self.elsewhere += spent;
            self.is_loaded = true;
            self.notice(notices);
        }
    }

    /// The amount that all nodes have spent.
    pub(crate) fn total(&self) -> Pico {
        self.elsewhere + self.spent
    }

    /// Counts for exactly these budgets from now on. Returns whether one of them is new.
    pub(crate) fn set_ceilings(&mut self, ceilings: impl Iterator<Item = Pico>) -> bool {
        let known = std::mem::take(&mut self.ceilings);
        let one = |amount| known.iter().find(|it| it.amount == amount).copied();
        self.ceilings = ceilings.map(|amount| one(amount).unwrap_or(Ceiling::new(amount))).collect();
        self.ceilings.iter().any(|ceiling| one(ceiling.amount).is_none())
    }

    /// Notices the thresholds that are reached on this day.
    pub(crate) fn look(&mut self, day: i64, notices: &mut Vec<Notice>) {
        self.roll(day);
        self.notice(notices);
    }

    /// The part of the ceiling that no node has spent, reserved or taken.
    pub(crate) fn left(&self, ceiling: Pico) -> Pico {
        let others = match &self.part {
            Some(part) => part.all_allowed.0.saturating_sub(part.allowed.0).max(self.elsewhere.0),
            None => self.elsewhere.0,
        };
        let own = self.spent.0.saturating_add(self.reserved.0);
        Pico(ceiling.0.saturating_sub(others).saturating_sub(own))
    }

    /// Whether this much more fits below a ceiling.
    pub(crate) fn fit(&self, more: i64, ceiling: Pico, others: Others, now_ms: i64) -> Fit {
        if more <= 0 {
            return Fit::Fits;
        }
        let own = self.spent.0.saturating_add(self.reserved.0);
        let (left, part) = match &self.part {
            Some(part) if others != Others::Away => {
                (self.left(ceiling).0.min(part.allowed.0.saturating_sub(own)), Some(part))
            }
            _ => (ceiling.0.saturating_sub(self.elsewhere.0).saturating_sub(own), None),
        };
        if more <= left {
            return Fit::Fits;
        }
        match part {
            Some(part) if others == Others::Unasked && !Denied::holds(part.denied, more, now_ms) => {
                Fit::Short(more)
            }
            _ => Fit::Wait(0),
        }
    }

    pub(crate) fn reserve(&mut self, more: i64) {
        self.reserved += Pico(more);
        self.used(more);
    }

    /// A reservation is overdue: its estimate counts as spent.
    pub(crate) fn expire(&mut self, taken: i64, notices: &mut Vec<Notice>) {
        self.reserved.0 = self.reserved.0.saturating_sub(taken);
        self.spent += Pico(taken);
        self.notice(notices);
    }

    /// Replaces a reservation by the actual cost.
    pub(crate) fn settle(&mut self, claim: &Claim, is_expired: bool, cost: Pico, notices: &mut Vec<Notice>) {
        let held = if is_expired { &mut self.spent } else { &mut self.reserved };
        held.0 = held.0.saturating_sub(claim.taken);
        self.spent += cost;
        self.used(cost.0.saturating_sub(claim.taken));
        self.notice(notices);
    }

    fn used(&mut self, more: i64) {
        if let Some(part) = &mut self.part {
            part.pace.add(more);
        }
    }

    /// Notes which budgets have reached a threshold. Thresholds reached at the same moment share a notice.
    fn notice(&mut self, notices: &mut Vec<Notice>) {
        let spent = self.total();
        for ceiling in &mut self.ceilings {
            if let Some(percent) = ceiling.reached(spent) {
                notices.push(Notice {
                    scope: self.scope.clone(),
                    per: self.window,
                    start: self.start,
                    ceiling: ceiling.amount,
                    percent,
                    spent,
                });
            }
        }
    }

    /// Gives up what it holds in advance.
    pub(crate) fn give_up(&mut self) {
        let own = self.spent + self.reserved;
        if let Some(part) = &mut self.part {
            part.allowed = part.allowed.min(own);
        }
    }

    /// The part that this node wants now: its use so far and this much more. None when there is nothing to
    /// report.
    fn demand(&mut self, missing: Option<i64>, is_exact: bool) -> Option<Amount> {
        let ceiling = self.ceilings.iter().map(|it| it.amount).max()?;
        let own = self.spent + self.reserved;
        let part = self.part.as_deref_mut()?;
        // All nodes together hold back at most half of the remaining amount, and this one an eighth.
        let most = ceiling.0.saturating_sub(part.all_allowed.0).max(0) / 8;
        let slack = if is_exact { 0 } else { part.pace.slack(missing.is_none()).min(most) };
        let needed = own.0.saturating_add(missing.unwrap_or(0));
        let has = Pico(part.allowed.0.max(own.0));
        let want = match missing {
            Some(_) => Pico(needed.saturating_add(slack)),
            // A report takes nothing: a node asks for more when a request needs it.
            None => Pico(needed.saturating_add(slack).min(has.0)),
        };
        if missing.is_none() && want == part.allowed && self.spent == part.reported {
            return None;
        }
        // A returned amount is not used from now on, whether or not the message arrives.
        let has = Pico(has.0.min(want.0));
        part.allowed = has;
        Some(Amount::Money {
            window: self.window,
            start: self.start,
            ceiling,
            spent: self.spent,
            has,
            needed: Pico(needed),
            want,
        })
    }

    fn granted(&mut self, wanted: &Amount, answer: &Granted, now_ms: i64, notices: &mut Vec<Notice>) {
        let Amount::Money { start, spent, needed, .. } = wanted else { return };
        let Granted::Money { allowed, all_allowed, all_spent } = answer else { return };
        let Some(part) = self.part.as_deref_mut().filter(|_| *start == self.start) else { return };
        part.allowed = *allowed;
        part.all_allowed = *all_allowed;
        part.reported = *spent;
        let missing = needed.0.saturating_sub(self.spent.0.saturating_add(self.reserved.0));
        let until_ms = now_ms.saturating_add(REFUSED_MS);
        part.denied = (allowed.0 < needed.0).then_some(Denied { until_ms, missing });
        self.elsewhere = Pico(all_spent.0.saturating_sub(spent.0).max(0));
        self.notice(notices);
    }
}

/// Requests or tokens in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) period: Period,
    /// For a shared limit: the last known state of the common bucket.
    pub(crate) bucket: Bucket,
    part: Option<RatePart>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RatePart {
    /// Poured into the common bucket and not used yet. A negative value is owed.
    credit: i64,
    denied: Option<Denied>,
    pace: Pace,
}

impl Rate {
    pub(crate) fn new(limit: u64, period: Period, is_shared: bool) -> Self {
        let bucket = Bucket::new(limit, period.ms());
        Self { period, bucket, part: is_shared.then(RatePart::default) }
    }

    pub(crate) fn fit(&mut self, more: u64, others: Others, now_ms: i64) -> Fit {
        self.bucket.leak(now_ms);
        let credit = self.part.as_ref().map_or(0, |part| part.credit.max(0));
        let missing = i64::try_from(more).unwrap_or(i64::MAX).saturating_sub(credit);
        match &self.part {
            _ if more == 0 => Fit::Fits,
            Some(_) if missing <= 0 => Fit::Fits,
            Some(part) if others == Others::Unasked && !Denied::holds(part.denied, missing, now_ms) => {
                Fit::Short(missing)
            }
            part => match self.bucket.wait_ms(u64::try_from(missing).unwrap_or(0)).unwrap_or(u64::MAX) {
                // The other nodes were asked and had nothing, so the last known state is outdated.
                0 if part.is_some() && others != Others::Away => Fit::Wait(REFUSED_MS as u64),
                0 => Fit::Fits,
                wait => Fit::Wait(wait),
            },
        }
    }

    pub(crate) fn take(&mut self, more: u64) {
        match &mut self.part {
            None => self.bucket.pour(more),
            Some(part) => {
                let more = i64::try_from(more).unwrap_or(i64::MAX);
                let before = part.credit.min(0);
                part.credit = part.credit.saturating_sub(more);
                part.pace.add(more);
                // Only the excess over the credit is not in the bucket yet.
                self.bucket.pour(before.saturating_sub(part.credit.min(0)) as u64);
            }
        }
    }

    pub(crate) fn take_back(&mut self, less: u64) {
        match &mut self.part {
            None => self.bucket.take_back(less),
            Some(part) => {
                let less = i64::try_from(less).unwrap_or(i64::MAX);
                part.credit = part.credit.saturating_add(less);
                part.pace.add(-less);
            }
        }
    }

    /// How many fit now, as far as it is known.
    pub(crate) fn remaining(&self) -> u64 {
        let credit = self.part.as_ref().map_or(0, |part| part.credit.max(0));
        self.bucket.remaining().saturating_add(credit as u64).min(self.bucket.limit())
    }

    fn demand(&mut self, missing: Option<i64>, is_tokens: bool, is_exact: bool) -> Option<Amount> {
        let limit = self.bucket.limit();
        let part = self.part.as_mut()?;
        let most = i64::try_from(limit / 16).unwrap_or(i64::MAX);
        let slack = if is_exact { 0 } else { part.pace.slack(missing.is_none()).min(most) };
        let owed = part.credit.min(0).unsigned_abs();
        let mut wanted =
            Amount::Rate { is_tokens, limit, period: self.period, owed, needed: 0, want: 0, back: 0 };
        let Amount::Rate { needed, want, back, .. } = &mut wanted else { return None };
        match missing {
            Some(missing) => {
                *needed = missing.max(0) as u64;
                *want = needed.saturating_add(slack as u64);
            }
            None => {
                *back = part.credit.saturating_sub(slack.saturating_mul(2)).max(0) as u64;
                if owed == 0 && *back == 0 {
                    return None;
                }
                // A returned amount is not used from now on.
                part.credit -= *back as i64;
            }
        }
        Some(wanted)
    }

    fn granted(&mut self, wanted: &Amount, answer: &Granted, now_ms: i64) {
        let Amount::Rate { owed, needed, .. } = wanted else { return };
        let Granted::Rate { taken, level_ms } = answer else { return };
        let Some(part) = &mut self.part else { return };
        self.bucket.set(*level_ms, now_ms);
        part.credit = part.credit.saturating_add_unsigned(owed.saturating_add(*taken));
        let until_ms = now_ms.saturating_add(REFUSED_MS);
        let missing = i64::try_from(*needed).unwrap_or(i64::MAX);
        part.denied = (taken < needed).then_some(Denied { until_ms, missing });
    }
}

/// Requests at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConcurrencyCount {
    pub(crate) held: u64,
    /// The limit that is sent to the common store: the smallest of those that are counted here.
    pub(crate) most: u64,
    part: Option<PlacesPart>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PlacesPart {
    allowed: u64,
    denied: Option<Denied>,
    pace: Pace,
    reported_ms: i64,
}

impl ConcurrencyCount {
    pub(crate) fn new(is_shared: bool) -> Self {
        Self { part: is_shared.then(PlacesPart::default), ..Self::default() }
    }

    /// Whether another one fits; if not, `retry_ms` is the time to wait.
    pub(crate) fn fit(&self, most: u64, retry_ms: u64, others: Others, now_ms: i64) -> Fit {
        match &self.part {
            Some(part) if others != Others::Away => {
                if self.held < part.allowed.min(most) {
                    Fit::Fits
                } else if self.held < most
                    && others == Others::Unasked
                    && !Denied::holds(part.denied, 1, now_ms)
                {
                    Fit::Short(1)
                } else {
                    Fit::Wait(retry_ms)
                }
            }
            _ if self.held < most => Fit::Fits,
            _ => Fit::Wait(retry_ms),
        }
    }

    pub(crate) fn take(&mut self) {
        self.held += 1;
        if let Some(part) = &mut self.part {
            part.pace.add(1);
        }
    }

    pub(crate) fn give_back(&mut self) {
        self.held = self.held.saturating_sub(1);
        if let Some(part) = &mut self.part {
            part.pace.add(-1);
        }
    }

    fn demand(&mut self, missing: Option<i64>, is_exact: bool, now_ms: i64) -> Option<Amount> {
        let part = self.part.as_mut()?;
        let most = self.most;
        let slack = if is_exact { 0 } else { part.pace.slack(missing.is_none()).min((most / 16) as i64) };
        let needed = self.held + missing.map_or(0, |_| 1);
        let mut want = needed + slack as u64;
        if missing.is_none() {
            want = want.min(part.allowed.max(self.held));
            let is_reported = part.allowed == 0 || now_ms.saturating_sub(part.reported_ms) < HEARD_MS;
            if want == part.allowed && is_reported {
                return None;
            }
        }
        let has = part.allowed.max(self.held).min(want);
        part.allowed = has;
        Some(Amount::Places { most, has, needed, want })
    }

    fn granted(&mut self, wanted: &Amount, answer: &Granted, now_ms: i64) {
        let Amount::Places { needed, .. } = wanted else { return };
        let Granted::Places { allowed } = answer else { return };
        let Some(part) = &mut self.part else { return };
        part.allowed = *allowed;
        part.reported_ms = now_ms;
        let until_ms = now_ms.saturating_add(REFUSED_MS);
        part.denied = (allowed < needed).then_some(Denied { until_ms, missing: 1 });
    }
}

impl Account {
    /// Whether this node's part is now too small for this much more.
    pub(crate) fn is_short(&self, missing: i64) -> bool {
        match self {
            Self::Money(Money { part: Some(part), spent, reserved, .. }) => {
                part.allowed.0.saturating_sub(spent.0).saturating_sub(reserved.0) < missing
            }
            Self::Requests(Rate { part: Some(part), .. }) | Self::Tokens(Rate { part: Some(part), .. }) => {
                part.credit < missing
            }
            Self::Concurrent(ConcurrencyCount { part: Some(part), held, .. }) => *held >= part.allowed,
            _ => false,
        }
    }

    pub(crate) fn demand(&mut self, missing: Option<i64>, is_exact: bool, now_ms: i64) -> Option<Amount> {
        match self {
            Self::Money(money) => money.demand(missing, is_exact),
            Self::Requests(rate) => rate.demand(missing, false, is_exact),
            Self::Tokens(rate) => rate.demand(missing, true, is_exact),
            Self::Concurrent(places) => places.demand(missing, is_exact, now_ms),
        }
    }

    pub(crate) fn granted(
        &mut self,
        wanted: &Amount,
        answer: &Granted,
        now_ms: i64,
        notices: &mut Vec<Notice>,
    ) {
        match self {
            Self::Money(money) => money.granted(wanted, answer, now_ms, notices),
            Self::Requests(rate) | Self::Tokens(rate) => rate.granted(wanted, answer, now_ms),
            Self::Concurrent(places) => places.granted(wanted, answer, now_ms),
        }
    }
}

/// The part of one account that a reservation holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) account: AccountId,
    /// Money or tokens.
    pub(crate) taken: i64,
    /// The first day of the window that it belongs to.
    pub(crate) start: i64,
}

impl Claim {
    /// The amount that it holds in the current window.
    pub(crate) fn held_of(&self, money: &Money) -> i64 {
        if self.start == money.start { self.taken } else { 0 }
    }
}

/// Identifies an account. A changed limit is another account and starts from zero; spent money stays spent
/// whatever the ceiling.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AccountName {
    pub(crate) scope: Scope,
    pub(crate) kind: Kind,
    pub(crate) model: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Money(Window),
    Requests(u64, Period),
    Tokens(u64, Period),
    Concurrent,
}
