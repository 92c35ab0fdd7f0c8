//! Edits of a body's top-level fields that leave the rest unchanged.

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Error, ErrorKind, Result};
use http::{HeaderName, HeaderValue};

use crate::json::{Edit, Scanner, Syntax, push_string, text_of};
use crate::protocols::anthropic_messages::BETA;
use crate::protocols::gemini::camel_case;

/// Removes fields, and sets fields to strings. A field that is set keeps its place, or comes last.
pub(crate) fn edit(body: &[u8], removed: &[&str], set: &[(&str, &str)]) -> Result<Bytes> {
    let mut edit = Edit::of(body)
        .map_err(|_| Error::gateway(ErrorKind::Internal, "The request's body is not a JSON object."))?;
    for name in removed {
        edit.remove(name);
    }
    for (name, text) in set {
        let mut value = Vec::new();
        push_string(&mut value, text);
        edit.set(*name, &value);
    }
    Ok(Bytes::from(edit.write(64)))
}

/// A Messages request for a cloud that names the model in the path: the API's version and its betas are in
/// the body. Betas that the body already has stay.
pub(super) fn messages_of_a_cloud(
    body: &[u8],
    version: &str,
    removed: &[&str],
    passed: &[(HeaderName, HeaderValue)],
) -> Result<Bytes> {
    let mut edit = Edit::of(body)
        .map_err(|_| Error::gateway(ErrorKind::Internal, "The request's body is not a JSON object."))?;
    for name in removed {
        edit.remove(name);
    }
    if !edit.has("anthropic_version") {
        let mut value = Vec::new();
        push_string(&mut value, version);
        edit.set("anthropic_version", &value);
    }
    let lists = passed.iter().filter(|(name, _)| name == BETA).filter_map(|(_, list)| list.to_str().ok());
    let betas: Vec<&str> = lists.flat_map(|list| list.split(',')).collect();
    if !betas.is_empty() {
        let mut all = given_betas(body);
        let new = betas.into_iter().filter(|beta| !all.iter().any(|known| known == beta));
        let new: Vec<String> = new.map(str::to_owned).collect();
        all.extend(new);
        edit.set("anthropic_beta", &serde_json::to_vec(&all).unwrap_or_default());
    }
    Ok(Bytes::from(edit.write(128)))
}

fn given_betas(body: &[u8]) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct BetasOnly {
        #[serde(default)]
        anthropic_beta: Vec<String>,
    }
    serde_json::from_slice(body).map(|BetasOnly { anthropic_beta }| anthropic_beta).unwrap_or_default()
}

/// The body with only these fields.
pub(super) fn only(body: &[u8], kept: &[&str]) -> Result<Bytes> {
    only_where(body, |name| kept.contains(&name))
}

/// The body with only these fields, in either of the two spellings that Google's API takes.
pub(super) fn only_of_googles(body: &[u8], kept: &[&str]) -> Result<Bytes> {
    only_where(body, |name| kept.contains(&camel_case(name).as_str()))
}

fn only_where(body: &[u8], is_kept: impl Fn(&str) -> bool) -> Result<Bytes> {
    let names = names(body);
    let removed: Vec<&str> = names.iter().map(AsRef::as_ref).filter(|name| !is_kept(name)).collect();
    edit(body, &removed, &[])
}

/// The names of the top-level fields.
pub(crate) fn names(body: &[u8]) -> Vec<Cow<'_, str>> {
    let mut scanner = Scanner::new(body);
    let mut names = Vec::new();
    let read = scanner.object(|scanner, key| {
        scanner.value()?;
        names.extend(text_of(body, &key));
        Ok::<(), Syntax>(())
    });
    if read.is_err() {
        names.clear();
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_fields_change() {
        let body = br#"{"model": "a", "b": {"x": 1.0,  "y": "\u00e9"}, "stream": true}"#;
        let edited = edit(body, &["model"], &[("v", "1"), ("stream", "no")]).unwrap();
        let edited = std::str::from_utf8(&edited).unwrap();
        assert_eq!(edited, r#"{"b": {"x": 1.0,  "y": "\u00e9"},"stream":"no","v":"1"}"#);
        assert!(edit_fails(b"[]") && edit_fails(b"{\"a\":") && edit_fails(b"{} {}"));
    }

    fn edit_fails(body: &[u8]) -> bool {
        edit(body, &[], &[]).is_err()
    }
}
