"""Reasons show no secret, whatever a provider answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.notifiers.reasons import HIDDEN, MAX_REASON, MIN_SECRET, reason

URL = "https://hooks.example/services/T0/B0/abcdEF12?token=hijklmnop"
SECRETS = st.text(st.sampled_from("abcXYZ0/?&=:-"), min_size=MIN_SECRET, max_size=40)


@given(before=st.text(max_size=400), secret=SECRETS, after=st.text(max_size=400), times=st.integers(1, 3))
def test_a_secret_is_never_shown(before: str, secret: str, after: str, times: int) -> None:
    found = reason(before + secret * times + after, [secret])
    assert secret not in found.replace(HIDDEN, "\0")
    assert len(found) <= MAX_REASON
    assert "\n" not in found


@given(secret=st.text(st.characters(categories=["L", "N"]), min_size=12, max_size=40), data=st.data())
def test_a_secret_that_the_text_ends_in_is_not_shown_either(secret: str, data: st.DataObject) -> None:
    begun = secret[: data.draw(st.integers(MIN_SECRET, len(secret)))]
    assert not reason(f"said: {begun}", [secret]).endswith(begun)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"cannot call {URL}", "cannot call [hidden]"),
        ("404 /services/T0/B0/abcdEF12", "404 [hidden]"),
        ("no hook abcdEF12 here", "no hook [hidden] here"),
        ("bad token hijklmnop!", "bad token [hidden]!"),
        ("no_services here", "no_services here"),
        ("hooks.example is away", "hooks.example is away"),
        ("two\r\nlines\0\x1b[31m", "two lines [31m"),
    ],
)
def test_the_pieces_of_a_url_are_secret_and_its_host_is_not(text: str, shown: str) -> None:
    assert reason(text, [URL]) == shown


@pytest.mark.parametrize(
    ("url", "text", "shown"),
    [
        ("https://h.example/a%7EbSecret1", "400 for https://h.example/a~bSecret1", "400 for [hidden]"),
        ("https://h.example/x/sécret12", "404 /x/s%C3%A9cret12", "404 [hidden]"),
        ("https://h.example/x/s%2Fcret12", "404 /x/s/cret12", "404 [hidden]"),
        ("https://h.example/x?t=a%3Dsecret12", "bad a=secret12", "bad [hidden]"),
        ("https://h.example/x?t=two words12", "bad t=two+words12", "bad [hidden]"),
    ],
)
def test_a_url_is_not_shown_as_the_client_spells_it_either(url: str, text: str, shown: str) -> None:
    assert reason(text, [url]) == shown
