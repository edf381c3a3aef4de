"""`yard costs`: what work cost, by what, and what would cost less."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from app.cli import cells
from app.cli.bars import bar, sparkline
from app.cli.client import Api
from app.cli.durations import relative
from app.cli.failures import Failure, Misuse
from app.cli.listing import Column, listing
from app.cli.output import Json, facts, now, print_json, show
from app.cli.session import session_of
from app.cli.simulating import check_writable, write_picture

BAR_WIDTH = 24
MAX_GROUPS = 20
SPARK_DAYS = 30
CENT = Decimal("0.01")


def costs(
    ctx: typer.Context,
    by: Annotated[str, typer.Option(metavar="GROUP", help="model, pool, type, day, tenant, outcome or label:KEY.")] = (
        "model"
    ),
    days: Annotated[int, typer.Option(min=1, max=366, help="UTC days, today included.")] = 30,
    tenant: Annotated[str | None, typer.Option(help="One tenant's, for admins. Default: what the key may see.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the groups as CSV.")] = False,
    chart: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a figure: cost by day and model.")] = None,
    as_json: Json = False,
) -> None:
    """Show what work cost, and what would cost less."""
    if "," in by:
        raise Misuse("--by takes one group; the API groups by several")
    if as_csv and as_json:
        raise Misuse("give --csv or --json, not both")
    check_writable(chart)
    api = session_of(ctx).api
    whose = {"tenant": tenant} if tenant else {}
    begin = now().date() - timedelta(days=days - 1)
    period: dict[str, str | int] = {**whose, "from": f"{begin}T00:00:00Z"}
    if as_csv:
        typer.echo(api.text("/v1/costs", {**period, "group_by": by}, "text/csv"), nl=False)
    else:
        report = _report(api, {**period, "group_by": by})
        analysis = api.get("/v1/costs/analysis", {**whose, "days": max(days, 2)})
        if as_json:
            print_json({"report": report, "analysis": analysis})
        else:
            show(*_shown(report, analysis, by, begin, days))
    if chart is not None:
        _draw(api, chart, period, {**whose, "days": days}, begin)


def _report(api: Api, params: dict[str, str | int]) -> dict[str, Any]:
    """The whole report: the items of all pages."""
    first: dict[str, Any] = api.get("/v1/costs", {**params, "page_size": 1000})
    token, items = first["next_page_token"], list(first["items"])
    while token is not None:
        page = api.get("/v1/costs", {**params, "page_size": 1000, "page_token": token})
        items, token = items + page["items"], page["next_page_token"]
    return {**first, "items": items, "next_page_token": None}


def usd(text: str, places: int | None = None) -> str:
    """An amount for people: cents from one dollar on, four digits that count below; or so many places."""
    amount = Decimal(text)
    if places is None:
        places = places_for([text])
    if not amount:
        return "0"
    shown = amount.quantize(Decimal(1).scaleb(-places))
    return f"{shown:,f}" if shown else f"<{Decimal(1).scaleb(-places):f}"


def places_for(texts: Iterable[str]) -> int:
    """So many places show the largest of these amounts well, and let a column of them line up."""
    most = max((abs(Decimal(text)) for text in texts), default=Decimal(0))
    return 2 if most >= 1 or not most else min(10, 3 - most.adjusted())


def _shown(report: dict[str, Any], analysis: dict[str, Any], by: str, begin: date, days: int) -> list[RenderableType]:
    if report["as_of"] is None:
        return [Text("No usage is rolled up yet.")]
    period = f"the last {days} days, since {begin}" if days > 1 else f"today, {begin}"
    parts: list[RenderableType] = [
        Text.assemble(
            ("Costs of ", "bold"), (period, "bold"), (f"  rolled up {relative(report['as_of'], now())}", "dim")
        ),
        Text(""),
        facts(_facts(report, analysis)),
    ]
    if report["items"]:
        parts += [Text(""), _groups(report, by)]
    found = analysis["suggestions"]
    if found:
        parts += [Text(""), Text("What would cost less", style="bold"), *map(_suggestion, found)]
    if analysis["missing"]:
        parts.append(Text(""))
        parts += [Text(f"not enough data: {_words(what)}: {why}", style="dim") for what, why in _missing(analysis)]
    return parts


def _facts(report: dict[str, Any], analysis: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    total, synthetic = report["totals"], report["synthetic"]
    cost, waste = Decimal(total["cost_usd"]), Decimal(total["waste_usd"])
    mean = analysis["daily_average_usd"]
    yield "cost", f"{usd(total['cost_usd'])} USD" + (f", {usd(mean)} on a full day" if mean else "")
    each, counted = total["cost_per_success_usd"], f"{total['succeeded']:,} of {total['attempts']:,} attempts succeeded"
    least = "at least " if total["unpriced"] else ""
    yield "a success", f"{least}{usd(each)} USD ({counted})" if each else counted
    yield "waste", f"{usd(total['waste_usd'])} USD" + (f", {100 * waste / cost:.1f} % of the cost" if cost else "")
    if synthetic["attempts"]:
        yield "synthetic", f"{usd(synthetic['cost_usd'])} USD, not in the above"
    if total["unpriced"]:
        yield (
            "unpriced",
            Text(f"{total['unpriced']:,} rows, {total['unpriced_tokens']:,} tokens have no price", style="yellow"),
        )
    line, month = analysis["trend"], analysis["projection"]
    if line:
        slope = Decimal(line["slope_usd_per_day"])
        yield (
            "trend",
            f"{'+' if slope >= 0 else ''}{usd(str(slope))} USD a day: the line of the last {line['days']} full days",
        )
    if month:
        yield "this month", f"{usd(month['spent_usd'])} USD so far, {usd(month['total_usd'])} at this trend by its end"
    spent = analysis["days"][-SPARK_DAYS:]
    most = max(spent, key=lambda day: Decimal(day["cost_usd"]))
    if Decimal(most["cost_usd"]):
        line_of = sparkline([Decimal(day["cost_usd"]) for day in spent])
        yield f"{len(spent)} days", f"{line_of}  most {usd(most['cost_usd'])} USD on {most['day']}"
    yield from _unusual(analysis)
    for budget in analysis["budgets"]:
        if budget["share"] and Decimal(budget["share"]) >= CENT:
            yield f"budget {budget['name']}", _budget(budget)


def _unusual(analysis: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    days, band = analysis["anomalies"], analysis["band"]
    if days:
        listed = ", ".join(f"{day['day']} {usd(day['cost_usd'])}" for day in days[:3])
        more = f" and {len(days) - 3} more" if len(days) > 3 else ""
        yield "unusual", f"{listed}{more} (usual: {usd(band['low_usd'])} to {usd(band['high_usd'])} USD)"


def _budget(budget: dict[str, Any]) -> Text:
    share = Decimal(budget["share"])
    text = f"{100 * share:.0f} % of {usd(budget['limit'])} {budget['unit']} spent"
    if budget["runs_out_at"] and share < 1:
        text += f", gone {relative(budget['runs_out_at'], now())}"
    return Text(text, style="red" if share >= 1 else "yellow" if share > Decimal("0.8") else "")


def _groups(report: dict[str, Any], by: str) -> RenderableType:
    items = report["items"]
    if by != "day":
        items = sorted(items, key=lambda item: -Decimal(item["cost_usd"]))
    shown, rest = (items, []) if by == "day" else (items[:MAX_GROUPS], items[MAX_GROUPS:])
    columns = [Column(by), Column("", whole=True, spare=True), Column("USD", whole=True, right=True)]
    columns += [Column(title, whole=True, right=True, spare=True) for title in ("share", "a success", "attempts")]
    columns += [Column(title, whole=True, right=True, spare=True) for title in ("waste", "unpriced")]
    table = listing(columns, _rows(shown, by, Decimal(report["totals"]["cost_usd"])))
    if not rest:
        return table
    others = usd(str(sum((Decimal(item["cost_usd"]) for item in rest), Decimal(0))))
    return Group(table, Text(f"… {len(rest)} more, {others} USD together (use --json or --csv)", style="dim"))


def _rows(items: Sequence[dict[str, Any]], by: str, total: Decimal) -> Iterator[Sequence[str | Text]]:
    most = max(Decimal(item["cost_usd"]) for item in items)
    places = places_for(item["cost_usd"] for item in items)
    each_places = places_for(item["cost_per_success_usd"] or "0" for item in items)
    for item in items:
        cost, each, waste = Decimal(item["cost_usd"]), item["cost_per_success_usd"], item["waste_usd"]
        unknown = item["unpriced"] and not cost
        yield [
            item[by] if item[by] else Text("none", style="dim"),
            Text(bar(cost, most, BAR_WIDTH).ljust(BAR_WIDTH), style="cyan"),
            Text("no price", style="yellow") if unknown else usd(item["cost_usd"], places),
            f"{100 * cost / total:.1f} %" if total and not unknown else "",
            usd(each, each_places) if each else cells.NOTHING,
            f"{item['attempts']:,}",
            usd(waste, places) if Decimal(waste) else "",
            f"{item['unpriced']:,}" if item["unpriced"] else "",
        ]


def _suggestion(one: dict[str, Any]) -> Text:
    saved = f"  saves {usd(one['savings_usd'])} USD" if one["savings_usd"] else ""
    return Text.assemble(("• ", "dim"), cells.clean(one["message"]), (saved, "bold green"))


def _missing(analysis: dict[str, Any]) -> list[tuple[str, str]]:
    """What is missing, by its reason."""
    by_reason: dict[str, list[str]] = {}
    for what, why in analysis["missing"].items():
        by_reason.setdefault(why, []).append(what)
    return [(", ".join(what), why) for why, what in by_reason.items()]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _draw(api: Api, target: Path, period: dict[str, str | int], asked: dict[str, Any], begin: date) -> None:
    from app.costs.figure import png  # matplotlib takes a second to import

    spent: dict[tuple[date, str], Decimal] = {}
    for item in _report(api, {**period, "group_by": "day,model"})["items"]:
        spent[date.fromisoformat(item["day"]), item["model"]] = Decimal(item["cost_usd"])
    if not any(spent.values()):
        raise Failure("nothing was spent: there is nothing to draw")
    analysis = api.get("/v1/costs/analysis", asked)
    line = {date.fromisoformat(day["day"]): Decimal(day["trend_usd"]) for day in analysis["days"] if day["trend_usd"]}
    total = sum(spent.values(), Decimal(0))
    title = f"Cost by day and model since {begin}: {usd(str(total))} USD"
    write_picture(target, png(spent, line, [begin + timedelta(days=n) for n in range(asked["days"])], title))
