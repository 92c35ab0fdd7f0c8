//! One JSON value in many spellings, for tests that a request has one reading.

use proptest::sample::Index;
use serde_json::Value;

/// Choices of the writer, one after the other.
struct Choices<'a>(std::iter::Cycle<std::slice::Iter<'a, u8>>);

impl Choices<'_> {
    fn next(&mut self, among: u8) -> u8 {
        self.0.next().map_or(0, |choice| choice % among)
    }
}

/// The same JSON in an unusual spelling: escapes anywhere, whole numbers as floats.
fn write(value: &Value, choices: &mut Choices<'_>, out: &mut String) {
    match value {
        Value::String(text) => write_text(text, choices, out),
        Value::Number(number) => match (number.as_i64(), choices.next(4)) {
            (Some(whole), 0) => out.push_str(&format!("{whole}.0")),
            (Some(whole), 1) => out.push_str(&format!("{whole}.00e+0")),
            (Some(whole), 2) if whole % 10 == 0 && whole != 0 => out.push_str(&format!("{}E1", whole / 10)),
            _ => out.push_str(&number.to_string()),
        },
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { " ," } else { "" });
                write(item, choices, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (at, (name, value)) in fields.iter().enumerate() {
                out.push_str(if at > 0 { ",\n" } else { " " });
                write_text(name, choices, out);
                out.push_str(" : ");
                write(value, choices, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn write_text(text: &str, choices: &mut Choices<'_>, out: &mut String) {
    out.push('"');
    for unit in text.chars() {
        let mut buffer = [0; 2];
        match (unit, choices.next(5)) {
            (_, 0) => {
                unit.encode_utf16(&mut buffer)
                    .iter()
                    .for_each(|unit| out.push_str(&format!("\\u{unit:04X}")));
            }
            ('"' | '\\' | '\0'..='\x1f', _) => out.push_str(&format!("\\u{:04x}", unit as u32)),
            _ => out.push(unit),
        }
    }
    out.push('"');
}

/// The value as such a text.
pub fn spelled(value: &Value, choices: &[u8]) -> String {
    let mut out = String::new();
    write(value, &mut Choices(choices.iter().cycle()), &mut out);
    out
}

/// Makes every number a float: serde distinguishes the two kinds, JSON does not.
pub fn with_floats(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(items) => items.into_iter().map(with_floats).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, with_floats(value))).collect(),
        other => other,
    }
}

/// The text with the first member of one of its objects twice; none if that name is empty.
pub fn doubled(text: &str, place: Index) -> Option<String> {
    let opened = object_starts(text);
    let at = opened[place.index(opened.len())];
    let end = text[at..].find(':')? + at;
    let name = text[at..end].trim();
    (name.len() > 2).then(|| format!("{}{name}:null,{}", &text[..at], &text[at..]))
}

/// The positions after the opening brace of each object that has fields.
fn object_starts(text: &str) -> Vec<usize> {
    let (mut in_string, mut escaped, mut found) = (false, false, Vec::new());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string && !text[at + 1..].trim_start().starts_with('}') => found.push(at + 1),
            _ => {}
        }
    }
    found
}
