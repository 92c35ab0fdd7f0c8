"""`llmgateway run` itself: what it starts, what it prints, how it ends, and that it touches no file of the user."""

import os
import signal
import subprocess
import time

import pytest

from agents import ALL, CLAUDE, CODEX, MESSAGES, RESPONSES, Agent
from conftest import KEY, binary, free_address, keyed, needs, run_command


@pytest.mark.parametrize("agent", ALL, ids=lambda agent: agent.name)
def test_starts_the_agent_and_leaves_its_files_alone(agent, mock, workshop):
    needs(agent)
    mock.forget()
    environment = agent.environment(workshop.home)
    before = files(workshop.home)
    finished = workshop.run(run_command(agent, mock.url, agent.model, workshop.task()), keyed(environment))
    assert finished.status == 0, finished
    assert workshop.file.read_text() == workshop.wanted, finished
    changed = [path for path, text in before.items() if path.read_text() != text]
    assert not changed, f"settings were changed: {changed}"
    asked_for = {entry["body"].get("model") for entry in mock.asked() if isinstance(entry["body"], dict)}
    assert asked_for <= {agent.model, None}, "small requests ask for the chosen model too"
    if agent.endpoint in (MESSAGES, RESPONSES):
        assert {entry["path"] for entry in mock.asked()} == {agent.endpoint}, "each family uses its own API"


def files(folder):
    return {path: path.read_text() for path in folder.rglob("*") if path.is_file()}


def llmgateway(*arguments, environment, folder):
    return subprocess.run(
        [binary(), *arguments], env=environment, cwd=folder, capture_output=True, text=True, timeout=30,
        stdin=subprocess.DEVNULL,
    )


def test_says_how_to_start_a_gateway(workshop):
    environment = keyed({"PATH": os.environ["PATH"], "HOME": str(workshop.home)})
    answer = llmgateway(
        "run", "claude", "--url", f"http://{free_address()}", environment=environment, folder=workshop.work
    )
    assert answer.returncode == 1
    assert "No gateway answers at http://127.0.0.1:" in answer.stderr
    assert "llmgateway serve" in answer.stderr


def test_says_how_to_install_the_agent(mock, workshop):
    environment = keyed({"PATH": "/nowhere", "HOME": str(workshop.home)})
    answer = llmgateway("run", "codex", "--url", mock.url, environment=environment, folder=workshop.work)
    assert answer.returncode == 1
    assert "npm install -g @openai/codex" in answer.stderr


def test_prints_what_a_shell_needs(mock, workshop):
    needs(CLAUDE)
    environment = keyed(CLAUDE.environment(workshop.home))
    arguments = CLAUDE.arguments(workshop.task())
    printed = llmgateway(
        "run", "claude", "--url", mock.url, "--model", CLAUDE.model, "--print", "--", *arguments,
        environment=environment, folder=workshop.work,
    )
    assert printed.returncode == 0, printed.stderr
    assert KEY not in printed.stdout
    finished = workshop.run(["bash", "-c", printed.stdout], environment)
    assert finished.status == 0, finished
    assert workshop.file.read_text() == workshop.wanted


def test_a_stop_reaches_the_agent(mock, workshop):
    """The model hangs; the agent would wait for minutes."""
    needs(CODEX)
    mock.forget()
    stuck = Agent("codex", "fault-hang-3")
    environment = keyed(stuck.environment(workshop.home))
    process = workshop.start(run_command(stuck, mock.url, stuck.model, workshop.task()), environment)
    deadline = time.monotonic() + 30
    while not any("/responses" in entry["path"] for entry in mock.asked()):
        assert time.monotonic() < deadline, "the agent did not call"
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode not in (0, None)
