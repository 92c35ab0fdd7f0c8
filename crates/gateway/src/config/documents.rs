//! The examples in the documentation, which users copy, and those of CONTRIBUTING.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use catalog::Catalog;

use super::file::ConfigFile;
use super::settings::Settings;
use crate::env::Environment;

/// The prerequisite of examples that use the shared Redis.
const CLUSTER: &str = "\n[database]\nurl = \"postgres://db.example.com/gateway\"\n[cluster]\nredis = \"redis://redis.example.com\"\n";

/// The prerequisite of examples that describe models of an own provider.
const SERVER: &str =
    "\n[providers.my-vllm]\nprotocol = \"openai-chat\"\nbase_url = \"http://10.0.0.5:8000/v1\"\n";

/// The README and the pages of `docs`, without the generated ones, which other tests compare.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut paths = vec![root.join("README.md")];
    let entries = fs::read_dir(root.join("docs")).unwrap();
    paths.extend(
        entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|it| it == "md")),
    );
    paths.sort();
    let page = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    paths.into_iter().map(page).collect()
}

/// The blocks of code in a language, with the number of their first line.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, Vec<&'a str>)> = None;
    for (at, line) in text.lines().enumerate() {
        match (&mut open, line.trim()) {
            (Some(_), "```") => found.extend(open.take().map(|(from, lines)| (from, lines.join("\n")))),
            (Some((_, lines)), _) => lines.push(line),
            (None, start) if start.strip_prefix("```") == Some(language) => open = Some((at + 2, Vec::new())),
            (None, _) => {}
        }
    }
    found
}

/// Values for the variables that an example reads.
fn variables(text: &str) -> Vec<(&str, &'static str)> {
    let names: BTreeSet<&str> = text
        .split("env:")
        .skip(1)
        .filter_map(|rest| {
            rest.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_')).next()
        })
        .collect();
    let value = |name: &str| match name {
        "DATABASE_URL" => "postgres://db.example.com/gateway",
        "REDIS_URL" => "redis://redis.example.com",
        name if name.ends_with("URL") => "https://hooks.example.com/budgets",
        name if name.ends_with("SECRET") => "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        _ => "",
    };
    names.into_iter().map(|name| (name, value(name))).collect()
}

#[test]
fn examples_of_the_configuration_are_valid() {
    let mut count = 0;
    for (name, text) in pages() {
        for (line, block) in blocks(&text, "toml") {
            // The configuration of Codex.
            if block.contains("model_provider") || !block.contains('[') {
                continue;
            }
            let text = match block {
                block if block.contains("[cache]") => block + CLUSTER,
                block if block.starts_with("[providers.my-vllm.models") => block + SERVER,
                block => block,
            };
            let mut environment = Environment::of(&[]);
            for (at, (variable, value)) in variables(&text).into_iter().enumerate() {
                // Keys have to differ from each other.
                let key = format!("sk-example-0123456789abcdef-{at}");
                environment = environment.with(variable, if value.is_empty() { &key } else { value });
            }
            let mistakes = match ConfigFile::parse(&text) {
                Ok(file) => Settings::build(&file, &environment, Catalog::embedded().unwrap()).err(),
                Err(mistakes) => Some(mistakes),
            };
            let mistakes: Vec<String> = mistakes.iter().flatten().map(ToString::to_string).collect();
            assert!(mistakes.is_empty(), "{name}:{line}: {mistakes:?}");
            count += 1;
        }
    }
    assert!(count > 12, "{count} examples were found");
}

#[test]
fn examples_in_json_are_valid() {
    let mut count = 0;
    for (name, text) in pages() {
        for (line, block) in blocks(&text, "json") {
            let read = serde_json::from_str::<serde_json::Value>(&block);
            assert!(read.is_ok(), "{name}:{line}: {read:?}");
            count += 1;
        }
    }
    assert!(count > 3, "{count} examples were found");
}

/// The text of a file of the repository.
fn file(path: &str) -> String {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(full).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The TOML examples of CONTRIBUTING.md are parts of the catalog. The sentence before each names its file.
#[test]
fn examples_of_contributing_are_in_the_catalog() {
    let page = file("CONTRIBUTING.md");
    let examples = blocks(&page, "toml");
    assert!(!examples.is_empty());
    let is_catalog = |name: &&str| name.starts_with("catalog/") && name.ends_with(".toml");
    for (line, block) in examples {
        let before: Vec<&str> = page.lines().take(line - 2).collect();
        let before = before.join("\n");
        let path =
            before.rsplit('`').find(is_catalog).expect("the sentence before an example names its file");
        let text = file(path);
        assert!(text.contains(&block), "{path} does not contain the example of line {line}");
        if before.trim_end().ends_with(&format!("This is all of `{path}`:")) {
            assert_eq!(text.trim_end(), block, "{path}, shown in line {line}");
        }
    }
}

/// The diffs of CONTRIBUTING.md: each added line is in the file whose path is above it.
#[test]
fn diffs_of_contributing_are_in_the_code() {
    let page = file("CONTRIBUTING.md");
    let mut count = 0;
    for (_, block) in blocks(&page, "diff") {
        let mut text = String::new();
        for line in block.lines().filter(|line| !line.trim().is_empty()) {
            match line.strip_prefix('+') {
                None => text = file(line.trim()),
                Some(added) => {
                    assert!(text.lines().any(|own| own.trim() == added.trim()), "{added:?} is not there");
                    count += 1;
                }
            }
        }
    }
    assert!(count > 10, "{count} added lines were found");
}

/// An example needs another model two months before its model ends.
#[test]
fn documents_name_no_model_that_ends_soon() {
    const DAYS: i64 = 60;
    // Lists of all providers, fields and families of models, and the history.
    const LISTS: [&str; 4] = ["providers.md", "losses.md", "counts.md", "performance-log.md"];
    let catalog = Catalog::embedded().unwrap();
    let now = crate::clock::seconds_of(&crate::clock::today()).unwrap();
    let end = |word: &str| {
        let serving = match word.split_once('/') {
            Some((provider, model)) => catalog.serving(provider, model),
            None => catalog.model(word).and_then(|model| model.servings.first()),
        };
        serving?.deprecated.clone()
    };
    for (document, text) in pages().into_iter().filter(|(name, _)| !LISTS.contains(&name.as_str())) {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_./:".contains(letter);
        for word in text.split(|letter| !is_part(letter)) {
            let Some(date) = end(word) else { continue };
            let left = crate::clock::seconds_of(&date).unwrap() - now;
            assert!(
                left > DAYS * 86_400,
                "{document}: {word} ends on {date}; name a model that lives longer"
            );
        }
    }
}

#[test]
fn the_page_of_errors_lists_every_kind_with_its_status() {
    let (_, page) = pages().into_iter().find(|(name, _)| name == "errors.md").unwrap();
    for kind in canon::ErrorKind::ALL {
        let row = format!("| `{}` | {} |", kind.as_str(), kind.status().as_u16());
        assert_eq!(page.matches(&row).count(), 1, "{row}");
    }
}
