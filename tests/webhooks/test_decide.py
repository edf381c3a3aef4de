"""What follows from an answer, when the next try is, and which addresses are public."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from app.registry.addresses import AllowList
from app.settings import WebhookSettings
from app.webhooks import addresses, signing
from app.webhooks.decide import Answer, RetryPolicy, delay_s, retry_after_s, verdict

NOW = datetime(2026, 11, 20, 20, 25, tzinfo=UTC)
POLICY = RetryPolicy(first_s=5, factor=3, max_s=21_600, max_tries=20)


@pytest.mark.parametrize(
    ("status", "tries", "expected"),
    [
        (200, 1, "delivered"), (204, 20, "delivered"), (299, 1, "delivered"),
        (301, 1, "retry"), (404, 1, "retry"), (500, 19, "retry"), (None, 1, "retry"),
        (500, 20, "failed"), (None, 21, "failed"), (302, 20, "failed"),
        (410, 1, "gone"), (410, 20, "gone"),
    ],
)  # fmt: skip
def test_verdicts(status: int | None, tries: int, expected: str) -> None:
    assert verdict(Answer(status), tries, POLICY) == expected


def test_the_waits_grow_to_the_longest_and_last_about_three_days() -> None:
    settings = WebhookSettings()
    policy = RetryPolicy(settings.first_retry_s, settings.retry_factor, settings.max_retry_s, settings.max_tries)
    waits = [delay_s(Answer(500), tries, policy, NOW, 0.0) for tries in range(1, policy.max_tries)]
    assert waits[:4] == [5, 15, 45, 135]
    assert waits == sorted(waits)
    assert waits[-1] == settings.max_retry_s
    assert 2.5 * 86_400 < sum(waits) < 3.5 * 86_400


@given(tries=st.integers(1, 5000), spread=st.floats(-1, 1), asked=st.none() | st.integers(0, 10**30).map(str))
def test_a_wait_is_never_longer_than_the_longest(tries: int, spread: float, asked: str | None) -> None:
    wait = delay_s(Answer(503, "", asked), tries, POLICY, NOW, spread)
    assert 0 < wait <= POLICY.max_s * 1.1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120), (" 7 ", 7), ("0", 0), ("-5", 0), ("soon", 0), ("", 0), ("1.5", 0), ("²", 0),
        ("Fri, 20 Nov 2026 20:26:00 GMT", 60), ("Fri, 20 Nov 2026 20:24:00 GMT", 0), ("Fri, 99 Nov 2026", 0),
    ],
)  # fmt: skip
def test_retry_after(header: str, seconds: float) -> None:
    assert retry_after_s(header, NOW) == seconds


def test_only_a_receiver_that_says_so_is_waited_for() -> None:
    for status, expected in ((429, 600), (503, 600), (500, 5), (200, 5)):
        assert delay_s(Answer(status, "", "600"), 1, POLICY, NOW, 0.0) == expected
    assert delay_s(Answer(503, "", "1"), 3, POLICY, NOW, 0.0) == 45


def test_the_receivers_library_verifies_a_signature_with_the_new_secret_and_the_one_before() -> None:
    webhook_id, delivery_id, body = uuid4(), uuid4(), '{"type":"task.succeeded","ü":1}'.encode()
    stamp = int(datetime.now(UTC).timestamp())
    keys = signing.keys_in_use(b"pepper", webhook_id, 3)
    sent = signing.headers(keys, delivery_id, stamp, body)
    secrets = [signing.shown(signing.key_of(b"pepper", webhook_id, number)) for number in (1, 2, 3, 4)]
    for secret, good in zip(secrets, (False, True, True, False), strict=True):
        if good:
            assert Webhook(secret).verify(body, sent) == {"type": "task.succeeded", "ü": 1}
        else:
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(body, sent)
    for name, wrong in (("webhook-id", str(uuid4())), ("webhook-timestamp", str(stamp - 1))):
        with pytest.raises(WebhookVerificationError):
            Webhook(secrets[2]).verify(body, {**sent, name: wrong})
    with pytest.raises(WebhookVerificationError):
        Webhook(secrets[2]).verify(body + b" ", sent)
    assert len(signing.keys_in_use(b"pepper", webhook_id, 1)) == 1


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("8.8.8.8", True), ("2606:2800:220:1::1", True), ("::ffff:8.8.8.8", True),
        ("10.1.2.3", False), ("172.16.0.1", False), ("172.31.255.255", False), ("172.32.0.1", True),
        ("192.168.1.1", False), ("100.64.0.1", False), ("127.0.0.1", False), ("0.0.0.0", False),
        ("169.254.169.254", False), ("100.100.100.200", False), ("224.0.0.1", False), ("255.255.255.255", False),
        ("::1", False), ("::", False), ("fe80::1", False), ("fd00::1", False), ("fd00:ec2::254", False),
        ("::ffff:127.0.0.1", False), ("64:ff9b::a9fe:a9fe", False), ("2002:7f00:1::", False), ("ff02::1", False),
        ("not an address", False),
    ],
)  # fmt: skip
def test_the_public_internet(address: str, public: bool) -> None:
    assert AllowList(addresses.networks([], loopback=False)).allows_text(address) is public


def test_networks_are_added_but_never_the_forbidden_ones() -> None:
    added = AllowList(addresses.networks(["10.0.0.0/8", "169.254.0.0/16"], loopback=True))
    assert [added.allows_text(text) for text in ("10.1.1.1", "127.0.0.1", "::1", "192.168.1.1")] == [
        True, True, True, False,
    ]  # fmt: skip
    assert not added.allows_text("169.254.169.254")
    with pytest.raises(ValueError, match="does not appear"):
        addresses.networks(["ten"], loopback=False)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "example.com", "http://", "https:///path", "http://user@example.com/", "//example.com",
        "http://user:secret@example.com/", "http://example.com/#part", "http://example.com/a b", "http://exa mple.com/",
        "http://example.com:0/", "http://example.com:99999/", "http://[::1/", "http://example.com\\@127.0.0.1/",
        "http://@example.com/", "http://example.com/\t", "https://example.com/" + "x" * 2000,
    ],
)  # fmt: skip
def test_bad_urls(url: str) -> None:
    with pytest.raises(addresses.BadWebhookUrl):
        addresses.split_url(url)


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "017.0.0.1", "[::ffff:127.0.0.1]", "10.0.0.1"])
async def test_an_address_that_is_not_allowed_is_refused_in_every_form(host: str) -> None:
    allows = AllowList(addresses.networks([], loopback=False)).allows_text
    with pytest.raises((addresses.WebhookAddressRefused, addresses.BadWebhookUrl)):
        await addresses.check_url(f"http://{host}/", allows)


async def test_names_are_looked_up() -> None:
    allows = AllowList(addresses.networks([], loopback=False)).allows_text
    with pytest.raises(addresses.WebhookAddressRefused, match=r"127\.0\.0\.1|::1"):
        await addresses.check_url("http://localhost:80/", allows)
    await addresses.check_url("http://localhost:80/?token=1", lambda _: True)
    await addresses.check_url("http://8.8.8.8/", allows)
