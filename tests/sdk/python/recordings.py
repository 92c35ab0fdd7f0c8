"""Recorded answers of providers. They are outside of the repository: `LLMGATEWAY_CORPUS`, or `../shared/corpus`."""

import base64
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]

NONE = "no recorded traffic on this machine (set LLMGATEWAY_CORPUS)"

# The format of each recorded API. Other APIs (embeddings, Responses …) have no decoder.
PROTOCOLS = {
    "chat": "openai-chat",
    "messages": "anthropic-messages",
    "generateContent": "gemini",
    "streamGenerateContent": "gemini",
    "converse": "bedrock-converse",
    "converse-stream": "bedrock-converse",
}


@dataclass
class Answer:
    """One answer of a provider, byte by byte as it came."""

    id: str
    protocol: str
    stream: bool
    body: bytes
    status: int = 200
    headers: dict = field(default_factory=dict)
    provider: str = ""
    # The transport supplies the body in pieces of this size.
    piece: int | None = None


def folder():
    found = Path(os.environ.get("LLMGATEWAY_CORPUS") or REPOSITORY.parent / "shared/corpus")
    return found if found.is_dir() else None


def protocol_of(record):
    native = {"cohere": "cohere-chat", "ollama": "ollama-chat"}
    return native.get(record["provider"]) if record["api"] == "chat-native" else PROTOCOLS.get(record["api"])


def groups():
    """Folder and format of every group of recordings, from the index."""
    if not folder():
        return []
    index = json.loads((folder() / "index.json").read_text())
    return sorted({(record["provider"], protocol_of(record)) for record in index if protocol_of(record)})


def answers(provider, protocol):
    """Every recorded answer of a provider in one format."""
    paths = sorted((folder() / provider).glob("*.json"))
    records = (json.loads(path.read_text()) for path in paths)
    found = (answer(record) for record in records if protocol_of(record) == protocol)
    return [answer for answer in found if answer is not None]


def answer(record):
    response = record["response"]
    body = body_of(response, record["api"])
    if body is None:
        return None
    headers = {
        name.lower(): value[0] if isinstance(value, list) else value
        for name, value in (response.get("headers") or {}).items()
    }
    if "chunks" in response:
        headers["content-type"] = "text/event-stream"
    return Answer(
        id=record["id"],
        protocol=protocol_of(record),
        stream=record["streaming"],
        body=body,
        status=response.get("status") or 200,
        headers=headers,
        provider=record["provider"],
    )


def body_of(response, api):
    if "body_text" in response:
        return response["body_text"].encode()
    if "body_base64" in response:
        return base64.b64decode(response["body_base64"])
    if "chunks" in response:
        return framed(response["chunks"], api)
    if "body" in response:
        return json.dumps(response["body"]).encode()
    return None


def framed(chunks, api):
    """Events whose framing was not recorded. None for those of binary streams."""
    if api == "converse-stream":
        return None
    events = (f"event: {chunk['type']}\n" if api in ("messages", "chat-native") else "" for chunk in chunks)
    body = "".join(f"{event}data: {json.dumps(chunk)}\n\n" for event, chunk in zip(events, chunks))
    return (body + ("data: [DONE]\n\n" if api == "chat" else "")).encode()
