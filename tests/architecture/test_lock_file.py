"""requirements.lock: every package by version and hash, and no address of any index."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
_PACKAGE = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]+\])?==([^\s;\\]+)", re.MULTILINE)


def entries() -> dict[str, str]:
    """Package → the text of its entry, hashes included."""
    found = list(_PACKAGE.finditer(LOCK))
    ends = [match.start() for match in found[1:]] + [len(LOCK)]
    return {match[1]: LOCK[match.start() : end] for match, end in zip(found, ends, strict=True)}


def test_every_package_has_a_version_and_hashes() -> None:
    assert len(entries()) > 50
    assert [name for name, text in entries().items() if "--hash=sha256:" not in text] == []


def test_there_is_no_address() -> None:
    lines = [line.partition("#")[0] for line in LOCK.splitlines()]
    assert [
        line for line in lines if re.search(r"https?://|git\+|@ file:|--(extra-)?index-url|--find-links", line)
    ] == []
    stray = [line for line in lines if line.strip() and not _PACKAGE.match(line) and "--hash=" not in line]
    assert stray == [], "nothing but packages and hashes"


def test_what_pyproject_asks_for_is_locked() -> None:
    asked = re.findall(r'^\s+"([a-z0-9-]+)[\[>=]', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert len(asked) > 20
    locked = {name.lower().replace("_", "-") for name in entries()}
    assert sorted(set(asked) - locked) == []
