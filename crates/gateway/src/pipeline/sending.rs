//! The common parts of all requests to providers: headers, deadlines, strictness, errors.

use canon::{Error, ErrorKind, Losses, Retry, UpstreamReply};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use routing::Preferences;

use super::attempts::Attempt;
use super::context::RequestContext;
use super::deadlines::Deadlines;
use super::resolve::Offer;
use crate::hops::HOPS;
use crate::upstream::client::AnswerBody;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl RequestContext<'_> {
    /// Keeps the head of a provider's answer, and the body of an error, where bodies are kept.
    pub(super) fn capture_head(&self, offer: &Offer, head: (StatusCode, &HeaderMap), error: Option<&[u8]>) {
        if let Some(capture) = &self.inbound.capture {
            capture.answered(&offer.provider.credentials, head, error);
        }
    }

    /// Adds the headers for every provider: the trace, the passed gateways, the request's id.
    pub(super) fn add_headers(&self, offer: &Offer, headers: &mut HeaderMap) {
        let options = &self.inbound.options;
        for (name, value) in &options.trace {
            headers.append(name, value.clone());
        }
        let settings = &offer.provider.settings;
        // A base URL from the catalog is a provider's own, which does not lead back to this gateway.
        if settings.base_url_source.is_some()
            && let Some(hops) = self.pipeline.hops.onward(options.hops.as_deref())
        {
            headers.insert(HOPS, hops);
        }
        if settings.forward_request_id
            && let Ok(id) = HeaderValue::from_str(&self.inbound.request_id)
        {
            headers.insert(REQUEST_ID, id);
        }
    }

    pub(super) fn deadlines(&self, attempt: &Attempt<'_>, stream: bool) -> Deadlines {
        let offer = attempt.offer;
        let limits = offer.provider.settings.timeouts;
        let limits = offer.timeouts.as_ref().map_or(limits, |own| own.over(limits));
        Deadlines::new(limits, attempt.started, self.deadline, stream)
    }

    /// An error for callers who accept no losses.
    pub(super) fn check_strict(&self, losses: &Losses) -> Result<(), Error> {
        let Some(loss) = losses.iter().next() else { return Ok(()) };
        let Some(setting) = self.strictness() else { return Ok(()) };
        let (field, action, reason) = (&loss.field, loss.action.as_str(), &loss.reason);
        let message = format!("{field} would be {action}, and {setting} is set. {reason}");
        Err(Error::unsupported(field.clone(), message))
    }

    /// The setting by which the caller accepts no losses.
    fn strictness(&self) -> Option<&'static str> {
        if self.inbound.options.strict {
            return Some("x-llmgateway-strict");
        }
        let preferences: Preferences = serde_json::from_slice(self.asked.routing_fields.provider?).ok()?;
        preferences.require_parameters.then_some("provider.require_parameters")
    }
}

/// The provider rejects the credential. A 403 does not count: the provider then knows the credential and
/// refuses the action.
pub(super) fn is_refused_credential(error: &Error) -> bool {
    let status = error.upstream.as_ref().and_then(|reply| reply.status);
    error.kind == ErrorKind::UpstreamCredential && status == Some(401)
}

/// An error answer. A redirect is one too: keys are never sent to another address.
pub(super) fn refusal(
    read: impl FnOnce(StatusCode, &HeaderMap, &[u8]) -> Error,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Error {
    if status.is_client_error() || status.is_server_error() {
        return read(status, headers, body);
    }
    let message = format!("The provider answered with status {}; check its base_url.", status.as_u16());
    let reply = UpstreamReply { status: Some(status.as_u16()), ..UpstreamReply::default() };
    Error { upstream: Some(reply), ..Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message) }
}

/// The beginning of a body.
pub(super) async fn read_up_to(mut body: AnswerBody, limit: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data[..data.len().min(limit - bytes.len())]);
        }
        if bytes.len() >= limit {
            break;
        }
    }
    bytes
}
