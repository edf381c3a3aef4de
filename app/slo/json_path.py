"""Paths into JSON: the part of RFC 9535 (JSONPath) without filters, slices and descent, and RFC 6901 (JSON Pointer).

    $.answer.items[0].name    $['a key']["b"][-1]    $.items[*].id    $.counts.*        /answer/items/0/name

So a path costs no more than the nodes it leads to, of which there are at most MAX_NODES.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MAX_STEPS, MAX_NODES, MAX_LENGTH = 50, 10_000, 1_000

_STEP = re.compile(
    r"""\.(?P<name>[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*)"""
    r"""|(?P<each>\.\*|\[\*\])"""
    r"""|\[(?P<index>0|-?[1-9][0-9]{0,14})\]"""
    r"""|\['(?P<single>(?:[^'\\\x00-\x1f]|\\['\\])*)'\]"""
    r"""|\["(?P<double>(?:[^"\\\x00-\x1f]|\\["\\])*)"\]"""
)
_POINTER_INDEX = re.compile(r"0|[1-9][0-9]{0,14}")


class BadPath(ValueError):
    """Not a path, or one with what is not supported; the message says at which character."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step down: a member, an element, or each. `either`: a number in a pointer, an index in a list, else a key."""

    kind: Literal["name", "index", "each", "either"]
    name: str = ""
    index: int = 0


@dataclass(frozen=True, slots=True)
class Path:
    """A path that was read once; `find` gives what it leads to."""

    text: str
    steps: tuple[Step, ...]

    def find(self, value: object) -> Sequence[object]:
        """The nodes, in the order of the document; nothing where it leads nowhere. At most MAX_NODES after a step."""
        nodes: list[object] = [value]
        for step in self.steps:
            nodes = [found for node in nodes for found in _below(node, step)][:MAX_NODES]
        return nodes


def read_path(text: str) -> Path:
    """A JSONPath (begins with `$`) or a JSON Pointer ('' or begins with `/`). Raises BadPath."""
    if len(text) > MAX_LENGTH:
        raise BadPath(f"a path has at most {MAX_LENGTH} characters")
    if text.startswith("$"):
        steps = _query(text)
    elif not text or text.startswith("/"):
        steps = _pointer(text)
    else:
        raise BadPath("a path begins with '$' (JSONPath) or '/' (JSON Pointer)")
    if len(steps) > MAX_STEPS:
        raise BadPath(f"a path has at most {MAX_STEPS} steps")
    return Path(text, tuple(steps))


def _query(text: str) -> list[Step]:
    steps, at = [], 1
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise BadPath(f"not understood from character {at + 1} on: only .name, ['name'], [index], .* and [*]")
        steps.append(_step(found))
        at = found.end()
    return steps


def _step(found: re.Match[str]) -> Step:
    if found["each"] is not None:
        return Step("each")
    if found["index"] is not None:
        return Step("index", index=int(found["index"]))
    if found["name"] is not None:
        return Step("name", found["name"])
    quoted = found["single"] if found["single"] is not None else found["double"]
    return Step("name", re.sub(r"\\(.)", r"\1", quoted))


def _pointer(text: str) -> list[Step]:
    steps = []
    for part in text.split("/")[1:]:
        if re.search(r"~(?![01])", part):
            raise BadPath("in a JSON Pointer '~' stands before 0 or 1 only")
        name = part.replace("~1", "/").replace("~0", "~")
        whole = _POINTER_INDEX.fullmatch(name)
        steps.append(Step("either", name, int(name)) if whole else Step("name", name))
    return steps


def _below(node: object, step: Step) -> Sequence[object]:
    if isinstance(node, dict):
        if step.kind == "each":
            return list(node.values())
        return [node[step.name]] if step.kind in ("name", "either") and step.name in node else []
    if not isinstance(node, list):
        return []
    if step.kind == "each":
        return node
    inside = step.kind in ("index", "either") and -len(node) <= step.index < len(node)
    return [node[step.index]] if inside else []
