"""What the scripts of `scripts/` make of their words: the arguments of `train.py`, or an error line.

A script says in the comment at its top which words it takes: `bash PATH DATASET SEED [TRAINER] [-- KEY VALUE ...]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import datasets
from runs import protocols
from runs.protocols import SHOTS, Run

METHOD = "MMRL"


def folders(environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the folder of all data sets and that of all runs, from `DATA` and `OUTPUT`."""
    return environment.get("DATA") or "data/", environment.get("OUTPUT") or "output"


def explanation(script: Path, environment: Mapping[str, str]) -> str:
    """Return a script's help: the comment at its top, and the environment as it is."""
    comment = takewhile(lambda line: line.startswith("#"), script.read_text(encoding="utf-8").splitlines()[1:])
    lines = [line.removeprefix("#").removeprefix(" ") for line in comment]
    (data, output), python = folders(environment), environment.get("PYTHON") or "python"
    now = f"DATA (datasets, now {data}), OUTPUT (runs, now {output}), PYTHON (interpreter, now {python})"
    lines += ["", f"Environment: {now}."]
    lines += ["After --, KEY VALUE options go to train.py as they are, such as: -- OPTIM.LR 0.002 OPTIM.MAX_EPOCH 20"]
    return "\n".join(lines)


def read_words(script: Path, words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the arguments of a script by name, and the words after `--`.

    Raises ValueError: an argument is missing or too much, or the options name a data set.
    """
    found = re.search(rf"^# +bash \S*{re.escape(script.name)} (.+?) (?=\[--)", script.read_text("utf-8"), re.MULTILINE)
    assert found is not None, f"{script} does not say how it is called"
    names, usage = found[1].split(), f"usage: {script} {found[1]} [-- KEY VALUE ...]"
    cut = list(words).index("--") if "--" in words else len(words)
    given, options = words[:cut], list(words[cut + 1 :])
    missing = [name for name in names[len(given) :] if name[0] != "["]
    if missing:
        raise ValueError(f"{missing[0]} is missing; {usage} (-h explains)")
    if len(given) > len(names):
        raise ValueError(f"unexpected argument {given[len(names)]}; {usage}")
    if any(word == "DATASET.NAME" or word.startswith("DATASET.NAME=") for word in options):
        raise ValueError("DATASET.NAME cannot be given after --: DATASET says which data set")
    if any(word == "TRAINER.PLUGINS" or word.startswith("TRAINER.PLUGINS=") for word in options):
        raise ValueError("TRAINER.PLUGINS cannot be given after --: name them behind the method, as in CoOp+DePT")
    return {name.strip("[]"): word for name, word in zip(names, given, strict=False)}, options


def run_of(script: Path, words: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Return the run that a script, called as a step of a protocol is, stands for.

    Raises ValueError: wrong words, or an unknown data set, trainer or configuration.
    """
    given, options = read_words(script, words)
    protocol, step = protocols.protocol_of_step(script.stem), protocols.STEPS[script.stem]
    seed, shots = given["SEED"], given.get("SHOTS", str(SHOTS))
    if not re.fullmatch(r"[0-9]+", seed):
        raise ValueError(f"SEED must be a whole number, not {seed}")
    if not re.fullmatch(r"[1-9][0-9]*", shots):
        raise ValueError(f"SHOTS must be a positive number, not {shots}")
    source = environment.get("SOURCE") or protocols.SOURCE if protocol == "xd" else given["DATASET"]
    method = given.get("TRAINER") or METHOD
    cfg = protocols.choose_config(protocol, source, method, int(shots), given.get("CFG", ""))
    dataset = given.get("DATASET", source)
    protocols.check_name("dataset", dataset, protocols.dataset_names())
    trained = Run(protocols.PROTOCOLS[protocol][0], source, method, cfg, int(shots), int(seed), options=tuple(options))
    if not step.tests:
        return trained
    return Run(script.stem, dataset, method, cfg, int(shots), int(seed), options=tuple(options), model=trained)


def make_data_folder(names: Iterable[str], environment: Mapping[str, str]) -> None:
    """Make the default folder of all data sets for those that write themselves.

    A folder that the user names must exist, so that a slip of the pen makes none.
    """
    kinds = datasets.known_names()
    if not environment.get("DATA") and any(kinds.get(name) in datasets.WRITTEN for name in names):
        Path(folders(environment)[0]).mkdir(parents=True, exist_ok=True)
