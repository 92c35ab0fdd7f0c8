//! One attempt at a chat answer: the request in the provider's format, and the answer up to its first content.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use canon::{Error, ErrorKind, Field};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use wire::exchange::{self, Draft, Exchange, ThinkingRepair, TranscoderParts};
use wire::proofs::{CallName, Memory, Proofs, Refusal};
use wire::providers::Credential;
use wire::{AnswerForm, EncodedRequest, Intake, MediaUrl, Transcoder, adapter};

use super::annotate::{EarlierCost, Envelope};
use super::attempts::{Attempt, Failed, ProviderCall, Ranked, Repair, Repaired};
use super::cache_misses::CacheMisses;
use super::context::RequestContext;
use super::deadlines::{Deadlines, Watch};
use super::resolve::Offer;
use super::sending::{is_refused_credential, read_up_to, refusal};
use crate::buffers::Held;
use crate::clock;
use crate::cluster::SharedConversations;
use crate::content_coding::without_byte_order_mark;
use crate::guardrails::Guard;
use crate::metering::{Pricing, Record};
use crate::upstream::client::{AnswerBody, Connected, cut};
use crate::upstream::waits;

/// Largest error body that is read.
const ERROR_LIMIT: usize = 1 << 20;

type FindProofs<'a> = dyn Fn(&CallName) -> Option<Arc<Proofs>> + Sync + 'a;

/// A successful answer: all of it, or a stream up to its first content.
pub struct StartedAnswer {
    /// The rest of the provider's answer; none when the answer is complete.
    pub body: Option<AnswerBody>,
    /// Converts it to the caller's answer.
    pub transcoder: Box<dyn Transcoder>,
    /// The caller's output so far.
    pub out: Vec<u8>,
    /// The share of memory of the buffered bytes.
    pub held: Held,
    /// The deadlines of the rest.
    pub deadlines: Deadlines,
    /// The ping of the stream.
    pub ping: &'static [u8],
    /// The stream's format has no place for an error of the gateway: a failed stream is broken off.
    pub breaks_off: bool,
}

/// The beginning of a successful answer.
struct AnswerStart {
    rest: Option<AnswerBody>,
    transcoder: Box<dyn Transcoder>,
    out: Vec<u8>,
    held: Held,
}

pub struct Chat<'a> {
    pub cx: &'a RequestContext<'a>,
    /// The caller's request.
    pub intake: &'a Intake,
    /// The cache lookups.
    pub(super) missed: CacheMisses<EncodedRequest>,
}

impl<'a> Chat<'a> {
    pub fn new(cx: &'a RequestContext<'a>, intake: &'a Intake) -> Self {
        Self { cx, intake, missed: CacheMisses::default() }
    }
}

impl ProviderCall for Chat<'_> {
    type Answer = StartedAnswer;

    async fn attempt(&self, attempt: Attempt<'_>, record: &mut Record) -> Result<StartedAnswer, Failed> {
        let missed = self.cx.inbound.cache.is_some().then_some(&self.missed);
        ChatAttempt { cx: self.cx, intake: self.intake, attempt, missed }.run(record).await
    }

    async fn kept<'a>(
        &self,
        ranked: Ranked<'a>,
        record: &mut Record,
    ) -> Result<Option<(&'a Offer, StartedAnswer)>, Error> {
        match self.cx.inbound.cache {
            Some(caching) => self.find_kept(ranked, caching, record).await,
            None => Ok(None),
        }
    }
}

pub(super) struct ChatAttempt<'a> {
    pub(super) cx: &'a RequestContext<'a>,
    /// The caller's request.
    pub(super) intake: &'a Intake,
    pub(super) attempt: Attempt<'a>,
    /// The cache lookups; none where the answer is not to be cached.
    pub(super) missed: Option<&'a CacheMisses<EncodedRequest>>,
}

impl ChatAttempt<'_> {
    /// Sends the request, and reads the answer until it is known to be successful.
    async fn run(mut self, record: &mut Record) -> Result<StartedAnswer, Failed> {
        let written = self.attempt.body.take().or_else(|| self.missed?.take_written(self.attempt.offer));
        let mut prepared = match written {
            Some(body) => body,
            None => self.prepare().await?,
        };
        if record.is_downgraded() {
            for losses in [&mut prepared.losses, &mut prepared.caller_losses] {
                losses.approximated(
                    Field::Model,
                    "A budget is spent, and its policy names this model instead.",
                );
            }
        }
        record.losses(&prepared.losses);
        record.priced_by(self.pricing(&prepared));
        self.cx.check_strict(&prepared.caller_losses)?;
        let credentials = &self.attempt.offer.provider.credentials;
        let credential = credentials.credential(self.attempt.key, Some(&self.cx.inbound.request_id)).await?;
        match self.exchange(&credential, &prepared, record).await {
            Ok(begun) => Ok(begun),
            Err(error) => {
                let repair = Box::pin(self.repair(&error, &credential, prepared)).await;
                Err(Failed { error, repair: repair.map(Box::new) })
            }
        }
    }

    /// The repair that may make the same key work immediately.
    async fn repair(
        &self,
        error: &Error,
        credential: &Credential,
        prepared: EncodedRequest,
    ) -> Option<Repair> {
        let Repaired { credential: renewed, thinking } = self.attempt.repaired;
        let credentials = &self.attempt.offer.provider.credentials;
        // A token can expire early; a fixed key cannot be renewed.
        if !renewed && is_refused_credential(error) && credentials.refused(self.attempt.key, credential) {
            return Some(Repair { repaired: Repaired { credential: true, thinking }, body: Some(prepared) });
        }
        if thinking {
            return None;
        }
        let body = self.without_refused_thinking(error).await?;
        self.cx.check_strict(&body.caller_losses).ok()?;
        Some(Repair { repaired: Repaired { credential: renewed, thinking: true }, body: Some(body) })
    }

    /// A request to retry when the provider refused the thinking of earlier turns.
    async fn without_refused_thinking(&self, error: &Error) -> Option<EncodedRequest> {
        let refusal = Refusal::of(error)?;
        let find = |call: &CallName| self.remembered(call);
        let exchange = self.exchange_with(&find);
        let ThinkingRepair { quirks, without_thinking } = exchange.thinking_repair(refusal)?;
        self.written(exchange.with_quirks(&quirks).draft(without_thinking).ok()?).await.ok()
    }

    async fn exchange(
        &self,
        credential: &Credential,
        prepared: &EncodedRequest,
        record: &mut Record,
    ) -> Result<StartedAnswer, Error> {
        let mut deadlines = self.cx.deadlines(&self.attempt, self.form().stream);
        let timer = std::pin::pin!(tokio::time::sleep_until(deadlines.next()));
        let mut watch = Watch::new(&mut deadlines, timer);
        let call = || self.call(credential, prepared);
        let client = &self.attempt.offer.provider.client;
        if let Some(capture) = &self.cx.inbound.capture {
            let provider = &self.attempt.offer.provider;
            capture.sent(provider.id(), &provider.credentials, &call()?);
        }
        let sent = watch.until(client.send(Some(&self.cx.inbound.request_id), call)).await;
        if sent.is_err() {
            record.is_at_work();
        }
        let response = sent??;
        if let Some(Connected(time)) = response.extensions().get() {
            record.connected(*time);
        }
        watch.set(Deadlines::head);
        let AnswerStart { rest, transcoder, out, held } =
            self.receive(response, &mut watch, prepared, record).await?;
        deadlines.content();
        record.first_token();
        record.progress(transcoder.progress());
        let ping = self.cx.inbound.dialect.ping(&self.intake.form);
        Ok(StartedAnswer { body: rest, transcoder, out, held, deadlines, ping, breaks_off: false })
    }

    /// The request in the provider's format.
    pub(super) async fn prepare(&self) -> Result<EncodedRequest, Error> {
        match &self.cx.pipeline.conversations {
            None => self.written(self.exchange_with(&|call| self.remembered(call)).draft(false)?).await,
            Some(conversations) => Box::pin(self.prepare_with(conversations)).await,
        }
    }

    /// The same with other nodes' knowledge of the conversation.
    async fn prepare_with(&self, conversations: &SharedConversations) -> Result<EncodedRequest, Error> {
        let unknown = Mutex::new(Vec::new());
        let find = |call: &CallName| {
            let found = self.remembered(call);
            if found.is_none() {
                unknown.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
            }
            found
        };
        let written = self.written(self.exchange_with(&find).draft(false)?).await;
        let unknown = std::mem::take(&mut *unknown.lock().unwrap_or_else(PoisonError::into_inner));
        // Another node that served an earlier turn may know what this one does not.
        let caller = &self.cx.inbound.caller.key_id;
        let proofs =
            if unknown.is_empty() { Vec::new() } else { conversations.proofs(caller, &unknown).await };
        if proofs.is_empty() {
            return written;
        }
        for proofs in proofs {
            self.cx.pipeline.proof_memory.put(caller, proofs, self.cx.pipeline.now());
        }
        self.written(self.exchange_with(&find).draft(false)?).await
    }

    /// The request between its caller and this provider.
    fn exchange_with<'b>(&'b self, find: &'b FindProofs<'b>) -> Exchange<'b> {
        let offer = self.attempt.offer;
        let provider = &offer.provider;
        let memory = Memory { provider: provider.id(), model: &offer.model, find };
        Exchange {
            dialect: self.cx.inbound.dialect,
            intake: self.intake,
            upstream: offer.protocol,
            target: offer.target(),
            memory: (self.cx.pipeline.conversations.is_some() || !self.cx.pipeline.proof_memory.is_empty())
                .then_some(memory),
        }
    }

    /// A draft with its media in place of their URLs, where the provider does not fetch them.
    async fn written(&self, mut draft: Draft<'_>) -> Result<EncodedRequest, Error> {
        let wanted = draft.media();
        if wanted.is_empty() { draft.write() } else { Box::pin(self.with_media(draft, wanted)).await }
    }

    async fn with_media(&self, mut draft: Draft<'_>, wanted: Vec<MediaUrl>) -> Result<EncodedRequest, Error> {
        let mut held = self.cx.held.further();
        draft.fill(self.cx.pipeline.media.fetch_all(wanted, &mut held).await?);
        let mut written = draft.write()?;
        written.body = held.keep(written.body);
        Ok(written)
    }

    /// The remembered answer that made a call.
    fn remembered(&self, call: &CallName) -> Option<Arc<Proofs>> {
        self.cx.pipeline.proof_memory.find(&self.cx.inbound.caller.key_id, call, self.cx.pipeline.now())
    }

    fn call(
        &self,
        credential: &Credential,
        prepared: &EncodedRequest,
    ) -> Result<http::Request<Bytes>, Error> {
        let offer = self.attempt.offer;
        let provider = &offer.provider;
        let mut request = provider.endpoint.request(&offer.call(
            prepared,
            self.form().stream,
            credential,
            clock::wall(),
        ))?;
        self.cx.add_headers(offer, request.headers_mut());
        Ok(request)
    }

    /// Reads a whole answer to its end, and a stream to its first content: until then another provider can take over.
    async fn receive(
        &self,
        response: Response<AnswerBody>,
        watch: &mut Watch<'_>,
        prepared: &EncodedRequest,
        record: &mut Record,
    ) -> Result<AnswerStart, Error> {
        let (mut head, mut body) = response.into_parts();
        record.head_status(head.status);
        record.provider_request_id(wire::protocols::errors::request_id(&head.headers));
        if !head.status.is_success() {
            let bytes = watch.until(read_up_to(body, ERROR_LIMIT)).await?;
            self.cx.capture_head(self.attempt.offer, (head.status, &head.headers), Some(&bytes));
            waits::in_seconds(&mut head.headers, clock::wall());
            let format = adapter(self.attempt.offer.protocol);
            let read = |status, headers: &HeaderMap, body: &[u8]| format.decode_error(status, headers, body);
            return Err(refusal(read, head.status, &head.headers, &bytes));
        }
        self.cx.capture_head(self.attempt.offer, (head.status, &head.headers), None);
        record.is_at_work();
        let stream = self.form().stream;
        let mut transcoder: Option<Box<dyn Transcoder>> = None;
        let mut out = Vec::with_capacity(if stream { 1024 } else { 0 });
        let mut held = self.cx.held.further();
        let rest = loop {
            let Some(frame) = watch.until(body.frame()).await? else { break None };
            let Ok(data) = frame.map_err(|error| cut(&error))?.into_data() else { continue };
            let data = if transcoder.is_none() { without_byte_order_mark(data) } else { data };
            watch.input();
            // White space before an answer keeps the connection open and says nothing about the answer.
            if transcoder.is_none() && data.trim_ascii().is_empty() {
                continue;
            }
            held.grow_answer(data.len()).await?;
            let transcoder = transcoder.get_or_insert_with(|| {
                let streams = self.streams(&head.headers, &data);
                self.recorded_in_cache(self.unframed(&data, prepared, streams, record), streams)
            });
            let read = transcoder.push(&data, &mut out);
            released(read, (&mut **transcoder, &mut out), record).await?;
            if stream && transcoder.has_begun() {
                break Some(body);
            }
        };
        let mut transcoder = transcoder.unwrap_or_else(|| self.transcoder(prepared, stream, record));
        if rest.is_none() {
            let read = transcoder.finish(&mut out);
            released(read, (&mut *transcoder, &mut out), record).await?;
        }
        Ok(AnswerStart { rest, transcoder, out, held })
    }

    /// Whether the answer is a stream: the bytes decide, not the request or the content type.
    fn streams(&self, headers: &HeaderMap, beginning: &[u8]) -> bool {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        wire::is_stream(self.attempt.offer.protocol, content_type, beginning, self.form().stream)
    }

    /// The transcoder of an answer with this beginning.
    pub(super) fn unframed(
        &self,
        beginning: &[u8],
        prepared: &EncodedRequest,
        upstream_streams: bool,
        record: &Record,
    ) -> Box<dyn Transcoder> {
        let transcoder = self.transcoder(prepared, upstream_streams, record);
        wire::unframed(self.attempt.offer.protocol, beginning, transcoder)
    }

    fn transcoder(
        &self,
        prepared: &EncodedRequest,
        upstream_streams: bool,
        record: &Record,
    ) -> Box<dyn Transcoder> {
        let offer = self.attempt.offer;
        exchange::transcoder(TranscoderParts {
            caller: self.cx.inbound.dialect,
            upstream: offer.protocol,
            upstream_streams,
            form: self.form().clone(),
            decoding: &prepared.decoding,
            quirks: &offer.provider.row.quirks,
            annotator: Arc::new(self.envelope(prepared, record)),
            filter: self.cx.inbound.guard.as_ref().and_then(Guard::filter),
        })
    }

    /// The gateway's additions to the answer.
    fn envelope(&self, prepared: &EncodedRequest, record: &Record) -> Envelope {
        let offer = self.attempt.offer;
        let attempts = record.attempts();
        Envelope {
            request_id: self.cx.inbound.request_id.clone(),
            place: self.cx.inbound.options.metadata,
            answer_id: OnceLock::new(),
            ids: self.cx.inbound.dialect.ids(),
            created: clock::now_ms() / 1000,
            requested_model: self.intake.model.clone(),
            requested_provider: self.cx.pinned.map(str::to_owned),
            used_model: offer.model.clone(),
            used_provider: offer.provider.id().to_owned(),
            key: attempts.last().map(|attempt| attempt.key.clone()).unwrap_or_default(),
            provider_request_id: attempts.last().and_then(|attempt| attempt.provider_request_id.clone()),
            earlier: attempts[..attempts.len().saturating_sub(1)].to_vec(),
            cache: record.cache_use(),
            attempt_started: self.attempt.started,
            selection: self.attempt.selection.clone(),
            losses: prepared.caller_losses.clone(),
            pricing: record.pricing().clone(),
            earlier_cost: EarlierCost::new(record.failed_cost()),
            guard: self.cx.inbound.guard.clone(),
        }
    }

    /// The prices of the answer. The requested tier applies only where it reached the provider.
    fn pricing(&self, prepared: &EncodedRequest) -> Pricing {
        let asked = self.intake.service_tier.clone();
        let was_sent = |_: &String| prepared.losses.iter().all(|loss| loss.field.name() != "service_tier");
        Pricing::new(self.attempt.offer.serving.clone(), asked.filter(was_sent))
    }

    fn form(&self) -> &AnswerForm {
        &self.intake.form
    }
}

/// Waits until the output may be sent. An answer that a guardrail withholds is billed like any other.
pub(super) async fn released(
    read: Result<(), Error>,
    (transcoder, out): (&mut dyn Transcoder, &mut Vec<u8>),
    record: &mut Record,
) -> Result<(), Error> {
    let released = match read {
        Ok(()) => poll_fn(|cx| transcoder.poll_released(cx, out)).await,
        refused => refused,
    };
    if released.as_ref().is_err_and(|error| error.kind == ErrorKind::ContentPolicy) {
        record.progress(transcoder.progress());
    }
    released
}
