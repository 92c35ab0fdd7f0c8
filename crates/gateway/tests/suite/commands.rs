//! The commands, as a person runs them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// Runs the program in a folder with only these variables in its environment.
pub fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llmgateway"));
    command.args(arguments).current_dir(folder).env_clear().envs(variables.iter().copied());
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
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
        "line 11: providers.anthropic.priority: must be a number, not text",
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
fn check_finds_an_api_key_in_the_database() {
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
fn the_models_command_lists_models_that_can_be_requested() {
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
    let json: Value = serde_json::from_str(&json).unwrap();
    let rows = json.as_array().unwrap();
    assert!(!rows.is_empty());
    assert!(rows.iter().all(|row| row["provider"] == "anthropic" && row["enabled"] == false));
}

/// A gateway in a process of its own, stopped on drop.
struct Serving {
    child: Child,
    /// Its output until it was ready.
    said: String,
    address: String,
}

impl Serving {
    fn start(folder: &Path, variables: &[(&str, &str)]) -> Self {
        Self::start_until("providers enabled", folder, variables)
    }

    /// Reads its output up to the line with this text.
    fn start_until(last: &str, folder: &Path, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_llmgateway"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .current_dir(folder)
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        while !said.contains(last) {
            assert_ne!(out.read_line(&mut said).unwrap(), 0, "{said}");
        }
        let address = said.split_once("http://").unwrap().1.split_once('/').unwrap().0.to_owned();
        Self { child, said, address }
    }

    /// Sends a request as it is and returns the status.
    fn send(&self, request: &str) -> u16 {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        socket.read_to_string(&mut reply).unwrap();
        reply.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The log until the end.
    fn log(mut self) -> String {
        self.child.kill().unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask_the_demo(key: &str) -> String {
    let body = r#"{"model":"demo/echo","messages":[{"role":"user","content":"Hi"}]}"#;
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
         x-request-id: my-id\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn check_and_the_start_show_base_urls_that_are_not_the_usual_ones() {
    let folder = folder_with(
        "[providers.anthropic]\nbase_url = \"https://other.test/x\"\n[providers.mine]\nprotocol = \"openai-chat\"\n\
         base_url = \"http://127.0.0.1:1/v1\"\n[auth]\napi_keys = [\"k\"]\n",
    );
    let variables = [
        ("OPENAI_API_KEY", "a"),
        ("OPENAI_BASE_URL", "https://proxy.test/v1"),
        ("ANTHROPIC_API_KEY", "b"),
        ("GROQ_API_KEY", "c"),
    ];
    let (code, said, told) = run(folder.path(), &["check"], &variables);
    assert_eq!(code, 0, "{told}");
    let started = Serving::start_until("openai (", folder.path(), &variables);
    for said in [&said, &started.said] {
        let line = |id: &str| said.lines().find(|line| line.trim_start().starts_with(id)).unwrap_or_default();
        assert!(line("openai ").contains("https://proxy.test/v1 by OPENAI_BASE_URL"), "{said}");
        assert!(line("anthropic ").contains("https://other.test/x"), "{said}");
        assert!(line("mine ").contains("http://127.0.0.1:1/v1"), "{said}");
        assert!(line("groq ").contains("GROQ_API_KEY") && !line("groq ").contains("http"), "{said}");
    }
}

#[test]
fn each_request_is_a_line_of_the_log() {
    let folder = folder_with("[logging]\nformat = \"json\"\n");
    let serving = Serving::start(folder.path(), &[("LLMGATEWAY_API_KEY", "my-key")]);
    assert_eq!(serving.send(&ask_the_demo("my-key")), 200);
    assert_eq!(serving.send(&ask_the_demo("wrong-key")), 401);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n");
    assert_eq!(serving.send(&get("/v1/models?key=my-key")), 200);
    assert_eq!(serving.send(&get("/nothing")), 404);
    let other_format = ask_the_demo("my-key").replace("/v1/chat/completions", "/v1/messages");
    assert_eq!(serving.send(&other_format), 200);
    let log = serving.log();
    assert!(!log.contains("my-key") && !log.contains("wrong-key"), "{log}");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["target"] == "access")
        .collect();
    let seen: Vec<(u64, &str)> =
        lines.iter().map(|line| (line["status"].as_u64().unwrap(), line["path"].as_str().unwrap())).collect();
    let chat = "/v1/chat/completions";
    assert_eq!(
        seen,
        [(200, chat), (401, chat), (200, "/v1/models"), (404, "/nothing"), (200, "/v1/messages")],
        "{log}"
    );
    assert_eq!((&lines[0]["request_id"], &lines[0]["provider"]), (&"my-id".into(), &"demo".into()));
    assert!(lines.iter().all(|line| line["request_id"].as_str().is_some_and(|id| !id.is_empty())));
}

#[test]
fn lines_of_requests_can_be_switched_off() {
    for (config, variables) in [
        ("[logging]\naccess = false\n", &[("LLMGATEWAY_API_KEY", "k")][..]),
        ("", &[("LLMGATEWAY_API_KEY", "k"), ("LLMGATEWAY_LOG", "warn")]),
    ] {
        let folder = folder_with(config);
        let serving = Serving::start(folder.path(), variables);
        assert_eq!(serving.send(&ask_the_demo("k")), 200);
        let log = serving.log();
        assert!(!log.contains("access"), "{log}");
    }
}

#[test]
fn the_second_start_prints_a_curl_that_works_too() {
    let folder = tempfile::tempdir().unwrap();
    let first = Serving::start(folder.path(), &[]);
    let key = first.said.split_once("API key  ").unwrap().1.split_whitespace().next().unwrap().to_owned();
    assert_eq!(first.send(&ask_the_demo(&key)), 200);
    drop(first);
    let second = Serving::start(folder.path(), &[]);
    let said = &second.said;
    assert!(said.contains("API key  in llmgateway.key") && !said.contains(&key), "{said}");
    assert!(said.contains("Bearer $(cat 'llmgateway.key')"), "{said}");
    assert_eq!(std::fs::read_to_string(folder.path().join("llmgateway.key")).unwrap().trim(), key);
    assert_eq!(second.send(&ask_the_demo(&key)), 200);
    drop(second);
    let third = Serving::start(folder.path(), &[("LLMGATEWAY_API_KEY", "mine")]);
    assert!(third.said.contains("Bearer $LLMGATEWAY_API_KEY"), "{}", third.said);
    assert_eq!(third.send(&ask_the_demo("mine")), 200);
}

#[test]
fn explain_names_the_first_provider_and_unreadable_files() {
    let folder = folder_with("");
    let variables = [("ANTHROPIC_API_KEY", "canary-7d1"), ("OPENROUTER_API_KEY", "canary-8e2")];
    let (code, said, told) = run(folder.path(), &["explain", "--model", "claude-sonnet-4-5"], &variables);
    assert_eq!(code, 0, "{told}");
    let first = said.lines().next().unwrap();
    for part in [" would serve ", ", because ", " at $", " per million prompt tokens", "for this request"] {
        assert!(first.contains(part), "{part}: {first}");
    }
    assert!(said.contains("PROVIDER") && said.contains("\nPOST https://"), "{said}");
    assert!(said.contains("user-agent: llmgateway/") && !said.contains("canary"), "{said}");
    let (_, json, _) =
        run(folder.path(), &["explain", "--json", "--model", "anthropic/claude-sonnet-4-5"], &variables);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["selection"]["reason"], "only_candidate");
    assert_eq!(json["request"]["body"]["model"], "claude-sonnet-4-5");
    assert!(!json.to_string().contains("canary"));
    for (name, text, problem) in
        [("none.json", None, "cannot be read"), ("bad.json", Some("{"), "is not a JSON object")]
    {
        if let Some(text) = text {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let (code, _, told) = run(folder.path(), &["explain", "--request", name], &variables);
        assert!(code == 1 && told.contains(name) && told.contains(problem), "{told}");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_llmgateway"))
        .args(["explain", "--request", "-"])
        .current_dir(folder.path())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let request = br#"{"model":"demo/echo","messages":[{"role":"user","content":"Hi"}]}"#;
    child.stdin.take().unwrap().write_all(request).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("demo would serve echo"));
}

/// A folder with this configuration and this file of models.
fn folder_with_overlay(config: &str, models: &str) -> tempfile::TempDir {
    let folder = folder_with(config);
    std::fs::create_dir_all(folder.path().join("facts/models")).unwrap();
    std::fs::write(folder.path().join("facts/models/own.toml"), models).unwrap();
    folder
}

const OVERLAY: &str = "[catalog]\noverlay = \"facts\"\n";

#[test]
fn mistakes_of_an_overlay_are_reported_with_file_and_line() {
    let models = "family = \"own\"\n[[models]]\nid = \"m\"\nname = \"M\"\ncontext_token = 1\n\
                  [[models.providers]]\nprovider = \"opnai\"\nprice = { input = 1, output = \"1\" }\n";
    let folder = folder_with_overlay(&format!("{OVERLAY}[server]\nlistn = \"x\"\n"), models);
    let (code, _, told) = run(folder.path(), &["check"], &[]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("llmgateway.toml has 4 mistakes"), "{told}");
    for line in [
        "line 4: server.listn: unknown key; did you mean \"listen\"?",
        "facts/models/own.toml: line 5: models[0].context_token: unknown key; did you mean `context_tokens`?",
        "facts/models/own.toml: line 8: models[0].providers[0].price.input: 1 is not a price",
        "facts/models/own.toml: line 3: m: provider \"opnai\" is unknown; did you mean `openai`?",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    let folder = folder_with("[catalog]\noverlay = \"nowhere\"\n");
    let (code, _, told) = run(folder.path(), &["check"], &[]);
    assert!(code == 1 && told.contains("line 2: catalog.overlay: nowhere is not a folder"), "{told}");
}

#[test]
fn models_of_overlay_and_configuration_are_listed_with_their_prices() {
    let models = "family = \"own\"\n[[models]]\nid = \"laid-over\"\nname = \"M\"\n[[models.providers]]\n\
                  provider = \"openai\"\nprice = { input = \"1.25\", output = \"3\" }\n";
    let own = "[providers.mine]\nprotocol = \"openai-chat\"\nbase_url = \"http://127.0.0.1:9/v1\"\n\
               [providers.mine.models.described]\nfree = true\ncontext_tokens = 8192\n";
    let folder = folder_with_overlay(&format!("{OVERLAY}{own}"), models);
    let (code, said, told) = run(folder.path(), &["models"], &[("OPENAI_API_KEY", "k")]);
    assert_eq!(code, 0, "{told}");
    let line = |name: &str| {
        said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {said}"))
    };
    assert!(line("openai/laid-over").contains("1.25"), "{said}");
    assert!(line("mine/described").contains("8k") && line("mine/described").contains(" 0 "), "{said}");
    assert!(said.lines().nth(1).unwrap().starts_with("mine/described"), "own providers come first: {said}");
}

#[test]
fn check_reports_projects_whose_every_request_would_be_refused() {
    let providers = "[providers.openai]\napi_key = \"k\"\n\
        [providers.mine]\nprotocol = \"openai-chat\"\nbase_url = \"http://127.0.0.1:1/v1\"\napi_key = \"k\"\n\
        [models.fast]\ntargets = [\"openai/gpt-4o-mini\"]\n";
    for (policy, told) in [
        ("budgets = [{ usd = \"5\", per = \"day\" }]\nproviders = [\"mine\"]", Some("projects.a.budgets")),
        ("budgets = [{ usd = \"5\", per = \"day\" }]\nmodels = [\"claude-*\"]", Some("projects.a.budgets")),
        ("budgets = [{ usd = \"5\", per = \"day\" }]", None),
        ("budgets = [{ usd = \"5\", per = \"day\" }]\nmodels = [\"fast\"]", None),
        ("unpriced = \"block\"\nproviders = [\"mine\"]", Some("projects.a.unpriced")),
        ("models = [\"opnai/*\"]\nproviders = [\"openai\"]", Some("projects.a.models")),
        ("models = [\"anything\"]\nproviders = [\"mine\"]", None),
        ("deny_providers = [\"*\"]", Some("projects.a.models")),
        ("regions = [\"eu*\"]", Some("projects.a.regions")),
        ("data_collection = \"deny\"\nproviders = [\"mine\"]", Some("projects.a.data_collection")),
        ("data_collection = \"deny\"", None),
        ("zdr = true", Some("projects.a.zdr")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("[auth]\napi_keys = [\"sk-x\"]\n{providers}[projects.a]\n{policy}\n");
        std::fs::write(folder.path().join("llmgateway.toml"), text).unwrap();
        let (code, _, errors) = run(folder.path(), &["check"], &[]);
        assert_eq!(
            (code, errors.contains("every request would be refused")),
            told.map_or((0, false), |_| (1, true)),
            "{policy}: {errors}"
        );
        assert!(errors.contains(told.unwrap_or_default()), "{policy}: {errors}");
    }
}

#[test]
fn check_refuses_settings_that_need_others() {
    for (settings, errors) in [
        ("[limits]\nexact = true\n", vec!["line 2: limits.exact: needs cluster.redis"]),
        (
            "[limits]\nexact = true\n[cluster]\nredis = \"redis://127.0.0.1:1\"\n",
            vec!["line 4: cluster.redis: needs database.url to be PostgreSQL's"],
        ),
        (
            "[database]\nurl = \"sqlite://x.db\"\n[cluster]\nredis = \"http://127.0.0.1:1\"\n[cache]\nredis = true\n",
            vec!["line 4: cluster.redis: needs database.url", "line 4: cluster.redis: "],
        ),
        ("[cache]\nredis = true\n", vec!["line 2: cache.redis: needs cluster.redis"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("llmgateway.toml"), settings).unwrap();
        let (code, _, shown) = run(folder.path(), &["check"], &[]);
        assert_eq!(code, 1, "{settings}: {shown}");
        for error in errors {
            assert!(shown.contains(error), "{settings}: {shown}");
        }
    }
}

#[test]
fn keys_are_changed_and_changes_are_listed() {
    let folder = folder_with("[projects.declared]\nmodels = [\"demo/*\"]\n");
    let run = |line: &str| run(folder.path(), &line.split(' ').collect::<Vec<_>>(), &[]);
    let made = run("keys create one");
    let id = made.1.split(&['(', ','][..]).nth(1).unwrap().to_owned();
    assert_eq!(run(&format!("keys update {id} --name two --roles viewer --expires 2027-01-31")).0, 0);
    let (_, list, _) = run("keys list");
    assert!(list.contains("two") && list.contains("active"), "{list}");
    assert_eq!(run(&format!("keys update {id} --expires never")).1, format!("changed {id}\n"));
    for (line, reason) in [
        (format!("keys update {id} --roles boss"), "There is no role \"boss\""),
        (format!("keys update {id} --expires soon"), "\"soon\" is not a valid date"),
        (format!("keys update {id} --policy [1]"), "The policy is not valid"),
        ("keys update key_0 --name x".to_owned(), "There is no active key \"key_0\""),
        ("projects purge-cache nobody".to_owned(), "There is no project \"nobody\""),
        ("requests --filter color:red".to_owned(), "color"),
        ("requests nothing".to_owned(), "There is no request \"nothing\""),
        ("requests --after x".to_owned(), "--after must be"),
    ] {
        let (code, _, errors) = run(&line);
        assert!(code == 1 && errors.contains(reason), "{line}: {errors}");
    }
    assert_eq!(run("projects purge-cache declared").0, 0);
    let (_, audit, _) = run("audit");
    let entries: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let actions: Vec<&str> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["project.purge_cache", "key.update", "key.update", "key.create"]);
    assert_eq!(run("audit --limit 1").1.lines().count(), 1);
    assert_eq!(
        (run("nodes"), run("requests")),
        ((0, String::new(), String::new()), (0, String::new(), String::new()))
    );
}
