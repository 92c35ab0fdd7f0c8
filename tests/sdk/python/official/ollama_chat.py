"""Official SDK of Ollama."""

import ollama

from official.shared import OLD_TRANSPORT, complete, counted, empty_choice, failed

OLLAMA = ollama.Client(host="http://provider", transport=OLD_TRANSPORT.transport)


def answer(given):
    request = {"model": "model", "messages": [{"role": "user", "content": "?"}]}
    try:
        pieces = list(OLLAMA.chat(**request, stream=True)) if given.stream else [OLLAMA.chat(**request)]
    except ollama.ResponseError as error:
        return failed(error.error)
    choice = empty_choice()
    for piece in pieces:
        choice["thinking"] += piece.message.thinking or ""
        choice["text"] += piece.message.content or ""
        choice["calls"] += [read_call(call) for call in piece.message.tool_calls or []]
    last = pieces[-1]
    choice["finish"] = "length" if last.done_reason == "length" else "stop"
    return complete({0: choice}, model=pieces[0].model, usage=read_usage(last))


def read_call(call):
    """The SDK drops the ids that newer servers give."""
    return {"id": None, "name": call.function.name, "arguments": dict(call.function.arguments), "proof": None}


def read_usage(piece):
    return counted(prompt=piece.prompt_eval_count or 0, completion=piece.eval_count or 0)
