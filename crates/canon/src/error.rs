//! One error type with a closed set of kinds, named by what the caller can do about them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use http::StatusCode;

use crate::Field;

/// The result of anything that can fail towards a caller.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an error, by what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A field has a wrong type or value.
    InvalidRequest,
    /// The chosen provider or model lacks a feature that the request needs.
    UnsupportedFeature,
    /// The prompt is longer than the context.
    ContextLength,
    /// The provider refuses the content.
    ContentFilter,
    /// A guardrail of the gateway refuses the content.
    ContentPolicy,
    /// The caller's key is missing or wrong.
    Authentication,
    /// The caller's key may not do this.
    Permission,
    /// No such model.
    ModelNotFound,
    /// No such route.
    NotFound,
    /// Wrong method for the route.
    MethodNotAllowed,
    /// The body is larger than allowed.
    TooLarge,
    /// The body's format or coding is not understood.
    UnsupportedMedia,
    /// The body took too long to arrive.
    RequestTimeout,
    /// Too many requests.
    RateLimit,
    /// A budget or an account is exhausted.
    Quota,
    /// The provider refuses the gateway's credential.
    UpstreamCredential,
    /// The provider failed or sent an invalid answer.
    Upstream,
    /// The provider is overloaded.
    Overloaded,
    /// The provider did not answer in time.
    Timeout,
    /// The gateway's own store does not answer.
    StoreUnavailable,
    /// The gateway is shutting down or full.
    Unavailable,
    /// The request has come back to a gateway that it had passed.
    LoopDetected,
    /// A bug of ours.
    Internal,
    /// The caller hung up.
    Cancelled,
}

impl ErrorKind {
    /// Every kind, for tests and metric labels.
    pub const ALL: [Self; 24] = [
        Self::InvalidRequest,
        Self::UnsupportedFeature,
        Self::ContextLength,
        Self::ContentFilter,
        Self::ContentPolicy,
        Self::Authentication,
        Self::Permission,
        Self::ModelNotFound,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TooLarge,
        Self::UnsupportedMedia,
        Self::RequestTimeout,
        Self::RateLimit,
        Self::Quota,
        Self::UpstreamCredential,
        Self::Upstream,
        Self::Overloaded,
        Self::Timeout,
        Self::StoreUnavailable,
        Self::Unavailable,
        Self::LoopDetected,
        Self::Internal,
        Self::Cancelled,
    ];

    /// The metric label, and `error_type` in `metadata.routing`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::UnsupportedFeature => "unsupported_feature",
            Self::ContextLength => "context_length_exceeded",
            Self::ContentFilter => "content_filter",
            Self::ContentPolicy => "content_policy_violation",
            Self::Authentication => "authentication",
            Self::Permission => "permission",
            Self::ModelNotFound => "model_not_found",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooLarge => "request_too_large",
            Self::UnsupportedMedia => "unsupported_media_type",
            Self::RequestTimeout => "request_timeout",
            Self::RateLimit => "rate_limit",
            Self::Quota => "quota",
            Self::UpstreamCredential => "upstream_credential",
            Self::Upstream => "upstream_error",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::StoreUnavailable => "store_unavailable",
            Self::Unavailable => "unavailable",
            Self::LoopDetected => "loop_detected",
            Self::Internal => "internal",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of this kind when no provider's status is kept.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest
            | Self::UnsupportedFeature
            | Self::ContextLength
            | Self::ContentFilter
            | Self::ContentPolicy => StatusCode::BAD_REQUEST,
            Self::Authentication => StatusCode::UNAUTHORIZED,
            Self::Permission => StatusCode::FORBIDDEN,
            Self::ModelNotFound | Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::RateLimit => StatusCode::TOO_MANY_REQUESTS,
            Self::Quota => StatusCode::PAYMENT_REQUIRED,
            Self::UpstreamCredential | Self::Upstream => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Overloaded | Self::StoreUnavailable | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::LoopDetected => StatusCode::LOOP_DETECTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        }
    }
}

/// Who caused an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The request.
    Caller,
    /// The gateway.
    Gateway,
    /// The provider.
    Upstream,
}

/// Where a retry can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nowhere: the same request fails everywhere.
    No,
    /// Another key or another provider; the same one will fail again.
    Elsewhere,
    /// The same provider again, or another one.
    Again,
    /// The same provider after this time, or another one now.
    After(Duration),
}

/// The provider's answer, kept for the caller and the log. Never holds a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamReply {
    /// HTTP status, or the equivalent one of an in-stream error.
    pub status: Option<u16>,
    /// The provider's request id.
    pub request_id: Option<String>,
    /// The wait that the provider asked for.
    pub retry_after: Option<Duration>,
}

/// An error on its way to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The kind, by what the caller can do about it.
    pub kind: ErrorKind,
    /// Who caused it.
    pub origin: Origin,
    /// Where a retry can help.
    pub retry: Retry,
    /// A full sentence for the caller, without secrets or internals.
    pub message: Cow<'static, str>,
    /// The field at fault.
    pub param: Option<Field>,
    /// `error.code` where it is not the kind's own (a provider's code that clients know).
    pub code: Option<String>,
    /// `error.type` where it is not the kind's own.
    pub type_name: Option<String>,
    /// The provider's answer, if there was one.
    pub upstream: Option<UpstreamReply>,
}

impl Error {
    /// An error that the caller caused.
    pub fn caller(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(kind, Origin::Caller, Retry::No, message)
    }

    /// An error that the gateway caused.
    pub fn gateway(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(kind, Origin::Gateway, Retry::No, message)
    }

    /// An error that the provider caused.
    pub fn upstream(kind: ErrorKind, retry: Retry, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(kind, Origin::Upstream, retry, message)
    }

    fn new(kind: ErrorKind, origin: Origin, retry: Retry, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            origin,
            retry,
            message: message.into(),
            param: None,
            code: None,
            type_name: None,
            upstream: None,
        }
    }

    /// A wrong field.
    pub fn invalid(param: impl Into<Field>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::caller(ErrorKind::InvalidRequest, message).at(param)
    }

    /// A feature that the chosen provider or model lacks.
    pub fn unsupported(param: impl Into<Field>, message: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::caller(ErrorKind::UnsupportedFeature, message).at(param);
        error.retry = Retry::Elsewhere;
        error
    }

    /// Names the field at fault.
    pub fn at(mut self, param: impl Into<Field>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The same error with its field in the caller's terms.
    pub fn named(mut self, name_of: impl FnOnce(&Field) -> Cow<'static, str>) -> Self {
        self.param = self.param.map(|field| Field::Verbatim(name_of(&field)));
        self
    }

    /// The stable name of the field at fault; see [`Field::name`].
    pub fn param_name(&self) -> Option<Cow<'static, str>> {
        self.param.as_ref().map(Field::name)
    }

    /// True when the provider refuses the gateway: its key, its account, its balance. The caller's own key is
    /// valid, and an SDK would read the provider's 401, 402 or 403 as the opposite.
    pub fn refuses_gateway(&self) -> bool {
        let of_access = matches!(
            self.kind,
            ErrorKind::UpstreamCredential
                | ErrorKind::Authentication
                | ErrorKind::Permission
                | ErrorKind::Quota
        );
        self.origin == Origin::Upstream && of_access
    }

    /// The status that the caller gets. A provider's own error status is kept unless it concerns the
    /// gateway's access; otherwise the kind decides.
    pub fn status(&self) -> StatusCode {
        if self.refuses_gateway() {
            return ErrorKind::UpstreamCredential.status();
        }
        self.upstream
            .as_ref()
            .and_then(|reply| reply.status)
            .filter(|status| (400..600).contains(status))
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or_else(|| self.kind.status())
    }

    /// The wait for the caller's `retry-after`.
    pub fn retry_after(&self) -> Option<Duration> {
        let asked = self.upstream.as_ref().and_then(|reply| reply.retry_after);
        asked.or(match self.retry {
            Retry::After(wait) => Some(wait),
            _ => None,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
