"""litellm as a client of an OpenAI-compatible server."""

import json

import litellm
import pytest

litellm.telemetry = False

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather",
        "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
    },
}


@pytest.fixture
def ask(base_url, api_key, model):
    def ask(text, **further):
        messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
        return litellm.completion(
            model=f"openai/{model}", api_base=base_url, api_key=api_key, messages=messages, num_retries=0, **further
        )

    return ask


def test_text_and_usage(ask):
    answer = ask("What is the capital of France?")
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_stream(ask):
    chunks = list(ask("Count to 10", stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
    assert any(getattr(chunk, "usage", None) for chunk in chunks)


def test_tools(ask):
    messages = [{"role": "user", "content": "What's the weather in Rome?"}]
    asked = ask(messages, tools=[WEATHER_TOOL]).choices[0].message
    [call] = asked.tool_calls
    assert json.loads(call.function.arguments) == {"location": "Rome"}
    messages += [asked.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    assert "18 degrees" in ask(messages, tools=[WEATHER_TOOL]).choices[0].message.content


def test_structured_output(ask):
    answer = ask("Generate a user profile as JSON", response_format={"type": "json_object"})
    assert isinstance(json.loads(answer.choices[0].message.content), dict)
