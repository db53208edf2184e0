"""A toy CLIP on disk, Digits, and a trainer over both."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

import datasets
import trainers
from dassl.config import get_cfg_default
from dassl.engine import build_trainer
from dassl.utils import set_random_seed
from tests.reference import toy


@pytest.fixture(scope="session")
def toy_clip(tmp_path_factory):
    """Weights of a 3-layer ViT CLIP with the real vocabulary."""
    path = tmp_path_factory.mktemp("clip") / "toy.safetensors"
    save_file(toy.clip_weights(0, embed=32, res=32, patch=8, vocabulary=49408), path)
    return path


@pytest.fixture(scope="session")
def data_root(digits_root):
    """A dataset root with Digits."""
    return digits_root


@pytest.fixture
def make_trainer(toy_clip, data_root, tmp_path):
    """``make_trainer(method, KEY, VALUE, ...)``: a trainer on 4 shots of Digits' base classes, 3 epochs."""
    datasets.load_all()

    def make(method, *options):
        trainers.load(method)
        cfg = get_cfg_default()
        trainers.extend_cfg(cfg)
        defaults = [
            *("DATASET.NAME", "Digits", "DATASET.ROOT", str(data_root), "DATASET.NUM_SHOTS", 4, "SEED", 1),
            *("DATASET.SUBSAMPLE_CLASSES", "base", "OUTPUT_DIR", str(tmp_path / "run"), "TRAINER.NAME", method),
            *("MODEL.BACKBONE.NAME", str(toy_clip), "INPUT.SIZE", (32, 32), "INPUT.TRANSFORMS", ("normalize",)),
            *("DATALOADER.NUM_WORKERS", 0, "DATALOADER.TRAIN_X.BATCH_SIZE", 4, "OPTIM.MAX_EPOCH", 3),
            *("OPTIM.NAME", "adamw", "OPTIM.LR", 0.001, "TRAINER.MMRL.REP_LAYERS", [2, 3]),
            *("TRAINER.MMRL.REP_DIM", 16, "USE_CUDA", False),
            *("TRAINER.COOP.PREC", "fp32", "TRAINER.COOP.N_CTX", 6, "TRAINER.COCOOP.PREC", "fp32"),
            *("TRAINER.MMRLpp.REP_LAYERS", [2, 3], "TRAINER.MMRLpp.REP_DIM", 16),
            *(("TRAINER.COOP.N_CTX", 4) if method == "TCP" else ()),
            *("TRAINER.RPO.K", 3, "TRAINER.RPO.PREC", "fp32"),
            *("TRAINER.MMADAPTER.ADAPTER_START", 2, "TRAINER.MMADAPTER.ADAPTER_END", 3),
            *("TRAINER.TIPADAPTER.AUGMENT_EPOCH", 1, "TRAINER.TIPADAPTER.SEARCH_STEP", [5, 4]),
            *("TRAINER.MAPLE.PREC", "fp32", "TRAINER.MAPLE.PROMPT_DEPTH", 2, "TRAINER.PROMPTSRC.PREC", "fp32"),
            *("TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", 3, "TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", 2),
            *("TRAINER.PROMPTSRC.GPA_MEAN", 2.0, "TRAINER.PROVP.PREC", "fp32", "TRAINER.PROVP.N_CTX", 3),
            *("TRAINER.META.PREC", "fp32", "TRAINER.META.LAYERS", 3),
            *("TRAINER.PLOTPP.PREC", "fp32", "TRAINER.PLOTPP.M", 2),
            *("TRAINER.PRODA.PREC", "fp32", "TRAINER.PRODA.N_PROMPT", 4, "TRAINER.PRODA.N_CTX", 3),
            *("TRAINER.TIPADAPTER.PREC", "fp32", "TRAINER.LINEARPROBE.PREC", "fp32"),
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
