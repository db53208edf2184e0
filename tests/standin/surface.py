"""The list of what the public Dassl has (`tests/data/dassl_surface.json`), as a reader of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).resolve().parents[1] / "data/dassl_surface.json"
DEFAULTS = "config defaults"
SURFACE: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))


def source(entry: Any) -> str:
    """The module that a listed name is imported from, or "" where it is at home."""
    return entry.removeprefix("from ") if isinstance(entry, str) and entry.startswith("from ") else ""


def importable(module: str) -> set[str]:
    """The names of a module that its users may import: its own and Dassl's, not what it imports for itself."""
    names = {
        name
        for name, entry in SURFACE.get(module, {}).items()
        if not name.startswith("_") and source(entry).split(".")[0] in ("", "dassl")
    }
    return names if module != DEFAULTS else set()
