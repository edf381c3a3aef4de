"""JSON shapes of `/v1/slack`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

EVERY_POOL = "*"
"""What stands for every pool in a path: no pool can have this name."""

_CHANNEL: dict[str, Any] = {"pool": "log_analyzer", "channel": "C024BE91L"}
_USER: dict[str, Any] = {"user_id": "U2147483697", "key_id": "3f9c21ab07", "key_name": "ann"}


class SlackChannelIn(BaseModel):
    """Where to post."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"channel": "C024BE91L"}]})
    channel: str = Field(
        pattern=r"^#?[^\s#<>&,/\\\x00-\x1f]{1,80}$",
        description="The channel's id, or its name. The bot must be in it (`/invite`).",
    )


class SlackChannelOut(BaseModel):
    """Where the approvals of a pool are posted; `pool` `*`: of every pool without a channel of its own."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CHANNEL]})
    pool: str
    channel: str


class SlackChannelPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_CHANNEL], "next_page_token": None}]})
    items: list[SlackChannelOut]
    next_page_token: str | None


class SlackUserIn(BaseModel):
    """The key that a Slack user acts with."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"key_id": "3f9c21ab07"}]})
    key_id: str = Field(
        min_length=1,
        max_length=40,
        pattern=r"^[^\x00]+$",
        description="Its scopes and groups are the user's. Give every person a key of their own.",
    )


class SlackUserOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_USER]})
    user_id: str
    key_id: str
    key_name: str


class SlackUserPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_USER], "next_page_token": None}]})
    items: list[SlackUserOut]
    next_page_token: str | None
