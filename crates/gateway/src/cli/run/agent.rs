//! How each coding agent is configured for the gateway: variables, arguments, and settings for one process.

use serde_json::{Value, json};

use super::listing::{Listing, Window};
use super::overlay::Overlay;

/// A coding agent that can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Agent {
    /// Claude Code.
    Claude,
    /// OpenAI's Codex.
    Codex,
    /// Gemini CLI.
    Gemini,
    /// opencode.
    Opencode,
}

/// What the agent uses.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The gateway, without a trailing slash.
    pub url: String,
    /// The model of the session; none for the agent's own choice.
    pub model: Option<String>,
    /// The model for titles and other small requests.
    pub small_model: Option<String>,
    /// The gateway's list of models.
    pub listing: Listing,
}

/// How an agent is started.
#[derive(Debug, Default, PartialEq)]
pub struct Launch {
    pub key_variable: &'static str,
    /// Other variables.
    pub set: Vec<(&'static str, String)>,
    /// Variables that the user's own override.
    pub defaults: Vec<(&'static str, String)>,
    /// Variables that would send the agent elsewhere.
    pub unset: &'static [&'static str],
    /// Arguments before the user's.
    pub arguments: Vec<String>,
    /// Settings that the agent reads only from a file.
    pub overlay: Option<Overlay>,
}

/// The variable of the key, for agents with a configurable name.
pub const KEY_VARIABLE: &str = "LLMGATEWAY_API_KEY";

/// Most bytes of a variable that Linux accepts (`MAX_ARG_STRLEN` is 128 KiB).
const VARIABLE_LIMIT: usize = 120 << 10;

impl Agent {
    pub fn program(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Opencode => "opencode",
        }
    }

    /// Its package in npm.
    pub fn package(self) -> &'static str {
        match self {
            Self::Claude => "@anthropic-ai/claude-code",
            Self::Codex => "@openai/codex",
            Self::Gemini => "@google/gemini-cli",
            Self::Opencode => "opencode-ai",
        }
    }

    /// Whether it needs the list of models.
    pub fn needs_list(self, model: Option<&str>) -> bool {
        self == Self::Opencode && model.is_none()
    }

    /// How it is started.
    pub fn launch(self, choice: &AgentOptions) -> anyhow::Result<Launch> {
        match self {
            Self::Claude => Ok(claude(choice)),
            Self::Codex => Ok(codex(choice)),
            Self::Gemini => Ok(gemini(choice)),
            Self::Opencode => opencode(choice),
        }
    }
}

/// A token is sent as `Authorization`; the user would have to approve a key once.
fn claude(choice: &AgentOptions) -> Launch {
    let mut set = vec![("ANTHROPIC_BASE_URL", choice.url.clone())];
    let mut defaults = Vec::new();
    if let Some(model) = &choice.model {
        let small = choice.small_model.as_ref().unwrap_or(model);
        // Sub-agents and commands request a family by its name.
        set.extend([
            ("ANTHROPIC_MODEL", model.clone()),
            ("ANTHROPIC_DEFAULT_FABLE_MODEL", model.clone()),
            ("ANTHROPIC_DEFAULT_OPUS_MODEL", model.clone()),
            ("ANTHROPIC_DEFAULT_SONNET_MODEL", model.clone()),
            ("ANTHROPIC_DEFAULT_HAIKU_MODEL", small.clone()),
        ]);
        // The first is for unknown models, the second lowers the window of known ones.
        if let Some(context) = choice.listing.window(model).context {
            defaults.push(("CLAUDE_CODE_MAX_CONTEXT_TOKENS", context.to_string()));
            defaults.push(("CLAUDE_CODE_AUTO_COMPACT_WINDOW", context.to_string()));
        }
    } else if let Some(small) = &choice.small_model {
        set.push(("ANTHROPIC_DEFAULT_HAIKU_MODEL", small.clone()));
    }
    Launch { key_variable: "ANTHROPIC_AUTH_TOKEN", set, defaults, unset: OTHER_CLOUDS, ..Launch::default() }
}

/// A key of the user's own account, and the switches that send Claude Code to clouds without a base URL.
const OTHER_CLOUDS: &[&str] = &[
    "ANTHROPIC_API_KEY",
    "CLAUDE_CODE_USE_ANTHROPIC_AWS",
    "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_GATEWAY",
    "CLAUDE_CODE_USE_MANTLE",
    "CLAUDE_CODE_USE_VERTEX",
];

/// A separate provider, because the built-in one expects OpenAI's own service: WebSockets, and a compaction
/// that only OpenAI has.
fn codex(choice: &AgentOptions) -> Launch {
    let provider = format!(
        "model_providers.llmgateway={{name=\"llmgateway\", base_url={}, env_key=\"{KEY_VARIABLE}\", \
         wire_api=\"responses\"}}",
        Value::from(format!("{}/v1", choice.url))
    );
    let mut arguments =
        vec!["-c".to_owned(), "model_provider=\"llmgateway\"".to_owned(), "-c".to_owned(), provider];
    if let Some(model) = &choice.model {
        arguments.extend(["-m".to_owned(), model.clone()]);
        // For its maker's models it knows more than the window, such as the price steps of longer prompts.
        let own = ["gpt-", "codex-"].iter().any(|family| base_name(model).starts_with(family));
        if let Some(context) = choice.listing.window(model).context.filter(|_| !own) {
            arguments.extend(["-c".to_owned(), format!("model_context_window={context}")]);
        }
    }
    Launch { key_variable: KEY_VARIABLE, arguments, ..Launch::default() }
}

/// With only a base URL, it asks how to authenticate, or uses the user's Google login.
fn gemini(choice: &AgentOptions) -> Launch {
    let mut set = vec![("GOOGLE_GEMINI_BASE_URL", choice.url.clone())];
    set.extend(choice.model.iter().map(|model| ("GEMINI_MODEL", model.clone())));
    let settings = json!({ "security": { "auth": { "selectedType": "gemini-api-key" } } });
    Launch {
        key_variable: "GEMINI_API_KEY",
        set,
        unset: &["GOOGLE_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_GCA"],
        overlay: Some(Overlay {
            variable: "GEMINI_CLI_HOME",
            folder: ".gemini",
            file: "settings.json",
            settings,
        }),
        ..Launch::default()
    }
}

/// Its whole settings can be in a variable, which takes precedence over all files.
fn opencode(choice: &AgentOptions) -> anyhow::Result<Launch> {
    let named = [&choice.model, &choice.small_model].into_iter().flatten().cloned();
    let listed = if choice.model.is_none() { choice.listing.names() } else { Vec::new() };
    let models: serde_json::Map<String, Value> =
        named.chain(listed).map(|model| opencode_model(model, &choice.listing)).collect();
    let count = models.len();
    let mut settings = json!({ "provider": { "llmgateway": {
        "npm": CHAT_PACKAGE, "name": "llmgateway",
        "options": { "baseURL": format!("{}/v1", choice.url), "apiKey": format!("{{env:{KEY_VARIABLE}}}") },
        "models": models
    } } });
    if let Some(model) = &choice.model {
        settings["model"] = format!("llmgateway/{model}").into();
    }
    // Without it, titles use a model that the user did not choose.
    if let Some(model) = choice.small_model.as_ref().or(choice.model.as_ref()) {
        settings["small_model"] = format!("llmgateway/{model}").into();
    }
    let text = settings.to_string();
    if text.len() > VARIABLE_LIMIT {
        anyhow::bail!(
            "The gateway lists {} models, more than fit into opencode's settings. Choose one: --model MODEL.",
            count
        );
    }
    let set = vec![("OPENCODE_CONFIG_CONTENT", text)];
    Ok(Launch { key_variable: KEY_VARIABLE, set, ..Launch::default() })
}

/// Without limits it assumes a window of 0, and never compacts.
fn opencode_model(model: String, listing: &Listing) -> (String, Value) {
    let mut settings = json!({ "name": model, "provider": { "npm": package_for(&model) } });
    if let Window { context: Some(context), output } = listing.window(&model) {
        settings["limit"] = json!({ "context": context, "output": output.unwrap_or(OUTPUT_TOKENS) });
    }
    (model, settings)
}

/// A limit that most models support, where nothing is known.
const OUTPUT_TOKENS: u64 = 8192;

const CHAT_PACKAGE: &str = "@ai-sdk/openai-compatible";

/// A model uses the API of its family, where nothing has to be translated: cache marks and proofs of thinking
/// are kept.
fn package_for(model: &str) -> &'static str {
    let name = base_name(model);
    match name {
        _ if name.starts_with("claude") => "@ai-sdk/anthropic",
        _ if name.starts_with("gemini") => "@ai-sdk/google",
        _ if name.starts_with("gpt-") => "@ai-sdk/openai",
        _ => CHAT_PACKAGE,
    }
}

/// The name without its provider.
fn base_name(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(model: Option<&str>) -> AgentOptions {
        let model = model.map(str::to_owned);
        AgentOptions {
            url: "http://127.0.0.1:4000".into(),
            model,
            small_model: None,
            listing: Listing::default(),
        }
    }

    fn listing(models: impl Iterator<Item = String>) -> Listing {
        let data: Vec<Value> = models
            .map(|id| json!({ "id": id, "providers": [{ "provider": "p", "context_tokens": 32_000 }] }))
            .collect();
        Listing::read(json!({ "data": data }).to_string().as_bytes()).unwrap()
    }

    fn listed(names: &[&str]) -> Listing {
        listing(names.iter().map(|name| (*name).to_owned()))
    }

    fn launch(agent: Agent, model: Option<&str>) -> Launch {
        agent.launch(&choice(model)).unwrap()
    }

    #[test]
    fn claude_asks_for_one_model_under_all_its_names() {
        let launch = launch(Agent::Claude, Some("fast"));
        assert_eq!(launch.set[0], ("ANTHROPIC_BASE_URL", "http://127.0.0.1:4000".into()));
        assert_eq!(launch.set.iter().filter(|(_, value)| value == "fast").count(), 5);
        assert!(launch.unset.contains(&"ANTHROPIC_API_KEY"));
    }

    #[test]
    fn the_small_model_may_be_another_one() {
        let choice = AgentOptions { small_model: Some("tiny".into()), ..choice(Some("fast")) };
        let claude = Agent::Claude.launch(&choice).unwrap();
        assert!(claude.set.contains(&("ANTHROPIC_DEFAULT_HAIKU_MODEL", "tiny".into())));
        let opencode = Agent::Opencode.launch(&choice).unwrap();
        let settings: Value = serde_json::from_str(&opencode.set[0].1).unwrap();
        assert_eq!(settings["small_model"], "llmgateway/tiny");
        assert!(settings["provider"]["llmgateway"]["models"]["tiny"].is_object());
    }

    #[test]
    fn codex_gets_a_provider_by_arguments() {
        let launch = launch(Agent::Codex, Some("anthropic/claude-opus-4-5"));
        assert_eq!(launch.arguments[1], "model_provider=\"llmgateway\"");
        let table = launch.arguments[3].strip_prefix("model_providers.llmgateway=").unwrap();
        let table: toml::Table = format!("x={table}").parse().unwrap();
        assert_eq!(table["x"]["base_url"].as_str(), Some("http://127.0.0.1:4000/v1"));
        assert_eq!(launch.arguments[4..], ["-m", "anthropic/claude-opus-4-5"]);
    }

    #[test]
    fn opencode_uses_the_own_api_of_each_family() {
        let choice = AgentOptions { listing: listed(&["openai/gpt-5", "groq/llama"]), ..choice(None) };
        let launch = Agent::Opencode.launch(&choice).unwrap();
        let settings: Value = serde_json::from_str(&launch.set[0].1).unwrap();
        let models = &settings["provider"]["llmgateway"]["models"];
        assert_eq!(models["openai/gpt-5"]["provider"]["npm"], "@ai-sdk/openai");
        assert_eq!(models["groq/llama"]["provider"]["npm"], CHAT_PACKAGE);
        assert!(settings.get("model").is_none());
        assert!(!launch.set[0].1.contains("sk-"), "the key is in a variable of its own");
    }

    #[test]
    fn agents_get_the_context_window_of_models_they_do_not_know() {
        let changes = |agent: Agent, model: &str| {
            let launch =
                agent.launch(&AgentOptions { listing: listed(&[model]), ..choice(Some(model)) }).unwrap();
            format!("{launch:?}").matches("32000").count()
        };
        assert_eq!(changes(Agent::Claude, "llama"), 2);
        assert_eq!(changes(Agent::Codex, "llama"), 1);
        assert_eq!(changes(Agent::Codex, "openai/gpt-5.5"), 0);
        assert_eq!(changes(Agent::Opencode, "llama"), 1);
    }

    #[test]
    fn too_many_models_are_refused_by_name() {
        let listing = listing((0..4000).map(|number| format!("provider/model-{number}")));
        let error = Agent::Opencode.launch(&AgentOptions { listing, ..choice(None) }).unwrap_err();
        assert!(error.to_string().contains("lists 4000 models"), "{error}");
    }
}
