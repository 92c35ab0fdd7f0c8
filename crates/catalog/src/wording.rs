//! Errors about wrong values in the words of the file's author: `must be a whole number, not text`. The library
//! that reads the file names Rust's types.

use crate::names::nearest;

/// What a table is called: TOML has tables, JSON has objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Toml,
    Json,
}

/// The message of serde in plain words. Values are not repeated if they are texts, because these may be secrets.
/// Messages of our own types stay unchanged.
pub fn plain(message: &str, form: Form) -> String {
    if let Some(rest) = message.strip_prefix("invalid type: ").or(message.strip_prefix("invalid value: "))
        && let Some((found, expected)) = rest.rsplit_once(", expected ")
    {
        return format!("must be {}, not {}", wanted(expected, form), present(found, form));
    }
    if let Some(rest) = message.strip_prefix("unknown variant `")
        && let Some((found, expected)) = rest.split_once("`, expected ")
    {
        return unknown_name(found, &quoted(expected));
    }
    if let Some(rest) = message.strip_prefix("unknown field `")
        && let Some((found, expected)) = rest.split_once("`, expected ")
    {
        return unknown_field(found, &quoted(expected));
    }
    if let Some(rest) = message.strip_prefix("missing field `")
        && let Some((name, "")) = rest.split_once('`')
    {
        return format!("{name} is missing");
    }
    if let Some(rest) = message.strip_prefix("invalid length ")
        && let Some((length, expected)) = rest.split_once(", expected ")
    {
        return format!("must be {}, and has {length} entries", wanted(expected, form));
    }
    message.to_owned()
}

/// The names of a list such as "one of `a`, `b`".
fn quoted(list: &str) -> Vec<&str> {
    list.split('`').skip(1).step_by(2).collect()
}

fn unknown_field(found: &str, names: &[&str]) -> String {
    match nearest(found, names.iter().copied(), 1).first() {
        Some(name) => format!("{found} is unknown; did you mean {name}?"),
        None => format!("{found} is unknown; known are {}", names.join(", ")),
    }
}

fn unknown_name(found: &str, names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let list = quoted.join(", ");
    match nearest(found, names.iter().copied(), 1).first() {
        Some(name) => format!("must be one of {list}, not {found:?}; did you mean {name:?}?"),
        None => format!("must be one of {list}, not {found:?}"),
    }
}

/// The expected type.
fn wanted(expected: &str, form: Form) -> String {
    let whole = |range: &str| format!("a whole number {range}");
    match expected {
        "u8" => whole("from 0 to 255"),
        "u16" => whole("from 0 to 65535"),
        "u32" => whole("from 0 to 4294967295"),
        "u64" | "usize" | "u128" => whole("of at least 0"),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" | "bool" => "true or false".to_owned(),
        "a string" | "string" | "str" | "a borrowed string" => "text in quotes".to_owned(),
        "a sequence" | "sequence" => "a list".to_owned(),
        "a map" | "map" => table(form).to_owned(),
        other if other.starts_with("struct ") => table(form).to_owned(),
        other if other.starts_with("enum ") || other == "string or table" => "text in quotes".to_owned(),
        other => other.to_owned(),
    }
}

/// The type of the present value, with the value if it is a number.
fn present(found: &str, form: Form) -> String {
    let value = found.split('`').nth(1).unwrap_or_default();
    match found.split([' ', '`']).next().unwrap_or_default() {
        "string" | "character" => "text".to_owned(),
        "integer" | "floating" => format!("the number {value}"),
        "boolean" => value.to_owned(),
        "map" | "struct" | "newtype" => table(form).to_owned(),
        "sequence" => "a list".to_owned(),
        "null" | "unit" | "Option" => "null".to_owned(),
        _ => found.to_owned(),
    }
}

fn table(form: Form) -> &'static str {
    match form {
        Form::Toml => "a table",
        Form::Json => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_serde_become_plain_and_show_no_text() {
        for (message, expected) in [
            (
                "invalid type: string \"hunter2, expected x\", expected u64",
                "must be a whole number of at least 0, not text",
            ),
            ("invalid type: string \"a\", expected a sequence", "must be a list, not text"),
            (
                "invalid type: floating point `1.5`, expected u32",
                "must be a whole number from 0 to 4294967295, not the number 1.5",
            ),
            (
                "invalid value: integer `-1`, expected u16",
                "must be a whole number from 0 to 65535, not the number -1",
            ),
            ("invalid type: boolean `true`, expected a string", "must be text in quotes, not true"),
            ("invalid type: map, expected a boolean", "must be true or false, not a table"),
            ("invalid type: sequence, expected struct Limit", "must be a table, not a list"),
            ("invalid type: null, expected f64", "must be a number, not null"),
            ("invalid type: integer `5`, expected a price", "must be a price, not the number 5"),
            (
                "unknown variant `smok`, expected `smoke` or `fire`",
                "must be one of \"smoke\", \"fire\", not \"smok\"; did you mean \"smoke\"?",
            ),
            (
                "unknown variant `colours`, expected one of `ab`, `cd`, `ef`",
                "must be one of \"ab\", \"cd\", \"ef\", not \"colours\"",
            ),
            ("missing field `usd`", "usd is missing"),
            ("unknown field `nam`, expected one of `id`, `name`", "nam is unknown; did you mean name?"),
            ("unknown field `colour`, expected `id` or `name`", "colour is unknown; known are id, name"),
            ("\"x\" is not a decimal number", "\"x\" is not a decimal number"),
        ] {
            assert_eq!(plain(message, Form::Toml), expected, "{message}");
        }
        assert_eq!(
            plain("invalid type: sequence, expected a map", Form::Json),
            "must be an object, not a list"
        );
    }
}
