"""The runs of the protocols: the folder, the configuration and the command of each, as the scripts have them.

`tests/grid/test_layout.py` holds the scripts and this file to the same commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from runs.environment import PROJECT
from runs.names import suggest

CONFIGS = PROJECT / "configs"


@dataclass(frozen=True)
class Step:
    """One script: its runs' folder, `TASK`, `DATASET.SUBSAMPLE_CLASSES`, and the step whose model it tests."""

    folder: str
    task: str
    subsample: str
    tests: str = ""


STEPS = {
    "base2new_train": Step("base2new/train_base", "B2N", "base"),
    "base2new_test": Step("base2new/test_new", "B2N", "new", "base2new_train"),
    "xd_train": Step("xd/train", "CD", "all"),
    "xd_test": Step("xd/test", "CD", "all", "xd_train"),
    "fewshot": Step("few_shot", "FS", "all"),
}
PROTOCOLS = {
    "base2new": ("base2new_train", "base2new_test"),
    "xd": ("xd_train", "xd_test"),
    "fewshot": ("fewshot",),
}


@dataclass(frozen=True)
class Run:
    """One run of `train.py`.

    Attributes:
        step: a key of STEPS.
        changes: settings that its name shows, as (key, value), sorted.
        options: further `KEY VALUE` words for the command, which the name does not show.
        model: the training run whose model this one tests.
    """

    step: str
    dataset: str
    method: str
    cfg: str
    shots: int
    seed: int
    changes: tuple[tuple[str, str], ...] = ()
    options: tuple[str, ...] = ()
    model: Run | None = None

    @property
    def name(self) -> str:
        """The run's folder in the folder of all runs."""
        cfg = "+".join([self.cfg, *(tag(key, value) for key, value in self.changes)])
        return f"{STEPS[self.step].folder}/{self.dataset}/shots_{self.shots}/{self.method}/{cfg}/seed{self.seed}"

    def arguments(self, root: str, output: str) -> list[str]:
        """The arguments of `train.py`, with the folders of all datasets and of all runs."""
        step = STEPS[self.step]
        words = ["--root", root, "--seed", str(self.seed), "--trainer", self.method]
        words += ["--dataset-config-file", str(dataset_file(self.dataset))]
        words += ["--config-file", str(method_file(self.method, self.cfg))]
        words += ["--output-dir", f"{output}/{self.name}"]
        if self.model:
            words += ["--eval-only", "--model-dir", f"{output}/{self.model.name}"]
        words += ["TASK", step.task, "DATASET.NUM_SHOTS", str(self.shots)]
        words += ["DATASET.SUBSAMPLE_CLASSES", step.subsample]
        return words + [word for pair in self.changes for word in pair] + list(self.options)


def dataset_in_path(folder: Path) -> str:
    """The data set that a path ending as `Run.name` does speaks of, or "" for a path of another kind."""
    *above, dataset, shots, _, _, seed = ("",) * 5 + folder.parts
    if not re.fullmatch(r"shots_\d+", shots) or not re.fullmatch(r"seed\d+", seed):
        return ""
    steps = (Path(step.folder).parts for step in STEPS.values())
    return dataset if any(tuple(above[-len(step) :]) == step for step in steps) else ""


def tag(key: str, value: str) -> str:
    """What a changed setting adds to a folder's name: `REP_DIM=32`, and `OPTIM.LR=0.01` where it is not a method's."""
    short = key.rsplit(".", 1)[-1] if re.fullmatch(r"TRAINER\.[^.]+\.[^.]+", key) else key
    return f"{short}={re.sub(r'[^A-Za-z0-9.-]+', '_', value).strip('_')}"


def dataset_file(name: str) -> Path:
    """The configuration of a dataset."""
    return CONFIGS / "datasets" / f"{name}.yaml"


def method_file(method: str, cfg: str) -> Path:
    """A configuration of a method."""
    return CONFIGS / "trainers" / method / f"{cfg}.yaml"


def dataset_names() -> list[str]:
    """The datasets that have a configuration."""
    return sorted(path.stem for path in (CONFIGS / "datasets").glob("*.yaml"))


def method_names(second_names: bool = True) -> list[str]:
    """The methods that have configurations; `second_names`: also links, which are other names of methods."""
    folders = (path for path in (CONFIGS / "trainers").iterdir() if path.is_dir() and path.name[0] not in "_.")
    return sorted(path.name for path in folders if second_names or not path.is_symlink())


def check_name(what: str, name: str, known: Iterable[str]) -> None:
    """Raise ValueError, with the nearest names, unless `name` is one of `known`."""
    if name not in (names := list(known)):
        raise ValueError(f"unknown {what} {name}; {suggest(str(name), names)}")


def choose_config(protocol: str, dataset: str, method: str, shots: int, cfg: str = "") -> str:
    """`cfg` if it is given, else what the method's table `protocols` says: the first line that fits, * fits any.

    Raises:
        ValueError: the method has no such configuration, or its table no line that fits.
    """
    folder = CONFIGS / "trainers" / method
    known = [path.stem for path in folder.glob("*.yaml") if path.stem != "datasets"]
    asked = (protocol, dataset, str(shots))
    for line in () if cfg else (folder / "protocols").read_text(encoding="utf-8").splitlines():
        row = line.split()
        if row and not line.startswith("#") and all(map(fnmatchcase, asked, row)):
            cfg = row[3]
            break
    if not cfg:
        raise ValueError(
            f"{method} has no default for {protocol} on {dataset} with {shots} shots: "
            f"give --cfg, one of {', '.join(known)}"
        )
    if cfg not in known:
        raise ValueError(f"{method} has no configuration {cfg}; {suggest(cfg, known)}")
    return cfg
