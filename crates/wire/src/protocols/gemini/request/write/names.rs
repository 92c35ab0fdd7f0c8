//! Tool names: names that the API does not accept are replaced, and restored in the answer.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Longest name that every model accepts.
const LONGEST: usize = 64;

/// Caller's names ⇄ names on the wire.
#[derive(Debug, Default)]
pub(super) struct Names {
    to_wire: BTreeMap<String, String>,
    to_caller: BTreeMap<String, String>,
    /// The next number for each name that several names became, so that not all numbers are tried again.
    numbers: BTreeMap<String, usize>,
}

impl Names {
    /// Reserves the names that are kept, so that no replacement collides with them.
    pub fn new<'a>(kept: impl Iterator<Item = &'a str>) -> Self {
        let mut names = Self::default();
        for name in kept.filter(|name| is_valid(name)) {
            names.to_caller.insert(name.to_owned(), name.to_owned());
        }
        names
    }

    /// The name on the wire.
    pub fn wire<'a>(&mut self, name: &'a str) -> Cow<'a, str> {
        if is_valid(name) {
            return Cow::Borrowed(name);
        }
        if let Some(known) = self.to_wire.get(name) {
            return Cow::Owned(known.clone());
        }
        let stem = replaced(name);
        let mut candidate = stem.clone();
        if self.to_caller.contains_key(&candidate) {
            let number = self.numbers.entry(stem.clone()).or_insert(2);
            while self.to_caller.contains_key(&candidate) {
                let suffix = format!("_{number}");
                candidate = format!("{}{suffix}", &stem[..stem.len().min(LONGEST - suffix.len())]);
                *number += 1;
            }
        }
        self.to_wire.insert(name.to_owned(), candidate.clone());
        self.to_caller.insert(candidate.clone(), name.to_owned());
        Cow::Owned(candidate)
    }

    /// The names that the decoder has to restore: wire → caller, only where they differ.
    pub fn into_originals(self) -> BTreeMap<String, String> {
        self.to_caller.into_iter().filter(|(wire, caller)| wire != caller).collect()
    }
}

/// A letter or an underscore, then letters, digits and `_.:-`.
fn is_valid(name: &str) -> bool {
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    begins_well && name.len() <= LONGEST && name.chars().all(is_accepted)
}

fn is_accepted(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | ':' | '-')
}

fn replaced(name: &str) -> String {
    let mut stem = String::with_capacity(name.len() + 1);
    if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        stem.push('_');
    }
    stem.extend(name.chars().map(|letter| if is_accepted(letter) { letter } else { '_' }));
    stem.truncate(LONGEST);
    stem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_replaced_and_unique() {
        let long = "x".repeat(80);
        let callers =
            ["get_weather", "get weather", "1st", "get/weather", "get_weather_2", "grüß", long.as_str()];
        let mut names = Names::new(callers.into_iter());
        let wire: Vec<_> = callers.iter().map(|name| names.wire(name).into_owned()).collect();
        assert_eq!(
            wire[..6],
            ["get_weather", "get_weather_3", "_1st", "get_weather_4", "get_weather_2", "gr__"]
        );
        assert_eq!(wire[6].len(), 64);
        assert_eq!(names.wire("get weather"), "get_weather_3");
        let decoding = names.into_originals();
        assert_eq!(decoding["get_weather_3"], "get weather");
        assert_eq!(decoding.len(), 5);
    }
}
