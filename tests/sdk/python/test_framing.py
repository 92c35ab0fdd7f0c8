"""The gateway's framers against those of the official SDKs, on recorded streams, random ones and damaged ones."""

import base64
import json
import random
import re
import struct
from binascii import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from openai._streaming import SSEDecoder

import recordings

CASES = 1500


def cut(body, chance):
    """The body in pieces of random sizes."""
    size = chance.choice([1, 3, 16, 200] if len(body) < 5000 else [200, 5000])
    return size, [body[start : start + size] for start in range(0, len(body), size)]


def recorded(protocol):
    for provider, spoken in recordings.groups():
        if spoken == protocol:
            streams = (answer for answer in recordings.answers(provider, protocol) if answer.stream)
            yield from (answer.body for answer in streams if answer.status == 200)


# ---------------------------------------------------------------------------------------------- server-sent events


def test_server_sent_events_of_recordings(reader):
    streams = [body for protocol in ("openai-chat", "anthropic-messages", "gemini") for body in recorded(protocol)]
    if not streams:
        pytest.skip(recordings.NONE)
    chance = random.Random(1)
    for body in streams:
        compare_server_sent(reader, body, chance)
        at = chance.randrange(len(body) + 1)
        compare_server_sent(reader, body[:at] + chance.choice(WORDS) + body[at + chance.randrange(3) :], chance)


def test_server_sent_events_at_random(reader):
    chance = random.Random(2)
    for _ in range(CASES):
        compare_server_sent(reader, random_events(chance), chance)


WORDS = [
    b"data", b"data:", b"data: ", b"event:", b"event: ", b"error: ", b"id: ", b"retry: ", b":", b" ", b"\n", b"\n\n",
    b"\r", b"\r\n", b"\r\n\r\n", b"\n", b"{}", b'{"a": 1}', b"[DONE]", b"ping", "é".encode(), "\u2028".encode(),
    "\U0001f44b".encode(), b"\x00", b"7", b"datax: ", b"\t", b"\x0b", b"\xff", b"\xef\xbb\xbf",
]


def random_events(chance):
    return b"".join(chance.choices(WORDS, k=chance.randrange(1, 40)))


def compare_server_sent(reader, body, chance):
    size, _ = cut(body, chance)
    frames, error = reader.frames("sse", body, size)
    assert error is None
    ours = [(base64.b64decode(frame["event"]), base64.b64decode(frame["data"])) for frame in frames]
    theirs, broken = official_server_sent(as_meant(body), chance)
    # Frames without data carry nothing, for the SDKs' readers too.
    ours = [frame for frame in ours if frame[1]]
    # The SDK stops at bytes that are not UTF-8. In the gateway the parser of the JSON refuses them.
    ours = ours[: len(theirs)] if broken else ours
    assert ours == theirs, body


def official_server_sent(body, chance):
    events, _ = [], None
    try:
        for event in SSEDecoder().iter_bytes(iter(cut(body, chance)[1])):
            if event.data:
                events.append(((event.event or "").encode(), event.data.encode()))
    except UnicodeDecodeError:
        return events, True
    return events, False


def as_meant(body):
    """The same stream without the parts that the gateway reads differently on purpose."""
    # The SDK takes a byte order mark for a part of the first field's name.
    body = body.removeprefix(b"\xef\xbb\xbf")
    # A field without a colon has an empty value. No server sends one, and the gateway ignores it.
    body = re.sub(rb"(?<![^\r\n])(data|event)(?=[\r\n]|$)", b":", body)
    # llama-box reports an error in a field of its own.
    body = re.sub(rb"(?<![^\r\n])error:", b"event: error\ndata:", body)
    # The SDK drops an event whose blank line is missing at the end of the stream.
    return body + b"\n\n\n"


# ---------------------------------------------------------------------------------------------- Amazon's event stream


def test_event_stream_of_recordings(reader):
    streams = list(recorded("bedrock-converse"))
    if not streams:
        pytest.skip(recordings.NONE)
    chance = random.Random(3)
    for body in streams:
        assert compare_event_stream(reader, body, chance) == "read"
        for _ in range(20):
            compare_event_stream(reader, damaged(body, chance), chance)


def test_event_stream_at_random(reader):
    chance = random.Random(4)
    outcomes = []
    for _ in range(CASES):
        body = b"".join(random_message(chance) for _ in range(chance.randrange(1, 4)))
        outcomes.append(compare_event_stream(reader, body, chance))
        outcomes.append(compare_event_stream(reader, damaged(body, chance), chance))
    assert {outcome: outcomes.count(outcome) > 50 for outcome in set(outcomes)} == {"read": True, "refused": True}


def message(headers, payload, length=None, headers_length=None):
    """One message whose checksums are right, whatever its lengths say."""
    headers_length = len(headers) if headers_length is None else headers_length
    length = 16 + len(headers) + len(payload) if length is None else length
    prelude = struct.pack("!II", length, headers_length)
    body = prelude + struct.pack("!I", crc32(prelude)) + headers + payload
    return body + struct.pack("!I", crc32(body))


def header(name, kind, value):
    return bytes([len(name)]) + name + bytes([kind]) + value


def sized(value):
    return struct.pack("!H", len(value)) + value


def random_header(chance):
    name = chance.choice([b"a", b":event-type", b":message-type", "é".encode(), b"", b"\xff", b"x" * 200])
    values = [
        b"", b"", chance.randbytes(1), chance.randbytes(2), chance.randbytes(4), chance.randbytes(8),
        sized(chance.randbytes(chance.randrange(5))), sized("é".encode() * chance.randrange(3)),
        chance.randbytes(8), chance.randbytes(16), b"",
    ]
    kind = chance.choices(range(11), weights=[4] * 7 + [20, 4, 4, 1])[0]
    return header(name, kind, values[kind])


def random_message(chance):
    headers = b"".join(random_header(chance) for _ in range(chance.randrange(4)))
    payload = chance.choice([b"", b"{}", chance.randbytes(chance.randrange(40))])
    oddity = chance.randrange(12)
    if oddity == 0:
        headers = headers[: chance.randrange(len(headers) + 1)]
    if oddity == 1:
        return message(headers, payload, headers_length=chance.randrange(60))
    if oddity == 2:
        return message(headers, payload, length=chance.choice([0, 4, 12, 15, 16, 17, 2**25, 2**32 - 1]))
    return message(headers, payload)


def damaged(body, chance):
    body = bytearray(body)
    at = chance.randrange(len(body))
    what = chance.randrange(4)
    if what == 0:
        body[at] ^= 1 << chance.randrange(8)
    elif what == 1:
        del body[at]
    elif what == 2:
        body.insert(at, chance.randrange(256))
    else:
        del body[at:]
    return bytes(body)


def compare_event_stream(reader, body, chance):
    size, _ = cut(body, chance)
    frames, error = reader.frames("aws-eventstream", body, size)
    ours = [(dict(frame["headers"]), base64.b64decode(frame["payload"])) for frame in frames]
    theirs, refusal, rest = official_event_stream(body, chance)
    assert len(ours) <= len(theirs), f"read what botocore refuses ({refusal}): {body.hex()}"
    assert strict(ours) == strict(theirs[: len(ours)]), body.hex()
    if len(ours) < len(theirs):
        # botocore cuts off the rest, where the gateway refuses the message.
        assert error and not fits(theirs_bytes(body, len(ours))), body.hex()
    if refusal:
        assert error, f"botocore refuses it ({refusal}): {body.hex()}"
    if error and not refusal and len(ours) == len(theirs):
        # botocore drops an unfinished message, and waits for the rest of a message with impossible lengths.
        assert rest, body.hex()
    return "refused" if error else "read"


def strict(frames):
    """Python takes True for 1."""
    return [(json.dumps(headers), payload) for headers, payload in frames]


def official_event_stream(body, chance):
    buffer, frames = EventStreamBuffer(), []
    try:
        for piece in cut(body, chance)[1]:
            buffer.add_data(piece)
            for found in buffer:
                headers = {
                    name: {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
                    for name, value in found.headers.items()
                }
                frames.append((headers, found.payload))
    except Exception as refusal:  # The parser's own errors, and those of struct, of UTF-8 and of its table.
        return frames, repr(refusal), b""
    return frames, None, buffer._data


def theirs_bytes(body, index):
    """The bytes of one message, by the lengths alone."""
    for _ in range(index):
        body = body[struct.unpack("!I", body[:4])[0] :]
    return body[: struct.unpack("!I", body[:4])[0]]


def fits(body):
    """Whether a message's headers end where its lengths say, and its lengths are possible."""
    length, headers_length = struct.unpack("!II", body[:8])
    if length < 16 + headers_length:
        return False
    headers, sizes = body[12 : 12 + headers_length], [0, 0, 1, 2, 4, 8, None, None, 8, 16]
    at = 0
    while at < len(headers):
        at += 1 + headers[at]
        if at >= len(headers):
            return False
        size = sizes[headers[at]]
        at += 1
        if size is None:
            size = 2 + struct.unpack("!H", headers[at : at + 2])[0]
        at += size
    return at == len(headers)
