//! OpenAI's legacy text completions (`POST /v1/completions`). Providers that complete texts themselves get the request as it
//! came; all others are called in their own chat format, with the prompt as the user's message and the answer's text as the
//! completion.
//!
//! | file | what |
//! |---|---|
//! | `dialect` | requests in, answers and errors out; the names of fields |
//! | `intake` | what routing has to know of a request |
//! | `passthrough` | towards providers that complete texts: requests forwarded, answers relayed |
//! | `adapter` | such providers' answers as events, and their errors |
//! | `request` | a request as a canonical one |
//! | `answer` | events as an answer, whole or streamed |
//! | `several` | several prompts in one request |
//!
//! What a conversation cannot say is refused rather than guessed: prompts of token numbers, and text to be put in front of a
//! suffix. Several prompts are as many requests. An echoed prompt is written by the gateway itself. Thinking has no place in this
//! format and is left out. A conversation's `max_tokens` has no default, though OpenAI's is 16 here: a model that thinks would
//! be cut off before its first word.

mod adapter;
mod answer;
mod dialect;
mod intake;
mod passthrough;
mod request;
mod several;

/// OpenAI's legacy text completions.
pub struct OpenaiCompletions;
