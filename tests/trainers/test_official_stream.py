"""OFFICIAL_STREAM: initial tensors and the generator's state right before training, as the public codes have them.

``tests/data/seeds.json`` was written by the public codes with the public Dassl on torch 2.4.1; draws depend on shapes
alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch

import reference
import trainers
from clip.model import CLIP
from dassl.config import get_cfg_default
from trainers import maple
from trainers.settings import MMRLSettings
from trainers.shared import official_stream
from trainers.shared.method import Method

SEEDS = json.loads((Path(__file__).parents[1] / "data/seeds.json").read_text())
METHODS = {name.lower(): name for name in trainers.METHODS}
OPENAI_IMAGES = (
    *("INPUT.PIXEL_MEAN", [0.48145466, 0.4578275, 0.40821073], "INPUT.PIXEL_STD", [0.26862954, 0.26130258, 0.27577711]),
    *("INPUT.INTERPOLATION", "bicubic"),
)
AS_THERE = (
    *("MODEL.BACKBONE.NAME", "embedded", *OPENAI_IMAGES, "OFFICIAL_STREAM", True, "TEST.NO_TEST", True),
    *("TRAINER.MMRL.REP_LAYERS", [3, 4, 5, 6], "TRAINER.MMRLpp.REP_LAYERS", [3, 4, 5, 6]),
    *("TRAINER.MMRL.REP_DIM", 512, "TRAINER.MMRLpp.REP_DIM", 512, "OPTIM.MAX_EPOCH", 1),
    *("TRAINER.COOP.CTX_INIT", "a photo of a", "TRAINER.COCOOP.CTX_INIT", "a photo of a"),
    *("TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", 5, "TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", 5),
)


def before_the_loop(trainer):
    """Digest of torch's generator where the first epoch begins."""
    found = []
    trainer.run_epoch = lambda: found.append(digest())
    trainer.test = lambda: 0.0
    trainer.train()
    return found[0]


def digest():
    """Of torch's generator."""
    return hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name in SEEDS if name != "maple" for seed in SEEDS[name]])
def test_starts_as_the_public_code(name, seed, make_trainer):
    trainer = make_trainer(METHODS[name], *AS_THERE, "SEED", int(seed))
    compare(SEEDS[name][seed]["learned"], trainer.model.state_dict())
    assert before_the_loop(trainer) == SEEDS[name][seed]["torch_cpu_rng_sha256"]


def test_maple_starts_as_the_public_code():
    """On a CLIP of the widths that are literals there; only shapes count, so it holds no weights."""
    with torch.device("meta"):
        clip_model = CLIP(128, 32, 6, 768, 8, 77, 49408, 512, 8, 6).eval()
    cfg = get_cfg_default()
    trainers.extend_cfg(cfg)
    cfg.TRAINER.NAME, cfg.TRAINER.MAPLE.PROMPT_DEPTH = "MaPLe", 5
    model = maple.MaPLeModel.__new__(maple.MaPLeModel)
    Method.__init__(model, clip_model)
    model.prompt_learner = maple.PromptLearner(torch.zeros(2, 512), 5, 768)
    official_stream.stand(model, maple.MaPLe.official_draws(cfg, model), 1)
    public, ours = dict(SEEDS["maple"]["1"]["learned"]), model.state_dict()
    for learned in (public, ours):
        del learned["prompt_learner.ctx"]  # of words
    compare(public, ours)
    assert digest() == SEEDS["maple"]["1"]["torch_cpu_rng_sha256"]


WITH_PLAN = [method for method in trainers.METHODS if "draws" not in reference.of(method).lacks]


@pytest.mark.parametrize("method", WITH_PLAN)
def test_every_drawn_tensor_is_the_public_codes(method, make_trainer):
    trainer, facts = make_trainer(method, "OFFICIAL_STREAM", True), reference.of(method)
    draws = list(trainer.official_draws(trainer.cfg, trainer.model))
    assert sum(draw.name == "token_embedding.weight" for draw in draws) == 2 * facts.clips_built
    kept = [name for draw in draws for name in draw.keep]
    assert len(kept) == len(set(kept))
    rest = set(dict(trainer.model.named_parameters())) - set(kept)
    assert all(re.fullmatch(facts.never_drawn, name) for name in rest), rest
    learned = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    state = before_the_loop(trainer)
    official_stream.stand(trainer.model, draws, 1)
    assert digest() == state
    assert all(torch.equal(trainer.model.state_dict()[name], learned[name]) for name in kept)
    official_stream.stand(trainer.model, draws, 2)
    now = trainer.model.state_dict()
    assert not any(torch.equal(now[name], learned[name]) for name in kept)


def compare(public, ours):
    assert list(ours) and set(ours) == set(public)
    for key, tensor in ours.items():
        assert list(tensor.shape) == public[key]["shape"], key
        assert tensor.flatten()[:4].tolist() == pytest.approx(public[key]["first"], rel=1e-6, abs=0), key
        assert tensor.double().norm().item() == pytest.approx(public[key]["norm"], rel=1e-7), key


def test_refused_where_nothing_is_known_or_there_is_no_seed(make_trainer):
    with pytest.raises(
        ValueError, match=r"^--official-stream .*: what the public code of ProDA draws is not known here; "
    ):
        make_trainer("ProDA", "OFFICIAL_STREAM", True)
    line = r"^--official-stream .*: TRAINER\.MMRL\.VARIANT biased has no public code, so leave it out$"
    with pytest.raises(ValueError, match=line):
        make_trainer("MMRL", "OFFICIAL_STREAM", True, "TRAINER.MMRL.VARIANT", "biased")
    trainer = make_trainer("MMRL")
    cfg = trainer.cfg.clone()
    cfg.merge_from_list(["OFFICIAL_STREAM", True, "SEED", -1])
    with pytest.raises(ValueError, match=r"^--official-stream .* needs a seed: add --seed 1$"):
        trainer.check_cfg(cfg)


@pytest.mark.parametrize("method", sorted(trainers.METHODS))
def test_is_the_default_where_the_draws_are_known(method, make_trainer):
    trainer = make_trainer(method)
    assert trainer.follows_public_code == trainers.draws_as_public_code(trainer.cfg) == (method in WITH_PLAN)
    assert not make_trainer(method, "OFFICIAL_STREAM", False).follows_public_code


@pytest.mark.parametrize("variant", MMRLSettings.variants)
def test_an_ablation_has_it_where_it_is_trained_as_mmrl(variant, make_trainer):
    trainer = make_trainer("MMRL", "TRAINER.MMRL.VARIANT", variant)
    known = trainers.draws_as_public_code(trainer.cfg)
    assert known == trainer.follows_public_code == (variant in ("full", "wo_DS1", "wo_DS2"))


def test_half_precision_draws_in_half(make_trainer):
    """As the public codes draw the vectors of fp16 runs."""
    drawn = {}
    for precision in ("fp32", "fp16"):
        trainer = make_trainer("CoOp", "OFFICIAL_STREAM", True, "TRAINER.COOP.PREC", precision)
        drawn[precision] = trainer.model.ctx.detach().clone()
    assert drawn["fp16"].dtype == torch.float32 and torch.equal(drawn["fp16"], drawn["fp16"].half().float())
    assert not torch.equal(drawn["fp16"], drawn["fp32"])
