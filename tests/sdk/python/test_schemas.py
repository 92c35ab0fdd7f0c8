"""What callers of each API get, checked against the types of that API's official SDK: every recorded answer and each of our own
making, whole and streamed, in each dialect that is not its provider's own (there the provider's answer is relayed). No field may
be missing, have another type, or be unknown to the SDK, except for the fields listed here.
"""

import json

import pydantic
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from google.genai.types import GenerateContentResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent

import handmade
import recordings

# Per dialect: the type of a whole answer and that of an event.
TYPES = {
    "openai-chat": (ChatCompletion, ChatCompletionChunk),
    "anthropic-messages": (Message, RawMessageStreamEvent),
    "openai-responses": (Response, ResponseStreamEvent),
    "gemini": (GenerateContentResponse, GenerateContentResponse),
}
ADAPTERS = {name: [pydantic.TypeAdapter(kind) for kind in kinds] for name, kinds in TYPES.items()}

# Fields that these SDKs do not know. Those that the APIs themselves send are marked.
ADDED = {
    "openai-chat": {
        "metadata",
        "usage.cost_usd_cached_input",
        "usage.cost_usd_input",
        "usage.cost_usd_output",
        "usage.cost_usd_total",
        "usage.reasoning_tokens",
        "usage.completion_tokens_details.image_tokens",  # OpenAI
        "choices.delta.annotations",  # OpenAI
        *(
            f"choices.{message}.{name}"
            for message in ("message", "delta")
            for name in ("reasoning", "reasoning_content", "reasoning_details", "images", "tool_calls.extra_content")
        ),
    },
    # Like in `message_start`, where the SDK has them.
    "anthropic-messages": {"llmgateway", "usage.cache_creation", "usage.service_tier"},
    "openai-responses": {
        "llmgateway",
        "response.llmgateway",
        *(f"{place}store" for place in ("", "response.")),  # OpenAI
        *(f"{place}.status" for place in ("item", "output", "response.output")),  # OpenAI, of a custom tool's call
        "name",  # OpenAI, at the end of a call's arguments
        "logprobs.bytes",
        "logprobs.top_logprobs.bytes",
    },
    "gemini": set(),
}
SHOWN = 6


def problems(reader, answer, caller, streams):
    text, error = reader.rendered(answer, caller, streams)
    if error or not text:
        return []
    whole, event = ADAPTERS[caller]
    if not streams:
        return violations(caller, whole, text)
    data = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    found = [problem for line in data if line != "[DONE]" for problem in violations(caller, event, line)]
    return list(dict.fromkeys(found))


def violations(caller, adapter, text):
    if caller == "gemini":
        # Its types forbid unknown fields.
        known = json.loads(text)
        known.pop("llmgateway", None)
        text = json.dumps(known)
    try:
        value = adapter.validate_json(text, strict=caller != "gemini")
    except pydantic.ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']} ({one['input']!r:.80})" for one in error.errors()]
        return [f"{line} | {text[:300]}" for line in wrong[:3]]
    except AttributeError as error:
        # Google's enumerations fail on numbers.
        return [f"{error} | {text[:300]}"]
    return [f"{name}: not a field of the SDK's" for name in sorted(set(extras(value)) - ADDED[caller])]


def extras(value, path=""):
    """The fields that the SDK does not know, by their paths without indices."""
    if isinstance(value, list):
        for item in value:
            yield from extras(item, path)
    elif isinstance(value, pydantic.BaseModel):
        for name in value.model_extra or {}:
            yield f"{path}{name}"
        for name in type(value).model_fields:
            yield from extras(getattr(value, name), f"{path}{name}.")


def of_all(reader, answers, caller):
    found = {}
    assert answers
    for answer in answers:
        for streams in (False, True):
            for problem in problems(reader, answer, caller, streams):
                found.setdefault(problem, f"{answer.id}, {'stream' if streams else 'whole'}")
    lines = [f"{place}\n    {problem}" for problem, place in found.items()]
    assert not lines, f"{len(lines)} kinds\n" + "\n".join(lines[:SHOWN])


@pytest.mark.parametrize("caller", TYPES)
def test_handmade_answers(reader, caller):
    good = [answer for answer, _ in handmade.ALL if answer.status == 200 and answer.protocol != caller]
    of_all(reader, good, caller)


def foreign():
    groups = recordings.groups() or [pytest.param("", "", "", id="none")]
    pairs = [(*group, caller) for group in recordings.groups() for caller in TYPES if group[1] != caller]
    return pairs or groups


@pytest.mark.parametrize(("provider", "protocol", "caller"), foreign())
def test_recorded_answers(reader, provider, protocol, caller):
    if not provider:
        pytest.skip(recordings.NONE)
    of_all(reader, [answer for answer in recordings.answers(provider, protocol) if answer.status == 200], caller)
