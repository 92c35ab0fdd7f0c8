//! Answers from the cache: the lookup, the replay of a cached answer, and the storing of a new one.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use canon::{Error, FinishReason, Origin, Progress};
use wire::proofs::Proofs;
use wire::{EncodedRequest, StoredAnswer, Transcoder};

use super::admit;
use super::attempts::Ranked;
use super::cache_misses::Request;
use super::chat::{Chat, ChatAttempt, StartedAnswer, released};
use super::context::RequestContext;
use super::resolve::Offer;
use crate::cache::{CachedAnswer, Flight, FlightRole, Key, KeyParts, ResponseCache, Sent};
use crate::clock;
use crate::identity::Caching;
use crate::metering::{CacheUse, Pricing, Record};

/// The lookup covers this many offers, in their order. The request is written for each.
pub(super) const MOST_OFFERS: usize = 4;
/// The longest wait for an equal request; after that the request is sent.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Chat<'_> {
    /// The answer to an equal request, with its offer. Without one, the written requests are kept for the
    /// attempts.
    pub(super) async fn find_kept<'a>(
        &self,
        ranked: Ranked<'a>,
        caching: Caching,
        record: &mut Record,
    ) -> Result<Option<(&'a Offer, StartedAnswer)>, Error> {
        let cache = self.cx.pipeline.cache.clone();
        let (mut attempts, mut requests) = (Vec::new(), Vec::new());
        for attempt in ranked.first(MOST_OFFERS) {
            let offer = attempt.offer;
            let attempt = ChatAttempt { cx: self.cx, intake: self.intake, attempt, missed: None };
            // An error in the request is reported by its attempt.
            let Ok(written) = attempt.prepare().await else { continue };
            if self.cx.check_strict(&written.caller_losses).is_err() {
                continue;
            }
            requests.push(attempt.request(written));
            attempts.push((offer, attempt));
        }
        let keys: Vec<Key> = requests.iter().map(|request| request.key).collect();
        let flight = match look_up(self.cx, &keys, caching).await {
            CacheLookup::Nothing => return Ok(None),
            CacheLookup::Missing(flight) => flight,
            CacheLookup::Found(found, answer) => {
                if let ((offer, attempt), Some(written)) = (&attempts[found], &requests[found].written)
                    && let Some(begun) = attempt.replay(&answer, written, record).await?
                {
                    cache.metrics().response_cache("hit");
                    return Ok(Some((offer, begun)));
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
}

pub(super) enum CacheLookup {
    /// No request can be compared.
    Nothing,
    /// An answer to the request with this index.
    Found(usize, Arc<CachedAnswer>),
    /// No answer: the request is sent, and others may wait for it.
    Missing(Option<Flight>),
}

/// Looks for an answer to one of these requests, and waits for an equal request that is under way.
pub(super) async fn look_up(cx: &RequestContext<'_>, keys: &[Key], caching: Caching) -> CacheLookup {
    let cache = &cx.pipeline.cache;
    let Some(first) = keys.first() else { return CacheLookup::Nothing };
    let wait = clock::now() + LONGEST_WAIT;
    loop {
        if let Some((found, answer)) = cache.find(keys, caching.oldest).await {
            return CacheLookup::Found(found, answer);
        }
        if !caching.share {
            return CacheLookup::Missing(None);
        }
        match cache.turn(*first) {
            // Another request may have ended between the lookup and this point.
            FlightRole::Leads(flight) if cache.in_memory(keys, caching.oldest).is_some() => drop(flight),
            FlightRole::Leads(flight) => return CacheLookup::Missing(Some(flight)),
            FlightRole::Follows(landing) => {
                cache.metrics().response_cache("waited");
                if tokio::time::timeout_at(wait.min(cx.deadline), landing.wait()).await.is_err() {
                    return CacheLookup::Missing(None);
                }
            }
        }
    }
}

/// The cache key of a request to this offer.
pub(super) fn key_of(cx: &RequestContext<'_>, offer: &Offer, format: &str, sent: &[Sent<'_>]) -> Key {
    let project = &cx.inbound.caller.project.id;
    Key::of(&KeyParts {
        project,
        purged_at: cx.pipeline.cache.purged_at(project),
        provider: offer.provider.id(),
        model: &offer.model,
        format,
        sent,
    })
}

impl ChatAttempt<'_> {
    fn request(&self, written: EncodedRequest) -> Request<EncodedRequest> {
        let offer = self.attempt.offer;
        let sent = Sent { path: "", headers: &written.headers, body: &written.body };
        let key = key_of(self.cx, offer, offer.protocol.as_str(), &[sent]);
        Request::new(offer, key, written)
    }

    /// Replays a cached answer instead of the provider's. None when it cannot be read.
    async fn replay(
        &self,
        answer: &CachedAnswer,
        written: &EncodedRequest,
        record: &mut Record,
    ) -> Result<Option<StartedAnswer>, Error> {
        let offer = self.attempt.offer;
        admit::admit_batch(self.cx, offer, record).await?;
        record.used_cache(CacheUse::Hit);
        record.answers_from(offer.provider.id(), &offer.model);
        record.losses(&written.losses);
        record.priced_by(Pricing::nothing());
        let body = match &answer.id {
            Some(id) => wire::replay::with_id(&answer.body, id, &uuid::Uuid::now_v7().simple().to_string()),
            None => answer.body.clone(),
        };
        let mut transcoder = self.unframed(&body, written, answer.streams, record);
        let (mut out, mut held) = (Vec::new(), self.cx.held.further());
        held.grow_answer(body.len()).await?;
        let read = transcoder.push(&body, &mut out).and_then(|()| transcoder.finish(&mut out));
        let read = released(read, (&mut *transcoder, &mut out), record).await;
        if let Err(error) = read {
            // A guardrail checks cached answers too, and may withhold one.
            if error.origin != Origin::Upstream {
                return Err(error);
            }
            tracing::debug!(
                request_id = record.request_id(),
                "a kept answer cannot be read: {}",
                error.message
            );
            return Ok(None);
        }
        record.first_token();
        record.progress(transcoder.progress());
        let deadlines = self.cx.deadlines(&self.attempt, self.intake.form.stream);
        let ping = self.cx.inbound.dialect.ping(&self.intake.form);
        Ok(Some(StartedAnswer { body: None, transcoder, out, held, deadlines, ping, breaks_off: false }))
    }

    /// The transcoder of the answer, which also stores it where that is wanted.
    pub(super) fn recorded_in_cache(&self, inner: Box<dyn Transcoder>, streams: bool) -> Box<dyn Transcoder> {
        let (Some(missed), Some(caching)) = (self.missed, self.cx.inbound.cache) else { return inner };
        // A repaired request differs from the one that is compared with others.
        if self.attempt.repaired.thinking {
            return inner;
        }
        let Some((key, flight)) = missed.capture(self.attempt.offer) else { return inner };
        Box::new(CacheRecorder {
            inner,
            cache: self.cx.pipeline.cache.clone(),
            key,
            keep: caching.oldest,
            protocol: self.attempt.offer.protocol,
            streams,
            body: Some(BytesMut::new()),
            flight,
        })
    }
}

/// Stores a provider's bytes, once the answer is complete and successful.
struct CacheRecorder {
    inner: Box<dyn Transcoder>,
    cache: Arc<ResponseCache>,
    key: Key,
    keep: Duration,
    protocol: wire::Protocol,
    streams: bool,
    /// The bytes so far; none when they are too many.
    body: Option<BytesMut>,
    /// Other requests wait for the answer.
    flight: Option<Flight>,
}

impl CacheRecorder {
    fn keep(&mut self) {
        let reason = self.inner.progress().finish_reason;
        if !matches!(reason, Some(FinishReason::Stop | FinishReason::Length | FinishReason::ToolCalls)) {
            return;
        }
        let Some(body) = self.body.take() else { return };
        let body = body.freeze();
        let id = wire::replay::answer_id(self.protocol, self.streams, &body);
        let (streams, at_ms, keep) = (self.streams, clock::now_ms(), self.keep);
        self.cache.put(self.key, CachedAnswer { body, streams, id, at_ms, keep });
    }
}

impl Transcoder for CacheRecorder {
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<u8>) -> Result<(), Error> {
        if let Some(body) = &mut self.body {
            if body.len() + bytes.len() > self.cache.answer_limit() {
                self.cache.metrics().response_cache("too_large");
                self.body = None;
                self.flight = None;
            } else {
                body.extend_from_slice(bytes)
            }
        }
        self.inner.push(bytes, out)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let result = self.inner.finish(out);
        if result.is_ok() {
            self.keep();
        }
        // The others find it, or send their requests.
        self.flight = None;
        result
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        self.body = None;
        self.flight = None;
        self.inner.fail(error, out);
    }

    fn progress(&self) -> &Progress {
        self.inner.progress()
    }

    fn has_begun(&self) -> bool {
        self.inner.has_begun()
    }

    fn poll_released(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<(), Error>> {
        self.inner.poll_released(cx, out)
    }

    fn stored_answer(&mut self) -> Option<StoredAnswer> {
        self.inner.stored_answer()
    }

    fn proofs(&mut self) -> Option<Proofs> {
        self.inner.proofs()
    }
}
