//! Between callers and providers that both use this format: the raw body is forwarded with few edits, and
//! answers are relayed event by event. Only the last event is changed: it gets the gateway's object.
//!
//! Answers that the gateway stores are handled the same way. The provider is asked to store nothing, and to
//! encrypt its thinking, so that the whole conversation can be sent again; the response objects report the
//! gateway's storage.

mod history;
mod items;
mod relay;

use bytes::Bytes;
use canon::{Field, Losses, ReasoningControl, Result, Target};
use serde_json::value::RawValue;

use super::OpenaiResponses;
use crate::json::quoted;
use crate::{
    DecoderContext, Encoded, Intake, Passthrough, PassthroughInputs, ROUTING_FIELDS, Transcoder,
    TranscoderParts,
};
use history::ThinkingFilter;

impl Passthrough for OpenaiResponses {
    fn forward(&self, intake: &Intake, forwarding: PassthroughInputs<'_>) -> Result<Encoded> {
        let target = forwarding.target;
        let mut losses = Losses::new();
        let mut edit = intake.edit();
        edit.set("model", &quoted(target.model));
        if !target.quirks.takes_routing_fields {
            for name in ROUTING_FIELDS {
                edit.remove(name);
            }
        }
        for name in target.quirks.drop.iter().chain(&target.facts.rejects) {
            if intake.non_null(name).is_some() && edit.remove(name) {
                losses.dropped(
                    Field::extra(name.clone()),
                    "The provider or the model does not accept this parameter.",
                );
            }
        }
        let sifting =
            ThinkingFilter { memory: forwarding.memory, without_thinking: forwarding.without_thinking };
        if let Some(input) = intake.non_null("input").and_then(|input| sifting.input(input, &mut losses)) {
            edit.put("input", input);
        }
        if intake.form.kept {
            edit.set("store", b"false");
            if thinks(intake, target)
                && let Some(include) = with_encrypted(intake.non_null("include"))
            {
                edit.set("include", &include);
            }
        }
        let body = Bytes::from(edit.write(target.model.len() + 64));
        Ok(Encoded { body, losses, decoding: DecoderContext::default() })
    }

    fn relay(&self, parts: TranscoderParts<'_>) -> Box<dyn Transcoder> {
        relay::relay(parts)
    }
}

// ---------------------------------------------------------------------------------------------- requests

/// Models that do not think refuse to encrypt their thinking ("Encrypted content is not supported with this model").
fn thinks(intake: &Intake, target: Target<'_>) -> bool {
    match &target.facts.reasoning {
        Some(control) => *control != ReasoningControl::None,
        None => intake.asks_for_thinking(),
    }
}

/// `include` with encrypted thinking; none where it already asks for it.
fn with_encrypted(given: Option<&[u8]>) -> Option<Vec<u8>> {
    const ENCRYPTED: &str = "reasoning.encrypted_content";
    let mut list: Vec<&RawValue> = given.map(serde_json::from_slice).transpose().ok()?.unwrap_or_default();
    let is_it =
        |item: &&RawValue| serde_json::from_str(item.get()).is_ok_and(|text: String| text == ENCRYPTED);
    if list.iter().any(is_it) {
        return None;
    }
    let encrypted = serde_json::value::to_raw_value(ENCRYPTED).ok()?;
    list.push(&encrypted);
    serde_json::to_vec(&list).ok()
}
