//! JSON schemas as Gemini takes them in `parametersJsonSchema` and `responseJsonSchema`.
//!
//! What the API does not know is an error there, so everything outside its list is removed or rewritten. Names of
//! properties are data, not keywords: they are never touched. What a removal weakens is reported by name.

use std::collections::BTreeSet;

use canon::Json;
use serde_json::{Map, Value};

use super::limits;

/// Deepest nesting that is translated; below, anything is allowed.
const DEPTH_LIMIT: usize = 64;
/// Most nested schemas of the result: references put in place can multiply.
const SIZE_LIMIT: usize = 20_000;

/// Keywords that pass. The API reference's list, with those of the published SDK's schema type, all of which recorded
/// requests show as accepted.
const KEPT: [&str; 24] = [
    "$anchor",
    "type",
    "format",
    "title",
    "description",
    "default",
    "enum",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "anyOf",
    "properties",
    "additionalProperties",
    "required",
    "minProperties",
    "maxProperties",
    "propertyOrdering",
];

/// Keywords whose removal changes nothing about which values fit.
const ANNOTATIONS: [&str; 11] = [
    "$schema",
    "$id",
    "$comment",
    "$vocabulary",
    "examples",
    "example",
    "deprecated",
    "readOnly",
    "writeOnly",
    "discriminator",
    // Not of JSON schema: clients write it here in place of beside the schema.
    "strict",
];

/// A schema and what it no longer says.
#[derive(Debug, PartialEq)]
pub(super) struct Sanitised {
    /// The schema as the API takes it.
    pub schema: Value,
    /// Keywords that were removed although they restrict values.
    pub weakened: BTreeSet<String>,
}

impl Sanitised {
    /// What was weakened, for people.
    pub fn reason(&self) -> Option<String> {
        if self.weakened.is_empty() {
            return None;
        }
        let names: Vec<_> = self.weakened.iter().map(String::as_str).collect();
        Some(format!("The API does not take these parts of the JSON schema: {}.", names.join(", ")))
    }
}

/// Rewrites a schema. None if it is not a JSON object.
pub(super) fn sanitise(schema: &Json) -> Option<Sanitised> {
    let Ok(Value::Object(root)) = schema.to_value() else { return None };
    let mut sanitiser = Sanitiser { root: &root, weakened: BTreeSet::new(), open: Vec::new(), size: 0 };
    let mut schema = sanitiser.object(&root, 0);
    sanitiser.definitions(&root, &mut schema);
    limits::fit(&mut schema, &mut sanitiser.weakened);
    Some(Sanitised { schema: Value::Object(schema), weakened: sanitiser.weakened })
}

/// True for the schema of a tool without parameters: the field is then left out, as older models refuse it.
pub(super) fn is_empty_object(schema: &Value) -> bool {
    let Some(schema) = schema.as_object() else { return false };
    let no_properties =
        schema.get("properties").is_none_or(|value| value.as_object().is_some_and(Map::is_empty));
    let closed = schema.get("additionalProperties").is_none_or(|value| *value == Value::Bool(false));
    let plain = schema.keys().all(|key| {
        matches!(
            key.as_str(),
            "type" | "properties" | "additionalProperties" | "required" | "title" | "description"
        )
    });
    no_properties && closed && plain && schema.get("type").is_none_or(|kind| kind == "object")
}

struct Sanitiser<'a> {
    root: &'a Map<String, Value>,
    weakened: BTreeSet<String>,
    /// References that are being put in place, to notice cycles.
    open: Vec<String>,
    size: usize,
}

impl Sanitiser<'_> {
    /// Definitions keep their names; those of older drafts move to `$defs`.
    fn definitions(&mut self, root: &Map<String, Value>, out: &mut Map<String, Value>) {
        let mut found = Map::new();
        for key in ["definitions", "$defs"] {
            let Some(Value::Object(definitions)) = root.get(key) else { continue };
            for (name, schema) in definitions {
                let schema = self.any(schema, 1);
                found.insert(name.clone(), schema);
            }
        }
        if !found.is_empty() {
            out.insert("$defs".to_owned(), Value::Object(found));
        }
    }

    fn any(&mut self, schema: &Value, depth: usize) -> Value {
        match schema {
            Value::Object(schema) if depth < DEPTH_LIMIT && self.size < SIZE_LIMIT => {
                self.size += 1;
                Value::Object(self.object(schema, depth))
            }
            Value::Bool(true) => Value::Object(Map::new()),
            Value::Object(_) => {
                self.weakened.insert("(depth or size)".to_owned());
                Value::Object(Map::new())
            }
            _ => {
                self.weakened.insert("false".to_owned());
                Value::Object(Map::new())
            }
        }
    }

    fn object(&mut self, schema: &Map<String, Value>, depth: usize) -> Map<String, Value> {
        if let Some(Value::String(reference)) = schema.get("$ref") {
            return self.reference(reference, schema, depth);
        }
        let mut out = Map::new();
        for (key, value) in schema {
            self.keyword(key, value, depth, &mut out);
        }
        self.all_of(schema, depth, &mut out);
        self.exact(schema, &mut out);
        self.complete(&mut out);
        out
    }

    fn keyword(&mut self, key: &str, value: &Value, depth: usize, out: &mut Map<String, Value>) {
        match key {
            "properties" => {
                if let Value::Object(properties) = value {
                    let properties =
                        properties.iter().map(|(name, schema)| (name.clone(), self.any(schema, depth + 1)));
                    out.insert(key.to_owned(), Value::Object(properties.collect()));
                }
            }
            "items" if value.is_array() => {
                let items = self.list(value, depth);
                out.insert("prefixItems".to_owned(), items);
            }
            "items" => {
                let items = self.any(value, depth + 1);
                out.insert(key.to_owned(), items);
            }
            "additionalProperties" => {
                let rest = if value.is_boolean() { value.clone() } else { self.any(value, depth + 1) };
                out.insert(key.to_owned(), rest);
            }
            "prefixItems" | "anyOf" => {
                let list = self.list(value, depth);
                out.insert(key.to_owned(), list);
            }
            // The API reads `oneOf` as `anyOf`: said plainly.
            "oneOf" if !out.contains_key("anyOf") => {
                let list = self.list(value, depth);
                out.insert("anyOf".to_owned(), list);
            }
            "allOf" | "const" | "$defs" | "definitions" | "nullable" => {}
            _ if KEPT.contains(&key) => {
                out.insert(key.to_owned(), value.clone());
            }
            _ if ANNOTATIONS.contains(&key) || key.starts_with("x-") => {}
            _ => {
                self.weakened.insert(key.to_owned());
            }
        }
    }

    fn list(&mut self, value: &Value, depth: usize) -> Value {
        let schemas = value.as_array().map(Vec::as_slice).unwrap_or_default();
        Value::Array(schemas.iter().map(|schema| self.any(schema, depth + 1)).collect())
    }

    /// `allOf` is merged into the schema around it: what both say is kept once.
    fn all_of(&mut self, schema: &Map<String, Value>, depth: usize, out: &mut Map<String, Value>) {
        let Some(Value::Array(parts)) = schema.get("allOf") else { return };
        for part in parts {
            let Value::Object(part) = self.inlined(part, depth) else { continue };
            for (key, value) in part {
                self.merge(&key, value, out);
            }
        }
    }

    fn merge(&mut self, key: &str, value: Value, out: &mut Map<String, Value>) {
        match (out.get_mut(key), value) {
            (None, value) => {
                out.insert(key.to_owned(), value);
            }
            (Some(Value::Object(mine)), Value::Object(theirs)) if key == "properties" => {
                for (name, schema) in theirs {
                    mine.entry(name).or_insert(schema);
                }
            }
            (Some(Value::Array(mine)), Value::Array(theirs)) if key == "required" => {
                let missing: Vec<_> = theirs.into_iter().filter(|name| !mine.contains(name)).collect();
                mine.extend(missing);
            }
            (Some(mine), theirs) => {
                if *mine != theirs && !matches!(key, "title" | "description" | "default") {
                    self.weakened.insert("allOf".to_owned());
                }
            }
        }
    }

    /// The schema behind a reference, in place of it. A cycle leaves the reference.
    fn inlined(&mut self, schema: &Value, depth: usize) -> Value {
        let reference = schema.get("$ref").and_then(Value::as_str).map(str::to_owned);
        let Some(reference) = reference else { return self.any(schema, depth + 1) };
        let Some(target) = self.resolve(&reference) else { return self.any(schema, depth + 1) };
        if self.open.contains(&reference) || depth >= DEPTH_LIMIT {
            self.weakened.insert("allOf".to_owned());
            return Value::Object(Map::new());
        }
        self.open.push(reference);
        let found = self.inlined(&target, depth + 1);
        self.open.pop();
        found
    }

    /// A reference may have no siblings: with only texts beside it they are dropped, with more it is put in place.
    fn reference(
        &mut self,
        reference: &str,
        schema: &Map<String, Value>,
        depth: usize,
    ) -> Map<String, Value> {
        let is_text = |key: &String| {
            matches!(key.as_str(), "$ref" | "title" | "description" | "default" | "$defs" | "definitions")
                || ANNOTATIONS.contains(&key.as_str())
        };
        let to_definition = ["#/$defs/", "#/definitions/"]
            .iter()
            .find_map(|start| reference.strip_prefix(start).filter(|name| !name.contains('/')));
        let known = self.resolve(reference).is_some();
        if let Some(name) = to_definition
            && known
            && depth > 0
            && schema.keys().all(is_text)
        {
            let reference = Value::String(format!("#/$defs/{name}"));
            return Map::from_iter([("$ref".to_owned(), reference)]);
        }
        let target = self.resolve(reference);
        let (Some(target), false) = (target, self.open.iter().any(|open| open == reference)) else {
            self.weakened.insert("$ref".to_owned());
            return Map::new();
        };
        self.open.push(reference.to_owned());
        let mut merged = target.as_object().cloned().unwrap_or_default();
        for (key, value) in schema.iter().filter(|(key, _)| *key != "$ref") {
            merged.insert(key.clone(), value.clone());
        }
        let merged = if depth < DEPTH_LIMIT { self.object(&merged, depth + 1) } else { Map::new() };
        self.open.pop();
        merged
    }

    fn resolve(&self, reference: &str) -> Option<Value> {
        let path = reference.strip_prefix('#')?;
        if path.is_empty() {
            return Some(Value::Object(self.root.clone()));
        }
        let mut steps =
            path.strip_prefix('/')?.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
        let mut node = self.root.get(&steps.next()?)?;
        for step in steps {
            node = match node {
                Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
                node => node.get(&step)?,
            };
        }
        Some(node.clone())
    }

    /// `const` is an `enum` of one; OpenAPI's `nullable` is one more type.
    fn exact(&mut self, schema: &Map<String, Value>, out: &mut Map<String, Value>) {
        if let Some(value) = schema.get("const") {
            out.insert("enum".to_owned(), Value::Array(vec![value.clone()]));
        }
        if schema.get("nullable") == Some(&Value::Bool(true))
            && let Some(Value::String(kind)) = out.get("type")
            && kind != "null"
        {
            let kinds = vec![Value::String(kind.clone()), Value::String("null".to_owned())];
            out.insert("type".to_owned(), Value::Array(kinds));
        }
    }

    /// What the API wants to be said: the type beside properties and enums.
    fn complete(&mut self, out: &mut Map<String, Value>) {
        if out.contains_key("type") || out.contains_key("anyOf") {
            return;
        }
        if out.contains_key("properties") {
            out.insert("type".to_owned(), Value::String("object".to_owned()));
        } else if let Some(kind) = out.get("enum").and_then(kind_of_all) {
            out.insert("type".to_owned(), Value::String(kind.to_owned()));
        }
    }
}

/// The type that all values share.
fn kind_of_all(values: &Value) -> Option<&'static str> {
    let mut kinds = values.as_array()?.iter().map(|value| match value {
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Null => "null",
    });
    let first = kinds.next()?;
    kinds.all(|kind| kind == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: Value, expected: Value, weakened: &[&str]) {
        let found = sanitise(&Json::of(&schema)).unwrap();
        assert_eq!(found.schema, expected, "{schema}");
        let names: Vec<_> = found.weakened.iter().map(String::as_str).collect();
        assert_eq!(names, weakened, "{schema}");
    }

    #[test]
    fn unknown_keywords_go_and_property_names_stay() {
        check(
            json!({
                "$schema": "x", "type": "object", "additionalProperties": false, "required": ["not", "const"],
                "properties": {
                    "not": {"type": "integer", "exclusiveMinimum": 0, "minimum": 0},
                    "const": {"const": "a"},
                    "propertyNames": {"type": "object", "propertyNames": {"type": "string"}, "patternProperties": {}},
                    "nested": {"type": "array", "items": {"not": {"type": "null"}, "oneOf": [{"const": 1}, {"type": "string"}]}}
                }
            }),
            json!({
                "type": "object", "additionalProperties": false, "required": ["not", "const"],
                "properties": {
                    "not": {"type": "integer", "minimum": 0},
                    "const": {"enum": ["a"], "type": "string"},
                    "propertyNames": {"type": "object"},
                    "nested": {"type": "array", "items": {"anyOf": [{"enum": [1], "type": "integer"}, {"type": "string"}]}}
                }
            }),
            &["exclusiveMinimum", "not", "patternProperties", "propertyNames"],
        );
    }

    #[test]
    fn references_are_kept_or_put_in_place() {
        check(
            json!({
                "type": "object",
                "properties": {
                    "a": {"$ref": "#/definitions/Node", "description": "dropped"},
                    "b": {"$ref": "#/properties/c"},
                    "c": {"type": "string"},
                    "d": {"allOf": [{"$ref": "#/definitions/Leaf"}], "description": "kept"}
                },
                "definitions": {
                    "Node": {"type": "object", "properties": {"next": {"$ref": "#/definitions/Node"}}},
                    "Leaf": {"type": "number", "multipleOf": 2}
                }
            }),
            json!({
                "type": "object",
                "properties": {
                    "a": {"$ref": "#/$defs/Node"},
                    "b": {"type": "string"},
                    "c": {"type": "string"},
                    "d": {"description": "kept", "type": "number"}
                },
                "$defs": {
                    "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}},
                    "Leaf": {"type": "number"}
                }
            }),
            &["multipleOf"],
        );
    }

    #[test]
    fn a_reference_at_the_root_is_put_in_place_and_cycles_end() {
        check(
            json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#"}}}}}),
            json!({
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/A"}},
                "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}}
            }),
            &[],
        );
        check(
            json!({"type": "object", "properties": {"child": {"$ref": "#"}}}),
            json!({"type": "object", "properties": {
                "child": {"type": "object", "properties": {"child": {}}}
            }}),
            &["$ref"],
        );
    }

    #[test]
    fn tools_without_parameters() {
        for schema in [json!({}), json!({"type": "object", "properties": {}, "additionalProperties": false})]
        {
            assert!(is_empty_object(&schema), "{schema}");
        }
        for schema in [
            json!({"type": "object", "additionalProperties": true}),
            json!({"type": "object", "properties": {"a": {}}}),
            json!({"anyOf": []}),
        ] {
            assert!(!is_empty_object(&schema), "{schema}");
        }
    }
}
