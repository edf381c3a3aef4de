"""`yard prices`: what models cost."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.text import Text

from app.cli import cells
from app.cli.client import encoded
from app.cli.durations import moment, relative
from app.cli.failures import Misuse
from app.cli.listing import Column, listing
from app.cli.output import Json, facts, now, print_json, show
from app.cli.session import session_of

MILLION = 1_000_000
_FIRST = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")

Model = Annotated[str, typer.Argument(metavar="MODEL", help="As agents name it, e.g. openai/gpt-4o.")]
At = Annotated[str | None, typer.Option("--at", metavar="TIME", help="At this moment (ISO 8601). Default: now.")]

prices_app = typer.Typer(help="What models cost: read, set and end prices.", no_args_is_help=True)


@prices_app.command("list")
def list_prices(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Option(help="Of this model.")] = None,
    as_json: Json = False,
) -> None:
    """List your own prices, the ended ones too."""
    page = session_of(ctx).api.page("/v1/prices", {"model": model} if model else None)
    if as_json:
        print_json(page)
        return
    columns = [
        Column("model"),
        Column("from", whole=True),
        *(Column(title, right=True) for title in ("in / M", "out / M")),
        Column("more"),
        Column("note", spare=True),
        Column("set", whole=True, spare=True),
    ]
    show(listing(columns, map(_row, page["items"])))


def _row(price: dict[str, Any]) -> list[str | Text]:
    listed = price["unit_prices"]
    since = price["effective_from"].replace("T", " ").partition(".")[0].removesuffix("Z")
    said = relative(price["created_at"], now())
    if listed is None:
        return [price["model"], since, "", "", Text("ended", style="dim"), price["note"], said]
    more = ", ".join(f"{name} {_price(name, listed[name])}" for name in _ordered(listed) if name not in _FIRST[:2])
    return [price["model"], since, *(_million(listed, name) for name in _FIRST[:2]), more, price["note"], said]


@prices_app.command("get")
def get_price(ctx: typer.Context, model: Model, at: At = None, as_json: Json = False) -> None:
    """Show the price of a model, and where it is from."""
    query = {"at": _time(at)} if at else None
    found = session_of(ctx).api.get(_path(model), query)
    if as_json:
        print_json(found)
        return
    source = found["version"] + (f" ({found['listed_as']})" if found["listed_as"] else "")
    pairs = [("model", found["model"]), ("source", source), ("since", found["effective_from"]), ("note", found["note"])]
    titles = ["base", *(f"above {tier['above_input_tokens']:,} in" for tier in found["tiers"])]
    lists = [found["unit_prices"], *(tier["unit_prices"] for tier in found["tiers"])]
    columns = [Column("USD"), *(Column(title, right=True) for title in titles)]
    rows = [[name, *(_price(name, prices[name]) for prices in lists)] for name in _ordered(lists[0])]
    show(facts(pairs), Text(""), listing(columns, rows))


@prices_app.command("set")
def set_price(
    ctx: typer.Context,
    model: Model,
    prices: Annotated[
        list[str],
        typer.Argument(metavar="NAME=USD…", help="Of each unit, e.g. requests=0.01, or 2.5/M for a million of them."),
    ],
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="In force from then on. Default: now.")
    ] = None,
    note: Annotated[str, typer.Option(help="For people.")] = "",
    as_json: Json = False,
) -> None:
    """Set a model's price: yard prices set house/llama input_tokens=0.2/M output_tokens=0.6/M"""
    body: dict[str, Any] = {"unit_prices": dict(map(_read, prices)), "note": note}
    if since:
        body["effective_from"] = _time(since)
    made = session_of(ctx).api.send("PUT", _path(model), encoded(body))
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{cells.clean(made['model'])} is priced from {made['effective_from']} on")


@prices_app.command("end")
def end_price(ctx: typer.Context, model: Model, at: At = None, as_json: Json = False) -> None:
    """End your price of a model: the built-in one counts again."""
    query = f"?at={quote(_time(at), safe='')}" if at else ""
    ended = session_of(ctx).api.send("DELETE", _path(model) + query)
    if as_json:
        print_json(ended)
    else:
        typer.echo(f"the price of {cells.clean(ended['model'])} ends at {ended['effective_from']}")


def _read(text: str) -> tuple[str, str]:
    """`input_tokens=2.5/M`: the name, and USD a unit."""
    name, equals, number = text.partition("=")
    millions = number.upper().endswith("/M")
    try:
        price = Decimal(number[:-2] if millions else number)
    except InvalidOperation:
        price = Decimal("NaN")
    if not (name and equals and price.is_finite()):
        raise Misuse(f"{text!r} is not like input_tokens=2.5/M or requests=0.01")
    return name, format(price.scaleb(-6) if millions else price, "f")


def _time(text: str) -> str:
    try:
        return moment(text, now()).isoformat()
    except (ValueError, OverflowError):
        raise Misuse(f"{text!r} is not a time like 2026-11-20T20:25:00Z") from None


def _ordered(prices: Mapping[str, str]) -> list[str]:
    return [name for name in _FIRST if name in prices] + [name for name in prices if name not in _FIRST]


def _million(prices: Mapping[str, str], name: str) -> str:
    return usd(Decimal(prices[name]) * MILLION) if name in prices else ""


def _price(name: str, price: str) -> str:
    return f"{usd(Decimal(price) * MILLION)} / M" if name.endswith("_tokens") else usd(Decimal(price))


def usd(value: Decimal) -> str:
    """Dollars with at least two places, and no zeros after those."""
    text = format(value, "f")
    whole, _, places = text.partition(".")
    return f"{whole}.{places.rstrip('0').ljust(2, '0')}"


def _path(model: str) -> str:
    return f"/v1/prices/{quote(model, safe='')}"
