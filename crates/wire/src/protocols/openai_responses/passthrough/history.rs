//! The thinking of earlier turns in a raw request.

use std::borrow::Cow;

use canon::Losses;
use serde::Deserialize;

use super::super::{REASONING_FORMAT, stored_items};
use crate::json::{Edit, Items, Members, may_say};
use crate::proofs::{CallName, Memory};
use crate::protocols::envelope;

/// Removes thinking from the input that is invalid for the provider.
pub(super) struct ThinkingFilter<'a> {
    pub memory: Option<Memory<'a>>,
    pub without_thinking: bool,
}

#[derive(Deserialize)]
struct ReasoningItem<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    encrypted_content: Option<Cow<'a, str>>,
}

impl ReasoningItem<'_> {
    /// Without its encrypted form the provider looks it up by its id, which the provider must have assigned
    /// itself.
    fn may_be_known(&self) -> bool {
        self.id.as_deref().is_some_and(|id| !id.is_empty() && stored_items::answers_of(id).is_empty())
    }
}

impl ThinkingFilter<'_> {
    /// The input without it; none when nothing changes.
    pub(super) fn input(&self, input: &[u8], losses: &mut Losses) -> Option<Vec<u8>> {
        let may_have = |text: &str| may_say(input, text);
        let has_calls = self.without_thinking && may_have("call_id");
        if !input.starts_with(b"[") || !has_calls && !may_have("reasoning") {
            return None;
        }
        let items = || Items::of(std::str::from_utf8(input).unwrap_or_default());
        if !has_calls && items().all(|item| self.keeps(item)) {
            return None;
        }
        let kept: usize = items().filter(|item| self.keeps(item)).map(|item| item.len() + 1).sum();
        let mut out = Vec::with_capacity(kept + 2);
        out.push(b'[');
        for (index, item) in items().enumerate() {
            if !self.keeps(item) {
                let reason = "The provider does not accept this thinking.";
                losses.dropped(format!("input[{index}]"), reason);
                continue;
            }
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(&self.sent(item));
        }
        out.push(b']');
        Some(out)
    }

    /// An item for the provider. The provider finds the thinking that led to a call by the call's id, and
    /// requires both or neither.
    fn sent<'t>(&self, item: &'t str) -> Cow<'t, [u8]> {
        let raw = item.as_bytes();
        if !self.without_thinking || !Members::of(item).is_some_and(|members| members.has("call_id")) {
            return raw.into();
        }
        let Ok(mut edit) = Edit::of(raw) else { return raw.into() };
        if edit.remove("id") { edit.write(0).into() } else { raw.into() }
    }

    fn keeps(&self, item: &str) -> bool {
        if !may_say(item.as_bytes(), "reasoning") {
            return true;
        }
        let Ok(item) = serde_json::from_str::<ReasoningItem<'_>>(item) else { return true };
        if item.kind.as_deref() != Some("reasoning") {
            return true;
        }
        if self.without_thinking {
            return false;
        }
        let may_be_known = item.may_be_known();
        let Some(data) = item.encrypted_content.filter(|data| !data.is_empty()) else { return may_be_known };
        if envelope::open(&data).is_some() {
            return false;
        }
        // Encrypted by another provider of this format.
        let thought = canon::Reasoning {
            encrypted: Some(data.into_owned()),
            format: Some(REASONING_FORMAT.to_owned()),
            ..canon::Reasoning::default()
        };
        let name = CallName::of_proof(&canon::PartKind::from(thought).into());
        let issued = self.memory.zip(name).and_then(|(memory, name)| Some((memory, (memory.find)(&name)?)));
        issued.is_none_or(|(memory, proofs)| memory.is_issuer(&proofs))
    }
}
