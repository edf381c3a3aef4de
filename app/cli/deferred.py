"""Commands of the service itself, loaded when they are run.

They import the whole service, which takes over a second; `yard tasks`, `--help` and completion need none of it.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.main import get_command


def _serve() -> Any:
    from app.cli.serve import serve

    alone = typer.Typer(add_completion=False)
    alone.command()(serve)
    return get_command(alone)


def _db() -> Any:
    from app.cli.db import db_app

    return _group(db_app, "db")


def _simulate() -> Any:
    from app.cli.simulate import simulate_app

    return _group(simulate_app, "simulate")


def _group(inner: typer.Typer, name: str) -> Any:
    # Inside another a group stays a group; its options for shell completion belong to the root alone.
    around = typer.Typer(add_completion=False, rich_markup_mode="rich")
    around.add_typer(inner, name=name)
    group: Any = get_command(around)
    return group.commands[name]


LOADERS = {"serve": _serve, "db": _db, "simulate": _simulate}

HELP = {
    "serve": "Start the service.",
    "db": "The schema, and the first key of a database of your own.",
    "simulate": "Try a decision before production.",
}
"""Their lines in `yard --help`, equal to what the commands themselves say (a test compares them)."""


def announce(app: typer.Typer, name: str, panel: str) -> None:
    """List the command in the help of `app`, whose group resolves it with `load`."""
    app.command(name, help=HELP[name], rich_help_panel=panel)(_announced)


def _announced() -> None:
    raise AssertionError("the group runs what `load` gives instead")


def load(name: str) -> Any:
    """The command itself, None for one that is not deferred."""
    loader = LOADERS.get(name)
    return loader() if loader else None
