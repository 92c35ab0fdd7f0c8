"""Where the gateway is, and a client for it."""

import os

import pytest
from openai import OpenAI


def _needed(name):
    value = os.environ.get(name)
    if not value:
        pytest.exit(f"{name} is not set: these tests need a running gateway (see tests/sdk/README.md)", 2)
    return value.rstrip("/")


@pytest.fixture(scope="session")
def gateway_url():
    """Without /v1."""
    return _needed("LLMGATEWAY_URL")


@pytest.fixture(scope="session")
def gateway_key():
    return _needed("LLMGATEWAY_KEY")


@pytest.fixture(scope="session")
def client(gateway_url, gateway_key):
    """Retries are off, so that a test sees what the gateway said first."""
    return OpenAI(base_url=f"{gateway_url}/v1", api_key=gateway_key, max_retries=0, timeout=30)
