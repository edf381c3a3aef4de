"""Define the example pools and make the key their agents register with: once a database, by the compose file.

    python define_pools.py MANAGER_URL ADMIN_KEY_FILE AGENT_KEY_FILE

A pool that is there is left as its owner made it. The key is made anew when the file has none that is still good.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import httpx

from examples.pools import EXAMPLE_POOLS

KEY_NAME = "example agents"


def main(url: str, admin_key_file: Path, agent_key_file: Path) -> None:
    headers = {"Authorization": f"Bearer {admin_key_file.read_text().strip()}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as api:
        define_pools(api)
        if agent_key_file.exists() and is_good(api, agent_key_file.read_text().strip()):
            return
        keep(agent_key_file, make_key(api))


def define_pools(api: httpx.Client) -> None:
    """Those that are missing. Their agents are containers of their own, so the pools launch nothing."""
    for name, body in EXAMPLE_POOLS.items():
        if api.get(f"/v1/pools/{name}").status_code == httpx.codes.NOT_FOUND:
            answered(api.put(f"/v1/pools/{name}", json={**body, "launch": {"kind": "external"}}))
            sys.stdout.write(f"pool {name} is defined\n")


def is_good(api: httpx.Client, key: str) -> bool:
    """Whether the service would take it: keys are listed by the readable part of their text."""
    token = None
    while True:
        page = answered(api.get("/v1/keys", params={"page_token": token} if token else {}))
        if any(key.startswith(f"{item['prefix']}_") and item["revoked_at"] is None for item in page["items"]):
            return True
        token = page["next_page_token"]
        if token is None:
            return False


def make_key(api: httpx.Client) -> str:
    """A key that may register agents and nothing else."""
    made = answered(api.post("/v1/keys", json={"name": KEY_NAME, "scopes": ["agents:register"]}))
    sys.stdout.write(f"key {made['id']} ({KEY_NAME}) is made\n")
    return str(made["key"])


def keep(path: Path, key: str) -> None:
    """Whole or not at all, and for its owner only."""
    partial = path.with_name(f"{path.name}.new")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key + "\n")
    partial.replace(path)


def answered(answer: httpx.Response) -> Any:
    """Its JSON; SystemExit with the problem's text when it is one."""
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise SystemExit("The admin key is of another database: `docker compose down --volumes` begins anew.")
    if answer.is_error:
        raise SystemExit(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")
    return answer.json()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
