"""MMA: against the plain reference, the authors' numbers, their checkpoints and settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import train
import trainers
from clip.model import CLIP, build_model
from runs import config
from tests.reference import toy
from tests.reference.agreement import golden_agrees, loss_and_gradients_agree, relative
from tests.reference.plain_mma import PlainMMA
from trainers import mma
from trainers.mma import MMAModel
from trainers.settings import MMASettings

CONFIGS = Path(train.__file__).parent / "configs"
word = st.integers(1, 59)
names = st.lists(st.lists(word, min_size=1, max_size=6), min_size=1, max_size=5)


@settings(max_examples=20, deadline=None)
@given(
    names=names,
    before=st.lists(word, max_size=4),
    places=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 1)),
    dim=st.integers(1, 5),
    scale=st.sampled_from([0.001, 0.3, 1.0]),
    batch=st.integers(1, 3),
    seed=st.integers(0, 10),
)
@example([[1, 2], [3], [4, 5, 6]], [8, 9], (2, 3, 1), 4, 0.3, 2, 0)
def test_float64_equals_the_equations(names, before, places, dim, scale, batch, seed):
    start, end, depth = places[0], places[0] + places[1] - 1, sum(places) - 1
    torch.manual_seed(seed)
    weights = toy.clip_weights(seed, vision=(64, depth), text=(64, depth))
    ids = toy.prompt_ids(names, before, [7])
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(mma, "prompt_tokens", lambda prompts: ids)
        clip_model = build_model(weights, torch.float32).double()
        model = MMAModel(clip_model, ["unused"] * len(ids), MMASettings(start, end, dim, scale)).double()
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value, std=0.3)
    images, labels = torch.randn(batch, 3, 16, 16, dtype=torch.float64), torch.randint(len(names), (batch,))
    learned = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    plain = PlainMMA({name: value.double() for name, value in weights.items()}, ids, start, end, scale)
    want = plain.loss(learned, images, labels)
    want.backward()
    loss, scores = model.loss(images, labels)
    loss.backward()
    loss_and_gradients_agree(loss, model, want, learned)
    with torch.no_grad():
        expected = plain.logits(learned, images)
        assert torch.allclose(scores, expected)
        assert torch.allclose(model.scores(images, model.class_features()), expected)


def test_gradients_are_those_of_scale_one():
    """Halving s halves what the adapters add, and leaves their gradients (nearly) as they are."""
    weights = toy.clip_weights(0, vocabulary=49408)
    images, labels = torch.randn(2, 3, 16, 16), torch.tensor([0, 1])
    found = []
    for scale in (1e-3, 5e-4):
        torch.manual_seed(0)
        model = MMAModel(build_model(weights, torch.float32), ["a dog", "a red cat"], MMASettings(2, 3, 4, scale))
        model.loss(images, labels)[0].backward()
        found.append(torch.cat([value.grad.flatten() for value in model.parameters()]))
    assert found[0].norm() > 0 and relative(found[0], found[1]) < 0.02


def test_golden():
    """The authors' public code on the same weights (float32): features 1e-4, losses 1e-5, gradients 1e-3."""
    assert golden_agrees("multimodaladapter", eval_logits=5e-4) > 100


def test_number_of_learned_parameters_is_the_papers():
    """Table 6: 0.675M for ViT-B/16 (674,560)."""
    with torch.device("meta"):
        clip_model = CLIP(512, 224, 12, 768, 16, 77, 100, 512, 8, 12)
        parts = MMAModel.learned(MMASettings(5, 12, 32, 0.001), clip_model)
    assert sum(p.numel() for part in parts for p in part.parameters()) == 674_560


def test_initial_values():
    """N(0, 2 / fan_out) everywhere, biases zero, the map up included."""
    torch.manual_seed(0)
    adapters = mma._drawn({"5": mma.Adapter(512, 32)})["5"]
    assert abs(adapters.down[0].weight.std().item() - 0.25) < 0.01
    assert abs(adapters.up.weight.std().item() - 0.0625) < 0.003
    assert adapters.up.bias.count_nonzero() == adapters.down[0].bias.count_nonzero() == 0


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("ADAPTER_DIM", 0, "ADAPTER_DIM must be at least 1, not 0"),
        ("ADAPTER_SCALE", 0.0, "ADAPTER_SCALE must be more than 0, not 0.0"),
        ("ADAPTER_START", 0, "ADAPTER_START must be at least 1, not 0"),
        ("ADAPTER_START", 4, "ADAPTER_END is 3, before ADAPTER_START 4"),
        ("ADAPTER_END", 4, "ADAPTER_END is 4: the image tower has 3 layers"),
    ],
)
def test_settings_out_of_range_are_refused(key, value, line, make_trainer):
    with pytest.raises(ValueError) as caught:
        make_trainer("MultiModalAdapter", f"TRAINER.MMADAPTER.{key}", value)
    assert str(caught.value) == f"TRAINER.MMADAPTER.{line}"


def test_resnet_backbone_is_refused():
    with torch.device("meta"):
        clip_model = CLIP(32, 64, (1, 1, 1, 1), 64, None, 77, 100, 64, 1, 3)
    with pytest.raises(ValueError, match="^MultiModalAdapter needs a ViT image tower: this backbone is a ResNet"):
        MMAModel(clip_model, ["a"], MMASettings(2, 3, 4, 1.0))


def test_official_checkpoint_loads(make_trainer, tmp_path):
    """Its buffers are of the classes trained on, 50 say, and are not loaded."""
    trainer, other = make_trainer("MultiModalAdapter"), make_trainer("MultiModalAdapter", "SEED", 5)
    state = trainer.model.state_dict() | {"token_embedding": torch.zeros(50, 77, 64)}
    state["tokenized_prompts"] = torch.zeros(50, 77, dtype=torch.long)
    path = tmp_path / "adapter_learner" / "model.pth.tar-5"
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": state, "epoch": 5}, path)
    other.load_model(str(tmp_path), epoch=5)
    assert all(torch.equal(value, other.model.state_dict()[name]) for name, value in trainer.model.state_dict().items())
    torch.save({"state_dict": state | {"text_adapter.1.up.bias": torch.zeros(64)}, "epoch": 5}, path)
    with pytest.raises(ValueError, match=r"text_adapter.1.up.bias is unknown$"):
        other.load_model(str(tmp_path), epoch=5)


def build(stem, trainer="MultiModalAdapter"):
    words = ["--dataset-config-file", str(CONFIGS / "datasets/imagenet.yaml"), "--trainer", trainer]
    path = CONFIGS / f"trainers/MultiModalAdapter/{stem}.yaml"
    return config.build_cfg(train.parse_args([*words, "--config-file", str(path)]))


@pytest.mark.parametrize(
    ("stem", "epochs", "batch", "start"),
    [("vit_b16_ep5", 5, 16, 5), ("vit_b16_ep5_imnet", 5, 128, 5), ("vit_b16_ep1_xd", 1, 128, 9)],
)
def test_settings_are_the_official_ones(stem, epochs, batch, start):
    cfg = build(stem)
    assert (cfg.OPTIM.MAX_EPOCH, cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.DATALOADER.TEST.BATCH_SIZE) == (
        epochs,
        batch,
        100,
    )
    assert (cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.LR_SCHEDULER) == ("sgd", 0.0015, "cosine")
    assert (cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.WEIGHT_DECAY, cfg.OPTIM.MOMENTUM) == (0, 5e-4, 0.9)
    assert cfg.INPUT.RRCROP_SCALE == (0.08, 1.0)
    node = cfg.TRAINER.MMADAPTER
    assert (node.ADAPTER_START, node.ADAPTER_END, node.ADAPTER_DIM, node.ADAPTER_SCALE) == (start, 12, 32, 0.001)
    assert (node.PREC, node.TEXT_CTX_INIT) == ("amp", "a photo of a")


def test_the_short_name_is_the_same_method():
    assert build("vit_b16_ep5", "MMA").TRAINER.NAME == "MultiModalAdapter"
    assert trainers.load(trainers.ALIASES["MMA"]) is mma.MultiModalAdapter
