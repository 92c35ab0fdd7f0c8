//! Anthropic's Messages API, version 2023-06-01.
//!
//! | file | content |
//! |---|---|
//! | `types` | the wire structures |
//! | `adapter` | the provider side: requests out, answers and errors in |
//! | `dialect` | the caller side: requests in, answers and errors out |
//! | `intake` | the routing facts of a request |
//! | `request/read`, `request/write` | a request to the canonical one, and back |
//! | `answer/read`, `answer/write` | an answer, whole or streamed, to events, and back |
//! | `passthrough` | equal formats on both sides: requests and answers with few edits |
//! | `framed` | streams in Amazon's binary frames |
//! | `listing` | lists of models, counts of tokens |
//! | `errors`, `paths` | errors in both directions; the names of fields |
//!
//! Thinking blocks carry signatures that only the model family that issued them accepts. A caller of this
//! format may talk to other families through the gateway, so a foreign signature is written as
//! `format:signature` and read back from it; Anthropic's own are base64 and never contain a colon.

mod adapter;
mod answer;
mod dialect;
mod errors;
mod framed;
mod intake;
mod listing;
mod passthrough;
mod paths;
mod request;
mod types;

pub(crate) use request::write::{schema, thinking, tools};

pub(crate) use dialect::BETA;
pub use framed::unframed;

/// The family whose signatures this protocol's own models accept.
pub(crate) const REASONING_FORMAT: &str = "anthropic-claude-v1";

/// The Messages protocol.
pub struct AnthropicMessages;
