"""Datasets and CLIP's weights asked for by name: fetched, checked, listed (`python mmrl.py prepare`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.names import closest
from datasets import OWN, known_names
from datasets.prepare.sources import Entry, Source, Table

if TYPE_CHECKING:  # what fetches and verifies is imported where it is used: a wrong name is told at once
    from datasets.prepare.verify import Problem

WEIGHTS_FOLDER = "~/.cache/clip"
WEIGHTS = "clip:"


def prepare(names: Sequence[str], root: Path, archives: Sequence[Path], only_verify: bool, table: Table) -> int:
    """Fetch what is named into `root` unless it is only to be verified, verify it, and return the exit status.

    Names are those of datasets, and `clip:MODEL` for CLIP's weights; `archives` are files that the user has fetched.
    Raises FileNotFoundError or ValueError for an unknown name, or an archive of nothing that is named.
    """
    wanted = [look_up(name, table) for name in names]
    by_name = assign(archives, wanted)
    # No dataset waits for the failure of another.
    statuses = [handle(item, root, only_verify, table, by_name.get(item.name, [])) for item in wanted]
    return max(statuses, default=0)


class Weights:
    """A CLIP model asked for by name."""

    def __init__(self, name: str, source: Source) -> None:
        self.name, self.source = name, source
        self.folder = Path(WEIGHTS_FOLDER).expanduser()

    def prepare(self) -> list[str]:
        """Fetch the file; returns error lines."""
        from datasets.prepare import obtain

        try:
            obtain.prepare_weights(self.source, self.folder)
        except ConnectionError as error:
            return [f"{self.name}: {error}; fetch {self.source} yourself and put it into {self.folder}"]
        return []

    def verify(self) -> list[Problem]:
        """List what is wrong with the file."""
        from datasets.prepare.checks import mismatch
        from datasets.prepare.verify import Problem

        path = self.folder / self.source.file
        if not path.is_file():
            return [Problem(f"{path} is missing", f"run python mmrl.py prepare {self.name}")]
        problem = mismatch(path, self.source)
        advice = f"move it away and run python mmrl.py prepare {self.name}"
        return [Problem(f"{path} {problem}", advice)] if problem else []


def look_up(name: str, table: Table) -> Entry | Weights:
    """Return the dataset or weights called so; ValueError with the nearest name otherwise."""
    if name.startswith(WEIGHTS) and name.removeprefix(WEIGHTS) in table.weights:
        return Weights(name, table.weights[name.removeprefix(WEIGHTS)])
    known = known_names()
    if known.get(name.lower()) in OWN:
        raise ValueError(f"{name} is your own data: there is nothing to fetch or to compare it with")
    if name.lower() in known:
        return table.datasets[known[name.lower()]]
    called = {**known, **{f"{WEIGHTS}{model}".lower(): f"{WEIGHTS}{model}" for model in table.weights}}
    nearest = closest(name, called)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    raise ValueError(f"there is no dataset {name!r}: {hint}python mmrl.py prepare --list shows all names")


def assign(archives: Sequence[Path], wanted: Sequence[Entry | Weights]) -> dict[str, list[Path]]:
    """Return the user's archives by dataset.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be told which dataset one is for.
    """
    entries = [item for item in wanted if isinstance(item, Entry)]
    assigned: dict[str, list[Path]] = {}
    for path in archives:
        if not path.is_file():
            raise FileNotFoundError(f"--archive {path}: there is no such file")
        owners = [entry for entry in entries if path.name in entry.archives] or entries
        if len(owners) != 1:
            raise ValueError(f"--archive {path}: it cannot be told which dataset it is for: name exactly one")
        assigned.setdefault(owners[0].name, []).append(path)
    return assigned


def handle(item: Entry | Weights, root: Path, only_verify: bool, table: Table, archives: list[Path]) -> int:
    """Prepare one dataset unless only to be verified, then verify it; returns the exit status."""
    from datasets.prepare import obtain
    from datasets.prepare.verify import verify

    errors: list[str] = []
    if not only_verify:
        try:
            errors = obtain.prepare(item, root, table, archives) if isinstance(item, Entry) else item.prepare()
        except (OSError, ValueError) as error:
            errors = [f"{item.name}: {error}"]
    problems = verify(item, root, table) if isinstance(item, Entry) else item.verify()
    for problem in problems:
        print(f"{item.name}: {'note: ' if problem.harmless else ''}{problem}")
    wrong = [problem for problem in problems if not problem.harmless]
    if not wrong:
        print(f"{item.name}: complete in {root / item.folder if isinstance(item, Entry) else item.folder}")
    store = root / obtain.STORE / item.name
    kept = [path for path in store.glob("*") if path.is_file() and not path.name.startswith(".")]
    if kept and not only_verify:
        size = sum(path.stat().st_size for path in kept) / 1e6
        print(f"{item.name}: downloads are kept in {store} ({size:.0f} MB): once all is complete you can delete them")
    for line in errors:
        print(f"error: {line}", file=sys.stderr, flush=True)
    return int(bool(wrong or errors))


def list_names(table: Table, root: Path) -> None:
    """Print every name with its first files, their sizes and what is in ``root``."""
    for entry in table.datasets.values():
        first = [part.sources[0] for part in entry.parts if not part.spare]
        files = ", ".join(f"{s.file} {s.size / 1e6:.1f} MB" if s.size else s.file for s in first) or "made here"
        state = "present" if (root / entry.folder).is_dir() else "absent"
        images = "/".join(map(str, entry.counts))
        print(f"{entry.name:20} {state:8} {entry.classes:5} classes {images:>22} images   {files}")
    for model, source in table.weights.items():
        state = "present" if (Path(WEIGHTS_FOLDER).expanduser() / source.file).is_file() else "absent"
        print(f"{WEIGHTS + model:20} {state:8} {source.file}")
