"""Providers' own APIs (/p/PROVIDER/…) with their own clients, and clients of other providers that use our format."""

import asyncio
import io

import pytest
import voyageai
from anthropic import Anthropic
from google import genai
from google.genai import types
from mistralai.client import Mistral
from openai import OpenAI


@pytest.fixture(scope="module")
def openai(gateway_url, gateway_key):
    return OpenAI(
        base_url=f"{gateway_url}/p/openai/v1",
        websocket_base_url=f"{gateway_url.replace('http', 'ws', 1)}/p/openai/v1",
        api_key=gateway_key,
        max_retries=0,
        timeout=30,
    )


@pytest.fixture(scope="module")
def google(gateway_url, gateway_key):
    options = types.HttpOptions(base_url=f"{gateway_url}/p/google-ai-studio", timeout=30_000)
    return genai.Client(api_key=gateway_key, http_options=options, vertexai=False)


def test_openai_answers_whole_and_streamed(openai):
    asked = {"model": "gpt-5.4-mini", "messages": [{"role": "user", "content": "the capital of France?"}]}
    whole = openai.chat.completions.create(**asked)
    assert "Paris" in whole.choices[0].message.content
    chunks = openai.chat.completions.create(**asked, stream=True)
    assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_openai_takes_a_file_in_parts(openai):
    content = bytes(range(256)) * 1000
    upload = openai.uploads.upload_file_chunked(
        file=content, filename="parts.bin", bytes=len(content), mime_type="application/octet-stream",
        purpose="user_data", part_size=100_000,
    )  # fmt: skip
    assert (upload.status, upload.file.bytes) == ("completed", len(content))
    assert openai.files.content(upload.file.id).read() == content


def test_openai_speaks_over_a_websocket(openai):
    with openai.realtime.connect(model="gpt-realtime") as connection:
        assert next(iter(connection)).type == "session.created"
        connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "the capital of France?"}]}
        )
        connection.response.create()
        said = ""
        for event in connection:
            if event.type == "response.output_text.delta":
                said += event.delta
            if event.type == "response.done":
                assert event.response.usage.total_tokens > 0
                break
    assert "Paris" in said


def test_google_answers_whole_and_streamed(google):
    asked = {"model": "gemini-2.5-flash", "contents": "the capital of France?"}
    assert "Paris" in google.models.generate_content(**asked).text
    assert "Paris" in "".join(chunk.text or "" for chunk in google.models.generate_content_stream(**asked))
    vectors = google.models.embed_content(model="gemini-embedding-001", contents=["one", "two"]).embeddings
    assert len(vectors) == 2


def test_google_keeps_files(gateway_url, gateway_key):
    # The client sends no key to the upload address, which Google accepts without one.
    headers = {"authorization": f"Bearer {gateway_key}"}
    options = types.HttpOptions(base_url=f"{gateway_url}/p/google-ai-studio", client_args={"headers": headers})
    google = genai.Client(api_key=gateway_key, http_options=options, vertexai=False)
    content = bytes(range(256)) * 100
    file = google.files.upload(
        file=io.BytesIO(content), config=types.UploadFileConfig(mime_type="text/plain", display_name="a")
    )
    assert (file.state.name, file.size_bytes, file.mime_type) == ("ACTIVE", len(content), "text/plain")
    assert google.files.get(name=file.name).name == file.name
    google.files.delete(name=file.name)


def test_google_speaks_over_a_websocket(google, gateway_url, monkeypatch):
    async def talk():
        config = types.LiveConnectConfig(response_modalities=["TEXT"])
        async with google.aio.live.connect(model="gemini-3.1-flash-live", config=config) as session:
            turn = types.Content(role="user", parts=[types.Part(text="the capital of France?")])
            await session.send_client_content(turns=turn, turn_complete=True)
            return "".join([message.text or "" async for message in session.receive()])

    # The client supports only wss://.
    address = f"{gateway_url.replace('http', 'ws', 1)}/p/google-ai-studio"
    monkeypatch.setattr(google._api_client, "_websocket_base_url", lambda *_, **__: address)
    monkeypatch.setattr(google._api_client, "_websocket_ssl_ctx", {})
    assert "Paris" in asyncio.run(talk())


def test_anthropic_keeps_files_and_lists_batches(gateway_url, gateway_key):
    claude = Anthropic(base_url=f"{gateway_url}/p/anthropic", api_key=gateway_key, max_retries=0, timeout=30)
    file = claude.beta.files.upload(file=("a.txt", b"hello", "text/plain"))
    assert (file.filename, file.size_bytes, file.mime_type) == ("a.txt", 5, "text/plain")
    assert file.id in [entry.id for entry in claude.beta.files.list()]
    assert claude.beta.files.delete(file.id).type == "file_deleted"
    params = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    batch = claude.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
    assert batch.id in [entry.id for entry in claude.messages.batches.list()]


def test_voyage(gateway_url, gateway_key):
    client = voyageai.Client(api_key=gateway_key, base_url=f"{gateway_url}/v1", max_retries=0)
    texts = ["The capital of France is Paris.", "Invoices are paid within thirty days."]
    answer = client.embed(texts, model="voyage/voyage-4", input_type="document")
    assert (len(answer.embeddings), answer.total_tokens > 0) == (2, True)
    # Its rerank has a form of its own.
    client = voyageai.Client(api_key=gateway_key, base_url=f"{gateway_url}/p/voyage/v1", max_retries=0)
    ranked = client.rerank("the capital of France", texts, model="rerank-2.5", top_k=1)
    assert (ranked.results[0].index, ranked.results[0].document) == (0, texts[0])


def test_mistral(gateway_url, gateway_key):
    client = Mistral(api_key=gateway_key, server_url=gateway_url)
    messages = [{"role": "user", "content": "the capital of France?"}]
    for model in ["mistral/mistral-large-latest", "anthropic/claude-sonnet-4-5"]:
        answer = client.chat.complete(model=model, messages=messages)
        assert "Paris" in answer.choices[0].message.content
        stream = client.chat.stream(model=model, messages=messages)
        assert "Paris" in "".join(event.data.choices[0].delta.content or "" for event in stream if event.data.choices)
    judged = client.classifiers.moderate(model="mistral/mistral-moderation-latest", inputs=["I will kill you"])
    assert judged.results[0].category_scores["violence"] > 0.5
    # The native API: embeddings have an id, and moderations have the provider's own categories.
    client = Mistral(api_key=gateway_key, server_url=f"{gateway_url}/p/mistral")
    assert len(client.embeddings.create(model="mistral-embed", inputs=["one", "two"]).data) == 2
    judged = client.classifiers.moderate(model="mistral-moderation-latest", inputs=["I will kill you"])
    assert judged.results[0].categories["violence_and_threats"]
