"""Annotations: text with places for an alert's labels and value, in the part of Prometheus' syntax that cannot do harm.

    {{ $labels.pool }}  {{ $value }}  {{ $value | humanizePercentage }}  {{ printf "%.2f" $value }}
    {{ humanizeDuration $value }}  {{ $labels.pool | toUpper }}

There is nothing else: no conditions, loops, variables, queries, attributes or templates inside templates, and what a
label says is never read as a template. A text is parsed when its rule is made; rendering cannot fail. Functions and how
numbers look are as in https://prometheus.io/docs/prometheus/latest/configuration/template_reference/.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from app.alerts.formats import (
    humanize,
    humanize_1024,
    humanize_duration,
    humanize_percentage,
    humanize_timestamp,
    plain,
    printf,
)
from app.alerts.records import Labels

MAX_INPUT_BYTES = 4096
MAX_OUTPUT_BYTES = 8192
CUT = "…"
NO_VALUE = "no value"

type Kind = Literal["number", "text"]

_TOKEN = re.compile(
    r"""\s*(?:(?P<label>\$labels\.[A-Za-z_][A-Za-z0-9_]*)(?![\w.])|(?P<value>\$value)(?![\w.])|(?P<pipe>\|)
    |(?P<format>"[^"\\\n]*")|(?P<word>[A-Za-z][A-Za-z0-9]*)(?![\w.])|(?P<end>$))""",
    re.VERBOSE,
)
_FORMAT = re.compile(r"((?:[^%]|%%)*)%(?:(\+?(?:[1-9]\d?)?(?:\.\d{1,2})?)([feg])|((?:[1-9]\d?)?)([sv]))((?:[^%]|%%)*)")

_NUMBERS: Mapping[str, Callable[[float], str]] = {
    "humanize": humanize,
    "humanize1024": humanize_1024,
    "humanizeDuration": humanize_duration,
    "humanizePercentage": humanize_percentage,
    "humanizeTimestamp": humanize_timestamp,
}
_TEXTS: Mapping[str, Callable[[str], str]] = {"toUpper": str.upper, "toLower": str.lower}


class BadTemplate(ValueError):
    """A text that is no template. `line` and `column` begin at 1."""

    def __init__(self, text: str, offset: int, reason: str) -> None:
        self.line = text.count("\n", 0, offset) + 1
        self.column = offset - (text.rfind("\n", 0, offset) + 1) + 1
        self.reason = reason
        super().__init__(f"line {self.line}, column {self.column}: {reason}")


@dataclass(frozen=True, slots=True)
class Function:
    """A function by its name; `printf` with its format."""

    name: str
    format: str = ""

    @property
    def takes(self) -> Kind | None:
        """None: either."""
        if self.name == "printf":
            verb = _parts(self.format)[2]
            return None if verb == "v" else "text" if verb == "s" else "number"
        return "number" if self.name in _NUMBERS else "text"

    def of(self, value: float | str) -> str:
        if self.name == "printf":
            return _printf(self.format, value)
        if isinstance(value, str):
            return _TEXTS[self.name](value)
        return _NUMBERS[self.name](value)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is put in: a label, or the value if `label` is None, through functions."""

    label: str | None
    functions: tuple[Function, ...]

    def fill(self, labels: Labels, value: float | None) -> str:
        found: float | str
        if self.label is not None:
            found = labels.get(self.label, "")
        elif value is not None:
            found = float(value)
        else:
            return NO_VALUE
        for function in self.functions:
            found = function.of(found)
        return found if isinstance(found, str) else plain(found)


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text: pieces that stay as they are, and places."""

    parts: tuple[str | Place, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Raises BadTemplate, with the place and the reason."""
        if len(text) > MAX_INPUT_BYTES or len(text.encode(errors="replace")) > MAX_INPUT_BYTES:
            raise BadTemplate(text, 0, f"longer than {MAX_INPUT_BYTES} bytes")
        return cls(tuple(_parts_of(text)))

    def render(self, labels: Labels, value: float | None) -> str:
        """The text. A label that is not there is empty; what is longer than 8 KiB is cut."""
        pieces: list[str] = []
        room = MAX_OUTPUT_BYTES
        for part in self.parts:
            piece = part if isinstance(part, str) else part.fill(labels, value)
            size = len(piece.encode(errors="replace"))
            if size > room:
                return _cut("".join([*pieces, piece]))
            pieces.append(piece)
            room -= size
        return "".join(pieces)


def _parts_of(text: str) -> Iterator[str | Place]:
    at = 0
    while (opened := text.find("{{", at)) >= 0:
        closed = text.find("}}", opened + 2)
        if closed < 0:
            raise BadTemplate(text, opened, "{{ is not closed by }}")
        if at < opened:
            yield text[at:opened]
        yield _place(text, opened + 2, closed)
        at = closed + 2
    if at < len(text):
        yield text[at:]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    offset: int


def _tokens(text: str, start: int, end: int) -> list[_Token]:
    found: list[_Token] = []
    at = start
    while True:
        match = _TOKEN.match(text, at, end)
        if match is None or match.lastgroup is None:
            offset = at + len(text[at:end]) - len(text[at:end].lstrip())
            word = text[offset:end].split(maxsplit=1)[0][:40]
            raise BadTemplate(text, offset, f"{word!r} is not understood: there are $labels.name, $value and functions")
        found.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        if match.lastgroup == "end":
            return found
        at = match.end()


def _place(text: str, start: int, end: int) -> Place:
    """`source`, or `function source`, then any number of `| function`."""
    tokens = _tokens(text, start, end)[::-1]
    functions: list[Function] = []
    kind: Kind | None = None
    first = tokens[-1].kind == "word"
    if first:
        functions.append(_function(text, tokens))
    source = tokens.pop()
    if source.kind not in ("label", "value"):
        raise BadTemplate(text, source.offset, "$labels.name or $value is missing here")
    kind = "number" if source.kind == "value" else "text"
    if first:
        kind = _checked(text, functions[0], kind, source.offset)
    while (token := tokens.pop()).kind != "end":
        if token.kind != "pipe":
            raise BadTemplate(text, token.offset, f"{token.text!r} is out of place: functions follow after |")
        offset = tokens[-1].offset
        functions.append(_function(text, tokens))
        kind = _checked(text, functions[-1], kind, offset)
    return Place(source.text.removeprefix("$labels.") if source.kind == "label" else None, tuple(functions))


def _function(text: str, tokens: list[_Token]) -> Function:
    token = tokens.pop()
    if token.kind != "word":
        raise BadTemplate(text, token.offset, "the name of a function is missing here")
    if token.text == "printf":
        form = tokens.pop()
        if form.kind != "format" or not _FORMAT.fullmatch(form.text[1:-1]):
            raise BadTemplate(text, form.offset, 'printf takes a format with one verb, such as "%.2f" (f e g s v)')
        return Function("printf", form.text[1:-1])
    if token.text not in _NUMBERS and token.text not in _TEXTS:
        known = ", ".join(["printf", *_NUMBERS, *_TEXTS])
        raise BadTemplate(text, token.offset, f"there is no function {token.text[:40]!r}; there are {known}")
    return Function(token.text)


def _checked(text: str, function: Function, kind: Kind, offset: int) -> Kind:
    """What it makes of a value of this kind: text, all of them."""
    if function.takes not in (None, kind):
        raise BadTemplate(text, offset, f"{function.name} takes a {function.takes}, and this is a {kind}")
    return "text"


def _parts(form: str) -> tuple[str, str, str, str]:
    match = _FORMAT.fullmatch(form)
    if match is None:  # a Function is only made of formats that match
        raise ValueError(form)
    before, number_flags, number_verb, flags, verb, after = match.groups("")
    return before.replace("%%", "%"), number_flags or flags, number_verb or verb, after.replace("%%", "%")


def _printf(form: str, value: float | str) -> str:
    before, flags, verb, after = _parts(form)
    return before + printf(flags, verb, value) + after


def _cut(text: str) -> str:
    raw = text.encode(errors="replace")[: MAX_OUTPUT_BYTES - len(CUT.encode())]
    return raw.decode(errors="ignore") + CUT
