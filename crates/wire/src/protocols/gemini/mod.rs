//! Google's `generateContent`, as the Gemini API and Vertex AI serve it.
//!
//! Model and method (streamed or not) are in the URL, not in the body. Facts are from the published API
//! reference and from recorded traffic.

pub(crate) use request::write::tools::camel_case;

mod adapter;
mod answer;
mod dialect;
mod errors;
mod intake;
mod listing;
mod model;
mod passthrough;
mod paths;
mod request;

/// The wire format of Google's `generateContent`.
pub struct Gemini;

/// The family of models whose thought signatures these are: they are valid only there.
pub const REASONING_FORMAT: &str = "google-gemini-v1";

/// Documented placeholder for an unavailable thought signature: the call was made by another model.
const SKIP_SIGNATURE: &str = "skip_thought_signature_validator";
