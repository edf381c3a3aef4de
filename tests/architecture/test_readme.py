"""The README is true where a program can tell."""

from __future__ import annotations

from pathlib import Path

from scripts.config_table import table

ROOT = Path(__file__).resolve().parents[2]


def test_the_configuration_table_is_the_settings() -> None:
    assert table() in (ROOT / "README.md").read_text(), "run: python -m scripts.config_table"


def test_every_make_target_it_names_exists() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in ("run", "test", "check", "bench"):
        assert f"make {target}" in readme
        assert f"\n{target}:" in makefile
