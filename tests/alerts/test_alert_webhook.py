"""The webhook: Alertmanager's payload to the letter, and the signature of Standard Webhooks."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from standardwebhooks import Webhook

from app.alerts.notifiers.alerts import Delivered, Retryable
from app.alerts.notifiers.http import encode
from app.alerts.notifiers.webhook import WebhookConfig, WebhookNotifier
from app.alerts.notifiers.webhook_payload import fingerprint, payload, rfc3339
from app.core.clock import Clock
from tests.alerts.notices import AT, LABELS, NOTICES, URL, alert, ended, notice
from tests.fakes.alertmanager import webhook_problems
from tests.support.webhook_receiver import WebhookReceiver, receiver

__all__ = ["receiver"]

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
async def notifier() -> AsyncIterator[WebhookNotifier]:
    made = WebhookNotifier(lambda _: True, Clock(), timeout_s=30.0)
    await made.open()
    yield made
    await made.close()


@settings(max_examples=150)
@given(told=NOTICES, most=st.sampled_from([0, 1, 3, 1000]))
def test_any_notice_is_a_payload_of_version_4(told: Any, most: int) -> None:
    body = json.loads(encode(payload(told, most)).decode())
    assert webhook_problems(body) == []
    assert len(body["alerts"]) + body["truncatedAlerts"] == len(told.alerts)
    assert not most or len(body["alerts"]) <= most
    assert (body["status"] == "firing") == bool(told.firing)


def test_the_payload_to_the_letter() -> None:
    one, two = alert(instance="a"), alert(instance="b", ends=AT + timedelta(minutes=5, microseconds=120_000))
    assert payload(notice(two, one, receiver="on.call+1"), 0) == {
        "version": "4",
        "groupKey": '{}:{alertname="high_error_rate", pool="ops"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": r"on\.call\+1",
        "groupLabels": {"alertname": "high_error_rate", "pool": "ops"},
        "commonLabels": {"alertname": "high_error_rate", "severity": "critical", "pool": "ops"},
        "commonAnnotations": dict(one.annotations),
        "externalURL": URL,
        "alerts": [
            {
                "status": "firing",
                "labels": dict(one.labels),
                "annotations": dict(one.annotations),
                "startsAt": "2026-01-01T00:10:00Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "https://yard.example/alerts/1",
                "fingerprint": "662e541a34733306",
            },
            {
                "status": "resolved",
                "labels": dict(two.labels),
                "annotations": dict(two.annotations),
                "startsAt": "2026-01-01T00:10:00Z",
                "endsAt": "2026-01-01T00:15:00.12Z",
                "generatorURL": "https://yard.example/alerts/1",
                "fingerprint": fingerprint(two.labels),
            },
        ],
    }


@given(labels=LABELS)
def test_a_fingerprint_is_of_the_labels_that_say_something(labels: dict[str, str]) -> None:
    assert fingerprint(labels) == fingerprint(dict(reversed(labels.items())) | {"added": ""})
    assert fingerprint(labels) != fingerprint(labels | {"added": "x"})
    assert len(fingerprint(labels)) == 16


def test_what_fires_is_kept_when_not_all_are_sent() -> None:
    body = payload(notice(alert(ends=AT, instance="a"), alert(ends=AT, instance="b"), alert(instance="c")), 1)
    assert [told["labels"]["instance"] for told in body["alerts"]] == ["c"]
    assert (body["status"], body["truncatedAlerts"]) == ("firing", 2)


@given(at=st.datetimes(timezones=st.just(UTC)))
def test_a_time_is_exact_and_as_short_as_go_writes_it(at: datetime) -> None:
    text = rfc3339(at)
    assert datetime.fromisoformat(text) == at
    assert not text.endswith((".Z", "0Z")) or "." not in text


async def test_the_receivers_own_library_takes_the_signature(
    notifier: WebhookNotifier, receiver: WebhookReceiver
) -> None:
    config = WebhookConfig(url=SecretStr(f"{receiver.url}/in"), secret=SecretStr(SECRET))
    told = notice()
    assert await notifier.notify(config, told) == Delivered()
    assert await notifier.notify(config, told) == Delivered()
    first, again = receiver.got
    assert first.verified(SECRET)["groupKey"] == told.group_key
    assert first.id == again.id == str(told.id)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook("whsec_" + base64.b64encode(bytes(32)).decode()).verify(first.body, first.headers)


async def test_without_a_secret_nothing_is_signed_and_an_end_is_told(
    notifier: WebhookNotifier, receiver: WebhookReceiver
) -> None:
    config = WebhookConfig(url=SecretStr(receiver.url + "/in"))
    await notifier.notify(config, ended())
    await notifier.notify(config, notice(reason="acknowledged", acknowledged_by="ann"))
    (got,) = receiver.got
    assert "webhook-signature" not in got.headers
    assert got.json["status"] == "resolved"
    assert got.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "not-a-url-secret"},
        {"url": "ftp://secret.example/"},
        {"url": "http://user:secret@example.com/"},
        {"url": "http://example.com/", "secret": "s3cr3t"},
        {"url": "http://example.com/", "secret": "whsec_" + "s3cr3t=="},
        {"url": "http://example.com/", "max_alerts": -1},
    ],
)
def test_a_wrong_configuration_is_refused_and_shows_no_secret(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as failed:
        WebhookConfig.model_validate(fields)
    assert not any(str(value) in str(failed.value) for value in fields.values() if value != -1)


@pytest.mark.parametrize("answer", [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", b""])
async def test_an_answer_that_is_no_http_shows_neither_the_url_nor_the_headers(
    notifier: WebhookNotifier, answer: bytes
) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/in/a%7EbSecret12?key=x%7EySecret34"
        config = WebhookConfig(url=SecretStr(url), secret=SecretStr(SECRET))
        outcome = await notifier.notify(config, notice())
    assert isinstance(outcome, Retryable)
    for part in ("bSecret12", "ySecret34", "webhook-signature", "127.0.0.1", "[hidden]"):
        assert part not in outcome.reason, outcome.reason
    assert "The request failed: " in outcome.reason
