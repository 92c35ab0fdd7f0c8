"""Where the gateway's reading may differ from an official SDK's, and why. Nothing else may differ."""

import base64
import re

from official.shared import NO_WORDS

# An enum as a number (`enum-encoding=int`).
NUMBERED = re.compile(rb'"(finishReason|category|modality)": *\d')

# Recordings that are no single answer.
NO_ANSWER = {
    "anthropic/vercel-ai--anthropic__anthropic-tool-search-deferred-bm25--1":
        "two answers in one body: the SDK joins them, the gateway stops after the first",
}


def skipped(answer):
    """Why an answer cannot be compared at all."""
    if answer.id in NO_ANSWER:
        return NO_ANSWER[answer.id]
    if answer.protocol == "openai-chat" and answer.stream and b"\nerror: " in answer.body:
        return "llama-box ends a failed stream by a field `error`, which no SDK knows"
    if answer.protocol == "gemini" and answer.stream and answer.body.lstrip().startswith(b"["):
        return "a stream as a JSON array (not asked for as events): the SDK finds nothing in it"
    if answer.protocol == "gemini" and NUMBERED.search(answer.body):
        return "enums as numbers, which the SDK cannot read"
    if answer.protocol == "cohere-chat" and (b"is_finished" in answer.body or b'"generation_id"' in answer.body):
        return "version 1 of Cohere's API"
    return None


def settle(ours, theirs):
    """Both readings, without the intended differences."""
    ours, theirs = copied(ours), copied(theirs)
    if ours["error"] and theirs["error"]:
        return settled_error(ours["error"], theirs["error"])
    for index, choice in theirs["choices"].items():
        finish_by_calls(choice)
        without_dropped_ids(ours["choices"].get(index, choice), choice)
        for said in (choice, ours["choices"].get(index)):
            if said:
                proofs_as_bytes(said)
    if theirs["usage"]:
        counts_apart(theirs["usage"])
    return ours, theirs


def copied(said):
    choices = {
        index: {**choice, "calls": [dict(call) for call in choice["calls"]]}
        for index, choice in said["choices"].items()
    }
    return {**said, "choices": choices, "usage": said["usage"] and dict(said["usage"])}


def settled_error(ours, theirs):
    """The gateway may add the provider's text from other fields (`failed_generation`, `metadata.raw`). The content before
        an error in a stream is not compared: the SDKs' accumulators do not return it."""
    same = theirs == NO_WORDS or ours.startswith(theirs + ": ")
    return {"error": theirs if same else ours}, {"error": theirs}


def finish_by_calls(choice):
    """The finish reason says whether there are calls: OpenAI itself sends `stop` after forced calls, and some providers
        send `tool_calls` without any."""
    if choice["finish"] in ("stop", "tool_calls"):
        choice["finish"] = "tool_calls" if choice["calls"] else "stop"


def without_dropped_ids(ours, theirs):
    """The SDK of Ollama drops the ids of calls, which newer servers give."""
    for our_call, call in zip(ours["calls"], theirs["calls"]):
        if call["id"] is None:
            our_call["id"] = None


def proofs_as_bytes(choice):
    """The SDK of Google decodes proofs: their base64 may come in either alphabet."""
    choice["proofs"] = [proof_bytes(proof) for proof in choice["proofs"]]
    for call in choice["calls"]:
        call["proof"] = call["proof"] and proof_bytes(call["proof"])


def proof_bytes(proof):
    try:
        return base64.b64decode(proof.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:
        return proof


def counts_apart(usage):
    """In the gateway's counts thinking is part of the completion, and sound and cache hits are part of the prompt. Their
        totals show that xAI counts thinking outside of the completion and Mistral sound outside of the prompt; models of
        xAI at Azure count cache hits outside of the prompt."""
    total = usage.pop("total", None)
    prompt, completion, thinking, heard = (usage[name] for name in ("prompt", "completion", "thinking", "heard"))
    if heard and (total == prompt + completion + heard if total else heard > prompt):
        usage["prompt"] += heard
    if thinking and (total == prompt + completion + thinking if total else thinking > completion):
        usage["completion"] += thinking
    if usage["cached"] > prompt:
        usage["prompt"] += usage["cached"]
    # What was read from a cache was not written to it (OpenRouter reports some tokens as both).
    usage["written"] = min(usage["written"], usage["prompt"] - usage["cached"])
