//! Requests of a provider's own API: one provider, the caller's request, the provider's answer unchanged.
//! Policies, limits, health and the record apply as for every request.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use canon::{Error, ErrorKind, Features, Operation, Origin, Retry};
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Body;
use hyper::upgrade::OnUpgrade;
use wire::native::{Metered, NativeForm, Realtime, tap};
use wire::providers::{Credential, FormatChoice, NativeCall};
use wire::{Addressed, Headers, Intake, RequestFacts};

use super::attempts::{Attempt, Failed, ProviderCall, Repair, Repaired, in_order};
use super::chat::StartedAnswer;
use super::context::RequestContext;
use super::deadlines::{Deadlines, Watch};
use super::endpoint_attempt::uploading;
use super::permit::HeldPermit;
use super::pump::Pump;
use super::resolve::{MAX_NAME_BYTES, Offer, Resolver};
use super::sending::{is_refused_credential, read_up_to};
use super::tunnel::{Session, Tunnel};
use super::{Failure, Inbound, Pipeline, failed};
use crate::bounded;
use crate::buffers::Held;
use crate::clock;
use crate::lifecycle::Lifecycle;
use crate::metering::{Pricing, Record, Served};
use crate::snapshot::ProviderHandle;
use crate::upstream::client::{AnswerBody, Connected};
use crate::upstream::upload::Upload;
use crate::upstream::waits;

/// Largest error body that is read.
const ERROR_LIMIT: usize = 1 << 20;

/// A request, with the part of it that was read.
pub struct NativeQuestion {
    /// The operation: that of the caller's request, or of the gateway's own requests about files and batches.
    pub operation: Operation,
    /// No model is involved, as with a file, or the models were checked before.
    pub asks_no_model: bool,
    pub provider: Arc<ProviderHandle>,
    /// The only permitted key.
    pub key: Option<usize>,
    pub method: Method,
    /// The path at the provider.
    pub path: String,
    pub query: String,
    /// The caller's headers that are forwarded.
    pub headers: Headers,
    /// Where the caller reaches the provider's own paths, as far as it says so.
    pub here: Option<String>,
    /// The facts in the path.
    pub form: NativeForm,
    /// The body, or its beginning.
    pub body: Bytes,
    /// The length of the whole body, as far as it is known.
    pub length: usize,
    /// Its share of memory.
    pub held: Held,
    /// The part of it that is not buffered.
    pub upload: Option<Upload>,
    /// The caller's connection, for a tunnel.
    pub tunnel: Option<TunnelEnd>,
}

/// The caller's side of a tunnel.
pub struct TunnelEnd {
    /// Its connection after HTTP has ended on it.
    pub upgrade: OnUpgrade,
    /// Ends the tunnel when the gateway stops.
    pub lifecycle: Arc<Lifecycle>,
    /// Keeps the place of the connection.
    pub place: Box<dyn Any + Send + Sync>,
}

/// The provider's answer.
pub struct NativeAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: NativeBody,
    /// Who served the request.
    pub served: Option<Served>,
    /// The label of the provider's key.
    pub key: String,
}

/// See [`NativeAnswer`].
pub enum NativeBody {
    Whole(Bytes),
    /// It passes as it comes.
    Stream(Box<Pump>),
}

/// An answer whose head has arrived; without a body, it is complete.
pub(super) struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    rest: AfterHead,
}

/// The part after the head.
enum AfterHead {
    Nothing,
    Body(Box<StartedAnswer>),
    Tunnel(OnUpgrade),
}

/// A provider's error answer.
struct ErrorAnswer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl NativeQuestion {
    /// Whether the whole body must be known before the provider is asked.
    pub fn must_be_whole(provider: &ProviderHandle, inbound: &Inbound, form: &NativeForm) -> bool {
        let names_model_in_body = form.metered.is_some() && form.model.is_none();
        let is_bound = inbound.caller.is_restricted() || inbound.caller.has_rules();
        // An AWS signature covers the body.
        provider.row.calling == wire::providers::CallStyle::AwsBedrock || names_model_in_body && is_bound
    }

    /// The intake of the request, where its format is known.
    fn intake(&self) -> Option<Intake> {
        let Some(Metered::Conversation(protocol)) = self.form.metered else { return None };
        if self.upload.is_some() {
            return None;
        }
        let rest = self.path.rsplit_once("/models/").map_or("", |(_, rest)| rest);
        let rest = percent_encoding::percent_decode_str(rest).decode_utf8().ok()?;
        wire::dialect(protocol)?.intake(Addressed { rest: &rest, query: &self.query }, &self.body).ok()
    }

    /// The provider's name of the model; empty where the request names none.
    fn model(&self, intake: Option<&Intake>) -> String {
        let named = self.form.model.clone().or_else(|| Some(intake?.model.clone()));
        let named = named.or_else(|| wire::native::model_of(&self.body)).unwrap_or_default();
        let settings = &self.provider.settings.settings;
        self.provider.endpoint.model_named(&named, settings).to_owned()
    }

    /// The facts for limits and metering. For an answer that is not read no tokens are reserved.
    fn asked<'a>(&self, model: &'a str, intake: Option<&'a Intake>) -> RequestFacts<'a> {
        let tokens = (self.length as u64).div_ceil(4);
        let unread = RequestFacts { model, max_output_tokens: Some(0), ..RequestFacts::default() };
        match (self.form.metered, intake) {
            (None, _) => unread,
            (Some(Metered::Turns), _) => RequestFacts { stream: true, ..unread },
            (Some(Metered::Embeddings), _) => {
                RequestFacts { prompt_tokens: tokens, reserved_tokens: tokens, ..unread }
            }
            (Some(_), Some(intake)) => {
                // The provider decides on the features of its model.
                RequestFacts {
                    model,
                    needs: Features::NONE,
                    routing_fields: Default::default(),
                    ..intake.facts()
                }
            }
            (Some(_), None) => RequestFacts {
                model,
                prompt_tokens: tokens,
                reserved_tokens: tokens,
                stream: self.form.streams == Some(true),
                ..RequestFacts::default()
            },
        }
    }

    fn may_be_repeated(&self, error: &Error) -> bool {
        let is_safe = matches!(self.method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE);
        // A request that was refused for its credential or its rate was not executed.
        let is_undone = matches!(error.kind, ErrorKind::RateLimit | ErrorKind::UpstreamCredential);
        self.form.metered.is_some() || is_safe || is_undone
    }
}

impl Pipeline {
    /// Forwards a request to its provider, and returns the head of the answer.
    pub async fn pass(
        self: Arc<Self>,
        inbound: &Inbound,
        mut question: NativeQuestion,
    ) -> Result<NativeAnswer, Failure> {
        let tunnel = question.tunnel.take();
        let intake = question.intake();
        let model = question.model(intake.as_ref());
        let asked = question.asked(&model, intake.as_ref());
        let mut record = self.record(inbound, question.operation, Some(&asked));
        record.pinned(question.provider.id());
        let offer = match offer(inbound, &question, &model) {
            Ok(offer) => offer,
            Err(error) => return Err(failed(inbound, record, error)),
        };
        if question.operation != Operation::Passthrough {
            // The cost of a batch's answers is recorded when its output is read.
            record.costs_percent(0);
        }
        let cx = self.native_context(inbound, &asked, &question, &record);
        let passing =
            Passing { cx: &cx, question: &question, tunnels: tunnel.is_some(), refused: Mutex::new(None) };
        let offers = [offer];
        let error = match in_order(&cx, &offers, &mut record, &passing).await {
            Ok((answered, mut permit)) => {
                let Answered { status, headers, rest } = answered;
                let mut served = record.served();
                let key = record.attempts().last().map(|attempt| attempt.key.clone()).unwrap_or_default();
                let body = match (rest, tunnel) {
                    (AfterHead::Body(begun), _) => {
                        let pump = Pump::new(*begun, record, permit, self.clone(), inbound);
                        NativeBody::Stream(Box::new(pump.with_status(status)))
                    }
                    (AfterHead::Tunnel(provider), Some(caller)) => {
                        permit.begun();
                        tunnel_through((caller, provider), inbound, record, permit);
                        NativeBody::Whole(Bytes::new())
                    }
                    _ => {
                        permit.succeeded(None);
                        record.finish(status.as_u16());
                        served = record.served();
                        NativeBody::Whole(Bytes::new())
                    }
                };
                return Ok(NativeAnswer { status, headers, body, served, key });
            }
            Err(error) => error,
        };
        // A refused gateway key is not the caller's concern: the caller gets the gateway's own error.
        let refused = passing.refused.into_inner().unwrap_or_else(PoisonError::into_inner);
        match refused
            .filter(|_| error.kind != ErrorKind::UpstreamCredential && error.origin == Origin::Upstream)
        {
            Some(ErrorAnswer { status, headers, body }) => {
                record.fail_with(&error, status.as_u16());
                let body = match str::from_utf8(&body) {
                    Ok(text) => question.provider.credentials.cleaned(text).into(),
                    Err(_) => body.into(),
                };
                let served = record.served();
                let (body, key) = (NativeBody::Whole(body), String::new());
                Ok(NativeAnswer { status, headers, body, served, key })
            }
            None => Err(failed(inbound, record, error)),
        }
    }

    fn native_context<'a>(
        self: &'a Arc<Self>,
        inbound: &'a Inbound,
        asked: &'a RequestFacts<'a>,
        question: &'a NativeQuestion,
        record: &Record,
    ) -> RequestContext<'a> {
        RequestContext {
            operation: question.operation,
            pipeline: self,
            inbound,
            asked,
            held: &question.held,
            pinned: Some(question.provider.id()),
            deadline: record.started() + inbound.snapshot.timeouts.request,
            seed: self.seeds.next(),
        }
    }
}

fn tunnel_through(
    (caller, provider): (TunnelEnd, OnUpgrade),
    inbound: &Inbound,
    record: Record,
    permit: HeldPermit,
) {
    let TunnelEnd { upgrade, lifecycle, place } = caller;
    let timeouts = inbound.snapshot.timeouts;
    let end = record.started() + timeouts.request;
    let session = Session { record, permit, turns: Mutex::new(Realtime::default()) };
    let idle = timeouts.websocket_idle;
    Tunnel { caller: upgrade, provider, session, lifecycle, idle, end, place }.start();
}

/// The provider's model, where the caller may use it. A request that is not metered has no known price.
fn offer(inbound: &Inbound, question: &NativeQuestion, model: &str) -> Result<Offer, Error> {
    let caller = &inbound.caller;
    if model.len() > MAX_NAME_BYTES {
        let message = format!("A model's name has at most {MAX_NAME_BYTES} bytes.");
        return Err(Error::invalid("model", message));
    }
    let resolver = Resolver {
        snapshot: &inbound.snapshot,
        asked: FormatChoice { caller: None, needs: Features::NONE, thinking: false },
        random: 0,
        caller: Some(caller),
        operation: Operation::Passthrough,
    };
    let mut offer = resolver.offer(&question.provider, model);
    offer.key = question.key;
    if question.asks_no_model {
        let refused =
            caller.terms().find_map(|terms| terms.provider_refusal(&question.provider.settings, ""));
        let Some(rule) = refused else { return Ok(Offer { serving: None, ..offer }) };
        let message =
            format!("This key may not use {:?}: a policy refuses it ({rule}).", question.provider.id());
        return Err(Error::caller(ErrorKind::Permission, message).at("provider"));
    }
    let refused = if model.is_empty() && caller.singles_out_models() {
        Some("the request names no model, and a policy is about some models".to_owned())
    } else {
        let mut offered = offer.offered("");
        offered.price_unknown |= question.form.metered.is_none();
        caller.is_restricted().then(|| caller.refusal(&offered)).flatten()
    };
    if let Some(reason) = refused {
        let what = if model.is_empty() { &question.path } else { model };
        let what: String = what.chars().take(100).collect();
        let id = question.provider.id();
        let message = format!("This key may not use {what:?} of {id}: {reason}.");
        return Err(Error::caller(ErrorKind::Permission, message).at("model"));
    }
    if question.form.metered.is_none() {
        offer.serving = None;
    }
    Ok(offer)
}

impl Pipeline {
    /// Refuses a batch with a model that the caller may not use.
    pub fn check_models(
        &self,
        inbound: &Inbound,
        provider: &Arc<ProviderHandle>,
        models: &[&str],
    ) -> Result<(), Error> {
        for model in models {
            let offer = Resolver::of(&inbound.snapshot).offer(provider, model);
            if let Some(reason) = inbound.caller.refusal(&offer.offered("")) {
                let model: String = model.chars().take(100).collect();
                let message = format!("This key may not use the model {model:?}: {reason}.");
                return Err(Error::caller(ErrorKind::Permission, message).at("requests"));
            }
        }
        Ok(())
    }
}

struct Passing<'a> {
    cx: &'a RequestContext<'a>,
    question: &'a NativeQuestion,
    /// A WebSocket is requested.
    tunnels: bool,
    /// The error answer of the last attempt.
    refused: Mutex<Option<ErrorAnswer>>,
}

impl ProviderCall for Passing<'_> {
    type Answer = Answered;

    async fn attempt(&self, attempt: Attempt<'_>, record: &mut Record) -> Result<Answered, Failed> {
        let asked_tier = self.cx.asked.service_tier.map(str::to_owned);
        record.priced_by(Pricing::new(attempt.offer.serving.clone(), asked_tier));
        let credentials = &attempt.offer.provider.credentials;
        let credential = credentials.credential(attempt.key, Some(&self.cx.inbound.request_id)).await?;
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let exchanged = if self.tunnels {
            Box::pin(self.upgrade(&attempt, &credential, record)).await
        } else {
            self.exchange(&attempt, &credential, record).await
        };
        let mut error = match exchanged {
            Ok(answered) => return Ok(answered),
            Err(error) => error,
        };
        if let Some(upload) = &self.question.upload {
            error = upload.failed(error);
        }
        if !self.question.may_be_repeated(&error) {
            error.retry = Retry::No;
        }
        record.provider_request_id(error.upstream.as_ref().and_then(|reply| reply.request_id.clone()));
        // A token can expire early; a fixed key cannot be renewed.
        let is_renewed = !attempt.repaired.credential
            && error.retry != Retry::No
            && is_refused_credential(&error)
            && credentials.refused(attempt.key, &credential);
        let repaired = Repaired { credential: true, ..attempt.repaired };
        let repair = is_renewed.then(|| Box::new(Repair { repaired, body: None }));
        Err(Failed { error, repair })
    }
}

impl Passing<'_> {
    async fn exchange(
        &self,
        attempt: &Attempt<'_>,
        credential: &Credential,
        record: &mut Record,
    ) -> Result<Answered, Error> {
        let mut deadlines = self.cx.deadlines(attempt, false);
        let timer = std::pin::pin!(tokio::time::sleep_until(deadlines.next()));
        let mut watch = Watch::new(&mut deadlines, timer);
        let make = || self.request(attempt.offer, credential);
        let (client, id) = (&attempt.offer.provider.client, Some(self.cx.inbound.request_id.as_str()));
        let sent = match &self.question.upload {
            None => watch.until(client.send(id, make)).await,
            Some(upload) => uploading(client.send_upload(id, make()?, upload), upload, &mut watch).await,
        };
        if sent.is_err() {
            record.is_at_work();
        }
        let (mut head, body) = sent??.into_parts();
        if let Some(Connected(time)) = head.extensions.get() {
            record.connected(*time);
        }
        watch.set(Deadlines::head);
        if head.status.is_client_error() || head.status.is_server_error() {
            let body = watch.until(read_up_to(body, ERROR_LIMIT)).await?;
            waits::in_seconds(&mut head.headers, clock::wall());
            return Err(self.refused(attempt, head, body));
        }
        record.head_status(head.status);
        record.provider_request_id(wire::protocols::errors::request_id(&head.headers));
        record.is_at_work();
        record.first_token();
        deadlines.content();
        if let Some(here) = &self.question.here {
            let sent = || make().ok().map(|request| request.uri().to_string());
            wire::native::lead_here(&mut head.headers, here, &self.question.path, sent);
        }
        let rest = if body.is_end_stream() {
            AfterHead::Nothing
        } else {
            AfterHead::Body(Box::new(self.begun(&head.headers, body, deadlines)))
        };
        Ok(Answered { status: head.status, headers: head.headers, rest })
    }

    /// Asks for a WebSocket.
    async fn upgrade(
        &self,
        attempt: &Attempt<'_>,
        credential: &Credential,
        record: &mut Record,
    ) -> Result<Answered, Error> {
        let mut deadlines = self.cx.deadlines(attempt, false);
        let timer = std::pin::pin!(tokio::time::sleep_until(deadlines.next()));
        let mut watch = Watch::new(&mut deadlines, timer);
        let mut request = self.request(attempt.offer, credential)?;
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        request.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        let response = watch.until(attempt.offer.provider.client.upgrade(request)).await??;
        record.provider_request_id(wire::protocols::errors::request_id(response.headers()));
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            record.is_at_work();
            record.first_token();
            let (status, headers) = (response.status(), response.headers().clone());
            let rest = AfterHead::Tunnel(hyper::upgrade::on(response));
            return Ok(Answered { status, headers, rest });
        }
        let (head, body) = response.into_parts();
        let body = watch.until(bounded::read(body, ERROR_LIMIT)).await?;
        let body = body.map(|body| body.to_vec()).unwrap_or_default();
        if head.status.is_client_error() || head.status.is_server_error() {
            return Err(self.refused(attempt, head, body));
        }
        let message =
            format!("The provider answered with status {} and opened no WebSocket.", head.status.as_u16());
        Err(Error::upstream(ErrorKind::Upstream, Retry::No, message))
    }

    /// The meaning of an error answer, which is kept unchanged.
    fn refused(&self, attempt: &Attempt<'_>, head: http::response::Parts, body: Vec<u8>) -> Error {
        let format = wire::adapter(attempt.offer.protocol);
        let error = format.decode_error(head.status, &head.headers, &body);
        let refused = ErrorAnswer { status: head.status, headers: head.headers, body };
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
        error
    }

    fn begun(&self, headers: &HeaderMap, body: AnswerBody, deadlines: Deadlines) -> StartedAnswer {
        let content_type =
            headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let streams = self.question.form.streams.unwrap_or(self.cx.asked.stream);
        StartedAnswer {
            body: Some(body),
            transcoder: tap(self.question.form.metered, content_type, streams),
            out: Vec::new(),
            held: self.cx.held.further(),
            deadlines,
            ping: b"",
            breaks_off: true,
        }
    }

    /// The request with our credential.
    fn request(&self, offer: &Offer, credential: &Credential) -> Result<http::Request<Bytes>, Error> {
        let (provider, question) = (&offer.provider, self.question);
        let call = offer.raw_call((&question.body, &question.headers), credential, clock::wall());
        let native = NativeCall {
            method: &question.method,
            path: &question.path,
            query: &question.query,
            usual: provider.row.base_url.as_deref(),
            below_base: question.operation != Operation::Passthrough,
        };
        let mut request = provider.endpoint.native_request(&call, &native)?;
        self.cx.add_headers(offer, request.headers_mut());
        Ok(request)
    }
}
