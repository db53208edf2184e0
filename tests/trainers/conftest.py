"""A toy CLIP on disk, Digits, and a trainer over both."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from safetensors.torch import save_file

import datasets
import reference
import trainers
from dassl.config import get_cfg_default
from dassl.data import data_manager
from dassl.engine import build_trainer
from dassl.utils import read_image, set_random_seed
from reference.shared import toy
from tests.few_digits import FewDigits
from trainers.plugins import split_title
from trainers.shared import backbone, base

read_once = lru_cache(maxsize=None)(read_image)


@pytest.fixture(scope="session")
def toy_clip(tmp_path_factory):
    """Weights of a 3-layer ViT CLIP with the real vocabulary."""
    path = tmp_path_factory.mktemp("clip") / "toy.safetensors"
    save_file(toy.clip_weights(0, embed=32, res=32, patch=8, vocabulary=49408), path)
    return path


@pytest.fixture(scope="session")
def data_root(shared):
    """A dataset root with few Digits, written once for all workers."""
    return shared("few", lambda root: FewDigits.write_once(str(root / FewDigits.folder)))


def toy_settings(method):
    """KEY, VALUE, ...: what a method of ours needs on the toy CLIP; fp32, as CPUs are slow in half precision."""
    if method not in trainers.METHODS:
        return []
    entry, options = trainers.METHODS[method], dict(reference.of(method).toy)
    if entry.node and entry.settings.prec == "fp16":
        options[f"TRAINER.{entry.node}.PREC"] = "fp32"
    return [word for pair in options.items() for word in pair]


@pytest.fixture(scope="session")
def remembered():
    """``remembered(function)``: `function`, computed once for equal arguments; takers leave the value as it is."""
    values = {}

    def remembering(function):
        def call(*arguments):
            key = function.__name__, repr(arguments)
            if key not in values:
                values[key] = function(*arguments)
            return values[key]

        return call

    return remembering


@pytest.fixture
def make_trainer(toy_clip, data_root, tmp_path, remembered, monkeypatch):
    """``make_trainer(title, KEY, VALUE, ...)``: a trainer on 4 shots of Digits' base classes, 3 epochs.

    A title is a method's name, with plug-ins as in ``CoOp+DePT``.
    """
    datasets.load_all()
    monkeypatch.setattr(base, "load_clip", remembered(backbone.load_clip))
    monkeypatch.setattr(base, "weights_id", remembered(backbone.weights_id))
    monkeypatch.setattr(data_manager, "read_image", read_once)

    def make(title, *options):
        method, plugins = split_title(title)
        trainers.load(method)
        cfg = get_cfg_default()
        trainers.extend_cfg(cfg)
        defaults = [
            *("DATASET.NAME", "Digits", "DATASET.ROOT", str(data_root), "DATASET.NUM_SHOTS", 4, "SEED", 1),
            *("DATASET.SUBSAMPLE_CLASSES", "base", "OUTPUT_DIR", str(tmp_path / "run"), "TRAINER.NAME", method),
            *("TRAINER.PLUGINS", plugins),
            *("MODEL.BACKBONE.NAME", str(toy_clip), "INPUT.SIZE", (32, 32), "INPUT.TRANSFORMS", ("normalize",)),
            *("DATALOADER.NUM_WORKERS", 0, "DATALOADER.TRAIN_X.BATCH_SIZE", 4, "OPTIM.MAX_EPOCH", 3),
            *("OPTIM.NAME", "adamw", "OPTIM.LR", 0.001, "USE_CUDA", False, *toy_settings(method)),
        ]
        cfg.merge_from_list([*defaults, *options])
        cfg.freeze()
        set_random_seed(cfg.SEED)
        return build_trainer(cfg)

    return make


@pytest.fixture
def one_batch():
    """``one_batch(trainer)``: the first training batch."""

    def take(trainer):
        return next(iter(trainer.train_loader_x))

    return take


@pytest.fixture(autouse=True)
def single_thread():
    """Toy tensors are too small for threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
