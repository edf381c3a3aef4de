"""A notice as a mail, in text and in HTML. Pure.

Mails of one group hang together (RFC 5322, 3.6.4): all refer to an id that only the group makes, and each to the one
before. A mail's own id is made of the notice's, so that a second try of it is the same mail to those who got both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from email.header import Header
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import Compat32
from email.utils import format_datetime, formataddr
from html import escape

from app.alerts.notifiers import wording
from app.alerts.notifiers.alerts import Notice
from app.alerts.notifiers.slack_alert_message import COLOURS, RESOLVED_COLOUR

MAX_SUBJECT, MAX_ALERTS, MAX_TEXT = 200, 100, 2000
POLICY = Compat32(linesep="\r\n", max_line_length=78)
"""Not the newer `policy.SMTP`: its folding loses spaces between words that have to be encoded."""


def mail(notice: Notice, *, sender: str, name: str, recipients: Sequence[str], now: datetime) -> tuple[bytes, str]:
    """The mail as it is sent, and its Message-ID. The addresses are checked ones, in ASCII."""
    domain = sender.rpartition("@")[2]
    thread, own = f"<{_digest(notice)}.group@{domain}>", f"<{notice.id}.{_digest(notice)[:8]}@{domain}>"
    before = notice.receipt if _is_id(notice.receipt) else ""
    made = MIMEMultipart("alternative", policy=POLICY)
    made["Subject"] = _encoded(wording.cut(wording.title(notice), MAX_SUBJECT))
    made["From"] = formataddr((name, sender))
    made["To"] = ", ".join(recipients)
    made["Date"] = format_datetime(now.astimezone(UTC))
    made["Message-ID"] = own
    made["In-Reply-To"] = before or thread
    made["References"] = f"{thread} {before}".strip()
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    made["X-Auto-Response-Suppress"] = "All"
    made.attach(MIMEText(text(notice), "plain", "utf-8", policy=POLICY))
    made.attach(MIMEText(html(notice), "html", "utf-8", policy=POLICY))
    return made.as_bytes(), own


def text(notice: Notice) -> str:
    """The body for readers of plain text."""
    said = wording.sentence(notice)
    facts = [f"{name}: {_shown(value)}" for name, value in wording.facts(notice)]
    lines = [f"- {wording.cut(wording.line(alert), MAX_TEXT)}" for alert in wording.ordered(notice)[:MAX_ALERTS]]
    parts = [wording.title(notice), wording.cut(said, MAX_TEXT), "\n".join(facts), "\n".join(lines), _rest(notice)]
    return "\n\n".join(part for part in (*parts, wording.one_line(notice.url)) if part) + "\n"


def html(notice: Notice) -> str:
    """The body for all others: no picture, no script, nothing from elsewhere."""
    colour = COLOURS[notice.severity] if notice.firing else RESOLVED_COLOUR
    cells = "".join(
        f'<tr><th align="left">{escape(name)}</th><td>{escape(_shown(value))}</td></tr>'
        for name, value in wording.facts(notice)
    )
    items = "".join(
        f"<li>{escape(wording.cut(wording.line(alert), MAX_TEXT))}</li>"
        for alert in wording.ordered(notice)[:MAX_ALERTS]
    )
    said = escape(wording.cut(wording.sentence(notice), MAX_TEXT)).replace("\n", "<br>")
    return (
        f'<!DOCTYPE html><html><head><meta charset="utf-8"><title>{escape(wording.title(notice))}</title></head>'
        f'<body style="font-family:sans-serif"><h2 style="border-left:6px solid {colour};padding-left:8px">'
        f"{escape(wording.title(notice))}</h2><p>{said}</p><table>{cells}</table><ul>{items}</ul>"
        f"<p>{escape(_rest(notice))}</p>{_link(notice.url)}</body></html>\n"
    )


def _encoded(words: str) -> str:
    """A subject of one line; encoded where it is not ASCII, or would be taken for something that was."""
    plain = words.isascii() and "=?" not in words
    return Header(words, "us-ascii" if plain else "utf-8", header_name="Subject").encode()


def _digest(notice: Notice) -> str:
    key = f"{notice.receiver}\0{notice.group_key}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(key).hexdigest()[:32]


def _is_id(receipt: str) -> bool:
    inner = receipt[1:-1]
    return receipt == f"<{inner}>" and inner.isascii() and inner.isprintable() and not set(inner) & set(" <>")


def _shown(value: str | datetime) -> str:
    return value if isinstance(value, str) else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _rest(notice: Notice) -> str:
    more = len(notice.alerts) - MAX_ALERTS
    return f"{more} more alerts are not shown here." if more > 0 else ""


def _link(url: str) -> str:
    shown = wording.one_line(url)
    if not shown.startswith(("http://", "https://")):
        return ""
    return f'<p><a href="{escape(shown)}">{escape(shown)}</a></p>'
