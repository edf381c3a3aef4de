"""The account the servers run under when root starts the service: PostgreSQL refuses to run as root.

A cluster that exists keeps its owner, so a data directory survives a rebuilt container in which the account
got another uid, and one made by a normal user can later be served by root. Otherwise a system account is
used, and created where it is missing. Everywhere else (not root) the servers run as ourselves.
"""

import os
import pwd
import shutil
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from app.embedded.errors import EmbeddedStartError

ACCOUNT_NAME = "yard-embedded"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Account:
    """A numeric user and group; supplementary groups are always dropped."""

    uid: int
    gid: int


def server_account(cluster: Path) -> Account | None:
    """The account for the servers of this cluster (which need not exist), or None for ourselves.

    Raises EmbeddedStartError when we are root and no account can be had.
    """
    if os.geteuid() != 0:
        return None
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    return _system_account()


def _system_account() -> Account:
    """Look the account up, creating it if needed; several first starts at once may compete for that."""
    for _ in range(5):
        try:
            entry = pwd.getpwnam(ACCOUNT_NAME)
        except KeyError:
            error = _create_account()
            time.sleep(0.1 if error else 0)
        else:
            return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedStartError(
        f"PostgreSQL does not run as root and the account {ACCOUNT_NAME} could not be created ({error}): "
        "create it, or start the service as a normal user"
    )


def _create_account() -> str:
    """Add the account; returns why that failed, or nothing. logind's RemoveIPC spares system uids."""
    useradd = shutil.which("useradd") or shutil.which("useradd", path="/usr/sbin:/sbin")
    if useradd is None:
        return "no useradd here"
    shell = shutil.which("nologin", path="/usr/sbin:/sbin") or "/bin/false"
    command = [useradd, "--system", "--user-group", "--no-create-home", "--shell", shell, ACCOUNT_NAME]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - fixed words
    return "" if done.returncode == 0 else done.stderr.strip() or f"useradd: exit {done.returncode}"


def give(path: Path, account: Account) -> None:
    """Make `account` the owner of `path` and all below it, if `path` exists and has another owner."""
    if not path.exists() or path.stat().st_uid == account.uid:
        return
    for entry in [*path.rglob("*"), path]:  # `path` last: cut short, the next start does it again
        os.chown(entry, account.uid, account.gid, follow_symlinks=False)


def write_for(account: Account | None, path: Path, text: str) -> None:
    """Put a file at `path` that `account` (None: ourselves) owns and may read, whole or not at all.

    Root writes here into directories of the account, so nothing found there is opened or followed.
    """
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        if account is not None:
            os.fchown(descriptor, account.uid, account.gid)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    new.replace(path)


def open_path(path: Path, account: Account) -> None:
    """Let `account` pass through the parents of `path`: traverse only, listing stays as private as it was."""
    for parent in path.parents:
        mode = parent.stat()
        if not _may_pass(mode, account):
            parent.chmod(stat.S_IMODE(mode.st_mode) | stat.S_IXOTH)
            _log.warning("embedded.path_opened", path=str(parent), uid=account.uid)


def _may_pass(found: os.stat_result, account: Account) -> bool:
    if found.st_uid == account.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == account.gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)
