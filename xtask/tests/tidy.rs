//! Rules of the repository that the compiler does not check.
#![expect(clippy::unwrap_used, reason = "a helper of a test that panics fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Crates that decide and translate: values in, values out.
const PURE: [&str; 5] = ["canon", "wire", "catalog", "routing", "limits"];

/// A file of the repository.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Lines of code with their numbers, without comments, up to the test module.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let test_module = |at: &usize| {
            lines[*at].trim() == "#[cfg(test)]"
                && lines
                    .get(at + 1)
                    .is_some_and(|next| next.trim_start().starts_with("mod ") && next.ends_with('{'))
        };
        let end = (0..lines.len()).find(test_module).unwrap_or(lines.len());
        let is_test = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        let end = if is_test { 0 } else { end };
        let numbered: Vec<(usize, &str)> = (0..end)
            .map(|at| (at + 1, without_comment(lines[at])))
            .filter(|line| !line.1.is_empty())
            .collect();
        numbered.into_iter()
    }

    /// The places where the code breaks a rule.
    fn places(&self, broken: impl Fn(&str) -> bool) -> Vec<String> {
        let places = self.code().filter(|(_, line)| broken(line));
        places.map(|(number, line)| format!("{}:{number}: {}", self.path, line.trim())).collect()
    }
}

fn without_comment(line: &str) -> &str {
    let is_url = |at: usize| line[..at].ends_with(':');
    let comment = line.match_indices("//").map(|(at, _)| at).find(|at| !is_url(*at));
    line[..comment.unwrap_or(line.len())].trim_end()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The files below a folder with this ending, except the files that a build or an installation made.
fn files(folder: &str, ending: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(folder), ending, &mut found);
    found.sort_by(|left, right| left.path.cmp(&right.path));
    found
}

fn collect(path: &Path, ending: &str, found: &mut Vec<Source>) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if path.is_dir() {
        if ["target", "node_modules", ".git", ".venv"].contains(&&*name) {
            return;
        }
        for entry in std::fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), ending, found);
        }
    } else if name.ends_with(ending) {
        let shown = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        found.push(Source { path: shown, text: std::fs::read_to_string(path).unwrap() });
    }
}

/// The code of the crates, without tests, benchmarks and examples.
fn crate_sources() -> Vec<Source> {
    let mut sources = files("crates", ".rs");
    sources.retain(|source| source.path.split('/').nth(2) == Some("src"));
    assert!(sources.len() > 50, "the crates were not found");
    sources
}

fn sources_of(crates: &[&str]) -> Vec<Source> {
    let mut sources = crate_sources();
    sources.retain(|source| crates.contains(&source.path.split('/').nth(1).unwrap()));
    sources
}

#[track_caller]
fn assert_none(rule: &str, places: &[String]) {
    assert!(places.is_empty(), "{rule}\n  {}", places.join("\n  "));
}

#[test]
fn pure_crates_depend_on_nothing_that_waits_or_logs() {
    // Values of the `http` crate are allowed; the following crates move bytes, sleep or write.
    let forbidden = [
        "tokio",
        "hyper",
        "hyper-util",
        "hyper-rustls",
        "axum",
        "tower",
        "reqwest",
        "ureq",
        "sqlx",
        "rusqlite",
        "tracing",
        "tracing-subscriber",
        "log",
        "env_logger",
        "mio",
        "socket2",
        "async-std",
        "smol",
        "futures",
        "rustls",
        "getrandom",
        "rand",
        "chrono",
        "tempfile",
        "store",
        "mock",
        "gateway",
    ];
    for name in PURE {
        let text = std::fs::read_to_string(root().join(format!("crates/{name}/Cargo.toml"))).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        let found: Vec<&String> =
            dependencies.keys().filter(|key| forbidden.contains(&key.as_str())).collect();
        assert!(found.is_empty(), "crates/{name} is pure and must not depend on {found:?}");
    }
}

#[test]
fn dependencies_point_one_way() {
    let allowed: [(&str, &[&str]); 6] = [
        ("canon", &[]),
        ("wire", &["canon"]),
        ("catalog", &["canon", "wire"]),
        ("routing", &["canon", "wire", "catalog"]),
        ("limits", &["canon"]),
        ("store", &["canon"]),
    ];
    let ours = [
        "allocator",
        "canon",
        "catalog",
        "console",
        "gateway",
        "limits",
        "mock",
        "routing",
        "store",
        "testkit",
        "wire",
    ];
    for (name, allowed) in allowed {
        let text = std::fs::read_to_string(root().join(format!("crates/{name}/Cargo.toml"))).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        for key in manifest["dependencies"].as_table().unwrap().keys() {
            let fine = !ours.contains(&key.as_str()) || allowed.contains(&key.as_str());
            assert!(fine, "crates/{name} must not depend on {key}");
        }
    }
}

#[test]
fn pure_crates_read_no_clock_no_environment_no_network() {
    let forbidden = [
        "Instant::now",
        "SystemTime::now",
        ".elapsed()",
        "std::env::",
        "std::net::Tcp",
        "std::thread",
        "println!",
        "eprintln!",
    ];
    let mut places = Vec::new();
    for source in sources_of(&PURE) {
        places.extend(source.places(|line| forbidden.iter().any(|word| line.contains(word))));
        if !source.path.starts_with("crates/catalog/") {
            places.extend(source.places(|line| line.contains("std::fs") || line.contains("std::io::std")));
        }
    }
    assert_none("Pure crates take time as an argument and report through their return values:", &places);
}

#[test]
fn files_state_their_purpose() {
    let mut sources = files("crates", ".rs");
    sources.extend(files("xtask", ".rs"));
    let silent = sources.iter().filter(|source| !source.text.starts_with("//!"));
    let silent: Vec<String> = silent.map(|source| source.path.clone()).collect();
    assert_none("The first line of a file is //! and says what it is for:", &silent);
}

#[test]
fn no_unfinished_code_and_no_ignored_test_is_left() {
    let forbidden = ["todo!(", "unimplemented!(", "dbg!(", "#[ignore"];
    let mut sources = files("crates", ".rs");
    sources.extend(files("xtask/src", ".rs"));
    let mut places = Vec::new();
    for source in &sources {
        for (at, line) in source.text.lines().enumerate() {
            if forbidden.iter().any(|word| without_comment(line).contains(word)) {
                places.push(format!("{}:{}", source.path, at + 1));
            }
        }
    }
    assert_none("Left to do, or ignored:", &places);
}

#[test]
fn no_code_names_a_provider() {
    let mut ids: Vec<String> = files("catalog/providers", ".toml")
        .iter()
        .map(|source| source.path.rsplit('/').next().unwrap().trim_end_matches(".toml").to_owned())
        .collect();
    assert!(ids.len() > 20);
    // The demo provider is our own.
    ids.retain(|id| id != "demo");
    let names = |line: &str| {
        strings(line).any(|string| ids.iter().any(|id| string == id || string.starts_with(&format!("{id}/"))))
    };
    let mut places = Vec::new();
    for source in sources_of(&["gateway", "routing", "canon", "store", "wire"]) {
        if source.path.contains("wire/src/protocols/") || source.path.contains("wire/src/providers/") {
            continue;
        }
        places.extend(source.places(names));
    }
    assert_none(
        "A difference between providers is a named quirk in catalog/providers, not a name in code:",
        &places,
    );
}

/// The texts between quotes, escaped quotes included.
fn strings(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).map(|part| part.trim_end_matches('\\'))
}

#[test]
fn only_the_store_writes_sql() {
    let sql = |line: &str| {
        line.contains("INSERT INTO ")
            || line.contains("DELETE FROM ")
            || line.contains("CREATE TABLE ")
            || (line.contains("SELECT ") && line.contains(" FROM "))
    };
    let sources = crate_sources();
    let others = sources.iter().filter(|source| !source.path.starts_with("crates/store/"));
    assert_none(
        "SQL outside of crates/store:",
        &others.flat_map(|source| source.places(sql)).collect::<Vec<_>>(),
    );
}

#[test]
fn one_file_reads_the_environment() {
    let reads = |line: &str| {
        ["env::var(", "env::var_os(", "env::vars(", "env::vars_os(", "from_env(", "from_default_env("]
            .iter()
            .any(|call| line.contains(call))
    };
    let sources = crate_sources();
    let others = sources.iter().filter(|source| {
        source.path != "crates/gateway/src/env.rs" && !source.path.starts_with("crates/testkit/")
    });
    let places: Vec<String> = others.flat_map(|source| source.places(reads)).collect();
    assert_none("Only crates/gateway/src/env.rs reads environment variables:", &places);
}

#[test]
fn lock_files_name_no_registry() {
    let locks = files("tests", "package-lock.json");
    assert!(!locks.is_empty());
    let named = locks.iter().filter(|lock| lock.text.contains("\"resolved\""));
    let named: Vec<String> = named.map(|lock| lock.path.clone()).collect();
    assert_none("A lock file that names its registry cannot be installed from another:", &named);
}

#[test]
fn paths_in_the_documentation_exist() {
    let mut pages = files("docs", ".md");
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        if let Ok(text) = std::fs::read_to_string(root().join(name)) {
            pages.push(Source { path: name.to_owned(), text });
        }
    }
    let mut gone = Vec::new();
    for page in &pages {
        for (at, line) in page.text.lines().enumerate() {
            for word in line.split("](").skip(1).filter_map(linked) {
                let folder = root().join(&page.path).parent().unwrap().to_owned();
                if !folder.join(word).exists() {
                    gone.push(format!("{}:{}: {word}", page.path, at + 1));
                }
            }
            // Every second part is between backticks.
            for word in line.split('`').skip(1).step_by(2).filter(|word| is_path(word)) {
                if !root().join(word).exists() {
                    gone.push(format!("{}:{}: {word}", page.path, at + 1));
                }
            }
        }
    }
    assert_none("These paths are named and do not exist:", &gone);
}

/// `docs/ARCHITECTURE.md` names the tests that hold each invariant.
#[test]
fn invariants_have_their_tests() {
    let page = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let section = page.split("## Invariants").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 10, "the table of invariants was not found");
    let sources: Vec<Source> =
        ["crates", "xtask"].into_iter().flat_map(|folder| files(folder, ".rs")).collect();
    let mut missing = Vec::new();
    for row in rows {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let tests: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            missing.push(format!("a test of: {row}"));
        }
        for test in tests {
            let function = format!("fn {test}(");
            if !sources.iter().any(|source| source.text.contains(&function)) {
                missing.push(test.to_owned());
            }
        }
    }
    assert_none("Tests that the invariants name and that do not exist:", &missing);
}

/// Phrases that are not plain English, each with its replacement.
#[test]
fn phrases_are_plain() {
    const PHRASES: [(&str, &str); 12] = [
        ("dearer", "more expensive"),
        ("whoever", "the caller, the client, each …"),
        ("mend", "repair"),
        ("mends", "repairs"),
        ("mended", "repaired"),
        ("is told", "gets, is reported, is sent"),
        ("are told", "get, are reported, are sent"),
        ("be told", "get, be reported, be sent"),
        ("nobody hears", "is not reported"),
        ("stands there", "is there"),
        ("stands here", "is here"),
        ("all the same", "nevertheless"),
    ];
    let mut sources = vec![];
    for (folder, ending) in [("crates", ".rs"), ("xtask", ".rs"), ("docs", ".md"), ("catalog", ".toml")] {
        sources.extend(files(folder, ending));
    }
    for name in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "catalog/README.md"] {
        sources.push(Source {
            path: name.to_owned(),
            text: std::fs::read_to_string(root().join(name)).unwrap(),
        });
    }
    sources.retain(|source| source.path != "xtask/tests/tidy.rs");
    let mut places = Vec::new();
    for source in &sources {
        for (at, line) in source.text.lines().enumerate() {
            let line = line.to_lowercase();
            for (phrase, plain) in PHRASES.iter().filter(|(phrase, _)| has_phrase(&line, phrase)) {
                places.push(format!("{}:{}: \"{phrase}\": {plain}", source.path, at + 1));
            }
        }
    }
    assert_none("These phrases have a plain word:", &places);
}

/// Whether a line has the phrase as whole words. Names of functions are words joined by underscores.
fn has_phrase(line: &str, phrase: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphabetic();
    line.match_indices(phrase)
        .any(|(at, _)| !line[..at].ends_with(is_letter) && !line[at + phrase.len()..].starts_with(is_letter))
}

/// The file that a link leads to, if it is in the repository.
fn linked(rest: &str) -> Option<&str> {
    let target = rest.split_once(')')?.0;
    let file = target.split_once('#').map_or(target, |(file, _)| file);
    (!file.is_empty() && !file.contains(':')).then_some(file)
}

/// Whether it is a path of this repository. Patterns and placeholders are not.
fn is_path(word: &str) -> bool {
    let folders = ["crates", "catalog", "xtask", "tests", "docs", "fuzz", "bench", ".ci", ".cargo"];
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./".contains(letter);
    word.split_once('/').is_some_and(|(folder, _)| folders.contains(&folder)) && word.chars().all(plain)
}

#[test]
fn functions_are_short() {
    const LIMIT: usize = 90;
    let mut long = Vec::new();
    for source in files("crates", ".rs").into_iter().chain(files("xtask", ".rs")) {
        long_functions(&source, LIMIT, &mut long);
    }
    assert_none(&format!("Functions of more than {LIMIT} lines:"), &long);
}

/// rustfmt puts the closing brace of a function below the start of its `fn` line.
fn long_functions(source: &Source, limit: usize, long: &mut Vec<String>) {
    let mut open: Option<(usize, String, &str)> = None;
    for (at, line) in source.text.lines().enumerate() {
        match &open {
            Some((start, closing, name)) if line == closing => {
                if at - start + 1 > limit {
                    long.push(format!("{}:{}: {name} has {} lines", source.path, start + 1, at - start + 1));
                }
                open = None;
            }
            Some(_) => {}
            None => {
                if let Some(name) = function_name(line) {
                    let indent = line.len() - line.trim_start().len();
                    open = Some((at, format!("{}}}", &line[..indent]), name));
                }
            }
        }
    }
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let known = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"];
    let first = words.find(|word| !known.contains(word))?;
    let ended = line.ends_with(';') || line.ends_with('}');
    (first == "fn" && !ended).then(|| words.next().unwrap_or_default())
}

/// `testkit::random::cases` fixes the seed and prints it; any other configuration uses new cases each time.
#[test]
fn random_tests_draw_the_same_cases_every_time() {
    let own = "crates/testkit/src/random.rs";
    let all = files("crates", ".rs").into_iter().chain(files("xtask/src", ".rs"));
    let mut places = Vec::new();
    for source in all.filter(|source| source.path != own) {
        let runs =
            source.text.matches("proptest! {").count() + source.text.matches("TestRunner::new").count();
        let fixed = source.text.matches("testkit::random::cases(").count();
        if runs > fixed {
            places.push(source.path);
        }
    }
    assert_none("random tests take their configuration from testkit::random", &places);
}

/// Modules by their path in the crate (`pipeline::pump`, empty for the root), with the modules that each one
/// names.
type Modules = BTreeMap<String, BTreeSet<String>>;

fn module_of(source: &Source) -> String {
    let path = source.path.split("/src/").nth(1).unwrap().trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if ["lib", "main"].contains(&path) { String::new() } else { path.replace('/', "::") }
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn leaves(tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let mut depth = 0;
    let parts = inner.split(|letter| {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        letter == ',' && depth == 0
    });
    let parts = parts.filter(|part| !part.trim().is_empty());
    parts.flat_map(leaves).map(|leaf| format!("{}{leaf}", head.trim())).collect()
}

/// Every path in the code of a file, in imports and elsewhere.
fn paths_in(source: &Source) -> Vec<String> {
    let code: String = source.code().map(|(_, line)| format!("{line}\n")).collect();
    let mut paths = Vec::new();
    for statement in code.split(';') {
        let import = statement.rfind("use ").filter(|at| !statement[..*at].ends_with(char::is_alphanumeric));
        match import {
            Some(at) => paths.extend(leaves(&statement[at + 4..])),
            None => {
                let words =
                    statement.split(|letter: char| !letter.is_alphanumeric() && !"_:".contains(letter));
                paths.extend(words.filter(|word| word.contains("::")).map(str::to_owned));
            }
        }
    }
    paths
}

/// The module of a path, as seen from `module`; none for a path of another crate.
fn resolved(path: &str, module: &str, modules: &Modules) -> Option<String> {
    let mut parts = path.split("::").peekable();
    let mut at: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    let joined = |at: &[&str], part: &str| at.iter().chain([&part]).copied().collect::<Vec<_>>().join("::");
    match *parts.peek()? {
        "crate" => at.clear(),
        "super" => {
            at.pop();
        }
        first if modules.contains_key(&joined(&at, first)) => at.push(first),
        _ => return None,
    }
    parts.next();
    while let Some(part) = parts.next_if(|part| *part == "super" || modules.contains_key(&joined(&at, part)))
    {
        if part == "super" {
            at.pop();
        } else {
            at.push(part);
        }
    }
    Some(at.join("::"))
}

/// The modules that each module of a crate names, except those around it, which share their names with it.
fn modules_of(name: &str) -> Modules {
    let sources = sources_of(&[name]);
    let mut modules: Modules = sources.iter().map(|source| (module_of(source), BTreeSet::new())).collect();
    for source in &sources {
        let module = module_of(source);
        let is_around =
            |other: &String| other.is_empty() || format!("{module}::").starts_with(&format!("{other}::"));
        let named =
            paths_in(source).iter().filter_map(|path| resolved(path, &module, &modules)).collect::<Vec<_>>();
        modules.get_mut(&module).unwrap().extend(named.into_iter().filter(|other| !is_around(other)));
    }
    modules
}

/// The path from a module back to itself, if there is one.
fn circle(modules: &Modules) -> Option<Vec<String>> {
    modules.keys().find_map(|start| {
        let mut ways = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            for next in &modules[way.last().unwrap()] {
                let longer = [way.clone(), vec![next.clone()]].concat();
                if next == start {
                    return Some(longer);
                }
                if seen.insert(next.clone()) {
                    ways.push(longer);
                }
            }
        }
        None
    })
}

#[test]
fn modules_depend_on_each_other_one_way() {
    for name in ["canon", "wire", "catalog", "routing", "limits", "store", "gateway"] {
        let modules = modules_of(name);
        assert_eq!(circle(&modules), None, "modules of {name} depend on each other in a circle");
        // The top-level modules are checked for the gateway only.
        if name != "gateway" {
            continue;
        }
        let mut rooms = Modules::new();
        let room = |module: &str| module.split("::").next().unwrap().to_owned();
        for (module, others) in modules.iter().filter(|(module, _)| !module.is_empty()) {
            let others = others.iter().map(|other| room(other)).filter(|other| *other != room(module));
            rooms.entry(room(module)).or_default().extend(others);
        }
        assert_eq!(circle(&rooms), None, "top-level modules of {name} depend on each other in a circle");
    }
}

#[test]
fn circles_are_found() {
    let of = |edges: &[(&str, &str)]| {
        let mut modules = Modules::new();
        for (from, to) in edges {
            modules.entry((*to).to_owned()).or_default();
            modules.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        modules
    };
    assert_eq!(circle(&of(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    assert_eq!(
        circle(&of(&[("a", "b"), ("b", "c"), ("c", "b")])),
        Some(vec!["b".into(), "c".into(), "b".into()])
    );
    assert_eq!(leaves("super::{a::{self, b}, c}"), ["super::a::self", "super::a::b", "super::c"]);
    let modules = of(&[("a", "b::c"), ("b", "b::c")]);
    assert_eq!(resolved("super::b::c::Name", "a", &modules).as_deref(), Some("b::c"));
    assert_eq!(resolved("c::Name", "b", &modules).as_deref(), Some("b::c"));
    assert_eq!(resolved("serde::Name", "b", &modules), None);
}
