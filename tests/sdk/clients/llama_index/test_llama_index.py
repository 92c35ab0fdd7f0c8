"""LlamaIndex, by its class for OpenAI-compatible servers."""

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class Profile(BaseModel):
    name: str
    age: int


@pytest.fixture
def chat(base_url, api_key, model):
    return OpenAILike(
        model=model, api_base=base_url, api_key=api_key, is_chat_model=True, is_function_calling_model=True,
        max_retries=0, timeout=30,
    )


def ask(text):
    return [ChatMessage(role="user", content=text)]


def test_text_and_usage(chat):
    answer = chat.chat(ask("What is the capital of France?"))
    assert "Paris" in answer.message.content
    assert answer.raw.usage.total_tokens > 0


def test_stream(chat):
    deltas = [chunk.delta or "" for chunk in chat.stream_chat(ask("Count to 10"))]
    assert "".join(deltas) == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"


def test_tools(chat):
    asked = []

    def get_weather(location: str) -> str:
        """Get the current weather."""
        asked.append(location)
        return "18 degrees"

    answer = chat.predict_and_call([FunctionTool.from_defaults(get_weather)], user_msg="What's the weather in Rome?")
    assert asked == ["Rome"]
    assert "18 degrees" in str(answer)


def test_structured_output(chat):
    answer = chat.as_structured_llm(Profile).chat(ask("Generate a user profile"))
    assert isinstance(answer.raw, Profile)


@pytest.mark.parametrize("embedder", ["openai/text-embedding-3-small", "cohere/embed-v4.0", "voyage/voyage-4"])
def test_embeddings(base_url, api_key, embedder):
    embeddings = OpenAILikeEmbedding(model_name=embedder, api_base=base_url, api_key=api_key, max_retries=0)
    texts = ["The capital of France is Paris.", "Invoices are paid within thirty days."]
    vectors = embeddings.get_text_embedding_batch(texts)
    asked = embeddings.get_query_embedding("capital of France")
    likeness = [sum(left * right for left, right in zip(asked, vector)) for vector in vectors]
    assert likeness[0] > likeness[1]
