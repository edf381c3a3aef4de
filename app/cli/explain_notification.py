"""`yard explain notification ID`: why somebody was told of alerts, or was not."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from app.cli import cells
from app.cli.client import Api
from app.cli.durations import relative
from app.cli.output import facts, now, print_json, show

WORDS = {
    "first": "it had not been told of this group yet",
    "new_alerts": "it fires since the receiver was told last",
    "resolved": "it ended since the receiver was told last",
    "repeat": "it was told long enough ago",
    "heartbeat": "a sign of life",
    "silenced": "a silence holds it back",
    "inhibited": "another alert explains it",
    "muted": "nothing is told at this time",
    "deduplicated": "the receiver knows it already",
    "throttled": "the receiver takes nothing for now",
    "acknowledged": "somebody has taken it",
    "refused": "the receiver refused the same for good",
    "receiver_deleted": "the receiver was deleted",
}


def explain_notification(api: Api, ident: str, *, as_json: bool) -> None:
    """What was told or not, of which alerts, why, and what comes next."""
    found = api.get(f"/v1/notifications/{quote(ident, safe='')}")
    if as_json:
        print_json(found)
        return
    show(*drawn(found))


def drawn(found: dict[str, Any]) -> list[RenderableType]:
    """The parts of the answer."""
    told = "told" if found["sent"] else "not told"
    times = f", {found['count']} times in a row" if found["count"] > 1 else ""
    known = [
        ("notification", Text(found["id"], style="bold")),
        ("receiver", Text(cells.clean(found["receiver"]))),
        ("group", cells.clean(found["group_key"])),
        ("outcome", f"{found['outcome']} ({told}{times})"),
        ("why", f"{found['reason']}: {WORDS[found['reason']]}" if found["reason"] in WORDS else found["reason"]),
        ("detail", cells.one_line(found["detail"]) or None),
        ("tries", found["tries"] or None),
        ("when", relative(found["at"], now())),
        ("last", relative(found["last_at"], now()) if found["last_at"] != found["at"] else None),
        ("next", found["next"]),
    ]
    return [facts(known), Text("\nalerts", style="bold underline"), _alerts(found["alerts"])]


def _alerts(alerts: list[dict[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="cyan")
    table.add_column(overflow="fold")
    for item in alerts:
        mark = Text("✓ told", style="green") if item["sent"] else Text("· not told", style="dim")
        labels = {name: value for name, value in item["labels"].items() if name != "alertname"}
        name = item["labels"].get("alertname", item["fingerprint"])
        shown = " ".join(f"{key}={value}" for key, value in sorted(labels.items()))
        by = f" ({item['by']})" if item["by"] else ""
        why = f"{item['reason']}: {WORDS.get(item['reason'], '')}{by}"
        table.add_row(mark, cells.clean(name), Text(cells.one_line(f"{why}  {shown}")))
    return table
