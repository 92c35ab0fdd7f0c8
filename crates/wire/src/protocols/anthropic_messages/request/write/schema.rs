//! Fits JSON schemas to the provider's grammar compiler.
//!
//! The compiler supports a subset of JSON schema, refuses the rest, and requires every object to be closed.
//! Unsupported parts are moved into the description, where the model can still read them.
//!
//! Schemas are rewritten from text to text: a tree of values would take many times their size.

use std::borrow::Cow;
use std::collections::BTreeMap;

use canon::Json;
use serde_json::{Map, Value, json};

use crate::json::{Items, Members, push_compact, push_key, push_string, string};

/// The capabilities of a schema compiler.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// Supported keywords. All others are removed.
    pub(crate) kept: &'static [&'static str],
    /// Every object must be closed.
    pub(crate) closes: bool,
}

/// Anthropic's, at the API and at Bedrock.
const RULES: Rules = Rules { kept: &KEPT, closes: true };

const KEPT: [&str; 18] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "anyOf",
    "allOf",
    "$ref",
    "$defs",
    "definitions",
    "description",
    "title",
    "default",
    "format",
    "pattern",
    "minItems",
];
/// Keywords that do not restrict values: their removal weakens nothing.
const SILENT: [&str; 9] =
    ["$schema", "$id", "$anchor", "$comment", "examples", "example", "deprecated", "readOnly", "writeOnly"];
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// A schema for the provider, and whether it accepts values that the original refuses.
pub(crate) struct Fitted {
    pub(crate) schema: Json,
    /// Something was removed.
    pub(crate) weakened: bool,
    /// Nothing was changed.
    pub(crate) unchanged: bool,
}

/// The schemas that Claude enforces in one request, on every host: the form of the answer and the inputs of
/// strict tools share limits ("Structured outputs", section "Schema complexity limits": 20 strict tools, 24
/// optional parameters and 16 parameters with union types; recursive schemas and `allOf` with `$ref` are
/// refused).
#[derive(Debug, Default)]
pub(crate) struct Enforced {
    tools: usize,
    optional: usize,
    unions: usize,
}

const STRICT_TOOLS: usize = 20;
const OPTIONAL_PARAMETERS: usize = 24;
const UNION_PARAMETERS: usize = 16;

/// Why a schema cannot be enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    NotAnObject,
    Recursive,
    ReferenceInAllOf,
    TooManyTools,
    TooManyOptional,
    TooManyUnions,
    /// The enforced schema would differ from the original.
    Changed,
}

impl Unfit {
    /// The reason in a sentence.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NotAnObject => "The schema is not a JSON object.",
            Self::Recursive => "The model cannot enforce a recursive schema.",
            Self::ReferenceInAllOf => "The model cannot enforce `allOf` with `$ref`.",
            Self::TooManyTools => "The model accepts at most 20 strict tools in a request.",
            Self::TooManyOptional => "The model enforces at most 24 optional parameters in a request.",
            Self::TooManyUnions => "The model enforces at most 16 parameters of several types in a request.",
            Self::Changed => "The model cannot enforce this schema: it was sent without enforcement.",
        }
    }
}

impl Enforced {
    /// The schema of the answer, as far as it can be enforced.
    pub(crate) fn answer(&mut self, schema: &Json) -> Result<Fitted, Unfit> {
        let fitted = fit_for(schema, RULES).ok_or(Unfit::NotAnObject)?;
        self.take(&fitted)?;
        Ok(fitted)
    }

    /// The input of a strict tool: enforced unchanged, or not at all.
    pub(crate) fn tool(&mut self, schema: &Json) -> Result<(), Unfit> {
        if self.tools == STRICT_TOOLS {
            return Err(Unfit::TooManyTools);
        }
        let fitted = fit_for(schema, RULES).ok_or(Unfit::NotAnObject)?;
        if !fitted.unchanged {
            return Err(Unfit::Changed);
        }
        self.take(&fitted)?;
        self.tools += 1;
        Ok(())
    }

    fn take(&mut self, fitted: &Fitted) -> Result<(), Unfit> {
        let text = fitted.schema.as_str();
        if mentions_references(text) {
            let value = fitted.schema.to_value().map_err(|_| Unfit::NotAnObject)?;
            if is_recursive(&value) {
                return Err(Unfit::Recursive);
            }
        }
        let Parameters { optional, unions } = parameters(text)?;
        if self.optional + optional > OPTIONAL_PARAMETERS {
            return Err(Unfit::TooManyOptional);
        }
        if self.unions + unions > UNION_PARAMETERS {
            return Err(Unfit::TooManyUnions);
        }
        self.optional += optional;
        self.unions += unions;
        Ok(())
    }
}

/// False when no schema in the text can have a reference: names may be written with escapes.
fn mentions_references(text: &str) -> bool {
    text.contains("$ref") || text.contains('\\')
}

/// The number of parameters that count against the limits.
#[derive(Default)]
struct Parameters {
    optional: usize,
    unions: usize,
}

/// Counts a schema and all schemas within it.
fn parameters(text: &str) -> Result<Parameters, Unfit> {
    let mut found = Parameters::default();
    found.add(text)?;
    Ok(found)
}

impl Parameters {
    fn add(&mut self, text: &str) -> Result<(), Unfit> {
        let Some(members) = Members::of(text) else { return Ok(()) };
        let has_reference = |schema| Members::of(schema).is_some_and(|schema| schema.has("$ref"));
        if members.get("allOf").is_some_and(|all| Items::of(all).any(has_reference)) {
            return Err(Unfit::ReferenceInAllOf);
        }
        let names = members.get("properties").and_then(Members::of).map_or(0, |named| named.len());
        let required = members.get("required").map_or(0, |names| Items::of(names).count());
        self.optional += names.saturating_sub(required);
        let has_kinds = members.get("type").is_some_and(|kind| kind.starts_with('['));
        self.unions += usize::from(has_kinds || members.has("anyOf"));
        for (keyword, value) in members.iter() {
            match SubSchemas::of(&keyword, value) {
                SubSchemas::Named(named) => named.iter().try_for_each(|(_, schema)| self.add(schema))?,
                SubSchemas::Listed(mut branches) => branches.try_for_each(|schema| self.add(schema))?,
                SubSchemas::One => self.add(value)?,
                SubSchemas::None => {}
            }
        }
        Ok(())
    }
}

/// The schemas under one keyword. Names under `properties` and `$defs` are never keywords.
enum SubSchemas<'a> {
    Named(Members<'a>),
    Listed(Items<'a>),
    One,
    None,
}

impl<'a> SubSchemas<'a> {
    fn of(keyword: &str, value: &'a str) -> Self {
        match keyword {
            "properties" | "$defs" | "definitions" => Members::of(value).map_or(Self::None, Self::Named),
            "anyOf" | "allOf" if value.starts_with('[') => Self::Listed(Items::of(value)),
            "items" | "additionalProperties" if value.starts_with('{') => Self::One,
            _ => Self::None,
        }
    }
}

/// Every schema in a schema, itself included.
fn schemas_in(root: &Value) -> Vec<&Map<String, Value>> {
    let mut found = Vec::new();
    let mut waiting = vec![root];
    while let Some(schema) = waiting.pop() {
        let Value::Object(members) = schema else { continue };
        found.push(members);
        for (name, value) in members {
            match (name.as_str(), value) {
                ("properties" | "$defs" | "definitions", Value::Object(named)) => {
                    waiting.extend(named.values())
                }
                ("anyOf" | "allOf", Value::Array(branches)) => waiting.extend(branches),
                ("items" | "additionalProperties", schema) => waiting.push(schema),
                _ => {}
            }
        }
    }
    found
}

/// True when a schema refers to one that contains it, over any number of steps. Iterative: references may
/// form chains as long as the request.
fn is_recursive(root: &Value) -> bool {
    let mut known: BTreeMap<*const Value, bool> = BTreeMap::new();
    let targets = |schema: &Value| -> Vec<&Value> {
        let references = schemas_in(schema).into_iter().filter_map(|schema| schema.get("$ref")?.as_str());
        references.filter_map(|reference| root.pointer(reference.strip_prefix('#')?)).collect()
    };
    // The current path: a schema, and its references that were not followed yet.
    known.insert(root, true);
    let mut path = vec![(root, targets(root))];
    while let Some((schema, waiting)) = path.last_mut() {
        let Some(next) = waiting.pop() else {
            known.insert(*schema, false);
            path.pop();
            continue;
        };
        match known.get(&std::ptr::from_ref(next)) {
            Some(true) => return true,
            Some(false) => {}
            None => {
                known.insert(next, true);
                path.push((next, targets(next)));
            }
        }
    }
    false
}

/// Fits a schema. None when it is not a JSON object.
pub(crate) fn fit_for(schema: &Json, rules: Rules) -> Option<Fitted> {
    let text = schema.as_str();
    let members = Members::of(text)?;
    let mut fitter =
        Fitter { rules, weakened: false, changed: false, out: Vec::with_capacity(text.len() + 256) };
    fitter.object(&members);
    let Fitter { weakened, changed, out, .. } = fitter;
    let schema = if changed { Json::parse(String::from_utf8(out).ok()?).ok()? } else { schema.clone() };
    Some(Fitted { schema, weakened, unchanged: !changed })
}

/// True when the schema is one of JSON objects, which a tool's input must be.
pub(crate) fn is_object(schema: &Json) -> bool {
    let Some(schema) = Members::of(schema.as_str()) else { return false };
    match schema.get("type") {
        Some(kind) => is_word(kind, "object"),
        None => schema.has("properties"),
    }
}

/// A tool's schema: an object at its root, without alternatives there. The text is kept where it already
/// fits. Also returns the removed part of the schema, if any, for the tool's description.
pub(crate) fn tool_input(schema: Option<&Json>) -> (Json, Option<String>) {
    let empty = || (Json::of(&json!({"type": "object", "properties": {}})), None);
    let Some(schema) = schema.filter(|schema| !schema.is_null()) else { return empty() };
    let Some(members) = Members::of(schema.as_str()) else { return (schema.clone(), None) };
    let is_alternative = |name: &str| matches!(name, "anyOf" | "oneOf" | "allOf");
    let has_type = members.has("type");
    if !["anyOf", "oneOf", "allOf"].into_iter().any(|name| members.has(name)) {
        if has_type {
            return (schema.clone(), None);
        }
        return if members.is_empty() { empty() } else { (with_type(schema), None) };
    }
    let (mut kept, mut gone) = (vec![b'{'], vec![b'{']);
    if !has_type {
        kept.extend_from_slice(br#""type":"object""#);
    }
    for (name, value) in members.iter() {
        let out = if is_alternative(&name) { &mut gone } else { &mut kept };
        push_member(out, &name);
        push_compact(out, value);
    }
    kept.push(b'}');
    gone.push(b'}');
    let kept = String::from_utf8(kept).ok().and_then(|text| Json::parse(text).ok());
    (kept.unwrap_or_else(|| schema.clone()), String::from_utf8(gone).ok())
}

/// Adds the missing type before the other members, whose text is unchanged.
fn with_type(schema: &Json) -> Json {
    let inside = schema.as_str().trim_start().trim_start_matches('{');
    Json::parse(format!("{{\"type\":\"object\",{inside}")).unwrap_or_else(|_| schema.clone())
}

fn push_member(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    push_string(out, name);
    out.push(b':');
}

fn is_word(json: &str, word: &str) -> bool {
    string(json).is_some_and(|text| text == word)
}

/// Writes fitted schemas.
struct Fitter {
    rules: Rules,
    weakened: bool,
    changed: bool,
    out: Vec<u8>,
}

/// The treatment of a schema's members.
#[derive(Default)]
struct Plan {
    /// The keyword that becomes `anyOf`.
    renamed: Option<&'static str>,
    /// OpenAPI's `nullable`: an additional type.
    is_nullable: bool,
    /// It is a schema of objects, and every object must be closed.
    closes: bool,
    /// The restrictions that the grammar cannot enforce, as an object: the model gets them as text.
    removed: Vec<u8>,
}

impl Fitter {
    /// A value in the place of a schema. The scanner limits the depth.
    fn schema(&mut self, text: &str) {
        match Members::of(text) {
            Some(members) => self.object(&members),
            None => self.out.extend_from_slice(text.as_bytes()),
        }
    }

    fn object(&mut self, members: &Members<'_>) {
        let plan = self.plan(members);
        self.weakened |= !plan.removed.is_empty();
        self.out.push(b'{');
        let (mut is_closed, mut is_described) = (false, plan.removed.is_empty());
        for (name, value) in members.iter() {
            let name = plan.name_of(name);
            if name == "nullable" || !self.keeps(&name, value) {
                self.changed = true;
                continue;
            }
            push_member(&mut self.out, &name);
            match &*name {
                "additionalProperties" if plan.closes => {
                    is_closed = true;
                    self.changed |= value != "false";
                    self.out.extend_from_slice(b"false");
                }
                "description" if !is_described => {
                    is_described = true;
                    self.describe(string(value).as_deref().unwrap_or_default(), &plan.removed);
                }
                "type" if plan.is_nullable => self.nullable_kind(value),
                "enum" if plan.is_nullable => self.nullable_enum(value),
                _ => self.inside(&name, value),
            }
        }
        if plan.closes && !is_closed {
            self.changed = true;
            push_key(&mut self.out, "additionalProperties");
            self.out.extend_from_slice(b"false");
        }
        if !is_described {
            push_key(&mut self.out, "description");
            self.describe("", &plan.removed);
        }
        self.out.push(b'}');
    }

    fn plan(&mut self, members: &Members<'_>) -> Plan {
        let mut plan = Plan {
            renamed: renamed(members),
            is_nullable: members.get("nullable") == Some("true"),
            ..Plan::default()
        };
        // A value that fits several branches of a `oneOf` is now accepted.
        self.weakened |= plan.renamed == Some("oneOf");
        self.changed |= plan.renamed.is_some();
        let mut further = None;
        for (name, value) in members.iter() {
            let name = plan.name_of(name);
            let is_kept = self.keeps(&name, value);
            match &*name {
                "nullable" => {}
                name if !is_kept && !SILENT.contains(&name) => plan.remove(name, value),
                "type" if is_kept => plan.closes |= says_object(value),
                "properties" if is_kept => plan.closes = true,
                "additionalProperties" if is_kept && !matches!(value, "true" | "false") => {
                    further = Some(value)
                }
                _ => {}
            }
        }
        plan.closes &= self.rules.closes;
        // A schema for additional members is lost.
        if let Some(schema) = further.filter(|_| plan.closes) {
            plan.remove("additionalProperties", schema);
        }
        if !plan.removed.is_empty() {
            plan.removed.push(b'}');
        }
        plan
    }

    fn keeps(&self, name: &str, value: &str) -> bool {
        self.rules.kept.contains(&name) && is_known(name, value)
    }

    /// The schemas under one keyword.
    fn inside(&mut self, keyword: &str, value: &str) {
        match SubSchemas::of(keyword, value) {
            SubSchemas::Named(named) => {
                self.out.push(b'{');
                for (name, schema) in named.iter() {
                    push_member(&mut self.out, &name);
                    self.schema(schema);
                }
                self.out.push(b'}');
            }
            SubSchemas::Listed(branches) => {
                self.out.push(b'[');
                for (position, schema) in branches.enumerate() {
                    if position > 0 {
                        self.out.push(b',');
                    }
                    self.schema(schema);
                }
                self.out.push(b']');
            }
            SubSchemas::One => self.schema(value),
            SubSchemas::None => self.out.extend_from_slice(value.as_bytes()),
        }
    }

    fn nullable_kind(&mut self, kind: &str) {
        let is_word = kind.starts_with('"') && !is_word(kind, "null");
        if is_word {
            self.out.push(b'[');
        }
        self.out.extend_from_slice(kind.as_bytes());
        if is_word {
            self.out.extend_from_slice(br#","null"]"#);
        }
    }

    fn nullable_enum(&mut self, values: &str) {
        let is_open = values.starts_with('[') && !Items::of(values).any(|value| value == "null");
        let Some(inside) = values.strip_suffix(']').filter(|_| is_open) else {
            return self.out.extend_from_slice(values.as_bytes());
        };
        self.out.extend_from_slice(inside.as_bytes());
        if Items::of(values).next().is_some() {
            self.out.push(b',');
        }
        self.out.extend_from_slice(b"null]");
    }

    /// Adds the restrictions that the grammar cannot enforce to the description.
    fn describe(&mut self, description: &str, removed: &[u8]) {
        self.changed = true;
        let constraints = String::from_utf8_lossy(removed);
        let space = if description.is_empty() { "" } else { " " };
        push_string(&mut self.out, &[description, space, &constraints].concat());
    }
}

impl Plan {
    fn name_of<'n>(&self, name: Cow<'n, str>) -> Cow<'n, str> {
        if self.renamed == Some(&*name) { Cow::Borrowed("anyOf") } else { name }
    }

    fn remove(&mut self, name: &str, value: &str) {
        if self.removed.is_empty() {
            self.removed.push(b'{');
        }
        push_member(&mut self.removed, name);
        push_compact(&mut self.removed, value);
    }
}

/// The keyword that is written as `anyOf`. `oneOf` is unsupported; `anyOf` accepts values that fit several
/// branches. `allOf` with `$ref` is refused, and generators write it to give a reference a description: with
/// a single branch, `anyOf` means the same.
fn renamed(members: &Members<'_>) -> Option<&'static str> {
    if members.has("anyOf") {
        return None;
    }
    if members.has("oneOf") {
        return Some("oneOf");
    }
    let mut branches = Items::of(members.get("allOf")?);
    let is_reference = Members::of(branches.next()?).is_some_and(|branch| branch.has("$ref"));
    (is_reference && branches.next().is_none()).then_some("allOf")
}

/// Keywords that are supported only with some values.
fn is_known(name: &str, value: &str) -> bool {
    match name {
        "format" => string(value).is_some_and(|format| FORMATS.contains(&&*format)),
        "minItems" => value.parse::<u64>().is_ok_and(|least| least <= 1),
        "$ref" => string(value).is_some_and(|target| target.starts_with('#')),
        "items" => value.starts_with('{'),
        "pattern" => string(value).is_some_and(|pattern| {
            !["(?=", "(?!", "(?<=", "(?<!", "\\b", "\\B"].iter().any(|part| pattern.contains(part))
        }),
        _ => true,
    }
}

fn says_object(kind: &str) -> bool {
    is_word(kind, "object") || Items::of(kind).any(|kind| is_word(kind, "object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(schema: Value) -> (Value, bool) {
        let fitted = fit_for(&Json::of(&schema), RULES).unwrap();
        (fitted.schema.to_value().unwrap(), fitted.weakened)
    }

    #[test]
    fn unknown_keywords_are_removed_and_objects_closed() {
        let (schema, weakened) = fitted(json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "age": {"type": "integer", "minimum": 0, "description": "Years."},
                "mail": {"type": "string", "format": "email"},
                "tags": {"type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 1},
                "pet": {"oneOf": [{"type": "object", "properties": {}}, {"type": "null"}]}
            },
            "required": ["age"]
        }));
        assert!(weakened);
        assert_eq!(
            schema,
            json!({
                "type": "object",
                "properties": {
                    "age": {"type": "integer", "description": "Years. {\"minimum\":0}"},
                    "mail": {"type": "string", "format": "email"},
                    "tags": {
                        "type": "array",
                        "items": {"type": "string", "description": "{\"maxLength\":9}"},
                        "minItems": 1
                    },
                    "pet": {
                        "anyOf": [
                            {"type": "object", "properties": {}, "additionalProperties": false},
                            {"type": "null"}
                        ]
                    }
                },
                "required": ["age"],
                "additionalProperties": false
            })
        );
    }

    #[test]
    fn recursion_is_found_over_any_number_of_steps() {
        let schema = |definitions: Value, at: &str| json!({"type": "object", "properties": {"a": {"$ref": at}}, "$defs": definitions});
        let list = |to: &str| json!({"type": "array", "items": {"$ref": to}});
        assert!(!is_recursive(&schema(
            json!({"A": list("#/$defs/B"), "B": {"type": "string"}}),
            "#/$defs/A"
        )));
        // Two paths to one schema are not a cycle.
        let both = json!({"A": {"anyOf": [list("#/$defs/C"), {"$ref": "#/$defs/B"}]}, "B": list("#/$defs/C"), "C": {}});
        assert!(!is_recursive(&schema(both, "#/$defs/A")));
        assert!(is_recursive(&schema(json!({"A": list("#/$defs/A")}), "#/$defs/A")));
        assert!(is_recursive(&schema(json!({"A": list("#/$defs/B"), "B": list("#/$defs/A")}), "#/$defs/A")));
        assert!(is_recursive(&json!({"properties": {"child": {"$ref": "#"}}})));
        assert!(is_recursive(&json!({"properties": {"a": {"items": {"$ref": "#/properties/a"}}}})));
        // A property with this name is not a reference.
        assert!(!is_recursive(&json!({"properties": {"$ref": {"type": "string"}}})));
        // A chain as long as a request allows.
        let chain = (0..50_000).map(|step| (format!("D{step}"), list(&format!("#/$defs/D{}", step + 1))));
        assert!(!is_recursive(&schema(Value::Object(chain.collect()), "#/$defs/D0")));
    }

    #[test]
    fn limits_hold_for_the_whole_request() {
        let tool = |optional: usize, unions: usize| {
            let fields = (0..optional).map(|field| (format!("o{field}"), json!({"type": "string"})));
            let either = (0..unions).map(|field| (format!("u{field}"), json!({"type": ["string", "null"]})));
            let properties: Map<String, Value> = fields.chain(either).collect();
            let required: Vec<String> = (0..unions).map(|field| format!("u{field}")).collect();
            Json::of(
                &json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false}),
            )
        };
        let mut enforced = Enforced::default();
        assert!(enforced.answer(&tool(20, 10)).is_ok());
        assert_eq!(enforced.tool(&tool(5, 0)), Err(Unfit::TooManyOptional));
        assert_eq!(enforced.tool(&tool(4, 7)), Err(Unfit::TooManyUnions));
        assert_eq!(enforced.tool(&tool(4, 6)), Ok(()), "what did not fit took no room");
        (1..20).for_each(|_| assert_eq!(enforced.tool(&tool(0, 0)), Ok(())));
        assert_eq!(enforced.tool(&tool(0, 0)), Err(Unfit::TooManyTools));
        let open = Json::of(&json!({"type": "object", "properties": {}}));
        assert_eq!(Enforced::default().tool(&open), Err(Unfit::Changed));
    }

    #[test]
    fn an_all_of_with_one_reference_becomes_any_of() {
        let of = |all: Value| {
            json!({"type": "object", "properties": {"a": {"allOf": all, "description": "the a"}}, "required": ["a"],
                "additionalProperties": false, "$defs": {"A": {"type": "string"}, "B": {"type": "string"}}})
        };
        let reference = |name: &str| json!({"$ref": format!("#/$defs/{name}")});
        let fitted = Enforced::default().answer(&Json::of(&of(json!([reference("A")])))).ok().unwrap();
        let (schema, weakened) = (fitted.schema.to_value().unwrap(), fitted.weakened);
        assert_eq!(schema["properties"]["a"], json!({"anyOf": [reference("A")], "description": "the a"}));
        assert!(!weakened);
        let two = Enforced::default().answer(&Json::of(&of(json!([reference("A"), reference("B")]))));
        assert_eq!(two.err(), Some(Unfit::ReferenceInAllOf));
    }

    #[test]
    fn names_that_look_like_keywords_stay() {
        let schema = json!({
            "type": "object",
            "properties": {
                "minimum": {"type": "number"},
                "oneOf": {"type": "string", "enum": ["not", "if"]},
                "properties": {"$ref": "#/$defs/maxItems"}
            },
            "$defs": {"maxItems": {"type": "string", "const": "pattern"}},
            "required": ["minimum", "oneOf", "properties"],
            "additionalProperties": false
        });
        assert_eq!(fitted(schema.clone()), (schema, false));
    }

    #[test]
    fn maps_and_foreign_references_are_weakened() {
        let (schema, weakened) =
            fitted(json!({"type": "object", "additionalProperties": {"type": "integer"}}));
        assert!(weakened);
        assert_eq!(schema["additionalProperties"], json!(false));
        let (schema, weakened) = fitted(json!({"$ref": "https://x.test/schema.json"}));
        assert!(weakened);
        assert_eq!(schema.get("$ref"), None);
    }

    #[test]
    fn tool_schemas_stay_as_written_where_they_fit() {
        let input = |text: &str| {
            let (schema, gone) = tool_input(Some(&Json::parse(text).unwrap()));
            (schema.as_str().to_owned(), gone)
        };
        let written = "{ \"type\":\"object\", \"properties\":{\"n\":{\"minimum\":1.0}} }";
        assert_eq!(input(written), (written.to_owned(), None));
        assert_eq!(input("{}").0, r#"{"type":"object","properties":{}}"#);
        assert_eq!(input("null").0, r#"{"type":"object","properties":{}}"#);
        assert_eq!(tool_input(None).0.as_str(), r#"{"type":"object","properties":{}}"#);
        assert_eq!(input(r#"{ "properties":{"a":{}}}"#).0, r#"{"type":"object", "properties":{"a":{}}}"#);
        let (schema, gone) = input(r#"{"anyOf":[{"required":["a"]}],"properties":{"a":{}}}"#);
        assert_eq!(schema, r#"{"type":"object","properties":{"a":{}}}"#);
        assert_eq!(gone.as_deref(), Some(r#"{"anyOf":[{"required":["a"]}]}"#));
    }
}
