"""The part of a lock file that some packages need: every pin with its hashes, and nothing else.

    python lock_subset.py requirements.lock ROOT... > runtime.txt

A ROOT is a package's name, `PATH/pyproject.toml` (its dependencies), or `PATH/pyproject.toml:EXTRA` (those of the
extra alone). The lock knows all extras together and says by its `# via` comments who asked for each package; what is
asked for, at any distance, by a root is in the subset. Nothing is resolved anew, so an image holds exactly the versions
that were tested. Needs the standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

_ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]+\])?==\S+", re.MULTILINE)
_REQUIREMENT = re.compile(r"\s*(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")
_VIA = re.compile(r"^\s*#\s+(?:via\s+)?(?P<name>[A-Za-z0-9._-]+)", re.MULTILINE)


def normal(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: str) -> dict[str, str]:
    """Name → its entry of the lock: pin, marker, hashes and comments."""
    found = list(_ENTRY.finditer(lock))
    ends = [match.start() for match in found[1:]] + [len(lock)]
    return {normal(match["name"]): lock[match.start() : end] for match, end in zip(found, ends, strict=True)}


def asked_by(entry: str) -> set[str]:
    """Who asked for it, as the comments of its entry say."""
    _, _, comment = entry.partition("# via")
    return {normal(match["name"]) for match in _VIA.finditer("# via" + comment)} - {"via"}


def roots(arguments: Iterable[str]) -> Iterator[str]:
    """The packages that the arguments name. SystemExit for an extra that is not there."""
    for argument in arguments:
        path, _, extra = argument.partition(":")
        if not path.endswith(".toml"):
            yield normal(argument)
            continue
        project = tomllib.loads(Path(path).read_text())["project"]
        try:
            wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
        except KeyError:
            raise SystemExit(f"{path} has no extra {extra!r}") from None
        yield from map(name_of, wanted)


def name_of(requirement: str) -> str:
    """The package of a requirement such as `redis[hiredis]>=6`."""
    match = _REQUIREMENT.match(requirement)
    if match is None:
        raise SystemExit(f"not a requirement: {requirement!r}")
    return normal(match["name"])


def closure(lock: str, wanted: Iterable[str]) -> dict[str, str]:
    """Name → entry of `wanted` and of all they ask for, by name. SystemExit for what the lock does not have."""
    known = entries(lock)
    chosen = set(wanted)
    if missing := sorted(chosen - known.keys()):
        raise SystemExit(f"not in the lock: {', '.join(missing)}")
    parents = {name: asked_by(entry) for name, entry in known.items()}
    while more := {name for name, asking in parents.items() if asking & chosen} - chosen:
        chosen |= more
    return {name: known[name] for name in sorted(chosen)}


def main(arguments: list[str]) -> None:
    if len(arguments) < 2:
        raise SystemExit("usage: lock_subset.py LOCK ROOT...")
    lock = Path(arguments[0]).read_text()
    sys.stdout.writelines(closure(lock, roots(arguments[1:])).values())


if __name__ == "__main__":
    main(sys.argv[1:])
