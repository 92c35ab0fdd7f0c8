//! Images that are made in the background: the first answer names the work, and its result is asked for until
//! it is there.

use std::time::Duration;

use canon::{Amount, Error, ErrorKind, Losses, Progress, Result, Retry, Unit};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{no_image, whole};
use crate::endpoints::media::shape::seconds;
use crate::endpoints::{AnswerReader, EndpointAnswer, FollowUp, Part, PartAnswer};
use crate::{Protocol, adapter};

/// The pause before each question. An image takes some seconds.
const PAUSE: Duration = Duration::from_millis(500);

/// Reads the answers of FLUX Kontext at Fireworks: an image is a URL.
#[derive(Debug)]
pub struct BackgroundReader;

/// The answer to a request for an image, or to a question for its result.
#[derive(Deserialize)]
struct BackgroundJob {
    #[serde(default)]
    request_id: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    details: Option<Value>,
}

impl BackgroundJob {
    fn read(answer: &PartAnswer) -> Result<Self> {
        serde_json::from_slice(&answer.body).map_err(|_| broken("is not in its own format"))
    }

    /// The URL of the image; none while it is made.
    fn image(self) -> Result<Option<String>> {
        match self.status.as_deref() {
            Some("Ready") => {
                let url = self.result.as_ref().and_then(|result| result["sample"].as_str());
                url.map(|url| Some(url.to_owned())).ok_or_else(|| no_image(None))
            }
            Some(status @ ("Request Moderated" | "Content Moderated")) => {
                Err(no_image(Some(status.to_owned())))
            }
            Some(status @ ("Error" | "Failed" | "Task not found")) => {
                let details = self.details.as_ref().map(|details| format!(": {details}"));
                let details: String = details.unwrap_or_default().chars().take(200).collect();
                Err(broken(&format!("has no image ({status}{details})")))
            }
            _ => Ok(None),
        }
    }
}

impl AnswerReader for BackgroundReader {
    fn read(&self, parts: &[PartAnswer]) -> Result<EndpointAnswer> {
        let mut urls = Vec::new();
        for part in parts {
            let url = BackgroundJob::read(part)?.image()?.ok_or_else(|| no_image(None))?;
            urls.push(url.into());
        }
        let amount = Amount { unit: Unit::Image, count: urls.len() as u64 };
        let progress =
            Progress { content_started: true, finished: true, amount: Some(amount), ..Progress::default() };
        let created = parts.first().map_or(0, |part| seconds(&part.headers));
        let body = whole(&json!({ "created": created }), "url", &urls);
        Ok(EndpointAnswer { body, progress, losses: Losses::new() })
    }

    fn follow_up(&self, first: &PartAnswer, last: &PartAnswer) -> Result<Option<FollowUp>> {
        if BackgroundJob::read(last)?.image()?.is_some() {
            return Ok(None);
        }
        let id = BackgroundJob::read(first)?.request_id.ok_or_else(|| broken("names no request_id"))?;
        let part = Part {
            path: "/workflows/{model}/get_result".into(),
            headers: Vec::new(),
            body: json!({ "id": id }).to_string().into(),
            goes_on: false,
            first_input: 0,
        };
        Ok(Some(FollowUp { part, after: PAUSE }))
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        adapter(Protocol::OpenaiChat).decode_error(status, headers, body)
    }
}

fn broken(what: &str) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, format!("The provider's answer {what}."))
}
