"""The address of the gateway, and a client for it."""

import os

import pytest
from openai import OpenAI

from gateway_reader import Reader


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
def gateway_key():
    return _needed("LLMGATEWAY_KEY")


@pytest.fixture(scope="session")
def client(gateway_url, gateway_key):
    """Retries are off, so that a test sees the gateway's first answer."""
    return OpenAI(base_url=f"{gateway_url}/v1", api_key=gateway_key, max_retries=0, timeout=30)


@pytest.fixture(scope="session")
def reader():
    """The gateway's own decoders, in one process for all tests."""
    reader = Reader(_needed("LLMGATEWAY_READER"))
    yield reader
    reader.close()
