"""Reading Dockerfiles and .dockerignore, as far as the tests need."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
MANAGER, AGENTS = ROOT / "deploy" / "Dockerfile", ROOT / "deploy" / "agents.Dockerfile"


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word in capitals, and the rest on one line."""

    word: str
    text: str

    @property
    def command(self) -> list[str]:
        """An exec form's words. ValueError for a shell form."""
        found = json.loads(self.text[self.text.index("[") :])
        assert isinstance(found, list)
        return found


def stages(path: Path) -> list[list[Instruction]]:
    """The instructions of each stage, the FROM first."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found: list[list[Instruction]] = []
    for line in filter(str.strip, joined.splitlines()):
        word, _, text = line.strip().partition(" ")
        if word.upper() == "FROM":
            found.append([])
        found[-1].append(Instruction(word.upper(), text.strip()))
    return found


def one(stage: list[Instruction], word: str) -> Instruction:
    """The only instruction of that word."""
    (found,) = [item for item in stage if item.word == word]
    return found


def copied(stage: list[Instruction]) -> list[str]:
    """What a stage takes from the build's folder."""
    words = [item.text.split() for item in stage if item.word == "COPY"]
    return [
        source
        for parts in words
        if not any(part.startswith("--from=") for part in parts)
        for source in [part for part in parts if not part.startswith("--")][:-1]
    ]


def sent(path: str) -> bool:
    """Whether .dockerignore lets a file into the build: the last pattern that matches it or a folder above decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        pattern = re.compile(_expression(text.removeprefix("!")))
        names = [str(PurePosixPath(path)), *map(str, PurePosixPath(path).parents)]
        if any(pattern.fullmatch(name) for name in names if name != "."):
            ignored = not text.startswith("!")
    return not ignored


def _expression(pattern: str) -> str:
    """Docker's pattern as a regular expression: `**/` is any folders, `*` anything but a slash."""
    parts = re.split(r"(\*\*/|\*)", pattern.strip("/"))
    return "".join({"**/": "(?:.*/)?", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts)
