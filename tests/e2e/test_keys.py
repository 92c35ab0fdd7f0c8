"""What keys and projects cost in memory: LLMGATEWAY_KEYS keys with a budget and three limits each, ten to a project. Run with -s, this prints
the figures of docs/scaling.md."""

import json
import os
import sqlite3
import subprocess
import time
import urllib.request
from pathlib import Path

from conftest import PATIENCE_SECONDS, Process, binary, free_address

KEYS = int(os.environ.get("LLMGATEWAY_KEYS", "20000"))
PROJECTS = KEYS // 10
# For each key, with its part of a project.
MOST_BYTES = 6_000
POLICY = json.dumps({
    "budgets": [{"usd": "5", "per": "day"}],
    "limits": [{"requests": 600, "per": "minute"}, {"tokens": 1_000_000, "per": "hour"}, {"concurrent": 10}],
}, separators=(",", ":"))
CONFIG = """
[server]
listen = "{address}"
[database]
url = "sqlite:usage.db"
[providers.openai]
api_key = "sk-mock"
base_url = "{mock}/v1"
"""


def resident_bytes(process):
    lines = Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def command(folder, *arguments):
    done = subprocess.run([binary(), *arguments], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fill(folder):
    """Keys that nobody has: their hashes are random."""
    with sqlite3.connect(folder / "usage.db") as database:
        database.executemany(
            "INSERT INTO projects (id, name, policy, version, created_at_ms) VALUES (?, ?, ?, 1, 0)",
            ((f"project-{number}", f"Project {number}", POLICY) for number in range(PROJECTS)),
        )
        database.executemany(
            "INSERT INTO api_keys (id, name, prefix, hash, created_at_ms, project_id, roles, policy)"
            " VALUES (?, ?, 'lgw', ?, 0, ?, 'inference', ?)",
            (
                (f"key_{number:016x}", f"Key {number}", os.urandom(32), f"project-{number % PROJECTS}", POLICY)
                for number in range(KEYS)
            ),
        )


def ask(process, key):
    body = json.dumps({"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10})
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{process.url}/v1/chat/completions", body.encode(), headers)
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        return response.status


def used(mock, folder, key):
    """The memory of a gateway on this database after some requests, and the time of its start."""
    address = free_address()
    (folder / "llmgateway.toml").write_text(CONFIG.format(address=address, mock=mock.url))
    began = time.monotonic()
    process = Process(["serve", "--config", "llmgateway.toml"], address, folder)
    started = time.monotonic() - began
    try:
        assert [ask(process, key) for _ in range(50)] == [200] * 50
        return resident_bytes(process), started
    finally:
        process.stop()


def test_many_keys(mock, tmp_path):
    (tmp_path / "llmgateway.toml").write_text(CONFIG.format(address=free_address(), mock=mock.url))
    command(tmp_path, "projects", "create", "mine", "--policy", POLICY)
    key = command(tmp_path, "keys", "create", "mine", "--project", "mine", "--policy", POLICY).split()[0]
    few, _ = used(mock, tmp_path, key)
    fill(tmp_path)
    many, started = used(mock, tmp_path, key)
    each = (many - few) / KEYS
    print(f"{few >> 20} MiB with one key, {many >> 20} MiB with {KEYS}: {each:.0f} bytes each; started in {started:.1f} s")
    assert each < MOST_BYTES
