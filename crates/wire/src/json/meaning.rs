//! The meaning of a JSON text as a hash. Texts that differ only in white space, in the order of members, or
//! in the notation of numbers have the same hash. It is computed in one pass, without a tree of values.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The hash of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueHash(pub u64);

/// Distinguishes kinds of values in the hash.
#[derive(Hash)]
enum Kind<'a> {
    Null,
    Bool(bool),
    Number(u64),
    String(&'a str),
    Array(usize),
    Object(usize, u64),
    Member(&'a str, u64),
}

impl ValueHash {
    fn of(kind: &Kind<'_>) -> Self {
        let mut hasher = DefaultHasher::new();
        kind.hash(&mut hasher);
        Self(hasher.finish())
    }

    fn of_number(number: f64) -> Self {
        Self::of(&Kind::Number(number.to_bits()))
    }
}

impl<'de> Deserialize<'de> for ValueHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MeaningVisitor)
    }
}

struct MeaningVisitor;

impl<'de> Visitor<'de> for MeaningVisitor {
    type Value = ValueHash;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<ValueHash, E> {
        Ok(ValueHash::of(&Kind::Null))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<ValueHash, E> {
        Ok(ValueHash::of(&Kind::Bool(flag)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<ValueHash, E> {
        Ok(ValueHash::of_number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<ValueHash, E> {
        Ok(ValueHash::of_number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<ValueHash, E> {
        Ok(ValueHash::of_number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<ValueHash, E> {
        Ok(ValueHash::of(&Kind::String(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ValueHash, A::Error> {
        let mut hasher = DefaultHasher::new();
        let mut count = 0;
        while let Some(ValueHash(item)) = items.next_element()? {
            item.hash(&mut hasher);
            count += 1;
        }
        Kind::Array(count).hash(&mut hasher);
        Ok(ValueHash(hasher.finish()))
    }

    /// A sum does not depend on the order of the members.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<ValueHash, A::Error> {
        let (mut count, mut sum) = (0, 0_u64);
        while let Some(name) = members.next_key::<String>()? {
            let ValueHash(value) = members.next_value()?;
            sum = sum.wrapping_add(ValueHash::of(&Kind::Member(&name, value)).0);
            count += 1;
        }
        Ok(ValueHash::of(&Kind::Object(count, sum)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(json: &str) -> Option<ValueHash> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn equal_values_in_any_notation_have_one_hash_and_others_differ() {
        let same = [
            r#"{"a":[1,"é"],"b":{"c":null,"d":true}}"#,
            r#" { "b":{"d":true,"c":null}, "a":[1.0,"\u00e9"] } "#,
        ];
        assert_eq!(meaning(same[0]), meaning(same[1]));
        let different = [
            "{}",
            "[]",
            "null",
            "\"\"",
            "0",
            "1",
            "-1",
            "1.5",
            "true",
            "false",
            "[0]",
            "[0,1]",
            "[1,0]",
            "[[0],1]",
            r#"{"a":0}"#,
            r#"{"a":1}"#,
            r#"{"b":0}"#,
            r#"{"a":0,"b":1}"#,
            r#"{"a":1,"b":0}"#,
            r#"[{"a":0}]"#,
            "\"0\"",
        ];
        for (at, one) in different.iter().enumerate() {
            assert!(meaning(one).is_some());
            assert!(different[..at].iter().all(|other| meaning(other) != meaning(one)), "{one}");
        }
        assert_eq!(meaning("{"), None);
        assert_eq!(meaning(r#""\ud83d""#), None);
    }
}
