"""Which service, and as whom: from the options, the environment, and what the embedded service left in its folder."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import typer

from app.cli.client import Api
from app.cli.failures import Away, Misuse

DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_DATA = Path(".yardmaster")


@dataclass
class Session:
    """The global options. `url` and `key` are None where neither option nor environment says anything."""

    url: str | None
    key: str | None
    data: Path

    @cached_property
    def api(self) -> Api:
        """The client, made when a command first needs it; Away without a key, Misuse for no URL."""
        url = self._url()
        # A proxy for the outside world has no way to this machine's own addresses.
        return Api(url, self._key(url), trust_env=not is_loopback(url))

    def close(self) -> None:
        """Close the client if one was made."""
        if "api" in self.__dict__:
            self.api.close()

    def _url(self) -> str:
        url = self.url or _content(self.data / "url") or DEFAULT_URL
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            usable = False
        if not usable:
            raise Misuse(f"{url!r} is not an address like {DEFAULT_URL}")
        return url.rstrip("/")

    def _key(self, url: str) -> str:
        key = (self.key or "").strip() or self._local_key(url)
        if not key:
            raise Away(f"there is no key for {url}", lines=self._ways())
        if not (key.isascii() and key.isprintable()):
            raise Misuse("the key holds characters that no key has")
        return key

    def _local_key(self, url: str) -> str:
        """The embedded service's admin key, for that service only: another host must not be told it."""
        if is_loopback(url) or url == _content(self.data / "url").rstrip("/"):
            return _content(self.data / "admin.key")
        return ""

    def _ways(self) -> list[str]:
        return [
            "Give one with --key or YARD_API_KEY; an admin makes one with: yard key create NAME --scope tasks:write",
            f"On the machine of `yard serve --embedded` it is found in DIR/admin.key, with --data DIR "
            f"(looked in {self.data}), for local addresses.",
        ]


def is_loopback(url: str) -> bool:
    """Whether the URL points to this machine by its own name."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise Away(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def session_of(ctx: typer.Context) -> Session:
    """The session that the global options made."""
    found = ctx.find_object(Session)
    assert found is not None, "the root callback makes it"
    return found
