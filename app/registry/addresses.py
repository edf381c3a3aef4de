"""Where agents may live: an allow-list of networks, with addresses that are never allowed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from app.core.errors import Invalid

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network

MAX_URL = 500

NEVER: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the metadata services of most clouds
        "100.100.100.200/32",  # metadata of Alibaba Cloud
        "224.0.0.0/4",
        "255.255.255.255/32",
        "::/128",
        "fe80::/10",
        "fd00:ec2::/32",  # metadata of AWS over IPv6
        "ff00::/8",
    )
)

NAT64 = IPv6Network("64:ff9b::/96")


class AddressRefused(Invalid):
    code, title = "address_not_allowed", "Agent address not allowed"


class BadUrl(Invalid):
    code, title = "bad_agent_url", "Bad agent URL"


class AllowList:
    """Decides over addresses. Pure, except for `check_url`, which asks the resolver."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks: tuple[Network, ...] = tuple(ip_network(text) for text in networks)

    def allows(self, address: Address) -> bool:
        """Whether agents may have this address. An IPv4 address inside IPv6 counts as the IPv4 address."""
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address.sixtofour or _nat64(address) or address
        if any(address in network for network in NEVER):
            return False
        return any(address in network for network in self._networks)

    def allows_text(self, text: str) -> bool:
        """The same for an address as text; False for anything else."""
        try:
            return self.allows(ip_address(text.partition("%")[0]))
        except ValueError:
            return False

    async def check_url(self, url: str) -> str:
        """The URL in normal form (no trailing slash); raises BadUrl or AddressRefused.

        Every address of a name must be allowed. The name is looked up again at each connection (`dispatch`), so an
        answer that changes later does not get around this.
        """
        host, port = split_agent_url(url)
        refused = [text for text in await resolve(host, port) if not self.allows_text(text)]
        if refused:
            raise AddressRefused(
                f"{host} is at {refused[0]}, outside the networks that agents may be in.",
                extra={"errors": [{"path": "url", "message": f"address {refused[0]} is not allowed"}]},
            )
        if _is_odd_address(host):
            raise BadUrl(f"{host} is an address in an unusual form: write it with four numbers, as 127.0.0.1.")
        return url.rstrip("/")


def _nat64(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address behind the translators' well-known prefix (RFC 6052)."""
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else None


def _is_odd_address(host: str) -> bool:
    """Whether resolvers read the host as an IPv4 address though it is not written as one: 127.1, 0x7f000001, 017.0.0.1.

    Each program reads such a host in its own way, so none is taken: dispatch would refuse it.
    """
    try:
        socket.inet_aton(host.encode("idna").decode())
    except (OSError, UnicodeError):
        return False
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def split_agent_url(url: str) -> tuple[str, int]:
    """Host and port of an agent's URL; raises BadUrl. Only plain http(s) URLs without user, query or fragment."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise BadUrl(f"The URL cannot be read: {exc}.") from None
    if parts.scheme not in ("http", "https") or not host or len(url) > MAX_URL:
        raise BadUrl("An agent's URL is http(s)://host[:port][/path], at most 500 characters.")
    if parts.username or parts.password or parts.query or parts.fragment or any(c <= " " for c in url):
        raise BadUrl("An agent's URL has no user, query, fragment or spaces.")
    if port == 0:
        raise BadUrl("Port 0 cannot be called.")
    return host, port or (443 if parts.scheme == "https" else 80)


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name (or the address itself); raises BadUrl when there is none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise BadUrl(f"The name {host} does not resolve.") from None
    return sorted({str(info[4][0]) for info in found})
