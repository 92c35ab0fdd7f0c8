"""A newcomer's first minute: the commands of the README, word for word except the address and the key."""

import json
import re
import subprocess
import time

from conftest import ROOT, free_address

# Variables of a newcomer whose model is one of a provider. The demo is off then.
PROVIDERS = {
    "OPENAI_API_KEY": "mock-key",
    "OPENAI_BASE_URL": "@MOCK@/v1",
    "ANTHROPIC_API_KEY": "mock-key",
    "ANTHROPIC_BASE_URL": "@MOCK@",
}


def readme():
    return (ROOT / "README.md").read_text()


def fenced_blocks(text):
    return re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_set_up():
    lines = [line.strip() for block in fenced_blocks(readme()) for line in block.splitlines()]
    commands = [line.removeprefix("$ ") for line in lines]
    assert commands[0] == "cargo run --release", "the first command of the set-up starts the gateway"
    assert "cargo xtask test" in commands, "the other command runs all tests"


def test_curl(start, mock):
    blocks = [block for block in fenced_blocks(readme()) if "YOUR_API_KEY" in block and "curl" in block]
    assert blocks, "the README has a curl with YOUR_API_KEY"
    for block in blocks:
        environment = {name: value.replace("@MOCK@", mock.url) for name, value in PROVIDERS.items()}
        answer = run_as_written(block, start, {} if '"demo/' in block else environment)
        assert answer["object"] == "chat.completion"
        assert answer["choices"][0]["message"]["content"]


def shown_key(gateway):
    """Requests are served a moment before the greeting is written."""
    for _ in range(200):
        if key := re.search(r"^API key +(\S+)", gateway.log.read_text(), re.MULTILINE):
            return key
        time.sleep(0.05)
    return None


def run_as_written(block, start, environment):
    address = free_address()
    gateway = start(["serve", "--listen", address], address, environment)
    key = shown_key(gateway)
    assert key, "the first start shows a key"
    command = re.sub(r"http://(127\.0\.0\.1|localhost):4000", gateway.url, block)
    command = command.replace("YOUR_API_KEY", key.group(1))
    finished = subprocess.run(
        ["bash", "-c", command.replace("curl ", "curl --silent --show-error --fail-with-body ", 1)],
        capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL,
    )
    gateway.stop()
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return json.loads(finished.stdout)
