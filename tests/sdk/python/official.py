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
from openai.types import CompletionUsage

from gateway_reader import arguments, logprob, source


def answer(given):
    TRANSPORT.given = given
    return SDKS[given.protocol](given)


def empty_choice():
    return {
        "text": "", "refusal": "", "thinking": "", "proofs": [], "calls": [], "images": [], "sources": [],
        "logprobs": [], "finish": None,
    }


def complete(choices, **more):
    """An answer of which the SDK may not know everything."""
    return {
        "choices": choices, "id": None, "model": None, "created": None, "tier": None, "fingerprint": None,
        "usage": None, "error": None, **more,
    }


def counted(**counts):
    nothing = {
        "prompt": 0, "completion": 0, "cached": 0, "written": 0, "written for an hour": 0, "thinking": 0,
        "heard": 0, "spoken": 0, "drawn": 0,
    }
    return {**nothing, **counts}


# The SDK hands over an answer of which the provider says that it is broken.
NO_WORDS = "broken"


def failed(message):
    return complete({}, error=message)


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
            return openai_stream(list(OPENAI.chat.completions.create(**arguments, stream=True)))
        return openai_completion(OPENAI.chat.completions.create(**arguments))
    except openai.APIError as error:
        body = error.body if isinstance(error.body, dict) else {}
        return failed(body.get("message") or body.get("detail") or error.message)


def openai_stream(chunks):
    """By the SDK's accumulator, except for what it cannot take: a delta of null, content in parts (it keeps the last of
    them), list items without an index."""
    contents = [choice.delta.content for chunk in chunks for choice in chunk.choices or [] if choice.delta]
    if all(content is None or isinstance(content, str) for content in contents):
        try:
            said = openai_completion(accumulated(chunks))
        except (AttributeError, RuntimeError, TypeError):
            said = openai_chunks(chunks)
    else:
        said = openai_chunks(chunks)
    # The accumulator keeps what the first chunk says, which at Azure and Copilot is nothing, and of the counts what
    # the last chunk says, which may be nothing again. Groq once reported them apart.
    said["id"] = next((chunk.id for chunk in chunks if chunk.id), None)
    said["model"] = next((chunk.model for chunk in chunks if chunk.model), None)
    said["created"] = next(filter(None, map(openai_created, chunks)), None)
    for chunk in chunks:
        said["tier"] = chunk.service_tier or said["tier"]
        said["fingerprint"] = chunk.system_fingerprint or said["fingerprint"]
        groq = (chunk.model_extra or {}).get("x_groq") or {}
        if chunk.usage:
            said["usage"] = openai_usage(chunk.usage)
        elif groq.get("usage"):
            said["usage"] = openai_usage(CompletionUsage.construct(**groq["usage"]))
    return said


def accumulated(chunks):
    state = ChatCompletionStreamState()
    for chunk in chunks:
        try:
            state.handle_chunk(chunk)
        except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
            # The chunk has been taken; the SDK only will not make events of an answer that was cut.
            pass
    return state.current_completion_snapshot


def openai_chunks(chunks):
    """The SDK's chunks, put together here."""
    choices = {}
    for chunk in chunks:
        for choice in chunk.choices or []:
            openai_delta(choices.setdefault(choice.index, empty_choice()), choice)
    for choice in choices.values():
        for call in choice["calls"]:
            call["arguments"] = arguments(call["arguments"])
    return complete(choices)


def openai_delta(said, choice):
    said["finish"] = openai_finish(choice.finish_reason) if choice.finish_reason else said["finish"]
    if choice.delta is None:
        return
    more = openai_message(choice.delta)
    for name in ("text", "refusal", "thinking", "proofs", "sources", "images"):
        said[name] += more[name]
    for position, call in enumerate(choice.delta.tool_calls or []):
        index = position if call.index is None else call.index
        if index == len(said["calls"]):
            said["calls"].append({"id": call.id, "name": call.function.name, "arguments": "", "proof": None})
        said["calls"][index]["arguments"] += call.function.arguments or ""


def openai_completion(completion):
    extra = completion.model_extra or {}
    if not completion.choices and extra.get("error"):
        # An error that came with a good status: the SDK does not look for one.
        return failed(extra["error"]["message"])
    choices = {choice.index: openai_choice(choice) for choice in completion.choices}
    for choice in choices.values():
        choice["sources"] = choice["sources"] or top_level_sources(extra)
    return complete(
        choices,
        id=completion.id or None,
        model=completion.model or None,
        created=openai_created(completion),
        tier=getattr(completion, "service_tier", None),
        fingerprint=getattr(completion, "system_fingerprint", None),
        usage=completion.usage and openai_usage(completion.usage),
    )


def openai_created(completion):
    """Some servers write a fraction, some 0."""
    return int(completion.created or 0) or None


def top_level_sources(extra):
    """Perplexity lists its sources beside the choices."""
    results = [result["url"] for result in extra.get("search_results") or []]
    return [[url, ""] for url in results or extra.get("citations") or []]


def openai_choice(choice):
    message = choice.message
    calls = [openai_call(call) for call in message.tool_calls or []] + legacy_call(message) if message else []
    return {
        **openai_message(message),
        "calls": calls,
        "logprobs": [
            logprob(token.to_dict()) for token in (choice.logprobs and choice.logprobs.content) or []
        ],
        "finish": openai_finish(choice.finish_reason),
    }


def openai_message(message):
    """What a message and a delta have in common. Azure leaves out the message that it withheld."""
    if message is None:
        return empty_choice()
    extra = message.model_extra or {}
    text, thinking = openai_content(message.content)
    details = extra.get("reasoning_details") or []
    detailed = "".join(detail.get("text") or detail.get("summary") or "" for detail in details)
    return {
        **empty_choice(),
        "text": text,
        "refusal": message.refusal or "",
        "thinking": extra.get("reasoning_content") or extra.get("reasoning") or thinking or detailed,
        "proofs": [
            detail[name] for detail in details for name in ("signature", "data") if detail.get(name) is not None
        ],
        "images": [
            tuple(image["image_url"]["url"].removeprefix("data:").split(";base64,"))
            for image in extra.get("images") or []
        ],
        "sources": [source(note, text) for note in annotations(message)],
    }


def annotations(message):
    notes = getattr(message, "annotations", None) or (message.model_extra or {}).get("annotations") or []
    return [note if isinstance(note, dict) else note.to_dict() for note in notes]


def openai_content(content):
    """Mistral writes content in parts, thinking among them."""
    if not isinstance(content, list):
        return content or "", ""
    texts = [part["text"] for part in content if part["type"] == "text"]
    thoughts = [piece for part in content if part["type"] == "thinking" for piece in part["thinking"]]
    return "".join(texts), "".join(piece["text"] for piece in thoughts if piece["type"] == "text")


def openai_call(call):
    if call.type == "custom":
        return {"id": call.id, "name": call.custom.name, "arguments": call.custom.input, "proof": None}
    google = ((call.model_extra or {}).get("extra_content") or {}).get("google") or {}
    return {
        "id": call.id,
        "name": call.function.name,
        "arguments": arguments(call.function.arguments),
        "proof": google.get("thought_signature"),
    }


def legacy_call(message):
    """The way of calling that came before tool calls."""
    call = message.function_call
    if not call or not call.name:
        return []
    return [{"id": "", "name": call.name, "arguments": arguments(call.arguments), "proof": None}]


# Words of servers behind this format. Any other word, and none, ends a complete answer.
OPENAI_FINISH = {
    "length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def openai_finish(word):
    return OPENAI_FINISH.get(word, "stop")


def openai_usage(usage):
    """Prompt and cache hits stand apart only where the hits would not fit into the prompt."""
    extra = usage.model_extra or {}
    inputs = to_dict(usage.prompt_tokens_details) or extra.get("prompt_token_details") or {}
    outputs = to_dict(usage.completion_tokens_details) or {}
    cached = (
        inputs.get("cached_tokens")
        or extra.get("prompt_cache_hit_tokens")
        or extra.get("num_cached_tokens")
        or extra.get("cached_tokens")
        or 0
    )
    return counted(
        prompt=usage.prompt_tokens,
        completion=usage.completion_tokens,
        cached=cached,
        written=inputs.get("cache_write_tokens") or 0,
        thinking=outputs.get("reasoning_tokens") or extra.get("reasoning_tokens") or 0,
        heard=inputs.get("audio_tokens") or 0,
        spoken=outputs.get("audio_tokens") or 0,
        drawn=outputs.get("image_tokens") or 0,
        total=usage.total_tokens,
    )


def to_dict(value):
    return value if value is None or isinstance(value, dict) else value.to_dict()


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


# In OpenAI's words; other tiers have none there.
ANTHROPIC_TIER = {"standard": "default", "priority": "priority"}


def anthropic_url(citation):
    """Of citations, only those of pages have a form for callers."""
    url = getattr(citation, "url", None) or getattr(citation, "source", None)
    return url if url and url.startswith(("http://", "https://")) else None


def anthropic_message(message):
    choice = {**empty_choice(), "finish": ANTHROPIC_FINISH[message.stop_reason]}
    for block in message.content:
        if block.type == "text":
            choice["text"] += block.text
            choice["sources"] += [[url, block.text] for url in map(anthropic_url, block.citations or []) if url]
        elif block.type == "thinking":
            choice["thinking"] += block.thinking
            choice["proofs"] += [block.signature] if block.signature else []
        elif block.type == "redacted_thinking":
            choice["proofs"].append(block.data)
        elif block.type == "tool_use":
            call = {"id": block.id, "name": block.name, "arguments": block.input, "proof": None}
            choice["calls"].append(call)
    details = message.stop_details
    choice["refusal"] = (details and details.explanation) or ""
    return complete(
        {0: choice},
        id=message.id,
        model=message.model,
        tier=ANTHROPIC_TIER.get(message.usage.service_tier),
        usage=anthropic_usage(message.usage),
    )


def anthropic_usage(usage):
    """Compactions are billed beside what the answer itself took."""
    told = usage.to_dict()
    compactions = [turn for turn in told.get("iterations") or [] if turn["type"] == "compaction"]

    def count(name):
        return sum(turn.get(name) or 0 for turn in [told, *compactions])

    cached, written = count("cache_read_input_tokens"), count("cache_creation_input_tokens")
    return counted(
        prompt=count("input_tokens") + cached + written,
        completion=count("output_tokens"),
        cached=cached,
        written=written,
        thinking=(told.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
        **{"written for an hour": (told.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0},
    )


# ---------------------------------------------------------------------------------------------- google-genai


GOOGLE = {"http_options": genai.types.HttpOptions(base_url="http://provider", httpx_client=TRANSPORT.client)}
GEMINI = genai.Client(api_key="none", **GOOGLE)
VERTEX = genai.Client(vertexai=True, api_key="none", **GOOGLE)


def gemini(given):
    """The SDK reads the answers of Vertex a little differently from those of AI Studio."""
    client = VERTEX if given.provider == "vertex-gemini" else GEMINI
    arguments = {"model": "model", "contents": "?"}
    try:
        if given.stream:
            return gemini_answer(list(client.models.generate_content_stream(**arguments)))
        return gemini_answer([client.models.generate_content(**arguments)])
    except genai.errors.APIError as error:
        return failed(error.message)


# A call makes `stop` into `tool_calls`.
GEMINI_FINISH = {
    **dict.fromkeys(["STOP", "OTHER", "IMAGE_OTHER", "NO_IMAGE"], "stop"),
    **dict.fromkeys(["MAX_TOKENS", "CONTINUATION"], "length"),
    **dict.fromkeys(["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"], "content_filter"),
    **dict.fromkeys(["IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"], "content_filter"),
    **dict.fromkeys(["MODEL_ARMOR", "ESCALATION", "PUP_LIMITED_DISABLED"], "content_filter"),
    # The model went wrong after it had said something.
    **dict.fromkeys(["MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL"], "stop"),
    **dict.fromkeys(["TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE"], "stop"),
}


def gemini_answer(pieces):
    choices, usage, grounding = {}, None, {}
    for piece in pieces:
        for candidate in piece.candidates or []:
            gemini_candidate(choices.setdefault(candidate.index or 0, empty_choice()), candidate)
            gemini_grounding(grounding.setdefault(candidate.index or 0, {}), candidate)
        usage = piece.usage_metadata or usage
    for index, found in grounding.items():
        choices[index]["sources"] = gemini_sources(found, choices[index]["text"])
    feedback = pieces[0].prompt_feedback
    if not choices and feedback and feedback.block_reason:
        choices[0] = {**empty_choice(), "finish": "content_filter"}
    return complete(
        choices,
        id=pieces[0].response_id,
        model=pieces[0].model_version,
        usage=usage and gemini_usage(usage),
    )


def gemini_candidate(choice, candidate):
    for part in (candidate.content and candidate.content.parts) or []:
        gemini_part(choice, part)
    if candidate.logprobs_result:
        choice["logprobs"] += gemini_logprobs(candidate.logprobs_result)
    if candidate.finish_reason:
        choice["finish"] = GEMINI_FINISH[candidate.finish_reason.value]


def gemini_logprobs(result):
    def pair(token):
        return [token.token, token.log_probability]

    chosen, others = result.chosen_candidates or [], result.top_candidates or []
    alternatives = [[pair(token) for token in other.candidates or []] for other in others]
    alternatives += [[]] * (len(chosen) - len(others))
    return [[*pair(token), other] for token, other in zip(chosen, alternatives)]


def gemini_grounding(found, candidate):
    """Later pieces of a stream replace earlier ones."""
    grounding, quoted = candidate.grounding_metadata, candidate.citation_metadata
    if grounding:
        found["chunks"] = grounding.grounding_chunks or found.get("chunks")
        found["supports"] = grounding.grounding_supports or found.get("supports")
    if quoted:
        found["quoted"] = quoted.citations or found.get("quoted")


def gemini_sources(found, text):
    """For each supported piece of text its sources; the sources that support none stand for everything."""
    chunks, sources, used = found.get("chunks") or [], [], set()
    urls = [gemini_url(chunk) for chunk in chunks]
    for support in found.get("supports") or []:
        for index in support.grounding_chunk_indices or []:
            if index < len(urls) and urls[index]:
                used.add(index)
                cited = support.segment.text
                sources.append([urls[index], cited if cited is not None and cited in text else text])
    sources += [[url, text] for index, url in enumerate(urls) if url and index not in used]
    for citation in found.get("quoted") or []:
        if citation.uri:
            quoted = text.encode()[citation.start_index or 0 : citation.end_index or 0]
            sources.append([citation.uri, quoted.decode()])
    return sources


def gemini_url(chunk):
    place = chunk.web or chunk.retrieved_context or chunk.maps
    return place and place.uri


def gemini_part(choice, part):
    """Proofs of parts that have no form for callers (the provider's own tools, pictures) cannot come back."""
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
    if proof and (part.text is not None or part.thought):
        choice["proofs"].append(proof)


def fenced(language, code):
    end = "" if code.endswith("\n") else "\n"
    return f"\n```{language}\n{code}{end}```\n"


def gemini_usage(usage):
    thinking = usage.thoughts_token_count or 0

    def of(details, kind):
        return sum(count.token_count or 0 for count in details or [] if count.modality.value == kind)

    return counted(
        prompt=(usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
        completion=(usage.candidates_token_count or 0) + thinking,
        cached=usage.cached_content_token_count or 0,
        thinking=thinking,
        heard=of(usage.prompt_tokens_details, "AUDIO") - of(usage.cache_tokens_details, "AUDIO"),
        spoken=of(usage.candidates_tokens_details, "AUDIO"),
        drawn=of(usage.candidates_tokens_details, "IMAGE"),
    )


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
    "malformed_model_output": None,
    "malformed_tool_use": None,
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


def bedrock_message(message):
    choice = {**empty_choice(), "finish": BEDROCK_FINISH[message["stopReason"]]}
    if choice["finish"] is None:
        return failed(NO_WORDS)
    for block in message["output"]["message"]["content"]:
        bedrock_block(choice, block)
    return complete(
        {0: choice},
        tier=message.get("serviceTier", {}).get("type"),
        usage=bedrock_usage(message["usage"]) if "usage" in message else None,
    )


def bedrock_usage(usage):
    cached, written = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
    hour = [detail["inputTokens"] for detail in usage.get("cacheDetails", []) if detail["ttl"] == "1h"]
    return counted(
        prompt=usage["inputTokens"] + cached + written,
        completion=usage["outputTokens"],
        cached=cached,
        written=written,
        **{"written for an hour": sum(hour)},
    )


def bedrock_block(choice, block):
    choice["text"] += block.get("text", "")
    for citation in block.get("citations", []):
        url = citation.get("location", {}).get("web", {}).get("url")
        choice["sources"] += [[url, ""]] if url else []
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
