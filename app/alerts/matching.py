"""Matchers: conditions on labels, as Prometheus and Alertmanager write and mean them. Pure.

Patterns are RE2's: they run in time linear in the value, whatever a caller writes. The engine is RE2 itself
(google-re2); Python's `re` backtracks, and no bound on a pattern's length keeps it from doing so for hours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import re2

from app.alerts.records import Labels, Matcher, MatchOp

MAX_MATCHERS = 64
MAX_VALUE = 1_024
MAX_TEXT = 16_384
"""Characters: of a matcher's value, and of a list of matchers written as text."""

_ENGINE_BYTES = 1 << 18
"""What one pattern may take, compiled. One that needs more is refused."""

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,254}")
_HEAD = re.compile(rf"\s*({_NAME.pattern})\s*(=~|!~|!=|=)\s*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE = re.compile(r'[^",]*')
_ESCAPE = re.compile(r'\\(["\\n])')
_NEGATIONS: dict[MatchOp, bool] = {"=": False, "=~": False, "!=": True, "!~": True}


class BadMatcher(ValueError):
    """The message says which matcher, and what is wrong with it."""


def matches(matcher: Matcher, labels: Labels) -> bool:
    """Whether the labels meet the condition. A label that is missing counts as empty. Raises BadMatcher."""
    value = labels.get(matcher.name, "")
    if matcher.op in ("=", "!="):
        return (value == matcher.value) != _NEGATIONS[matcher.op]
    return _whole(matcher.value, value) != _NEGATIONS[matcher.op]


def all_match(matchers: Iterable[Matcher], labels: Labels) -> bool:
    """Whether the labels meet every condition; true for none."""
    return all(matches(matcher, labels) for matcher in matchers)


def check(matchers: Iterable[Matcher]) -> tuple[Matcher, ...]:
    """The same matchers, each of them usable. Raises BadMatcher."""
    found = tuple(matchers)
    if len(found) > MAX_MATCHERS:
        raise BadMatcher(f"there are at most {MAX_MATCHERS} matchers, not {len(found)}")
    for matcher in found:
        _check(matcher)
    return found


def check_selective(matchers: Iterable[Matcher]) -> tuple[Matcher, ...]:
    """The same matchers, of which at least one leaves out alerts without its label. Raises BadMatcher.

    Without such a one they would take in about everything there is, which nobody means to silence. To Alertmanager 0.25
    no negation matches the empty value; here it does: `team!="a"` alone matches every alert without a team.
    """
    found = check(matchers)
    if not found:
        raise BadMatcher("at least one matcher is needed")
    if all_match(found, {}):
        raise BadMatcher("at least one matcher must not match the empty value: these match alerts without any label")
    return found


def parse_matcher(text: str) -> Matcher:
    """One matcher: `name="value"`, with =, !=, =~ or !~; the quotes may be left out. Raises BadMatcher."""
    found = parse_matchers(text)
    if len(found) != 1:
        raise BadMatcher(f"one matcher is needed, not {len(found)}: {_cut(text)!r}")
    return found[0]


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    r"""Matchers between commas, within braces or not; a comma may end the list. Raises BadMatcher.

    In values `\"`, `\\` and `\n` are the quote, the backslash and the line feed; any other backslash is itself.
    """
    if len(text) > MAX_TEXT:
        raise BadMatcher(f"matchers are at most {MAX_TEXT} characters long")
    rest = text.strip()
    if rest.startswith("{") and rest.endswith("}"):
        rest = rest[1:-1]
    found, at = list[Matcher](), 0
    while rest[at:].strip():
        matcher, at = _parse_at(rest, at)
        found.append(matcher)
    return check(found)


def text_of(matcher: Matcher) -> str:
    """The matcher as `parse_matcher` reads it."""
    value = matcher.value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return f'{matcher.name}{matcher.op}"{value}"'


def _parse_at(text: str, at: int) -> tuple[Matcher, int]:
    """The matcher that begins there, and where the next one would."""
    head = _HEAD.match(text, at)
    if head is None:
        raise BadMatcher(f'this is no matcher, which is written like name="value": {_cut(text[at:])!r}')
    name, op, begin = head[1], head[2], head.end()
    quoted = _QUOTED.match(text, begin)
    value = quoted or _BARE.match(text, begin)
    assert value is not None, "a bare value may be empty"
    end = value.end()
    raw = quoted[1] if quoted else value[0].rstrip()
    after = text[end:].lstrip()
    if after and not after.startswith(","):
        raise BadMatcher(
            f"the value of {name!r} has a quote that is not escaped, or text after it: {_cut(text[at:])!r}"
        )
    unescaped = _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], raw)
    return Matcher(name, _op(op), unescaped), (len(text) - len(after) + 1 if after else len(text))


def _op(text: str) -> MatchOp:
    return next(op for op in _NEGATIONS if op == text)


def _check(matcher: Matcher) -> None:
    if not _NAME.fullmatch(matcher.name):
        raise BadMatcher(f"{_cut(matcher.name)!r} is no name of a label")
    if matcher.op not in _NEGATIONS:
        raise BadMatcher(f"{_cut(matcher.op)!r} is none of =, !=, =~ and !~")
    if len(matcher.value) > MAX_VALUE:
        raise BadMatcher(f"the value of {matcher.name!r} is longer than {MAX_VALUE} characters")
    if not _encodable(matcher.value):
        raise BadMatcher(f"the value of {matcher.name!r} is no text")
    if matcher.op in ("=~", "!~"):
        _compiled(matcher.value)


def _whole(pattern: str, value: str) -> bool:
    """A value that no UTF-8 can hold is met by no pattern."""
    return _compiled(pattern).fullmatch(value) is not None if _encodable(value) else False


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _ENGINE_BYTES
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        why = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise BadMatcher(f"the pattern {_cut(pattern)!r} is refused: {why}") from error


def _encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"
