"""Anthropic's SDK against the gateway: every provider answers in its format."""

import anthropic
import pydantic
import pytest

from models import ALL, WITH_TOOLS, each

THINKER = "anthropic/claude-sonnet-4-5-20250929"
TOOL = {
    "name": "get_weather",
    "description": "Get the current weather",
    "input_schema": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}


@pytest.fixture(scope="module")
def claude(gateway_url, gateway_key):
    return anthropic.Anthropic(base_url=gateway_url, api_key=gateway_key, max_retries=0, timeout=30)


def asking(model, text="What is the capital of France?", **more):
    return {"model": model, "max_tokens": 300, "messages": [{"role": "user", "content": text}], **more}


@each(ALL)
def test_answer(claude, model):
    answer = claude.messages.create(**asking(model))
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert "Paris" in "".join(block.text for block in answer.content if block.type == "text")
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0
    assert answer.model_extra["llmgateway"]["used_provider"] == model.split("/", 1)[0]
    assert answer._request_id


@each(ALL)
def test_stream_helper(claude, model):
    with claude.messages.stream(**asking(model)) as stream:
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    assert "Paris" in text
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens > 0


@each(WITH_TOOLS)
def test_tool_loop(claude, model):
    request = asking(model, "What is the weather in Paris?", tools=[TOOL])
    answer = claude.messages.create(**request)
    assert answer.stop_reason == "tool_use"
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert calls and calls[0].name == "get_weather" and isinstance(calls[0].input, dict)
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"} for call in calls]
    request["messages"] += [
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]},
        {"role": "user", "content": results},
    ]
    assert claude.messages.create(**request).stop_reason == "end_turn"


@each(WITH_TOOLS)
def test_tool_runner(claude, model):
    """The SDK calls the tool itself, and goes on until the model is done."""
    places = []

    @anthropic.beta_tool
    def get_weather(location: str) -> str:
        """Get the current weather.

        Args:
            location: The city.
        """
        places.append(location)
        return "sunny"

    request = asking(model, "What is the weather in Paris?", tools=[get_weather])
    answer = claude.beta.messages.tool_runner(**request).until_done()
    assert answer.stop_reason == "end_turn" and len(places) > 0


def test_structured_output(claude):
    class Place(pydantic.BaseModel):
        city: str

    for model in [THINKER, "openai/gpt-4o", "google-ai-studio/gemini-2.0-flash-001"]:
        answer = claude.messages.parse(output_format=Place, **asking(model))
        assert isinstance(answer.parsed_output, Place), model


def test_thinking_in_a_stream(claude):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    request = {**asking(THINKER, thinking=thinking), "max_tokens": 4000}
    with claude.messages.stream(**request) as stream:
        answer = stream.get_final_message()
    thoughts = [block for block in answer.content if block.type == "thinking"]
    assert thoughts and thoughts[0].signature


def test_beta(claude):
    answer = claude.beta.messages.create(**asking(THINKER), betas=["context-management-2025-06-27"])
    assert answer.content[0].type == "text"


def test_count_and_models(claude):
    count = claude.messages.count_tokens(model=THINKER, messages=asking(THINKER)["messages"])
    assert count.input_tokens > 0
    page = claude.models.list(limit=3)
    assert len(page.data) == 3 and page.has_more
    assert claude.models.retrieve(page.data[0].id).id == page.data[0].id


def test_errors(claude, gateway_url):
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(**asking("openai/"))
    with pytest.raises(anthropic.BadRequestError) as refused:
        claude.messages.create(model="openai/gpt-4o", max_tokens=5, messages=[])
    assert refused.value.body["error"]["type"] == "invalid_request_error"
    stranger = anthropic.Anthropic(base_url=gateway_url, api_key="wrong", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(**asking("openai/gpt-4o"))
