"""PagerDuty: what is sent stays within its limits, and what becomes of an incident."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from app.alerts.notifiers.alerts import Delivered, Permanent, Retryable, Throttled
from app.alerts.notifiers.pagerduty import PagerDutyConfig, PagerDutyNotifier
from app.alerts.notifiers.pagerduty_event import Change, action_of, change_event, dedup_key, event
from app.alerts.records import Alert
from tests.alerts.notices import ANY_TEXT, AT, LONG_TEXT, NOTICES, TIMES, URLS, alert, ended, notice
from tests.core.database import HandClock
from tests.fakes.faults import Reply
from tests.fakes.pagerduty import MAX_BODY, PagerDuty, change_problems, event_problems

KEY, OLD_KEY = "0123456789abcdef0123456789ABCDEF", "f" * 32
CONFIG = PagerDutyConfig(routing_key=SecretStr(KEY))
FIRING = notice()


@pytest.fixture
async def pagerduty() -> AsyncIterator[PagerDuty]:
    fake = PagerDuty(keys={KEY, OLD_KEY})
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def notifier(pagerduty: PagerDuty, clock: HandClock) -> AsyncIterator[PagerDutyNotifier]:
    urls = {"us": pagerduty.url, "eu": pagerduty.url + "/nowhere"}
    made = PagerDutyNotifier(lambda _: True, clock, timeout_s=30.0, urls=urls)
    await made.open()
    yield made
    await made.close()


def event_of(told: Any, key: str = "k") -> dict[str, Any]:
    body: dict[str, Any] = json.loads(event(told, routing_key=KEY, key=key, source="yard-1")[0])
    return body


@settings(max_examples=150)
@given(told=NOTICES, source=st.text(min_size=1, max_size=255))
def test_any_notice_is_an_event_that_pagerduty_takes(told: Any, source: str) -> None:
    key = dedup_key(told.group_key, source)
    raw, note = event(told, routing_key=KEY, key=key, source=source)
    assert len(raw) <= MAX_BODY
    body = json.loads(raw.decode())
    assert event_problems(body) == []
    if note:
        assert body["payload"]["custom_details"]["note"] == note
    elif body["event_action"] == "trigger":
        assert len(body["payload"]["custom_details"]["alerts"]) == len(told.alerts)


LINKS = st.lists(st.tuples(URLS, LONG_TEXT)).map(tuple)


@given(change=st.builds(Change, LONG_TEXT, TIMES, ANY_TEXT, st.dictionaries(ANY_TEXT, LONG_TEXT), LINKS))
def test_any_change_is_a_change_event_that_pagerduty_takes(change: Change) -> None:
    raw, _ = change_event(change, routing_key=KEY, source="yard")
    assert len(raw) <= MAX_BODY
    assert change_problems(json.loads(raw.decode())) == []


@given(one=ANY_TEXT, other=ANY_TEXT, source=ANY_TEXT)
def test_a_group_has_one_key_and_no_other_group_has_it(one: str, other: str, source: str) -> None:
    assert dedup_key(one, source) == dedup_key(one, source)
    assert len(dedup_key(one, source)) <= 255
    assert (dedup_key(one, source) == dedup_key(other, source)) == (one == other)


def test_a_trigger_says_what_is_wrong() -> None:
    payload = event_of(FIRING)["payload"]
    assert payload["summary"] == "[FIRING:1] high_error_rate pool=ops: Too many tasks of ops fail."
    assert payload["severity"] == "critical"
    assert (payload["source"], payload["component"], payload["class"]) == ("yard-1", "ops", "high_error_rate")
    assert payload["group"] == "alertname=high_error_rate pool=ops"
    assert payload["timestamp"] == "2026-01-01T00:10:00.000Z"
    assert payload["custom_details"]["alerts"][0]["value"] == "0.82"
    assert [link["href"] for link in event_of(FIRING)["links"]] == [FIRING.url, FIRING.alerts[0].url]


@pytest.mark.parametrize(
    ("alerts", "severity"),
    [
        ((alert(severity="info"), alert(severity="error")), "error"),
        ((alert(severity="critical", ends=AT), alert(severity="warning")), "warning"),
        ((alert(severity="page"),), "warning"),
        ((alert(severity="info"),), "info"),
    ],
)
def test_the_worst_that_fires_is_the_severity(alerts: tuple[Alert, ...], severity: str) -> None:
    assert event_of(notice(*alerts))["payload"]["severity"] == severity


def test_details_are_cut_first_and_say_so() -> None:
    told = notice(*(alert(instance=str(n), text="x" * 5000) for n in range(300)))
    raw, note = event(told, routing_key=KEY, key="k", source="s")
    details = json.loads(raw)["payload"]["custom_details"]
    assert len(raw) <= MAX_BODY
    assert 0 < len(details["alerts"]) < 300
    assert (
        note
        == details["note"]
        == f"Only {len(details['alerts'])} of 300 alerts are shown: all of them would be too large."
    )
    assert details["num_firing"] == 300


@pytest.mark.parametrize(
    ("told", "action"),
    [
        (FIRING, "trigger"),
        (notice(reason="repeat"), "trigger"),
        (notice(reason="acknowledged"), "acknowledge"),
        (notice(alert(ends=AT), alert()), "trigger"),
        (ended(), "resolve"),
        (notice(alert(ends=AT), reason="acknowledged"), "resolve"),
    ],
)
def test_the_action(told: Any, action: str) -> None:
    assert action_of(told) == action


async def test_an_incident_is_opened_taken_resolved_and_opened_again(
    notifier: PagerDutyNotifier, pagerduty: PagerDuty
) -> None:
    first = await notifier.notify(CONFIG, FIRING)
    assert isinstance(first, Delivered)
    ((_, key),) = pagerduty.incidents
    incident = pagerduty.incidents[KEY, key]
    for told, state in (
        (notice(reason="repeat", receipt=first.receipt), "open"),
        (notice(reason="acknowledged", acknowledged_by="ann", receipt=first.receipt), "acked"),
        (notice(reason="repeat", receipt=first.receipt), "acked"),
        (ended(receipt=first.receipt), "resolved"),
        (ended(receipt=first.receipt), "resolved"),
    ):
        assert await notifier.notify(CONFIG, told) == first
        assert incident.state == state
    assert incident.opened == 1
    await notifier.notify(CONFIG, notice())
    assert (incident.state, incident.opened) == ("open", 2)
    assert list(pagerduty.incidents) == [(KEY, key)]


async def test_after_a_change_of_keys_it_resolves_through_the_key_that_triggered(
    notifier: PagerDutyNotifier, pagerduty: PagerDuty
) -> None:
    first = await notifier.notify(PagerDutyConfig(routing_key=SecretStr(OLD_KEY)), FIRING)
    assert isinstance(first, Delivered)
    changed = PagerDutyConfig(routing_key=SecretStr(KEY), previous_routing_keys=(SecretStr(OLD_KEY),))
    assert isinstance(await notifier.notify(changed, ended(receipt=first.receipt)), Delivered)
    assert [(key, found.state) for (key, _), found in pagerduty.incidents.items()] == [(OLD_KEY, "resolved")]
    lost = await notifier.notify(CONFIG, ended(receipt=first.receipt))
    assert isinstance(lost, Permanent)
    assert "routing key" in lost.reason


async def test_a_trigger_whose_key_is_gone_goes_through_the_new_one(
    notifier: PagerDutyNotifier, pagerduty: PagerDuty
) -> None:
    first = await notifier.notify(PagerDutyConfig(routing_key=SecretStr(OLD_KEY)), FIRING)
    assert isinstance(first, Delivered)
    second = await notifier.notify(CONFIG, notice(reason="repeat", receipt=first.receipt))
    assert isinstance(second, Delivered)
    assert {key for key, _ in pagerduty.incidents} == {KEY, OLD_KEY}
    assert isinstance(await notifier.notify(CONFIG, ended(receipt=second.receipt)), Delivered)


async def test_another_installation_has_incidents_of_its_own(notifier: PagerDutyNotifier, pagerduty: PagerDuty) -> None:
    for source in ("production", "staging"):
        await notifier.notify(PagerDutyConfig(routing_key=SecretStr(KEY), source=source), FIRING)
    assert len(pagerduty.incidents) == 2


async def test_a_change_is_told(notifier: PagerDutyNotifier, pagerduty: PagerDuty) -> None:
    change = Change("Deployed 1.2", AT, "ci", {"commit": "abc"}, (("https://ci.example/1", "The run"),))
    assert await notifier.change(CONFIG, change) == Delivered()
    (told,) = pagerduty.changes
    assert told["payload"] == {
        "summary": "Deployed 1.2",
        "source": "ci",
        "timestamp": "2026-01-01T00:10:00.000Z",
        "custom_details": {"commit": "abc"},
    }
    assert told["links"] == [{"href": "https://ci.example/1", "text": "The run"}]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(400, "no"), Permanent),
        (Reply(403, "no"), Permanent),
        (Reply(302, "", {"Location": "https://elsewhere.example/"}), Permanent),
        (Reply(408), Retryable),
        (Reply(500), Retryable),
        (Reply(503), Retryable),
        (Reply(503, "", {"Retry-After": "9"}), Throttled),
        (Reply(429), Throttled),
        (Reply(200, '{"status": "success"}'), Retryable),
        (Reply(200, "<html>a proxy</html>"), Retryable),
        (Reply(202, '{"status": "invalid event", "message": "no"}'), Retryable),
        (Reply(202, ""), Delivered),
    ],
)
async def test_what_follows_from_an_answer(
    notifier: PagerDutyNotifier, pagerduty: PagerDuty, reply: Reply, kind: type
) -> None:
    pagerduty.faults.next.append(reply)
    assert isinstance(await notifier.notify(CONFIG, FIRING), kind)
    assert pagerduty.faults.played == 1


async def test_a_storm_of_429_is_answered_once_a_pause(
    notifier: PagerDutyNotifier, pagerduty: PagerDuty, clock: HandClock
) -> None:
    pagerduty.faults.always = Reply(429, "", {"Retry-After": "20"})
    for number in range(10):
        outcome = await notifier.notify(CONFIG, FIRING)
        assert isinstance(outcome, Throttled)
        assert outcome.own == (number > 0), "only the first is PagerDuty's word"
        assert timedelta(0) < outcome.pause <= timedelta(seconds=60)
    assert pagerduty.faults.played == 1
    clock.forward(20)
    pagerduty.faults.always = None
    assert isinstance(await notifier.notify(CONFIG, FIRING), Delivered)


async def test_a_wall_clock_that_is_set_back_in_a_pause_makes_it_no_longer(
    notifier: PagerDutyNotifier, pagerduty: PagerDuty, clock: HandClock
) -> None:
    pagerduty.faults.next.append(Reply(429, "", {"Retry-After": "20"}))
    assert isinstance(await notifier.notify(CONFIG, FIRING), Throttled)
    clock.set_back(3600)
    clock.forward(20)
    assert isinstance(await notifier.notify(CONFIG, FIRING), Delivered)


async def test_the_region_chooses_the_address(notifier: PagerDutyNotifier) -> None:
    config = PagerDutyConfig(routing_key=SecretStr(KEY), region="eu")
    outcome = await notifier.notify(config, FIRING)
    assert isinstance(outcome, Permanent)
    assert "404" in outcome.reason


@pytest.mark.parametrize("key", ["", "short", "g" * 33, "é" * 32, "a" * 31 + "\n"])
def test_a_wrong_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValidationError) as failed:
        PagerDutyConfig(routing_key=SecretStr(KEY), previous_routing_keys=[key])  # type: ignore[arg-type]
    assert not key or key not in str(failed.value)
