"""Official SDK of Google."""

import base64
import re

from google import genai

from official.shared import TRANSPORT, complete, counted, empty_choice, failed

GOOGLE = {"http_options": genai.types.HttpOptions(base_url="http://provider", httpx_client=TRANSPORT.client)}
GEMINI = genai.Client(api_key="none", **GOOGLE)
VERTEX = genai.Client(vertexai=True, api_key="none", **GOOGLE)


def answer(given):
    """The SDK reads the answers of Vertex a little differently from those of AI Studio."""
    client = VERTEX if given.provider == "vertex-gemini" else GEMINI
    request = {"model": "model", "contents": "?"}
    try:
        if given.stream:
            read = read_pieces(list(client.models.generate_content_stream(**request)))
        else:
            read = read_pieces([client.models.generate_content(**request)])
        # The SDK's counts have no member for AI Studio's tier.
        found = re.search(rb'"serviceTier":\s*"(\w+)"', given.body)
        return {**read, "tier": read["tier"] or found and TIER.get(found[1].decode().lower())}
    except genai.errors.APIError as error:
        return failed(error.message)


# A call turns `stop` into `tool_calls`.
FINISH = {
    **dict.fromkeys(["STOP", "OTHER", "IMAGE_OTHER", "NO_IMAGE"], "stop"),
    **dict.fromkeys(["MAX_TOKENS", "CONTINUATION"], "length"),
    **dict.fromkeys(["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"], "content_filter"),
    **dict.fromkeys(["IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"], "content_filter"),
    **dict.fromkeys(["MODEL_ARMOR", "ESCALATION", "PUP_LIMITED_DISABLED"], "content_filter"),
    # The model failed after it had produced content.
    **dict.fromkeys(["MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL"], "stop"),
    **dict.fromkeys(["TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE"], "stop"),
}


# Vertex AI's traffic types and AI Studio's service tiers in OpenAI's terms.
TIER = {
    "ON_DEMAND": "default", "standard": "default", "flex": "flex", "priority": "priority",
    "ON_DEMAND_FLEX": "flex", "ON_DEMAND_PRIORITY": "priority", "ON_DEMAND_OFFPEAK": "offpeak",
    "PROVISIONED_THROUGHPUT": "provisioned_throughput",
}


def read_pieces(pieces):
    choices, usage, grounding = {}, None, {}
    for piece in pieces:
        for candidate in piece.candidates or []:
            read_candidate(choices.setdefault(candidate.index or 0, empty_choice()), candidate)
            read_grounding(grounding.setdefault(candidate.index or 0, {}), candidate)
        usage = piece.usage_metadata or usage
    for index, found in grounding.items():
        choices[index]["sources"] = read_sources(found, choices[index]["text"])
    feedback = pieces[0].prompt_feedback
    if not choices and feedback and feedback.block_reason:
        choices[0] = {**empty_choice(), "finish": "content_filter"}
    return complete(
        choices,
        id=pieces[0].response_id,
        model=pieces[0].model_version,
        tier=usage and TIER.get(usage.traffic_type),
        usage=usage and read_usage(usage),
    )


def read_candidate(choice, candidate):
    for part in (candidate.content and candidate.content.parts) or []:
        read_part(choice, part)
    if candidate.logprobs_result:
        choice["logprobs"] += read_logprobs(candidate.logprobs_result)
    if candidate.finish_reason:
        choice["finish"] = FINISH[candidate.finish_reason.value]


def read_logprobs(result):
    def pair(token):
        return [token.token, token.log_probability]

    chosen, others = result.chosen_candidates or [], result.top_candidates or []
    alternatives = [[pair(token) for token in other.candidates or []] for other in others]
    alternatives += [[]] * (len(chosen) - len(others))
    return [[*pair(token), other] for token, other in zip(chosen, alternatives)]


def read_grounding(found, candidate):
    """Later pieces of a stream replace earlier ones."""
    grounding, quoted = candidate.grounding_metadata, candidate.citation_metadata
    if grounding:
        found["chunks"] = grounding.grounding_chunks or found.get("chunks")
        found["supports"] = grounding.grounding_supports or found.get("supports")
    if quoted:
        found["quoted"] = quoted.citations or found.get("quoted")


def read_sources(found, text):
    """The sources of each supported part of the text. Sources that support no part apply to the whole text."""
    chunks, sources, used = found.get("chunks") or [], [], set()
    urls = [read_url(chunk) for chunk in chunks]
    for support in found.get("supports") or []:
        for index in support.grounding_chunk_indices or []:
            if index < len(urls) and urls[index]:
                used.add(index)
                cited = support.segment.text
                sources.append([urls[index], cited if cited is not None and cited in text else text])
    sources += [[url, text] for index, url in enumerate(urls) if url and index not in used]
    for citation in found.get("quoted") or []:
        if citation.uri:
            quoted = text.encode()[citation.start_index or 0 : citation.end_index or 0]
            sources.append([citation.uri, quoted.decode()])
    return sources


def read_url(chunk):
    place = chunk.web or chunk.retrieved_context or chunk.maps
    return place and place.uri


def read_part(choice, part):
    """Proofs of parts that have no form for callers (the provider's own tools, pictures) cannot be sent back."""
    proof = part.thought_signature and base64.b64encode(part.thought_signature).decode()
    if part.function_call:
        call = part.function_call
        choice["calls"].append(
            {"id": call.id or "", "name": call.name, "arguments": call.args or {}, "proof": proof}
        )
        return
    if part.text is not None:
        choice["thinking" if part.thought else "text"] += part.text
    elif part.inline_data and not part.thought:
        data = base64.b64encode(part.inline_data.data).decode()
        choice["images"].append((part.inline_data.mime_type, data))
    elif part.executable_code:
        choice["text"] += fenced("python", part.executable_code.code)
    elif part.code_execution_result:
        choice["text"] += fenced("", part.code_execution_result.output or "")
    if proof and (part.text is not None or part.thought):
        choice["proofs"].append(proof)


def fenced(language, code):
    end = "" if code.endswith("\n") else "\n"
    return f"\n```{language}\n{code}{end}```\n"


def read_usage(usage):
    thinking = usage.thoughts_token_count or 0

    def of(details, kind):
        return sum(count.token_count or 0 for count in details or [] if count.modality.value == kind)

    return counted(
        prompt=(usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
        completion=(usage.candidates_token_count or 0) + thinking,
        cached=usage.cached_content_token_count or 0,
        thinking=thinking,
        heard=of(usage.prompt_tokens_details, "AUDIO") - of(usage.cache_tokens_details, "AUDIO"),
        spoken=of(usage.candidates_tokens_details, "AUDIO"),
        drawn=of(usage.candidates_tokens_details, "IMAGE"),
    )
