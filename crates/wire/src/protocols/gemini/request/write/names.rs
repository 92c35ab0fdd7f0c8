//! Tool names: names that the API does not accept are replaced, and restored in the answer.

use crate::protocols::tool_names::NameRule;

/// Longest name that every model accepts.
const LONGEST: usize = 64;

/// What the API accepts.
pub(super) const NAMES: NameRule = NameRule { is_valid, plain: replaced, longest: LONGEST };

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
    use crate::protocols::tool_names::Names;

    #[test]
    fn replacements_are_unique_beside_the_names_that_are_kept() {
        let long = "x".repeat(80);
        let callers =
            ["get_weather", "get weather", "1st", "get/weather", "get_weather_2", "grüß", long.as_str()];
        let names = Names::new(|| callers.into_iter(), NAMES);
        let wire = callers.map(|name| names.wire(name).to_owned());
        assert_eq!(
            wire[..6],
            ["get_weather", "get_weather_3", "_1st", "get_weather_4", "get_weather_2", "gr__"]
        );
        assert_eq!(wire[6].len(), 64);
        let originals = names.into_originals();
        assert_eq!(originals.get("get_weather_3"), Some("get weather"));
        assert_eq!(wire.iter().filter(|name| originals.get(name).is_some()).count(), 5);
    }

    #[test]
    fn bad_names_are_replaced() {
        let long = "x".repeat(80);
        for (name, plain) in
            [("get weather", "get_weather"), ("1st", "_1st"), ("grüß", "gr__"), (&*long, &long[..64])]
        {
            assert!(!is_valid(name) && is_valid(plain));
            assert_eq!(replaced(name), plain);
        }
        assert!(is_valid("a.b:c-d") && !is_valid(""));
    }
}
