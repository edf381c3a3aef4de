"""`yard submit`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from app.cli import durations, payload, pools, waiting
from app.cli.client import Api, encoded
from app.cli.failures import Misuse
from app.cli.keys import duration
from app.cli.output import Json, note, now, print_json
from app.cli.session import session_of
from app.cli.watching import quiet_or_line


class Submit(TyperCommand):
    """Lets `--wait` stand alone or with a value (`--wait=30`), which no option of the parser can do by itself."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [_with_value(arg) for arg in args[:end]] + args[end:])


def _with_value(arg: str) -> str:
    return f"--wait-at-most={arg.removeprefix('--wait=')}" if arg.startswith("--wait=") else arg


def submit(
    ctx: typer.Context,
    pool: pools.PoolName,
    given: Annotated[str, typer.Argument(metavar="@FILE|JSON", help="The payload: JSON, or @FILE with JSON or text.")],
    kind: Annotated[str | None, typer.Option("--type", help="The task's type; default: the pool's best skill.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result; --wait=N: at most N s.")] = False,
    wait_at_most: Annotated[str | None, typer.Option("--wait-at-most", hidden=True)] = None,
    priority: Annotated[int, typer.Option(min=-1000, max=1000, help="Higher goes first.")] = 0,
    deadline: Annotated[str | None, typer.Option(metavar="S", help="Expires if not started in S seconds.")] = None,
    run_at: Annotated[str | None, typer.Option(metavar="TIME", help="Not before 2026-11-20T20:25Z, or +10m.")] = None,
    complexity: Annotated[float | None, typer.Option(min=0, max=1, help="A hint for the balancer, 0 to 1.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Whose work it is; may be repeated.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="Idempotency key: sent twice, made once.")] = None,
    field: Annotated[str | None, typer.Option(help="Send the text as this property of the payload.")] = None,
    as_json: Json = False,
) -> None:
    """Submit a task; prints its id, or with --wait its result."""
    limit_s = None if wait_at_most is None else duration(wait_at_most)
    options = {
        "type": kind,
        "complexity": complexity,
        "priority": priority or None,
        "labels": _labels(label or []) or None,
    }
    due = {"deadline_s": duration(deadline) if deadline else None, "run_at": _moment(run_at) if run_at else None}
    text = payload.read(given, payload.MAX_BODY_BYTES)
    api = session_of(ctx).api
    task = {"pool": pool, "payload": _payload(api, pool, text, field)}
    task |= {name: value for name, value in (options | due).items() if value is not None}
    accepted = api.send("POST", "/v1/tasks", _body(task), _idempotency(key))
    if wait or limit_s is not None:
        _wait(api, accepted, limit_s, as_json)
    elif as_json:
        print_json(accepted)
    else:
        _accepted(accepted)


def _labels(given: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise Misuse(f"--label takes KEY=VALUE, as in team=search, not {text!r}")
        if key in labels:
            raise Misuse(f"--label {key} is given twice")
        labels[key] = value
    return labels


def _moment(text: str) -> str:
    try:
        return durations.moment(text, now()).isoformat()
    except ValueError as error:
        raise Misuse(str(error)) from None


def _payload(api: Api, pool: str, given: payload.Given, field: str | None) -> Any:
    """The payload; the pool is asked for its schema only when a text needs a property."""
    if field is not None:
        return {field: given.text}
    ready, value = payload.json_payload(given)
    if ready:
        return value
    return {payload.text_field(pool, api.get(pools.path(pool))["input_schema"]): given.text}


def _body(task: dict[str, Any]) -> bytes:
    body = encoded(task)
    if len(body) > payload.MAX_BODY_BYTES:
        has, most = payload.size(len(body)), payload.size(payload.MAX_BODY_BYTES)
        raise Misuse(f"the task has {has} as JSON, and the service takes at most {most}; send a part, or an address")
    return body


def _idempotency(key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    if not key or not key.isascii() or not key.isprintable():
        raise Misuse("--key takes 1 to 200 printable ASCII characters")
    return {"Idempotency-Key": key}


def _accepted(accepted: dict[str, Any]) -> None:
    typer.echo(accepted["id"])
    _notice(accepted)
    note(f"{accepted['status']} in {accepted['pool']}; follow it with: yard watch {accepted['id']}")


def _notice(accepted: dict[str, Any]) -> None:
    if accepted["notice"]:
        note(f"note: {accepted['notice']['message']}")


def _wait(api: Api, accepted: dict[str, Any], limit_s: float | None, as_json: bool) -> None:
    _notice(accepted)
    with quiet_or_line(accepted["id"]) as heard:
        task = waiting.wait(api, accepted["id"], heard, limit_s)
    if as_json:
        print_json(task)
    else:
        waiting.show_end(task)
    raise typer.Exit(waiting.exit_code(task))
