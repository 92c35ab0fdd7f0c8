"""Answers of our own making: cases that are rare among recordings, and enough of all kinds for machines without recordings.

Each has a part of its expected content, so that two readers that both find nothing do not agree.
"""

import json
import typing

import anthropic
from google import genai
from openai.types.chat.chat_completion import Choice

from official import bedrock_converse
from official.shared import NO_WORDS
from recordings import Answer
from test_framing import header, message, sized


def whole(body):
    return json.dumps(body, ensure_ascii=False).encode()


def events(*chunks, end="\n", named=False, last=None):
    """Server-sent events. Texts are inserted unchanged."""
    lines = []
    for chunk in chunks:
        if isinstance(chunk, dict):
            lines += [f"event: {chunk['type']}"] if named else []
            lines.append("data: " + json.dumps(chunk, ensure_ascii=False))
        else:
            lines.append(chunk)
        lines.append("")
    return end.join([*lines, *([f"data: {last}", "", ""] if last else [""])]).encode()


def binary_events(*chunks):
    """Amazon's event stream: pairs of an event's type and its JSON; `!` before the type makes it an exception."""
    out = b""
    for name, said in chunks:
        kind = "exception" if name.startswith("!") else "event"
        headers = [(f":{kind}-type", name.lstrip("!")), (":content-type", "application/json"), (":message-type", kind)]
        headers = b"".join(header(key.encode(), 7, sized(value.encode())) for key, value in headers)
        out += message(headers, json.dumps(said, ensure_ascii=False).encode())
    return out


ALL = []


def case(protocol, name, body, stream=True, status=200, headers=None, **says):
    answer = Answer(f"{protocol}: {name}", protocol, stream, body, status, headers or {})
    ALL.append((answer, says))


# ---------------------------------------------------------------------------------------------- OpenAI


def chunk(delta, finish=None, index=0, **more):
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [choice], **more,
    }


def completion(message, finish="stop", **more):
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **more,
    }


def call(index, arguments, **more):
    name = {"name": more.pop("name")} if "name" in more else {}
    return {"tool_calls": [{"index": index, "function": {**name, "arguments": arguments}, **more}]}


USAGE = {
    "prompt_tokens": 20, "completion_tokens": 12, "total_tokens": 32,
    "prompt_tokens_details": {"cached_tokens": 8}, "completion_tokens_details": {"reasoning_tokens": 5},
}

case(
    "openai-chat", "text in many alphabets, empty deltas, comments, counts on their own",
    events(
        ": comment", chunk({"role": "assistant", "content": ""}), chunk({}), chunk({"content": "Grüße, 東"}),
        chunk({"content": None}), chunk({"content": "京 👋\u2028\r\n"}), chunk({}, "stop"),
        {**chunk({}), "choices": [], "usage": USAGE}, last="[DONE]",
    ),
    text="Grüße, 東京 👋\u2028\r\n",
)
case(
    "openai-chat", "calls whose pieces alternate",
    events(
        chunk({"role": "assistant", "content": None}),
        chunk(call(0, "", id="call_a", type="function", name="weather")),
        chunk(call(1, "", id="call_b", type="function", name="time")),
        chunk(call(0, '{"city": "São')), chunk(call(1, '{"zone"')), chunk(call(0, ' Paulo"}')),
        chunk(call(1, ": 3}")), chunk({}, "tool_calls"), last="[DONE]",
    ),
    finish="tool_calls",
)
case(
    "openai-chat", "thinking, and an end without its blank line",
    events(
        chunk({"role": "assistant", "reasoning_content": "let me "}), chunk({"reasoning_content": "see"}),
        chunk({"content": "42"}), chunk({}, "length", usage=USAGE), last="[DONE]", end="\r\n",
    ).rstrip(),
    thinking="let me see", text="42", finish="length",
)
case(
    "openai-chat", "two choices",
    events(
        chunk({"role": "assistant", "content": "a"}), chunk({"role": "assistant", "content": "b"}, index=1),
        chunk({"content": "!"}, index=1), chunk({}, "length", index=1), chunk({}, "stop"), last="[DONE]",
    ),
    text="a",
)
case(
    "openai-chat", "an error in a stream",
    events(
        chunk({"role": "assistant", "content": "a"}), {"error": {"message": "broken", "type": "server_error"}},
        last="[DONE]",
    ),
    error="broken",
)
case(
    "openai-chat", "refusal, log probabilities, counts",
    whole({
        **completion({"content": None, "refusal": "I will not."}, usage=USAGE),
        "choices": [{
            **completion({"content": None, "refusal": "I will not."})["choices"][0],
            "logprobs": {"content": [{"token": "I", "logprob": -0.1, "bytes": [73], "top_logprobs": []}]},
        }],
    }),
    stream=False, refusal="I will not.",
)
case(
    "openai-chat", "citations, and calls of a function and of a free-text tool",
    whole(completion(
        {
            "content": "É: see there",
            "annotations": [{
                "type": "url_citation",
                "url_citation": {"url": "https://a.example", "title": "A", "start_index": 3, "end_index": 12},
            }],
            "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"n": [1, 2.5]}'}},
                {"id": "call_b", "type": "custom", "custom": {"name": "g", "input": "free {text"}},
            ],
        },
        "tool_calls",
    )),
    stream=False, sources=[["https://a.example", "see there"]], finish="tool_calls",
)
case(
    "openai-chat", "too many requests",
    whole({"error": {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded", "param": None}}),
    stream=False, status=429, headers={"retry-after": "3"}, error="Slow down.",
)

# ---------------------------------------------------------------------------------------------- Anthropic


def begin(**usage):
    usage = {"input_tokens": 10, "output_tokens": 1, **usage}
    return {
        "type": "message_start",
        "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": usage,
        },
    }


def block(index, block):
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index, kind, **delta):
    return {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", **delta}}


def close(index):
    return {"type": "content_block_stop", "index": index}


def end(reason, **usage):
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 9, **usage}},
        {"type": "message_stop"},
    ]


case(
    "anthropic-messages", "thinking with its proof, redacted thinking, text, calls with and without arguments",
    events(
        begin(cache_read_input_tokens=100, cache_creation_input_tokens=7), {"type": "ping"},
        block(0, {"type": "thinking", "thinking": "", "signature": ""}),
        delta(0, "thinking", thinking="Wie "), delta(0, "thinking", thinking="spät? 🕰️"),
        delta(0, "signature", signature="c2lnbmVk"), close(0),
        block(1, {"type": "redacted_thinking", "data": "aGlkZGVu"}), close(1),
        block(2, {"type": "text", "text": ""}), delta(2, "text", text="Grüße"), delta(2, "text", text=""), close(2),
        block(3, {"type": "tool_use", "id": "toolu_a", "name": "time", "input": {}}), close(3),
        block(4, {"type": "tool_use", "id": "toolu_b", "name": "weather", "input": {}}),
        delta(4, "input_json", partial_json=""), delta(4, "input_json", partial_json='{"city": "Mün'),
        delta(4, "input_json", partial_json='chen"}'), close(4),
        *end("tool_use", input_tokens=11), named=True,
    ),
    thinking="Wie spät? 🕰️", proofs=["c2lnbmVk", "aGlkZGVu"], text="Grüße", finish="tool_calls",
)
case(
    "anthropic-messages", "calls whose pieces alternate",
    events(
        begin(), block(0, {"type": "tool_use", "id": "toolu_a", "name": "a", "input": {}}),
        block(1, {"type": "tool_use", "id": "toolu_b", "name": "b", "input": {}}),
        delta(0, "input_json", partial_json='{"x":'), delta(1, "input_json", partial_json='{"y":'),
        delta(0, "input_json", partial_json="1}"), delta(1, "input_json", partial_json="2}"), close(0), close(1),
        *end("tool_use"), named=True,
    ),
    finish="tool_calls",
)
case(
    "anthropic-messages", "a ping without data, unknown events, a search with its sources",
    events(
        begin(), "event: ping\ndata:", "event: news\ndata: {\"type\": \"news\"}",
        block(0, {"type": "server_tool_use", "id": "srvtoolu_a", "name": "web_search", "input": {}}),
        delta(0, "input_json", partial_json='{"query": "x"}'), close(0),
        block(1, {"type": "text", "text": "Früh: "}), close(1),
        block(2, {"type": "text", "text": ""}), delta(2, "text", text="am Morgen"),
        delta(2, "citations", citation={
            "type": "web_search_result_location", "url": "https://a.example", "title": "A",
            "encrypted_index": "x", "cited_text": "…",
        }), close(2),
        *end("end_turn", server_tool_use={"web_search_requests": 1}), named=True,
    ),
    text="Früh: am Morgen", sources=[["https://a.example", "am Morgen"]],
)
case(
    "anthropic-messages", "an error in a stream",
    events(begin(), {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, named=True),
    error="Overloaded",
)
case(
    "anthropic-messages", "a whole message, cut short",
    whole({
        **begin()["message"], "stop_reason": "max_tokens",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2lnbmVk"},
            {"type": "text", "text": "日本", "citations": None},
            {"type": "tool_use", "id": "toolu_a", "name": "f", "input": {"n": 1e3, "s": "\\u00e9", "o": {}}},
        ],
    }),
    stream=False, thinking="hm", text="日本", finish="length",
)
case(
    "anthropic-messages", "a wrong request",
    whole({"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: wrong"}}),
    stream=False, status=400, error="max_tokens: wrong",
)

# ---------------------------------------------------------------------------------------------- Google


def piece(*parts, finish=None, index=0, **more):
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": index}
    candidate |= {"finishReason": finish} if finish else {}
    return {"candidates": [candidate], "modelVersion": "gemini-3-pro", "responseId": "r1", **more}


def counts(prompt, candidates, thoughts=0, cached=0):
    return {
        "promptTokenCount": prompt, "candidatesTokenCount": candidates, "thoughtsTokenCount": thoughts,
        "cachedContentTokenCount": cached, "totalTokenCount": prompt + candidates + thoughts,
    }


case(
    "gemini", "thoughts, calls with a proof and without arguments, text with a proof",
    events(
        piece({"text": "**Über", "thought": True}), piece({"text": "legung**", "thought": True}),
        piece({"functionCall": {"name": "a", "args": {"städte": ["Köln", "東京"]}}, "thoughtSignature": "c2lnbg=="}),
        piece({"functionCall": {"name": "b", "id": "call_b"}}, usageMetadata=counts(10, 3, 4)),
        piece({"text": ""}), piece({"text": "fertig", "thoughtSignature": "_-8="}),
        piece({"text": ""}, finish="STOP", usageMetadata=counts(10, 7, 4, 6)), end="\r\n",
    ),
    thinking="**Überlegung**", text="fertig", finish="tool_calls",
)
case(
    "gemini", "several candidates, code that ran, a picture",
    whole({
        "candidates": [
            {"content": {"parts": [
                {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}}, {"text": "one"},
            ]}, "finishReason": "STOP"},
            {"index": 1, "content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}}]},
             "finishReason": "MAX_TOKENS"},
        ],
        "usageMetadata": counts(3, 9), "modelVersion": "m", "responseId": "r",
    }),
    stream=False, text="\n```python\nprint(1)\n```\n\n```\n1\n```\none",
)
case(
    "gemini", "sources counted in bytes",
    events(
        piece({"text": "Köln ist alt. "}), piece({"text": "Sehr alt."}),
        {"candidates": [{"finishReason": "STOP", "index": 0, "groundingMetadata": {
            "webSearchQueries": ["köln"],
            "groundingChunks": [
                {"web": {"uri": "https://a.example", "title": "A"}}, {"web": {"uri": "https://b.example"}},
            ],
            "groundingSupports": [
                {"segment": {"startIndex": 15, "endIndex": 24, "text": "Sehr alt."}, "groundingChunkIndices": [1]},
            ],
        }}]},
    ),
    sources=[["https://b.example", "Sehr alt."], ["https://a.example", "Köln ist alt. Sehr alt."]],
)
case(
    "gemini", "a prompt that was refused",
    whole({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}}),
    stream=False, finish="content_filter",
)
case(
    "gemini", "a wrong key",
    whole({"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}),
    stream=False, status=400, error="API key not valid.",
)

# ---------------------------------------------------------------------------------------------- Bedrock


def block_delta(index, delta):
    return "contentBlockDelta", {"contentBlockIndex": index, "delta": delta, "p": "abcd"}


def block_start(index, call, name):
    start = {"toolUse": {"toolUseId": call, "name": name}}
    return "contentBlockStart", {"contentBlockIndex": index, "start": start, "p": "ab"}


def block_stop(index):
    return "contentBlockStop", {"contentBlockIndex": index, "p": ""}


case(
    "bedrock-converse", "thinking with its proof, redacted thinking, text, calls with and without arguments",
    binary_events(
        ("messageStart", {"role": "assistant", "p": "abc"}),
        block_delta(0, {"reasoningContent": {"text": "Wie "}}),
        block_delta(0, {"reasoningContent": {"text": "spät? 🕰️"}}),
        block_delta(0, {"reasoningContent": {"signature": "c2lnbmVk"}}), block_stop(0),
        block_delta(1, {"reasoningContent": {"redactedContent": "aGlkZGVu"}}), block_stop(1),
        block_delta(2, {"text": "Grüße"}), block_delta(2, {"text": ""}), block_stop(2),
        block_start(3, "tooluse_a", "time"), block_stop(3),
        block_start(4, "tooluse_b", "weather"), block_delta(4, {"toolUse": {"input": ""}}),
        block_delta(4, {"toolUse": {"input": '{"city": "Mün'}}), block_delta(4, {"toolUse": {"input": 'chen"}'}}),
        block_stop(4), ("messageStop", {"stopReason": "tool_use", "p": "abcde"}),
        ("metadata", {
            "usage": {
                "inputTokens": 10, "outputTokens": 20, "totalTokens": 142, "cacheReadInputTokens": 100,
                "cacheWriteInputTokens": 12,
            },
            "metrics": {"latencyMs": 5},
        }),
    ),
    thinking="Wie spät? 🕰️", proofs=["c2lnbmVk", "aGlkZGVu"], text="Grüße", finish="tool_calls",
)
case(
    "bedrock-converse", "calls whose pieces alternate",
    binary_events(
        ("messageStart", {"role": "assistant"}), block_start(0, "tooluse_a", "a"), block_start(1, "tooluse_b", "b"),
        block_delta(0, {"toolUse": {"input": '{"x":'}}), block_delta(1, {"toolUse": {"input": '{"y":'}}),
        block_delta(0, {"toolUse": {"input": "1}"}}), block_delta(1, {"toolUse": {"input": "2}"}}),
        block_stop(0), block_stop(1), ("messageStop", {"stopReason": "tool_use"}),
    ),
    finish="tool_calls",
)
case(
    "bedrock-converse", "an exception in a stream",
    binary_events(
        ("messageStart", {"role": "assistant"}), block_delta(0, {"text": "a"}),
        ("!throttlingException", {"message": "Too many tokens, please wait."}),
    ),
    error="Too many tokens, please wait.",
)
case(
    "bedrock-converse", "a whole message with citations, stopped by a guardrail",
    whole({
        "output": {"message": {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2lnbmVk"}}},
            {"citationsContent": {
                "content": [{"text": "Früh"}],
                "citations": [{"title": "A", "location": {"web": {"url": "https://a.example", "domain": "a"}}}],
            }},
            {"text": "日本"}, {"toolUse": {"toolUseId": "tooluse_a", "name": "f", "input": {"n": 1.5, "é": None}}},
        ]}},
        "stopReason": "guardrail_intervened", "metrics": {"latencyMs": 1},
        "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
    }),
    stream=False, thinking="hm", text="Früh日本", sources=[["https://a.example", ""]], finish="content_filter",
)
case(
    "bedrock-converse", "a wrong request",
    whole({"message": "The model returned the following errors: wrong"}),
    stream=False, status=400, headers={"x-amzn-errortype": "ValidationException:http://internal.amazon.com/"},
    error="The model returned the following errors: wrong",
)

# ---------------------------------------------------------------------------------------------- Cohere


def message_delta(kind, index, **message):
    return {"type": kind, "index": index, "delta": {"message": message}}


def cohere_call(**more):
    return {"tool_calls": {"function": more.pop("function"), **more}}


COHERE_USAGE = {
    "billed_units": {"input_tokens": 30, "output_tokens": 9}, "cached_tokens": 4,
    "tokens": {"input_tokens": 20, "output_tokens": 12, "reasoning_tokens": 5, "image_tokens": 16},
}

case(
    "cohere-chat", "a plan, thinking, text, calls with and without arguments, a ping without data",
    events(
        {"type": "message-start", "id": "c1", "delta": {"message": {
            "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": [],
        }}},
        "event: ping\ndata:",
        message_delta("tool-plan-delta", 0, tool_plan="Zuerst "),
        message_delta("tool-plan-delta", 0, tool_plan="東京."),
        message_delta("content-start", 0, content={"type": "text", "text": ""}),
        message_delta("content-delta", 0, content={"text": "Grüße"}), {"type": "content-end", "index": 0},
        message_delta("tool-call-start", 1, **cohere_call(
            id="a", type="function", function={"name": "f", "arguments": ""},
        )),
        message_delta("tool-call-delta", 1, **cohere_call(function={"arguments": '{"x": '})),
        message_delta("tool-call-delta", 1, **cohere_call(function={"arguments": '"é"}'})),
        {"type": "tool-call-end", "index": 1},
        message_delta("tool-call-start", 2, **cohere_call(
            id="b", type="function", function={"name": "g", "arguments": ""},
        )),
        {"type": "tool-call-end", "index": 2},
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": COHERE_USAGE}},
        named=True, last="[DONE]",
    ),
    thinking="Zuerst 東京.", text="Grüße", finish="tool_calls",
)
case(
    "cohere-chat", "a whole answer, cut short",
    whole({
        "id": "c1", "finish_reason": "MAX_TOKENS", "usage": COHERE_USAGE,
        "message": {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "日本 ist groß"},
        ], "citations": [{
            "start": 3, "end": 6, "text": "ist", "type": "TEXT_CONTENT",
            "sources": [{"type": "document", "id": "d", "document": {"url": "https://a.example", "title": "A"}}],
        }]},
    }),
    stream=False, thinking="hm", sources=[["https://a.example", "ist"]], finish="length",
)
case(
    "cohere-chat", "a wrong request", whole({"id": "e1", "message": "invalid request: no model"}),
    stream=False, status=400, error="invalid request: no model",
)

# ---------------------------------------------------------------------------------------------- Ollama


def line(message, **more):
    said = {"model": "m", "created_at": "2025-01-01T00:00:00Z", "done": False, **more}
    return json.dumps({**said, "message": {"role": "assistant", **message}}, ensure_ascii=False)


ENDED = {"done": True, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": 5, "total_duration": 9}

case(
    "ollama-chat", "thinking, text, calls",
    "\n".join([
        line({"content": "", "thinking": "Wie "}), line({"content": "", "thinking": "spät? 🕰️"}),
        line({"content": "Grü"}), line({"content": "ße"}),
        line({"content": "", "tool_calls": [
            {"function": {"name": "f", "arguments": {"städte": ["東京"]}}},
            {"id": "call_b", "function": {"index": 1, "name": "g", "arguments": {}}},
        ]}),
        line({"content": ""}, **ENDED), "",
    ]).encode(),
    headers={"content-type": "application/x-ndjson"},
    thinking="Wie spät? 🕰️", text="Grüße", finish="tool_calls",
)
case(
    "ollama-chat", "an error in a stream",
    (line({"content": "a"}) + '\n{"error": "model runner has stopped"}\n').encode(),
    headers={"content-type": "application/x-ndjson"}, error="model runner has stopped",
)
case(
    "ollama-chat", "a whole answer, cut short", line({"content": "日本"}, **{**ENDED, "done_reason": "length"}).encode(),
    stream=False, text="日本", finish="length",
)
case(
    "ollama-chat", "an unknown model", whole({"error": "model 'x' not found"}),
    stream=False, status=404, error="model 'x' not found",
)

# ---------------------------------------------------------------------------------------------- every finish reason

# A finish reason that an SDK knows and our tables do not fails in `official`, so that new versions reveal new reasons.

for reason in typing.get_args(anthropic.types.StopReason):
    content = [{"type": "tool_use", "id": "toolu_a", "name": "f", "input": {}}] if reason == "tool_use" else []
    case(
        "anthropic-messages", f"ends with {reason}",
        whole({**begin()["message"], "stop_reason": reason, "content": content}), stream=False,
    )
case(
    "anthropic-messages", "a refusal that is explained",
    events(
        begin(), {"type": "message_delta", "usage": {"output_tokens": 1}, "delta": {
            "stop_reason": "refusal", "stop_sequence": None,
            "stop_details": {"type": "refusal", "category": "cyber", "explanation": "I may not."},
        }}, {"type": "message_stop"}, named=True,
    ),
    refusal="I may not.", finish="content_filter",
)
for reason in typing.get_args(Choice.model_fields["finish_reason"].annotation):
    case("openai-chat", f"ends with {reason}", whole(completion({"content": "x"}, reason)), stream=False)
for reason in genai.types.FinishReason:
    if not reason.value.endswith("UNSPECIFIED"):
        case("gemini", f"ends with {reason.value}", whole(piece({"text": "x"}, finish=reason.value)), stream=False)
for reason in genai.types.BlockedReason:
    if not reason.value.endswith("UNSPECIFIED"):
        refused = {"promptFeedback": {"blockReason": reason.value}}
        case("gemini", f"refuses with {reason.value}", whole(refused), stream=False, finish="content_filter")

BEDROCK_MODEL = bedrock_converse.BEDROCK.meta.service_model
for reason in BEDROCK_MODEL.shape_for("StopReason").enum:
    ended = binary_events(("messageStart", {"role": "assistant"}), ("messageStop", {"stopReason": reason}))
    broken = {"error": NO_WORDS} if bedrock_converse.FINISH[reason] is None else {}
    case("bedrock-converse", f"ends with {reason}", ended, **broken)
for name, shape in BEDROCK_MODEL.operation_model("ConverseStream").output_shape.members["stream"].members.items():
    if shape.metadata.get("exception"):
        ended = binary_events(("messageStart", {"role": "assistant"}), (f"!{name}", {"message": "so it is"}))
        case("bedrock-converse", f"breaks with {name}", ended, error="so it is")
