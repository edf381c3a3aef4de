"""Why something was not delivered, in words that may be stored and shown: short, one line, without secrets. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from yarl import URL

MAX_REASON = 300
MIN_SECRET = 6
"""A shorter piece of a secret hides nothing worth hiding, and would blank common words."""
HIDDEN = "[hidden]"
_WORD = re.compile(r"[a-z]{1,11}")
"""A step of a path that is a plain word, as `services` is, guards nothing."""
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


def reason(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` on one line, at most MAX_REASON characters, with `secrets` and their pieces left out.

    Of a secret that is a URL, its path, its query and their longer pieces are secret as well, but for plain words; as
    they were written, as they are sent, and decoded. A secret whose end is missing because the text was cut there is
    found too.
    """
    for secret in sorted(_pieces(secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
        begun = next((n for n in range(len(secret) - 1, MIN_SECRET - 1, -1) if text.endswith(secret[:n])), 0)
        if begun:
            text = text[:-begun] + HIDDEN
    text = _SPACE.sub(" ", text).strip()
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 1] + "…"


def _pieces(secrets: Iterable[str]) -> set[str]:
    found = set[str]()
    for secret in secrets:
        found.add(secret)
        if "://" in secret:
            found |= _of_url(secret)
    return {piece for piece in found if len(piece) >= MIN_SECRET}


def _of_url(url: str) -> set[str]:
    try:
        parts, sent = urlsplit(url), URL(url)
        spelled = {
            (parts.path, parts.query),
            (sent.raw_path, sent.raw_query_string),
            (sent.path, sent.query_string),
        }
    except ValueError:
        return set()
    found = {str(sent), *sent.query, *sent.query.values()}
    for path, query in spelled:
        steps = [step for step in re.split(r"[/;]", path) if not _WORD.fullmatch(step)]
        found |= {path, query, *steps, *re.split(r"[&;=]", query)}
    return found
