"""`yard webhooks` and `yard schedules` against the real service."""

import base64
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cli_service import Service, until


class Hook(BaseHTTPRequestHandler):
    """Accepts everything."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"thanks")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hook() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_webhook_from_its_secret_to_its_removal(service: Service, hook: str) -> None:
    made = service.yard("webhooks", "create", hook, "--type", "task.succeeded", "--description", "tickets")
    assert made.exit_code == 0, made.stderr
    secret = made.stdout.strip()
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    (found,) = service.json("webhooks", "list")["items"]
    webhook_id = found["id"]
    assert re.search(rf"^{webhook_id} +enabled +http://", service.yard("webhooks", "list").stdout, re.M)
    assert "is pending" in service.yard("webhooks", "test", webhook_id).stdout

    def delivered() -> Any:
        items = service.json("webhooks", "deliveries", webhook_id, "--status", "delivered")["items"]
        return items or None

    ping = until(delivered)[0]
    table = service.yard("webhooks", "deliveries", webhook_id).stdout
    assert re.search(rf"^{ping['id']} +webhook.ping +delivered +1 ", table, re.M), table
    assert "is pending" in service.yard("webhooks", "redeliver", webhook_id, ping["id"]).stdout
    assert service.yard("webhooks", "redeliver", webhook_id, "--since", "1h").stdout.startswith("0 deliveries")
    assert service.yard("webhooks", "redeliver", webhook_id, ping["id"], "--since", "1h").exit_code == 2
    assert service.yard("webhooks", "redeliver", webhook_id, "--since", "long").exit_code == 2
    rotated = service.yard("webhooks", "rotate", webhook_id).stdout.strip()
    assert rotated.startswith("whsec_")
    assert rotated != secret
    assert service.yard("webhooks", "disable", webhook_id).stdout == f"webhook {webhook_id} is disabled\n"
    assert service.yard("webhooks", "enable", webhook_id).stdout == f"webhook {webhook_id} is enabled\n"
    assert service.yard("webhooks", "delete", webhook_id).stdout == f"webhook {webhook_id} is removed\n"
    refused = service.yard("webhooks", "create", "http://169.254.169.254/")
    assert refused.exit_code == 1
    assert "address_not_allowed" in refused.stderr


def test_a_schedule_from_its_preview_to_its_removal(service: Service) -> None:
    shown = service.yard("schedules", "preview", "--cron", "0 9 * * MON", "--timezone", "Europe/Berlin", "--count", "2")
    assert re.fullmatch(r"(20\d\d-\d\d-\d\dT09:00:00\+0[12]:00\n){2}", shown.stdout), shown.stderr
    made = service.yard("schedules", "create", "weekly", "stub", '{"n": 1}', "--cron", "0 9 * * MON")
    assert re.fullmatch(r"schedule weekly: next tick in \d+ \w+\n", made.stdout), made.stderr
    assert re.search(r"^weekly +0 9 \* \* MON UTC +in ", service.yard("schedules", "list").stdout, re.M)
    task_id = service.yard("schedules", "trigger", "weekly").stdout.strip()
    until(lambda: service.json("task", task_id)["status"] == "succeeded")
    whole = service.yard("schedules", "show", "weekly").stdout
    assert re.search(rf"submitted +{task_id} +.*succeeded", whole), whole
    (run,) = service.json("schedules", "runs", "weekly")["items"]
    assert run["task_id"] == task_id
    assert service.yard("schedules", "runs", "weekly").stdout.count(task_id) == 1
    assert service.yard("schedules", "pause", "weekly").stdout == "schedule weekly: paused\n"
    assert service.yard("schedules", "resume", "weekly").stdout.startswith("schedule weekly: next tick in ")
    period = ("--from", "2026-01-01T00:00:00Z", "--until", "2026-01-12T00:00:00Z")
    backfilled = service.yard("schedules", "backfill", "weekly", *period).stdout
    assert backfilled == "schedule weekly: ticks in this period: 1\n"
    assert len(service.json("schedules", "preview", "weekly", "--count", "3")["ticks"]) == 3
    assert service.yard("schedules", "delete", "weekly").stdout == "schedule weekly is removed\n"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), 2),
        (("--cron", "* * * * *", "--every", "5m"), 2),
        (("--every", "soon"), 2),
        (("--at", "then"), 2),
        (("--cron", "0 0 30 2 *"), 1),
    ],
)
def test_a_schedule_that_cannot_be(service: Service, options: tuple[str, ...], code: int) -> None:
    assert service.yard("schedules", "create", "never", "stub", *options).exit_code == code
    assert service.yard("schedules", "preview", *options).exit_code == code
