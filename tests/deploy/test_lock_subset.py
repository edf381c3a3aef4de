"""What the images install: the part of the lock that their code needs, no more and no less."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from tests.deploy.dockerfile import AGENTS, ROOT, stages

LOCK = ROOT / "requirements.lock"
SUBSET = ROOT / "deploy" / "docker" / "lock_subset.py"


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


subset = _load(SUBSET)


def _pins(*roots: str) -> set[str]:
    """What the images install of the lock, on this platform."""
    chosen = subset.closure(LOCK.read_text(), subset.roots(roots))
    elsewhere = ("sys_platform == 'win32'", "sys_platform == 'emscripten'")
    return {
        name for name, entry in chosen.items() if not any(mark in entry.partition("--hash")[0] for mark in elsewhere)
    }


def _needs(*requirements: str) -> set[str]:
    """What the installed packages themselves say they need, at any distance."""
    found: set[str] = set()
    left = [Requirement(text) for text in requirements]
    seen: set[str] = set()
    while left:
        wanted = left.pop()
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        found.add(subset.normal(wanted.name))
        for text in distribution(wanted.name).requires or []:
            more = Requirement(text)
            extras = wanted.extras or {""}
            if more.marker is None or any(more.marker.evaluate({"extra": extra}) for extra in extras):
                left.append(more)
    return found


def test_the_manager_has_exactly_what_it_needs() -> None:
    requirements = [text for text in distribution("yardmaster").requires or [] if "extra ==" not in text]
    assert _pins("pyproject.toml") == _needs(*requirements)


def test_the_agents_have_exactly_what_they_need() -> None:
    examples = [
        text.partition(";")[0]
        for text in distribution("yardmaster").requires or []
        if "'examples'" in text.replace('"', "'")
    ]
    traces = ["opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"]
    run = next(item.text for item in stages(AGENTS)[0] if item.word == "RUN" and "sdk/pyproject.toml" in item.text)
    words = run.partition("requirements.lock")[2].partition(">")[0].split()
    assert words == ["sdk/pyproject.toml", "pyproject.toml:examples", *traces]
    assert len(examples) == 2
    assert _pins(*words) == _needs(*(distribution("yardmaster-sdk").requires or []), *examples, *traces)


def _imported(folder: str) -> set[str]:
    names: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("folders", "own", "roots"),
    [
        (("app", "migrations"), {"app", "examples"}, ("pyproject.toml",)),
        (
            ("sdk/src", "examples", "deploy/docker"),
            {"yardmaster", "examples"},
            (
                "sdk/pyproject.toml",
                "pyproject.toml:examples",
                "opentelemetry-sdk",
                "opentelemetry-exporter-otlp-proto-http",
            ),
        ),
    ],
)
def test_what_the_code_imports_is_in_the_image(folders: tuple[str, ...], own: set[str], roots: tuple[str, ...]) -> None:
    owners = packages_distributions()
    pins = _pins(*roots)
    for module in sorted(set().union(*map(_imported, folders)) - own):
        assert {subset.normal(name) for name in owners.get(module, [module])} & pins, module


def test_the_subset_is_the_locks_own_lines(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SUBSET, LOCK, ROOT / "pyproject.toml"], capture_output=True, text=True, check=True
    )
    lock = LOCK.read_text().splitlines()
    assert set(done.stdout.splitlines()) <= set(lock)
    assert not re.search(r"^(pytest|ruff|mypy|hypothesis|playwright|bandit)==", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no-such-package"], "not in the lock: no-such-package"),
        ([f"{ROOT}/pyproject.toml:nothing"], "no extra 'nothing'"),
        ([], "usage"),
    ],
)
def test_the_subset_says_what_is_wrong(arguments: list[str], told: str) -> None:
    done = subprocess.run([sys.executable, SUBSET, LOCK, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert told in done.stderr
