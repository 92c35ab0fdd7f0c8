"""openai-agents, with chat completions as its model."""

import asyncio

import pytest
from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(True)


class Profile(BaseModel):
    name: str
    age: int


@pytest.fixture
def chat(base_url, api_key, model):
    client = AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0, timeout=30)
    return OpenAIChatCompletionsModel(model=model, openai_client=client)


def test_text_and_usage(chat):
    result = asyncio.run(Runner.run(Agent(name="a", model=chat), "What is the capital of France?"))
    assert "Paris" in result.final_output
    assert result.context_wrapper.usage.total_tokens > 0


def test_stream(chat):
    async def stream():
        result = Runner.run_streamed(Agent(name="a", model=chat), "Count to 10")
        events = [event async for event in result.stream_events()]
        return result.final_output, events

    output, events = asyncio.run(stream())
    assert output == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
    deltas = [event.data.delta for event in events if getattr(getattr(event, "data", None), "type", "") == "response.output_text.delta"]
    assert "".join(deltas) == output


def test_tools(chat):
    asked = []

    @function_tool
    def get_weather(location: str) -> str:
        """Get the current weather."""
        asked.append(location)
        return "18 degrees"

    result = asyncio.run(Runner.run(Agent(name="a", model=chat, tools=[get_weather]), "What's the weather in Rome?"))
    assert asked == ["Rome"]
    assert "18 degrees" in result.final_output


def test_structured_output(chat):
    result = asyncio.run(Runner.run(Agent(name="a", model=chat, output_type=Profile), "Generate a user profile"))
    assert isinstance(result.final_output, Profile)
