"""The gateway's reading of every answer against the official SDK's own parse of the same bytes.

`official` asks the SDKs, `gateway_reader.py` the gateway's decoders, and `tolerated.py` says where they may differ.
"""

import dataclasses

import pytest

import handmade
import official
import recordings
from official.shared import empty_choice
from tolerated import settle, skipped

SHOWN = 5


def differences(reader, answer):
    """The differences of the gateway's reading from the SDK's, as lines."""
    ours, theirs = settle(reader.answer(answer), official.answer(answer))
    lines = []
    for name in sorted({*ours, *theirs} - {"choices"}):
        lines += difference(name, ours.get(name), theirs.get(name))
    ours, theirs = ours.get("choices", {}), theirs.get("choices", {})
    for index in sorted({*ours, *theirs}):
        choices = ours.get(index, {}), theirs.get(index, {})
        for name in empty_choice():
            lines += difference(f"choice {index}: {name}", *(choice.get(name) for choice in choices))
    return lines


def difference(name, ours, theirs):
    return [] if ours == theirs else [f"  {name}\n    gateway {ours!r}\n    SDK     {theirs!r}"]


@pytest.mark.parametrize("piece", [None, 7, 1])
@pytest.mark.parametrize(("answer", "says"), handmade.ALL, ids=lambda value: getattr(value, "id", ""))
def test_handmade_answers(reader, answer, says, piece):
    answer = dataclasses.replace(answer, piece=piece)
    found = differences(reader, answer)
    assert not found, "\n".join(found)
    said = official.answer(answer)
    if "error" in says:
        assert said["error"] == says["error"]
    else:
        settled = settle(said, said)[1]["choices"][0]
        assert {name: settled[name] for name in says if name != "proofs"} == {
            name: value for name, value in says.items() if name != "proofs"
        }
        assert said["choices"][0]["proofs"] == says.get("proofs", said["choices"][0]["proofs"])


@pytest.mark.parametrize(("provider", "protocol"), recordings.groups() or [pytest.param("", "", id="none")])
def test_recorded_answers(reader, provider, protocol):
    if not provider:
        pytest.skip(recordings.NONE)
    answers = recordings.answers(provider, protocol)
    compared = [answer for answer in answers if not skipped(answer)]
    assert compared
    found = {answer.id: differences(reader, answer) for answer in compared}
    wrong = [f"{name}\n" + "\n".join(lines) for name, lines in found.items() if lines]
    assert not wrong, f"{len(wrong)} of {len(compared)} answers\n" + "\n".join(wrong[:SHOWN])
