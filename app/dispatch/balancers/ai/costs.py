"""Seconds and failure rate of a task type on a class of agents, from few observations.

A cell (type, class) starts from what is known of the type on any class, times a factor for the configured
compatibility, and moves to its own mean as results come: configuration is only a prior. Sums are halved past a limit,
so that what a class has become outweighs what it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

PRIOR_ANSWERS = 3.0
"""Results that a cell's prior is worth, for seconds."""

PRIOR_ATTEMPTS = 30.0
"""The same for failure rates, which need more results to be told from chance."""

PRIOR_FAILING = 0.01
"""Failure rate of a type before its first results."""

MISMATCH = 4.0
"""An agent of compatibility 0 is expected to take so many times longer; MISMATCH ** (1 - compatibility) in between."""

HALVE_AT = 1000.0
"""Attempts at which a cell's own sums are halved."""

FAILURE_COST = 10.0
"""A failed attempt costs as much as so many usual ones: it comes back, late, and may have done half of its work."""

MAX_TYPES = 64
"""Task types with results that are kept in a pool: the one unused for longest makes room. Also the types without
results that the configuration names of which the numbers are kept ready."""

MAX_CLASSES = 64
"""Classes of agents told apart in a pool. Those after share one."""

FRESH_S = 0.5
FRESH_SHARE = 0.1
"""How long the numbers that depend on other cells are used before they are made anew: until FRESH_S, or until the type
has so many more results."""

REST = "*"
"""The row of the types of which nothing is known, and the class of those past the limit."""

Sums = tuple[float, float, float, float]
NOTHING: Sums = (0.0, 0.0, 0.0, 0.0)


class Cell:
    """One type on one class. `seconds` of an answer and `failing` (rate) are what to expect."""

    __slots__ = ("answers", "attempts", "factor", "failing", "failures", "peer", "seconds", "spent")

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.spent = self.answers = self.failures = self.attempts = 0.0
        self.peer = NOTHING
        self.seconds = factor
        self.failing = PRIOR_FAILING

    def count(self, ok: bool, seconds: float) -> None:
        self.attempts += 1.0
        if ok:
            self.answers += 1.0
            self.spent += seconds
        else:
            self.failures += 1.0
        if self.attempts >= HALVE_AT:
            self.spent, self.answers = self.spent / 2, self.answers / 2
            self.failures, self.attempts = self.failures / 2, self.attempts / 2

    def judge(self, seconds: float, failing: float) -> None:
        """Make `seconds` and `failing` from the sums and what is expected of the type on a fully fitting class."""
        spent, answers, failures, attempts = self.peer
        self.seconds = (PRIOR_ANSWERS * self.factor * seconds + self.spent + spent) / (
            PRIOR_ANSWERS + self.answers + answers
        )
        self.failing = (PRIOR_ATTEMPTS * failing + self.failures + failures) / (
            PRIOR_ATTEMPTS + self.attempts + attempts
        )

    @property
    def own(self) -> Sums:
        return (self.spent, self.answers, self.failures, self.attempts)


class Row:
    """One task type on every class. `home` is the class that suits it best of those there are, `home_cost` what a
    normal agent of it costs, `penalty` what a failure costs, all in seconds."""

    __slots__ = (
        "cells", "failing", "fresh_at", "home", "home_cost", "name", "news", "penalty", "seconds", "used", "version",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.cells: dict[str, Cell] = {}
        self.home = ""
        self.home_cost = 0.0
        self.penalty = 0.0
        self.seconds = 1.0
        self.failing = PRIOR_FAILING
        self.fresh_at = 0.0
        self.version = -1  # of the classes when the numbers were made
        self.news = 0.0  # results until they are made anew
        self.used = 0  # the count of uses of all rows at the last one


class Costs:
    """The matrix. Rows come with the first result of a type, cells with the classes.

    A type without results has the numbers of its configuration; where that does not name it, those of any such type.
    """

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._drafts: dict[str, Row] = {}  # types without results, and REST
        self._uses = 0
        self.added = 0  # rows, ever
        self._members: dict[str, int] = {}  # agents there are of a class; kept at 0 until the place is needed
        self._skills: dict[str, Mapping[str, float]] = {}
        self._version = 0  # of the classes
        self._spent, self._answers = 0.0, 0.0
        self._peer_spent, self._peer_answers = 0.0, 0.0
        self._merged: list[Cell] = []  # those with sums of other managers

    @property
    def usual_s(self) -> float:
        """Seconds of an answer, over all types; 1 before the first."""
        answers = self._answers + self._peer_answers
        return (self._spent + self._peer_spent) / answers if answers else 1.0

    def cells(self) -> Iterator[tuple[str, str, Cell]]:
        """All with a result: type, class and cell."""
        for row in self._rows.values():
            for cls, cell in row.cells.items():
                if cell.attempts or cell.peer[3]:
                    yield row.name, cls, cell

    def merge(self, peers: Mapping[tuple[str, str], Sums]) -> None:
        """Replace the other managers' sums, by type and class. A class without agents here is ignored, and so are
        types that would fill more than half of the table: those there is work for come first."""
        for cell in self._merged:
            cell.peer = NOTHING
        self._merged = []
        self._peer_spent = self._peer_answers = 0.0
        for (task_type, cls), sums in peers.items():
            row = self._rows.get(task_type)
            if row is None and len(self._rows) < MAX_TYPES // 2:
                row = self._add(task_type)
            if row is None or cls not in row.cells:
                continue
            cell = row.cells[cls]
            cell.peer = sums
            self._merged.append(cell)
            self._peer_spent += sums[0]
            self._peer_answers += sums[1]
        self._version += 1

    def enter(self, version: str, skills: Mapping[str, float]) -> str:
        """An agent of this version came; the class it counts as."""
        if version not in self._members and len(self._members) >= MAX_CLASSES and not self._drop_empty():
            version = REST
        members = self._members.get(version, 0)
        self._members[version] = members + 1
        if not members:
            self._version += 1
        self.facts(version, skills)
        return version

    def facts(self, cls: str, skills: Mapping[str, float]) -> None:
        """The configured compatibilities of the class are these now."""
        if self._skills.get(cls) == skills and self._members[cls] > 1:
            return
        self._skills[cls] = skills
        self._version += 1
        self._drafts.clear()
        for row in self._rows.values():
            self._cell(row, cls).factor = mismatch(skills, row.name)

    def _cell(self, row: Row, cls: str) -> Cell:
        cell = row.cells.get(cls)
        if cell is None:
            cell = row.cells[cls] = Cell(mismatch(self._skills[cls], row.name))
        return cell

    def leave(self, cls: str) -> None:
        """An agent of this class left. What is known of the class stays while there is room."""
        self._members[cls] -= 1
        if not self._members[cls]:
            self._version += 1

    def _drop_empty(self) -> bool:
        for cls, members in self._members.items():
            if not members and cls != REST:
                del self._members[cls], self._skills[cls]
                for row in (*self._rows.values(), *self._drafts.values()):
                    row.cells.pop(cls, None)
                return True
        return False

    def row(self, task_type: str, now: float) -> Row:
        """The type's row with its numbers made ready, to read: a type without results leaves nothing behind."""
        return self._ready(self._rows.get(task_type) or self._draft(task_type), now)

    def row_of_result(self, task_type: str, now: float) -> Row:
        """The type's own row with its numbers made ready, for `count`."""
        return self._ready(self._rows.get(task_type) or self._add(task_type), now)

    def _ready(self, row: Row, now: float) -> Row:
        self._uses += 1
        row.used = self._uses
        if row.version != self._version or not 0.0 <= now - row.fresh_at < FRESH_S:
            self._refresh(row, now)
        return row

    def _add(self, task_type: str) -> Row:
        if len(self._rows) >= MAX_TYPES:
            del self._rows[min(self._rows.values(), key=_last_use).name]
        self.added += 1
        self._drafts.pop(task_type, None)
        row = self._rows[task_type] = self._new(task_type)
        return row

    def _draft(self, task_type: str) -> Row:
        row = self._drafts.get(task_type)
        if row is not None:
            return row
        if task_type != REST and not any(task_type in skills for skills in self._skills.values()):
            return self._draft(REST)
        if len(self._drafts) > MAX_TYPES:
            del self._drafts[next(iter(self._drafts))]
        row = self._drafts[task_type] = self._new(task_type)
        return row

    def _new(self, task_type: str) -> Row:
        row = Row(task_type)
        for cls in self._members:
            self._cell(row, cls)
        return row

    def _refresh(self, row: Row, now: float) -> None:
        row.version, row.fresh_at = self._version, now
        spent = answers = failures = attempts = 0.0
        for cell in row.cells.values():
            peer = cell.peer
            spent += (cell.spent + peer[0]) / cell.factor
            answers += cell.answers + peer[1]
            failures += cell.failures + peer[2]
            attempts += cell.attempts + peer[3]
        row.seconds = (self.usual_s + spent) / (1.0 + answers)
        row.news = FRESH_SHARE * attempts
        row.failing = (PRIOR_ATTEMPTS * PRIOR_FAILING + failures) / (PRIOR_ATTEMPTS + attempts)
        for cell in row.cells.values():
            cell.judge(row.seconds, row.failing)
        self._settle(row)

    def _settle(self, row: Row) -> None:
        """Find the type's home among the classes there are."""
        present = [(cls, cell) for cls, cell in row.cells.items() if self._members[cls]]
        if not present:
            row.home, row.home_cost, row.penalty = "", row.seconds, FAILURE_COST * row.seconds
            return
        row.penalty = FAILURE_COST * max(self.usual_s, min(cell.seconds for _, cell in present))
        row.home_cost, row.home = min((cell.seconds + cell.failing * row.penalty, cls) for cls, cell in present)

    def count(self, row: Row, cls: str, ok: bool, seconds: float) -> None:
        """Add a result to the cell."""
        cell = row.cells[cls]
        cell.count(ok, seconds)
        cell.judge(row.seconds, row.failing)
        row.news -= 1.0
        if row.news < 0.0:
            row.version = -1
        if ok:
            self._spent += seconds
            self._answers += 1.0
            if self._answers >= HALVE_AT:
                self._spent, self._answers = self._spent / 2, self._answers / 2


def _last_use(row: Row) -> int:
    return row.used


def mismatch(skills: Mapping[str, float], task_type: str) -> float:
    """The factor of the compatibility; 1 for a type that `skills` does not name."""
    compatibility = skills.get(task_type)
    return 1.0 if compatibility is None else MISMATCH ** (1.0 - min(1.0, max(0.0, compatibility)))
