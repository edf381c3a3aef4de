"""Configurations of receivers: secrets are kept and not shown, and what cannot be is refused."""

from __future__ import annotations

from typing import Any

import pytest

from app.alerts.receiver_config import MASK, SecretNotForThere, SecretNotKnown, UnknownKind, read, shown, to_store, urls
from app.alerts.receiver_service import cycle
from app.core.errors import Invalid

KEY, OTHER = "0" * 32, "1" * 32
CONFIGS: dict[str, dict[str, Any]] = {
    "pagerduty": {"routing_key": KEY, "previous_routing_keys": [OTHER]},
    "slack": {"channel": "C1", "token": "xoxb-secret-token"},
    "email": {"to": ["a@example.com"]},
    "webhook": {"url": "https://example.com/hook/secret-path", "secret": "whsec_" + "QUJD" * 10},
    "alertmanager": {"urls": ["https://a.example/secret-path"], "token": "secret-token"},
}
SECRETS = (KEY, OTHER, "secret", "QUJD")


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_secret_is_stored_never_shown_and_kept_where_it_comes_back_masked(kind: str) -> None:
    stored = to_store(read(kind, CONFIGS[kind], None), None)
    face = shown(kind, stored)
    assert not any(secret in str(face).replace("'secret'", "").replace("secret_", "") for secret in SECRETS), face
    assert to_store(read(kind, face, stored), stored) == stored


def test_a_mask_with_nothing_behind_it_is_refused() -> None:
    with pytest.raises(SecretNotKnown):
        read("pagerduty", {"routing_key": MASK}, None)
    with pytest.raises(SecretNotKnown):
        read("alertmanager", {"urls": [MASK, MASK]}, {"urls": ["https://a.example"]})


def test_a_routing_key_that_is_replaced_stays_among_the_previous_ones() -> None:
    stored = to_store(read("pagerduty", {"routing_key": KEY}, None), None)
    changed = to_store(read("pagerduty", {"routing_key": OTHER}, stored), stored)
    assert (changed["routing_key"], changed["previous_routing_keys"]) == (OTHER, [KEY])
    back = to_store(read("pagerduty", {**shown("pagerduty", changed), "routing_key": KEY}, changed), changed)
    assert (back["routing_key"], back["previous_routing_keys"]) == (KEY, [OTHER])


def test_previous_routing_keys_stay_until_others_are_given() -> None:
    def put(stored: dict[str, Any] | None, key: str, **fields: Any) -> dict[str, Any]:
        return to_store(read("pagerduty", {"routing_key": key, **fields}, stored), stored)

    stored = put(put(None, KEY), OTHER)
    assert put(stored, OTHER)["previous_routing_keys"] == [KEY]
    assert put(stored, MASK, region="eu")["previous_routing_keys"] == [KEY]
    assert put(stored, "2" * 32)["previous_routing_keys"] == [OTHER, KEY]
    assert put(stored, OTHER, previous_routing_keys=[])["previous_routing_keys"] == []
    for number in range(2, 9):
        stored = put(stored, str(number) * 32)
    assert [key[0] for key in stored["previous_routing_keys"]] == ["7", "6", "5", "4", "3"]


@pytest.mark.parametrize("addresses", [["https://b.example"], [MASK, "https://b.example"], ["https://a.example/other"]])
def test_a_masked_token_goes_to_the_stored_addresses_only(addresses: list[str]) -> None:
    stored = {"urls": ["https://a.example/secret-path", "https://c.example"], "token": "secret-token"}
    with pytest.raises(SecretNotForThere) as refusal:
        read("alertmanager", {"urls": addresses, "token": MASK}, stored)
    assert "secret" not in str(refusal.value.extra)
    for kept in ([MASK], ["https://c.example"], [MASK, MASK]):
        read("alertmanager", {"urls": kept, "token": MASK}, stored)
    read("alertmanager", {"urls": addresses, "token": "another"}, stored)
    read("alertmanager", {"urls": addresses}, stored)


def test_what_is_wrong_is_named_without_the_value() -> None:
    with pytest.raises(Invalid) as refusal:
        read("pagerduty", {"routing_key": "too-short-a-secret"}, None)
    assert "config.routing_key" in refusal.value.detail
    assert "too-short" not in str(refusal.value.body("/"))
    with pytest.raises(UnknownKind):
        read("pigeon", {}, None)


def test_the_addresses_a_receiver_is_called_at_are_found() -> None:
    assert urls(read("webhook", CONFIGS["webhook"], None)) == [("config.url", CONFIGS["webhook"]["url"])]
    assert urls(read("alertmanager", CONFIGS["alertmanager"], None)) == [
        ("config.urls", "https://a.example/secret-path")
    ]
    assert urls(read("slack", {"webhook_url": "https://hooks.slack.com/x"}, None)) != []
    assert urls(read("slack", CONFIGS["slack"], None)) == []


def test_escalations_in_a_circle_are_found() -> None:
    assert cycle("a", "a", {}) == ["a", "a"]
    assert cycle("a", "b", {"b": "c", "c": "a"}) == ["a", "b", "c", "a"]
    assert cycle("a", "b", {"b": "c", "c": "d"}) is None
    assert cycle("a", "b", {"b": "c", "c": "b"}) is None, "a circle that is not of ours ends too"
