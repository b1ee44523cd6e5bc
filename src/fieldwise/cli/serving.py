"""One page, served to this machine alone."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, HTTPServer


def server_of(content: bytes) -> HTTPServer:
    """A server on 127.0.0.1, on a free port, that answers ``/`` with one HTML page.

    What names another host is refused, so that no page of another site can read it.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with the page."""
            ours = self.headers.get("Host") in {f"127.0.0.1:{port}", f"localhost:{port}"}
            if not ours or self.path.partition("?")[0] != "/":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    port = server.server_port
    return server
