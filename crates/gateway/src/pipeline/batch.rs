//! The cost of the answers of a batch: recorded once, when its output is first requested.
//!
//! The gateway reads the whole output itself before a caller gets it, however much the caller reads. There is
//! one record per model. Its id is derived from the output's id, and its time is the batch's: of records with
//! the same id and time the database keeps the first and charges only that one, whichever nodes send them. An
//! output that this process or the database has recorded is not read again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use canon::{Operation, Progress, Usage};
use routing::Route;
use store::{StoreError, UsageFilter};
use wire::native::BatchOutput;

use super::admit;
use super::resolve::{Offer, Resolver};
use super::{Inbound, Pipeline};
use crate::clock;
use crate::metering::{Begin, Pricing};
use crate::snapshot::ProviderHandle;

/// This many outputs are remembered; for others the database is asked.
const MOST: usize = 10_000;

/// The recorded outputs.
#[derive(Default)]
pub struct Settled(Mutex<HashSet<String>>);

pub struct Output<'a> {
    /// The id prefix of its records.
    pub id: &'a str,
    /// The creation of its batch, in seconds since 1970.
    pub made_at: u32,
    pub provider: &'a Arc<ProviderHandle>,
    /// The key that it belongs to.
    pub key: usize,
}

impl Output<'_> {
    fn made_at_ms(&self) -> i64 {
        i64::from(self.made_at) * 1000
    }
}

impl Pipeline {
    /// Whether an output was recorded.
    pub async fn is_settled(&self, store: &store::Store, output: &Output<'_>) -> Result<bool, StoreError> {
        if self.settled.0.lock().unwrap_or_else(PoisonError::into_inner).contains(output.id) {
            return Ok(true);
        }
        let filter = UsageFilter {
            since_ms: Some(output.made_at_ms()),
            until_ms: Some(output.made_at_ms() + 1),
            request_id: Some(first_id(output.id)),
            limit: Some(1),
            ..UsageFilter::default()
        };
        Ok(!store.usage(filter).await?.is_empty())
    }

    /// Records the tokens of an output.
    pub fn settle(&self, inbound: &Inbound, output: &Output<'_>, read: &BatchOutput) {
        if read.unread() > 0 {
            tracing::warn!(
                request_id = inbound.request_id,
                answers = read.unread(),
                "the tokens of some answers of a batch cannot be read, and are not charged"
            );
        }
        // The record that is checked later is the last one: if the process dies in between, all are recorded
        // the next time.
        for (index, (model, usage)) in read.used().iter().enumerate().rev() {
            self.settle_model(inbound, output, (&format!("{}_{index}", output.id), model, *usage));
        }
        let mut settled = self.settled.0.lock().unwrap_or_else(PoisonError::into_inner);
        if settled.len() >= MOST {
            settled.clear();
        }
        settled.insert(output.id.to_owned());
    }

    fn settle_model(&self, inbound: &Inbound, output: &Output<'_>, used: (&str, &str, Usage)) {
        let (id, model, usage) = used;
        let offer =
            Offer { key: Some(output.key), ..Resolver::of(&inbound.snapshot).offer(output.provider, model) };
        let mut record = self.metering.begin(Begin {
            request_id: id,
            path: "/v1/batches",
            caller: &inbound.caller,
            model,
            stream: false,
            session: None,
            tags: inbound.tags.clone(),
            prompt_tokens: 0,
            operation: Operation::Batches,
            dialect: None,
            guard: None,
            capture: None,
            arrival: inbound.arrival,
        });
        admit::note(&inbound.caller, &offer, &mut record);
        let now = clock::now();
        let (labels, _) = offer.keys();
        let key = labels.first().map_or("", String::as_str);
        let route = Route { provider: output.provider.id(), model: &offer.model, key };
        record.attempt(route, output.provider.metrics.model(offer.metric_label()), now);
        record.attempt_ended(Some(200), None, now);
        let percent = output.provider.row.operations.batches.as_ref().and_then(|row| row.price_percent);
        match percent {
            Some(percent) => {
                record.priced_by(Pricing::new(offer.serving.clone(), None));
                record.costs_percent(percent);
            }
            // Its price is unknown.
            None => record.priced_by(Pricing::default()),
        }
        record.progress(&Progress {
            usage: Some(usage),
            model: Some(model.to_owned()),
            content_started: true,
            finished: true,
            ..Progress::default()
        });
        record.finish_once(output.made_at_ms());
    }
}

fn first_id(id: &str) -> String {
    format!("{id}_0")
}
