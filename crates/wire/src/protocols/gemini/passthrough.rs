//! Between callers and providers that both speak `generateContent`. The request is forwarded unchanged except
//! for fields that the gateway itself reads, fields that the model refuses, and thought signatures: dropped
//! ones are restored, foreign ones removed.

mod media;
mod relay;

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Losses, Result, Target};

use super::model::Generation;
use super::request::write::tools::camel_case;
use super::{Gemini, SKIP_SIGNATURE};
use crate::json::{Items, Members, append, push_text, string};
use crate::proofs::{CallName, FOREIGN, Memory};
use crate::protocols::envelope::holds_thoughts;
use crate::providers::edit;
use crate::{
    DecoderContext, Encoded, Intake, MediaSlots, Passthrough, PassthroughInputs, ROUTING_FIELDS, Transcoder,
    TranscoderParts,
};
use media::file_uris;
use relay::Relay;

/// Space for additions.
const SPARE: usize = 64;

impl Passthrough for Gemini {
    fn forward(&self, intake: &Intake, forwarding: PassthroughInputs<'_>) -> Result<Encoded> {
        let mut losses = Losses::new();
        let mut body = intake.edit();
        for name in ROUTING_FIELDS {
            body.remove(name);
        }
        // The URL has it, perhaps by another name.
        body.remove("model");
        if let Some((name, config)) = field(intake, "generationConfig")
            && let Some(accepted) = accepted(config, &forwarding, &mut losses)?
        {
            body.set(name.to_owned(), &accepted);
        }
        if let Some((name, contents)) = field(intake, "contents")
            && let Some(signed) = signed(intake, contents, &forwarding, &mut losses)?
        {
            body.put(name, signed);
        }
        let body = Bytes::from(body.write(SPARE));
        Ok(Encoded { body, losses, decoding: DecoderContext::default() })
    }

    fn media(&self, intake: &Intake, target: Target<'_>) -> Option<Box<dyn MediaSlots>> {
        Some(Box::new(file_uris(intake, target)?))
    }

    fn relay(&self, parts: TranscoderParts<'_>) -> Box<dyn Transcoder> {
        Box::new(Relay::new(parts))
    }
}

/// A top-level field, in either spelling.
fn field<'a>(intake: &'a Intake, name: &str) -> Option<(&'a str, &'a [u8])> {
    intake.fields().find(|(given, _)| camel_case(given) == name)
}

/// `generationConfig` without fields that the model refuses; none when nothing changes.
fn accepted(config: &[u8], forwarding: &PassthroughInputs<'_>, losses: &mut Losses) -> Result<Option<Bytes>> {
    /// Google's names and the catalog's.
    const FIELDS: [(&str, &str); 7] = [
        ("temperature", "temperature"),
        ("topP", "top_p"),
        ("topK", "top_k"),
        ("presencePenalty", "presence_penalty"),
        ("frequencyPenalty", "frequency_penalty"),
        ("seed", "seed"),
        ("stopSequences", "stop"),
    ];
    let target = forwarding.target;
    let refused = |known: &str| {
        target.facts.rejects(known) || target.quirks.drop.iter().any(|dropped| dropped == known)
    };
    if !config.starts_with(b"{") || !FIELDS.iter().any(|(_, known)| refused(known)) {
        return Ok(None);
    }
    let mut removed = Vec::new();
    for given in edit::names(config) {
        let name = camel_case(&given);
        if FIELDS.iter().any(|(google, known)| *google == name && refused(known)) {
            losses.dropped(format!("generationConfig.{name}"), "The model refuses this field.");
            removed.push(given.into_owned());
        }
    }
    if removed.is_empty() {
        return Ok(None);
    }
    let removed: Vec<&str> = removed.iter().map(String::as_str).collect();
    edit::edit(config, &removed, &[]).map(Some)
}

/// The turns with corrected signatures; none when nothing changes.
fn signed(
    intake: &Intake,
    contents: &[u8],
    forwarding: &PassthroughInputs<'_>,
    losses: &mut Losses,
) -> Result<Option<Vec<u8>>> {
    let says = |name: &str| intake.mentions(contents, name);
    let has_calls = says("functionCall") || says("function_call");
    if !has_calls && !says("thoughtSignature") && !says("thought_signature") {
        return Ok(None);
    }
    let Ok(text) = std::str::from_utf8(contents) else { return Ok(None) };
    let signing = Signing {
        memory: forwarding.memory,
        drops_all: forwarding.without_thinking,
        wants_signatures: Generation::of(forwarding.target.model).at_least(3, 0),
    };
    let current = turns(text).enumerate().filter(|(_, turn)| turn.is_from_user()).last();
    let current = current.map_or(0, |(index, _)| index);
    let mut out = Vec::new();
    let mut copied = 0;
    for (index, turn) in turns(text).enumerate() {
        let is_current = index >= current;
        signing.turn((index, is_current), &turn, losses, |part, signed| {
            if copied == 0 {
                out.reserve_exact(contents.len() + MORE);
            }
            let start = part.as_ptr() as usize - text.as_ptr() as usize;
            append(&mut out, &contents[copied..start]);
            append(&mut out, &signed);
            copied = start + part.len();
        });
    }
    if copied == 0 {
        return Ok(None);
    }
    append(&mut out, &contents[copied..]);
    Ok(Some(out))
}

/// Space for restored signatures.
const MORE: usize = 1024;

/// One entry of `contents`, with the parts that matter for signatures.
#[derive(Default)]
struct Turn<'a> {
    is_models: bool,
    /// A list, or a single part.
    parts: &'a str,
}

struct Part<'a> {
    text: &'a str,
    members: Members<'a>,
}

/// The turns. Values of unexpected types are left to the provider.
fn turns(contents: &str) -> impl Iterator<Item = Turn<'_>> {
    one_or_more(contents).map(|turn| {
        let Some(members) = Members::of(turn) else { return Turn::default() };
        Turn {
            is_models: members.last("role").and_then(string).is_some_and(|role| role == "model"),
            parts: members.last("parts").unwrap_or_default(),
        }
    })
}

/// The items of a list, or a single value in place of a list.
fn one_or_more(json: &str) -> impl Iterator<Item = &str> {
    let one = (!json.is_empty() && !json.starts_with('[')).then_some(json);
    one.into_iter().chain(Items::of(json))
}

impl<'a> Turn<'a> {
    fn parts(&self) -> impl Iterator<Item = Part<'a>> {
        one_or_more(self.parts).filter_map(|text| Some(Part { text, members: Members::of(text)? }))
    }

    /// The turn contains more than results.
    fn is_from_user(&self) -> bool {
        !self.is_models && !self.parts().all(|part| part.value("functionResponse").is_some())
    }
}

impl<'a> Part<'a> {
    fn value(&self, name: &str) -> Option<&'a str> {
        self.members.iter().find(|(given, _)| camel_case(given) == name).map(|(_, value)| value)
    }
}

struct Signing<'a> {
    memory: Option<Memory<'a>>,
    /// The provider refused a signature: all are removed.
    drops_all: bool,
    /// The first call of each turn must have a signature (Gemini 3 and later).
    wants_signatures: bool,
}

impl Signing<'_> {
    /// Returns the changed parts of one turn.
    fn turn<'t>(
        &self,
        (index, is_current): (usize, bool),
        turn: &Turn<'t>,
        losses: &mut Losses,
        mut change: impl FnMut(&'t str, Vec<u8>),
    ) {
        if !turn.is_models {
            return;
        }
        let mut calls = 0;
        for (position, part) in turn.parts().enumerate() {
            let path = || format!("contents[{index}].parts[{position}].thoughtSignature");
            let given = given_text(&part, "thoughtSignature").filter(|proof| !proof.is_empty());
            let is_empty = given.is_none() && part.value("thoughtSignature").is_some();
            let call = part.value("functionCall").map(call_name);
            let is_first_call = call.is_some() && calls == 0;
            calls += usize::from(call.is_some());
            let mut wanted = match (&given, &call) {
                (Some(_), _) if self.drops_all => {
                    losses.dropped(
                        path(),
                        "The provider refused the thinking of earlier turns: the request was sent without it.",
                    );
                    None
                }
                (Some(proof), _) if holds_thoughts(proof) || self.is_foreign(proof, call.as_ref()) => {
                    losses.dropped(path(), FOREIGN);
                    None
                }
                (Some(proof), _) => Some(proof.clone()),
                (None, Some(call)) if !self.drops_all => self.remembered(call).map(Cow::Owned),
                (None, _) => None,
            };
            if wanted.is_none() && is_first_call && self.wants_signatures {
                wanted = Some(Cow::Borrowed(SKIP_SIGNATURE));
                if is_current && given.is_none() {
                    let reason = "The tool call has no thought signature of the model: the documented placeholder was sent.";
                    losses.approximated(path(), reason);
                }
            }
            if wanted != given || is_empty {
                change(part.text, rewritten(&part, wanted.as_deref()));
            }
        }
    }

    /// The signature of a call by this provider.
    fn remembered(&self, call: &CallName) -> Option<String> {
        let memory = self.memory?;
        let proofs = (memory.find)(call).filter(|proofs| memory.is_issuer(proofs))?;
        proofs.calls.iter().find(|(known, _)| known == call)?.1.clone()
    }

    /// Whether a signature is known to be another provider's. A known call of this provider does not prove
    /// the opposite: calls without ids look alike.
    fn is_foreign(&self, proof: &str, call: Option<&CallName>) -> bool {
        let Some(memory) = self.memory else { return false };
        let issued = |name: &CallName| (memory.find)(name).filter(|proofs| !memory.is_issuer(proofs));
        let Some(call) = call else { return issued(&CallName::of_signature(proof)).is_some() };
        issued(call).is_some_and(|proofs| {
            proofs.calls.iter().any(|(known, signature)| known == call && signature.as_deref() == Some(proof))
        })
    }
}

/// The part with this signature, or without one.
fn rewritten(part: &Part<'_>, signature: Option<&str>) -> Vec<u8> {
    let kept = part.members.texts().filter(|(name, _)| camel_case(name) != "thoughtSignature");
    let mut out = Vec::with_capacity(part.text.len() + signature.map_or(0, str::len) + 32);
    out.push(b'{');
    for (at, (_, member)) in kept.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(member.as_bytes());
    }
    if let Some(signature) = signature {
        push_text(&mut out, "thoughtSignature", signature);
    }
    out.push(b'}');
    out
}

fn given_text(part: &Part<'_>, name: &str) -> Option<Cow<'static, str>> {
    string(part.value(name)?).map(|text| Cow::Owned(text.into_owned()))
}

fn call_name(call: &str) -> CallName {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Call<'a> {
        id: Option<String>,
        name: Option<String>,
        #[serde(borrow)]
        args: Option<&'a serde_json::value::RawValue>,
    }
    let call: Call<'_> = serde_json::from_str(call).unwrap_or_default();
    let arguments = call.args.map_or("", |args| args.get());
    CallName::new(&call.id.unwrap_or_default(), &call.name.unwrap_or_default(), arguments)
}
