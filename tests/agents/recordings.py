"""Requests of agents: those in `requests/`, written by hand after observed ones, and recorded ones.

The recordings are not part of the repository: LLMGATEWAY_AGENT_CORPUS names their folder; the default is
`../shared/corpus-agents` beside it.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORPUS = Path(os.environ.get("LLMGATEWAY_AGENT_CORPUS", HERE.parents[2] / "shared/corpus-agents"))

# Endpoints by the end of their path, with where the answer is checked.
DIALECTS = {
    "/v1/messages": "messages",
    "/v1/responses": "responses",
    "/v1/chat/completions": "chat",
    ":generateContent": "gemini",
    ":streamGenerateContent": "gemini",
}


@dataclass(frozen=True)
class Request:
    name: str
    path: str
    query: str
    headers: dict
    body: dict

    @property
    def dialect(self):
        return next((dialect for end, dialect in DIALECTS.items() if self.path.endswith(end)), None)

    def for_model(self, model):
        """The same request with another model, which is in the path or in the body."""
        path = re.sub(r"/models/[^:]+:", f"/models/{model}:", self.path)
        body = {**self.body, "model": model} if "model" in self.body else self.body
        return Request(self.name, path, self.query, self.headers, body)

    def tools(self):
        """The names of the tools that the model may call: no hosted tools, none that have to be searched for first."""
        return sorted(set(callable_names(self.dialect, self.body)))


def callable_names(dialect, body):
    match dialect:
        case "messages":
            for tool in body.get("tools", []):
                if tool.get("type", "custom") == "custom" and not tool.get("defer_loading"):
                    yield tool["name"]
        case "chat":
            yield from (tool[tool["type"]]["name"] for tool in body.get("tools", []))
        case "gemini":
            for tool in body.get("tools", []):
                yield from (declared["name"] for declared in tool.get("functionDeclarations", []))
        case "responses":
            items = body["input"] if isinstance(body["input"], list) else []
            lists = [item["tools"] for item in items if item.get("type") == "additional_tools"]
            for tools in [body.get("tools", []), *lists]:
                yield from responses_names(tools)


def responses_names(tools):
    for tool in tools:
        if tool["type"] == "namespace":
            yield from responses_names(tool["tools"])
        elif tool["type"] in ("function", "custom") and not tool.get("defer_loading"):
            yield tool["name"]


# Headers of the connection, and the keys of the other side.
NOT_REPLAYED = {
    "host", "content-length", "connection", "accept-encoding", "content-encoding", "transfer-encoding",
    "authorization", "x-api-key", "x-goog-api-key",
}


def recorded():
    """Every recorded request to a model."""
    files = sorted(path for path in CORPUS.rglob("*.json") if path.name != "result.json") if CORPUS.is_dir() else []
    requests = [read(path) for path in files]
    return [request for request in requests if request and request.dialect]


def by_hand():
    return [request for path in sorted((HERE / "requests").glob("*.json")) if (request := read(path))]


def read(path):
    recording = json.loads(path.read_text())["request"]
    if recording["method"] != "POST" or not isinstance(recording.get("body"), dict):
        return None
    where, _, query = recording["path"].partition("?")
    headers = {name: value for name, value in recording["headers"] if name.lower() not in NOT_REPLAYED}
    name = str(path.relative_to(CORPUS if path.is_relative_to(CORPUS) else HERE))
    return Request(name, where, query, headers, with_tools(recording["body"]))


def with_tools(body):
    """Long lists of tools are in one file, to which others refer."""
    body = json.loads(json.dumps(body))
    holders = [body, *(item for item in body.get("input", []) if isinstance(item, dict))]
    for holder in holders:
        if isinstance(holder.get("tools"), str):
            holder["tools"] = referred(holder["tools"])
    return body


def referred(reference):
    file, place = re.fullmatch(r"\(same \d+ tools as in (\S+?)(?: input\[(\d+)\])?\)", reference).groups()
    body = json.loads((CORPUS / file).read_text())["request"]["body"]
    tools = (body["input"][int(place)] if place else body)["tools"]
    return referred(tools) if isinstance(tools, str) else tools
