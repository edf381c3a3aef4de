"""Messages as Slack judges them: the limits of Block Kit, of attachments and of the whole."""

from __future__ import annotations

import json
import re
from typing import Any

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def block_problem(body: dict[str, Any]) -> str | None:
    """The error that Slack would answer to blocks beyond its limits."""
    attachments = body.get("attachments", [])
    if not body.get("text") and not body.get("blocks") and not attachments:
        return "no_text"
    if _units(body.get("text", "")) > 40_000:
        return "msg_too_long"
    if not all(map(_attachment_fits, attachments)) or len(attachments) > 20:
        return "invalid_attachments"
    blocks = [*body.get("blocks", []), *(block for attachment in attachments for block in attachment["blocks"])]
    if len(json.dumps(blocks, ensure_ascii=False)) > 13_200:
        return "msg_blocks_too_long"
    return None if len(blocks) <= 50 and all(map(_fits, blocks)) else "invalid_blocks"


def _attachment_fits(attachment: dict[str, Any]) -> bool:
    """Blocks in an attachment go with `color` and `fallback` and nothing else."""
    known = attachment.keys() <= {"color", "fallback", "blocks"}
    return known and bool(attachment.get("blocks")) and bool(_COLOUR.fullmatch(attachment.get("color", "")))


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _text(item: dict[str, Any], limit: int) -> bool:
    return item["type"] in ("plain_text", "mrkdwn") and 1 <= _units(item["text"]) <= limit


def _fits(block: dict[str, Any]) -> bool:
    match block["type"]:
        case "header":
            return block["text"]["type"] == "plain_text" and _text(block["text"], 150)
        case "section":
            fields = block.get("fields")
            if fields is None:
                return _text(block["text"], 3000)
            return 1 <= len(fields) <= 10 and all(_text(item, 2000) for item in fields)
        case "context":
            return len(block["elements"]) <= 10 and all(_text(item, 3000) for item in block["elements"])
        case "actions":
            return 1 <= len(block["elements"]) <= 25 and all(map(_button_fits, block["elements"]))
        case "rich_text":
            return all(1 <= _units(text) <= 3000 for text in texts(block["elements"]))
    return False


def _button_fits(button: dict[str, Any]) -> bool:
    confirm = button.get("confirm")
    asked = confirm is None or (
        _text(confirm["title"], 100)
        and _text(confirm["text"], 300)
        and _text(confirm["confirm"], 30)
        and _text(confirm["deny"], 30)
    )
    short = _units(button["value"]) <= 2000 and _units(button["action_id"]) <= 255
    return asked and short and _text(button["text"], 75) and button.get("style") in (None, "primary", "danger")


def texts(item: Any) -> list[str]:
    """Every `text` that is a string, however deep."""
    if isinstance(item, list):
        return [text for part in item for text in texts(part)]
    if not isinstance(item, dict):
        return []
    own = [item["text"]] if isinstance(item.get("text"), str) else []
    return own + [text for part in item.values() for text in texts(part)]
