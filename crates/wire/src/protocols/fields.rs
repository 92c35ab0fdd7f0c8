//! Reads JSON objects member by member, so that an error can name the path of the value at fault.

use std::fmt;

use canon::{CacheMark, Error, Json, Result};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object, in their order and not parsed yet, and the object's path. Null counts as absent.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    members: Vec<(String, &'a RawValue)>,
    path: String,
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder).map(Members)
    }
}

impl<'a> Fields<'a> {
    /// Reads an object at a path; the empty path is the body.
    pub(crate) fn parse(raw: &'a RawValue, path: String) -> Result<Self> {
        match serde_json::from_str::<Members<'a>>(raw.get()) {
            Ok(Members(members)) => Ok(Self { members, path }),
            Err(_) => Err(Error::invalid(path.clone(), format!("{} must be an object.", named(&path)))),
        }
    }

    /// The path of a member.
    pub(crate) fn path(&self, name: &str) -> String {
        match self.path.is_empty() {
            true => name.to_owned(),
            false => format!("{}.{name}", self.path),
        }
    }

    /// The raw value of a member. Of several with one name the last counts.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.members.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value);
        found.filter(|value| value.get() != "null")
    }

    /// A member of type `T`.
    fn read<T: Deserialize<'a>>(&self, name: &str, kind: &str) -> Result<Option<T>> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        match serde_json::from_str(raw.get()) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(self.wrong(name, &format!("must be {kind}."))),
        }
    }

    /// An error about a member.
    pub(crate) fn wrong(&self, name: &str, what: &str) -> Error {
        let path = self.path(name);
        let message = format!("{path} {what}");
        Error::invalid(path, message)
    }

    pub(crate) fn opt_text(&self, name: &str) -> Result<Option<String>> {
        self.read(name, "a string")
    }

    pub(crate) fn text(&self, name: &str) -> Result<String> {
        self.opt_text(name)?.ok_or_else(|| self.wrong(name, "is required and must be a string."))
    }

    pub(crate) fn opt_count(&self, name: &str) -> Result<Option<u64>> {
        self.read(name, "a non-negative whole number")
    }

    pub(crate) fn opt_number(&self, name: &str) -> Result<Option<f64>> {
        self.read(name, "a number")
    }

    pub(crate) fn opt_flag(&self, name: &str) -> Result<Option<bool>> {
        self.read(name, "true or false")
    }

    pub(crate) fn opt_list(&self, name: &str) -> Result<Option<Vec<&'a RawValue>>> {
        self.read(name, "a list")
    }

    pub(crate) fn opt_texts(&self, name: &str) -> Result<Option<Vec<String>>> {
        self.read(name, "a list of strings")
    }

    pub(crate) fn opt_fields(&self, name: &str) -> Result<Option<Fields<'a>>> {
        self.raw(name).map(|raw| Fields::parse(raw, self.path(name))).transpose()
    }

    pub(crate) fn fields(&self, name: &str) -> Result<Fields<'a>> {
        self.opt_fields(name)?.ok_or_else(|| self.wrong(name, "is required and must be an object."))
    }

    pub(crate) fn opt_json(&self, name: &str) -> Option<Json> {
        self.raw(name).map(Json::from)
    }

    /// The member `cache_control`.
    pub(crate) fn cache_mark(&self) -> Result<Option<CacheMark>> {
        let Some(mark) = self.opt_fields("cache_control")? else { return Ok(None) };
        let ttl_seconds = match mark.opt_text("ttl")?.as_deref() {
            None => None,
            Some("5m") => Some(300),
            Some("1h") => Some(3600),
            Some(_) => return Err(mark.wrong("ttl", "must be \"5m\" or \"1h\".")),
        };
        Ok(Some(CacheMark { ttl_seconds }))
    }

    /// The names of the members.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(name, _)| name.as_str())
    }

    /// The members that are not among `known`, as they were written.
    pub(crate) fn into_members(self, known: &[&str]) -> Vec<(String, Json)> {
        let unknown = self.members.into_iter().filter(|(name, _)| !known.contains(&name.as_str()));
        unknown.map(|(name, value)| (name, Json::from(value))).collect()
    }
}

fn named(path: &str) -> &str {
    if path.is_empty() { "The body" } else { path }
}
