//! OpenAI chat completions: the gateway's default format, and that of most providers.
//!
//! Between a caller and a provider that both use it, a request is forwarded by editing its raw text
//! ([`Intake`](crate::Intake), `passthrough/forward`), and an answer is copied piece by piece after a check
//! that each piece is valid (`passthrough/relay`); only invalid pieces are parsed and repaired
//! (`answer/normalise`). Towards other formats it is decoded and encoded like any other.

mod adapter;
mod answer;
mod dialect;
mod errors;
mod intake;
mod passthrough;
mod paths;
mod request;
mod types;

pub(crate) use answer::normalise::{broken, error_in, event, finish_reason};
pub(crate) use answer::usage;
pub(crate) use answer::write::Core;
pub(crate) use errors::{write_error, write_stream_error};
pub use intake::intake;
pub(crate) use intake::{check_field, has_true};
pub use passthrough::forward::{forward, forward_with};
pub use passthrough::media::MediaUrls;
pub use passthrough::relay::{RelayParts, relay};
pub(crate) use request::read::{extra, optional, stop};

/// OpenAI chat completions.
pub struct OpenaiChat;
