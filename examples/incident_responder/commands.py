"""The command that would show more, and running exactly what was approved. Nothing is given to a shell."""

import re
from pathlib import Path
from typing import Any

from examples.sandbox import Bounds, run_limited
from yardmaster import PermanentError

BOUNDS = Bounds(wall_s=20, cpu_s=10, output_bytes=64 << 10)
SHOWN_CHARS = 16_000
MOST_WORDS, LONGEST_WORD = 32, 1000

_PATH = re.compile(r"(?<![\w/])/[\w.-]+(?:/[\w.-]+)*")
_HOST = re.compile(r"\b(?:\d{1,3}(?:\.\d{1,3}){3}|[a-z0-9-]+(?:\.[a-z0-9-]+)+)(?=:\d)", re.IGNORECASE)


def propose(suspicions: list[dict[str, Any]]) -> dict[str, Any] | None:
    """{"command": [word],"why","risk"} for the first suspicion, None without one. All of them only read."""
    if not suspicions:
        return None
    kind, lines, example = (suspicions[0][name] for name in ("kind", "lines", "example"))
    command = {
        "disk": lambda: ["df", "-h", _folder(example)],
        "memory": lambda: ["cat", "/proc/meminfo"],
        "descriptors": lambda: ["cat", "/proc/sys/fs/file-nr"],
        "network": lambda: ["getent", "hosts", _host(example)],
    }.get(kind, lambda: ["uptime"])()
    return {"command": command, "why": f"{lines} lines point at: {kind}", "risk": "low: it only reads"}


def checked(args: Any) -> list[str]:
    """The command of approved arguments, which people may have edited. PermanentError "bad_command"."""
    words = args.get("command") if isinstance(args, dict) else None
    if (
        not isinstance(words, list)
        or not 1 <= len(words) <= MOST_WORDS
        or not all(map(_is_word, words))
        or not words[0]
    ):
        raise PermanentError("bad_command", f'the approved arguments need "command": 1 to {MOST_WORDS} words')
    return list(words)


async def run(command: list[str]) -> dict[str, Any]:
    """{"command","exit_code" (null: too slow, 127: not found),"stdout","stderr"}; the output is cut."""
    try:
        finished = await run_limited(command, bounds=BOUNDS)
    except TimeoutError:
        return {"command": command, "exit_code": None, "stdout": "", "stderr": f"stopped after {BOUNDS.wall_s:g} s"}
    stdout, stderr = _shown(finished.stdout), _shown(finished.stderr)
    return {"command": command, "exit_code": finished.code, "stdout": stdout, "stderr": stderr}


def _folder(line: str) -> str:
    """The deepest existing folder of the path that the line names, else the root."""
    found = _PATH.search(line)
    path = Path(found.group()) if found else Path("/")
    return str(next(parent for parent in (path, *path.parents) if parent.is_dir()))


def _host(line: str) -> str:
    found = _HOST.search(line)
    return found.group().lstrip("-") if found else "localhost"


def _is_word(word: Any) -> bool:
    return isinstance(word, str) and len(word) <= LONGEST_WORD and "\0" not in word


def _shown(output: bytes) -> str:
    return output.decode(errors="replace").replace("\0", "�")[:SHOWN_CHARS]
