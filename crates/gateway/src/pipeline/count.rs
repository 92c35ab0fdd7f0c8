//! The token count of a prompt: the provider's own where the name means a single model and one of its
//! providers counts, else an estimate that is marked as such ([`wire::tokens`]).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use canon::write::push_text;
use canon::{Error, ErrorKind, Operation, Request, Retry};
use http::HeaderMap;
use wire::tokens::Rules;
use wire::{Intake, Protocol, adapter};

use super::attempts::{Attempt, Failed, ProviderCall, in_order};
use super::chat::ChatAttempt;
use super::context::RequestContext;
use super::endpoint_attempt::{PlainAttempt, never_streams};
use super::resolve::{Offer, Resolved};
use super::{Failure, Inbound, Pipeline, Served, candidates, failed, resolver};
use crate::buffers::Held;
use crate::clock;
use crate::metering::Record;

/// Largest answer to a counting request.
const ANSWER_LIMIT: usize = 1 << 20;
/// Longest wait for a provider's count, with all attempts. Agents count before each turn, and then use the
/// estimate.
const PATIENCE: Duration = Duration::from_secs(20);

/// Most counting rules that are tried where the name may mean many models: each reads the prompt.
const MOST_WAYS: usize = 4;

pub struct Count {
    /// How many tokens.
    pub tokens: u64,
    pub source: CountSource,
    /// The provider's whole answer, where it speaks the caller's format.
    pub answer: Option<Bytes>,
    /// The provider that was asked.
    pub served: Option<Served>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountSource {
    /// The provider counted.
    Exact,
    /// Estimated from the content.
    Estimate,
}

impl CountSource {
    /// The value of `x-llmgateway-count`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Estimate => "estimate",
        }
    }
}

impl Count {
    /// The answer in the caller's format; none where the format has none.
    pub fn written(&self, inbound: &Inbound) -> Option<Bytes> {
        let member = inbound.options.metadata.name().map(|name| {
            let mut out = format!(",\"{name}\":{{").into_bytes();
            push_text(&mut out, "request_id", &inbound.request_id);
            push_text(&mut out, "count", self.source.as_str());
            out.push(b'}');
            out
        });
        inbound.dialect.token_count(self.tokens, self.answer.as_deref(), member.as_deref())
    }
}

impl Pipeline {
    /// Counts the tokens of a prompt. If a provider cannot be reached, the result is an estimate. If it
    /// refuses the request itself, it would refuse to answer it too, and the caller gets the error.
    pub async fn count(
        self: Arc<Self>,
        inbound: &Inbound,
        intake: &Intake,
        held: &Held,
    ) -> Result<Count, Failure> {
        let mut record = self.record(inbound, Operation::CountTokens, Some(&intake.facts()));
        match self.counted(inbound, intake, held, &mut record).await {
            Ok(mut count) => {
                record.finish_free(200);
                count.served = record.served();
                Ok(count)
            }
            Err(error) => Err(failed(inbound, record, error)),
        }
    }

    async fn counted(
        self: &Arc<Self>,
        inbound: &Inbound,
        intake: &Intake,
        held: &Held,
        record: &mut Record,
    ) -> Result<Count, Error> {
        let seed = self.seeds.next();
        let asked = intake.facts();
        let resolver = resolver(inbound, intake, seed);
        let resolved = resolver.resolve_all(asked.model, &candidates::further_models(&asked)?)?;
        if let Some(provider) = &resolved.pinned {
            record.pinned(provider);
        }
        let counting = counting(&resolved);
        if !counting.is_empty() {
            let pinned = resolved.pinned.as_deref();
            let limit = inbound.snapshot.timeouts_of(&intake.model).request.min(PATIENCE);
            let (operation, deadline) = (Operation::CountTokens, clock::now() + limit);
            let asked = &asked;
            let cx =
                RequestContext { operation, pipeline: self, inbound, asked, held, pinned, deadline, seed };
            match in_order(&cx, &counting, record, &Counting { cx: &cx, intake }).await {
                Ok((count, mut permit)) => {
                    permit.succeeded(None);
                    return Ok(count);
                }
                Err(error) if is_about_the_request(&error) => return Err(error),
                Err(_) => {}
            }
        }
        // An invalid prompt has no count.
        let request = inbound.dialect.decode(intake)?;
        let tokens = estimate(&resolved, &request);
        Ok(Count { tokens, source: CountSource::Estimate, answer: None, served: None })
    }
}

/// An estimate for the model; where the name may mean several, for the one with the most tokens.
fn estimate(resolved: &Resolved, request: &Request) -> u64 {
    let mut ways: Vec<&Rules> = Vec::new();
    for offer in &resolved.offers {
        let model = offer.serving.as_ref().map_or(offer.model.as_str(), |serving| &serving.model);
        let way = catalog::token_rules(model);
        if !ways.contains(&way) && ways.len() < MOST_WAYS {
            ways.push(way);
        }
    }
    ways.iter().map(|rules| rules.estimate(request)).max().unwrap_or_default()
}

/// The providers that count. None where the name may mean several models: each has its own tokens.
fn counting(resolved: &Resolved) -> Vec<Offer> {
    let [first, others @ ..] = &resolved.offers[..] else { return Vec::new() };
    if !others.iter().all(|other| other.is_same_model(first)) {
        return Vec::new();
    }
    resolved.offers.iter().filter_map(counts).collect()
}

/// The offer in the format in which its provider counts.
fn counts(offer: &Offer) -> Option<Offer> {
    let row = &offer.provider.row;
    let mut formats = [offer.protocol, row.protocol].into_iter().chain(row.also.iter().copied());
    let counts = |format: &Protocol| offer.provider.endpoint.counts_tokens(*format, offer.target());
    let protocol = formats.find(counts)?;
    row.path.is_none().then(|| Offer { protocol, ..offer.clone() })
}

/// Whether the request itself would be refused. A provider without a counting endpoint answers 404 or 405.
fn is_about_the_request(error: &Error) -> bool {
    let status = error.upstream.as_ref().and_then(|reply| reply.status);
    let is_of_caller = matches!(
        error.kind,
        ErrorKind::InvalidRequest
            | ErrorKind::UnsupportedFeature
            | ErrorKind::ContextLength
            | ErrorKind::ContentFilter
            | ErrorKind::ContentPolicy
            | ErrorKind::TooLarge
            | ErrorKind::ModelNotFound
            | ErrorKind::LoopDetected
    );
    is_of_caller && status != Some(405) && !error.message.contains("support counting tokens")
}

struct Counting<'a> {
    cx: &'a RequestContext<'a>,
    intake: &'a Intake,
}

impl ProviderCall for Counting<'_> {
    type Answer = Count;

    async fn attempt(&self, attempt: Attempt<'_>, record: &mut Record) -> Result<Count, Failed> {
        let cx = self.cx;
        let chat = ChatAttempt { cx, intake: self.intake, attempt, missed: None };
        let prepared = chat.prepare().await?;
        cx.check_strict(&prepared.caller_losses)?;
        let offer = chat.attempt.offer;
        let format = adapter(offer.protocol);
        let error = |_, status, headers: &HeaderMap, body: &[u8]| format.decode_error(status, headers, body);
        let streams = &never_streams;
        let plain = PlainAttempt {
            cx,
            attempt: &chat.attempt,
            limit: ANSWER_LIMIT,
            error: &error,
            streams,
            upload: None,
        };
        let call = |credential: &_, _| {
            let call = offer.call(&prepared, false, credential, clock::wall());
            offer.provider.endpoint.count_request(&call)
        };
        let received = plain.exchange(1, call, record).await?;
        let answer = received.answers.into_iter().next().map(|answer| answer.body).unwrap_or_default();
        let tokens = format.read_token_count(&answer).ok_or_else(|| {
            Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, "The provider's count cannot be read.")
        })?;
        let is_same = Some(offer.protocol) == cx.inbound.dialect.protocol();
        let answer = is_same.then_some(answer);
        Ok(Count { tokens, source: CountSource::Exact, answer, served: None })
    }
}
