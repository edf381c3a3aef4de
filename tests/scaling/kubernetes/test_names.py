"""Names of ours as Kubernetes takes them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.scaling.backends.kubernetes import names

POOLS = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}", fullmatch=True)
DNS = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


@pytest.mark.parametrize(
    ("pool", "name"),
    [
        ("summarizer", "yardmaster-summarizer"),
        ("log-analyzer-2", "yardmaster-log-analyzer-2"),
        ("a" * 34, "yardmaster-" + "a" * 34),
    ],
)
def test_a_name_that_fits_stays(pool: str, name: str) -> None:
    assert names.deployment_name("yardmaster", pool) == name


@pytest.mark.parametrize("pool", ["log_analyzer", "Summarizer", "a.b", "a" * 35, "trailing-"])
def test_one_that_does_not_is_altered_and_says_so(pool: str) -> None:
    name = names.deployment_name("yardmaster", pool)
    assert re.fullmatch(r"yardmaster-.*-[0-9a-f]{8}", name)


def test_pools_that_differ_only_in_what_is_altered_stay_apart() -> None:
    pools = ["log_analyzer", "log.analyzer", "Log-analyzer", "log-analyzer", "a" * 60, "a" * 61]
    assert len({names.deployment_name("y", pool) for pool in pools}) == len(pools)
    assert len({names.label_value(pool) for pool in ["a_", "a.", "a-", "a"]}) == 4


@given(POOLS, st.text(min_size=1, max_size=63))
def test_every_pool_of_every_instance_has_a_valid_name(pool: str, instance: str) -> None:
    name = names.deployment_name(instance, pool)
    assert DNS.fullmatch(name)
    assert len(name) <= names.MAX_NAME
    assert DNS.fullmatch(names.secret_name(instance))
    for text in (pool, instance):
        value = names.label_value(text)
        assert LABEL.fullmatch(value)
        assert len(value) <= names.MAX_LABEL


def test_the_secret_is_named_after_the_instance() -> None:
    assert names.secret_name("yardmaster") == "yardmaster-agent-key"
