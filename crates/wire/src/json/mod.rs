//! JSON read in place: what passes unchanged is never copied, unescaped or escaped again.

mod edit;
mod index;
mod scan;

pub use canon::write::{push_count, push_escaped, push_key, push_list, push_string, push_u64};
pub use edit::Edit;
pub use index::Index;
pub use scan::{Kind, Scanner, Syntax, Text, is_utf8, repaired, text_of};
