"""The first run of the compose file: pools and the agents' key, against a running manager."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

from examples.pools import EXAMPLE_POOLS
from tests.deploy.dockerfile import ROOT
from tests.support.service import Fleet

SCRIPT = ROOT / "deploy" / "docker" / "define_pools.py"


def run(url: str, admin_key: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """As in its container: the examples beside it, no environment to speak of."""
    (folder / "admin.key").write_text(admin_key + "\n")
    return subprocess.run(
        [sys.executable, SCRIPT, url, folder / "admin.key", folder / "agent.key"],
        env={"PYTHONPATH": str(ROOT), "http_proxy": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_done_once_and_leaves_what_people_changed(managers: Fleet, tmp_path: Path) -> None:
    manager = managers.manager()
    admin, key = manager.backing.admin_key, tmp_path / "agent.key"
    first = run(manager.url, admin, tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    made = key.read_text()

    with manager.client() as api:
        pools = {item["name"]: item for item in api.get("/v1/pools").json()["items"]}
        assert pools.keys() == EXAMPLE_POOLS.keys()
        assert {pool["launch"]["kind"] for pool in pools.values()} == {"external"}
        body = {**EXAMPLE_POOLS["log_analyzer"], "slots": 9, "launch": {"kind": "external"}}
        api.put("/v1/pools/log_analyzer", json=body).raise_for_status()

        again = run(manager.url, admin, tmp_path)
        assert (again.returncode, again.stdout, key.read_text()) == (0, "", made)
        assert api.get("/v1/pools/log_analyzer").json()["slots"] == 9

        agent = {"pool": "log_analyzer", "url": "http://127.0.0.1:9", "slots": 1}
        as_agent = {"Authorization": f"Bearer {made.strip()}"}
        assert api.post("/v1/agents", json=agent, headers=as_agent).status_code == 201
        assert api.get("/v1/keys", headers=as_agent).status_code == 403

        (mine,) = [item for item in api.get("/v1/keys").json()["items"] if made.startswith(item["prefix"])]
        api.delete(f"/v1/keys/{mine['id']}").raise_for_status()
    assert run(manager.url, admin, tmp_path).returncode == 0
    assert key.read_text() != made, "a key that was revoked is made anew"


def test_a_key_of_another_database_is_explained(managers: Fleet, tmp_path: Path) -> None:
    done = run(managers.manager().url, f"yk_0000000000_{'0' * 48}", tmp_path)
    assert done.returncode == 1
    assert "docker compose down --volumes" in done.stderr
    assert not (tmp_path / "agent.key").exists()
