"""`yard alerts` and `yard alert-rules`: what is wrong, and what counts as wrong."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer
from rich.text import Text

from app.cli import cells
from app.cli.client import encoded
from app.cli.durations import relative, span
from app.cli.failures import Misuse
from app.cli.listing import Column, listing
from app.cli.output import Json, facts, now, print_json, show
from app.cli.payload import MAX_BODY_BYTES, read
from app.cli.session import session_of

PATH = "/v1/alert-rules"
PHASES = {
    "firing": ("●", "bold red"),
    "recovering": ("◐", "yellow"),
    "pending": ("○", "yellow"),
    "resolved": ("✓", "green"),
}
_GIVEN = ("alertname", "severity")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The rule's name.")]

alert_rules_app = typer.Typer(help="Set, list and delete what counts as wrong.", no_args_is_help=True)


def alerts(
    ctx: typer.Context,
    phase: Annotated[
        Literal["pending", "firing", "recovering", "resolved"] | None, typer.Option(help="Only these.")
    ] = None,
    rule: Annotated[str | None, typer.Option(help="Only those of this rule.")] = None,
    as_json: Json = False,
) -> None:
    """List what is wrong now: pending, firing, recovering (that counts as firing), and resolved of late."""
    params = {name: value for name, value in (("phase", phase), ("rule", rule)) if value}
    page = session_of(ctx).api.page("/v1/alerts", params)
    if as_json:
        print_json(page)
        return
    order = list(PHASES)
    items = sorted(page["items"], key=lambda item: order.index(item["phase"]) if item["phase"] in order else len(order))
    columns = [
        *(Column(title, whole=True) for title in ("phase", "alert")),
        Column("severity"),
        Column("of"),
        Column("value", right=True),
        Column("since", whole=True),
        Column("summary", spare=True),
    ]
    show(listing(columns, map(_row, items)) if items else Text("nothing is wrong", style="green"))


def _row(item: dict[str, Any]) -> list[str | Text]:
    mark, style = PHASES.get(item["phase"], ("·", "dim"))
    value = "" if item["value"] is None else f"{item['value']:.4g}"
    summary = cells.one_line(item["annotations"].get("summary", ""))
    since = relative(item["since"], now())
    phase = Text(f"{mark} {item['phase']}", style=style)
    return [phase, item["rule"], item["severity"], said(item["labels"]), value, since, summary]


def said(labels: dict[str, str]) -> str:
    """Labels as people write them, without those that the rule gives every alert."""
    shown = (f"{name}={value}" for name, value in sorted(labels.items()) if name not in _GIVEN)
    return cells.one_line(" ".join(shown)) or "everything"


@alert_rules_app.command("list")
def list_rules(ctx: typer.Context, as_json: Json = False) -> None:
    """List the rules, and how their last evaluation went."""
    page = session_of(ctx).api.page(PATH)
    if as_json:
        print_json(page)
        return
    columns = [
        *(Column(title, whole=True) for title in ("name", "fires when", "for")),
        Column("of", spare=True),
        *map(Column, ("severity", "action", "state")),
        Column("trouble", spare=True),
    ]
    show(listing(columns, map(_rule_row, page["items"])))


def _rule_row(rule: dict[str, Any]) -> list[str | Text]:
    trouble = Text(cells.clip(cells.one_line(rule["evaluation_error"]), 80), style="red")
    lasts = span(rule["for_s"]) if rule["for_s"] else ""
    return [
        rule["name"],
        _wrong(rule),
        lasts,
        _series(rule),
        rule["severity"],
        rule["action"] or "",
        _state(rule),
        trouble,
    ]


def _wrong(rule: dict[str, Any]) -> str:
    return f"{rule['signal']} {rule['comparison']} {rule['threshold']:,.12g}"


def _series(rule: dict[str, Any]) -> str:
    """Which series, where that is not every pool."""
    by = f"by {rule['by']}" if rule["by"] != "pool" else ""
    where = f"where {', '.join(rule['matchers'])}" if rule["matchers"] else ""
    return ", ".join(filter(None, (by, where)))


def _state(rule: dict[str, Any]) -> Text:
    if not rule["enabled"]:
        return Text("disabled", style="yellow")
    counts = {phase: rule["instances"].get(phase, 0) for phase in ("firing", "recovering", "pending")}
    shown = ", ".join(f"{count} {phase}" for phase, count in counts.items() if count)
    return Text(shown, style="red" if counts["firing"] else "yellow") if shown else Text("ok", style="green")


def wanted(rule: dict[str, Any]) -> str:
    """When it fires, in a line."""
    lasts = f"{_wrong(rule)} for {span(rule['for_s'])}" if rule["for_s"] else _wrong(rule)
    return ", ".join(filter(None, (lasts, _series(rule))))


@alert_rules_app.command("show")
def show_rule(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a rule. Why it fires or does not: yard explain alert NAME."""
    rule = session_of(ctx).api.get(rule_path(name))
    if as_json:
        print_json(rule)
        return
    pairs = [
        ("rule", Text(cells.clean(rule["name"]), style="bold")),
        ("fires when", wanted(rule)),
        ("fires on for", span(rule["keep_firing_for_s"]) if rule["keep_firing_for_s"] else None),
        ("severity", rule["severity"]),
        ("labels", said(rule["labels"]) if rule["labels"] else None),
        *((name, text) for name, text in rule["annotations"].items()),
        ("told", ", ".join(rule["receivers"]) or "those whose matchers meet its labels"),
        ("action", rule["action"]),
        ("no data", rule["no_data"]),
        ("error", rule["error"]),
        ("least events", str(rule["min_events"])),
        ("confidence", None if rule["confidence"] is None else f"{rule['confidence']:g}"),
        ("state", _state(rule)),
        ("trouble", rule["evaluation_error"]),
        ("made by", rule["created_by"]),
    ]
    show(facts(pairs))


@alert_rules_app.command("set")
def set_rule(
    ctx: typer.Context,
    name: Name,
    rule: Annotated[str, typer.Argument(metavar="JSON|@FILE", help="The rule as JSON; @- reads stdin.")],
    as_json: Json = False,
) -> None:
    """Set a rule as a whole, for example '{"signal": "queue_length", "comparison": ">", "threshold": 100}'."""
    try:
        body = read(rule, MAX_BODY_BYTES).json()
    except ValueError as error:
        raise Misuse(f"the rule is not JSON ({error}); name a file as @FILE") from None
    if not isinstance(body, dict):
        raise Misuse("the rule is not a JSON object")
    made = session_of(ctx).api.send("PUT", rule_path(name), encoded(body))
    if as_json:
        print_json(made)
    else:
        state = "" if made["enabled"] else " (disabled)"
        typer.echo(f"{cells.clean(made['name'])}{state}: {cells.clean(wanted(made))}")


@alert_rules_app.command()
def delete(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Delete a rule. What fires by it is resolved."""
    was = session_of(ctx).api.send("DELETE", rule_path(name))
    if as_json:
        print_json(was)
    else:
        typer.echo(f"the rule {cells.clean(was['name'])} is deleted")


def rule_path(name: str) -> str:
    """Where a rule is."""
    return f"{PATH}/{quote(name, safe='')}"
