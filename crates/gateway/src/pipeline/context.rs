//! The data of a request while it is served.

use std::collections::BTreeMap;
use std::sync::Arc;

use canon::{Error, Operation};
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;
use wire::{Dialect, RequestFacts};

use super::Pipeline;
use crate::bodies::Capture;
use crate::buffers::Held;
use crate::config::MetadataPlace;
use crate::guardrails::Guard;
use crate::identity::{CacheDirective, Caching, Caller};
use crate::metering::Arrival;
use crate::responses::Keep;
use crate::snapshot::Snapshot;

/// The caller and its options: all data of a request except its content.
pub struct Inbound {
    /// The id that the answer carries.
    pub request_id: String,
    /// The path of the route, from the table of routes.
    pub path: &'static str,
    /// The snapshot of the configuration for the whole request.
    pub snapshot: Arc<Snapshot>,
    pub caller: Caller,
    /// The format that the caller speaks.
    pub dialect: &'static dyn Dialect,
    /// The options in headers.
    pub options: RequestOptions,
    /// How the answer is stored; none where it is not.
    pub keep: Option<Arc<Keep>>,
    /// The request continues something that only a named provider of the same format can have. This is the
    /// error where none is named.
    pub elsewhere: Option<Error>,
    /// Its use of the response cache; none where it does not use it.
    pub cache: Option<Caching>,
    /// The tags of the request.
    pub tags: BTreeMap<String, String>,
    /// Its guardrails; none without any.
    pub guard: Option<Arc<Guard>>,
    /// Its bodies; none where they are not kept.
    pub capture: Option<Arc<Capture>>,
    /// When it arrived.
    pub arrival: Arrival,
}

impl Inbound {
    /// Keeps the body of a request, where bodies are kept and no guardrail checks it first.
    pub fn capture_unguarded(&self, body: &[u8]) {
        if let Some(capture) = self.capture.as_ref().filter(|_| !self.caller.is_guarded()) {
            capture.request(body);
        }
    }

    /// Keeps the answer of a failed request, where bodies are kept.
    pub fn capture_error(&self, error: &Error) {
        if let Some(capture) = &self.capture {
            capture.answer(&self.dialect.error(error, None).1);
        }
    }
}

/// Options in headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestOptions {
    /// `x-no-fallback: true`
    pub no_fallback: bool,
    /// `x-llmgateway-strict: true`: a loss is an error.
    pub strict: bool,
    /// `x-llmgateway-explain: true`: scores in the metadata.
    pub explain: bool,
    /// `x-session-id`
    pub session: Option<String>,
    /// `traceparent` and `tracestate`, which are forwarded unchanged.
    pub trace: Vec<(HeaderName, HeaderValue)>,
    /// The gateways that the request has passed: `x-llmgateway-hops`.
    pub hops: Option<String>,
    /// `x-no-cache`, else `x-llmgateway-cache`.
    pub cache: CacheDirective,
    /// `x-llmgateway-tags`, unchanged.
    pub tags: Option<String>,
    /// The place of the gateway's object: from `x-llmgateway-metadata`, else from known clients, else the
    /// setting.
    pub metadata: MetadataPlace,
}

/// One request on its way through the attempts.
pub struct RequestContext<'a> {
    /// The content for providers.
    pub operation: Operation,
    /// Client, health and the like.
    pub pipeline: &'a Arc<Pipeline>,
    /// The caller and its options.
    pub inbound: &'a Inbound,
    /// The facts that decide who serves and what it may cost.
    pub asked: &'a RequestFacts<'a>,
    /// Its share of memory.
    pub held: &'a Held,
    /// The provider that the caller chose.
    pub pinned: Option<&'a str>,
    /// The deadline of the request with all its attempts.
    pub deadline: Instant,
    /// Random number for all random decisions.
    pub seed: u64,
}
