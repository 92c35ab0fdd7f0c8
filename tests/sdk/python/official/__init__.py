"""How the official SDKs read an answer: each parses the bytes itself, behind a transport that supplies them.

One module per format. Each has a function `answer` that returns the same shape as `gateway_reader.Reader.answer`.
"""

import importlib

from official.shared import CURRENT


def answer(given):
    CURRENT["answer"] = given
    return importlib.import_module("official." + given.protocol.replace("-", "_")).answer(given)
