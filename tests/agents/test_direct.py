"""Each agent against the mock alone: what works here is no fault of the gateway when it does not work through it."""

import pytest

from agents import ALL, Agent
from conftest import check_done, needs

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
    check_done(finished, workshop, mock)


def run_directly(agent, mock, workshop, prompt, more=()):
    environment = agent.environment(workshop.home)
    variables, arguments = agent.directly(mock.url, workshop.home)
    environment |= variables
    command = [agent.name, *arguments, *agent.arguments(prompt), *more]
    return workshop.run(command, environment)
