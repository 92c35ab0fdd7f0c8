//! Reads the routing facts of a Responses request, in one pass over the raw body.

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Error, Feature, Result};
use serde::Deserialize;

use crate::intake::{check_kind, expect, whole};
use crate::json::{Items, Kind, Scanner, Text, string, word};
use crate::{Intake, StoredAnswerUse};

/// Reads a request. Errors name the field by its JSON path; values that only the provider can judge are
/// passed on.
pub(super) fn intake(body: &Bytes) -> Result<Intake> {
    let mut intake = Intake::empty(body);
    intake.scan(|intake, scanner, name| Reader { intake }.take_field(scanner, name))?;
    if intake.model.is_empty() {
        return Err(Error::invalid(
            "model",
            "The field model is missing; name a model such as \"provider/model\".",
        ));
    }
    // A stored prompt or conversation can be the whole input.
    let is_without_context =
        ["prompt", "previous_response_id", "conversation"].iter().all(|name| intake.non_null(name).is_none());
    if intake.size.messages == 0 && is_without_context {
        return Err(Error::invalid(
            "input",
            "input is required: a string, or a list with at least one item.",
        ));
    }
    if intake.non_null("background") == Some(b"true") {
        let message = "Answers in the background are not served; leave out background and stream the answer.";
        return Err(Error::unsupported("background", message));
    }
    // Usage is in the last event of every stream.
    intake.form.include_usage = true;
    // An answer repeats parts of its request.
    intake.form.request = Some(body.clone());
    let names = ["prompt_cache_key", "safety_identifier", "user"];
    intake.conversation = names.into_iter().find_map(|name| intake.text(name));
    intake.service_tier = intake.text("service_tier");
    let conversation = conversation(&intake)?;
    let references = intake.keeping.take().map(|keeping| keeping.references).unwrap_or_default();
    intake.keeping = Some(Box::new(StoredAnswerUse {
        // As at OpenAI, answers are stored unless the request says no.
        store: intake.non_null("store") != Some(b"false"),
        previous: intake.text("previous_response_id"),
        references,
        conversation,
    }));
    Ok(intake)
}

/// The type of the format in `text`.
fn output_kind(text: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct TextSettings<'a> {
        #[serde(borrow)]
        format: OutputKind<'a>,
    }
    #[derive(Deserialize)]
    struct OutputKind<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    serde_json::from_slice::<TextSettings<'_>>(text).ok().map(|text| text.format.kind)
}

/// The id of the named conversation, given as a string or an object.
fn conversation(intake: &Intake) -> Result<Option<String>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Named {
        Id(String),
        Object { id: String },
    }
    let Some(raw) = intake.non_null("conversation") else { return Ok(None) };
    let Ok(Named::Id(id) | Named::Object { id }) = serde_json::from_slice(raw) else {
        let message = "conversation must be the id of a conversation, or an object with its id.";
        return Err(Error::invalid("conversation", message));
    };
    if intake.non_null("previous_response_id").is_some() {
        let message = "previous_response_id and conversation exclude each other: both name the conversation to continue.";
        return Err(Error::invalid("previous_response_id", message));
    }
    Ok(Some(id))
}

struct Reader<'r> {
    intake: &'r mut Intake,
}

impl Reader<'_> {
    fn take_field(&mut self, scanner: &mut Scanner<'_>, name: &str) -> Result<()> {
        let values = scanner.values();
        match name {
            "input" => self.take_input(scanner)?,
            "tools" => self.intake.take_tools(scanner, "tools")?,
            "instructions" => self.intake.take_text(scanner)?,
            _ => self.take_plain(scanner, name)?,
        }
        if matches!(name, "tools" | "text") {
            self.intake.seen.schema_values += scanner.values() - values;
        }
        Ok(())
    }

    fn take_plain(&mut self, scanner: &mut Scanner<'_>, name: &str) -> Result<()> {
        let kind = scanner.kind()?;
        let raw = &scanner.json()[scanner.value()?];
        if kind == Kind::Null && name != "model" {
            return Ok(());
        }
        check_field(name, kind)?;
        match name {
            "model" => self.intake.take_model(raw)?,
            "stream" => self.intake.form.stream = raw == b"true",
            "max_output_tokens" => {
                let count = whole(raw).and_then(|count| u64::try_from(count).ok());
                let message = "max_output_tokens must be a whole number of tokens.";
                self.intake.max_output_tokens =
                    Some(count.ok_or_else(|| Error::invalid(name.to_owned(), message))?);
            }
            "top_logprobs" if whole(raw) != Some(0) => self.intake.needs.insert(Feature::Logprobs),
            "include" => {
                let mut included = Items::of(std::str::from_utf8(raw).unwrap_or_default()).filter_map(string);
                if included.any(|name| name == "message.output_text.logprobs") {
                    self.intake.needs.insert(Feature::Logprobs);
                }
            }
            "text" => match output_kind(raw).as_deref() {
                Some("json_schema") => self.intake.needs.insert(Feature::JsonSchema),
                Some("json_object") => self.intake.needs.insert(Feature::JsonObject),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn take_input(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        match scanner.kind()? {
            Kind::String => {
                self.intake.size.messages = 1;
                self.intake.take_text(scanner)
            }
            Kind::Array => scanner.array(|scanner, index| {
                self.intake.size.messages = index + 1;
                expect(scanner, Kind::Object, || format!("input[{index}]"))?;
                self.take_item(scanner, index)
            }),
            Kind::Null => Ok(scanner.value().map(drop)?),
            kind => {
                let message = format!("input must be a string or a list of items, not {}.", kind.name());
                Err(Error::invalid("input", message))
            }
        }
    }

    fn take_item(&mut self, scanner: &mut Scanner<'_>, index: usize) -> Result<()> {
        let (mut is_reference, mut id) = (false, None);
        self.take_item_fields(scanner, index, |scanner, name, text| match name {
            b"type" => is_reference = &*word(scanner.json(), text) == b"item_reference",
            _ => id = Some(text.clone()),
        })?;
        if let Some(id) = id.filter(|_| is_reference) {
            let id = String::from_utf8_lossy(&word(scanner.json(), &id)).into_owned();
            self.intake.keeping.get_or_insert_default().references.push(id);
        }
        Ok(())
    }

    fn take_item_fields(
        &mut self,
        scanner: &mut Scanner<'_>,
        index: usize,
        mut note: impl FnMut(&Scanner<'_>, &[u8], &Text),
    ) -> Result<()> {
        scanner.object(|scanner, key| {
            let found = scanner.kind()?;
            match (&*word(scanner.json(), &key), found) {
                (name @ (b"type" | b"id"), Kind::String) => {
                    let start = scanner.position();
                    let text = scanner.string()?;
                    self.intake.size.text_bytes += scanner.position() - start;
                    note(scanner, name, &text);
                    Ok(())
                }
                (b"role", Kind::String) => {
                    let role = word(scanner.json(), &scanner.string()?).into_owned();
                    self.intake.seen.developer |= role == b"developer";
                    Ok(())
                }
                (b"content" | b"output", Kind::Array) => self.take_parts(scanner),
                // The tools of a tool search, and tools that are added within the input.
                (b"tools", Kind::Array) => self.intake.take_tools(scanner, &format!("input[{index}].tools")),
                // Encrypted thinking is not text, and counts little.
                (b"encrypted_content", _) => Ok(scanner.value().map(drop)?),
                _ => self.intake.take_text(scanner),
            }
        })
    }

    fn take_parts(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        scanner.array(|scanner, _| match scanner.kind()? {
            Kind::Object => self.take_part(scanner),
            _ => self.intake.take_text(scanner),
        })
    }

    fn take_part(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        let (mut feature, mut length) = (None, 0);
        scanner.object(|scanner, key| {
            let is_type = &*word(scanner.json(), &key) == b"type" && scanner.kind()? == Kind::String;
            if !is_type {
                length += scanner.value()?.len();
                return Ok(());
            }
            feature = match &*word(scanner.json(), &scanner.string()?) {
                b"input_image" | b"computer_screenshot" => Some(Feature::Vision),
                b"input_file" => Some(Feature::Documents),
                b"input_audio" => Some(Feature::AudioInput),
                _ => None,
            };
            Ok::<(), Error>(())
        })?;
        match feature {
            Some(feature) => {
                self.intake.needs.insert(feature);
                self.intake.size.media_parts += 1;
            }
            None => self.intake.size.text_bytes += length,
        }
        Ok(())
    }
}

fn check_field(name: &str, kind: Kind) -> Result<()> {
    let wanted = match name {
        "model"
        | "service_tier"
        | "prompt_cache_key"
        | "user"
        | "safety_identifier"
        | "previous_response_id" => Kind::String,
        "stream" | "store" | "parallel_tool_calls" | "background" => Kind::Bool,
        "max_output_tokens" | "max_tool_calls" | "temperature" | "top_p" | "top_logprobs" => Kind::Number,
        "include" => Kind::Array,
        "metadata" | "reasoning" | "text" => Kind::Object,
        _ => return Ok(()),
    };
    check_kind(name, kind, wanted)
}
