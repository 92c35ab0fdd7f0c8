"""llm (the command line tool and library), with a model of its extra-openai-models.yaml."""

import json

import llm
import pytest


@pytest.fixture
def chat(base_url, api_key, model, tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    entry = f"- model_id: gateway\n  model_name: {model}\n  api_base: {base_url}\n  supports_tools: true\n  supports_schema: true\n  api_key_name: gateway\n"
    (tmp_path / "keys.json").write_text(json.dumps({"gateway": api_key}))
    (tmp_path / "extra-openai-models.yaml").write_text(entry)
    return llm.get_model("gateway")


def test_text_and_usage(chat):
    answer = chat.prompt("What is the capital of France?", stream=False)
    assert "Paris" in answer.text()
    usage = answer.usage()
    assert usage.input > 0 and usage.output > 0


def test_stream(chat):
    pieces = list(chat.prompt("Count to 10", stream=True))
    assert len(pieces) > 1
    assert "".join(pieces) == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"


def test_tools(chat):
    asked = []

    def get_weather(location: str) -> str:
        """Get the current weather."""
        asked.append(location)
        return "18 degrees"

    answer = chat.chain("What's the weather in Rome?", tools=[get_weather])
    assert "18 degrees" in answer.text()
    assert asked == ["Rome"]


def test_structured_output(chat):
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    answer = chat.prompt("Generate a user profile", schema=schema, stream=False)
    assert isinstance(json.loads(answer.text())["name"], str)
