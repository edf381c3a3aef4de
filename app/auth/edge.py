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

    def require(self, scope: str) -> Any:
        """A route parameter's default: the caller, who must hold `scope`."""
        return Depends(self._checked(lambda caller: caller.may(scope), scope))

    def require_agent_or(self, scope: str) -> Any:
        """The same, but an agent with its own token passes too; the route checks that it acts for itself."""
        return Depends(self._checked(lambda caller: caller.agent_id is not None or caller.may(scope), scope))

    def _checked(self, allowed: Callable[[Caller], bool], scope: str) -> Callable[..., Awaitable[Caller]]:
        async def checked(
            request: Request, _documented: HTTPAuthorizationCredentials | None = Depends(_bearer)
        ) -> Caller:
            caller = await self.caller(request)
            if not allowed(caller):
                raise Forbidden(f"This needs the scope `{scope}`.", extra={"needs": scope})
            return caller

        return checked
