//! How families of models count the tokens of a prompt: `catalog/tokens.toml`.

use std::sync::LazyLock;

use serde::Deserialize;
use toml::{Table, Value};
use wire::tokens::Rules;

const FILE: &str = include_str!("../../../catalog/tokens.toml");

static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| read(FILE).unwrap_or_default());
static USUAL: LazyLock<Rules> = LazyLock::new(Rules::default);

/// Models with the same rules.
struct Family {
    /// Substrings of model ids.
    names: Vec<String>,
    rules: Rules,
}

pub fn token_rules(model: &str) -> &'static Rules {
    let model = model.to_ascii_lowercase();
    let is_meant = |family: &&Family| family.names.iter().any(|name| occurs(name, &model));
    FAMILIES.iter().find(is_meant).map_or(&USUAL, |family| &family.rules)
}

/// Whether a name begins at the start of a word in an id: `o3` does in `openai/o3-pro`, and not in `demo3`.
fn occurs(name: &str, id: &str) -> bool {
    id.match_indices(name).any(|(at, _)| !id[..at].ends_with(|before: char| before.is_ascii_alphanumeric()))
}

fn read(text: &str) -> Result<Vec<Family>, toml::de::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        rules: Vec<Table>,
    }
    let file: File = toml::from_str(text)?;
    file.rules.iter().map(|entry| family(entry, &file.rules)).collect()
}

/// An entry, completed by the entry that it is `like`.
fn family(entry: &Table, all: &[Table]) -> Result<Family, toml::de::Error> {
    let mut entry = entry.clone();
    let names: Vec<String> = take(&mut entry, "names").unwrap_or_else(|| Ok(Vec::new()))?;
    if let Some(like) = take::<String>(&mut entry, "like").transpose()? {
        let is_like = |other: &&Table| {
            let names = other.get("names").and_then(Value::as_array);
            names.and_then(|names| names.first()).and_then(Value::as_str) == Some(&like)
        };
        let base = all.iter().find(is_like).cloned().unwrap_or_default();
        for (name, value) in base.into_iter().filter(|(name, _)| name != "names") {
            entry.entry(name).or_insert(value);
        }
    }
    Ok(Family { names, rules: Value::Table(entry).try_into()? })
}

fn take<T: serde::de::DeserializeOwned>(entry: &mut Table, name: &str) -> Option<Result<T, toml::de::Error>> {
    entry.remove(name).map(Value::try_into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_the_first_matching_name_apply() {
        let families = read(FILE).unwrap();
        assert!(families.iter().all(|family| !family.names.is_empty()));
        assert!(token_rules("gpt-5-nano").picture != token_rules("gpt-5").picture);
        assert!((token_rules("gpt-5-nano").message - token_rules("gpt-5").message).abs() < f64::EPSILON);
        assert_eq!(token_rules("us.anthropic.claude-sonnet-4-5-v1:0"), token_rules("claude-3-haiku"));
        assert_eq!(token_rules("openai/o3-pro"), token_rules("o3"));
        assert_eq!((token_rules("demo3"), token_rules("unheard-of")), (&Rules::default(), &Rules::default()));
    }

    /// An entry that is `like` an unknown one would silently get the defaults.
    #[test]
    fn every_like_names_an_existing_entry() {
        let file: Table = toml::from_str(FILE).unwrap();
        let rules = file["rules"].as_array().unwrap();
        let first = |entry: &Value| entry["names"][0].as_str().unwrap().to_owned();
        for like in rules.iter().filter_map(|entry| entry.get("like")?.as_str()) {
            assert!(rules.iter().any(|entry| first(entry) == like && entry.get("like").is_none()), "{like}");
        }
    }
}
