"""The protocols: their steps, folders, classes and configurations; one vocabulary for scripts, grid and reports.

Base to new (`base2new`) trains on half of a data set's classes and tests on both halves; cross-dataset (`xd`) trains on
all classes of one data set and tests on others; few-shot (`fewshot`) trains and tests on all classes; `joint` tests the
model of base to new on all classes at once. A step is one run of `train.py`: a protocol trains in its first step and
tests that model in the ones after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from common.names import suggest
from runs.environment import PROJECT

CONFIGS = PROJECT / "configs"
SOURCE = "imagenet"  # the data set that cross-dataset runs train on where nothing else is asked for
SHOTS = 16  # images of each class, where nothing else is asked for
JOINT = "JOINT"  # the TASK of tests on base and new classes in one label space


@dataclass(frozen=True)
class Step:
    """One step of a protocol, called as its script is.

    Attributes:
        folder: where its runs lie in the folder of all runs.
        task: its `TASK`.
        subsample: the classes that are scored, its `DATASET.SUBSAMPLE_CLASSES`.
        tests: the step whose model it tests; empty where it trains one.
    """

    folder: str
    task: str
    subsample: str
    tests: str = ""


STEPS = {
    "base2new_train": Step("base2new/train_base", "B2N", "base"),
    "base2new_test": Step("base2new/test_new", "B2N", "new", "base2new_train"),
    "joint_test": Step("joint/test", JOINT, "all", "base2new_train"),
    "xd_train": Step("xd/train", "CD", "all"),
    "xd_test": Step("xd/test", "CD", "all", "xd_train"),
    "fewshot": Step("few_shot", "FS", "all"),
}
PROTOCOLS = {
    "base2new": ("base2new_train", "base2new_test"),
    "xd": ("xd_train", "xd_test"),
    "fewshot": ("fewshot",),
    "joint": ("base2new_train", "joint_test"),  # the first is base to new's own run, and is not repeated
}


def steps_of(protocol: str) -> list[Step]:
    """Return the steps of a protocol in their order: the one that trains, then those that test."""
    return [STEPS[name] for name in PROTOCOLS[protocol]]


def parts_of(protocol: str) -> tuple[str, ...]:
    """Return the parts of the classes that a protocol scores: `("base", "new")`, or `("all",)`."""
    own = (STEPS[name] for name in PROTOCOLS[protocol] if protocol_of_step(name) == protocol)
    return tuple(dict.fromkeys(step.subsample for step in own))


def protocol_of_step(name: str) -> str:
    """Return the protocol that a step (a key of STEPS) belongs to, the first of those that have it."""
    return next(protocol for protocol, steps in PROTOCOLS.items() if name in steps)


def trained_by(protocol: str) -> str:
    """Return the protocol whose settings a protocol's models are trained with: `base2new` for `joint`, else itself."""
    return protocol_of_step(PROTOCOLS[protocol][0])


def training_task(task: str) -> str:
    """Return the `TASK` under which the models are trained that runs of this `TASK` test."""
    tested = next((step.tests for step in STEPS.values() if step.task == task), "")
    return STEPS[tested].task if tested else task


def protocol_of(task: str, subsample: str) -> str:
    """Return the protocol of a run with this `TASK` and `DATASET.SUBSAMPLE_CLASSES`, or "" for a run of none."""
    fits = (name for name, step in STEPS.items() if (step.task, step.subsample) == (task, subsample))
    return next(map(protocol_of_step, fits), "")


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
        """Return the arguments of `train.py`, with the folders of all data sets and of all runs."""
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


def tag(key: str, value: str) -> str:
    """Return what a changed setting adds to a folder's name: `REP_DIM=32`, in full where it is not a method's."""
    short = key.rsplit(".", 1)[-1] if re.fullmatch(r"TRAINER\.[^.]+\.[^.]+", key) else key
    return f"{short}={re.sub(r'[^A-Za-z0-9.-]+', '_', value).strip('_')}"


def dataset_in_path(folder: Path) -> str:
    """Return the data set that a path ending as `Run.name` does speaks of, or "" for a path of another kind."""
    *above, dataset, shots, _, _, seed = ("",) * 5 + folder.parts
    if not re.fullmatch(r"shots_\d+", shots) or not re.fullmatch(r"seed\d+", seed):
        return ""
    folders = (Path(step.folder).parts for step in STEPS.values())
    return dataset if any(tuple(above[-len(parts) :]) == parts for parts in folders) else ""


def dataset_file(name: str) -> Path:
    """Return the path of a data set's configuration."""
    return CONFIGS / "datasets" / f"{name}.yaml"


def method_folder(method: str) -> Path:
    """Return the folder of a method's configurations; with plug-ins (`CoOp+DePT`) that of both, if there is one."""
    from trainers.plugins import split_title

    host, plugins = split_title(method)
    folders = [CONFIGS / "trainers" / name for name in (method, "+".join([host, *plugins]), host)]
    return next((folder for folder in folders if folder.is_dir()), folders[-1])


def method_file(method: str, cfg: str) -> Path:
    """Return the path of a configuration of a method."""
    return method_folder(method) / f"{cfg}.yaml"


def dataset_names() -> list[str]:
    """Return the names of the data sets that have a configuration."""
    return sorted(path.stem for path in (CONFIGS / "datasets").glob("*.yaml"))


def method_names(second_names: bool = True) -> list[str]:
    """Return the methods that have configurations; `second_names`: also links, which are other names of methods."""
    folders = (path for path in (CONFIGS / "trainers").iterdir() if path.is_dir() and path.name[0] not in "_.")
    alone = (path for path in folders if "+" not in path.name)
    return sorted(path.name for path in alone if second_names or not path.is_symlink())


def check_method(name: str) -> None:
    """Raise ValueError, with the nearest names, unless `name` is a method's, or one's with plug-ins (`CoOp+DePT`)."""
    from trainers.plugins import PLUGINS, split_title

    method, plugins = split_title(name)
    check_name("method", method, method_names())
    for plugin in plugins:
        check_name("plug-in", plugin, PLUGINS)


def default_config(protocol: str, dataset: str, method: str, shots: int) -> str:
    """Return a method's default configuration for a protocol, trained on `dataset` with `shots` images of each class.

    It is named by the first line that fits of the method's file `protocols` (protocol, data set, shots, configuration;
    `*` fits any), or, for a second name that has one, of `protocols_NAME`; "" where no line fits or there is no such
    file.
    """
    folder = method_folder(method)
    own = folder / f"protocols_{method.partition('+')[0]}"
    path = own if own.is_file() else folder / "protocols"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    asked = (trained_by(protocol), dataset, str(shots))
    return next((cfg for *patterns, cfg in rows if all(map(fnmatchcase, asked, patterns))), "")


def choose_config(protocol: str, dataset: str, method: str, shots: int, cfg: str = "") -> str:
    """Return `cfg` if it is given, else the method's default.

    Raises:
        ValueError: an unknown data set, method or configuration, with the nearest names, or a method without a default.
    """
    check_name("dataset", dataset, dataset_names())
    check_method(method)
    known = sorted({path.stem for path in method_folder(method).glob("*.yaml")} - {"datasets"})
    cfg = cfg or default_config(protocol, dataset, method, shots)
    if not cfg:
        told = f"{method} has no default for {protocol} on {dataset} with {shots} shots"
        raise ValueError(f"{told}: choose a configuration of {', '.join(known)}")
    if cfg not in known:
        raise ValueError(f"{method} has no configuration {cfg}; {suggest(cfg, known)}")
    return cfg


def check_name(what: str, name: str, known: Iterable[str]) -> None:
    """Raise ValueError, with the nearest names, unless `name` is one of `known`."""
    if name not in (names := list(known)):
        raise ValueError(f"unknown {what} {name}; {suggest(str(name), names)}")
