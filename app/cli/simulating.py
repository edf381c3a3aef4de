"""What the simulations have in common on the command line."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from app.cli.failures import Failure, Misuse
from app.cli.output import console, note


def run_all(steps: Iterable[Sequence[object]]) -> bool:
    """Take every step, saying which is under way: (what, …, seed); False when the user ended them."""
    err = console(sys.stderr)
    with err.status("simulating") if err.is_terminal else nullcontext() as status:
        try:
            for *what, seed in steps:
                if status is not None:
                    status.update(f"simulating {', '.join(map(str, what))}, seed {seed}")
        except KeyboardInterrupt:
            return False
    return True


def chosen_seeds(single: Sequence[int] | None, count: int | None) -> list[int]:
    """The seeds that were asked for, 1 where none was."""
    if single and count:
        raise Misuse("give --seed or --seeds, not both")
    return list(dict.fromkeys(single)) if single else list(range(1, (count or 1) + 1))


def check_writable(target: Path | None) -> None:
    """Misuse before the work rather than a failure after it."""
    if target is not None and (target.is_dir() or not target.resolve().parent.is_dir()):
        raise Misuse(f"cannot write {target}: it is a folder, or in none")


def write_picture(target: Path, content: bytes) -> None:
    """Write the figure and say so; Failure where that cannot be."""
    try:
        target.write_bytes(content)
    except OSError as error:
        raise Failure(f"cannot write {target}: {error.strerror or error}") from None
    note(f"written: {target}")


@contextmanager
def reading(source: Path, *refused: type[Exception]) -> Iterator[None]:
    """Failures of reading `source`, and those of its content that are `refused`, as one line."""
    try:
        yield
    except OSError as error:
        raise Failure(f"cannot read {source}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise Failure(f"{source}: this is not UTF-8 text") from None
    except refused as error:
        raise Failure(f"{source}: {error}") from None


def suggestion(name: str, known: Sequence[str]) -> str:
    """ ": did you mean …?" where something is like it."""
    found = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f": did you mean {' or '.join(found)}?" if found else ""


def counted(number: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
