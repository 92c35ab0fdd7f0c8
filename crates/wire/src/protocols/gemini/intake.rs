//! Reads the routing facts of a `generateContent` request, in one pass over the raw body. Model and method
//! are in the URL.

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Error, ErrorKind, Feature, Result};
use serde::Deserialize;

use super::request::write::tools::camel_case;
use crate::intake::whole;
use crate::json::{Kind, Scanner, text_of, word};
use crate::{Addressed, AnswerForm, Intake};

/// Reads a request. Errors name the field by its JSON path; values that only the provider can judge are
/// passed on.
pub(super) fn intake(url: Addressed<'_>, body: &Bytes) -> Result<Intake> {
    let intake = read(url, body)?;
    if !intake.form.counts {
        return Ok(intake);
    }
    // A counting request may contain the whole request as a member.
    let whole = WHOLE_REQUEST.iter().find_map(|name| intake.non_null(name));
    match whole {
        Some(whole) => read(url, &body.slice_ref(whole)),
        None => Ok(intake),
    }
}

const WHOLE_REQUEST: [&str; 2] = ["generateContentRequest", "generate_content_request"];

fn read(url: Addressed<'_>, body: &Bytes) -> Result<Intake> {
    let mut intake = Intake::empty(body);
    if !url.rest.is_empty() {
        let (model, method) = url.rest.rsplit_once(':').unwrap_or((url.rest, ""));
        address(url, method, &mut intake.form)?;
        intake.address(model.strip_prefix("models/").unwrap_or(model))?;
    }
    intake.form.include_usage = true;
    intake.form.exclude_reasoning = true;
    intake.scan(|intake, scanner, name| Reader { intake }.take_field(scanner, name))?;
    Ok(intake)
}

/// Methods of Google's API other than conversations.
const NOT_SERVED: [&str; 9] = [
    "embedContent",
    "batchEmbedContents",
    "asyncBatchEmbedContent",
    "batchGenerateContent",
    "bidiGenerateContent",
    "generateAnswer",
    "computeTokens",
    "predict",
    "predictLongRunning",
];

/// The meaning of the URL's method.
fn address(url: Addressed<'_>, method: &str, form: &mut AnswerForm) -> Result<()> {
    match method {
        "generateContent" => {}
        "countTokens" => form.counts = true,
        "streamGenerateContent" => {
            form.stream = true;
            form.is_list = !asks_for_events(url.query);
        }
        _ => return Err(Error::caller(ErrorKind::NotFound, no_method(method))),
    }
    Ok(())
}

/// `alt=sse`; without it Google streams a list.
fn asks_for_events(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair.split_once('='), Some(("alt" | "%24alt" | "$alt", "sse"))))
}

fn no_method(method: &str) -> String {
    const SERVED: &str = "generateContent, streamGenerateContent and countTokens";
    let shown = &method[..method.floor_char_boundary(60)];
    match method {
        "" => format!("The path names no method after the model; the gateway serves {SERVED}."),
        method if NOT_SERVED.contains(&method) => {
            format!("The gateway does not serve {shown}; of Google's methods it serves {SERVED}.")
        }
        _ => format!("There is no method {shown:?}; of Google's methods the gateway serves {SERVED}."),
    }
}

/// The fields of `generationConfig` that decide which models can serve.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config<'a> {
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Option<serde_json::Number>,
    #[serde(alias = "candidate_count")]
    candidate_count: Option<serde_json::Number>,
    #[serde(borrow, alias = "response_mime_type")]
    response_mime_type: Option<Cow<'a, str>>,
    #[serde(alias = "response_schema")]
    response_schema: Option<serde::de::IgnoredAny>,
    #[serde(alias = "response_json_schema", alias = "_responseJsonSchema")]
    response_json_schema: Option<serde::de::IgnoredAny>,
    #[serde(alias = "response_logprobs")]
    response_logprobs: Option<bool>,
    #[serde(borrow, alias = "response_modalities")]
    response_modalities: Option<Vec<Cow<'a, str>>>,
    #[serde(alias = "thinking_config")]
    thinking_config: Option<Thinking>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Thinking {
    #[serde(alias = "include_thoughts")]
    include_thoughts: Option<bool>,
}

struct Reader<'r> {
    intake: &'r mut Intake,
}

impl Reader<'_> {
    fn take_field(&mut self, scanner: &mut Scanner<'_>, name: &str) -> Result<()> {
        let values = scanner.values();
        let given = name;
        let name = camel_case(name);
        let twin = |field: &str| field != given && camel_case(field) == name;
        if let Some((field, _)) = self.intake.fields().find(|(field, _)| twin(field)) {
            let message =
                format!("{given:?} and {field:?} are two spellings of one field, which is given twice.");
            return Err(Error::invalid(name, message));
        }
        match name.as_str() {
            "contents" => self.take_contents(scanner)?,
            "systemInstruction" => self.take_content(scanner)?,
            "tools" => self.take_tools(scanner)?,
            "generationConfig" => self.take_config(scanner)?,
            // In the URL the model takes precedence.
            "model" if self.intake.model.is_empty() && scanner.kind()? == Kind::String => {
                let text = scanner.string()?;
                let model = text_of(scanner.json(), &text).unwrap_or_default();
                self.intake.address(model.strip_prefix("models/").unwrap_or(&model))?;
            }
            "serviceTier" if scanner.kind()? == Kind::String => {
                let text = scanner.string()?;
                self.intake.service_tier = text_of(scanner.json(), &text).map(Cow::into_owned);
            }
            _ => {
                scanner.value()?;
            }
        }
        if matches!(name.as_str(), "tools" | "generationConfig") {
            self.intake.seen.schema_values += scanner.values() - values;
        }
        Ok(())
    }

    /// Turns; the service also accepts one in place of a list, and a bare text.
    fn take_contents(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        match scanner.kind()? {
            Kind::Array => scanner.array(|scanner, index| {
                self.intake.size.messages = index + 1;
                self.take_content(scanner)
            }),
            _ => {
                self.intake.size.messages = 1;
                self.take_content(scanner)
            }
        }
    }

    fn take_content(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        if scanner.kind()? != Kind::Object {
            return self.intake.take_text(scanner);
        }
        scanner.object(|scanner, key| match (&*word(scanner.json(), &key), scanner.kind()?) {
            (b"parts", Kind::Array) => scanner.array(|scanner, _| self.take_part(scanner)),
            (b"parts", _) => self.take_part(scanner),
            _ => Ok(scanner.value().map(drop)?),
        })
    }

    /// A part. Results of functions may contain parts with media themselves.
    fn take_part(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        if scanner.kind()? != Kind::Object {
            return self.intake.take_text(scanner);
        }
        scanner.object(|scanner, key| {
            let kind = scanner.kind()?;
            match (&*word(scanner.json(), &key), kind) {
                (b"inlineData" | b"inline_data" | b"fileData" | b"file_data", Kind::Object) => {
                    self.take_media(scanner)
                }
                (b"functionResponse" | b"function_response", Kind::Object) => self.take_content(scanner),
                _ => self.intake.take_text(scanner),
            }
        })
    }

    fn take_media(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        let mut feature = Feature::Documents;
        scanner.object(|scanner, key| match (&*word(scanner.json(), &key), scanner.kind()?) {
            (b"mimeType" | b"mime_type", Kind::String) => {
                let mime = word(scanner.json(), &scanner.string()?).to_ascii_lowercase();
                feature = match mime.split(|byte| *byte == b'/').next() {
                    Some(b"image") => Feature::Vision,
                    Some(b"audio") => Feature::AudioInput,
                    Some(b"video") => Feature::Video,
                    _ => Feature::Documents,
                };
                Ok::<(), Error>(())
            }
            _ => Ok(scanner.value().map(drop)?),
        })?;
        self.intake.needs.insert(feature);
        self.intake.size.media_parts += 1;
        Ok(())
    }

    fn take_tools(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        match scanner.kind()? {
            Kind::Array => scanner.array(|scanner, _| self.take_tool(scanner)),
            _ => self.take_tool(scanner),
        }
    }

    fn take_tool(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        if scanner.kind()? != Kind::Object {
            return self.intake.take_text(scanner);
        }
        scanner.object(|scanner, key| {
            match &*word(scanner.json(), &key) {
                b"functionDeclarations" | b"function_declarations" => {
                    self.intake.seen.tools = true;
                    self.intake.needs.insert(Feature::Tools);
                }
                b"googleSearch" | b"google_search" | b"googleSearchRetrieval" => {
                    self.intake.needs.insert(Feature::WebSearch);
                }
                _ => {}
            }
            self.intake.take_text(scanner)
        })
    }

    fn take_config(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        let raw = &scanner.json()[scanner.value()?];
        // A wrong type is reported when the whole request is read.
        let Ok(config) = serde_json::from_slice::<Config<'_>>(raw) else { return Ok(()) };
        let count = |number: Option<serde_json::Number>| whole(number?.to_string().as_bytes());
        self.intake.max_output_tokens =
            count(config.max_output_tokens).and_then(|count| u64::try_from(count).ok());
        let needs = [
            (Feature::MultipleChoices, count(config.candidate_count).is_some_and(|count| count > 1)),
            (Feature::Logprobs, config.response_logprobs == Some(true)),
            (Feature::JsonSchema, config.response_schema.is_some() || config.response_json_schema.is_some()),
            (Feature::JsonObject, config.response_mime_type.as_deref() == Some("application/json")),
        ];
        for (feature, _) in needs.into_iter().filter(|(_, is_needed)| *is_needed) {
            self.intake.needs.insert(feature);
        }
        for modality in config.response_modalities.iter().flatten() {
            match modality.to_ascii_uppercase().as_str() {
                "IMAGE" => self.intake.needs.insert(Feature::ImageOutput),
                "AUDIO" => self.intake.needs.insert(Feature::AudioOutput),
                _ => {}
            }
        }
        let includes_thoughts = config.thinking_config.and_then(|config| config.include_thoughts);
        self.intake.form.exclude_reasoning = includes_thoughts != Some(true);
        Ok(())
    }
}
