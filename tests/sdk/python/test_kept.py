"""Files, batches and message batches by the clients of OpenAI and Anthropic."""

import io
import json

import pytest
from anthropic import Anthropic, NotFoundError as AnthropicNotFound
from openai import BadRequestError, NotFoundError

PROVIDERS = ["openai", "azure", "groq"]
MODEL = "gpt-5.4-mini"


def requests(*texts):
    def line(index, text):
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
        return json.dumps({"custom_id": f"c{index}", "method": "POST", "url": "/v1/chat/completions", "body": body})

    return "\n".join(line(index, text) for index, text in enumerate(texts)).encode()


def upload(client, provider, content, purpose="batch", name="work.jsonl"):
    return client.files.create(file=(name, io.BytesIO(content)), purpose=purpose, extra_query={"provider": provider})


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_file_is_uploaded_read_and_deleted(client, provider):
    content = bytes(range(256)) * 300
    file = upload(client, provider, content, "user_data", "bytes.bin")
    assert (file.filename, file.bytes, file.purpose) == ("bytes.bin", len(content), "user_data")
    again = client.files.retrieve(file.id)
    assert (again.id, again.filename) == (file.id, "bytes.bin")
    answer = client.files.content(file.id)
    assert answer.read() == content
    assert answer.response.headers["content-disposition"] == 'attachment; filename="bytes.bin"'
    assert file.id in [entry.id for entry in client.files.list(extra_query={"provider": provider})]
    assert client.files.delete(file.id).deleted
    with pytest.raises(NotFoundError):
        client.files.retrieve(file.id)


@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_a_file_comes_in_parts(client, provider):
    content = bytes(range(256)) * 1000
    there = client.with_options(default_headers={"x-llmgateway-provider": provider})
    upload = there.uploads.upload_file_chunked(
        file=content, filename="parts.bin", bytes=len(content), mime_type="application/octet-stream",
        purpose="user_data", part_size=100_000,
    )  # fmt: skip
    assert (upload.status, upload.file.filename, upload.file.bytes) == ("completed", "parts.bin", len(content))
    assert client.files.content(upload.file.id).read() == content
    with pytest.raises(NotFoundError):
        client.uploads.complete("upload_x", part_ids=[])


def test_lists_come_page_by_page(client):
    mine = [upload(client, "openai", b"x", "user_data", f"{index}.txt").id for index in range(5)]
    pages = client.files.list(limit=2, purpose="user_data", extra_query={"provider": "openai"})
    assert [file.id for file in pages][:5] == mine[::-1]
    for file_id in mine:
        client.files.delete(file_id)


def test_a_refusal_has_the_providers_own_text(client):
    with pytest.raises(BadRequestError, match="purpose"):
        upload(client, "openai", b"x", "nonsense")
    with pytest.raises(NotFoundError):
        client.files.retrieve("file-made-up")
    with pytest.raises(BadRequestError, match="deepseek"):
        upload(client, "deepseek", b"x")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_batch_from_its_file_to_its_output(client, provider):
    file = upload(client, provider, requests("the capital of France?", "count to 3"))
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"team": "a"}
    )
    assert (batch.status, batch.input_file_id is not None, batch.metadata) == ("validating", True, {"team": "a"})
    assert client.batches.retrieve(batch.id).status == "in_progress"
    done = client.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.completed, done.metadata) == ("completed", 2, {"team": "a"})
    assert batch.id in [entry.id for entry in client.batches.list(extra_query={"provider": provider})]
    output = [json.loads(line) for line in client.files.content(done.output_file_id).text.splitlines()]
    assert [line["custom_id"] for line in output] == ["c0", "c1"]
    texts = [line["response"]["body"]["choices"][0]["message"]["content"] for line in output]
    assert "Paris" in texts[0] and "3" in texts[1]
    # The ids in a batch can be used unchanged.
    assert client.files.retrieve(done.input_file_id).bytes == file.bytes
    with pytest.raises(BadRequestError, match="completed"):
        client.batches.cancel(batch.id)


def test_a_batch_is_cancelled(client):
    file = upload(client, "openai", requests("hello"))
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert client.batches.cancel(batch.id).status == "cancelling"
    assert client.batches.retrieve(batch.id).status == "cancelled"


def test_a_batch_with_mistakes_names_the_lines(client):
    good = requests("hello")
    file = upload(client, "openai", good + b"\n{broken")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    failed = client.batches.retrieve(batch.id)
    assert (failed.status, failed.errors.data[0].line) == ("failed", 2)


@pytest.fixture(scope="module")
def claude(gateway_url, gateway_key):
    return Anthropic(base_url=gateway_url, api_key=gateway_key, max_retries=0, timeout=30)


def message(custom_id, text, **more):
    params = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": text}]} | more
    return {"custom_id": custom_id, "params": params}


def test_message_batches(claude):
    batch = claude.messages.batches.create(
        requests=[message("a", "the capital of France?"), message("b", "hello", messages=[])]
    )
    assert (batch.processing_status, batch.request_counts.processing) == ("in_progress", 2)
    while batch.processing_status != "ended":
        batch = claude.messages.batches.retrieve(batch.id)
    assert (batch.request_counts.succeeded, batch.request_counts.errored) == (1, 1)
    results = {entry.custom_id: entry.result for entry in claude.messages.batches.results(batch.id)}
    assert "Paris" in results["a"].message.content[0].text
    assert results["b"].type == "errored"
    assert claude.messages.batches.delete(batch.id).type == "message_batch_deleted"
    with pytest.raises(AnthropicNotFound):
        claude.messages.batches.retrieve(batch.id)


def test_a_message_batch_is_cancelled(claude):
    batch = claude.messages.batches.create(requests=[message("a", "hello")])
    assert claude.messages.batches.cancel(batch.id).processing_status == "canceling"
    assert claude.messages.batches.retrieve(batch.id).request_counts.canceled == 1
    assert [entry.result.type for entry in claude.messages.batches.results(batch.id)] == ["canceled"]
