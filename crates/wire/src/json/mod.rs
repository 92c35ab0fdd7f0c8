//! JSON that is read in place: unchanged parts are never copied, unescaped or escaped again.

mod edit;
mod extent;
mod index;
mod list;
mod meaning;
mod members;
mod output;
mod plain;
pub mod room;
mod scan;
mod span;
mod value;

use canon::scan::may_have_unicode_escape;
pub use canon::write::{
    push_array, push_count, push_escaped, push_key, push_list, push_string, push_text, push_u64, quoted,
};
pub use edit::{Edit, TOO_LONG};
pub use extent::Extent;
pub use index::{FieldPositions, Index, name};
pub use list::List;
pub use meaning::ValueHash;
pub use members::{Items, Members, is_text, push_compact, string};
pub use output::{FormatOverhead, Output, Pieces, append, make_room, put};
pub use plain::{FastPathMiss, SeenFields, ensure, plain_name, plain_string};
pub use scan::{Kind, Scanner, Syntax, Text, is_utf8, repaired, text_of, word};
pub use span::Span;
pub use value::{Object, Value};

/// An object with the gateway's own object as a further member: `,"llmgateway":{…}`.
pub fn with_member(mut object: String, member: Option<&[u8]>) -> String {
    if let Some(member) = member.and_then(|member| std::str::from_utf8(member).ok()) {
        object.pop();
        object.push_str(member);
        object.push('}');
    }
    object
}

/// Whether JSON may have this name or string, also written with escapes: a cheap check before a full one.
pub(crate) fn may_say(json: &[u8], text: &str) -> bool {
    mentions(json, text) || may_have_unicode_escape(json)
}

/// Whether JSON has this name or string, written without escapes: a cheap check before a full one.
pub(crate) fn mentions(json: &[u8], name: &str) -> bool {
    memchr::memmem::find(json, format!("\"{name}\"").as_bytes()).is_some()
}
