"""PostgreSQL is killed and started again under load: each answer that a client received completely is recorded once.

The test starts a server of its own. LLMGATEWAY_KILLS is the number of kills, LLMGATEWAY_SEED the seed of their times.
"""

import glob
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from pathlib import Path

import pytest
from conftest import PATIENCE_SECONDS, free_address, unrecorded

PROGRAMS = next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)), None) or (
    os.path.dirname(os.path.realpath(shutil.which("postgres") or "")) or None
)
KILLS = int(os.environ.get("LLMGATEWAY_KILLS", "6"))
SEED = int(os.environ.get("LLMGATEWAY_SEED", "1"))
CLIENTS = 4
KEY = "sk-test"
CONFIG = """
[server]
listen = "{address}"
[auth]
api_keys = ["{key}"]
[database]
url = "{database}"
spool = "{spool}"
[providers.openai]
api_key = "sk-mock"
base_url = "{mock}/v1"
"""

pytestmark = pytest.mark.skipif(not PROGRAMS, reason="there is no PostgreSQL")


class Postgres:
    """A server in a folder of its own. It refuses to run as root, and its user cannot read the test's folder."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="llmgateway-killed-"))
        self.port = free_address().split(":")[1]
        self.user = []
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            self.user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        data = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "-D", self.folder / "data"]
        subprocess.run([*self.user, f"{PROGRAMS}/initdb", *data], check=True, stdout=subprocess.DEVNULL, cwd="/")
        self.start()

    @property
    def url(self):
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def start(self):
        """Tries again while processes of the killed server still hold its memory."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        arguments = ["-c", "listen_addresses=127.0.0.1", "-p", self.port, "-k", self.folder, "-D", self.folder / "data"]
        while True:
            with open(self.folder / "log", "ab") as log:
                self.server = subprocess.Popen(
                    [*self.user, f"{PROGRAMS}/postgres", *arguments], stdout=log, stderr=log, cwd="/", start_new_session=True
                )
            while self.server.poll() is None and time.monotonic() < deadline:
                ready = [f"{PROGRAMS}/pg_isready", "-q", "-h", "127.0.0.1", "-p", self.port]
                if subprocess.run(ready, check=False).returncode == 0:
                    return
                time.sleep(0.05)
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.1)

    def kill(self):
        """The server and all its processes at once."""
        os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()

    def rows(self, statement):
        arguments = [f"{PROGRAMS}/psql", self.url, "-XAt", "-v", "ON_ERROR_STOP=1", "-c", statement]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS)
        return done.stdout.splitlines()

    def end(self):
        if self.server.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def postgres():
    server = Postgres()
    yield server
    server.end()


class Load:
    """Clients that ask until they are told to end, and remember which answers they received completely."""

    def __init__(self, address):
        self.address = address
        self.complete, self.faults, self.ends = [], [], threading.Event()
        self.threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def _ask(self):
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE_SECONDS)
        while not self.ends.is_set():
            request_id = f"killed-{uuid.uuid4()}"
            body = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
            headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json", "x-request-id": request_id}
            try:
                connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
                answer = connection.getresponse()
                read = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.faults.append(repr(error))
                return
            if answer.status == 200:
                self.complete.append(request_id)
            else:
                self.faults.append(f"{answer.status} {read}")

    def end(self):
        self.ends.set()
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)


def test_a_killed_database_loses_no_record_and_refuses_no_request(start, mock, postgres, tmp_path):
    address = free_address()
    places = {"address": address, "database": postgres.url, "spool": tmp_path / "spool", "mock": mock.url}
    (tmp_path / "llmgateway.toml").write_text(CONFIG.format(key=KEY, **places))
    gateway = start(["serve", "--config", "llmgateway.toml"], address)
    moments = random.Random(SEED)
    load = Load(address)
    for _ in range(KILLS):
        time.sleep(moments.uniform(0.05, 0.6))
        postgres.kill()
        time.sleep(moments.uniform(0.0, 0.6))
        postgres.start()
    time.sleep(0.5)
    load.end()
    assert not load.faults, load.faults[:3]
    assert len(load.complete) > KILLS
    wanted, deadline = set(load.complete), time.monotonic() + PATIENCE_SECONDS
    statement = "SELECT request_id FROM usage_records WHERE request_id LIKE 'killed-%'"
    while missing := wanted - set(postgres.rows(statement)):
        assert time.monotonic() < deadline, f"{len(missing)} of {len(wanted)} records are lost"
        time.sleep(0.2)
    assert unrecorded(gateway) == 0
    gateway.stop()
    found = postgres.rows(statement)
    assert len(found) == len(set(found)), "a record that was written again is stored once"
    print(f"{KILLS} kills, seed {SEED}: {len(wanted)} complete answers, {len(found)} records")
