"""Where agents may be: never link-local, never a metadata service, however the address is written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.registry.addresses import AddressRefused, AllowList, BadUrl, split_agent_url
from app.settings import RegistrySettings

DEFAULT = AllowList(RegistrySettings().allowed_networks)
EVERYTHING = AllowList(["0.0.0.0/0", "::/0"])


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("127.0.0.1", True), ("127.255.255.254", True), ("::1", True), ("10.1.2.3", True), ("172.16.0.1", True),
        ("172.31.255.255", True), ("172.32.0.1", False), ("192.168.1.1", True), ("100.64.0.1", True),
        ("fd12:3456::1", True), ("8.8.8.8", False), ("2001:4860:4860::8888", False), ("169.254.169.254", False),
        ("169.254.0.1", False), ("fe80::1", False), ("fe80::1%eth0", False), ("fd00:ec2::254", False),
        ("100.100.100.200", False), ("0.0.0.0", False), ("::", False), ("255.255.255.255", False),
        ("224.0.0.1", False), ("ff02::1", False), ("::ffff:127.0.0.1", True), ("::ffff:169.254.169.254", False),
        ("::ffff:8.8.8.8", False), ("2002:a9fe:a9fe::1", False), ("", False), ("localhost", False), ("127.1", False),
        ("2130706433", False), ("127.0.0.1/8", False),
    ],
)  # fmt: skip
def test_the_default(address: str, allowed: bool) -> None:
    assert DEFAULT.allows_text(address) is allowed


link_local = st.integers(0, 2**16 - 1).map(lambda n: IPv4Address((169 << 24 | 254 << 16) + n))
link_local_6 = st.integers(0, 2**118 - 1).map(lambda n: IPv6Address((0xFE80 << 112) + n))


@given(link_local | link_local_6)
def test_link_local_is_never_allowed_not_even_by_everything(address: IPv4Address | IPv6Address) -> None:
    assert address.is_link_local
    assert not EVERYTHING.allows(address)


@given(link_local)
def test_nor_in_the_clothes_of_ipv6(address: IPv4Address) -> None:
    assert not EVERYTHING.allows(IPv6Address(f"::ffff:{address}"))
    assert not EVERYTHING.allows(IPv6Address((0x2002 << 112) | (int(address) << 80) | 1))
    assert not EVERYTHING.allows(IPv6Address((0x64FF9B << 96) | int(address))), "NAT64, RFC 6052"


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 32))
def test_exactly_the_listed_networks_are_allowed(address: IPv4Address, near: IPv4Address, prefix: int) -> None:
    network = ip_network(f"{near}/{prefix}", strict=False)
    if AllowList([str(network)]).allows(address):
        assert address in network
        assert not address.is_multicast and not address.is_link_local and not address.is_unspecified
    assert not AllowList([]).allows(address)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("https://agent.internal/base/", ("agent.internal", 443)),
        ("http://[::1]:9", ("::1", 9)),
        ("http://HOST", ("host", 80)),
    ],
)
def test_urls(url: str, parts: tuple[str, int]) -> None:
    assert split_agent_url(url) == parts


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://h", "file:///etc/passwd", "http://", "http://:80", "http://u:p@h", "http://u@h", "http://h?q=1",
     "http://h/#f", "http://h:0", "http://h:99999", "http://h:x", "http://a b", "http://h/\n", "http://[::1",
     "//h", "http://h/" + "x" * 500],
)  # fmt: skip
def test_bad_urls(url: str) -> None:
    with pytest.raises(BadUrl):
        split_agent_url(url)


@given(st.text(max_size=40) | st.text(max_size=20).map(lambda text: "http://" + text))
def test_any_text_is_a_url_or_a_problem(text: str) -> None:
    try:
        host, port = split_agent_url(text)
    except BadUrl:
        return
    assert host and 0 < port < 65536


@pytest.mark.parametrize(
    "host", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.1", "0x7f.1", "１２７.1", "127.0.0.01"]
)
async def test_a_number_that_only_some_read_as_an_address_is_refused(host: str) -> None:
    with pytest.raises(BadUrl, match=r"unusual form|does not resolve|cannot be read"):
        await DEFAULT.check_url(f"http://{host}:9000")


async def test_what_is_refused_for_its_place_says_so_however_it_is_written() -> None:
    for host in ("0xa9fea9fe", "169.16689662", "8.8.2056"):
        with pytest.raises(AddressRefused):
            await DEFAULT.check_url(f"http://{host}")


async def test_addresses_and_names_are_taken_as_they_are() -> None:
    for host in ("127.0.0.1", "[::1]", "localhost", "10.1.2.3", "[::ffff:10.1.2.3]"):
        assert await DEFAULT.check_url(f"http://{host}:9000") == f"http://{host}:9000"


async def test_a_name_is_judged_by_its_addresses() -> None:
    assert await DEFAULT.check_url("http://localhost:1/base/") == "http://localhost:1/base"
    with pytest.raises(AddressRefused):
        await AllowList(["10.0.0.0/8"]).check_url("http://localhost:1")
    with pytest.raises(BadUrl):
        await DEFAULT.check_url("http://no-such-name.invalid")
    for host in ("169.254.169.254", "[fe80::1]", "0x7f000001.invalid", "8.8.8.8"):
        with pytest.raises((AddressRefused, BadUrl)):
            await DEFAULT.check_url(f"http://{host}:80")
