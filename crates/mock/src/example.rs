//! Makes values that fit a JSON schema, with words of the prompt where possible.

use serde_json::{Map, Number, Value, json};
use std::cell::Cell;

/// The maximum depth of objects: a schema may refer to itself.
const DEEPEST: usize = 8;

/// Approximate limit of produced characters, however much the schema multiplies itself.
const BUDGET: usize = 50_000;

/// Arguments of a tool: always an object.
pub fn arguments(schema: &Value, said: &str) -> Value {
    match value(schema, said) {
        Value::Object(object) => Value::Object(object),
        _ => json!({}),
    }
}

/// A value that fits the schema.
pub fn value(schema: &Value, said: &str) -> Value {
    let said = said.char_indices().nth(200).map_or(said, |(end, _)| &said[..end]);
    Example { root: schema, said, budget: Cell::new(BUDGET) }.of(schema, "", 0)
}

/// The places in a sentence: capitalised words after "in", "for" or "of", separated by commas and "and".
pub fn places(said: &str) -> Vec<String> {
    let mut places: Vec<String> = Vec::new();
    let (mut listening, mut joined) = (false, false);
    for word in said.split_whitespace() {
        let name = word.trim_matches(|character: char| !character.is_alphanumeric());
        let capital = name.chars().next().is_some_and(char::is_uppercase);
        match (listening && capital, places.last_mut()) {
            (true, Some(last)) if joined => *last = format!("{last} {name}"),
            (true, _) => places.push(name.to_string()),
            _ => {
                listening = matches!(name, "in" | "for" | "of") || (listening && matches!(name, "and" | "or"))
            }
        }
        // "San Francisco" is one place, "Paris, London" and "Paris and London" are two.
        joined = listening && capital && word.ends_with(char::is_alphanumeric);
    }
    places
}

/// Whether a tool takes a place.
pub fn asks_for_place(schema: &Value) -> bool {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.is_some_and(|properties| properties.keys().any(|name| is_place(name)))
}

fn is_place(name: &str) -> bool {
    let name = name.to_lowercase();
    ["location", "city", "place", "country"].iter().any(|word| name.contains(word))
}

struct Example<'a> {
    root: &'a Value,
    said: &'a str,
    budget: Cell<usize>,
}

impl<'a> Example<'a> {
    fn of(&self, schema: &'a Value, name: &str, depth: usize) -> Value {
        let schema = self.resolved(schema);
        if !self.spend(10 + name.len()) {
            return Value::Null;
        }
        if let Some(fixed) = schema.get("const") {
            return self.copied(fixed);
        }
        if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
            return self.chosen(choices);
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(variants) = schema.get(key).and_then(Value::as_array) {
                return self.first_variant(variants, name, depth);
            }
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, name, depth),
            "string" => {
                let text = self.string(schema, name);
                if self.spend(text.len()) { Value::String(text) } else { Value::Null }
            }
            "integer" => Value::Number(Number::from(number(schema).ceil() as i64)),
            "number" => json!(number(schema)),
            "boolean" => Value::Bool(true),
            _ => Value::Null,
        }
    }

    /// Follows `$ref` inside the document, a few times at most.
    fn resolved(&self, mut schema: &'a Value) -> &'a Value {
        for _ in 0..DEEPEST {
            let Some(pointer) = schema.get("$ref").and_then(Value::as_str) else { break };
            let Some(target) = pointer.strip_prefix('#').and_then(|path| self.root.pointer(path)) else {
                break;
            };
            schema = target;
        }
        schema
    }

    fn chosen(&self, choices: &[Value]) -> Value {
        let said = self.said.to_lowercase();
        let mentioned = choices
            .iter()
            .find(|choice| choice.as_str().is_some_and(|text| said.contains(&text.to_lowercase())));
        mentioned.or(choices.first()).map_or(Value::Null, |choice| self.copied(choice))
    }

    fn copied(&self, value: &Value) -> Value {
        if self.spend(value.to_string().len()) { value.clone() } else { Value::Null }
    }

    /// False when the budget is used up.
    fn spend(&self, characters: usize) -> bool {
        let left = self.budget.get().checked_sub(characters);
        self.budget.set(left.unwrap_or(0));
        left.is_some()
    }

    fn first_variant(&self, variants: &'a [Value], name: &str, depth: usize) -> Value {
        let useful = variants.iter().find(|variant| kind(self.resolved(variant)) != "null");
        useful.map_or(Value::Null, |variant| self.of(variant, name, depth + 1))
    }

    fn object(&self, schema: &'a Value, depth: usize) -> Value {
        let mut object = Map::new();
        let parts = std::iter::once(schema).chain(crate::format::items(schema, "allOf"));
        for part in parts.map(|part| self.resolved(part)) {
            let required = crate::format::items(part, "required");
            let properties = part.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                if depth < DEEPEST / 2 || (depth < DEEPEST && required.iter().any(|key| key == name.as_str()))
                {
                    object.insert(name.clone(), self.of(property, name, depth + 1));
                }
            }
        }
        if object.is_empty() && depth == 0 && schema.get("additionalProperties") == Some(&Value::Bool(true)) {
            object.insert("answer".into(), self.said.into());
        }
        Value::Object(object)
    }

    fn array(&self, schema: &'a Value, name: &str, depth: usize) -> Value {
        let wanted = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).clamp(0, 16);
        let Some(items) = schema.get("items").filter(|_| depth < DEEPEST) else { return json!([]) };
        (0..wanted).map(|_| self.of(items, name, depth + 1)).collect()
    }

    fn string(&self, schema: &Value, name: &str) -> String {
        let text = match schema.get("format").and_then(Value::as_str) {
            Some("date") => "2025-01-31".to_string(),
            Some("date-time") => "2025-01-31T12:00:00Z".to_string(),
            Some("time") => "12:00:00Z".to_string(),
            Some("email") => "ada@example.com".to_string(),
            Some("uri") => "https://example.com/".to_string(),
            Some("uuid") => "00000000-0000-4000-8000-000000000001".to_string(),
            _ => self.string_for(name),
        };
        let limit = schema.get("maxLength").and_then(Value::as_u64).unwrap_or(u64::MAX) as usize;
        let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0).min(1000) as usize;
        let missing = least.saturating_sub(text.chars().count());
        text.chars().chain(std::iter::repeat_n('x', missing)).take(limit).collect()
    }

    fn string_for(&self, name: &str) -> String {
        let lower = name.to_lowercase();
        if is_place(name) {
            return places(self.said).into_iter().next().unwrap_or_else(|| "Paris".to_string());
        }
        if lower.contains("email") {
            return "ada@example.com".to_string();
        }
        if lower.contains("name") {
            return "Ada Lovelace".to_string();
        }
        if self.said.is_empty() { format!("some {name}") } else { self.said.to_string() }
    }
}

/// The type of a schema in JSON Schema's lower case (Gemini writes "OBJECT"); the first one that is not null.
fn kind(schema: &Value) -> &'static str {
    let named = match schema.get("type") {
        Some(Value::String(name)) => Some(name.as_str()),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    };
    let kinds = ["object", "array", "string", "integer", "number", "boolean", "null"];
    match named {
        Some(name) => kinds.iter().copied().find(|kind| kind.eq_ignore_ascii_case(name)).unwrap_or("string"),
        None if schema.get("properties").is_some() || schema.get("allOf").is_some() => "object",
        None if schema.get("items").is_some() => "array",
        None => "string",
    }
}

fn number(schema: &Value) -> f64 {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|bound| bound + 1.0));
    let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|bound| bound - 1.0));
    let wish = 42.0_f64;
    wish.min(most.unwrap_or(wish)).max(least.unwrap_or(f64::MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_capitalised_words_after_in() {
        assert_eq!(places("What's the weather in Paris and San Francisco?"), ["Paris", "San Francisco"]);
        assert_eq!(places("Weather for Rome, Oslo, please, in May"), ["Rome", "Oslo", "May"]);
        assert!(places("What's the Weather?").is_empty());
    }

    #[test]
    fn recursive_schemas_give_a_bounded_example() {
        let properties: Map<String, Value> =
            (0..20).map(|number| (format!("p{number}"), json!({ "$ref": "#" }))).collect();
        let required: Vec<&String> = properties.keys().collect();
        let schema = json!({ "type": "object", "required": required, "properties": properties });
        assert!(value(&schema, "x").to_string().len() < 4 * BUDGET);
    }

    #[test]
    fn numbers_and_strings_keep_their_bounds() {
        assert_eq!(value(&json!({ "type": "integer", "minimum": 50 }), ""), json!(50));
        assert_eq!(value(&json!({ "type": "number", "exclusiveMaximum": 3 }), ""), json!(2.0));
        assert_eq!(value(&json!({ "type": "string", "minLength": 4, "maxLength": 5 }), "ab"), json!("abxx"));
        assert_eq!(value(&json!({ "type": ["null", "boolean"] }), ""), json!(true));
    }
}
