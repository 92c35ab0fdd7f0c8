//! Edits of a body's top-level fields that leave everything else as it was written.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use canon::{Error, ErrorKind, Result};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Removes fields, and sets fields to strings. A field that is set keeps its place, or comes last.
pub(super) fn edit(body: &[u8], removed: &[&str], set: &[(&str, &str)]) -> Result<Bytes> {
    let failed = |_| Error::gateway(ErrorKind::Internal, "The request's body is not a JSON object.");
    let mut fields: Fields<'_> = serde_json::from_slice(body).map_err(failed)?;
    fields.0.retain(|(name, _)| !removed.contains(&name.as_ref()));
    for (name, text) in set {
        let value = Cow::Owned(serde_json::value::to_raw_value(text).map_err(failed)?);
        match fields.0.iter_mut().find(|(known, _)| known == name) {
            Some(field) => field.1 = value,
            None => fields.0.push((Cow::Borrowed(*name), value)),
        }
    }
    serde_json::to_vec(&fields).map(Bytes::from).map_err(failed)
}

/// True when the body has this top-level field.
pub(super) fn has(body: &[u8], field: &str) -> bool {
    serde_json::from_slice::<Fields<'_>>(body)
        .is_ok_and(|fields| fields.0.iter().any(|(name, _)| name == field))
}

/// The fields of an object in their order, with raw values.
struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, RawValue>)>);

impl<'a> Deserialize<'a> for Fields<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'a> Visitor<'a> for FieldsVisitor {
    type Value = Fields<'a>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Fields<'a>, M::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &'a RawValue>()? {
            fields.push((Cow::Owned(name), Cow::Borrowed(value)));
        }
        Ok(Fields(fields))
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_fields_change() {
        let body = br#"{"model": "a", "b": {"x": 1.0,  "y": "\u00e9"}, "stream": true}"#;
        let edited = edit(body, &["model"], &[("v", "1"), ("stream", "no")]).unwrap();
        assert_eq!(edited, &br#"{"b":{"x": 1.0,  "y": "\u00e9"},"stream":"no","v":"1"}"#[..]);
        assert!(has(body, "stream") && !has(body, "x"));
        assert!(edit(b"[]", &[], &[]).is_err());
    }
}
