"""A crash run of a bounded size in every test run. `make chaos` plays a long one; CHAOS_SEED repeats a seed."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.crash_run import CrashRun, Size
from tests.support.own_servers import own_servers

BOUNDED = Size(roots=1800, kills=20)
LONG = Size(roots=15_000, kills=200, managers=4, quiet_s=180.0)
IS_LONG = os.environ.get("CHAOS") == "long"


@pytest.mark.timeout(1800 if IS_LONG else 400)
def test_nothing_is_lost_or_done_twice_whatever_is_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    size = LONG if IS_LONG else BOUNDED
    with own_servers() as own:
        run = CrashRun(own, tmp_path, seed, size)
        print(f"CHAOS_SEED={seed}, logs in {tmp_path}")
        history = asyncio.run(run.run())
        print(run.report(history))
        problems = run.problems(history)
        kinds = Counter(text.split(maxsplit=1)[0] for text in problems)
        assert not problems, "\n".join([f"CHAOS_SEED={seed} {dict(kinds)}", *problems[:30]])
    assert run.processes.kills.total() >= size.kills
    assert len(history.tasks) >= size.roots
