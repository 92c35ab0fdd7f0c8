//! JSON read in place: what passes unchanged is never copied, unescaped or escaped again.

mod edit;
mod scan;
mod write;

pub use edit::Edit;
pub use scan::{Kind, Scanner, Syntax, Text, text_of};
pub use write::{push_escaped, push_key, push_string, push_u64};
