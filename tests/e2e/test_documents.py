"""The commands of the README and the pages of `docs`, as written: every block of code runs here, or has a reason.

A gateway listens as in the examples, except for the port, and its providers lead to the mock. TOML and JSON are
tested by `crates/gateway/src/config/documents.rs`.
"""

import os
import re
import sqlite3
import subprocess
import wave

import pytest

from conftest import ROOT, Process, binary, free_address

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])
KEY = "sk-documents-0123456789"
CONFIGURATION = """
[projects.documents]
keys = [{ name = "documents", key = "env:LLMGATEWAY_API_KEY", roles = ["inference", "passthrough"] }]

# Without its section, the demo is off beside other providers.
[providers.demo]
"""

# Languages of blocks that are no commands, or that run elsewhere.
LANGUAGES = {
    "toml": "crates/gateway/src/config/documents.rs reads it",
    "json": "crates/gateway/src/config/documents.rs reads it",
    "python": "tests/sdk/python/test_documents.py and test_endpoints.py run it with the official SDK",
    "js": "tests/sdk/node/documents.test.mjs runs it with the official SDK",
    "diff": "an excerpt of the code",
    "text": "an output, or a prompt",
    "yaml": "the configuration of Prometheus",
    "": "a picture",
}

# Blocks of commands that do not run here: a part of the block, and the reason.
NOT_RUN = {
    "cargo run": "it builds the program",
    "cargo xtask test": "it runs all tests",
    "git log": "it needs the history of the repository",
    "export ANTHROPIC_API_KEY=sk-ant-…\nllmgateway\n": "it serves until it is stopped: the fixture starts the gateway",
    "llmgateway run claude": "it needs Claude Code: tests/agents runs it",
    "cargo xtask generate-usage": "it makes ten million records; tests/ui/large.test.mjs has fewer",
    "llmgateway_drop_usage_months": "it needs PostgreSQL: the tests of crates/store run it",
}

# Blocks that end with an error, which the page describes: a part of the block, and of the output.
FAILS = {
    "x-llmgateway-strict: true": '"code":"unsupported_feature"',
    "/p/openai/v1/fine_tuning/jobs": '"type":"invalid_request_error"',  # The mock has no fine-tuning.
}


def blocks():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text[: match.start()].count("\n") + 1
            yield page, line, match[1], match[2]


def reason(language, block):
    found = [LANGUAGES[language]] if language in LANGUAGES else []
    found += [why for part, why in NOT_RUN.items() if part in block]
    return found[0] if found else None


def commands(language):
    return [
        pytest.param(page, line, block, id=f"{page.relative_to(ROOT)}:{line}")
        for page, line, found, block in blocks()
        if found == language and not reason(language, block)
    ]


class Place:
    """A gateway and a mock in one folder, and the environment of a user's shell there."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "bin/llmgateway").symlink_to(binary())
        (folder / ".curlrc").write_text("silent\nshow-error\nfail-with-body\nmax-time = 20\n")
        (folder / "llmgateway.toml").write_text(CONFIGURATION)
        with wave.open(str(folder / "meeting.wav"), "wb") as recording:
            recording.setnchannels(1)
            recording.setsampwidth(2)
            recording.setframerate(8000)
            recording.writeframes(bytes(16000))
        address = free_address()
        self.mock = Process(["mock", "--listen", address], address, folder)
        self.environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(folder),
            "CURL_HOME": str(folder),
            "LLMGATEWAY_API_KEY": KEY,
        }
        for name, path in [("OPENAI", "/v1"), ("ANTHROPIC", ""), ("GROQ", "/groq/openai/v1")]:
            self.environment |= {f"{name}_API_KEY": "mock-key", f"{name}_BASE_URL": self.mock.url + path}
        self.environment |= {"GEMINI_API_KEY": "mock-key", "GOOGLE_GEMINI_BASE_URL": self.mock.url}
        address = free_address()
        self.gateway = Process(["serve", "--listen", address], address, folder, self.environment)

    def run(self, block):
        """The output of the block with the gateway's address, key and ids, and whether it succeeded."""
        block = re.sub(r"http://(127\.0\.0\.1|localhost):4000", self.gateway.url, block)
        block = block.replace("YOUR_API_KEY", KEY)
        if "key_0123456789abcdef" in block:
            listed = subprocess.run(
                ["llmgateway", "keys", "list"], cwd=self.folder, env=self.environment, capture_output=True,
                text=True, timeout=20, check=True,
            )
            block = block.replace("key_0123456789abcdef", re.search(r"key_[0-9a-f]{16}", listed.stdout)[0])
        finished = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL,
        )
        return finished.stdout + finished.stderr, finished.returncode == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("documents"))
    yield place
    place.gateway.stop()
    place.mock.kill()


@pytest.mark.parametrize(("page", "line", "block"), commands("sh"))
def test_commands(place, page, line, block):
    # A page that needs a request in a file shows it before the command.
    shown = [text for other, at, language, text in blocks() if (other, language) == (page, "json") and at < line]
    if "request.json" in block:
        (place.folder / "request.json").write_text(shown[-1])
    output, succeeded = place.run(block)
    error = next((text for part, text in FAILS.items() if part in block), None)
    assert succeeded == (error is None), output
    assert error is None or error in output, output
    if "explain --request request.json" in block:
        assert "loss: seed is dropped" in output


@pytest.mark.parametrize(("page", "line", "block"), commands("sql"))
def test_queries(place, page, line, block):
    place.run(
        """curl http://127.0.0.1:4000/v1/chat/completions -H "Authorization: Bearer YOUR_API_KEY" \
        -d '{"model": "demo/echo", "messages": [{"role": "user", "content": "x"}]}'"""
    )
    with sqlite3.connect(place.folder / "llmgateway.db") as database:
        cursor = database.execute(block)
        assert [column[0] for column in cursor.description][:2] == ["used_provider", "used_model"]


def test_every_block_runs_or_has_a_reason():
    found = list(blocks())
    for page, line, language, block in found:
        known = language in ("sh", "sql") or reason(language, block)
        assert known, f"{page}:{line}: a block of {language!r} neither runs nor has a reason"
    for part in [*NOT_RUN, *FAILS]:
        assert any(part in block for _, _, _, block in found), f"no block has {part!r} any more"


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_to_headings():
    wrong = []
    for page in [*PAGES, ROOT / "CHANGELOG.md", ROOT / "catalog/README.md"]:
        for target in re.findall(r"\]\(([^)\s]*#[^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, anchor = target.split("#")
            if ":" not in path and anchor not in anchors((page.parent / path) if path else page):
                wrong.append(f"{page.relative_to(ROOT)}: {target}")
    assert not wrong


def test_the_list_of_pages_has_each_once():
    text = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[[^\]]*\]\(([^)]*)\) \|", text, re.MULTILINE)
    pages = {page.name for page in (ROOT / "docs").iterdir()} - {"README.md"}
    assert sorted(rows) == sorted(pages)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
