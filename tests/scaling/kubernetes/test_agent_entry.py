"""The address that an agent's container advertises: its own where the SDK cannot know it, else the SDK's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ENTRY = Path(__file__).parents[3] / "deploy" / "docker" / "agent"


@pytest.mark.parametrize(
    ("host", "address", "url"),
    [
        ("0.0.0.0", "10.1.2.3 fd00::7", "http://10.1.2.3:8000"),
        ("0.0.0.0", "fd00::7", "http://[fd00::7]:8000"),
        ("fd00::7", "10.1.2.3", "none"),
        ("10.1.2.3", "10.9.9.9", "none"),
    ],
)
def test_the_address_is_given_where_it_is_not_known(tmp_path: Path, host: str, address: str, url: str) -> None:
    for name, text in (("hostname", f"echo {address}"), ("python", 'echo "${AGENT_URL:-none}"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.defpath}", "AGENT_PORT": "8000", "AGENT_HOST": host}
    done = subprocess.run(["/bin/sh", str(ENTRY), "x"], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == url
