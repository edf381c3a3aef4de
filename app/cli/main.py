"""The command `yard`: global options, the list of commands, and how failures end."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from app.cli import deferred
from app.cli.agents import agent_app, agents
from app.cli.alerts import alert_rules_app, alerts
from app.cli.approvals import approvals_app
from app.cli.budgets import budgets_app
from app.cli.bulk import bulk_app
from app.cli.costs import costs
from app.cli.explain import explain
from app.cli.failures import Failure
from app.cli.keys import key_app
from app.cli.limits import limits_app
from app.cli.models import models_app
from app.cli.pools import pool_app, pools, scale
from app.cli.prices import prices_app
from app.cli.probes import probes_app
from app.cli.receivers import notifications, receivers_app
from app.cli.responses import actions_app, emergency_app
from app.cli.schedules import schedule_app
from app.cli.session import DEFAULT_DATA, DEFAULT_URL, Session
from app.cli.silences import silences_app
from app.cli.slo import feedback, slo_app
from app.cli.stops import stops_app
from app.cli.submit import Submit, submit
from app.cli.tasks import cancel, retry, task, tasks, watch
from app.cli.webhooks import webhook_app

EPILOG = """[bold]Examples[/]
  yard serve --embedded --examples                      [dim]# everything on this machine[/]
  yard submit log_analyzer @/var/log/dpkg.log --wait    [dim]# a file in, a result out[/]
  yard submit performance_tester --field snippet 'sum(range(100))' --wait
  yard submit security_scanner @app.py --wait --json | jq .result.counts
  yard watch 01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10       [dim]# follow a task[/]
  yard tasks --status failed                            [dim]# and then: yard retry ID[/]
  yard key create ci --scope tasks:write --expires 30d

[bold]Exit codes[/]  0 done · 1 the task failed or the service refused · 2 wrong command line
            3 no service or no key · 130 interrupted
"""


ORDER = [
    *("submit", "watch", "tasks", "task", "cancel", "retry", "feedback", "approvals"),
    *("schedules", "webhooks"),
    *("explain", "bulk"),
    *("pools", "pool", "scale", "agents", "agent", "stops", "limits"),
    *("alerts", "alert-rules", "receivers", "silences", "notifications"),
    *("emergency", "actions", "slo", "probes"),
    *("costs", "budgets", "prices", "models"),
    *("serve", "db", "simulate", "key"),
]


class Root(TyperGroup):
    """Ends a command that raised a Failure with its lines on stderr and its exit code; loads what is deferred."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, deferred.load(name or "") or command, rest

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=ORDER.index)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            sys.stdout.flush()
            typer.echo(failure.text(), err=True)
            raise typer.Exit(failure.exit_code) from None


app = typer.Typer(
    cls=Root,
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    # A traceback's variables would show keys and payloads.
    pretty_exceptions_show_locals=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"yard {version('yardmaster')}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(envvar="YARD_URL", help=f"The service. Default: what is in DATA/url, else {DEFAULT_URL}."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="YARD_API_KEY", help="The API key. Default, on the service's machine: DATA/admin.key."),
    ] = None,
    data: Annotated[
        Path, typer.Option(envvar="YARD_DATA_DIR", help="Folder of the embedded service on this machine.")
    ] = DEFAULT_DATA,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Yardmaster: the control plane for AI agents."""
    session = ctx.obj = Session(url or None, key or None, data)
    ctx.call_on_close(session.close)


_TASKS, _FLEET, _ALERTS, _COSTS, _SERVICE = "Tasks", "Pools and agents", "Alerts", "Costs", "The service"

app.command(cls=Submit, rich_help_panel=_TASKS)(submit)
for command in (watch, tasks, task, cancel, retry, feedback, explain):
    app.command(rich_help_panel=_TASKS)(command)
app.add_typer(approvals_app, name="approvals", rich_help_panel=_TASKS)
app.add_typer(schedule_app, name="schedules", rich_help_panel=_TASKS)
app.add_typer(webhook_app, name="webhooks", rich_help_panel=_TASKS)
app.add_typer(bulk_app, name="bulk", rich_help_panel=_TASKS)
app.command(rich_help_panel=_FLEET)(pools)
app.add_typer(pool_app, name="pool", rich_help_panel=_FLEET)
app.command(rich_help_panel=_FLEET)(scale)
app.command(rich_help_panel=_FLEET)(agents)
app.add_typer(agent_app, name="agent", rich_help_panel=_FLEET)
app.add_typer(stops_app, name="stops", rich_help_panel=_FLEET)
app.add_typer(limits_app, name="limits", rich_help_panel=_FLEET)
app.command(rich_help_panel=_ALERTS)(alerts)
app.add_typer(alert_rules_app, name="alert-rules", rich_help_panel=_ALERTS)
app.add_typer(receivers_app, name="receivers", rich_help_panel=_ALERTS)
app.add_typer(silences_app, name="silences", rich_help_panel=_ALERTS)
app.command(rich_help_panel=_ALERTS)(notifications)
app.add_typer(emergency_app, name="emergency", rich_help_panel=_ALERTS)
app.add_typer(actions_app, name="actions", rich_help_panel=_ALERTS)
app.add_typer(slo_app, name="slo", rich_help_panel=_ALERTS)
app.add_typer(probes_app, name="probes", rich_help_panel=_ALERTS)
app.add_typer(budgets_app, name="budgets", rich_help_panel=_COSTS)
app.add_typer(prices_app, name="prices", rich_help_panel=_COSTS)
app.add_typer(models_app, name="models", rich_help_panel=_COSTS)
app.command(rich_help_panel=_COSTS)(costs)
for deferred_name in deferred.LOADERS:
    deferred.announce(app, deferred_name, _SERVICE)
app.add_typer(key_app, name="key", rich_help_panel=_SERVICE)
