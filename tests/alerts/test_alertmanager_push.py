"""Alertmanagers: what is pushed is what each takes, again and again while it fires."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import SecretStr, ValidationError

from app.alerts.notifiers.alertmanager import AlertmanagerConfig, AlertmanagerNotifier
from app.alerts.notifiers.alertmanager_alerts import HOLD, RESEND_S, alerts_of, names
from app.alerts.notifiers.alerts import Delivered, Permanent, Retryable, Throttled
from app.alerts.notifiers.http import encode
from app.alerts.records import Alert
from tests.alerts.notices import AT, LABELS, NOTICES, TIMES, alert, ended, notice
from tests.core.database import HandClock
from tests.fakes.alertmanager import Alertmanager, push_problems, time_of
from tests.fakes.faults import Fault, Reply


@pytest.fixture
async def two() -> AsyncIterator[list[Alertmanager]]:
    members = [Alertmanager(), Alertmanager()]
    for member in members:
        await member.start()
    yield members
    for member in members:
        await member.stop()


@pytest.fixture
async def notifier(clock: HandClock) -> AsyncIterator[AlertmanagerNotifier]:
    made = AlertmanagerNotifier(lambda _: True, clock, timeout_s=30.0)
    await made.open()
    yield made
    await made.close()


def config_of(members: list[Alertmanager], token: str | None = None) -> AlertmanagerConfig:
    urls = tuple(SecretStr(member.url + "/") for member in members)
    return AlertmanagerConfig(urls=urls, token=None if token is None else SecretStr(token))


@settings(max_examples=150)
@given(told=NOTICES, now=TIMES)
def test_any_notice_is_a_push_that_an_alertmanager_takes(told: Any, now: Any) -> None:
    body = json.loads(encode(alerts_of(told, now)).decode())
    assert push_problems(body) == []
    for sent, own in zip(body, told.alerts, strict=True):
        assert own.ends_at is not None or time_of(sent["endsAt"]) > now


@given(labels=LABELS)
def test_no_label_is_lost_or_merged_for_its_name(labels: dict[str, str]) -> None:
    made = names(labels)
    assert sorted(made.values()) == sorted(value for value in labels.values() if value)


def test_labels_keep_their_names_where_they_can() -> None:
    assert names({"a_b": "1", "a.b": "2", "a-b": "3", "9": "4", "empty": "", "pool": "5"}) == {
        "a_b": "1",
        "a_b_2": "3",
        "a_b_3": "2",
        "_9": "4",
        "pool": "5",
    }


async def test_an_alert_stands_while_it_is_told_again_and_ends_when_told(
    notifier: AlertmanagerNotifier, two: list[Alertmanager], clock: HandClock
) -> None:
    config, told = config_of(two), notice()
    assert notifier.resend_s == RESEND_S
    for _ in range(10):
        assert await notifier.notify(config, told) == Delivered()
        assert all(len(member.firing(clock.now())) == 1 for member in two)
        clock.forward(RESEND_S * (HOLD - 1))  # as if all but one re-send were lost
        assert all(len(member.firing(clock.now())) == 1 for member in two)
    await notifier.notify(config, ended())
    assert all(member.firing(clock.now()) == [] and len(member.alerts) == 1 for member in two)


async def test_what_is_told_no_more_ends_by_itself(
    notifier: AlertmanagerNotifier, two: list[Alertmanager], clock: HandClock
) -> None:
    await notifier.notify(config_of(two), notice())
    clock.forward(RESEND_S * HOLD)
    assert two[0].firing(clock.now()) == []


@pytest.mark.parametrize("fault", [Reply(500), Reply(429), Reply(400), "reset"])
async def test_one_member_that_takes_it_is_enough_and_the_other_is_noted(
    notifier: AlertmanagerNotifier, two: list[Alertmanager], fault: Fault
) -> None:
    two[0].faults.always = fault
    outcome = await notifier.notify(config_of(two), notice())
    assert isinstance(outcome, Delivered)
    assert "1 of 2" in outcome.note
    assert (two[0].pushes, two[1].pushes) == (0, 1)


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (Reply(400), Reply(500), Retryable),
        (Reply(429), Reply(500), Retryable),
        (Reply(400), Reply(429), Throttled),
        (Reply(400), Reply(401), Permanent),
    ],
)
async def test_of_two_failures_the_one_that_may_pass_counts(
    notifier: AlertmanagerNotifier, two: list[Alertmanager], one: Fault, other: Fault, kind: type
) -> None:
    two[0].faults.always, two[1].faults.always = one, other
    assert isinstance(await notifier.notify(config_of(two), notice()), kind)
    assert isinstance(await notifier.notify(config_of(two[::-1]), notice()), kind)


async def test_of_two_pauses_the_shorter_counts(
    notifier: AlertmanagerNotifier, two: list[Alertmanager], clock: HandClock
) -> None:
    for member, seconds in zip(two, ("90", "20"), strict=True):
        member.faults.always = Reply(429, "", {"Retry-After": seconds})
    outcome = await notifier.notify(config_of(two), notice())
    assert isinstance(outcome, Throttled)
    assert outcome.pause == timedelta(seconds=20)


async def test_the_token_is_sent(notifier: AlertmanagerNotifier, two: list[Alertmanager]) -> None:
    await notifier.notify(config_of(two, "t0ken"), notice())
    assert two[0].headers[0]["Authorization"] == "Bearer t0ken"


def test_a_clock_that_was_set_back_makes_no_alert_that_ends_before_it_starts() -> None:
    told = notice(Alert({"alertname": "a"}, AT), alert(ends=AT - timedelta(days=1)))
    for sent in alerts_of(told, AT - timedelta(days=2)):
        assert sent["endsAt"] >= sent["startsAt"]


@pytest.mark.parametrize(
    "fields",
    [{"urls": []}, {"urls": ["secret"]}, {"urls": ["http://a/"] * 11}, {"urls": ["http://a/"], "token": "secret\r\n"}],
)
def test_a_wrong_configuration_is_refused_and_shows_no_secret(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as failed:
        AlertmanagerConfig.model_validate(fields)
    assert "secret" not in str(failed.value)
