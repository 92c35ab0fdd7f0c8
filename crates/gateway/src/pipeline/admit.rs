//! The reservation of the most that an attempt may cost, before it is made.

use std::time::Duration;

use canon::{Error, ErrorKind, Operation, Pico, Retry};
use limits::{Ask, Others, Refusal, Refused, Short};
use wire::RequestFacts;

use super::context::RequestContext;
use super::resolve::Offer;
use crate::admission::{Book, Grant, duration};
use crate::cluster::Unreachable;
use crate::identity::{Caller, Offered};
use crate::metering::Record;

/// Output that an answer may have where neither the caller nor the model sets a limit.
const USUAL_OUTPUT: u64 = 4096;
/// How long after its request's deadline an unsettled reservation counts as spent, in milliseconds.
const OVERDUE_MS: i64 = 3_600_000;

/// Reserves the most that an attempt at this offer may cost, or refuses the request. Earlier reservations are
/// raised where they are not enough.
pub async fn admit(cx: &RequestContext<'_>, offer: &Offer, record: &mut Record) -> Result<(), Error> {
    reserve(cx, offer, || worst_case(offer, cx.asked, cx.operation), record).await
}

/// The same for a cached answer: it counts as a request and takes no money and no tokens.
pub async fn admit_batch(cx: &RequestContext<'_>, offer: &Offer, record: &mut Record) -> Result<(), Error> {
    reserve(cx, offer, Ask::default, record).await
}

async fn reserve(
    cx: &RequestContext<'_>,
    offer: &Offer,
    most: impl FnOnce() -> Ask,
    record: &mut Record,
) -> Result<(), Error> {
    let caller = &cx.inbound.caller;
    // A token count is neither billed nor an answer.
    if !caller.has_rules() || cx.operation == Operation::CountTokens {
        return Ok(());
    }
    // The name of an alias may have its own limits; any other name is one of the offer's, or of another
    // offer.
    let model = cx.asked.model;
    let is_alias = !record.is_downgraded() && cx.inbound.snapshot.aliases.contains_key(model);
    let offered = offer.offered(if is_alias { model } else { "" });
    let rules = caller.rules().filter(|rule| rule.model.as_ref().is_none_or(|model| offered.matches(model)));
    let now = record.started_at_ms();
    let request_ms = cx.inbound.snapshot.timeouts.request.as_millis() as i64;
    let ask = Ask {
        is_downgraded: record.is_downgraded(),
        deadline_ms: now.saturating_add(request_ms).saturating_add(OVERDUE_MS),
        ..most()
    };
    let book = &caller.project.book;
    let mut others = Others::Unasked;
    let result = loop {
        let ask = Ask { others, ..ask };
        let rules = rules.clone();
        let result = match record.grant() {
            Some(Grant { ticket: Some(ticket), .. }) => {
                book.lock().raise(ticket, rules, ask, now).map(|()| None)
            }
            _ => book.lock().reserve(rules, ask, now).map(Some),
        };
        match result {
            Err(Refused { refusal: Refusal::Short(short), .. }) => {
                others = Box::pin(ask_others(cx, book, &short, others)).await?
            }
            result => break result,
        }
    };
    let money = caller.has_budget().then_some(ask.cost);
    match result {
        Ok(None) => {
            record.raised(money);
            Ok(())
        }
        Ok(Some((ticket, remaining))) => {
            record.granted(Grant { book: book.clone(), ticket: Some(ticket), reserved: money }, remaining);
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

/// Counts past usage against the caller's budgets and limits, whatever remains of them.
pub fn note(caller: &Caller, offer: &Offer, record: &mut Record) {
    let offered = offer.offered("");
    let rules = caller.rules().filter(|rule| rule.model.as_ref().is_none_or(|model| offered.matches(model)));
    let now = record.started_at_ms();
    let ask = Ask { deadline_ms: now.saturating_add(OVERDUE_MS), others: Others::Away, ..Ask::default() };
    let book = &caller.project.book;
    // If refused, the ledger contains it nevertheless, and budgets start from the ledger.
    let reserved = book.lock().reserve(rules, ask, now);
    if let Ok((ticket, remaining)) = reserved {
        record.granted(Grant { book: book.clone(), ticket: Some(ticket), reserved: None }, remaining);
    }
}

/// Asks for more of the shared counters. Returns the state of the others.
async fn ask_others(
    cx: &RequestContext<'_>,
    book: &Book,
    short: &[Short],
    others: Others,
) -> Result<Others, Error> {
    // Counters are shared where there are leases.
    let Some(leases) = &cx.pipeline.leases else { return Ok(Others::Away) };
    match leases.ask(book, short).await {
        Ok(true) => {
            leases.count("asked");
            Ok(Others::Asked)
        }
        // Another request asked at the same time, perhaps for enough.
        Ok(false) => Ok(others),
        Err(Unreachable) if cx.inbound.caller.needs_counters(book.lock().is_about_money(short)) => {
            leases.count("refused");
            let message = "The counters of budgets and limits, which several nodes share, do not answer.";
            let mut error = Error::gateway(ErrorKind::StoreUnavailable, message);
            error.retry = Retry::After(Duration::from_secs(1));
            Err(error)
        }
        Err(Unreachable) => {
            leases.count("allowed");
            Ok(Others::Away)
        }
    }
}

/// The highest cost of an answer of this offer, as far as it can be known in advance: the prompt at its most
/// expensive rate, and output up to the limit of the caller or the model.
pub fn worst_case(offer: &Offer, asked: &RequestFacts<'_>, operation: Operation) -> Ask {
    let prompt = asked.reserved_tokens;
    let model_limit = offer.facts().max_output_tokens;
    let output = asked.max_output_tokens.unwrap_or(USUAL_OUTPUT);
    let choices = asked.routing_fields.n.and_then(|raw| str::from_utf8(raw).ok()?.trim().parse().ok());
    let choices = choices.unwrap_or(1_u64).max(1);
    let output = model_limit.map_or(output, |limit| output.min(limit)).saturating_mul(choices);
    let cost = offer.serving.as_ref().and_then(|serving| serving.price.as_ref()).and_then(|price| {
        let tier = price.tier_asked(asked.service_tier);
        let rates = price.rates_for(prompt, tier)?;
        // A prompt that is written to the provider's cache costs more than one that is only read from it.
        let read = rates.cache_write.map_or(rates.input, |write| write.max(rates.input));
        let made = match operation {
            Operation::Speech => rates.audio_output,
            Operation::ImageGenerations | Operation::ImageEdits => rates.image_output,
            _ => None,
        };
        let units = asked.amount.and_then(|amount| price.units_for(amount, tier)).unwrap_or_default();
        let units = units * choices;
        Some(
            read * prompt + made.unwrap_or(rates.output) * output + price.request.unwrap_or_default() + units,
        )
    });
    Ask { cost: cost.unwrap_or_default(), tokens: prompt.saturating_add(output), ..Ask::default() }
}

/// A refusal, for the caller.
fn refused(refusal: &Refusal) -> Error {
    let (kind, retry_ms, message) = match refusal {
        Refusal::Exhausted { rule, left, needed, retry_ms } => {
            let what = if *left > Pico::ZERO {
                format!(
                    "the request may cost {needed} USD and {left} USD are left; ask for less output, or wait for other requests to end"
                )
            } else {
                "it is exhausted".to_owned()
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
        Refusal::Downgrade { .. } | Refusal::Short(_) => {
            (ErrorKind::Quota, None, "A budget is exhausted.".to_owned())
        }
    };
    let mut error = Error::caller(kind, message);
    error.retry = retry_ms.map_or(Retry::No, |wait| Retry::After(Duration::from_millis(wait)));
    error
}

fn whose(owner: &str) -> &str {
    owner.trim_end_matches("'s")
}

impl Offer {
    /// The offer under all of its names, for policies. `asked` is what the caller wrote.
    pub fn offered<'a>(&'a self, asked: &'a str) -> Offered<'a> {
        let catalog = self.serving.as_ref().map_or(self.model.as_str(), |serving| &serving.model);
        let is_priced = self.serving.as_ref().is_some_and(|serving| serving.price.is_some() || serving.free);
        Offered {
            provider: &self.provider.settings,
            names: [asked, &self.model, catalog],
            price_unknown: !is_priced,
        }
    }
}
