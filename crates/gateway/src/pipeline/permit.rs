//! Permission to send to a provider's model, with the duty to report the outcome.

use std::sync::Arc;
use std::time::Duration;

use canon::{Error, Operation};
use routing::{Permit, Report, Route, Timestamp};
use tokio::time::Instant;

use super::context::RequestContext;
use super::resolve::Offer;
use crate::clock;
use crate::snapshot::{ProviderHandle, Snapshot};

/// Holds routing's permit while an answer is under way. Dropping it without a report (the caller hung up, at
/// any `.await`) returns the permit as [`Report::cancelled`]: a half-open route would otherwise stay closed
/// for `breaker.probe_seconds`.
pub struct HeldPermit {
    snapshot: Arc<Snapshot>,
    operation: Operation,
    /// The zero of the clock that health is measured by.
    epoch: Instant,
    provider: Arc<ProviderHandle>,
    model: String,
    key: usize,
    /// None after it was returned.
    permit: Option<Permit>,
    started: Instant,
    first_token: Option<Duration>,
}

impl HeldPermit {
    /// Takes charge of a permit.
    pub fn new(cx: &RequestContext<'_>, offer: &Offer, key: usize, permit: Permit) -> Self {
        Self {
            snapshot: cx.inbound.snapshot.clone(),
            operation: cx.operation,
            epoch: cx.pipeline.epoch,
            provider: offer.provider.clone(),
            model: offer.model.clone(),
            key,
            permit: Some(permit),
            started: clock::now(),
            first_token: None,
        }
    }

    /// For an answer without a provider: there is nothing to report.
    pub fn none(cx: &RequestContext<'_>, offer: &Offer) -> Self {
        Self {
            snapshot: cx.inbound.snapshot.clone(),
            operation: cx.operation,
            epoch: cx.pipeline.epoch,
            provider: offer.provider.clone(),
            model: String::new(),
            key: 0,
            permit: None,
            started: clock::now(),
            first_token: None,
        }
    }

    /// An attempt begins.
    pub fn starts(&mut self, started: Instant) {
        self.started = started;
    }

    /// The first content of a stream has arrived. Whether the stream succeeds is known at its end.
    pub fn begun(&mut self) {
        self.first_token = Some(self.started.elapsed());
        let now = self.now();
        let route = route(&self.provider, &self.model, self.key);
        if let Some(permit) = &mut self.permit {
            self.snapshot.health.of(self.operation).begun(route, permit, now);
        }
    }

    /// The answer is complete.
    pub fn succeeded(&mut self, tokens_per_second: Option<f64>) {
        self.give_back(&Report::success(self.first_token, tokens_per_second));
    }

    /// The attempt or its stream ended with an error.
    pub fn failed(&mut self, error: &Error) {
        self.give_back(&Report::failure(error));
    }

    /// An error with the provider's message, without its secrets.
    pub fn cleaned(&self, mut error: Error) -> Error {
        self.provider.credentials.clean(&mut error);
        error
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.epoch.elapsed().as_millis() as u64)
    }

    fn give_back(&mut self, report: &Report) {
        let Some(permit) = self.permit.take() else { return };
        let route = route(&self.provider, &self.model, self.key);
        self.snapshot.health.of(self.operation).finish(route, permit, report, self.now());
    }
}

impl Drop for HeldPermit {
    fn drop(&mut self) {
        self.give_back(&Report::cancelled());
    }
}

fn route<'a>(provider: &'a ProviderHandle, model: &'a str, key: usize) -> Route<'a> {
    let key = provider.key_labels.get(key).map_or("", String::as_str);
    Route { provider: provider.id(), model, key }
}
