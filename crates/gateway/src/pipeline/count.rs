//! How many tokens a prompt has: the provider's own count where only one provider can be meant and it counts, else an
//! estimate that says that it is one.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use canon::Error;
use canon::write::push_text;
use wire::providers::FormatChoice;
use wire::{Exchange, Intake, adapter};

use super::resolve::{Offer, Resolver};
use super::{Inbound, Pipeline, candidates};

/// Largest answer to a request to count.
const ANSWER_LIMIT: usize = 1 << 20;

/// A count.
pub struct Count {
    /// How many tokens.
    pub tokens: u64,
    /// Where the number comes from.
    pub source: CountSource,
    /// The provider's whole answer, where it speaks the caller's format.
    pub answer: Option<Bytes>,
}

/// Where a count comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountSource {
    /// The provider counted.
    Exact,
    /// From the length of the text.
    Estimate,
}

impl CountSource {
    /// The word of `x-llmgateway-count`.
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
    /// Counts the tokens of a prompt. What a provider refuses to count is estimated; what it would refuse to answer is told.
    pub async fn count(self: Arc<Self>, inbound: &Inbound, intake: &Intake) -> Result<Count, Error> {
        let resolver = Resolver {
            snapshot: &inbound.snapshot,
            asked: FormatChoice::of(inbound.dialect.protocol(), intake),
            random: 0,
        };
        let resolved = resolver.resolve_all(&intake.model, &candidates::further_models(intake)?)?;
        if let [offer] = &resolved.offers[..]
            && let Some((tokens, answer)) = self.asked(inbound, intake, offer).await
        {
            let is_same = Some(offer.protocol) == inbound.dialect.protocol();
            return Ok(Count { tokens, source: CountSource::Exact, answer: is_same.then_some(answer) });
        }
        // What nobody would answer is no prompt.
        inbound.dialect.decode(intake)?;
        Ok(Count { tokens: intake.size.estimated_tokens(), source: CountSource::Estimate, answer: None })
    }

    /// The provider's own count.
    async fn asked(&self, inbound: &Inbound, intake: &Intake, offer: &Offer) -> Option<(u64, Bytes)> {
        let provider = &offer.provider;
        let target = offer.target();
        let exchange =
            Exchange { dialect: inbound.dialect, intake, upstream: offer.protocol, target, memory: None };
        let written = exchange.draft(false).ok()?.write().ok()?;
        let credential = provider.credentials.credential(0, Some(&inbound.request_id)).await.ok()?;
        let request =
            provider.endpoint.count_request(&offer.call(&written, false, &credential, SystemTime::now()))?;
        let limit = provider.settings.timeouts.first_byte;
        let asked = provider.client.exchange(request.ok()?, ANSWER_LIMIT);
        let answer = tokio::time::timeout(limit, asked).await.ok()?.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        let answer = answer.into_body();
        Some((adapter(offer.protocol).read_token_count(&answer)?, answer))
    }
}
