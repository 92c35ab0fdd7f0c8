"""What the official SDKs understand of an answer: each parses the bytes itself, behind a transport that hands them over.

Every function returns the same shape as `gateway_reader.Reader.answer`.
"""

import base64
import io
import json

import anthropic
import botocore.awsrequest
import botocore.config
import botocore.exceptions
import botocore.session
import httpx2
import openai
import urllib3
from google import genai
from openai.lib.streaming.chat import ChatCompletionStreamState

from gateway_reader import arguments, source


def answer(given):
    TRANSPORT.given = given
    return SDKS[given.protocol](given)


def empty_choice():
    return {
        "text": "", "refusal": "", "thinking": "", "proofs": [], "calls": [], "images": [], "sources": [],
        "logprobs": [], "finish": None,
    }


def failed(message):
    return {"choices": {}, "id": None, "model": None, "usage": None, "error": message}


# ---------------------------------------------------------------------------------------------- transports


class Pieces(httpx2.SyncByteStream):
    def __init__(self, body, size):
        self.body, self.size = body, size or max(len(body), 1)

    def __iter__(self):
        for start in range(0, len(self.body), self.size):
            yield self.body[start : start + self.size]


class Transport:
    """Answers every request of a client with the answer that is being read."""

    def __init__(self):
        self.given = None
        self.client = httpx2.Client(transport=httpx2.MockTransport(self.respond))

    def respond(self, _):
        given = self.given
        usual = "text/event-stream" if given.stream else "application/json"
        headers = {"content-type": usual, **given.headers}
        return httpx2.Response(given.status, headers=headers, stream=Pieces(given.body, given.piece))


TRANSPORT = Transport()


# ---------------------------------------------------------------------------------------------- openai

OPENAI = openai.OpenAI(
    base_url="http://provider/v1", api_key="none", max_retries=0, http_client=TRANSPORT.client
)


def openai_chat(given):
    arguments = {"model": "model", "messages": [{"role": "user", "content": "?"}]}
    try:
        if given.stream:
            return openai_stream(OPENAI.chat.completions.create(**arguments, stream=True))
        return openai_completion(OPENAI.chat.completions.create(**arguments))
    except openai.APIError as error:
        return failed(error.message)


def openai_stream(stream):
    state = ChatCompletionStreamState()
    for chunk in stream:
        state.handle_chunk(chunk)
    return openai_completion(state.get_final_completion())


def openai_completion(completion):
    return {
        "choices": {choice.index: openai_choice(choice) for choice in completion.choices},
        "id": completion.id,
        "model": completion.model,
        "usage": completion.usage and openai_usage(completion.usage),
        "error": None,
    }


def openai_choice(choice):
    message = choice.message
    extra = message.model_extra or {}
    return {
        **empty_choice(),
        "text": message.content or "",
        "refusal": message.refusal or "",
        "thinking": extra.get("reasoning_content") or extra.get("reasoning") or "",
        "calls": [openai_call(call) for call in message.tool_calls or []],
        "sources": [source(note.to_dict()) for note in message.annotations or []],
        "logprobs": [token.token for token in (choice.logprobs and choice.logprobs.content) or []],
        "finish": choice.finish_reason,
    }


def openai_call(call):
    if call.type == "custom":
        return {"id": call.id, "name": call.custom.name, "arguments": call.custom.input, "proof": None}
    return {
        "id": call.id,
        "name": call.function.name,
        "arguments": arguments(call.function.arguments),
        "proof": None,
    }


def openai_usage(usage):
    inputs, outputs = usage.prompt_tokens_details, usage.completion_tokens_details
    return {
        "prompt": usage.prompt_tokens,
        "completion": usage.completion_tokens,
        "cached": (inputs and inputs.cached_tokens) or 0,
        "written": 0,
        "thinking": (outputs and outputs.reasoning_tokens) or 0,
    }


# ---------------------------------------------------------------------------------------------- anthropic

ANTHROPIC = anthropic.Anthropic(
    base_url="http://provider", api_key="none", max_retries=0, http_client=TRANSPORT.client
)


def anthropic_messages(given):
    arguments = {"model": "model", "max_tokens": 8, "messages": [{"role": "user", "content": "?"}]}
    try:
        if not given.stream:
            return anthropic_message(ANTHROPIC.messages.create(**arguments))
        with ANTHROPIC.messages.stream(**arguments) as stream:
            return anthropic_message(stream.get_final_message())
    except anthropic.APIStatusError as error:
        body = error.body
        return failed(body["error"]["message"] if isinstance(body, dict) else str(body))


ANTHROPIC_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def anthropic_message(message):
    choice = {**empty_choice(), "finish": ANTHROPIC_FINISH[message.stop_reason]}
    for block in message.content:
        if block.type == "text":
            choice["text"] += block.text
            choice["sources"] += [cited.url for cited in block.citations or [] if getattr(cited, "url", None)]
        elif block.type == "thinking":
            choice["thinking"] += block.thinking
            choice["proofs"] += [block.signature] if block.signature else []
        elif block.type == "redacted_thinking":
            choice["proofs"].append(block.data)
        elif block.type == "tool_use":
            call = {"id": block.id, "name": block.name, "arguments": block.input, "proof": None}
            choice["calls"].append(call)
    usage = message.usage
    cached, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    return {
        "choices": {0: choice},
        "id": message.id,
        "model": message.model,
        "usage": {
            "prompt": usage.input_tokens + cached + written,
            "completion": usage.output_tokens,
            "cached": cached,
            "written": written,
            "thinking": (usage.output_tokens_details and usage.output_tokens_details.thinking_tokens) or 0,
        },
        "error": None,
    }


# ---------------------------------------------------------------------------------------------- google-genai


GEMINI = genai.Client(
    api_key="none",
    http_options=genai.types.HttpOptions(base_url="http://provider", httpx_client=TRANSPORT.client),
)


def gemini(given):
    arguments = {"model": "model", "contents": "?"}
    try:
        if given.stream:
            return gemini_answer(list(GEMINI.models.generate_content_stream(**arguments)))
        return gemini_answer([GEMINI.models.generate_content(**arguments)])
    except genai.errors.APIError as error:
        return failed(error.message)


GEMINI_FILTERED = {
    "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR", "LANGUAGE",
}


def gemini_answer(pieces):
    choices, usage = {}, None
    for piece in pieces:
        for candidate in piece.candidates or []:
            gemini_candidate(choices.setdefault(candidate.index or 0, empty_choice()), candidate)
        usage = piece.usage_metadata or usage
    feedback = pieces[0].prompt_feedback
    if not choices and feedback and feedback.block_reason:
        choices[0] = {**empty_choice(), "finish": "content_filter"}
    return {
        "choices": choices,
        "id": pieces[0].response_id,
        "model": pieces[0].model_version,
        "usage": usage and gemini_usage(usage),
        "error": None,
    }


def gemini_candidate(choice, candidate):
    for part in (candidate.content and candidate.content.parts) or []:
        gemini_part(choice, part)
    if candidate.logprobs_result:
        choice["logprobs"] += [token.token for token in candidate.logprobs_result.chosen_candidates or []]
    if candidate.finish_reason:
        word = candidate.finish_reason.value
        choice["finish"] = (
            "length" if word == "MAX_TOKENS"
            else "content_filter" if word in GEMINI_FILTERED
            else "tool_calls" if choice["calls"]
            else "stop"
        )


def gemini_part(choice, part):
    proof = part.thought_signature and base64.b64encode(part.thought_signature).decode()
    if part.function_call:
        call = part.function_call
        choice["calls"].append(
            {"id": call.id or "", "name": call.name, "arguments": call.args or {}, "proof": proof}
        )
        return
    if part.text is not None:
        choice["thinking" if part.thought else "text"] += part.text
    elif part.inline_data and not part.thought:
        data = base64.b64encode(part.inline_data.data).decode()
        choice["images"].append((part.inline_data.mime_type, data))
    elif part.executable_code:
        choice["text"] += fenced("python", part.executable_code.code)
    elif part.code_execution_result:
        choice["text"] += fenced("", part.code_execution_result.output or "")
    if proof:
        choice["proofs"].append(proof)


def fenced(language, code):
    end = "" if code.endswith("\n") else "\n"
    return f"\n```{language}\n{code}{end}```\n"


def gemini_usage(usage):
    thinking = usage.thoughts_token_count or 0
    return {
        "prompt": (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
        "completion": (usage.candidates_token_count or 0) + thinking,
        "cached": usage.cached_content_token_count or 0,
        "written": 0,
        "thinking": thinking,
    }


# ---------------------------------------------------------------------------------------------- botocore

BEDROCK = botocore.session.Session().create_client(
    "bedrock-runtime",
    region_name="us-east-1",
    aws_access_key_id="none",
    aws_secret_access_key="none",
    config=botocore.config.Config(retries={"total_max_attempts": 1}),
)

BEDROCK_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}


def bedrock_converse(given):
    body = Trickle(given.body, given.piece) if given.piece else io.BytesIO(given.body)

    def respond(request, **_):
        raw = urllib3.HTTPResponse(body=body, status=given.status, headers=given.headers, preload_content=False)
        return botocore.awsrequest.AWSResponse(request.url, given.status, raw.headers, raw)

    BEDROCK.meta.events.register("before-send.bedrock-runtime", respond, unique_id="answer")
    arguments = {"modelId": "model", "messages": [{"role": "user", "content": [{"text": "?"}]}]}
    try:
        if given.stream:
            return bedrock_message(assembled(BEDROCK.converse_stream(**arguments)["stream"]))
        return bedrock_message(BEDROCK.converse(**arguments))
    except botocore.exceptions.ClientError as error:
        return failed(error.response["Error"]["Message"])
    finally:
        BEDROCK.meta.events.unregister("before-send.bedrock-runtime", respond, unique_id="answer")


class Trickle(io.BytesIO):
    """Reads that return less than they were asked for."""

    def __init__(self, body, size):
        super().__init__(body)
        self.size = size

    def read(self, amount=-1):
        return super().read(self.size if amount is None or amount < 0 else min(amount, self.size))


def assembled(stream):
    """The message that the events of a stream make, as a whole answer has it."""
    blocks, message = {}, {}
    for event in stream:
        (kind, said), = event.items()
        if kind == "contentBlockStart":
            block = dict(said["start"])
            for name in ("toolUse",):
                if name in block:
                    block[name] = {**block[name], "input": ""}
            blocks[said["contentBlockIndex"]] = block
        elif kind == "contentBlockDelta":
            add(blocks.setdefault(said["contentBlockIndex"], {}), said["delta"])
        elif kind == "messageStop":
            message["stopReason"] = said["stopReason"]
        elif kind == "metadata":
            message["usage"] = said["usage"]
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


def bedrock_message(message):
    choice = {**empty_choice(), "finish": BEDROCK_FINISH[message["stopReason"]]}
    for block in message["output"]["message"]["content"]:
        bedrock_block(choice, block)
    usage = message.get("usage") or {}
    cached, written = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
    return {
        "choices": {0: choice},
        "id": None,
        "model": None,
        "usage": usage and {
            "prompt": usage["inputTokens"] + cached + written,
            "completion": usage["outputTokens"],
            "cached": cached,
            "written": written,
            "thinking": 0,
        },
        "error": None,
    }


def bedrock_block(choice, block):
    choice["text"] += block.get("text", "")
    for citation in block.get("citations", []):
        url = citation.get("location", {}).get("web", {}).get("url")
        choice["sources"] += [url] if url else []
    if "citationsContent" in block:
        cited = block["citationsContent"]
        choice["text"] += "".join(piece.get("text", "") for piece in cited.get("content", []))
        bedrock_block(choice, {"citations": cited.get("citations", [])})
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


SDKS = {
    "openai-chat": openai_chat,
    "anthropic-messages": anthropic_messages,
    "gemini": gemini,
    "bedrock-converse": bedrock_converse,
}
