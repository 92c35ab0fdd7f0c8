//! Sends an event when a budget reaches a threshold, by `POST` to the addresses of `[[webhooks]]`.
//!
//! An event is first written to the database, under a name that identifies it: the budget, its window, the
//! threshold. So each event is sent once, whichever nodes notice it and however often they restart. It is
//! retried until an address accepts it (2xx), with growing pauses, for [`TRIED_FOR_MS`]. Form and signature
//! are those of Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use canon::date::date_of;
use limits::{Notice, Scope, Window};
use serde_json::json;
use store::{Delivery, Store, StoreError};

use crate::admission::Books;
use crate::clock::now_ms;
use crate::config::Webhook;
use crate::snapshot::Current;
use crate::upstream::Client;

/// The interval of collecting notices.
const EVERY: Duration = Duration::from_secs(1);
/// The interval of checking the database for unsent events of other nodes or earlier processes.
const LEFT_EVERY_MS: i64 = 60_000;
/// The deadline for an address to answer.
const LIMIT: Duration = Duration::from_secs(10);
/// A node that has taken an event must report its result within this time.
const LEASE_MS: i64 = 60_000;
/// The wait after a failed attempt: this, doubled with each, up to [`LONGEST_WAIT_MS`].
const FIRST_WAIT_MS: i64 = 5_000;
const LONGEST_WAIT_MS: i64 = 3_600_000;
/// After this an event is abandoned.
const TRIED_FOR_MS: i64 = 3 * DAY_MS;
/// Events of windows that ended this long ago are deleted.
const KEPT_MS: i64 = 400 * DAY_MS;
const DAY_MS: i64 = limits::DAY_MS;
/// Events of windows that never end, as a pattern of `LIKE`.
const LASTING: &str = "budget:%:total:%";
/// How many are sent at a time.
const AT_A_TIME: u32 = 8;
/// This much of an answer is read; its content is ignored.
const ANSWER_BYTES: usize = 64 << 10;

/// Collects, stores and sends events.
pub struct Sender {
    /// The database with the events.
    pub store: Store,
    pub books: Books,
    /// The configuration with the addresses.
    pub current: Current,
}

impl Sender {
    pub async fn run(self) -> Infallible {
        let (mut forgotten_ms, mut due_ms) = (0, 0);
        // Events that could not be stored yet.
        let mut waiting = Vec::new();
        loop {
            tokio::time::sleep(EVERY).await;
            let snapshot = self.current.get();
            let (webhooks, now) = (&snapshot.webhooks, now_ms());
            waiting.extend(self.noticed(webhooks));
            // Each check of the database is a write, so it is made only when necessary.
            if webhooks.is_empty() || waiting.is_empty() && now < due_ms {
                continue;
            }
            let result = async {
                if !waiting.is_empty() {
                    self.store.add_deliveries(&waiting).await?;
                    waiting.clear();
                }
                if now - forgotten_ms > DAY_MS {
                    self.store.forget_deliveries(now - KEPT_MS, LASTING).await?;
                    forgotten_ms = now;
                }
                due_ms = self.send_due(webhooks, &Client::new(snapshot.outbound.route())).await?;
                Ok::<_, StoreError>(())
            };
            if let Err(error) = result.await {
                tracing::warn!(%error, "webhooks wait for the database");
                tokio::time::sleep(LIMIT).await;
            }
        }
    }

    fn noticed(&self, webhooks: &[Webhook]) -> Vec<Delivery> {
        let notices = self.books.take_notices();
        let events = notices.iter().map(|(project, notice)| (name(project, notice), body(project, notice)));
        let to_each = |(event, body): (String, String)| {
            let delivery = move |webhook: &Webhook| Delivery {
                event: event.clone(),
                endpoint: webhook.endpoint().to_owned(),
                body: body.clone(),
                created_at_ms: now_ms(),
                attempts: 0,
            };
            webhooks.iter().map(delivery).collect::<Vec<_>>()
        };
        events.flat_map(to_each).collect()
    }

    /// Sends the due events. Returns when the next may be due.
    async fn send_due(&self, webhooks: &[Webhook], client: &Client) -> Result<i64, StoreError> {
        let now = now_ms();
        let due = self.store.take_deliveries(now, now + LEASE_MS, AT_A_TIME).await?;
        let mut next_ms = if due.len() < AT_A_TIME as usize { now + LEFT_EVERY_MS } else { now };
        for delivery in due {
            let again_ms = match webhooks.iter().find(|webhook| webhook.endpoint() == delivery.endpoint) {
                // The address was removed from the configuration.
                None => None,
                Some(webhook) => send(client, webhook, &delivery).await,
            };
            self.store.put_off_delivery(&delivery, again_ms).await?;
            next_ms = next_ms.min(again_ms.unwrap_or(next_ms));
        }
        Ok(next_ms)
    }
}

/// Sends once. Returns when to retry, if at all.
async fn send(client: &Client, webhook: &Webhook, delivery: &Delivery) -> Option<i64> {
    let now = now_ms();
    let request = webhook.request(&delivery.event, &delivery.body, now)?;
    let reason = match tokio::time::timeout(LIMIT, client.exchange(request, ANSWER_BYTES)).await {
        Ok(Ok(answer)) if answer.status().is_success() => return None,
        Ok(Ok(answer)) => answer.status().to_string(),
        Ok(Err(reason)) => reason,
        Err(_) => "it does not answer".to_owned(),
    };
    let host = webhook.host();
    if now - delivery.created_at_ms > TRIED_FOR_MS {
        tracing::error!(host, event = delivery.event, "a webhook is given up: {reason}");
        return None;
    }
    tracing::warn!(host, event = delivery.event, "a webhook is tried again later: {reason}");
    Some(now + wait_ms(delivery.attempts))
}

fn wait_ms(attempts: i64) -> i64 {
    FIRST_WAIT_MS.saturating_mul(1 << attempts.clamp(1, 20) >> 1).min(LONGEST_WAIT_MS)
}

/// The identity of an event. A changed ceiling is another budget.
fn name(project: &Arc<str>, notice: &Notice) -> String {
    let key = key_of(notice).map_or(String::new(), |key| format!("key:{key}:"));
    let (per, start) = (notice.per.as_str(), start_of(notice));
    format!("budget:{project}:{key}{per}:{start}:{}:{}", notice.ceiling, notice.percent)
}

fn body(project: &Arc<str>, notice: &Notice) -> String {
    let Notice { percent, ceiling, spent, per, .. } = notice;
    let whose = match key_of(notice) {
        Some(key) => format!("key {key} of project {project}"),
        None => format!("project {project}"),
    };
    json!({
        "type": "budget.threshold",
        "timestamp": crate::telemetry::access::time_text(now_ms()),
        "text": format!("The budget of {whose} ({ceiling} USD per {}) is spent to {percent} %.", per.as_str()),
        "data": {
            "project": **project,
            "key": key_of(notice),
            "percent": percent,
            "usd": ceiling.to_string(),
            "per": per.as_str(),
            "window_start": (*per != Window::Total).then(|| start_of(notice)),
            "spent_usd": spent.to_string(),
        },
    })
    .to_string()
}

fn key_of(notice: &Notice) -> Option<&str> {
    match &notice.scope {
        Scope::Project => None,
        Scope::Key(id) => Some(id),
    }
}

fn start_of(notice: &Notice) -> String {
    if notice.per == Window::Total { "always".to_owned() } else { date_of(notice.start) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_between_deliveries_double_up_to_an_hour() {
        assert_eq!([1, 2, 3, 30].map(wait_ms), [5_000, 10_000, 20_000, LONGEST_WAIT_MS]);
    }
}
