"""Which replicas to start, drain and stop. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

STABLE_S = 60.0
BACKOFF_CAP_S = 60.0
KILL_AFTER_TERM_S = 15.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A replica as it is now. `since_s`: how long it has been in `state`; `due`: its backoff is over."""

    id: UUID
    state: str
    alive: bool
    running: int
    since_s: float
    crashes: int
    due: bool = False


@dataclass(frozen=True, slots=True)
class Actions:
    """What to do, by replica; `create` is a number of new ones."""

    create: int = 0
    crashed: tuple[UUID, ...] = ()
    restart: tuple[UUID, ...] = ()
    stable: tuple[UUID, ...] = ()
    drain: tuple[UUID, ...] = ()
    terminate: tuple[UUID, ...] = ()
    kill: tuple[UUID, ...] = ()
    forget: tuple[UUID, ...] = ()


def backoff_s(crashes: int) -> float:
    """Seconds before a replica that crashed `crashes` times in a row is started again: 1, 2, 4 … 60."""
    return float(min(BACKOFF_CAP_S, 2.0 ** min(crashes - 1, 10)))


def decide(desired: int, replicas: Sequence[Seen], drain_grace_s: float) -> Actions:
    """One pass towards `desired` replicas.

    Too many: those in backoff go first, then idle ones, the oldest first, then the least busy. A draining replica is
    asked to end once it runs nothing or its grace is over, and killed when it does not.
    """
    dead = [item for item in replicas if item.state == "running" and not item.alive]
    kept = [item for item in replicas if item.state != "draining" and item not in dead]
    surplus = max(0, len(kept) + len(dead) - desired)
    leaving = sorted(kept, key=lambda item: (item.state != "backoff", item.running, -item.since_s))[:surplus]
    gone = dead[: max(0, surplus - len(leaving))]
    draining = [item for item in replicas if item.state == "draining"]
    ending = [item for item in draining if item.alive and (item.running == 0 or item.since_s > drain_grace_s)]
    return Actions(
        create=max(0, desired - len(kept) - len(dead)),
        crashed=_ids(item for item in dead if item not in gone),
        restart=_ids(item for item in kept if item.state == "backoff" and item.due and item not in leaving),
        stable=_ids(item for item in kept if item.state == "running" and item.crashes and item.since_s > STABLE_S),
        drain=_ids(item for item in leaving if item.state == "running"),
        terminate=_ids(item for item in ending if item.since_s <= drain_grace_s + KILL_AFTER_TERM_S),
        kill=_ids(item for item in ending if item.since_s > drain_grace_s + KILL_AFTER_TERM_S),
        forget=_ids(
            [*gone, *(item for item in leaving if item.state == "backoff"), *(d for d in draining if not d.alive)]
        ),
    )


def _ids(items: object) -> tuple[UUID, ...]:
    return tuple(item.id for item in items)  # type: ignore[attr-defined]
