"""Verbs of the registry. Each changes rows and hints the other managers in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Text, case, cast, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import JSONPATH, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth import secrets
from app.auth.service import Authenticator
from app.core.db import Database
from app.core.errors import Conflict, Invalid, NotFound
from app.core.wake import CHANNEL
from app.registry import queries, sizes
from app.registry.addresses import AllowList
from app.registry.contract import Schema
from app.registry.fleet_wire import refused_secrets
from app.registry.models import Agent, Pool
from app.registry.records import AgentRecord, PoolRecord

TOPIC = sizes.TOPIC

_SWITCHES = {"process": "YARD_SCALING_ALLOW_PROCESS is off", "kubernetes": "YARD_KUBERNETES_MODE is off"}
ALIVE = ("starting", "idle", "busy", "failed", "maintenance")


class PoolNotFound(NotFound):
    code, title = "pool_not_found", "No such pool"


class AgentNotFound(NotFound):
    code, title = "agent_not_found", "No such agent"


class UnknownBalancer(Invalid):
    code, title = "unknown_balancer", "Unknown balancer"


class NotScalable(Conflict):
    code, title = "pool_not_scalable", "Pool is not launched by Yardmaster"


class OutOfBounds(Invalid):
    code, title = "replicas_out_of_bounds", "Replicas out of bounds"


class AgentUrlTaken(Conflict):
    code, title = "agent_url_taken", "The URL belongs to an agent of another pool"


class ForeignAutoscaler(Conflict):
    code, title = "foreign_autoscaler", "Another autoscaler scales the pool's Deployment"


class OverQuota(Invalid):
    code, title = "over_quota", "More replicas than the cluster's quota"


class LaunchRefused(Invalid):
    code, title = "launch_not_allowed", "Launch not allowed"


class Registry:
    """Define pools; register, drain and remove agents."""

    def __init__(
        self,
        db: Database,
        authenticator: Authenticator,
        allow_list: AllowList,
        *,
        balancers: Callable[[], Collection[str]],
        launches: Collection[str],
        silent_after_s: float,
        quota: int = 0,
        allowed_secrets: Collection[str] = (),
    ) -> None:
        """`launches`: the launch kinds that this service can start. `quota`: most replicas of all Kubernetes pools
        together; 0: no bound of ours. `allowed_secrets`: those that a launch may name; empty: all."""
        self._db, self._authenticator, self._allow_list = db, authenticator, allow_list
        self._balancers, self._launches, self._silent_after_s = balancers, launches, silent_after_s
        self._quota, self._allowed_secrets = quota, allowed_secrets

    async def put_pool(self, name: str, fields: Mapping[str, Any]) -> PoolRecord:
        """Create or replace a pool. `desired` keeps its value within the new bounds, and starts at `scale.min`. What
        others than the launch kind's backend found wrong with it is dropped: nobody would look again."""
        self._check_pool(fields)
        low, high = fields["scale"]["min"], fields["scale"]["max"]
        kind = fields["launch"]["kind"]
        launched = kind != "external"
        values = dict(fields)
        statement: Any = insert(Pool).values(name=name, desired=low if launched else 0, **values)
        kept = func.least(func.greatest(Pool.desired, low), high) if launched else literal(0)
        named = cast("$[*] ? (@.source == $kind)", JSONPATH)
        found = func.jsonb_path_query_array(Pool.conditions, named, func.jsonb_build_object("kind", cast(kind, Text)))
        statement = statement.on_conflict_do_update(
            index_elements=[Pool.name],
            set_={**values, "desired": kept, "conditions": found, "updated_at": func.clock_timestamp()},
        ).returning(Pool)
        async with self._db.begin() as connection:
            row = (await connection.execute(statement)).one()
            await _hint(connection)
        return queries.pool_record(row)

    def _check_pool(self, fields: Mapping[str, Any]) -> None:
        if fields["balancer"] not in self._balancers():
            known = ", ".join(sorted(self._balancers()))
            raise UnknownBalancer(f"There is no balancer {fields['balancer']!r}; there are: {known}.")
        kind = fields["launch"]["kind"]
        if kind not in (*self._launches, "external"):
            raise LaunchRefused(f"This service does not launch that way ({_SWITCHES[kind]}).")
        refused = refused_secrets(fields["launch"], self._allowed_secrets)
        if refused:
            raise LaunchRefused(refused)
        for side in ("input_schema", "output_schema"):
            Schema(fields[side], side)

    async def scale(self, name: str, replicas: int) -> PoolRecord:
        """Set how many replicas are wanted; raises PoolNotFound, NotScalable, ForeignAutoscaler,
        OutOfBounds or OverQuota."""
        async with self._db.begin() as connection:
            row = (
                await connection.execute(select(Pool.__table__).where(Pool.name == name).with_for_update())
            ).one_or_none()
            if row is None:
                raise PoolNotFound(f"There is no pool {name!r}.")
            pool = queries.pool_record(row)
            self._check_scale(pool, replicas)
            if pool.launch["kind"] == "kubernetes" and self._quota and replicas > pool.desired:
                await self._check_quota(connection, name, replicas)
            changed = update(Pool).where(Pool.name == name).values(desired=replicas, updated_at=func.clock_timestamp())
            row = (await connection.execute(changed.returning(Pool))).one()
            await _hint(connection)
        return queries.pool_record(row)

    async def _check_quota(self, connection: AsyncConnection, name: str, replicas: int) -> None:
        others = select(func.coalesce(func.sum(Pool.desired), 0)).where(
            Pool.name != name, Pool.launch["kind"].astext == "kubernetes"
        )
        taken = int((await connection.execute(others)).scalar_one())
        if taken + replicas > self._quota:
            raise OverQuota(
                f"{replicas} replicas of {name!r}, with {taken} of other pools, are more than the cluster's quota of "
                f"{self._quota} (YARD_KUBERNETES_MAX_REPLICAS)."
            )

    @staticmethod
    def _check_scale(pool: PoolRecord, replicas: int) -> None:
        if pool.launch["kind"] == "external":
            raise NotScalable(f"The agents of {pool.name!r} are started by somebody else (launch.kind is external).")
        foreign = [item for item in pool.conditions if item["code"] == "foreign_autoscaler"]
        if foreign:
            raise ForeignAutoscaler(foreign[0]["message"])
        low, high = pool.scale["min"], pool.scale["max"]
        if not low <= replicas <= high:
            raise OutOfBounds(f"{pool.name!r} may have {low} to {high} replicas, not {replicas}.")

    async def register(
        self, pool: str, url: str, *, slots: int | None, weight: float, version: str, labels: dict[str, str]
    ) -> tuple[AgentRecord, str]:
        """Add an agent, or take one with the same pool and URL over (it restarted): the agent and its new token.

        Raises PoolNotFound, AgentUrlTaken, and what `AllowList.check_url` raises.
        """
        url = await self._allow_list.check_url(url)
        secret = secrets.new_secret()
        values: dict[str, Any] = {
            "weight": weight,
            "version": version,
            "labels": labels,
            "status": "starting",
            "status_reason": "registered",
            "running": 0,
            "token_digest": self._authenticator.digest(secret),
            "heartbeat_at": None,
            "probed_at": None,
            "ejected_until": None,
            "ejected_reason": "",
        }
        times = dict.fromkeys(("registered_at", "last_seen_at", "updated_at"), func.clock_timestamp())
        default = select(Pool.slots).where(Pool.name == pool).scalar_subquery()
        given: Any = default if slots is None else slots
        statement = insert(Agent).values(id=uuid4(), pool=pool, url=url, slots=given, **values)
        statement = statement.on_conflict_do_update(
            index_elements=[Agent.url],
            index_where=text("status <> 'gone'"),
            set_={**values, **times, "slots": statement.excluded.slots},
            where=Agent.pool == statement.excluded.pool,
        )
        async with self._db.begin() as connection:
            if (await connection.execute(select(literal(1)).where(Pool.name == pool))).first() is None:
                raise PoolNotFound(f"There is no pool {pool!r}.")
            await self._displace(connection, pool, url)
            row = (await connection.execute(statement.returning(Agent))).one_or_none()
            if row is None:
                raise await _taken(connection, url)
            await _hint(connection)
        record = queries.agent_record(row)
        return record, secrets.join(secrets.AGENT_PREFIX, str(record.id), secret)

    async def _displace(self, connection: AsyncConnection, pool: str, url: str) -> None:
        """Another pool's agent at this URL that fails, leaves or sends no heartbeats is gone: the newest word counts.

        Silence counts without a failed probe: what answers `/health` there may well be the newcomer.
        """
        heard_at = func.coalesce(Agent.heartbeat_at, Agent.registered_at)
        silent = heard_at < func.clock_timestamp() - _seconds(self._silent_after_s)
        left = Agent.status.in_(("failed", "draining")) | silent
        statement = update(Agent).where(Agent.url == url, Agent.pool != pool, Agent.status != "gone", left)
        values = {"status": "gone", "status_reason": f"its URL moved to the pool {pool}"}
        await connection.execute(statement.values(**values, updated_at=func.clock_timestamp()))

    async def set_status(
        self,
        agent_ids: Sequence[UUID],
        status: str,
        reason: str,
        *,
        only_from: Collection[str],
        seen: bool = False,
        quiet_s: float | None = None,
    ) -> list[UUID]:
        """Move agents to `status` that are in one of `only_from`; the ids that moved.

        `seen` notes that they were just heard from; `quiet_s` moves only those not heard from for so long.
        """
        values: dict[str, Any] = {"status": status, "status_reason": reason, "updated_at": func.clock_timestamp()}
        if seen:
            values["last_seen_at"] = func.clock_timestamp()
        statement = update(Agent).where(Agent.id.in_(agent_ids), Agent.status.in_(only_from)).values(**values)
        if quiet_s is not None:
            statement = statement.where(Agent.last_seen_at < func.clock_timestamp() - _seconds(quiet_s))
        async with self._db.begin() as connection:
            moved = [row.id for row in await connection.execute(statement.returning(Agent.id))]
            if moved:
                await _hint(connection)
        return moved

    async def seen(self, agent_ids: Sequence[UUID]) -> None:
        """Note that agents answered; those that were starting or failed work again."""
        back = Agent.status.in_(("starting", "failed"))
        statement = (
            update(Agent)
            .where(Agent.id.in_(agent_ids))
            .values(
                last_seen_at=func.clock_timestamp(),
                status=case((back, "idle"), else_=Agent.status),
                status_reason=case((back, "answered"), else_=Agent.status_reason),
                updated_at=case((back, func.clock_timestamp()), else_=Agent.updated_at),
            )
        )
        async with self._db.begin() as connection:
            await connection.execute(statement)
            await _hint(connection)

    async def note_ejections(self, ejections: Sequence[tuple[UUID, float, str]]) -> None:
        """Note that a manager gives agents no tasks for a while: (id, seconds from now, reason). The longest counts."""
        async with self._db.begin() as connection:
            for agent_id, seconds, reason in sorted(ejections, key=lambda item: item[0].int):
                until = func.clock_timestamp() + _seconds(seconds)
                longer = func.coalesce(Agent.ejected_until < until, literal(True))
                values = {
                    "ejected_until": func.greatest(Agent.ejected_until, until),
                    "ejected_reason": case((longer, reason), else_=Agent.ejected_reason),
                    "updated_at": func.clock_timestamp(),
                }
                await connection.execute(update(Agent).where(Agent.id == agent_id).values(**values))
            await _hint(connection)

    async def probed(self, agent_ids: Sequence[UUID]) -> None:
        """Note that agents are being asked; the others come first next time."""
        async with self._db.begin() as connection:
            await connection.execute(
                update(Agent).where(Agent.id.in_(agent_ids)).values(probed_at=func.clock_timestamp())
            )

    async def retire_failed(self, older_s: float) -> list[UUID]:
        """Agents that failed so long ago, and were not heard from since, are gone; their ids."""
        before = func.clock_timestamp() - _seconds(older_s)
        old = (Agent.status == "failed") & (Agent.updated_at < before) & (Agent.last_seen_at < before)
        values = {"status": "gone", "status_reason": "failed for too long", "updated_at": func.clock_timestamp()}
        async with self._db.begin() as connection:
            moved = await connection.execute(update(Agent).where(old).values(**values).returning(Agent.id))
            ids = [row.id for row in moved]
            if ids:
                await _hint(connection)
        return ids

    async def drain(self, agent_id: UUID) -> AgentRecord:
        """No new tasks for this agent; draining twice changes nothing. Raises AgentNotFound."""
        await self.set_status([agent_id], "draining", "drain requested", only_from=ALIVE)
        return await self.living(agent_id)

    async def remove(self, agent_id: UUID) -> None:
        """The agent is gone. What it still runs may finish; nothing new is sent. Raises AgentNotFound."""
        moved = await self.set_status([agent_id], "gone", "removed", only_from=(*ALIVE, "draining"))
        if not moved:
            raise AgentNotFound("There is no agent with this id.")

    async def living(self, agent_id: UUID) -> AgentRecord:
        """An agent that is not gone; raises AgentNotFound."""
        found = await queries.agent(self._db, agent_id)
        if found is None or found.status == "gone":
            raise AgentNotFound("There is no agent with this id; register again.")
        return found

    async def forget_gone(self, older_s: float) -> None:
        """Delete agents that have been gone for long."""
        async with self._db.begin() as connection:
            await connection.execute(
                text("DELETE FROM agents WHERE status = 'gone' AND updated_at < now() - make_interval(secs => :s)"),
                {"s": older_s},
            )


def _seconds(seconds: float) -> Any:
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)


async def _taken(connection: AsyncConnection, url: str) -> AgentUrlTaken:
    query = select(Agent.pool).where(Agent.url == url, Agent.status != "gone")
    pool = (await connection.execute(query)).scalar_one_or_none()
    where = "another pool" if pool is None else f"the pool {pool!r}"
    return AgentUrlTaken(f"{url} is an agent of {where}. An executor belongs to one pool: remove it there first.")


async def _hint(connection: AsyncConnection) -> None:
    await connection.execute(text("SELECT pg_notify(:channel, :topic)"), {"channel": CHANNEL, "topic": f"{TOPIC}:"})
