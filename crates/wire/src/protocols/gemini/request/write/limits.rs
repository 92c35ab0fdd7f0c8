//! Gemini's rules for a schema as a whole, whose parts are all valid by themselves.
//!
//! How deep a schema may be ("exceeds the maximum allowed nesting depth") and how complex ("too many states
//! for serving") is not published and differs between models: the API decides.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

use crate::json::{Items, Members, string};

/// Highest accepted sum of all `maxItems` of a schema. A higher one gets a bare "Request contains an invalid
/// argument": measured by googleapis/python-genai#2170 (March 2026, tools) and met by vercel/ai#21192
/// (September 2026, the form of an answer).
const ARRAY_LIMITS: u64 = 960;

/// Weakens a schema until it is accepted, and reports the weakened keywords. Only a schema that must change
/// is parsed into values, which take many times its size.
pub(super) fn fit(text: String, weakened: &mut BTreeSet<String>) -> String {
    let is_recursive = || !closing_edges(&text_targets(&text)).is_empty();
    let has_limits = || text.contains("maxItems") && array_limits(&text) > ARRAY_LIMITS;
    let has_to_change = has_limits() || text.contains("\"$ref\"") && is_recursive();
    if !has_to_change {
        return text;
    }
    let Ok(mut schema) = serde_json::from_str(&text) else { return text };
    fit_values(&mut schema, weakened);
    serde_json::to_string(&schema).unwrap_or(text)
}

/// The sum of all `maxItems` of a schema.
fn array_limits(schema: &str) -> u64 {
    let Some(members) = Members::of(schema) else { return 0 };
    let inside = |keyword: &str, value| match keyword {
        "maxItems" => str::parse(value).unwrap_or(0),
        "properties" | "$defs" => {
            let named = Members::of(value);
            named
                .iter()
                .flat_map(Members::iter)
                .map(|(_, schema)| array_limits(schema))
                .fold(0, u64::saturating_add)
        }
        "anyOf" | "prefixItems" => Items::of(value).map(array_limits).fold(0, u64::saturating_add),
        "items" | "additionalProperties" => array_limits(value),
        _ => 0,
    };
    members.iter().map(|(keyword, value)| inside(&keyword, value)).fold(0, u64::saturating_add)
}

/// The same as [`targets`], for text.
fn text_targets(schema: &str) -> Vec<Vec<Option<usize>>> {
    let definitions = Members::of(schema).and_then(|schema| Members::of(schema.get("$defs")?));
    let Some(definitions) = definitions else { return Vec::new() };
    let numbers: Numbers<'_> =
        definitions.iter().enumerate().map(|(number, (name, _))| (name, number)).collect();
    let found = definitions.iter().map(|(_, schema)| {
        let mut found = Vec::new();
        text_references(schema, &numbers, &mut found);
        found
    });
    found.collect()
}

/// The indexes of the definitions, by name.
type Numbers<'a> = HashMap<Cow<'a, str>, usize>;

/// The same as [`required_references`], for text.
fn text_references(schema: &str, numbers: &Numbers<'_>, found: &mut Vec<Option<usize>>) {
    let Some(members) = Members::of(schema) else { return };
    if let Some(reference) = members.get("$ref").and_then(string)
        && let Some(name) = reference.strip_prefix("#/$defs/")
    {
        found.push(numbers.get(name).copied());
    }
    for (keyword, value) in members.iter() {
        match &*keyword {
            "properties" => {
                let required: HashSet<Cow<'_, str>> =
                    members.get("required").into_iter().flat_map(Items::of).filter_map(string).collect();
                let properties = Members::of(value);
                let properties = properties.iter().flat_map(Members::iter);
                properties
                    .filter(|(name, _)| required.contains(name))
                    .for_each(|(_, property)| text_references(property, numbers, found));
            }
            "anyOf" | "prefixItems" => {
                Items::of(value).for_each(|schema| text_references(schema, numbers, found));
            }
            "items" => text_references(value, numbers, found),
            _ => {}
        }
    }
}

fn fit_values(schema: &mut Map<String, Value>, weakened: &mut BTreeSet<String>) {
    if open_cycles(schema) {
        weakened.insert("required (within a recursion)".to_owned());
    }
    if lift_array_limits(schema) {
        weakened.insert("maxItems".to_owned());
    }
}

/// Removes the highest `maxItems` until the sum of the others is accepted. True when one was removed.
fn lift_array_limits(schema: &mut Map<String, Value>) -> bool {
    let mut limits = Vec::new();
    each_schema(schema, &mut |schema| limits.extend(schema.get("maxItems").and_then(Value::as_u64)));
    limits.sort_unstable();
    let mut sum = 0_u64;
    let fitting = limits.iter().take_while(|limit| {
        sum = sum.saturating_add(**limit);
        sum <= ARRAY_LIMITS
    });
    let Some(lowest) = limits.get(fitting.count()).copied() else { return false };
    each_schema(schema, &mut |schema| {
        if schema.get("maxItems").and_then(Value::as_u64).is_some_and(|limit| limit >= lowest) {
            schema.shift_remove("maxItems");
        }
    });
    true
}

/// Every schema within a schema, itself included. The depth was limited before.
fn each_schema(schema: &mut Map<String, Value>, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    visit(schema);
    for (keyword, value) in schema.iter_mut() {
        match (keyword.as_str(), value) {
            ("properties" | "$defs", Value::Object(named)) => {
                named
                    .values_mut()
                    .filter_map(Value::as_object_mut)
                    .for_each(|schema| each_schema(schema, visit));
            }
            ("anyOf" | "prefixItems", Value::Array(list)) => {
                list.iter_mut()
                    .filter_map(Value::as_object_mut)
                    .for_each(|schema| each_schema(schema, visit));
            }
            ("items" | "additionalProperties", Value::Object(schema)) => each_schema(schema, visit),
            _ => {}
        }
    }
}

/// A reference outside of any optional property: its definition, and its index there.
type Edge = (usize, usize);

/// Recursion is unrolled to some depth, and so "may only be used within non-required properties. (Nullable
/// properties are not sufficient.)" (API reference, `responseJsonSchema`). Where a recursion never passes an
/// optional property, the property that closes it becomes optional. True when something was changed.
fn open_cycles(schema: &mut Map<String, Value>) -> bool {
    let Some(Value::Object(definitions)) = schema.get_mut("$defs") else { return false };
    let closing = closing_edges(&targets(definitions));
    if closing.is_empty() {
        return false;
    }
    for (definition, schema) in definitions.values_mut().enumerate() {
        Opener { closing: &closing, definition, seen: 0 }.open(schema, false);
    }
    true
}

/// The definitions that each definition always needs, as indexes.
fn targets(definitions: &Map<String, Value>) -> Vec<Vec<Option<usize>>> {
    let numbers: HashMap<&str, usize> =
        definitions.keys().enumerate().map(|(number, name)| (name.as_str(), number)).collect();
    definitions
        .values()
        .map(|schema| {
            let mut names = Vec::new();
            required_references(schema, &mut names);
            names.into_iter().map(|name| numbers.get(name).copied()).collect()
        })
        .collect()
}

/// The references that close a recursion, found iteratively: there may be as many definitions as fit into a
/// request.
fn closing_edges(targets: &[Vec<Option<usize>>]) -> HashSet<Edge> {
    let mut closing = HashSet::new();
    let mut is_done = vec![false; targets.len()];
    let mut is_open = vec![false; targets.len()];
    for start in 0..targets.len() {
        // The current path, with the next reference of each step.
        let mut path = vec![(start, 0)];
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            is_open[at] = !is_done[at];
            let Some(target) = targets[at].get(*next).filter(|_| !is_done[at]) else {
                (is_done[at], is_open[at]) = (true, false);
                path.pop();
                continue;
            };
            let edge = (at, *next);
            *next += 1;
            match target {
                Some(target) if is_open[*target] => drop(closing.insert(edge)),
                Some(target) if !is_done[*target] => path.push((*target, 0)),
                _ => {}
            }
        }
    }
    closing
}

/// The definitions that every value of this schema contains.
fn required_references<'a>(schema: &'a Value, names: &mut Vec<&'a str>) {
    let Value::Object(schema) = schema else { return };
    if let Some(name) = referred(schema) {
        names.push(name);
    }
    for (keyword, value) in schema {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                let required: HashSet<&str> = required(schema).collect();
                for (name, property) in properties {
                    if required.contains(name.as_str()) {
                        required_references(property, names);
                    }
                }
            }
            ("anyOf" | "prefixItems", Value::Array(list)) => {
                list.iter().for_each(|schema| required_references(schema, names));
            }
            ("items", schema) => required_references(schema, names),
            _ => {}
        }
    }
}

/// Visits a definition in the order of [`required_references`].
struct Opener<'a> {
    closing: &'a HashSet<Edge>,
    definition: usize,
    /// References so far.
    seen: usize,
}

impl Opener<'_> {
    /// True when the schema has a reference that closes a recursion: the property around it must become
    /// optional. Without such a property, the reference is replaced by a schema that accepts anything.
    fn open(&mut self, schema: &mut Value, is_in_property: bool) -> bool {
        let Value::Object(members) = schema else { return false };
        let mut closes = false;
        if referred(members).is_some() {
            closes = self.closing.contains(&(self.definition, self.seen));
            self.seen += 1;
            if closes && !is_in_property {
                members.clear();
                return false;
            }
        }
        let required: HashSet<String> = required(members).map(str::to_owned).collect();
        let mut optional = HashSet::new();
        for (keyword, value) in members.iter_mut() {
            match (keyword.as_str(), value) {
                ("properties", Value::Object(properties)) => {
                    for (name, property) in properties {
                        if required.contains(name) && self.open(property, true) {
                            optional.insert(name.clone());
                        }
                    }
                }
                ("anyOf" | "prefixItems", Value::Array(list)) => {
                    for schema in list {
                        closes |= self.open(schema, is_in_property);
                    }
                }
                ("items", schema) => closes |= self.open(schema, is_in_property),
                _ => {}
            }
        }
        if let Some(Value::Array(required)) = members.get_mut("required").filter(|_| !optional.is_empty()) {
            required.retain(|name| name.as_str().is_none_or(|name| !optional.contains(name)));
        }
        closes
    }
}

fn referred(schema: &Map<String, Value>) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

fn required(schema: &Map<String, Value>) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fitted(schema: Value) -> (Value, Vec<String>) {
        let mut weakened = BTreeSet::new();
        let schema = fit(schema.to_string(), &mut weakened);
        (serde_json::from_str(&schema).unwrap(), weakened.into_iter().collect())
    }

    fn with(definitions: Value) -> Value {
        json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "required": ["a"], "$defs": definitions})
    }

    fn refers(to: &str) -> Value {
        json!({"$ref": format!("#/$defs/{to}")})
    }

    #[test]
    fn a_recursion_through_an_optional_property_stays() {
        let optional = json!({"type": "object", "properties": {"next": refers("A"), "v": {"type": "string"}}, "required": ["v"]});
        let through = json!({"type": "object", "properties": {"b": refers("B")}, "required": ["b"]});
        let back = json!({"type": "object", "properties": {"a": {"type": "array", "items": refers("A")}}});
        let diamond = json!({"anyOf": [refers("B"), {"type": "array", "items": refers("B")}]});
        for definitions in [
            json!({"A": optional}),
            json!({"A": through, "B": back}),
            json!({"A": diamond, "B": {"type": "string"}}),
        ] {
            let schema = with(definitions);
            assert_eq!(fitted(schema.clone()), (schema, vec![]));
        }
    }

    #[test]
    fn a_recursion_through_required_properties_becomes_optional_where_it_closes() {
        let node = |required: Value| {
            json!({"type": "object", "properties": {"children": {"type": "array", "items": refers("A")}, "v": {"type": "string"}},
                "required": required})
        };
        let (schema, weakened) = fitted(with(json!({"A": node(json!(["children", "v"]))})));
        assert_eq!(schema, with(json!({"A": node(json!(["v"]))})));
        assert_eq!(weakened, ["required (within a recursion)"]);
        // Nullable is not enough, nor is an object in between.
        let inner = |required: Value| {
            json!({"type": "object", "properties": {"x": {"type": "object", "properties":
                {"y": {"anyOf": [refers("B"), {"type": "null"}]}}, "required": required}}, "required": ["x"]})
        };
        let back = |required: Value| json!({"type": "object", "properties": {"a": refers("A")}, "required": required});
        let (schema, _) = fitted(with(json!({"A": inner(json!(["y"])), "B": back(json!(["a"]))})));
        assert_eq!(schema, with(json!({"A": inner(json!(["y"])), "B": back(json!([]))})));
        // Without a property to make optional.
        let (schema, _) = fitted(with(json!({"A": {"type": "array", "items": refers("A")}})));
        assert_eq!(schema, with(json!({"A": {"type": "array", "items": {}}})));
    }

    #[test]
    fn chains_of_any_length_are_followed() {
        let link = |at: usize| {
            let next = format!("D{}", (at + 1) % 20_000);
            (
                format!("D{at}"),
                json!({"type": "object", "properties": {"n": refers(&next)}, "required": ["n"]}),
            )
        };
        let (schema, weakened) = fitted(with((0..20_000).map(link).collect()));
        assert_eq!(weakened.len(), 1);
        let open =
            schema["$defs"].as_object().unwrap().iter().filter(|(_, link)| link["required"] == json!([]));
        assert_eq!(open.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["D19999"]);
    }

    #[test]
    fn the_highest_limits_of_arrays_are_removed_first() {
        let arrays = |limits: &[u64]| {
            let array = |(at, limit): (usize, &u64)| {
                (format!("p{at}"), json!({"type": "array", "items": {"type": "string"}, "maxItems": limit}))
            };
            json!({"type": "object", "properties": limits.iter().enumerate().map(array).collect::<Value>()})
        };
        let taken = arrays(&[500, 460]);
        assert_eq!(fitted(taken.clone()), (taken, vec![]));
        let (schema, weakened) = fitted(arrays(&[500, 10, u64::MAX, 460]));
        assert_eq!(weakened, ["maxItems"]);
        let left =
            schema["properties"].as_object().unwrap().values().map(|array| array.get("maxItems").cloned());
        assert_eq!(left.collect::<Vec<_>>(), [None, Some(json!(10)), None, Some(json!(460))]);
    }
}
