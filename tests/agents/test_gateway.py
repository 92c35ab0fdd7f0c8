"""Each agent through the gateway, over each kind of provider: it reads, edits, runs and finishes, and the provider refuses
nothing on the way."""

import pytest

from agents import Agent
from conftest import UPSTREAMS, check_done, check_served, keyed, needs, run_command

# The name of the model decides an agent's tools, API and thinking. So each upstream is offered under names of several
# families: see `aliases` in conftest.py.
CASES = [
    *(Agent("claude", f"claude-opus-5-5-{upstream}") for upstream in UPSTREAMS),
    # With `apply_patch`, a tool whose text follows a grammar.
    *(Agent("codex", f"gpt-5.5-{upstream}") for upstream in UPSTREAMS),
    # With its tools inside the conversation, called from programs.
    *(Agent("codex", f"gpt-6.2-sol-{upstream}") for upstream in UPSTREAMS),
    # A model that it does not know, with a slash in its name.
    Agent("codex", "anthropic/claude-opus-5-5"),
    *(Agent("gemini", f"gemini-3.5-pro-{upstream}") for upstream in UPSTREAMS),
    Agent("gemini", "anthropic/claude-opus-5-5"),
    # One name for each API.
    Agent("opencode", "claude-opus-5-5-gpt"),
    Agent("opencode", "gpt-5.5-gemini"),
    Agent("opencode", "gemini-3.5-pro-claude"),
    Agent("opencode", "coder-compatible"),
]


@pytest.mark.parametrize("agent", CASES, ids=lambda agent: f"{agent.name}-{agent.model}")
def test_reads_edits_runs_finishes(agent, gateway, mock, workshop):
    needs(agent)
    mock.forget()
    command = run_command(agent, gateway.url, agent.model, workshop.task())
    finished = workshop.run(command, keyed(agent.environment(workshop.home)))
    check_done(finished, workshop, mock)
    check_served(mock, upstream_of(agent.model))


def upstream_of(model):
    if "/" in model:
        return {"anthropic": "claude"}[model.split("/")[0]]
    return model.rsplit("-", 1)[1]
