"""The dependency that every route names: which scope it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.auth.callers import Caller
from app.auth.service import Authenticator, Forbidden, Unauthenticated

_bearer = HTTPBearer(auto_error=False, scheme_name="key", description="An API key (`yk_…`), or an agent's token.")


class Edge:
    """Makes the dependencies of one application."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

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

    def _checked(self, scope: str, *, or_agent: bool) -> Callable[..., Awaitable[Caller]]:
        async def checked(
            request: Request, _documented: HTTPAuthorizationCredentials | None = Depends(_bearer)
        ) -> Caller:
            return await self.check(request, scope, or_agent=or_agent)

        return checked
