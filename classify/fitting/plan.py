"""Which runs of train.py a fit consists of, with which method and settings, and how long they will take."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import trainers
from common.names import suggest
from datasets.shared.files import Item
from runs.arguments import parse_args
from runs.config import build_cfg
from runs.options import pairs
from runs.protocols import SHOTS, choose_config, method_file
from trainers.shared.images import describe
from trainers.shared.lists import counted

from .images import Images
from .splits import Fold, training_part

AUTO = "auto"
COMPARED = ("ZeroshotCLIP", "LinearProbe", "TipAdapter")  # that every method is measured beside
TRAINED, PROBE, FEW = "MMRL", "LinearProbe", "TipAdapter"  # what `auto` chooses among
LEAST_EPOCHS = 5
BACKWARD = 3  # a training step costs this many evaluations of its images and texts
TIMED = 16  # images


@dataclass(frozen=True)
class Request:
    """What a user asks for; `options` are further `KEY VALUE` words for train.py.

    Raises:
        ValueError: a value that cannot be.
    """

    source: str
    out: str
    method: str = AUTO
    backbone: str = "ViT-B/16"
    shots: int | None = None
    folds: int = 5
    repeats: int = 1
    curve: tuple[int, ...] = ()
    template: str = "a photo of a {}."
    cache: bool = True
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.method != AUTO and trainers.ALIASES.get(self.method, self.method) not in trainers.METHODS:
            raise ValueError(f"there is no method {self.method}; {suggest(self.method, [AUTO, *trainers.METHODS])}")
        shots = 1 if self.shots is None else self.shots
        least = {"shots": (shots, 1), "curve": (min(self.curve, default=1), 1)}
        for name, (value, smallest) in (least | {"folds": (self.folds, 2), "repeats": (self.repeats, 1)}).items():
            if value < smallest:
                raise ValueError(f"--{name} must be at least {smallest}, not {value}")
        own = [key for key, _ in pairs(self.options) if key.startswith("DATASET.") or key == "TASK"]
        if own:
            raise ValueError(f"{own[0]} cannot be given after --: the folder, --shots and --template say it")

    @property
    def facts(self) -> dict[str, Any]:
        """Return what makes this fit this fit, JSON-ready."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items() if key != "out"}


@dataclass(frozen=True)
class Job:
    """A run of train.py.

    Attributes:
        name: its folder in that of the fit.
        label: what it is, for people.
        shots: of the learning curve; None: as many as the request says.
        place: repetition and fold, from 1; None for the final model.
        words: train.py's arguments.
        seconds: how long it will take, about.
    """

    name: str
    label: str
    method: str
    shots: int | None
    place: tuple[int, int] | None
    words: list[str]
    seconds: float


class Speed(NamedTuple):
    """Seconds that CLIP takes on this machine: for an image, for the texts of all classes, to be loaded."""

    image: float
    texts: float
    start: float


def time_clip(request: Request, images: Images) -> tuple[Speed, str]:
    """Return how fast the backbone is, from a few of the images, and the type of the device that it runs on."""
    import torch

    from classify.load import zero_shot

    began = time.perf_counter()
    classifier = zero_shot(request.backbone, images.classes, template=request.template)
    items = images.all
    some = [Path(images.folder, item.impath) for item in items[:: max(1, len(items) // TIMED)][:TIMED]]
    classifier.predict(some[:1])
    loaded = time.perf_counter()
    classifier.predict(some)
    predicted = time.perf_counter()
    with torch.no_grad():
        classifier.method.class_features()
    image, texts = (predicted - loaded) / len(some), time.perf_counter() - predicted
    return Speed(image, texts, loaded - began), classifier.device.type


def needs_validation(method: str, words: list[str]) -> bool:
    """Return whether a method, with these arguments, chooses something on validation images."""
    return trainers.METHODS[method].settings.needs_validation or (
        build_cfg(parse_args(words)).TEST.FINAL_MODEL == "best_val"
    )


def by_steps(method: str) -> bool:
    """Return whether a method learns in epochs of steps, not in one go or not at all."""
    from trainers.shared.features import FittedTrainer

    trainer = trainers.load(method)
    return bool(trainer.registered_name) and not issubclass(trainer, FittedTrainer)


class Planner:
    """Makes the jobs of a request.

    Args:
        folds: how many there are of each repetition.
    """

    def __init__(self, request: Request, images: Images, folds: int, speed: Speed) -> None:
        self.request, self.images, self.folds, self.speed = request, images, folds, speed

    def measurements(self, method: str, folds: Sequence[Fold], shots: int | None = None) -> list[Job]:
        """Return the jobs that measure a method, with `shots` where that is another number than the request's."""
        return [self.job(method, fold, shots) for fold in folds]

    def job(self, method: str, fold: Fold, shots: int | None = None) -> Job:
        """Return the job that trains and tests a method on one fold."""
        name = self.name(fold, shots)
        label = f"{method}, {counted(shots, 'shot')}" if shots else method
        label += f", fold {fold.number} of {self.folds}"
        label += f", repetition {fold.repeat} of {self.request.repeats}" if self.request.repeats > 1 else ""
        words, with_val = self.words(method, name, f"measure/{method}/{name}", fold.repeat)
        train, val = training_part(fold.train, fold.val, shots or self.request.shots, with_val, fold.repeat)
        if with_val and not val:
            raise ValueError(
                f"{method} chooses its settings on images that it is not trained on, and no class has any to spare: "
                "3 images of a class are needed"
            )
        words += self.settings(method, words, len(train))
        seconds = self.seconds(method, words, len(train), len(val) + len(fold.test))
        return Job(f"measure/{method}/{name}", label, method, shots, (fold.repeat, fold.number), words, seconds)

    def final(self, method: str, chosen: Sequence[str]) -> Job:
        """Return the job that trains a method on all images, with the settings (words) that the folds chose.

        A method that chooses something else on validation images keeps some of them for that.
        """
        words, with_val = self.words(method, "final", "model", 1, False if chosen else None)
        words += [*chosen, "DATASET.ALL_TRAIN", "True", "TEST.NO_TEST", "True"]
        train, val = self.final_part(with_val)
        words += self.settings(method, words, len(train))
        return Job(
            "model",
            f"{method}, final model",
            method,
            None,
            None,
            words,
            self.seconds(method, words, len(train), len(val)),
        )

    def final_part(self, with_val: bool) -> tuple[list[Item], list[Item]]:
        """Return the images to train the final model on, and those to choose settings on, none without `with_val`."""
        given = self.images.given
        val = given.get("val", []) if "test" in given else []
        others = [item for part, items in given.items() if items is not val for item in items]
        return training_part(others, val, self.request.shots, with_val, 1)

    def name(self, fold: Fold, shots: int | None = None) -> str:
        """Return what the folder and the table of a run on a fold are called."""
        repeat = f"repeat_{fold.repeat}_" if self.request.repeats > 1 else ""
        return f"{repeat}{f'shots_{shots}_' if shots else ''}fold_{fold.number}"

    def table(self, name: str) -> Path:
        """Return the path of a table of images."""
        return Path(self.request.out) / "splits" / f"{name}.csv"

    def words(
        self, method: str, table: str, run: str, seed: int, with_val: bool | None = None
    ) -> tuple[list[str], bool]:
        """Return train.py's arguments for a run on a table, and whether the table is one with validation images.

        `with_val` says that; by default it goes by the method.
        """
        cfg = choose_config(
            "fewshot", "table", method, SHOTS, "embedded" if self.request.backbone == "embedded" else ""
        )
        words = ["--root", self.images.folder, "--output-dir", str(Path(self.request.out, run)), "--seed", str(seed)]
        words += ["--trainer", method, "--config-file", str(method_file(method, cfg))]
        words += ["--backbone", self.request.backbone, *self.request.options]
        words += ["TASK", "FS", "DATASET.NAME", "Table", "DATASET.FOLDER", self.images.folder]
        with_val = needs_validation(method, words) if with_val is None else with_val
        words += ["DATASET.TABLE", str(self.table(f"{table}{'_val' if with_val else ''}"))]
        return [*words, "DATASET.TEMPLATE", self.request.template, "TEST.SAVE_SCORES", "True"], with_val

    def settings(self, method: str, words: list[str], train: int) -> list[str]:
        """Return further words: as many epochs as this many images are worth, features once where that can be.

        A method's configuration is for 16 images of each class; with more of them, its epochs become fewer.
        """
        more = []
        given = {key for key, _ in pairs(self.request.options)}
        epochs, each = build_cfg(parse_args(words)).OPTIM.MAX_EPOCH, train / len(self.images.classes)
        if by_steps(method) and each > SHOTS and epochs > LEAST_EPOCHS and "OPTIM.MAX_EPOCH" not in given:
            more += ["OPTIM.MAX_EPOCH", str(max(LEAST_EPOCHS, round(epochs * SHOTS / each)))]
        if self.request.cache and self.on_features(method) and "FEATURES.ONCE" not in given:
            more += ["FEATURES.ONCE", "True"]
        return more

    def on_features(self, method: str) -> bool:
        """Return whether all that a method takes of an image is the feature of the frozen tower."""
        return getattr(trainers.load(method), "on_frozen_features", False)

    def seconds(self, method: str, words: list[str], train: int, others: int) -> float:
        """Return how long a run takes, about, that trains on `train` images and evaluates `others`."""
        cfg = build_cfg(parse_args(words))
        total = self.speed.start + self.speed.texts
        if "FEATURES.ONCE" in words:
            return total
        total += others * self.speed.image
        if not by_steps(method):
            node = trainers.METHODS[method].node
            passes = cfg.TRAINER[node].get("AUGMENT_EPOCH", 1) if node else 0
            return total + passes * train * self.speed.image
        steps = math.ceil(train / cfg.DATALOADER.TRAIN_X.BATCH_SIZE)
        return total + cfg.OPTIM.MAX_EPOCH * BACKWARD * (train * self.speed.image + steps * self.speed.texts)


def choose(planner: Planner, folds: Sequence[Fold], device: str) -> tuple[str, str]:
    """Return the method that `auto` stands for, and why.

    MMRL has the best mean of the paper's few-shot comparison (Table 10) at every number of shots, at the price of many
    passes through both towers. Of the methods on frozen features the linear probe has the best accuracy on the embedded
    suite (docs/methods.md), but it needs images: with 16 of each class it has 78.8% in that table, with one 45.8%, far
    below zero-shot CLIP, which Tip-Adapter starts from. These two also serve where a
    backbone's layers are not CLIP's. Raises ValueError where such a one is asked for with a method that needs CLIP's.
    """
    from trainers.shared.backbone import check_method  # needs torch

    backbone = planner.request.backbone
    if planner.request.method != AUTO:
        method = trainers.ALIASES.get(planner.request.method, planner.request.method)
        check_method(backbone, method, planner.on_features(method))
        return method, "as asked for"
    known = describe(backbone)
    if known and known.foreign:
        slow = f"{backbone} has other layers than CLIP, so image features are computed once"
    elif device != "cpu":
        return TRAINED, f"there is a GPU, and {TRAINED} is the best in the few-shot comparison of its paper"
    else:
        takes = duration(sum(job.seconds for job in planner.measurements(TRAINED, folds)))
        slow = f"without a GPU {TRAINED} would take about {takes}, so image features are computed once"
    each = len(folds[0].train) / len(planner.images.classes)
    if min(each, planner.request.shots or each) >= SHOTS:
        return PROBE, f"{slow}, and with {SHOTS} images of each class or more a linear probe does best on them"
    return FEW, f"{slow}, and with fewer than {SHOTS} images of each class Tip-Adapter does best on them"


def duration(seconds: float) -> str:
    """Return a time in words, such as `4 minutes`."""
    for unit, size in (("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * size:
            return f"{round(seconds / size)} {unit}s"
    return "a minute" if seconds > 45 else f"{max(1, round(seconds))} second{'s' if round(seconds) > 1 else ''}"
