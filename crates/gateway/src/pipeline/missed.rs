//! What was looked for in the cache without finding an answer.

use std::sync::{Arc, Mutex, PoisonError};

use wire::Written;

use super::resolve::Offer;
use crate::cache::{Flight, Key};
use crate::snapshot::ProviderHandle;

/// The requests that were looked for without finding an answer: the first attempts send what was written for that.
#[derive(Default)]
pub(super) struct Missed(Mutex<Looked>);

#[derive(Default)]
struct Looked {
    requests: Vec<Request>,
    flight: Option<Flight>,
}

/// A request as one provider would get it.
pub(super) struct Request {
    provider: Arc<ProviderHandle>,
    model: String,
    pub(super) key: Key,
    /// None once it is taken.
    pub(super) written: Option<Written>,
}

impl Missed {
    /// These were looked for.
    pub(super) fn set(&self, requests: Vec<Request>, flight: Option<Flight>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Looked { requests, flight };
    }

    /// The request to this offer, if it was written.
    pub(super) fn take_written(&self, offer: &Offer) -> Option<Written> {
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looked.requests.iter_mut().find(|request| request.is_to(offer))?.written.take()
    }

    /// What an answer of this offer is kept under, and who waits for it.
    pub(super) fn capture(&self, offer: &Offer) -> Option<(Key, Option<Flight>)> {
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = looked.requests.iter().find(|request| request.is_to(offer))?.key;
        Some((key, looked.flight.take()))
    }
}

impl Request {
    /// A request to this offer.
    pub(super) fn new(offer: &Offer, key: Key, written: Written) -> Self {
        Self { provider: offer.provider.clone(), model: offer.model.clone(), key, written: Some(written) }
    }

    fn is_to(&self, offer: &Offer) -> bool {
        Arc::ptr_eq(&self.provider, &offer.provider) && self.model == offer.model
    }
}
