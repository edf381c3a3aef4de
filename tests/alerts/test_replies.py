"""Replies go to Slack and to nobody else."""

from __future__ import annotations

import pytest

from app.alerts.replies import Replies
from app.settings import SlackSettings
from tests.alerts.room import settings_of
from tests.support.slack_server import SlackServer

ALLOWED = [
    "https://hooks.slack.com/actions/T1/2/abc",
    "https://hooks.slack.com:443/actions/T1/2/abc",
    "https://slack.com/api/x",
]

REFUSED = [
    "",
    "hooks.slack.com/actions",
    "http://hooks.slack.com/actions",
    "https://hooks.slack.com:8443/actions",
    "https://hooks.slack.com.evil.example/actions",
    "https://evil.example/hooks.slack.com",
    "https://hooks.slack.com@evil.example/",
    "https://evil.example#@hooks.slack.com/",
    "https://evil.example\\@hooks.slack.com/",
    "https://hooks.slack.com\\.evil.example/",
    "https://user:pass@hooks.slack.com/",
    "https://HOOKS.slack.com\u3002evil.example/",
    "https://hooks.slack.com:99999/",
    "https://hooks.slack.com:x/",
    "https://[::1/",
    "https://169.254.169.254/latest",
    "http://127.0.0.1:8080/v1/keys",
    "ftp://hooks.slack.com/",
    "file:///etc/passwd",
    "https://hooks.slack.com /x",
    "https://hooks.slack.com/\r\nHost: evil",
    "https:///hooks.slack.com",
]


@pytest.mark.parametrize("url", ALLOWED)
def test_slacks_addresses_are_allowed(url: str) -> None:
    assert Replies(SlackSettings()).allowed(url)


@pytest.mark.parametrize("url", REFUSED)
async def test_all_others_are_refused(url: str) -> None:
    replies = Replies(SlackSettings())
    assert not replies.allowed(url)
    assert not await replies.tell(url, "text")


def test_another_slack_has_its_own_hooks() -> None:
    replies = Replies(SlackSettings(api_url="https://slack-gov.com/api/"))
    assert replies.allowed("https://hooks.slack-gov.com/actions/1")
    assert not replies.allowed("https://hooks.slack-gov.com.example/actions/1")


def test_a_damaged_api_url_allows_no_more_than_slack() -> None:
    replies = Replies(SlackSettings(api_url="not a url"))
    assert replies.allowed(ALLOWED[0])
    assert not replies.allowed("https://hooks.not a url/")


async def test_text_is_escaped_and_only_for_the_one_who_clicked(slack: SlackServer) -> None:
    replies = Replies(settings_of(slack))
    await replies.open()
    assert await replies.tell(f"{slack.url}/actions/1", "<!channel> & more " + "x" * 5000)
    await replies.close()
    [reply] = slack.replies
    assert reply["text"].startswith("&lt;!channel&gt; &amp; more xx")
    assert len(reply["text"]) == 3000
    assert (reply["response_type"], reply["replace_original"]) == ("ephemeral", False)


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (410, 1), (302, 1), (500, 3), (429, 3)])
async def test_it_is_tried_again_only_where_that_can_help(slack: SlackServer, status: int, tries: int) -> None:
    replies = Replies(settings_of(slack), try_again_s=(0.0, 0.0))
    await replies.open()
    slack.reply_faults.extend([(status, {}, {"Location": f"{slack.url}/actions/2"})] * 5)
    assert not await replies.tell(f"{slack.url}/actions/1", "text")
    await replies.close()
    assert 5 - len(slack.reply_faults) == tries
    assert slack.replies == []


async def test_a_slack_that_is_away_is_no_error(slack: SlackServer) -> None:
    replies = Replies(settings_of(slack), try_again_s=(0.0,))
    assert not await replies.tell(f"{slack.url}/actions/1", "not open yet")
    await replies.open()
    await slack.stop()
    assert not await replies.tell(f"{slack.url}/actions/1", "text")
    await replies.close()
