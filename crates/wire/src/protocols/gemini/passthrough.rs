//! Between callers and providers that both speak `generateContent`. The request goes on as it came, but for what the gateway
//! itself has read, what the model is known to refuse, and thought signatures: dropped ones are put back, foreign ones taken
//! out.

mod media;
mod relay;

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use canon::{Losses, Result, Target};

use super::model::Generation;
use super::request::write::tools::camel_case;
use super::{Gemini, SKIP_SIGNATURE};
use crate::json::{Kind, Scanner, Syntax, push_string, text_of};
use crate::proofs::{CallName, FOREIGN, Memory};
use crate::protocols::envelope::holds_thoughts;
use crate::providers::edit;
use crate::{
    DecoderContext, Encoded, Forwarding, Intake, MediaSlots, Passthrough, ROUTING_FIELDS, Transcoder,
    TranscoderParts,
};
use media::FileUris;
use relay::Relay;

/// Room for what is added.
const SPARE: usize = 64;

impl Passthrough for Gemini {
    fn forward(&self, intake: &Intake, forwarding: Forwarding<'_>) -> Result<Encoded> {
        let mut losses = Losses::new();
        let mut body = intake.edit();
        for name in ROUTING_FIELDS {
            body.remove(name);
        }
        intake.note_routing_losses(&mut losses);
        // The URL names it, maybe by another name.
        body.remove("model");
        if let Some((name, config)) = field(intake, "generationConfig")
            && let Some(accepted) = accepted(config, &forwarding, &mut losses)?
        {
            body.set(name.to_owned(), &accepted);
        }
        if let Some((name, contents)) = field(intake, "contents")
            && let Some(signed) = signed(intake, contents, &forwarding, &mut losses)?
        {
            body.set(name.to_owned(), &signed);
        }
        let body = Bytes::from(body.write(SPARE));
        Ok(Encoded { body, losses, decoding: DecoderContext::default() })
    }

    fn media(&self, intake: &Intake, target: Target<'_>) -> Option<Box<dyn MediaSlots>> {
        Some(Box::new(FileUris::of(intake, target)?))
    }

    fn relay(&self, parts: TranscoderParts<'_>) -> Box<dyn Transcoder> {
        Box::new(Relay::new(parts))
    }
}

/// A top-level field, in whatever spelling it came.
fn field<'a>(intake: &'a Intake, name: &str) -> Option<(&'a str, &'a [u8])> {
    intake.fields().find(|(given, _)| camel_case(given) == name)
}

/// `generationConfig` without what the model is known to refuse; none when all of it stays.
fn accepted(config: &[u8], forwarding: &Forwarding<'_>, losses: &mut Losses) -> Result<Option<Bytes>> {
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

/// The turns with their signatures in order; none when nothing has to change.
fn signed(
    intake: &Intake,
    contents: &[u8],
    forwarding: &Forwarding<'_>,
    losses: &mut Losses,
) -> Result<Option<Vec<u8>>> {
    let says = |name: &str| intake.mentions(contents, name);
    let has_calls = says("functionCall") || says("function_call");
    if !has_calls && !says("thoughtSignature") && !says("thought_signature") {
        return Ok(None);
    }
    let turns = turns(contents)?;
    let signing = Signing {
        contents,
        memory: forwarding.memory,
        drops_all: forwarding.without_thinking,
        wants_signatures: Generation::of(forwarding.target.model).at_least(3, 0),
    };
    let current = turns.iter().rposition(Turn::is_from_user).unwrap_or(0);
    let mut edits = Vec::new();
    for (index, turn) in turns.iter().enumerate() {
        signing.turn(index, turn, index >= current, &mut edits, losses);
    }
    if edits.is_empty() {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(contents.len() + 256 * edits.len());
    let mut copied = 0;
    for (range, part) in edits {
        out.extend_from_slice(&contents[copied..range.start]);
        out.extend_from_slice(&part);
        copied = range.end;
    }
    out.extend_from_slice(&contents[copied..]);
    Ok(Some(out))
}

/// One entry of `contents`, as far as signatures are concerned.
#[derive(Default)]
struct Turn<'a> {
    is_models: bool,
    parts: Vec<Part<'a>>,
}

/// A part of a turn.
struct Part<'a> {
    /// Where it stands.
    range: Range<usize>,
    /// Its members: name, from the key's quote to the value's end, value.
    members: Vec<(Cow<'a, str>, Range<usize>, Range<usize>)>,
}

impl Turn<'_> {
    /// The user said something, and did not only hand over results.
    fn is_from_user(&self) -> bool {
        let is_result = |part: &Part<'_>| part.value("functionResponse").is_some();
        !self.is_models && !self.parts.iter().all(is_result)
    }
}

impl Part<'_> {
    fn value(&self, name: &str) -> Option<Range<usize>> {
        self.members.iter().find(|(given, ..)| camel_case(given) == name).map(|(.., value)| value.clone())
    }
}

/// Reads the turns. What has an unexpected type is left to the provider.
fn turns(contents: &[u8]) -> Result<Vec<Turn<'_>>, Syntax> {
    let mut scanner = Scanner::new(contents);
    let mut turns = Vec::new();
    match scanner.kind()? {
        Kind::Array => scanner.array(|scanner, _| {
            turns.push(turn(scanner)?);
            Ok::<(), Syntax>(())
        })?,
        _ => turns.push(turn(&mut scanner)?),
    }
    Ok(turns)
}

fn turn<'a>(scanner: &mut Scanner<'a>) -> Result<Turn<'a>, Syntax> {
    let mut turn = Turn::default();
    if scanner.kind()? != Kind::Object {
        scanner.value()?;
        return Ok(turn);
    }
    scanner.object(|scanner, key| {
        let json = scanner.json();
        let name = text_of(json, &key).unwrap_or_default();
        match (&*name, scanner.kind()?) {
            ("role", Kind::String) => {
                let role = scanner.string()?;
                turn.is_models = text_of(json, &role).is_some_and(|role| role == "model");
            }
            ("parts", Kind::Array) => scanner.array(|scanner, _| part(scanner, &mut turn.parts))?,
            ("parts", Kind::Object) => part(scanner, &mut turn.parts)?,
            _ => {
                scanner.value()?;
            }
        }
        Ok::<(), Syntax>(())
    })?;
    Ok(turn)
}

fn part<'a>(scanner: &mut Scanner<'a>, parts: &mut Vec<Part<'a>>) -> Result<(), Syntax> {
    if scanner.kind()? != Kind::Object {
        scanner.value()?;
        return Ok(());
    }
    let json = scanner.json();
    let start = scanner.position();
    let mut members = Vec::new();
    scanner.object(|scanner, key| {
        let value = scanner.value()?;
        let name = text_of(json, &key).unwrap_or_default();
        members.push((name, key.range.start - 1..value.end, value));
        Ok::<(), Syntax>(())
    })?;
    parts.push(Part { range: start..scanner.position(), members });
    Ok(())
}

struct Signing<'a> {
    contents: &'a [u8],
    memory: Option<Memory<'a>>,
    /// The provider refused a signature: none is sent.
    drops_all: bool,
    /// The first call of each turn must carry one (Gemini 3 and later).
    wants_signatures: bool,
}

impl Signing<'_> {
    /// Adds the edits of one turn.
    fn turn(
        &self,
        index: usize,
        turn: &Turn<'_>,
        is_current: bool,
        edits: &mut Vec<(Range<usize>, Vec<u8>)>,
        losses: &mut Losses,
    ) {
        if !turn.is_models {
            return;
        }
        let mut calls = 0;
        for (position, part) in turn.parts.iter().enumerate() {
            let path = || format!("contents[{index}].parts[{position}].thoughtSignature");
            let given = self.text(part, "thoughtSignature").filter(|proof| !proof.is_empty());
            let is_empty = given.is_none() && part.value("thoughtSignature").is_some();
            let call = part.value("functionCall").map(|call| self.call_name(call));
            let is_first_call = call.is_some() && calls == 0;
            calls += usize::from(call.is_some());
            let mut wanted = match (&given, &call) {
                (Some(_), _) if self.drops_all => {
                    losses.dropped(
                        path(),
                        "The provider refused the thinking of earlier turns: sent without it.",
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
                    let reason =
                        "The call has no thought signature of the model: the documented stand-in is sent.";
                    losses.approximated(path(), reason);
                }
            }
            if wanted != given || is_empty {
                edits.push((part.range.clone(), self.rewritten(part, wanted.as_deref())));
            }
        }
    }

    /// The part with this signature, or without one.
    fn rewritten(&self, part: &Part<'_>, signature: Option<&str>) -> Vec<u8> {
        let kept = part.members.iter().filter(|(name, ..)| camel_case(name) != "thoughtSignature");
        let mut out = vec![b'{'];
        for (at, (_, member, _)) in kept.enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&self.contents[member.clone()]);
        }
        if let Some(signature) = signature {
            out.extend_from_slice(if out.len() > 1 {
                b",\"thoughtSignature\":"
            } else {
                b"\"thoughtSignature\":"
            });
            push_string(&mut out, signature);
        }
        out.push(b'}');
        out
    }

    fn text(&self, part: &Part<'_>, name: &str) -> Option<Cow<'_, str>> {
        let raw = self.contents.get(part.value(name)?)?;
        serde_json::from_slice::<String>(raw).ok().map(Cow::Owned)
    }

    fn call_name(&self, call: Range<usize>) -> CallName {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Call<'a> {
            id: Option<String>,
            name: Option<String>,
            #[serde(borrow)]
            args: Option<&'a serde_json::value::RawValue>,
        }
        let call: Call<'_> = serde_json::from_slice(&self.contents[call]).unwrap_or_default();
        let arguments = call.args.map_or("", |args| args.get());
        CallName::new(&call.id.unwrap_or_default(), &call.name.unwrap_or_default(), arguments)
    }

    /// The signature of a call that this provider gave.
    fn remembered(&self, call: &CallName) -> Option<String> {
        let memory = self.memory?;
        let proofs = (memory.find)(call).filter(|proofs| memory.is_issuer(proofs))?;
        proofs.calls.iter().find(|(known, _)| known == call)?.1.clone()
    }

    /// Whether a signature is known to be another provider's. That a provider made the same call is no sign of that: calls
    /// without ids are alike.
    fn is_foreign(&self, proof: &str, call: Option<&CallName>) -> bool {
        let Some(memory) = self.memory else { return false };
        let issued = |name: &CallName| (memory.find)(name).filter(|proofs| !memory.is_issuer(proofs));
        let Some(call) = call else { return issued(&CallName::of_signature(proof)).is_some() };
        issued(call).is_some_and(|proofs| {
            proofs.calls.iter().any(|(known, signature)| known == call && signature.as_deref() == Some(proof))
        })
    }
}
