"""What a method can do, found by trying it: on toy CLIPs of 12 layers with its default configuration.

Nothing here knows a method beyond its row in ``trainers.METHODS``, its configurations and its interface (``Method``).
Only ValueError counts as an answer; any other error is a fault and comes through.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file

import train
import trainers
from clip.model import CLIP
from reference.shared import toy
from runs.config import build_cfg, merge_pairs
from runs.protocols import CONFIGS, choose_config, method_file
from trainers.plugins import split_title
from trainers.plugins.contract import plug
from trainers.shared.backbone import load_clip
from trainers.shared.base import autocast

DATASET, SHOTS = "caltech101", 16
PRECISIONS = ("fp32", "bf16", "fp16", "amp")
TOWERS: dict[str, dict[str, Any]] = {
    "ViT": {"vision": (64, 12)},
    "ResNet": {"vision": (16, (1, 1, 1, 1)), "patch": None, "res": 64},
    "deeper image tower": {"vision": (64, 14)},
}
# Settings that make a method fit towers of different depth, tried where the default ones do not.
FROM_THE_END = {"REP_LAYERS": [-7, -6, -5, -4, -3, -2, -1]}
COUNTED = 100  # classes of the count of parameters


@dataclass(frozen=True)
class Found:
    """What was found of a method. Reasons are empty where it works."""

    new_classes: str  # why classes that were not trained on cannot be scored
    precisions: tuple[str, ...]  # a step ran, and what came out is finite
    towers: dict[str, str]  # by ``TOWERS`` but ViT: empty, "with KEY VALUE", or the reason why not
    learned: int  # by gradient steps, on ViT-B/16 with COUNTED classes
    fitted: int  # without steps


@cache
def toy_clip(kind: str, precision: str, device: torch.device) -> CLIP:
    """A toy CLIP with this kind of image tower (``TOWERS``), loaded as a run loads its own; shared, as it is frozen."""
    sizes: dict[str, Any] = {"embed": 32, "res": 32, "patch": 8, "text": (64, 12), "vocabulary": 49408}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "toy.safetensors"
        save_file(toy.clip_weights(0, **{**sizes, **TOWERS[kind]}), path)
        return load_clip(path, precision, device)


@cache
def _default_config(method: str) -> Any:
    path = method_file(method, choose_config("base2new", DATASET, method, SHOTS))
    words = ["--trainer", method, "--dataset-config-file", str(CONFIGS / f"datasets/{DATASET}.yaml")]
    return build_cfg(train.parse_args([*words, "--config-file", str(path)]))


def default_config(method: str, *options: Any) -> Any:
    """The configuration that ``scripts/b2n`` takes for it (its table ``protocols``), with KEY, VALUE options."""
    cfg = _default_config(method).clone()
    cfg.defrost()
    merge_pairs(cfg, zip(options[::2], options[1::2], strict=True))
    cfg.freeze()
    return cfg


def build(cfg: Any, clip_model: CLIP, classnames: list[str], device: torch.device) -> Any:
    """The method with its plug-ins, as its trainer has it before the first step; SHOTS images of each class."""
    trainer_class = trainers.load(cfg.TRAINER.NAME)
    trainer: Any = object.__new__(trainer_class)  # without data and checkpoints, which are not asked about
    trainer.cfg, trainer.device = cfg, device
    trainer.check_cfg(cfg)
    trainer.model = trainer_class.build_method(cfg, clip_model, classnames).to(device)
    images = [SimpleNamespace(label=label) for label in range(len(classnames)) for _ in range(SHOTS)]
    trainer.dm = SimpleNamespace(dataset=SimpleNamespace(train_x=images))
    trainer.prepare_method()
    return plug(trainer.model, cfg, classnames)


def probe(method: str, device: torch.device) -> Found:
    """Try it on ``device``; amp, which is fp32 elsewhere, counts on CUDA alone."""
    node = trainers.METHODS[method].node
    of_node = {name: [f"TRAINER.{node}.PREC", name] if node else [] for name in PRECISIONS}
    asked = [name for name in PRECISIONS if name == "fp32" or node and (name != "amp" or device.type == "cuda")]
    with contextlib.redirect_stdout(io.StringIO()):
        for name in asked:
            _works(default_config(method, *of_node[name]), "ViT", name, device)
        exact = default_config(method, *of_node["fp32"])
        towers = {kind: _towers(exact, kind, device) for kind in TOWERS if kind != "ViT"}
        return Found(_new_classes(exact, device), tuple(asked), towers, *count(method))


def probe_plugin(title: str, device: torch.device) -> str:
    """Try a method with a plug-in around it, such as ``CoOp+DePT``; return "" or why it is refused."""
    node = trainers.METHODS[split_title(title)[0]].node
    try:
        _works(default_config(title, *([f"TRAINER.{node}.PREC", "fp32"] if node else [])), "ViT", "fp32", device)
    except ValueError as error:
        return str(error)
    return ""


def _towers(cfg: Any, kind: str, device: torch.device) -> str:
    try:
        _works(cfg, kind, "fp32", device)
        return ""
    except ValueError as error:
        reason = str(error)
    node = trainers.METHODS[cfg.TRAINER.NAME].node
    settings = {key: value for key, value in FROM_THE_END.items() if key in cfg.TRAINER.get(node, {})}
    if kind == "ResNet" or not settings:
        return reason
    other = cfg.clone()
    other.defrost()
    merge_pairs(other, [(f"TRAINER.{node}.{key}", value) for key, value in settings.items()])
    _works(other, kind, "fp32", device)
    return "with " + ", ".join(f"{key} {value}" for key, value in settings.items())


def _works(cfg: Any, kind: str, precision: str, device: torch.device) -> None:
    """A training step, if anything is learned by steps, and scores. Raises what the method raises."""
    clip_model = toy_clip(kind, precision, device)
    side = clip_model.visual.input_resolution
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 3, side, side, generator=generator).to(device)
    labels = torch.tensor([0, 2, 1], device=device)
    torch.manual_seed(0)
    with autocast(precision, device):
        model = build(cfg, clip_model, ["heron", "grey seal", "stork"], device)
        parameters = list(model.parameters())
        if parameters:
            loss, _ = model.loss(images, labels)
    if parameters:
        loss.backward()
        assert all(value.grad is not None and value.grad.isfinite().all() for value in parameters), cfg.TRAINER.NAME
    with torch.no_grad(), autocast(precision, device):
        model.use_classes(True)
        scores = model.scores(images, model.class_features())
    assert scores.shape == (3, 3) and scores.isfinite().all(), cfg.TRAINER.NAME


def _new_classes(cfg: Any, device: torch.device) -> str:
    model = build(cfg, toy_clip("ViT", "fp32", device), ["heron", "grey seal"], device)
    try:
        model.use_classes(False)
    except ValueError as error:
        return str(error)
    return ""


def count(method: str) -> tuple[int, int]:
    """Numbers learned by steps, and fitted without, on ViT-B/16 with COUNTED classes and the default configuration."""
    clip_model = full_size()
    model = build(default_config(method), clip_model, ["x"] * COUNTED, torch.device("cpu"))
    learned = {id(value) for value in model.parameters()}
    others = [v for v in model.state_dict(keep_vars=True).values() if id(v) not in learned and v.is_floating_point()]
    return sum(v.numel() for v in model.parameters()), sum(v.numel() for v in others)


@cache
def full_size() -> CLIP:
    """A CLIP of ViT-B/16's sizes whose weights are all 0.01: its sizes are what counts."""
    with torch.device("meta"):
        model = CLIP(512, 224, 12, 768, 16, 77, 49408, 512, 8, 12)
    model = model.to_empty(device="cpu").requires_grad_(False)
    for value in model.state_dict().values():
        value.fill_(0.01)
    return model
