"""`yard approvals` and `yard key create --group` against a real service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from app.approvals.opening import Opened
from app.approvals.policy import Policy
from app.cli.main import app
from app.core.db import Database
from app.settings import DatabaseSettings
from tests.api.verbs import bearer
from tests.approvals.rows import ask
from tests.support.service import Fleet, Manager

type Yard = Callable[..., Result]


@pytest.fixture
def manager(managers: Fleet) -> Manager:
    return managers.manager()


@pytest.fixture
def yard(manager: Manager) -> Yard:
    def run(*args: str, stdin: str = "", key: str = manager.backing.admin_key, columns: int = 120) -> Result:
        environment = {"YARD_URL": manager.url, "YARD_API_KEY": key, "COLUMNS": str(columns)}
        return CliRunner().invoke(app, list(args), env=environment, input=stdin)

    return run


def asked(manager: Manager, policy: Policy | None = None, **fields: Any) -> Opened:
    async def work() -> Opened:
        db = Database(DatabaseSettings(url=manager.backing.database_url))
        await db.start()
        try:
            return await ask(db, policy, tenant="default", **fields)
        finally:
            await db.stop()

    return asyncio.run(work())


def test_approvals_are_listed_shown_and_decided(manager: Manager, yard: Yard) -> None:
    first, second, third = asked(manager), asked(manager, Policy(60.0, groups=("sre",))), asked(manager)
    listed = yard("approvals", "list").stdout
    assert all(str(opened.id) in listed for opened in (first, second, third))
    shown = yard("approvals", "show", str(first.id)).stdout
    assert first.payload_hash in shown
    assert '"command": [' in shown
    assert "but not sam" in shown
    assert json.loads(yard("approvals", "show", str(first.id), "--json").stdout)["args"] == {"command": ["df", "-h"]}

    no = yard("approvals", "approve", str(first.id), stdin="n\n")
    assert no.exit_code == 1
    yes = yard("approvals", "approve", str(first.id), stdin="y\n")
    assert yes.exit_code == 0, yes.stderr
    assert yes.stdout.endswith(f"approval {first.id} is approved\n")
    late = yard("approvals", "approve", str(first.id), "--hash", first.payload_hash)
    assert (late.exit_code, "(approval_decided)" in late.stderr) == (1, True)

    refused = yard("approvals", "reject", str(second.id))
    assert (refused.exit_code, "sre" in refused.stderr) == (1, True)
    edit = ["--args", '{"command": ["df"]}', "--hash", third.payload_hash, "--json"]
    assert json.loads(yard("approvals", "approve", str(third.id), *edit).stdout)["status"] == "edited"
    assert [str(opened.id) in yard("approvals", "list").stdout for opened in (first, second, third)] == [
        False, True, False,
    ]  # fmt: skip
    assert str(first.id) in yard("approvals", "list", "--status", "approved").stdout
    assert len(json.loads(yard("approvals", "list", "--status", "all", "--json").stdout)["items"]) == 3


def test_what_is_to_be_approved_is_shown_whole(manager: Manager, yard: Yard) -> None:
    lines = [f"line {n:04}" for n in range(300)] + ["the end\x1b[2J"]
    long = asked(manager, args_json=json.dumps({"script": lines, "one": "x" * 5000}))
    shown = yard("approvals", "approve", str(long.id), stdin="n\n").stdout
    assert all(line in shown for line in lines[:-1])
    assert shown.replace("\n", "").count("x") >= 5000
    assert "\x1b" not in shown


def test_a_key_of_a_group_decides_for_the_group(manager: Manager, yard: Yard) -> None:
    opened = asked(manager, Policy(None, groups=("sre",), quorum=2))
    made = yard("key", "create", "ann", "--scope", "approvals:decide", "--group", "sre", "--group", "dba")
    key = made.stdout.strip()
    assert "dba, sre" in yard("key", "list").stdout
    said = yard("approvals", "approve", str(opened.id), "--hash", opened.payload_hash, key=key)
    assert said.stdout == f"approval {opened.id} is pending: 1 of 2 said yes\n"
    with manager.client() as http:
        listed = http.get("/v1/keys").json()["items"]
        assert [item["groups"] for item in listed if item["name"] == "ann"] == [["dba", "sre"]]
        assert http.get(f"/v1/approvals/{opened.id}", headers=bearer(key)).json()["votes"][0]["decision"] == "approve"


def test_wrong_command_lines(manager: Manager, yard: Yard) -> None:
    opened = asked(manager)
    for wrong in (
        ["list", "--status", "maybe"],
        ["show", "1234"],
        ["approve", str(opened.id), "--args", "{", "--hash", opened.payload_hash],
        ["approve", str(opened.id), "--json"],
    ):
        assert yard("approvals", *wrong).exit_code == 2, wrong
    missing = yard("approvals", "show", str(uuid4()))
    assert (missing.exit_code, "(approval_not_found)" in missing.stderr) == (1, True)
    none = yard("approvals", "approve", str(opened.id), stdin="")
    assert none.exit_code == 1
