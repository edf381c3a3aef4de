"""`yard explain notification ID`: why somebody was told, or was not."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from app.cli.client import Api
from app.cli.output import facts, print_json, show


def explain_notification(api: Api, ident: str, *, as_json: bool) -> None:
    """The notification as the service has it."""
    found: dict[str, Any] = api.get(f"/v1/notifications/{quote(ident, safe='')}")
    if as_json:
        print_json(found)
        return
    show(facts(found.items()))
