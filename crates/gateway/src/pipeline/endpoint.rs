//! Requests without a conversation: embeddings, speech, images and others. As in chat, with one answer, whole
//! or streamed.

use std::sync::Arc;

use canon::{Error, ErrorKind, Features, Losses, Operation, Retry};
use wire::endpoints::{
    AnswerReader, EndpointAnswer, EndpointRequest, ProviderRequest, of_part, read_answers,
};
use wire::providers::{Credential, FormatChoice};

use http::HeaderValue;

use super::annotate::{self, Selection};
use super::attempts::{Attempt, Failed, ProviderCall, Ranked, in_order};
use super::cache_misses::CacheMisses;
use super::chat::StartedAnswer;
use super::context::RequestContext;
use super::endpoint_attempt::{PartAnswers, PlainAttempt};
use super::permit::HeldPermit;
use super::pump::Pump;
use super::resolve::{Offer, Resolved, Resolver};
use super::{Answer, Failure, Inbound, Pipeline, candidates, failed};
use crate::buffers::Held;
use crate::clock;
use crate::metering::{Pricing, Record};
use crate::upstream::upload::Upload;

/// Failed questions for a result before the attempt fails.
const FAILED_QUESTIONS: usize = 3;

/// A parsed request.
pub struct Question {
    pub request: Box<dyn EndpointRequest>,
    /// Its share of memory.
    pub held: Held,
    /// The part of it that is not buffered.
    pub upload: Option<Upload>,
}

/// A successful answer, and its content type.
pub(super) struct Answered {
    pub(super) answer: Outcome,
    pub(super) content_type: HeaderValue,
}

/// See [`Answered`].
pub(super) enum Outcome {
    Whole(Box<WholeAnswer>),
    Stream(Box<StartedAnswer>),
}

pub(super) struct WholeAnswer {
    pub(super) answer: EndpointAnswer,
    pub(super) losses: Losses,
    pub(super) selection: Selection,
    pub(super) held: Held,
}

impl Pipeline {
    /// Serves one request of an endpoint without a conversation: resolve, plan, try in order, and return the
    /// answer with its content type.
    pub async fn ask(
        self: Arc<Self>,
        inbound: Inbound,
        question: Question,
    ) -> Result<(Answer, HeaderValue), Failure> {
        let request = &*question.request;
        let mut record = self.record(&inbound, request.operation(), Some(&request.facts()));
        match self.ask_in_order(&inbound, &question, &mut record).await {
            Ok((Answered { answer, content_type }, permit)) => {
                let answer = match answer {
                    Outcome::Whole(whole) => {
                        self.hand_over(&inbound, (*whole, &content_type), permit, record).await
                    }
                    Outcome::Stream(begun) => {
                        let served = record.served();
                        let pump = Pump::new(*begun, record, permit, self.clone(), &inbound);
                        Answer::Stream(Box::new(pump), served)
                    }
                };
                Ok((answer, content_type))
            }
            Err(error) => Err(failed(&inbound, record, error)),
        }
    }

    async fn ask_in_order(
        self: &Arc<Self>,
        inbound: &Inbound,
        question: &Question,
        record: &mut Record,
    ) -> Result<(Answered, HeldPermit), Error> {
        let Question { request, held, .. } = question;
        let (operation, asked, seed) = (request.operation(), &request.facts(), self.seeds.next());
        let resolver = Resolver {
            random: seed,
            caller: Some(&inbound.caller),
            asked: FormatChoice { caller: None, needs: asked.needs, thinking: false },
            operation,
            snapshot: &inbound.snapshot,
        };
        let mut resolved = resolver.resolve_all(asked.model, &candidates::further_models(asked)?)?;
        check_same_model(operation, &resolved)?;
        if let Some(provider) = &resolved.pinned {
            record.pinned(provider);
        }
        let deadline = record.started() + inbound.snapshot.timeouts_of(asked.model).request;
        loop {
            let pinned = resolved.pinned.as_deref();
            let cx =
                RequestContext { operation, pipeline: self, inbound, asked, held, pinned, deadline, seed };
            let answer = in_order(&cx, &resolved.offers, record, &EndpointCall::new(&cx, question)).await;
            match record.take_downgrade() {
                Some(alias) if !operation.keeps_model() => resolved = resolver.resolve(&alias)?,
                _ => return answer,
            }
        }
    }

    /// Closes the record, and adds the gateway's object to the answer.
    async fn hand_over(
        &self,
        inbound: &Inbound,
        (whole, content_type): (WholeAnswer, &HeaderValue),
        mut permit: HeldPermit,
        mut record: Record,
    ) -> Answer {
        let WholeAnswer { answer, losses, selection, held } = whole;
        let EndpointAnswer { mut body, progress, .. } = answer;
        permit.succeeded(None);
        if let Some(capture) = &inbound.capture {
            capture.answer(&body);
        }
        record.answered(progress);
        self.metering.finish(&mut record).await;
        if let Some(name) = inbound.options.metadata.name()
            && content_type.as_bytes().starts_with(b"application/json")
            && body.last() == Some(&b'}')
        {
            body.pop();
            annotate::push_answer_member(name, &record, &selection, &losses, &mut body);
            body.push(b'}');
        }
        Answer::Whole(held.keep(body), record.served())
    }
}

/// Whether every provider of the model takes forms of this operation in another format, for which it has to be held
/// whole. An error in the name of the model is reported when it is resolved for the request.
pub fn takes_whole_forms(inbound: &Inbound, operation: Operation, model: &str) -> bool {
    let asked = FormatChoice { caller: None, needs: Features::NONE, thinking: false };
    let (caller, snapshot) = (Some(&inbound.caller), &*inbound.snapshot);
    let resolver = Resolver { random: 0, caller, asked, operation, snapshot };
    let takes_whole = |offer: &Offer| offer.provider.row.operations.takes_whole_forms(operation);
    resolver
        .resolve(model)
        .is_ok_and(|resolved| !resolved.offers.is_empty() && resolved.offers.iter().all(takes_whole))
}

/// Vectors of two models are not comparable: all candidates must serve the same model.
pub(crate) fn check_same_model(operation: Operation, resolved: &Resolved) -> Result<(), Error> {
    let [first, others @ ..] = &resolved.offers[..] else { return Ok(()) };
    if !operation.keeps_model() || others.iter().all(|other| other.is_same_model(first)) {
        return Ok(());
    }
    let names = [first, others.iter().find(|other| !other.is_same_model(first)).unwrap_or(first)];
    let [first, other] = names.map(Offer::shown_model);
    let message = format!(
        "The request may be served by {first} or {other}: {} of different models cannot be compared; name one model.",
        operation.as_str()
    );
    Err(Error::invalid("model", message))
}

/// Calls a provider with a request of an endpoint.
pub(super) struct EndpointCall<'a> {
    pub(super) cx: &'a RequestContext<'a>,
    pub(super) question: &'a Question,
    /// The cache lookups.
    pub(super) missed: CacheMisses<ProviderRequest>,
}

impl<'a> EndpointCall<'a> {
    fn new(cx: &'a RequestContext<'a>, question: &'a Question) -> Self {
        Self { cx, question, missed: CacheMisses::default() }
    }

    /// Adds the losses of an answer, new or cached, to those of its request.
    pub(super) fn all_losses(
        &self,
        mut losses: Losses,
        answer: &EndpointAnswer,
        record: &mut Record,
    ) -> Result<Losses, Error> {
        losses.extend(answer.losses.clone());
        record.losses(&losses);
        self.cx.check_strict(&losses)?;
        Ok(losses)
    }
}

impl ProviderCall for EndpointCall<'_> {
    type Answer = Answered;

    async fn attempt(&self, attempt: Attempt<'_>, record: &mut Record) -> Result<Answered, Failed> {
        let (cx, offer) = (self.cx, attempt.offer);
        let Question { request, upload, .. } = self.question;
        let written = match self.missed.take_written(offer) {
            Some(written) => written,
            None => request.write(offer.endpoint_target())?,
        };
        let ProviderRequest { parts, losses, reader } = written;
        record.losses(&losses);
        record.priced_by(Pricing::new(offer.serving.clone(), None));
        cx.check_strict(&losses)?;
        let error = |part: usize, status, headers: &http::HeaderMap, body: &[u8]| {
            let error = reader.error(status, headers, body);
            match parts.len() {
                1 => error,
                _ => of_part(error, parts[part].first_input),
            }
        };
        let streams = |headers: &http::HeaderMap| reader.transcoder(headers);
        let upload = upload.as_ref().filter(|_| parts.first().is_some_and(|part| part.goes_on));
        let (limit, attempt) = (reader.limit(), &attempt);
        let plain = PlainAttempt { cx, attempt, limit, error: &error, streams: &streams, upload };
        let make = |credential: &Credential, part: usize| {
            let call = offer.part_call(&parts[part], credential, clock::wall());
            offer.provider.endpoint.operation_request(&call, cx.operation)
        };
        let mut received = plain.exchange(parts.len(), make, record).await?;
        let headers = received.answers.first().map(|answer| &answer.headers);
        let content_type = reader.content_type(headers.unwrap_or(&http::HeaderMap::new()));
        if let Some(begun) = received.begun {
            return Ok(Answered { answer: Outcome::Stream(begun), content_type });
        }
        Box::pin(follow(&plain, &*reader, &mut received, record)).await?;
        let answer = read_answers(&*reader, &parts, &received.answers)?;
        let losses = self.all_losses(losses, &answer, record)?;
        self.keep(offer, &received.answers);
        let whole = WholeAnswer { answer, losses, selection: attempt.selection.clone(), held: received.held };
        Ok(Answered { answer: Outcome::Whole(Box::new(whole)), content_type })
    }

    async fn kept<'a>(
        &self,
        ranked: Ranked<'a>,
        record: &mut Record,
    ) -> Result<Option<(&'a Offer, Answered)>, Error> {
        match self.cx.inbound.cache {
            Some(caching) => self.find_kept(ranked, caching, record).await,
            None => Ok(None),
        }
    }
}

/// Asks for answers that are made in the background, until all of them are there.
async fn follow(
    plain: &PlainAttempt<'_>,
    reader: &dyn AnswerReader,
    received: &mut PartAnswers,
    record: &mut Record,
) -> Result<(), Failed> {
    let (cx, offer) = (plain.cx, plain.attempt.offer);
    let (mut firsts, mut failures) = (Vec::new(), 0);
    loop {
        let mut open = Vec::new();
        for (index, last) in received.answers.iter().enumerate() {
            if let Some(follow_up) = reader.follow_up(firsts.get(index).unwrap_or(last), last)? {
                open.push((index, follow_up));
            }
        }
        let Some(wait) = open.iter().map(|(_, follow_up)| follow_up.after).max() else { return Ok(()) };
        if cx.is_over(Some(wait)) {
            let message = "The provider did not finish the work within the time of the request.";
            return Err(Error::gateway(ErrorKind::Timeout, message).into());
        }
        if firsts.is_empty() {
            firsts = received.answers.clone();
        }
        tokio::time::sleep(wait).await;
        let make = |credential: &Credential, place: usize| {
            let call = offer.part_call(&open[place].1.part, credential, clock::wall());
            offer.provider.endpoint.operation_request(&call, cx.operation)
        };
        let answered = match plain.exchange(open.len(), make, record).await {
            Ok(answered) => answered,
            Err(_) if failures < FAILED_QUESTIONS => {
                failures += 1;
                continue;
            }
            // The work goes on and is billed: another attempt would be billed a second time.
            Err(Failed { error, .. }) => return Err(Error { retry: Retry::No, ..error }.into()),
        };
        received.held.join(answered.held);
        for ((index, _), answer) in open.iter().zip(answered.answers) {
            received.answers[*index] = answer;
        }
    }
}
