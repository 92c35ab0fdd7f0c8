//! `docs/configuration.md`, written from the doc comments and defaults of the settings. `UPDATE_DOCS=1 cargo
//! test -p gateway reference` rewrites it.

use std::fmt::Write;

use catalog::Catalog;
use serde_json::Value;

use super::file::{ConfigFile, known_keys};
use super::settings::Settings;
use crate::env::Environment;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
const FILE: &str = include_str!("file.rs");
const QUIRKS_FILE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../canon/src/quirks.rs"));
const ROUTING: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../routing/src/settings.rs"));

/// Section, the struct that reads it, and what is said before its table.
const SECTIONS: [(&str, &str, &str); 19] = [
    ("server", "ServerSection", "The listener of the gateway."),
    (
        "server.tls",
        "ServerTlsSection",
        "TLS for callers, with HTTP/1.1 and HTTP/2. The files are read again when they have changed.",
    ),
    (
        "auth",
        "AuthSection",
        "The permitted callers. If there is no key here, in `LLMGATEWAY_API_KEY` or in the database, `serve` creates \
         one at its start, prints it, and stores it in a file that only its owner can read: `llmgateway.key` beside \
         `llmgateway.db` (not with PostgreSQL).",
    ),
    (
        "auth.oidc",
        "OidcSection",
        "Signing in to the dashboard by an OpenID Connect provider ([single-sign-on.md](single-sign-on.md)).",
    ),
    ("answers", "AnswersSection", "The form of answers."),
    (
        "responses",
        "ResponsesSection",
        "Answers that the gateway stores in its database for later requests. Only the key that made the request can use \
         them.",
    ),
    (
        "bodies",
        "BodiesSection",
        "Bodies and headers of requests that the database keeps for administrators: the page of a request shows them. \
         [governance.md](governance.md#bodies-and-headers) lists the masked parts.",
    ),
    ("database", "DatabaseSection", "The storage of usage and keys."),
    (
        "logging",
        "LoggingSection",
        "The log is written to standard error and never delays or fails a request. `LLMGATEWAY_LOG` selects its \
         content; the lines of requests have the target `access`.",
    ),
    (
        "timeouts",
        "TimeoutSection",
        "Timeouts for providers, in seconds. The timeouts of an alias (`[models.NAME.timeouts]`) take precedence over \
         those of its provider (`[providers.ID.timeouts]`), which take precedence over the values here.",
    ),
    ("tls", "TlsSection", "TLS to providers and to other servers that the gateway calls."),
    (
        "catalog",
        "CatalogSection",
        "Facts about providers and models beyond the built-in ones. The folder's files have the form of the built-in catalog's \
         ([catalog/README.md](../catalog/README.md)); a provider or model with a known id replaces the built-in one as a whole. `llmgateway check` reports mistakes \
         with file and line. A changed, added or deleted file causes a reload.",
    ),
    ("providers.ID", "ProviderSection", OWN_PROVIDERS),
    (
        "models.NAME",
        "ModelSection",
        "An alias: a name for one or several models. A target is `provider/model` or a model of the catalog, \
         never another alias.",
    ),
    (
        "cluster",
        "ClusterSection",
        "Several nodes share a PostgreSQL database and Redis or Valkey; [operations.md](operations.md) describes \
         outages of either.",
    ),
    (
        "limits",
        "LimitsSection",
        "The counting of budgets and limits that nodes share; [governance.md](governance.md) describes budgets and \
         limits.",
    ),
    (
        "cache",
        "CacheSection",
        "The size of the response cache. An answer is cached if the project's policy or the request asks for it: \
         [caching.md](caching.md).",
    ),
    (
        "guardrails.NAME",
        "GuardrailSection",
        "A rule for the texts of requests and answers. It applies to projects and keys whose policy names it \
         (`guardrails = [\"NAME\"]`); [governance.md](governance.md#guardrails) has examples and bounds.",
    ),
    (
        "webhooks",
        "WebhookSection",
        "URLs that get an event when a budget reaches a threshold; [governance.md](governance.md#webhooks) describes \
         the event.",
    ),
];

const OWN_PROVIDERS: &str = "A provider of the catalog ([providers.md](providers.md)), or one of your own with any other id: \
    that needs `protocol` and `base_url`. A base URL may have the version of the API or leave it out; one without a scheme, \
    with a user or password, or with the gateway's own address is refused. A provider that needs no key is enabled by its section, even an \
    empty one. A section takes precedence over the environment.";

const ROUTING_PARTS: [(&str, &str); 6] = [
    ("", "Settings"),
    ("weights", "Weights"),
    ("health", "HealthSettings"),
    ("breaker", "BreakerSettings"),
    ("retry", "RetrySettings"),
    ("sessions", "SessionSettings"),
];

const OWN_MODELS: &str = "
### `[providers.ID.models.\"NAME\"]`

The facts of a model. Its price counts in answers, records and the choice of a provider, its limits and features decide which requests
it gets, and `GET /v1/models` and `llmgateway models` show them. `NAME` is the provider's name of the model. It can be requested as
`ID/NAME` and as `NAME`. If the catalog has a model of this name, it gets one more provider. For a
provider of the catalog, the values here overlay those of the catalog: another price, a model that it does not have.

```toml
[providers.my-vllm.models.\"qwen3-32b\"]
context_tokens = 40960
max_output_tokens = 8192
features = [\"tools\", \"json_schema\", \"reasoning\"]
price = { input = \"0.10\", output = \"0.25\" }
```

| key | type | meaning |
|---|---|---|
| `price` | table of strings | Decimal strings by the names of [catalog/README.md](../catalog/README.md#modelsfamilytoml). Without a price the cost is unknown. |
| `free` | true or false | The model is free of charge. |
| `operations` | list of strings | The operations that it serves. Default: conversations (`chat`). The operations are `chat`, `embeddings`, `rerank`, `moderations`, `image_generations`, `image_edits`, `transcriptions`, `translations`, `speech`. |
| `endpoint` | table | Its facts for operations other than chat, in the form of the catalog. |
| `context_tokens` | whole number | Maximum tokens of the prompt and the answer together. |
| `max_output_tokens` | whole number | Maximum tokens of an answer. |
| `features` | list of strings | Its features. A request that needs another feature is sent elsewhere or refused. Without the list, the provider decides. The features are FEATURES |
| `lacks` | list of strings | Features that the model has in the catalog but not at this provider. |
| `model` | string | The id of the model in the catalog, if the provider uses another name. The model then has the facts of the catalog and one more provider. |
| `reasoning`, `rejects`, `rejects_thinking`, `thinks_by_default`, `functions_exclude_thinking`, `responses_only`, `completions_only`, `no_media_in_results`, `strict_subset`, `deprecated` | | As in the catalog ([catalog/README.md](../catalog/README.md)). |
";

const QUIRKS: &str = "
### `[providers.ID.quirks]`

How a provider differs from its wire format. A quirk that is not given here
keeps the catalog's value.

| key | type | meaning |
|---|---|---|
";

const INTRODUCTION: &str = "# Configuration

<!-- Written by `UPDATE_DOCS=1 cargo test -p gateway reference` from doc comments and defaults; a test compares it. -->

`llmgateway serve --config FILE` reads one TOML file; without `--config` it is `llmgateway.toml` in the folder where the
gateway was started. Without this file, the defaults below hold and the environment enables providers. Unknown keys are
mistakes. `llmgateway check` reports all mistakes at once, each with its line and path, and also probable mistakes, such as an alias
without a usable target.

`llmgateway schema` prints the file's form as JSON Schema (draft 7), so that an editor completes keys, shows their meaning and marks
mistakes: `llmgateway schema > llmgateway.schema.json`, and as the first line of the configuration
`#:schema ./llmgateway.schema.json` (Taplo, and with it the TOML extensions of VS Code, Zed and Helix). `check` knows more than the schema: names of
models, values that exclude each other, the values behind `env:` and `file:`.

Instead of a value, `\"env:NAME\"` takes it from an environment variable and `\"file:PATH\"` from a file (without the white space
at its end), so that the file needs no secret. This works for `server.listen`, `database.url`, `catalog.overlay`, the keys in
`[auth]` and of projects, `cluster.redis`, `[[webhooks]]`, and `api_key`, `api_keys`, `base_url`, the values of `headers` and the further settings of providers.

```toml
[server]
listen = \"127.0.0.1:4000\"

[auth]
api_keys = [\"env:LLMGATEWAY_API_KEY\"]

[providers.openai]
api_key = \"env:OPENAI_API_KEY\"

[providers.my-vllm]
protocol = \"openai-chat\"
base_url = \"http://10.0.0.5:8000/v1\"

[models.fast]
targets = [\"groq/llama-3.3-70b-versatile\", \"openai/gpt-4o-mini\"]
pick = \"order\"
```
";

const POLICY: &str = include_str!("../../../limits/src/policy.rs");

const PROJECTS: &str = "
## `[projects.ID]`

The policy of a team or an application, and its keys; [governance.md](governance.md) describes it with examples. Projects and
keys can also be created in the database. A project in this file takes precedence over one of the same id there.

```toml
[projects.team-a]
models = [\"openai/*\", \"claude-*\"]
budgets = [{ usd = \"250\", per = \"month\" }]
limits = [{ requests = 600, per = \"minute\" }, { concurrent = 40 }]
tags = { team = \"a\" }
keys = [{ name = \"ci\", key = \"env:TEAM_A_CI_KEY\", limits = [{ concurrent = 4 }] }]
```
";

const ENVIRONMENT: &str = "
## Environment

| variable | meaning |
|---|---|
| `LLMGATEWAY_API_KEY` | a key for callers, where `auth.api_keys` is empty |
| `LLMGATEWAY_CONFIG` | the configuration file; `--config` takes precedence |
| `LLMGATEWAY_LISTEN` | takes precedence over `server.listen`; `--listen` takes precedence over both |
| `LLMGATEWAY_DATABASE_URL` | takes precedence over `database.url` |
| `LLMGATEWAY_LOG` | the levels of the log, such as `info` or `warn,access=off`; default `warn,access=info` |
| `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` | the outbound proxies, as curl reads them, in upper or lower case: `http://user:password@host:port`, `https://…` or `socks5h://…`. Loopback and link-local addresses never use them. `proxy` of a provider takes precedence |
| `SSL_CERT_FILE`, `SSL_CERT_DIR` | certificate authorities in place of the system's; the built-in ones remain trusted |

The variables of each provider are in [providers.md](providers.md).
";

/// A field of a struct in a source file.
struct Field {
    name: String,
    kind: String,
    doc: String,
}

/// The fields of `pub struct NAME`, with their doc comments.
fn fields(source: &str, name: &str) -> Vec<Field> {
    let start = source.find(&format!("pub struct {name} {{")).unwrap_or_else(|| panic!("no struct {name}"));
    let mut fields = Vec::new();
    let mut doc = String::new();
    for line in source[start..].lines().skip(1).map(str::trim).take_while(|line| *line != "}") {
        if let Some(text) = line.strip_prefix("///") {
            write!(doc, "{}{}", if doc.is_empty() { "" } else { " " }, text.trim()).unwrap();
        } else if let Some((name, kind)) = line.strip_prefix("pub ").and_then(|line| line.split_once(": ")) {
            let kind = kind.trim_end_matches(',').to_owned();
            fields.push(Field { name: name.to_owned(), kind, doc: std::mem::take(&mut doc) });
        }
    }
    fields
}

/// The TOML type of a Rust type.
fn kind(rust: &str) -> &str {
    let inner = rust.strip_prefix("Option<").and_then(|kind| kind.strip_suffix('>')).unwrap_or(rust);
    match inner {
        "String" => "string",
        "Vec<String>" => "list of strings",
        "Vec<u32>" => "list of whole numbers",
        "usize" | "u64" | "u32" => "whole number",
        "f64" => "number",
        "bool" => "true or false",
        "BTreeMap<String, String>" => "table of strings",
        "BTreeMap<String, toml::Value>" => "any",
        "Vec<Budget>" | "Vec<Limit>" => "list of tables, see below",
        "Unpriced" => "`allow` or `block`",
        "Bodies" => "`none`, `errors` or `all`",
        "CountersAway" => "`allow` or `refuse`",
        "CachePolicy" => {
            "table: `seconds`, 0 to 2,592,000; `share`, whether equal requests wait for each other (default true)"
        }
        "Pico" => "decimal string",
        "Window" => "`day`, `week`, `month` or `total`",
        "Period" => "`minute`, `hour` or `day`",
        "OnExhausted" => "`block` or `downgrade:ALIAS`",
        "Vec<Role>" => "list of `inference`, `passthrough`, `viewer`, `admin`",
        "Protocol" => {
            "`openai-chat`, `openai-responses`, `anthropic-messages`, `gemini`, `bedrock-converse`, `cohere-chat`, `ollama-chat` or `openai-completions`"
        }
        "Vec<Protocol>" => "list of wire formats",
        "Auth" => "`bearer`, `optional` or `{ header = \"NAME\" }`",
        "toml::Table" => "table, see below",
        "MaxTokensField" => "`as_sent`, `max_tokens` or `max_completion_tokens`",
        "StreamUsage" => "`on_request`, `always` or `refused`",
        "ServerTlsSection" | "OidcSection" => "table, see below",
        "MetadataPlace" => "`metadata`, `llmgateway` or `none`",
        "TimeoutSection" => "table, see `[timeouts]`",
        "GuardrailAction" => "`deny`, `redact` or `check`",
        "DataCollection" => "`allow` or `deny`",
        "Vec<Side>" => "list of `input`, `output`",
        "CheckForm" => "`openai` or `webhook`",
        "OnError" => "`open` or `closed`",
        "Pick" => "`best`, `order` or `weight`",
        "Format" => "`text` or `json`",
        "ProviderTlsSection" => {
            "table: `ca_file`, authorities to trust beside all others; `cert` and `key`, the client certificate (PEM files)"
        }
        other => panic!("no words for the type {other}"),
    }
}

fn section(name: &str, of: &str, about: &str) -> String {
    let heading = if name == "webhooks" { "[[webhooks]]".to_owned() } else { format!("[{name}]") };
    let mut text = format!("\n## `{heading}`\n\n{about}\n\n| key | type | meaning |\n|---|---|---|\n");
    for field in fields(FILE, of) {
        let key = if field.name == "settings" { "…".to_owned() } else { format!("`{}`", field.name) };
        writeln!(text, "| {key} | {} | {} |", kind(&field.kind), field.doc).unwrap();
    }
    text
}

fn quirks() -> String {
    let mut text = QUIRKS.to_owned();
    for field in fields(QUIRKS_FILE, "Quirks") {
        writeln!(text, "| `{}` | {} | {} |", field.name, kind(&field.kind), field.doc).unwrap();
    }
    text
}

fn own_models() -> String {
    let features = canon::Feature::ALL.map(|feature| format!("`{}`", feature.as_str()));
    OWN_MODELS.replace("FEATURES", &features.join(", "))
}

fn routing() -> String {
    let defaults = serde_json::to_value(routing::Settings::default()).unwrap();
    let mut text =
        "\n## `[routing]`\n\nHow providers are chosen and retried; [routing.md](routing.md) and [reliability.md](reliability.md) \
        describe how these numbers work together.\n\n| key | default | meaning |\n|---|---:|---|\n"
            .to_owned();
    for (part, of) in ROUTING_PARTS {
        let (values, prefix) = match part {
            "" => (&defaults, String::new()),
            part => (&defaults[part], format!("{part}.")),
        };
        let plain = fields(ROUTING, of).into_iter().filter(|field| !values[&field.name].is_object());
        for field in plain {
            let value: &Value = &values[&field.name];
            assert!(!value.is_null(), "{}", field.name);
            writeln!(text, "| `{prefix}{}` | {value} | {} |", field.name, field.doc).unwrap();
        }
    }
    text
}

fn page() -> String {
    let mut text = INTRODUCTION.to_owned();
    for (name, of, about) in &SECTIONS[..10] {
        text += &section(name, of, about);
    }
    text += &routing();
    for (name, of, about) in &SECTIONS[10..] {
        text += &section(name, of, about);
        if *of == "ProviderSection" {
            text += &quirks();
            text += &own_models();
        }
    }
    text + &projects() + ENVIRONMENT
}

fn projects() -> String {
    let mut text = PROJECTS.to_owned();
    let mut table = |title: &str, rows: Vec<Field>| {
        write!(text, "\n{title}\n\n| key | type | meaning |\n|---|---|---|\n").unwrap();
        for field in rows {
            writeln!(text, "| `{}` | {} | {} |", field.name, kind(&field.kind), field.doc).unwrap();
        }
    };
    table("Of a project, and of each of its keys:", fields(POLICY, "Policy"));
    table("An entry of `budgets`:", fields(POLICY, "Budget"));
    table("An entry of `limits`:", fields(POLICY, "Limit"));
    let keys = fields(FILE, "ProjectKeySection").into_iter().filter(|field| field.name != "policy");
    table("An entry of `keys`, beside the fields of a policy:", keys.collect());
    text
}

#[test]
fn the_reference_lists_all_settings() {
    let page = page();
    if Environment::of_process().get("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is out of date; UPDATE_DOCS=1 cargo test -p gateway reference rewrites it"
    );
}

#[test]
fn the_reference_has_every_section_and_suggestions_know_every_key() {
    let sections: Vec<String> = fields(FILE, "ConfigFile").into_iter().map(|field| field.name).collect();
    assert_eq!(sections, known_keys(""));
    let known = known_keys("projects.x");
    for of in ["Policy", "Budget", "Limit"] {
        assert!(fields(POLICY, of).iter().all(|field| known.contains(&field.name.as_str())), "{of}");
    }
    for section in sections.iter().filter(|section| !["routing", "projects"].contains(&section.as_str())) {
        assert!(SECTIONS.iter().any(|(name, ..)| name.split('.').next() == Some(section)), "{section}");
    }
    for (name, of, _) in SECTIONS.iter().filter(|(name, ..)| *name != "providers.ID") {
        let keys: Vec<String> = fields(FILE, of).into_iter().map(|field| field.name).collect();
        assert_eq!(keys, known_keys(name), "{name}");
    }
}

#[test]
fn the_example_of_a_project_is_valid_and_mistakes_are_found() {
    let example = PROJECTS.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let environment = Environment::of(&[("TEAM_A_CI_KEY", "k")]);
    let build = |text: &str| {
        let file = ConfigFile::parse(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        Settings::build(&file, &environment, Catalog::embedded().unwrap())
    };
    let projects = build(example).unwrap_or_else(|mistakes| panic!("{mistakes:?}")).projects;
    assert_eq!((projects[0].keys[0].name.as_str(), projects[0].keys[0].roles.as_str()), ("ci", "inference"));
    assert_eq!(projects[0].keys[0].policy.limits.len(), 1);
    for (text, path) in [
        ("[projects.A]", "projects.A"),
        ("[projects.a]\nbudgets = [{ usd = \"0\", per = \"day\" }]", "projects.a.budgets[0].usd"),
        ("[projects.a]\nlimits = [{ requests = 1 }]", "projects.a.limits[0].per"),
        (
            "[projects.a]\nbudgets = [{ usd = \"1\", per = \"day\", on_exhausted = \"downgrade:no\" }]",
            "projects.a.budgets[0].on_exhausted",
        ),
        ("[projects.a]\nkeys = [{ key = \"k\" }]", "projects.a.keys[0].name"),
        ("[projects.a]\nkeys = [{ name = \"n\" }]", "projects.a.keys[0].key"),
        (
            "[projects.a]\nkeys = [{ name = \"n\", key = \"k\", expires = \"soon\" }]",
            "projects.a.keys[0].expires",
        ),
    ] {
        let mistakes = build(text).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake.path == path), "{text}: {mistakes:?}");
    }
    for (text, line) in [
        ("[projects.a]\nmodel = [\"x\"]", "projects.a.model: unknown key; did you mean"),
        (
            "[projects.a]\nkeys = [{ nam = \"n\" }]",
            "projects.a.keys[0].nam: unknown key; did you mean \"name\"?",
        ),
        ("[projects.a]\nkeys = 1", "projects.a.keys: must be a list"),
        ("[projects.a]\nbudgets = [{ usd = \"1\", per = \"year\" }]", "projects.a.budgets"),
    ] {
        let mistakes = ConfigFile::parse(text).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake.to_string().starts_with(line)), "{text}: {mistakes:?}");
    }
}

#[test]
fn the_example_is_valid() {
    let example = INTRODUCTION.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    ConfigFile::parse(example).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
}

#[test]
fn the_example_of_a_model_is_valid_and_every_key_is_known() {
    let own = own_models();
    let example = own.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let provider = "[providers.my-vllm]\nprotocol = \"openai-chat\"\nbase_url = \"http://h/v1\"\n";
    let file = ConfigFile::parse(&format!("{provider}{example}")).unwrap();
    let built = Settings::build(&file, &Environment::default(), Catalog::embedded().unwrap());
    let catalog = built.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).catalog;
    assert!(catalog.serving("my-vllm", "qwen3-32b").unwrap().price.is_some());
    let wrong = format!("{provider}[providers.my-vllm.models.m]\nxyz = 1\n");
    let file = ConfigFile::parse(&wrong).unwrap();
    let mistakes = Settings::build(&file, &Environment::default(), Catalog::embedded().unwrap()).unwrap_err();
    assert_eq!(mistakes[0].path, "providers.my-vllm.models.m.xyz");
    let known = mistakes[0].message.strip_prefix("unknown key; known are ").unwrap();
    for key in known.split(", ") {
        assert!(own.contains(&format!("`{key}`")), "{key} is not in the reference");
    }
}

#[test]
fn guardrails_are_checked_with_their_lines() {
    let mistakes = |text: &str| -> Vec<String> {
        let environment = Environment::of(&[]);
        let file = match ConfigFile::parse(text) {
            Ok(file) => file,
            Err(mistakes) => return mistakes.iter().map(|mistake| mistake.to_string()).collect(),
        };
        match Settings::build(&file, &environment, Catalog::embedded().unwrap()) {
            Ok(_) => Vec::new(),
            Err(mistakes) => mistakes.iter().map(|mistake| mistake.to_string()).collect(),
        }
    };
    let cases = [
        ("patterns = ['(']", "guardrails.a.patterns[0]: is not a valid regular expression: unclosed group"),
        ("patterns = ['a', 'x*']", "guardrails.a.patterns[1]: matches the empty text"),
        (
            "patterns = ['(a{1,900}){1,900}']",
            "guardrails.a.patterns[0]: cannot be used: Compiled regex exceeds size limit",
        ),
        ("patterns = ['(.)\\1']", "guardrails.a.patterns[0]: is not a valid regular expression"),
        ("on = [\"output\"]\npatterns = ['a+']", "guardrails.a.patterns[0]: may match more than 4096 bytes"),
        (
            "on = [\"output\"]\npatterns = ['a{1,5000}']",
            "guardrails.a.patterns[0]: may match more than 4096 bytes",
        ),
        ("on = []\npatterns = ['a']", "guardrails.a.on: must contain"),
        ("on = [\"both\"]\npatterns = ['a']", "guardrails.a.on"),
        ("", "guardrails.a: has nothing to search for"),
        ("words = [\" x\"]", "guardrails.a.words[0]: is empty, has spaces around it"),
        (
            "action = \"redact\"\nwords = [\"x\"]\nplaceholder = \"e mail\"",
            "guardrails.a.placeholder: must have 1 to 32",
        ),
        ("action = \"check\"", "guardrails.a.url: is missing"),
        ("action = \"check\"\nurl = \"ftp://x\"", "guardrails.a.url: "),
        (
            "action = \"check\"\nurl = \"http://x\"\ntimeout_seconds = 0",
            "guardrails.a.timeout_seconds: must be from",
        ),
        ("action = \"check\"\nurl = \"http://x\"\nwords = [\"x\"]", "guardrails.a: patterns, words"),
        ("words = [\"x\"]\nurl = \"http://x\"", "guardrails.a.url: is allowed only with action"),
        ("patern = ['a']", "guardrails.a.patern: unknown key; did you mean"),
    ];
    for (text, expected) in cases {
        let found = mistakes(&format!("[guardrails.a]\n{text}\n"));
        assert!(found.iter().any(|mistake| mistake.starts_with(expected)), "{text}: {found:?}");
    }
    let unknown = mistakes("[projects.a]\nguardrails = [\"no\"]\n");
    assert_eq!(unknown, ["projects.a.guardrails[0]: there is no guardrail \"no\"; add [guardrails.no]"]);
    let name = mistakes("[guardrails.\"A b\"]\nwords = [\"x\"]\n");
    assert!(name[0].starts_with("guardrails.A b: the name of a guardrail"), "{name:?}");
    let text = "[guardrails.a]\nwords = [\"x\"]\npatterns = [\n  'fine',\n  '(',\n]\n";
    assert_eq!(crate::config::lines::Lines::of(text).of_path("guardrails.a.patterns[1]"), Some(5));
}
