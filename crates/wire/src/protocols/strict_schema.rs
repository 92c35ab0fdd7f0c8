//! The subset of JSON schema that OpenAI enforces (`strict`), on all of its endpoints.
//!
//! A schema outside of that subset is refused as a whole. This check finds only certain refusals: those in
//! the guide "Structured outputs", section "Supported schemas", and those in the API's own errors. About
//! other keywords (`minLength`, `uniqueItems`, `default`, formats) sources differ, so the provider decides.
//!
//! The text is read in place: callers can send schemas of any size, and values of them take many times their
//! text.

use std::borrow::Cow;
use std::ops::Range;

use crate::json::{Kind, Scanner, Syntax, Text, text_of};

/// Maximum number of properties in all objects of a schema.
const PROPERTIES: usize = 5_000;
/// Maximum nesting of objects. The guide says ten levels and not whether the outermost is one of them: one
/// more is allowed.
const LEVELS: usize = 11;
/// Maximum number of values in all enumerations of a schema.
const ENUM_VALUES: usize = 1_000;
/// Maximum characters of all names and of all listed values.
const CHARACTERS: usize = 120_000;
/// An enumeration of strings with more values than this …
const LARGE_ENUM: usize = 250;
/// … may have at most this many characters.
const LARGE_ENUM_CHARACTERS: usize = 15_000;

/// Refused keywords. The guide lists the first six. For the others, the API answers as for `oneOf`: "'oneOf'
/// is not permitted" (can1357/oh-my-pi#209 and vercel-labs/json-render#180, February and March 2026).
const REFUSED: [&str; 10] = [
    "allOf",
    "not",
    "dependentRequired",
    "dependentSchemas",
    "if",
    "then",
    "else",
    "oneOf",
    "patternProperties",
    "propertyNames",
];

/// Why a schema that should be enforced is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Its root is not an object, or is a choice.
    Root,
    /// An object allows further members.
    Open,
    /// `required` and `properties` do not list the same names.
    Optional,
    /// A schema has no type.
    Untyped,
    Keyword(&'static str),
    TooManyProperties,
    TooDeep,
    TooManyValues,
    TooManyCharacters,
}

impl Unfit {
    /// The reason in a sentence.
    pub(crate) fn reason(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Root => "The model enforces only schemas whose root is an object.",
            Self::Open => "The model enforces only objects with `additionalProperties: false`.",
            Self::Optional => "The model enforces only objects of which every property is required.",
            Self::Untyped => "The model enforces only schemas that all name a type.",
            Self::Keyword(name) => {
                return Cow::Owned(format!("The model cannot enforce `{name}`."));
            }
            Self::TooManyProperties => "The model enforces schemas of at most 5,000 properties.",
            Self::TooDeep => "The model enforces schemas of at most ten nested objects.",
            Self::TooManyValues => "The model enforces schemas of at most 1,000 enumerated values.",
            Self::TooManyCharacters => {
                "The model enforces schemas whose names and enumerated values are at most 120,000 characters, and 15,000 in one large enumeration."
            }
        })
    }
}

/// Checks whether a schema that should be enforced is certainly refused.
pub(crate) fn check(schema: &[u8]) -> Result<(), Unfit> {
    let mut checker = Checker::default();
    let mut scanner = Scanner::new(schema);
    match checker.schema(&mut scanner, SchemaPosition { is_root: true, level: 0 }) {
        Err(Stop::Unfit(unfit)) => Err(unfit),
        // For an unreadable schema the provider's own error is better.
        Err(Stop::Unreadable) | Ok(()) => Ok(()),
    }
}

enum Stop {
    Unfit(Unfit),
    Unreadable,
}

impl From<Syntax> for Stop {
    fn from(_: Syntax) -> Self {
        Self::Unreadable
    }
}

impl From<Unfit> for Stop {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

/// The place of a schema in the whole.
#[derive(Clone, Copy)]
struct SchemaPosition {
    is_root: bool,
    /// Its depth in objects.
    level: usize,
}

/// The totals over the whole schema.
#[derive(Default)]
struct Checker {
    properties: usize,
    enum_values: usize,
    characters: usize,
}

/// The keywords of one schema.
#[derive(Default)]
struct SchemaKeywords {
    is_object: bool,
    is_closed: bool,
    /// It restricts values: by a type, a choice, a reference or a list of values.
    is_typed: bool,
    is_choice: bool,
    properties: Names,
    required: Names,
}

/// Names of an object, in any order: their number, and the sum of their hashes. Lists of them would take
/// memory that callers control.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Names {
    count: usize,
    sum: u64,
}

impl Names {
    fn add(&mut self, name: &str) {
        // FNV-1a. A caller who constructs a collision gets the provider's own error.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash);
    }
}

impl Checker {
    fn schema(&mut self, scanner: &mut Scanner<'_>, place: SchemaPosition) -> Result<(), Stop> {
        if scanner.kind()? != Kind::Object {
            scanner.value()?;
            return Ok(());
        }
        let mut seen = SchemaKeywords::default();
        scanner.object::<Stop>(|scanner, key| {
            let keyword = name(scanner, &key)?;
            self.keyword(&keyword, scanner, place, &mut seen)
        })?;
        if place.is_root && (!seen.is_object || seen.is_choice) {
            return Err(Unfit::Root.into());
        }
        if !seen.is_typed {
            return Err(Unfit::Untyped.into());
        }
        if (seen.is_object || seen.properties.count > 0) && !seen.is_closed {
            return Err(Unfit::Open.into());
        }
        if seen.properties != seen.required {
            return Err(Unfit::Optional.into());
        }
        Ok(())
    }

    fn keyword(
        &mut self,
        keyword: &str,
        scanner: &mut Scanner<'_>,
        place: SchemaPosition,
        seen: &mut SchemaKeywords,
    ) -> Result<(), Stop> {
        let inner = SchemaPosition { is_root: false, level: place.level };
        match (keyword, scanner.kind()?) {
            ("type", _) => {
                seen.is_typed = true;
                let raw = scanner.value()?;
                seen.is_object = says_object(&scanner.json()[raw]);
            }
            ("properties", Kind::Object) => {
                let level = place.level + 1;
                if level > LEVELS {
                    return Err(Unfit::TooDeep.into());
                }
                seen.properties = self.named(scanner, SchemaPosition { is_root: false, level })?;
                self.properties += seen.properties.count;
                if self.properties > PROPERTIES {
                    return Err(Unfit::TooManyProperties.into());
                }
            }
            ("required", Kind::Array) => seen.required = listed(scanner)?,
            ("additionalProperties", Kind::Bool) => {
                let raw = scanner.value()?;
                seen.is_closed = scanner.json()[raw] == *b"false";
            }
            ("$defs" | "definitions", Kind::Object) => {
                self.named(scanner, SchemaPosition { is_root: false, level: 0 })?;
            }
            ("items", Kind::Object) => self.schema(scanner, inner)?,
            ("anyOf", Kind::Array) => {
                (seen.is_typed, seen.is_choice) = (true, true);
                scanner.array::<Stop>(|scanner, _| self.schema(scanner, inner))?;
            }
            ("$ref", _) => {
                seen.is_typed = true;
                scanner.value()?;
            }
            ("const", _) => {
                seen.is_typed = true;
                self.characters_of(scanner)?;
            }
            ("enum", Kind::Array) => {
                seen.is_typed = true;
                self.enumeration(scanner)?;
            }
            _ => {
                if let Some(refused) = REFUSED.iter().find(|name| **name == keyword) {
                    return Err(Unfit::Keyword(refused).into());
                }
                scanner.value()?;
            }
        }
        Ok(())
    }

    /// Schemas by name.
    fn named(&mut self, scanner: &mut Scanner<'_>, place: SchemaPosition) -> Result<Names, Stop> {
        let mut names = Names::default();
        scanner.object::<Stop>(|scanner, key| {
            let name = name(scanner, &key)?;
            names.add(&name);
            self.count(name.chars().count())?;
            self.schema(scanner, place)
        })?;
        Ok(names)
    }

    fn enumeration(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Stop> {
        let (mut values, mut characters) = (0, 0);
        scanner.array::<Stop>(|scanner, _| {
            values += 1;
            characters += self.characters_of(scanner)?;
            Ok(())
        })?;
        self.enum_values += values;
        if self.enum_values > ENUM_VALUES {
            return Err(Unfit::TooManyValues.into());
        }
        if values > LARGE_ENUM && characters > LARGE_ENUM_CHARACTERS {
            return Err(Unfit::TooManyCharacters.into());
        }
        Ok(())
    }

    /// The characters of a value, if it is a string.
    fn characters_of(&mut self, scanner: &mut Scanner<'_>) -> Result<usize, Stop> {
        if scanner.kind()? != Kind::String {
            scanner.value()?;
            return Ok(0);
        }
        let text = scanner.string()?;
        let characters = name(scanner, &text)?.chars().count();
        self.count(characters)?;
        Ok(characters)
    }

    fn count(&mut self, characters: usize) -> Result<(), Stop> {
        self.characters += characters;
        if self.characters > CHARACTERS { Err(Unfit::TooManyCharacters.into()) } else { Ok(()) }
    }
}

fn name<'a>(scanner: &Scanner<'a>, text: &Text) -> Result<Cow<'a, str>, Stop> {
    text_of(scanner.json(), text).ok_or(Stop::Unreadable)
}

/// The strings of a list.
fn listed(scanner: &mut Scanner<'_>) -> Result<Names, Stop> {
    let mut names = Names::default();
    scanner.array::<Stop>(|scanner, _| {
        let text = scanner.string()?;
        names.add(&name(scanner, &text)?);
        Ok(())
    })?;
    Ok(names)
}

/// `"object"`, or a list of types with it.
fn says_object(raw: &[u8]) -> bool {
    serde_json::from_slice::<Cow<'_, str>>(raw).is_ok_and(|kind| kind == "object")
        || serde_json::from_slice::<Vec<Cow<'_, str>>>(raw)
            .is_ok_and(|kinds| kinds.iter().any(|kind| kind == "object"))
}

/// A part of a request that asks for an enforced schema: the position of the word `true`, and the schema.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    pub(crate) strict: Range<usize>,
    pub(crate) schema: Range<usize>,
}

impl Demand {
    /// The demand of an object with `strict` and, by the name `schema`, the schema.
    pub(crate) fn of(scanner: &mut Scanner<'_>, schema: &str) -> Result<Option<Self>, Syntax> {
        let (mut strict, mut found) = (None, None);
        scanner.object::<Syntax>(|scanner, key| {
            let key = text_of(scanner.json(), &key);
            let range = scanner.value()?;
            match key.as_deref() {
                Some("strict") if scanner.json()[range.clone()] == *b"true" => strict = Some(range),
                Some(name) if name == schema && scanner.json()[range.start] == b'{' => found = Some(range),
                _ => {}
            }
            Ok(())
        })?;
        Ok(strict.zip(found).map(|(strict, schema)| Self { strict, schema }))
    }

    /// The demand in the member `member` of an object, as in `{"type": "function", "function": {…}}`.
    pub(crate) fn within(
        scanner: &mut Scanner<'_>,
        member: &str,
        schema: &str,
    ) -> Result<Option<Self>, Syntax> {
        let mut found = None;
        scanner.object::<Syntax>(|scanner, key| {
            let is_it = text_of(scanner.json(), &key).as_deref() == Some(member);
            if is_it && scanner.kind()? == Kind::Object {
                found = Self::of(scanner, schema)?;
            } else {
                scanner.value()?;
            }
            Ok(())
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn checked(schema: &Value) -> Result<(), Unfit> {
        check(schema.to_string().as_bytes())
    }

    /// A closed object with these members, all required.
    fn object(properties: Value) -> Value {
        let required: Vec<String> = properties.as_object().unwrap().keys().cloned().collect();
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    }

    #[test]
    fn schemas_that_the_guide_supports_are_valid() {
        let step = object(json!({"explanation": {"type": "string"}, "output": {"type": ["string", "null"]}}));
        let mut linked = object(json!({
            "value": {"type": "number", "multipleOf": 2, "minimum": 0, "exclusiveMaximum": 9},
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            "root": {"$ref": "#"}
        }));
        linked["$defs"] = json!({"node": object(json!({"next": {"$ref": "#/$defs/node"}}))});
        let sound = [
            object(json!({})),
            object(json!({"steps": {"type": "array", "items": step, "minItems": 1, "maxItems": 5}})),
            linked,
            object(
                json!({"kind": {"type": "string", "enum": ["a", "b"]}, "c": {"const": "x"}, "e": {"enum": [1, null]}}),
            ),
            // Names that look like keywords.
            object(
                json!({"allOf": {"type": "string"}, "required": {"type": "string"}, "if": {"type": "null"}}),
            ),
            // Keywords about which sources differ are left to the provider.
            object(
                json!({"s": {"type": "string", "minLength": 1, "pattern": "a", "format": "uri", "default": "x"},
                "l": {"type": "array", "items": {"type": "integer"}, "uniqueItems": true, "description": "not"}}),
            ),
        ];
        for schema in &sound {
            assert_eq!(checked(schema), Ok(()), "{schema}");
        }
        // The order and the spelling of names do not matter.
        let written = r#"{"required":["b","\u0061"],"additionalProperties":false,"properties":{"a":{"type":"null"},"b":{"type":"null"}},"typ\u0065":"object"}"#;
        assert_eq!(check(written.as_bytes()), Ok(()));
        assert_eq!(check(b"{\"type\":"), Ok(()), "what cannot be read is left to the provider");
    }

    #[test]
    fn certain_refusals_are_found_at_every_depth() {
        let string = json!({"type": "string"});
        let mut open = object(json!({"a": string}));
        open.as_object_mut().unwrap().shift_remove("additionalProperties");
        let map = json!({"type": "object", "properties": {}, "additionalProperties": {"type": "string"}});
        let mut optional = object(json!({"a": string, "b": string}));
        optional["required"] = json!(["a"]);
        let mut unknown = object(json!({"a": string}));
        unknown["required"] = json!(["a", "b"]);
        let inner = [
            (open, Unfit::Open),
            (map, Unfit::Open),
            (
                json!({"properties": {"a": string}, "type": ["object", "null"], "required": ["a"]}),
                Unfit::Open,
            ),
            (optional, Unfit::Optional),
            (unknown, Unfit::Optional),
            (json!({}), Unfit::Untyped),
            (json!({"description": "anything"}), Unfit::Untyped),
            (json!({"type": "string", "not": {"type": "null"}}), Unfit::Keyword("not")),
            (json!({"oneOf": [string]}), Unfit::Keyword("oneOf")),
            (json!({"allOf": [{"$ref": "#/$defs/a"}]}), Unfit::Keyword("allOf")),
            (json!({"type": "object", "propertyNames": string}), Unfit::Keyword("propertyNames")),
        ];
        for (schema, unfit) in inner {
            let mut defined = object(json!({"a": {"$ref": "#/$defs/a"}}));
            defined["$defs"] = json!({"a": schema});
            let places = [
                object(json!({"a": schema})),
                object(json!({"a": {"type": "array", "items": schema}})),
                object(json!({"a": {"anyOf": [string, schema]}})),
                object(json!({"a": object(json!({"b": schema}))})),
                defined,
            ];
            for place in places {
                assert_eq!(checked(&place), Err(unfit), "{place}");
            }
        }
        let mut choice = object(json!({}));
        choice["anyOf"] = json!([object(json!({}))]);
        for root in
            [json!({"type": "array", "items": string}), json!({"$ref": "#/$defs/a"}), choice, json!({})]
        {
            assert_eq!(checked(&root), Err(Unfit::Root), "{root}");
        }
    }

    #[test]
    fn schemas_beyond_the_size_limits_are_refused() {
        let string = json!({"type": "string"});
        let many = |count: usize| (0..count).map(|at| (format!("p{at}"), string.clone())).collect::<Value>();
        assert_eq!(checked(&object(many(5_000))), Ok(()));
        assert_eq!(checked(&object(many(5_001))), Err(Unfit::TooManyProperties));
        assert_eq!(
            checked(&object(json!({"a": object(many(2_500)), "b": object(many(2_499))}))),
            Err(Unfit::TooManyProperties)
        );
        let nested =
            |levels: usize| (1..levels).fold(object(json!({})), |inner, _| object(json!({"a": inner})));
        assert_eq!(checked(&nested(11)), Ok(()));
        assert_eq!(checked(&nested(12)), Err(Unfit::TooDeep));
        let values = |count: usize, length: usize| {
            let values: Vec<String> = (0..count).map(|at| format!("{at:0>length$}")).collect();
            json!({"type": "string", "enum": values})
        };
        assert_eq!(checked(&object(json!({"a": values(600, 4), "b": values(400, 4)}))), Ok(()));
        assert_eq!(
            checked(&object(json!({"a": values(600, 4), "b": values(401, 4)}))),
            Err(Unfit::TooManyValues)
        );
        assert_eq!(checked(&object(json!({"a": values(250, 100)}))), Ok(()));
        assert_eq!(checked(&object(json!({"a": values(300, 60)}))), Err(Unfit::TooManyCharacters));
        // Characters, not bytes.
        let wide = |length: usize| object(json!({"é".repeat(length): string}));
        assert_eq!(checked(&wide(120_000)), Ok(()));
        assert_eq!(checked(&wide(120_001)), Err(Unfit::TooManyCharacters));
    }
}
