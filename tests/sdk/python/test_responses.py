"""OpenAI's Responses with its own SDK, over providers of every format."""

import openai
import pydantic
import pytest

from models import ALL, WITH_TOOLS, each

TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}
QUESTION = "What is the capital of France?"
BY_FORMAT = ["openai/gpt-4o", "anthropic/claude-3-5-sonnet-20241022", "google-ai-studio/gemini-2.0-flash-001"]


@each(ALL)
def test_answer(client, model):
    answer = client.responses.create(model=model, input=QUESTION, store=False)
    assert answer.object == "response" and answer.status == "completed"
    assert "Paris" in answer.output_text
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.model_extra["llmgateway"]["used_provider"] == model.split("/", 1)[0]


@each(ALL)
def test_stream_helper(client, model):
    with client.responses.stream(model=model, input=QUESTION, store=False) as stream:
        events = list(stream)
        answer = stream.get_final_response()
    numbers = [event.sequence_number for event in events if hasattr(event, "sequence_number")]
    assert numbers == sorted(numbers)
    assert "Paris" in answer.output_text and answer.usage.output_tokens > 0


@each(WITH_TOOLS)
def test_tool_loop(client, model):
    request = {"model": model, "tools": [TOOL], "store": False}
    asked = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer = client.responses.create(input=asked, **request)
    calls = [item for item in answer.output if item.type == "function_call"]
    assert calls and calls[0].name == "get_weather"
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
    said = [item.model_dump(exclude_none=True) for item in answer.output]
    answer = client.responses.create(input=asked + said + results, **request)
    assert answer.output_text


@each(BY_FORMAT)
def test_parse(client, model):
    class Place(pydantic.BaseModel):
        city: str

    answer = client.responses.parse(model=model, input=QUESTION, text_format=Place, store=False)
    assert isinstance(answer.output_parsed, Place)
    with client.responses.stream(model=model, input=QUESTION, text_format=Place, store=False) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Place)


@each(BY_FORMAT)
def test_count(client, model):
    counted = client.responses.input_tokens.count(model=model, input=QUESTION)
    assert counted.object == "response.input_tokens" and counted.input_tokens > 0


def test_errors(client):
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="openai/", input="hi")
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="openai/gpt-4o", input="hi", background=True)
    assert refused.value.param == "background"
