//! Why a request did not reach a provider, or its connection broke.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use canon::{Error, ErrorKind, Retry};

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    stage: Stage,
    is_timeout: bool,
    /// The reason as text, without secrets.
    pub(super) reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The provider could not be reached.
    Connect,
    /// The connection broke before an answer arrived.
    Exchange,
    /// The URL names no host.
    Url,
}

impl Failure {
    pub(super) fn connect(error: &(dyn StdError + 'static)) -> Self {
        Self { stage: Stage::Connect, is_timeout: is_timeout(error), reason: root_cause(error) }
    }

    pub(super) fn connect_timeout(limit: Duration) -> Self {
        let reason = format!("there was no connection within {} seconds", limit.as_secs_f64());
        Self { stage: Stage::Connect, is_timeout: true, reason }
    }

    /// An HTTP/2 connection that ended before the provider had sent anything.
    pub(super) fn ended_early() -> Self {
        let reason = "the connection ended before HTTP/2 had begun".to_owned();
        Self { stage: Stage::Connect, is_timeout: false, reason }
    }

    pub(super) fn broken(error: &hyper::Error) -> Self {
        Self { stage: Stage::Exchange, is_timeout: is_timeout(error), reason: root_cause(error) }
    }

    pub(super) fn url() -> Self {
        Self { stage: Stage::Url, is_timeout: false, reason: "it names no host".to_owned() }
    }

    /// The error: nothing came back, so another provider can be asked.
    pub(super) fn into_error(self) -> Error {
        let reason = self.reason;
        let (kind, message) = match self.stage {
            Stage::Connect => (ErrorKind::Upstream, format!("The provider could not be reached: {reason}.")),
            Stage::Exchange => {
                (ErrorKind::Upstream, format!("The connection to the provider broke: {reason}."))
            }
            Stage::Url => (ErrorKind::Internal, format!("The provider's base_url is not valid: {reason}.")),
        };
        let kind = if self.is_timeout { ErrorKind::Timeout } else { kind };
        Error::upstream(kind, Retry::Again, message)
    }
}

/// True where the system, or hyper, gave up waiting.
pub(super) fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |cause| (*cause).source());
    causes.into_iter().any(|cause: &(dyn StdError + 'static)| {
        let by_system = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let by_hyper = cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout);
        by_system == Some(io::ErrorKind::TimedOut) || by_hyper
    })
}

/// The innermost cause as text; it never contains a header or a body.
pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
