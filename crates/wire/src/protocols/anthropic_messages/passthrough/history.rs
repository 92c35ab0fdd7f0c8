//! The turns of a raw request. Only turns and blocks that must change are rewritten.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use canon::{Losses, Part, PartKind};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::request::write::tools::{is_id_byte, wire_id};
use crate::json::{Items, append, string};
use crate::proofs::{CallName, Memory, Proofs};
use crate::protocols::fields::{Fields, object};
use crate::taken_ids::{CalledIds, TakenIds};

/// The longest call id that all hosts accept.
const ID_LIMIT: usize = 64;

const FOREIGN: &str =
    "The thinking is from another family of models, and this model does not accept its signature.";
const UNSIGNED: &str = "The model accepts earlier thinking only with its signature.";
const REFUSED: &str = "The provider refused the thinking of earlier turns: the request was sent without it.";

/// How the turns are changed.
pub(super) struct HistoryChanges<'a> {
    /// The model signs its thinking.
    pub signs: bool,
    /// Remove all thinking.
    pub without_thinking: bool,
    /// Earlier answers whose thinking callers may have dropped; none when nothing is to be restored.
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
    // Texts may have any length, so they are not copied.
    #[serde(borrow)]
    signature: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    name: Option<String>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_use_id: Option<&'a RawValue>,
}

/// The value of a member that is a string.
fn said<'a>(member: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
    string(member?.get())
}

impl HistoryChanges<'_> {
    /// The turns for the provider.
    pub(super) fn outgoing(&self, raw: &[u8], losses: &mut Losses) -> OutgoingTurns {
        let mut outgoing = OutgoingTurns::default();
        let Ok(text) = std::str::from_utf8(raw) else { return outgoing };
        let mut seen = HistoryState::default();
        let mut turns = Turns { text, out: None, end: 0 };
        for (index, turn) in Items::of(text).enumerate() {
            let changed = self.turn(index, turn, &mut seen, losses);
            match changed {
                None => turns.keep(turn),
                Some(Content { given, restored, is_answer }) => {
                    let mut again = Blocks { index, is_answer, ..Blocks::default() };
                    let kept = Items::of(given)
                        .enumerate()
                        .filter_map(|(position, block)| again.outgoing(self, position, block, None));
                    turns.change(turn, given, restored.into_iter().map(Cow::Owned).chain(kept));
                }
            }
        }
        outgoing.is_thoughtless = seen.has_results && !seen.begins_with_thinking;
        outgoing.called = seen.called.into();
        outgoing.messages = turns.finish();
        outgoing
    }

    /// Checks one turn; none when it stays unchanged. Its blocks, of which there may be many, are not kept:
    /// the blocks of a changed turn are read again.
    fn turn<'t>(
        &self,
        index: usize,
        raw: &'t str,
        seen: &mut HistoryState,
        losses: &mut Losses,
    ) -> Option<Content<'t>> {
        let turn = serde_json::from_str::<Turn<'_>>(raw).ok()?;
        let is_answer = turn.role == "assistant";
        let was_answer = std::mem::replace(&mut seen.is_answer, is_answer);
        let begins_answer = is_answer && !was_answer;
        seen.begins_with_thinking &= !begins_answer;
        seen.has_results &= !is_answer;
        let given = turn.content.get();
        if !given.starts_with('[') {
            return None;
        }
        let mut blocks = Blocks { index, is_answer, ..Blocks::default() };
        for (position, block) in Items::of(given).enumerate() {
            drop(blocks.outgoing(self, position, block, Some(&mut seen.called)));
        }
        let mut restored = Vec::new();
        if is_answer {
            let found = self.memory.zip(blocks.call.as_ref()).and_then(|(memory, call)| (memory.find)(call));
            let pair = seen.before.as_ref().zip(found.as_ref());
            let is_new = pair.is_none_or(|(before, found)| !Arc::ptr_eq(before, found));
            if let (Some(proofs), true) = (&found, is_new && !blocks.thinks) {
                restored = self.restored(proofs);
                if !restored.is_empty() {
                    // The caller's remains of the thinking are replaced by the original.
                    blocks.losses = Losses::new();
                    blocks.is_changed = true;
                    blocks.begins_with_thinking = true;
                }
            }
            seen.before = found;
            seen.begins_with_thinking |= begins_answer && blocks.begins_with_thinking;
        }
        seen.has_results |= blocks.has_results;
        if !blocks.is_changed {
            return None;
        }
        losses.extend(blocks.losses);
        Some(Content { given, restored, is_answer })
    }

    /// The thinking of an answer that this provider takes back.
    fn restored(&self, proofs: &Proofs) -> Vec<String> {
        proofs.portable().filter_map(thinking_block).collect()
    }
}

/// The content of a changed turn.
struct Content<'t> {
    given: &'t str,
    /// Restored thinking, which comes first.
    restored: Vec<String>,
    is_answer: bool,
}

/// Turns, some of them changed. The others are copied unchanged.
struct Turns<'t> {
    text: &'t str,
    /// None until a turn changes.
    out: Option<Vec<u8>>,
    /// The end of the previous turn.
    end: usize,
}

/// Space for restored thinking.
const MORE: usize = 1024;

impl<'t> Turns<'t> {
    fn keep(&mut self, turn: &'t str) {
        if let Some(out) = &mut self.out {
            separate(out);
            append(out, turn.as_bytes());
        }
        self.end = place(self.text, turn).end;
    }

    /// Writes a turn with other content; an empty one is dropped.
    fn change<'b>(&mut self, turn: &'t str, content: &str, blocks: impl Iterator<Item = Cow<'b, str>>) {
        let out = self.out.get_or_insert_with(|| {
            let mut out = Vec::with_capacity(self.text.len() + MORE);
            out.extend_from_slice(&self.text.as_bytes()[..self.end.max(1)]);
            out
        });
        let content = place(turn, content);
        let start = out.len();
        separate(out);
        append(out, &turn.as_bytes()[..content.start]);
        append(out, b"[");
        let before = out.len();
        for block in blocks {
            separate(out);
            append(out, block.as_bytes());
        }
        if out.len() == before {
            out.truncate(start);
        } else {
            append(out, b"]");
            append(out, &turn.as_bytes()[content.end..]);
        }
        self.end = place(self.text, turn).end;
    }

    /// None when nothing changed.
    fn finish(self) -> Option<Vec<u8>> {
        let mut out = self.out?;
        append(&mut out, b"]");
        Some(out)
    }
}

/// A comma, unless a list begins here.
fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'[') {
        append(out, b",");
    }
}

/// The range of a part within a text.
fn place(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

/// The turns for the provider.
#[derive(Default)]
pub(super) struct OutgoingTurns {
    /// None when nothing changes.
    pub messages: Option<Vec<u8>>,
    /// The conversation ends with results of calls, and the answer with these calls does not begin with
    /// thinking.
    pub is_thoughtless: bool,
    pub called: TakenIds,
}

/// The state over the turns so far.
#[derive(Default)]
struct HistoryState {
    /// The proofs of the previous answer.
    before: Option<Arc<Proofs>>,
    /// The last turn is an answer. Consecutive answers are one.
    is_answer: bool,
    /// The last answer begins with thinking.
    begins_with_thinking: bool,
    /// Results of calls came after the last answer.
    has_results: bool,
    called: CalledIds,
}

/// The changes within a turn.
#[derive(Default)]
struct Blocks {
    index: usize,
    /// The turn is the model's.
    is_answer: bool,
    is_changed: bool,
    /// Some thinking remains.
    thinks: bool,
    /// The first remaining block is thinking.
    begins_with_thinking: bool,
    has_results: bool,
    /// Some block remains.
    has_blocks: bool,
    /// The first call.
    call: Option<CallName>,
    losses: Losses,
}

impl Blocks {
    /// A block of a turn; none when it is dropped. Adds the ids of calls to `called`.
    fn outgoing<'t>(
        &mut self,
        history: &HistoryChanges<'_>,
        position: usize,
        raw: &'t str,
        called: Option<&mut CalledIds>,
    ) -> Option<Cow<'t, str>> {
        if self.is_answer {
            self.answered(history, position, raw, called)
        } else {
            Some(self.with_plain_id("tool_use_id", raw))
        }
    }

    /// A block of an answer; none when it is dropped.
    fn answered<'t>(
        &mut self,
        history: &HistoryChanges<'_>,
        position: usize,
        raw: &'t str,
        called: Option<&mut CalledIds>,
    ) -> Option<Cow<'t, str>> {
        let Ok(block) = serde_json::from_str::<Block<'_>>(raw) else { return Some(raw.into()) };
        let proof = match &*block.kind {
            "thinking" => said(block.signature).unwrap_or_default(),
            "redacted_thinking" => said(block.data).unwrap_or_default(),
            "tool_use" => {
                self.has_blocks = true;
                let id = said(block.id);
                if let (Some(id), Some(name), None) = (&id, &block.name, &self.call) {
                    self.call = Some(CallName::new(id, name, block.input.map_or("{}", RawValue::get)));
                }
                if let (Some(called), Some(id)) = (called, id) {
                    called.push(&id);
                }
                return Some(self.with_plain_id("id", raw));
            }
            _ => {
                self.has_blocks = true;
                return Some(raw.into());
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
                return Some(raw.into());
            }
        };
        self.is_changed = true;
        self.losses.dropped(format!("messages[{}].content[{position}]", self.index), reason);
        None
    }

    /// A block whose call id is in the alphabet that the API accepts.
    fn with_plain_id<'t>(&mut self, field: &str, raw: &'t str) -> Cow<'t, str> {
        let is_plain = |id: &str| id.len() <= ID_LIMIT && id.bytes().all(is_id_byte);
        let Ok(block) = serde_json::from_str::<Block<'_>>(raw) else { return raw.into() };
        self.has_results |= block.kind == "tool_result";
        let id = said(if field == "id" { block.id } else { block.tool_use_id });
        let Some(id) = id.filter(|id| !is_plain(id)) else { return raw.into() };
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

/// The object with one member replaced; everything else is unchanged.
fn with_member(raw: &str, name: &str, value: &str) -> String {
    let Ok(fields) = Fields::parse(raw, String::new()) else { return raw.to_owned() };
    let members =
        fields.others(&[]).map(|(known, old)| if known == name { (known, value) } else { (known, old) });
    object(members).as_str().to_owned()
}
