"""One HTTP call to the service: JSON in, JSON out, every failure a `Failure`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

from app.cli.answers import Answer, decoded
from app.cli.failures import Away, Failure, Refused

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 35.0  # the service's own statement timeout is 30 s: let it speak first
PAGE_SIZE = 500

type Params = Mapping[str, str | int]


class Api:
    """The service at `url`, as the caller of `key`. Close it after use."""

    def __init__(self, url: str, key: str, *, trust_env: bool = True) -> None:
        self.url = url
        self.trust_env = trust_env
        self.headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self._http = httpx.Client(base_url=url, headers=self.headers, timeout=timeout, trust_env=trust_env)

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def get(self, path: str, params: Params | None = None) -> Any:
        """The JSON at `path`."""
        return self._call("GET", path, params=params)

    def text(self, path: str, params: Params, accept: str) -> str:
        """What is at `path` as text of another kind than JSON."""
        answer = self._answer("GET", path, params=params, headers={"Accept": accept})
        if not answer.is_success:
            raise refused(answer, self.url)
        return answer.text

    def send(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Any:
        """Send a JSON body (see `encoded`); the answer's JSON."""
        content = {"Content-Type": "application/json"} if body is not None else {}
        return self._call(method, path, content=body, headers={**content, **(headers or {})})

    def page(self, path: str, params: Params | None = None, *, limit: int | None = None) -> dict[str, Any]:
        """A list as the API shapes it, `{"items","next_page_token"}`: `limit` items of it, or all."""
        items: list[Any] = []
        token: str | None = None
        while limit is None or len(items) < limit:
            size = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit - len(items))
            cursor = {"page_token": token} if token else {}
            got = self.get(path, {**(params or {}), "page_size": size, **cursor})
            items += got["items"]
            token = got["next_page_token"]
            if token is None:
                break
        return {"items": items, "next_page_token": token}

    def _call(self, method: str, path: str, **options: Any) -> Any:
        return content_of(self._answer(method, path, **options), self.url)

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.TimeoutException:
            raise Away(f"no answer in time from {self.url}") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise unreachable(self.url, error) from None


def encoded(value: Any) -> bytes:
    """A value as a JSON body; Failure where it holds what JSON cannot (half of a surrogate pair, NaN)."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError) as error:
        raise Failure(f"this cannot be sent as JSON: {error}") from None


def unreachable(url: str, error: Exception) -> Away:
    """No connection: why, and what to look at."""
    why = str(error) or type(error).__name__
    return Away(
        f"cannot reach the service at {url}: {why}", lines=["Is it running? Start it with: yard serve --embedded"]
    )


def content_of(answer: httpx.Response, url: str) -> Any:
    """The JSON of a success, None of an empty one; raises Refused for an error, Failure for no JSON."""
    if not answer.is_success:
        raise refused(answer, url)
    if not answer.content:
        return None
    try:
        content = decoded(answer.content)
    except ValueError:
        content = None
    if not isinstance(content, Answer):
        raise Failure(f"the server at {url} did not answer with a JSON object; is it Yardmaster?")
    return content


def refused(answer: httpx.Response, url: str) -> Refused:
    """An error answer, read as problem+json where it is one."""
    problem = _problem(answer)
    if problem is None:
        code = f"http_{answer.status_code}"
        return Refused(
            f"{url} answered {answer.status_code} {answer.reason_phrase}", status=answer.status_code, code=code
        )
    detail = str(problem.get("detail") or problem.get("title") or "the request was refused")
    lines = _listed(problem.get("errors"), detail)
    if answer.headers.get("retry-after"):
        lines.append(f"try again in {answer.headers['retry-after']} s")
    return Refused(detail.rstrip("."), status=answer.status_code, code=str(problem["code"]), lines=lines)


def _problem(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        body = answer.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) and "code" in body else None


def _listed(errors: object, detail: str) -> list[str]:
    """The single errors with their paths, without one that the detail repeats."""
    found = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    lines = [": ".join(str(part) for part in (e.get("path"), e.get("message")) if part) for e in found]
    return [line for line in lines if line != detail]
