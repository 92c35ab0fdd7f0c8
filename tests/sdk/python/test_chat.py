"""What works with every provider: answers, streams, tools, JSON, images."""

import json

import openai
import pytest
from pydantic import BaseModel

from models import ALL, WITH_JSON_OBJECT, WITH_TOOLS, WITH_VISION, each

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}},
            "required": ["location"],
        },
    },
}

# One pixel.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def user(text):
    return [{"role": "user", "content": text}]


def provider_of(model):
    return model.split("/", 1)[0]


@each(ALL)
def test_answer(client, model):
    answer = client.chat.completions.create(model=model, messages=user("What is the capital of France?"))
    assert answer.object == "chat.completion"
    assert len(answer.choices) == 1
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert "Paris" in choice.message.content
    assert choice.finish_reason == "stop"
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@each(ALL)
def test_metadata_and_cost(client, model):
    answer = client.chat.completions.create(model=model, messages=user("Hi")).model_dump()
    metadata = answer["metadata"]
    assert metadata["requested_model"] in (model, model.split("/", 1)[1])
    assert metadata["requested_provider"] == provider_of(model)
    assert metadata["used_provider"] == provider_of(model)
    assert metadata["underlying_used_model"]
    assert [(entry["status_code"], entry["error_type"]) for entry in metadata["routing"]] == [(200, "")]
    assert "cost_usd_total" in answer["usage"]


@each(ALL)
def test_roles_and_history(client, model):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "First question"},
        {"role": "assistant", "content": "First answer"},
        {"role": "user", "content": "Second question"},
    ]
    answer = client.chat.completions.create(model=model, messages=messages)
    assert "Second question" in answer.choices[0].message.content


@each(ALL)
def test_limit_of_tokens(client, model):
    answer = client.chat.completions.create(model=model, messages=user("Count to 100"), max_tokens=5)
    assert answer.choices[0].finish_reason == "length"


@each(ALL)
def test_stream(client, model):
    chunks = list(client.chat.completions.create(model=model, messages=user("Count to 10"), stream=True))
    assert all(len(chunk.choices) == 1 for chunk in chunks), "without include_usage no chunk is empty"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert [chunk.choices[0].delta.role for chunk in chunks if chunk.choices[0].delta.role] == ["assistant"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({(chunk.id, chunk.model, chunk.created) for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


@each(ALL)
def test_stream_with_usage(client, model):
    chunks = list(
        client.chat.completions.create(
            model=model, messages=user("Count to 10"), stream=True, stream_options={"include_usage": True}
        )
    )
    last = chunks[-1]
    assert last.choices == []
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens > 0
    assert all(chunk.usage is None and chunk.choices for chunk in chunks[:-1])


@each(WITH_TOOLS)
def test_function_calling_round_trip(client, model):
    messages = user("What's the weather in Rome?")
    answer = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER_TOOL])
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert call.id and call.type == "function" and call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"location": "Rome"}
    messages.append(choice.message)
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "18 degrees"})
    answer = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER_TOOL])
    assert answer.choices[0].finish_reason == "stop"
    assert "18 degrees" in answer.choices[0].message.content


@each(WITH_TOOLS)
def test_streamed_function_calls(client, model):
    stream = client.chat.completions.create(
        model=model, messages=user("What's the weather in Paris and Rome?"), tools=[WEATHER_TOOL], stream=True
    )
    calls, finish = {}, None
    for chunk in stream:
        choice = chunk.choices[0]
        finish = choice.finish_reason or finish
        for delta in choice.delta.tool_calls or []:
            call = calls.setdefault(delta.index, {"id": [], "name": [], "arguments": ""})
            call["id"] += [delta.id] if delta.id else []
            call["name"] += [delta.function.name] if delta.function.name else []
            call["arguments"] += delta.function.arguments or ""
    assert finish == "tool_calls"
    assert sorted(calls) == [0, 1]
    assert all(len(call["id"]) == 1 and call["name"] == ["get_weather"] for call in calls.values())
    assert calls[0]["id"] != calls[1]["id"]
    assert [json.loads(calls[index]["arguments"]) for index in (0, 1)] == [{"location": "Paris"}, {"location": "Rome"}]


@each(WITH_JSON_OBJECT)
def test_json_object(client, model):
    answer = client.chat.completions.create(
        model=model,
        messages=user("Generate a user profile as JSON"),
        response_format={"type": "json_object"},
    )
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.tool_calls is None
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


class Profile(BaseModel):
    name: str
    age: int
    languages: list[str]


@each(["openai/gpt-4o", "anthropic/claude-3-5-sonnet-20241022", "google-ai-studio/gemini-2.0-flash-001"])
def test_json_schema(client, model):
    answer = client.chat.completions.parse(
        model=model, messages=user("Generate a user profile as JSON"), response_format=Profile
    )
    assert isinstance(answer.choices[0].message.parsed, Profile)


@each(WITH_VISION)
def test_vision(client, model):
    content = [
        {"type": "text", "text": "What is in this picture?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": content}])
    text = answer.choices[0].message.content
    assert "1 image" in text and "70 bytes" in text


def test_several_choices(client):
    answer = client.chat.completions.create(model="openai/gpt-4o", messages=user("Hi"), n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]


@each(["openai/gpt-4o", "anthropic/claude-3-5-sonnet-20241022", "google-ai-studio/gemini-2.0-flash-001"])
def test_legacy_completion(client, model):
    prompt = "What is the capital of France?"
    answer = client.completions.create(model=model, prompt=prompt, max_tokens=50, echo=True)
    assert answer.object == "text_completion"
    assert answer.choices[0].text.startswith(prompt) and "Paris" in answer.choices[0].text
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.llmgateway["used_provider"] == provider_of(model)
    chunks = list(client.completions.create(model=model, prompt=[prompt], max_tokens=50, stream=True))
    assert "Paris" in "".join(chunk.choices[0].text for chunk in chunks)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]


def test_legacy_completion_is_forwarded_unchanged(client):
    """A provider of text completions gets fields that a chat request lacks."""
    request = {"model": "fireworks/accounts/fireworks/models/llama-v3p3-70b-instruct", "max_tokens": 50}
    several = client.completions.create(prompt=["What is the capital of France?", "Again?"], n=2, **request)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    assert several.usage.total_tokens == several.usage.prompt_tokens + several.usage.completion_tokens
    assert client.completions.create(prompt=[[1, 2], [3]], suffix="end", **request).choices[1].index == 1
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.completions.create(prompt="What is the capital of France?", **options, **request))
    assert "Paris" in "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="openai/gpt-4o", prompt=[1, 2])
    assert refused.value.param == "prompt"


def test_models(client):
    assert len(list(client.models.list())) > 0
