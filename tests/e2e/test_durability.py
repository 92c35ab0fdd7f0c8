"""A kill of the gateway at any moment loses no record of a response that its client received completely. With a budget it loses
no record of a response that had begun either, because that response has cost money.

LLMGATEWAY_KILLS is the number of kills (`cargo xtask kill` makes a thousand), LLMGATEWAY_SEED the seed of their times.
"""

import collections
import http.client
import json
import os
import random
import sqlite3
import threading
import time
import uuid

from conftest import ROOT, free_address, unrecorded

KEYS = ["sk-test", "sk-budget"]
PROJECT = """
[projects.bounded]
budgets = [{ usd = "1000", per = "total" }]
keys = [{ name = "key", key = "sk-budget" }]
"""
CLIENTS = 6
KILLS = int(os.environ.get("LLMGATEWAY_KILLS", "50"))
SEED = int(os.environ.get("LLMGATEWAY_SEED", "1"))
MOST_RESPONSES_PER_ROUND = 60
SECONDS_PER_ROUND = 30
MODELS = ["openai/gpt-4o", "anthropic/claude-3-5-sonnet-20241022", "google-ai-studio/gemini-2.0-flash-001"]


class Load:
    """Clients that ask until the gateway is gone, and remember which answers they received completely."""

    def __init__(self, address):
        self.address = address
        self.whole, self.streamed, self.faults = [], [], []
        self.begun_with_budget = []
        self.killed = threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def count(self):
        return len(self.whole) + len(self.streamed)

    def join(self):
        for thread in self.threads:
            thread.join(SECONDS_PER_ROUND)
            assert not thread.is_alive(), "a client still waits for a gateway that has ended"

    def _ask(self, number):
        connection = http.client.HTTPConnection(self.address, timeout=10)
        turn, key = number, KEYS[number // 2 % 2]
        begun = self.begun_with_budget if key == "sk-budget" else []
        while True:
            stream = turn % 2 == 0
            request_id = f"durability-{uuid.uuid4()}"
            try:
                complete, status = exchange(
                    connection, Request(request_id, key, MODELS[turn % len(MODELS)], stream), begun
                )
            except (OSError, http.client.HTTPException) as error:
                if not self.killed.is_set():
                    self.faults.append(repr(error))
                return
            if status != 200:
                self.faults.append(f"status {status}")
            elif complete:
                (self.streamed if stream else self.whole).append(request_id)
            turn += 1


Request = collections.namedtuple("Request", "id key model stream")


def exchange(connection, request, begun):
    """Whether the answer was complete, and its status. Raises when the connection breaks."""
    stream = request.stream
    body = {"model": request.model, "messages": [{"role": "user", "content": "Count to 10"}], "stream": stream}
    headers = {"authorization": f"Bearer {request.key}", "content-type": "application/json"}
    headers["x-request-id"] = request.id
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    response = connection.getresponse()
    begun.append(request.id)
    if not stream:
        return json.loads(response.read())["object"] == "chat.completion", response.status
    complete = False
    # The client stops waiting at [DONE]: the end of the body after it may be lost.
    for line in response:
        if line.strip() == b"data: [DONE]":
            complete = True
            break
    if complete:
        try:
            response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
    return complete, response.status


def recorded(database):
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10) as connection:
        rows = connection.execute("SELECT request_id FROM usage_records WHERE request_id LIKE 'durability-%'")
        return [request_id for (request_id,) in rows]


def wait_for_records(database, rounds):
    """The writer moves records from the spool into the database a moment after the start."""
    deadline = time.monotonic() + SECONDS_PER_ROUND
    while time.monotonic() < deadline:
        missing = rounds.keys() - set(recorded(database))
        if not missing:
            return
        time.sleep(0.1)
    examples = sorted((rounds[request_id], request_id) for request_id in missing)[:3]
    raise AssertionError(f"{len(missing)} of {len(rounds)} records are lost, such as (round, id) {examples}")


def load_and_kill(gateway, responses):
    """Kills it once this many responses are complete."""
    load = Load(gateway.address)
    deadline = time.monotonic() + SECONDS_PER_ROUND
    while load.count() < responses and time.monotonic() < deadline and not load.faults:
        time.sleep(0.001)
    load.killed.set()
    gateway.kill()
    load.join()
    assert not load.faults, load.faults[:3]
    return load


def test_a_kill_under_load_loses_no_record(start, mock, tmp_path):
    address = free_address()
    template = (ROOT / "tests/sdk/llmgateway.toml.in").read_text()
    (tmp_path / "llmgateway.toml").write_text(template.replace("@LISTEN@", address).replace("@MOCK@", mock.url) + PROJECT)
    database = tmp_path / "llmgateway.db"

    def gateway():
        return start(["serve", "--config", "llmgateway.toml"], address, {"LLMGATEWAY_KEY": KEYS[0]})

    moments = random.Random(SEED)
    print(f"{KILLS} kills, seed {SEED}")
    rounds, streamed, complete = {}, 0, set()
    for number in range(KILLS):
        load = load_and_kill(gateway(), moments.randint(0, MOST_RESPONSES_PER_ROUND))
        complete.update(load.whole, load.streamed)
        rounds |= dict.fromkeys(load.whole + load.streamed + load.begun_with_budget, number)
        streamed += len(load.streamed)
    assert streamed and streamed < len(complete), "whole responses and streams"
    last = gateway()
    wait_for_records(database, rounds)
    assert unrecorded(last) == 0
    last.stop()
    found = recorded(database)
    assert len(found) == len(set(found)), "a record that was read from the spool twice is stored once"
    assert rounds.keys() <= set(found)
    interrupted = check_money(database, complete)
    print(f"{len(complete)} complete responses ({streamed} streams), {len(found)} records, {interrupted} interrupted")


def check_money(database, complete):
    """The ledger is the sum of the records, and no complete response counts as interrupted. Returns how many were interrupted."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10) as connection:
        rows = connection.execute("SELECT request_id, record FROM usage_records").fetchall()
        ((spent,),) = connection.execute("SELECT sum(spent_pico) FROM ledger WHERE scope = 'project:bounded'")
    records = [(request_id, json.loads(record)) for request_id, record in rows]
    bounded = [record for _, record in records if record["project"] == "bounded"]
    assert spent == sum(record["cost_pico"]["total"] for record in bounded) > 0
    interrupted = {request_id for request_id, record in records if record.get("error_kind") == "interrupted"}
    assert interrupted and not interrupted & complete
    return len(interrupted)
