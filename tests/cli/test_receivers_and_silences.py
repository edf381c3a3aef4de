"""`yard receivers`, `yard silences` and `yard notifications` against the real service."""

import io
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cli_service import Service
from rich.console import Console

from app.cli.explain_notification import drawn


class Hook(BaseHTTPRequestHandler):
    """Accepts everything."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hook() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/secret-path"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_receiver_is_set_tested_shown_and_deleted(service: Service, hook: str) -> None:
    config = json.dumps({"url": hook})
    made = service.yard("receivers", "set", "hook", "webhook", config, "--match", "severity=critical")
    assert made.exit_code == 0, made.stderr
    assert "yard receivers test hook" in made.stdout
    assert service.yard("receivers", "test", "hook").stdout.strip() == "delivered"
    escalating = service.yard(
        "receivers", "set", "first", "webhook", config, "--escalate", "hook:900", "--only-named", "--group-by", "..."
    )
    assert escalating.exit_code == 0, escalating.stderr
    table = service.yard("receivers", "list", columns=200).stdout
    assert re.search(r"^hook +webhook +ok +severity=\"critical\"", table, re.M), table
    assert re.search(r"^first +webhook +ok +what names it +hook after 15 ?m", table, re.M), table
    shown = service.yard("receivers", "show", "hook", columns=200).stdout
    assert "**********" in shown
    assert "secret-path" not in shown
    assert service.json("receivers", "show", "hook")["group_wait_s"] == 30
    assert "receiver_in_use" in service.yard("receivers", "delete", "hook").stderr
    for name in ("first", "hook"):
        assert service.yard("receivers", "delete", name).exit_code == 0
    assert service.json("receivers", "list")["items"] == []


def test_a_receiver_that_cannot_be_told_ends_with_1(service: Service) -> None:
    config = json.dumps({"to": ["a@example.com"]})
    assert service.yard("receivers", "set", "mail", "email", config).exit_code == 0
    result = service.yard("receivers", "test", "mail")
    assert (result.exit_code, "no mail server" in result.stdout) == (1, True)
    assert service.yard("receivers", "delete", "mail").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "a", "webhook", "not json"),
        ("set", "a", "webhook", "[]"),
        ("set", "a", "webhook", "{}", "--escalate", "b"),
        ("set", "a", "pigeon", "{}"),
    ],
)
def test_a_wrong_command_line_ends_with_2(service: Service, arguments: tuple[str, ...]) -> None:
    assert service.yard("receivers", *arguments).exit_code == 2


def test_a_silence_is_added_listed_and_expired(service: Service) -> None:
    added = service.yard("silences", "add", "pool=ops", "alertname=~high_.*", "--for", "30m", "--comment", "a deploy")
    assert added.exit_code == 0, added.stderr
    silence = added.stdout.strip()
    table = service.yard("silences", "list", "--state", "active", columns=200).stdout
    assert re.search(rf"^{silence} +active +pool=\"ops\", alertname=~\"high_\.\*\"", table, re.M), table
    assert service.yard("silences", "expire", silence).stdout.strip() == f"silence {silence} is expired"
    assert service.json("silences", "list", "--state", "active")["items"] == []
    assert "bad_matcher" in service.yard("silences", "add", "pool=~.*").stderr
    assert service.yard("silences", "add", "pool=ops", "--for", "long").exit_code == 2


def test_notifications_are_listed(service: Service) -> None:
    assert service.json("notifications", "--receiver", "nobody")["items"] == []
    assert service.yard("notifications", "--outcome", "held").exit_code == 0


def test_a_notification_is_explained_alert_by_alert() -> None:
    alert = {"fingerprint": "f", "labels": {"alertname": "high_error_rate", "pool": "ops\x1b[31m"}}
    found = {
        "id": "01a1fb40-7d11-7c3a-8a57-0d5c4e6b7a10",
        "group_key": "on-call:0",
        "receiver": "on-call",
        "reason": "silenced",
        "sent": False,
        "outcome": "held",
        "detail": "",
        "tries": 0,
        "at": "2026-11-20T20:20:31Z",
        "last_at": "2026-11-20T20:25:31Z",
        "count": 3,
        "next": "The group is looked at again at 20:30:31.",
        "alerts": [{**alert, "sent": False, "reason": "silenced", "by": "a-silence"}],
    }
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(*drawn(found), sep="\n")
    text = console.export_text()
    assert "held (not told, 3 times in a row)" in text
    assert "silenced: a silence holds it back (a-silence)" in text
    assert "looked at again" in text
    assert "\x1b" not in text
