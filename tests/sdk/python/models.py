"""Models to test: one for each way of calling a provider."""

import pytest

ALL = [
    "openai/gpt-4o",
    "anthropic/claude-3-5-sonnet-20241022",
    "google-ai-studio/gemini-2.0-flash-001",
    "google-vertex/gemini-2.0-flash-001",
    "aws-bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "azure/gpt-4o",
    "cohere/command-a-03-2025",
    "deepseek/deepseek-chat",
    "xai/grok-4",
    "groq/llama-3.3-70b-versatile",
    "cerebras/gpt-oss-120b",
    "mistral/mistral-large-latest",
    "openrouter/openai/gpt-4o-mini",
    "together-ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "fireworks/accounts/fireworks/models/llama-v3p3-70b-instruct",
    "perplexity/sonar",
    "ollama/llama3.2",
    "my-vllm/qwen2.5-7b-instruct",
]

# Perplexity's models call no tools.
WITH_TOOLS = [model for model in ALL if not model.startswith("perplexity/")]

WITH_JSON_OBJECT = WITH_TOOLS

WITH_VISION = [
    "openai/gpt-4o",
    "anthropic/claude-3-5-sonnet-20241022",
    "google-ai-studio/gemini-2.0-flash-001",
    "google-vertex/gemini-2.0-flash-001",
    "aws-bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "azure/gpt-4o",
    "xai/grok-4",
    "openrouter/openai/gpt-4o-mini",
    "my-vllm/qwen2.5-vl-7b-instruct",
]


def each(models):
    return pytest.mark.parametrize("model", models)
