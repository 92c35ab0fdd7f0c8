//! Arguments of a call that arrive in pieces, each named by a path such as `$.list[0].name`.

use serde_json::{Map, Value};

use crate::protocols::gemini::answer::types::PartialArg;

/// Longest list that a path may create.
const LIST_LIMIT: usize = 10_000;

/// The arguments so far.
pub(super) struct PartialArgs {
    root: Value,
}

impl Default for PartialArgs {
    fn default() -> Self {
        Self { root: Value::Object(Map::new()) }
    }
}

impl PartialArgs {
    /// Adds a piece. Pieces of one text follow each other. None if the path is invalid.
    pub fn set(&mut self, piece: PartialArg) -> Option<()> {
        let slot = slot(&mut self.root, piece.json_path.strip_prefix('$')?)?;
        let text = piece.string_value;
        match (slot, text) {
            (Value::String(before), Some(more)) => before.push_str(&more),
            (slot, Some(text)) => *slot = Value::String(text),
            (slot, None) => {
                let number = piece.number_value.map(Value::Number);
                *slot = number.or(piece.bool_value.map(Value::Bool)).unwrap_or(Value::Null);
            }
        }
        Some(())
    }

    /// The whole.
    pub fn into_json(self) -> String {
        self.root.to_string()
    }
}

/// The value at a path, created where it is missing.
fn slot<'a>(mut node: &'a mut Value, mut path: &str) -> Option<&'a mut Value> {
    while !path.is_empty() {
        if let Some(rest) = path.strip_prefix('.') {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            node = member(node, &rest[..end])?;
            path = &rest[end..];
            continue;
        }
        let rest = path.strip_prefix('[')?;
        let quote = rest.chars().next().filter(|letter| matches!(letter, '\'' | '"'));
        if let Some(quote) = quote {
            let name = &rest[1..];
            let end = name.find(quote)?;
            node = member(node, &name[..end])?;
            path = name[end + 1..].strip_prefix(']')?;
        } else {
            let end = rest.find(']')?;
            node = item(node, rest[..end].parse().ok()?)?;
            path = &rest[end + 1..];
        }
    }
    Some(node)
}

fn member<'a>(node: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    if node.is_null() {
        *node = Value::Object(Map::new());
    }
    Some(node.as_object_mut()?.entry(name).or_insert(Value::Null))
}

fn item(node: &mut Value, index: usize) -> Option<&mut Value> {
    if node.is_null() {
        *node = Value::Array(Vec::new());
    }
    let items = node.as_array_mut().filter(|_| index < LIST_LIMIT)?;
    while items.len() <= index {
        items.push(Value::Null);
    }
    items.get_mut(index)
}
