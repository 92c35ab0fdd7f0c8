//! The members that an answer repeats from its request.

use super::super::super::request::read::{CallForm, CallerTools};
use super::item::Caller;
use crate::json::{push_key, push_string};
use crate::protocols::fields::Fields;

/// Fields of the response object that come from the request, with the values of absent ones.
const REPEATED: [(&str, &str); 16] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("prompt_cache_key", "null"),
    ("reasoning", "null"),
    ("safety_identifier", "null"),
    ("temperature", "null"),
    ("text", "{\"format\":{\"type\":\"text\"}}"),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_p", "null"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
];

/// The tiers that the format has: clients refuse others, such as `on_demand`.
const TIERS: [&str; 7] = ["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"];

/// The request's fields and tools. Empty without a request: the answer is valid without them.
#[derive(Default)]
pub(in super::super::super) struct Echo {
    fields: Vec<(&'static str, String)>,
    tools: CallerTools,
    /// The conversation that it belongs to, as an object.
    conversation: Option<String>,
    /// The gateway stores the answer.
    pub(in super::super::super) stored: bool,
}

impl Echo {
    /// Reads a request that was read before.
    pub(in super::super::super) fn of(body: &[u8]) -> Self {
        let Ok(body) = std::str::from_utf8(body) else { return Self::default() };
        let Ok(fields) = Fields::parse(body, String::new()) else { return Self::default() };
        let repeated = REPEATED.iter().filter_map(|(name, _)| {
            let value = fields.raw(name)?;
            Some((*name, value.to_owned()))
        });
        let conversation = fields.raw("conversation").map(conversation);
        Self {
            fields: repeated.collect(),
            conversation,
            tools: CallerTools::read(&fields).unwrap_or_default(),
            stored: false,
        }
    }

    /// The caller's name of a tool.
    pub(super) fn caller_name(&self, flat: &str) -> Caller {
        match self.tools.caller_name(flat) {
            Some(known) => {
                Caller { namespace: known.namespace.clone(), name: known.name.clone(), form: known.form }
            }
            None => Caller { namespace: None, name: flat.to_owned(), form: CallForm::Function },
        }
    }

    /// Appends the members. Instructions and tools may be large: they are only in the last event.
    pub(super) fn write(&self, is_over: bool, tier: Option<&str>, out: &mut Vec<u8>) {
        for (name, absent) in REPEATED {
            let is_large = matches!(name, "instructions" | "tools");
            let given = self.fields.iter().find(|(known, _)| *known == name).filter(|_| is_over || !is_large);
            push_key(out, name);
            out.extend_from_slice(given.map_or(absent, |(_, value)| value).as_bytes());
        }
        if let Some(conversation) = &self.conversation {
            push_key(out, "conversation");
            out.extend_from_slice(conversation.as_bytes());
        }
        push_key(out, "store");
        out.extend_from_slice(if self.stored { b"true" } else { b"false" });
        out.extend_from_slice(b",\"background\":false");
        if let Some(tier) = tier.filter(|tier| TIERS.contains(tier)) {
            push_key(out, "service_tier");
            push_string(out, tier);
        }
    }
}

/// The conversation of a request in the form of an answer: `{"id": …}`.
pub(in super::super::super) fn conversation(raw: &str) -> String {
    if raw.starts_with('"') { format!("{{\"id\":{raw}}}") } else { raw.to_owned() }
}
