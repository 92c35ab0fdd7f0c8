//! The fields of an object, by their positions in its text.

use std::borrow::Cow;
use std::ops::Range;

use super::{Edit, Syntax, Text, text_of};

/// Names and positions of an object's fields. Names are unescaped.
#[derive(Clone, Debug)]
pub struct Index<'a> {
    json: &'a [u8],
    places: FieldPositions,
}

/// The same without the text, to be stored beside it.
#[derive(Clone, Debug)]
pub struct FieldPositions(Vec<Field>);

#[derive(Clone, Debug)]
struct Field {
    /// Between the quotes.
    key: Range<usize>,
    value: Range<usize>,
    /// The unescaped name, where it is written with escapes.
    escaped: Option<Box<str>>,
}

impl FieldPositions {
    /// Empty, with this capacity.
    pub fn new(room: usize) -> Self {
        Self(Vec::with_capacity(room))
    }

    /// Adds the field of this key with a known name.
    pub fn push(&mut self, name: Cow<'_, str>, key: &Text, value: Range<usize>) {
        let escaped = match name {
            Cow::Borrowed(_) => None,
            Cow::Owned(name) => Some(name.into_boxed_str()),
        };
        self.0.push(Field { key: key.range.clone(), value, escaped });
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The raw value of a field.
    pub fn get<'a>(&self, json: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let field = self.0.iter().find(|field| field.is(json, name))?;
        Some(&json[field.value.clone()])
    }

    /// The names with their raw values.
    pub fn iter<'a>(&'a self, json: &'a [u8]) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.0.iter().map(|field| (field.name(json), &json[field.value.clone()]))
    }

    /// An edit of the object.
    pub fn edit<'a>(&self, json: &'a [u8]) -> Edit<'a> {
        Edit::new(json, self.0.iter().map(|field| (field.key.clone(), field.value.end)))
    }
}

impl Field {
    fn is(&self, json: &[u8], name: &str) -> bool {
        match &self.escaped {
            None => &json[self.key.clone()] == name.as_bytes(),
            Some(text) => **text == *name,
        }
    }

    fn name<'a>(&'a self, json: &'a [u8]) -> &'a str {
        match &self.escaped {
            // Indexed text has been checked to be UTF-8.
            None => std::str::from_utf8(&json[self.key.clone()]).unwrap_or_default(),
            Some(text) => text,
        }
    }
}

/// The unescaped key.
pub fn name<'a>(json: &'a [u8], key: &Text) -> Result<Cow<'a, str>, Syntax> {
    text_of(json, key).ok_or(Syntax { at: key.range.start, expected: "a readable name" })
}

impl<'a> Index<'a> {
    /// An empty index of an object in `json`, with this capacity.
    pub fn new(json: &'a [u8], room: usize) -> Self {
        Self { json, places: FieldPositions::new(room) }
    }

    /// The unescaped key.
    pub fn name(&self, key: &Text) -> Result<Cow<'a, str>, Syntax> {
        name(self.json, key)
    }

    /// Adds the field of this key.
    pub fn push(&mut self, name: Cow<'a, str>, key: &Text, value: Range<usize>) {
        self.places.push(name, key, value);
    }

    /// The raw value of a field.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.places.get(self.json, name)
    }

    /// An edit of the object.
    pub fn edit(&self) -> Edit<'a> {
        self.places.edit(self.json)
    }
}
