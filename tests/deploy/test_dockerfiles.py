"""The images: linted, small, not root, and with exactly the packages that the code needs."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from app.main import create_app
from app.settings import AuthSettings, Settings
from tests.deploy.dockerfile import AGENTS, MANAGER, ROOT, copied, one, sent, stages
from tests.support.service import free_port, new_pepper
from tests.support.waiting import until

BOTH = [MANAGER, AGENTS]
ENTRY = ROOT / "deploy" / "docker" / "agent"


@pytest.mark.parametrize("path", BOTH, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert "hadolint" not in path.read_text(), "nothing is excused"


@pytest.mark.parametrize("path", BOTH, ids=lambda path: path.name)
def test_it_is_built_in_stages_of_exact_versions(path: Path) -> None:
    build, final = stages(path)
    python = (ROOT / ".python-version").read_text().strip()
    tags = [stage[0].text.split()[0] for stage in (build, final)]
    assert all(re.fullmatch(rf"python:{re.escape(python)}\.\d+-(slim-)?bookworm", tag) for tag in tags)
    assert "slim" in tags[1]
    assert tags[0] == tags[1].replace("slim-", ""), "one Python: the environment is copied from one to the other"
    assert not [item for item in final if item.word == "RUN" and re.search(r"\b(pip|apt-get|curl)\b", item.text)]


@pytest.mark.parametrize("path", BOTH, ids=lambda path: path.name)
def test_it_takes_no_address_and_no_secret(path: Path) -> None:
    text = "\n".join(line for line in path.read_text().splitlines() if "127.0.0.1" not in line)
    assert not re.search(r"https?://|--index-url|--extra-index|--trusted-host", text)
    assert not re.search(r"(?i)^(ARG|ENV)\b.*(secret|password|token|pepper|api_key)", text, re.MULTILINE)
    assert not [item for stage in stages(path) for item in stage if item.word == "ADD"]
    installs = re.findall(r"pip (?:\S+ )*?(?:install|wheel) [^&]*", text.replace("\\\n", " "))
    assert len(installs) == 4
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    assert all("--no-deps" in line for line in installs)


@pytest.mark.parametrize("path", BOTH, ids=lambda path: path.name)
def test_what_it_copies_is_there_and_sent_to_the_build(path: Path) -> None:
    for source in (name for stage in stages(path) for name in copied(stage)):
        assert (ROOT / source).exists(), source
        files = list((ROOT / source).rglob("*.py")) if (ROOT / source).is_dir() else [ROOT / source]
        assert files
        hidden = [str(item) for item in files if not sent(item.relative_to(ROOT).as_posix())]
        assert hidden == []


def test_nothing_else_is_sent_to_the_build() -> None:
    kept = (
        ".env",
        ".git/config",
        ".venv/bin/python",
        ".yardmaster/admin.key",
        "tests/conftest.py",
        "docker-compose.yml",
        "deploy/compose.env.example",
        "app/.env",
        "app/__pycache__/main.cpython-312.pyc",
        "examples/log_analyzer/__pycache__/x.pyc",
    )
    assert [name for name in kept if sent(name)] == []
    assert all(map(sent, ("app/main.py", "migrations/script.py.mako", "sdk/README.md", "deploy/docker/agent")))


@pytest.mark.parametrize("path", BOTH, ids=lambda path: path.name)
def test_it_does_not_run_as_root(path: Path) -> None:
    final = stages(path)[-1]
    words = [item.word for item in final]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", one(final, "USER").text)
    assert words.index("USER") > max(number for number, word in enumerate(words) if word in ("RUN", "COPY"))
    assert one(final, "STOPSIGNAL").text == "SIGTERM"
    assert {"LABEL", "EXPOSE", "HEALTHCHECK"} <= set(words)
    assert one(final, "ENTRYPOINT").command
    assert one(final, "CMD").command


class _Answer(BaseHTTPRequestHandler):
    """200 for one path, 503 for all others."""

    good = ""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == self.good else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def _answering(good: str) -> Iterator[int]:
    handler = type("Handler", (_Answer,), {"good": good})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("path", "good", "port"), [(MANAGER, "/livez", "8080"), (AGENTS, "/health", "8000")])
def test_the_health_check_tells_good_from_bad(path: Path, good: str, port: str) -> None:
    final = stages(path)[-1]
    assert one(final, "EXPOSE").text == port
    python, *arguments = one(final, "HEALTHCHECK").command
    assert python == "python"

    def check(path: str) -> int:
        with _answering(path) as free:
            told = [item.replace("8080", str(free)) for item in arguments]
            environment = {"AGENT_PORT": str(free), "http_proxy": "http://127.0.0.1:1"}
            return subprocess.run(
                [sys.executable, *told], env=environment, check=False, stderr=subprocess.DEVNULL
            ).returncode

    assert check(good) == 0
    assert check("/elsewhere") != 0


def test_the_managers_health_check_asks_a_route_that_exists() -> None:
    assert "/livez" in one(stages(MANAGER)[-1], "HEALTHCHECK").text
    settings = Settings(auth=AuthSettings(pepper=new_pepper()))
    assert {"/livez", "/readyz", "/metrics"} <= {getattr(route, "path", "") for route in create_app(settings).routes}


def test_the_managers_command_is_one_that_yard_has() -> None:
    final = stages(MANAGER)[-1]
    assert one(final, "ENTRYPOINT").command == ["yard"]
    command = one(final, "CMD").command
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", command[0], "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert all(word in done.stdout for word in command if word.startswith("--"))
    assert command[command.index("--host") + 1] == "0.0.0.0"


def _stubs(folder: Path, **scripts: str) -> Path:
    """A folder for PATH with these commands."""
    folder.mkdir()
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


def _enter(bin_: Path, *arguments: str, **environment: str) -> str:
    path = f"{bin_}{os.pathsep}/usr/bin{os.pathsep}/bin"
    done = subprocess.run(
        ["/bin/sh", ENTRY, *arguments],
        env={"PATH": path, "AGENT_PORT": "8000", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_an_agent_advertises_its_own_address_and_reads_its_key(tmp_path: Path) -> None:
    bin_ = _stubs(tmp_path / "bin", hostname="echo 10.1.2.3 10.9.9.9", python='echo "$AGENT_URL $YARD_API_KEY $*"')
    (tmp_path / "key").write_text("yk_1\n")
    key = str(tmp_path / "key")
    assert _enter(bin_, "log_analyzer", YARD_API_KEY_FILE=key) == "http://10.1.2.3:8000 yk_1 -m examples.log_analyzer\n"
    said = _enter(bin_, "x", YARD_API_KEY_FILE=key, YARD_API_KEY="yk_2", AGENT_URL="http://a:1")
    assert said == "http://a:1 yk_2 -m examples.x\n"


def test_an_agent_ends_in_good_order_as_process_one_would(tmp_path: Path) -> None:
    port = free_port()
    bin_ = _stubs(tmp_path / "bin", python=f'exec {sys.executable} "$@"')
    environment = {
        "PATH": f"{bin_}{os.pathsep}{os.defpath}",
        "AGENT_PORT": str(port),
        "AGENT_URL": f"http://127.0.0.1:{port}",
    }
    process = subprocess.Popen([ENTRY, "log_analyzer"], env=environment, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        health = until(lambda: _health(port), "the agent answers")
        assert health == {"status": "idle", "running": 0, "slots": 4}
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def _health(port: int) -> dict[str, object] | None:
    with contextlib.suppress(httpx.TransportError):
        found: dict[str, object] = httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).json()
        return found
    return None


def test_the_entry_point_may_be_run() -> None:
    assert stat.S_IMODE(ENTRY.stat().st_mode) & 0o555 == 0o555
    assert f"COPY --chmod=0555 {ENTRY.relative_to(ROOT)} /usr/local/bin/agent" in AGENTS.read_text()
