"""Official SDK of Anthropic."""

import anthropic

from official.shared import TRANSPORT, complete, counted, empty_choice, failed

ANTHROPIC = anthropic.Anthropic(
    base_url="http://provider", api_key="none", max_retries=0, http_client=TRANSPORT.client
)


def answer(given):
    request = {"model": "model", "max_tokens": 8, "messages": [{"role": "user", "content": "?"}]}
    try:
        if not given.stream:
            return read_message(ANTHROPIC.messages.create(**request))
        with ANTHROPIC.messages.stream(**request) as stream:
            return read_message(stream.get_final_message())
    except anthropic.APIStatusError as error:
        body = error.body
        return failed(body["error"]["message"] if isinstance(body, dict) else str(body))


FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


# In OpenAI's terms; other tiers have no term there.
TIER = {"standard": "default", "priority": "priority"}


def read_url(citation):
    """Only citations of pages have a form for callers."""
    url = getattr(citation, "url", None) or getattr(citation, "source", None)
    return url if url and url.startswith(("http://", "https://")) else None


def read_message(message):
    choice = {**empty_choice(), "finish": FINISH[message.stop_reason]}
    for block in message.content:
        if block.type == "text":
            choice["text"] += block.text
            choice["sources"] += [[url, block.text] for url in map(read_url, block.citations or []) if url]
        elif block.type == "thinking":
            choice["thinking"] += block.thinking
            choice["proofs"] += [block.signature] if block.signature else []
        elif block.type == "redacted_thinking":
            choice["proofs"].append(block.data)
        elif block.type == "tool_use":
            call = {"id": block.id, "name": block.name, "arguments": block.input, "proof": None}
            choice["calls"].append(call)
    details = message.stop_details
    choice["refusal"] = (details and details.explanation) or ""
    return complete(
        {0: choice},
        id=message.id,
        model=message.model,
        tier=TIER.get(message.usage.service_tier),
        usage=read_usage(message.usage),
    )


def read_usage(usage):
    """Compactions are billed in addition to the answer itself."""
    counts = usage.to_dict()
    compactions = [turn for turn in counts.get("iterations") or [] if turn["type"] == "compaction"]

    def count(name):
        return sum(turn.get(name) or 0 for turn in [counts, *compactions])

    cached, written = count("cache_read_input_tokens"), count("cache_creation_input_tokens")
    return counted(
        prompt=count("input_tokens") + cached + written,
        completion=count("output_tokens"),
        cached=cached,
        written=written,
        thinking=(counts.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
        **{"written for an hour": (counts.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0},
    )
