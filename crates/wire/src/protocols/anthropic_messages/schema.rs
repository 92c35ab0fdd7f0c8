//! Fits JSON schemas into what the provider's grammar compiler takes.
//!
//! It knows a part of JSON schema and refuses the rest, and it wants every object closed. What it does not know is
//! moved into the description, where the model can still read it.

use std::collections::BTreeMap;

use canon::Json;
use serde_json::{Map, Value, json};

/// What a compiler of schemas takes.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// Keywords that it takes. Anything else is left out.
    pub(crate) kept: &'static [&'static str],
    /// Every object has to be closed.
    pub(crate) closes: bool,
}

/// Anthropic's, here and at Bedrock.
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
/// Keywords that say nothing about what fits: leaving them out weakens nothing.
const SILENT: [&str; 9] =
    ["$schema", "$id", "$anchor", "$comment", "examples", "example", "deprecated", "readOnly", "writeOnly"];
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// A schema that the provider takes, and whether it lets through what the original would not.
pub(crate) struct Fitted {
    /// The schema.
    pub(crate) schema: Json,
    /// Something was left out.
    pub(crate) weakened: bool,
    /// Nothing had to be changed.
    pub(crate) unchanged: bool,
}

/// What Claude enforces in one request, whoever hosts it: the form of the answer and the inputs of strict tools share
/// limits ("Structured outputs", section "Schema complexity limits": 20 strict tools, 24 optional parameters and 16
/// parameters with union types; recursive schemas and `allOf` with `$ref` are refused).
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
    /// What the model would enforce is not what the schema says.
    Changed,
}

impl Unfit {
    /// The reason in a sentence.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NotAnObject => "The schema is no JSON object.",
            Self::Recursive => "The model cannot enforce a recursive schema.",
            Self::ReferenceInAllOf => "The model cannot enforce `allOf` with `$ref`.",
            Self::TooManyTools => "The model takes 20 strict tools in a request.",
            Self::TooManyOptional => "The model enforces 24 optional parameters in a request.",
            Self::TooManyUnions => "The model enforces 16 parameters of several types in a request.",
            Self::Changed => "The model cannot enforce this schema; it is still told it.",
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

    /// The input of a strict tool: it is enforced as it is, or not at all.
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
        let value = fitted.schema.to_value().map_err(|_| Unfit::NotAnObject)?;
        if is_recursive(&value) {
            return Err(Unfit::Recursive);
        }
        let (mut optional, mut unions) = (0, 0);
        for schema in schemas_in(&value) {
            if schema.get("allOf").and_then(Value::as_array).is_some_and(|all| all.iter().any(is_reference)) {
                return Err(Unfit::ReferenceInAllOf);
            }
            let names = schema.get("properties").and_then(Value::as_object).map_or(0, Map::len);
            let required = schema.get("required").and_then(Value::as_array).map_or(0, Vec::len);
            optional += names.saturating_sub(required);
            unions +=
                usize::from(schema.contains_key("anyOf") || schema.get("type").is_some_and(Value::is_array));
        }
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

fn is_reference(schema: &Value) -> bool {
    schema.get("$ref").is_some()
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

/// True when a schema refers to what holds it, over any number of steps. Without recursion of our own: references may form
/// chains as long as the request.
fn is_recursive(root: &Value) -> bool {
    let mut known: BTreeMap<*const Value, bool> = BTreeMap::new();
    let targets = |schema: &Value| -> Vec<&Value> {
        let references = schemas_in(schema).into_iter().filter_map(|schema| schema.get("$ref")?.as_str());
        references.filter_map(|reference| root.pointer(reference.strip_prefix('#')?)).collect()
    };
    // What is being followed: a schema, and the ones that it refers to and that were not followed yet.
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
    let mut value = schema.to_value().ok().filter(Value::is_object)?;
    let before = value.clone();
    let mut weakened = false;
    fit_schema(&mut value, rules, &mut weakened);
    let unchanged = value == before;
    let schema = if unchanged { schema.clone() } else { Json::of(&value) };
    Some(Fitted { schema, weakened, unchanged })
}

/// True when the schema is one of JSON objects, which alone can be a tool's input.
pub(crate) fn is_object(schema: &Json) -> bool {
    let Ok(Value::Object(schema)) = schema.to_value() else { return false };
    match schema.get("type") {
        Some(kind) => kind == "object",
        None => schema.contains_key("properties"),
    }
}

/// A tool's schema: an object at its top, without alternatives there. The text is kept where it fits already.
/// Also gives the part of the schema that had to go, if any, for the tool's description.
pub(crate) fn tool_input(schema: Option<&Json>) -> (Json, Option<String>) {
    let empty = || (Json::of(&json!({"type": "object", "properties": {}})), None);
    let Some(schema) = schema.filter(|schema| !schema.is_null()) else { return empty() };
    let Ok(Value::Object(mut members)) = schema.to_value() else { return (schema.clone(), None) };
    let mut gone = Map::new();
    for name in ["anyOf", "oneOf", "allOf"] {
        if let Some(value) = members.shift_remove(name) {
            gone.insert(name.to_owned(), value);
        }
    }
    if gone.is_empty() && members.contains_key("type") {
        return (schema.clone(), None);
    }
    if gone.is_empty() {
        return (with_type(schema, members), None);
    }
    if !members.contains_key("type") {
        members.shift_insert(0, "type".to_owned(), json!("object"));
    }
    (Json::of(&members), Some(Value::Object(gone).to_string()))
}

/// Puts the missing type in front of the other members, whose text stays as it was.
fn with_type(schema: &Json, mut members: Map<String, Value>) -> Json {
    if members.is_empty() {
        return tool_input(None).0;
    }
    let inside = schema.as_str().trim_start().trim_start_matches('{');
    Json::parse(format!("{{\"type\":\"object\",{inside}")).unwrap_or_else(|_| {
        members.shift_insert(0, "type".to_owned(), json!("object"));
        Json::of(&members)
    })
}

/// Every schema inside of a schema is visited once; the depth is limited by the JSON parser.
fn fit_schema(schema: &mut Value, rules: Rules, weakened: &mut bool) {
    let Value::Object(members) = schema else { return };
    let mut removed = Map::new();
    rename_one_of(members, weakened);
    admit_single_all_of(members);
    admit_null(members);
    members.retain(|name, value| {
        let kept = rules.kept.contains(&name.as_str()) && is_known(name, value);
        if !kept && !SILENT.contains(&name.as_str()) {
            removed.insert(name.clone(), std::mem::take(value));
        }
        kept
    });
    if rules.closes && is_object_schema(members) {
        close(members, &mut removed);
    }
    if !removed.is_empty() {
        *weakened = true;
        describe(members, &removed);
    }
    for (name, value) in members.iter_mut() {
        fit_inside(name, value, rules, weakened);
    }
}

/// OpenAPI's `nullable` is one more type.
fn admit_null(members: &mut Map<String, Value>) {
    if members.shift_remove("nullable") != Some(Value::Bool(true)) {
        return;
    }
    if let Some(kind) = members.get_mut("type")
        && kind.as_str().is_some_and(|kind| kind != "null")
    {
        *kind = json!([kind.take(), "null"]);
    }
    if let Some(Value::Array(values)) = members.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
}

/// The schemas below one keyword. The keys below `properties` and `$defs` are names and never keywords.
fn fit_inside(keyword: &str, value: &mut Value, rules: Rules, weakened: &mut bool) {
    match (keyword, value) {
        ("properties" | "$defs" | "definitions", Value::Object(named)) => {
            named.values_mut().for_each(|schema| fit_schema(schema, rules, weakened));
        }
        ("anyOf" | "allOf", Value::Array(branches)) => {
            branches.iter_mut().for_each(|schema| fit_schema(schema, rules, weakened));
        }
        ("items" | "additionalProperties", schema) => fit_schema(schema, rules, weakened),
        _ => {}
    }
}

/// `oneOf` is unknown; `anyOf` lets through what fits several branches.
fn rename_one_of(members: &mut Map<String, Value>, weakened: &mut bool) {
    if members.contains_key("oneOf") && !members.contains_key("anyOf") {
        *weakened = true;
        let renamed = std::mem::take(members);
        *members = renamed
            .into_iter()
            .map(|(name, value)| if name == "oneOf" { ("anyOf".to_owned(), value) } else { (name, value) })
            .collect();
    }
}

/// `allOf` with `$ref` is refused. Generators write it to give a reference a description: with one branch alone, `anyOf`
/// means the same.
fn admit_single_all_of(members: &mut Map<String, Value>) {
    let is_single =
        |branches: &Value| branches.as_array().is_some_and(|all| all.len() == 1 && is_reference(&all[0]));
    if members.get("allOf").is_some_and(is_single) && !members.contains_key("anyOf") {
        let renamed = std::mem::take(members);
        *members = renamed
            .into_iter()
            .map(|(name, value)| if name == "allOf" { ("anyOf".to_owned(), value) } else { (name, value) })
            .collect();
    }
}

/// Keywords that are taken with some values only.
fn is_known(name: &str, value: &Value) -> bool {
    match name {
        "format" => value.as_str().is_some_and(|format| FORMATS.contains(&format)),
        "minItems" => value.as_u64().is_some_and(|least| least <= 1),
        "$ref" => value.as_str().is_some_and(|target| target.starts_with('#')),
        "items" => value.is_object(),
        "pattern" => value.as_str().is_some_and(|pattern| {
            !["(?=", "(?!", "(?<=", "(?<!", "\\b", "\\B"].iter().any(|part| pattern.contains(part))
        }),
        _ => true,
    }
}

fn is_object_schema(members: &Map<String, Value>) -> bool {
    let is_object = match members.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        Some(kind) => kind == "object",
        None => false,
    };
    is_object || members.contains_key("properties")
}

/// Every object has to be closed. A schema for further members is lost.
fn close(members: &mut Map<String, Value>, removed: &mut Map<String, Value>) {
    match members.insert("additionalProperties".to_owned(), Value::Bool(false)) {
        None | Some(Value::Bool(_)) => {}
        Some(schema) => {
            removed.insert("additionalProperties".to_owned(), schema);
        }
    }
}

/// Tells the model in words what the grammar cannot enforce.
fn describe(members: &mut Map<String, Value>, removed: &Map<String, Value>) {
    let mut text = members.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !text.is_empty() {
        text.push(' ');
    }
    let constraints = Value::Object(removed.clone()).to_string();
    text.push_str(&constraints);
    members.insert("description".to_owned(), Value::String(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(schema: Value) -> (Value, bool) {
        let fitted = fit_for(&Json::of(&schema), RULES).unwrap();
        (fitted.schema.to_value().unwrap(), fitted.weakened)
    }

    #[test]
    fn unknown_keywords_go_and_objects_are_closed() {
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
        // Two ways to one schema are no cycle.
        let both = json!({"A": {"anyOf": [list("#/$defs/C"), {"$ref": "#/$defs/B"}]}, "B": list("#/$defs/C"), "C": {}});
        assert!(!is_recursive(&schema(both, "#/$defs/A")));
        assert!(is_recursive(&schema(json!({"A": list("#/$defs/A")}), "#/$defs/A")));
        assert!(is_recursive(&schema(json!({"A": list("#/$defs/B"), "B": list("#/$defs/A")}), "#/$defs/A")));
        assert!(is_recursive(&json!({"properties": {"child": {"$ref": "#"}}})));
        assert!(is_recursive(&json!({"properties": {"a": {"items": {"$ref": "#/properties/a"}}}})));
        // A property of this name is no reference.
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
    fn one_reference_in_all_of_is_written_otherwise() {
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
