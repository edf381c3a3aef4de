"""`yard budgets`: what work may cost, and how much of it is used."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer
from rich.text import Text

from app.cli import cells, durations
from app.cli.client import encoded
from app.cli.costs import usd
from app.cli.durations import relative
from app.cli.failures import Misuse
from app.cli.listing import Column, listing
from app.cli.output import Json, facts, now, print_json, show
from app.cli.session import session_of

PATH = "/v1/budgets"
KINDS = ("hour", "day", "month", "total")
BAR_WIDTH = 12
LOUD = ((100.0, "red"), (80.0, "yellow"), (0.0, "green"))

Name = Annotated[str, typer.Argument(metavar="NAME", help="The budget's name.")]
At = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PERCENT:ACTION",
        help="80:notify, 80:throttle:10 (a minute), 90:downgrade:gpt-5=gpt-4o, 95:require_approval, 100:pause or "
        "100:stop; may be repeated. Default: 50, 80 and 90 notify, 100 pauses.",
    ),
]

budgets_app = typer.Typer(help="Set, list and delete budgets.", no_args_is_help=True)


@budgets_app.command("list")
def list_budgets(ctx: typer.Context, as_json: Json = False) -> None:
    """List the budgets, each with the fullest of its current windows."""
    page = session_of(ctx).api.page(PATH)
    if as_json:
        print_json(page)
        return
    columns = [
        Column("name", whole=True),
        Column("used", whole=True),
        Column("committed", right=True),
        Column("limit", right=True),
        Column("window"),
        Column("of"),
        Column("ends", whole=True, spare=True),
    ]
    show(listing(columns, map(_row, page["items"])))


def _row(budget: dict[str, Any]) -> list[str | Text]:
    account, unit = budget["account"], budget["unit"]
    used, amount, ends = Text(""), "", ""
    if account is not None:
        used, amount = bar(account["percent"]), _amount(_sum(account), unit)
        ends = relative(account["window_end"], now()) if account["window_end"] else ""
    return [budget["name"], used, amount, _amount(budget["limit"], unit), _window(budget["window"]), _of(budget), ends]


def bar(percent: float, width: int = BAR_WIDTH) -> Text:
    """A percentage as a bar and a number; over 100 the bar is full."""
    full = min(width, max(0, int(percent * width / 100)))
    style = next(style for least, style in LOUD if percent >= least)
    return Text.assemble(("█" * full, style), ("░" * (width - full), "dim"), (f"{percent:6.1f} %", style))


def _sum(account: dict[str, Any]) -> str:
    return format(float(account["spent"]) + float(account["reserved"]), "f")


def _amount(text: str, unit: str) -> str:
    if unit == "usd":
        return f"{usd(text) if float(text) else '0.00'} USD"
    return f"{float(text):,.0f} {unit}"


def _window(window: dict[str, Any]) -> str:
    if window["kind"] == "rolling":
        return f"last {durations.span(window['seconds'])}"
    zone = window["zone"]
    return window["kind"] if zone in (None, "UTC") else f"{window['kind']} {zone}"


def _of(budget: dict[str, Any]) -> str:
    scope, label = budget["scope"], budget["scope"]["label"]
    parts = [f"{word} {scope[word]}" for word in ("tenant", "pool", "model") if scope[word]]
    parts += [f"{label['key']}={label['value']}"] if label else []
    parts += [f"each {scope['per']}"] if scope["per"] else []
    return ", ".join(parts) or "everything"


@budgets_app.command("show")
def show_budget(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a budget and its current windows."""
    found = session_of(ctx).api.get(_path(name))
    if as_json:
        print_json(found)
        return
    known = [
        ("budget", Text(cells.clean(found["name"]), style="bold")),
        ("of", _of(found)),
        ("window", _window(found["window"])),
        ("limit", _amount(found["limit"], found["unit"])),
        ("thresholds", ", ".join(map(_threshold, found["thresholds"])) or "none: it only counts"),
        ("without money", "tasks wait" if found["on_exhausted"] == "wait" else "tasks fail"),
        ("cost control", found["control"]),
        ("in effect", relative(found["effective_since"], now())),
        ("made by", found["created_by"]),
    ]
    columns = [
        Column("key", whole=True),
        Column("used", whole=True),
        *(Column(title, right=True) for title in ("spent", "reserved", "remaining")),
        Column("ends", whole=True, spare=True),
    ]
    rows = [_account(item) for item in found["accounts"]]
    show(facts(known), *([Text(""), listing(columns, rows)] if rows else []))


def _threshold(item: dict[str, Any]) -> str:
    more = ""
    if item["per_minute"]:
        more = f" to {item['per_minute']:g} a minute"
    if item["models"]:
        more = " " + ", ".join(f"{model} → {other}" for model, other in item["models"].items())
    return f"{item['percent']} % {item['action']}{more}"


def _account(account: dict[str, Any]) -> list[str | Text]:
    amounts = [_amount(account[name], account["unit"]) for name in ("spent", "reserved", "remaining")]
    ends = relative(account["window_end"], now()) if account["window_end"] else ""
    return [account["key"], bar(account["percent"]), *amounts, ends]


@budgets_app.command("set")
def set_budget(
    ctx: typer.Context,
    name: Name,
    limit: Annotated[str, typer.Argument(metavar="LIMIT", help="How much, e.g. 100.00.")],
    unit: Annotated[Literal["usd", "tokens", "requests"], typer.Option(help="Of what.")] = "usd",
    window: Annotated[
        str, typer.Option(metavar="WINDOW", help="hour, day, month, total, or the last 24h, 7d, … (rolling).")
    ] = "day",
    timezone: Annotated[str | None, typer.Option(help="IANA time zone of an hour, day or month. Default: UTC.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant.")] = None,
    pool: Annotated[str | None, typer.Option(help="Of this pool.")] = None,
    model: Annotated[str | None, typer.Option(help="Of this model.")] = None,
    label: Annotated[str | None, typer.Option(metavar="KEY=VALUE", help="Of tasks with this label.")] = None,
    per: Annotated[Literal["thread", "root", "task"] | None, typer.Option(help="The limit is of each one.")] = None,
    at: At = None,
    on_exhausted: Annotated[Literal["wait", "fail"], typer.Option(help="What a task without money does.")] = "wait",
    as_json: Json = False,
) -> None:
    """Set a budget as a whole. What starts from now on keeps to it."""
    scope: dict[str, Any] = {"tenant": tenant, "pool": pool, "model": model, "per": per}
    if label is not None:
        key, value = _pair(label, "a label like team=search")
        scope["label"] = {"key": key, "value": value}
    body: dict[str, Any] = {
        "scope": scope,
        "window": _asked_window(window, timezone),
        "unit": unit,
        "limit": limit,
        "on_exhausted": on_exhausted,
    }
    if at:
        body["thresholds"] = [asked_threshold(text) for text in at]
    made = session_of(ctx).api.send("PUT", _path(name), encoded(body))
    if as_json:
        print_json(made)
    else:
        amount = _amount(made["limit"], made["unit"])
        typer.echo(f"{cells.clean(made['name'])}: {amount} of {cells.clean(_of(made))}, {_window(made['window'])}")


def _asked_window(text: str, timezone: str | None) -> dict[str, Any]:
    if text in KINDS:
        return {"kind": text, "zone": timezone}
    try:
        return {"kind": "rolling", "seconds": durations.seconds(text), "zone": timezone}
    except ValueError:
        raise Misuse(f"{text!r} is not a window: {', '.join(KINDS)}, or a length like 24h") from None


def asked_threshold(text: str) -> dict[str, Any]:
    """`80:notify`, `80:throttle:10` or `90:downgrade:a=b,c=d` as the API has it; raises Misuse."""
    percent, _, rest = text.partition(":")
    action, _, argument = rest.partition(":")
    if not percent.isdecimal() or not action:
        raise Misuse(f"{text!r} is not a threshold like 80:notify")
    found: dict[str, Any] = {"percent": int(percent), "action": action}
    if action == "throttle":
        try:
            found["per_minute"] = float(argument)
        except ValueError:
            raise Misuse(f"{text!r} does not say how many a minute: 80:throttle:10") from None
    elif action == "downgrade":
        pairs = [_pair(part, "models like gpt-5=gpt-4o") for part in argument.split(",")]
        found["models"] = dict(pairs)
    elif argument:
        raise Misuse(f"{action} takes nothing further, not {argument!r}")
    return found


def _pair(text: str, like: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise Misuse(f"{text!r} is not {like}")
    return key, value


@budgets_app.command()
def delete(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Delete a budget. What waits for its money may start."""
    was = session_of(ctx).api.send("DELETE", _path(name))
    if as_json:
        print_json(was)
    else:
        typer.echo(f"the budget {cells.clean(was['name'])} is deleted")


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"
