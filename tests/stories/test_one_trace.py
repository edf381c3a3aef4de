"""One trace from the caller through request, queue and attempt into the executor."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.otlp_receiver import Collector, SpanSeen, collector
from tests.support.pools import define_pool, register
from tests.support.service import Fleet, Manager
from tests.support.waiting import until

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def submit_traced(manager: Manager, agent_url: str) -> None:
    with manager.client() as client:
        define_pool(client, "traced")
        register(client, "traced", agent_url, 1)
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "Prefer": "wait=10"}
        answer = client.post("/v1/tasks", json={"pool": "traced", "payload": 1}, headers=headers)
        assert answer.status_code == 200, answer.text


def of_trace(received: Collector) -> dict[int, SpanSeen]:
    """The trace's spans by kind, without the inner ones of the web framework."""
    return {span.kind: span for span in received.spans if span.trace == TRACE and span.kind != Span.SPAN_KIND_INTERNAL}


async def test_request_attempt_and_executor_share_the_callers_trace(managers: Fleet, agents: Any) -> None:
    agent = await agents()

    def run() -> tuple[SpanSeen, SpanSeen]:
        with collector() as received:
            quick = {"YARD_TELEMETRY_OTLP_ENDPOINT": received.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
            manager = managers.manager(**quick)
            submit_traced(manager, agent.url)
            until(lambda: len(of_trace(received)) == 2, "both spans arrive")
            spans = of_trace(received)
            manager.stop()
        return spans[Span.SPAN_KIND_SERVER], spans[Span.SPAN_KIND_CLIENT]

    request, attempt = await asyncio.to_thread(run)
    assert (request.name, request.parent) == ("POST /v1/tasks", CALLER)
    assert (attempt.name, attempt.parent) == ("attempt traced", request.id)
    assert attempt.attributes["yardmaster.task_id"] == agent.calls[0]["task_id"]
    assert request.service == attempt.service == "yardmaster"
    headers = {name.lower(): value for name, value in agent.headers[0].items()}
    assert headers["traceparent"] == f"00-{TRACE}-{attempt.id}-01"


async def test_the_callers_trace_reaches_the_executor_where_no_spans_are_recorded(
    client: httpx.AsyncClient, agents: Any
) -> None:
    agent = await agents()
    await client.put("/v1/pools/traced", json={})
    await client.post("/v1/agents", json={"pool": "traced", "url": agent.url})
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "Prefer": "wait=10"}
    for sent_along in (headers, {"Prefer": "wait=10"}):
        answer = await client.post("/v1/tasks", json={"pool": "traced", "payload": 1}, headers=sent_along)
        assert answer.status_code == 200, answer.text
    parents = [{name.lower(): value for name, value in sent.items()}.get("traceparent") for sent in agent.headers]
    assert parents == [f"00-{TRACE}-{CALLER}-01", None]
