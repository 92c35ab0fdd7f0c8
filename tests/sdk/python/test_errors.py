"""Errors arrive as the SDK's own exceptions, with the fields that its users read."""

import json
import urllib.error
import urllib.request

import openai
import pytest

from models import each

ONE_TURN = [{"role": "user", "content": "Count to 10"}]


def refused(gateway_url, body, headers):
    """Posts bytes that no SDK would send; returns the status and the error of the refusal."""
    headers = {"content-type": "application/json"} | headers
    request = urllib.request.Request(f"{gateway_url}/v1/chat/completions", body, headers)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    return caught.value.code, json.load(caught.value)["error"]


def test_no_key(gateway_url):
    body = json.dumps({"model": "openai/gpt-4o", "messages": ONE_TURN}).encode()
    status, error = refused(gateway_url, body, {})
    assert status == 401
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
    assert set(error) >= {"message", "type", "param", "code"}


def test_wrong_key(client):
    stranger = client.with_options(api_key="sk-nobody")
    with pytest.raises(openai.AuthenticationError) as caught:
        stranger.chat.completions.create(model="openai/gpt-4o", messages=ONE_TURN)
    assert caught.value.code == "invalid_api_key"


@each(["nobody/gpt-4o", "no-such-model"])
def test_unknown_model(client, model):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model=model, messages=ONE_TURN)
    assert caught.value.code == "model_not_found"


def test_malformed_json(gateway_url, gateway_key):
    status, error = refused(gateway_url, b'{"model": ', {"authorization": f"Bearer {gateway_key}"})
    assert status == 400
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "change, param",
    [
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "pope", "content": "x"}]}, "messages[0].role"),
        ({"stream": "yes"}, "stream"),
    ],
)
@each(["openai/gpt-4o", "anthropic/claude-3-5-sonnet-20241022"])
def test_bad_parameter(client, model, change, param):
    request = {"model": model, "messages": ONE_TURN} | change
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=request, cast_to=object)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == param


@pytest.mark.parametrize("change, param", [({"n": 2}, "n"), ({"logprobs": True}, "logprobs")])
def test_feature_that_the_provider_lacks(client, change, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="anthropic/claude-3-5-sonnet-20241022", messages=ONE_TURN, **change
        )
    assert (caught.value.code, caught.value.param) == ("unsupported_feature", param)


def faulty(fault):
    """The fault at providers of different formats; see the mock for the names."""
    providers = ["openai", "anthropic", "google-ai-studio", "aws-bedrock", "cohere", "groq"]
    return each([f"{provider}/{fault}" for provider in providers])


NO_FALLBACK = {"x-no-fallback": "true"}


@faulty("fault-429")
def test_rate_limit_of_the_provider(client, model):
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model=model, messages=ONE_TURN, extra_headers=NO_FALLBACK)
    assert int(caught.value.response.headers["retry-after"]) > 0


@faulty("fault-500")
def test_failure_of_the_provider(client, model):
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=model, messages=ONE_TURN, extra_headers=NO_FALLBACK)
    routing = caught.value.response.json()["metadata"]["routing"]
    assert routing and all(entry["error_type"] for entry in routing)


@faulty("fault-garbage")
def test_nonsense_from_the_provider(client, model):
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=model, messages=ONE_TURN, extra_headers=NO_FALLBACK)
    assert caught.value.status_code == 502


@each([
    f"{provider}/{fault}"
    for provider in ["openai", "anthropic", "google-ai-studio", "aws-bedrock", "cohere", "groq"]
    for fault in ["fault-cut-4", "fault-stream-error-4"]
])
def test_stream_that_breaks(client, model):
    stream = client.chat.completions.create(
        model=model, messages=ONE_TURN, stream=True, extra_headers=NO_FALLBACK
    )
    with pytest.raises(openai.APIError):
        for chunk in stream:
            assert not chunk.choices[0].finish_reason, "a broken stream has no finish reason"
