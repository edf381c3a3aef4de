"""`/v1/budgets`: how much scopes may spend in a window, and what they have spent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from app.auth.api import NAME
from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import BadPageToken
from app.core.http import PageSize, PageToken, StrictRoute, encode_page_token, problems, resume_after
from app.costs import accounts
from app.costs import budget_wire as wire
from app.costs.accounts import AccountRecord
from app.costs.budget_service import Budgets
from app.costs.budget_spec import thresholds_json
from app.costs.records import BudgetRecord
from app.costs.windows import CALENDAR

FULLEST = 100

NewName = Annotated[
    str, Path(pattern=NAME, description="Not control-…: those are of cost controls.", examples=["acme-daily"])
]
Name = Annotated[str, Path(pattern=wire.ANY_NAME, examples=["acme-daily"])]
Key = Annotated[
    str | None,
    Query(
        max_length=200,
        description="Of this thread, root task or task only. TENANT/THREAD where the budget names no tenant.",
        examples=["conversation-17"],
    ),
]


def router(db: Database, budgets: Budgets, edge: Edge, clock: Clock) -> APIRouter:
    api = APIRouter(prefix="/v1/budgets", tags=["budgets"], route_class=StrictRoute)

    async def shown(found: list[BudgetRecord]) -> list[wire.BudgetOut]:
        async with db.read() as connection:
            fullest = await accounts.current(connection, found, clock.now())
        return [budget_out(item, next(iter(fullest[item.id]), None)) for item in found]

    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List budgets")
    async def list_budgets(
        page_size: PageSize = 50, page_token: PageToken = None, caller: Caller = edge.require("admin")
    ) -> wire.BudgetPage:
        """By name, each with the fullest of its current windows."""
        after = resume_after(page_token, "budgets") if page_token else None
        found = await budgets.page(after, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("budgets", page[-1].name) if len(found) > page_size else None
        return wire.BudgetPage(items=await shown(page), next_page_token=token)

    @api.put("/{name}", responses=problems(400, 401, 403, 409, 413, 422, 503), summary="Set a budget")
    async def put_budget(name: NewName, body: wire.BudgetIn, caller: Caller = edge.require("admin")) -> wire.BudgetOut:
        """Replaces the budget as a whole. Whatever starts after `effective_since` keeps to it: below what is spent
        already, nothing more starts, and nothing is taken back. With another scope, window or unit it begins anew
        under a new `id`; what was spent before stays with the old one."""
        return (await shown([await budgets.put(name, body.spec(), caller)]))[0]

    @api.get("/{name}", responses=problems(401, 403, 404, 422, 503), summary="Read a budget")
    async def get_budget(name: Name, caller: Caller = edge.require("admin")) -> wire.WholeBudgetOut:
        """With its current accounts: what is spent, what running tasks hold, which thresholds are passed."""
        budget = await budgets.get(name)
        async with db.read() as connection:
            found = (await accounts.current(connection, [budget], clock.now(), FULLEST))[budget.id]
        out = budget_out(budget, next(iter(found), None))
        return wire.WholeBudgetOut(**out.model_dump(), accounts=[account_out(budget, item) for item in found])

    @api.get("/{name}/accounts", responses=problems(400, 401, 403, 404, 422, 503), summary="List a budget's accounts")
    async def list_accounts(
        name: Name,
        key: Key = None,
        page_size: PageSize = 50,
        page_token: PageToken = None,
        caller: Caller = edge.require("admin"),
    ) -> wire.AccountPage:
        """Of past windows too, the newest window first, for as long as accounts are kept
        (`YARD_COSTS_ACCOUNTS_RETENTION_S`)."""
        after = _position(resume_after(page_token, "accounts")) if page_token else None
        budget = await budgets.get(name)
        if after is not None and (after[0] is not None) != (budget.window_kind in CALENDAR):
            raise BadPageToken("The page token is of the budget as it was before.")
        async with db.read() as connection:
            found = await accounts.page(connection, budget, key, after, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("accounts", _place(page[-1])) if len(found) > page_size else None
        return wire.AccountPage(items=[account_out(budget, item) for item in page], next_page_token=token)

    @api.delete("/{name}", responses=problems(401, 403, 404, 409, 422, 503), summary="Delete a budget")
    async def delete_budget(name: Name, caller: Caller = edge.require("admin")) -> wire.BudgetOut:
        """The answer is the budget as it was. Nothing waits for its money any more; what running tasks hold goes as
        they end. Tasks for which people were asked stay held until those decide, or the question expires."""
        return budget_out(await budgets.delete(name, caller), None)

    return api


def budget_out(budget: BudgetRecord, account: AccountRecord | None) -> wire.BudgetOut:
    window = wire.WindowIn(
        kind=budget.window_kind,
        zone=budget.zone if budget.window_kind in CALENDAR else None,
        seconds=budget.rolling_s,
    )
    return wire.BudgetOut(
        name=budget.name,
        id=budget.id,
        scope=wire.ScopeIn.of(budget.scope),
        window=window,
        unit=budget.unit,
        limit=wire.plain(budget.limit),
        thresholds=[wire.ThresholdOut(**item) for item in thresholds_json(budget.thresholds)],
        on_exhausted=budget.on_exhausted,
        control=budget.control,
        created_by=budget.created_by,
        created_at=budget.created_at,
        updated_at=budget.updated_at,
        effective_since=budget.updated_at,
        account=None if account is None else account_out(budget, account),
    )


def account_out(budget: BudgetRecord, account: AccountRecord) -> wire.AccountOut:
    reached = thresholds_json(account.reached(budget.thresholds))
    return wire.AccountOut(
        id=account.id,
        key=account.key,
        window_start=account.window_start,
        window_end=account.window_end,
        unit=account.unit,
        limit=wire.plain(account.limit),
        spent=wire.plain(account.spent),
        reserved=wire.plain(account.reserved),
        remaining=wire.plain(account.remaining),
        percent=account.percent,
        reached=[wire.ThresholdOut(**item) for item in reached],
        opened_at=account.opened_at,
        touched_at=account.touched_at,
    )


def _place(account: AccountRecord) -> str:
    start = "" if account.window_start is None else account.window_start.isoformat()
    return f"{start} {account.id}"


def _position(text: str) -> tuple[datetime | None, UUID]:
    start, _, account_id = text.rpartition(" ")
    try:
        return datetime.fromisoformat(start).astimezone(UTC) if start else None, UUID(account_id)
    except (ValueError, OverflowError):
        raise BadPageToken("The page token is damaged.") from None
