"""The part of a trainer that keeps what was learned, and finds it again: the run's side of ``checkpoints``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from dassl.engine import TrainerX

from .. import METHODS, plugins
from . import checkpoints, tested_lists
from .checkpoints import plain
from .lists import Lists, difference, lists_of
from .templates import TEMPLATES


class SavingTrainer(TrainerX):
    """Saves and loads learned tensors only, and says what they are; ``build_model`` sets ``weights, trained_on``."""

    registered_name = ""
    # Settings that must agree with the checkpoint's; the others may be changed at test time.
    shape_settings: tuple[str, ...] = ()
    # What checkpoints say of the program that made them, such as its version and commit.
    made_by: Mapping[str, Any] = {}
    weights: str  # identifies the frozen ones
    trained_on: str  # a dataset
    trained_classes: list[str] | None = None  # of a loaded checkpoint, where it says
    plugged: Any  # the model, with its plug-ins around it if it has any

    @classmethod
    def settings_of(cls, cfg: Any) -> Any:
        """Return the method's settings. Raises ValueError naming the key whose value is not allowed."""
        entry = METHODS[cfg.TRAINER.NAME]
        return entry.settings.of(cfg.TRAINER[entry.node]) if entry.node else entry.settings()

    @cached_property
    def settings(self) -> Any:
        """Return the run's settings of the method."""
        return self.settings_of(self.cfg)

    @classmethod
    def shaping(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings as they are compared with a checkpoint's; a method may make equal what is one model."""
        return dict(settings)

    @classmethod
    def check_fits(cls, path: Path, about: Mapping[str, Any], mine: Mapping[str, Any], cfg: Any) -> None:
        """Raise ValueError, naming what differs, unless a checkpoint's ``about`` agrees with a run's own."""
        theirs, ours = ({**side, "settings": cls.shaping(side["settings"])} for side in (about, mine))
        checkpoints.check_fits(path, theirs, ours, METHODS[cfg.TRAINER.NAME].settings.path, cls.shape_settings)

    @cached_property
    def lists(self) -> Lists:
        """Return the images that this run trains on, selects on and tests on."""
        return lists_of(self.dm.dataset)

    def about(self) -> dict[str, Any]:
        """Return what a checkpoint says of itself: plain values, enough to rebuild the method and its preprocessing."""
        cfg = self.cfg
        return {
            "method": plugins.title(cfg),
            "dataset": self.trained_on,
            "classnames": list(self.dm.dataset.classnames),
            "data": tested_lists.facts_of(self.lists, cfg),
            "template": cfg.DATASET.TEMPLATE or TEMPLATES.get(cfg.DATASET.NAME, ""),
            "backbone": cfg.MODEL.BACKBONE.NAME,
            "weights": self.weights,
            "settings": self.settings.values(),
            **plugins.settings_of(cfg),
            "config": {key: plain(cfg[key]) for key in ("TASK", "INPUT")}
            | {"DATASET": {key: plain(cfg.DATASET[key]) for key in ("NAME", "TEMPLATE", "SUBSAMPLE_CLASSES")}},
            **self.made_by,
        }

    def save_model(
        self,
        epoch: int,
        directory: str,
        is_best: bool = False,
        val_result: float | None = None,
        model_name: str = "",
    ) -> None:
        """Keep what was learned, and what it is (``about``), as ``{directory}/{name}/model-{epoch + 1}.safetensors``.

        With ``is_best`` also as ``model-best.safetensors``, and only so under Dassl's name of the best model.
        """
        self.fit_plugins()
        for name in self.get_model_names():
            tensors = self._models[name].state_dict()
            about = {**self.about(), "epoch": epoch + 1, "val_result": val_result}
            only_best = model_name.startswith("model-best")
            for best in (True,) if only_best else (False, True) if is_best else (False,):
                path = checkpoints.keep(Path(directory) / name, tensors, about, best=best)
                print(f"{'Best checkpoint' if best else 'Checkpoint'} saved to {path}")

    def fit_plugins(self) -> None:
        """Let plug-ins find their numbers for what is about to be saved; a hook."""

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load learned tensors of a run's folder, ours or of the method's official release.

        Without an epoch the best model is taken if one was kept, else the last. Raises FileNotFoundError for a missing
        checkpoint and ValueError for a damaged one, or one of another method, backbone, setting, shape or data, naming
        what differs.
        """
        for name in self.get_model_names(None):
            self._load(name, checkpoints.find(Path(directory) / name, epoch))

    def resume_model_if_exist(self, directory: str) -> int:
        """Resume as Dassl does; where training is done already, only load what it learned.

        Returns the next epoch. Our checkpoints hold no optimiser: training cannot go on from one of an earlier epoch.
        """
        last = checkpoints.last(Path(directory) / self.registered_name)
        if last is not None and last.name == checkpoints.file_name(self.max_epoch):
            self._load(self.registered_name, last)
            return self.max_epoch
        ours = last is not None and last.suffix == checkpoints.SUFFIX
        if ours and not hasattr(TrainerX, "save_resume_state"):  # the public Dassl
            print(f"note: {last} holds no state of the optimiser: train from scratch")
            return 0
        return super().resume_model_if_exist(directory)

    def depends_on(self) -> str:
        """Return the weights of CLIP: training goes on with the same ones only."""
        return f"weights {self.weights}"

    def data_facts(self) -> dict[str, Any]:
        """Return what tells the images: training goes on with the same ones only."""
        return self.lists.facts

    def data_changes(self, told: dict[str, Any]) -> str:
        """Return how the images differ from those that a resume state tells of."""
        return difference(None, told, self.lists)

    def _load(self, name: str, path: Path) -> None:
        tensors, about = checkpoints.read(path)
        if "method" in about:
            self.check_fits(path, about, self.about(), self.cfg)
            tested_lists.check(path, about, self.dm.dataset, self.lists, self.cfg)
            self.trained_on, self.trained_classes = about["dataset"], about["classnames"]
        elif self.cfg.TASK == "CD":
            self.trained_on = "ImageNet"  # official checkpoints do not say; their cross-dataset source is ImageNet
        self.plugged.fit_to(tensors, about.get("classnames"))
        checkpoints.load_learned(self.model, tensors, path)
        print(f"Load {path} to {name} (epoch = {about.get('epoch')}, val_result = {about.get('val_result')})")
