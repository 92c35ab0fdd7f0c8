"""Requests that agents have sent, posted to the gateway's endpoint of their API, over each kind of provider. They are accepted, and
what reaches the provider is valid there and has the tools.

The recorded answers were made up, so no provider issued their proofs of thinking: the providers here check none.
"""

import json
import urllib.error
import urllib.request

import pytest

from conftest import KEY, UPSTREAMS, line, start_gateway
from recordings import CORPUS, by_hand, callable_names, recorded


# A request for a feature that only OpenAI has, its own compaction, is refused by name elsewhere.
REFUSED_ELSEWHERE = {"codex/builtin_compact2/02.json": "compaction_trigger"}
DIALECTS = ["messages", "responses", "chat", "gemini"]


@pytest.fixture(scope="module")
def trusting_gateway(mock, tmp_path_factory):
    faults = dict.fromkeys(UPSTREAMS, "fault-no-proofs")
    server = start_gateway(tmp_path_factory.mktemp("replay"), mock, faults)
    yield server
    server.stop()


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("request_", by_hand(), ids=lambda request: request.name)
def test_handwritten_requests_are_accepted(request_, upstream, trusting_gateway, mock):
    mistakes = replay(request_, upstream, trusting_gateway, mock)
    assert not mistakes, mistakes


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no recorded requests of agents in {CORPUS}")
@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_recorded_requests_are_accepted(dialect, upstream, trusting_gateway, mock):
    """All requests of an API in one test: there are many, and a common fault fails them together."""
    requests = [request for request in recorded() if request.dialect == dialect]
    assert len(requests) >= 10
    mistakes = {request.name: mistake for request in requests if (mistake := replay(request, upstream, trusting_gateway, mock))}
    if dialect == "responses" and upstream != "gpt":
        for name, word in REFUSED_ELSEWHERE.items():
            answer = mistakes.pop(name, "accepted")
            assert answer.startswith("400 ") and word in answer, f"{name}: {answer}"
    listed = "\n".join(f"{name}: {mistake}" for name, mistake in list(mistakes.items())[:5])
    assert not mistakes, f"{len(mistakes)} of {len(requests)} ({', '.join(mistakes)}), among them:\n{listed}"


def replay(request, upstream, server, mock):
    """The fault; empty if there is none."""
    mock.forget()
    status, answer = post(request.for_model(f"coder-{upstream}"), server)
    entries = mock.asked()
    if status != 200:
        return "; ".join([f"{status} {answer[:600]}", *map(line, entries)])
    refused = [f"the provider said {line(entry)}" for entry in entries if entry["status"] != 200]
    if refused or not entries:
        return "; ".join(refused) or "the provider was not asked"
    got = sorted(set(names_at(entries[-1])))
    missing = [name for name in request.tools() if not any(is_name_of(sent, name) for sent in got)]
    return f"the provider did not get the tools {missing}, but {got}" if missing else ""


def post(request, server):
    url = f"{server.url}{request.path}{'?' + request.query if request.query else ''}"
    headers = {**request.headers, "Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    sent = urllib.request.Request(url, json.dumps(request.body).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(sent, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def names_at(entry):
    path = entry["path"]
    ends = {"/messages": "messages", "/responses": "responses", "/chat/completions": "chat", "Content": "gemini"}
    dialect = next(dialect for end, dialect in ends.items() if path.endswith(end))
    return callable_names(dialect, entry["body"])


def is_name_of(sent, name):
    """A tool of a group may have the group's name in front."""
    return sent == name or sent.endswith((f"__{name}", f"_{name}", f".{name}", f"-{name}"))
