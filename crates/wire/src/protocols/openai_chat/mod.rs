//! OpenAI chat completions, the gateway's own language and that of most providers.
//!
//! Between a caller and a provider that both speak it, a request is forwarded by editing its raw text ([`Intake`](crate::Intake),
//! `forward`), and an answer by looking at each piece just long enough to know that it keeps the contract (`relay`);
//! only what does not is taken apart and mended (`normalise`). Towards other formats it is decoded and encoded like any
//! other.

mod adapter;
mod decode;
mod dialect;
mod encode;
mod encoder;
mod forward;
mod intake;
mod media;
mod normalise;
mod passthrough;
mod paths;
mod relay;
mod strictness;
mod thoughts;
mod types;
mod unread;
mod usage;

pub(crate) use dialect::{extra, optional, stop};
pub(crate) use encoder::{Core, write_error, write_stream_error};
pub(crate) use forward::note_routing_losses;
pub use forward::{forward, forward_with};
pub use intake::intake;
pub(crate) use intake::{check_field, has_true};
pub use media::MediaUrls;
pub use relay::{RelayParts, relay};

/// OpenAI chat completions.
pub struct OpenaiChat;
