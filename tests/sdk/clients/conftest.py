"""The address of the gateway, and the models with which every client is tested."""

import os

import pytest


def _needed(name):
    value = os.environ.get(name)
    if not value:
        pytest.exit(f"{name} is not set: see tests/sdk/README.md", 2)
    return value.rstrip("/")


@pytest.fixture(scope="session")
def gateway_url():
    """Without /v1."""
    return _needed("LLMGATEWAY_URL")


@pytest.fixture(scope="session")
def base_url(gateway_url):
    return f"{gateway_url}/v1"


@pytest.fixture(scope="session")
def api_key():
    return _needed("LLMGATEWAY_KEY")


# A model whose format is the caller's own, and two that are translated.
@pytest.fixture(
    params=["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "google-ai-studio/gemini-2.5-flash"],
    ids=lambda model: model.split("/")[0],
)
def model(request):
    return request.param


# Models whose thinking has proofs that must be sent back.
@pytest.fixture(
    params=["openai/gpt-5.5", "anthropic/claude-sonnet-4-5", "google-ai-studio/gemini-3-pro-preview"],
    ids=lambda model: model.split("/")[0],
)
def thinker(request):
    return request.param


@pytest.fixture(scope="session")
def png():
    """One pixel, in base64."""
    return "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
