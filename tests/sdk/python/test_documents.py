"""The Python examples of the README and the pages of `docs`, word for word but for the address and the key.

`test_endpoints.py` runs the one of `docs/endpoints.md`.
"""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def examples():
    for page in PAGES:
        if page.name != "endpoints.md":
            for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)):
                yield pytest.param(page, block, id=f"{page.name}:{number}")


@pytest.mark.parametrize(("page", "block"), list(examples()))
def test_the_example_runs(gateway_url, gateway_key, monkeypatch, capsys, page, block):
    monkeypatch.setenv("OPENAI_API_KEY", gateway_key)
    code = block.replace("YOUR_API_KEY", gateway_key)
    code = code.replace("http://127.0.0.1:4000", gateway_url)
    code = code.replace("ws://127.0.0.1:4000", gateway_url.replace("http", "ws", 1))
    exec(compile(code, str(page), "exec"), {})  # noqa: S102
    if "print(" in block:
        assert "Paris" in capsys.readouterr().out


def test_examples_are_found():
    assert {example.values[0].name for example in examples()} >= {"README.md", "passthrough.md"}
