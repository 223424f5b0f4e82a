"""A server on this machine's loopback that has files as upstream has them, and does what servers do wrong."""

from __future__ import annotations

import hashlib
import http.server
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Fault = Callable[["Handler", bytes], None]
"""Answers a request for content in a way of its own."""


class Server(http.server.ThreadingHTTPServer):
    """``files``: path -> content.  ``faults``: path -> what to do with the next requests for it, one each."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.over = threading.Event()
        self.scheme = "https" if certificate else "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def ranges(self, path: str) -> list[str]:
        """The Range of each request for a path, "" for the whole."""
        return [headers.get("Range", "") for asked, headers in self.asked if asked == path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away here all the time."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Whole files and parts of them, as RFC 9110 has it."""

    server: Server

    def do_GET(self) -> None:
        path = (
            "/" + self.path.split("/", 3)[3] if "://" in self.path else self.path
        )  # a proxy is told the whole address
        self.server.asked.append((path, dict(self.headers)))
        path = path.partition("?")[0]
        faults = self.server.faults.get(path)
        if faults:
            return faults.pop(0)(self, self.server.files.get(path, b""))
        if path not in self.server.files:
            return self.say(404, b"not here")
        self.send(self.server.files[path])

    def do_CONNECT(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        self.send_error(502)

    def send(self, content: bytes, upto: int | None = None, *, etag: str = "", parts: bool = True) -> None:
        """Answer with the content, or with the part that was asked for; ``upto``: end the connection there."""
        etag = etag or f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        begin = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and parts and self.headers.get("If-Range", etag) == etag:
            begin = int(wanted[1])
            if begin >= len(content):
                return self.say(416, b"")
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        self.wfile.write(content[begin:upto])
        self.wfile.flush()

    def say(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Transfer_Encoding" not in headers and "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Not on the tests' output."""


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Server]:
    with Server(certificate) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


def cut(upto: int) -> Fault:
    """Ends the connection at a byte of the file."""
    return lambda handler, content: handler.send(content, upto)


def stall(upto: int) -> Fault:
    """Goes silent at a byte of the file."""

    def fault(handler: Handler, content: bytes) -> None:
        handler.send(content, upto)
        handler.server.over.wait(10)

    return fault


def status(code: int, **headers: str) -> Fault:
    return lambda handler, content: handler.say(code, b"", **headers)


def length(told: int) -> Fault:
    """Says another length than it sends."""
    return lambda handler, content: handler.say(200, content, Content_Length=str(told), ETag='"lies"')


def instead(content: bytes) -> Fault:
    """Sends other bytes under the same ETag, whether it is asked for a part or not."""
    return lambda handler, real: handler.send(content, etag=f'"{hashlib.sha256(real).hexdigest()[:16]}"')


def whole(handler: Handler, content: bytes) -> None:
    """Does not know parts."""
    handler.send(content, parts=False)


def chunked(upto: int | None = None) -> Fault:
    """Does not say how long it is; ``upto``: ends within a chunk."""

    def fault(handler: Handler, content: bytes) -> None:
        body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (content[:5000], content[5000:]) if p) + b"0\r\n\r\n"
        handler.protocol_version = "HTTP/1.1"
        handler.say(200, body[:upto], Transfer_Encoding="chunked")
        handler.close_connection = True

    return fault
