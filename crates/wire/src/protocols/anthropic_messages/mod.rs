//! Anthropic's Messages API, version 2023-06-01.
//!
//! | file | what |
//! |---|---|
//! | `types` | the wire structures |
//! | `adapter` | towards providers: requests out, answers and errors in |
//! | `encode`, `turns`, `tools`, `thinking`, `schema` | parts of the request |
//! | `decode` | reads answers |
//! | `dialect` | towards callers: requests in, errors out |
//! | `intake` | what routing has to know of a request |
//! | `passthrough`, `history`, `media`, `relay` | between callers and providers that both speak it: requests and answers with few edits |
//! | `listing` | lists of models, counts of tokens |
//! | `fields`, `answer` | reads JSON with paths; writes answers |
//!
//! Thinking blocks carry signatures that only the model family that issued them accepts. A caller of this format may
//! talk to other families through the gateway, so a foreign signature is written as `format:signature` and read
//! back from there; Anthropic's own are base64 and never hold a colon.

mod adapter;
mod answer;
mod decode;
mod dialect;
mod encode;
pub(crate) mod fields;
mod history;
mod intake;
mod listing;
mod media;
mod passthrough;
mod paths;
mod relay;
pub(crate) mod schema;
pub(crate) mod thinking;
pub(crate) mod tools;
mod turns;
mod types;
mod unread;

/// The family whose signatures this protocol's own models accept.
pub(crate) const REASONING_FORMAT: &str = "anthropic-claude-v1";

/// Marks a piece of history that only this protocol knows (a server tool's call or result): the block travels as raw
/// JSON in a reasoning part, so that other protocols leave it out as they do with foreign thinking.
const BLOCK_FORMAT: &str = "anthropic-messages-block";

/// The Messages protocol.
pub struct AnthropicMessages;
