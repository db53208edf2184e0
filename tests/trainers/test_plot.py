"""PLOT++: its phrases and plans, its two stages, checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import train
from clip.model import CLIP, build_model
from reference.shared import toy
from tests.runs.resolved import resolve
from trainers.plot import PHRASES, PLOTModel
from trainers.plot import method as plot
from trainers.plot.transport import Sinkhorn
from trainers.shared import context

CONFIGS = Path(train.__file__).parent / "configs"


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 4)] * 4), eps=st.sampled_from([0.1, 1.0]), seed=st.integers(0, 100))
def test_plan_of_many_iterations_has_the_marginals(shape, eps, seed):
    cosines = 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
    plan = Sinkhorn(eps, 1000, 0.0).plan(cosines)
    assert torch.allclose(plan.sum(dim=-1), torch.full(shape[:3], 1 / shape[2], dtype=torch.float64), atol=1e-2)
    assert torch.allclose(plan.sum(dim=-2), torch.full((*shape[:2], shape[3]), 1 / shape[3], dtype=torch.float64))
    one = Sinkhorn(eps, 1, 0.0).plan(cosines)
    assert torch.equal(Sinkhorn(eps, 100, 1e99).plan(cosines), one)  # the first change ends it


def test_phrases():
    """The length of the context is the word count of the first phrase; ImageNet's third and EuroSAT's differ."""
    lengths = {name: [len(phrase.split()) for phrase in phrases] for name, phrases in PHRASES.items()}
    four, five = [4] * 4, [5] * 4
    assert lengths == {
        **{"ImageNet": [4, 4, 3, 4], "Caltech101": four, "StanfordCars": four, "SUN397": four},
        **{"EuroSAT": [5, 5, 6, 6], "UCF101": [6] * 4, "DescribableTextures": five, "FGVCAircraft": five},
        **{"Food101": five, "OxfordFlowers": five, "OxfordPets": five},
    }


def test_learned_tensors():
    """Table of the release: contexts [4, n, 512] and view tokens [4, 2, 768], N(0, 0.02^2)."""
    clip_model = CLIP(512, 32, 1, 768, 16, 77, 49408, 512, 8, 1)
    model = PLOTModel(clip_model, ["cat", "dog"], PHRASES["Caltech101"])
    assert {name: list(value.shape) for name, value in model.named_parameters()} == {
        "prompt_learner.ctx": [4, 4, 512],
        "prompt_learner.ctx_vision": [4, 2, 768],
    }
    assert sum(value.numel() for value in model.parameters()) == 14_336
    assert abs(model.prompt_learner.ctx_vision.std().item() - 0.02) < 1e-3
    first = context.prompt_tokens(["a photo of a"])[0, 1:5]
    assert torch.equal(model.prompt_learner.ctx[0], clip_model.token_embedding.weight[first])


@pytest.mark.parametrize("vision_only", [False, True])
def test_contexts_of_phrases_of_unequal_length(vision_only):
    """Each starts from as many tokens of its phrase as the first phrase has; the first stage learns views only."""
    clip_model = build_model(toy.clip_weights(0, vocabulary=49408), torch.float32)
    model = PLOTModel(clip_model, ["cat"], PHRASES["EuroSAT"], vision_only=vision_only)
    ids = torch.stack([context.prompt_tokens([phrase])[0, 1:6] for phrase in PHRASES["EuroSAT"]])
    assert torch.equal(model.prompt_learner.ctx, clip_model.token_embedding.weight[ids])
    learned = {name for name, _ in model.named_parameters()}
    assert learned == {"prompt_learner.ctx_vision", *([] if vision_only else ["prompt_learner.ctx"])}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_n_prompts_start_from_the_first_n_phrases(count, make_trainer):
    """As in the release, for which N is the number of phrases that it reads from a data set's list."""
    trainer = make_trainer("PLOT", "DATASET.SUBSAMPLE_CLASSES", "all", "TRAINER.PLOTPP.N", count)
    model = trainer.model
    ids = torch.cat([context.prompt_tokens([phrase])[:, 1:5] for phrase in plot.GENERAL[:count]])
    assert torch.equal(model.prompt_learner.ctx, model.clip_model.token_embedding.weight[ids])
    images, labels = trainer.parse_batch_train(next(iter(trainer.train_loader_x)))
    alone = PLOTModel(model.clip_model, trainer.dm.dataset.classnames, plot.GENERAL[:count], views=2)
    alone.load_state_dict(model.state_dict())
    assert torch.equal(model.loss(images, labels)[1], alone.loss(images, labels)[1])


def test_text_is_encoded_once_while_it_is_constant(make_trainer, one_batch, monkeypatch):
    trainer = make_trainer("PLOT", "TRAINER.PLOTPP.MODEL_UPD", "vision")
    images, labels = trainer.parse_batch_train(one_batch(trainer))
    calls = []
    encode = trainer.model._encode_text
    monkeypatch.setattr(trainer.model, "_encode_text", lambda: calls.append(1) or encode())
    before, _ = trainer.model.loss(images, labels)
    trainer.model.loss(images, labels)
    assert len(calls) == 1
    state = trainer.model.state_dict()
    state["prompt_learner.ctx"] = state["prompt_learner.ctx"] + 1
    trainer.model.load_state_dict(state)
    after, _ = trainer.model.loss(images, labels)
    assert len(calls) == 2 and not torch.equal(before, after)


def test_second_stage_starts_from_the_first(make_trainer, tmp_path, monkeypatch):
    whole = make_trainer("PLOT")
    whole.train()
    folder = Path(whole.output_dir) / "vision_only"
    assert (folder / "prompt_learner/model-3.safetensors").is_file()
    given_first = make_trainer(
        "PLOT", "OUTPUT_DIR", str(tmp_path / "given"), "TRAINER.PLOTPP.PRETRAIN_DIR", str(folder)
    )
    monkeypatch.setattr(given_first, "first_stage", None)
    seen = {}
    load = given_first.load_stage
    monkeypatch.setattr(
        given_first, "load_stage", lambda source: load(source) or seen.update(given_first.model.state_dict())
    )
    given_first.train()
    assert all(torch.equal(v, given_first.model.state_dict()[k]) for k, v in whole.model.state_dict().items())
    # A first stage that is done is not done again, and what comes after it is the same.
    again = make_trainer("PLOT")
    again.load_stage(folder / "prompt_learner/model-3.safetensors")
    assert not again.model.vision_only and isinstance(again.model.prompt_learner.ctx, torch.nn.Parameter)


def test_killed_in_the_first_stage(make_trainer, monkeypatch):
    whole = make_trainer("PLOT", "OUTPUT_DIR", make_trainer("PLOT").output_dir + "-whole")
    whole.train()
    real = plot.PLOT.run_epoch

    def run_epoch(trainer):
        if trainer.epoch == 1:
            raise KeyboardInterrupt
        real(trainer)

    killed = make_trainer("PLOT")
    monkeypatch.setattr(plot.PLOT, "run_epoch", run_epoch)
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    monkeypatch.setattr(plot.PLOT, "run_epoch", real)
    resumed = make_trainer("PLOT")
    resumed.train()
    assert all(torch.equal(v, resumed.model.state_dict()[k]) for k, v in whole.model.state_dict().items())


@pytest.mark.parametrize(
    ("shots", "dataset", "epochs"), [(1, "dtd", 50), (2, "dtd", 100), (4, "dtd", 100), (16, "dtd", 200), (16, "*", 50)]
)
def test_settings_are_the_releases(shots, dataset, epochs):
    rows = [line.split() for line in (CONFIGS / "trainers/PLOT/protocols").read_text().splitlines()]
    asked = ("fewshot", "imagenet" if dataset == "*" else dataset, str(shots))
    stem = next(row[3] for row in rows if all(a in (b, "*") for a, b in zip(row, asked, strict=False)))
    cfg = resolve("PLOT", stem, "dtd", "TRAINER.NAME", "PLOTPP")
    assert (cfg.TRAINER.NAME, cfg.OPTIM.MAX_EPOCH, cfg.DATALOADER.TRAIN_X.BATCH_SIZE) == ("PLOT", epochs, 32)
    assert (cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.WARMUP_CONS_LR) == ("sgd", 0.002, 1, 1e-5)
    node = cfg.TRAINER.PLOTPP
    assert (node.M, node.N, node.EPS, node.MAX_ITER, node.THRESH, node.PREC) == (4, 4, 0.1, 100, 0.01, "fp16")
