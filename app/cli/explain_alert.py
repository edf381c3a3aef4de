"""`yard explain alert NAME`: why a rule fires or does not, series by series."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from app.cli import cells
from app.cli.alerts import PHASES, rule_path, said, wanted
from app.cli.client import Api
from app.cli.durations import relative
from app.cli.output import facts, now, print_json, show

MANY = 20
LAST = 10


def explain_alert(api: Api, name: str, *, as_json: bool) -> None:
    """The rule, each of its instances, and what changed last."""
    found = api.get(f"{rule_path(name)}/explain")
    if as_json:
        print_json(found)
        return
    show(*drawn(found))


def drawn(found: dict[str, Any]) -> list[RenderableType]:
    """The parts of the answer."""
    parts: list[RenderableType] = [facts(_facts(found["rule"]))]
    instances = found["instances"]
    parts += [_title("what is measured now"), *map(_instance, instances[:MANY])]
    if not instances:
        parts.append(Text("nothing: the signal has no series that the rule is about"))
    if len(instances) > MANY:
        parts.append(Text(f"and {len(instances) - MANY} more: --json shows all", style="dim"))
    if found["transitions"]:
        parts += [_title("what changed"), _transitions(found["transitions"][:LAST])]
    return parts


def _facts(rule: dict[str, Any]) -> list[tuple[str, Any]]:
    evaluated = rule["evaluated_at"]
    return [
        ("rule", Text(cells.clean(rule["name"]), style="bold")),
        ("fires when", wanted(rule)),
        ("severity", rule["severity"]),
        ("no data", f"{rule['no_data']}; an error: {rule['error']}"),
        ("told", ", ".join(rule["receivers"]) or "those whose matchers meet its labels"),
        ("action", rule["action"]),
        ("state", None if rule["enabled"] else Text("disabled", style="yellow")),
        ("evaluated", "never" if evaluated is None else relative(evaluated, now())),
        ("trouble", Text(cells.one_line(rule["evaluation_error"]), style="red") if rule["evaluation_error"] else None),
    ]


def _instance(item: dict[str, Any]) -> Text:
    mark, style = PHASES.get(item["phase"], ("·", "dim"))
    shown = Text.assemble((f"{mark} ", style), (f"{item['phase']}  ", style), (said(item["labels"]), "bold"))
    shown.append(f"\n    {cells.one_line(item['text'])}")
    return shown


def _transitions(moved: list[dict[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True, justify="right", style="dim")
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="cyan")
    table.add_column(overflow="fold")
    for item in moved:
        why = item["reason"].replace("_", " ")
        detail = f"{why}: {item['detail']}" if item["detail"] else why
        table.add_row(
            relative(item["at"], now()),
            f"{item['before']} → {item['after']}",
            cells.clean(said(item["labels"])),
            Text(cells.one_line(detail)),
        )
    return table


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold underline")
