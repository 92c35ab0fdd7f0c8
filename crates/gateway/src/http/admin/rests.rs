//! Suspending a provider or a key by hand.

use canon::{Error, ErrorKind};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use store::{NewRest, Suspension};

use super::{AdminRequest, Answer, absent, deleted, list};
use crate::clock::now_ms;
use crate::http::respond;
use crate::report;
use crate::rests::check;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RestBody {
    provider: Option<String>,
    key: Option<String>,
    reason: String,
    seconds: Option<i64>,
}

impl AdminRequest<'_> {
    pub(super) async fn rests(&self) -> Answer {
        let now = now_ms();
        let rests = self.api.store.rests().await?;
        let data: Vec<Value> =
            rests.iter().filter(|rest| rest.is_active(now)).map(report::rest_object).collect();
        Ok(list(&data, None))
    }

    /// Suspends a provider or a key.
    pub(super) async fn rest(&self) -> Answer {
        let body: RestBody = self.body()?;
        let provider =
            body.provider.ok_or_else(|| Error::invalid("provider", "The id of the provider is missing."))?;
        check(self.snapshot, &provider, body.key.as_deref())
            .map_err(|(field, wrong)| Error::invalid(field, format!("{wrong}.")))?;
        let asked = NewRest { provider, key: body.key, reason: body.reason, seconds: body.seconds };
        let (rest, audit) = asked
            .begin(&format!("key:{}", self.caller.key_id), now_ms())
            .map_err(|wrong| Error::invalid(wrong.field, wrong.message))?;
        self.api.store.rest(&rest, audit).await?;
        self.in_force().await;
        Ok(respond::json(StatusCode::CREATED, report::rest_object(&rest).to_string()))
    }

    pub(super) async fn end_rest(&self, id: &str) -> Answer {
        let (provider, key) = id.split_once('/').map_or((id, None), |(provider, key)| (provider, Some(key)));
        if provider.is_empty() || key == Some("") {
            return Err(Error::caller(
                ErrorKind::NotFound,
                "The id of the suspension is missing in the path.",
            )
            .into());
        }
        let audit = Suspension::end(provider, key, &format!("key:{}", self.caller.key_id));
        if !self.api.store.end_rest(provider, key, audit, now_ms()).await? {
            return Err(absent("suspension of", id).into());
        }
        self.in_force().await;
        Ok(deleted("rest", id))
    }
}
