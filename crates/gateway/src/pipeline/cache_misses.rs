//! Cache lookups without a result.

use std::sync::{Arc, Mutex, PoisonError};

use super::resolve::Offer;
use crate::cache::{Flight, Key};
use crate::snapshot::ProviderHandle;

/// The lookups without a result: the first attempts reuse their written requests.
pub(super) struct CacheMisses<W>(Mutex<ReusableRequests<W>>);

struct ReusableRequests<W> {
    requests: Vec<Request<W>>,
    flight: Option<Flight>,
}

/// A request for one provider. `W` is its written form.
pub(super) struct Request<W> {
    provider: Arc<ProviderHandle>,
    model: String,
    pub(super) key: Key,
    /// None once it is taken.
    pub(super) written: Option<W>,
}

impl<W> Default for CacheMisses<W> {
    fn default() -> Self {
        Self(Mutex::new(ReusableRequests { requests: Vec::new(), flight: None }))
    }
}

impl<W> CacheMisses<W> {
    /// Records the lookups.
    pub(super) fn set(&self, requests: Vec<Request<W>>, flight: Option<Flight>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ReusableRequests { requests, flight };
    }

    /// The written request for this offer, if there is one.
    pub(super) fn take_written(&self, offer: &Offer) -> Option<W> {
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looked.requests.iter_mut().find(|request| request.is_to(offer))?.written.take()
    }

    /// The cache key for an answer of this offer, and the requests that wait for it.
    pub(super) fn capture(&self, offer: &Offer) -> Option<(Key, Option<Flight>)> {
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = looked.requests.iter().find(|request| request.is_to(offer))?.key;
        Some((key, looked.flight.take()))
    }
}

impl<W> Request<W> {
    pub(super) fn new(offer: &Offer, key: Key, written: W) -> Self {
        Self { provider: offer.provider.clone(), model: offer.model.clone(), key, written: Some(written) }
    }

    fn is_to(&self, offer: &Offer) -> bool {
        Arc::ptr_eq(&self.provider, &offer.provider) && self.model == offer.model
    }
}
