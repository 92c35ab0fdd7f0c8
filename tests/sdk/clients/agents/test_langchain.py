"""langchain-openai."""

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel


class Profile(BaseModel):
    name: str
    age: int


@tool
def get_weather(location: str) -> str:
    """Get the current weather."""
    return "18 degrees"


@pytest.fixture
def chat(base_url, api_key, model):
    return ChatOpenAI(model=model, base_url=base_url, api_key=api_key, max_retries=0, timeout=30)


def test_text_and_usage(chat):
    answer = chat.invoke("What is the capital of France?")
    assert "Paris" in answer.content
    assert answer.usage_metadata["total_tokens"] > 0


def test_stream(chat):
    chunks = list(chat.stream("Count to 10", stream_usage=True))
    assert "".join(chunk.content for chunk in chunks) == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
    assert sum(chunk.usage_metadata["total_tokens"] for chunk in chunks if chunk.usage_metadata) > 0


def test_tools(chat):
    bound = chat.bind_tools([get_weather])
    messages = [HumanMessage("What's the weather in Rome?")]
    asked = bound.invoke(messages)
    [call] = asked.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"location": "Rome"})
    messages += [asked, ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])]
    assert "18 degrees" in bound.invoke(messages).content


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_structured_output(chat, method):
    if method == "json_mode":
        answer = chat.with_structured_output(None, method=method).invoke("Generate a user profile as JSON")
        assert isinstance(answer, dict)
    else:
        answer = chat.with_structured_output(Profile, method=method).invoke("Generate a user profile")
        assert isinstance(answer, Profile)


@pytest.mark.parametrize("embedder", ["openai/text-embedding-3-small", "cohere/embed-v4.0", "voyage/voyage-4"])
def test_embeddings(base_url, api_key, embedder):
    # With the check the client would load a vocabulary from the network, and send token numbers.
    embeddings = OpenAIEmbeddings(
        model=embedder, base_url=base_url, api_key=api_key, max_retries=0, check_embedding_ctx_length=False,
    )
    texts = ["The capital of France is Paris.", "Invoices are paid within thirty days."]
    vectors = embeddings.embed_documents(texts)
    asked = embeddings.embed_query("capital of France")
    likeness = [sum(left * right for left, right in zip(asked, vector)) for vector in vectors]
    assert likeness[0] > likeness[1]
