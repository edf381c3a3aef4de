"""The configuration table of the README, from the settings themselves: `python -m scripts.config_table`."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from app.settings import Settings


def rows() -> Iterator[tuple[str, str, str]]:
    """(environment variable, default, what it is) of every setting."""
    yield "YARD_DATA_DIR", ".yardmaster", "Folder of the embedded servers, keys and logs."
    for section in Settings.model_fields.values():
        kind = section.annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseSettings)):
            continue
        prefix = str(kind.model_config["env_prefix"])
        for name, field in kind.model_fields.items():
            default = field.default
            shown = "" if isinstance(default, SecretStr) else str(default)
            shown = shown.lower() if isinstance(default, bool) else shown
            yield f"{prefix}{name.upper()}", shown, field.description or ""


def table() -> str:
    """As Markdown."""
    lines = ["| variable | default | |", "|---|---|---|"]
    for variable, default, text in rows():
        value = "`" + default.replace("'", '"') + "`" if default else ""
        lines.append(f"| `{variable}` | {value} | {text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
