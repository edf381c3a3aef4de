"""A small real agent over HTTP: it does what the payload's `do` says."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class StubAgent(ThreadingHTTPServer):
    """Answers on a free port. `gate` holds tasks that `do` "hold"; `cancelled` lists the tasks it was told to stop."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.gate = threading.Event()
        self.cancelled: list[str] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: StubAgent

    def do_GET(self) -> None:
        self._json({"status": "idle", "running": 0, "slots": 50})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/cancel":
            self.server.cancelled.append(body["task_id"])
            self._json({})
            return
        payload = body["payload"]
        getattr(self, f"do_{payload.get('do', 'echo')}")(payload)

    def do_echo(self, payload: Any) -> None:
        self._json({"result": payload.get("result", payload)})

    def do_fail(self, payload: Any) -> None:
        self._json({"code": "bad_input", "message": "there is nothing to do"}, status=400)

    def do_hold(self, payload: Any) -> None:
        self.server.gate.wait(300)
        self._json({"result": "held and released"})

    def do_stream(self, payload: Any) -> None:
        """Progress and tokens; each piece after `pause_s`."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for step in range(1, 5):
            self._frame("progress", {"percent": step * 25, "message": f"part {step} of 4"})
            self._frame("token", {"text": f"word{step} \u2028\x1b[31m"})
            time.sleep(payload.get("pause_s", 0.05))
        self._frame("usage", {"model": "small", "input_tokens": 1200, "output_tokens": 34})
        self._frame("result", {"result": {"answer": "all four parts", "parts": 4}})

    def _frame(self, event: str, data: Any) -> None:
        self.wfile.write(f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode())
        self.wfile.flush()

    def _json(self, value: Any, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
