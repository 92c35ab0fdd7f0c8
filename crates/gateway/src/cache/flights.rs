//! Equal requests at the same time: one is sent, the others wait for its answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::key::Key;

/// Requests under way that others may wait for.
#[derive(Default)]
pub struct Flights(Mutex<HashMap<Key, watch::Receiver<()>>>);

pub enum FlightRole {
    /// The request is sent. Equal ones wait until it drops the [`Flight`].
    Leads(Flight),
    /// The request waits for an equal one.
    Follows(FlightEnd),
}

/// A request that others may wait for. Dropping it releases them, however the request ends.
pub struct Flight {
    flights: Arc<Flights>,
    key: Key,
    _others: watch::Sender<()>,
}

/// The end of another request.
pub struct FlightEnd(watch::Receiver<()>);

impl FlightEnd {
    pub async fn wait(mut self) {
        // Nothing is ever sent: the wait ends when the sender is dropped.
        let _ = self.0.changed().await;
    }
}

impl Flights {
    /// The role of a request among equal ones.
    pub fn turn(self: &Arc<Self>, key: Key) -> FlightRole {
        match self.lock().entry(key) {
            Entry::Occupied(other) => FlightRole::Follows(FlightEnd(other.get().clone())),
            Entry::Vacant(place) => {
                let (sender, receiver) = watch::channel(());
                place.insert(receiver);
                FlightRole::Leads(Flight { flights: self.clone(), key, _others: sender })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Before the sender is dropped: a released request may become the next leader.
        self.flights.lock().remove(&self.key);
    }
}
