"""Checkpoints of the official releases, as their repositories write them, tested with train.py on base and new classes.

Names, shapes, kinds of numbers and folders are those of the releases, with a CLIP of ViT-B/16's 12 layers whose widths
all differ; nothing here comes from our trainers. The files are Dassl's: optimiser state, and a pickled scheduler.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import train
from runs import execute
from tests.reference import toy

CONFIGS = Path(train.__file__).parent / "configs"
TEXT, VISION, JOINT, LAYERS, CLASSES, SHOTS = 64, 128, 32, 12, 5, 4  # classes: those trained on
CLIP = toy.clip_weights(0, embed=JOINT, res=32, patch=8, vision=(VISION, LAYERS), text=(TEXT, LAYERS), vocabulary=49408)
Shapes = dict[str, tuple[int, ...]]


def linear(name: str, width_in: int, width_out: int) -> Shapes:
    return {f"{name}.weight": (width_out, width_in), f"{name}.bias": (width_out,)}


def around(context: int, prefix: str = "", classes: int = CLASSES) -> Shapes:
    """What stands around a context in each class prompt."""
    shapes = {"token_prefix": (classes, 1, TEXT), "token_suffix": (classes, 76 - context, TEXT)}
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


def whole_clip(of_text: str = "text_encoder") -> dict[str, torch.Tensor]:
    """CLIP's tensors where the whole model is registered."""
    text = ("transformer.", "positional_embedding", "ln_final.", "text_projection")
    found = {"logit_scale": CLIP["logit_scale"]}
    found |= {f"{of_text}.{name}": value for name, value in CLIP.items() if name.startswith(text)}
    return found | {f"image_encoder.{k.removeprefix('visual.')}": v for k, v in CLIP.items() if k.startswith("visual.")}


@dataclass(frozen=True)
class Official:
    """A release's checkpoint: our configuration of its name, where it lies, what it holds; half in most releases."""

    config: str
    folder: str
    epoch: int
    learned: Shapes
    beside: Shapes = field(default_factory=dict)
    frozen: Callable[[], dict[str, torch.Tensor]] = dict
    dtype: torch.dtype = torch.float16
    optimizer: type[torch.optim.Optimizer] = torch.optim.SGD
    best: bool = False  # model-best.pth.tar, which is loaded without an epoch


def mmrl(projection: Shapes, maps: Shapes) -> Official:
    name = "representation_learner"
    return Official(
        "vit_b16",
        "MultiModalRepresentationLearner",
        10,
        {
            f"{name}.compound_rep_tokens": (5, 512),
            **{f"{name}.{key}": shape for key, shape in maps.items()},
            **projection,
        },
        {f"{name}.prompt_embeddings": (CLASSES, 77, TEXT)},
        whole_clip,
        torch.float32,
        torch.optim.AdamW,
    )


def shared_map(name: str, width: int) -> Shapes:
    shapes: Shapes = {f"{name}.weight": (width, 512)}
    for i in range(7):
        shapes |= {f"{name}.srra.{i}.A": (width, 4), f"{name}.srra.{i}.B": (4, 512), f"{name}.srra.{i}.bias": (width,)}
    return shapes


def deep(name: str, count: int, width: int) -> Shapes:
    return {f"{name}.transformer.resblocks.{i}.VPT_shallow": (count, width) for i in range(1, 9)}


def adapters(name: str, width: int) -> Shapes:
    return {
        key: shape
        for i in range(5, 13)
        for key, shape in (linear(f"{name}.{i}.down.0", width, 32) | linear(f"{name}.{i}.up", 32, width)).items()
    }


def maple_learned() -> Shapes:
    name = "prompt_learner"
    shapes: Shapes = {f"{name}.ctx": (2, TEXT), **linear(f"{name}.proj", TEXT, VISION)}
    for i in range(8):
        shapes[f"{name}.compound_prompts_text.{i}"] = (2, TEXT)
        shapes |= linear(f"{name}.compound_prompt_projections.{i}", TEXT, VISION)
    return shapes


OFFICIAL = {
    "CoOp": Official("vit_b16_ctxv1", "prompt_learner", 200, {"ctx": (4, TEXT)}, around(4)),
    "CoCoOp": Official(
        "vit_b16_c4_ep10_batch1_ctxv1",
        "prompt_learner",
        10,
        {"ctx": (4, TEXT), **linear("meta_net.linear1", JOINT, 2), **linear("meta_net.linear2", 2, TEXT)},
        around(4),
    ),
    "KgCoOp": Official(
        "vit_b16_ep100_ctxv1",
        "prompt_learner",
        100,
        {"ctx": (4, TEXT)},
        {"bias_vectors": (1, 512), **linear("meta_net.linear1", 512, 512), **around(4)},
    ),
    "ProGrad": Official("vit_b16_ep100", "prompt_learner", 100, {"ctx": (16, TEXT)}, around(16)),
    "MaPLe": Official(
        "vit_b16_c2_ep5_batch4_2ctx",
        "MultiModalPromptLearner",
        5,
        maple_learned(),
        around(2, "prompt_learner."),
        whole_clip,
    ),
    "PromptSRC": Official(
        "vit_b16_c2_ep20_batch4_4+4ctx",
        "VLPromptLearner",
        20,
        {
            "prompt_learner.ctx": (4, TEXT),
            "image_encoder.VPT": (4, VISION),
            **deep("image_encoder", 4, VISION),
            **deep("text_encoder", 4, TEXT),
        },
        around(4, "prompt_learner."),
        lambda: (
            whole_clip()
            | {
                f"prompt_learner.ZS_{name}": value
                for name, value in whole_clip().items()
                if name.startswith("image_enc")
            }
        ),
    ),
    "MMRL": mmrl(
        {"image_encoder.proj_rep": (VISION, JOINT)},
        {
            name: shape
            for i in range(7)
            for name, shape in (
                linear(f"compound_rep_tokens_r2vproj.{i}", 512, VISION)
                | linear(f"compound_rep_tokens_r2tproj.{i}", 512, TEXT)
            ).items()
        },
    ),
    "MMRLpp": mmrl(
        {"image_encoder.A": (VISION, 64), "image_encoder.B": (64, JOINT)},
        shared_map("srra_r2vproj", VISION) | shared_map("srra_r2tproj", TEXT),
    ),
    "TCP": Official(
        "vit_b16_ep100_ctxv1",
        "prompt_learner",
        50,
        {"ctx": (4, TEXT), **linear("meta_net.linear1", JOINT, 8), **linear("meta_net.linear2", 8, 4 * TEXT)},
        around(4),
        optimizer=torch.optim.Adam,
    ),
    "MultiModalAdapter": Official(
        "vit_b16_ep5",
        "adapter_learner",
        5,
        {
            **adapters("text_adapter", TEXT),
            **adapters("visual_adapter", VISION),
            **{k: shape for i in range(5, 13) for k, shape in linear(f"shared_adapter.{i}.0", 32, 32).items()},
        },
        {"token_embedding": (CLASSES, 77, TEXT)},
        lambda: {"tokenized_prompts": torch.zeros(CLASSES, 77, dtype=torch.long)},
        torch.float32,
    ),
    "ProVP": Official(
        "vit_b16_b2n_ep100",
        "Prompt_learner",
        93,
        {"prompt_embeddings": (LAYERS, 16, VISION)},
        dtype=torch.float32,
        best=True,
    ),
    "Meta_B2N": Official(
        "vit_b16",
        "model",
        8,
        {"prompt_learner.ctx": (LAYERS, 2, TEXT), "vision_prompt_learner.ctx": (LAYERS, 2, VISION)},
        frozen=lambda: whole_clip() | {f"text_encoder.clip_model.{name}": value for name, value in CLIP.items()},
    ),
    "ProDA": Official(  # of a third party: there is no official code
        "vit_b16_c16_ep100_batch4",
        "prompt_learner",
        100,
        {"ctx": (32, 16, TEXT)},
        {**around(16), **{f"nc_{name}": shape for name, shape in around(16, classes=1).items()}},
    ),
    "RPO": Official("main_K24", "prompt_learner", 15, {"text_prompt": (24, TEXT), "img_prompt": (24, VISION)}),
    "PLOT": Official(
        "vit",
        "prompt_learner",
        200,
        {"prompt_learner.ctx": (4, 4, TEXT), "prompt_learner.ctx_vision": (4, 2, VISION)},
        around(4, "prompt_learner.", 4 * CLASSES),
        whole_clip,
    ),
    "PLOT, ImageNet's": Official(
        "vit_ep50",
        "prompt_learner",
        50,
        {"prompt_learner.ctx": (4, 4, TEXT), "prompt_learner.ctx_vision": (4, 2, VISION)},
        around(4, "prompt_learner.", 4 * CLASSES),
        lambda: whole_clip("text_encoder.module"),
    ),
    "CLIPAdapter": Official(
        "vit_b16_c4_ep200_batch32",
        "clip_adapter",
        200,
        {"fc.0.weight": (8, JOINT), "fc.2.weight": (JOINT, 8)},
        dtype=torch.float32,
    ),
}
WITHOUT_CHECKPOINTS = {"ZeroshotCLIP", "ZeroshotCLIP2", "LinearProbe"}
CACHES = ("TipAdapter", "TipAdapterF")


def write(official: Official, folder: Path) -> dict[str, torch.Tensor]:
    """The file as Dassl writes it. Returns the learned tensors."""
    torch.manual_seed(0)
    learned = {name: (0.1 * torch.randn(shape)).to(official.dtype) for name, shape in official.learned.items()}
    state = {name: torch.randn(shape).half() for name, shape in official.beside.items()}
    state |= {name: v.half() if v.is_floating_point() else v for name, v in official.frozen().items()} | learned
    parameters = [torch.nn.Parameter(value.float()) for value in learned.values()]
    optimizer = official.optimizer(parameters, lr=0.002, weight_decay=5e-4)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)
    warm_up = {"cons_lr": 1e-5, "warmup_epoch": 1, "base_lrs": [0.002], "last_epoch": 50, "_step_count": 51}
    content = {
        "state_dict": state,
        "epoch": official.epoch,
        "optimizer": optimizer.state_dict(),
        "scheduler": {**warm_up, "verbose": False, "_last_lr": [1e-5], "successor": cosine},
        "val_result": 81.25 if official.best else None,
    }
    path = folder / official.folder / ("model-best.pth.tar" if official.best else f"model.pth.tar-{official.epoch}")
    path.parent.mkdir(parents=True)
    torch.save(content, path)
    (path.parent / "checkpoint").write_text(f"model.pth.tar-{official.epoch}\n")
    return learned


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "clip.safetensors"
    save_file(CLIP, path)
    return path


@pytest.fixture
def evaluate(weights, data_root, tmp_path, monkeypatch):
    """``evaluate(method, config, model, classes, epoch)``: the trainer that train.py built, loaded and tested."""

    def run(method, config, model, classes, *options):
        built = []
        original = execute.train_and_test

        def spy(cfg, args, this, trainers, made_by):
            results = original(cfg, args, this, trainers, made_by)
            built.extend(trainers)
            return results

        words = ["train.py", "--eval-only", "--root", data_root, "--output-dir", tmp_path / classes, "--seed", "1"]
        words += ["--trainer", method, "--dataset-config-file", CONFIGS / "datasets/digits.yaml"]
        words += ["--config-file", CONFIGS / f"trainers/{method}/{config}.yaml", "--model-dir", model, *options]
        words += ["MODEL.BACKBONE.NAME", weights, "INPUT.SIZE", "(32, 32)", "DATALOADER.NUM_WORKERS", "0"]
        words += ["DATASET.NUM_SHOTS", SHOTS, "DATASET.SUBSAMPLE_CLASSES", classes, "USE_CUDA", "False"]
        words += [word for node in NODES for word in (f"TRAINER.{node}.PREC", "fp32")]
        with monkeypatch.context() as patch:
            patch.setattr(execute, "train_and_test", spy)
            patch.setattr(sys, "argv", [str(word) for word in words])
            patch.setattr(sys, "stdout", sys.stdout)  # undone at the end: the run's log takes these over
            patch.setattr(sys, "stderr", sys.stderr)
            assert train.main() == 0
        assert built[0].evaluator._total == {"base": 271, "new": 269}[classes]
        return built[0]

    return run


NODES = "COOP COCOOP MAPLE PROMPTSRC MMRL MMRLpp MMADAPTER PROVP META PRODA RPO PLOTPP CLIPADAPTER TIPADAPTER".split()


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_checkpoint_is_tested_on_base_and_new_classes(name, evaluate, tmp_path):
    official, method = OFFICIAL[name], name.split(",")[0]
    learned = write(official, tmp_path / "official")
    epoch = [] if official.best else ["--load-epoch", official.epoch]
    for classes in ("base", "new"):
        trainer = evaluate(method, official.config, tmp_path / "official", classes, *epoch)
        found = trainer.model.state_dict()
        assert found.keys() == learned.keys()
        assert all(torch.equal(found[key], value.float()) for key, value in learned.items())


@pytest.mark.parametrize("method", CACHES)
def test_official_cache_is_tested_on_base_and_new_classes(method, evaluate, tmp_path):
    """Tip-Adapter keeps its cache in files of their own, half and one-hot; new classes need none of it."""
    labels = torch.arange(CLASSES).repeat_interleave(SHOTS)
    keys = F.normalize(torch.randn(len(labels), JOINT), dim=-1)
    weight = torch.randn(len(labels), JOINT)
    official = tmp_path / "caches"
    official.mkdir()
    torch.save(keys.t().half(), official / f"keys_{SHOTS}shots.pt")
    torch.save(F.one_hot(labels).half(), official / f"values_{SHOTS}shots.pt")
    torch.save(torch.nn.Parameter(weight.half()), official / f"best_F_{SHOTS}shots.pt")
    for classes in ("base", "new"):
        model = evaluate(method, "vit_b16", official, classes).model
        found = model.weight if method == "TipAdapterF" else model.cache_keys.t()
        assert torch.equal(found, (weight if method == "TipAdapterF" else keys).half().float())
        assert torch.equal(model.cache_labels, labels) and model.seen == (classes == "base")


def test_every_method_with_checkpoints_is_here():
    import trainers

    assert {name.split(",")[0] for name in OFFICIAL} | {*CACHES} | WITHOUT_CHECKPOINTS == set(trainers.METHODS)
