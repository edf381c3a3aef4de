"""Which replicas to start, drain and stop. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

STABLE_S = 60.0
BACKOFF_CAP_S = 60.0
KILL_AFTER_TERM_S = 15.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A replica as it is now.

    `since_s`: how long it has been in `state`; `due`: its backoff is over; `current`: it was started with the pool's
    present launch; `ready`: its agent may be given tasks; `asked_s`: since it was asked to end, None: not that we know.
    """

    id: UUID
    state: str
    alive: bool
    running: int
    since_s: float
    crashes: int
    due: bool = False
    current: bool = True
    ready: bool = True
    asked_s: float | None = None


@dataclass(frozen=True, slots=True)
class Actions:
    """What to do, by replica; `create` is a number of new ones, `replace` drains for the sake of a newer launch."""

    create: int = 0
    crashed: tuple[UUID, ...] = ()
    restart: tuple[UUID, ...] = ()
    stable: tuple[UUID, ...] = ()
    drain: tuple[UUID, ...] = ()
    replace: tuple[UUID, ...] = ()
    terminate: tuple[UUID, ...] = ()
    kill: tuple[UUID, ...] = ()
    forget: tuple[UUID, ...] = ()


def backoff_s(crashes: int) -> float:
    """Seconds before a replica that crashed `crashes` times in a row is started again: 1, 2, 4 … 60."""
    return float(min(BACKOFF_CAP_S, 2.0 ** min(crashes - 1, 10)))


def launch_hash(launch: Mapping[str, object]) -> str:
    """A short name of a launch spec: the same for equal specs, however their keys are ordered."""
    text = json.dumps(launch, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def decide(desired: int, replicas: Sequence[Seen], drain_grace_s: float, *, frozen: bool = False) -> Actions:
    """One pass towards `desired` replicas.

    Too many: the dead go first, then those in backoff, then idle ones, the oldest first, then the least busy. A
    draining replica is asked to end, once, when it runs nothing or its grace is over, and killed when it does not in
    KILL_AFTER_TERM_S. Where the launch changed, running replicas are replaced one by one (`_outdated`), and those in
    backoff start at once; while rollouts are `frozen` neither is done.
    """
    dead = [item for item in replicas if item.state == "running" and not item.alive]
    kept = [item for item in replicas if item.state != "draining" and item not in dead]
    surplus = max(0, len(kept) + len(dead) - desired)
    gone = dead[:surplus]
    leaving = sorted(kept, key=lambda item: (item.state != "backoff", item.running, item.current, -item.since_s))
    leaving = leaving[: surplus - len(gone)]
    draining = [item for item in replicas if item.state == "draining"]
    ending = [item for item in draining if item.alive and (item.running == 0 or item.since_s > drain_grace_s)]
    return Actions(
        create=max(0, desired - len(kept) - len(dead)),
        crashed=_ids(item for item in dead if item not in gone),
        restart=_ids(
            item
            for item in kept
            if item.state == "backoff" and (item.due or not (item.current or frozen)) and item not in leaving
        ),
        stable=_ids(item for item in kept if item.state == "running" and item.crashes and item.since_s > STABLE_S),
        drain=_ids(item for item in leaving if item.state == "running"),
        replace=() if surplus or dead or frozen else _ids(_outdated(desired, kept)),
        terminate=_ids(item for item in ending if item.asked_s is None and not _overdue(item, drain_grace_s)),
        kill=_ids(item for item in ending if _overdue(item, drain_grace_s)),
        forget=_ids(
            [*gone, *(item for item in leaving if item.state == "backoff"), *(d for d in draining if not d.alive)]
        ),
    )


def _overdue(item: Seen, drain_grace_s: float) -> bool:
    """Whether it had its time to end: since it was asked, or, where nobody remembers that, since its grace was over."""
    return max(item.asked_s or 0.0, item.since_s - drain_grace_s) > KILL_AFTER_TERM_S


def _outdated(desired: int, kept: Sequence[Seen]) -> Sequence[Seen]:
    """The next replica of an older launch to replace: at most one, and none while that would leave too few.

    `desired` run before it leaves, so `desired` − 1 do after. Those of the present launch must all be fit to work: one
    that never gets there stops the replacement, and the others go on as they are.
    """
    running = [item for item in kept if item.state == "running"]
    if len(running) < desired or any(item.current and not item.ready for item in running):
        return ()
    old = [item for item in running if not item.current]
    return sorted(old, key=lambda item: (item.ready, item.running, -item.since_s))[:1]


def _ids(items: Iterable[Seen]) -> tuple[UUID, ...]:
    return tuple(item.id for item in items)
