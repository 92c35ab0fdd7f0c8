"""What keys and projects cost in memory and in instructions: LLMGATEWAY_KEYS keys with a budget and three limits each, ten to a project. Run
with -s, this prints the figures of docs/scaling.md."""

import json
import os
import sqlite3
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import PATIENCE_SECONDS, Process, binary, free_address

KEYS = int(os.environ.get("LLMGATEWAY_KEYS", "20000"))
PROJECTS = KEYS // 10
# For each key, with its part of a project.
MOST_BYTES = 6_000
# How many times the instructions of one key many keys may cost.
MOST_GROWTH = 1.05
MOST_GROWTH_OF_CHANGES = 1.5
REQUESTS = 30
CHANGES = 10
# A request reads the changes of keys if they were last read before this time.
STALE_SECONDS = 1.1
# The usage records of the last requests are written within this time.
SETTLE_SECONDS = 3
# callgrind is up to fifty times slower.
CALLGRIND_SECONDS = 600
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


def created(folder):
    """The secret and the id of a new key in a project of its own."""
    command(folder, "projects", "create", "mine", "--policy", POLICY)
    secret, words = command(folder, "keys", "create", "mine", "--project", "mine", "--policy", POLICY).split(maxsplit=1)
    return secret, words.split("(")[1].split(",")[0]


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
    key, _ = created(tmp_path)
    few, _ = used(mock, tmp_path, key)
    fill(tmp_path)
    many, started = used(mock, tmp_path, key)
    each = (many - few) / KEYS
    print(f"{few >> 20} MiB with one key, {many >> 20} MiB with {KEYS}: {each:.0f} bytes each; started in {started:.1f} s")
    assert each < MOST_BYTES


class Counted:
    """A gateway under callgrind."""

    def __init__(self, mock, folder):
        address = free_address()
        (folder / "llmgateway.toml").write_text(CONFIG.format(address=address, mock=mock.url))
        self.output = folder / f"callgrind.{address.rsplit(':', 1)[1]}"
        self.dumps = 0
        wrapper = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self.output}"]
        arguments = ["serve", "--config", "llmgateway.toml"]
        self.process = Process(arguments, address, folder, wrapper=wrapper, patience=CALLGRIND_SECONDS)

    def control(self, order):
        pid = str(self.process.process.pid)
        subprocess.run(["callgrind_control", order, pid], check=True, capture_output=True, timeout=CALLGRIND_SECONDS)

    def total(self, act, times):
        """The instructions of some calls, with those of the time that passes meanwhile."""
        for _ in range(times):
            assert act() == 200
        time.sleep(SETTLE_SECONDS)
        self.control("--dump")
        self.dumps += 1
        lines = Path(f"{self.output}.{self.dumps}").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("totals:"))

    def each(self, act, times):
        """The instructions of one call. The wait before a dump is in both counts."""
        once = self.total(act, times)
        return (self.total(act, 2 * times) - once) / times


def rename(folder, key_id, name):
    """Under callgrind the gateway may hold the lock of the database for longer than a command waits."""
    deadline = time.monotonic() + CALLGRIND_SECONDS
    while True:
        try:
            return command(folder, "keys", "update", key_id, "--name", name)
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def instructions(mock, folder, key, key_id):
    """The instructions of a request, and of a request that reads a changed key before."""
    counted = Counted(mock, folder)
    names = iter(range(1_000))

    def request():
        return ask(counted.process, key)

    def change():
        rename(folder, key_id, f"name {next(names)}")
        time.sleep(STALE_SECONDS)
        return request()

    try:
        counted.control("--instr=on")
        counted.total(request, 10)
        counted.total(change, 2)
        return counted.each(request, REQUESTS), counted.each(change, CHANGES)
    finally:
        counted.process.stop()


@pytest.mark.skipif("LLMGATEWAY_KEYS" not in os.environ, reason="callgrind takes minutes: set LLMGATEWAY_KEYS")
def test_requests_and_changes_cost_the_same_with_many_keys(mock, tmp_path):
    (tmp_path / "llmgateway.toml").write_text(CONFIG.format(address=free_address(), mock=mock.url))
    key, key_id = created(tmp_path)
    few, few_changes = instructions(mock, tmp_path, key, key_id)
    fill(tmp_path)
    many, many_changes = instructions(mock, tmp_path, key, key_id)
    print(f"a request: {few:,.0f} instructions with one key, {many:,.0f} with {KEYS}: {many / few - 1:+.1%}")
    print(f"with a changed key: {few_changes:,.0f} instructions with one key, {many_changes:,.0f} with {KEYS}")
    assert many < MOST_GROWTH * few
    assert many_changes < MOST_GROWTH_OF_CHANGES * few_changes
