"""pydantic-ai with its Anthropic and Google models: the Messages and the Gemini API, over providers of every format."""

import asyncio
import base64

import pytest
from anthropic import AsyncAnthropic
from google.genai import Client
from google.genai.types import HttpOptions
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, ModelHTTPError, NativeOutput, ThinkingPart
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider


class Profile(BaseModel):
    name: str
    age: int


@pytest.fixture(params=["anthropic", "google"])
def make(request, gateway_url, api_key):
    """A model of one of the two classes."""

    def anthropic(model, thinks=False):
        client = AsyncAnthropic(base_url=gateway_url, api_key=api_key, max_retries=0)
        settings = {"max_tokens": 4000}
        if thinks:
            settings["anthropic_thinking"] = {"type": "enabled", "budget_tokens": 2000}
        # By default it uses no schemas with a model whose name it does not know.
        profile = {"supports_json_schema_output": True}
        provider = AnthropicProvider(anthropic_client=client)
        return AnthropicModel(model, provider=provider, settings=settings, profile=profile)

    def google(model, thinks=False):
        client = Client(api_key=api_key, http_options=HttpOptions(base_url=gateway_url), vertexai=False)
        thinking = {"include_thoughts": True, "thinking_level": "LOW"}
        settings = {"google_thinking_config": thinking} if thinks else {}
        return GoogleModel(model, provider=GoogleProvider(client=client), settings=settings)

    return {"anthropic": anthropic, "google": google}[request.param]


@pytest.fixture
def chat(make, model):
    return make(model)


def test_text_and_usage(chat):
    result = Agent(chat).run_sync("What is the capital of France?")
    assert "Paris" in result.output
    assert result.usage.input_tokens > 0 and result.usage.output_tokens > 0


def test_stream(chat):
    async def stream():
        async with Agent(chat).run_stream("Count to 10") as result:
            return [piece async for piece in result.stream_text(delta=True)]

    assert "".join(asyncio.run(stream())) == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"


def weather_agent(chat):
    agent = Agent(chat)

    @agent.tool_plain
    def get_weather(location: str) -> str:
        """Get the current weather."""
        return f"18 degrees in {location}"

    return agent


def test_tools(chat):
    assert "18 degrees in Rome" in weather_agent(chat).run_sync("What's the weather in Rome?").output


def test_thinking_through_a_tool_loop(make, thinker):
    result = weather_agent(make(thinker, thinks=True)).run_sync("What's the weather in Rome?")
    assert "18 degrees in Rome" in result.output
    parts = [part for message in result.all_messages() for part in message.parts]
    # OpenAI shows no thinking unless it is asked for a summary.
    assert thinker.startswith("openai/") or any(isinstance(part, ThinkingPart) for part in parts)


def test_another_model_continues_after_thinking(make):
    """The history of one model, with its proofs, continues at another model."""
    first = make("anthropic/claude-sonnet-4-5", thinks=True)
    second = make("google-ai-studio/gemini-3-pro-preview", thinks=True)
    history = None
    for place, model in [("Rome", first), ("Paris", second), ("Oslo", first)]:
        question = f"What's the weather in {place}?"
        result = weather_agent(model).run_sync(question, message_history=history)
        assert f"18 degrees in {place}" in result.output
        history = result.all_messages()


@pytest.mark.parametrize("how", [Profile, NativeOutput(Profile)], ids=["by tool", "by schema"])
def test_structured_output(chat, how):
    assert isinstance(Agent(chat, output_type=how).run_sync("Generate a user profile").output, Profile)


def test_images(chat, png):
    image = BinaryContent(base64.b64decode(png), media_type="image/png")
    assert "1 image" in Agent(chat).run_sync(["What do you see?", image]).output


def test_errors(make):
    with pytest.raises(ModelHTTPError) as refused:
        Agent(make("nobody/x")).run_sync("Hi")
    assert refused.value.status_code == 404
