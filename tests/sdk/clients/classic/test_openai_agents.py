"""openai-agents: with Responses, its default, and with chat completions as its model."""

import asyncio

import pytest
from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, SQLiteSession
from agents import function_tool, set_tracing_disabled
from openai import AsyncOpenAI, NotFoundError
from openai.types.shared import Reasoning
from pydantic import BaseModel

set_tracing_disabled(True)


class Profile(BaseModel):
    name: str
    age: int


@pytest.fixture
def client(base_url, api_key):
    return AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0, timeout=30)


@pytest.fixture(params=[OpenAIResponsesModel, OpenAIChatCompletionsModel], ids=["responses", "chat"])
def chat(request, client, model):
    return request.param(model=model, openai_client=client)


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


def test_thinking_through_a_tool_loop(client, thinker):
    @function_tool
    def get_weather(location: str) -> str:
        """Get the current weather."""
        return f"18 degrees in {location}"

    settings = ModelSettings(reasoning=Reasoning(effort="low", summary="auto"))
    model = OpenAIResponsesModel(model=thinker, openai_client=client)
    agent = Agent(name="a", model=model, tools=[get_weather], model_settings=settings)

    async def talk():
        # The session sends the whole history again; without one the agent names the previous response.
        session = SQLiteSession("s")
        first = await Runner.run(agent, "What's the weather in Rome?", session=session)
        second = await Runner.run(agent, "What's the weather in Oslo?", session=session)
        last = second.last_response_id
        third = await Runner.run(agent, "What's the weather in Bonn?", previous_response_id=last)
        return [first.final_output, second.final_output, third.final_output]

    for place, output in zip(["Rome", "Oslo", "Bonn"], asyncio.run(talk())):
        assert f"18 degrees in {place}" in output


def test_images(client, model, png):
    content = [
        {"type": "input_text", "text": "What do you see?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{png}", "detail": "auto"},
    ]
    agent = Agent(name="a", model=OpenAIResponsesModel(model=model, openai_client=client))
    result = asyncio.run(Runner.run(agent, [{"role": "user", "content": content}]))
    assert "1 image" in result.final_output


def test_errors(client):
    agent = Agent(name="a", model=OpenAIResponsesModel(model="nobody/x", openai_client=client))
    with pytest.raises(NotFoundError):
        asyncio.run(Runner.run(agent, "Hi"))
