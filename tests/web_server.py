"""A web server on this machine that serves bytes as good, and as badly, as it is told to."""

import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """body; ranges: whether parts are sent; etag, modified: version told; breaks: answers that end after so many bytes,
    one after the other; codes: HTTP errors sent first; hides_length: no Content-Length, the connection ends; stall: waits for
    this event after the first half; extra: further header fields; no_head: HEAD is refused."""

    body: bytes
    ranges: bool = True
    etag: str | None = '"1"'
    modified: str | None = None
    breaks: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    hides_length: bool = False
    stall: threading.Event | None = None
    extra: list[tuple[str, str]] = field(default_factory=list)
    no_head: bool = False
    moved: str | None = None


class Server:
    """with Server() as web: web.pages["/x"] = Page(b"..."); web.url + "/x". seen: (method, path, Range, If-Range)."""

    def __enter__(self):
        self.pages: dict[str, Page] = {}
        self.seen: list[tuple] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.answer(self, True)

            def do_HEAD(self):
                outer.answer(self, False)

            def log_message(self, *arguments):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        return self

    def __exit__(self, *error):
        for page in self.pages.values():
            if page.stall:
                page.stall.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def asked(self, path: str) -> list[tuple]:
        """(Range, If-Range) of the GETs of a path."""
        return [(r, i) for method, p, r, i in self.seen if p == path and method == "GET"]

    def answer(self, handler, with_body: bool) -> None:
        asked = handler.headers
        self.seen.append((handler.command, handler.path, asked.get("Range"), asked.get("If-Range")))
        page = self.pages.get(handler.path) or self.pages.get(handler.path.split("?")[0])
        code = 404 if page is None else page.codes.pop(0) if page.codes and with_body else None
        if page and page.no_head and not with_body:
            code = 405
        if code:
            handler.send_response(code)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if page.moved:
            handler.send_response(302)
            handler.send_header("Location", page.moved)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        self._send(handler, page, with_body)

    def _send(self, handler, page: Page, with_body: bool) -> None:
        asked, body, status, first = handler.headers, page.body, 200, 0
        versions = None, page.modified, None if (page.etag or "").startswith("W/") else page.etag
        match = re.match(r"bytes=(\d+)-(\d*)$", asked.get("Range") or "")
        if match and page.ranges and asked.get("If-Range") in versions:
            first = int(match[1])
            if first >= len(body):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(body)}")
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            body, status = body[first : int(match[2]) + 1 if match[2] else None], 206
        handler.send_response(status)
        if status == 206:
            handler.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(page.body)}")
        for name, value in (("ETag", page.etag), ("Last-Modified", page.modified), *page.extra):
            if value:
                handler.send_header(name, value)
        if not page.hides_length:
            handler.send_header("Content-Length", str(len(body)))
        else:
            handler.send_header("Connection", "close")
            handler.close_connection = True
        handler.end_headers()
        if not with_body:
            return
        if page.stall:
            handler.wfile.write(body[: len(body) // 2])
            page.stall.wait(60)
            handler.close_connection = True
            return
        if page.breaks:
            body = body[: page.breaks.pop(0)]
            handler.close_connection = True
        handler.wfile.write(body)
