"""The parts of the embedded servers that need no server."""

import os
import stat
import subprocess
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.embedded.account import Account, open_path, write_for
from app.embedded.directory import SOCKET_PATH_BYTES, DataDirectory
from app.embedded.errors import EmbeddedBusyError
from app.embedded.lock import DirectoryLock
from app.embedded.logfile import TAIL_BYTES, ServerLog
from app.embedded.processes import AT_ONCE, end, has_ended, leftovers
from app.embedded.restarts import RestartBudget

STRANGER = Account(uid=60001, gid=60001)


@given(st.lists(st.floats(0, 1000)), st.integers(0, 5), st.floats(0.1, 500))
def test_no_window_holds_more_restarts_than_the_limit(times: list[float], limit: int, window_s: float) -> None:
    budget = RestartBudget(limit, window_s)
    taken = [now for now in sorted(times) if budget.take(now)]
    assert all(later - earlier >= window_s for earlier, later in zip(taken, taken[limit:], strict=False))


@pytest.mark.parametrize("length", [10, 60, 70, 80, 90, 100, 200])
def test_socket_paths_stay_short(length: int) -> None:
    directory = DataDirectory.at(Path("/" + "d" * length))
    assert len(os.fsencode(directory.sockets / ".s.PGSQL.5432")) <= SOCKET_PATH_BYTES
    assert directory == DataDirectory.at(Path("/" + "d" * length)), "the same after every restart"
    assert directory.sockets != DataDirectory.at(Path("/" + "e" * length)).sockets


def test_the_path_of_a_symlink_is_the_path_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert DataDirectory.at(tmp_path / "link") == DataDirectory.at(tmp_path / "real")


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    first, second = DirectoryLock(tmp_path / "lock"), DirectoryLock(tmp_path / "lock")
    first.acquire()
    with pytest.raises(EmbeddedBusyError, match=f"process {os.getpid()}"):
        second.acquire()
    assert (first.held, second.held) == (True, False)
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_a_lock_on_a_removed_file_is_not_held(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "lock")
    lock.acquire()
    (tmp_path / "lock").unlink()
    assert not lock.held
    (tmp_path / "lock").touch()
    assert not lock.held
    lock.release()


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "lock")
    lock.acquire()
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    lock.release()
    other = DirectoryLock(tmp_path / "lock")
    other.acquire()
    other.release()
    child.kill()
    child.wait()


def test_the_tail_begins_where_the_log_was_opened(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "server.log")
    assert log.tail() == ""
    with log.open() as file:
        file.write(b"old\n")
    with log.open() as file:
        assert log.tail() == ""
        file.write(b"".join(b"line %d\n" % n for n in range(100)))
        assert log.tail(lines=2) == "line 98\nline 99"
        file.write(b"x" * TAIL_BYTES + b"\xff")
        assert len(log.tail()) == TAIL_BYTES


def test_a_full_log_keeps_one_older_part_and_its_writer(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "server.log", limit_bytes=10)
    with log.open() as file:
        file.write(b"0123456789\n")
        log.trim()
        assert (tmp_path / "server.log.1").read_bytes() == b"0123456789\n"
        file.write(b"next\n")
        assert log.path.read_bytes() == b"next\n"
        log.trim()
        assert log.tail() == "next"


def test_leftovers_are_known_by_name_and_directory(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "60"], cwd=tmp_path)
    assert [process.pid for process in leftovers({"sleep"}, tmp_path)] == [child.pid]
    assert leftovers({"postgres"}, tmp_path) == []
    assert leftovers({"sleep"}, tmp_path / "below") == []
    child.kill()
    psutil.Process(child.pid).status()
    while not has_ended(psutil.Process(child.pid)):
        pass
    assert leftovers({"sleep"}, tmp_path) == [], "a zombie has ended"
    child.wait()


def test_end_goes_up_the_ladder() -> None:
    deaf = psutil.Popen(["sh", "-c", "trap '' QUIT; echo; while :; do sleep 1; done"], stdout=subprocess.PIPE)
    assert deaf.stdout is not None
    deaf.stdout.readline()
    assert not end(deaf, [(AT_ONCE[0][0], 0.2)])
    assert end(deaf, [(AT_ONCE[0][0], 0.2), AT_ONCE[1]])
    assert end(deaf, AT_ONCE), "again, on what has ended"
    deaf.stdout.close()


def test_opening_a_path_adds_the_right_to_pass_and_no_more(tmp_path: Path) -> None:
    inner = tmp_path / "private" / "inner"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o700)
    tmp_path.chmod(0o700)
    open_path(inner, STRANGER)
    assert stat.S_IMODE(inner.parent.stat().st_mode) == 0o701
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o701


def test_a_settings_file_is_not_written_through_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    for name in ("settings", "settings.new"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    write_for(None, tmp_path / "settings", "ours")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "settings").read_text() == "ours"
    assert not (tmp_path / "settings").is_symlink()
