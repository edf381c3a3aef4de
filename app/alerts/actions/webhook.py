"""`webhook`: a webhook of this installation is told that the alert fires, and that it ended.

What is sent is a delivery like any other of `/v1/webhooks`: signed with the webhook's secret, retried with growing
pauses up to the webhooks' limit, kept with its answer, and sent again on demand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID, uuid5

from pydantic import Field

from app.alerts.actions.base import ActionParams, Ask, Begun, NothingToDo
from app.core.db import HotConnection
from app.core.jsonbody import dump_json
from app.webhooks import adding

FIRING, ENDED = "alert.firing", "alert.ended"


class WebhookParams(ActionParams):
    webhook_id: UUID = Field(description="The webhook, as `/v1/webhooks` made it.")
    send_ended: bool = Field(True, description="Tell it too when the alert is resolved, or the action's time is over.")
    data: dict[str, str] = Field(default_factory=dict, max_length=32, description="Sent along as it stands.")


class Webhook:
    params_type: ClassVar[type[ActionParams]] = WebhookParams

    async def begin(self, connection: HotConnection, ask: Ask, params: WebhookParams) -> Begun:
        body = dump_json(payload(ask, FIRING, params.data))
        if not await adding.add(connection, params.webhook_id, ask.id, FIRING, body):
            raise NothingToDo(f"There is no webhook {params.webhook_id}, or it is disabled.")
        facts = {"webhook_id": str(params.webhook_id), "data": params.data}
        detail = f"Delivery {ask.id} to webhook {params.webhook_id}."
        return Begun(detail, {"webhook_id": str(params.webhook_id)}, lasts=params.send_ended, facts=facts)

    async def end(self, connection: HotConnection, ask: Ask, facts: Mapping[str, Any], why: str) -> None:
        body = dump_json(payload(ask, ENDED, facts["data"], why))
        await adding.add(connection, UUID(facts["webhook_id"]), uuid5(ask.id, ENDED), ENDED, body)


def payload(ask: Ask, kind: str, data: Mapping[str, str], why: str = "") -> dict[str, Any]:
    """What is sent."""
    told: dict[str, Any] = {
        "action_id": ask.id,
        "rule": ask.rule,
        "fingerprint": ask.fingerprint,
        "labels": dict(ask.labels),
        "fired_at": ask.fired_at,
        "value": ask.value,
        "data": dict(data),
    }
    if why:
        told["why"] = why
    return {"type": kind, "data": told}
