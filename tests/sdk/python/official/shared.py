"""The shape of an answer as an SDK reads it, and the transport that supplies the bytes."""

import httpx
import httpx2


def empty_choice():
    return {
        "text": "", "refusal": "", "thinking": "", "proofs": [], "calls": [], "images": [], "sources": [],
        "logprobs": [], "finish": None,
    }


def complete(choices, **more):
    """An answer of which the SDK may know only a part."""
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


# The error of an answer that the SDK returned although the provider marked it as broken.
NO_WORDS = "broken"


def failed(message):
    return complete({}, error=message)


def transport(library):
    """Answers every request of a client with the answer that is being read. Some SDKs still use the older library."""

    class Pieces(library.SyncByteStream):
        def __init__(self, body, size):
            self.body, self.size = body, size or max(len(body), 1)

        def __iter__(self):
            for start in range(0, len(self.body), self.size):
                yield self.body[start : start + self.size]

    class Transport:
        def __init__(self):
            self.transport = library.MockTransport(self.respond)
            self.client = library.Client(transport=self.transport)

        def respond(self, _):
            given = CURRENT["answer"]
            usual = "text/event-stream" if given.stream else "application/json"
            headers = {"content-type": usual, **given.headers}
            return library.Response(given.status, headers=headers, stream=Pieces(given.body, given.piece))

    return Transport()


CURRENT = {}
TRANSPORT = transport(httpx2)
OLD_TRANSPORT = transport(httpx)
