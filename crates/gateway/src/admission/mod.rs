//! Budgets and limits: what a request may take is reserved before each attempt, and settled when its record ends.
//!
//! One node keeps its counters in memory: a [`Book`] for each project. What was spent before is read from the database's
//! ledger, which is the sum of the usage records.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use canon::{Error, ErrorKind, Pico, Retry, Usage};
use limits::{Actual, Ask, Refusal, Refused, Remaining, Scope, Ticket, Window, day_of};
use store::{Spent, Store, StoreError};
use wire::Intake;

use crate::identity::Offered;
use crate::metering::{Record, now_ms};
use crate::pipeline::attempts::{Operation, RequestContext};
use crate::pipeline::resolve::Offer;

/// Output that an answer may have where neither the caller nor the model sets a limit.
const USUAL_OUTPUT: u64 = 4096;
/// A reservation is overdue when its request has been over for so long.
const OVERDUE_MS: i64 = 3_600_000;
/// More unread accounts than this are read with one pass over the ledger.
const MANY: usize = 64;

/// The counters of a project, shared by everybody who works for it.
#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<limits::Book>>);

impl Book {
    /// Nobody waits while it is held: it is a few hundred instructions.
    pub fn lock(&self) -> MutexGuard<'_, limits::Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The books of all projects. Clones share them.
#[derive(Clone, Default)]
pub struct Books {
    books: Arc<Mutex<HashMap<Arc<str>, Book>>>,
    store: Option<Store>,
}

impl Books {
    /// Books whose past is in this database.
    pub fn new(store: Store) -> Self {
        Self { books: Arc::default(), store: Some(store) }
    }

    /// The book of a project. It stays the same for as long as the process runs, whatever becomes of the project's policy.
    pub fn of(&self, project: &str) -> Book {
        self.all().entry(project.into()).or_default().clone()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Arc<str>, Book>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what was spent before of every budget that is new here. Until then a budget must not be in force.
    pub async fn load(&self) -> Result<(), StoreError> {
        let Some(store) = &self.store else { return Ok(()) };
        let unread: Vec<_> = {
            let books = self.all();
            let accounts = |(project, book): (&Arc<str>, &Book)| {
                let unloaded = book.lock().unloaded();
                let named = |(account, scope, window)| {
                    let scope = match scope {
                        Scope::Project => format!("project:{project}"),
                        Scope::Key(id) => format!("key:{id}"),
                    };
                    (book.clone(), account, scope, window)
                };
                unloaded.into_iter().map(named).collect::<Vec<_>>()
            };
            books.iter().flat_map(accounts).collect()
        };
        if unread.is_empty() {
            return Ok(());
        }
        let now = now_ms();
        let days = [Window::Day, Window::Week, Window::Month].map(|window| window.start(day_of(now)));
        let mut sums: HashMap<String, Spent> = HashMap::new();
        if unread.len() > MANY {
            sums = store.spent(None, days).await?;
        } else {
            for (_, _, scope, _) in &unread {
                if !sums.contains_key(scope) {
                    let sum = store.spent(Some(scope), days).await?;
                    sums.insert(scope.clone(), sum.get(scope).copied().unwrap_or_default());
                }
            }
        }
        for (book, account, scope, window) in unread {
            let sum = sums.get(&scope).copied().unwrap_or_default();
            let spent = match window {
                Window::Day => sum.since[0],
                Window::Week => sum.since[1],
                Window::Month => sum.since[2],
                Window::Total => sum.total,
            };
            book.lock().load(account, Pico(spent), now);
        }
        Ok(())
    }
}

/// What a request has reserved. Whoever has it settles it; dropped, it gives everything back.
pub struct Grant {
    book: Book,
    ticket: Option<Ticket>,
}

impl Grant {
    /// Puts what the request took in the place of what was reserved.
    pub fn settle(&mut self, cost: Pico, usage: Option<&Usage>) {
        if let Some(ticket) = self.ticket.take() {
            let tokens = usage.map_or(0, |usage| usage.prompt_tokens() + usage.completion_tokens());
            self.book.lock().settle(ticket, Actual { cost, tokens: Some(tokens) });
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.settle(Pico::ZERO, None);
    }
}

/// Reserves what an attempt at this offer may take at most, or refuses the request. What earlier attempts reserved is
/// raised where it is not enough.
pub fn admit(cx: &RequestContext<'_>, offer: &Offer, record: &mut Record) -> Result<(), Error> {
    let caller = &cx.inbound.caller;
    // A count of tokens is neither billed nor an answer.
    if !caller.has_rules() || cx.operation == Operation::Count {
        return Ok(());
    }
    // The name of an alias has limits of its own; any other name is one of the offer's, or of another offer.
    let model = &cx.intake.model;
    let is_alias = !record.is_downgraded() && cx.inbound.snapshot.aliases.contains_key(model);
    let offered = offer.offered(if is_alias { model } else { "" });
    let rules = caller.rules().filter(|rule| rule.model.as_ref().is_none_or(|model| offered.matches(model)));
    let now = record.started_at_ms();
    let request_ms = cx.inbound.snapshot.timeouts.request.as_millis() as i64;
    let ask = Ask {
        is_downgraded: record.is_downgraded(),
        deadline_ms: now.saturating_add(request_ms).saturating_add(OVERDUE_MS),
        ..worst_case(offer, cx.intake)
    };
    let book = &caller.project.book;
    let result = match record.grant() {
        Some(Grant { ticket: Some(ticket), .. }) => book.lock().raise(ticket, rules, ask, now).map(|()| None),
        _ => book.lock().reserve(rules, ask, now).map(Some),
    };
    match result {
        Ok(None) => Ok(()),
        Ok(Some((ticket, remaining))) => {
            record.granted(Grant { book: book.clone(), ticket: Some(ticket) }, remaining);
            Ok(())
        }
        Err(Refused { refusal, remaining }) => {
            record.refused_with(remaining);
            Err(match refusal {
                Refusal::Downgrade { alias } => {
                    record.downgrade_to(alias);
                    Error::caller(ErrorKind::Quota, "A budget is exhausted.")
                }
                other => refused(&other),
            })
        }
    }
}

/// The most that an answer of this offer takes, as far as it can be known before: the prompt at its most expensive rate, and
/// output up to the limit of the caller or the model.
pub fn worst_case(offer: &Offer, intake: &Intake) -> Ask {
    let prompt = intake.size.estimated_tokens();
    let model_limit = offer.facts().max_output_tokens;
    let output = intake.max_output_tokens.unwrap_or(USUAL_OUTPUT);
    let choices = intake.given("n").and_then(|raw| serde_json::from_slice(raw).ok()).unwrap_or(1_u64).max(1);
    let output = model_limit.map_or(output, |limit| output.min(limit)).saturating_mul(choices);
    let cost = offer.serving.as_ref().and_then(|serving| serving.price.as_ref()).and_then(|price| {
        let tier = price.tier_asked(intake.service_tier.as_deref());
        let read = Usage { input: prompt, output, ..Usage::default() };
        let written = Usage { cache_write: prompt, output, ..Usage::default() };
        let costs = [read, written].map(|usage| price.cost(&usage, tier).map(|cost| cost.total));
        costs.into_iter().flatten().max()
    });
    Ask { cost: cost.unwrap_or_default(), tokens: prompt.saturating_add(output), ..Ask::default() }
}

/// A refusal, for the caller.
fn refused(refusal: &Refusal) -> Error {
    let (kind, retry_ms, message) = match refusal {
        Refusal::Exhausted { rule, left, needed, retry_ms } => {
            let what = match *left > Pico::ZERO {
                true => format!(
                    "the request may cost {needed} USD and {left} USD are left; ask for less output, or wait for other requests to end"
                ),
                false => "it is exhausted".to_owned(),
            };
            let message = format!(
                "The budget of {} {} refuses the request: {what}.",
                whose(rule.owner()),
                rule.words()
            );
            (ErrorKind::Quota, *retry_ms, message)
        }
        Refusal::Limited { rule, retry_ms } => {
            let message = format!(
                "The limit of {} {} is reached; try again in {}.",
                whose(rule.owner()),
                rule.words(),
                duration(*retry_ms)
            );
            (ErrorKind::RateLimit, Some(*retry_ms), message)
        }
        Refusal::Downgrade { .. } => (ErrorKind::Quota, None, "A budget is exhausted.".to_owned()),
    };
    let mut error = Error::caller(kind, message);
    error.retry = retry_ms.map_or(Retry::No, |wait| Retry::After(Duration::from_millis(wait)));
    error
}

fn whose(owner: &str) -> &str {
    owner.trim_end_matches("'s")
}

/// A time in the form of OpenAI's headers: `1s`, `6m0s`, `250ms`.
pub fn duration(ms: u64) -> String {
    let (seconds, rest) = (ms / 1000, ms % 1000);
    let (hours, minutes, only) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction =
        if rest == 0 { String::new() } else { format!(".{rest:03}").trim_end_matches('0').to_owned() };
    match (hours, minutes) {
        (0, 0) if only == 0 && rest > 0 => format!("{rest}ms"),
        (0, 0) => format!("{only}{fraction}s"),
        (0, _) => format!("{minutes}m{only}{fraction}s"),
        _ => format!("{hours}h{minutes}m{only}{fraction}s"),
    }
}

/// What answers say of limits; none where there is none.
pub fn said(remaining: Remaining) -> Option<Box<Remaining>> {
    (remaining != Remaining::default()).then(|| Box::new(remaining))
}

impl Offer {
    /// The offer under all of its names, for policies. `asked` is what the caller wrote.
    pub fn offered<'a>(&'a self, asked: &'a str) -> Offered<'a> {
        let catalog = self.serving.as_ref().map_or(self.model.as_str(), |serving| &serving.model);
        let is_priced = self.serving.as_ref().is_some_and(|serving| serving.price.is_some() || serving.free);
        Offered {
            provider: self.provider.id(),
            names: [asked, &self.model, catalog],
            price_unknown: !is_priced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_openai_writes_them() {
        for (ms, text) in [
            (0, "0s"),
            (250, "250ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (360_000, "6m0s"),
            (86_400_000, "24h0m0s"),
            (61_001, "1m1.001s"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }
}
