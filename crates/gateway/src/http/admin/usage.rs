//! Requests and their usage.

use canon::Error;
use http::StatusCode;
use limits::Role;
use serde_json::{Value, json};
use store::{Cursor, Dim, Field, RequestFilter, RequestRow, StoreError};

use super::{AdminRequest, Answer, DAYS, absent, list};
use crate::clock::now_ms;
use crate::http::respond;
use crate::report::{self, InvalidParameter, UsageWords};

impl From<InvalidParameter> for super::AdminError {
    fn from(InvalidParameter(name, reason): InvalidParameter) -> Self {
        Error::invalid(name, reason).into()
    }
}

/// The fields of requests that have a parameter of their own.
const PARAMETERS: [&str; 12] = [
    "model",
    "provider",
    "project",
    "key",
    "status",
    "error",
    "loss",
    "session",
    "dialect",
    "operation",
    "outcome",
    "id",
];

impl AdminRequest<'_> {
    /// Requests that pass a filter, the newest first.
    pub(super) async fn requests(&self) -> Answer {
        let filter = self.parameter("filter").unwrap_or_default();
        let mut filter =
            RequestFilter::parse(&filter).map_err(|wrong| Error::invalid("filter", format!("{wrong}.")))?;
        for name in PARAMETERS {
            let value = self.parameter(name).filter(|value| !value.is_empty());
            if let (Some(value), Some(field)) = (value, Field::named(name)) {
                filter = filter.with(field, &value);
            }
        }
        let time = |name| self.parameter(name).map(|text| report::read_time(name, &text)).transpose();
        (filter.since_ms, filter.until_ms) = (time("since")?, time("until")?);
        let after: Option<Cursor> = self
            .parameter("after")
            .map(|after| after.parse())
            .transpose()
            .map_err(|_| Error::invalid("after", "after must be the `next` of an earlier page."))?;
        let page = self.api.store.requests(&filter, after, self.limit()?).await?;
        let next = page.next.map(|next| next.to_string());
        let searched = (page.searched_to_ms > i64::MIN).then(|| report::time_text(page.searched_to_ms));
        let body = json!({
            "object": "list",
            "data": page.rows.iter().map(report::request_object).collect::<Vec<_>>(),
            "has_more": next.is_some(),
            "next": next,
            "searched_to": searched.filter(|_| page.next.is_some()),
        });
        Ok(respond::json(StatusCode::OK, body.to_string()))
    }

    /// All fields of a request. Of several with one id, the newest; the others are in `same_id`.
    pub(super) async fn request(&self, id: &str) -> Answer {
        let rows = self.api.store.request(id).await?;
        let Some((first, others)) = rows.split_first() else { return Err(absent("request", id).into()) };
        let mut object = self.with_bodies(first).await?;
        if !others.is_empty() {
            let mut same = Vec::new();
            for row in others {
                same.push(self.with_bodies(row).await?);
            }
            object["same_id"] = same.into();
        }
        Ok(respond::json(StatusCode::OK, object.to_string()))
    }

    /// A request; for administrators with its bodies, where they were kept.
    async fn with_bodies(&self, row: &RequestRow) -> Result<Value, StoreError> {
        let mut object = report::request_object(row);
        if self.caller.roles.has(Role::Admin) {
            let record = &row.record;
            let kept = self.api.store.bodies(&record.request_id, record.started_at_ms, now_ms()).await?;
            object["bodies"] = kept.and_then(|kept| serde_json::from_str(&kept).ok()).unwrap_or_default();
        }
        Ok(object)
    }

    /// Usage; with `scope` the ledger of a project or a key.
    pub(super) async fn usage(&self) -> Answer {
        if let Some(scope) = self.parameter("scope") {
            return self.ledger(&scope).await;
        }
        let of = Dim::ALL.into_iter().filter_map(|dim| Some((dim, self.parameter(dim.as_str())?))).collect();
        let days = self.parameter("days").is_some();
        let words = UsageWords {
            since: self.parameter("since"),
            until: self.parameter("until"),
            days: if days { Some(self.number("days", DAYS, 1..=3660)?) } else { None },
            group: self.parameter("group"),
            bucket: self.parameter("bucket"),
            of,
        };
        let query = words.read(now_ms())?;
        let rows = self.api.store.usage_sums(&query).await?;
        let complete_from = self.api.store.usage_indexed_from().await?;
        let body = json!({
            "object": "list",
            "data": rows.iter().map(|row| report::usage_object(&query, row)).collect::<Vec<_>>(),
            "has_more": false,
            "next": null,
            "since": report::time_text(query.since_ms),
            "until": report::time_text(query.until_ms),
            // While the records of an earlier release are added: older sums are incomplete.
            "complete_from": complete_from.map(report::time_text),
        });
        Ok(respond::json(StatusCode::OK, body.to_string()))
    }

    async fn ledger(&self, scope: &str) -> Answer {
        if !scope.starts_with("project:") && !scope.starts_with("key:") {
            return Err(Error::invalid("scope", "scope must be project:ID or key:ID.").into());
        }
        let days = self.number("days", DAYS, 1..=3660)?;
        let today = limits::day_of(now_ms());
        let rows = self.api.store.ledger(scope, today - days + 1, days as u32).await?;
        let day = |row: &store::LedgerDay| {
            json!({
                "object": "usage_day",
                "scope": row.scope,
                "date": canon::date::date_of(row.day),
                "spent_usd": canon::Pico(row.spent_pico).to_string(),
                "requests": row.requests,
                "unpriced_requests": row.unpriced,
            })
        };
        Ok(list(&rows.iter().map(day).collect::<Vec<Value>>(), None))
    }
}
