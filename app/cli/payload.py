"""What `submit` sends: JSON as it is, or a text put where the pool's input schema wants one."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.failures import Misuse

MAX_BODY_BYTES = 1_048_576  # the service's default limit (YARD_HTTP_MAX_BODY_BYTES)


@dataclass(frozen=True, slots=True)
class Given:
    """The text that was given and where it came from: `source` is a path, `stdin`, or empty for the argument itself."""

    text: str
    source: str

    def json(self) -> Any:
        """The text as strict JSON; ValueError where it is none."""
        try:
            return json.loads(self.text, parse_constant=_no_constant)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def read(argument: str, limit: int) -> Given:
    """The text of `@FILE`, `@-` (stdin) or of the argument itself; Misuse where it cannot be read or is too long."""
    if not argument.startswith("@"):
        return Given(argument, "")
    name = argument[1:]
    source = "stdin" if name == "-" else name
    content = _content(name, limit)
    if len(content) > limit:
        raise Misuse(f"{source} is larger than the {size(limit)} a task may carry; send a part of it, or its address")
    if b"\0" in content:
        raise Misuse(f"{source} is not text: it holds null bytes")
    return Given(content.decode("utf-8-sig", errors="replace"), source)


def _content(name: str, limit: int) -> bytes:
    """One byte more than the limit at most: whoever names a huge file by mistake need not wait for it."""
    try:
        if name == "-":
            return sys.stdin.buffer.read(limit + 1)
        with Path(name).open("rb") as file:
            return file.read(limit + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise Misuse(f"cannot read {name or 'a file without a name'}: {why}") from None


def json_payload(given: Given) -> tuple[bool, Any]:
    """(True, payload) where the text is a payload by itself: any JSON as an argument, an object in a file."""
    try:
        value = given.json()
    except ValueError as error:
        if given.source:
            return False, None
        raise Misuse(f"the payload is not JSON ({error}); name a file as @FILE, or give --field NAME") from None
    return (True, value) if isinstance(value, dict) or not given.source else (False, None)


def text_field(pool: str, schema: dict[str, Any] | None) -> str:
    """The property that takes the text: the first required one of type string, else the first string at all.

    Requirements count in `required`, then in the alternatives of `anyOf` and `oneOf`. Misuse where no
    property takes text.
    """
    schema = schema or {}
    properties = schema.get("properties") or {}
    texts: list[str] = [name for name, rule in properties.items() if _takes_text(rule)]
    for name in [*_required(schema), *texts]:
        if name in texts:
            return name
    raise Misuse(
        f"the input schema of pool {pool!r} names no property for a text; "
        "say which with --field NAME, or give a JSON object"
    )


def _required(schema: dict[str, Any]) -> list[str]:
    alternatives = [*schema.get("anyOf", []), *schema.get("oneOf", [])]
    rules = [schema, *(rule for rule in alternatives if isinstance(rule, dict))]
    return [name for rule in rules for name in rule.get("required", [])]


def _takes_text(rule: object) -> bool:
    kind = rule.get("type") if isinstance(rule, dict) else None
    return kind == "string" or (isinstance(kind, list) and "string" in kind)


def size(count: int) -> str:
    """Bytes for people: `339 KiB`, `1 MiB`, `2.3 MiB`."""
    if count < 1024:
        return f"{count} B"
    if count < 1024 * 1024:
        return f"{count / 1024:.0f} KiB"
    return f"{count / 1024 / 1024:.3g} MiB"
