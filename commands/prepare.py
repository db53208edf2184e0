"""Fetch and check datasets and CLIP's weights.

    python mmrl.py prepare OxfordPets DescribableTextures clip:ViT-B/16 --root DATA
    python mmrl.py prepare ImageNet --root DATA --archive ILSVRC2012_img_train.tar ILSVRC2012_img_val.tar \\
        ILSVRC2012_devkit_t12.tar.gz
    python mmrl.py prepare OxfordPets --root DATA --verify
    python mmrl.py prepare --list

A dataset is called as in the configurations (OxfordPets or oxford_pets). What is there already is kept, what is
missing is fetched; an interrupted download goes on where it stopped. --archive takes files that you fetched yourself:
under the names that --list shows they are checked, any other is taken to be a copy of the (one) dataset named.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from common.text import print_anything
from datasets import _MODULES, OWN
from datasets.prepare import checks, obtain, sources
from datasets.prepare.sources import Entry, Source, Table
from datasets.prepare.verify import Problem, verify

WEIGHTS_FOLDER = "~/.cache/clip"
WEIGHTS = "clip:"
INTERRUPTED = 130


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python mmrl.py prepare",
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="datasets, and CLIP's weights as clip:MODEL")
    parser.add_argument("--root", type=Path, default=Path("data"), metavar="DATA", help="folder of all datasets (data)")
    parser.add_argument(
        "--verify", action="store_true", help="fetch nothing, say what is missing, too much or different"
    )
    parser.add_argument("--list", action="store_true", help="show all names, with files, sizes and state")
    parser.add_argument(
        "--archive", type=Path, nargs="+", default=[], metavar="PATH", help="files you fetched yourself"
    )
    args = parser.parse_args(argv)
    args.root = args.root.expanduser()
    if not args.names and not args.list:
        parser.error("name at least one dataset, or ask for the --list")
    if args.archive and args.verify:
        parser.error("--archive fetches nothing and --verify takes nothing: choose one")
    return args


def main(argv: list[str] | None = None, table_path: Path = sources.TABLE) -> int:
    """Run the command; the exit status is 0 if everything asked for is there and right."""
    print_anything()
    args = parse_args(argv)
    try:
        table = sources.load(table_path)
        if args.list:
            list_names(table, args.root)
        wanted = [look_up(name, table) for name in args.names]
        archives = assign(args.archive, wanted)
        # No dataset waits for the failure of another.
        return max([handle(item, args, table, archives.get(item.name, [])) for item in wanted], default=0)
    except KeyboardInterrupt:
        print("error: interrupted: what was downloaded is kept, the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    except (OSError, ValueError) as error:
        return fail(str(error))


class Weights:
    """A CLIP model asked for by name."""

    def __init__(self, name: str, source: Source) -> None:
        self.name, self.source = name, source
        self.folder = Path(WEIGHTS_FOLDER).expanduser()

    def prepare(self) -> list[str]:
        """Fetch the file; returns error lines."""
        try:
            obtain.prepare_weights(self.source, self.folder)
        except ConnectionError as error:
            return [f"{self.name}: {error}; fetch {self.source} yourself and put it into {self.folder}"]
        return []

    def verify(self) -> list[Problem]:
        """What is wrong with the file."""
        path = self.folder / self.source.file
        if not path.is_file():
            return [Problem(f"{path} is missing", f"run python mmrl.py prepare {self.name}")]
        problem = checks.mismatch(path, self.source)
        advice = f"move it away and run python mmrl.py prepare {self.name}"
        return [Problem(f"{path} {problem}", advice)] if problem else []


def look_up(name: str, table: Table) -> Entry | Weights:
    """The dataset or weights called so; ValueError with the nearest name otherwise."""
    if name.startswith(WEIGHTS) and name.removeprefix(WEIGHTS) in table.weights:
        return Weights(name, table.weights[name.removeprefix(WEIGHTS)])
    known = {call.lower(): registry for registry, module in _MODULES.items() for call in (registry, module)}
    if known.get(name.lower()) in OWN:
        raise ValueError(f"{name} is your own data: there is nothing to fetch or to compare it with")
    if name.lower() in known:
        return table.datasets[known[name.lower()]]
    called = {**known, **{f"{WEIGHTS}{model}".lower(): f"{WEIGHTS}{model}" for model in table.weights}}
    nearest = difflib.get_close_matches(name.lower(), called, n=1)
    hint = f"did you mean {called[nearest[0]]}? " if nearest else ""
    raise ValueError(f"there is no dataset {name!r}: {hint}python mmrl.py prepare --list shows all names")


def assign(archives: list[Path], wanted: list[Entry | Weights]) -> dict[str, list[Path]]:
    """The user's archives by dataset.

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


def handle(item: Entry | Weights, args: argparse.Namespace, table: Table, archives: list[Path]) -> int:
    """Prepare one dataset unless only to be verified, then verify it; returns the exit status."""
    errors: list[str] = []
    if not args.verify:
        try:
            errors = obtain.prepare(item, args.root, table, archives) if isinstance(item, Entry) else item.prepare()
        except (OSError, ValueError) as error:
            errors = [f"{item.name}: {error}"]
    problems = verify(item, args.root, table) if isinstance(item, Entry) else item.verify()
    for problem in problems:
        print(f"{item.name}: {'note: ' if problem.harmless else ''}{problem}")
    wrong = [problem for problem in problems if not problem.harmless]
    if not wrong:
        print(f"{item.name}: complete in {args.root / item.folder if isinstance(item, Entry) else item.folder}")
    store = args.root / obtain.STORE / item.name
    kept = [path for path in store.glob("*") if path.is_file() and not path.name.startswith(".")]
    if kept and not args.verify:
        size = sum(path.stat().st_size for path in kept) / 1e6
        print(f"{item.name}: downloads are kept in {store} ({size:.0f} MB): once all is complete you can delete them")
    for line in errors:
        fail(line)
    return int(bool(wrong or errors))


def fail(message: str) -> int:
    """Print the one line that tells what went wrong; returns the exit status."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    return 1


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


if __name__ == "__main__":
    sys.exit(main())
