"""A notice as a message of Slack's: Block Kit within its limits, in an attachment that carries the colour. Pure.

https://docs.slack.dev/reference/block-kit and /legacy/legacy-messaging/legacy-secondary-message-attachments. The header
is a block of the message itself; `text` is what notifications show. A button's value is the group's key, or `sha256:`
and its digest where it is longer than a value may be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit

from app.alerts.notifiers import wording
from app.alerts.notifiers.alerts import Notice
from app.alerts.notifiers.base import Action, Confirm, Message, Outcome, Text
from app.alerts.notifiers.blocks import BUTTON_VALUE, escape, render, size
from app.alerts.records import Severity

ACKNOWLEDGE, SILENCE = "alert.acknowledge", "alert.silence"
MAX_LINES, MAX_LINE, MAX_LINK = 30, 500, 800
RESOLVED_COLOUR = "#2eb67d"
COLOURS: Mapping[Severity, str] = MappingProxyType(
    {"critical": "#c0143c", "error": "#e8590c", "warning": "#f2c744", "info": "#439fe0"}
)


def message(notice: Notice, *, buttons: bool) -> dict[str, Any]:
    """`text`, `blocks` and `attachments` of a post or an update."""
    shown = render(_message(notice, buttons=buttons))
    head, body = shown.blocks[:1], shown.blocks[1:]
    if link := _link(notice.url):
        body.append({"type": "context", "elements": [{"type": "mrkdwn", "text": link, "verbatim": True}]})
    colour = COLOURS[notice.severity] if notice.firing else RESOLVED_COLOUR
    attachment = {"color": colour, "fallback": shown.text, "blocks": body}
    return {"text": shown.text, "blocks": head, "attachments": [attachment] if body else []}


def reminder(notice: Notice) -> dict[str, Any]:
    """One line below the message, for those who saw it before."""
    why = "New alerts" if notice.reason == "new_alerts" else "Still firing"
    return {"text": escape(wording.cut(f"{why}: {wording.title(notice)}", 1000))}


def button_value(group_key: str) -> str:
    """What a click on a button of this group's message brings back."""
    if size(group_key) <= BUTTON_VALUE and wording.printable(group_key) == group_key:
        return group_key
    return "sha256:" + hashlib.sha256(group_key.encode("utf-8", "surrogatepass")).hexdigest()


def _message(notice: Notice, *, buttons: bool) -> Message:
    alerts = wording.ordered(notice)
    lines = [wording.cut(wording.line(alert), MAX_LINE) for alert in alerts[:MAX_LINES]] if len(alerts) > 1 else []
    if len(alerts) > MAX_LINES:
        lines.append(f"and {len(alerts) - MAX_LINES} more")
    texts = tuple(Text(text) for text in (wording.sentence(notice), "\n".join(lines)) if text)
    ended = wording.ended_at(notice)
    return Message(
        wording.title(notice),
        fields=wording.facts(notice),
        texts=texts,
        actions=_actions(notice) if buttons else (),
        outcome=None if notice.firing else Outcome("Resolved", at=ended),
        elsewhere=wording.one_line(notice.url),
    )


def _actions(notice: Notice) -> tuple[Action, ...]:
    value = button_value(notice.group_key)
    ask = Confirm("Silence this group?", "No more notifications of it until the silence ends.", "Silence", "Cancel")
    taken = () if notice.acknowledged_by else (Action(ACKNOWLEDGE, "Acknowledge", value, "primary"),)
    return (*taken, Action(SILENCE, "Silence", value, confirm=ask))


def _link(url: str) -> str:
    """`<url|words>` for a URL that can be a link, else empty."""
    try:
        usable = urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
        safe = escape(quote(url, safe="%/:?#[]@!$&'()*+,;=~-._")) if usable else ""
    except ValueError:  # no URL, or text that is no Unicode
        return ""
    return f"<{safe}|Open in Yardmaster>" if safe and size(safe) <= MAX_LINK else ""
