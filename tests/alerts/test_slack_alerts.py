"""Slack for alerts: messages within its limits, one message a group, and its pace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from app.alerts.notifiers.alerts import Delivered, Permanent, Retryable, Throttled
from app.alerts.notifiers.slack_alert_message import (
    ACKNOWLEDGE,
    COLOURS,
    RESOLVED_COLOUR,
    SILENCE,
    button_value,
    message,
)
from app.alerts.notifiers.slack_alerts import SlackAlertNotifier, SlackConfig
from tests.alerts.notices import ANY_TEXT, AT, LONG_TEXT, NOTICES, URL, alert, ended, notice
from tests.core.database import HandClock
from tests.fakes.faults import Reply
from tests.support.slack_limits import block_problem
from tests.support.slack_server import TOKEN, Posted, SlackServer, rate_limited, refused

HOOK = "T0/B0/secretsecret"
BOT = SlackConfig(channel="#approvals")


@pytest.fixture
async def notifier(slack: SlackServer, clock: HandClock) -> AsyncIterator[SlackAlertNotifier]:
    slack.webhooks[HOOK] = "C0OPS"
    made = SlackAlertNotifier(lambda _: True, clock, timeout_s=30.0, token=TOKEN, api_url=slack.api_url)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def hook(slack: SlackServer) -> SlackConfig:
    return SlackConfig(webhook_url=SecretStr(f"{slack.url}/services/{HOOK}"))


def posted(told: Any, *, buttons: bool = True) -> Posted:
    body = message(told, buttons=buttons)
    assert block_problem(body) is None
    return Posted("C", "1", body["text"], body["blocks"], attachments=body["attachments"])


def markup(item: Any) -> list[str]:
    """Every text in which Slack looks for links and mentions."""
    if isinstance(item, list):
        return [text for part in item for text in markup(part)]
    if not isinstance(item, dict):
        return []
    own = [item["text"]] if item.get("type") == "mrkdwn" else []
    return own + [text for part in item.values() for text in markup(part)]


@settings(max_examples=150)
@given(told=NOTICES, buttons=st.booleans())
def test_any_notice_is_a_message_that_slack_takes(told: Any, buttons: bool) -> None:
    shown = posted(told, buttons=buttons)
    assert shown.colours == [COLOURS[told.severity] if told.firing else RESOLVED_COLOUR]
    expected = [] if not buttons or not told.firing else [*([] if told.acknowledged_by else [ACKNOWLEDGE]), SILENCE]
    assert list(shown.buttons()) == expected
    for text in (shown.text, *markup(shown.all_blocks)):
        for part in text.split("<")[1:]:
            assert part.startswith(("!date^", "http://", "https://")), text


@given(one=ANY_TEXT | LONG_TEXT, other=ANY_TEXT | LONG_TEXT)
def test_a_button_carries_its_group(one: str, other: str) -> None:
    assert (button_value(one) == button_value(other)) == (one == other)
    assert len(button_value(one).encode("utf-16-le")) <= 4000


def test_a_message_has_the_fields_of_the_brief_the_colour_and_the_buttons() -> None:
    shown = posted(notice())
    for field in (
        "*Agent Type*\nops",
        "*Metric*\nsuccess_rate",
        "*Current value*\n0.82",
        "*Threshold*\n&lt; 0.9",
        f"*Started*\n<!date^{int(AT.timestamp())}^",
        "*Severity*\ncritical",
    ):
        assert field in shown.seen()
    assert shown.blocks[0]["text"]["text"] == "[FIRING:1] high_error_rate pool=ops" == shown.text
    assert "Too many tasks of ops fail." in shown.seen()
    assert f"<{URL}|Open in Yardmaster>" in shown.seen()
    assert shown.colours == [COLOURS["critical"]]
    assert [button["value"] for button in shown.buttons().values()] == [notice().group_key] * 2


def test_a_group_of_many_says_how_many_more() -> None:
    seen = posted(notice(*(alert(instance=f"i{n}", value=n / 10) for n in range(100)))).seen()
    assert "and 70 more" in seen
    assert "*Current value*\n0 to 9.9" in seen


def test_who_took_it_is_shown_and_not_asked_again() -> None:
    shown = posted(notice(acknowledged_by="ann"))
    assert "*Acknowledged by*\nann" in shown.seen()
    assert list(shown.buttons()) == [SILENCE]


async def test_one_message_a_group_is_kept_up_to_date_until_it_is_resolved(
    notifier: SlackAlertNotifier, slack: SlackServer, clock: HandClock
) -> None:
    first = await notifier.notify(BOT, notice())
    assert isinstance(first, Delivered)
    clock.forward(1)
    more = notice(alert(), alert(instance="b"), reason="new_alerts", receipt=first.receipt)
    assert await notifier.notify(BOT, more) == first
    clock.forward(1)
    assert (
        await notifier.notify(BOT, notice(reason="acknowledged", acknowledged_by="ann", receipt=first.receipt)) == first
    )
    clock.forward(1)
    assert await notifier.notify(BOT, ended(receipt=first.receipt)) == first
    root, reply = slack.posted
    assert root.versions == 4
    assert root.text == "[RESOLVED] high_error_rate pool=ops: Resolved"
    assert root.colours == [RESOLVED_COLOUR]
    assert root.buttons() == {}
    assert (reply.thread_ts, reply.text) == (root.ts, "New alerts: [FIRING:2] high_error_rate pool=ops")


@pytest.mark.parametrize("error", ["message_not_found", "cant_update_message", "edit_window_closed"])
async def test_a_message_that_is_gone_is_posted_anew(
    notifier: SlackAlertNotifier, slack: SlackServer, clock: HandClock, error: str
) -> None:
    first = await notifier.notify(BOT, notice())
    assert isinstance(first, Delivered)
    clock.forward(1)
    slack.faults.append(refused(error))
    second = await notifier.notify(BOT, ended(receipt=first.receipt))
    assert isinstance(second, Delivered)
    assert second.receipt != first.receipt
    assert len(slack.posted) == 2


async def test_after_a_change_of_channels_an_open_group_is_posted_in_the_new_one(
    notifier: SlackAlertNotifier, slack: SlackServer, hook: SlackConfig, clock: HandClock
) -> None:
    first = await notifier.notify(BOT, notice())
    assert isinstance(first, Delivered)
    other = SlackConfig(channel="C0OPS")
    second = await notifier.notify(other, notice(reason="repeat", receipt=first.receipt))
    assert isinstance(second, Delivered)
    clock.forward(1)
    assert await notifier.notify(other, ended(receipt=second.receipt)) == second
    assert [(shown.channel, shown.versions) for shown in slack.posted] == [("C0APPROVALS", 1), ("C0OPS", 2)]
    clock.forward(1)
    assert await notifier.notify(hook, notice(reason="repeat", receipt=first.receipt)) == Delivered()


async def test_a_webhook_posts_again_when_it_is_resolved(
    notifier: SlackAlertNotifier, slack: SlackServer, hook: SlackConfig, clock: HandClock
) -> None:
    assert await notifier.notify(hook, notice()) == Delivered()
    clock.forward(1)
    assert await notifier.notify(hook, ended()) == Delivered()
    clock.forward(1)
    await notifier.notify(hook, notice(reason="acknowledged", acknowledged_by="ann"))
    assert [shown.colours[0] for shown in slack.posted] == [COLOURS["critical"], RESOLVED_COLOUR]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<html>a proxy</html>", Retryable),
        ("", Retryable),
        ("okay", Permanent),
        ("invalid_token", Permanent),
        ("rate_limited", Throttled),
        ("rollup_error", Retryable),
        ('{"ok": true}', Retryable),
        (" ok\n", Delivered),
    ],
)
async def test_a_webhook_that_answers_200_with_anything_but_ok_has_failed(
    notifier: SlackAlertNotifier, slack: SlackServer, hook: SlackConfig, body: str, kind: type
) -> None:
    slack.provider.next.append(Reply(200, body))
    assert isinstance(await notifier.notify(hook, notice()), kind)


async def test_a_webhook_that_was_revoked_is_permanent(notifier: SlackAlertNotifier, slack: SlackServer) -> None:
    outcome = await notifier.notify(
        SlackConfig(webhook_url=SecretStr(f"{slack.url}/services/T0/B0/gonegone")), notice()
    )
    assert outcome == Permanent("Slack answered 404 no_service")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("invalid_auth", Permanent),
        ("channel_not_found", Permanent),
        ("not_in_channel", Permanent),
        ("invalid_blocks", Permanent),
        ("internal_error", Retryable),
        ("service_unavailable", Retryable),
        ("ratelimited", Throttled),
        ("", Retryable),
    ],
)
async def test_what_follows_from_an_error_of_the_api(
    notifier: SlackAlertNotifier, slack: SlackServer, error: str, kind: type
) -> None:
    slack.faults.append(refused(error))
    assert isinstance(await notifier.notify(BOT, notice()), kind)


async def test_a_channel_gets_one_message_a_second_and_others_do_not_wait_for_it(
    notifier: SlackAlertNotifier, slack: SlackServer, hook: SlackConfig, clock: HandClock
) -> None:
    assert isinstance(await notifier.notify(BOT, notice()), Delivered)
    early = [await notifier.notify(BOT, notice()) for _ in range(3)]
    # told times a second apart, so that they do not come back together
    assert [outcome.pause for outcome in early if isinstance(outcome, Throttled)] == [
        timedelta(seconds=second) for second in (1, 2, 3)
    ]
    assert isinstance(await notifier.notify(hook, notice()), Delivered)
    assert isinstance(await notifier.notify(SlackConfig(channel="C0OPS"), notice()), Delivered)
    clock.forward(1)
    assert isinstance(await notifier.notify(BOT, notice()), Delivered)
    assert len(slack.posted) == 4


async def test_after_a_rate_limit_the_channel_is_left_alone(
    notifier: SlackAlertNotifier, slack: SlackServer, clock: HandClock
) -> None:
    slack.faults.append(rate_limited(30))
    outcome = await notifier.notify(BOT, notice())
    assert isinstance(outcome, Throttled)
    assert (outcome.pause, outcome.own) == (timedelta(seconds=30), False)
    clock.forward(29)
    again = await notifier.notify(BOT, notice())
    assert isinstance(again, Throttled)
    assert (again.pause, again.own) == (timedelta(seconds=1), True)
    assert len(slack.calls) == 1
    clock.forward(1)
    assert isinstance(await notifier.notify(BOT, notice()), Delivered)


async def test_a_wall_clock_that_is_set_back_blocks_no_channel(
    notifier: SlackAlertNotifier, slack: SlackServer, clock: HandClock
) -> None:
    assert isinstance(await notifier.notify(BOT, notice()), Delivered)
    clock.set_back(3600)
    clock.forward(1)
    assert isinstance(await notifier.notify(BOT, notice()), Delivered)


async def test_a_receiver_may_have_a_bot_of_its_own(
    slack: SlackServer, clock: HandClock, notifier: SlackAlertNotifier
) -> None:
    other = SlackConfig(channel="#approvals", token=SecretStr("xoxb-of-another-workspace"))
    assert await notifier.notify(other, notice()) == Permanent("Slack answered 200 invalid_auth")
    without = SlackAlertNotifier(lambda _: True, clock, timeout_s=5.0, api_url=slack.api_url)
    outcome = await without.notify(BOT, notice())
    assert isinstance(outcome, Permanent)
    assert "bot token" in outcome.reason


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"webhook_url": "https://hooks.slack.com/services/secret", "channel": "#a"},
        {"webhook_url": "https://hooks.slack.com/services/secret", "token": "xoxb-secret"},
        {"webhook_url": "hooks.slack.com/secret"},
        {"channel": "#a", "token": "secret\r\nX: y"},
        {"channel": "#a", "chanel": "secret"},
    ],
)
def test_a_wrong_configuration_is_refused_and_shows_no_secret(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as failed:
        SlackConfig.model_validate(fields)
    assert "secret" not in str(failed.value)
