//! Answers from the cache for requests without a conversation. An entry holds the provider's answers to all parts.

use canon::Error;
use http::HeaderMap;
use wire::endpoints::{PartAnswer, ProviderRequest};
use wire::replay;

use super::admit;
use super::annotate::Selection;
use super::attempts::{Attempt, Ranked};
use super::cache_misses::Request;
use super::cached::{CacheLookup, MOST_OFFERS, key_of, look_up};
use super::endpoint::{Answered, EndpointCall, Outcome, WholeAnswer};
use super::resolve::Offer;
use crate::cache::{CachedAnswer, Key, Sent};
use crate::clock;
use crate::identity::Caching;
use crate::metering::{CacheUse, Pricing, Record};

impl EndpointCall<'_> {
    /// The answer to an equal request, with its offer. Without one, the written requests are kept for the
    /// attempts.
    pub(super) async fn find_kept<'a>(
        &self,
        ranked: Ranked<'a>,
        caching: Caching,
        record: &mut Record,
    ) -> Result<Option<(&'a Offer, Answered)>, Error> {
        let cache = &self.cx.pipeline.cache;
        let (mut offers, mut requests) = (Vec::new(), Vec::new());
        for Attempt { offer, selection, .. } in ranked.first(MOST_OFFERS) {
            // An error in the request is reported by its attempt.
            let Ok(written) = self.question.request.write(offer.endpoint_target()) else { continue };
            if self.cx.check_strict(&written.losses).is_err() {
                continue;
            }
            requests.push(Request::new(offer, self.key(offer, &written), written));
            offers.push((offer, selection));
        }
        let keys: Vec<Key> = requests.iter().map(|request| request.key).collect();
        let flight = match look_up(self.cx, &keys, caching).await {
            CacheLookup::Nothing => return Ok(None),
            CacheLookup::Missing(flight) => flight,
            CacheLookup::Found(found, answer) => {
                if let Some(written) = &requests[found].written
                    && let Some(answered) = self.replay(&answer, written, offers[found], record).await?
                {
                    cache.metrics().response_cache("hit");
                    return Ok(Some((offers[found].0, answered)));
                }
                // An unreadable answer is requested again.
                None
            }
        };
        cache.metrics().response_cache("miss");
        record.used_cache(CacheUse::Miss);
        self.missed.set(requests, flight);
        Ok(None)
    }

    fn key(&self, offer: &Offer, written: &ProviderRequest) -> Key {
        let sent: Vec<_> = written
            .parts
            .iter()
            .map(|part| Sent { path: &part.path, headers: &part.headers, body: &part.body })
            .collect();
        key_of(self.cx, offer, self.cx.operation.as_str(), &sent)
    }

    /// Reads a cached answer like the provider's. None when it cannot be read.
    async fn replay(
        &self,
        answer: &CachedAnswer,
        written: &ProviderRequest,
        (offer, selection): (&Offer, &Selection),
        record: &mut Record,
    ) -> Result<Option<Answered>, Error> {
        let reader = &*written.reader;
        let Some(mut parts) = replay::parts_of(&answer.body) else { return Ok(None) };
        if let Some(old) = &answer.id {
            let unique = uuid::Uuid::now_v7().simple().to_string();
            for part in &mut parts {
                part.body = replay::with_id(&part.body, old, &unique);
            }
        }
        let read = reader.read(&parts).inspect_err(|error| {
            let request_id = record.request_id();
            tracing::debug!(request_id, "a kept answer cannot be read: {}", error.message);
        });
        let Ok(read) = read else { return Ok(None) };
        admit::admit_batch(self.cx, offer, record).await?;
        let mut held = self.cx.held.further();
        held.grow_answer(answer.body.len()).await?;
        record.used_cache(CacheUse::Hit);
        record.answers_from(offer.provider.id(), &offer.model);
        record.priced_by(Pricing::nothing());
        let losses = self.all_losses(written.losses.clone(), &read, record)?;
        let whole = WholeAnswer { answer: read, losses, selection: selection.clone(), held };
        let content_type = reader.content_type(&HeaderMap::new());
        Ok(Some(Answered { answer: Outcome::Whole(Box::new(whole)), content_type }))
    }

    /// Stores the provider's answers to all parts, where that is wanted.
    pub(super) fn keep(&self, offer: &Offer, answers: &[PartAnswer]) {
        let Some(Caching { oldest, .. }) = self.cx.inbound.cache else { return };
        // The requests that wait for this one go on when the flight is dropped: then they find the answer.
        let Some((key, _flight)) = self.missed.capture(offer) else { return };
        let cache = &self.cx.pipeline.cache;
        if replay::length_of(answers) > cache.answer_limit() {
            cache.metrics().response_cache("too_large");
            return;
        }
        let id = answers.first().and_then(|answer| replay::top_id(&answer.body));
        let body = replay::of_parts(answers);
        cache.put(key, CachedAnswer { body, streams: false, id, at_ms: clock::now_ms(), keep: oldest });
    }
}
