"""A web server on loopback that misbehaves as it is told."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server:
    """Serves `files` by path; `script[path]` holds what it does to the next requests, one entry each.

    An entry is a status code, or one of: "cut N" (closes the connection after N bytes of the body), "long"
    and "short" (Content-Length 100 bytes off), "no range", "other range", "endless", "wait N" (503 and
    Retry-After), "wrong byte", "stall" (waits for `go` before the last byte).
    """

    def __init__(self):
        self.files, self.script, self.asked, self.tags = {}, {}, [], {}
        self.go = threading.Event()
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.httpd.daemon_threads = True
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self.httpd.server_port}/{path}"

    def close(self):
        self.go.set()
        self.httpd.shutdown()
        self.httpd.server_close()

    def _handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                server.answer(self)

        return Handler

    def answer(self, request):
        path = request.path.lstrip("/")
        asked = request.headers.get("Range")
        self.asked.append((path, asked))
        acts = self.script.get(path, [])
        act = str(acts.pop(0)) if acts else ""
        body = self.files.get(path)
        if act.isdecimal() or act.startswith("wait") or body is None:
            return self._refuse(request, act if body is not None else "404")
        tag, start = self.tags.get(path), 0
        fresh = request.headers.get("If-Range") not in {None, tag}
        if asked and act != "no range" and not fresh:
            start = int(re.match(r"bytes=(\d+)-$", asked)[1])
        if start >= len(body) > 0:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(body)}")
            request.send_header("Content-Length", "0")
            return request.end_headers()
        if act == "other range":
            start = max(start - 1, 0)
        rest = body[start:]
        off = {"long": 100, "short": -100}.get(act, 0)
        request.send_response(206 if start or act == "other range" else 200)
        if start or act == "other range":
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if tag:
            request.send_header("ETag", tag)
        if act != "endless":
            request.send_header("Content-Length", str(len(rest) + off))
        request.send_header("Connection", "close")
        request.end_headers()
        self._send(request, act, rest)

    def _refuse(self, request, act):
        request.send_response(503 if act.startswith("wait") else int(act))
        if act.startswith("wait"):
            request.send_header("Retry-After", act.split()[1])
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _send(self, request, act, rest):
        request.close_connection = True
        if act.startswith("cut"):
            rest = rest[: int(act.split()[1])]
        if act == "wrong byte":
            rest = bytes([rest[0] ^ 1]) + rest[1:]
        try:
            if act == "stall":
                request.wfile.write(rest[:-1])
                request.wfile.flush()
                self.go.wait(30)
                rest = rest[-1:]
            while act == "endless":
                request.wfile.write(rest)
            request.wfile.write(rest)
        except OSError:
            pass  # the client has gone


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()
