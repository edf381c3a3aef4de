"""Keeping the objects of pools as they should be: the Secret with the agents' key, and the Deployments."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import structlog

from app.core.clock import Clock
from app.registry.fleet_wire import refused_secrets
from app.registry.records import PoolRecord
from app.scaling.backends.base import ROLLOUT_FROZEN, Condition
from app.scaling.backends.kubernetes import manifest
from app.scaling.backends.kubernetes.client import Api
from app.scaling.backends.kubernetes.drift import covers
from app.scaling.backends.kubernetes.faults import CONFLICT, ApiError
from app.scaling.backends.kubernetes.fights import Fights

log = structlog.get_logger()

type Json = dict[str, Any]

SECRET_EVERY_S = 60.0
REFUSED_S = 60.0
"""A launch that the API refused is not tried again sooner, unless it changed."""
FAILED_S = 5.0
"""Nor sooner than this what failed otherwise."""
SHARED = (401, 429)
"""These say nothing of the object: no other call would do better."""


class Upkeep:
    """Applies what is missing or has drifted. Each raises ApiError; a conflict (409) means: look again."""

    def __init__(
        self,
        api: Api,
        clock: Clock,
        place: manifest.Place,
        key: str | None,
        allowed_secrets: Collection[str] = (),
        frozen: Callable[[str], bool] = lambda pool: False,
    ) -> None:
        """`key`: to keep in a Secret of our own; None: somebody else keeps it. `allowed_secrets`: none: all.
        `frozen(pool)`: its Deployment keeps the launch that it has at present."""
        self._frozen = frozen
        self._api, self._clock, self._place, self._key = api, clock, place, key
        self._allowed_secrets = allowed_secrets
        self._secret_at = float("-inf")
        self._secret_wrong: tuple[Condition, ...] = ()
        self._fights = Fights(clock)
        self._refused: dict[str, tuple[str, float, Condition]] = {}
        self._left: dict[str, str] = {}

    async def secret(self) -> tuple[Condition, ...]:
        """Written now and then: we may not read it. Where it is refused, that is a condition: pods that run have it."""
        if self._key is None or self._clock.monotonic() < self._secret_at:
            return self._secret_wrong
        wait_s, self._secret_wrong = SECRET_EVERY_S, ()
        try:
            await self._api.apply("secrets", manifest.secret(self._place, self._key))
        except ApiError as exc:
            if exc.status in SHARED:
                raise
            wait_s, self._secret_wrong = FAILED_S, (Condition(exc.code, str(exc)),)
        self._secret_at = self._clock.monotonic() + wait_s
        return self._secret_wrong

    async def deployment(
        self, pool: PoolRecord, live: Json | None, replicas: int, grace_s: float
    ) -> tuple[Json | None, tuple[Condition, ...]]:
        """The pool's Deployment as it is then, and what is wrong with the launch.

        None: there is none, or it is not ours. A new one has `replicas`; any other keeps those that it has.
        """
        wanted = manifest.deployment(pool, self._place, grace_s)
        name, digest = wanted["metadata"]["name"], wanted["metadata"]["annotations"][manifest.LAUNCH_HASH]
        banned = refused_secrets(pool.launch, self._allowed_secrets)
        if banned:
            return live, (Condition("secret_not_allowed", banned),)
        if live is None:
            live = await self._api.get("deployments", name)
            if live is not None and not self.owns(live):
                text = f"There is a Deployment {name} in {self._place.namespace} that is not ours; it is left alone."
                return None, (Condition("foreign_deployment", text),)
        if live is not None and (_as_wanted(live, wanted) or self._left.get(name) == digest + _fingerprint(live)):
            self._refused.pop(name, None)
            return live, self._fights.rests(name)
        waits = self._waits(pool.name, name, digest, live)
        if waits is not None:
            return live, waits
        applied, wrong = await self._apply(wanted, live, replicas, digest)
        return applied, (*wrong, *self._fights.conditions(name))

    def _waits(self, pool: str, name: str, digest: str, live: Json | None) -> tuple[Condition, ...] | None:
        """Why nothing is applied at present; None: it is."""
        before, until, refusal = self._refused.get(name, ("", 0.0, None))
        if refusal is not None and before == digest and self._clock.monotonic() < until:
            return (refusal,)
        if live is None:
            return None
        if self._frozen(pool) and _launch_of(live) != digest:
            return (ROLLOUT_FROZEN,)
        return None if self._fights.may_repair(name, digest) else self._fights.conditions(name)

    def owns(self, live: Mapping[str, Any]) -> bool:
        """Whether it is labelled as ours."""
        labels = live["metadata"].get("labels") or {}
        return manifest.instance_labels(self._place.instance).items() <= labels.items()

    async def _apply(
        self, wanted: Json, live: Json | None, replicas: int, digest: str
    ) -> tuple[Json | None, tuple[Condition, ...]]:
        name = wanted["metadata"]["name"]
        if live is None:
            sized = manifest.sized(wanted, replicas, None)
        else:
            sized = manifest.sized(wanted, replicas_of(live), live["metadata"]["resourceVersion"])
        try:
            applied = await self._api.apply("deployments", sized)
        except ApiError as exc:
            return live, (self._refusal(name, digest, exc, there=live is not None),)
        self._refused.pop(name, None)
        self._fights.applied(name, digest)
        self._left[name] = digest + _fingerprint(applied)
        log.info("deployment_applied", deployment=name, replicas=replicas_of(applied), new=live is None)
        return applied, ()

    def _refusal(self, name: str, digest: str, exc: ApiError, *, there: bool) -> Condition:
        """What is there can be scaled and drained all the same, whatever keeps it from being changed: an admission
        webhook, for one. Raises what is no matter of the launch."""
        invalid = exc.status in (400, 422)
        if not invalid and (not there or exc.status in (CONFLICT, *SHARED)):
            raise exc
        refusal = Condition(exc.code, str(exc))
        wait_s = FAILED_S if exc.status == 0 or exc.status >= 500 else REFUSED_S
        self._refused[name] = (digest, self._clock.monotonic() + wait_s, refusal)
        return refusal


def replicas_of(live: Mapping[str, Any]) -> int:
    """The scale that is asked for."""
    found = (live.get("spec") or {}).get("replicas")
    return 1 if found is None else int(found)


def _launch_of(live: Json) -> str | None:
    found = (live["metadata"].get("annotations") or {}).get(manifest.LAUNCH_HASH)
    return None if found is None else str(found)


def _as_wanted(live: Json, wanted: Json) -> bool:
    """Whether the launch was applied, and nobody changed it since."""
    metadata = {key: wanted["metadata"][key] for key in ("labels", "annotations")}
    spec = {key: value for key, value in wanted["spec"].items() if key != "paused"}  # left out where it is false
    return not live["spec"].get("paused") and covers(live, {"metadata": metadata, "spec": spec})


def _fingerprint(live: Json) -> str:
    """Of what an apply may change. As an apply left it, so it is left: what something else in the cluster then makes of
    our fields would be so the next time too."""
    metadata = live["metadata"]
    spec = {key: value for key, value in live["spec"].items() if key != "replicas"}
    ours = (manifest.POOL, manifest.LAUNCH_HASH)
    annotations = {key: (metadata.get("annotations") or {}).get(key) for key in ours}
    return manifest.short_hash([metadata.get("labels"), annotations, spec])
