"""The child of the scanner: reads source.py in the current folder, writes one JSON report to stdout.

Report: {"issues": […], "counts": {…}}, or {"syntax_error": "line N: …"}. It parses input nobody vouches for,
so it runs in a process of its own: what exhausts the parser ends this process and not the agent.
"""

import ast
import json
import logging
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from bandit.core.config import BanditConfig
from bandit.core.manager import BanditManager

SOURCE = Path("source.py")


def scan() -> dict[str, Any]:
    """The report of SOURCE."""
    wrong = _syntax_error(SOURCE.read_bytes())
    if wrong:
        return {"syntax_error": wrong}
    bandit = BanditManager(BanditConfig(), "file", quiet=True)
    bandit.discover_files([str(SOURCE)])
    bandit.run_tests()
    if bandit.get_skipped():
        raise SystemExit(f"bandit gave up: {bandit.get_skipped()[0][1]}")
    issues = [_issue(issue.as_dict(with_code=False)) for issue in bandit.get_issue_list()]
    issues.sort(key=lambda issue: (issue["line"], issue["rule"]))
    counts = Counter(issue["severity"] for issue in issues)
    return {"issues": issues, "counts": {level: counts[level] for level in ("low", "medium", "high")}}


def _syntax_error(source: bytes) -> str | None:
    try:
        ast.parse(source)
    except SyntaxError as error:
        return f"line {error.lineno or 1}: {error.msg}"
    except ValueError as error:  # null bytes
        return f"line 1: {error}"
    return None


def _issue(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "rule": found["test_id"],
        "name": found["test_name"],
        "severity": found["issue_severity"].lower(),
        "confidence": found["issue_confidence"].lower(),
        "line": found["line_number"],
        "text": found["issue_text"],
        "cwe": found["issue_cwe"].get("id"),
    }


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")  # the source's own invalid escapes are not this program's
    sys.stdout.write(json.dumps(scan()))
