"""The HTTP application: routes, errors, middleware, lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import PlainTextResponse
from fastapi_swagger import patch_fastapi
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import BaseModel

from app.auth import api as auth_api
from app.auth.service import Forbidden
from app.core.errors import Unavailable
from app.core.http import PROBLEM_SCHEMA, BodyLimit, JsonResponse, add_error_handlers, problems
from app.core.telemetry import CallersTrace, set_up_traces
from app.dispatch import api as dispatch_api
from app.dispatch import wire as dispatch_wire
from app.registry import api as registry_api
from app.registry import wire as registry_wire
from app.settings import Settings
from app.tasks import api as tasks_api
from app.tasks import wire as tasks_wire
from app.wiring import PARTS, Yard

DESCRIPTION = """
The control plane for AI agents in production: register agents, submit tasks, follow them to their results.

**To try it here:** press *Authorize*, paste a key (the embedded default writes one to `.yardmaster/admin.key`), then
send `POST /v1/tasks`. Errors are RFC 9457 problem+json with a stable `code`. Lists are paged by `page_token`.
"""

TAGS = [
    {"name": "tasks", "description": "Submit work, follow it, get its result."},
    {"name": "pools", "description": "What agents of one type can do, and how they are used."},
    {"name": "agents", "description": "Executors: register, report, drain."},
    {"name": "keys", "description": "API keys."},
    *({"name": name, "description": text} for part in PARTS for name, text in part.tags),
    {"name": "service", "description": "Is it up, what does it measure."},
]


def create_app(settings: Settings, yard: Yard | None = None) -> FastAPI:
    """The ASGI application of one manager. Building it does no I/O; its lifespan starts and stops the manager."""
    yard = yard or Yard(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        traces = set_up_traces(settings.telemetry)
        await yard.start()
        try:
            yield
        finally:
            await yard.stop()
            if traces is not None:
                traces.shutdown()

    app = FastAPI(
        title="Yardmaster",
        version=version("yardmaster"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        default_response_class=JsonResponse,
        # FastAPI's own telemetry stays off: the instrumentations below keep the names that operators know.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.yard = yard
    _add_routes(app, yard)
    _add_edges(app, settings)
    return app


def _add_routes(app: FastAPI, yard: Yard) -> None:
    settings = yard.settings
    for part in yard.parts:  # /v1/tasks/bulk/cancel would be a task named "bulk"
        for router in part.first_routers():
            app.include_router(router)
    app.include_router(
        tasks_api.router(yard.db, yard.tasks, yard.hub, yard.edge, yard.clock, max_wait_s=settings.http.max_wait_s)
    )
    for part in yard.parts:
        for router in part.routers():
            app.include_router(router)
    app.include_router(registry_api.pools_router(yard.db, yard.registry, yard.view, yard.edge))
    desk = dispatch_api.Desk(yard.db, yard.clock, yard.view, yard.membership, yard.slots, yard.placer.strategies)
    app.include_router(dispatch_api.router(desk, yard.edge))
    app.include_router(
        registry_api.agents_router(
            yard.db,
            yard.registry,
            yard.view,
            yard.heartbeats,
            yard.edge,
            heartbeat_interval_s=settings.registry.heartbeat_interval_s,
        )
    )
    app.include_router(auth_api.router(yard.keys, yard.edge))
    _add_service_routes(app, yard)
    patch_fastapi(app, docs_url="/docs", swagger_ui_parameters=_SWAGGER)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]


_SWAGGER = {
    "tryItOutEnabled": True,
    "persistAuthorization": True,
    "filter": True,
    "displayRequestDuration": True,
    "defaultModelsExpandDepth": 0,
    "validatorUrl": None,
}


_WIRE = (tasks_wire, registry_wire, dispatch_wire, auth_api, *(module for part in PARTS for module in part.wire))

_TEXT: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}, "example": "ok\n"}}
_OK: dict[int | str, dict[str, Any]] = {200: {"content": _TEXT}}
_METRICS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/plain": {
                "schema": {"type": "string"},
                "example": 'ai_agent_queue_length{agent_type="log_analyzer"} 3.0\n',
            }
        }
    }
}


def _add_service_routes(app: FastAPI, yard: Yard) -> None:
    @app.get(
        "/livez", tags=["service"], summary="Is the process alive", response_class=PlainTextResponse, responses=_OK
    )
    async def livez() -> Response:
        """200 while the event loop turns, whatever the database does."""
        return Response("ok\n", media_type="text/plain")

    @app.get(
        "/readyz",
        tags=["service"],
        summary="Can it serve",
        response_class=PlainTextResponse,
        responses=_OK | problems(503),
    )
    async def readyz() -> Response:
        """503 while starting, stopping, or without the database. Redis may be away: it is slower then, not wrong."""
        if not yard.ready:
            raise Unavailable("The service is starting or stopping.")
        await yard.healthy()
        return Response("ok\n", media_type="text/plain")

    @app.get(
        "/metrics",
        tags=["service"],
        summary="Prometheus metrics",
        response_class=PlainTextResponse,
        responses=_METRICS | problems(401, 403, 503),
    )
    async def metrics(request: Request) -> Response:
        """Text exposition format; open unless YARD_HTTP_PUBLIC_METRICS is off."""
        if not yard.settings.http.public_metrics:
            caller = await yard.edge.caller(request)
            if not caller.may("admin"):
                raise Forbidden("This needs the scope `admin`.")
        return Response(generate_latest(_metrics_registry()), media_type=CONTENT_TYPE_LATEST)


def _metrics_registry() -> CollectorRegistry:
    """This process's metrics, or those of all workers together where there are several."""
    import os

    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


def _add_edges(app: FastAPI, settings: Settings) -> None:
    add_error_handlers(app)
    Instrumentator(excluded_handlers=["/metrics", "/livez", "/readyz", "/docs", "/swagger.*"]).instrument(app)
    app.add_middleware(
        BodyLimit, max_bytes=settings.http.max_body_bytes, max_total_bytes=settings.http.max_bodies_bytes
    )
    if settings.telemetry.otlp_endpoint:
        FastAPIInstrumentor.instrument_app(app, excluded_urls="metrics,livez,readyz,docs,swagger")
    else:
        app.add_middleware(CallersTrace)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=TAGS
        )
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = PROBLEM_SCHEMA
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        for name, examples in _examples().items():
            if name in schemas:
                schemas[name]["examples"] = examples
        app.openapi_schema = schema
    return app.openapi_schema


def _examples() -> dict[str, Any]:
    """The models' examples, whole: FastAPI leaves the nulls out, which makes them untrue."""
    models = [value for module in _WIRE for value in vars(module).values() if isinstance(value, type)]
    extras = {
        model.__name__: model.model_config.get("json_schema_extra") for model in models if issubclass(model, BaseModel)
    }
    return {name: extra["examples"] for name, extra in extras.items() if isinstance(extra, dict)}
