//! JSON values of answers that are repaired. Only the parts that may need repair are parsed; the rest stays
//! text, because a tree of many small values would take many times its size.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Index;

use canon::Json;

use super::{Items, Kind, Scanner, Syntax, push_string, repaired, text_of};

/// Objects with these names, and the items of `choices`, are parsed together with the object that holds them.
const OPENED: [&str; 12] = [
    "message",
    "delta",
    "function",
    "function_call",
    "custom",
    "extra_content",
    "google",
    "audio",
    "image_url",
    "base_resp",
    "x_groq",
    "choices",
];
/// Most members and items that are parsed together. Each takes about 60 bytes however short its text.
const MOST: usize = 1 << 14;
/// Up to this many members of an object are searched one by one.
const FEW: usize = 16;

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A string, read.
    String(String),
    /// A parsed list.
    Array(Vec<Value>),
    /// A parsed object.
    Object(Object),
    /// A number, or a list or an object as text.
    Raw(Box<str>),
}

/// The members of an object, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Vec<(Box<str>, Value)>);

static NULL: Value = Value::Null;

impl Object {
    /// Without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// With these members, whose names are distinct.
    pub fn of<const N: usize>(members: [(&str, Value); N]) -> Self {
        Self(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// Reads an object. Invalid characters (half of a surrogate pair, a cut multi-byte character) become
    /// replacement characters.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let read = |json: &[u8]| match Reader::read(std::str::from_utf8(json).ok()?, Depth::Known) {
            Some(Value::Object(object)) => Some(object),
            _ => None,
        };
        read(json).or_else(|| read(&repaired(json)?))
    }

    /// The value of a member.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(own, _)| **own == *name).map(|(_, value)| value)
    }

    /// The value of a member, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.0.iter_mut().find(|(own, _)| **own == *name).map(|(_, value)| value)
    }

    /// True when there is such a member.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets a member, in its place or at the end.
    pub fn insert(&mut self, name: &str, value: impl Into<Value>) {
        match self.get_mut(name) {
            Some(known) => *known = value.into(),
            None => self.0.push((name.into(), value.into())),
        }
    }

    /// Sets a member and puts it before the others.
    pub fn insert_first(&mut self, name: &str, value: Value) {
        self.remove(name);
        self.0.insert(0, (name.into(), value));
    }

    /// Adds a member where there is none by this name.
    pub fn or_insert(&mut self, name: &str, value: impl FnOnce() -> Value) {
        if !self.contains_key(name) {
            self.0.push((name.into(), value()));
        }
    }

    /// Takes the value of a member, which becomes `null`.
    pub fn take(&mut self, name: &str) -> Value {
        self.get_mut(name).map(std::mem::take).unwrap_or_default()
    }

    /// Takes a member out; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let place = self.0.iter().position(|(own, _)| **own == *name)?;
        Some(self.0.remove(place).1)
    }

    /// Keeps the members for which this is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Value) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    /// The members.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().map(|(_, value)| value)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the object as text.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (position, (name, value)) in self.0.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            push_string(out, name);
            out.push(b':');
            value.write(out);
        }
        out.push(b'}');
    }
}

impl IntoIterator for Object {
    type Item = (Box<str>, Value);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Value {
    /// Reads a value and parses every object in it, and every list except those of numbers; none if that is
    /// too much.
    pub fn parse_whole(json: &str) -> Option<Self> {
        Reader::read(json, Depth::Whole)
    }

    /// A list or an object as text that was written or read by this crate.
    pub fn raw(text: Vec<u8>) -> Self {
        String::from_utf8(text).map_or(Self::Null, |text| Self::Raw(text.into_boxed_str()))
    }

    /// The length of a value that is text.
    pub fn raw_length(&self) -> usize {
        match self {
            Self::Raw(text) => text.len(),
            _ => 0,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    fn number<T: std::str::FromStr>(&self) -> Option<T> {
        match self {
            Self::Raw(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        self.number()
    }

    /// A whole number.
    pub fn as_i64(&self) -> Option<i64> {
        self.number()
    }

    /// A number.
    pub fn as_f64(&self) -> Option<f64> {
        self.number()
    }

    /// A parsed list.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// A parsed object.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// A parsed object, mutable.
    pub fn as_object_mut(&mut self) -> Option<&mut Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    fn begins_with(&self, letter: char) -> bool {
        matches!(self, Self::Raw(text) if text.starts_with(letter))
    }

    pub fn is_null(&self) -> bool {
        *self == Self::Null
    }

    pub fn is_string(&self) -> bool {
        matches!(self, Self::String(_))
    }

    /// A list.
    pub fn is_array(&self) -> bool {
        matches!(self, Self::Array(_)) || self.begins_with('[')
    }

    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_)) || self.begins_with('{')
    }

    /// A member of a parsed object.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.as_object()?.get(name)
    }

    /// The items of a list, each parsed by itself; none for another type.
    pub fn items(&self) -> impl Iterator<Item = Cow<'_, Value>> {
        let apart = self.as_array().unwrap_or_default().iter().map(Cow::Borrowed);
        let read = |text| Reader::read(text, Depth::Known).map(Cow::Owned);
        apart.chain(self.texts().filter_map(read))
    }

    /// The items of a list that is text.
    pub fn texts(&self) -> Items<'_> {
        Items::of(match self {
            Self::Raw(text) => text,
            _ => "",
        })
    }

    /// Appends the value as text.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::String(text) => push_string(out, text),
            Self::Array(items) => canon::write::push_array(out, items, Value::write),
            Self::Object(object) => object.write(out),
            Self::Raw(text) => out.extend_from_slice(text.as_bytes()),
        }
    }
}

impl Index<&str> for Value {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&NULL)
    }
}

impl Index<usize> for Value {
    type Output = Value;

    fn index(&self, place: usize) -> &Value {
        self.as_array().and_then(|items| items.get(place)).unwrap_or(&NULL)
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, text: &str) -> bool {
        self.as_str() == Some(text)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        self.write(&mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        Self::parse(value.to_string()).unwrap_or_else(|_| Self::of(&()))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Raw(number.to_string().into_boxed_str())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Raw(number.to_string().into_boxed_str())
    }
}

/// How deep a value is parsed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// The value itself, and the members with known names.
    Known,
    Whole,
}

struct Reader<'a> {
    json: &'a str,
    depth: Depth,
    /// How many more members and items may be parsed.
    room: usize,
}

impl<'a> Reader<'a> {
    fn read(json: &'a str, depth: Depth) -> Option<Value> {
        let mut scanner = Scanner::new(json.as_bytes());
        let mut reader = Self { json, depth, room: MOST };
        let value = reader.value(&mut scanner, true).ok()?;
        scanner.end().ok()?;
        scanner.lone_surrogate().is_none().then_some(value)
    }

    fn value(&mut self, scanner: &mut Scanner<'a>, is_opened: bool) -> Result<Value, Syntax> {
        match scanner.kind()? {
            Kind::String => {
                let text = scanner.string()?;
                self.text(&text).map(|text| Value::String(text.into_owned()))
            }
            Kind::Object if is_opened => self.object(scanner),
            Kind::Array if is_opened && !self.is_of_numbers(scanner) => self.array(scanner),
            Kind::Null => scanner.value().map(|_| Value::Null),
            Kind::Bool => scanner.value().map(|range| Value::Bool(self.json[range].starts_with('t'))),
            Kind::Number | Kind::Array | Kind::Object => {
                let text = &self.json[scanner.value()?];
                // White space between values may contain line ends; an event of a stream is one line.
                Ok(Value::Raw(if text.contains(['\n', '\r']) {
                    text.replace(['\n', '\r'], " ").into_boxed_str()
                } else {
                    text.into()
                }))
            }
        }
    }

    fn text(&self, text: &super::Text) -> Result<Cow<'a, str>, Syntax> {
        if !text.escaped {
            return Ok(Cow::Borrowed(&self.json[text.range.clone()]));
        }
        text_of(self.json.as_bytes(), text)
            .ok_or(Syntax { at: text.range.start, expected: "a readable string" })
    }

    fn is_of_numbers(&self, scanner: &Scanner<'a>) -> bool {
        let inside = self.json[scanner.position() + 1..].trim_start();
        inside.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '['))
    }

    fn take_room(&mut self, at: usize) -> Result<(), Syntax> {
        self.room = self.room.checked_sub(1).ok_or(Syntax { at, expected: "fewer values" })?;
        Ok(())
    }

    fn object(&mut self, scanner: &mut Scanner<'a>) -> Result<Value, Syntax> {
        let mut members: Vec<(Box<str>, Value)> = Vec::new();
        scanner.object(|scanner, key| {
            self.take_room(key.range.start)?;
            let name = self.text(&key)?;
            let value = self.value(scanner, self.depth == Depth::Whole || OPENED.contains(&&*name))?;
            let known = members.iter_mut().take(FEW).find(|(known, _)| **known == *name);
            match known {
                Some((_, known)) => *known = value,
                None => members.push((name.into(), value)),
            }
            Ok::<(), Syntax>(())
        })?;
        if members.len() > FEW {
            members = without_doubles(members);
        }
        members.shrink_to_fit();
        Ok(Value::Object(Object(members)))
    }

    fn array(&mut self, scanner: &mut Scanner<'a>) -> Result<Value, Syntax> {
        let mut items = Vec::new();
        scanner.array(|scanner, _| {
            self.take_room(scanner.position())?;
            if items.len() == FEW {
                // A list that grows is held twice.
                items
                    .reserve_exact(Items::from(&self.json[scanner.position()..]).take(self.room + 1).count());
            }
            items.push(self.value(scanner, true)?);
            Ok::<(), Syntax>(())
        })?;
        Ok(Value::Array(items))
    }
}

/// Of duplicate members the last value is kept, in the place of the first.
fn without_doubles(members: Vec<(Box<str>, Value)>) -> Vec<(Box<str>, Value)> {
    let mut places: HashMap<Box<str>, usize> = HashMap::with_capacity(members.len());
    let mut kept: Vec<(Box<str>, Value)> = Vec::with_capacity(members.len());
    for (name, value) in members {
        match places.get(&name) {
            Some(place) => kept[*place].1 = value,
            None => {
                places.insert(name.clone(), kept.len());
                kept.push((name, value));
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(object: &Object) -> String {
        Value::Object(object.clone()).to_string()
    }

    #[test]
    fn unparsed_parts_stay_unchanged() {
        let json = r#"{"a":[1.50e3,{"b":1}],"message":{"content":"x\n\u00e9","n":1e400,"deep":{"c":[]}},"choices":[{"index":0,"x":{}}],"t":true,"z":null}"#;
        let object = Object::parse(json.as_bytes()).unwrap();
        assert_eq!(text(&object), json.replace("\\u00e9", "é"));
        assert!(matches!(object.get("a"), Some(Value::Raw(_))));
        assert_eq!(object.get("message").unwrap()["content"], *"x\né");
        assert_eq!(object.get("choices").unwrap()[0]["index"].as_u64(), Some(0));
        assert!(object.get("message").unwrap()["deep"].is_object());
    }

    #[test]
    fn lists_are_read_item_by_item() {
        let object = Object::parse(br#"{"l": [ {"a":1} , "b",[2], null ] ,"e":[ ],"n":[1]}"#).unwrap();
        let list = object.get("l").unwrap();
        assert_eq!(list.texts().collect::<Vec<_>>(), [r#"{"a":1}"#, r#""b""#, "[2]", "null"]);
        assert_eq!(list.items().next().unwrap()["a"].as_u64(), Some(1));
        assert_eq!(list.items().count(), 4);
        assert_eq!(object.get("e").unwrap().items().count(), 0);
        assert!(object.get("e").unwrap().is_array());
    }

    #[test]
    fn the_last_of_duplicate_members_counts() {
        assert_eq!(text(&Object::parse(br#"{"a":1,"b":2,"a":3}"#).unwrap()), r#"{"a":3,"b":2}"#);
        let many: String = (0..40).map(|at| format!("\"k{}\":{at},", at % 20)).collect();
        let object = Object::parse(format!("{{{}}}", many.trim_end_matches(',')).as_bytes()).unwrap();
        assert_eq!((object.len(), object.get("k19").unwrap().as_u64()), (20, Some(39)));
    }

    #[test]
    fn damaged_characters_are_replaced_in_every_position() {
        let half = Object::parse(br#"{"a":"\ud83d","b":{"c":"\ud83d"}}"#).unwrap();
        assert_eq!(text(&half), "{\"a\":\"\u{fffd}\",\"b\":{\"c\":\"\\ufffd\"}}");
        assert!(Object::parse(b"{\"a\":\"\xe2\x82\"}").is_some());
        assert_eq!(Object::parse(br#"{"a":}"#), None);
        assert_eq!(Object::parse(b"[]"), None);
    }

    #[test]
    fn an_event_of_a_stream_stays_one_line() {
        let object = Object::parse(b"{\"a\":{\r\n\"b\":\n1}}").unwrap();
        assert!(!text(&object).contains(['\n', '\r']));
    }

    #[test]
    fn the_work_of_parsing_is_bounded() {
        let many: String = (0..=MOST).map(|at| format!("\"{at}\":0,")).collect();
        assert_eq!(Object::parse(format!("{{{}}}", many.trim_end_matches(',')).as_bytes()), None);
    }
}
