"""`yard slo` and `yard feedback`: what was promised, how it stands, and what people say of results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer
from rich.console import RenderableType
from rich.text import Text

from app.cli import cells, durations
from app.cli.budgets import bar
from app.cli.client import encoded
from app.cli.durations import relative
from app.cli.failures import Failure, Misuse
from app.cli.listing import Column, listing
from app.cli.output import Json, facts, now, print_json, show
from app.cli.session import session_of

PATH = "/v1/slos"
MAX_BYTES = 1_048_576
STYLES = {
    "healthy": "green",
    "exhausted": "red",
    "no_data": "dim",
    "insufficient_evidence": "yellow",
    "burning": "red",
    "quiet": "green",
    "created": "green",
    "updated": "green",
    "unchanged": "dim",
    "refused": "red",
}

Name = Annotated[str, typer.Argument(metavar="NAME", help="The objective's name.")]

slo_app = typer.Typer(help="Say what is promised, and see how it stands.", no_args_is_help=True)


@slo_app.command()
def apply(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="OpenSLO v1 documents, YAML or JSON; - reads stdin.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would become of each.")] = False,
    as_json: Json = False,
) -> None:
    """Set the objectives of a file, each as a whole. Ends with 1 where one of them is refused."""
    path = f"{PATH}/openslo" + ("?dry_run=true" if dry_run else "")
    done = session_of(ctx).api.send("POST", path, _content(file), {"Content-Type": "application/yaml"})
    if as_json:
        print_json(done)
    else:
        rows = [[item["name"], _styled(item["outcome"]), _why(item)] for item in done["items"]]
        show(listing([Column("name", whole=True), Column("outcome", whole=True), Column("why")], rows))
        if dry_run:
            typer.echo("nothing was changed: --dry-run")
    refused = sum(item["outcome"] == "refused" for item in done["items"])
    if refused:
        raise Failure(f"{refused} of {len(done['items'])} objectives were refused")


def _content(file: Path) -> bytes:
    try:
        if str(file) == "-":
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with file.open("rb") as opened:
                content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise Misuse(f"cannot read {file}: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise Misuse(f"{file} is larger than {MAX_BYTES} bytes")
    return content


def _why(item: dict[str, Any]) -> str:
    return f"{item['detail']} ({item['code']})" if item["code"] else ""


@slo_app.command("list")
def list_slos(ctx: typer.Context, as_json: Json = False) -> None:
    """List the objectives, each with what is left of its error budget."""
    page = session_of(ctx).api.page(PATH)
    if as_json:
        print_json(page)
        return
    columns = [
        Column("name", whole=True),
        Column("state", whole=True),
        Column("spent", whole=True),
        Column("target", right=True),
        Column("attained", right=True),
        Column("burn", right=True),
        Column("kind", spare=True),
        Column("window", spare=True),
        Column("of", spare=True),
    ]
    show(listing(columns, map(_row, page["items"])))


def _row(slo: dict[str, Any]) -> list[str | Text]:
    standing = slo["standing"]
    spent = bar(standing["spent"] * 100) if standing["state"] in ("healthy", "exhausted") else Text("")
    state = _styled(standing["state"])
    attained, burn = _percent(standing["attained"]), _times(standing["burn_rate"])
    return [slo["name"], state, spent, _percent(slo["target"]), attained, burn, slo["kind"], _window(slo), _of(slo)]


@slo_app.command("show")
def show_slo(
    ctx: typer.Context,
    name: Name,
    openslo: Annotated[bool, typer.Option("--openslo", help="As an OpenSLO document.")] = False,
    as_json: Json = False,
) -> None:
    """Show an objective: its error budget, how fast it burns, and what it tightens."""
    api = session_of(ctx).api
    if openslo:
        typer.echo(api.text(f"{_path(name)}/openslo", {}, "application/yaml"), nl=False)
        return
    found = api.get(_path(name))
    if as_json:
        print_json(found)
    else:
        show(*_drawn(found))


def _drawn(found: dict[str, Any]) -> list[RenderableType]:
    columns = [
        Column("burn rule", whole=True),
        Column("state", whole=True),
        Column("long", right=True),
        Column("short", right=True),
        Column("above", right=True),
        Column("then"),
        Column("changed", spare=True),
    ]
    parts: list[RenderableType] = [facts(_facts(found))]
    if found["burn_rules"]:
        parts += [Text(""), listing(columns, map(_rule, found["burn_rules"]))]
    return parts


def _facts(found: dict[str, Any]) -> list[tuple[str, Any]]:
    standing, counted = found["standing"], found["standing"]["counted"]
    judged = standing["state"] in ("healthy", "exhausted")
    left = standing["exhausted_in_s"]
    return [
        ("objective", Text(cells.clean(found["name"]), style="bold")),
        ("about", found["description"]),
        ("promises", f"{_percent(found['target'])} {_promise(found)}, {_window(found)}"),
        ("of", _of(found)),
        ("state", _styled(standing["state"])),
        ("budget", bar(standing["spent"] * 100) if judged else None),
        ("attained", _percent(standing["attained"])),
        ("burn rate", _times(standing["burn_rate"])),
        ("gone", f"in {durations.span(left)}" if left else standing["exhausted_why"]),
        ("events", ", ".join(f"{number} {name}" for name, number in found["named"].items())),
        ("counted", _counted(counted)),
        ("when exhausted", ", ".join(found["on_exhausted"])),
        ("tightens", "; ".join(_held_to(item) for item in found["tightened"])),
    ]


def _promise(found: dict[str, Any]) -> str:
    if found["kind"] == "latency":
        wait = "" if found["queue_wait"] else " of work"
        return f"within {durations.span(found['threshold_s'])}{wait}"
    if found["kind"] == "accuracy":
        return f"right by {found['evaluator']} {found['version']}"
    return "succeed"


def _counted(counted: dict[str, Any]) -> str:
    if counted["until"] is None:
        return "not yet"
    text = f"up to {relative(counted['until'], now())}"
    return text if counted["complete"] else f"{text}; the past is still being counted"


def _held_to(item: dict[str, Any]) -> str:
    return f"{item['what']} for the pool {item['pool']}, since {relative(item['since'], now())}"


def _rule(rule: dict[str, Any]) -> list[str | Text]:
    windows = f"{durations.span(rule['long_s'])} / {durations.span(rule['short_s'])}"
    return [
        f"{rule['name']} ({windows})",
        _styled(rule["state"]),
        _times(rule["long_burn"]),
        _times(rule["short_burn"]),
        _times(rule["factor"]),
        "page" if rule["severity"] == "critical" else "warn",
        rule["replanned"].replace("_", " "),
    ]


@slo_app.command()
def delete(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Delete an objective with its counts. What it tightened is lifted."""
    was = session_of(ctx).api.send("DELETE", _path(name))
    if as_json:
        print_json(was)
    else:
        typer.echo(f"the objective {cells.clean(was['name'])} is deleted")


def feedback(
    ctx: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task that has ended.")],
    verdict: Annotated[
        str | None, typer.Argument(metavar="[good|bad|…]", help="A label; good and bad are verdicts by themselves.")
    ] = None,
    score: Annotated[float | None, typer.Option(min=0, max=1, help="How good it is, from 0 to 1.")] = None,
    comment: Annotated[str, typer.Option(help="For people.")] = "",
    source: Annotated[Literal["human", "judge"], typer.Option(help="Who speaks. A person outranks a judge.")] = "human",
    evaluator: Annotated[str | None, typer.Option(help="The judge's name.")] = None,
    version: Annotated[str | None, typer.Option(help="The judge's version: another one is another series.")] = None,
    as_json: Json = False,
) -> None:
    """Say how good a task's result is; without a word about it, list what was said."""
    api, path = session_of(ctx).api, f"/v1/tasks/{quote(task, safe='')}/feedback"
    if verdict is None and score is None and not comment:
        _list_feedback(api.page(path), as_json=as_json)
        return
    body = {"source": source, "label": verdict, "score": score, "comment": comment}
    body |= {name: value for name, value in (("evaluator", evaluator), ("version", version)) if value is not None}
    made = api.send("POST", path, encoded(body))
    if as_json:
        print_json(made)
    else:
        typer.echo(f"noted: {cells.clean(_said(made))} by {cells.clean(made['evaluator'])}")


def _list_feedback(page: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(page)
        return
    columns = [
        Column("when", whole=True),
        Column("said"),
        Column("by"),
        Column("version"),
        Column("source", spare=True),
        Column("comment", spare=True),
    ]
    rows = [
        [relative(item["at"], now()), _said(item), item["evaluator"], item["version"], item["source"], item["comment"]]
        for item in page["items"]
    ]
    show(listing(columns, rows))


def _said(item: dict[str, Any]) -> str:
    parts = [item["label"] or "", "" if item["score"] is None else f"{item['score']:g}"]
    return " ".join(filter(None, parts)) or "a comment"


def _window(slo: dict[str, Any]) -> str:
    window = slo["window"]
    if window["kind"] == "rolling":
        return f"last {durations.span(window['seconds'])}"
    return window["kind"] if window["zone"] == "UTC" else f"{window['kind']} {window['zone']}"


def _of(slo: dict[str, Any]) -> str:
    scope, label = slo["scope"], slo["scope"]["label"]
    parts = [f"{word} {scope[word]}" for word in ("tenant", "pool") if scope[word]]
    parts += [f"{label['key']}={label['value']}"] if label else []
    return ", ".join(parts) or "all tasks"


def _styled(state: str) -> Text:
    return Text(cells.clean(state.replace("_", " ")), style=STYLES.get(state, ""))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share * 100:.7g} %"


def _times(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.3g}×"


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"
