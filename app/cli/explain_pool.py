"""`yard explain pool POOL`: why a pool has as many replicas as it has."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from app.cli import cells
from app.cli.client import Api
from app.cli.durations import relative, span
from app.cli.output import facts, now, print_json, show
from app.cli.pools import path

LAST_DECISIONS = 10


def explain_pool(api: Api, pool: str, *, as_json: bool) -> None:
    """What is the case, what is wrong, the numbers, and what was decided before."""
    found = api.get(f"{path(pool)}/scaling")
    past = api.get(f"{path(pool)}/scaling/decisions?page_size={LAST_DECISIONS}")
    if as_json:
        print_json({**found, "decisions": past["items"]})
        return
    show(*drawn(found, past["items"]))


def drawn(found: dict[str, Any], past: list[dict[str, Any]]) -> list[RenderableType]:
    """The parts of the answer."""
    parts: list[RenderableType] = [facts(_facts(found))]
    if found["conditions"]:
        parts += [_title("what is wrong"), *map(_condition, found["conditions"])]
    if found.get("tightened"):
        parts += [_title("what exhausted error budgets hold it to"), *map(_tightened, found["tightened"])]
    if found["decision"]:
        parts += [_title("the numbers"), facts(_numbers(found["decision"]["inputs"]))]
    if past:
        parts += [_title("what was decided"), _decisions(past)]
    return parts


def _facts(found: dict[str, Any]) -> list[tuple[str, Any]]:
    scale, decision = found["scale"], found["decision"]
    replicas = f"{found['desired']} wanted, {found['ready']} ready"
    for name in ("starting", "draining"):
        replicas += f", {found[name]} {name}" if found[name] else ""
    advice = "" if found["launch"] != "external" else " (advice: others start its agents)"
    return [
        ("pool", Text(cells.clean(found["pool"]), style="bold")),
        ("launch", found["launch"]),
        ("replicas", replicas),
        ("policy", f"{scale['policy']}, {scale['min']} to {scale['max']} replicas{advice}"),
        ("cold start", None if found["cold_start_s"] is None else span(found["cold_start_s"])),
        ("why", "nothing was judged yet" if decision is None else decision["reason"]),
        ("judged", None if decision is None else relative(decision["at"], now())),
    ]


def _numbers(inputs: dict[str, Any]) -> list[tuple[str, Any]]:
    service = inputs.get("service_s")
    known = [
        ("arrivals", f"{_number(inputs.get('arrivals_per_s', 0.0))} a second"),
        ("time of an attempt", "not known yet" if service is None else _service(service, inputs)),
        ("slots", f"{inputs.get('slots')} a replica"),
        ("queued", f"{inputs.get('queued', 0)}, the oldest for {span(inputs.get('oldest_s', 0.0))}"),
        ("running", inputs.get("running")),
        ("resuming", inputs.get("resuming") or None),
        ("forecast", None if inputs.get("forecast_per_s") is None else f"{_number(inputs['forecast_per_s'])} a second"),
        ("quota", inputs.get("quota")),
    ]
    workings = inputs.get("workings", {})
    return [*known, *((name.replace("_", " "), _number(value)) for name, value in workings.items())]


def _service(mean_s: float, inputs: dict[str, Any]) -> str:
    p90 = inputs.get("service_p90_s")
    spread = f"CV {_number(inputs.get('service_cv', 1.0))}" + ("" if p90 is None else f", p90 {span(p90)}")
    return f"{span(mean_s)} on average ({spread})"


def _number(value: Any) -> str:
    return cells.clean(str(value)) if not isinstance(value, int | float) else f"{value:.4g}"


def _condition(condition: dict[str, Any]) -> Text:
    shown = Text.assemble(("● ", "red"), (cells.clean(condition["code"]), "bold red"), "  ")
    shown.append(cells.one_line(condition["message"]))
    shown.append(f"  since {relative(condition['since'], now())}", style="cyan")
    return shown


def _tightened(item: dict[str, Any]) -> Text:
    shown = Text.assemble(("● ", "yellow"), (cells.clean(item["what"]), "bold yellow"), "  ")
    shown.append(cells.one_line(f"by the objective {item['slo']}"))
    shown.append(f"  since {relative(item['since'], now())}", style="cyan")
    return shown


def _decisions(past: list[dict[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True, justify="right", style="dim")
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="cyan")
    table.add_column(overflow="fold")
    for item in past:
        change = "stays" if item["before"] == item["desired"] else f"{item['before']} → {item['desired']}"
        reason = cells.one_line(item["reason"])
        table.add_row(relative(item["at"], now()), change, cells.clean(item["code"]), Text(reason))
    return table


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold underline")
