"""Do what a script of scripts/ does. The scripts call it with their own path and words."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from common import commandline
from runs import scripts
from runs.environment import PROJECT
from runs.protocols import SHOTS, STEPS, choose_config, method_names

METHODS, SEEDS = "MMRL ZeroshotCLIP", "1 2 3"  # that are compared where none are named


def main(argv: list[str] | None = None) -> int:
    """Do what the script whose path comes first does with the words after it, and return its exit status."""
    path, *words = sys.argv[1:] if argv is None else argv
    return commandline.run(lambda: script(Path(path), words))


def script(path: Path, words: Sequence[str]) -> int:
    """Explain the script at `path` if `words` ask for it, else carry it out, and return its exit status."""
    if path.stem == "reproduce":
        return reproduce(path, words)
    before_options = words[: words.index("--")] if "--" in words else words
    if {"-h", "--help"} & {*before_options}:
        print(scripts.explanation(path, os.environ))
        return 0
    return step(path, words) if path.stem in STEPS else compare(path, words)


def step(path: Path, words: Sequence[str]) -> int:
    """Carry out one step of a protocol, in this process."""
    from runs import execute

    run = scripts.run_of(path, words, os.environ)
    scripts.make_data_folder([run.dataset], os.environ)
    return execute.main(run.arguments(*scripts.folders(os.environ)))


def compare(path: Path, words: Sequence[str]) -> int:
    """Carry out base to new for several methods and seeds, a process for each run, and print the table.

    A run that fails stops nothing: it is named at the end.
    """
    given, options = scripts.read_words(path, words)
    dataset = given["DATASET"]
    methods, seeds = given.get("METHODS", METHODS).split(), given.get("SEEDS", SEEDS).split()
    methods = method_names(second_names=False) if methods == ["all"] else methods
    for method in methods:
        choose_config("base2new", dataset, method, SHOTS)  # a wrong name is said before anything runs
    failed = []
    for method in methods:
        for seed in seeds:
            for half in ("base2new_train", "base2new_test"):
                print(f"== {method}, seed {seed}: {half}", flush=True)
                words = [dataset, seed, method, *(["--", *options] if options else [])]
                if call("script", str(PROJECT / f"scripts/b2n/{half}.sh"), *words):
                    failed.append(f"{method} seed {seed} ({half})")
                    break
    print(flush=True)
    _, output = scripts.folders(os.environ)
    to = os.environ.get("TO") or "MMRL"
    status = call("compare", dataset, *methods, "--seeds", *seeds, "--to", to, "--output", output)
    for run in failed:
        print(f"error: failed: {run}", file=sys.stderr)
    return 1 if failed else status


def call(*words: str) -> int:
    """Run a command of `mmrl.py` in a process of its own and return its exit status; Ctrl-C lets it end by itself."""
    process = subprocess.Popen([sys.executable, str(PROJECT / "mmrl.py"), *words])
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def reproduce(path: Path, words: Sequence[str]) -> int:
    """Carry out the grids of a table or figure of the paper, or explain the script."""
    from commands import grid

    if not words or words[0] in ("-h", "--help"):
        print(scripts.explanation(path, os.environ))
        return 0 if words else 1
    name, *options = words
    suites = PROJECT / "scripts/reproduce"
    known = sorted(suite.stem for suite in suites.glob("*.yaml"))
    if name not in known:
        raise ValueError(f"unknown table or figure {name}; known: {' '.join(known)}")
    return grid.main(["--suite", str(suites / f"{name}.yaml"), *options])
