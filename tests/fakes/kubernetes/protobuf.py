"""Bodies in Kubernetes' protobuf form, as Go's typed clients send them: Secrets, ConfigMaps, DeleteOptions, reviews.

Go clients ask for protobuf answers too, but take JSON; so only the reading side is needed. Field numbers are those
of the published `generated.proto` files.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

MAGIC = b"k8s\x00"

type Reader = Callable[[int | bytes], Any]
# Field number → (JSON name, how to read it, form: one, many, or map).
type Fields = dict[int, tuple[str, Reader, str]]


def _text(value: int | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _bytes(value: int | bytes) -> str:
    return base64.b64encode(value if isinstance(value, bytes) else b"").decode()


def _number(value: int | bytes) -> int:
    assert isinstance(value, int)
    # Negative numbers come as 64-bit two's complement.
    return value - (1 << 64) if value >> 63 else value


def _flag(value: int | bytes) -> bool:
    return bool(value)


def _message(fields: Fields) -> Reader:
    return lambda value: read_message(value if isinstance(value, bytes) else b"", fields)


_REFERENCE: Fields = {
    1: ("kind", _text, "one"),
    3: ("name", _text, "one"),
    4: ("uid", _text, "one"),
    5: ("apiVersion", _text, "one"),
    6: ("controller", _flag, "one"),
    7: ("blockOwnerDeletion", _flag, "one"),
}
_META: Fields = {
    1: ("name", _text, "one"),
    2: ("generateName", _text, "one"),
    3: ("namespace", _text, "one"),
    5: ("uid", _text, "one"),
    6: ("resourceVersion", _text, "one"),
    11: ("labels", _text, "map"),
    12: ("annotations", _text, "map"),
    13: ("ownerReferences", _message(_REFERENCE), "many"),
    14: ("finalizers", _text, "many"),
}
_SECRET: Fields = {
    1: ("metadata", _message(_META), "one"),
    2: ("data", _bytes, "map"),
    3: ("type", _text, "one"),
    4: ("stringData", _text, "map"),
    5: ("immutable", _flag, "one"),
}
_CONFIG_MAP: Fields = {
    1: ("metadata", _message(_META), "one"),
    2: ("data", _text, "map"),
    3: ("binaryData", _bytes, "map"),
    4: ("immutable", _flag, "one"),
}
_PRECONDITIONS: Fields = {1: ("uid", _text, "one"), 2: ("resourceVersion", _text, "one")}
_DELETE: Fields = {
    1: ("gracePeriodSeconds", _number, "one"),
    2: ("preconditions", _message(_PRECONDITIONS), "one"),
    3: ("orphanDependents", _flag, "one"),
    4: ("propagationPolicy", _text, "one"),
    5: ("dryRun", _text, "many"),
}
_RESOURCE: Fields = {
    number: (name, _text, "one")
    for number, name in enumerate(("namespace", "verb", "group", "version", "resource", "subresource", "name"), 1)
}
_REVIEW_SPEC: Fields = {1: ("resourceAttributes", _message(_RESOURCE), "one")}
_REVIEW: Fields = {1: ("metadata", _message(_META), "one"), 2: ("spec", _message(_REVIEW_SPEC), "one")}
_KINDS: dict[str, Fields] = {
    "Namespace": {1: ("metadata", _message(_META), "one")},
    "Secret": _SECRET,
    "ConfigMap": _CONFIG_MAP,
    "DeleteOptions": _DELETE,
    "SelfSubjectAccessReview": _REVIEW,
}
_TYPE: Fields = {1: ("apiVersion", _text, "one"), 2: ("kind", _text, "one")}


def read_body(data: bytes) -> dict[str, Any]:
    """The object as JSON has it. Raises ValueError for kinds that are not known here."""
    if not data.startswith(MAGIC):
        raise ValueError("not in Kubernetes' protobuf form")
    parts = dict(_fields(data[len(MAGIC) :]))
    kind, raw = read_message(_as_bytes(parts.get(1)), _TYPE), _as_bytes(parts.get(2))
    if kind.get("kind") not in _KINDS:
        raise ValueError(f"no protobuf form known of {kind.get('kind')}")
    return {key: value for key, value in kind.items() if value} | read_message(raw, _KINDS[kind["kind"]])


def _as_bytes(value: int | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def read_message(data: bytes, fields: Fields) -> dict[str, Any]:
    """One message; empty texts are absent, as JSON leaves them out."""
    found: dict[str, Any] = {}
    for number, value in _fields(data):
        if number not in fields:
            continue
        name, reader, form = fields[number]
        if form == "map":
            pair = dict(_fields(_as_bytes(value)))
            found.setdefault(name, {})[_text(pair.get(1, b""))] = reader(pair.get(2, b""))
        elif form == "many":
            found.setdefault(name, []).append(reader(value))
        elif (read := reader(value)) != "":
            found[name] = read
    return found


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
        elif tag & 7 == 2:
            size, at = _varint(data, at)
            yield tag >> 3, data[at : at + size]
            at += size
        else:
            at += {1: 8, 5: 4}[tag & 7]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
