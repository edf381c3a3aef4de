"""Others who scale our Deployments: two that do never agree, so one has to be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from app.core.clock import Clock
from app.scaling.backends.base import Condition
from app.scaling.backends.kubernetes.client import Api
from app.scaling.backends.kubernetes.faults import ApiError

type Json = Mapping[str, Any]

EVERY_S = 15.0


class ForeignAutoscalers:
    """Looked for now and then."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api, self._clock = api, clock
        self._looked_at = float("-inf")
        self._known: dict[str, list[dict[str, Any]]] = {"horizontalpodautoscalers": [], "scaledobjects": []}
        self._found: Mapping[str, str] = {}
        self._blind: tuple[Condition, ...] = ()

    async def look(self) -> None:
        """Raises ApiError; but where we may not look, or it fails, that is a condition. What was found before it failed
        is taken to be there still."""
        if self._clock.monotonic() - self._looked_at < EVERY_S:
            return
        blind: list[Condition] = []
        for resource in self._known:
            found = await self._list(resource, blind)
            self._known[resource] = self._known[resource] if found is None else found
        self._found, self._blind = claims(*self._known.values()), tuple(blind[:1])
        self._looked_at = self._clock.monotonic()

    def of(self, deployment: str) -> tuple[Condition, ...]:
        """`foreign_autoscaler`, where one scales this Deployment."""
        who = self._found.get(deployment)
        if who is None:
            return ()
        text = f"{who} scales the Deployment {deployment} too. Its replicas are left alone until that is deleted."
        return (Condition("foreign_autoscaler", text),)

    @property
    def blind(self) -> tuple[Condition, ...]:
        """Why we could not look: `forbidden`, for one."""
        return self._blind

    async def _list(self, resource: str, blind: list[Condition]) -> list[dict[str, Any]] | None:
        """None: it cannot be known now."""
        try:
            return (await self._api.list(resource))[0]
        except ApiError as exc:
            if exc.status == 403:
                blind.append(Condition(exc.code, str(exc)))
            elif exc.status >= 500:
                blind.append(Condition(exc.code, str(exc)))
                return None
            elif exc.status != 404:  # nobody knows such objects here: KEDA is not installed
                raise
            return []


def claims(hpas: Iterable[Json], scaled_objects: Iterable[Json]) -> dict[str, str]:
    """By Deployment: who scales it. An autoscaler that KEDA made is named by its ScaledObject. Pure."""
    found: dict[str, str] = {}
    for item in hpas:
        target = (item.get("spec") or {}).get("scaleTargetRef") or {}
        if target.get("kind") == "Deployment" and "name" in target:
            found[target["name"]] = _name_of(item)
    for item in scaled_objects:
        target = (item.get("spec") or {}).get("scaleTargetRef") or {}
        if target.get("kind", "Deployment") == "Deployment" and "name" in target:
            found[target["name"]] = f"KEDA's ScaledObject {item['metadata']['name']}"
    return found


def _name_of(hpa: Json) -> str:
    for owner in hpa["metadata"].get("ownerReferences") or ():
        if owner.get("kind") == "ScaledObject":
            return f"KEDA's ScaledObject {owner['name']}"
    return f"The HorizontalPodAutoscaler {hpa['metadata']['name']}"
