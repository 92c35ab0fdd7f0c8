//! The commands, as a person runs them.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in a folder with nothing in its environment but these variables.
fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llmgateway"));
    command.args(arguments).current_dir(folder).env_clear().envs(variables.iter().copied());
    let Output { status, stdout, stderr } = command.stdin(std::process::Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn folder_with(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("llmgateway.toml"), config).unwrap();
    folder
}

#[test]
fn check_reports_every_mistake_of_form_and_meaning_with_its_line() {
    let folder = folder_with(
        "[server]
listen = \"0.0.0.0:4000\"
max_conections = 5
[database]
url = \"mysql://root@h/db\"
[auth]
api_keys = []
[providers.opnai]
api_key = \"\"
[providers.anthropic]
priority = \"high\"
api_key = \" \"
[models.fast]
targets = [\"groq/llama-3.3-70b-versatile\"]
[models.mixed]
targets = [
  \"anthropic/claude-sonnet-4-5\",
  \"nobody/x\",
]
weights = [1, 2]
",
    );
    let (code, _, told) = run(folder.path(), &["check"], &[]);
    assert_eq!(code, 1, "{told}");
    let expected = [
        "line 2: server.listen: 0.0.0.0:4000 can be reached from other machines",
        "line 3: server.max_conections: unknown key; did you mean \"max_connections\"?",
        "line 5: database.url: \"mysql\" is not supported",
        "line 8: providers.opnai: this provider is not in the catalog; did you mean \"openai\"?",
        "line 11: providers.anthropic.priority: invalid type",
        "line 12: providers.anthropic.api_key[0]: the key is empty",
        "line 14: models.fast.targets: no target can be used now: groq: GROQ_API_KEY is not set",
        "line 18: models.mixed.targets[1]: \"nobody/x\" is unknown",
        "line 20: models.mixed.weights: weights have no effect",
    ];
    let lines: Vec<&str> = told.lines().skip(1).map(str::trim).collect();
    assert_eq!(lines.len(), expected.len(), "{told}");
    for (line, start) in lines.iter().zip(expected) {
        assert!(line.starts_with(start), "{start}\n{told}");
    }
}

#[test]
fn check_knows_that_the_database_holds_a_key() {
    let folder = folder_with("[server]\nlisten = \"0.0.0.0:4000\"\n");
    let (code, _, told) = run(folder.path(), &["check"], &[]);
    assert!(code == 1 && told.contains("there is no API key"), "{told}");
    assert!(!folder.path().join("llmgateway.db").exists(), "check made a database");
    assert_eq!(run(folder.path(), &["keys", "create", "mine"], &[]).0, 0);
    let (code, said, told) = run(folder.path(), &["check"], &[]);
    assert_eq!(code, 0, "{told}");
    assert!(said.contains("The configuration is valid"), "{said}");
    assert!(!said.contains('\u{1b}'), "colour into a pipe: {said:?}");
}

#[test]
fn models_are_those_that_can_be_asked_for() {
    let folder = folder_with("[models.fast]\ntargets = [\"groq/llama-3.3-70b-versatile\"]\n");
    let variables = [("GROQ_API_KEY", "k")];
    let (code, said, told) = run(folder.path(), &["models"], &variables);
    assert_eq!(code, 0, "{told}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("MODEL") && lines[1].starts_with("fast "), "{said}");
    assert!(lines[2..].iter().all(|line| line.starts_with("groq/") || line.contains("--all")), "{said}");
    let (_, all, _) = run(folder.path(), &["models", "--all"], &variables);
    assert!(all.contains("\nanthropic/") && all.contains("\ngroq/"), "{all}");
    let (_, json, _) = run(folder.path(), &["models", "--json", "--provider", "anthropic"], &variables);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = json.as_array().unwrap();
    assert!(!rows.is_empty());
    assert!(rows.iter().all(|row| row["provider"] == "anthropic" && row["enabled"] == false));
}
