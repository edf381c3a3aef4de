"""Configurations of receivers as they come in, are stored and are shown. Pure.

Secrets are stored in clear and never shown: where one was, MASK is. A configuration that comes in with MASK in a place
keeps the secret that is stored there, so that one can change the rest of what was shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import SecretStr, ValidationError

from app.alerts.notifiers.alert_registry import KINDS
from app.alerts.notifiers.alerts import ReceiverConfig
from app.core.errors import Invalid
from app.core.http import invalid_from

MASK = "**********"
MAX_OLD_KEYS = 5


class UnknownKind(Invalid):
    code, title = "unknown_receiver_kind", "No such kind of receiver"


class SecretNotKnown(Invalid):
    code, title = "secret_not_known", "A masked secret that is not stored"


class SecretNotForThere(Invalid):
    code, title = "secret_not_for_there", "A masked secret with another address"


def read(kind: str, config: Mapping[str, Any], stored: Mapping[str, Any] | None) -> ReceiverConfig:
    """The configuration; `stored` is the one before, of the same kind. Raises UnknownKind, SecretNotKnown,
    SecretNotForThere or Invalid, which name the place, never the value."""
    if kind not in KINDS:
        raise UnknownKind(f"There is no kind {kind[:50]!r}; there are {', '.join(KINDS)}.", extra=_errors("kind"))
    unmasked = _unmasked(config, stored or {}, "config")
    try:
        made: ReceiverConfig = KINDS[kind].config_type.model_validate(unmasked)
    except ValidationError as error:
        raise invalid_from([{**item, "loc": ("config", *item["loc"])} for item in error.errors()]) from None
    if config.get("token") == MASK:
        _stays_there(made, stored or {})
    return made


def to_store(config: ReceiverConfig, stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """As JSON, in clear. What PagerDuty triggered through a key is only resolved through it: a routing key that was
    replaced stays among the previous ones, and these stay where none are given."""
    made: dict[str, Any] = _clear(config.model_dump())
    if "routing_key" in made:
        before = stored or {}
        given = "previous_routing_keys" in config.model_fields_set
        olds = made["previous_routing_keys"] if given else before.get("previous_routing_keys", ())
        keys = dict.fromkeys(key for key in (before.get("routing_key"), *olds) if key and key != made["routing_key"])
        made["previous_routing_keys"] = list(keys)[:MAX_OLD_KEYS]
    return made


def shown(kind: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """As people may see it."""
    try:
        return KINDS[kind].config_type.model_validate(dict(stored)).model_dump(mode="json", exclude_none=True)
    except (KeyError, ValidationError):  # of another version: who knows what is secret
        return {}


def urls(config: ReceiverConfig) -> list[tuple[str, str]]:
    """The places of the addresses that the receiver is called at, and the addresses."""
    found = list[tuple[str, str]]()
    for name in ("url", "webhook_url", "urls"):
        value = getattr(config, name, None)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, SecretStr):
                found.append((f"config.{name}", item.get_secret_value()))
    return found


def _stays_there(config: ReceiverConfig, stored: Mapping[str, Any]) -> None:
    """Who may not see a token cannot have it sent to a host of theirs: with another address it is given anew."""
    if any(url not in stored.get("urls", ()) for _, url in urls(config)):
        message = "config.token: the stored token is only for the stored addresses; give it anew with others."
        raise SecretNotForThere(message, extra=_errors("config.token"))


def _clear(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {name: _clear(item) for name, item in value.items()}
    return [_clear(item) for item in value] if isinstance(value, list | tuple) else value


def _unmasked(value: Any, stored: Any, where: str) -> Any:
    if value == MASK:
        if not isinstance(stored, str):
            raise SecretNotKnown(f"{where}: there is no stored secret to keep.", extra=_errors(where))
        return stored
    if isinstance(value, Mapping):
        olds = stored if isinstance(stored, Mapping) else {}
        return {name: _unmasked(item, olds.get(name), f"{where}.{name}") for name, item in value.items()}
    if isinstance(value, list):
        old = stored if isinstance(stored, Sequence) and not isinstance(stored, str) else ()
        return [
            _unmasked(item, old[place] if place < len(old) else None, f"{where}.{place}")
            for place, item in enumerate(value)
        ]
    return value


def _errors(path: str) -> dict[str, object]:
    return {"errors": [{"path": path, "message": "not accepted"}]}
