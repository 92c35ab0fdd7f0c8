//! Attempts in order. Retry and fallback happen here and nowhere else, and never after the first byte.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use canon::{Error, ErrorKind, Json, Losses, Quirks, Request, Retry, Target};
use http::Response;
use http_body_util::BodyExt;
use routing::{Attempts, Next, Report};
use tokio::time::Instant;
use wire::proofs::{CallName, Proofs, Refusal};
use wire::protocols::openai_chat::{MediaUrls, Memory, OpenaiChat, RelayParts, forward_with, relay};
use wire::providers::{Call, Credential};
use wire::{AnswerForm, Dialect, Encoded, Passage, Protocol, Transcoder, adapter, proofs, translator};

use super::annotate::{Envelope, Selection};
use super::pump::{Pump, PumpParts};
use super::resolve::Offer;
use super::{Answer, Inbound, Pipeline, plan};
use crate::metering::Record;
use crate::snapshot::Snapshot;
use crate::upstream::client::{AnswerBody, root_cause};
use crate::upstream::media::Wanted;
use wire::protocols::openai_chat::Outline;

/// Largest error body that is read.
const ERROR_LIMIT: usize = 1 << 20;

/// One request and those who could serve it.
pub struct Job<'a> {
    /// Client, health and the like.
    pub pipeline: &'a Pipeline,
    /// The request as it came.
    pub inbound: &'a Inbound,
    /// Its outline.
    pub outline: &'a Outline<'a>,
    /// How the caller wants the answer.
    pub form: AnswerForm,
    /// The provider that the caller pinned.
    pub pinned: Option<&'a str>,
    /// Who could serve it.
    pub offers: &'a [Offer],
}

/// A good answer, not yet handed over.
pub enum Attempted {
    /// All of it.
    Whole(Vec<u8>, Box<dyn Transcoder>),
    /// A stream whose first content is there.
    Stream(Box<PumpParts>),
}

impl Attempted {
    /// Closes the record of a whole answer; a stream takes it along.
    pub async fn into_answer(
        self,
        mut record: Record,
        pipeline: Arc<Pipeline>,
        snapshot: Arc<Snapshot>,
    ) -> Answer {
        match self {
            Self::Whole(body, mut transcoder) => {
                pipeline.keep_proofs(&record, transcoder.as_mut());
                record.progress(transcoder.progress());
                match pipeline.metering.is_busy() {
                    true => pipeline.metering.committed(record.finish_with_others(200)).await,
                    false => record.finish(200),
                }
                Answer::Whole(body)
            }
            Self::Stream(mut parts) => {
                if parts.ended {
                    pipeline.keep_proofs(&record, parts.transcoder.as_mut());
                }
                Answer::Stream(Box::new(Pump::new(*parts, record, pipeline, snapshot)))
            }
        }
    }
}

impl Job<'_> {
    /// Tries the candidates in the plan's order until one answers.
    pub async fn run(&self, record: &mut Record, seed: u64) -> Result<Attempted, Error> {
        let pipeline = self.pipeline;
        let snapshot = &*self.inbound.snapshot;
        let (settings, health) = (&snapshot.routing, &snapshot.health);
        let candidates = plan::candidates(self.offers, self.outline);
        let mut preferences = plan::preferences(self.outline, self.offers)?;
        let no_fallback = self.inbound.wishes.no_fallback;
        preferences.allow_fallbacks &= !no_fallback;
        let mut needs = plan::needs(self.outline);
        let session = self.session();
        let now = pipeline.now();
        if let Some(session) = &session {
            needs.warm = snapshot.sessions.get(&self.inbound.caller.key_id, session, now);
        }
        let plan = routing::plan(&needs, &candidates, &preferences, health, settings, now, seed)
            .map_err(|none| none.to_error())?;
        snapshot.retries.deposit(now);
        let selection = match self.inbound.wishes.explain {
            true => Selection::Explained(Json::of(&plan.selection(&candidates))),
            false => Selection::Reason(plan.reason()),
        };
        let mut attempts = Attempts::new(&plan, &candidates, settings).no_fallback(no_fallback);
        let mut attempt = attempts.first(health, now);
        loop {
            if let Some(wait) = attempt.after {
                tokio::time::sleep(wait).await;
            }
            let offer = &self.offers[attempt.index];
            let started = Instant::now();
            let route = candidates[attempt.index].route(attempt.key);
            let counters = offer.provider.metrics.model(offer.metric_label());
            record.attempt(route, counters, offer.serving.clone());
            match self.attempt(offer, attempt.key, &selection, started, record).await {
                Ok(answer) => {
                    record.attempt_ended(200, None, started);
                    if let (Some(session), false) = (&session, plan.is_trial()) {
                        snapshot.sessions.put(&self.inbound.caller.key_id, session, route, pipeline.now());
                    }
                    let report = Report::success(self.form.stream.then(|| started.elapsed()), None);
                    health.finish(route, attempt.permit, &report, pipeline.now());
                    return Ok(answer);
                }
                Err(error) => {
                    let status = error.upstream.as_ref().and_then(|reply| reply.status).unwrap_or(0);
                    record.attempt_ended(status, Some(&error), started);
                    let now = pipeline.now();
                    health.finish(route, attempt.permit, &Report::failure(&error), now);
                    log_failure(offer, &error, self.inbound);
                    match attempts.next(&error, health, &snapshot.retries, now, seed) {
                        Next::GiveUp => return Err(error),
                        Next::Candidate(next) => attempt = next,
                    }
                }
            }
        }
    }

    /// What keeps a conversation at its provider: the header, the cache key, or the end user.
    fn session(&self) -> Option<String> {
        let by_field = |name: &str| self.outline.string(name).map(std::borrow::Cow::into_owned);
        self.inbound
            .wishes
            .session
            .clone()
            .or_else(|| by_field("prompt_cache_key"))
            .or_else(|| by_field("user"))
    }

    async fn attempt(
        &self,
        offer: &Offer,
        key: usize,
        selection: &Selection,
        started: Instant,
        record: &mut Record,
    ) -> Result<Attempted, Error> {
        let prepared = self.prepare(offer).await?;
        let losses = &prepared.losses;
        record.losses(losses);
        self.check_strict(losses)?;
        let credentials = &offer.provider.credentials;
        let credential = credentials.credential(key).await?;
        let result = self.exchange(offer, &credential, &prepared, selection, started, record).await;
        let Err(error) = &result else { return result };
        // A token can end before its time; a fixed key cannot be had anew.
        if is_refused_credential(error) && credentials.refused(key, &credential) {
            let renewed = credentials.credential(key).await?;
            return Box::pin(self.exchange(offer, &renewed, &prepared, selection, started, record)).await;
        }
        match Box::pin(self.without_refused_thinking(offer, error)).await {
            Some(mended) if self.check_strict(&mended.losses).is_ok() => {
                record.losses(&mended.losses);
                Box::pin(self.exchange(offer, &credential, &mended, selection, started, record)).await
            }
            _ => result,
        }
    }

    /// The request once more, when the provider refused the thinking of earlier turns: signatures that nobody can judge
    /// but who issued them, and fields that a provider wants or does not know.
    async fn without_refused_thinking(&self, offer: &Offer, error: &Error) -> Option<Encoded> {
        let refusal = Refusal::of(error)?;
        let quirks = &offer.provider.row.quirks;
        match offer.protocol {
            Protocol::OpenaiChat => self.prepare_with(offer, &refusal.quirks(quirks)?, false).await.ok(),
            _ if refusal == Refusal::Invalid => self.prepare_with(offer, quirks, true).await.ok(),
            _ => None,
        }
    }

    async fn exchange(
        &self,
        offer: &Offer,
        credential: &Credential,
        prepared: &Encoded,
        selection: &Selection,
        started: Instant,
        record: &mut Record,
    ) -> Result<Attempted, Error> {
        let timeouts = &self.inbound.snapshot.timeouts;
        let call = self.call(offer, credential, prepared.body.clone())?;
        let exchange = async {
            let response = self.pipeline.client.send(call).await?;
            self.receive(response, offer, prepared, selection, started, record).await
        };
        match tokio::time::timeout(timeouts.first_byte, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Error::upstream(
                ErrorKind::Timeout,
                Retry::Again,
                format!("The provider did not answer within {} seconds.", timeouts.first_byte.as_secs_f64()),
            )),
        }
    }

    /// The request in the provider's format: forwarded where it speaks the caller's, else translated.
    async fn prepare(&self, offer: &Offer) -> Result<Encoded, Error> {
        self.prepare_with(offer, &offer.provider.row.quirks, false).await
    }

    async fn prepare_with(
        &self,
        offer: &Offer,
        quirks: &Quirks,
        without_thinking: bool,
    ) -> Result<Encoded, Error> {
        let target = Target { model: &offer.model, facts: offer.facts(), quirks };
        let encoded = match offer.protocol {
            Protocol::OpenaiChat => {
                let with_media = Box::pin(self.with_media(target)).await?;
                let find = |call: &CallName| self.remembered(call);
                let memory = Memory { provider: offer.provider.id(), find: &find };
                match with_media {
                    Some(body) => forward_with(&Outline::read(&body)?, target, Some(memory))?,
                    None => forward_with(self.outline, target, Some(memory))?,
                }
            }
            protocol => {
                let adapter = adapter(protocol);
                let mut request = self.decoded(offer)?;
                if without_thinking {
                    proofs::strip(&mut request);
                }
                let wants_bytes = |media: &canon::Media| adapter.wants_bytes(media, target);
                Box::pin(self.pipeline.media.inline(&mut request, wants_bytes)).await?;
                adapter.encode_request(&request, target)?
            }
        };
        Ok(encoded)
    }

    /// The caller's body with its media in place of their URLs, where the provider does not fetch them.
    async fn with_media(&self, target: Target<'_>) -> Result<Option<Vec<u8>>, Error> {
        if !target.quirks.no_media_urls {
            return Ok(None);
        }
        let Some(urls) = MediaUrls::of(self.outline) else { return Ok(None) };
        let wanted = urls.iter().map(|url| Wanted { path: url.path(), url: url.url.clone(), kind: url.kind });
        let fetched = self.pipeline.media.fetch_all(wanted.collect()).await?;
        let data = fetched.into_iter().map(|file| (file.mime, file.data));
        Ok(Some(urls.replaced(self.outline, data)))
    }

    fn decoded(&self, offer: &Offer) -> Result<Request, Error> {
        let mut request = OpenaiChat.decode_request(&self.inbound.body)?;
        if !self.pipeline.vault.is_empty() {
            let find = |call: &CallName| self.remembered(call);
            proofs::restore(&mut request, offer.protocol, offer.provider.id(), find);
        }
        Ok(request)
    }

    /// What is known of the answer that made a call.
    fn remembered(&self, call: &CallName) -> Option<Arc<Proofs>> {
        self.pipeline.vault.find(&self.inbound.caller.key_id, call, self.pipeline.now())
    }

    fn check_strict(&self, losses: &Losses) -> Result<(), Error> {
        match losses.iter().next() {
            Some(loss) if self.inbound.wishes.strict => Err(Error::unsupported(
                loss.field.clone(),
                format!(
                    "{} would be {}: {} (x-llmgateway-strict is set).",
                    loss.field,
                    loss.action.as_str(),
                    loss.reason
                ),
            )),
            _ => Ok(()),
        }
    }

    fn call(
        &self,
        offer: &Offer,
        credential: &Credential,
        body: Bytes,
    ) -> Result<http::Request<Bytes>, Error> {
        let provider = &offer.provider;
        provider.calling.request(&Call {
            base_url: &provider.settings.base_url,
            protocol: offer.protocol,
            model: &offer.model,
            streaming: self.form.stream,
            body,
            credential,
            auth: &provider.row.auth,
            headers: &provider.row.headers,
            path: provider.row.path.as_deref(),
            settings: &provider.settings.settings,
            now: std::time::SystemTime::now(),
        })
    }

    async fn receive(
        &self,
        response: Response<AnswerBody>,
        offer: &Offer,
        prepared: &Encoded,
        selection: &Selection,
        started: Instant,
        record: &mut Record,
    ) -> Result<Attempted, Error> {
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            let bytes = read_up_to(body, ERROR_LIMIT).await;
            return Err(refusal(offer.protocol, head.status, &head.headers, &bytes));
        }
        let streams = self.form.stream && is_stream(&head.headers, offer.protocol);
        let mut transcoder = self.transcoder(offer, prepared, selection, started, streams, record);
        match streams {
            true => self.open_stream(body, transcoder, record).await,
            false => {
                let mut body = body;
                let mut out = Vec::new();
                while let Some(frame) = body.frame().await {
                    if let Ok(data) = frame.map_err(|error| cut(&error))?.into_data() {
                        transcoder.push(&data, &mut out)?;
                    }
                }
                transcoder.finish(&mut out)?;
                record.first_token();
                Ok(Attempted::Whole(out, transcoder))
            }
        }
        .map(|attempted| match (attempted, self.form.stream) {
            (Attempted::Whole(out, transcoder), true) => {
                record.progress(transcoder.progress());
                Attempted::Stream(Box::new(PumpParts { body: None, transcoder, out, ended: true }))
            }
            (attempted, _) => attempted,
        })
    }

    /// Waits for the first content: until then another provider can take over.
    async fn open_stream(
        &self,
        mut body: AnswerBody,
        mut transcoder: Box<dyn Transcoder>,
        record: &mut Record,
    ) -> Result<Attempted, Error> {
        let mut out = Vec::with_capacity(1024);
        loop {
            match body.frame().await {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    transcoder.push(&data, &mut out)?;
                    if transcoder.progress().content_started {
                        record.first_token();
                        record.progress(transcoder.progress());
                        return Ok(Attempted::Stream(Box::new(PumpParts {
                            body: Some(body),
                            transcoder,
                            out,
                            ended: false,
                        })));
                    }
                }
                Some(Err(error)) => return Err(cut(&error)),
                None => {
                    transcoder.finish(&mut out)?;
                    record.first_token();
                    record.progress(transcoder.progress());
                    return Ok(Attempted::Stream(Box::new(PumpParts {
                        body: None,
                        transcoder,
                        out,
                        ended: true,
                    })));
                }
            }
        }
    }

    fn transcoder(
        &self,
        offer: &Offer,
        prepared: &Encoded,
        selection: &Selection,
        started: Instant,
        streams: bool,
        record: &Record,
    ) -> Box<dyn Transcoder> {
        let attempts = record.attempts();
        let envelope = Envelope {
            request_id: self.inbound.request_id.clone(),
            answer_id: OnceLock::new(),
            created: crate::metering::now_ms() / 1000,
            requested_model: self.outline.model.clone().into_owned(),
            requested_provider: self.pinned.map(str::to_owned),
            used_model: offer.model.clone(),
            used_provider: offer.provider.id().to_owned(),
            key: attempts.last().map(|attempt| attempt.key.clone()).unwrap_or_default(),
            earlier: attempts[..attempts.len().saturating_sub(1)].to_vec(),
            attempt_started: started,
            selection: selection.clone(),
            losses: prepared.losses.clone(),
            serving: offer.serving.clone(),
        };
        let relays = offer.protocol == Protocol::OpenaiChat && streams == self.form.stream;
        match relays {
            true => relay(RelayParts {
                form: self.form,
                annotator: Box::new(envelope),
                gathers: offer.provider.row.quirks.reasoning_field.is_some(),
            }),
            false => translator(Passage {
                caller: &OpenaiChat,
                upstream: offer.protocol,
                upstream_streams: streams,
                form: self.form,
                undo: &prepared.undo,
                annotator: Arc::new(envelope),
            }),
        }
    }
}

/// Some providers answer a stream request with one JSON document: an error, or the whole answer.
fn is_stream(headers: &http::HeaderMap, protocol: Protocol) -> bool {
    let content_type =
        headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let expected = adapter(protocol).stream_content_type();
    content_type.is_empty()
        || content_type.starts_with(expected)
        || !content_type.starts_with("application/json")
}

/// The provider does not know who we are. A 403 is no sign of that: then it knows us and says no.
fn is_refused_credential(error: &Error) -> bool {
    let status = error.upstream.as_ref().and_then(|reply| reply.status);
    error.kind == ErrorKind::UpstreamCredential && status == Some(401)
}

/// An error answer. A redirect is one too: keys are never sent on to another address.
fn refusal(protocol: Protocol, status: http::StatusCode, headers: &http::HeaderMap, body: &[u8]) -> Error {
    if status.is_client_error() || status.is_server_error() {
        return adapter(protocol).decode_error(status, headers, body);
    }
    let message = format!("The provider answered with status {}; check its base_url.", status.as_u16());
    Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message)
}

async fn read_up_to(mut body: AnswerBody, limit: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data[..data.len().min(limit - bytes.len())]);
        }
        if bytes.len() >= limit {
            break;
        }
    }
    bytes
}

/// The connection broke within an answer.
pub fn cut(error: &hyper::Error) -> Error {
    let message = format!("The provider's answer broke off: {}.", root_cause(error));
    Error::upstream(ErrorKind::Upstream, Retry::Again, message)
}

fn log_failure(offer: &Offer, error: &Error, inbound: &Inbound) {
    tracing::warn!(
        request_id = inbound.request_id,
        provider = offer.provider.id(),
        model = offer.model,
        kind = error.kind.as_str(),
        status = error.upstream.as_ref().and_then(|reply| reply.status),
        "an attempt failed: {}",
        error.message
    );
}
