"""Coding agents in a scratch home and a scratch work folder, against a mock that plays their model.

LLMGATEWAY_BINARY names the program; LLMGATEWAY_AGENTS the folder with the agents' programs, if it is not
`node_modules/.bin` here. pytest is the only dependency.
"""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from agents import PROGRAMS

ROOT = Path(__file__).resolve().parents[2]
# An agent takes a few seconds. A run that waits or repeats itself without end is stopped.
MOST_SECONDS = 60


def binary():
    path = os.environ.get("LLMGATEWAY_BINARY")
    if not path:
        pytest.exit("LLMGATEWAY_BINARY is not set: these tests start the gateway themselves", 2)
    return path


def free_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


class Server:
    """A mock or a gateway that runs during a test."""

    def __init__(self, arguments, address, folder, environment=()):
        self.address, self.url = address, f"http://{address}"
        self.log = folder / f"{arguments[0]}.log"
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **dict(environment)}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [binary(), *arguments], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 30
        while not self._listens():
            assert self.process.poll() is None, f"it stopped at once:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"it does not listen:\n{self.log.read_text()}"
            time.sleep(0.05)

    def _listens(self):
        host, port = self.address.split(":")
        try:
            socket.create_connection((host, int(port)), timeout=2).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.process.kill()
        self.process.wait()


class Mock(Server):
    def journal(self):
        """The requests since the last call of `forget`."""
        with urllib.request.urlopen(f"{self.url}/__mock/journal", timeout=10) as answer:
            return json.load(answer)

    def asked(self):
        """The requests to models."""
        return [entry for entry in self.journal() if entry["method"] == "POST"]

    def forget(self):
        request = urllib.request.Request(f"{self.url}/__mock/journal", method="DELETE")
        urllib.request.urlopen(request, timeout=10).close()


@pytest.fixture(scope="session")
def mock(tmp_path_factory):
    address = free_address()
    server = Mock(["mock", "--agent", "--listen", address], address, tmp_path_factory.mktemp("mock"))
    yield server
    server.stop()


# The kinds of providers, each with one of its models. The mock is called at a path of that name.
UPSTREAMS = {
    "claude": "anthropic/claude-opus-5-5",
    "gpt": "openai/gpt-5.5",
    "gemini": "google-ai-studio/gemini-3.5-flash",
    "compatible": "compatible/coder-1",
}

# The names under which each of them is offered to agents.
FAMILIES = ["claude-opus-5-5", "gpt-5.5", "gpt-6.2-sol", "gemini-3.5-pro", "coder"]

KEY = "sk-agents"


def aliases(targets=None):
    """An alias `FAMILY-UPSTREAM` for each pair, or the given targets."""
    targets = targets or {
        f"{family}-{name}": [model] for family in FAMILIES for name, model in UPSTREAMS.items()
    }
    lines = [f'[models."{name}"]\ntargets = {json.dumps(models)}\npick = "order"' for name, models in targets.items()]
    return "\n".join(lines)


def configuration(address, mock_url, faults, targets=None):
    """Each provider leads to the mock; `faults` maps the name of an upstream to its fault."""
    base = {name: f"{mock_url}/{name}{'/' + faults[name] if name in faults else ''}" for name in UPSTREAMS}
    return f"""
[server]
listen = "{address}"

[auth]
api_keys = ["{KEY}"]

[providers.anthropic]
api_key = "mock-key"
base_url = "{base["claude"]}"

[providers.openai]
api_key = "mock-key"
base_url = "{base["gpt"]}/v1"

[providers.google-ai-studio]
api_key = "mock-key"
base_url = "{base["gemini"]}"

[providers.compatible]
protocol = "openai-chat"
api_key = "mock-key"
base_url = "{base["compatible"]}/v1"

{aliases(targets)}
"""


def start_gateway(folder, mock, faults=(), targets=None):
    address = free_address()
    (folder / "llmgateway.toml").write_text(configuration(address, mock.url, dict(faults), targets))
    return Server(["serve", "--config", "llmgateway.toml"], address, folder)


@pytest.fixture(scope="session")
def gateway(mock, tmp_path_factory):
    """In front of providers without faults."""
    server = start_gateway(tmp_path_factory.mktemp("gateway"), mock)
    yield server
    server.stop()


@pytest.fixture
def other_gateway(mock, tmp_path):
    """Starts a gateway in front of providers with faults, or with other aliases."""
    started = []

    def start(faults=(), targets=None):
        folder = tmp_path / "gateway"
        folder.mkdir()
        started.append(start_gateway(folder, mock, faults, targets))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@dataclass
class Finished:
    """How a run of an agent ended."""

    status: int
    output: str
    errors: str
    seconds: float
    stopped: bool

    def __str__(self):
        ending = "stopped by the test" if self.stopped else f"status {self.status}"
        return f"{ending} after {self.seconds:.1f} s\n--- stdout\n{self.output[-3000:]}\n--- stderr\n{self.errors[-3000:]}"


class Workshop:
    """A home without settings and a git repository with one file."""

    def __init__(self, folder):
        self.home, self.work = folder / "home", folder / "work"
        self.home.mkdir()
        self.work.mkdir()
        self.file = self.work / "hello.txt"
        self.fill("")
        author = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
        for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "first"]):
            subprocess.run(["git", *command], cwd=self.work, check=True, env=self.bare_environment())

    def fill(self, more):
        """Writes the file's first content, followed by `more`."""
        self.file.write_text(f"alpha\nbeta\n{more}")
        self.wanted = f"alpha\ngamma\n{more}"

    def bare_environment(self):
        return {"PATH": os.environ["PATH"], "HOME": str(self.home)}

    def task(self, turns=3):
        """The task in terms that the mock's persona understands: see docs/mock.md."""
        more = f" Take {turns} turns." if turns > 3 else ""
        return f"Read `{self.file}`, replace `beta` with `gamma`, run `cat {self.file}`.{more}"

    def start(self, command, environment):
        return subprocess.Popen(
            command, cwd=self.work, env={**environment, "PWD": str(self.work)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )

    def run(self, command, environment, most_seconds=MOST_SECONDS):
        started = time.monotonic()
        process = self.start(command, environment)
        stopped = False
        try:
            output, errors = process.communicate(timeout=most_seconds)
        except subprocess.TimeoutExpired:
            stopped = True
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
        return Finished(process.returncode, output, errors, time.monotonic() - started, stopped)


@pytest.fixture
def workshop(tmp_path):
    return Workshop(tmp_path)


def run_command(agent, url, model, prompt, **options):
    """The command of a user who starts the agent against a gateway."""
    return [
        binary(), "run", agent.name, "--url", url, "--model", model, "--", *agent.arguments(prompt, **options)
    ]


def keyed(environment):
    return environment | {"LLMGATEWAY_API_KEY": KEY}


def check_done(finished, workshop, mock):
    """The agent succeeded, and the model has seen the output of the command."""
    report = f"{finished}\n--- the mock received\n{shown(mock)}"
    assert finished.status == 0, report
    assert workshop.file.read_text() == workshop.wanted, report
    assert "gamma now" in finished.output, report


def check_served(mock, upstream, repaired=None):
    """All requests reached this upstream and none was refused, except with a text after which the gateway sends another request."""
    entries = mock.asked()
    assert entries, "the mock received nothing"

    def is_served(entry):
        return entry["status"] == 200 or repaired is not None and repaired in line(entry)

    strange = [entry for entry in entries if not entry["path"].startswith(f"/{upstream}/") or not is_served(entry)]
    assert not strange, "\n".join(line(entry) for entry in strange)


def shown(mock):
    """The requests in short: enough to see where a session went wrong."""
    entries = mock.journal()
    left_out = [f"… {len(entries) - 10} more …"] if len(entries) > 10 else []
    return "\n".join([*map(line, entries[:2]), *left_out, *map(line, entries[-8:][max(0, 10 - len(entries)):])])


def line(entry):
    reason = entry["refusal"] or str(entry["body"])[-160:]
    return f"{entry['method']} {entry['path']} -> {entry['status']} {reason}"


def needs(agent):
    """Skips, with a line in the summary, where the agent is not installed."""
    if not (PROGRAMS / agent.name).exists():
        pytest.skip(f"{agent.name} is not installed in {PROGRAMS}: npm ci --prefix tests/agents")
