"""Embeddings, rerank and moderations with the official clients, and the example of docs/endpoints.md word for word."""

import base64
import pathlib
import re
import struct

import cohere
import pytest
from openai import BadRequestError

MODELS = [
    "openai/text-embedding-3-small",
    "azure/text-embedding-3-small",
    "google-ai-studio/gemini-embedding-001",
    "google-ai-studio/gemini-embedding-2",
    "google-vertex/gemini-embedding-001",
    "google-vertex/gemini-embedding-2",
    "aws-bedrock/amazon.titan-embed-text-v2:0",
    "aws-bedrock/amazon.nova-2-multimodal-embeddings-v1:0",
    "aws-bedrock/cohere.embed-v4:0",
    "cohere/embed-v4.0",
    "mistral/mistral-embed",
    "openrouter/openai/text-embedding-3-small",
    "voyage/voyage-4",
    "my-vllm/some-embedder",
]


@pytest.mark.parametrize("model", MODELS)
def test_vectors_are_the_same_in_both_forms(client, model):
    texts = ["The capital of France is Paris.", "Invoices are paid within thirty days."]
    # Without encoding_format the client asks for base64, and decodes it.
    usual = client.embeddings.create(model=model, input=texts)
    numbers = client.embeddings.create(model=model, input=texts, encoding_format="float")
    coded = client.embeddings.create(model=model, input=texts, encoding_format="base64")
    for index, entry in enumerate(numbers.data):
        assert (entry.index, entry.object) == (index, "embedding")
        as_float32 = list(struct.unpack(f"<{len(entry.embedding)}f", struct.pack(f"<{len(entry.embedding)}f", *entry.embedding)))
        assert as_float32 == pytest.approx(usual.data[index].embedding, abs=0)
        raw = base64.b64decode(coded.data[index].embedding)
        assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == as_float32
    assert numbers.usage.prompt_tokens == numbers.usage.total_tokens > 0
    assert numbers.llmgateway["used_provider"] == model.split("/")[0]


@pytest.mark.parametrize("model", [model for model in MODELS if "titan" in model or "gemini-embedding-001" in model])
def test_dimensions(client, model):
    answer = client.embeddings.create(model=model, input="a", dimensions=512, encoding_format="float")
    assert len(answer.data[0].embedding) == 512
    assert sum(number * number for number in answer.data[0].embedding) == pytest.approx(1, abs=1e-4)


def test_token_numbers(client):
    answer = client.embeddings.create(model="openai/text-embedding-3-small", input=[[1, 2], [3]])
    assert len(answer.data) == 2
    with pytest.raises(BadRequestError, match="token numbers"):
        client.embeddings.create(model="cohere/embed-v4.0", input=[[1, 2], [3]])


def test_a_chat_model_is_refused_with_its_endpoint(client):
    with pytest.raises(BadRequestError, match="/v1/chat/completions"):
        client.embeddings.create(model="openai/gpt-4o", input="a")


def test_cohere_reranks(gateway_url, gateway_key):
    client = cohere.ClientV2(api_key=gateway_key, base_url=gateway_url)
    documents = ["Invoices are paid.", "The capital of France is Paris.", "The office opens at eight."]
    answer = client.rerank(model="cohere/rerank-v3.5", query="capital of France", documents=documents, top_n=2)
    assert [result.index for result in answer.results][0] == 1
    assert len(answer.results) == 2
    assert answer.results[0].relevance_score > answer.results[1].relevance_score
    assert answer.meta.billed_units.search_units == 1


def test_moderations(client):
    answer = client.moderations.create(model="openai/omni-moderation-latest", input=["hello", "I will kill you"])
    assert [result.flagged for result in answer.results] == [False, True]
    assert answer.results[1].categories.violence
    answer = client.moderations.create(model="mistral/mistral-moderation-latest", input="I will kill you")
    assert answer.results[0].flagged
    assert answer.results[0].categories.violence


def test_the_example_of_the_documents(gateway_url, gateway_key, monkeypatch, capsys):
    page = pathlib.Path(__file__).parents[3] / "docs" / "endpoints.md"
    example = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[1]
    monkeypatch.setenv("LLMGATEWAY_URL", gateway_url)
    monkeypatch.setenv("LLMGATEWAY_KEY", gateway_key)
    exec(compile(example, str(page), "exec"), {})  # noqa: S102
    best, answer = capsys.readouterr().out.splitlines()[:2]
    assert best == "The capital of France is Paris."
    assert "Paris" in answer
