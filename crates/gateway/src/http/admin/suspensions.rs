//! Suspending a provider or a key by hand.

use canon::{Error, ErrorKind};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use store::{NewSuspension, Suspension};

use super::{AdminRequest, Answer, absent, deleted, list};
use crate::clock::now_ms;
use crate::http::respond;
use crate::report;
use crate::suspensions::check;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SuspensionBody {
    provider: Option<String>,
    key: Option<String>,
    reason: String,
    seconds: Option<i64>,
}

impl AdminRequest<'_> {
    pub(super) async fn suspensions(&self) -> Answer {
        let now = now_ms();
        let suspensions = self.api.store.suspensions().await?;
        let data: Vec<Value> = suspensions
            .iter()
            .filter(|suspension| suspension.is_active(now))
            .map(report::suspension_object)
            .collect();
        Ok(list(&data, None))
    }

    /// Suspends a provider or a key.
    pub(super) async fn suspend(&self) -> Answer {
        let body: SuspensionBody = self.body()?;
        let provider =
            body.provider.ok_or_else(|| Error::invalid("provider", "The id of the provider is missing."))?;
        check(self.snapshot, &provider, body.key.as_deref())
            .map_err(|(field, wrong)| Error::invalid(field, format!("{wrong}.")))?;
        let asked = NewSuspension { provider, key: body.key, reason: body.reason, seconds: body.seconds };
        let (suspension, audit) = asked
            .begin(&format!("key:{}", self.caller.key_id), now_ms())
            .map_err(|wrong| Error::invalid(wrong.field, wrong.message))?;
        self.api.store.suspend(&suspension, audit).await?;
        self.in_force().await;
        Ok(respond::json(StatusCode::CREATED, report::suspension_object(&suspension).to_string()))
    }

    pub(super) async fn end_suspension(&self, id: &str) -> Answer {
        let (provider, key) = id.split_once('/').map_or((id, None), |(provider, key)| (provider, Some(key)));
        if provider.is_empty() || key == Some("") {
            return Err(Error::caller(
                ErrorKind::NotFound,
                "The id of the suspension is missing in the path.",
            )
            .into());
        }
        let audit = Suspension::end(provider, key, &format!("key:{}", self.caller.key_id));
        if !self.api.store.end_suspension(provider, key, audit, now_ms()).await? {
            return Err(absent("suspension of", id).into());
        }
        self.in_force().await;
        Ok(deleted("suspension", id))
    }
}
