"""Each agent against the mock alone: what works here is no fault of the gateway when it does not work through it."""

import pytest

from agents import ALL, CODEX, OPENCODE, Agent
from conftest import needs

PAIRS = [
    *ALL,
    # Its newest models get their tools inside the conversation, and call them by a program.
    Agent("codex", "gpt-6.2-sol"),
    Agent("opencode", "gpt-5.5"),
    Agent("opencode", "gemini-3.5-pro"),
    Agent("opencode", "mock-model"),
]


@pytest.mark.parametrize("agent", PAIRS, ids=lambda agent: f"{agent.name}-{agent.model}")
def test_reads_edits_runs_finishes(agent, mock, workshop):
    needs(agent)
    mock.forget()
    finished = run_directly(agent, mock, workshop, workshop.task())
    assert finished.status == 0, finished
    assert workshop.file.read_text() == workshop.AFTER, f"{finished}\n{shown(mock)}"
    assert "gamma now" in finished.output, f"{finished}\n{shown(mock)}"


def run_directly(agent, mock, workshop, prompt, more=()):
    environment = agent.environment(workshop.home)
    variables, arguments = agent.directly(mock.url, workshop.home)
    environment |= variables
    command = [agent.name, *arguments, *agent.arguments(prompt), *more]
    return workshop.run(command, environment)


def shown(mock):
    """The requests in short: enough to see where a session went wrong."""
    return "\n".join(f"{entry['method']} {entry['path']} {str(entry['body'])[-300:]}" for entry in mock.journal())
