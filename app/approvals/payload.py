"""What exactly is approved: the hash of an action and its arguments in their canonical form (RFC 8785)."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
import rfc8785

from app.core.jsonbody import dump_json


class NotCanonical(ValueError):
    """The action or its arguments have no canonical form. The text says what is wrong, for people."""


def payload_hash(action: str, args: Any) -> str:
    """Hex SHA-256 of the canonical JSON of {"action", "args"}.

    Raises NotCanonical for what two readers of JSON may take for different things: integers beyond ±(2^53 − 1), NaN
    and infinities, half of a surrogate pair, names that are not text; and for an action with a null byte.
    """
    if "\x00" in action:
        raise NotCanonical("the action holds a null byte")
    try:
        canonical = rfc8785.dumps({"action": action, "args": args})
    except RecursionError:
        raise NotCanonical("the arguments are nested too deeply") from None
    except UnicodeEncodeError:
        raise NotCanonical("a name holds half of a surrogate pair") from None
    except ValueError as exc:
        raise NotCanonical(str(exc)) from None
    return hashlib.sha256(canonical).hexdigest()


def read(action: str, args_json: str) -> tuple[str, str]:
    """Arguments as they came, in JSON text: as they are stored and shown (no name twice), and the payload's hash.

    Raises NotCanonical, for text that is not JSON too.
    """
    try:
        args = orjson.loads(args_json)
        return dump_json(args), payload_hash(action, args)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError) as exc:
        raise NotCanonical(f"the arguments are not JSON: {exc}") from None
