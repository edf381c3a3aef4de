"""What every notifier of alerts keeps, whatever its provider; the seam's text is in `notifiers/alerts.py`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from uuid import uuid4

import pytest
from aiohttp import web
from pydantic import SecretStr

from app.alerts.notifiers.alert_registry import KINDS, Outside
from app.alerts.notifiers.alerts import (
    AlertNotifier,
    Delivered,
    Notice,
    Outcome,
    Permanent,
    ReceiverConfig,
    Retryable,
    Throttled,
)
from app.alerts.notifiers.reasons import MAX_REASON
from app.alerts.notifiers.smtp import SmtpServer
from app.alerts.records import Alert
from tests.alerts.notices import AT, alert, ended, notice
from tests.core.database import HandClock
from tests.fakes.alertmanager import Alertmanager, webhook_problems
from tests.fakes.faults import Fault, Faults, Reply
from tests.fakes.pagerduty import PagerDuty
from tests.fakes.smtp import MailServer, client_tls
from tests.support.slack_server import TOKEN, SlackServer
from tests.support.webhook_receiver import WebhookReceiver

type Mood = Literal["well", "down", "busy", "refuses", "silent", "broken", "babbling"]

ROUTING_KEY, HOOK = "R0123456789abcdef0123456789abcde", "T00000000/B00000000/XXXXsecretXXXX"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PASSWORD = "a-pass-word-of-mail"
FAST_S, PATIENT_S = 0.4, 60.0


def ALL(_: str) -> bool:
    """Every address may be called."""
    return True


@dataclass
class Subject:
    """A notifier and its provider.

    `make(timeout_s, allows)` builds one; `told` counts what it took, `seen` is all it knows, `secrets` must not be
    shown.
    """

    kind: str
    make: Callable[..., AlertNotifier[Any]]
    config: ReceiverConfig
    clock: HandClock
    mood: Callable[[Mood], None]
    told: Callable[[], int]
    seen: Callable[[], str]
    secrets: list[str]
    stop: Callable[[], Awaitable[None]]
    throttles: bool = True

    @contextlib.asynccontextmanager
    async def opened(self, timeout_s: float = PATIENT_S) -> AsyncIterator[AlertNotifier[Any]]:
        notifier = self.make(timeout_s)
        await notifier.open()
        try:
            yield notifier
        finally:
            await notifier.close()

    def later(self) -> None:
        """Long enough for any pace; not for a pause that a provider asked for."""
        self.clock.forward(2)


def faults_of(secrets: list[str], busy: Fault) -> dict[Mood, Fault | None]:
    echo = " ".join(secrets)
    return {
        "well": None,
        "down": Reply(503, f"down {echo}"),
        "busy": busy,
        "refuses": Reply(403, f"forbidden {echo}"),
        "silent": "hang",
        "broken": "reset",
        "babbling": Reply(500, f"{echo} " * 20_000),
    }


def moods(faults: Faults, secrets: list[str]) -> Callable[[Mood], None]:
    table = faults_of(secrets, Reply(429, f"slow {' '.join(secrets)}", {"Retry-After": "7"}))

    def change(mood: Mood) -> None:
        faults.always = table[mood]

    return change


@pytest.fixture(params=["alertmanager", "email", "pagerduty", "slack", "slack_webhook", "webhook"])
async def subject(request: pytest.FixtureRequest, clock: HandClock, slack: SlackServer) -> AsyncIterator[Subject]:
    makers = {
        "alertmanager": _alertmanager,
        "email": _email,
        "pagerduty": _pagerduty,
        "slack": _slack,
        "slack_webhook": _slack_webhook,
        "webhook": _webhook,
    }
    made = await makers[request.param](clock, slack)
    yield made
    made.mood("well")
    await made.stop()


def test_every_kind_is_a_subject_here() -> None:
    assert sorted(KINDS) == ["alertmanager", "email", "pagerduty", "slack", "webhook"]


async def _pagerduty(clock: HandClock, _: SlackServer) -> Subject:
    fake = PagerDuty(keys={ROUTING_KEY})
    await fake.start()
    config = KINDS["pagerduty"].config_type.model_validate({"routing_key": ROUTING_KEY})
    return Subject(
        "pagerduty",
        lambda timeout_s, allows=ALL: KINDS["pagerduty"].make(
            Outside(allows, clock, timeout_s, pagerduty_urls={"us": fake.url})
        ),
        config,
        clock,
        moods(fake.faults, [ROUTING_KEY]),
        lambda: fake.accepted,
        lambda: str([found.events for found in fake.incidents.values()]),
        [ROUTING_KEY],
        fake.stop,
    )


async def _slack(clock: HandClock, slack: SlackServer) -> Subject:
    outside = {"slack_token": TOKEN, "slack_api_url": slack.api_url}
    return Subject(
        "slack",
        lambda timeout_s, allows=ALL: KINDS["slack"].make(Outside(allows, clock, timeout_s, **outside)),
        KINDS["slack"].config_type.model_validate({"channel": "#approvals"}),
        clock,
        moods(slack.provider, [TOKEN]),
        lambda: sum(message.versions for message in slack.posted),
        lambda: "\n".join(message.text + message.seen() for message in slack.posted),
        [TOKEN],
        slack.stop,
    )


async def _slack_webhook(clock: HandClock, slack: SlackServer) -> Subject:
    slack.webhooks[HOOK] = "C0OPS"
    url = f"{slack.url}/services/{HOOK}"
    return Subject(
        "slack",
        lambda timeout_s, allows=ALL: KINDS["slack"].make(Outside(allows, clock, timeout_s)),
        KINDS["slack"].config_type.model_validate({"webhook_url": url}),
        clock,
        moods(slack.provider, [url, HOOK, "XXXXsecretXXXX"]),
        lambda: len(slack.posted),
        lambda: "\n".join(message.text + message.seen() for message in slack.posted),
        [url, HOOK, "XXXXsecretXXXX"],
        slack.stop,
    )


async def _webhook(clock: HandClock, _: SlackServer) -> Subject:
    faults, receiver = Faults(), WebhookReceiver()
    taken = list[Any]()

    async def answer(request: web.Request) -> web.StreamResponse:
        if (played := await faults.play(request)) is not None:
            return played
        got = receiver.got[-1]
        if problems := webhook_problems(got.json):
            return web.Response(status=400, text=str(problems))
        taken.append(got.json)
        return web.Response(text="thanks")

    receiver.handler = answer
    await receiver.start()
    url = f"{receiver.url}/hooks/very-secret-path?token=query-secret"
    secrets = [url, "very-secret-path", "query-secret", WHSEC]
    return Subject(
        "webhook",
        lambda timeout_s, allows=ALL: KINDS["webhook"].make(Outside(allows, clock, timeout_s)),
        KINDS["webhook"].config_type.model_validate({"url": url, "secret": WHSEC}),
        clock,
        moods(faults, secrets),
        lambda: len(taken),
        lambda: str(taken),
        secrets,
        receiver.stop,
    )


async def _alertmanager(clock: HandClock, _: SlackServer) -> Subject:
    fake = Alertmanager()
    await fake.start()
    secrets = ["a-bearer-token", f"{fake.url}/secret-prefix"]
    fake_config = {"urls": [fake.url], "token": secrets[0]}
    return Subject(
        "alertmanager",
        lambda timeout_s, allows=ALL: KINDS["alertmanager"].make(Outside(allows, clock, timeout_s)),
        KINDS["alertmanager"].config_type.model_validate(fake_config),
        clock,
        moods(fake.faults, secrets[:1]),
        lambda: fake.pushes,
        lambda: str(list(fake.alerts.values())),
        secrets[:1],
        fake.stop,
    )


async def _email(clock: HandClock, _: SlackServer) -> Subject:
    server = MailServer(user="yard", password=PASSWORD)
    await server.start()
    table: dict[Mood, str | None] = {
        "well": None,
        "down": f"451 down {PASSWORD}",
        "busy": f"450 slow {PASSWORD}",
        "refuses": f"550 no {PASSWORD}",
        "silent": "hang",
        "broken": "reset",
        "babbling": f"451 {f'{PASSWORD} ' * 20}",
    }

    def change(mood: Mood) -> None:
        server.always = table[mood]

    relay = SmtpServer(
        "localhost",
        "yard@example.com",
        port=server.port,
        username="yard",
        password=SecretStr(PASSWORD),
        tls=client_tls(),
    )
    return Subject(
        "email",
        lambda timeout_s, allows=ALL: KINDS["email"].make(Outside(allows, clock, timeout_s, smtp=relay)),
        KINDS["email"].config_type.model_validate({"to": ["ann@example.com", "bob@example.com"]}),
        clock,
        change,
        lambda: len(server.got),
        lambda: "\n".join(mail.text() for mail in server.got),
        [PASSWORD],
        server.stop,
        throttles=False,
    )


def assert_shows_no_secret(subject: Subject, outcome: Outcome) -> None:
    assert len(getattr(outcome, "reason", "")) <= MAX_REASON
    for secret in subject.secrets:
        assert secret not in f"{outcome!r} {subject.config!r} {subject.config}"


async def test_a_group_is_told_and_so_is_its_end(subject: Subject) -> None:
    async with subject.opened() as notifier:
        first = await notifier.notify(subject.config, notice())
        assert isinstance(first, Delivered)
        assert subject.told() == 1
        assert "high_error_rate" in subject.seen()
        subject.later()
        last = await notifier.notify(subject.config, ended(receipt=first.receipt))
        assert isinstance(last, Delivered)
        assert subject.told() == 2
        assert_shows_no_secret(subject, last)


async def test_a_receipt_is_good_in_another_manager(subject: Subject) -> None:
    async with subject.opened() as one:
        first = await one.notify(subject.config, notice())
    assert isinstance(first, Delivered)
    async with subject.opened() as other:
        assert isinstance(await other.notify(subject.config, ended(receipt=first.receipt)), Delivered)
    assert subject.told() == 2


@pytest.mark.parametrize("receipt", ["nonsense", "a/b", "<a@b>", "x\r\nBcc: eve@example.com", "\ud800", "/" * 5000])
async def test_a_receipt_that_is_none_does_no_harm(subject: Subject, receipt: str) -> None:
    async with subject.opened() as notifier:
        outcome = await notifier.notify(subject.config, notice(receipt=receipt))
        assert isinstance(outcome, Delivered)
        assert subject.told() == 1


@pytest.mark.parametrize("mood", ["down", "broken", "babbling"])
async def test_what_may_pass_is_retryable(subject: Subject, mood: Mood) -> None:
    async with subject.opened() as notifier:
        subject.mood(mood)
        outcome = await notifier.notify(subject.config, notice())
        assert isinstance(outcome, Retryable), outcome
        assert outcome.reason
        assert_shows_no_secret(subject, outcome)
        assert subject.told() == 0
        subject.mood("well")
        subject.later()
        assert isinstance(await notifier.notify(subject.config, notice()), Delivered)


async def test_a_provider_that_is_away_is_retryable(subject: Subject) -> None:
    await subject.stop()
    async with subject.opened() as notifier:
        outcome = await notifier.notify(subject.config, notice())
        assert isinstance(outcome, Retryable)
        assert_shows_no_secret(subject, outcome)


async def test_a_provider_that_asks_for_a_pause_gets_it(subject: Subject) -> None:
    async with subject.opened() as notifier:
        subject.mood("busy")
        outcome = await notifier.notify(subject.config, notice())
        assert_shows_no_secret(subject, outcome)
        if not subject.throttles:
            assert isinstance(outcome, Retryable)
            return
        assert isinstance(outcome, Throttled)
        assert outcome.pause == timedelta(seconds=7)
        assert not outcome.own
        subject.mood("well")
        subject.clock.forward(7)
        assert isinstance(await notifier.notify(subject.config, notice()), Delivered)


async def test_a_provider_that_refuses_is_permanent(subject: Subject) -> None:
    async with subject.opened() as notifier:
        subject.mood("refuses")
        outcome = await notifier.notify(subject.config, notice())
        assert isinstance(outcome, Permanent)
        assert_shows_no_secret(subject, outcome)
        assert subject.told() == 0


async def test_a_provider_that_hangs_holds_nobody_up(subject: Subject) -> None:
    async with subject.opened(FAST_S) as notifier:
        subject.mood("silent")
        async with asyncio.timeout(PATIENT_S):
            outcome = await notifier.notify(subject.config, notice())
        assert isinstance(outcome, Retryable)
        assert "0.4 s" in outcome.reason
        assert_shows_no_secret(subject, outcome)


async def test_a_call_can_be_cancelled_and_the_next_one_works(subject: Subject) -> None:
    async with subject.opened() as notifier:
        subject.mood("silent")
        call = asyncio.create_task(notifier.notify(subject.config, notice()))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        subject.mood("well")
        subject.later()
        assert isinstance(await notifier.notify(subject.config, notice()), Delivered)


async def test_many_at_once_are_all_told_in_the_end(subject: Subject) -> None:
    async with subject.opened() as notifier:
        left = [notice(group_key=f"group {n}") for n in range(20)]
        for _ in range(25):
            outcomes = await asyncio.gather(*(notifier.notify(subject.config, told) for told in left))
            assert all(isinstance(outcome, Delivered | Throttled) for outcome in outcomes), outcomes
            left = [told for told, outcome in zip(left, outcomes, strict=True) if isinstance(outcome, Throttled)]
            subject.later()
        assert left == []
        assert subject.told() == 20


NASTY = "a\r\nBcc: eve@example.com\r\n\r\n<script>alert(1)</script>&<!channel> \0\x1b[31m\ud800\u2028😀"


@pytest.mark.parametrize(
    "told",
    [
        notice(Alert({}, AT)),
        notice(Alert({"": "", "a": ""}, AT), group_key="", receiver="", url="", group_labels={}),
        notice(*(alert(instance=str(n)) for n in range(500))),
        notice(alert(name="x" * 100_000, **{"y" * 5000: "z" * 100_000})),
        notice(
            Alert({NASTY: NASTY, "alertname": NASTY}, AT, None, {NASTY: NASTY, "summary": NASTY}, float("nan"), NASTY),
            group_key=NASTY, receiver=NASTY, url=NASTY, group_labels={NASTY: NASTY}, acknowledged_by=NASTY,
        ),
        notice(alert(value=float("inf")), alert(value=-1e300), alert(ends=AT - timedelta(days=1))),
        notice(alert(ends=AT - timedelta(days=1)), reason="resolved"),
        notice(alert(name="é" * 300), url="https://yard.example/" + "a" * 5000),
    ],
    ids=["bare", "empty", "many", "long", "nasty", "numbers", "backwards", "long url"],
)  # fmt: skip
async def test_whatever_a_notice_says_it_is_delivered(subject: Subject, told: Notice) -> None:
    async with subject.opened() as notifier:
        first = await notifier.notify(subject.config, told)
        assert isinstance(first, Delivered), first
        assert subject.told() == 1


async def test_a_notifier_that_is_not_open_says_so_and_close_may_come_twice(subject: Subject) -> None:
    notifier = subject.make(PATIENT_S)
    await notifier.close()
    assert isinstance(await notifier.notify(subject.config, notice()), Retryable)
    await notifier.open()
    await notifier.close()
    await notifier.close()
    subject.later()
    assert isinstance(await notifier.notify(subject.config, notice()), Retryable)
    assert subject.told() == 0


async def test_an_address_that_may_not_be_called_is_never_called(subject: Subject) -> None:
    if subject.kind == "email":
        pytest.skip("the relay is the installation's own")
    notifier = subject.make(PATIENT_S, lambda _: False)
    await notifier.open()
    outcome = await notifier.notify(subject.config, notice(id=uuid4()))
    await notifier.close()
    assert isinstance(outcome, Permanent)
    assert_shows_no_secret(subject, outcome)
    assert subject.told() == 0
