"""A proxy in front of an S3 server that does what bad networks and busy servers do.

Faults are injected one by one (`fail`), or at random from a seed (`at_random`). It listens on
loopback only and understands as much HTTP as S3 clients speak.

    with s3_server() as url, FaultyS3(url) as proxy:
        proxy.fail("lost", method="PUT", times=2)
"""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import boto3
import fsspec
from moto.server import ThreadedMotoServer

# What is answered in place of the server: status and S3 code.
REFUSALS = {
    "slow_down": (503, "SlowDown"),
    "internal": (500, "InternalError"),
    "unavailable": (503, "ServiceUnavailable"),
    "full": (507, "XMinioStorageFull"),
    "quota": (403, "QuotaExceeded"),
}
# dropped: no answer, nothing done. lost: done, but no answer. truncated: the body breaks off.
# short: half a body that says it is whole. slow: the body comes late. stalled: it never comes.
# dripping: it comes byte by byte, never quite silent.
FAULTS = (*REFUSALS, "dropped", "lost", "truncated", "short", "slow", "stalled", "dripping")
STALL_S = 20.0
DRIP_S = 0.1


class FaultyS3:
    """The proxy; ``url`` is what clients are to use as their endpoint."""

    def __init__(self, backend: str, *, seed: int = 0) -> None:
        self._backend = urlsplit(backend)
        self._random = random.Random(seed)
        self._rates: Mapping[str, float] = {}
        self._orders: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self.ending = threading.Event()
        self.requests: list[tuple[str, str, str | None]] = []
        self.slow_s = 0.2
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "FaultyS3":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def fail(
        self, fault: str, *, method: str = "", key: str = "", times: int = 1, after: int = 0
    ) -> None:
        """Do this to the next requests whose method and path match, once ``after`` were let by."""
        assert fault in FAULTS
        order = {"fault": fault, "method": method, "key": key, "times": times, "after": after}
        with self._lock:
            self._orders.append(order)

    def at_random(self, **rates: float) -> None:
        """Do this to a share of all requests, 0..1 for each fault."""
        assert set(rates) <= set(FAULTS)
        self._rates = rates

    def heal(self) -> None:
        """No more faults, and forget the past."""
        with self._lock:
            self._orders.clear()
            self._rates = {}
            self.requests.clear()

    @property
    def done(self) -> Counter[str]:
        """How often each fault happened."""
        with self._lock:
            return Counter(fault for _, _, fault in self.requests if fault)

    def asked(self, method: str, key: str = "") -> int:
        """How many requests of a method came for paths that hold ``key``."""
        with self._lock:
            return sum(m == method and key in path for m, path, _ in self.requests)

    def fate(self, method: str, path: str) -> str | None:
        """The fault for a request, None for a good answer."""
        with self._lock:
            fault = self._ordered(method, path) or self._drawn()
            self.requests.append((method, path, fault))
            return fault

    def _ordered(self, method: str, path: str) -> str | None:
        for order in self._orders:
            if order["method"] in ("", method) and order["key"] in path:
                if order["after"] > 0:
                    order["after"] -= 1
                elif order["times"] > 0:
                    order["times"] -= 1
                    return str(order["fault"])
        return None

    def _drawn(self) -> str | None:
        point = self._random.random()
        for fault, rate in self._rates.items():
            point -= rate
            if point < 0:
                return fault
        return None

    def forward(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[HTTPResponse, bytes]:
        """Ask the real server."""
        connection = HTTPConnection(str(self._backend.hostname), self._backend.port, timeout=60)
        connection.request(method, path, body=body, headers=dict(headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyS3
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _handle(self) -> None:
        body = self._body()
        fault = self.proxy.fate(self.command, self.path)
        if fault in REFUSALS:
            self._refuse(*REFUSALS[fault])
            return
        if fault == "dropped":
            self.close_connection = True
            return
        hop_by_hop = {"connection", "transfer-encoding", "expect", "content-length"}
        headers = {k: v for k, v in self.headers.items() if k.lower() not in hop_by_hop}
        answer, content = self.proxy.forward(self.command, self.path, headers, body)
        if fault == "lost" or (fault in ("truncated", "short") and not content):
            self.close_connection = True
            return
        self._answer(answer, content, fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _refuse(self, status: int, code: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>{code}, says the test</Message></Error>"
        content = b"" if self.command == "HEAD" else text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, answer: HTTPResponse, content: bytes, fault: str | None) -> None:
        sent = content[: len(content) // 2] if fault == "short" else content
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() == "content-length" and self.command != "HEAD":
                value = str(len(sent))
            if name.lower() not in ("connection", "transfer-encoding", "server", "date"):
                self.send_header(name, value)
        if "Content-Length" not in dict(answer.getheaders()):
            self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self._send(sent, fault)

    def _send(self, content: bytes, fault: str | None) -> None:
        half = len(content) // 2
        try:
            if fault == "dripping":
                for place in range(len(content)):
                    self.wfile.write(content[place : place + 1])
                    if self.proxy.ending.wait(DRIP_S):
                        break
                return
            self.wfile.write(content[:half])
            if fault == "slow":
                time.sleep(self.proxy.slow_s)
            if fault == "stalled":
                self.proxy.ending.wait(STALL_S)
            if fault in ("truncated", "stalled"):
                self.close_connection = True
            else:
                self.wfile.write(content[half:])
        except (BrokenPipeError, ConnectionResetError):  # the client had enough
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def s3_server() -> Iterator[str]:
    """A real S3 server on a free port of loopback; yields its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def s3_environment(url: str, *, secret: str) -> dict[str, str]:
    """All that a process is told of a store."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@contextmanager
def new_bucket(name: str, environment: Mapping[str, str]) -> Iterator[None]:
    """This process is told too, and makes a bucket there."""
    s3 = fsspec.filesystem("s3")
    with mock.patch.dict(os.environ, environment):
        s3.clear_instance_cache()  # it does not notice another endpoint
        boto3.client("s3").create_bucket(Bucket=name)
        yield
    s3.clear_instance_cache()
