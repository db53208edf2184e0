"""Everything beside training: `python mmrl.py COMMAND ...`; each command is a module of `commands/`."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

from common.names import suggest

COMMANDS = ("fit", "prepare", "import-fewshot", "grid", "table", "compare", "report", "inspect", "predict", "export")
SCRIPT = "script"  # what the scripts call: nobody types it


def main(argv: list[str] | None = None) -> int:
    """Carry out one command and return its exit status; 2 where none is named, or one that there is not."""
    name, *words = (sys.argv[1:] if argv is None else argv) or [""]
    if name in ("", "-h", "--help"):
        print(listing())
        return 0 if name else 2
    if name not in (*COMMANDS, SCRIPT):
        print(f"error: there is no command {name}; {suggest(name, COMMANDS)}", file=sys.stderr)
        return 2
    return importlib.import_module(f"commands.{module_of(name)}").main(words)


def listing() -> str:
    """Return how commands are called, and what each does in a line."""
    lines = [f"  {name:<15} {summary(name)}" for name in COMMANDS]
    end = "python mmrl.py COMMAND -h explains one. Training and testing one run: python train.py -h"
    return "\n".join(["usage: python mmrl.py COMMAND ...", "", *lines, "", end])


def summary(name: str) -> str:
    """Return the first line of a command's docstring, without importing what the command needs."""
    source = (Path(__file__).parent / "commands" / f"{module_of(name)}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def module_of(name: str) -> str:
    """Return the name of a command's module in `commands/`."""
    return name.replace("-", "_")


if __name__ == "__main__":
    sys.exit(main())
