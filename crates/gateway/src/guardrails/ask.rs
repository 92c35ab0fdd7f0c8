//! Asks another server about texts. Errors and log lines contain its host, never the key or the address.

use bytes::Bytes;
use canon::{Error, ErrorKind};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Direction, Guard};
use crate::config::file::{CheckForm, OnError};
use crate::config::guardrail::Check;

/// Most bytes of text in one question.
const MOST_TEXT: usize = 1 << 20;
/// Most bytes of an answer that are read.
const ANSWER_BYTES: usize = 256 << 10;
/// Most bytes of a reason that are shown.
const REASON_BYTES: usize = 200;

/// An answer in OpenAI's form.
#[derive(Deserialize)]
struct Moderation {
    results: Vec<Flagged>,
}

#[derive(Deserialize)]
struct Flagged {
    flagged: bool,
}

/// An answer of a webhook.
#[derive(Deserialize)]
struct Verdict {
    allow: bool,
    reason: Option<String>,
}

impl Guard {
    /// Asks all servers of the rules about these texts.
    pub(super) async fn ask(&self, way: Direction, texts: Vec<String>) -> Result<(), Error> {
        if texts.is_empty() {
            return Ok(());
        }
        for (rule, check) in self.asking(way) {
            match self.verdict(rule, check, way, &texts).await {
                Ok(Verdict { allow: true, .. }) => {}
                Ok(Verdict { reason, .. }) => {
                    return Err(self.denied(rule, way, reason.as_deref().map(plain).as_deref()));
                }
                Err(reason) => self.unchecked(rule, check, way, &reason)?,
            }
        }
        Ok(())
    }

    /// A text that no server has checked.
    fn unchecked(&self, rule: usize, check: &Check, way: Direction, reason: &str) -> Result<(), Error> {
        let (name, host) = (&*self.rules[rule].name, check.url.host().unwrap_or_default());
        tracing::warn!(
            request_id = self.request_id,
            guardrail = name,
            host,
            "a guardrail was not answered: {reason}"
        );
        match check.on_error {
            OnError::Open => {
                self.did(rule, way, "unchecked", 1);
                Ok(())
            }
            OnError::Closed => {
                self.did(rule, way, "unavailable", 1);
                let message = format!(
                    "The guardrail {name:?} did not answer, and requests are refused without its verdict. Try again later."
                );
                Err(Error::gateway(ErrorKind::Unavailable, message))
            }
        }
    }

    async fn verdict(
        &self,
        rule: usize,
        check: &Check,
        way: Direction,
        texts: &[String],
    ) -> Result<Verdict, String> {
        if texts.iter().map(String::len).sum::<usize>() > MOST_TEXT {
            return Err(format!("the texts have more than {MOST_TEXT} bytes"));
        }
        let question = match check.form {
            CheckForm::Openai => {
                let mut question = json!({ "input": texts });
                if let Some(model) = &check.model {
                    question["model"] = Value::from(model.as_str());
                }
                question
            }
            CheckForm::Webhook => json!({
                "type": "guardrail.check",
                "guardrail": *self.rules[rule].name,
                "on": way.as_str(),
                "project": self.project,
                "request_id": self.request_id,
                "texts": texts,
            }),
        };
        let request = request(check, &question).ok_or("the request cannot be written")?;
        let asked = tokio::time::timeout(check.timeout, self.client.exchange(request, ANSWER_BYTES));
        let answer = asked.await.map_err(|_| "it does not answer in time".to_owned())??;
        if !answer.status().is_success() {
            return Err(format!("it answers {}", answer.status()));
        }
        read(check.form, answer.body()).ok_or_else(|| "its answer is not understood".to_owned())
    }
}

fn request(check: &Check, question: &Value) -> Option<Request<Bytes>> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(check.url.clone())
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let key = check.key.expose();
    if !key.is_empty() {
        let mut value = HeaderValue::try_from(format!("Bearer {key}")).ok()?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Bytes::from(question.to_string())).ok()
}

fn read(form: CheckForm, body: &[u8]) -> Option<Verdict> {
    match form {
        CheckForm::Webhook => serde_json::from_slice(body).ok(),
        CheckForm::Openai => {
            let Moderation { results } = serde_json::from_slice(body).ok()?;
            let allow = !results.iter().any(|result| result.flagged);
            (!results.is_empty()).then_some(Verdict { allow, reason: None })
        }
    }
}

/// Another server's text for display: shortened, on one line and without a full stop.
fn plain(reason: &str) -> String {
    let end = reason.floor_char_boundary(REASON_BYTES);
    let line: String =
        reason[..end].chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    line.trim().trim_end_matches('.').to_owned()
}
