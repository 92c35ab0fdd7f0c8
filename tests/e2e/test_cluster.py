"""Three nodes share one budget through Redis while they are killed, and Redis is stopped for a moment: the ceiling holds, no record of
a complete answer is lost, and the ledger is the sum of the records.

LLMGATEWAY_TEST_POSTGRES names a PostgreSQL whose user may create databases. LLMGATEWAY_CALLERS is the number of concurrent callers,
LLMGATEWAY_KILLS the number of kills (`cargo xtask chaos` takes 200 and 100), LLMGATEWAY_SEED the seed of their times.
"""

import collections
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
import uuid

import pytest
from conftest import PATIENCE_SECONDS, Process, free_address

POSTGRES = os.environ.get("LLMGATEWAY_TEST_POSTGRES")
REDIS = shutil.which("redis-server") or shutil.which("valkey-server")
CALLERS = int(os.environ.get("LLMGATEWAY_CALLERS", "24"))
KILLS = int(os.environ.get("LLMGATEWAY_KILLS", "8"))
SEED = int(os.environ.get("LLMGATEWAY_SEED", "1"))
NODES = 3
# Enough for some hundred answers: it is exhausted long before the end, and callers compete for the rest.
CEILING_USD = "0.2"
CONFIG = """
[server]
listen = "{address}"
[auth]
api_keys = ["sk-other"]
[database]
url = "{database}"
spool = "{spool}"
[cluster]
redis = "redis://{redis}"
[providers.openai]
api_key = "sk-mock"
base_url = "{mock}/v1"
[projects.a]
budgets = [{{ usd = "{ceiling}", per = "total" }}]
keys = [{{ name = "ci", key = "sk-team" }}]
"""

pytestmark = [
    pytest.mark.skipif(not POSTGRES, reason="LLMGATEWAY_TEST_POSTGRES names no database"),
    pytest.mark.skipif(not REDIS, reason="there is no redis-server"),
]


def sql(database, statement):
    """The rows of a statement, as lists of texts."""
    arguments = ["psql", database, "-XAt", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", statement]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS)
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.fixture
def database():
    name = f"chaos_{uuid.uuid4().hex[:12]}"
    sql(POSTGRES, f"CREATE DATABASE {name}")
    yield f"{POSTGRES.rsplit('/', 1)[0]}/{name}"
    sql(POSTGRES, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis(tmp_path):
    address = free_address()
    host, port = address.split(":")
    arguments = [REDIS, "--port", port, "--bind", host, "--save", "", "--appendonly", "no", "--dir", str(tmp_path)]
    server = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    server.address = address
    yield server
    server.kill()
    server.wait()


class Node:
    def __init__(self, number, folder, settings):
        self.folder = folder / f"node{number}"
        self.folder.mkdir()
        self.address = free_address()
        config = CONFIG.format(address=self.address, spool=self.folder / "spool", ceiling=CEILING_USD, **settings)
        (self.folder / "llmgateway.toml").write_text(config)
        self.start()

    def start(self):
        self.process = Process(["serve", "--config", "llmgateway.toml"], self.address, self.folder)


class Callers:
    """Ask one node after another until the stop event is set."""

    def __init__(self, nodes):
        self.nodes, self.stopping = nodes, threading.Event()
        self.whole, self.statuses, self.lock = [], collections.Counter(), threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CALLERS)]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), "a caller still waits"

    def _run(self, turn):
        while not self.stopping.is_set():
            turn += 1
            request_id = f"chaos-{uuid.uuid4()}"
            try:
                status = self._ask(self.nodes[turn % NODES].address, request_id)
            except (OSError, http.client.HTTPException, ValueError):
                status = "broken"
            with self.lock:
                self.statuses[status] += 1
                if status == 200:
                    self.whole.append(request_id)
            if status != 200:
                time.sleep(0.05)

    def _ask(self, address, request_id):
        connection = http.client.HTTPConnection(address, timeout=10)
        try:
            messages = [{"role": "user", "content": "Count to 10"}]
            body = json.dumps({"model": "openai/gpt-4o", "messages": messages, "max_tokens": 40})
            headers = {"authorization": "Bearer sk-team", "content-type": "application/json", "x-request-id": request_id}
            connection.request("POST", "/v1/chat/completions", body, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
            assert response.status != 200 or answer["object"] == "chat.completion"
            return response.status
        finally:
            connection.close()


def wait_for_records(database, whole):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        rows = sql(database, "SELECT request_id FROM usage_records WHERE request_id LIKE 'chaos-%'")
        if set(whole) <= {request_id for (request_id,) in rows}:
            return
        time.sleep(0.2)
    raise AssertionError("records of complete answers are missing")


@pytest.fixture
def nodes(tmp_path, mock, database, redis):
    settings = {"database": database, "redis": redis.address, "mock": mock.url}
    nodes = []
    try:
        for number in range(NODES):
            nodes.append(Node(number, tmp_path, settings))
        yield nodes
    finally:
        for node in nodes:
            node.process.kill()


def test_one_budget_holds_over_nodes_that_are_killed(nodes, database, redis):
    moments = random.Random(SEED)
    print(f"{CALLERS} callers, {KILLS} kills, seed {SEED}")
    callers = Callers(nodes)
    try:
        for number in range(KILLS):
            time.sleep(moments.uniform(0.05, 0.6))
            if number % 4 == 3:
                redis.send_signal(signal.SIGSTOP)
                time.sleep(moments.uniform(0.2, 1.0))
                redis.send_signal(signal.SIGCONT)
            node = moments.choice(nodes)
            node.process.kill()
            node.start()
        time.sleep(1.5)
    finally:
        callers.stop()
    # Each node starts once more, and delivers the rest of its spool.
    for node in nodes:
        node.process.stop()
        node.start()
    wait_for_records(database, callers.whole)
    for node in nodes:
        node.process.stop()

    ((ledger,),) = sql(database, "SELECT sum(spent_pico) FROM ledger WHERE scope = 'project:a'")
    ((records,),) = sql(
        database, "SELECT sum((record -> 'cost_pico' ->> 'total')::bigint) FROM usage_records WHERE record ->> 'project' = 'a'"
    )
    ((interrupted,),) = sql(database, "SELECT count(*) FROM usage_records WHERE record ->> 'error_kind' = 'interrupted'")
    ceiling = float(CEILING_USD) * 1e12
    print(f"{dict(callers.statuses)}, {interrupted} interrupted, {int(ledger) / ceiling:.1%} of the ceiling")
    assert callers.statuses[402], "the budget was exhausted"
    assert not set(callers.statuses) - {200, 402, 503, "broken"}
    assert ledger == records
    assert int(ledger) <= ceiling
    assert int(ledger) > 0.9 * ceiling, "the parts of killed nodes became free again"
