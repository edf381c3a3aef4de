"""A message as Slack's Block Kit, within its limits. Pure.

Limits of https://docs.slack.dev/reference/block-kit: characters are counted as UTF-16 units after escaping. All blocks
of a message together may have about 13,200 characters of JSON (Slack answers `msg_blocks_too_long`, undocumented).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from app.alerts.notifiers.base import Action, Message, Outcome, Text, Value

MAX_BLOCKS, MAX_TOTAL, SHRINKS = 50, 12_000, 12
HEADER, SECTION, FIELD, FIELDS = 150, 3000, 2000, 10
BUTTON, BUTTON_VALUE, ACTION_ID, BUTTONS = 75, 2000, 255, 25
CONFIRM_TITLE, CONFIRM_TEXT, CONFIRM_BUTTON = 100, 300, 30
TEXT = 3000
ELLIPSIS = "…"
CUT = "Not all of it is shown here."
_USER = re.compile(r"slack:([UW][A-Z0-9]{1,30})")


@dataclass(frozen=True, slots=True)
class Rendered:
    """`text` is what notifications show; `cut`: something did not fit."""

    text: str
    blocks: list[dict[str, Any]]
    cut: bool


def escape(text: str) -> str:
    """Text in which Slack finds no link, mention or entity."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def size(text: str) -> int:
    """UTF-16 units."""
    return len(text) + sum(char > "\uffff" for char in text)


def render(message: Message) -> Rendered:
    """The message, cut as little as fits: each part to its own limit, then all parts alike until the total holds.

    One of very many parts is left with its title, its outcome and where to read the rest.
    """
    for shrink in range(SHRINKS):
        kit = _Kit(0.7**shrink)
        blocks = kit.blocks(message)
        if len(orjson.dumps(blocks).decode()) <= MAX_TOTAL:
            return Rendered(kit.plain(message), blocks, kit.cut)
    bare = Message(message.title, texts=(Text(f"{CUT} {message.elsewhere}"),), outcome=message.outcome)
    kit = _Kit(0.1)
    return Rendered(kit.plain(bare), kit.blocks(bare), cut=True)


class _Kit:
    """Builds the blocks of one message; notes in `cut` whether anything was left out."""

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self.cut = False

    def blocks(self, message: Message) -> list[dict[str, Any]]:
        head = [{"type": "header", "text": self._plain_text(message.title or ELLIPSIS, HEADER)}]
        body = [*self._fields(message), *(self._text(text) for text in message.texts if text.text)]
        room = MAX_BLOCKS - 4  # the header, the outcome, the note of a cut and the actions
        if len(body) > room:
            body, self.cut = body[:room], True
        if message.outcome is not None:
            body.append(_section(_mrkdwn(self._ending(message.outcome))))
        actions = self._actions(message)
        note = [self._note(message)] if self.cut else []
        return [*head, *body, *note, *actions]

    def plain(self, message: Message) -> str:
        """One line for notifications, and for clients that show no blocks."""
        end = "" if message.outcome is None else f": {message.outcome.text}"
        return fit(f"{message.title}{end}", TEXT, escape)[0] or ELLIPSIS

    def _fit(self, text: str, limit: int, encode: Callable[[str], str]) -> str:
        found, cut = fit(text, max(1, int(limit * self._scale)), encode)
        self.cut |= cut
        return found

    def _plain_text(self, text: str, limit: int) -> dict[str, Any]:
        return {"type": "plain_text", "text": self._fit(text, limit, str), "emoji": False}

    def _fields(self, message: Message) -> list[dict[str, Any]]:
        made = [self._field(name, value) for name, value in message.fields]
        return [{"type": "section", "fields": made[n : n + FIELDS]} for n in range(0, len(made), FIELDS)]

    def _field(self, name: str, value: Value) -> dict[str, Any]:
        label = f"*{fit(name, 100, escape)[0]}*\n"
        if isinstance(value, datetime):
            return _mrkdwn(label + date(value))
        return _mrkdwn(label + self._fit(value or "-", FIELD - size(label), escape))

    def _text(self, text: Text) -> dict[str, Any]:
        if not text.code:
            return _section(_mrkdwn(self._fit(text.text, SECTION, escape)))
        # Not mrkdwn: three backticks inside would end a code block of that, and what follows would be taken for ours.
        shown = {"type": "text", "text": self._fit(text.text, SECTION, str)}
        return {"type": "rich_text", "elements": [{"type": "rich_text_preformatted", "elements": [shown]}]}

    def _ending(self, outcome: Outcome) -> str:
        who = _USER.fullmatch(outcome.source)
        by = f"<@{who[1]}>" if who else self._fit(outcome.by, 200, escape)
        words = [f"*{self._fit(outcome.text, 200, escape)}*", f"by {by}" if by else ""]
        words.append("" if outcome.at is None else date(outcome.at))
        reason = f"\n{self._fit(outcome.reason, SECTION - 1000, escape)}" if outcome.reason else ""
        return " ".join(filter(None, words)) + reason

    def _actions(self, message: Message) -> list[dict[str, Any]]:
        offered = [] if message.outcome is not None else message.actions[:BUTTONS]
        buttons = [self._button(action) for action in offered if not (action.needs_whole and self.cut)]
        return [{"type": "actions", "elements": buttons}] if buttons else []

    @staticmethod
    def _button(action: Action) -> dict[str, Any]:
        if size(action.value) > BUTTON_VALUE or size(action.id) > ACTION_ID:
            raise ValueError(f"the value or the id of the action {action.id[:40]!r} is longer than Slack's limit")
        button: dict[str, Any] = {
            "type": "button",
            "action_id": action.id,
            "value": action.value,
            "text": _label(action.label, BUTTON),
        }
        if action.style is not None:
            button["style"] = action.style
        if action.confirm is not None:
            button["confirm"] = {
                "title": _label(action.confirm.title, CONFIRM_TITLE),
                "text": _label(action.confirm.text, CONFIRM_TEXT),
                "confirm": _label(action.confirm.yes, CONFIRM_BUTTON),
                "deny": _label(action.confirm.no, CONFIRM_BUTTON),
            }
        return button

    @staticmethod
    def _note(message: Message) -> dict[str, Any]:
        words = f"{CUT} {message.elsewhere}".strip()
        return {"type": "context", "elements": [_mrkdwn(fit(words, 1000, escape)[0])]}


def fit(text: str, limit: int, encode: Callable[[str], str]) -> tuple[str, bool]:
    """`text` encoded in at most `limit` UTF-16 units, and whether it was cut; `encode` works on each character."""
    if size(encoded := encode(text)) <= limit:
        return encoded, False
    kept, left = list[str](), limit - size(ELLIPSIS)
    for char in text:
        part = encode(char)
        left -= size(part)
        if left < 0:
            break
        kept.append(part)
    return "".join(kept) + ELLIPSIS, True


def date(at: datetime) -> str:
    """The time in the reader's own zone; readers whose client cannot do that see UTC."""
    fallback = at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"<!date^{int(at.timestamp())}^{{date_short_pretty}} {{time_secs}}|{fallback}>"


def _mrkdwn(text: str) -> dict[str, Any]:
    # verbatim: what looks like an address, a channel or a person stays text
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _section(text: dict[str, Any]) -> dict[str, Any]:
    return {"type": "section", "text": text}


def _label(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": fit(text, limit, str)[0], "emoji": False}
