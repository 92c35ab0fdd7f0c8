//! OpenAI's Responses API, as OpenAI, Azure, xAI, OpenRouter and others serve it.
//!
//! | file | content |
//! |---|---|
//! | `types` | the wire structures of answers |
//! | `adapter` | the provider side: requests out, answers and errors in |
//! | `dialect` | the caller side: requests in, answers and errors out |
//! | `intake` | the routing facts of a request |
//! | `request/read`, `request/write` | a request to the canonical one, and back |
//! | `answer/read`, `answer/write` | an answer, whole or streamed, to events, and back |
//! | `kept` | stored answers, inserted before the requests that continue them |
//! | `passthrough` | equal formats on both sides |
//! | `errors`, `paths` | errors in both directions; the names of fields |
//!
//! Nothing is stored at the provider: requests say `store: false`, and thinking travels encrypted in the
//! conversation (`reasoning.encrypted_content`). Item ids are omitted where they are not known: the API
//! refuses an encrypted item with a wrong id, and accepts it without one (recorded: OpenCode, Codex).

mod adapter;
mod answer;
mod dialect;
mod errors;
mod intake;
mod passthrough;
mod paths;
mod request;
pub mod stored_items;
mod types;

/// The family whose encrypted thinking this format accepts. It is valid only at the provider that issued it.
pub(crate) const REASONING_FORMAT: &str = "openai-responses-v1";

/// The Responses API.
pub struct OpenaiResponses;
