"""botocore, on which the official SDK of Amazon is built."""

import base64
import io
import json

import botocore.awsrequest
import botocore.config
import botocore.exceptions
import botocore.session
import urllib3

from official.shared import NO_WORDS, complete, counted, empty_choice, failed

BEDROCK = botocore.session.Session().create_client(
    "bedrock-runtime",
    region_name="us-east-1",
    aws_access_key_id="none",
    aws_secret_access_key="none",
    config=botocore.config.Config(retries={"total_max_attempts": 1}),
)

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": None,
    "malformed_tool_use": None,
}


def answer(given):
    body = Trickle(given.body, given.piece) if given.piece else io.BytesIO(given.body)

    def respond(request, **_):
        raw = urllib3.HTTPResponse(body=body, status=given.status, headers=given.headers, preload_content=False)
        return botocore.awsrequest.AWSResponse(request.url, given.status, raw.headers, raw)

    BEDROCK.meta.events.register("before-send.bedrock-runtime", respond, unique_id="answer")
    request = {"modelId": "model", "messages": [{"role": "user", "content": [{"text": "?"}]}]}
    try:
        if given.stream:
            return read_message(assembled(BEDROCK.converse_stream(**request)["stream"]))
        return read_message(BEDROCK.converse(**request))
    except botocore.exceptions.ClientError as error:
        return failed(error.response["Error"]["Message"])
    finally:
        BEDROCK.meta.events.unregister("before-send.bedrock-runtime", respond, unique_id="answer")


class Trickle(io.BytesIO):
    """Reads return less than was asked for."""

    def __init__(self, body, size):
        super().__init__(body)
        self.size = size

    def read(self, amount=-1):
        return super().read(self.size if amount is None or amount < 0 else min(amount, self.size))


def assembled(stream):
    """The message that the events of a stream make, in the form of a whole answer."""
    blocks, message = {}, {}
    for event in stream:
        (kind, said), = event.items()
        if kind == "contentBlockStart":
            block = dict(said["start"])
            if "toolUse" in block:
                block["toolUse"] = {**block["toolUse"], "input": ""}
            blocks[said["contentBlockIndex"]] = block
        elif kind == "contentBlockDelta":
            add(blocks.setdefault(said["contentBlockIndex"], {}), said["delta"])
        elif kind == "messageStop":
            message["stopReason"] = said["stopReason"]
        elif kind == "metadata":
            message["usage"] = said["usage"]
            message["serviceTier"] = said.get("serviceTier", {})
    content = [block for _, block in sorted(blocks.items())]
    for block in content:
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
    return {**message, "output": {"message": {"content": content}}}


def add(block, delta):
    if "text" in delta:
        block["text"] = block.get("text", "") + delta["text"]
    elif "toolUse" in delta:
        block["toolUse"]["input"] += delta["toolUse"]["input"]
    elif "reasoningContent" in delta:
        thought = block.setdefault("reasoningContent", {})
        if "redactedContent" in delta["reasoningContent"]:
            thought["redactedContent"] = thought.get("redactedContent", b"") + delta["reasoningContent"]["redactedContent"]
            return
        text = thought.setdefault("reasoningText", {"text": ""})
        for name, more in delta["reasoningContent"].items():
            text[name] = text.get(name, "") + more
    elif "citation" in delta:
        block.setdefault("citations", []).append(delta["citation"])


def read_message(message):
    choice = {**empty_choice(), "finish": FINISH[message["stopReason"]]}
    if choice["finish"] is None:
        return failed(NO_WORDS)
    for block in message["output"]["message"]["content"]:
        read_block(choice, block)
    return complete(
        {0: choice},
        tier=message.get("serviceTier", {}).get("type"),
        usage=read_usage(message["usage"]) if "usage" in message else None,
    )


def read_usage(usage):
    cached, written = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
    hour = [detail["inputTokens"] for detail in usage.get("cacheDetails", []) if detail["ttl"] == "1h"]
    return counted(
        prompt=usage["inputTokens"] + cached + written,
        completion=usage["outputTokens"],
        cached=cached,
        written=written,
        **{"written for an hour": sum(hour)},
    )


def read_block(choice, block):
    choice["text"] += block.get("text", "")
    for citation in block.get("citations", []):
        url = citation.get("location", {}).get("web", {}).get("url")
        choice["sources"] += [[url, ""]] if url else []
    if "citationsContent" in block:
        cited = block["citationsContent"]
        choice["text"] += "".join(piece.get("text", "") for piece in cited.get("content", []))
        read_block(choice, {"citations": cited.get("citations", [])})
    if "toolUse" in block and block["toolUse"].get("type") != "server_tool_use":
        call = block["toolUse"]
        choice["calls"].append(
            {"id": call["toolUseId"], "name": call["name"], "arguments": call["input"], "proof": None}
        )
    if "reasoningContent" in block:
        thought = block["reasoningContent"]
        text = thought.get("reasoningText", {})
        choice["thinking"] += text.get("text", "")
        choice["proofs"] += [text["signature"]] if text.get("signature") else []
        if "redactedContent" in thought:
            choice["proofs"].append(base64.b64encode(thought["redactedContent"]).decode())
