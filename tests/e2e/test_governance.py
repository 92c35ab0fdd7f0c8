"""The worked examples of docs/governance.md, as written, with a gateway whose providers lead to the mock. Only amounts of money are
smaller: the mock's answers cost fractions of a cent."""

import concurrent.futures
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from conftest import PATIENCE_SECONDS, ROOT, Process, binary, free_address

TEXT = (ROOT / "docs/governance.md").read_text(encoding="utf-8")
LISTEN = '[server]\nlisten = "{address}"\n[database]\nurl = "sqlite:usage.db"\n[auth]\nadmin_keys = ["root"]\n'


def example(heading):
    """The blocks of code below a heading, by language."""
    section = re.search(rf"^### {heading}\n(.*?)(?=^###|\Z)", TEXT, re.MULTILINE | re.DOTALL)[1]
    return {language: [text for found, text in re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL) if found == language]
            for language in ("toml", "sh")}


class Place:
    """A gateway with this configuration, in a folder of its own."""

    def __init__(self, folder, mock, configuration, secrets=()):
        self.folder = folder
        address = free_address()
        (folder / "llmgateway.toml").write_text(LISTEN.format(address=address) + configuration)
        self.environment = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{mock.url}/v1", "ANTHROPIC_API_KEY": "k",
                            "ANTHROPIC_BASE_URL": mock.url, "DEEPSEEK_API_KEY": "k", "DEEPSEEK_BASE_URL": f"{mock.url}/v1",
                            **{name: f"secret-of-{name}-0123456789" for name in secrets}}
        self.gateway = Process(["serve", "--config", "llmgateway.toml"], address, folder, self.environment)

    def command(self, line):
        (self.folder / "bin").mkdir(exist_ok=True)
        if not (self.folder / "bin/llmgateway").exists():
            (self.folder / "bin/llmgateway").symlink_to(binary())
        environment = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "HOME": str(self.folder), **self.environment}
        done = subprocess.run(["bash", "-euc", line], cwd=self.folder, env=environment, capture_output=True, text=True,
                              timeout=PATIENCE_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, key, model, content="Hi.", **fields):
        """Status, answer and headers."""
        body = json.dumps({"model": model, "max_tokens": 20, "messages": [{"role": "user", "content": content}], **fields})
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        request = urllib.request.Request(f"{self.gateway.url}/v1/chat/completions", body.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
                return response.status, json.load(response), response.headers
        except urllib.error.HTTPError as error:
            return error.code, json.load(error), error.headers

    def get(self, path, key="root"):
        request = urllib.request.Request(f"{self.gateway.url}{path}", headers={"authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            return json.load(response)


@pytest.fixture
def begin(mock, tmp_path):
    places = []

    def begin(configuration, secrets=()):
        places.append(Place(tmp_path, mock, configuration, secrets))
        return places[-1]

    yield begin
    for place in places:
        place.gateway.stop()


def until(holds):
    """Records reach the database a moment after the answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def key(name):
    return f"secret-of-{name}-0123456789"


def test_a_company_with_three_teams(begin):
    (configuration,) = example("A company with three teams")["toml"]
    # A request for the large model reserves 0.0003 USD, one for the cheap model a hundredth of a cent at most.
    for usual, small in [('usd = "20"', 'usd = "0.001"'), ('usd = "25"', 'usd = "0.00125"'), ('usd = "1"', 'usd = "0.0005"')]:
        assert usual in configuration
        configuration = configuration.replace(usual, small)
    place = begin(configuration, re.findall(r"env:(\w+)", configuration))
    place.command("llmgateway check")
    assert place.ask(key("RESEARCH_KEY"), "deepseek/deepseek-chat")[0] == 200
    status, refused, _ = place.ask(key("PRODUCT_KEY"), "deepseek/deepseek-chat")
    assert (status, 'models = ["openai/*", "anthropic/*"]' in refused["error"]["message"]) == (403, True), refused
    status, refused, _ = place.ask(key("SUPPORT_KEY"), "deepseek/deepseek-chat")
    assert (status, 'deny_providers = "deepseek"' in refused["error"]["message"]) == (403, True), refused

    # The CI of the product has its own dollar within the product's budget.
    statuses = [place.ask(key("PRODUCT_CI_KEY"), "openai/gpt-5.4")[0] for _ in range(12)]
    assert statuses[0] == 200 and statuses[-1] == 402, statuses
    served = []
    for _ in range(200):
        status, answer, headers = place.ask(key("PRODUCT_KEY"), "openai/gpt-5.4")
        served.append(answer["model"] if status == 200 else status)
        assert headers["x-ratelimit-limit-requests"] == "600"
        if status != 200:
            break
    assert served[-1] == 402, served
    assert "nano" not in served[0] and "nano" in served[-2], served
    order = ["nano" in str(model) for model in served[:-1]]
    assert order == sorted(order), "first the model that was asked for, then the cheap one"

    status, _, headers = place.ask(key("SUPPORT_KEY"), "openai/gpt-5.4")
    assert (status, headers["x-ratelimit-limit-tokens"]) == (200, "2000000")
    until(lambda: len(place.get("/admin/v1/requests?filter=tag:team=support+status:200")["data"]) == 1)


def test_a_product_that_is_resold_by_key(begin):
    first, second = example("A product that is resold by key")["sh"]
    place = begin("")
    acme = re.search(r"lgw-\S+", place.command(first))[0]
    status, _, headers = place.ask(acme, "openai/gpt-5.4-nano")
    assert (status, headers["x-ratelimit-limit-requests"]) == (200, "60")
    assert place.ask(acme, "openai/gpt-4o-mini")[0] == 403
    assert {model["id"].split("/")[-1].startswith("gpt-5.4") for model in place.get("/v1/models", acme)["data"]
            if model["id"] != "auto"} == {True}
    listed = place.command("llmgateway keys list")
    (identifier,) = re.findall(r"key_[0-9a-f]{16}", listed)
    assert "key_0123456789abcdef" in second
    rotated = re.search(r"lgw-\S+", place.command(second.replace("key_0123456789abcdef", identifier)))[0]
    assert rotated != acme
    assert [place.ask(secret, "openai/gpt-5.4-nano")[0] for secret in (rotated, acme)] == [200, 200], "the overlap"
    # Both secrets are one key: what the customer has spent is in one ledger.
    until(lambda: sum(day["requests"] for day in place.get(f"/admin/v1/usage?scope=key:{identifier}&days=2")["data"]) >= 3)


def test_a_classroom(begin):
    (configuration,) = example("A classroom")["toml"]
    place = begin(configuration, re.findall(r"env:(\w+)", configuration))
    place.command("llmgateway check")
    group = key("GROUP_1")
    assert place.ask(group, "openai/gpt-5.4")[0] == 403
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: place.ask(group, "openai/gpt-5.4-nano"), range(12)))
    statuses = sorted(status for status, *_ in answers)
    assert statuses == [200] * 10 + [429] * 2, statuses
    waits = [int(headers["retry-after"]) for status, _, headers in answers if status == 429]
    assert all(1 <= wait <= 60 for wait in waits), waits
