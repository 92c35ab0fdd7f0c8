"""Each agent against the mock alone. A case that works here and fails through the gateway is the gateway's fault."""

import pytest

from agents import ALL, CODEX, Agent, codex_built_in
from conftest import check_done, needs

PAIRS = [
    *ALL,
    # Codex's newest models get their tools inside the conversation, and call them from a program.
    Agent("codex", "gpt-6.2-sol"),
    Agent("opencode", "gemini-3.5-pro"),
    Agent("opencode", "mock-model"),
]


@pytest.mark.parametrize("agent", PAIRS, ids=lambda agent: f"{agent.name}-{agent.model}")
def test_reads_edits_runs_finishes(agent, mock, workshop):
    needs(agent)
    mock.forget()
    finished = run_directly(agent, mock, workshop, workshop.task())
    check_done(finished, workshop, mock)


def run_directly(agent, mock, workshop, prompt, more=()):
    environment = agent.environment(workshop.home)
    variables, arguments = agent.directly(mock.url, workshop.home)
    environment |= variables
    command = [agent.name, *arguments, *agent.arguments(prompt), *more]
    return workshop.run(command, environment)


def test_codex_falls_back_from_websockets_and_compacts_remotely(mock, workshop):
    """Codex's built-in provider tries a WebSocket first, marks each item, and expects a sealed compaction."""
    needs(CODEX)
    mock.forget()
    workshop.fill("0123456789abcde\n" * 1000)
    variables, arguments = codex_built_in(mock.url)
    limit = ["-c", "model_auto_compact_token_limit=12000"]
    command = ["codex", *arguments, *limit, "-m", CODEX.model, *CODEX.arguments(workshop.task())]
    finished = workshop.run(command, CODEX.environment(workshop.home) | variables)
    check_done(finished, workshop, mock)
    upgrades = [entry for entry in mock.journal() if entry["headers"].get("upgrade") == "websocket"]
    assert 1 <= len(upgrades) <= 2 and upgrades[0]["status"] == 426
    inputs = [entry["body"]["input"] for entry in mock.asked()]
    assert any(items[-1]["type"] == "compaction_trigger" for items in inputs)
    assert any(item["type"] == "compaction" for items in inputs for item in items)
