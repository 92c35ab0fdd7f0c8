//! The checks of the wire crate's own tests, for the fuzz targets.

#[path = "../../crates/wire/tests/suite/checks.rs"]
pub mod checks;
#[path = "../../crates/wire/tests/suite/openai_chat/rules.rs"]
mod rules;

pub use rules::assert_stream_rules as openai_chat_rules;
