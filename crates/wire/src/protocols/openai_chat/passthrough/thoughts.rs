//! Thinking between equal formats: collected while an answer passes, and restored in the assistant's messages
//! of the next request, in the field that the provider reads.

use std::borrow::Cow;
use std::collections::HashMap;

use canon::{Event, Json, Losses, Part};
use serde_json::value::RawValue;

use super::super::answer::normalise::{called, is_custom};
use super::super::request::read::detail_part;
use super::super::request::write::detail;
use super::super::types::{ReasoningDetail, ToolCall};
use crate::json::{Index, Object, Scanner, Syntax, Value, append, mentions, quoted, string, text_of};
use crate::proofs::{CallName, Collector, Memory, Proofs};

/// The names of thinking.
pub(super) const FIELDS: [&str; 3] = ["reasoning_content", "reasoning", DETAILS];
const DETAILS: &str = "reasoning_details";

// ---------------------------------------------------------------------------------------------- answers

/// Collects the thinking of an answer's first choice, and the calls that it led to.
#[derive(Debug, Default)]
pub(super) struct Gatherer {
    collector: Collector,
    text: String,
    details: Vec<Object>,
    /// The position of an entry, by its index and type.
    places: HashMap<String, usize>,
}

impl Gatherer {
    /// Takes a repaired chunk (`delta`) or completion (`message`).
    pub(super) fn note(&mut self, body: &Object, part: &str) {
        for choice in body.get("choices").and_then(Value::as_array).into_iter().flatten() {
            if choice["index"].as_u64().unwrap_or(0) == 0 {
                self.message(&choice[part], part == "delta");
            }
        }
    }

    /// The data for the next turn. For calls without thinking it records that there was none.
    pub(super) fn take(&mut self) -> Option<Proofs> {
        let mut proofs = self.collector.take_all().unwrap_or_default();
        if !self.collector.has_room(0) {
            return None;
        }
        let details = std::mem::take(&mut self.details);
        let blocks = details.iter().filter_map(|detail| {
            serde_json::from_str::<ReasoningDetail>(&Value::Object(detail.clone()).to_string()).ok()
        });
        proofs.thinking = blocks.map(detail_part).collect();
        if proofs.text().is_empty() && !self.text.is_empty() {
            proofs.thinking.push(thought(std::mem::take(&mut self.text)));
        }
        proofs.signatures = proofs.thinking.iter().filter_map(CallName::of_proof).collect();
        if proofs.calls.is_empty() {
            proofs.thinking.clear();
            return (!proofs.signatures.is_empty()).then_some(proofs);
        }
        let details = Value::Array(details.into_iter().map(Value::Object).collect());
        proofs.details = (!details[0].is_null()).then(|| Json::from(&details));
        Some(proofs)
    }

    fn message(&mut self, message: &Value, is_delta: bool) {
        if let Some(text) = message["reasoning_content"].as_str()
            && self.collector.has_room(text.len())
        {
            self.text.push_str(text);
        }
        for detail in message[DETAILS].items() {
            if let Some(detail) = detail.as_object() {
                self.detail(detail, is_delta);
            }
        }
        for (position, call) in message["tool_calls"].items().enumerate() {
            self.call(call["index"].as_u64().unwrap_or(position as u64) as u32, &call);
        }
    }

    /// Pieces of one entry have the same index and type; their texts are joined.
    fn detail(&mut self, piece: &Object, is_delta: bool) {
        let length = piece.values().filter_map(Value::as_str).map(str::len).sum();
        if !self.collector.has_room(length) {
            return;
        }
        let name = |name: &str| piece.get(name).unwrap_or(&Value::Null).to_string();
        let place = if is_delta {
            *self.places.entry(name("index") + &name("type")).or_insert(self.details.len())
        } else {
            self.details.len()
        };
        let Some(known) = self.details.get_mut(place) else { return self.details.push(piece.clone()) };
        for (name, value) in piece.iter() {
            let is_text = matches!(name, "text" | "summary" | "data" | "signature");
            match (known.get_mut(name), value) {
                (Some(Value::String(text)), Value::String(more)) if is_text => text.push_str(more),
                (_, Value::Null) => {}
                _ => known.insert(name, value.clone()),
            }
        }
    }

    fn call(&mut self, index: u32, call: &Value) {
        let (custom, inner) = (is_custom(call), called(call));
        if let Some(name) = inner["name"].as_str() {
            self.collector.note(&Event::ToolCallStart {
                choice: 0,
                index,
                id: call["id"].as_str().unwrap_or("").to_owned(),
                name: name.to_owned(),
                signature: call["extra_content"]["google"]["thought_signature"].as_str().map(str::to_owned),
                custom,
            });
        }
        if let Some(fragment) = inner[if custom { "input" } else { "arguments" }].as_str() {
            let fragment = fragment.to_owned();
            self.collector.note(&Event::ToolCallArguments { choice: 0, index, fragment });
        }
    }
}

fn thought(text: String) -> Part {
    canon::PartKind::from(canon::Reasoning { text, ..Default::default() }).into()
}

// ---------------------------------------------------------------------------------------------- requests

/// Space for restored thinking.
const MORE: usize = 1024;

/// How a provider takes thinking back.
pub(super) struct Recall<'a> {
    /// The field that it reads.
    pub field: &'a str,
    /// The replacement for unknown thinking of tool calls.
    pub stand_in: Option<&'a str>,
    /// None when nothing is remembered.
    pub memory: Option<Memory<'a>>,
    /// Names may be written with escapes: a text search then proves nothing.
    pub looks_closely: bool,
}

impl Recall<'_> {
    /// The messages with their thinking where the provider reads it; none when nothing changes. Only messages
    /// that need it are changed: all other bytes stay, so that the provider's cache stays valid.
    pub(super) fn messages(&self, json: &[u8], losses: &mut Losses) -> Option<Vec<u8>> {
        let concerned = self.looks_closely
            || mentions(json, "tool_calls")
            || FIELDS.iter().any(|name| mentions(json, name));
        if !concerned {
            return None;
        }
        let mut out = Vec::new();
        let mut copied = 0;
        let walked = Scanner::new(json).array(|scanner, index| {
            let start = scanner.position();
            let fields = fields_of(scanner)?;
            let range = start..scanner.position();
            if let Some(edited) = self.message(index, &fields, losses) {
                if copied == 0 {
                    out.reserve_exact(json.len() + MORE);
                }
                append(&mut out, &json[copied..range.start]);
                append(&mut out, &edited);
                copied = range.end;
            }
            Ok::<(), Syntax>(())
        });
        if walked.is_err() || copied == 0 {
            return None;
        }
        append(&mut out, &json[copied..]);
        Some(out)
    }

    fn message(&self, index: usize, fields: &Index<'_>, losses: &mut Losses) -> Option<Vec<u8>> {
        let raw = |name: &str| {
            let says_something = |value: &&[u8]| !matches!(*value, b"null" | b"\"\"" | b"[]");
            fields.get(name).filter(says_something)
        };
        let role = raw("role").and_then(|role| text_of(role, &Scanner::new(role).string().ok()?));
        if role.as_deref() != Some("assistant") {
            return None;
        }
        let mut edit = fields.edit();
        let mut changed = false;
        if raw(self.field).is_none() {
            let value = self.given_elsewhere(raw).or_else(|| {
                let calls: Vec<ToolCall> = serde_json::from_slice(raw("tool_calls")?).ok()?;
                self.remembered(calls.first()?, index, losses)
            });
            if let Some(value) = value {
                edit.set(self.field, &value);
                changed = true;
            }
        }
        // A provider that reads `reasoning_details` accepts the texts by their other names too.
        for name in FIELDS.into_iter().filter(|name| *name != self.field && self.field != DETAILS) {
            if name == DETAILS && raw(name).is_some_and(holds_proofs) {
                losses.dropped(
                    format!("messages[{index}].reasoning_details"),
                    "The provider accepts thinking only as text without signatures.",
                );
            }
            changed |= edit.remove(name);
        }
        changed.then(|| edit.write(0))
    }

    /// Thinking that the caller sent by another name.
    fn given_elsewhere<'r>(&self, raw: impl Fn(&str) -> Option<&'r [u8]>) -> Option<Vec<u8>> {
        if self.field == DETAILS {
            return None;
        }
        let text = FIELDS[..2].iter().find_map(|name| raw(name).filter(|value| value.starts_with(b"\"")));
        text.map(<[u8]>::to_vec).or_else(|| {
            let details: Vec<ReasoningDetail> = serde_json::from_slice(raw(DETAILS)?).ok()?;
            let parts = details.into_iter().map(detail_part).collect();
            let text = Proofs { thinking: parts, ..Proofs::default() }.text();
            (!text.is_empty()).then(|| quoted(&text))
        })
    }

    /// The thinking before a call, as recorded from the answer.
    fn remembered(&self, call: &ToolCall, index: usize, losses: &mut Losses) -> Option<Vec<u8>> {
        let find = |memory: Memory<'_>| (memory.find)(&call_name(call));
        let found = self.memory.and_then(|memory| Some((memory, find(memory)?)));
        if let Some((memory, proofs)) = &found {
            let is_own = memory.is_issuer(proofs);
            let usable = if self.field == DETAILS { details_of(proofs, is_own) } else { None };
            if self.field == DETAILS {
                return usable;
            }
            let text = proofs.text();
            if !text.is_empty() {
                return Some(quoted(&text));
            }
            if is_own {
                return self.stand_in.map(quoted);
            }
        }
        let stand_in = self.stand_in?;
        losses.approximated(
            format!("messages[{index}].{}", self.field),
            "The thinking that led to the tool calls is unknown: a placeholder was sent, as the provider requires.",
        );
        Some(quoted(stand_in))
    }
}

/// The thinking as `reasoning_details`: the provider's own form, or the form that is valid everywhere.
fn details_of(proofs: &Proofs, is_own: bool) -> Option<Vec<u8>> {
    if let Some(details) = proofs.details.as_ref().filter(|_| is_own) {
        return Some(details.as_str().as_bytes().to_vec());
    }
    let portable: Vec<serde_json::Value> =
        proofs.portable().enumerate().map(|(index, part)| detail(index, part)).collect();
    (!portable.is_empty()).then(|| serde_json::to_vec(&portable).unwrap_or_default())
}

fn call_name(call: &ToolCall) -> CallName {
    fn text(raw: Option<&Json>) -> Cow<'_, str> {
        let given = raw.filter(|json| !json.is_null()).map_or("", Json::as_str);
        string(given).unwrap_or(given.into())
    }
    match (&call.function, &call.custom) {
        (Some(function), _) => CallName::new(&call.id, &function.name, &text(function.arguments.as_ref())),
        (None, Some(custom)) => CallName::new(&call.id, &custom.name, &custom.input),
        (None, None) => CallName::new(&call.id, "", ""),
    }
}

/// True for details with more than text.
fn holds_proofs(details: &[u8]) -> bool {
    let details: Vec<&RawValue> = serde_json::from_slice(details).unwrap_or_default();
    let read = |raw: &&RawValue| serde_json::from_str::<ReasoningDetail>(raw.get()).ok();
    details.iter().filter_map(read).any(|detail| detail.signature.is_some() || detail.data.is_some())
}

fn fields_of<'a>(scanner: &mut Scanner<'a>) -> Result<Index<'a>, Syntax> {
    let mut fields = Index::new(scanner.json(), 4);
    scanner.object(|scanner, key| {
        let value = scanner.value()?;
        fields.push(fields.name(&key)?, &key, value);
        Ok::<(), Syntax>(())
    })?;
    Ok(fields)
}
