"""A gateway and a mock that the tests start, kill and start again.

LLMGATEWAY_BINARY names the program. Only pytest is needed.
"""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 30


class Process:
    """A running program that answers HTTP on a port. `wrapper` is the command that runs it, such as valgrind."""

    def __init__(self, arguments, address, folder, environment=(), wrapper=(), patience=PATIENCE_SECONDS):
        self.address = address
        self.log = folder / f"{arguments[0]}.log"
        environment = {
            name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")
        } | dict(environment)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*wrapper, binary(), *arguments], cwd=folder, env=environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        self._wait(patience)

    @property
    def url(self):
        return f"http://{self.address}"

    def _wait(self, patience):
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"it stopped at once:\n{self.log.read_text()}"
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=2)
                return
            except urllib.error.HTTPError:
                return  # The mock has other paths than the gateway.
            except OSError:
                time.sleep(0.05)
        self.kill()
        pytest.fail(f"it does not answer on {self.address}:\n{self.log.read_text()}")

    def kill(self):
        """Like a crash: nothing is flushed, and no handler runs."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Like an operator."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail("it does not stop after SIGTERM")


def binary():
    path = os.environ.get("LLMGATEWAY_BINARY")
    if not path:
        pytest.exit("LLMGATEWAY_BINARY is not set: these tests start the gateway themselves", 2)
    return path


def free_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def unrecorded(gateway):
    """How many records the gateway gave up, by its own metric."""
    with urllib.request.urlopen(f"{gateway.url}/metrics") as response:
        lines = response.read().decode().splitlines()
    (line,) = [line for line in lines if line.startswith("llmgateway_unrecorded_total ")]
    return int(line.split()[1])


@pytest.fixture
def start(tmp_path):
    """Starts programs in a scratch folder, and kills those that still run at the end."""
    started = []

    def start(arguments, address, environment=()):
        process = Process(arguments, address, tmp_path, environment)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.process.poll() is None:
            process.kill()


@pytest.fixture
def mock(start):
    address = free_address()
    return start(["mock", "--listen", address], address)
