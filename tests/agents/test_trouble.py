"""Agents through the gateway when something fails or takes long."""

import os
import re
import signal
import time

import pytest

from agents import Agent
from conftest import MOST_SECONDS, UPSTREAMS, check_done, check_served, keyed, line, needs, run_command, shown


def run(agent, server, workshop, prompt, most_seconds=MOST_SECONDS, **options):
    command = run_command(agent, server.url, agent.model, prompt, **options)
    return workshop.run(command, keyed(agent.environment(workshop.home)), most_seconds)


def served_by(mock):
    """The upstreams that served, in order, without repetitions in a row."""
    asked = [entry["path"].split("/")[1] for entry in mock.asked() if entry["status"] == 200]
    return [name for at, name in enumerate(asked) if at == 0 or asked[at - 1] != name]


SIGNED, UNSIGNED = "fault-turn-1-529", "fault-no-proofs-fault-turn-1-529"


@pytest.mark.parametrize(
    "agent, first, second, fault",
    [
        (Agent("claude", "claude-opus-5-5-x"), "claude", "gpt", SIGNED),
        (Agent("claude", "claude-opus-5-5-x"), "claude", "gemini", UNSIGNED),
        (Agent("claude", "claude-opus-5-5-x"), "gpt", "claude", SIGNED),
        (Agent("claude", "claude-opus-5-5-x"), "compatible", "claude", SIGNED),
        (Agent("codex", "gpt-5.5-x"), "gpt", "claude", SIGNED),
        (Agent("codex", "gpt-5.5-x"), "gpt", "claude", UNSIGNED),
        (Agent("codex", "gpt-5.5-x"), "claude", "gpt", SIGNED),
        (Agent("codex", "gpt-6.2-sol-x"), "compatible", "gemini", SIGNED),
        (Agent("gemini", "gemini-3.5-pro-x"), "gemini", "claude", UNSIGNED),
        (Agent("gemini", "gemini-3.5-pro-x"), "claude", "gemini", SIGNED),
    ],
    ids=lambda value: value.name if isinstance(value, Agent) else value.partition("-fault")[0].removeprefix("fault-"),
)
def test_another_provider_takes_over_in_the_middle(agent, first, second, fault, other_gateway, mock, workshop):
    """The second provider gets the thinking of the first, signed or not, in the history."""
    needs(agent)
    server = other_gateway({first: fault}, {agent.model: [UPSTREAMS[first], UPSTREAMS[second]]})
    mock.forget()
    finished = run(agent, server, workshop, workshop.task())
    check_done(finished, workshop, mock)
    assert served_by(mock) == [first, second], shown(mock)
    refused = [entry for entry in mock.asked() if entry["status"] not in (200, 529)]
    assert not refused, "\n".join(line(entry) for entry in refused)


@pytest.mark.parametrize("upstream", ["gpt", "gemini", "compatible"])
@pytest.mark.parametrize("name, model", [("claude", "claude-opus-5-5"), ("codex", "gpt-5.5")])
def test_repeated_call_ids_neither_end_nor_repeat_a_session(name, model, upstream, other_gateway, mock, workshop):
    """Claude Code repeats a request without end when two calls of a session have the same id."""
    agent = Agent(name, f"{model}-{upstream}")
    needs(agent)
    mock.forget()
    server = other_gateway({upstream: "fault-same-ids"})
    # With the fault and without a limit it sends some fifteen requests a second.
    finished = run(agent, server, workshop, workshop.task(), most_seconds=20)
    check_done(finished, workshop, mock)
    check_served(mock, upstream)
    assert len(mock.asked()) < 8, shown(mock)


@pytest.mark.parametrize(
    "agent",
    [Agent("claude", "claude-opus-5-5-gpt"), Agent("codex", "gpt-5.5-claude"), Agent("gemini", "gemini-3.5-pro-compatible")],
    ids=lambda agent: agent.name,
)
def test_forty_turns(agent, gateway, mock, workshop):
    needs(agent)
    mock.forget()
    check_done(run(agent, gateway, workshop, workshop.task(40)), workshop, mock)
    asked = [entry for entry in mock.asked() if f"/{agent.model.rsplit('-', 1)[1]}/" in entry["path"]]
    # After thirty turns Gemini CLI also asks a model whether the session loops. For that it cuts the history before a call,
    # which Gemini refuses, and goes on.
    assert len(asked) >= 41, shown(mock)
    assert {entry["status"] for entry in asked} == {200}, shown(mock)


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("name, model", [("claude", "claude-opus-5-5"), ("codex", "gpt-5.5")])
def test_a_prompt_that_is_too_long_is_not_retried_without_end(name, model, upstream, other_gateway, mock, workshop):
    agent = Agent(name, f"{model}-{upstream}")
    needs(agent)
    mock.forget()
    server = other_gateway({upstream: "fault-context"})
    finished = run(agent, server, workshop, workshop.task())
    assert finished.status != 0, finished
    assert len(mock.asked()) <= 2, f"{finished}\n{shown(mock)}"
    words = {"claude": "(?i)prompt is too long|context", "codex": "context window"}[name]
    assert re.search(words, finished.output + finished.errors), finished


@pytest.mark.parametrize(
    "agent", [Agent("claude", "claude-opus-5-5-gpt"), Agent("codex", "gpt-5.5-claude")], ids=lambda agent: agent.name
)
def test_a_cancelled_agent_leaves_nothing_running(agent, other_gateway, mock, workshop):
    needs(agent)
    mock.forget()
    upstream = agent.model.rsplit("-", 1)[1]
    server = other_gateway({upstream: "fault-hang-4"})
    command = run_command(agent, server.url, agent.model, workshop.task())
    process = workshop.start(command, keyed(agent.environment(workshop.home)))
    wait_until(lambda: any(entry["status"] == 200 for entry in mock.asked()), "the model was not asked")
    # Like a terminal, the test signals the whole group.
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.communicate(timeout=20)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    wait_until(lambda: "cancel" in server.log.read_text(), f"no cancelled request in {server.log.read_text()}")


def wait_until(condition, otherwise, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)


@pytest.mark.parametrize("upstream", ["claude", "gpt"])
def test_codex_compacts_and_goes_on(upstream, gateway, mock, workshop):
    """Codex uses the tokens that answers report: a session that grows beyond the limit is summarised once or a few times."""
    agent = Agent("codex", f"gpt-5.5-{upstream}")
    needs(agent)
    mock.forget()
    # Codex begins with some 9,000 tokens, and the file has 4,000.
    workshop.fill("0123456789abcde\n" * 1000)
    limit = ["-c", "model_auto_compact_token_limit=12000"]
    command = run_command(agent, gateway.url, agent.model, workshop.task())
    at = command.index("--") + 1
    finished = workshop.run([*command[:at], *limit, *command[at:]], keyed(agent.environment(workshop.home)))
    check_done(finished, workshop, mock)
    # Claude refuses thinking that it bound to the conversation before the summary. A second request leaves it out.
    check_served(mock, upstream, repaired="bound to a different conversation")
    served = [entry for entry in mock.asked() if entry["status"] == 200]
    compactions = [entry for entry in served if "CONTEXT CHECKPOINT COMPACTION" in str(entry["body"])]
    assert 1 <= len(compactions) < 4, f"{len(compactions)} compactions\n{shown(mock)}"


@pytest.mark.parametrize("upstream", ["claude", "gemini"])
def test_claude_code_compacts_and_counts(upstream, gateway, mock, workshop):
    """`/compact` in a session, then `/context`, which counts tokens two dozen times at once."""
    agent = Agent("claude", f"claude-opus-5-5-{upstream}")
    needs(agent)
    check_done(run(agent, gateway, workshop, workshop.task()), workshop, mock)
    mock.forget()
    compacted = run(agent, gateway, workshop, "/compact", going_on=True)
    assert compacted.status == 0, f"{compacted}\n{shown(mock)}"
    check_served(mock, upstream)
    context = run(agent, gateway, workshop, "/context", going_on=True)
    assert context.status == 0, context
    assert "token" in context.output.lower(), context
