"""Fills fuzz/corpus with seeds: hand-made ones, and recorded traffic where there is some (LLMGATEWAY_CORPUS)."""

import base64
import hashlib
import json
import os
import pathlib
import shutil

HERE = pathlib.Path(__file__).parent
RECORDED = pathlib.Path(os.environ.get("LLMGATEWAY_CORPUS", HERE / "../../shared/corpus"))
ANSWERS = {
    "chat": ["answer_openai", "relay", "sse"],
    "messages": ["answer_anthropic", "sse"],
    "responses": ["answer_responses", "sse"],
    "generateContent": ["answer_gemini"],
    "streamGenerateContent": ["answer_gemini", "sse"],
    "converse": ["answer_bedrock"],
    "converse-stream": ["answer_bedrock", "aws_eventstream"],
}
NATIVE = {"cohere": ["answer_cohere", "sse"], "ollama": ["answer_ollama", "json_lines"]}
REQUESTS = {
    "chat": ["request_openai", "json"],
    "messages": ["request_anthropic"],
    "responses": ["request_responses"],
    "generateContent": ["request_gemini"],
    "streamGenerateContent": ["request_gemini"],
}
LARGEST = 4096


def keep(target: str, seed: bytes) -> None:
    if seed and len(seed) <= LARGEST:
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


def body_of(response: dict) -> bytes:
    if "body_text" in response:
        return response["body_text"].encode()
    if "body_base64" in response:
        return base64.b64decode(response["body_base64"])
    if "chunks" in response:
        # Recorded without their framing: framed as server-sent events again.
        return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in response["chunks"]).encode()
    return json.dumps(response["body"]).encode() if "body" in response else b""


def answers_of(record: dict) -> list[str]:
    if record["response"].get("status", 200) >= 400:
        return ["errors"]
    if record["api"] == "chat-native":
        return NATIVE.get(record["provider"], [])
    return ANSWERS.get(record["api"], [])


for target in (HERE / "seeds").iterdir():
    (HERE / "corpus" / target.name).mkdir(parents=True, exist_ok=True)
    for seed in target.iterdir():
        shutil.copy(seed, HERE / "corpus" / target.name / seed.name)
for path in sorted(RECORDED.glob("*/*.json")):
    record = json.loads(path.read_text())
    for target in answers_of(record):
        keep(target, body_of(record["response"]))
    request = (record.get("request") or {}).get("body")
    for target in REQUESTS.get(record["api"], []) if request else []:
        keep(target, json.dumps({"model": "m", **request}).encode())
