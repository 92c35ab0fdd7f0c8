//! Reads the routing facts of a Messages request, in one pass over the raw body.

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Error, Feature, Result};

use crate::Intake;
use crate::intake::{check_kind, expect, whole};
use crate::json::{Kind, Members, Scanner, word};
use crate::protocols::call_ids::{LONGEST_KEPT, mark_of};

/// Reads a request. Errors name the field by its JSON path; values that only the provider can judge are
/// passed on.
pub(super) fn intake(body: &Bytes) -> Result<Intake> {
    let mut intake = Intake::empty(body);
    intake.scan(|intake, scanner, name| Reader { intake }.take_field(scanner, name))?;
    if intake.model.is_empty() {
        return Err(Error::invalid("model", "Field required: name a model such as \"provider/model\"."));
    }
    if intake.size.messages == 0 {
        return Err(Error::invalid("messages", "At least one message is required."));
    }
    intake.conversation = user_id(&intake);
    intake.service_tier = intake.text("service_tier");
    Ok(intake)
}

/// `metadata.user_id`: coding agents put their session id into it.
fn user_id(intake: &Intake) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        user_id: Option<Cow<'a, str>>,
    }
    let id = intake.read_as::<Metadata<'_>>("metadata")?.user_id?;
    Some(if id.len() <= LONGEST_KEPT { id.into_owned() } else { mark_of(&id) })
}

struct Reader<'r> {
    intake: &'r mut Intake,
}

impl Reader<'_> {
    fn take_field(&mut self, scanner: &mut Scanner<'_>, name: &str) -> Result<()> {
        let values = scanner.values();
        match name {
            "messages" => self.take_messages(scanner)?,
            "system" => self.take_content(scanner, "system")?,
            "tools" => self.intake.take_tools(scanner, "tools")?,
            _ => self.take_plain(scanner, name)?,
        }
        if matches!(name, "tools" | "output_config" | "output_format") {
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
            "max_tokens" => {
                let count = whole(raw).and_then(|count| u64::try_from(count).ok());
                let wrong = || Error::invalid("max_tokens", "max_tokens must be a whole number of tokens.");
                self.intake.max_output_tokens = Some(count.ok_or_else(wrong)?);
            }
            "output_format" => self.intake.needs.insert(Feature::JsonSchema),
            "output_config"
                if std::str::from_utf8(raw).is_ok_and(|raw| {
                    Members::of(raw)
                        .and_then(|members| members.get("format"))
                        .is_some_and(|format| format != "null")
                }) =>
            {
                self.intake.needs.insert(Feature::JsonSchema);
            }
            _ => {}
        }
        Ok(())
    }

    fn take_messages(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        expect(scanner, Kind::Array, || "messages".to_owned())?;
        scanner.array(|scanner, index| {
            self.intake.size.messages = index + 1;
            let path = || format!("messages[{index}]");
            expect(scanner, Kind::Object, path)?;
            let (mut has_role, mut has_content) = (false, false);
            scanner.object(|scanner, key| match &*word(scanner.json(), &key) {
                b"content" => {
                    has_content = true;
                    self.take_content(scanner, &format!("messages[{index}].content"))
                }
                b"role" => {
                    has_role = true;
                    expect(scanner, Kind::String, || format!("messages[{index}].role"))?;
                    Ok(scanner.value().map(drop)?)
                }
                _ => Ok(scanner.value().map(drop)?),
            })?;
            for (name, given) in [("role", has_role), ("content", has_content)] {
                if !given {
                    let path = format!("messages[{index}].{name}");
                    return Err(Error::invalid(path, "Field required."));
                }
            }
            Ok(())
        })
    }

    fn take_content(&mut self, scanner: &mut Scanner<'_>, path: &str) -> Result<()> {
        match scanner.kind()? {
            Kind::String => self.intake.take_text(scanner),
            Kind::Null => Ok(scanner.value().map(drop)?),
            Kind::Array => {
                self.intake.seen.content_lists = true;
                scanner.array(|scanner, index| {
                    expect(scanner, Kind::Object, || format!("{path}[{index}]"))?;
                    self.take_block(scanner)
                })
            }
            kind => {
                let message =
                    format!("{path} must be a string or a list of content blocks, not {}.", kind.name());
                Err(Error::invalid(path.to_owned(), message))
            }
        }
    }

    /// A block of content. Results of tools contain blocks themselves.
    fn take_block(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        let mut feature = None;
        let (mut has_source, mut is_text) = (false, false);
        scanner.object(|scanner, key| {
            let found = scanner.kind()?;
            match (&*word(scanner.json(), &key), found) {
                (b"type", Kind::String) => {
                    feature = match &*word(scanner.json(), &scanner.string()?) {
                        b"image" => Some(Feature::Vision),
                        b"document" => Some(Feature::Documents),
                        _ => None,
                    };
                    Ok(())
                }
                (b"source", Kind::Object) => {
                    has_source = true;
                    let start = scanner.position();
                    is_text = is_text_source(scanner)?;
                    if is_text {
                        self.intake.size.text_bytes += scanner.position() - start;
                    }
                    Ok(())
                }
                (b"content", Kind::Array) => scanner.array(|scanner, _| match scanner.kind()? {
                    Kind::Object => self.take_block(scanner),
                    _ => self.intake.take_text(scanner),
                }),
                _ => self.intake.take_text(scanner),
            }
        })?;
        if let Some(feature) = feature.filter(|_| has_source && !is_text) {
            self.intake.needs.insert(feature);
            self.intake.size.media_parts += 1;
        }
        Ok(())
    }
}

/// Reads the source of a block. Every model takes a text, which is no document where there are none.
fn is_text_source(scanner: &mut Scanner<'_>) -> Result<bool> {
    let mut is_text = false;
    scanner.object(|scanner, key| {
        match (&*word(scanner.json(), &key), scanner.kind()?) {
            (b"type", Kind::String) => {
                let name = scanner.string()?;
                is_text = matches!(&*word(scanner.json(), &name), b"text" | b"content");
            }
            _ => {
                scanner.value()?;
            }
        }
        Ok::<(), Error>(())
    })?;
    Ok(is_text)
}

fn check_field(name: &str, kind: Kind) -> Result<()> {
    let wanted = match name {
        "model" | "service_tier" => Kind::String,
        "stream" => Kind::Bool,
        "max_tokens" | "temperature" | "top_p" | "top_k" => Kind::Number,
        "stop_sequences" => Kind::Array,
        "metadata" | "thinking" | "tool_choice" | "output_config" | "output_format" => Kind::Object,
        _ => return Ok(()),
    };
    check_kind(name, kind, wanted)
}
