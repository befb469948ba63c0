"""A small reverse proxy that serves another server below a path, as nginx does with ``location /fusion/``."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection"}


class ReverseProxy:
    """Use it in a ``with`` block.

    Attributes:
        missed: paths that were asked for outside the path it serves.
    """

    def __init__(self, target: tuple[str, int], prefix: str) -> None:
        self.missed: list[str] = []
        missed = self.missed

        class Handler(BaseHTTPRequestHandler):
            def pass_on(self) -> None:
                if not self.path.startswith(prefix + "/"):
                    missed.append(self.path)
                    self.send_error(404)
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                kept = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
                kept |= {"X-Forwarded-For": self.client_address[0], "X-Forwarded-Proto": "http"}
                connection = http.client.HTTPConnection(*target, timeout=600)
                try:
                    connection.request(self.command, self.path.removeprefix(prefix), body, kept)
                    answer = connection.getresponse()
                    self.send_response(answer.status)
                    for name, value in answer.getheaders():
                        if name.lower() not in HOP_BY_HOP:
                            self.send_header(name, value)
                    self.end_headers()
                    while chunk := answer.read1(1 << 16):  # events are passed on as they come
                        self.wfile.write(chunk)
                        self.wfile.flush()
                except (ConnectionError, http.client.HTTPException):  # one of the two has left
                    self.close_connection = True
                finally:
                    connection.close()

            do_GET = do_POST = do_HEAD = pass_on

            def log_message(self, *_: object) -> None:
                """Nothing on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}{prefix}"

    def __enter__(self) -> ReverseProxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
