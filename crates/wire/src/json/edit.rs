//! Edits of an object's top-level fields in its raw text.

use std::borrow::Cow;
use std::ops::Range;

use super::{Scanner, Syntax, text_of};

/// Replaces, removes and adds fields of a JSON object; everything else is copied as it stands.
#[derive(Debug)]
pub struct Edit<'a> {
    json: &'a [u8],
    fields: Vec<Field<'a>>,
}

#[derive(Debug)]
struct Field<'a> {
    name: Cow<'a, str>,
    change: Change,
    /// From the key's opening quote to the value's end.
    range: Range<usize>,
}

#[derive(Debug)]
enum Change {
    Keep,
    Remove,
    /// A whole `"name":value`.
    Replace(Vec<u8>),
}

impl<'a> Edit<'a> {
    /// An edit of `json`, whose fields are given as names and as ranges from the key's opening quote to the value's end.
    pub fn new(json: &'a [u8], fields: impl Iterator<Item = (Cow<'a, str>, Range<usize>)>) -> Self {
        Self {
            json,
            fields: fields.map(|(name, range)| Field { name, change: Change::Keep, range }).collect(),
        }
    }

    /// An edit of the object that `json` is.
    pub fn of(json: &'a [u8]) -> Result<Self, Syntax> {
        let mut scanner = Scanner::new(json);
        let mut fields = Vec::new();
        scanner.object(|scanner, key| {
            let whole = key.range.start - 1..scanner.value()?.end;
            fields.extend(text_of(json, &key).map(|name| (name, whole)));
            Ok::<(), Syntax>(())
        })?;
        scanner.end()?;
        Ok(Self::new(json, fields.into_iter()))
    }

    /// Leaves the field out. False if there is none.
    pub fn remove(&mut self, name: &str) -> bool {
        let found = self.find(name);
        if let Some(field) = found {
            field.change = Change::Remove;
            return true;
        }
        false
    }

    /// Sets the field to a raw value, in its old place or at the end.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: &[u8]) {
        let name = name.into();
        let text = named(&name, value);
        match self.find(&name) {
            Some(field) => field.change = Change::Replace(text),
            None => self.fields.push(Field { name, change: Change::Replace(text), range: 0..0 }),
        }
    }

    /// Gives the field another name, and that name's old place up. Nothing happens if there is none.
    pub fn rename(&mut self, name: &str, new_name: &str, value: &[u8]) {
        if !self.has(name) || name == new_name {
            return;
        }
        self.remove(new_name);
        if let Some(field) = self.find(name) {
            field.change = Change::Replace(named(new_name, value));
            field.name = Cow::Owned(new_name.to_owned());
        }
    }

    /// True when the field is there and stays.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name && !matches!(field.change, Change::Remove))
    }

    /// Writes the object, with room for `spare` more bytes.
    pub fn write(&self, spare: usize) -> Vec<u8> {
        // The object may be a small part of the text.
        let start = self.fields.first().map_or(0, |field| field.range.start);
        let end = self.fields.iter().map(|field| field.range.end).max().unwrap_or(0);
        let mut out = Vec::with_capacity(end.saturating_sub(start) + 2 + spare);
        out.push(b'{');
        let mut pending: Option<Range<usize>> = None;
        for field in &self.fields {
            match &field.change {
                // Neighbours that stay are copied in one go, with what stands between them.
                Change::Keep => match &mut pending {
                    Some(range) => range.end = field.range.end,
                    None => pending = Some(field.range.clone()),
                },
                change => {
                    self.flush(&mut pending, &mut out);
                    if let Change::Replace(text) = change {
                        comma(&mut out);
                        out.extend_from_slice(text);
                    }
                }
            }
        }
        self.flush(&mut pending, &mut out);
        out.push(b'}');
        out
    }

    fn flush(&self, pending: &mut Option<Range<usize>>, out: &mut Vec<u8>) {
        if let Some(range) = pending.take() {
            comma(out);
            out.extend_from_slice(&self.json[range]);
        }
    }

    fn find(&mut self, name: &str) -> Option<&mut Field<'a>> {
        self.fields.iter_mut().find(|field| field.name == name && !matches!(field.change, Change::Remove))
    }
}

fn comma(out: &mut Vec<u8>) {
    if out.len() > 1 {
        out.push(b',');
    }
}

fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(name.len() + value.len() + 3);
    text.push(b'"');
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\":");
    text.extend_from_slice(value);
    text
}
