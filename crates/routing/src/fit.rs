//! Which candidates can serve a request at all.

use canon::{Error, ErrorKind, Features};

use crate::Filtered;

/// Why a candidate was left out, in the order of the checks: the later, the nearer it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Filter {
    /// The operator or the catalog switched it off.
    Disabled,
    /// It lacks these features.
    Unsupported,
    /// The prompt does not fit.
    ContextTooSmall,
    /// The caller's preferences exclude it.
    Excluded,
    /// It is dearer than the caller allows, or its price is unknown.
    TooExpensive,
    /// The prompt and the longest answer together do not fit, and another candidate has the room.
    Tight,
    /// It failed too often.
    BreakerOpen,
    /// All its keys rest.
    KeysResting,
    /// The caller wants no fallback.
    FallbackNotAllowed,
}

/// No candidate can serve the request.
#[derive(Clone, Debug, PartialEq)]
pub struct NoCandidate {
    /// What kept out those that came nearest; none when there was no candidate at all.
    pub filter: Option<Filter>,
    /// The features that are missing when `filter` is `Unsupported`.
    pub missing: Features,
    /// Every candidate with its reason.
    pub filtered: Vec<Filtered>,
}

impl NoCandidate {
    /// The error for the caller, naming what is missing.
    pub fn to_error(&self) -> Error {
        Error::gateway(ErrorKind::Unavailable, "No provider can serve this request.")
    }
}
