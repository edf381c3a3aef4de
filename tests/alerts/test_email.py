"""Mail: well formed whatever an alert says, in threads, and what follows from a server's replies."""

from __future__ import annotations

import email
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from pydantic import SecretStr, ValidationError

from app.alerts.notifiers import email as email_module
from app.alerts.notifiers import wording
from app.alerts.notifiers.alerts import Delivered, Outcome, Permanent, Retryable
from app.alerts.notifiers.email import EmailConfig, EmailNotifier
from app.alerts.notifiers.email_message import MAX_SUBJECT, mail
from app.alerts.notifiers.smtp import SmtpServer
from app.alerts.records import Alert
from tests.alerts.notices import AT, NOTICES, URL, alert, ended, notice
from tests.core.database import HandClock
from tests.fakes.smtp import MailServer, client_tls, mail_problems

ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"
TO = EmailConfig(to=(ANN, BOB))

type Start = Callable[..., Any]


@pytest.fixture
async def start(clock: HandClock) -> AsyncIterator[Start]:
    """`await start(**fields of MailServer)`: a mail server and a notifier that uses it."""
    async with AsyncExitStack() as stack:

        async def started(*, timeout_s: float = 30.0, **fields: Any) -> tuple[MailServer, EmailNotifier]:
            server = MailServer(**fields)
            await server.start()
            stack.push_async_callback(server.stop)
            relay = SmtpServer(
                "localhost", "yard@example.com", server.security, server.port, tls=client_tls(),
                username=fields.get("user", ""), password=SecretStr(fields.get("password", "")),
            )  # fmt: skip
            notifier = EmailNotifier(relay, clock, timeout_s=timeout_s)
            await notifier.open()
            stack.push_async_callback(notifier.close)
            return server, notifier

        yield started


class Tags(HTMLParser):
    """Every tag and attribute of a document."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]


def parsed(told: Any) -> EmailMessage:
    raw, _ = mail(told, sender="yard@example.com", name="Yardmaster", recipients=[ANN, BOB], now=AT)
    assert mail_problems(raw) == []
    message = email.message_from_bytes(raw, policy=default)
    assert isinstance(message, EmailMessage)
    return message


@settings(max_examples=150)
@given(told=NOTICES)
def test_any_notice_is_a_mail_that_a_strict_server_takes(told: Any) -> None:
    message = parsed(told)
    assert message["To"] == f"{ANN}, {BOB}"
    assert message["Subject"].split() == wording.cut(wording.title(told), MAX_SUBJECT).split()
    html = message.get_body(("html",))
    assert isinstance(html, EmailMessage)
    tags = Tags()
    tags.feed(html.get_content())
    # nothing of what an alert says has become markup
    known = {"html", "head", "meta", "title", "body", "h2", "p", "table", "tr", "th", "td", "ul", "li", "br", "a"}
    assert tags.tags <= known
    assert tags.names <= {"charset", "style", "align", "href"}
    assert all(link.startswith(("http://", "https://")) for link in tags.links)


def test_a_mail_says_what_is_wrong_in_both_its_parts() -> None:
    message = parsed(notice())
    for kind in ("plain", "html"):
        part = message.get_body((kind,))
        assert isinstance(part, EmailMessage)
        for words in ("[FIRING:1] high_error_rate pool=ops", "Too many tasks of ops fail.", "0.82", "critical", URL):
            assert words in part.get_content()
    assert "Threshold: < 0.9" in message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert "<td>&lt; 0.9</td>" in message.get_body(("html",)).get_content()  # type: ignore[union-attr]
    assert message["Subject"] == "[FIRING:1] high_error_rate pool=ops"


def test_a_header_cannot_be_injected() -> None:
    evil = "x\r\nBcc: eve@example.com\r\n\r\nbody"
    message = parsed(notice(Alert({"alertname": evil}, AT), receiver=evil, receipt=evil, group_labels={evil: evil}))
    assert message["Bcc"] is None
    assert "\n" not in message["Subject"]


@pytest.mark.parametrize("name", ["plain", "=?utf-8?q?not_mine?=", "é" * 300, "a  b", "x" * 300, "𐀀 " * 90])
def test_a_subject_arrives_as_it_was_written(name: str) -> None:
    told = notice(Alert({"alertname": name}, AT), group_labels={})
    assert parsed(told)["Subject"] == wording.cut(wording.title(told), MAX_SUBJECT)


def test_the_rest_of_very_many_is_counted() -> None:
    text = parsed(notice(*(alert(instance=f"i{n}") for n in range(250)))).get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert "150 more alerts are not shown here." in text


async def test_mails_of_one_group_hang_together(start: Start) -> None:
    server, notifier = await start()
    first = await notifier.notify(TO, notice())
    second = await notifier.notify(TO, ended(receipt=first.receipt))
    await notifier.notify(TO, notice(group_key="another group"))
    one, two, other = (mail.message for mail in server.got)
    assert (one["Message-ID"], two["Message-ID"]) == (first.receipt, second.receipt)
    assert two["In-Reply-To"] == one["Message-ID"]
    thread = one["References"]
    assert thread == one["In-Reply-To"]
    assert two["References"].split() == [thread, one["Message-ID"]]
    assert other["References"] != thread
    assert len({message["Message-ID"] for message in (one, two, other)}) == 3


async def test_a_second_try_is_the_same_mail(start: Start) -> None:
    server, notifier = await start()
    told = notice()
    assert await notifier.notify(TO, told) == await notifier.notify(TO, told)
    assert server.got[0].message["Message-ID"] == server.got[1].message["Message-ID"]


@pytest.mark.parametrize("security", ["starttls", "tls", "none"])
async def test_a_mail_goes_as_its_relay_asks(start: Start, security: Literal["starttls", "tls", "none"]) -> None:
    login = {} if security == "none" else {"user": "yard", "password": "secret-pass"}
    server, notifier = await start(security=security, **login)
    assert isinstance(await notifier.notify(TO, notice()), Delivered)
    (got,) = server.got
    assert (got.encrypted, got.user) == (security != "none", login.get("user", ""))
    assert (got.sender, got.recipients) == ("yard@example.com", [ANN, BOB])


async def test_without_the_encryption_that_was_asked_for_nothing_is_sent(start: Start) -> None:
    server, notifier = await start(starttls_offered=False)
    outcome = await notifier.notify(TO, notice())
    assert isinstance(outcome, Permanent | Retryable)
    assert "STARTTLS" in outcome.reason
    assert server.got == []


async def test_a_server_that_nobody_vouches_for_gets_nothing(start: Start, clock: HandClock) -> None:
    server, _ = await start()
    notifier = EmailNotifier(SmtpServer("localhost", "yard@example.com", port=server.port), clock, timeout_s=30.0)
    await notifier.open()
    assert isinstance(await notifier.notify(TO, notice()), Retryable)
    assert server.got == []


async def test_a_wrong_password_is_permanent_and_not_shown(start: Start) -> None:
    server, notifier = await start(user="yard", password="right-pass")
    server.password = "changed"
    outcome = await notifier.notify(TO, notice())
    assert isinstance(outcome, Permanent)
    assert "535" in outcome.reason
    assert "right-pass" not in outcome.reason


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("421 closing", Retryable),
        ("450 busy", Retryable),
        ("452 full", Retryable),
        ("500 what", Permanent),
        ("552 too large", Permanent),
        ("554 spam", Permanent),
        ("reset", Retryable),
    ],
)
async def test_what_follows_from_a_reply(start: Start, fault: str, kind: type[Outcome]) -> None:
    server, notifier = await start()
    server.faults.append(fault)
    outcome = await notifier.notify(TO, notice())
    assert isinstance(outcome, kind)
    assert fault == "reset" or fault[:3] in outcome.reason
    assert isinstance(await notifier.notify(TO, notice()), Delivered)


async def test_who_was_put_off_is_tried_again_alone(start: Start) -> None:
    server, notifier = await start(recipients={BOB: "450 later"})
    told = notice()
    first = await notifier.notify(TO, told)
    assert isinstance(first, Retryable)
    assert BOB in first.reason
    assert isinstance(await notifier.notify(TO, told), Retryable)
    server.recipients.clear()
    assert isinstance(await notifier.notify(TO, told), Delivered)
    assert [mail.recipients for mail in server.got] == [[ANN], [BOB]]
    assert notifier._has_it == {}


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        ({BOB: "550 nobody"}, Delivered),
        ({ANN: "550 nobody", BOB: "550 nobody"}, Permanent),
        ({ANN: "450 later", BOB: "550 nobody"}, Retryable),
        ({ANN: "450 later", BOB: "450 later"}, Retryable),
    ],
)
async def test_what_follows_from_refused_recipients(start: Start, replies: dict[str, str], kind: type) -> None:
    _, notifier = await start(recipients=replies)
    outcome = await notifier.notify(TO, notice())
    assert isinstance(outcome, kind)
    if isinstance(outcome, Delivered):
        assert f"{BOB} 550 nobody" in outcome.note


async def test_what_is_remembered_is_bounded(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(email_module, "MAX_REMEMBERED", 3)
    _, notifier = await start(recipients={BOB: "450 later"})
    for _ in range(6):
        await notifier.notify(TO, notice())
    assert len(notifier._has_it) == 3


async def test_an_acknowledgement_is_no_mail_and_no_relay_is_permanent(start: Start, clock: HandClock) -> None:
    server, notifier = await start()
    told = notice(reason="acknowledged", acknowledged_by="ann", receipt="<1@example.com>")
    assert await notifier.notify(TO, told) == Delivered("<1@example.com>")
    assert server.got == []
    without = EmailNotifier(None, clock, timeout_s=1.0)
    await without.open()
    assert isinstance(await without.notify(TO, notice()), Permanent)


@pytest.mark.parametrize(
    "address",
    ["", "ann", "@example.com", "a b@example.com", "ann@example.com\r\nBcc: x@y", "a@b>, <eve@example.com",
     "é@example.com", "ann@", "a@b@c", "ann@-a.com-", "a..b@example.com", ".a@example.com", "a" * 65 + "@example.com",
     "a@" + "b" * 260, "ann@example.com\n", '"a\r\n"@example.com', "ann@[127.0.0.1]"],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        EmailConfig(to=(address,))
    with pytest.raises(ValueError, match="address"):
        SmtpServer("localhost", address)


@pytest.mark.parametrize("address", [ANN, "a.b+tag@sub.example.co", "o'neil@xn--bcher-kva.example", "root@localhost"])
def test_what_is_an_address_is_taken(address: str) -> None:
    assert EmailConfig(to=(address, address)).to == (address,)
    raw, _ = mail(notice(), sender=address, name="Yard, master", recipients=[address], now=AT)
    assert mail_problems(raw) == []


def test_a_password_is_not_sent_in_the_open() -> None:
    with pytest.raises(ValueError, match="unencrypted"):
        SmtpServer("localhost", ANN, "none", username="u", password=SecretStr("p"))
    assert "hidden-pass" not in repr(SmtpServer("localhost", ANN, username="u", password=SecretStr("hidden-pass")))
