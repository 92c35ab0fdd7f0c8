"""Official SDK of Cohere."""

import cohere
from cohere.core import ApiError

from gateway_reader import arguments
from official.shared import OLD_TRANSPORT, complete, counted, empty_choice, failed

COHERE = cohere.ClientV2(api_key="none", base_url="http://provider", httpx_client=OLD_TRANSPORT.client)

FINISH = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
}


def answer(given):
    request = {"model": "model", "messages": [{"role": "user", "content": "?"}]}
    try:
        if given.stream:
            return read_events(COHERE.v2.chat_stream(**request))
        response = COHERE.v2.chat(**request)
    except ApiError as error:
        return failed(error.body["message"])
    choice = {**empty_choice(), "finish": FINISH[response.finish_reason]}
    choice["thinking"] = response.message.tool_plan or ""
    for block in response.message.content or []:
        read_block(choice, block)
    choice["calls"] = [read_call(call) for call in response.message.tool_calls or []]
    for citation in response.message.citations or []:
        read_citation(choice, citation)
    return ended(choice, response.id, response.usage)


def read_events(events):
    """The SDK has no accumulator."""
    choice, said = empty_choice(), {"id": None, "usage": None}
    for event in events:
        if event.type == "message-start":
            said["id"] = event.id
        elif event.type in ("content-start", "content-delta"):
            read_block(choice, event.delta.message.content)
        elif event.type == "tool-plan-delta":
            choice["thinking"] += event.delta.message.tool_plan
        elif event.type == "tool-call-start":
            call = event.delta.message.tool_calls
            more = call.function.arguments or ""
            choice["calls"].append({"id": call.id, "name": call.function.name, "arguments": more, "proof": None})
        elif event.type == "tool-call-delta":
            choice["calls"][-1]["arguments"] += event.delta.message.tool_calls.function.arguments
        elif event.type == "citation-start":
            read_citation(choice, event.delta.message.citations)
        elif event.type == "message-end":
            choice["finish"] = FINISH[event.delta.finish_reason]
            said["usage"] = event.delta.usage
    for call in choice["calls"]:
        call["arguments"] = arguments(call["arguments"]) or {}
    return ended(choice, said["id"], said["usage"])


def ended(choice, identity, usage):
    return complete({0: choice}, id=identity, usage=usage and read_usage(usage))


def read_block(choice, block):
    choice["thinking"] += getattr(block, "thinking", None) or ""
    choice["text"] += getattr(block, "text", None) or ""


def read_call(call):
    function = call.function
    return {"id": call.id, "name": function.name, "arguments": arguments(function.arguments) or {}, "proof": None}


def read_citation(choice, citation):
    """Only citations of pages have a form for callers."""
    for source in citation.sources or []:
        page = getattr(source, "document", None) or getattr(source, "tool_output", None) or {}
        if page.get("url"):
            choice["sources"].append([page["url"], choice["text"][citation.start : citation.end]])


def read_usage(usage):
    """The prompt's count excludes pictures. With pictures the billed count is used, which includes them."""
    tokens = usage.tokens
    extra = tokens.model_extra or {}
    prompt = usage.billed_units.input_tokens if extra.get("image_tokens") else tokens.input_tokens
    return counted(
        prompt=int(prompt or 0),
        completion=int(tokens.output_tokens or 0),
        cached=int(usage.cached_tokens or 0),
        thinking=extra.get("reasoning_tokens") or 0,
    )
