"""The coding agents: how each is started without a terminal, and how it is pointed at an API without the gateway."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(os.environ.get("LLMGATEWAY_AGENTS", Path(__file__).parent / "node_modules/.bin"))

# Nothing of an agent leaves the machine: anything that is not on loopback goes to a proxy that does not exist.
OFFLINE = {
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
    "DO_NOT_TRACK": "1",
    "NO_COLOR": "1",
    "CI": "1",
}


MESSAGES, RESPONSES, CHAT = "/v1/messages", "/v1/responses", "/v1/chat/completions"
GENERATE = "/v1beta/models/coder-claude:generateContent"


@dataclass(frozen=True)
class Agent:
    """One agent. `name` is also its name for `llmgateway run`."""

    name: str
    # The requested model unless a test names another one: a model that its users have.
    model: str

    @property
    def endpoint(self):
        """The endpoint that it posts to."""
        family = self.model.split("/")[-1].split("-")[0]
        by_family = {"claude": MESSAGES, "gpt": RESPONSES, "gemini": GENERATE}
        own = {"claude": MESSAGES, "codex": RESPONSES, "gemini": GENERATE}
        return own.get(self.name) or by_family.get(family, CHAT)

    def environment(self, home):
        """The environment of every run: its own home, no telemetry, no updates."""
        folders = {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_DATA_HOME": str(home / ".local/share"),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "XDG_STATE_HOME": str(home / ".state"),
        }
        path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "LANG": "C.UTF-8", **folders, **OFFLINE, **self._quiet(home)}

    def _quiet(self, home):
        match self.name:
            case "claude":
                return {
                    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                    "DISABLE_AUTOUPDATER": "1",
                    "DISABLE_TELEMETRY": "1",
                    "DISABLE_ERROR_REPORTING": "1",
                    # Without this it refuses to run unattended as root, the usual user in containers.
                    "IS_SANDBOX": "1",
                }
            case "codex":
                (home / ".codex").mkdir(exist_ok=True)
                return {"CODEX_HOME": str(home / ".codex")}
            case "gemini":
                (home / ".gemini").mkdir(exist_ok=True)
                settings = {
                    "privacy": {"usageStatisticsEnabled": False},
                    "general": {"enableAutoUpdate": False, "disableAutoUpdate": True},
                    "telemetry": {"enabled": False},
                }
                (home / ".gemini/settings.json").write_text(json.dumps(settings))
                return {"GEMINI_TELEMETRY_ENABLED": "false", "GEMINI_CLI_TRUST_WORKSPACE": "true"}
            case "opencode":
                names = ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "DEFAULT_PLUGINS")
                return {f"OPENCODE_DISABLE_{name}": "1" for name in names}

    def arguments(self, prompt, going_on=False):
        """The arguments for one prompt without a person; with `going_on`, in the previous session."""
        match self.name:
            case "claude":
                more = ["--continue"] if going_on else []
                return ["-p", prompt, "--dangerously-skip-permissions", *more]
            case "codex":
                quiet = ["-c", "check_for_update_on_startup=false", "-c", "analytics.enabled=false"]
                free = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
                return [*quiet, "exec", *free, prompt]
            case "gemini":
                return ["-p", prompt, "--yolo"]
            case "opencode":
                return ["run", prompt]

    def directly(self, url, home):
        """Variables and arguments that lead it directly to an API at `url`, without a gateway."""
        match self.name:
            case "claude":
                names = ("ANTHROPIC_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL")
                return {
                    "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "mock-key",
                    **{name: self.model for name in names},
                }, []
            case "codex":
                provider = f'{{name="mock", base_url="{url}/v1", env_key="MOCK_KEY", wire_api="responses"}}'
                settings = ["-c", 'model_provider="mock"', "-c", f"model_providers.mock={provider}"]
                return {"MOCK_KEY": "mock-key"}, [*settings, "-m", self.model]
            case "gemini":
                settings = json.loads((home / ".gemini/settings.json").read_text())
                settings["security"] = {"auth": {"selectedType": "gemini-api-key"}}
                (home / ".gemini/settings.json").write_text(json.dumps(settings))
                return {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_API_KEY": "mock-key"}, ["-m", self.model]
            case "opencode":
                return {"OPENCODE_CONFIG_CONTENT": json.dumps(opencode_settings(url, self.model))}, []


def codex_built_in(url):
    """Variables and arguments that redirect Codex's own provider, from which it expects everything that OpenAI offers."""
    return {"OPENAI_API_KEY": "mock-key", "CODEX_API_KEY": "mock-key"}, ["-c", f'openai_base_url="{url}/v1"']


def opencode_settings(url, model):
    """Each dialect with its own package, like opencode's own providers."""
    provider, path = {"claude": ("anthropic", "/v1"), "gpt": ("openai", "/v1"), "gemini": ("google", "/v1beta")}.get(
        model.split("-")[0], ("mock", "/v1")
    )
    settings = {"options": {"baseURL": url + path, "apiKey": "mock-key"}}
    settings["models"] = {model: {"reasoning": True, "tool_call": True}}
    if provider == "mock":
        settings |= {"npm": "@ai-sdk/openai-compatible", "name": "mock"}
    return {
        "autoupdate": False, "snapshot": False, "share": "disabled", "provider": {provider: settings},
        "model": f"{provider}/{model}", "small_model": f"{provider}/{model}",
    }


CLAUDE = Agent("claude", "claude-opus-5-5")
CODEX = Agent("codex", "gpt-5.5")
GEMINI = Agent("gemini", "gemini-3.5-pro")
OPENCODE = Agent("opencode", "claude-sonnet-4-5")

ALL = [CLAUDE, CODEX, GEMINI, OPENCODE]
