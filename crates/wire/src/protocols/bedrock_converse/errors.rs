//! The meaning of Bedrock's errors: of an error answer by the `x-amzn-ErrorType` header, within a stream by
//! the exception's type.

use canon::{Error, ErrorKind, Result, Retry, UpstreamReply};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::framing::aws_eventstream::Message;
use crate::protocols::errors::{classify, excerpt, upstream_error, without_secrets};

/// Reads an error answer.
pub(crate) fn decode(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let error: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    let header = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    let type_name = header.or(error.type_name.as_deref()).map(bare_type).filter(|name| !name.is_empty());
    let message = error.message.or(error.capital_message).unwrap_or_else(|| excerpt(body));
    let type_name = type_name.map(str::to_owned);
    let mut error = upstream_error(status, headers, type_name.clone(), None, message.clone());
    let known = type_name.as_deref().and_then(|name| meaning(name, &message));
    if let Some(meaning) = known {
        error.kind = meaning.kind;
        if !matches!(error.retry, Retry::After(_)) || meaning.retry != Retry::Again {
            error.retry = meaning.retry;
        }
        if let Some(reply) = &mut error.upstream {
            reply.status = Some(meaning.status);
        }
    }
    error
}

/// An error where a message of a stream is not an event.
pub(crate) fn check(message: &Message<'_>) -> Result<()> {
    let text = |name: &str| message.text(name).unwrap_or_default();
    match message.text(":message-type") {
        Some("event") => Ok(()),
        Some("exception") => Err(exception(text(":exception-type"), message.payload)),
        Some("error") => Err(stream_error(text(":error-code"), text(":error-message"))),
        _ => Err(broken("The provider's stream holds a message of an unknown kind.")),
    }
}

fn broken(message: &'static str) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message)
}

/// Reads an exception in a stream. The status of the answer was 200: the status of the service model applies.
pub(super) fn exception(exception_type: &str, payload: &[u8]) -> Error {
    let error: ErrorBody = serde_json::from_slice(payload).unwrap_or_default();
    let message = error.message.or(error.capital_message).or(error.original_message).unwrap_or_default();
    stream_error(exception_type, &message)
}

/// An error in a stream, from its type and message.
pub(super) fn stream_error(type_name: &str, message: &str) -> Error {
    let text = match message.trim() {
        "" => format!("The provider's stream ended with {type_name:?}."),
        text => without_secrets(text),
    };
    let (kind, retry, status) = match meaning(type_name, message) {
        Some(meaning) => (meaning.kind, meaning.retry, meaning.status),
        None => {
            let (kind, retry) = classify(502, Some(type_name), message);
            (kind, retry, kind.status().as_u16())
        }
    };
    let mut error = Error::upstream(kind, retry, text);
    error.code = Some(type_name.to_owned()).filter(|name| !name.is_empty());
    error.upstream = Some(UpstreamReply { status: Some(status), ..UpstreamReply::default() });
    error
}

#[derive(Default, Deserialize)]
struct ErrorBody {
    message: Option<String>,
    #[serde(rename = "Message")]
    capital_message: Option<String>,
    #[serde(rename = "originalMessage")]
    original_message: Option<String>,
    #[serde(rename = "__type")]
    type_name: Option<String>,
}

/// `ValidationException:http://internal.amazon.com/…` and `com.amazon.coral#ValidationException`.
fn bare_type(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().trim()
}

struct ErrorClass {
    kind: ErrorKind,
    retry: Retry,
    /// The caller's status.
    status: u16,
}

/// By type; in streams the first letter is lowercase. None: status and message decide.
fn meaning(type_name: &str, message: &str) -> Option<ErrorClass> {
    use ErrorKind::*;
    let name = type_name.strip_suffix("Exception").unwrap_or(type_name).to_ascii_lowercase();
    let (kind, retry, status) = match name.as_str() {
        "validation" => return Some(validation(message)),
        "servicequotaexceeded" => (RateLimit, Retry::Elsewhere, 429),
        "throttling" if message.to_ascii_lowercase().contains("per day") => (Quota, Retry::Elsewhere, 502),
        "throttling" => (RateLimit, Retry::Again, 429),
        "conflict" => (Upstream, Retry::Again, 409),
        "accessdenied" => (UpstreamCredential, Retry::Elsewhere, 502),
        "unrecognizedclient"
        | "invalidclienttokenid"
        | "expiredtoken"
        | "invalidsignature"
        | "signaturedoesnotmatch"
        | "incompletesignature"
        | "invalidaction"
        | "notauthorized"
        | "requestexpired"
        | "missingauthenticationtoken" => (UpstreamCredential, Retry::Elsewhere, 502),
        "mpagreementbeingcreated" | "modelnotready" | "serviceunavailable" => (Overloaded, Retry::Again, 503),
        "resourcenotfound" => (ModelNotFound, Retry::Elsewhere, 404),
        "modeltimeout" => (Timeout, Retry::Again, 504),
        "modelerror" | "modelstreamerror" => (Upstream, Retry::Again, 502),
        "internalserver" | "internalfailure" => (Upstream, Retry::Again, 500),
        _ => return None,
    };
    Some(ErrorClass { kind, retry, status })
}

/// This type also covers prompts that are too long, and models that do not exist or need an inference
/// profile.
fn validation(message: &str) -> ErrorClass {
    let (kind, retry) = classify(400, None, message);
    let status = if kind == ErrorKind::ModelNotFound { 404 } else { 400 };
    ErrorClass { kind, retry, status }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, header: Option<&str>, body: &str) -> Error {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert("x-amzn-errortype", header.parse().unwrap());
        }
        decode(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
    }

    #[test]
    fn the_type_of_an_error_decides_its_kind() {
        use ErrorKind::*;
        let cases = [
            (400, "ValidationException", "messages.1: bad", InvalidRequest, Retry::No, 400),
            (
                400,
                "ValidationException",
                "Input is too long for requested model.",
                ContextLength,
                Retry::Elsewhere,
                400,
            ),
            (
                400,
                "ValidationException",
                "The provided model identifier is invalid.",
                ModelNotFound,
                Retry::Elsewhere,
                404,
            ),
            (
                400,
                "ValidationException",
                "Invocation of model ID deepseek.r1-v1:0 with on-demand throughput isn’t supported.",
                ModelNotFound,
                Retry::Elsewhere,
                404,
            ),
            (400, "ServiceQuotaExceededException", "too much", RateLimit, Retry::Elsewhere, 429),
            (403, "AccessDeniedException", "no access", UpstreamCredential, Retry::Elsewhere, 502),
            (403, "UnrecognizedClientException", "invalid token", UpstreamCredential, Retry::Elsewhere, 502),
            (403, "ExpiredTokenException", "expired", UpstreamCredential, Retry::Elsewhere, 502),
            (404, "ResourceNotFoundException", "end of its life", ModelNotFound, Retry::Elsewhere, 404),
            (408, "ModelTimeoutException", "slow", Timeout, Retry::Again, 504),
            (424, "ModelErrorException", "broken", Upstream, Retry::Again, 502),
            (429, "ThrottlingException", "Too many requests", RateLimit, Retry::Again, 429),
            (429, "ThrottlingException", "Too many tokens per day", Quota, Retry::Elsewhere, 502),
            (429, "ModelNotReadyException", "wait", Overloaded, Retry::Again, 503),
            (500, "InternalServerException", "oops", Upstream, Retry::Again, 500),
            (503, "ServiceUnavailableException", "busy", Overloaded, Retry::Again, 503),
            (418, "TeapotException", "short and stout", InvalidRequest, Retry::No, 418),
        ];
        for (status, name, message, kind, retry, shown) in cases {
            let header = format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/");
            let error = error(status, Some(&header), &format!("{{\"message\":{message:?}}}"));
            assert_eq!((error.kind, error.retry), (kind, retry), "{name} {message}");
            assert_eq!((error.status().as_u16(), error.message.as_ref()), (shown, message));
            assert_eq!(error.code.as_deref(), Some(name));
        }
    }

    #[test]
    fn other_bodies_are_understood() {
        let typed = error(429, None, r#"{"__type":"com.amazon.coral#ThrottlingException","Message":"slow"}"#);
        assert_eq!((typed.kind, typed.message.as_ref()), (ErrorKind::RateLimit, "slow"));
        let denied = error(403, None, r#"{"Message":"Authentication failed"}"#);
        assert_eq!(denied.kind, ErrorKind::UpstreamCredential);
        let page = error(502, None, "<html><body>Bad Gateway</body></html>");
        assert_eq!((page.kind, page.message.as_ref()), (ErrorKind::Upstream, "Bad Gateway"));
    }

    #[test]
    fn exceptions_in_streams_have_the_status_of_their_type() {
        let cases = [
            ("throttlingException", ErrorKind::RateLimit, 429),
            ("modelStreamErrorException", ErrorKind::Upstream, 502),
            ("internalServerException", ErrorKind::Upstream, 500),
            ("serviceUnavailableException", ErrorKind::Overloaded, 503),
            ("validationException", ErrorKind::InvalidRequest, 400),
            ("modelTimeoutException", ErrorKind::Timeout, 504),
            ("newException", ErrorKind::Upstream, 502),
        ];
        for (name, kind, status) in cases {
            let error = exception(name, br#"{"message":"words"}"#);
            assert_eq!((error.kind, error.status().as_u16()), (kind, status), "{name}");
            assert_eq!(error.message, "words");
        }
        assert!(exception("newException", b"not json").message.contains("newException"));
    }
}
