"""`yard webhooks`: where events are sent, and what became of each."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import typer
from rich.text import Text

from app.cli import cells, durations
from app.cli.client import encoded
from app.cli.failures import Misuse
from app.cli.listing import Column, listing
from app.cli.output import Json, note, now, print_json, show
from app.cli.session import session_of

PATH = "/v1/webhooks"
STYLES = {"delivered": "green", "pending": "yellow", "failed": "red"}

WebhookId = Annotated[UUID, typer.Argument(metavar="ID", help="The webhook.")]
Types = Annotated[list[str] | None, typer.Option("--type", help="Only types that start so. Repeatable.")]
Pool = Annotated[str | None, typer.Option(help="Only events of tasks in this pool.")]

webhook_app = typer.Typer(help="Have events sent to you.", no_args_is_help=True)


@webhook_app.command("list")
def list_webhooks(ctx: typer.Context, as_json: Json = False) -> None:
    """List the webhooks of the key's tenant."""
    page = session_of(ctx).api.page(PATH)
    if as_json:
        print_json(page)
        return
    columns = [Column("id", whole=True), *map(Column, ("state", "url", "types", "pool"))]
    show(listing([*columns, Column("description", spare=True)], map(_row, page["items"])))


def _row(webhook: dict[str, Any]) -> list[str | Text]:
    state = Text("enabled", style="green") if webhook["enabled"] else Text("disabled", style="red")
    types = ", ".join(webhook["types"]) or "all"
    return [webhook["id"], state, webhook["url"], types, webhook["pool"] or "all", webhook["description"]]


@webhook_app.command()
def create(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(help="Where to send them.")],
    types: Types = None,
    pool: Pool = None,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    as_json: Json = False,
) -> None:
    """Make a webhook. Its secret is shown this once: stdout holds the secret alone."""
    body = {"url": url, "types": types or [], "pool": pool, "description": description}
    made = session_of(ctx).api.send("POST", PATH, encoded(body))
    if as_json:
        print_json(made)
        return
    note(f"Webhook {made['id']} to {made['url']}. Its secret is not shown again:")
    typer.echo(made["secret"])


@webhook_app.command()
def rotate(ctx: typer.Context, webhook_id: WebhookId, as_json: Json = False) -> None:
    """Make a new secret; the one before is good until the next rotation. stdout holds the secret alone."""
    rotated = session_of(ctx).api.send("POST", f"{PATH}/{webhook_id}/rotate")
    if as_json:
        print_json(rotated)
        return
    note(f"Secret number {rotated['generation']} of webhook {rotated['id']}. It is not shown again:")
    typer.echo(rotated["secret"])


@webhook_app.command()
def enable(ctx: typer.Context, webhook_id: WebhookId, as_json: Json = False) -> None:
    """Send it events from now on."""
    _switch(ctx, webhook_id, enabled=True, as_json=as_json)


@webhook_app.command()
def disable(ctx: typer.Context, webhook_id: WebhookId, as_json: Json = False) -> None:
    """Send it nothing more; what is pending is given up."""
    _switch(ctx, webhook_id, enabled=False, as_json=as_json)


def _switch(ctx: typer.Context, webhook_id: UUID, *, enabled: bool, as_json: bool) -> None:
    changed = session_of(ctx).api.send("PATCH", f"{PATH}/{webhook_id}", encoded({"enabled": enabled}))
    if as_json:
        print_json(changed)
    else:
        typer.echo(f"webhook {changed['id']} is {'enabled' if changed['enabled'] else 'disabled'}")


@webhook_app.command()
def delete(ctx: typer.Context, webhook_id: WebhookId) -> None:
    """Remove a webhook and the log of its deliveries."""
    session_of(ctx).api.send("DELETE", f"{PATH}/{webhook_id}")
    typer.echo(f"webhook {webhook_id} is removed")


@webhook_app.command()
def test(ctx: typer.Context, webhook_id: WebhookId, as_json: Json = False) -> None:
    """Send a ping. What came back: yard webhooks deliveries ID."""
    ping = session_of(ctx).api.send("POST", f"{PATH}/{webhook_id}/test")
    if as_json:
        print_json(ping)
    else:
        typer.echo(f"delivery {ping['id']} is {ping['status']}")


@webhook_app.command()
def deliveries(
    ctx: typer.Context,
    webhook_id: WebhookId,
    status: Annotated[Literal["pending", "delivered", "failed"] | None, typer.Option(help="Only these.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List the newest deliveries, with the receiver's last answer to each."""
    wanted = {"status": status} if status else {}
    page = session_of(ctx).api.page(f"{PATH}/{webhook_id}/deliveries", wanted, limit=limit)
    if as_json:
        print_json(page)
        return
    columns = [
        Column("id", whole=True),
        *map(Column, ("type", "status")),
        Column("tries", right=True),
        *map(Column, ("made", "next try", "answer")),
    ]
    show(listing(columns, map(_delivery, page["items"])))


def _delivery(item: dict[str, Any]) -> list[str | Text]:
    answer = cells.clip(cells.one_line(f"{item['answer_status'] or ''} {item['answer']}"), 80).strip()
    next_try = durations.relative(item["next_try_at"], now()) if item["next_try_at"] else ""
    made = durations.relative(item["created_at"], now())
    status = Text(item["status"], style=STYLES.get(item["status"], ""))
    return [item["id"], item["type"], status, str(item["tries"]), made, next_try, answer]


@webhook_app.command()
def redeliver(
    ctx: typer.Context,
    webhook_id: WebhookId,
    delivery_id: Annotated[UUID | None, typer.Argument(metavar="DELIVERY", help="One; else all failed ones.")] = None,
    since: Annotated[str | None, typer.Option(metavar="6h", help="Failed ones no older than this: 6h, 2d.")] = None,
    as_json: Json = False,
) -> None:
    """Send a delivery again, or all that were given up."""
    if delivery_id is not None and since is not None:
        raise Misuse("--since is for all failed deliveries: leave DELIVERY out")
    api = session_of(ctx).api
    if delivery_id is not None:
        again = api.send("POST", f"{PATH}/{webhook_id}/deliveries/{delivery_id}/redeliver")
        line = f"delivery {delivery_id} is {again['status']}"
    else:
        body = encoded({"since": _ago(since) if since else None})
        again = api.send("POST", f"{PATH}/{webhook_id}/redeliver", body)
        line = f"{again['redelivered']} deliveries are sent again, {again['left']} failed ones are left"
    if as_json:
        print_json(again)
    else:
        typer.echo(line)


def _ago(text: str) -> str:
    try:
        return (now() - timedelta(seconds=durations.seconds(text))).isoformat()
    except ValueError as error:
        raise Misuse(str(error)) from None
