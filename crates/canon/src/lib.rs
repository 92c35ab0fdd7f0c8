//! The vocabulary of the gateway: requests, messages, events, prices and errors.
//!
//! Every wire format translates from and to these types and never to another format. Nothing here knows a
//! vendor, and nothing here does I/O.

#![warn(missing_docs)]

mod answer;
mod data;
pub mod date;
mod error;
mod event;
mod field;
mod json;
mod loss;
mod message;
mod model;
mod money;
mod operation;
mod quirks;
mod request;
pub mod scan;
mod secret;
mod usage;
pub mod write;

pub use answer::{Annotator, AnswerFacts, Progress};
pub use data::DataCollection;
pub use error::{Error, ErrorKind, Origin, Result, Retry, UpstreamReply};
pub use event::{Event, FinishReason, ReasoningDetail};
pub use field::{CallField, Field, MessageField, OutputField, PartField, Place, Spellings, ToolField};
pub use json::Json;
pub use loss::{Loss, LossAction, Losses};
pub use message::{
    CacheMark, Media, MediaKind, Message, Part, PartKind, Proof, Reasoning, Role, Source, ToolCall,
    ToolResult,
};
pub use model::{Feature, Features, ModelFacts, ReasoningControl, Target, WhenMissing};
pub use money::{Cost, Pico};
pub use operation::{Amount, Operation, Operations, Unit};
pub use quirks::{MaxTokensField, Quirks, StreamUsage};
pub use request::{Effort, OutputFormat, ReasoningRequest, Request, Sampling, Tool, ToolChoice, ToolKind};
pub use secret::Secret;
pub use usage::Usage;
