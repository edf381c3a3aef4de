"""Strategies as another distribution may bring them, good and bad, and the entry points that make them known."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.dispatch.balancers import registry
from app.dispatch.balancers.base import AgentView, Balancer, Offer, Outcome, TaskView

NAMES = ("raises", "talks_nonsense", "explodes", "writes_down")


class Raises:
    """A balancer, learner and ejector; every method raises, with its own name."""

    def choose(self, task: TaskView, offer: Offer, now: float) -> str | None:
        raise RuntimeError("choose")

    def started(self, agent_id: str, task: TaskView, now: float) -> None:
        raise RuntimeError("started")

    def finished(self, agent_id: str, task: TaskView, outcome: Outcome, now: float) -> None:
        raise RuntimeError("finished")

    def joined(self, agent: AgentView, now: float) -> None:
        raise RuntimeError("joined")

    def left(self, agent_id: str, now: float) -> None:
        raise RuntimeError("left")

    def summary(self, now: float) -> dict[str, Any]:
        raise RuntimeError("summary")

    def merge(self, summaries: Sequence[Mapping[str, Any]], now: float) -> None:
        raise RuntimeError("merge")

    def learned(self, now: float) -> dict[str, Any]:
        raise RuntimeError("learned")

    def last_choices(self) -> Sequence[Mapping[str, Any]]:
        raise RuntimeError("last_choices")

    def ejected(self, now: float) -> Mapping[str, tuple[float, str]]:
        raise RuntimeError("ejected")


class WritesDown:
    """Takes the first agent offered, and keeps what it is told in `seen`."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def choose(self, task: TaskView, offer: Offer, now: float) -> str | None:
        return next(iter(offer)).id

    def started(self, agent_id: str, task: TaskView, now: float) -> None:
        self.seen.append(("started", agent_id))

    def finished(self, agent_id: str, task: TaskView, outcome: Outcome, now: float) -> None:
        self.seen.append(("finished", agent_id))

    def joined(self, agent: AgentView, now: float) -> None:
        self.seen.append(("joined", agent.id))

    def left(self, agent_id: str, now: float) -> None:
        self.seen.append(("left", agent_id))


class TalksNonsense(WritesDown):
    """Chooses well; what it tells others has the wrong shape."""

    def summary(self, now: float) -> Any:
        return {"what": object()}

    def merge(self, summaries: Sequence[Mapping[str, Any]], now: float) -> None:
        raise KeyError("merge")

    def learned(self, now: float) -> Any:
        return ["nothing"]

    def last_choices(self) -> Any:
        return None

    def ejected(self, now: float) -> Any:
        return {"nobody": "for ever"}


def raises(rng: random.Random, params: Mapping[str, object]) -> Balancer:
    return Raises()


def talks_nonsense(rng: random.Random, params: Mapping[str, object]) -> Balancer:
    return TalksNonsense()


def writes_down(rng: random.Random, params: Mapping[str, object]) -> Balancer:
    return WritesDown()


def explodes(rng: random.Random, params: Mapping[str, object]) -> Balancer:
    raise RuntimeError("no balancer today")


@contextmanager
def installed(folder: Path) -> Iterator[None]:
    """The strategies of this file as a distribution in `folder`, by the names of their factories."""
    about = folder / "foreign-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    points = "\n".join(f"{name} = {__name__}:{name}" for name in NAMES)
    (about / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{points}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        registry.installed.cache_clear()
        yield
    registry.installed.cache_clear()
