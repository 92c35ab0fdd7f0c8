"""The shape of what an SDK understood, and the transport that hands it the bytes."""

import httpx2


def empty_choice():
    return {
        "text": "", "refusal": "", "thinking": "", "proofs": [], "calls": [], "images": [], "sources": [],
        "logprobs": [], "finish": None,
    }


def complete(choices, **more):
    """An answer of which the SDK may not know everything."""
    return {
        "choices": choices, "id": None, "model": None, "created": None, "tier": None, "fingerprint": None,
        "usage": None, "error": None, **more,
    }


def counted(**counts):
    nothing = {
        "prompt": 0, "completion": 0, "cached": 0, "written": 0, "written for an hour": 0, "thinking": 0,
        "heard": 0, "spoken": 0, "drawn": 0,
    }
    return {**nothing, **counts}


# The SDK hands over an answer of which the provider says that it is broken.
NO_WORDS = "broken"


def failed(message):
    return complete({}, error=message)


class Pieces(httpx2.SyncByteStream):
    def __init__(self, body, size):
        self.body, self.size = body, size or max(len(body), 1)

    def __iter__(self):
        for start in range(0, len(self.body), self.size):
            yield self.body[start : start + self.size]


class Transport:
    """Answers every request of a client with the answer that is being read."""

    def __init__(self):
        self.given = None
        self.client = httpx2.Client(transport=httpx2.MockTransport(self.respond))

    def respond(self, _):
        given = self.given
        usual = "text/event-stream" if given.stream else "application/json"
        headers = {"content-type": usual, **given.headers}
        return httpx2.Response(given.status, headers=headers, stream=Pieces(given.body, given.piece))


TRANSPORT = Transport()
