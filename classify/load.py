"""From a run's folder, or a bare CLIP, to a ``Classifier``. Neither the data nor a trainer is needed."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

import trainers
from clip.shape import OPENAI_IMAGES
from clip.weights import find
from dassl.data.transforms import build_transform
from dassl.engine.trainer import choose_device
from dassl.utils.images import UPRIGHT, Reading
from runs.config import default_cfg
from runs.engine import choose_threads
from runs.open import finished_record, recorded_cfg
from trainers.plugins import title
from trainers.plugins.contract import plug
from trainers.shared import checkpoints
from trainers.shared.backbone import check_method, load_clip, unknowns, weights_id
from trainers.shared.base import autocast, effective_precision
from trainers.shared.images import SQUASH
from trainers.shared.method import Method
from trainers.shared.settings import PRECISIONS
from trainers.shared.templates import TEMPLATES, template_of

from . import names
from .classifier import Classifier


def load_classifier(
    run_folder: str | os.PathLike[str],
    classes: Sequence[str] | None = None,
    device: str | torch.device | None = None,
    precision: str | None = None,
    template: str | None = None,
    epoch: int | None = None,
) -> Classifier:
    """Return the classifier that a run learned.

    With exactly the classes trained on, in any order, they are scored as in training: by MMRL with both features. With
    any other list (new classes, some of those trained on, or a mixture) all are scored as new classes: by MMRL with
    the class feature alone (paper, Figure 3); that is printed.

    Args:
        run_folder: a finished run of train.py (``config.yaml``, ``record.json``, checkpoints).
        classes: class names; by default those trained on (of a run that learns nothing: those of its data set).
        device: by default CUDA where there is one, else MPS, else the CPU.
        precision: fp32, fp16, amp, bf16 or auto; by default the run's.
        template: of the prompts, such as ``"a photo of a {}."``; by default the run's.
        epoch: which checkpoint; by default the best if one was kept, else the last.

    Raises FileNotFoundError for a folder without a run or checkpoint, and ValueError for a run that is not finished
    (unless an epoch is given), a checkpoint that does not fit, a backbone that cannot be had, classes that the method
    cannot score or that are given twice, an unknown precision or device.
    """
    folder = Path(run_folder)
    cfg = recorded_cfg(folder)
    run_id = _run_id(folder, epoch)
    if template is not None:
        cfg.DATASET.TEMPLATE = template
        template_of(cfg)  # not every method looks at it
    trainer = trainers.load(cfg.TRAINER.NAME)
    if not trainer.registered_name:
        if epoch is not None:
            raise ValueError(f"the run in {folder} has no epoch {epoch}: {cfg.TRAINER.NAME} learns nothing")
        own = names.of_dataset(cfg) if classes is None else names.check(classes)
        return _Build(cfg, own, device, precision).classifier(run_id)

    path = checkpoints.find(folder / trainer.registered_name, epoch)
    tensors, about = checkpoints.read(path)
    trained: Any = about.get("classnames")  # None, or names
    if classes is None and trained is None:
        raise ValueError(f"{path} does not say its class names: give the classes")
    wanted = trained if classes is None else list(classes)
    order = names.places(wanted, trained) if trained is not None else None
    seen = order is not None
    # Built in the order trained on, which a method may depend on; the classifier then orders the columns as asked.
    build = _Build(cfg, trained if seen else names.check(wanted), device, precision)
    if "method" in about:
        trainer.check_fits(path, about, build.facts(), cfg)
    build.plugged.fit_to(tensors, trained)
    checkpoints.load_learned(build.method, tensors, path)
    build.plugged.use_classes(seen)
    if not seen:
        print("note: these are not exactly the classes trained on, so all of them are scored as new classes")
    return build.classifier(run_id, about.get("epoch"), seen, wanted, order)


def zero_shot(
    backbone: str,
    classes: Sequence[str],
    device: str | torch.device | None = None,
    precision: str | None = None,
    template: str = "a photo of a {}.",
) -> Classifier:
    """Return CLIP itself as a classifier, without a run: one prompt per class.

    ``backbone`` is a model's name or the path of its weights, as in ``MODEL.BACKBONE.NAME``. Images are turned upright.
    Raises as ``load_classifier`` does.
    """
    cfg = default_cfg()
    cfg.TRAINER.NAME, cfg.MODEL.BACKBONE.NAME, cfg.DATASET.TEMPLATE = "ZeroshotCLIP", backbone, template
    cfg.INPUT.READ = UPRIGHT
    build = _Build(cfg, names.check(classes), device, precision)
    for line in unknowns(backbone, build.checkpoint, "as OpenAI's").values():
        print(f"note: {line}")
    side = build.method.clip_model.visual.input_resolution
    images = build.checkpoint.preprocess or OPENAI_IMAGES
    cfg.INPUT.SIZE, cfg.INPUT.INTERPOLATION = (side, side), images.interpolation
    cfg.INPUT.TRANSFORMS = ("normalize", SQUASH) if images.squash else ("normalize",)
    cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD = list(images.mean), list(images.std)
    return build.classifier()


class _Build:
    """A configuration's method over CLIP for some classes, as its trainer builds it."""

    def __init__(self, cfg: CfgNode, classes: list[str], device: str | torch.device | None, precision: str | None):
        self.cfg, self.classes, self.trainer = cfg, classes, trainers.load(cfg.TRAINER.NAME)
        self.device = choose_device(True) if device is None else _usable(device)
        cfg.USE_CUDA = self.device.type == "cuda"  # a method may choose its precision by it
        asked = precision or self.trainer.precision_of(cfg)
        if asked not in PRECISIONS:
            raise ValueError(f"precision is {asked!r}: choose one of {', '.join(PRECISIONS)}")
        self.precision = effective_precision(asked, self.device)
        check_method(cfg.MODEL.BACKBONE.NAME, cfg.TRAINER.NAME, self.trainer.on_frozen_features)
        try:
            self.checkpoint = find(cfg.MODEL.BACKBONE.NAME)
        except RuntimeError as error:
            raise ValueError(f"{cfg.MODEL.BACKBONE.NAME}: {error}") from error
        choose_threads(cfg.MODEL.BACKBONE.NAME, self.device)
        clip_model = load_clip(self.checkpoint, self.precision, self.device)
        with autocast(self.precision, self.device):
            self.method: Method = self.trainer.build_method(cfg, clip_model, classes).to(self.device)
            self.plugged = plug(self.method, cfg, classes)

    def facts(self) -> dict[str, Any]:
        """Return what a checkpoint of this run must agree with."""
        return {
            "method": title(self.cfg),
            "backbone": self.cfg.MODEL.BACKBONE.NAME,
            "weights": weights_id(self.checkpoint),
            "settings": self.trainer.settings_of(self.cfg).values(),
        }

    def classifier(
        self,
        run_id: str | None = None,
        epoch: int | None = None,
        seen: bool | None = None,
        classes: Sequence[str] | None = None,
        order: Sequence[int] | None = None,
    ) -> Classifier:
        """Return the classifier of what the method now holds; ``order`` are the places of ``classes`` in it."""
        facts = self.facts()
        about = {
            **{key: facts[key] for key in ("method", "backbone", "weights")},
            "run_id": run_id,
            "epoch": epoch,
            "seen": seen,
            "template": self.cfg.DATASET.TEMPLATE or TEMPLATES.get(self.cfg.DATASET.NAME, ""),
            "precision": self.precision,
            "preprocessing": preprocessing(self.cfg),
        }
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its steps, which `about` has
            preprocess = build_transform(self.cfg, is_train=False)
        assert preprocess is not None
        columns, reading = classes or self.classes, Reading.of(self.cfg)
        return Classifier(self.plugged, columns, preprocess, self.device, about, order, reading)


def preprocessing(cfg: Any) -> dict[str, Any]:
    """Return what is done to an image file before the image tower, in order, as plain values.

    Without ``resize_shorter_side`` images are resized to the size of the crop, whatever their shape. ``read`` is
    "stored" (pixels as the file has them) or "upright" (turned as EXIF says, transparent pixels on white).

    Raises ValueError where the configuration prepares nothing.
    """
    node = cfg.INPUT
    if node.NO_TRANSFORM:
        raise ValueError("INPUT.NO_TRANSFORM is True: with these settings image files are not made ready for CLIP")
    normalized = "normalize" in node.TRANSFORMS
    steps = {
        "read": node.READ,
        "mode": "RGB",
        "resize_shorter_side": max(node.SIZE),
        "interpolation": node.INTERPOLATION,
        "antialias": True,
        "center_crop": list(node.SIZE),
        "divide_by": 255,
        "mean": list(node.PIXEL_MEAN) if normalized else [0.0, 0.0, 0.0],
        "std": list(node.PIXEL_STD) if normalized else [1.0, 1.0, 1.0],
    }
    if SQUASH in node.TRANSFORMS:
        del steps["resize_shorter_side"]
    return steps | ({"instance_norm": True} if "instance_norm" in node.TRANSFORMS else {})


def _run_id(folder: Path, epoch: int | None) -> str | None:
    """Return the id of the run in `folder`, None without a record. ValueError for a test run and an unfinished one."""
    content = finished_record(folder, epoch)
    if content and content.get("model_dir"):
        raise ValueError(f"the run in {folder} tested the model of {content['model_dir']}: give that folder")
    return content["run_id"] if content else None


def _usable(device: str | torch.device) -> torch.device:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(f"device {str(device)!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return torch.device(device)
