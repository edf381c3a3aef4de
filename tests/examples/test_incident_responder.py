"""The agent that asks before it looks, over the executor contract."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.incident_responder.__main__ import agent
from examples.incident_responder.commands import propose
from examples.incident_responder.evidence import mine
from examples.pools import EXAMPLE_POOLS
from tests.sdk.durable_calls import Task, approved

LOG = "\n".join(
    [f"2026-11-20T20:25:{n:02}Z INFO api request {n} served in {n} ms" for n in range(20)]
    + [
        f"2026-11-20T20:26:{n:02}Z ERROR store write to /tmp/data/{n}.seg failed: No space left on device"
        for n in range(5)
    ]
)


@pytest.fixture
async def responder() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(agent.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
        yield client


@pytest.fixture
def step_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEP_LOG", str(tmp_path / "steps"))
    return tmp_path / "steps"


async def test_it_runs_exactly_what_was_approved_and_each_step_once(responder: Any, step_log: Path) -> None:
    task = Task(responder, {"log": LOG})
    events = await task.call()
    assert [event.data["name"] for event in events if event.type == "step"] == ["mine", "propose"]
    assert events[-1].data == {
        "step": "approve:shell",
        "reason": "approval",
        "action": "shell",
        "args": {"command": ["df", "-h", "/tmp"]},
        "risk": "low: it only reads",
    }
    task.answer(approved({"command": ["df", "-h", "/tmp"]}))
    report = (await task.call())[-1].data["result"]
    assert (report["run"]["exit_code"], "Filesystem" in report["run"]["stdout"]) == (0, True)
    assert report["decision"] == {"status": "approved", "by": "ann", "reason": "why not"}
    assert report["findings"]["suspicions"][0]["lines"] == 5
    assert step_log.read_text().splitlines() == ["mine t1", "propose t1", "run t1"]
    jsonschema_rs = pytest.importorskip("jsonschema_rs")
    jsonschema_rs.validate(EXAMPLE_POOLS["incident_responder"]["output_schema"], report)


async def test_it_runs_what_was_edited_and_no_shell_reads_it(responder: Any) -> None:
    words = ["echo", "$HOME; echo hacked", "`id`"]
    report = (await Task(responder, {"log": LOG}).run(approved({"command": words}, "edited"))).data["result"]
    assert report["run"]["stdout"] == "$HOME; echo hacked `id`\n"


@pytest.mark.parametrize("status", ["rejected", "expired"])
async def test_it_takes_a_no_for_an_answer(responder: Any, step_log: Path, status: str) -> None:
    report = (await Task(responder, {"log": LOG}).run(approved({}, status))).data["result"]
    assert (report["decision"]["status"], report["run"]) == (status, None)
    assert "run" not in step_log.read_text()


@pytest.mark.parametrize(
    "args", [None, {}, {"command": []}, {"command": "df"}, {"command": ["df", 1]}, {"command": [""]}]
)
async def test_it_refuses_an_edit_that_is_no_command(responder: Any, args: Any) -> None:
    last = await Task(responder, {"log": LOG}).run(approved(args, "edited"))
    assert (last.data["code"], last.data["retry"]) == ("bad_command", False)


async def test_a_command_that_is_not_there_is_told(responder: Any) -> None:
    words = {"command": ["no-such-program-here"]}
    report = (await Task(responder, {"log": LOG}).run(approved(words, "edited"))).data["result"]
    assert report["run"]["exit_code"] == 127


async def test_a_quiet_log_asks_nobody(responder: Any) -> None:
    last = await Task(responder, {"log": "INFO all is well"}).run()
    assert (last.data["result"]["proposal"], last.data["result"]["decision"]) == (None, None)


@pytest.mark.parametrize(
    ("payload", "code"), [(None, "bad_payload"), ({"log": 5}, "bad_payload"), ({"log": " \n"}, "empty_log")]
)
async def test_it_refuses_bad_payloads(responder: Any, payload: Any, code: str) -> None:
    assert (await Task(responder, payload).call())[-1].data["code"] == code


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("ERROR write to /no/such/folder: disk full", ["df", "-h", "/"]),
        ("ERROR write failed: ENOSPC", ["df", "-h", "/"]),
        ("kernel: Out of memory: Killed process 7", ["cat", "/proc/meminfo"]),
        ("accept: Too many open files", ["cat", "/proc/sys/fs/file-nr"]),
        ("connect to db.internal:5432: Connection refused", ["getent", "hosts", "db.internal"]),
        ("connect to 10.0.0.7:80: connection timed out", ["getent", "hosts", "10.0.0.7"]),
        ("Connection refused", ["getent", "hosts", "localhost"]),
        ("2026-01-01T00:00:00Z ERROR what is this", ["uptime"]),
    ],
)
def test_the_command_is_built_from_the_evidence(line: str, command: list[str]) -> None:
    proposal = propose(mine([line], lambda percent, message: None, lambda: False)["suspicions"])
    assert proposal is not None
    assert proposal["command"] == command
