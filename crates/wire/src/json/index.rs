//! The fields of one object, by where they stand in its text.

use std::borrow::Cow;
use std::ops::Range;

use super::{Edit, Syntax, Text, text_of};

/// Names and places of an object's fields. Names are what they mean, also where they are written with escapes.
#[derive(Clone, Debug)]
pub struct Index<'a> {
    json: &'a [u8],
    fields: Vec<Field<'a>>,
}

/// One field.
#[derive(Clone, Debug)]
struct Field<'a> {
    name: Cow<'a, str>,
    /// From the key's opening quote to the value's end.
    whole: Range<usize>,
    value: Range<usize>,
}

impl<'a> Index<'a> {
    /// An empty index of an object in `json`, with room for so many fields.
    pub fn new(json: &'a [u8], room: usize) -> Self {
        Self { json, fields: Vec::with_capacity(room) }
    }

    /// What a key says.
    pub fn name(&self, key: &Text) -> Result<Cow<'a, str>, Syntax> {
        text_of(self.json, key).ok_or(Syntax { at: key.range.start, expected: "a readable name" })
    }

    /// Adds the field of this key.
    pub fn push(&mut self, name: Cow<'a, str>, key: &Text, value: Range<usize>) {
        self.fields.push(Field { name, whole: key.range.start - 1..value.end, value });
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// The raw value of a field.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        let field = self.fields.iter().find(|field| field.name == name)?;
        Some(&self.json[field.value.clone()])
    }

    /// The names with their raw values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a [u8])> {
        self.fields.iter().map(|field| (field.name.as_ref(), &self.json[field.value.clone()]))
    }

    /// An edit of the object.
    pub fn edit(&self) -> Edit<'a> {
        Edit::new(self.json, self.fields.iter().map(|field| (field.name.clone(), field.whole.clone())))
    }
}
