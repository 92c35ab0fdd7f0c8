"""langchain-anthropic and langchain-google-genai: the Messages and the Gemini API, over providers of every format."""

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from pydantic import BaseModel


class Profile(BaseModel):
    name: str
    age: int


@tool
def get_weather(location: str) -> str:
    """Get the current weather."""
    return "18 degrees"


@pytest.fixture(params=["anthropic", "google"])
def make(request, gateway_url, api_key):
    """A chat model of one of the two classes."""

    def anthropic(model, thinks=False, key=api_key):
        thinking = {"thinking": {"type": "enabled", "budget_tokens": 2000}} if thinks else {}
        return ChatAnthropic(
            model=model, base_url=gateway_url, api_key=key, max_retries=0, timeout=30, max_tokens=4000, **thinking
        )

    def google(model, thinks=False, key=api_key):
        thinking = {"thinking_level": "low", "include_thoughts": True} if thinks else {}
        return ChatGoogleGenerativeAI(
            model=model, base_url=gateway_url, google_api_key=key, max_retries=0, timeout=30, vertexai=False, **thinking
        )

    return {"anthropic": anthropic, "google": google}[request.param]


@pytest.fixture
def chat(make, model):
    return make(model)


def test_text_and_usage(chat):
    answer = chat.invoke("What is the capital of France?")
    assert "Paris" in answer.text
    assert answer.usage_metadata["input_tokens"] > 0 and answer.usage_metadata["output_tokens"] > 0


def test_stream(chat):
    chunks = list(chat.stream("Count to 10"))
    assert "".join(chunk.text for chunk in chunks) == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
    assert sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata) > 0


def loop(chat):
    """A tool loop of one call, the call in a stream."""
    bound = chat.bind_tools([get_weather])
    messages = [HumanMessage("What's the weather in Rome?")]
    asked = None
    for chunk in bound.stream(messages):
        asked = chunk if asked is None else asked + chunk
    [call] = asked.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"location": "Rome"})
    messages += [asked, ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"], name=call["name"])]
    assert "18 degrees" in bound.invoke(messages).text
    return asked


def test_tools(chat):
    loop(chat)


def test_thinking_through_a_tool_loop(make, thinker):
    asked = loop(make(thinker, thinks=True))
    # OpenAI shows no thinking unless it is asked for a summary.
    assert thinker.startswith("openai/") or any(block["type"] == "reasoning" for block in asked.content_blocks)


def test_images(chat, png):
    content = [
        {"type": "text", "text": "What do you see?"},
        {"type": "image", "base64": png, "mime_type": "image/png"},
    ]
    assert "1 image" in chat.invoke([HumanMessage(content)]).text


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(chat, method):
    answer = chat.with_structured_output(Profile, method=method).invoke("Generate a user profile")
    assert isinstance(answer, Profile)


def test_errors(make):
    with pytest.raises(Exception, match="nobody"):
        make("nobody/x").invoke("Hi")
    with pytest.raises(Exception, match="401|key"):
        make("openai/gpt-4o", key="sk-nobody").invoke("Hi")
