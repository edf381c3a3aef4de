"""Where webhooks may point: the public internet, and the networks a setting adds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from app.core.errors import Invalid

MAX_URL = 2000
RESOLVE_TIMEOUT_S = 3.0

type Allows = Callable[[str], bool]
"""Whether webhooks may connect to an address, given as text."""


class BadWebhookUrl(Invalid):
    code, title = "bad_webhook_url", "Bad webhook URL"


class WebhookAddressRefused(Invalid):
    code, title = "address_not_allowed", "Address not allowed"


def _without[Network: (IPv4Network, IPv6Network)](whole: Network, parts: list[Network]) -> list[Network]:
    left = [whole]
    for part in parts:
        left = [piece for net in left for piece in (net.address_exclude(part) if part.subnet_of(net) else [net])]
    return left


# The IANA registries of special-purpose addresses (RFC 6890): what is not globally reachable, and multicast.
_SPECIAL_V4 = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/3",
)  # fmt: skip
_SPECIAL_V6 = ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

PUBLIC: tuple[str, ...] = (
    *(str(net) for net in _without(IPv4Network("0.0.0.0/0"), [IPv4Network(text) for text in _SPECIAL_V4])),
    *(str(net) for net in _without(IPv6Network("2000::/3"), [IPv6Network(text) for text in _SPECIAL_V6])),
)
"""The public internet, as networks."""

LOOPBACK = ("127.0.0.0/8", "::1/128")


def networks(allowed: list[str], *, loopback: bool) -> list[str]:
    """Networks that webhooks may point into; ValueError for what is not a network in CIDR form."""
    own = [str(ip_network(text)) for text in allowed]
    return [*PUBLIC, *own, *(LOOPBACK if loopback else ())]


def split_url(url: str) -> tuple[str, int]:
    """Host and port of a webhook's URL; raises BadWebhookUrl."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise _bad(f"The URL cannot be read: {exc}.") from None
    if parts.scheme not in ("http", "https") or not host or len(url) > MAX_URL:
        raise _bad(f"A webhook's URL is http(s)://host[:port][/path][?query], at most {MAX_URL} characters.")
    if parts.username is not None or parts.password is not None or "#" in url:
        raise _bad("A webhook's URL has no user, password or fragment.")
    if any(char <= " " or char == "\x7f" for char in url) or "\\" in url:
        raise _bad("A webhook's URL has no spaces, control characters or backslashes.")
    if port == 0:
        raise _bad("Port 0 cannot be called.")
    return host, port or (443 if parts.scheme == "https" else 80)


def literal_refused(url: str, allows: Allows) -> bool:
    """Whether the host is an address, and not one to connect to: an address passes no resolver.

    An address in an unusual form (127.1, 0x7f000001) is read by each program in its own way, so none is taken.
    """
    host, _ = split_url(url)
    try:
        ip_address(host)
    except ValueError:
        return _is_odd_address(host)
    return not allows(host)


def _is_odd_address(host: str) -> bool:
    try:
        socket.inet_aton(host.encode("idna").decode())
    except (OSError, UnicodeError):
        return False
    return True


async def check_url(url: str, allows: Allows) -> None:
    """Raises BadWebhookUrl or WebhookAddressRefused. The name is looked up again at each connection (`sender`)."""
    host, port = split_url(url)
    if literal_refused(url, allows):
        raise _refused(host)
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        return  # a slow name server says nothing about the URL
    except (OSError, UnicodeError):
        raise _bad(f"The name {host} does not resolve.") from None
    refused = [str(info[4][0]) for info in found if not allows(str(info[4][0]))]
    if refused:
        raise _refused(refused[0])


def _bad(detail: str) -> BadWebhookUrl:
    return BadWebhookUrl(detail, extra={"errors": [{"path": "url", "message": detail}]})


def _refused(address: str) -> WebhookAddressRefused:
    return WebhookAddressRefused(
        f"{address} is outside the networks that webhooks may point into (YARD_WEBHOOKS_ALLOWED_NETWORKS).",
        extra={"errors": [{"path": "url", "message": f"address {address} is not allowed"}]},
    )
