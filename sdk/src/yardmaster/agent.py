"""An agent made of one function."""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette

from yardmaster.limits import Limits
from yardmaster.routes import build_app
from yardmaster.runner import Runner
from yardmaster.serving import serve
from yardmaster.settings import Settings
from yardmaster.telemetry import export_traces


class Agent:
    """An agent of the pool `pool` that takes `slots` tasks at once.

    agent = Agent("echo", slots=4)

    @agent.task
    async def handle(ctx: Context, payload: dict) -> dict:
        return payload

    agent.run()
    """

    def __init__(self, pool: str, *, slots: int = 1, limits: Limits | None = None) -> None:
        if slots < 1:
            raise ValueError("an agent needs at least one slot")
        self.pool = pool
        self.slots = slots
        self.limits = limits or Limits()
        self._handler: Callable[..., Any] | None = None

    def task[F: Callable[..., Any]](self, handler: F) -> F:
        """Make `handler(ctx, payload)` this agent's function. Its result must be JSON.

        An async function runs in the event loop and gets a `Context`; a plain one runs in a thread, so that it
        may block, and gets a `PlainContext`.
        """
        if self._handler is not None:
            raise RuntimeError(f"agent {self.pool!r} has a task already")
        self._handler = handler
        return handler

    def app(self) -> Starlette:
        """The executor contract as ASGI application, for tests and other servers: no registration.

        Its runner is `app.state.runner`. RuntimeError without a task.
        """
        return build_app(self._runner(self.slots))

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, as the environment says (see `yardmaster.settings`)."""
        settings = Settings.from_env(os.environ, pool=self.pool, slots=self.slots)
        _log_to_stderr()
        flush = export_traces(settings.pool)
        loop_factory = uvicorn.Config("", log_config=None).get_loop_factory()
        try:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                runner.run(serve(self._runner(settings.slots), settings))
        finally:
            flush()

    def _runner(self, slots: int) -> Runner:
        if self._handler is None:
            raise RuntimeError(f"agent {self.pool!r} has no task: decorate a function with @agent.task")
        return Runner(self._handler, slots, self.limits)


def _log_to_stderr() -> None:
    """Show the agent's own log where the author has set up none; httpx's line a request is noise."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
