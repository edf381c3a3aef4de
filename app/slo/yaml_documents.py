"""Strict YAML: documents that say what they say. Pure.

No alias (a small text could grow into gigabytes), no key twice (the last would win silently), nothing but plain data.
A `Place` is a value with its path, which every complaint about it carries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml

MAX_BYTES, MAX_DOCUMENTS = 131_072, 100


class BadYaml(ValueError):
    """Not a YAML text that we read; the message is for people and names the line where it can."""


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise BadYaml(f"line {self.line + 1}: aliases are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[object]()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):
                raise BadYaml(f"line {key.start_mark.line + 1}: a key is a plain text")
            if key.value in seen:
                raise BadYaml(f"line {key.start_mark.line + 1}: {key.value[:64]!r} is there twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def documents(text: str) -> list[Any]:
    """The documents of a text, empty ones left out. Raises BadYaml."""
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise BadYaml(f"more than {MAX_BYTES} bytes")
    found = []
    try:
        for document in yaml.load_all(text, _Loader):
            if document is not None:
                found.append(document)
            if len(found) > MAX_DOCUMENTS:
                raise BadYaml(f"more than {MAX_DOCUMENTS} documents")
    except yaml.YAMLError as exc:
        raise BadYaml(" ".join(str(exc).split())[:300]) from None
    except RecursionError:
        raise BadYaml("nested too deep") from None
    except (ValueError, OverflowError) as exc:  # a date or a number that cannot be
        raise exc if isinstance(exc, BadYaml) else BadYaml(str(exc)[:300]) from None
    return found


@dataclass(frozen=True, slots=True)
class Place:
    """A value, where it is, and where complaints go: (path, message)."""

    value: Any
    path: str
    faults: list[tuple[str, str]]

    def fault(self, message: str, name: str = "") -> None:
        """Complain about it, or about a field of it."""
        self.faults.append((f"{self.path}.{name}" if name else self.path, message))

    def __contains__(self, name: str) -> bool:
        return isinstance(self.value, Mapping) and self.value.get(name) is not None

    def only(self, *names: str) -> None:
        """Complain about every other field: a name that is written wrong must not be silently left out."""
        if isinstance(self.value, Mapping):
            for name in self.value:
                if name not in names:
                    self.fault(f"not a field that is known here; those are {', '.join(names)}", str(name)[:64])

    def within(self, name: str, *, needed: bool = True) -> Place:
        """A field that is an object; an empty one, with a complaint if it is needed or something else."""
        value = self.value.get(name) if isinstance(self.value, Mapping) else None
        if value is None and needed:
            self.fault("is missing", name)
        elif value is not None and not isinstance(value, Mapping):
            self.fault("an object is needed", name)
        return Place(value if isinstance(value, Mapping) else {}, f"{self.path}.{name}", self.faults)

    def items(self, name: str) -> Iterator[Place]:
        """The elements of a field that is a list of objects; none where it is not there."""
        value = self.value.get(name) if isinstance(self.value, Mapping) else None
        if value is not None and not isinstance(value, list):
            self.fault("a list is needed", name)
            return
        for number, item in enumerate(value or ()):
            path = f"{self.path}.{name}[{number}]"
            if not isinstance(item, Mapping):
                self.faults.append((path, "an object is needed"))
            yield Place(item if isinstance(item, Mapping) else {}, path, self.faults)

    def text(self, name: str, *, needed: bool = False) -> str | None:
        """A field that is a text; None without one."""
        value = self.value.get(name)
        if isinstance(value, str):
            return value
        if value is not None:
            self.fault("a text is needed; put it in quotes", name)
        elif needed:
            self.fault("is missing", name)
        return None

    def number(self, name: str, *, needed: bool = False) -> Decimal | None:
        """A field that is a number, as it was written; None without one."""
        value = self.value.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found = Decimal(repr(value))
            if found.is_finite():
                return found
        if value is not None:
            self.fault("a number is needed", name)
        elif needed:
            self.fault("is missing", name)
        return None

    def flag(self, name: str) -> bool | None:
        """A field that is true or false; None without one."""
        value = self.value.get(name)
        if value is not None and not isinstance(value, bool):
            self.fault("true or false is needed", name)
        return value if isinstance(value, bool) else None
