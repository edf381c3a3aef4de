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

    # With a callback a group stays a group; its options for shell completion belong to the root alone.
    around = typer.Typer(add_completion=False)
    around.add_typer(db_app, name="db")
    group: Any = get_command(around)
    return group.commands["db"]


LOADERS = {"serve": _serve, "db": _db}

HELP = {
    "serve": "Start the service.",
    "db": "The schema, and the first key of a database of your own.",
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
