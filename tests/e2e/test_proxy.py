"""nginx in front of the gateway: an answer that is given before the body has been read reaches the client."""

import getpass
import http.client
import os
import subprocess
import time

import pytest
from conftest import PATIENCE_SECONDS, free_address

KEY = "sk-test"
PIECE = bytes(64 << 10)
JSON = {"content-type": "application/json"}
KNOWN = JSON | {"authorization": f"Bearer {KEY}"}
# Method, path, headers, bytes, and the status that the gateway answers at once.
EARLY = [
    ("POST", "/v1/chat/completions", JSON, 12 << 20, 401),
    ("POST", "/v1/nothing", JSON, 12 << 20, 404),
    ("POST", "/v1/chat/completions", KNOWN | {"content-type": "text/csv"}, 12 << 20, 415),
    ("PUT", "/v1/chat/completions", KNOWN, 12 << 20, 405),
    ("POST", "/v1/chat/completions", KNOWN, 80 << 20, 413),
]

CONFIG = """
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_max_body_size 200m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{ listen {held}; location / {{ proxy_pass http://{gateway}; }} }}
  server {{
    listen {streamed};
    location / {{
      proxy_pass http://{gateway};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_buffering off;
    }}
  }}
}}
"""


@pytest.fixture
def gateway(start, tmp_path):
    address = free_address()
    (tmp_path / "llmgateway.toml").write_text(f'[server]\nlisten = "{address}"\n[auth]\napi_keys = ["{KEY}"]\n')
    return start(["serve", "--config", "llmgateway.toml"], address)


def answers(address):
    try:
        connection = http.client.HTTPConnection(address, timeout=2)
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False


@pytest.fixture
def proxies(gateway, tmp_path):
    """The addresses of nginx: one that buffers a request before it sends it on, and one that streams it."""
    program = os.environ.get("LLMGATEWAY_NGINX")
    if not program:
        pytest.skip("LLMGATEWAY_NGINX names no nginx")
    held, streamed = free_address(), free_address()
    config = tmp_path / "nginx.conf"
    places = {"folder": tmp_path, "gateway": gateway.address, "held": held, "streamed": streamed}
    config.write_text(CONFIG.format(user=getpass.getuser(), **places))
    process = subprocess.Popen([program, "-c", config, "-p", tmp_path], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (answers(held) and answers(streamed)):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline, "nginx does not answer"
            time.sleep(0.05)
        yield [held, streamed]
    finally:
        process.terminate()
        process.wait()


def status(address, method, path, headers, length, is_chunked):
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
    pieces = (PIECE for _ in range(length // len(PIECE)))
    if not is_chunked:
        headers = headers | {"content-length": str(length)}
    connection.request(method, path, pieces, headers, encode_chunked=is_chunked)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_an_early_answer_reaches_a_client_behind_nginx(gateway, proxies):
    for address in proxies:
        for method, path, headers, length, expected in EARLY:
            for is_chunked in (False, True):
                found = status(address, method, path, headers, length, is_chunked)
                assert found == expected, f"{method} {path} of {length} bytes, chunked: {is_chunked}"
