"""A child process with limits, for work on input nobody vouches for.

What it gives: a fresh empty folder, an environment without the agent's secrets, limits on processor time,
memory and file size, bounded output, a time limit, and the end of the whole process group whatever happens.
What it is not: a wall against an attacker. The child is the agent's own user with the agent's own kernel and
network; for hostile code, run the agent in a container without network.
"""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# ulimit in a shell rather than code between fork and exec, which isn't safe in a process with threads.
# Where a system has no such limit (memory on macOS) the others still hold.
_LIMITED = """
ulimit -c 0; ulimit -t "$1" 2>/dev/null; ulimit -v "$2" 2>/dev/null; ulimit -f "$3" 2>/dev/null
shift 3; exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a child may use: seconds of wall and processor time, memory, file size, output."""

    wall_s: float = 30.0
    cpu_s: int = 20
    memory_mib: int = 512
    file_kib: int = 0
    output_bytes: int = 4 << 20


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child ended: `code` is negative for a signal; the output is cut at the bound."""

    code: int
    stdout: bytes
    stderr: bytes


async def run_limited(
    command: Sequence[str],
    *,
    stdin: bytes = b"",
    files: Mapping[str, bytes] | None = None,
    bounds: Bounds | None = None,
) -> Finished:
    """Run a command in a folder of its own that holds `files`; TimeoutError after `bounds.wall_s`.

    Output past `bounds.output_bytes` ends the child. Whatever way this is left, a cancel included, no
    process of the child's group lives on.
    """
    bounds = bounds or Bounds()
    with tempfile.TemporaryDirectory(prefix="yard-", ignore_cleanup_errors=True) as folder:
        _place(folder, files or {})
        child = await _start(command, folder, stdin, bounds)
        try:
            async with asyncio.timeout(bounds.wall_s):
                return await _listen(child, bounds.output_bytes)
        finally:
            await _end(child)


def _place(folder: str, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        Path(folder, name).write_bytes(content)


async def _start(command: Sequence[str], folder: str, stdin: bytes, bounds: Bounds) -> asyncio.subprocess.Process:
    limits = (str(bounds.cpu_s), str(bounds.memory_mib * 1024), str(bounds.file_kib * 2))
    # A file rather than a pipe: a child may end before it has read, and event loops differ in how a write then fails.
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        return await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", _LIMITED, "limited", *limits, *command),
            stdin=given,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            env={"PATH": os.defpath, "HOME": folder, "TMPDIR": folder, "PYTHONUTF8": "1", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )


async def _listen(child: asyncio.subprocess.Process, limit: int) -> Finished:
    assert child.stdout is not None
    assert child.stderr is not None
    async with asyncio.TaskGroup() as group:
        stdout = group.create_task(_read(child, child.stdout, limit))
        stderr = group.create_task(_read(child, child.stderr, limit))
    return Finished(await child.wait(), stdout.result(), stderr.result())


async def _read(child: asyncio.subprocess.Process, stream: asyncio.StreamReader, limit: int) -> bytes:
    output = bytearray()
    while chunk := await stream.read(1 << 16):
        output += chunk
        if len(output) > limit:
            _kill(child)
            break
    return bytes(output[:limit])


def _kill(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


async def _end(child: asyncio.subprocess.Process) -> None:
    _kill(child)  # always: children of the child may have outlived it
    await child.wait()
