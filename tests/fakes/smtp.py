"""A mail server of a test's own, over real SMTP: with TLS where asked for, strict about what a mail is."""

from __future__ import annotations

import asyncio
import email
import ssl
import warnings
from collections import deque
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from functools import lru_cache
from typing import Any, Literal

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

ONCE = {"subject", "from", "to", "date", "message-id", "in-reply-to", "references", "mime-version", "content-type"}
KNOWN = ONCE | {"auto-submitted", "x-auto-response-suppress"}

type Fault = Literal["hang", "reset"] | str
"""Of DATA: silence, a broken connection, or a reply."""


@lru_cache(maxsize=1)
def authority() -> trustme.CA:
    return trustme.CA()


def client_tls() -> ssl.SSLContext:
    """Trusts the server of `MailServer`."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@dataclass(frozen=True)
class Mail:
    sender: str
    recipients: list[str]
    message: EmailMessage
    encrypted: bool
    user: str

    def text(self, kind: str = "plain") -> str:
        part = self.message.get_body((kind,))
        assert isinstance(part, EmailMessage)
        return str(part.get_content()).replace("\r\n", "\n")


@dataclass
class MailServer:
    """`security` is as the client's.

    `faults` are played one a mail, then `always`; `recipients` has replies, by address.
    """

    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: str = ""
    starttls_offered: bool = True
    got: list[Mail] = field(default_factory=list)
    refused: list[list[str]] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    always: Fault | None = None
    recipients: dict[str, str] = field(default_factory=dict)
    port: int = 0
    _server: asyncio.Server | None = None
    _protocols: list[SMTP] = field(default_factory=list)

    async def start(self) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority().issue_cert("localhost").configure_cert(tls)
        immediate = tls if self.security == "tls" else None
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: self._protocol(tls), "127.0.0.1", self.port, ssl=immediate)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for protocol in self._protocols:
                if protocol.transport is not None:
                    protocol.transport.abort()
            self._server = None
        await asyncio.sleep(0)

    def _protocol(self, tls: ssl.SSLContext) -> SMTP:
        offered = self.security == "starttls" and self.starttls_offered
        with warnings.catch_warnings(action="ignore"):  # aiosmtpd sees no TLS but that of STARTTLS
            made = SMTP(
                self,
                hostname="mail.example",
                tls_context=tls if offered else None,
                require_starttls=offered,
                auth_required=bool(self.user),
                auth_require_tls=self.security == "starttls",
                authenticator=self._authenticate if self.user else None,
            )
        self._protocols.append(made)
        return made

    def _authenticate(self, _s: SMTP, _session: Session, _e: Envelope, _mechanism: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (
            self.user.encode(),
            self.password.encode(),
        )
        # `handled`: the reply is left to aiosmtpd, 535 for a wrong password
        return AuthResult(success=right, handled=False, auth_data=self.user)

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.recipients:
            return self.recipients[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        fault = self.faults.popleft() if self.faults else self.always
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "reset":
            assert server.transport is not None
            server.transport.abort()
            return "421 gone"
        if fault is not None:
            return fault
        raw = envelope.original_content
        assert isinstance(raw, bytes)
        if problems := mail_problems(raw):
            self.refused.append(problems)
            return f"554 {'; '.join(problems)}"[:400]
        message = email.message_from_bytes(raw, policy=default)
        assert isinstance(message, EmailMessage)
        encrypted = session.ssl is not None or self.security == "tls"
        user = self.user if session.authenticated else ""
        self.got.append(Mail(str(envelope.mail_from), list(envelope.rcpt_tos), message, encrypted, user))
        return "250 OK"


def mail_problems(raw: bytes) -> list[str]:
    """What RFC 5322 and 5321 have against a mail, and every header that no mail of ours has."""
    found = [] if raw.isascii() else ["not ASCII"]
    found += (
        [] if b"\n" not in raw.replace(b"\r\n", b"") and b"\r" not in raw.replace(b"\r\n", b"") else ["bare CR or LF"]
    )
    found += [] if all(len(line) <= 998 for line in raw.split(b"\r\n")) else ["a line is longer than 998"]
    message = email.message_from_bytes(raw, policy=default)
    names = [name.lower() for name in message]
    found += [f"unknown header {name}" for name in names if name not in KNOWN]
    found += [f"{names.count(name)} times {name}" for name in ONCE if names.count(name) != 1]
    found += [f"defects: {part.defects}" for part in message.walk() if part.defects]
    found += [f"defects of {name}" for name, value in message.items() if getattr(value, "defects", ())]
    kinds = [part.get_content_type() for part in message.walk()]
    return found if kinds == ["multipart/alternative", "text/plain", "text/html"] else [*found, f"parts: {kinds}"]
