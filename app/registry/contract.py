"""A pool's contract: JSON Schemas of what goes in and what comes out, compiled once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from app.core.errors import Invalid

MAX_ERRORS = 20


class BadSchema(Invalid):
    code, title = "bad_schema", "Bad JSON Schema"


class Schema:
    """One compiled schema; None accepts everything."""

    def __init__(self, schema: Mapping[str, Any] | None, where: str = "schema") -> None:
        self._validator = None if schema is None else _compile(schema, where)

    def errors(self, value: object) -> list[dict[str, str]]:
        """What is wrong, as `{"path", "message"}`; the path is a JSON Pointer (RFC 6901), "" for the value itself."""
        if self._validator is None or self._validator.is_valid(value):
            return []
        found = []
        for error in self._validator.iter_errors(value):
            found.append({"path": _pointer(error.instance_path), "message": error.message[:300]})
            if len(found) == MAX_ERRORS:
                break
        return found


def _compile(schema: Mapping[str, Any], where: str) -> jsonschema_rs.Validator:
    try:
        jsonschema_rs.meta.validate(dict(schema))
        # Offline: a $ref into the network would be a request that a stranger makes us send.
        return jsonschema_rs.validator_for(dict(schema), offline=True)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as exc:
        message = str(getattr(exc, "message", exc)).splitlines()[0][:300]
        raise BadSchema(f"{where}: {message}", extra={"errors": [{"path": where, "message": message}]}) from None


def _pointer(path: list[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
