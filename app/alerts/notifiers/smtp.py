"""One mail over SMTP: where to, and what came of it. Nothing a mail server does raises."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from aiosmtplib import SMTP, SMTPException, SMTPRecipientsRefused, SMTPResponseException
from pydantic import SecretStr

type Security = Literal["starttls", "tls", "none"]

PORTS: Mapping[Security, int] = {"starttls": 587, "tls": 465, "none": 25}
QUIT_S = 2.0
_NO_PASSWORD = SecretStr("")
MAX_ADDRESS = 254
ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
"""RFC 5322's `dot-atom`, in ASCII: quoted local parts, comments and domain literals are left to others."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The installation's mail relay. `port` 0: the usual one. `sender` is the address that mails come from.

    ValueError for credentials without encryption, and for what is no address or name.
    """

    host: str
    sender: str
    security: Security = "starttls"
    port: int = 0
    username: str = ""
    password: SecretStr = _NO_PASSWORD
    name: str = "Yardmaster"
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.username and self.security == "none":
            raise ValueError("credentials are not sent over an unencrypted connection")
        if not is_address(self.sender) or not self.name.isprintable():
            raise ValueError("a sender is an address, and a name is printable")


def is_address(text: str) -> bool:
    """Whether mail may be sent there. Nothing that could end a header or a command of SMTP is one."""
    local, _, domain = text.rpartition("@")
    dots = ".." in text or local.startswith(".") or local.endswith(".")
    return ADDRESS.fullmatch(text) is not None and len(text) <= MAX_ADDRESS and not dots and bool(domain)


@dataclass(frozen=True, slots=True)
class Sent:
    """Per recipient the server's reply where it refused; `failure` where nobody got the mail: its reply, code 0 when it
    was no reply. `lasting`: the same happens again."""

    refused: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    failure: tuple[int, str] | None = None
    lasting: bool = False


async def send(server: SmtpServer, recipients: Sequence[str], body: bytes, *, timeout_s: float) -> Sent:
    """Hands the mail over. RFC 5321, 4.2.1: a reply 4xx may pass, 5xx stays."""
    client = SMTP(
        hostname=server.host,
        port=server.port or PORTS[server.security],
        local_hostname="yardmaster.invalid",  # our own name need not be looked up
        timeout=timeout_s,
        use_tls=server.security == "tls",
        start_tls=server.security == "starttls",
        tls_context=server.tls,
        username=server.username or None,
        password=server.password.get_secret_value() or None,
    )
    try:
        async with asyncio.timeout(timeout_s):
            await client.connect()
            sent = await _handed_over(client, server, recipients, body)
        await _good_bye(client)
        return sent
    except TimeoutError:  # aiosmtplib's own is one too
        return Sent(failure=(0, f"no answer within {timeout_s:g} s"))
    except SMTPResponseException as exc:
        return Sent(failure=(exc.code, exc.message), lasting=exc.code >= 500)
    except (SMTPException, OSError, ValueError) as exc:
        return Sent(failure=(0, f"{type(exc).__name__}: {exc}"))
    finally:
        client.close()


async def _handed_over(client: SMTP, server: SmtpServer, recipients: Sequence[str], body: bytes) -> Sent:
    try:
        refused, _ = await client.sendmail(server.sender, list(recipients), body)
    except SMTPRecipientsRefused as exc:
        return Sent(refused={each.recipient: (each.code, each.message) for each in exc.recipients})
    return Sent(refused={address: (reply.code, reply.message) for address, reply in refused.items()})


async def _good_bye(client: SMTP) -> None:
    """QUIT. The mail is taken: whatever becomes of this changes nothing."""
    with contextlib.suppress(TimeoutError, SMTPException, OSError):
        async with asyncio.timeout(QUIT_S):
            await client.quit()
