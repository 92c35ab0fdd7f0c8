//! JSON schemas for Gemini's `parametersJsonSchema` and `responseJsonSchema`.
//!
//! The API refuses unknown keywords, so everything outside its list is removed or rewritten. Names of
//! properties are data, not keywords: they are never changed. Removed restrictions are reported by name.
//!
//! Schemas are rewritten from text to text: a tree of values would take many times their size.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use canon::Json;

use super::limits;
use crate::json::{Items, Members, ValueHash, is_text, push_string, string};

/// Deepest translated nesting; below it anything is accepted.
const DEPTH_LIMIT: usize = 64;
/// Most nested schemas of the result: inlined references can multiply.
const SIZE_LIMIT: usize = 20_000;
/// Most bytes of written values, as a multiple of the schema: inlined references repeat them.
const GROWTH_LIMIT: usize = 4;
/// The same for a small schema.
const SPENT_LIMIT: usize = 256 << 10;
/// Longest chain of references.
const STEP_LIMIT: usize = 127;

/// The accepted keywords: the API reference's list, and those of the published SDK's schema type; recorded
/// requests show that all are accepted.
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

/// Keywords whose removal does not change the accepted values.
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
    // Not in JSON schema: clients write it here instead of beside the schema.
    "strict",
];

/// A schema and its removed restrictions.
#[derive(Debug, PartialEq)]
pub(super) struct Sanitised {
    /// The schema as the API takes it.
    pub schema: Json,
    /// Removed keywords that restrict values.
    pub weakened: BTreeSet<String>,
}

impl Sanitised {
    /// The removed restrictions as text.
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
    let text = schema.as_str();
    let root = Members::of(text)?;
    let mut sanitiser = Sanitiser {
        root: text,
        lookups: HashMap::new(),
        weakened: BTreeSet::new(),
        open: Vec::new(),
        size: 0,
        room: SPENT_LIMIT.max(GROWTH_LIMIT * text.len()),
        out: Vec::with_capacity(text.len() + 256),
    };
    sanitiser.object(&root, 0);
    sanitiser.definitions(&root);
    let Sanitiser { out, mut weakened, .. } = sanitiser;
    let schema = limits::fit(String::from_utf8(out).ok()?, &mut weakened);
    Some(Sanitised { schema: Json::parse(schema).ok()?, weakened })
}

/// True for the schema of a tool without parameters: the field is then omitted, because older models refuse
/// it.
pub(super) fn is_empty_object(schema: &Json) -> bool {
    let Some(schema) = Members::of(schema.as_str()) else { return false };
    let no_properties = schema
        .get("properties")
        .is_none_or(|value| Members::of(value).is_some_and(|properties| properties.is_empty()));
    let closed = schema.get("additionalProperties").is_none_or(|value| value == "false");
    let plain = schema.iter().all(|(key, _)| {
        matches!(&*key, "type" | "properties" | "additionalProperties" | "required" | "title" | "description")
    });
    let kind = schema.get("type").is_none_or(|kind| string(kind).is_some_and(|kind| kind == "object"));
    no_properties && closed && plain && kind
}

/// The schema with the type `object` where it has neither a type nor alternatives.
pub(super) fn typed(schema: Json) -> Json {
    let Some(members) = Members::of(schema.as_str()) else { return schema };
    if members.has("type") || members.has("anyOf") {
        return schema;
    }
    let inside = schema.as_str().trim_end().trim_end_matches('}');
    let comma = if members.is_empty() { "" } else { "," };
    Json::parse(format!("{inside}{comma}\"type\":\"object\"}}")).unwrap_or(schema)
}

struct Sanitiser<'a> {
    root: &'a str,
    /// Cached lookups of references, by path.
    lookups: HashMap<String, ReferenceIndex<'a>>,
    weakened: BTreeSet<String>,
    /// References that are being inlined, to detect cycles.
    open: Vec<String>,
    size: usize,
    /// How many more bytes of values may be written.
    room: usize,
    out: Vec<u8>,
}

/// The state of the schema that is being written.
#[derive(Default)]
struct SchemaState {
    is_typed: bool,
    has_properties: bool,
    /// The common type of all values of its enumeration.
    kind: Option<&'static str>,
}

impl<'a> Sanitiser<'a> {
    /// Definitions keep their names; those of older drafts move to `$defs`. They are added to the last
    /// written object.
    fn definitions(&mut self, root: &Members<'_>) {
        let named = |key: &str| root.get(key).and_then(Members::of);
        let (old, new) = (named("definitions"), named("$defs"));
        let names: HashSet<Cow<'_, str>> = match (&old, &new) {
            (Some(_), Some(new)) => new.iter().map(|(name, _)| name).collect(),
            _ => HashSet::new(),
        };
        let mut is_first = true;
        let old = old.iter().flat_map(Members::iter).filter(|(name, _)| !names.contains(name));
        for (name, schema) in old.chain(new.iter().flat_map(Members::iter)) {
            if is_first {
                self.out.pop();
                self.name("$defs");
                self.out.push(b'{');
                is_first = false;
            }
            self.name(&name);
            self.any(schema, 1);
        }
        if !is_first {
            self.out.extend_from_slice(b"}}");
        }
    }

    fn name(&mut self, name: &str) {
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
        push_string(&mut self.out, name);
        self.out.push(b':');
    }

    fn member(&mut self, name: &str, value: &str) {
        self.name(name);
        self.out.extend_from_slice(value.as_bytes());
        self.room = self.room.saturating_sub(value.len());
    }

    fn any(&mut self, schema: &str, depth: usize) {
        if schema == "true" {
            return self.out.extend_from_slice(b"{}");
        }
        let members = Members::of(schema);
        let Some(members) =
            members.filter(|_| depth < DEPTH_LIMIT && self.size < SIZE_LIMIT && self.room > 0)
        else {
            let what = if schema.starts_with('{') { "(depth or size)" } else { "false" };
            self.weakened.insert(what.to_owned());
            return self.out.extend_from_slice(b"{}");
        };
        self.size += 1;
        self.object(&members, depth);
    }

    /// The output of [`any`](Self::any), separately.
    fn apart(&mut self, schema: &str, depth: usize) -> String {
        let start = self.out.len();
        self.any(schema, depth);
        text(self.out.split_off(start))
    }

    fn object(&mut self, schema: &Members<'_>, depth: usize) {
        if let Some(reference) = schema.get("$ref").and_then(string) {
            return self.reference(&reference, schema, depth);
        }
        let start = self.out.len();
        let mut said = SchemaState::default();
        self.out.push(b'{');
        for (key, value) in schema.iter() {
            self.keyword((&key, value), schema, depth, &mut said);
        }
        let is_nullable = schema.get("nullable") == Some("true");
        if is_nullable || schema.has("const") || schema.has("allOf") {
            self.out.push(b'}');
            let mut whole = OpenSchema::of(&text(self.out.split_off(start)));
            self.all_of(schema, depth, &mut whole);
            whole.exact(schema.get("const"), is_nullable);
            whole.complete();
            return whole.write(&mut self.out);
        }
        if let Some(kind) = said.missing_type() {
            self.member("type", &format!("\"{kind}\""));
        }
        self.out.push(b'}');
    }

    fn keyword(
        &mut self,
        (key, value): (&str, &str),
        schema: &Members<'_>,
        depth: usize,
        said: &mut SchemaState,
    ) {
        said.is_typed |= matches!(key, "type" | "anyOf" | "oneOf");
        match key {
            "properties" => {
                if let Some(properties) = Members::of(value) {
                    said.has_properties = true;
                    self.name(key);
                    self.out.push(b'{');
                    for (name, schema) in properties.iter() {
                        self.name(&name);
                        self.any(schema, depth + 1);
                    }
                    self.out.push(b'}');
                }
            }
            "items" if value.starts_with('[') => {
                if !schema.has("prefixItems") {
                    self.list("prefixItems", value, depth);
                }
            }
            "additionalProperties" if matches!(value, "true" | "false") => self.member(key, value),
            "items" | "additionalProperties" => {
                self.name(key);
                self.any(value, depth + 1);
            }
            "prefixItems" | "anyOf" => self.list(key, value, depth),
            // The API reads `oneOf` as `anyOf`, so it is written so.
            "oneOf" if !schema.has("anyOf") => self.list("anyOf", value, depth),
            "allOf" | "const" | "$defs" | "definitions" | "nullable" => {}
            _ if KEPT.contains(&key) => {
                if key == "enum" {
                    said.kind = kind_of_all(value);
                }
                self.member(key, value);
            }
            _ if ANNOTATIONS.contains(&key) || key.starts_with("x-") => {}
            _ => {
                self.weakened.insert(key.to_owned());
            }
        }
    }

    fn list(&mut self, key: &str, value: &str, depth: usize) {
        self.name(key);
        self.out.push(b'[');
        for (position, schema) in Items::of(value).enumerate() {
            if position > 0 {
                self.out.push(b',');
            }
            self.any(schema, depth + 1);
        }
        self.out.push(b']');
    }

    /// `allOf` is merged into the surrounding schema; duplicates are kept once.
    fn all_of(&mut self, schema: &Members<'_>, depth: usize, whole: &mut OpenSchema) {
        for part in schema.get("allOf").into_iter().flat_map(Items::of) {
            let part = self.inlined(part, depth);
            for (key, value) in Members::of(&part).iter().flat_map(Members::iter) {
                if !whole.merge(&key, value) {
                    self.weakened.insert("allOf".to_owned());
                }
            }
        }
    }

    /// The schema of a reference, inlined. A cycle keeps the reference.
    fn inlined(&mut self, schema: &str, depth: usize) -> String {
        let reference = Members::of(schema).and_then(|schema| string(schema.get("$ref")?));
        let Some(reference) = reference else { return self.apart(schema, depth + 1) };
        let Some(target) = self.find(&reference) else { return self.apart(schema, depth + 1) };
        if self.open.iter().any(|open| *open == reference) || depth >= DEPTH_LIMIT {
            self.weakened.insert("allOf".to_owned());
            return "{}".to_owned();
        }
        self.open.push(reference.into_owned());
        let found = self.inlined(target, depth + 1);
        self.open.pop();
        found
    }

    /// A reference may have no siblings: descriptive siblings are dropped; with others the reference is
    /// inlined.
    fn reference(&mut self, reference: &str, schema: &Members<'_>, depth: usize) {
        let is_text = |key: &str| {
            matches!(key, "$ref" | "title" | "description" | "default" | "$defs" | "definitions")
                || ANNOTATIONS.contains(&key)
        };
        let to_definition = ["#/$defs/", "#/definitions/"]
            .iter()
            .find_map(|start| reference.strip_prefix(start).filter(|name| !name.contains('/')));
        let target = self.find(reference);
        if let (Some(name), Some(_)) = (to_definition, target)
            && depth > 0
            && schema.iter().all(|(key, _)| is_text(&key))
        {
            self.out.push(b'{');
            self.name("$ref");
            push_string(&mut self.out, &format!("#/$defs/{name}"));
            return self.out.push(b'}');
        }
        let (Some(target), false) = (target, self.open.iter().any(|open| open == reference)) else {
            self.weakened.insert("$ref".to_owned());
            return self.out.extend_from_slice(b"{}");
        };
        if depth >= DEPTH_LIMIT || self.room == 0 {
            return self.out.extend_from_slice(b"{}");
        }
        self.open.push(reference.to_owned());
        let merged = beside(target, schema);
        self.room = self.room.saturating_sub(merged.len());
        if let Some(merged) = Members::of(&merged) {
            self.object(&merged, depth + 1);
        }
        self.open.pop();
    }

    /// The target of a reference within the schema.
    fn find(&mut self, reference: &str) -> Option<&'a str> {
        let path = reference.strip_prefix('#')?;
        let is_short = path.bytes().filter(|byte| *byte == b'/').take(STEP_LIMIT + 1).count() <= STEP_LIMIT;
        if is_short { self.at(path) } else { None }
    }

    fn at(&mut self, path: &str) -> Option<&'a str> {
        if path.is_empty() {
            return Some(self.root);
        }
        let (parent, step) = path.rsplit_once('/')?;
        if !self.lookups.contains_key(parent) {
            let lookup = ReferenceIndex::of(self.at(parent)?);
            self.lookups.insert(parent.to_owned(), lookup);
        }
        self.lookups[parent].get(&step.replace("~1", "/").replace("~0", "~"))
    }
}

fn text(bytes: Vec<u8>) -> String {
    // Everything written is UTF-8.
    String::from_utf8(bytes).unwrap_or_default()
}

/// The schema of a reference, with the reference's siblings overriding its members.
fn beside(target: &str, schema: &Members<'_>) -> String {
    let mut own: HashMap<Cow<'_, str>, &str> = schema.iter().filter(|(name, _)| name != "$ref").collect();
    let mut out = vec![b'{'];
    let mut push = |name: &str, value: &str| {
        if out.len() > 1 {
            out.push(b',');
        }
        push_string(&mut out, name);
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    };
    for (name, value) in Members::of(target).iter().flat_map(Members::iter) {
        push(&name, own.remove(&name).unwrap_or(value));
    }
    for (name, value) in schema.iter().filter(|(name, _)| own.contains_key(name)) {
        push(&name, value);
    }
    out.push(b'}');
    text(out)
}

/// An index of the members or items that references point into.
struct ReferenceIndex<'a> {
    members: Option<Members<'a>>,
    /// The members ordered by name.
    order: Vec<u32>,
    items: Vec<&'a str>,
}

impl<'a> ReferenceIndex<'a> {
    fn of(json: &'a str) -> Self {
        let members = Members::of(json);
        let count = members.as_ref().map_or(0, Members::len);
        let mut order: Vec<u32> = (0..count as u32).collect();
        if let Some(members) = &members {
            order.sort_by_cached_key(|place| members.at(*place as usize).0);
        }
        Self { members, order, items: Items::of(json).collect() }
    }

    fn get(&self, step: &str) -> Option<&'a str> {
        let Some(members) = &self.members else {
            return self.items.get(step.parse::<usize>().ok()?).copied();
        };
        let found = self.order.binary_search_by(|place| (*members.at(*place as usize).0).cmp(step)).ok()?;
        Some(members.at(self.order[found] as usize).1)
    }
}

impl SchemaState {
    /// The type that the API requires besides properties and enums.
    fn missing_type(&self) -> Option<&'static str> {
        match self {
            Self { is_typed: true, .. } => None,
            Self { has_properties: true, .. } => Some("object"),
            Self { kind, .. } => *kind,
        }
    }
}

/// A written schema whose members can still change: at most as many as there are keywords.
struct OpenSchema(Vec<(String, Part)>);

/// A member of it.
enum Part {
    Text(String),
    /// Properties or required names that can grow: without the closing bracket.
    Growing {
        known: HashSet<String>,
        text: String,
        end: char,
    },
}

impl OpenSchema {
    fn of(written: &str) -> Self {
        let members = Members::of(written);
        let members = members.iter().flat_map(Members::iter);
        Self(members.map(|(name, value)| (name.into_owned(), Part::Text(value.to_owned()))).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        match self.0.iter().find(|(own, _)| own == name)? {
            (_, Part::Text(text) | Part::Growing { text, .. }) => Some(text),
        }
    }

    fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(own, _)| own == name) {
            Some((_, part)) => *part = Part::Text(value),
            None => self.0.push((name.to_owned(), Part::Text(value))),
        }
    }

    /// False when the two conflict and a restriction is lost.
    fn merge(&mut self, key: &str, value: &str) -> bool {
        let Some((_, mine)) = self.0.iter_mut().find(|(own, _)| own == key) else {
            self.set(key, value.to_owned());
            return true;
        };
        match key {
            "properties" => {
                let theirs = Members::of(value);
                for (name, schema) in theirs.iter().flat_map(Members::iter) {
                    mine.add(&name, |text| {
                        let mut bytes = Vec::new();
                        push_string(&mut bytes, &name);
                        text.push_str(&String::from_utf8_lossy(&bytes));
                        text.push(':');
                        text.push_str(schema);
                    });
                }
                true
            }
            "required" => {
                for name in Items::of(value) {
                    mine.add(&string(name).unwrap_or(Cow::Borrowed(name)), |text| text.push_str(name));
                }
                true
            }
            "title" | "description" | "default" => true,
            _ => {
                let mean = |text: &str| serde_json::from_str::<ValueHash>(text).ok();
                matches!(mine, Part::Text(own) if own == value || mean(own) == mean(value))
            }
        }
    }

    /// `const` is an `enum` with one value; OpenAPI's `nullable` is an additional type.
    fn exact(&mut self, constant: Option<&str>, is_nullable: bool) {
        if let Some(value) = constant {
            self.set("enum", format!("[{value}]"));
        }
        if is_nullable
            && let Some(kind) =
                self.get("type").filter(|kind| kind.starts_with('"') && !is_text(kind, "null"))
        {
            let kinds = format!("[{kind},\"null\"]");
            self.set("type", kinds);
        }
    }

    fn complete(&mut self) {
        let said = SchemaState {
            is_typed: self.get("type").or(self.get("anyOf")).is_some(),
            has_properties: self.get("properties").is_some(),
            kind: self.get("enum").and_then(kind_of_all),
        };
        if let Some(kind) = said.missing_type() {
            self.set("type", format!("\"{kind}\""));
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (position, (name, part)) in self.0.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            push_string(out, name);
            out.push(b':');
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Growing { text, end, .. } => {
                    out.extend_from_slice(text.as_bytes());
                    out.push(*end as u8);
                }
            }
        }
        out.push(b'}');
    }
}

impl Part {
    /// Adds a member under a new name.
    fn add(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        if let Self::Text(text) = self {
            let known = match Members::of(text) {
                Some(members) => members.iter().map(|(name, _)| name.into_owned()).collect(),
                None => Items::of(text)
                    .map(|item| string(item).map_or_else(|| item.to_owned(), Cow::into_owned))
                    .collect(),
            };
            let Some(end) = text.pop() else { return };
            *self = Self::Growing { known, text: std::mem::take(text), end };
        }
        if let Self::Growing { known, text, .. } = self
            && known.insert(name.to_owned())
        {
            if !text.ends_with(['{', '[']) {
                text.push(',');
            }
            write(text);
        }
    }
}

/// The common type of all values.
fn kind_of_all(values: &str) -> Option<&'static str> {
    let mut kinds = Items::of(values).map(|value| match value.as_bytes().first() {
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'[') => "array",
        Some(b'{') => "object",
        Some(b'n') => "null",
        _ if value.parse::<i64>().is_ok() || value.parse::<u64>().is_ok() => "integer",
        _ => "number",
    });
    let first = kinds.next()?;
    kinds.all(|kind| kind == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(schema: Value, expected: Value, weakened: &[&str]) {
        let found = sanitise(&Json::of(&schema)).unwrap();
        assert_eq!(found.schema.to_value().unwrap(), expected, "{schema}");
        let names: Vec<_> = found.weakened.iter().map(String::as_str).collect();
        assert_eq!(names, weakened, "{schema}");
    }

    #[test]
    fn unknown_keywords_are_removed_and_property_names_stay() {
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
    fn references_are_kept_or_inlined() {
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
    fn a_reference_at_the_root_is_inlined_and_cycles_end() {
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
    fn schemas_without_parameters_are_recognised() {
        for schema in [json!({}), json!({"type": "object", "properties": {}, "additionalProperties": false})]
        {
            assert!(is_empty_object(&Json::of(&schema)), "{schema}");
        }
        for schema in [
            json!({"type": "object", "additionalProperties": true}),
            json!({"type": "object", "properties": {"a": {}}}),
            json!({"anyOf": []}),
        ] {
            assert!(!is_empty_object(&Json::of(&schema)), "{schema}");
        }
    }
}
