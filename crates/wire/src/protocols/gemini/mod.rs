//! Google's `generateContent`, as the Gemini API and Vertex AI serve it.
//!
//! Model and method (streamed or not) stand in the URL: the body knows neither. Facts are from the published API
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

/// Names the family of models whose thought signatures these are: they are valid only there.
pub const REASONING_FORMAT: &str = "google-gemini-v1";

/// Documented stand-in for a thought signature that is not to be had: the call was made by another model.
const SKIP_SIGNATURE: &str = "skip_thought_signature_validator";
