"""`yard models`: how good, fast and dear models are, and which to take."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.text import Text

from app.cli import cells
from app.cli.client import encoded
from app.cli.listing import Column, listing
from app.cli.output import Json, print_json, show
from app.cli.prices import Model, usd
from app.cli.session import session_of

models_app = typer.Typer(help="Rate models, and ask which to take.", no_args_is_help=True)


@models_app.command("list")
def list_models(ctx: typer.Context, as_json: Json = False) -> None:
    """List the rated models, with what was observed of them."""
    page = session_of(ctx).api.page("/v1/models")
    if as_json:
        print_json(page)
        return
    titles = ("quality", "said", "of", "speed", "said", "of", "efficiency")
    columns = [Column("model", whole=True), *(Column(title, right=True) for title in titles)]
    show(listing(columns, map(_rating, page["items"])))


def _rating(model: dict[str, Any]) -> list[str | Text]:
    scores: list[str | Text] = []
    for name in ("quality", "speed"):
        scores += [
            f"{model[name]:.3f}",
            Text(f"{model['said'][name]:.3f}", style="dim"),
            cells.number(model["observations"][name]),
        ]
    return [model["model"], *scores, cells.number(model["efficiency"])]


@models_app.command()
def recommend(
    ctx: typer.Context,
    input_type: Annotated[str, typer.Argument(metavar="TYPE", help="What kind of task, e.g. code_generation.")],
    complexity: Annotated[float, typer.Option(min=0.0, max=1.0, help="From 0 to 1.")] = 0.5,
    quality: Annotated[float, typer.Option(min=0.0, max=1.0, help="Priority of quality.")] = 0.5,
    speed: Annotated[float, typer.Option(min=0.0, max=1.0, help="Priority of speed; the rest is cost's.")] = 0.2,
    budget: Annotated[str | None, typer.Option(metavar="USD", help="At most, for this one task.")] = None,
    candidate: Annotated[list[str] | None, typer.Option(help="This model. Once for each; default: all rated.")] = None,
    as_json: Json = False,
) -> None:
    """Recommend a model for a task."""
    body = {
        "input_type": input_type,
        "complexity": complexity,
        "quality_priority": quality,
        "speed_priority": speed,
        "budget_limit_usd": budget,
        "candidates": candidate or None,
    }
    advice = session_of(ctx).api.send("POST", "/v1/models/recommend", encoded(body))
    if as_json:
        print_json(advice)
        return
    titles = ("score", "quality", "speed", "tokens in", "out", "USD", "observed")
    columns = [Column("model", whole=True), *(Column(title, right=True) for title in titles)]
    reasons = [Text(f"· {cells.clean(line)}") for line in advice["reasoning"]]
    best = advice["recommended"]
    show(
        Text.assemble("take ", (cells.clean(best), "bold green")),
        Text(""),
        listing(columns, [_option(option, best) for option in advice["alternatives"]]),
        Text(""),
        *reasons,
    )


def _option(option: dict[str, Any], best: str) -> list[str | Text]:
    seen = option["observations"]
    return [
        Text(cells.clean(option["model"]), style="bold" if option["model"] == best else ""),
        f"{option['score']:.4f}",
        f"{option['quality']:.3f}",
        f"{option['speed']:.3f}",
        f"{option['input_tokens']:,}",
        f"{option['output_tokens']:,}",
        usd(Decimal(option["cost_usd"])),
        f"{max(seen['quality'], seen['speed']):,}",
    ]


@models_app.command("rate")
def rate_model(
    ctx: typer.Context,
    model: Model,
    quality: Annotated[float, typer.Option(min=0.0, max=1.0, help="From 0 to 1.")],
    speed: Annotated[float, typer.Option(min=0.0, max=1.0, help="From 0 to 1.")],
    efficiency: Annotated[float, typer.Option(help="Tokens that it needs, as a multiple of the estimate.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Say how good and fast a model is."""
    body = {"quality": quality, "speed": speed, "efficiency": efficiency}
    made = session_of(ctx).api.send("PUT", f"/v1/models/{quote(model, safe='')}", encoded(body))
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{cells.clean(made['model'])} is rated: quality {made['quality']:g}, speed {made['speed']:g}")
