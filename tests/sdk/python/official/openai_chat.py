"""Official SDK of OpenAI, for every server that speaks its chat format."""

import openai
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import CompletionUsage

from gateway_reader import arguments, logprob, source
from official.shared import TRANSPORT, complete, counted, empty_choice, failed

OPENAI = openai.OpenAI(
    base_url="http://provider/v1", api_key="none", max_retries=0, http_client=TRANSPORT.client
)


def answer(given):
    request = {"model": "model", "messages": [{"role": "user", "content": "?"}]}
    try:
        if given.stream:
            return read_stream(list(OPENAI.chat.completions.create(**request, stream=True)))
        return read_completion(OPENAI.chat.completions.create(**request))
    except openai.APIError as error:
        body = error.body if isinstance(error.body, dict) else {}
        return failed(body.get("message") or body.get("detail") or error.message)


def read_stream(chunks):
    """With the SDK's accumulator, except for what it cannot handle: a delta of null, content in parts (it keeps the last
        part), list items without an index."""
    contents = [choice.delta.content for chunk in chunks for choice in chunk.choices or [] if choice.delta]
    if all(content is None or isinstance(content, str) for content in contents):
        try:
            said = read_completion(accumulated(chunks))
        except (AttributeError, RuntimeError, TypeError):
            said = read_chunks(chunks)
    else:
        said = read_chunks(chunks)
    # The accumulator keeps the values of the first chunk, which are empty at Azure and Copilot, and the counts of the last
    # chunk, which may be empty again. Groq once reported them separately.
    said["id"] = next((chunk.id for chunk in chunks if chunk.id), None)
    said["model"] = next((chunk.model for chunk in chunks if chunk.model), None)
    said["created"] = next(filter(None, map(read_created, chunks)), None)
    for chunk in chunks:
        said["tier"] = chunk.service_tier or said["tier"]
        said["fingerprint"] = chunk.system_fingerprint or said["fingerprint"]
        groq = (chunk.model_extra or {}).get("x_groq") or {}
        if chunk.usage:
            said["usage"] = read_usage(chunk.usage)
        elif groq.get("usage"):
            said["usage"] = read_usage(CompletionUsage.construct(**groq["usage"]))
    return said


def accumulated(chunks):
    state = ChatCompletionStreamState()
    for chunk in chunks:
        try:
            state.handle_chunk(chunk)
        except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
            # The chunk has been taken. The SDK only refuses to make events of an answer that was cut.
            pass
    return state.current_completion_snapshot


def read_chunks(chunks):
    """The SDK's chunks, put together here."""
    choices = {}
    for chunk in chunks:
        for choice in chunk.choices or []:
            read_delta(choices.setdefault(choice.index, empty_choice()), choice)
    for choice in choices.values():
        for call in choice["calls"]:
            call["arguments"] = arguments(call["arguments"])
    return complete(choices)


def read_delta(said, choice):
    said["finish"] = read_finish(choice.finish_reason) if choice.finish_reason else said["finish"]
    if choice.delta is None:
        return
    more = read_message(choice.delta)
    for name in ("text", "refusal", "thinking", "proofs", "sources", "images"):
        said[name] += more[name]
    for position, call in enumerate(choice.delta.tool_calls or []):
        index = position if call.index is None else call.index
        if index == len(said["calls"]):
            said["calls"].append({"id": call.id, "name": call.function.name, "arguments": "", "proof": None})
        said["calls"][index]["arguments"] += call.function.arguments or ""


def read_completion(completion):
    extra = completion.model_extra or {}
    if not completion.choices and extra.get("error"):
        # An error that came with a good status: the SDK does not look for one.
        return failed(extra["error"]["message"])
    choices = {choice.index: read_choice(choice) for choice in completion.choices}
    for choice in choices.values():
        choice["sources"] = choice["sources"] or top_level_sources(extra)
    return complete(
        choices,
        id=completion.id or None,
        model=completion.model or None,
        created=read_created(completion),
        tier=getattr(completion, "service_tier", None),
        fingerprint=getattr(completion, "system_fingerprint", None),
        usage=completion.usage and read_usage(completion.usage),
    )


def read_created(completion):
    """Some servers send a fraction, some send 0."""
    return int(completion.created or 0) or None


def top_level_sources(extra):
    """Perplexity lists its sources outside of the choices."""
    results = [result["url"] for result in extra.get("search_results") or []]
    return [[url, ""] for url in results or extra.get("citations") or []]


def read_choice(choice):
    message = choice.message
    calls = [read_call(call) for call in message.tool_calls or []] + legacy_call(message) if message else []
    return {
        **read_message(message),
        "calls": calls,
        "logprobs": [
            logprob(token.to_dict()) for token in (choice.logprobs and choice.logprobs.content) or []
        ],
        "finish": read_finish(choice.finish_reason),
    }


def read_message(message):
    """The common part of a message and a delta. Azure omits a message that it withheld."""
    if message is None:
        return empty_choice()
    extra = message.model_extra or {}
    text, thinking = read_content(message.content)
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


def read_content(content):
    """Mistral writes content in parts, thinking among them."""
    if not isinstance(content, list):
        return content or "", ""
    texts = [part["text"] for part in content if part["type"] == "text"]
    thoughts = [piece for part in content if part["type"] == "thinking" for piece in part["thinking"]]
    return "".join(texts), "".join(piece["text"] for piece in thoughts if piece["type"] == "text")


def read_call(call):
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
    """Function calls, which preceded tool calls."""
    call = message.function_call
    if not call or not call.name:
        return []
    return [{"id": "", "name": call.name, "arguments": arguments(call.arguments), "proof": None}]


# Finish reasons of servers with this format. Any other reason, or none, ends a complete answer.
FINISH = {
    "length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def read_finish(word):
    return FINISH.get(word, "stop")


def read_usage(usage):
    """The prompt excludes cache hits only if the hits exceed it."""
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
