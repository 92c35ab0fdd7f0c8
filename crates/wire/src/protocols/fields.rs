//! Reads JSON objects member by member, so that an error can name the path of the invalid value.

use std::borrow::Cow;

use canon::{CacheMark, Error, Json, Result};
use serde::de::DeserializeOwned;

use crate::intake::whole;
use crate::json::{Items, Members, push_string, string};

/// Most texts of a list. Providers accept far fewer (Bedrock 2,500 stop texts), and each is a separate
/// allocation.
pub(crate) const MOST_TEXTS: usize = 8192;

/// The items as texts, in a list without spare capacity, because a text may be as short as one letter. None
/// if an item is not a string.
pub(crate) fn texts_of(items: Items<'_>) -> Option<Vec<String>> {
    let mut texts = Vec::with_capacity(items.count());
    for item in items {
        texts.push(string(item)?.into_owned());
    }
    Some(texts)
}

/// The members of an object, in their order and not parsed yet, and the object's path. Null counts as absent.
pub(crate) struct Fields<'a> {
    members: Members<'a>,
    path: String,
}

impl<'a> Fields<'a> {
    /// Reads an object at a path; the empty path is the body.
    pub(crate) fn parse(json: &'a str, path: String) -> Result<Self> {
        match Members::of(json) {
            Some(members) => Ok(Self { members, path }),
            None => Err(Error::invalid(path.clone(), format!("{} must be an object.", named(&path)))),
        }
    }

    /// The path of a member.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The text of a member's value; the last one of duplicates.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        self.members.last(name).filter(|value| *value != "null")
    }

    /// A member of type `T`.
    fn read<T: DeserializeOwned>(&self, name: &str, kind: &str) -> Result<Option<T>> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        match serde_json::from_str(raw) {
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

    /// A member that is a string, borrowed where it has no escapes.
    pub(crate) fn word(&self, name: &str) -> Result<Option<Cow<'a, str>>> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        string(raw).map(Some).ok_or_else(|| self.wrong(name, "must be a string."))
    }

    pub(crate) fn opt_text(&self, name: &str) -> Result<Option<String>> {
        Ok(self.word(name)?.map(Cow::into_owned))
    }

    pub(crate) fn text(&self, name: &str) -> Result<String> {
        self.opt_text(name)?.ok_or_else(|| self.wrong(name, "is required and must be a string."))
    }

    pub(crate) fn opt_count(&self, name: &str) -> Result<Option<u64>> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let count = whole(raw.as_bytes()).and_then(|count| u64::try_from(count).ok());
        count.map(Some).ok_or_else(|| self.wrong(name, "must be a non-negative whole number."))
    }

    pub(crate) fn opt_number(&self, name: &str) -> Result<Option<f64>> {
        self.read(name, "a number")
    }

    pub(crate) fn opt_flag(&self, name: &str) -> Result<Option<bool>> {
        self.read(name, "true or false")
    }

    /// The items of a member that is a list, as texts.
    pub(crate) fn opt_list(&self, name: &str) -> Result<Option<Items<'a>>> {
        match self.raw(name) {
            None => Ok(None),
            Some(raw) if raw.starts_with('[') => Ok(Some(Items::of(raw))),
            Some(_) => Err(self.wrong(name, "must be a list.")),
        }
    }

    /// The items of a member that is a list; none where there is no such member.
    pub(crate) fn list(&self, name: &str) -> Result<Items<'a>> {
        Ok(self.opt_list(name)?.unwrap_or(Items::of("")))
    }

    pub(crate) fn opt_texts(&self, name: &str) -> Result<Option<Vec<String>>> {
        let wrong = || self.wrong(name, "must be a list of strings.");
        let Some(items) = self.opt_list(name).map_err(|_| wrong())? else { return Ok(None) };
        if items.clone().nth(MOST_TEXTS).is_some() {
            return Err(self.wrong(name, &format!("has more than {MOST_TEXTS} entries.")));
        }
        texts_of(items).map(Some).ok_or_else(wrong)
    }

    pub(crate) fn opt_fields(&self, name: &str) -> Result<Option<Fields<'a>>> {
        self.raw(name).map(|raw| Fields::parse(raw, self.path(name))).transpose()
    }

    pub(crate) fn fields(&self, name: &str) -> Result<Fields<'a>> {
        self.opt_fields(name)?.ok_or_else(|| self.wrong(name, "is required and must be an object."))
    }

    pub(crate) fn opt_json(&self, name: &str) -> Option<Json> {
        self.raw(name).map(Json::copy_of)
    }

    /// The schema of a function's arguments.
    pub(crate) fn opt_schema(&self, name: &str) -> Result<Option<Json>> {
        match self.raw(name) {
            Some(raw) if !raw.starts_with('{') => Err(self.wrong(name, "must be a JSON schema, an object.")),
            raw => Ok(raw.map(Json::copy_of)),
        }
    }

    /// The member `cache_control`.
    pub(crate) fn cache_mark(&self) -> Result<Option<CacheMark>> {
        let Some(mark) = self.opt_fields("cache_control")? else { return Ok(None) };
        let ttl_seconds = match mark.word("ttl")?.as_deref() {
            None => None,
            Some("5m") => Some(300),
            Some("1h") => Some(3600),
            Some(_) => return Err(mark.wrong("ttl", "must be \"5m\" or \"1h\".")),
        };
        Ok(Some(CacheMark { ttl_seconds }))
    }

    /// The names of the members with the texts of their values, except those in `known`.
    pub(crate) fn others(&self, known: &[&str]) -> impl Iterator<Item = (Cow<'a, str>, &'a str)> {
        self.members.iter().filter(|(name, _)| !known.contains(&&**name))
    }

    /// The members that are not in `known`, unchanged.
    pub(crate) fn into_members(self, known: &[&str]) -> Vec<(String, Json)> {
        let unknown = self.others(known);
        unknown.map(|(name, value)| (name.into_owned(), Json::copy_of(value))).collect()
    }

    /// An object of the members that are not in `known`; none when there are none.
    pub(crate) fn object_of_others(&self, known: &[&str]) -> Option<Json> {
        let mut members = self.others(known).peekable();
        members.peek()?;
        Some(object(members))
    }
}

/// An object of these members, whose texts stay unchanged.
pub(crate) fn object<'a>(members: impl Iterator<Item = (Cow<'a, str>, &'a str)>) -> Json {
    let mut text = vec![b'{'];
    for (name, value) in members {
        if text.len() > 1 {
            text.push(b',');
        }
        push_string(&mut text, &name);
        text.push(b':');
        text.extend_from_slice(value.as_bytes());
    }
    text.push(b'}');
    Json::copy_of(&String::from_utf8(text).unwrap_or_default())
}

fn named(path: &str) -> &str {
    if path.is_empty() { "The body" } else { path }
}
