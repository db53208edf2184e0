"""CLIP-Adapter: exactness, the authors' numbers, checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import train
from clip.model import CLIP, build_model
from runs import config
from tests.reference import toy
from tests.reference.agreement import golden_agrees, loss_and_gradients_agree
from tests.reference.plain_adapters import PlainCLIPAdapter
from trainers.clipadapter import CLIPAdapterModel
from trainers.shared import features
from trainers.shared.features import template_features

CONFIGS = Path(train.__file__).parent / "configs"
word = st.integers(1, 59)
names = st.lists(st.lists(word, min_size=1, max_size=4), min_size=1, max_size=5)


@settings(max_examples=20, deadline=None)
@given(
    names=names,
    ratio=st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    reduction=st.integers(1, 16),
    batch=st.integers(1, 3),
    seed=st.integers(0, 10),
)
def test_float64_equals_the_equations(names, ratio, reduction, batch, seed):
    torch.manual_seed(seed)
    weights = toy.clip_weights(seed)
    ids = toy.prompt_ids(names, [5, 6], [7])
    clip_model = build_model(weights, torch.float32).double()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(features, "prompt_tokens", lambda prompts: ids)
        text = template_features(clip_model, [""], ["{}"])
    model = CLIPAdapterModel(clip_model, text, ratio, reduction).double()
    learned = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    images, labels = torch.randn(batch, 3, 16, 16, dtype=torch.float64), torch.randint(len(names), (batch,))
    plain = PlainCLIPAdapter({name: value.double() for name, value in weights.items()}, ids, ratio)
    expected = plain.loss(learned, images, labels)
    expected.backward()
    loss, scores = model.loss(images, labels)
    loss.backward()
    loss_and_gradients_agree(loss, model, expected, learned)
    assert torch.allclose(model.scores(images, model.class_features()), plain.logits(learned, images), atol=1e-9)


@pytest.mark.parametrize("name", ["clip_adapter"])
def test_golden(name):
    """The authors' public code on the same weights (float32): features 1e-4, losses 1e-5, gradients 1e-3."""
    golden_agrees(name)


def test_published_numbers_of_parameters():
    """The bottleneck of RN50 (d = 1024) and of ViT-B/16 (d = 512)."""
    for width, count in ((1024, 524_288), (512, 131_072)):
        model = CLIPAdapterModel(CLIP(8, 16, 1, 64, 8, 77, 62, 64, 1, 1), torch.zeros(2, width))
        assert sum(value.numel() for value in model.parameters()) == count
        assert list(model.state_dict()) == ["fc.0.weight", "fc.2.weight"]
        assert model.fc[0].weight.abs().max() <= width**-0.5


@pytest.mark.parametrize(
    ("method", "options", "line"),
    [
        ("CLIPAdapter", ["TRAINER.CLIPADAPTER.RATIO", 1.5], "TRAINER.CLIPADAPTER.RATIO must lie in [0, 1], not 1.5"),
        ("CLIPAdapter", ["TRAINER.CLIPADAPTER.REDUCTION", 64], "TRAINER.CLIPADAPTER.REDUCTION must lie between 1 and"),
    ],
)
def test_settings_out_of_range_are_refused(method, options, line, make_trainer):
    with pytest.raises(ValueError) as caught:
        make_trainer(method, *options)
    assert str(caught.value).startswith(line)


def test_official_checkpoint_loads(make_trainer, tmp_path):
    state = {"fc.0.weight": torch.randn(8, 32), "fc.2.weight": torch.randn(32, 8)}
    path = tmp_path / "official/clip_adapter/model.pth.tar-200"
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": state, "epoch": 200, "optimizer": {}, "scheduler": {}, "val_result": None}, path)
    trainer = make_trainer("CLIPAdapter")
    trainer.load_model(str(tmp_path / "official"), epoch=200)
    assert all(torch.equal(value, state[name]) for name, value in trainer.model.state_dict().items())


def build(method, stem, dataset, *options):
    words = ["--dataset-config-file", str(CONFIGS / f"datasets/{dataset}.yaml"), "--trainer", method]
    words += ["--config-file", str(CONFIGS / f"trainers/{method}/{stem}.yaml"), *options]
    return config.build_cfg(train.parse_args(words))


def test_settings():
    cfg = build("CLIPAdapter", "vit_b16_c4_ep200_batch32", "dtd")
    assert (cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.WARMUP_CONS_LR) == ("sgd", 0.002, 200, 1e-5)
    assert (cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.INPUT.RRCROP_SCALE) == (32, (0.08, 1.0))
    assert dict(cfg.TRAINER.CLIPADAPTER) == {"RATIO": 0.2, "REDUCTION": 4, "PREC": "fp32"}
    assert build("CLIPAdapter", "rn50_ep50", "dtd").OPTIM.MAX_EPOCH == 50


def test_official_registry_name():
    cfg = build("CLIPAdapter", "embedded", "digits", "TRAINER.NAME", "CLIP_Adapter")
    assert cfg.TRAINER.NAME == "CLIPAdapter"
