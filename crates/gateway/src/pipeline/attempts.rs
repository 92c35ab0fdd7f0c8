//! Attempts in order. Retry and fallback happen only here, and never after the first content went to the
//! caller. Every request to a provider is one attempt: in the record, in the counters, and in the retry
//! budget.

use std::time::Duration;

use canon::{Error, Json, Operation};
use routing::{Attempts, Candidate, Moment, Needs, Next, Plan};
use tokio::time::Instant;
use wire::EncodedRequest;

use super::admit;
use super::annotate::Selection;
use super::candidates;
use super::context::{Inbound, RequestContext};
use super::permit::HeldPermit;
use super::resolve::Offer;
use crate::clock;
use crate::metering::Record;
use crate::telemetry::log::excerpt;

pub struct Attempt<'a> {
    pub offer: &'a Offer,
    /// The index of its key.
    pub key: usize,
    pub selection: &'a Selection,
    /// When the attempt began.
    pub started: Instant,
    /// Repairs after earlier attempts with this key.
    pub repaired: Repaired,
    /// The repaired request; none when it has to be written.
    pub body: Option<EncodedRequest>,
}

/// Offers in their order.
pub struct Ranked<'a> {
    offers: &'a [Offer],
    order: Vec<usize>,
    selection: &'a Selection,
}

impl<'a> Ranked<'a> {
    /// The first ones, as attempts that are not made: for information that needs no provider.
    pub fn first(&self, most: usize) -> Vec<Attempt<'a>> {
        let of = |index: &usize| Attempt {
            offer: &self.offers[*index],
            key: 0,
            selection: self.selection,
            started: clock::now(),
            repaired: Repaired::default(),
            body: None,
        };
        self.order.iter().take(most).map(of).collect()
    }
}

/// Repairs. Each justifies one more attempt with a key.
#[derive(Clone, Copy, Default)]
pub struct Repaired {
    /// The credential was renewed.
    pub credential: bool,
    /// Thinking of earlier turns was removed.
    pub thinking: bool,
}

pub struct Failed {
    pub error: Error,
    /// How the same key may work immediately.
    pub repair: Option<Box<Repair>>,
}

/// How a failed attempt can be repaired.
pub struct Repair {
    /// All repairs so far.
    pub repaired: Repaired,
    /// The request to send; none when it has to be written.
    pub body: Option<EncodedRequest>,
}

/// Calls one provider once: for a conversation, or for another endpoint. A trait and not a closure: the
/// compiler cannot yet prove that the future of an `AsyncFnMut` over borrowed arguments is `Send`.
pub trait ProviderCall: Sync {
    type Answer;
    fn attempt(
        &self,
        attempt: Attempt<'_>,
        record: &mut Record,
    ) -> impl Future<Output = Result<Self::Answer, Failed>> + Send;
    /// A cached answer to an equal request, with its offer. None where there is none, or none is wanted.
    fn kept<'a>(
        &self,
        _ranked: Ranked<'a>,
        _record: &mut Record,
    ) -> impl Future<Output = Result<Option<(&'a Offer, Self::Answer)>, Error>> + Send {
        async { Ok(None) }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, repair: None }
    }
}

impl RequestContext<'_> {
    /// The key that keeps a conversation at its provider: the header, or the request's own field. Other
    /// requests do not warm a prompt cache.
    fn session(&self) -> Option<&str> {
        if self.operation != Operation::Chat {
            return None;
        }
        self.inbound.options.session.as_deref().or(self.asked.conversation)
    }

    /// Asks the other nodes where an unknown conversation is warm, if there is a choice.
    async fn ask_others_about(&self, session: &str, offers: &[Offer]) {
        let (caller, sessions) = (&self.inbound.caller.key_id, &self.inbound.snapshot.sessions);
        let has_choice = offers.len() > 1 || offers.iter().any(|offer| offer.keys().0.len() > 1);
        let Some(conversations) = self.pipeline.conversations.as_ref().filter(|_| has_choice) else { return };
        if sessions.get(caller, session, self.pipeline.now()).is_none()
            && let Some(warm) = conversations.warm(caller, session).await
        {
            sessions.learn(caller, session, warm, self.pipeline.now());
        }
    }

    /// Records that the conversation was just served by this route.
    fn is_warm_at(&self, session: &str, route: routing::Route<'_>) {
        let (caller, sessions) = (&self.inbound.caller.key_id, &self.inbound.snapshot.sessions);
        let news = sessions.put(caller, session, route, self.pipeline.now());
        if let (Some(warm), Some(conversations)) = (news, &self.pipeline.conversations) {
            conversations.report_warm(caller, session, warm, sessions.ttl());
        }
    }

    fn plan(
        &self,
        offers: &[Offer],
        candidates: &[Candidate<'_>],
        session: Option<&str>,
    ) -> Result<Plan, Error> {
        let pipeline = self.pipeline;
        let mut preferences = candidates::preferences(self.asked, offers, &self.inbound.snapshot.catalog)?;
        preferences.allow_fallbacks &= !self.inbound.options.no_fallback;
        let mut needs = match self.operation {
            // The count of a prompt that is too long is valid, too; a forwarded request is judged by its
            // provider.
            Operation::CountTokens | Operation::Passthrough | Operation::Files | Operation::Batches => {
                Needs { model: self.asked.model, ..Needs::default() }
            }
            _ => candidates::needs(self.asked),
        };
        let now = pipeline.now();
        if let Some(session) = session {
            needs.warm = self.inbound.snapshot.sessions.get(&self.inbound.caller.key_id, session, now);
        }
        let snapshot = &self.inbound.snapshot;
        let (health, settings) = (snapshot.health.of(self.operation), &snapshot.routing);
        routing::plan(&needs, candidates, &preferences, settings, Moment { health, now, random: self.seed })
            .map_err(|none| none.to_error())
    }

    /// True when there is no time for another attempt after this wait.
    pub(super) fn is_over(&self, wait: Option<Duration>) -> bool {
        clock::now() + wait.unwrap_or_default() >= self.deadline
    }

    /// Whether the decision is stored even if the first attempt answers.
    fn keeps_decision(&self) -> bool {
        self.inbound.options.explain || self.inbound.snapshot.decisions_sample.takes(self.seed)
    }

    fn selection(&self, plan: &Plan, candidates: &[Candidate<'_>]) -> Selection {
        if self.inbound.options.explain {
            Selection::Explained(Json::of(&plan.selection(candidates)))
        } else {
            Selection::Reason(plan.reason())
        }
    }
}

/// Tries the candidates in the plan's order until one answers. The permit is returned with the answer: its
/// owner reports how the answer ended.
pub async fn in_order<E: ProviderCall>(
    cx: &RequestContext<'_>,
    offers: &[Offer],
    record: &mut Record,
    call: &E,
) -> Result<(E::Answer, HeldPermit), Error> {
    let pipeline = cx.pipeline;
    let snapshot = &*cx.inbound.snapshot;
    let health = snapshot.health.of(cx.operation);
    let budget = &snapshot.retries.of(&cx.inbound.caller.key_id);
    let session = cx.session();
    let candidates = candidates::candidates(offers, cx.asked);
    // Boxed because it is rare: unboxed it would enlarge every request's future.
    if let (Some(session), true) = (session, cx.pipeline.conversations.is_some()) {
        Box::pin(cx.ask_others_about(session, offers)).await;
    }
    let plan = cx.plan(offers, &candidates, session)?;
    let selection = cx.selection(&plan, &candidates);
    if cx.keeps_decision() {
        record.decided(|| plan.selection(&candidates));
    }
    if cx.inbound.cache.is_some() {
        let ranked = Ranked { offers, order: plan.ranked(), selection: &selection };
        if let Some((offer, answer)) = Box::pin(call.kept(ranked, record)).await? {
            return Ok((answer, HeldPermit::none(cx, offer)));
        }
    }
    budget.deposit(pipeline.now());
    let mut attempts =
        Attempts::new(&plan, &candidates, &snapshot.routing).no_fallback(cx.inbound.options.no_fallback);
    let mut turn = KeyTurn::new(cx, offers, attempts.first(health, pipeline.now()));
    loop {
        if let Some(wait) = turn.after.take() {
            tokio::time::sleep(wait).await;
        }
        let offer = turn.offer;
        admit::admit(cx, offer, record).await?;
        let route = candidates[turn.index].route(turn.label);
        let started = clock::now();
        record.attempt(route, offer.provider.metrics.model(offer.metric_label()), started);
        turn.permit.starts(started);
        let failed = match call.attempt(turn.attempt(&selection, started), record).await {
            Ok(answer) => {
                record.attempt_ended(Some(200), None, started);
                if let (Some(session), false) = (session, plan.is_trial()) {
                    cx.is_warm_at(session, route);
                }
                return Ok((answer, turn.permit));
            }
            Err(failed) => failed,
        };
        let mut error = failed.error;
        // The provider's message leaves for the caller, the log and the record here: its secrets are masked.
        offer.provider.credentials.clean(&mut error);
        let status = error.upstream.as_ref().and_then(|reply| reply.status);
        record.attempt_ended(status, Some(&error), started);
        log_failure(offer, &error, cx.inbound);
        let now = pipeline.now();
        if let Some(repair) = failed.repair
            && attempts.repair(budget, now)
        {
            turn.repair(*repair);
            continue;
        }
        turn.permit.failed(&error);
        // The record should explain why these candidates were tried.
        record.decided(|| plan.selection(&candidates));
        match attempts.next(&error, budget, Moment { health, now, random: cx.seed }) {
            Next::GiveUp => return Err(error),
            Next::Candidate(next) if cx.is_over(next.after) => return Err(error),
            Next::Candidate(next) => turn = KeyTurn::new(cx, offers, next),
        }
    }
}

/// One key's turn: an attempt, and its repairs.
struct KeyTurn<'a> {
    offer: &'a Offer,
    index: usize,
    /// Its key, by index among the provider's keys, and among the permitted ones.
    key: usize,
    label: usize,
    after: Option<Duration>,
    permit: HeldPermit,
    repaired: Repaired,
    body: Option<EncodedRequest>,
}

impl<'a> KeyTurn<'a> {
    fn new(cx: &RequestContext<'_>, offers: &'a [Offer], next: routing::Attempt) -> Self {
        let offer = &offers[next.index];
        let key = offer.keys().1 + next.key;
        Self {
            offer,
            index: next.index,
            key,
            label: next.key,
            after: next.after,
            permit: HeldPermit::new(cx, offer, key, next.permit),
            repaired: Repaired::default(),
            body: None,
        }
    }

    fn attempt<'b>(&mut self, selection: &'b Selection, started: Instant) -> Attempt<'b>
    where
        'a: 'b,
    {
        let body = self.body.take();
        Attempt { offer: self.offer, key: self.key, selection, started, repaired: self.repaired, body }
    }

    fn repair(&mut self, repair: Repair) {
        self.repaired = repair.repaired;
        self.body = repair.body;
    }
}

fn log_failure(offer: &Offer, error: &Error, inbound: &Inbound) {
    tracing::warn!(
        request_id = inbound.request_id,
        provider = offer.provider.id(),
        model = offer.model,
        kind = error.kind.as_str(),
        status = error.upstream.as_ref().and_then(|reply| reply.status),
        provider_request_id = error.upstream.as_ref().and_then(|reply| reply.request_id.as_deref()),
        "an attempt failed: {}",
        excerpt(&error.message)
    );
}
