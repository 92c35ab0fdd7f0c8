//! Tools, the choice among them, and the tool that replaces a JSON answer.

use std::borrow::Cow;
use std::collections::BTreeSet;

use canon::{
    Error, Feature, Field, Json, Losses, ModelFacts, OutputField, OutputFormat, Request, Result, Tool,
    ToolChoice, ToolField, ToolKind,
};
use serde_json::{Value, json};

use super::family::Family;
use crate::DecoderContext;
use crate::json::{is_text, room};
use crate::protocols::anthropic_messages::schema::{self, Enforced, Unfit};
use crate::protocols::bedrock_converse::request::types::*;
use crate::protocols::function_tools::{free_text_schema, is_restricted, json_instruction};
use crate::protocols::hosted::{self, is_left_out};
use crate::protocols::offered::Offered;
use crate::protocols::tool_names::Names;

/// The name of the tool whose arguments are a JSON answer.
const JSON_TOOL: &str = "json_response";

/// How the answer's form is achieved.
#[derive(Debug, Default)]
pub(super) struct Form {
    /// `outputConfig`.
    pub output_config: Option<Value>,
    /// The schema of the tool that replaces the answer.
    pub json_tool: Option<Json>,
    /// A sentence for the instructions.
    pub instruction: Option<String>,
}

/// Decides how JSON answers are achieved.
pub(super) fn form(
    request: &Request,
    family: Family,
    facts: &ModelFacts,
    enforced: &mut Enforced,
    losses: &mut Losses,
) -> Result<Form> {
    const FIELD: Field = Field::Output(OutputField::Whole);
    let schema = match &request.output {
        OutputFormat::Text => return Ok(Form::default()),
        OutputFormat::JsonSchema { schema: Some(schema), .. } => schema,
        OutputFormat::JsonObject | OutputFormat::JsonSchema { schema: None, .. } => {
            losses.emulated(FIELD, "The provider has no JSON mode: an instruction asks the model for JSON.");
            let instruction = json_instruction(&request.output);
            return Ok(Form { instruction, ..Form::default() });
        }
    };
    let mut reason = None;
    if takes_schemas(facts) {
        match family.is_claude().then(|| enforced.answer(schema)) {
            None | Some(Err(Unfit::NotAnObject)) => {
                return Ok(Form {
                    output_config: Some(text_format(&request.output, schema)),
                    ..Form::default()
                });
            }
            Some(Ok(fitted)) => {
                if fitted.weakened {
                    let reason =
                        "The model enforces a part of JSON schema; the rest was moved into descriptions.";
                    losses.approximated(FIELD, reason);
                }
                let output_config = Some(text_format(&request.output, &fitted.schema));
                return Ok(Form { output_config, ..Form::default() });
            }
            Some(Err(unfit)) => reason = Some(unfit.reason()),
        }
    }
    let has_forced_tool = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)))
        || matches!(request.tool_choice, Some(ToolChoice::Allowed { required: true, .. }));
    let can_force = family.takes_forced_choice() && facts.allows(Feature::Tools);
    if can_force && !has_forced_tool && is_object_schema(schema) {
        let usual = "The model answers through a tool whose arguments follow the schema.";
        losses.emulated(FIELD, reason.unwrap_or(usual));
        return Ok(Form { json_tool: Some(schema.clone()), ..Form::default() });
    }
    losses.emulated(FIELD, reason.unwrap_or("An instruction asks the model to follow the schema."));
    let instruction = json_instruction(&request.output);
    Ok(Form { instruction, ..Form::default() })
}

fn takes_schemas(facts: &ModelFacts) -> bool {
    facts.features.is_some_and(|features| features.has(Feature::JsonSchema))
}

/// The schema is JSON text within a string (API reference of `JsonSchemaDefinition`).
fn text_format(output: &OutputFormat, schema: &Json) -> Value {
    let mut definition = json!({"schema": schema.as_str()});
    if let OutputFormat::JsonSchema { name, description, .. } = output {
        if !name.is_empty() {
            definition["name"] = json!(name);
        }
        if let Some(description) = description.as_deref().filter(|text| !text.is_empty()) {
            definition["description"] = json!(description);
        }
    }
    json!({"textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}}})
}

/// The tools of a request and the choice among them.
pub(super) struct ToolWriter<'a, 'w> {
    pub request: &'a Request,
    pub family: Family,
    pub facts: &'w ModelFacts,
    /// The model thinks with a budget: a call cannot be forced.
    pub has_budget: bool,
    pub takes_cache_points: bool,
    pub enforced: &'w mut Enforced,
    pub names: &'w Names<'w>,
    pub losses: &'w mut Losses,
}

impl<'a> ToolWriter<'a, '_> {
    /// `toolConfig`, if there is one. Information for the answer's decoder goes to `decoding`.
    pub fn write(
        &mut self,
        json_tool: Option<Json>,
        decoding: &mut DecoderContext,
    ) -> Result<Option<ToolConfig<'a>>> {
        let has_history = self.request.messages.iter().any(|message| message.tool_calls().next().is_some());
        let mut choice = self.request.tool_choice.clone();
        let mut tools = Vec::new();
        if choice == Some(ToolChoice::None) && (!has_history || json_tool.is_some()) {
            choice = None;
        } else {
            tools = self.entries(decoding)?;
        }
        if tools.is_empty() && json_tool.is_none() {
            if !has_history {
                return Ok(None);
            }
            tools = self.remembered();
            choice = None;
        }
        let tool_choice = match json_tool {
            Some(schema) => Some(self.add_json_tool(schema, &mut tools, decoding)),
            None => self.choice(choice)?,
        };
        Ok(Some(ToolConfig { tools, tool_choice }))
    }

    fn entries(&mut self, decoding: &mut DecoderContext) -> Result<Vec<ToolEntry<'a>>> {
        let offered = Offered::of(self.request);
        // Most tools of another kind end the request.
        let is_own = |tool: &&Tool| !matches!(tool.kind, ToolKind::Native(_));
        let mut entries = Vec::with_capacity(self.request.tools.iter().filter(is_own).count());
        for (index, tool) in self.request.tools.iter().enumerate() {
            if !offered.has(&tool.name) {
                continue;
            }
            if is_left_out(self.request, index, &offered, self.losses) {
                continue;
            }
            room::push(&mut entries, self.entry(index, tool, decoding)?);
            if let Some(mark) = &tool.cache {
                // Nova caches only instructions and messages ("Prompt caching" in the user guide).
                if self.takes_cache_points && self.family.is_claude() {
                    room::push(&mut entries, ToolEntry::CachePoint(CachePoint::of(mark)))
                } else {
                    self.losses.dropped(Field::CacheMark, "The model does not cache tools.")
                }
            }
        }
        Ok(entries)
    }

    fn entry(
        &mut self,
        index: usize,
        tool: &'a Tool,
        decoding: &mut DecoderContext,
    ) -> Result<ToolEntry<'a>> {
        let mut description = tool.description.as_deref().map(Cow::Borrowed);
        let mut is_whole = true;
        let (schema, strict) = match &tool.kind {
            ToolKind::Function { parameters, strict } if self.family.is_claude() => {
                let (schema, gone) = schema::tool_input(parameters.as_ref());
                is_whole = gone.is_none();
                if let Some(gone) = gone {
                    self.losses.approximated(
                        Field::tool(index, ToolField::Parameters),
                        "The model does not accept alternatives at the top of a schema: they were moved into the description.",
                    );
                    let text = description.unwrap_or_default();
                    description = Some(Cow::Owned(format!("{text}\n\nThe input must also fit {gone}")));
                }
                (schema, *strict)
            }
            ToolKind::Function { parameters, strict } => (object_schema(parameters.as_ref()), *strict),
            ToolKind::Custom { format } => {
                if is_restricted(format.as_ref()) {
                    self.losses.dropped(
                        Field::tool(index, ToolField::Grammar),
                        "The provider does not support grammars.",
                    );
                }
                self.losses.emulated(
                    Field::tool(index, ToolField::Whole),
                    "A tool that takes free text is sent as a function.",
                );
                decoding.custom_tools.push(tool.name.clone());
                (free_text_schema(), None)
            }
            ToolKind::Native(entry) if entry.as_str().contains("\"systemTool\"") => {
                return Ok(ToolEntry::Native(entry));
            }
            ToolKind::Native(raw) => return Err(hosted::unsupported(raw, index)),
        };
        let strict = (strict == Some(true)).then(|| match () {
            () if !takes_schemas(self.facts) => Err("The model has no strict tools."),
            () if !is_whole => Err(Unfit::Changed.reason()),
            () if self.family.is_claude() => self.enforced.tool(&schema).map_err(Unfit::reason),
            () => Ok(()),
        });
        if let Some(Err(reason)) = strict {
            self.losses.dropped(Field::tool(index, ToolField::Strict), reason);
        }
        Ok(ToolEntry::ToolSpec(ToolSpec {
            name: self.names.wire(&tool.name).to_owned(),
            description: description.filter(|text| !text.trim().is_empty()),
            input_schema: InputSchema { json: schema },
            strict: strict.filter(std::result::Result::is_ok).map(|_| true),
        }))
    }

    /// Calls in the history without any tool are refused: the called tools are declared.
    fn remembered(&mut self) -> Vec<ToolEntry<'a>> {
        self.losses.emulated(
            Field::Tools,
            "The called tools of the history were declared, as the provider requires.",
        );
        let calls = self.request.messages.iter().flat_map(|message| message.tool_calls());
        let called: BTreeSet<&str> = calls.map(|call| &*call.name).collect();
        let declare = |name: &str| {
            ToolEntry::ToolSpec(ToolSpec {
                name: self.names.wire(name).to_owned(),
                description: None,
                input_schema: InputSchema { json: object_schema(None) },
                strict: None,
            })
        };
        called.into_iter().map(declare).collect()
    }

    fn add_json_tool(
        &mut self,
        schema: Json,
        tools: &mut Vec<ToolEntry<'a>>,
        decoding: &mut DecoderContext,
    ) -> Choice {
        let mut name = JSON_TOOL.to_owned();
        while self.request.tools.iter().any(|tool| self.names.wire(&tool.name) == name) {
            name.push('_');
        }
        decoding.json_tool = Some(name.clone());
        let has_others = !tools.is_empty();
        tools.push(ToolEntry::ToolSpec(ToolSpec {
            name: name.clone(),
            description: Some("Give the final answer to the user by calling this tool.".into()),
            input_schema: InputSchema { json: object_schema(Some(&schema)) },
            strict: None,
        }));
        match (self.has_budget, has_others) {
            (true, _) => Choice::Auto {},
            (false, true) => Choice::Any {},
            (false, false) => Choice::Tool { name },
        }
    }

    fn choice(&mut self, choice: Option<ToolChoice>) -> Result<Option<Choice>> {
        const FIELD: Field = Field::ToolChoice;
        let wanted = match choice {
            None => return Ok(None),
            Some(ToolChoice::None) => {
                self.losses.approximated(
                    FIELD,
                    "The provider cannot forbid tool calls while the history contains some.",
                );
                return Ok(None);
            }
            Some(ToolChoice::Auto) => Choice::Auto {},
            Some(ToolChoice::Required) => Choice::Any {},
            Some(ToolChoice::Named(name)) => {
                if !self.request.tools.iter().any(|tool| tool.name == name) {
                    return Err(Error::invalid(FIELD, format!("There is no tool named {name:?}.")));
                }
                Choice::Tool { name: self.names.wire(&name).to_owned() }
            }
            Some(ToolChoice::Allowed { required, .. }) => {
                if required {
                    Choice::Any {}
                } else {
                    Choice::Auto {}
                }
            }
        };
        if wanted.is_forced() && !self.family.takes_forced_choice() {
            self.losses.approximated(FIELD, "The model cannot be forced to call a tool.");
            return Ok(Some(Choice::Auto {}));
        }
        Ok(Some(wanted))
    }
}

/// True when the caller forces a call, which excludes a thinking budget.
pub(super) fn is_call_forced(request: &Request) -> bool {
    let forced = match &request.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Named(_)) => true,
        Some(ToolChoice::Allowed { required, .. }) => *required,
        _ => false,
    };
    forced && !request.tools.is_empty()
}

/// The schema as the caller wrote it when its root is of type `object`, which the API requires.
fn object_schema(schema: Option<&Json>) -> Json {
    let Some(schema) = schema.filter(|schema| !schema.is_null()) else {
        return Json::of(&json!({"type": "object", "properties": {}}));
    };
    if is_object_schema(schema) {
        return schema.clone();
    }
    match schema.to_value() {
        Ok(Value::Object(mut fields)) => {
            fields.insert("type".to_owned(), json!("object"));
            Json::of(&fields)
        }
        _ => Json::of(&json!({"type": "object", "properties": {}})),
    }
}

fn is_object_schema(schema: &Json) -> bool {
    #[derive(serde::Deserialize)]
    struct Root<'a> {
        #[serde(rename = "type", borrow)]
        kind: Option<&'a serde_json::value::RawValue>,
    }
    schema.read::<Root<'_>>().is_ok_and(|root| root.kind.is_some_and(|kind| is_text(kind.get(), "object")))
}
