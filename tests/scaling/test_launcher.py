"""Replicas as real processes: started, told apart from later ones of the same pid, ended with what they started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest

from app.scaling.backends.launcher import KEPT_LOGS, LOG_BYTES, CannotLaunch, Launcher
from app.scaling.backends.logcopy import BoundedLog

ASLEEP = ["sleep", "600"]


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for a condition; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


class Yardhand(Launcher):
    """A backend whose children end with the test."""

    replicas: list[tuple[int, float]]

    def start(self, *command: str, replica: UUID | None = None, env: dict[str, str] | None = None) -> tuple[int, float]:
        launch: dict[str, Any] = {"command": list(command), "env": env or {}}
        return self.launch(replica or uuid4(), "pool", launch, 2)

    def launch(self, *args: Any) -> tuple[int, float]:
        started = super().launch(*args)
        self.replicas = [*getattr(self, "replicas", []), started]
        return started

    def end_all(self) -> None:
        for pid, started in getattr(self, "replicas", []):
            self.kill(pid, started)
        for child in [*self._children.values(), *self._copiers]:
            child.wait(10)

    def logged(self) -> bytes:
        """All that the logs hold."""
        return b"".join(path.read_bytes() for path in sorted(self._logs.iterdir()))


def lives(pid: int) -> bool:
    """A zombie, which nobody may ever collect in a container, does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def with_child(note: Path, then: str) -> list[str]:
    """A command that starts a child which ignores SIGTERM, notes its pid, and goes on with `then`."""
    return ["sh", "-c", f"(trap '' TERM; exec sleep 600) & echo $! > {note}.new; mv {note}.new {note}; {then}"]


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Yardhand]:
    made = Yardhand(tmp_path, "http://127.0.0.1:1", "the-launch-key")
    yield made
    made.end_all()


def test_a_launched_process_lives_until_it_is_told_to_end(backend: Yardhand) -> None:
    pid, started = backend.start(*ASLEEP)
    assert backend.alive(pid, started)
    backend.terminate(pid, started)
    until(lambda: not backend.alive(pid, started))
    assert backend.exit_text(pid) == "killed by SIGTERM"


def test_a_process_that_ends_by_itself_is_dead_and_says_how(backend: Yardhand) -> None:
    pid, started = backend.start("sh", "-c", "echo last words; exit 3")
    until(lambda: not backend.alive(pid, started))
    assert backend.exit_text(pid) == "exited with 3"
    until(lambda: backend.logged() == b"last words\n")


def test_a_later_process_with_the_same_pid_is_a_stranger(backend: Yardhand) -> None:
    pid, started = backend.start(*ASLEEP)
    earlier = started - 100.0
    assert not backend.alive(pid, earlier)
    backend.terminate(pid, earlier)
    backend.kill(pid, earlier)
    assert not backend.alive(2**22 + 1, started)
    backend.terminate(2**22 + 1, started)
    assert psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and backend.alive(pid, started), "nobody signalled it"


def test_a_kill_takes_its_whole_session_along(backend: Yardhand, tmp_path: Path) -> None:
    note = tmp_path / "child"
    pid, started = backend.start(*with_child(note, "trap '' TERM; wait"))
    until(note.exists)
    child = int(note.read_text())
    assert os.getsid(pid) == pid != os.getsid(0), "Ctrl-C of the service does not reach it"
    backend.terminate(pid, started)
    assert lives(child)
    backend.kill(pid, started)
    until(lambda: not backend.alive(pid, started))
    until(lambda: not lives(child))


@pytest.mark.parametrize("reaped", [True, False])
def test_a_kill_finds_what_a_dead_replica_left_behind(backend: Yardhand, tmp_path: Path, reaped: bool) -> None:
    note = tmp_path / "child"
    pid, started = backend.start(*with_child(note, "exit 1"))
    until(note.exists)
    child = int(note.read_text())
    until(lambda: not lives(pid))
    if reaped:
        backend._children[pid].wait()
    assert lives(child) and psutil.pid_exists(pid) is not reaped
    backend.kill(pid, started + 60)
    assert lives(child), "a later process had this pid: what lives there is not of this replica"
    backend.kill(pid, started)
    until(lambda: not lives(child))


def test_a_strangers_session_of_the_same_number_is_left_alone(backend: Yardhand, tmp_path: Path) -> None:
    note = tmp_path / "child"
    stranger = subprocess.Popen(with_child(note, "exit 0"), start_new_session=True)
    until(note.exists)
    child = int(note.read_text())
    started = psutil.Process(child).create_time()
    stranger.wait()
    try:
        backend.kill(stranger.pid, started)
        backend.kill(0, started)
        backend.kill(-1, started)
        assert lives(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_is_not_taken_for_its_replica(backend: Yardhand, tmp_path: Path) -> None:
    note, replica = tmp_path / "child", uuid4()
    pid, started = backend.start(*with_child(note, "exit 1"), replica=replica)
    until(note.exists)
    until(lambda: not backend.alive(pid, started))
    assert lives(int(note.read_text())) and backend.find(replica) is None


def test_a_process_is_found_again_by_its_replica(backend: Yardhand) -> None:
    replica = uuid4()
    pid, started = backend.start(*ASLEEP, replica=replica)
    until(lambda: backend.find(replica) is not None)
    found = backend.find(replica)
    assert found is not None and found[0] == pid and abs(found[1] - started) < 0.1
    assert backend.find(uuid4()) is None


@pytest.mark.parametrize("command", [["no-such-program-anywhere"], ["/etc/passwd"], ["sh\x00"]])
def test_what_cannot_be_started_says_so(backend: Yardhand, command: list[str]) -> None:
    with pytest.raises(CannotLaunch):
        backend.start(*command)


def test_a_replica_gets_what_it_needs_and_no_secret_of_ours(
    backend: Yardhand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "YARD_AUTH_PEPPER": "pepper-secret", "YARD_DATABASE_URL": "postgresql://u:database-secret@h/d",
        "AWS_SECRET_ACCESS_KEY": "cloud-secret", "OPENAI_API_KEY": "model-secret", "PGPASSWORD": "pg-secret",
    }  # fmt: skip
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    out, replica = tmp_path / "env", uuid4()
    env = {"MODEL": "small", "AGENT_SLOTS": "9", "AGENT_POOL": "stolen", "YARD_API_KEY": "stolen"}
    pid, started = backend.start("sh", "-c", f"env > {out}.new && mv {out}.new {out}", replica=replica, env=env)
    until(lambda: not backend.alive(pid, started))
    text = out.read_text()
    assert "-secret" not in text
    seen = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    assert (seen["AGENT_POOL"], seen["MANAGER_URL"], seen["YARD_API_KEY"]) == (
        "pool", "http://127.0.0.1:1", "the-launch-key"
    )  # fmt: skip
    assert (seen["MODEL"], seen["AGENT_SLOTS"]) == ("small", "9"), "the pool's own environment counts"
    assert json.loads(seen["AGENT_LABELS"]) == {"replica": str(replica)}
    assert {name for name in seen if name.startswith("YARD_")} == {
        "YARD_API_KEY", "YARD_REPLICA_ID", "YARD_SUPERVISOR_PID"
    }  # fmt: skip


def test_the_log_of_a_replica_is_bounded_however_much_it_says(backend: Yardhand) -> None:
    most = 0

    def has_turned_over() -> bool:
        nonlocal most
        with contextlib.suppress(FileNotFoundError):  # a file was full and changed its name
            most = max([most, *(path.stat().st_size for path in backend._logs.glob("*"))])
        return _read_by(backend) > 10 * LOG_BYTES

    pid, started = backend.start("yes")
    until(has_turned_over, 60)
    backend.kill(pid, started)
    until(lambda: all(copier.poll() is not None for copier in backend._copiers))
    names = {path.suffix for path in backend._logs.iterdir()}
    assert names == {".log", ".1"} and LOG_BYTES / 2 < most <= LOG_BYTES


def _read_by(backend: Yardhand) -> int:
    """Bytes that the process keeping the log has taken so far."""
    (copier,) = backend._copiers
    return int(psutil.Process(copier.pid).io_counters().read_chars)


def test_the_log_outlives_the_service_and_ends_with_the_replica(backend: Yardhand, tmp_path: Path) -> None:
    said = tmp_path / "said"
    pid, started = backend.start(
        "sh", "-c", f"echo one; while [ ! -e {said} ]; do sleep 0.02; done; echo two; exec sleep 600"
    )
    (copier,) = backend._copiers
    assert os.getsid(copier.pid) == copier.pid, "a signal to the service's group does not reach it"
    until(lambda: backend.logged() == b"one\n")
    said.touch()
    until(lambda: backend.logged() == b"one\ntwo\n")
    assert copier.poll() is None
    backend.kill(pid, started)
    until(lambda: copier.poll() == 0)


def test_a_log_that_cannot_be_written_holds_nobody_up(backend: Yardhand, tmp_path: Path) -> None:
    backend._logs.mkdir(parents=True)
    replica = uuid4()
    (backend._logs / f"pool-{str(replica)[:8]}.log").mkdir()
    pid, started = backend.start("sh", "-c", "head -c 1000000 /dev/zero && exit 4", replica=replica)
    until(lambda: not backend.alive(pid, started))
    assert backend.exit_text(pid) == "exited with 4"


def test_a_full_log_file_is_kept_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = BoundedLog(str(path), 10)
    for text in (b"0123", b"4567", b"89", b"abcdefghijk", b"xyz"):
        log.write(text)
    kept = path.with_name("log.1")
    assert (kept.read_bytes(), path.read_bytes()) == (b"abcdefghij", b"kxyz")
    path.unlink()
    log.write(b"0123456789")
    assert path.read_bytes() == b"0123456789", "somebody removed the file"


def test_logs_of_replicas_that_are_no_more_go_but_for_the_newest(backend: Yardhand) -> None:
    backend._logs.mkdir(parents=True)
    living = UUID(int=0)
    names = ["a.log-00000000.log", "a.log-00000000.log.1", "notes.txt"]
    names += [f"p-{number:08x}.log" for number in range(1, KEPT_LOGS + 4)] + ["p-00000003.log.1"]
    for age, name in enumerate(names):
        path = backend._logs / name
        path.touch()
        os.utime(path, (age, age))
    backend.prune_logs([living])
    left = {path.name for path in backend._logs.iterdir()}
    assert set(names) - left == {"p-00000001.log", "p-00000002.log", "p-00000004.log"}
    backend.prune_logs([living])
    assert {path.name for path in backend._logs.iterdir()} == left
