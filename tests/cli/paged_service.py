"""A stand-in for the service with one list of a pool, over real HTTP: what `yard simulate … --from` reads."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 50


class PagedService(BaseHTTPRequestHandler):
    """`answers` by path; `listed` is the path of `count` items, a page of 50 at a time; `asked` are its queries."""

    answers: Mapping[str, Any]
    listed: str
    item: Callable[[int], dict[str, Any]]
    asked: list[dict[str, list[str]]]
    count: int

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path in self.answers:
            self.answer(self.answers[url.path])
        elif url.path == self.listed:
            query = parse_qs(url.query)
            self.asked.append(query)
            begin = int(query.get("page_token", ["0"])[0])
            end = min(begin + PAGE, self.count)
            token = str(end) if end < self.count else None
            self.answer({"items": [type(self).item(n) for n in range(begin, end)], "next_page_token": token})
        else:
            self.answer({"code": "pool_not_found", "detail": "There is no pool of that name."}, 404)

    def answer(self, body: Any, status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(
    answers: Mapping[str, Any], listed: str, item: Callable[[int], dict[str, Any]], count: int
) -> Iterator[tuple[str, type[PagedService]]]:
    """Its URL and its class, of which `asked` can be read."""
    fields = {"answers": answers, "listed": listed, "item": staticmethod(item), "asked": [], "count": count}
    handler = type("Served", (PagedService,), fields)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
