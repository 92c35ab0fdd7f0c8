//! What is known of a request while it is served.

use std::collections::BTreeMap;
use std::sync::Arc;

use canon::{Error, Operation};
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;
use wire::{Asked, Dialect};

use super::Pipeline;
use crate::buffers::Held;
use crate::config::MetadataPlace;
use crate::guardrails::Guard;
use crate::identity::{CacheAsked, Caching, Caller};
use crate::metering::Arrival;
use crate::responses::Keep;
use crate::snapshot::Snapshot;

/// Who asks, and how: all of a request but what is asked.
pub struct Inbound {
    /// The id that the answer carries.
    pub request_id: String,
    /// The path of the route, as the table of routes has it.
    pub path: &'static str,
    /// The configuration that the request sees from beginning to end.
    pub snapshot: Arc<Snapshot>,
    /// Who calls.
    pub caller: Caller,
    /// The format that the caller speaks.
    pub dialect: &'static dyn Dialect,
    /// What the headers ask for.
    pub options: RequestOptions,
    /// How the answer is kept; none where it is not.
    pub keep: Option<Arc<Keep>>,
    /// The request goes on from something that only a named provider of the same format can have. This is the error where
    /// none is named.
    pub elsewhere: Option<Error>,
    /// What it may get from the cache, and leaves there; none where it has nothing to do with it.
    pub cache: Option<Caching>,
    /// What the request is for.
    pub tags: BTreeMap<String, String>,
    /// What looks at the request and its answer; none where nothing does.
    pub guard: Option<Arc<Guard>>,
    /// When it arrived.
    pub arrival: Arrival,
}

/// What headers ask for.
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
    /// `traceparent` and `tracestate`, which go to the provider as they are.
    pub trace: Vec<(HeaderName, HeaderValue)>,
    /// The gateways that the request has passed: `x-llmgateway-hops`.
    pub hops: Option<String>,
    /// `x-no-cache`, else `x-llmgateway-cache`.
    pub cache: CacheAsked,
    /// `x-llmgateway-tags`, as it came.
    pub tags: Option<String>,
    /// Where the gateway's object goes: `x-llmgateway-metadata`, else what is known of the client, else the setting.
    pub metadata: MetadataPlace,
}

/// One request on its way, whoever serves it.
pub struct RequestContext<'a> {
    /// What is asked of providers.
    pub operation: Operation,
    /// Client, health and the like.
    pub pipeline: &'a Arc<Pipeline>,
    /// Who asks, and how.
    pub inbound: &'a Inbound,
    /// What is asked, as far as it decides who serves and what that may cost.
    pub asked: &'a Asked<'a>,
    /// Its share of memory.
    pub held: &'a Held,
    /// The provider that the caller pinned.
    pub pinned: Option<&'a str>,
    /// When the request with all its attempts has to be over.
    pub deadline: Instant,
    /// Decides where chance does.
    pub seed: u64,
}
