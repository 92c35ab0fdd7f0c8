//! OpenAI's legacy text completions (`POST /v1/completions`). Providers with text completions get the request
//! unchanged; all others are called in their own chat format, with the prompt as the user's message and the
//! answer's text as the completion.
//!
//! | file | content |
//! |---|---|
//! | `dialect` | requests in, answers and errors out; the names of fields |
//! | `intake` | the routing facts of a request |
//! | `passthrough` | providers with text completions: requests forwarded, answers relayed |
//! | `adapter` | such providers' answers as events, and their errors |
//! | `request` | a request as a canonical one |
//! | `answer` | events as an answer, whole or streamed |
//! | `several` | several prompts in one request |
//!
//! Requests that a conversation cannot express are refused: prompts of token numbers, and text before a
//! suffix. Several prompts become several requests. An echoed prompt is written by the gateway itself. This
//! format has no field for thinking, which is removed. A conversation's `max_tokens` has no default, though
//! OpenAI's is 16 here: a model that thinks would be cut off before its first word.

mod adapter;
mod answer;
mod dialect;
mod intake;
mod passthrough;
mod request;
mod several;

/// OpenAI's legacy text completions.
pub struct OpenaiCompletions;
