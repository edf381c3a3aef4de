"""The dependency that every route names: which scope it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from opentelemetry import trace

from app.auth.callers import Caller
from app.auth.service import Authenticator, Forbidden, Unauthenticated
from app.auth.streamkeys import SCOPE as STREAM_SCOPE
from app.auth.streamkeys import StreamKeys, StreamTokenInvalid
from app.core.clock import Clock
from app.events.stream import PING_S, STILL_ALLOWED

StreamToken = Annotated[
    str | None,
    Query(
        max_length=1000,
        description="Instead of the Authorization header: a token from `GET /v1/stream-token`.",
        examples=["WyJk…"],
    ),
]
_bearer = HTTPBearer(auto_error=False, scheme_name="key", description="An API key (`yk_…`), or an agent's token.")


type Verify = Callable[[], Awaitable[Caller]]


class Recheck:
    """Whether a caller who was verified just now still is (`app.events.stream.StillAllowed`): `verify` is called, at
    most every `every_s` seconds. Only a refusal counts as one; other errors are raised."""

    def __init__(self, verify: Verify, clock: Clock, every_s: float) -> None:
        self._verify, self._clock, self._every_s = verify, clock, every_s
        self._at = clock.monotonic()

    async def __call__(self) -> bool:
        now = self._clock.monotonic()
        if now - self._at < self._every_s:
            return True
        self._at = now
        try:
            await self._verify()
        except (Unauthenticated, Forbidden, StreamTokenInvalid):
            return False
        return True


class Edge:
    """Makes the dependencies of one application. The caller of an open stream is verified again every `recheck_s`."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self.stream_keys: StreamKeys | None = None
        self.recheck_s = PING_S

    async def caller(self, request: Request) -> Caller:
        """Whoever sent the request; raises Unauthenticated."""
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not presented:
            raise Unauthenticated("Send `Authorization: Bearer <key>`.")
        return await self._authenticator.verify(presented.strip())

    async def check(self, request: Request, scope: str, *, or_agent: bool = False) -> Caller:
        """The caller, who must hold `scope` (or be an agent); raises Unauthenticated or Forbidden."""
        caller = await self.caller(request)
        if not (caller.may(scope) or (or_agent and caller.agent_id is not None)):
            raise Forbidden(f"This needs the scope `{scope}`.", extra={"needs": scope})
        return caller

    def require(self, scope: str) -> Any:
        """A route parameter's default: the caller, who must hold `scope`."""
        return Depends(self._checked(scope, or_agent=False))

    def require_agent_or(self, scope: str) -> Any:
        """The same, but an agent with its own token passes too; the route checks that it acts for itself."""
        return Depends(self._checked(scope, or_agent=True))

    def require_any(self, *scopes: str) -> Any:
        """The same where one of `scopes` is enough; without any, every verified caller passes: the route decides."""

        async def checked(
            request: Request, _documented: HTTPAuthorizationCredentials | None = Depends(_bearer)
        ) -> Caller:
            caller = await self.caller(request)
            if scopes and not any(map(caller.may, scopes)):
                raise Forbidden(f"This needs the scope `{scopes[0]}`.", extra={"needs": scopes[0]})
            return caller

        return Depends(checked)

    def require_stream(self, channel: Callable[[Request], str]) -> Any:
        """For the streaming routes: as `require("tasks:read")`, or a stream token for the channel of the request. The
        stream ends soon after the key does."""

        async def checked(
            request: Request,
            token: StreamToken = None,
            _documented: HTTPAuthorizationCredentials | None = Depends(_bearer),
        ) -> Caller:
            _untrace(request)
            keys = self.stream_keys
            if token is None or keys is None or "authorization" in request.headers:
                caller = await self.check(request, STREAM_SCOPE)
                self._keep_checking(request, lambda: self.check(request, STREAM_SCOPE))
            else:
                caller = await keys.verify(token, channel(request))
                # Of the key, not the token: that one only opens.
                self._keep_checking(request, lambda: keys.reader(caller.id, caller.tenant))
            return caller

        return Depends(checked)

    def _keep_checking(self, request: Request, verify: Verify) -> None:
        request.scope[STILL_ALLOWED] = Recheck(verify, self._authenticator.clock, self.recheck_s)

    def _checked(self, scope: str, *, or_agent: bool) -> Callable[..., Awaitable[Caller]]:
        async def checked(
            request: Request, _documented: HTTPAuthorizationCredentials | None = Depends(_bearer)
        ) -> Caller:
            return await self.check(request, scope, or_agent=or_agent)

        return checked


def _untrace(request: Request) -> None:
    """A token in an address must not end in the traces: the query is taken out of what the request's span tells."""
    span = trace.get_current_span()
    if span.is_recording() and request.url.query:
        address = str(request.url.replace(query=""))
        span.set_attributes(
            {"http.url": address, "url.full": address, "url.query": "", "http.target": request.url.path}
        )
