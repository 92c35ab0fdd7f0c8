//! Lists whose items are parsed one at a time, when they are used.

use std::marker::PhantomData;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A list as text. A parsed item takes many times the memory of its text, so only one exists at a time.
#[derive(Clone, Copy, Debug)]
pub struct List<'a, T> {
    json: &'a str,
    items: PhantomData<fn() -> T>,
}

impl<'a, T: Deserialize<'a>> List<'a, T> {
    /// The list in a text; empty where it is not a list.
    pub fn of(json: &'a str) -> Self {
        Self { json, items: PhantomData }
    }

    /// The items in order. Iteration ends at an item that cannot be read.
    pub fn iter(&self) -> Iter<'a, T> {
        Iter { json: self.json.strip_prefix('[').unwrap_or_default(), items: PhantomData }
    }

    /// True without items.
    pub fn is_empty(&self) -> bool {
        let behind = self.json.strip_prefix('[').unwrap_or_default().trim_start();
        behind.is_empty() || behind.starts_with(']')
    }

    /// Its text; empty for an empty list.
    pub fn as_str(&self) -> &'a str {
        self.json
    }
}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self { json: "", items: PhantomData }
    }
}

impl<'de: 'a, 'a, T: Deserialize<'a>> Deserialize<'de> for List<'a, T> {
    /// Null is an empty list.
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        match Option::<&RawValue>::deserialize(source)?.map(RawValue::get) {
            Some(json) if json.starts_with('[') => Ok(Self::of(json)),
            Some(_) => Err(D::Error::custom("a list is expected")),
            None => Ok(Self::default()),
        }
    }
}

/// Reads the items of a list.
pub struct Iter<'a, T> {
    /// The text after the items so far.
    json: &'a str,
    items: PhantomData<fn() -> T>,
}

impl<'a, T: Deserialize<'a>> Iterator for Iter<'a, T> {
    type Item = serde_json::Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.json).trim_start();
        if rest.is_empty() || rest.starts_with(']') {
            return None;
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter();
        let item = values.next()?;
        if item.is_ok() {
            let behind = rest[values.byte_offset()..].trim_start();
            self.json = behind.strip_prefix(',').unwrap_or_default();
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a, T: Deserialize<'a>>(json: &'a str) -> serde_json::Result<Vec<T>> {
        serde_json::from_str::<List<'a, T>>(json)?.iter().collect()
    }

    #[test]
    fn items_are_read_in_order() {
        assert_eq!(read::<u8>("[ 1 , 2,3 ]").unwrap(), [1, 2, 3]);
        assert_eq!(read::<Vec<u8>>("[[1],[],[2,3]]").unwrap(), [vec![1], vec![], vec![2, 3]]);
        assert_eq!(read::<&str>(r#"["a,]","b"]"#).unwrap(), ["a,]", "b"]);
        for empty in ["null", "[]", "[ ]"] {
            assert_eq!(read::<u8>(empty).unwrap(), [0; 0], "{empty}");
            assert!(serde_json::from_str::<List<'_, u8>>(empty).unwrap().is_empty(), "{empty}");
        }
    }

    #[test]
    fn invalid_lists_are_errors() {
        for other in ["1", "{}", r#""[]""#, r#"[1,"a",2]"#] {
            assert!(read::<u8>(other).is_err(), "{other}");
        }
        let list = List::<u8>::of(r#"[1,"a",2]"#);
        assert_eq!(list.iter().map(|item| item.ok()).collect::<Vec<_>>(), [Some(1), None]);
    }
}
