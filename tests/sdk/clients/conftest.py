"""Where the gateway is, and the models that every client is tried with."""

import os

import pytest


def _needed(name):
    value = os.environ.get(name)
    if not value:
        pytest.exit(f"{name} is not set: see tests/sdk/README.md", 2)
    return value.rstrip("/")


@pytest.fixture(scope="session")
def base_url():
    return f"{_needed('LLMGATEWAY_URL')}/v1"


@pytest.fixture(scope="session")
def api_key():
    return _needed("LLMGATEWAY_KEY")


# One whose format is the caller's own, and two that are translated.
@pytest.fixture(
    params=["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "google-ai-studio/gemini-2.5-flash"],
    ids=lambda model: model.split("/")[0],
)
def model(request):
    return request.param
