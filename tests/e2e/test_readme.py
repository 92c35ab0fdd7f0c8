"""A newcomer's first minute: the commands of the README, word for word but for the address and the key."""

import json
import re
import subprocess

import pytest

from conftest import ROOT, free_address

def readme():
    path = ROOT / "README.md"
    if not path.exists():
        pytest.skip("README.md is not written yet")
    return path.read_text()


def fenced_blocks(text):
    return re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_set_up():
    lines = [line.strip() for block in fenced_blocks(readme()) for line in block.splitlines()]
    commands = [line.removeprefix("$ ") for line in lines]
    assert "cargo run --release" in commands
    clones = [line for line in commands if line.startswith("git clone ")]
    assert clones, "the first command fetches the repository"


def test_curl(start, tmp_path):
    blocks = [block for block in fenced_blocks(readme()) if "YOUR_API_KEY" in block and "curl" in block]
    assert blocks, "the README has a curl with YOUR_API_KEY"
    address = free_address()
    # A newcomer has set nothing: the demo answers.
    gateway = start(["serve", "--listen", address], address)
    key = re.search(r"^API key +(\S+)", gateway.log.read_text(), re.MULTILINE)
    assert key, "the first start shows a key"
    for block in blocks:
        command = block.replace("YOUR_API_KEY", key.group(1))
        command = re.sub(r"http://(127\.0\.0\.1|localhost):4000", gateway.url, command)
        finished = subprocess.run(
            ["bash", "-c", command.replace("curl ", "curl --silent --show-error --fail-with-body ", 1)],
            capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, cwd=tmp_path,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        answer = json.loads(finished.stdout)
        assert answer["object"] == "chat.completion"
        assert answer["choices"][0]["message"]["content"]
