//! The turns of a raw request. Only a turn that must change is written anew, and in it only the blocks that must.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use canon::{Losses, Part, PartKind};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::request::write::tools::{is_id_byte, wire_id};
use crate::proofs::{CallName, Memory, Proofs};
use crate::protocols::fields::{Fields, object};

/// The longest id of a call that all hosts take.
const ID_LIMIT: usize = 64;

const FOREIGN: &str = "It is thinking of another family of models, whose signature is of no use to this one.";
const UNSIGNED: &str = "The model takes back its thinking only with the signature.";
const REFUSED: &str = "The provider refused the thinking of earlier turns: sent without it.";

/// What becomes of the turns.
pub(super) struct History<'a> {
    /// The model is one that signs its thinking.
    pub signs: bool,
    /// Leave all thinking out.
    pub without_thinking: bool,
    /// What callers may have dropped; none when nothing has to be put back.
    pub memory: Option<Memory<'a>>,
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    signature: Option<String>,
    data: Option<String>,
    id: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    tool_use_id: Option<String>,
}

/// A turn as it goes out.
enum Outgoing<'a> {
    AsItIs(&'a str),
    Changed(String),
    LeftOut,
}

impl History<'_> {
    /// The turns as they go out.
    pub(super) fn outgoing(&self, raw: &[u8], losses: &mut Losses) -> OutgoingTurns {
        let mut outgoing = OutgoingTurns::default();
        let Ok(turns) = serde_json::from_slice::<Vec<&RawValue>>(raw) else { return outgoing };
        let mut seen = Seen::default();
        let told: Vec<Outgoing<'_>> =
            turns.iter().enumerate().map(|(index, turn)| self.turn(index, turn, &mut seen, losses)).collect();
        outgoing.is_thoughtless = seen.has_results && !seen.begins_with_thinking;
        outgoing.called = seen.called;
        if told.iter().all(|turn| matches!(turn, Outgoing::AsItIs(_))) {
            return outgoing;
        }
        let texts: Vec<&str> = told
            .iter()
            .filter_map(|turn| match turn {
                Outgoing::AsItIs(text) => Some(*text),
                Outgoing::Changed(text) => Some(text),
                Outgoing::LeftOut => None,
            })
            .collect();
        outgoing.messages = Some(format!("[{}]", texts.join(",")).into_bytes());
        outgoing
    }

    fn turn<'t>(
        &self,
        index: usize,
        raw: &'t RawValue,
        seen: &mut Seen,
        losses: &mut Losses,
    ) -> Outgoing<'t> {
        let as_it_is = Outgoing::AsItIs(raw.get());
        let Ok(turn) = serde_json::from_str::<Turn<'_>>(raw.get()) else { return as_it_is };
        let is_answer = turn.role == "assistant";
        let was_answer = std::mem::replace(&mut seen.is_answer, is_answer);
        let begins_answer = is_answer && !was_answer;
        seen.begins_with_thinking &= !begins_answer;
        seen.has_results &= !is_answer;
        let Ok(blocks) = serde_json::from_str::<Vec<&RawValue>>(turn.content.get()) else { return as_it_is };
        let mut changed = Blocks { index, ..Blocks::default() };
        let mut texts: Vec<Cow<'_, str>> = Vec::with_capacity(blocks.len());
        for (position, block) in blocks.iter().enumerate() {
            texts.extend(match is_answer {
                true => changed.answered(self, position, block),
                false => Some(changed.with_plain_id("tool_use_id", block)),
            });
        }
        if is_answer {
            let found = self.memory.zip(changed.call.as_ref()).and_then(|(memory, call)| (memory.find)(call));
            let pair = seen.before.as_ref().zip(found.as_ref());
            let is_new = pair.is_none_or(|(before, found)| !Arc::ptr_eq(before, found));
            if let (Some(proofs), true) = (&found, is_new && !changed.thinks) {
                let restored = self.restored(proofs);
                if !restored.is_empty() {
                    // What the caller kept of it gives way to the original.
                    changed.losses = Losses::new();
                    changed.is_changed = true;
                    texts.splice(0..0, restored.into_iter().map(Cow::Owned));
                    changed.begins_with_thinking = true;
                }
            }
            seen.before = found;
            seen.begins_with_thinking |= begins_answer && changed.begins_with_thinking;
        }
        seen.has_results |= changed.has_results;
        seen.called.extend(std::mem::take(&mut changed.called));
        if !changed.is_changed {
            return as_it_is;
        }
        losses.extend(changed.losses);
        match texts.is_empty() {
            true => Outgoing::LeftOut,
            false => Outgoing::Changed(with_content(raw, &format!("[{}]", texts.join(",")))),
        }
    }

    /// The thinking of an answer, as far as this provider takes it back.
    fn restored(&self, proofs: &Proofs) -> Vec<String> {
        proofs.portable().filter_map(thinking_block).collect()
    }
}

/// The turns as they go out.
#[derive(Default)]
pub(super) struct OutgoingTurns {
    /// None when nothing changes.
    pub messages: Option<Vec<u8>>,
    /// The conversation ends with results of calls, and the answer with these calls does not begin with thinking.
    pub is_thoughtless: bool,
    /// The ids of all calls.
    pub called: BTreeSet<String>,
}

/// What was seen of the turns so far.
#[derive(Default)]
struct Seen {
    /// What is known of the answer before.
    before: Option<Arc<Proofs>>,
    /// The last turn is an answer. Those that follow each other are one.
    is_answer: bool,
    /// The last answer begins with thinking.
    begins_with_thinking: bool,
    /// Results of calls came after the last answer.
    has_results: bool,
    /// The ids of all calls.
    called: BTreeSet<String>,
}

/// What has changed in one turn.
#[derive(Default)]
struct Blocks {
    index: usize,
    is_changed: bool,
    /// Some thinking stays.
    thinks: bool,
    /// The first block that stays is thinking.
    begins_with_thinking: bool,
    has_results: bool,
    /// Some block stays.
    has_blocks: bool,
    /// The first call.
    call: Option<CallName>,
    /// The ids of all calls.
    called: Vec<String>,
    losses: Losses,
}

impl Blocks {
    /// A block of an answer; none when it is left out.
    fn answered<'t>(
        &mut self,
        history: &History<'_>,
        position: usize,
        raw: &'t RawValue,
    ) -> Option<Cow<'t, str>> {
        let Ok(block) = serde_json::from_str::<Block<'_>>(raw.get()) else { return Some(raw.get().into()) };
        let proof = match &*block.kind {
            "thinking" => block.signature.unwrap_or_default(),
            "redacted_thinking" => block.data.unwrap_or_default(),
            "tool_use" => {
                self.has_blocks = true;
                if let (Some(id), Some(name), None) = (&block.id, &block.name, &self.call) {
                    self.call = Some(CallName::new(id, name, block.input.map_or("{}", RawValue::get)));
                }
                self.called.extend(block.id);
                return Some(self.with_plain_id("id", raw));
            }
            _ => {
                self.has_blocks = true;
                return Some(raw.get().into());
            }
        };
        let reason = match () {
            () if history.without_thinking => REFUSED,
            // Signatures of this format are base64; see the module above.
            () if history.signs && proof.contains(':') => FOREIGN,
            () if history.signs && proof.is_empty() => UNSIGNED,
            () => {
                self.thinks = true;
                self.begins_with_thinking |= !std::mem::replace(&mut self.has_blocks, true);
                return Some(raw.get().into());
            }
        };
        self.is_changed = true;
        self.losses.dropped(format!("messages[{}].content[{position}]", self.index), reason);
        None
    }

    /// A block with the id of its call in the alphabet that the API takes.
    fn with_plain_id<'t>(&mut self, field: &str, raw: &'t RawValue) -> Cow<'t, str> {
        let is_plain = |id: &str| id.len() <= ID_LIMIT && id.bytes().all(is_id_byte);
        let Ok(block) = serde_json::from_str::<Block<'_>>(raw.get()) else { return raw.get().into() };
        self.has_results |= block.kind == "tool_result";
        let id = if field == "id" { block.id } else { block.tool_use_id };
        let Some(id) = id.filter(|id| !is_plain(id)) else { return raw.get().into() };
        self.is_changed = true;
        with_member(raw, field, &json!(wire_id(&id)).to_string()).into()
    }
}

fn thinking_block(part: &Part) -> Option<String> {
    let PartKind::Reasoning(thought) = &part.kind else { return None };
    let block = match (&part.signature, &thought.encrypted) {
        (Some(signature), _) => json!({"type": "thinking", "thinking": thought.text, "signature": signature}),
        (None, Some(data)) => json!({"type": "redacted_thinking", "data": data}),
        (None, None) => return None,
    };
    Some(block.to_string())
}

fn with_content(turn: &RawValue, content: &str) -> String {
    with_member(turn, "content", content)
}

/// The object with another value of one of its members; everything else is as it was written.
fn with_member(raw: &RawValue, name: &str, value: &str) -> String {
    let Ok(fields) = Fields::parse(raw.get(), String::new()) else { return raw.get().to_owned() };
    let members =
        fields.others(&[]).map(|(known, old)| if known == name { (known, value) } else { (known, old) });
    object(members).as_str().to_owned()
}
