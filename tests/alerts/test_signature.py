"""Only what Slack signed, and signed just now, is taken."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.signature import WINDOW_S, BadSignature, SlackNotConfigured, StaleTimestamp, Verifier
from tests.alerts.room import Room
from tests.api.verbs import refused
from tests.core.database import HandClock
from tests.support.slack_server import SECRET, signed

BODY = b"payload=%7B%22type%22%3A%22shortcut%22%7D"
CLOCK = HandClock()
NOW = CLOCK.now().timestamp()

type Headers = dict[str, str]


def lower(headers: Headers) -> Headers:
    """As an ASGI server hands them on."""
    return {name.lower(): value for name, value in headers.items()}


def test_slacks_own_example_is_genuine() -> None:
    """The one in Slack's documentation of the signature."""

    class Then(HandClock):
        def __init__(self) -> None:
            super().__init__()
            self.forward(1531420618 - NOW)

    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&"
        b"channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&"
        b"response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&"
        b"trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    given = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    Verifier("8f742231b10e8888abcd99yyyzzz85a5", Then()).check(
        body, {"x-slack-request-timestamp": "1531420618", "x-slack-signature": given}
    )


@pytest.mark.parametrize("age", [0, 1, WINDOW_S, -WINDOW_S, WINDOW_S - 1])
def test_within_the_window_it_is_genuine(age: int) -> None:
    body, headers = signed(BODY, at=NOW - age)
    Verifier(SECRET, CLOCK).check(body, lower(headers))


@pytest.mark.parametrize("age", [WINDOW_S + 1, -WINDOW_S - 1, 86_400, -86_400, NOW])
def test_outside_the_window_it_is_stale(age: float) -> None:
    body, headers = signed(BODY, at=NOW - age)
    with pytest.raises(StaleTimestamp):
        Verifier(SECRET, CLOCK).check(body, lower(headers))


def changed(name: str, value: str | None) -> Callable[[Headers], Headers]:
    def change(headers: Headers) -> Headers:
        kept = {key: old for key, old in headers.items() if key != name}
        return kept if value is None else {**kept, name: value}

    return change


FORGERIES = {
    "no signature": changed("x-slack-signature", None),
    "no timestamp": changed("x-slack-request-timestamp", None),
    "empty": changed("x-slack-signature", ""),
    "zeros": changed("x-slack-signature", "v0=" + "0" * 64),
    "other version": changed("x-slack-signature", "v1=" + "0" * 64),
    "not hex": changed("x-slack-signature", "v0=" + "g" * 64),
    "not ASCII": changed("x-slack-signature", "v0=" + "é" * 64),
    "later timestamp": changed("x-slack-request-timestamp", str(int(NOW) + 1)),
    "timestamp in words": changed("x-slack-request-timestamp", "now"),
    "negative timestamp": changed("x-slack-request-timestamp", "-5"),
    "fraction": changed("x-slack-request-timestamp", "1.5"),
    "digits of elsewhere": changed("x-slack-request-timestamp", "١٢٣"),
    "huge": changed("x-slack-request-timestamp", "9" * 5000),
}


@pytest.mark.parametrize("how", FORGERIES)
def test_a_forgery_is_refused(how: str) -> None:
    body, headers = signed(BODY, at=NOW)
    with pytest.raises(BadSignature):
        Verifier(SECRET, CLOCK).check(body, FORGERIES[how](lower(headers)))


@given(body=st.binary(max_size=200), other=st.binary(max_size=200))
def test_another_body_or_another_secret_is_refused(body: bytes, other: bytes) -> None:
    _, headers = signed(body, at=NOW)
    if body != other:
        with pytest.raises(BadSignature):
            Verifier(SECRET, CLOCK).check(other, lower(headers))
    with pytest.raises(BadSignature):
        Verifier("another secret", CLOCK).check(body, lower(headers))


@pytest.mark.parametrize("secret", ["", "  "])
def test_without_a_secret_nothing_is_taken(secret: str) -> None:
    body, headers = signed(BODY, secret=secret, at=NOW)
    with pytest.raises(SlackNotConfigured):
        Verifier(secret, CLOCK).check(body, lower(headers))


async def test_the_route_answers_with_stable_codes(room: Room) -> None:
    body, headers = signed(BODY, at=room.now)
    assert (await room.send(body, headers)).status_code == 200
    refused(await room.send(body + b" ", headers), 401, "slack_signature_invalid")
    refused(await room.send(body, {}), 401, "slack_signature_invalid")
    room.clock.forward(WINDOW_S + 1)
    refused(await room.send(body, headers), 401, "slack_timestamp_expired")
    refused(await room.send(b"x" * 300_000, headers), 413, "body_too_large")
