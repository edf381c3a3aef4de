"""`/v1/notifications` and `/v1/alert-groups`: who was told what and why, who was not, and who has taken it.

Alerts name tenants, so reading needs `admin` too.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query

from app.alerts import notification_queries as queries
from app.alerts import notification_wire as wire
from app.alerts.group_service import GroupRecord, Groups
from app.alerts.members import Member
from app.alerts.notification_queries import NotificationRecord
from app.alerts.receiver_wire import NAME
from app.alerts.silence_api import uuid_of
from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.db import Database
from app.core.http import PageSize, PageToken, StrictRoute, encode_page_token, problems, resume_after

GROUP_KEY = r"^[A-Za-z_][A-Za-z0-9_.:-]{0,99}:[0-9a-f]{32}$"

Key = Annotated[str, Path(pattern=GROUP_KEY, examples=[wire.GROUP["key"]])]
NotificationId = Annotated[UUID, Path(examples=[wire.NOTIFICATION["id"]])]
OfReceiver = Annotated[str | None, Query(pattern=NAME, examples=["on-call"])]
OfGroup = Annotated[str | None, Query(pattern=GROUP_KEY, examples=[wire.GROUP["key"]])]
OfOutcome = Annotated[
    Literal["delivered", "retrying", "throttled", "permanent", "held"] | None, Query(examples=["permanent"])
]


def routers(db: Database, groups: Groups, edge: Edge) -> list[APIRouter]:
    """The routes of both."""
    told = APIRouter(prefix="/v1/notifications", tags=["notifications"], route_class=StrictRoute)
    grouped = APIRouter(prefix="/v1/alert-groups", tags=["notifications"], route_class=StrictRoute)
    _add_notifications(told, db, edge)
    _add_groups(grouped, groups, edge)
    return [told, grouped]


def _add_notifications(api: APIRouter, db: Database, edge: Edge) -> None:
    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List notifications")
    async def list_notifications(
        receiver: OfReceiver = None,
        group: OfGroup = None,
        outcome: OfOutcome = None,
        page_size: PageSize = 50,
        page_token: PageToken = None,
        caller: Caller = edge.require("admin"),
    ) -> wire.NotificationPage:
        """Newest first: what was sent, and what was not and why (`outcome` held)."""
        before = uuid_of(resume_after(page_token, "notifications")) if page_token else None
        found = await queries.page(
            db, receiver=receiver, group=group, outcome=outcome, before=before, limit=page_size + 1
        )
        page = found[:page_size]
        token = encode_page_token("notifications", str(page[-1].id)) if len(found) > page_size else None
        return wire.NotificationPage(items=list(map(notification_out, page)), next_page_token=token)

    @api.get("/{notification_id}", responses=problems(401, 403, 404, 422, 503), summary="Explain a notification")
    async def get_notification(
        notification_id: NotificationId, caller: Caller = edge.require("admin")
    ) -> wire.WholeNotificationOut:
        """Each alert with the reason why it was told or not, and by what; and what comes next."""
        found, following = await queries.one(db, notification_id)
        alerts = [wire.VerdictOut.model_validate(item) for item in found.verdicts]
        return wire.WholeNotificationOut(**notification_out(found).model_dump(), alerts=alerts, next=following)


def _add_groups(api: APIRouter, groups: Groups, edge: Edge) -> None:
    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List groups of alerts")
    async def list_groups(
        receiver: OfReceiver = None,
        page_size: PageSize = 50,
        page_token: PageToken = None,
        caller: Caller = edge.require("admin"),
    ) -> wire.AlertGroupPage:
        """By key: those that are open, each of one receiver."""
        after = resume_after(page_token, "alert-groups") if page_token else None
        found, now = await groups.page(receiver, after, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("alert-groups", page[-1].key) if len(found) > page_size else None
        return wire.AlertGroupPage(items=[group_out(item, now) for item in page], next_page_token=token)

    @api.get("/{key}", responses=problems(401, 403, 404, 422, 503), summary="Read a group of alerts")
    async def get_group(key: Key, caller: Caller = edge.require("admin")) -> wire.AlertGroupOut:
        """With its alerts."""
        return group_out(*await groups.get(key))

    @api.post("/{key}/ack", responses=problems(400, 401, 403, 404, 409, 413, 422, 503), summary="Acknowledge a group")
    async def acknowledge(
        key: Key, body: wire.AckIn | None = None, caller: Caller = edge.require("admin")
    ) -> wire.AlertGroupOut:
        """The caller takes it: it neither repeats nor escalates until then, unless new alerts join. Groups of other
        receivers that hold none but its alerts are taken with it. 409 `alert_group_resolved`."""
        asked = body or wire.AckIn()
        await groups.acknowledge(key, caller.id, asked.for_s, asked.comment)
        return group_out(*await groups.get(key))

    @api.post("/{key}/unack", responses=problems(401, 403, 404, 422, 503), summary="Give a group back")
    async def unacknowledge(key: Key, caller: Caller = edge.require("admin")) -> wire.AlertGroupOut:
        """It repeats and escalates again."""
        await groups.unacknowledge(key, caller.id)
        return group_out(*await groups.get(key))


def notification_out(found: NotificationRecord) -> wire.NotificationOut:
    return wire.NotificationOut.model_validate(found, from_attributes=True)


def group_out(group: GroupRecord, now: datetime) -> wire.AlertGroupOut:
    firing = sum(member.alert.firing for member in group.members)
    status = "resolved" if not firing else "acknowledged" if group.acked(now) else "firing"
    names = wire.AlertGroupOut.model_fields.keys() - {"key", "receiver", "labels", "status", "firing", "alerts"}
    return wire.AlertGroupOut(
        **{name: group.row[name] for name in names},
        key=group.key,
        receiver=group.receiver,
        labels=dict(group.labels),
        status=status,
        firing=firing,
        alerts=[_alert(member) for member in group.members],
    )


def _alert(member: Member) -> wire.GroupAlertOut:
    alert = member.alert
    return wire.GroupAlertOut(
        fingerprint=alert.fingerprint,
        rule=member.rule,
        labels=dict(alert.labels),
        annotations=dict(alert.annotations),
        value=alert.value,
        starts_at=alert.starts_at,
        ends_at=alert.ends_at,
    )
