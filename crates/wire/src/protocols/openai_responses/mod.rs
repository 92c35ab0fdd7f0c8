//! OpenAI's Responses API, as OpenAI, Azure, xAI, OpenRouter and others serve it.
//!
//! | file | what |
//! |---|---|
//! | `types` | the wire structures of answers |
//! | `adapter` | towards providers: requests out, answers and errors in |
//! | `dialect` | towards callers: requests in, answers and errors out |
//! | `intake` | what routing has to know of a request |
//! | `request/read`, `request/write` | a request as a canonical one, and back |
//! | `answer/read`, `answer/write` | an answer, whole or streamed, as events, and back |
//! | `kept` | answers that the gateway keeps, put in front of the requests that go on from them |
//! | `passthrough` | where both sides speak this format |
//! | `errors`, `paths` | errors in both directions; the names of fields |
//!
//! Nothing is stored at the provider: requests say `store: false`, and thinking travels encrypted in the conversation
//! (`reasoning.encrypted_content`). Item ids are left out where they are not known: the API refuses an encrypted item
//! under an id that is not its own, and takes it without one (recorded: OpenCode, Codex).

mod adapter;
mod answer;
mod dialect;
mod errors;
mod intake;
pub mod kept;
mod passthrough;
mod paths;
mod request;
mod types;

/// The family whose encrypted thinking this format takes back. It is valid only at the provider that issued it.
pub(crate) const REASONING_FORMAT: &str = "openai-responses-v1";

/// Marks an item of the history that only this format knows (a hosted tool's call): it travels as raw JSON in a reasoning
/// part, so that other formats leave it out as they do with foreign thinking.
pub(crate) const ITEM_FORMAT: &str = "openai-responses-item";

/// The Responses API.
pub struct OpenaiResponses;
