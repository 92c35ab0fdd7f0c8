//! Requests for tokens: small, limited in time and size, with errors that state the reason and no secret.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, Response, Uri};
use serde_json::Value;

use super::token::Fetched;
use crate::upstream::Client;

/// The longest that one exchange may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read.
const ANSWER_LIMIT: usize = 256 << 10;
/// Longest text of an answer that goes into an error.
const SHOWN: usize = 240;

/// A request for a token.
pub struct Exchange<'a> {
    method: Method,
    url: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: Bytes,
    /// Texts that an error must not show if the server repeats them.
    secrets: Vec<&'a str>,
}

impl<'a> Exchange<'a> {
    pub fn get(url: &'a str) -> Self {
        Self { method: Method::GET, url, headers: Vec::new(), body: Bytes::new(), secrets: Vec::new() }
    }

    /// A PUT request without a body.
    pub fn put(url: &'a str) -> Self {
        Self { method: Method::PUT, ..Self::get(url) }
    }

    /// A POST request with a form.
    pub fn form(url: &'a str, fields: &[(&str, &'a str)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        Self {
            method: Method::POST,
            headers: vec![(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")],
            body: body.into(),
            secrets: fields.iter().map(|(_, value)| *value).collect(),
            ..Self::get(url)
        }
    }

    /// A POST request with JSON.
    pub fn json(url: &'a str, body: &Value) -> Self {
        Self {
            method: Method::POST,
            headers: vec![(CONTENT_TYPE.as_str(), "application/json")],
            body: body.to_string().into(),
            ..Self::get(url)
        }
    }

    /// Adds a header whose value errors may show.
    pub fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds a header whose value is secret.
    pub fn secret_header(mut self, name: &'a str, value: &'a str) -> Self {
        self.secrets.push(value);
        self.secrets.extend(value.split_once(' ').map(|(_, secret)| secret));
        self.header(name, value)
    }

    /// Adds a text that an error must not show.
    pub fn secret(mut self, secret: &'a str) -> Self {
        self.secrets.push(secret);
        self
    }

    pub fn request(&self) -> Fetched<Request<Bytes>> {
        let mut request = Request::builder().method(self.method.clone()).uri(self.url);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
            request = request.header(ACCEPT, "application/json");
        }
        let invalid = |_| format!("{:?} is not a valid URL, or a header is not valid", host(self.url));
        request.body(self.body.clone()).map_err(invalid)
    }

    /// Sends it and returns the answer's body.
    pub async fn send(&self, client: &Client) -> Fetched<Bytes> {
        self.send_request(client, self.request()?).await
    }

    /// Sends it and reads the answer as JSON.
    pub async fn send_for_json(&self, client: &Client) -> Fetched<Value> {
        let body = self.send(client).await?;
        serde_json::from_slice(&body).map_err(|_| format!("{} did not answer with JSON", host(self.url)))
    }

    /// Sends it; the inner error is that of a server that answers and refuses (status 4xx).
    pub async fn ask(&self, client: &Client) -> Fetched<Result<Bytes, String>> {
        let response = self.answer(client, self.request()?).await?;
        let is_refused = response.status().is_client_error();
        match self.body(response) {
            Err(reason) if is_refused => Ok(Err(reason)),
            body => body.map(Ok),
        }
    }

    /// Sends a request that was made of this one.
    pub async fn send_request(&self, client: &Client, request: Request<Bytes>) -> Fetched<Bytes> {
        self.body(self.answer(client, request).await?)
    }

    async fn answer(&self, client: &Client, request: Request<Bytes>) -> Fetched<Response<Bytes>> {
        let exchange = client.exchange(request, ANSWER_LIMIT);
        match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(reason)) => Err(format!("{} could not be asked: {reason}", host(self.url))),
            Err(_) => {
                let seconds = TIMEOUT.as_secs();
                Err(format!("{} did not answer within {seconds} seconds", host(self.url)))
            }
        }
    }

    /// The body of a good answer.
    fn body(&self, response: Response<Bytes>) -> Fetched<Bytes> {
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let reason = self.without_secrets(&explanation(response.body()));
        let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
        Err(format!("{} answered with status {}{reason}", host(self.url), status.as_u16()))
    }

    fn without_secrets(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter().filter(|secret| secret.len() > 3) {
            text = text.replace(secret, "***");
        }
        let shown: String = text.chars().filter(|letter| !letter.is_control()).take(SHOWN).collect();
        shown.trim_end_matches('.').to_owned()
    }
}

/// A text field of an answer.
pub fn text<'a>(answer: &'a Value, name: &str) -> Fetched<&'a str> {
    let found = answer.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    found.ok_or_else(|| format!("the answer has no {name}"))
}

/// A number that may be written as text.
pub fn seconds(answer: &Value, name: &str) -> Option<u64> {
    let value = answer.get(name)?;
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// A point in time such as `2026-01-02T03:04:05Z`.
pub fn timestamp(text: &str) -> Fetched<std::time::SystemTime> {
    use time::format_description::well_known::Rfc3339;
    let parsed = time::OffsetDateTime::parse(text, &Rfc3339);
    parsed.map(Into::into).map_err(|_| "the expiry time in the answer is not valid".to_owned())
}

/// Secrets are sent only over TLS, or to this machine, or to the addresses where clouds issue tokens to their
/// machines.
pub fn is_safe(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let Some(host) = uri.host() else { return false };
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => is_near(host.trim_start_matches('[').trim_end_matches(']')),
        _ => false,
    }
}

fn is_near(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.segments()[..2] == [0xfd00, 0xec2],
        Err(_) => host == "localhost" || host == "metadata.google.internal",
    }
}

/// The host of a URL: the only part that errors show.
fn host(url: &str) -> String {
    url.parse::<Uri>()
        .ok()
        .and_then(|uri| uri.host().map(str::to_owned))
        .unwrap_or_else(|| "the token URL".to_owned())
}

/// The explanation in an error body: OAuth's error and description, a message, or a code in XML.
fn explanation(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        let body = String::from_utf8_lossy(body);
        return [tag(&body, "Code"), tag(&body, "Message")]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(": ");
    };
    let field = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let error = value.get("error");
    let code = field(&value, "error").or_else(|| field(error?, "status"));
    let code = code.or_else(|| field(&value, "code").or_else(|| field(&value, "Code")));
    let words = field(&value, "error_description").or_else(|| field(error?, "message"));
    let words = words.or_else(|| field(&value, "message").or_else(|| field(&value, "Message")));
    [code, words].into_iter().flatten().collect::<Vec<_>>().join(": ")
}

/// The text of the first element of this name.
pub fn tag<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_sent_only_to_safe_addresses() {
        for url in ["https://a.example/t", "http://127.0.0.1:1/t", "http://[::1]/t", "http://169.254.170.2/x"]
        {
            assert!(is_safe(url), "{url}");
        }
        for url in [
            "http://a.example/t",
            "http://10.0.0.1/",
            "ftp://127.0.0.1/",
            "nonsense",
            "http://127.0.0.1.example/",
        ] {
            assert!(!is_safe(url), "{url}");
        }
    }

    #[test]
    fn errors_have_the_reason_without_secrets() {
        let exchange = Exchange::form("https://a.example/t", &[("client_secret", "hunter22")]);
        let body = br#"{"error":"invalid_client","error_description":"The secret hunter22 is wrong.\r\n"}"#;
        let reason = exchange.without_secrets(&explanation(body));
        assert_eq!(reason, "invalid_client: The secret *** is wrong");
        assert_eq!(explanation(b"<E><Code>Expired</Code><Message>m</Message></E>"), "Expired: m");
        assert_eq!(explanation(br#"{"error":{"status":"DENIED","message":"no"}}"#), "DENIED: no");
        assert_eq!(explanation(b"<html>"), "");
    }

    #[test]
    fn times_of_expiry_are_read() {
        let time = timestamp("1970-01-01T00:01:00Z").unwrap();
        assert_eq!(time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 60);
        assert!(timestamp("tomorrow").is_err());
    }
}
