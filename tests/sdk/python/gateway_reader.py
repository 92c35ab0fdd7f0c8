"""What the gateway's own decoders understand: the program `crates/wire/examples/read_answers.rs`, asked line by line."""

import base64
import json
import subprocess


class Reader:
    """One process that reads all answers."""

    def __init__(self, program):
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=10) == 0

    def answer(self, answer):
        """The content of the answer, in the same shape as `official` returns it."""
        return said(self._ask(
            protocol=answer.protocol,
            stream=answer.stream,
            status=answer.status,
            headers=answer.headers,
            body=base64.b64encode(answer.body).decode(),
            piece=answer.piece,
        ))

    def rendered(self, answer, caller, streams):
        """The answer as a caller of a format gets it, and the error after it, if any."""
        reply = self._ask(
            protocol=answer.protocol,
            stream=answer.stream,
            body=base64.b64encode(answer.body).decode(),
            caller=caller,
            caller_streams=streams,
        )
        return reply["answer"], reply["error"] and reply["error"]["message"]

    def frames(self, framing, body, piece=None):
        """Frames, and the error after them, if any."""
        reply = self._ask(framing=framing, body=base64.b64encode(body).decode(), piece=piece)
        return reply["frames"], reply["error"] and reply["error"]["message"]

    def _ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the reader has ended"
        return json.loads(line)


def said(answer):
    choices = {choice["index"]: choice_said(choice) for choice in answer["choices"]}
    return {
        "choices": choices,
        "id": answer.get("id"),
        "model": answer.get("model"),
        "created": answer.get("created"),
        "tier": answer.get("service_tier"),
        "fingerprint": answer.get("system_fingerprint"),
        "usage": answer.get("usage") and usage(answer["usage"]),
        "error": answer["error"] and answer["error"]["message"],
    }


def choice_said(choice):
    finishes = choice["finishes"]
    assert len(finishes) <= 1, "a choice ends once"
    thoughts = choice["reasoning"]
    return {
        "text": choice["text"],
        "refusal": choice["refusal"],
        "thinking": "".join(thought.get("text", "") for thought in thoughts),
        "proofs": [
            thought[kind] for thought in thoughts for kind in ("signature", "encrypted") if kind in thought
        ],
        "calls": [
            {
                "id": call["id"],
                "name": call["name"],
                "arguments": arguments(call["arguments"], call["custom"]),
                "proof": call["signature"],
            }
            for call in choice["calls"]
        ],
        "images": [(image["mime"], image["data"]) for image in choice["images"]],
        "sources": [source(annotation, choice["text"]) for annotation in choice["annotations"]],
        "logprobs": [
            logprob(token) for logprobs in choice["logprobs"] for token in logprobs.get("content") or []
        ],
        "finish": finishes[0]["reason"] if finishes else None,
    }


def logprob(token):
    """A token, its logarithmic probability, and the alternatives."""
    alternatives = [[other["token"], other["logprob"]] for other in token.get("top_logprobs") or []]
    return [token["token"], token["logprob"], alternatives]


def source(annotation, text):
    """A page's address and the part of the answer that it supports; any other annotation unchanged."""
    if annotation.get("type") != "url_citation":
        return annotation
    cited = annotation["url_citation"]
    return [cited["url"], text[cited["start_index"] : cited["end_index"]]]


def arguments(text, custom=False):
    """The JSON value of a text, or the text if it is no JSON. An empty text means no arguments."""
    if custom:
        return text
    try:
        return json.loads(text or "{}")
    except json.JSONDecodeError:
        return text


def usage(counts):
    """Disjoint buckets, as the sums that providers report."""
    written = counts["cache_write"] + counts["cache_write_1h"]
    return {
        "prompt": counts["input"] + counts["cache_read"] + written + counts["audio_input"],
        "completion": counts["output"] + counts["audio_output"] + counts["image_output"],
        "cached": counts["cache_read"],
        "written": written,
        "written for an hour": counts["cache_write_1h"],
        "thinking": counts["reasoning"],
        "heard": counts["audio_input"],
        "spoken": counts["audio_output"],
        "drawn": counts["image_output"],
    }
