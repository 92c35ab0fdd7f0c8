//! A request between equal formats: the raw text with only the edits that the provider's quirks and the
//! model's facts require. Every edit that removes something is a loss.

use std::borrow::Cow;

use bytes::Bytes;
use canon::{
    Effort, Error, Feature, Losses, MaxTokensField, ReasoningControl, Result, StreamUsage, Target,
    WhenMissing,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::intake::WHOLE;
use super::thoughts::Recall;
use super::{has_tools_of, strictness};
use crate::json::{
    Edit, Items, Kind, List, Members, Scanner, append, push_escaped, push_key, quoted, string, word,
};
use crate::proofs::Memory;
use crate::protocols::call_ids::{Pairing, UniqueIds};
use crate::protocols::strict_schema::Unfit;
use crate::{DecoderContext, Encoded, Intake, ROUTING_FIELDS, TakenIds};

/// Space for additions: a longer model name, stream options.
const SPARE: usize = 160;

/// The request as the provider takes it.
pub fn forward(intake: &Intake, target: Target<'_>) -> Result<Encoded> {
    forward_with(intake, target, None)
}

/// The same, with remembered answers that the conversation quotes.
pub fn forward_with(intake: &Intake, target: Target<'_>, memory: Option<Memory<'_>>) -> Result<Encoded> {
    let Edited { edit, losses, decoding } = edited(intake, target, memory)?;
    Ok(Encoded { body: Bytes::from(edit.write(SPARE)), losses, decoding })
}

/// The same for a body that only the gateway holds, which is edited in place.
pub fn forward_own(body: Bytes, target: Target<'_>) -> Result<Encoded> {
    let intake = super::super::intake(&body)?;
    let Edited { edit, losses, decoding } = edited(&intake, target, None)?;
    let splices = edit.splices();
    drop(edit);
    drop(intake);
    Ok(Encoded { body: Bytes::from(splices.apply(Vec::from(body))), losses, decoding })
}

/// A request's edit.
struct Edited<'a> {
    edit: Edit<'a>,
    losses: Losses,
    decoding: DecoderContext,
}

fn edited<'a>(intake: &'a Intake, target: Target<'a>, memory: Option<Memory<'_>>) -> Result<Edited<'a>> {
    let mut forward =
        Forward { intake, target, edit: intake.edit(), messages: None, losses: Losses::new(), thinks: false };
    forward.refuse_what_is_lacking()?;
    forward.edit.set("model", &quoted(target.model));
    forward.leave_out_what_says_nothing();
    forward.stream_options();
    forward.whole_numbers();
    forward.output_limit();
    forward.reasoning();
    forward.thoughts(memory);
    forward.messages()?;
    forward.response_format()?;
    forward.tool_choice();
    forward.refused_fields();
    forward.tools();
    if let Some(messages) = forward.messages.take() {
        forward.edit.put("messages", messages);
    }
    Ok(Edited {
        edit: forward.edit,
        losses: forward.losses,
        decoding: DecoderContext {
            cached_outside_prompt: target.quirks.counts_cached_outside(target.model),
            taken_ids: called(intake),
            ..DecoderContext::default()
        },
    })
}

/// The ids of the conversation's calls.
fn called(intake: &Intake) -> TakenIds {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow, default)]
        tool_call_id: Option<Cow<'a, str>>,
    }
    let Some(messages) = intake.field("messages").filter(|_| intake.seen.tools) else {
        return TakenIds::default();
    };
    if !intake.mentions(messages, "tool_call_id") {
        return TakenIds::default();
    }
    let messages: List<'_, Message<'_>> = serde_json::from_slice(messages).unwrap_or_default();
    messages.iter().filter_map(|message| message.ok()?.tool_call_id).collect()
}

struct Forward<'a> {
    intake: &'a Intake,
    target: Target<'a>,
    edit: Edit<'a>,
    /// The messages, when they differ from the caller's.
    messages: Option<Vec<u8>>,
    losses: Losses,
    /// The model will think about this request, according to the catalog.
    thinks: bool,
}

const MODEL_LACKS: &str = "The model does not accept this parameter.";
const THINKING_LACKS: &str = "The model does not accept this parameter while it thinks.";
const PROVIDER_LACKS: &str = "The provider does not accept this parameter.";

impl Forward<'_> {
    fn refuse_what_is_lacking(&self) -> Result<()> {
        let Some(features) = self.target.facts.features else { return self.refuse_many() };
        match self
            .intake
            .needs
            .minus(features)
            .iter()
            .find(|feature| feature.when_missing() == WhenMissing::Refused)
        {
            Some(feature) => Err(lacking(feature, self.target.model)),
            None => self.refuse_many(),
        }
    }

    fn refuse_many(&self) -> Result<()> {
        if self.target.quirks.single_choice && self.intake.needs.has(Feature::MultipleChoices) {
            Err(lacking(Feature::MultipleChoices, self.target.model))
        } else {
            Ok(())
        }
    }

    /// Removes nulls, empty tool lists and tool settings without tools: OpenAI and others refuse them.
    fn leave_out_what_says_nothing(&mut self) {
        if !self.target.quirks.takes_routing_fields {
            // The gateway itself has read them.
            for name in ROUTING_FIELDS {
                self.edit.remove(name);
            }
        }
        for (name, value) in self.intake.fields() {
            if value == b"null" {
                self.edit.remove(name);
            }
        }
        if !self.intake.seen.tools && self.intake.field("tools").is_some() {
            for name in ["tools", "tool_choice", "parallel_tool_calls"] {
                self.edit.remove(name);
            }
        }
    }

    /// Usage is always requested: the gateway meters it even when the caller does not want it.
    fn stream_options(&mut self) {
        if !self.intake.form.stream {
            return;
        }
        match self.target.quirks.stream_usage {
            StreamUsage::Always => {}
            StreamUsage::Refused => {
                let given: Map<String, Value> = self.intake.read_as("stream_options").unwrap_or_default();
                self.edit.remove("stream_options");
                if given.iter().any(|(name, value)| name != "include_usage" && !value.is_null()) {
                    self.losses.dropped("stream_options", PROVIDER_LACKS);
                }
            }
            StreamUsage::OnRequest if self.intake.seen.stream_usage => {}
            StreamUsage::OnRequest => {
                let mut options: Map<String, Value> =
                    self.intake.read_as("stream_options").unwrap_or_default();
                options.insert("include_usage".to_owned(), Value::Bool(true));
                self.edit.set("stream_options", &bytes_of(&options));
            }
        }
    }

    fn output_limit(&mut self) {
        let (old, new) = ("max_tokens", "max_completion_tokens");
        let (from, to) = match self.target.quirks.max_tokens_field {
            MaxTokensField::MaxTokens => (new, old),
            MaxTokensField::MaxCompletionTokens => (old, new),
            MaxTokensField::AsSent if self.target.facts.rejects(old) => (old, new),
            MaxTokensField::AsSent => return,
        };
        if let Some(limit) = self.intake.non_null(from) {
            if self.edit.has(to) {
                self.edit.remove(from);
            } else {
                match self.plain_whole(from) {
                    Some(plain) => self.edit.rename(from, to, plain.as_bytes()),
                    None => self.edit.rename(from, to, limit),
                }
            }
        }
    }

    /// `100.0` and `1e2` are written as 100: the result of another notation depends on the provider's parser.
    fn whole_numbers(&mut self) {
        for name in WHOLE {
            if let Some(plain) = self.plain_whole(name) {
                self.edit.set(name, plain.as_bytes());
            }
        }
    }

    /// A whole number in digits, if it exists in another notation.
    fn plain_whole(&self, name: &str) -> Option<String> {
        let raw = self.intake.non_null(name)?;
        let is_plain = raw.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
        if is_plain { None } else { self.intake.whole(name).map(|number| number.to_string()) }
    }

    /// Translates the caller's settings for thinking (`reasoning_effort`, and the members of a `reasoning`
    /// object) to those of the model. The object is a router's: a provider that does not take it gets only
    /// its meaning.
    fn reasoning(&mut self) {
        let facts = self.target.facts;
        let object: Option<Map<String, Value>> = self.intake.read_as("reasoning");
        let Some(control) = &facts.reasoning else {
            self.thinks = facts.thinks_by_default;
            // The gateway itself removes the thinking from the answer.
            let is_served = |object: Map<String, Value>| object.keys().all(|name| name == "exclude");
            if !self.target.quirks.takes_routing_fields && object.is_some_and(is_served) {
                self.edit.remove("reasoning");
            }
            return;
        };
        let takes_object =
            matches!(control, ReasoningControl::Object { .. }) || self.target.quirks.takes_routing_fields;
        let given = GivenReasoning::of(self.intake, object.as_ref(), takes_object, facts.thinks_by_default);
        let asked = given.as_ref().map(|given| given.effort);
        self.thinks = self.will_think(control, asked);
        if object.is_some() && !takes_object {
            self.edit.remove("reasoning");
            self.lose_members(object.as_ref());
        }
        if self.thinks && self.excludes_thinking(asked.is_some()) && can_disable(control) {
            return self.stop_thinking(given.map(|given| given.field), control);
        }
        let Some(given @ GivenReasoning { effort: Some(effort), .. }) = given else { return };
        if takes_object && given.field != "reasoning_effort" {
            return;
        }
        match control_fields(control, effort, given.budget) {
            Some(fields) => self.set_reasoning(&given, effort, fields),
            None => {
                self.edit.remove(given.member_of());
                // Such a model does not think by default, unless it never does.
                if effort != Effort::None || *control == ReasoningControl::Always {
                    self.losses.dropped(given.field, "The model does not allow control of its thinking.");
                }
            }
        }
    }

    /// Reports the members of a `reasoning` object that have a meaning only for routers.
    fn lose_members(&mut self, object: Option<&Map<String, Value>>) {
        const READ: [&str; 4] = ["effort", "max_tokens", "exclude", "enabled"];
        for (name, value) in object.into_iter().flatten() {
            if !READ.contains(&name.as_str()) && !value.is_null() {
                self.losses.dropped(format!("reasoning.{name}"), "The provider has no such parameter.");
            }
        }
    }

    /// Whether the model thinks about this request. `asked` is the caller's effort.
    fn will_think(&self, control: &ReasoningControl, asked: Option<Option<Effort>>) -> bool {
        let facts = self.target.facts;
        let matters = !facts.rejects_thinking.is_empty() || facts.functions_exclude_thinking;
        match (control, asked) {
            (ReasoningControl::None, _) => false,
            (ReasoningControl::Always, _) => true,
            (_, Some(effort)) => effort != Some(Effort::None) || !can_disable(control),
            (_, None) if matters => self.switched().unwrap_or(facts.thinks_by_default),
            (_, None) => facts.thinks_by_default,
        }
    }

    /// The caller switches thinking on or off with a field that only some providers have.
    fn switched(&self) -> Option<bool> {
        let object = |name: &str| self.intake.read_as::<Map<String, Value>>(name);
        let by_type = || Some(object("thinking")?.get("type")?.as_str()? != "disabled");
        let by_object = || object("reasoning")?.get("enabled")?.as_bool();
        let by_template = || {
            let fields = object("chat_template_kwargs")?;
            fields.get("enable_thinking").or_else(|| fields.get("thinking"))?.as_bool()
        };
        by_type()
            .or_else(by_object)
            .or_else(|| self.intake.read_as::<bool>("enable_thinking"))
            .or_else(by_template)
    }

    /// The request contains fields that the model refuses while it thinks and that are more important to the
    /// caller: function tools for some models, and a forced call where the request does not ask for thinking.
    fn excludes_thinking(&self, is_asked: bool) -> bool {
        let facts = self.target.facts;
        let by_functions = facts.functions_exclude_thinking && self.has_functions();
        let is_asked = || is_asked || self.switched() == Some(true);
        by_functions || (rejects_forced(&facts.rejects_thinking) && self.forces_a_call() && !is_asked())
    }

    fn has_functions(&self) -> bool {
        has_tools_of(self.intake, "function")
    }

    fn forces_a_call(&self) -> bool {
        let choice = self.intake.read_as::<Value>("tool_choice");
        choice.is_some_and(|choice| choice == "required" || choice.is_object())
    }

    /// Switches thinking off.
    fn stop_thinking(&mut self, asked: Option<&'static str>, control: &ReasoningControl) {
        self.thinks = false;
        if let Some(field) = asked {
            self.edit.remove(field);
            self.losses.dropped(field, "The model does not think when the request has function tools.");
        }
        for (name, value) in control_fields(control, Effort::None, None).into_iter().flatten() {
            self.edit.set(name, &bytes_of(&value));
        }
    }

    fn set_reasoning(&mut self, given: &GivenReasoning, asked: Effort, fields: Vec<(&'static str, Value)>) {
        let kept = match given.budget {
            Some(budget) => fields.iter().any(|(_, value)| value["budget_tokens"].as_u64() == Some(budget)),
            None => fields.iter().any(|(name, value)| {
                (*name == "reasoning_effort" && value == asked.as_str()) || matches!(value, Value::Object(_))
            }),
        };
        if !kept {
            self.losses
                .approximated(given.field, "The model accepts levels of effort: the nearest was sent.");
        }
        let member = given.member_of();
        if !fields.iter().any(|(name, _)| *name == member) {
            self.edit.remove(member);
        }
        for (name, value) in fields {
            if self.intake.string(name).as_deref() != value.as_str() || value.as_str().is_none() {
                self.edit.set(name, &bytes_of(&value));
            }
        }
    }

    fn response_format(&mut self) -> Result<()> {
        let quirks = self.target.quirks;
        // Only the type: a schema can have any size.
        let Some(format) = self.intake.read_as::<FormatType<'_>>("response_format") else { return Ok(()) };
        let wanted = format.kind.as_deref().unwrap_or("text");
        if wanted == "text" {
            return Ok(());
        }
        if quirks.no_tools_with_response_format && self.intake.seen.tools {
            self.edit.remove("response_format");
            self.losses.emulated(
                "response_format",
                "The provider does not combine this format with tools: an instruction asks the model for it.",
            );
            self.instruct();
            return Ok(());
        }
        let facts = self.target.facts;
        let lacks_schema = quirks.no_json_schema || !facts.allows(Feature::JsonSchema);
        let lacks = if wanted == "json_schema" { lacks_schema } else { !facts.allows(Feature::JsonObject) };
        if lacks {
            if facts.allows(Feature::JsonObject) {
                self.edit.set("response_format", br#"{"type":"json_object"}"#);
            } else {
                self.edit.remove("response_format");
            }
            self.losses.emulated(
                "response_format",
                "The model has no such output format: an instruction asks the model for it.",
            );
            self.instruct();
            return Ok(());
        }
        if facts.strict_subset {
            self.strict_format();
        }
        Ok(())
    }

    /// A schema that the model would refuse to enforce is sent without `strict`: the model then sees it
    /// without enforcing it.
    fn strict_format(&mut self) {
        const FIELD: &str = "response_format";
        let Some(raw) = self.intake.non_null(FIELD).filter(|raw| self.intake.mentions(raw, "strict")) else {
            return;
        };
        match strictness::format(raw) {
            None => {}
            // A schema that is not an object is refused even when it is not enforced.
            Some((_, Unfit::Root)) => {
                self.edit.remove(FIELD);
                self.losses.emulated(FIELD, Unfit::Root.reason());
                self.instruct();
            }
            Some((text, unfit)) => {
                self.edit.put(FIELD, text);
                self.losses.dropped("response_format.json_schema.strict", unfit.reason());
            }
        }
    }

    /// Adds a system message that asks for the JSON that the provider has no field for.
    fn instruct(&mut self) {
        let format: Value = self.intake.read_as("response_format").unwrap_or_default();
        let content = json_instruction(&format["json_schema"]["schema"]);
        let raw = self.raw_messages().trim_ascii_start();
        let mut messages = Vec::with_capacity(raw.len() + content.len() + 64);
        messages.push(b'[');
        messages.extend_from_slice(&bytes_of(&json!({"role": "system", "content": content})));
        messages.push(b',');
        messages.extend_from_slice(raw.get(1..).unwrap_or_default());
        self.messages = Some(messages);
    }

    fn tool_choice(&mut self) {
        let Some(choice) = self.intake.read_as::<Value>("tool_choice") else { return };
        let quirks = self.target.quirks;
        let forced = choice == "required" || choice.is_object();
        let facts = self.target.facts;
        let is_refused = quirks.no_forced_tool_choice || rejects_forced(&facts.rejects);
        if forced && is_refused {
            self.edit.set("tool_choice", b"\"auto\"");
            self.losses.approximated("tool_choice", "The model cannot be forced to call a tool.");
        } else if forced && self.thinks && rejects_forced(&facts.rejects_thinking) {
            self.edit.set("tool_choice", b"\"auto\"");
            self.losses.approximated("tool_choice", "A model that thinks cannot be forced to call a tool.");
        } else if let (true, Some(word)) = (choice == "required", &quirks.required_tool_choice) {
            self.edit.set("tool_choice", &quoted(word));
        }
    }

    fn refused_fields(&mut self) {
        let (facts, quirks) = (self.target.facts, self.target.quirks);
        for (name, new_name) in &quirks.rename {
            if let Some(value) = self.intake.non_null(name) {
                if self.edit.has(new_name) {
                    self.losses
                        .dropped(new_name.clone(), "The request also has this field under its other name.");
                }
                self.edit.rename(name, new_name, value);
            }
        }
        let while_thinking: &[String] = if self.thinks { &facts.rejects_thinking } else { &[] };
        for (list, reason) in [
            (&quirks.drop[..], PROVIDER_LACKS),
            (&facts.rejects, MODEL_LACKS),
            (while_thinking, THINKING_LACKS),
        ] {
            for name in list.iter().filter(|name| *name != TOOL_CHOICE) {
                let says_nothing = self.intake.non_null(name).is_some_and(|value| is_default(name, value));
                if says_nothing && !quirks.refuses_defaults {
                    continue;
                }
                if self.edit.remove(name) && !says_nothing {
                    self.losses.dropped(name.clone(), reason);
                }
            }
        }
    }

    /// Thinking in the assistant's messages, in the field that the provider reads.
    fn thoughts(&mut self, memory: Option<Memory<'_>>) {
        let quirks = self.target.quirks;
        let Some(field) = &quirks.reasoning_field else { return };
        let thinks = self.thinks();
        let recall = Recall {
            field,
            stand_in: quirks.reasoning_stand_in.as_deref().filter(|_| thinks),
            memory: memory.filter(|_| thinks),
            looks_closely: self.intake.mentions(b"", ""),
        };
        let mut losses = std::mem::take(&mut self.losses);
        self.messages = recall.messages(self.raw_messages(), &mut losses);
        self.losses = losses;
    }

    /// False when the model certainly does not think about this request.
    fn thinks(&self) -> bool {
        let effort = self.intake.string("reasoning_effort");
        let in_object = || {
            let object = self.intake.read_as::<Map<String, Value>>("reasoning");
            object.is_some_and(|object| object.get("effort").is_some_and(|effort| effort == "none"))
        };
        let switched_off = effort.as_deref() == Some("none") || self.switched() == Some(false) || in_object();
        !switched_off && self.target.facts.reasoning != Some(ReasoningControl::None)
    }

    fn messages(&mut self) -> Result<()> {
        let quirks = self.target.quirks;
        let rename_developer = quirks.no_developer_role && self.intake.seen.developer;
        let taken = self.messages.take();
        let raw = taken.as_deref().or(self.intake.field("messages")).unwrap_or(b"[]");
        let has = |name: &String| self.mentions(raw, name, taken.is_some());
        let in_calls = |name: &String| self.intake.seen.tools && self.intake.mentions(raw, name);
        let touched = rename_developer
            || quirks.drop_message_fields.iter().any(has)
            || quirks.drop_call_fields.iter().any(in_calls)
            || quirks.string_content
            || quirks.short_tool_call_ids;
        if !touched {
            self.messages = taken;
            return Ok(());
        }
        let mut ids = quirks.short_tool_call_ids.then(ShortIds::default);
        // Short ids may be longer than the caller's. A list that grows is held twice.
        let more =
            if ids.is_some() && self.intake.mentions(raw, "tool_call_id") { raw.len() / 16 } else { 0 };
        let mut out = Vec::with_capacity(raw.len() + more);
        out.push(b'[');
        Scanner::new(raw).array(|scanner, index| {
            let message = &raw[scanner.value()?];
            if index > 0 {
                append(&mut out, b",");
            }
            self.repair_message(index, message, &mut ids, &mut out)
        })?;
        append(&mut out, b"]");
        self.messages = Some(out);
        Ok(())
    }

    /// Whether messages may have a field: most have only the common ones, which the intake knows.
    fn mentions(&self, messages: &[u8], name: &str, were_edited: bool) -> bool {
        let is_common = matches!(name, "role" | "content" | "tool_calls");
        let may_be = is_common || were_edited || self.intake.seen.further_fields;
        may_be && self.intake.mentions(messages, name)
    }

    /// Appends a message as the provider takes it. It is never parsed into values: a list of many parts or
    /// calls would take many times its text.
    fn repair_message(
        &mut self,
        index: usize,
        message: &[u8],
        ids: &mut Option<ShortIds>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if let Some(ids) = ids
            && matches!(role_of(message)?.as_deref(), Some("user" | "tool"))
        {
            ids.pairing.turn_ends();
        }
        let quirks = self.target.quirks;
        rewrite(message, out, |name, value, out| {
            if quirks.drop_message_fields.iter().any(|dropped| dropped == name) {
                if value != b"null" {
                    self.losses.dropped(format!("messages[{index}].{name}"), PROVIDER_LACKS);
                }
                return Ok(FieldAction::Leave);
            }
            Ok(match name {
                "role" if quirks.no_developer_role && text(value).as_deref() == Some("developer") => {
                    FieldAction::Replace(br#""system""#.to_vec())
                }
                "content" if quirks.string_content => {
                    joined_texts(value).map_or(FieldAction::Keep, FieldAction::Replace)
                }
                "tool_call_id" => match (ids.as_mut(), text(value)) {
                    (Some(ids), Some(id)) => FieldAction::Replace(quoted(&ids.result(&id))),
                    _ => FieldAction::Keep,
                },
                "tool_calls" if ids.is_some() || !quirks.drop_call_fields.is_empty() => {
                    self.repair_calls(index, value, ids, out)?;
                    FieldAction::Written
                }
                _ => FieldAction::Keep,
            })
        })
    }

    fn repair_calls(
        &mut self,
        index: usize,
        calls: &[u8],
        ids: &mut Option<ShortIds>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut scanner = Scanner::new(calls);
        if scanner.kind()? != Kind::Array {
            append(out, calls);
            return Ok(());
        }
        append(out, b"[");
        scanner.array(|scanner, position| {
            let call = &calls[scanner.value()?];
            if position > 0 {
                append(out, b",");
            }
            let mut has_id = false;
            rewrite(call, out, |name, value, _| {
                if self.target.quirks.drop_call_fields.iter().any(|dropped| dropped == name) {
                    if value != b"null" {
                        let field = format!("messages[{index}].tool_calls[{position}].{name}");
                        self.losses.dropped(field, PROVIDER_LACKS);
                    }
                    return Ok(FieldAction::Leave);
                }
                match ids {
                    Some(ids) if name == "id" => {
                        has_id = true;
                        Ok(FieldAction::Replace(quoted(ids.call(&text(value).unwrap_or_default()))))
                    }
                    _ => Ok(FieldAction::Keep),
                }
            })?;
            if let (Some(ids), false, Some(b'}')) = (ids.as_mut(), has_id, out.last()) {
                out.pop();
                push_key(out, "id");
                append(out, &quoted(ids.call("")));
                append(out, b"}");
            }
            Ok::<(), Error>(())
        })?;
        append(out, b"]");
        Ok(())
    }

    fn tools(&mut self) {
        if !self.intake.seen.tools {
            return;
        }
        let Some(raw) = self.intake.non_null("tools") else { return };
        let relaxed = self.relaxed_tools(raw);
        let shortened = self.without_fields(relaxed.as_deref().unwrap_or(raw));
        if let Some(tools) = shortened.or(relaxed) {
            self.edit.put("tools", tools);
        }
    }

    /// The tools without `strict` where the model would refuse to enforce their parameters. None if nothing
    /// changes.
    fn relaxed_tools(&mut self, raw: &[u8]) -> Option<Vec<u8>> {
        if !self.target.facts.strict_subset || !self.intake.mentions(raw, "strict") {
            return None;
        }
        let relaxed = strictness::tools(raw)?;
        for (index, unfit) in relaxed.reasons {
            self.losses.dropped(format!("tools[{index}].function.strict"), unfit.reason());
        }
        Some(relaxed.text)
    }

    /// The tools without fields that the provider does not take. None if nothing changes.
    fn without_fields(&mut self, raw: &[u8]) -> Option<Vec<u8>> {
        let fields = &self.target.quirks.drop_tool_fields;
        let mentioned: Vec<_> = fields.iter().filter(|name| self.intake.mentions(raw, name)).collect();
        if mentioned.is_empty() {
            return None;
        }
        let mut changed = false;
        let tools = each_item(raw, "tools", |index, tool| {
            let Some(function) = tool.get_mut("function").and_then(Value::as_object_mut) else { return };
            for name in &mentioned {
                if function.shift_remove(name.as_str()).is_some_and(|value| !value.is_null()) {
                    changed = true;
                    self.losses.dropped(format!("tools[{index}].function.{name}"), PROVIDER_LACKS);
                }
            }
        });
        tools.ok().filter(|_| changed)
    }

    fn raw_messages(&self) -> &[u8] {
        match &self.messages {
            Some(messages) => messages,
            None => self.intake.field("messages").unwrap_or(b"[]"),
        }
    }
}

/// The type of a response format.
#[derive(serde::Deserialize)]
struct FormatType<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

/// The treatment of a field.
enum FieldAction {
    Keep,
    Leave,
    Replace(Vec<u8>),
    /// The value has been appended.
    Written,
}

/// Appends an object field by field, each as `decide` returns; it may append the value itself.
fn rewrite(
    json: &[u8],
    out: &mut Vec<u8>,
    mut decide: impl FnMut(&str, &[u8], &mut Vec<u8>) -> Result<FieldAction>,
) -> Result<()> {
    let mut scanner = Scanner::new(json);
    if scanner.kind()? != Kind::Object {
        append(out, json);
        return Ok(());
    }
    append(out, b"{");
    scanner.object(|scanner, key| {
        let value = &json[scanner.value()?];
        let name = String::from_utf8_lossy(&word(json, &key)).into_owned();
        let before = out.len();
        if out.last() != Some(&b'{') {
            append(out, b",");
        }
        append(out, &json[key.range.start - 1..key.range.end + 1]);
        append(out, b":");
        match decide(&name, value, out)? {
            FieldAction::Keep => append(out, value),
            FieldAction::Leave => out.truncate(before),
            FieldAction::Replace(value) => append(out, &value),
            FieldAction::Written => {}
        }
        Ok::<(), Error>(())
    })?;
    append(out, b"}");
    Ok(())
}

/// The value of a string.
fn text(json: &[u8]) -> Option<Cow<'_, str>> {
    string(std::str::from_utf8(json).ok()?)
}

fn role_of(message: &[u8]) -> Result<Option<String>> {
    let mut scanner = Scanner::new(message);
    let mut role = None;
    if scanner.kind()? == Kind::Object {
        scanner.object(|scanner, key| {
            let value = &message[scanner.value()?];
            if &*word(message, &key) == b"role" {
                role = text(value).map(Cow::into_owned);
            }
            Ok::<(), Error>(())
        })?;
    }
    Ok(role)
}

/// Parts that all have a text, as one string of paragraphs.
fn joined_texts(content: &[u8]) -> Option<Vec<u8>> {
    let content = std::str::from_utf8(content).ok().filter(|content| content.starts_with('['))?;
    let mut joined = Vec::with_capacity(content.len());
    joined.push(b'"');
    for (position, part) in Items::of(content).enumerate() {
        if position > 0 {
            joined.extend_from_slice(b"\\n");
        }
        push_escaped(&mut joined, &string(Members::of(part)?.get("text")?)?);
    }
    joined.push(b'"');
    Some(joined)
}

/// The changed items of an array. Only one is parsed at a time: as values they take many times their text.
fn each_item(raw: &[u8], field: &'static str, mut change: impl FnMut(usize, &mut Value)) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(raw.len());
    out.push(b'[');
    Scanner::new(raw).array(|scanner, index| {
        let range = scanner.value()?;
        let mut item: Value = serde_json::from_slice(&raw[range])
            .map_err(|_| Error::invalid(field, format!("{field}[{index}] cannot be read.")))?;
        change(index, &mut item);
        if index > 0 {
            out.push(b',');
        }
        let written = serde_json::to_writer(&mut out, &item);
        debug_assert!(written.is_ok(), "writing to memory");
        Ok::<(), Error>(())
    })?;
    out.push(b']');
    Ok(out)
}

/// An entry of a model's refused fields: a forced choice. A free one is accepted.
const TOOL_CHOICE: &str = "tool_choice";

fn rejects_forced(rejected: &[String]) -> bool {
    rejected.iter().any(|name| name == TOOL_CHOICE)
}

/// Values of refused fields that are the default: their removal is not a loss. Models whose only accepted
/// value is another one refuse them too.
fn is_default(name: &str, value: &[u8]) -> bool {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<f64>().ok());
    match name {
        "temperature" | "top_p" | "n" => number == Some(1.0),
        "presence_penalty" | "frequency_penalty" => number == Some(0.0),
        "logprobs" => value == b"false",
        "stop" => value.strip_prefix(b"[").is_some_and(|end| end.trim_ascii() == b"]"),
        _ => false,
    }
}

fn lacking(feature: Feature, model: &str) -> Error {
    let param = match feature {
        Feature::Tools => "tools",
        Feature::MultipleChoices => "n",
        Feature::Logprobs => "logprobs",
        Feature::Streaming => "stream",
        Feature::WebSearch => "web_search_options",
        Feature::AudioOutput | Feature::ImageOutput => "modalities",
        Feature::JsonSchema | Feature::JsonObject => "response_format",
        _ => "messages",
    };
    Error::unsupported(
        param,
        format!(
            "The model {model} does not support {}; choose another model or leave it out.",
            feature.as_str()
        ),
    )
}

/// The caller's amount of thinking.
struct GivenReasoning {
    /// The field with it, as losses name it.
    field: &'static str,
    /// None for an unknown level.
    effort: Option<Effort>,
    /// Tokens, where they are given instead of a level.
    budget: Option<u64>,
}

impl GivenReasoning {
    /// Reads `reasoning_effort`, else the object's `effort`. The object's `max_tokens` and `enabled` are read
    /// only where the provider does not take the object.
    fn of(
        intake: &Intake,
        object: Option<&Map<String, Value>>,
        takes_object: bool,
        thinks_by_default: bool,
    ) -> Option<Self> {
        let level = |field, name: &str| Self { field, effort: Effort::parse(name), budget: None };
        if let Some(name) = intake.string("reasoning_effort") {
            return Some(level("reasoning_effort", &name));
        }
        let object = object?;
        if let Some(name) = object.get("effort").and_then(Value::as_str) {
            return Some(level("reasoning", name));
        }
        if takes_object {
            return None;
        }
        let budget = object.get("max_tokens").and_then(Value::as_u64);
        let effort = match (object.get("enabled").and_then(Value::as_bool), budget) {
            (Some(false), _) => Effort::None,
            (_, Some(tokens)) => Effort::of_budget(tokens).min(Effort::Xhigh),
            (Some(true), None) if !thinks_by_default => Effort::Medium,
            _ => return None,
        };
        let budget = budget.filter(|_| effort != Effort::None);
        let field = if budget.is_some() { "reasoning.max_tokens" } else { "reasoning" };
        Some(Self { field, effort: Some(effort), budget })
    }

    /// The top-level field of the request with it.
    fn member_of(&self) -> &'static str {
        self.field.split('.').next().unwrap_or(self.field)
    }
}

/// Thinking can be switched off.
fn can_disable(control: &ReasoningControl) -> bool {
    match control {
        ReasoningControl::None | ReasoningControl::Always => false,
        ReasoningControl::Effort { levels } => levels.contains(&Effort::None),
        ReasoningControl::Budget { can_disable, .. } | ReasoningControl::Toggle { can_disable, .. } => {
            *can_disable
        }
        ReasoningControl::EnableThinking | ReasoningControl::ChatTemplate { .. } => true,
        ReasoningControl::Object { levels } => levels.is_empty() || levels.contains(&Effort::None),
    }
}

/// The fields that request an effort, or a number of thinking tokens; none if the model has no control.
fn control_fields(
    control: &ReasoningControl,
    effort: Effort,
    tokens: Option<u64>,
) -> Option<Vec<(&'static str, Value)>> {
    let on = effort != Effort::None;
    let word =
        |levels: &[Effort]| effort.nearest(levels).map(|level| ("reasoning_effort", level.as_str().into()));
    Some(match control {
        ReasoningControl::None | ReasoningControl::Always => return None,
        ReasoningControl::Effort { levels } => vec![word(levels)?],
        ReasoningControl::Budget { can_disable: true, .. } if !on => {
            vec![("thinking", json!({"type": "disabled"}))]
        }
        ReasoningControl::Budget { min, max, .. } => vec![(
            "thinking",
            json!({"type": "enabled", "budget_tokens": tokens.unwrap_or(budget(effort)).clamp(*min, *max)}),
        )],
        ReasoningControl::Toggle { can_disable, levels } => {
            let kind = if on || !can_disable { "enabled" } else { "disabled" };
            let mut fields = vec![("thinking", json!({ "type": kind }))];
            if kind == "enabled" {
                fields.extend(word(levels));
            }
            fields
        }
        ReasoningControl::EnableThinking => vec![("enable_thinking", on.into())],
        ReasoningControl::ChatTemplate { key } => {
            vec![("chat_template_kwargs", json!({ key.as_str(): on }))]
        }
        ReasoningControl::Object { levels } => match effort.nearest(levels) {
            Some(level) => vec![("reasoning", json!({"effort": level.as_str()}))],
            None => vec![("reasoning", json!({ "enabled": on }))],
        },
    })
}

/// Thinking tokens for an effort where a model takes a number.
pub(crate) fn budget(effort: Effort) -> u64 {
    match effort {
        Effort::None => 0,
        Effort::Minimal => 1024,
        Effort::Low => 2048,
        Effort::Medium => 8192,
        Effort::High => 16384,
        Effort::Xhigh | Effort::Max => 32768,
    }
}

/// The instruction that replaces a response format.
pub(crate) fn json_instruction(schema: &Value) -> String {
    match schema {
        Value::Null => "Answer with a JSON object and nothing else.".to_owned(),
        schema => format!("Answer with JSON and nothing else. It must fit this JSON schema: {schema}"),
    }
}

/// Nine letters or digits for every call id, distinct for distinct calls.
struct ShortIds {
    pairing: Pairing<'static>,
    unique: UniqueIds<'static>,
    ids: Vec<Cow<'static, str>>,
}

impl Default for ShortIds {
    fn default() -> Self {
        Self { pairing: Pairing::default(), unique: UniqueIds::new(short_id), ids: Vec::new() }
    }
}

impl ShortIds {
    /// The id of the next call.
    fn call(&mut self, id: &str) -> &str {
        self.pairing.call(id.to_owned().into());
        self.ids.push(self.unique.next_owned(id));
        &self.ids[self.ids.len() - 1]
    }

    /// The id of the call that a result answers.
    fn result<'a>(&'a mut self, id: &'a str) -> Cow<'a, str> {
        match self.pairing.result(id) {
            Some(number) => Cow::Borrowed(&self.ids[number]),
            None => short_id(id),
        }
    }
}

/// Nine letters or digits for an id, the same on both sides of a call. An id that already has this form is
/// kept.
pub(crate) fn short_id(id: &str) -> Cow<'_, str> {
    if id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return id.into();
    }
    // FNV-1a in 36 letters: 36^9 is more than 2^46, enough for the calls of one conversation.
    let mut hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut short = String::with_capacity(9);
    for _ in 0..9 {
        short.push(char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[(hash % 36) as usize]));
        hash /= 36;
    }
    short.into()
}

fn bytes_of<T: serde::Serialize + ?Sized>(value: &T) -> Cow<'static, [u8]> {
    Cow::Owned(serde_json::to_vec(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use canon::{Features, ModelFacts, Quirks};

    use super::super::super::intake;
    use super::*;

    fn sent(body: &str, facts: &ModelFacts, quirks: &Quirks) -> (Value, Vec<String>) {
        let intake = intake(&Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let encoded = forward(&intake, Target { model: "up/stream", facts, quirks }).unwrap();
        let losses =
            encoded.losses.iter().map(|loss| format!("{} {}", loss.field, loss.action.as_str())).collect();
        (serde_json::from_slice(&encoded.body).unwrap(), losses)
    }

    fn quirks(toml: &str) -> Quirks {
        serde_json::from_str(toml).unwrap()
    }

    #[test]
    fn only_the_model_changes_without_quirks_and_facts() {
        let body = r#"{"messages" : [ {"role":"user","content":"h\u00e9\ni"} ],"model":"x","new":1.50e3, "temperature":0.7}"#;
        let intake = intake(&Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let target = Target { model: "m", facts: &ModelFacts::default(), quirks: &Quirks::default() };
        let encoded = forward(&intake, target).unwrap();
        assert_eq!(
            encoded.body,
            body.replace("\"x\"", "\"m\"").replace("\"model\":\"x\"", "\"model\":\"m\"")
        );
        assert!(encoded.losses.is_empty());
    }

    #[test]
    fn quirks_are_honoured_and_reported() {
        let base = r#""model":"x","messages":[{"role":"developer","name":"n","content":[{"type":"text","text":"a"}]}]"#;
        let cases = [
            (r#""seed":7"#, r#"{"rename":{"seed":"random_seed"}}"#, r#"{"random_seed":7}"#, ""),
            (r#""store":true,"seed":null"#, r#"{"drop":["store","seed"]}"#, "{}", "store dropped"),
            (
                r#""max_tokens":5"#,
                r#"{"max_tokens_field":"max_completion_tokens"}"#,
                r#"{"max_completion_tokens":5}"#,
                "",
            ),
            (
                r#""max_tokens":5,"max_completion_tokens":6"#,
                r#"{"max_tokens_field":"max_tokens"}"#,
                r#"{"max_tokens":5}"#,
                "",
            ),
            (r#""stream":true"#, "{}", r#"{"stream":true,"stream_options":{"include_usage":true}}"#, ""),
            (
                r#""stream":true,"stream_options":{"include_usage":true}"#,
                r#"{"stream_usage":"refused"}"#,
                r#"{"stream":true}"#,
                "",
            ),
            (
                r#""stream":true,"stream_options":{"include_obfuscation":false}"#,
                r#"{"stream_usage":"refused"}"#,
                r#"{"stream":true}"#,
                "stream_options dropped",
            ),
            // A provider that refuses nothing gets the caller's fields, and no more.
            (
                r#""stream":true,"stream_options":{"include_usage":true}"#,
                r#"{"stream_usage":"always"}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
                "",
            ),
            (r#""stream":true"#, r#"{"stream_usage":"always"}"#, r#"{"stream":true}"#, ""),
            (r#""tools":[],"tool_choice":"auto""#, "{}", "{}", ""),
            (
                r#""tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required""#,
                r#"{"required_tool_choice":"any"}"#,
                r#"{"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"any"}"#,
                "",
            ),
            (
                r#""tools":[{"type":"function","function":{"name":"f","strict":true}}],"tool_choice":{"type":"function"}"#,
                r#"{"no_forced_tool_choice":true,"drop_tool_fields":["strict"]}"#,
                r#"{"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"auto"}"#,
                "tool_choice approximated,tools[0].function.strict dropped",
            ),
        ];
        for (fields, quirk, expected, losses) in cases {
            let (mut body, found) =
                sent(&format!("{{{base},{fields}}}"), &ModelFacts::default(), &quirks(quirk));
            let body = body.as_object_mut().unwrap();
            assert_eq!(body.shift_remove("model").unwrap(), "up/stream");
            body.shift_remove("messages");
            assert_eq!(
                Value::Object(body.clone()),
                serde_json::from_str::<Value>(expected).unwrap(),
                "{fields}"
            );
            assert_eq!(found.join(","), losses, "{fields}");
        }
    }

    #[test]
    fn messages_are_repaired_only_where_required() {
        let body = r#"{"model":"x","messages":[{"role":"developer","name":"n","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"call_0123456789","type":"function","function":{"name":"f","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"call_0123456789","content":"r"}]}"#;
        let all = quirks(
            r#"{"no_developer_role":true,"drop_message_fields":["name"],"string_content":true,"short_tool_call_ids":true}"#,
        );
        let (body, losses) = sent(body, &ModelFacts::default(), &all);
        assert_eq!(body["messages"][0], json!({"role":"system","content":"a\nb"}));
        assert_eq!(body["messages"][1]["tool_calls"][0]["id"], body["messages"][2]["tool_call_id"]);
        assert_eq!(body["messages"][2]["tool_call_id"].as_str().unwrap().len(), 9);
        assert_eq!(losses, ["messages[0].name dropped"]);
    }

    #[test]
    fn effort_follows_the_model() {
        use Effort::{High, Low, Medium};
        let control = |control| ModelFacts { reasoning: Some(control), ..ModelFacts::default() };
        let levels = vec![Low, Medium, High];
        let cases = [
            (
                ReasoningControl::Effort { levels: levels.clone() },
                "high",
                json!({"reasoning_effort":"high"}),
                "",
            ),
            (
                ReasoningControl::Effort { levels: levels.clone() },
                "max",
                json!({"reasoning_effort":"high"}),
                "approximated",
            ),
            (ReasoningControl::None, "low", json!({}), "dropped"),
            (
                ReasoningControl::Toggle { can_disable: true, levels: vec![] },
                "none",
                json!({"thinking":{"type":"disabled"}}),
                "",
            ),
            (
                ReasoningControl::ChatTemplate { key: "thinking".into() },
                "low",
                json!({"chat_template_kwargs":{"thinking":true}}),
                "",
            ),
            (ReasoningControl::Object { levels: vec![] }, "low", json!({"reasoning":{"enabled":true}}), ""),
        ];
        for (kind, effort, expected, loss) in cases {
            let body = format!(
                r#"{{"model":"x","messages":[{{"role":"user","content":"a"}}],"reasoning_effort":"{effort}"}}"#
            );
            let (mut body, losses) = sent(&body, &control(kind.clone()), &Quirks::default());
            let body = body.as_object_mut().unwrap();
            body.retain(|name, _| name != "model" && name != "messages");
            assert_eq!(Value::Object(body.clone()), expected, "{kind:?} {effort}");
            assert_eq!(losses.join(",").replace("reasoning_effort ", ""), loss, "{kind:?} {effort}");
        }
    }

    #[test]
    fn the_object_of_routers_is_translated_to_the_models_control() {
        use Effort::{High, Low, Medium};
        let effort = ReasoningControl::Effort { levels: vec![Effort::None, Low, Medium, High] };
        let tokens = ReasoningControl::Budget { min: 1024, max: 4096, can_disable: true };
        let levels = "reasoning.max_tokens approximated";
        let cases = [
            (&effort, json!({"max_tokens": 3000}), json!({"reasoning_effort": "medium"}), levels),
            (&effort, json!({"max_tokens": 0}), json!({"reasoning_effort": "none"}), ""),
            (&effort, json!({"enabled": true}), json!({"reasoning_effort": "medium"}), ""),
            (&effort, json!({"enabled": false}), json!({"reasoning_effort": "none"}), ""),
            (&effort, json!({"exclude": true}), json!({}), ""),
            (&effort, json!({"exclude": true, "effort": "low"}), json!({"reasoning_effort": "low"}), ""),
            (
                &effort,
                json!({"effort": "low", "summary": "auto"}),
                json!({"reasoning_effort": "low"}),
                "reasoning.summary dropped",
            ),
            (
                &tokens,
                json!({"max_tokens": 3000}),
                json!({"thinking": {"type": "enabled", "budget_tokens": 3000}}),
                "",
            ),
            (
                &tokens,
                json!({"max_tokens": 9000}),
                json!({"thinking": {"type": "enabled", "budget_tokens": 4096}}),
                levels,
            ),
            (&ReasoningControl::None, json!({"max_tokens": 3000}), json!({}), "reasoning.max_tokens dropped"),
            (&ReasoningControl::None, json!({"enabled": false}), json!({}), ""),
            (&ReasoningControl::Always, json!({"enabled": false}), json!({}), "reasoning dropped"),
        ];
        for (control, object, expected, loss) in cases {
            let facts = ModelFacts { reasoning: Some(control.clone()), ..ModelFacts::default() };
            let body =
                json!({"model": "x", "messages": [{"role": "user", "content": "a"}], "reasoning": object});
            let (mut body, losses) = sent(&body.to_string(), &facts, &Quirks::default());
            body.as_object_mut().unwrap().retain(|name, _| name != "model" && name != "messages");
            assert_eq!((body, losses.join(",").as_str()), (expected, loss), "{control:?} {object}");
        }
        // An unknown model gets the caller's fields, except for those that the gateway handles itself.
        for (object, expected) in [
            (json!({"exclude": true}), json!({})),
            (json!({"max_tokens": 9}), json!({"reasoning": {"max_tokens": 9}})),
        ] {
            let body =
                json!({"model": "x", "messages": [{"role": "user", "content": "a"}], "reasoning": object});
            let (mut body, losses) = sent(&body.to_string(), &ModelFacts::default(), &Quirks::default());
            body.as_object_mut().unwrap().retain(|name, _| name != "model" && name != "messages");
            assert_eq!((body, losses.is_empty()), (expected, true));
        }
    }

    #[test]
    fn a_missing_feature_is_refused_and_a_schema_is_emulated() {
        let body = r#"{"model":"x","messages":[{"role":"user","content":"a"}],"n":2}"#;
        let facts = ModelFacts { features: Some(Features::NONE), ..ModelFacts::default() };
        let intake = intake(&Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let error =
            forward(&intake, Target { model: "m", facts: &facts, quirks: &Quirks::default() }).unwrap_err();
        assert_eq!(
            (error.kind, error.param_name().as_deref()),
            (canon::ErrorKind::UnsupportedFeature, Some("n"))
        );

        let body = r#"{"model":"x","messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}}"#;
        let (body, losses) = sent(body, &ModelFacts::default(), &quirks(r#"{"no_json_schema":true}"#));
        assert_eq!(body["response_format"], json!({"type":"json_object"}));
        assert!(body["messages"][0]["content"].as_str().unwrap().contains(r#"{"type":"object"}"#));
        assert_eq!(losses, ["response_format emulated"]);
    }
}
