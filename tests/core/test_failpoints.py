"""Failpoints: off unless the environment names them, and then exactly at the count."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from app.core.failpoints import VARIABLE, Failpoints, parse


@pytest.mark.parametrize(("text", "points"), [("", {}), ("a", {"a": 1}), ("a=3, b.c", {"a": 3, "b.c": 1}), (",,", {})])
def test_what_the_variable_says(text: str, points: dict[str, int]) -> None:
    assert parse(text) == points


@pytest.mark.parametrize("text", ["a=0", "a=x", "a=-1"])
def test_what_it_may_not_say(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_it_dies_at_the_named_time_only() -> None:
    died: list[str] = []

    class Quiet(Failpoints):
        def die(self) -> None:
            died.append("died")

    points = Quiet({VARIABLE: "here=3"})
    for _ in range(2):
        points.reach("here")
        points.reach("elsewhere")
    assert died == []
    points.reach("here")
    points.reach("here")
    assert died == ["died"]


def test_a_process_is_killed_at_once() -> None:
    code = "from app.core.failpoints import reach; reach('a'); print('one'); reach('a'); print('two')"
    found = subprocess.run(
        [sys.executable, "-u", "-c", code], env={VARIABLE: "a=2"}, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (-signal.SIGKILL, "one\n")
