//! The steps of one request.

mod admit;
pub mod annotate;
pub mod attempts;
pub mod batch;
mod cache_misses;
pub mod cached;
mod cached_parts;
pub mod candidates;
pub mod chat;
mod context;
pub mod count;
pub mod deadlines;
pub mod endpoint;
pub mod endpoint_attempt;
pub mod explain;
pub mod native;
pub mod permit;
pub mod proof_memory;
pub mod pump;
pub mod resolve;
mod sending;
pub mod split_request;
pub mod tunnel;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use canon::{Error, Operation};
use limits::Remaining;
use routing::{Timestamp, chance};
use tokio::time::Instant;
use wire::providers::FormatChoice;
use wire::{Intake, Protocol, RequestFacts};

use crate::buffers::Held;
use crate::cache::ResponseCache;
use crate::cluster::{Leases, SharedConversations};
use crate::hops::Hops;
use crate::metering::{Begin, Metering, Record, Served};
use crate::responses::Responses;
use crate::upstream::media::MediaFetcher;
pub use context::{Inbound, RequestContext, RequestOptions};
pub use endpoint::{Question, takes_whole_forms};

use attempts::in_order;
use chat::{Chat, StartedAnswer};
use permit::HeldPermit;
use pump::Pump;
use resolve::Resolver;
use split_request::Several;

/// Serves chat requests.
pub struct Pipeline {
    /// Fetches media for providers that only take bytes.
    pub media: MediaFetcher,
    /// Keeps usage records.
    pub metering: Metering,
    /// This node's part of shared counters; none for a single node.
    pub leases: Option<Arc<Leases>>,
    /// Stored answers.
    pub responses: Responses,
    /// Conversations that may continue on another node; none for a single node.
    pub conversations: Option<SharedConversations>,
    pub cache: Arc<ResponseCache>,
    /// Proofs that callers drop and providers require.
    pub proof_memory: proof_memory::ProofMemory,
    /// Random numbers for requests.
    pub seeds: Seeds,
    /// Detects loops of gateways.
    pub hops: Hops,
    /// The zero of the clock that health is measured by.
    pub epoch: Instant,
    /// The outputs of batches that were recorded.
    pub settled: batch::Settled,
}

/// An error for the caller, with the metadata of the attempts.
#[derive(Debug)]
pub struct Failure {
    /// The error.
    pub error: Error,
    /// The gateway's object as a member of the error body, if a provider was asked.
    pub metadata: Option<Vec<u8>>,
    /// The last attempt, if there was one.
    pub served: Option<Served>,
    pub limits: Option<Box<Remaining>>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, metadata: None, served: None, limits: None }
    }
}

pub enum Answer {
    Whole(Bytes, Option<Served>),
    /// A stream with its first piece.
    Stream(Box<Pump>, Option<Served>),
    /// Streams of the parts of a request, as one.
    Several(Box<Several>, Option<Served>),
}

/// The outcome of a request that is still under way.
pub type Pending = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send>>;

impl Pipeline {
    /// The time that health is measured by.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.epoch.elapsed().as_millis() as u64)
    }

    /// Serves one request: resolve, plan, try in order, and return the answer.
    ///
    /// `held` is the body's share of memory, until the request is answered or its stream has begun.
    pub async fn run(
        self: Arc<Self>,
        inbound: Inbound,
        intake: Intake,
        held: Held,
    ) -> Result<Answer, Failure> {
        let mut record = self.record(&inbound, Operation::Chat, Some(&intake.facts()));
        match self.serve(&inbound, &intake, &held, &mut record).await {
            Ok((begun, permit)) => Ok(self.answer(&inbound, &intake, (begun, permit), record).await),
            Err(error) => Err(failed(&inbound, record, error)),
        }
    }

    /// Records a request that is refused before it is served.
    pub fn refuse(&self, inbound: &Inbound, operation: Operation, error: &Error) {
        inbound.capture_error(error);
        self.record(inbound, operation, None).fail(error);
    }

    async fn serve(
        self: &Arc<Self>,
        inbound: &Inbound,
        intake: &Intake,
        held: &Held,
        record: &mut Record,
    ) -> Result<(StartedAnswer, HeldPermit), Error> {
        let seed = self.seeds.next();
        let asked = intake.facts();
        let resolver = resolver(inbound, intake, seed);
        let mut resolved = resolver.resolve_all(asked.model, &candidates::further_models(&asked)?)?;
        if let Some(error) = &inbound.elsewhere {
            resolved.offers.retain(|offer| Some(offer.protocol) == inbound.dialect.protocol());
            if resolved.pinned.is_none() || resolved.offers.is_empty() {
                return Err(error.clone());
            }
        }
        if let Some(provider) = &resolved.pinned {
            record.pinned(provider);
        }
        let timeouts = inbound.snapshot.timeouts_of(&intake.model);
        let deadline = record.started() + timeouts.request;
        loop {
            let pinned = resolved.pinned.as_deref();
            let (operation, asked) = (Operation::Chat, &asked);
            let cx =
                RequestContext { operation, pipeline: self, inbound, asked, held, pinned, deadline, seed };
            let answer = in_order(&cx, &resolved.offers, record, &Chat::new(&cx, intake)).await;
            // An exhausted budget may name an alias. This happens once: afterwards such budgets only count.
            match record.take_downgrade() {
                Some(alias) if inbound.elsewhere.is_none() => resolved = resolver.resolve(&alias)?,
                _ => return answer,
            }
        }
    }

    /// Returns a successful answer: closes the record of a whole one; a stream takes record and permit along.
    async fn answer(
        self: &Arc<Self>,
        inbound: &Inbound,
        intake: &Intake,
        (mut begun, mut permit): (StartedAnswer, HeldPermit),
        mut record: Record,
    ) -> Answer {
        if begun.body.is_none() {
            self.keep_proofs(&record, begun.transcoder.as_mut());
        }
        if intake.form.stream {
            let served = record.served();
            let pump = Pump::new(begun, record, permit, self.clone(), inbound);
            return Answer::Stream(Box::new(pump), served);
        }
        if let Some(keep) = &inbound.keep
            && let Some(kept) = begun.transcoder.stored_answer()
            && !Box::pin(self.responses.save(keep, &kept)).await
        {
            kept.retract(&mut begun.out);
        }
        permit.succeeded(None);
        if let Some(capture) = &inbound.capture {
            capture.answer(&begun.out);
        }
        self.metering.finish(&mut record).await;
        Answer::Whole(begun.held.keep(begun.out), record.served())
    }

    /// Keeps the proofs that the provider will require in the next turn.
    fn keep_proofs(&self, record: &Record, transcoder: &mut dyn wire::Transcoder) {
        if let (Some(mut proofs), Some((provider, model))) = (transcoder.proofs(), record.used()) {
            provider.clone_into(&mut proofs.issuer);
            model.clone_into(&mut proofs.model);
            if let Some(conversations) = &self.conversations {
                conversations.report_proofs(record.caller(), &proofs);
            }
            self.proof_memory.put(record.caller(), proofs, self.now());
        }
    }

    fn record(&self, inbound: &Inbound, operation: Operation, asked: Option<&RequestFacts<'_>>) -> Record {
        self.metering.begin(Begin {
            request_id: &inbound.request_id,
            path: inbound.path,
            caller: &inbound.caller,
            model: asked.map_or("", |asked| asked.model),
            stream: asked.is_some_and(|asked| asked.stream),
            session: inbound.options.session.clone(),
            tags: inbound.tags.clone(),
            prompt_tokens: asked.map_or(0, |asked| asked.prompt_tokens),
            operation,
            dialect: inbound
                .dialect
                .protocol()
                .filter(|it| *it != Protocol::OpenaiChat)
                .map(Protocol::as_str),
            guard: inbound.guard.clone(),
            capture: inbound.capture.clone(),
            arrival: inbound.arrival,
        })
    }
}

/// Random numbers, one per request: SplitMix64 from a random start.
pub struct Seeds(AtomicU64);

impl Default for Seeds {
    fn default() -> Self {
        Self(AtomicU64::new(uuid::Uuid::new_v4().as_u64_pair().1))
    }
}

impl Seeds {
    fn next(&self) -> u64 {
        chance::mixed(self.0.fetch_add(chance::STEP, Ordering::Relaxed))
    }
}

/// Ends the record of a failed request; the error body contains the attempts, if any.
fn failed(inbound: &Inbound, mut record: Record, error: Error) -> Failure {
    inbound.capture_error(&error);
    record.fail(&error);
    let name = inbound.options.metadata.name().filter(|_| !record.attempts().is_empty());
    let metadata = name.map(|name| annotate::failure_member(name, &record));
    Failure { error, metadata, served: record.served(), limits: record.limits() }
}

/// The resolver for this request, with its snapshot and the caller's policy.
fn resolver<'a>(inbound: &'a Inbound, intake: &'a Intake, seed: u64) -> Resolver<'a> {
    Resolver {
        snapshot: &inbound.snapshot,
        asked: FormatChoice::of(inbound.dialect.protocol(), intake),
        random: seed,
        caller: Some(&inbound.caller),
        operation: Operation::Chat,
    }
}
