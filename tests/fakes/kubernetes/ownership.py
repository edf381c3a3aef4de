"""Field ownership: which manager set which field (`metadata.managedFields`), and server-side apply.

A field set is a set of paths. A path is a tuple of the elements the server writes: `f:name` a field, `k:{...}` an
item of a list by its keys, `v:...` an item of a set, `.` the item itself. A list or map that is replaced as a
whole is one field.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.fakes.kubernetes.schema import KEY_DEFAULTS, Node

type Path = tuple[str, ...]
type FieldSet = frozenset[Path]

# Never owned: they identify the object or are the server's own.
_SERVERS = {
    ("f:metadata", f"f:{name}")
    for name in (
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
        "selfLink",
        "managedFields",
    )
}


def item_key(item: dict[str, Any], node: Node) -> str:
    """`k:{"name":"x"}` of an item of an associative list."""
    keys = {key: item.get(key, KEY_DEFAULTS.get(key)) for key in sorted(node.list_keys)}
    return "k:" + json.dumps(keys, separators=(",", ":"))


def fields_of(body: dict[str, Any], node: Node) -> FieldSet:
    """The paths an object sets, without those that are never owned."""
    paths = frozenset(path for path, _ in leaves(body, node) if path[0] not in ("f:apiVersion", "f:kind"))
    return frozenset(path for path in paths if path[:2] not in _SERVERS)


def leaves(value: Any, node: Node, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every owned place with its value; items of associative lists also as themselves (`.`)."""
    if isinstance(value, dict) and value and not node.atomic_map:
        for key, inner in value.items():
            yield from leaves(inner, node.field(key), (*path, f"f:{key}"))
    elif isinstance(value, list) and value and node.list_kind == "map":
        for item in value:
            inner_path = (*path, item_key(item, node))
            yield (*inner_path, "."), None
            yield from leaves(item, node.item(), inner_path)
    elif isinstance(value, list) and value and node.list_kind == "set":
        for item in value:
            yield (*path, "v:" + json.dumps(item)), item
    elif path:
        yield path, value


def show(fields: FieldSet) -> dict[str, Any]:
    """As `fieldsV1` writes it."""
    tree: dict[str, Any] = {}
    for path in sorted(fields):
        place = tree
        for part in path:
            place = place.setdefault(part, {})
    return tree


def read(tree: dict[str, Any], path: Path = ()) -> FieldSet:
    """The reverse of `show`."""
    found: set[Path] = set()
    for part, inner in tree.items():
        found |= read(inner, (*path, part)) if inner else {(*path, part)}
    return frozenset(found)


@dataclass(frozen=True)
class Entry:
    """One entry of managedFields."""

    manager: str
    operation: str
    api_version: str
    subresource: str
    fields: FieldSet
    time: str = ""

    @property
    def who(self) -> tuple[str, str, str]:
        return self.manager, self.operation, self.subresource


def entries_of(body: dict[str, Any]) -> list[Entry]:
    """What the object's managedFields say."""
    return [
        Entry(
            raw["manager"],
            raw["operation"],
            raw.get("apiVersion", ""),
            raw.get("subresource", ""),
            read(raw.get("fieldsV1") or {}),
            raw.get("time", ""),
        )
        for raw in body["metadata"].get("managedFields") or []
    ]


def write_entries(body: dict[str, Any], entries: list[Entry]) -> None:
    """Set the object's managedFields; empty entries are dropped."""
    body["metadata"]["managedFields"] = [
        {
            "manager": entry.manager,
            "operation": entry.operation,
            "apiVersion": entry.api_version,
            "time": entry.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": show(entry.fields),
            **({"subresource": entry.subresource} if entry.subresource else {}),
        }
        for entry in entries
        if entry.fields
    ]


def after_update(old: dict[str, Any], new: dict[str, Any], node: Node, by: Entry) -> list[Entry]:
    """Who owns what after a write that is not an apply: the writer owns what it changed, nobody what is gone."""
    before, after = dict(leaves(old, node)), dict(leaves(new, node))
    owned = fields_of(new, node)
    changed = frozenset(path for path in owned if path not in before or before[path] != after[path])
    entries, mine = [], changed
    for entry in entries_of(old):
        if entry.who == by.who:
            mine = (entry.fields & owned) | changed
        else:
            entries.append(_with(entry, (entry.fields & owned) - changed))
    stamp = by.time if changed else next((e.time for e in entries_of(old) if e.who == by.who), by.time)
    return [*entries, Entry(by.manager, by.operation, by.api_version, by.subresource, mine, stamp)]


def _with(entry: Entry, fields: FieldSet) -> Entry:
    return Entry(entry.manager, entry.operation, entry.api_version, entry.subresource, fields, entry.time)


@dataclass(frozen=True)
class Conflict:
    """A field another manager owns with another value."""

    manager: str
    api_version: str
    operation: str
    path: Path

    @property
    def field(self) -> str:
        """`.spec.template.spec.containers[name="x"].image`."""
        text = ""
        for part in self.path:
            if part.startswith("f:"):
                text += f".{part[2:]}"
            elif part.startswith("k:"):
                keys = json.loads(part[2:])
                text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in keys.items()) + "]"
            elif part.startswith("v:"):
                text += f"[={part[2:]}]"
        return text


def conflicts_of(
    live: dict[str, Any], applied: dict[str, Any], node: Node, who: tuple[str, str, str]
) -> list[Conflict]:
    """Where the applied configuration would change what others own."""
    values, now = dict(leaves(applied, node)), dict(leaves(live, node))
    wanted = fields_of(applied, node)
    return [
        Conflict(entry.manager, entry.api_version, entry.operation, path)
        for entry in entries_of(live)
        if entry.who != who
        for path in sorted(entry.fields)
        if _clashes(path, wanted, values, now)
    ]


def _clashes(path: Path, wanted: FieldSet, values: dict[Path, Any], now: dict[Path, Any]) -> bool:
    return path in wanted and path[-1] != "." and values[path] != now.get(path)


def merge_applied(live: Any, applied: Any, node: Node) -> Any:
    """The live value with the applied one laid over it."""
    if isinstance(applied, dict) and isinstance(live, dict) and not node.atomic_map:
        merged = dict(live)
        for key, value in applied.items():
            merged[key] = merge_applied(live.get(key), value, node.field(key))
        return merged
    if isinstance(applied, list) and isinstance(live, list) and node.list_kind == "map":
        return _merge_items(live, applied, node)
    if isinstance(applied, list) and isinstance(live, list) and node.list_kind == "set":
        return [*applied, *(item for item in live if item not in applied)]
    return copy.deepcopy(applied)


def _merge_items(live: list[Any], applied: list[Any], node: Node) -> list[Any]:
    by_key = {item_key(item, node): item for item in live}
    wanted = {item_key(item, node) for item in applied}
    merged = [merge_applied(by_key.get(item_key(item, node)), item, node.item()) for item in applied]
    return [*merged, *(item for key, item in by_key.items() if key not in wanted)]


def without(value: Any, gone: FieldSet, kept: FieldSet, node: Node, path: Path = ()) -> Any:
    """The value without the paths in `gone`. A map or item falls with its last field unless somebody keeps it."""
    if isinstance(value, dict) and not node.atomic_map:
        return _map_without(value, gone, kept, node, path)
    if isinstance(value, list) and node.list_kind == "map":
        items = []
        for item in value:
            at = (*path, item_key(item, node))
            # An item goes where its owner gave it up; what others own in it keeps it.
            if (*at, ".") in gone and not any(other[: len(at)] == at for other in kept):
                continue
            items.append(without(item, gone - {(*at, ".")}, kept, node.item(), at))
        return items
    if isinstance(value, list) and node.list_kind == "set":
        return [item for item in value if (*path, "v:" + json.dumps(item)) not in gone]
    return value


def _map_without(value: dict[str, Any], gone: FieldSet, kept: FieldSet, node: Node, path: Path) -> dict[str, Any]:
    result = {}
    for key, inner in value.items():
        at = (*path, f"f:{key}")
        if at in gone:
            continue
        below = frozenset(other for other in gone if other[: len(at)] == at)
        left = without(inner, below, kept, node.field(key), at) if below else inner
        emptied = below and left in ({}, []) and inner not in ({}, [])
        if not emptied or any(other[: len(at)] == at for other in kept):
            result[key] = left
    return result


def apply(live: dict[str, Any], applied: dict[str, Any], node: Node, by: Entry) -> tuple[dict[str, Any], list[Entry]]:
    """Lay the configuration over the live object (conflicts were judged before) and say who owns what then.

    What the same manager applied before and leaves out now is removed where nobody else owns it.
    """
    wanted = fields_of(applied, node)
    before = next((entry.fields for entry in entries_of(live) if entry.who == by.who), frozenset())
    values, now = dict(leaves(applied, node)), dict(leaves(live, node))
    taken = frozenset(path for path in wanted if path in now and path[-1] != "." and values[path] != now[path])
    others = [_with(entry, entry.fields - taken) for entry in entries_of(live) if entry.who != by.who]
    kept = wanted.union(*(entry.fields for entry in others))
    result = without(merge_applied(live, applied, node), before - kept, kept, node)
    same = before == wanted and next((entry.time for entry in entries_of(live) if entry.who == by.who), "")
    mine = Entry(by.manager, by.operation, by.api_version, by.subresource, wanted, same or by.time)
    return result, [*others, mine]
