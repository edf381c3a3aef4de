"""The running service as the tests of the command line see it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli_stub_agent import StubAgent
from typer.testing import CliRunner, Result

from app.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
YARD = [sys.executable, "-c", "from app.cli.main import app; app(prog_name='yard')"]


def plain_environment(**values: str) -> dict[str, str]:
    """The environment without what would point `yard` elsewhere, this Python's folder first on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("YARD_")}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return kept | values


@dataclass(frozen=True)
class Service:
    """The running service: its folder, address and admin key, and the stub that serves pool `stub`."""

    data: Path
    url: str
    key: str
    stub: StubAgent
    agent_id: str

    def yard(self, *args: str, columns: int = 100, stdin: str | bytes | None = None) -> Result:
        """Run `yard` in this process; stdout and stderr apart."""
        environment = {"COLUMNS": str(columns), "YARD_URL": "", "YARD_API_KEY": ""}
        return CliRunner().invoke(app, ["--data", str(self.data), *args], env=environment, input=stdin)

    def json(self, *args: str) -> Any:
        """Run `yard … --json`, which must succeed; what it printed."""
        result = self.yard(*args, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def process(self, *args: str) -> subprocess.Popen[str]:
        """Start `yard` as a process of its own, stdout and stderr in pipes."""
        return subprocess.Popen(
            [*YARD, "--data", str(self.data), *args],
            cwd=ROOT,
            env=plain_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def until(check: Callable[[], Any], timeout_s: float = 180.0) -> Any:
    """The first true answer of `check`."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing for {timeout_s} s")
