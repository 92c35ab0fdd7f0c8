"""The memory for large requests and answers: a recording of 200 MB is forwarded without being buffered, and 2,048 vectors of 1,536 numbers
take a small multiple of their bytes."""

import http.client
import http.server
import json
import os
import socketserver
import threading
from pathlib import Path

import pytest
from conftest import free_address

KEY = "sk-test"
UPLOAD = 200 << 20
PIECE = 64 << 10
# For uploads to providers in OpenAI's format, which are streamed.
MOST_OF_AN_UPLOAD = 8 << 20


def vectors(count, length):
    """An answer in OpenAI's format."""
    numbers = ",".join(f"{(index * 7919 % 2000 - 1000) / 65536:.9f}" for index in range(length))
    entries = ",".join(f'{{"object":"embedding","index":{index},"embedding":[{numbers}]}}' for index in range(count))
    usage = '{"prompt_tokens":2048,"total_tokens":2048}'
    return f'{{"object":"list","data":[{entries}],"model":"text-embedding-3-small","usage":{usage}}}'.encode()


class Provider(http.server.BaseHTTPRequestHandler):
    """Reads everything and keeps nothing."""

    protocol_version = "HTTP/1.1"
    answers = {}
    received = []

    def do_POST(self):
        count = 0
        if length := self.headers.get("content-length"):
            while count < int(length):
                count += len(self.rfile.read(min(PIECE, int(length) - count)))
        else:
            while size := int(self.rfile.readline(), 16):
                count += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        Provider.received.append(count)
        body = Provider.answers[self.path]
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


@pytest.fixture
def gateway(start, tmp_path):
    server = Server(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Provider.received = []
    address = free_address()
    (tmp_path / "llmgateway.toml").write_text(
        f'[server]\nlisten = "{address}"\n[auth]\napi_keys = ["{KEY}"]\n'
        f'[providers.openai]\napi_key = "key"\nbase_url = "http://127.0.0.1:{server.server_port}/v1"\n'
    )
    yield start(["serve", "--config", "llmgateway.toml"], address)
    server.shutdown()


def peak(process):
    """The largest resident set so far, in bytes."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) << 10


def reset_peak(process):
    Path(f"/proc/{process.process.pid}/clear_refs").write_text("5")


def upload(address, size):
    """A recording in pieces, with its model in front."""
    head = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nopenai/whisper-1\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    )
    end = b"\r\n--b--\r\n"
    connection = http.client.HTTPConnection(address, timeout=120)
    connection.putrequest("POST", "/v1/audio/transcriptions")
    connection.putheader("authorization", f"Bearer {KEY}")
    connection.putheader("content-type", "multipart/form-data; boundary=b")
    connection.putheader("content-length", str(len(head) + size + len(end)))
    connection.endheaders()
    connection.send(head)
    piece = os.urandom(PIECE)
    for _ in range(size // PIECE):
        connection.send(piece)
    connection.send(end)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read from Linux' /proc")
def test_a_large_upload_is_not_held(gateway):
    Provider.answers = {"/v1/audio/transcriptions": b'{"text":"Hi.","usage":{"type":"duration","seconds":6554}}'}
    # The first upload allocates what any upload needs: connections, buffers and pages of the program.
    assert upload(gateway.address, 16 << 20)[0] == 200
    reset_peak(gateway)
    before = peak(gateway)
    status, answer = upload(gateway.address, UPLOAD)
    assert (status, answer["text"]) == (200, "Hi."), answer
    assert Provider.received[-1] > UPLOAD
    grown = peak(gateway) - before
    print(f"a recording of {UPLOAD >> 20} MiB: {grown / (1 << 20):.1f} MiB more")
    assert grown < MOST_OF_AN_UPLOAD


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read from Linux' /proc")
def test_many_vectors_take_a_small_multiple_of_their_bytes(gateway):
    body = vectors(2048, 1536)
    Provider.answers = {"/v1/embeddings": body}
    asked = json.dumps({"model": "openai/text-embedding-3-small", "input": ["a"] * 2048, "encoding_format": "base64"})
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    reset_peak(gateway)
    before = peak(gateway)
    connection = http.client.HTTPConnection(gateway.address, timeout=120)
    connection.request("POST", "/v1/embeddings", asked, headers)
    answer = connection.getresponse()
    entries = json.loads(answer.read())["data"]
    assert (answer.status, len(entries), len(entries[0]["embedding"])) == (200, 2048, 8192)
    grown = peak(gateway) - before
    print(f"{len(body) >> 20} MiB of vectors: {grown / (1 << 20):.1f} MiB more")
    # The provider's answer, the caller's answer in base64, and the parsed values.
    assert grown < 3 * len(body)
