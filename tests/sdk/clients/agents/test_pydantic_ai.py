"""pydantic-ai: it validates every answer against OpenAI's official types.

Runs with older versions too (`../pydantic_ai_1`, `../pydantic_ai_2`), because people pin them for a long time.
"""

import asyncio

import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class Profile(BaseModel):
    name: str
    age: int


@pytest.fixture
def chat(base_url, api_key, model):
    # Each test has a client of its own: version 1 shares one client, which does not survive the event loop that created it.
    client = AsyncOpenAI(base_url=base_url, api_key=api_key)
    return OpenAIChatModel(model, provider=OpenAIProvider(openai_client=client))


def test_text_and_usage(chat):
    result = Agent(chat).run_sync("What is the capital of France?")
    assert "Paris" in result.output
    usage = result.usage() if callable(result.usage) else result.usage
    assert usage.input_tokens > 0 and usage.output_tokens > 0


def test_stream(chat):
    async def stream():
        async with Agent(chat).run_stream("Count to 10") as result:
            return [piece async for piece in result.stream_text(delta=True)]

    pieces = asyncio.run(stream())
    assert "".join(pieces) == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"


def test_tools(chat):
    agent = Agent(chat)
    asked = []

    @agent.tool_plain
    def get_weather(location: str) -> str:
        """Get the current weather."""
        asked.append(location)
        return "18 degrees"

    result = agent.run_sync("What's the weather in Rome?")
    assert asked == ["Rome"]
    assert "18 degrees" in result.output


@pytest.mark.parametrize("how", [Profile, NativeOutput(Profile)], ids=["by tool", "by schema"])
def test_structured_output(chat, how):
    result = Agent(chat, output_type=how).run_sync("Generate a user profile")
    assert isinstance(result.output, Profile)
