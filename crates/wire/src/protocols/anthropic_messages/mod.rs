//! Anthropic's Messages API, version 2023-06-01.
//!
//! | file | what |
//! |---|---|
//! | `types` | the wire structures |
//! | `adapter` | towards providers: requests out, answers and errors in |
//! | `dialect` | towards callers: requests in, answers and errors out |
//! | `intake` | what routing has to know of a request |
//! | `request/read`, `request/write` | a request as a canonical one, and back |
//! | `answer/read`, `answer/write` | an answer, whole or streamed, as events, and back |
//! | `passthrough` | between callers and providers that both speak it: requests and answers with few edits |
//! | `framed` | streams in Amazon's binary frames |
//! | `listing` | lists of models, counts of tokens |
//! | `errors`, `paths` | errors in both directions; the names of fields |
//!
//! Thinking blocks carry signatures that only the model family that issued them accepts. A caller of this format may
//! talk to other families through the gateway, so a foreign signature is written as `format:signature` and read
//! back from there; Anthropic's own are base64 and never hold a colon.

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

/// Marks a piece of history that only this protocol knows (a server tool's call or result): the block travels as raw
/// JSON in a reasoning part, so that other protocols leave it out as they do with foreign thinking.
const BLOCK_FORMAT: &str = "anthropic-messages-block";

/// The Messages protocol.
pub struct AnthropicMessages;
