"""The shape of the code: directions, sizes, names."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parents[2]
CODE = ("app", "sdk/src", "examples", "scripts", "migrations")
MAX_FILE, MAX_FUNCTION = 400, 60
FORBIDDEN = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "types", "stuff"}

LONG_FILES = {"app/settings.py": "one place says every setting; the table of the README is made of it"}
LONG_FUNCTIONS = {
    "migrations/versions/0001_first_tables.py:upgrade": "one statement a table, in the order Alembic wrote them",
    "migrations/versions/0003_durable_tasks.py:upgrade": "one statement a table",
    "migrations/versions/0004_approvals.py:upgrade": "one statement a table",
    "migrations/versions/0005_limits_stops_schedules.py:upgrade": "one statement a table",
    "migrations/versions/0008_costs.py:upgrade": "one statement a table",
    "migrations/versions/0009_objectives.py:upgrade": "one statement a table",
}


def files() -> Iterator[Path]:
    for folder in CODE:
        yield from sorted((ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


type Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines_of(function: Function) -> int:
    """Its own lines: a function inside it (a route inside its router) counts for itself."""
    inner = [node for node in function.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return span(function) - sum(map(span, inner))


def span(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def functions() -> Iterator[tuple[str, int]]:
    """("file:function", lines)."""
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name_of(path)}:{node.name}", lines_of(node)


def report(what: str, sizes: list[int]) -> None:
    print(f"{what}: {len(sizes)}, median {median(sizes):g}, p90 {quantiles(sizes, n=10)[-1]:g}, most {max(sizes)}")


def test_domains_depend_downwards_only() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_domain_is_named_in_the_direction_check() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    packages = {path.parent.name for path in (ROOT / "app").glob("*/__init__.py")}
    assert [name for name in sorted(packages) if f"app.{name}" not in text] == []


def test_files_stay_small() -> None:
    sizes = {name_of(path): len(path.read_text().splitlines()) for path in files()}
    report("files", [size for size in sizes.values() if size])
    long = {name: size for name, size in sizes.items() if size > MAX_FILE and name not in LONG_FILES}
    assert long == {}, "split by verb, or name the reason in LONG_FILES"
    assert set(LONG_FILES) <= {name for name, size in sizes.items() if size > MAX_FILE}, "no longer an exception"


def test_functions_stay_small() -> None:
    sizes = dict(functions())
    report("functions", list(sizes.values()))
    long = {name: size for name, size in sizes.items() if size > MAX_FUNCTION and name not in LONG_FUNCTIONS}
    assert long == {}, "split it, or name the reason in LONG_FUNCTIONS"
    assert set(LONG_FUNCTIONS) <= {name for name, size in sizes.items() if size > MAX_FUNCTION}


def test_names_say_the_one_job() -> None:
    assert [name_of(path) for path in files() if path.stem in FORBIDDEN or path.parent.name in FORBIDDEN] == []


def test_no_domain_declares_a_relationship_or_imports_the_models_of_another() -> None:
    wrong = []
    for path in (ROOT / "app").rglob("models.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if "relationship" in names or (module.endswith(".models") and path.parent.name not in module):
                wrong.append(f"{name_of(path)}: {module}")
    assert wrong == []
