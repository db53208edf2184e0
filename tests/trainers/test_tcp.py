"""TCP: against the plain reference, the authors' numbers, their templates, checkpoints and settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import train
import trainers
from clip.model import build_model
from dassl.config import get_cfg_default
from reference.shared import toy
from reference.tcp import PlainTCP
from runs import config
from tests.agreement import golden_agrees, loss_and_gradients_agree
from trainers import tcp
from trainers.shared import context
from trainers.tcp import TCPModel

CONFIGS = Path(train.__file__).parent / "configs"
word = st.integers(1, 59)
names = st.lists(st.lists(word, min_size=1, max_size=6), min_size=1, max_size=6)


@settings(max_examples=20, deadline=None)
@given(
    names=names,
    before=st.lists(word, max_size=2),
    prior=st.lists(word, max_size=3),
    depth=st.integers(1, 4),
    batch=st.integers(1, 3),
    seed=st.integers(0, 10),
)
@example([[1, 2], [3], [4, 5, 6]], [8], [9], 4, 2, 0)
def test_float64_equals_the_equations(names, before, prior, depth, batch, seed):
    torch.manual_seed(seed)
    weights = toy.clip_weights(seed, vision=(64, 2), text=(64, depth))
    ids, prior_ids = toy.prompt_ids(names, [1, 2, 3, 4, *before], [7]), toy.prompt_ids(names, prior, [])
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(tcp, "prompt_tokens", lambda prompts: ids)
        monkeypatch.setattr(context, "prompt_tokens", lambda prompts: prior_ids)
        clip_model = build_model(weights, torch.float32).double()
        model = TCPModel(clip_model, ["unused"] * len(ids), ["unused"] * len(ids)).double()
    images, labels = torch.randn(batch, 3, 16, 16, dtype=torch.float64), torch.randint(len(names), (batch,))
    learned = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    double = {name: value.double() for name, value in weights.items()}
    plain = PlainTCP(double, ids, prior_ids, 2 * depth // 3)
    want = plain.loss(learned, images, labels)
    want.backward()
    loss, scores = model.loss(images, labels)
    loss.backward()
    # In a tower of one layer the vectors are replaced before anything sees them: no gradient.
    loss_and_gradients_agree(loss, model, want, learned, unseen=True)
    with torch.no_grad():
        expected = plain.logit_scale * plain.image_features(learned, images) @ plain.text_features(learned).t()
        assert torch.allclose(scores, expected)
        assert torch.allclose(model.scores(images, model.class_features()), expected)


def test_golden():
    """The authors' public code on the same weights (float32): features 1e-4, losses 1e-5, gradients 1e-3."""
    golden_agrees("tcp", eval_logits=5e-4)


def test_number_of_learned_parameters_is_the_papers():
    """Table 6: 0.332M for ViT-B/16 (331,904)."""
    assert sum(p.numel() for p in tcp.meta_net(512, 512).parameters()) + 4 * 512 == 331_904


@pytest.mark.parametrize(
    ("dataset", "prior", "learned"),
    [
        ("OxfordPets", "a photo of a {}, a type of pet.", "X X X X {}, a type of pet."),
        ("OxfordFlowers", "a photo of a {}, a type of flower.", "X X X X {}, a type of flower."),
        ("Food101", "a photo of a {}, a type of food.", "X X X X {}, a type of food."),
        ("FGVCAircraft", "a photo of an aircraft {}.", "X X X X {}, a type of aircraft."),
        ("DescribableTextures", "a photo of a {}, a type of texture.", "X X X X {} texture."),
        ("EuroSAT", "a centered satellite photo of {}.", "X X X X {}."),
        ("StanfordCars", "a photo of a {}.", "X X X X {}, a type of car"),
        ("UCF101", "a photo of a person doing {}.", "a photo of a person doing {}."),
        ("SUN397", "a photo of a {}.", "X X X X {}."),
        ("Caltech101", "a photo of a {}.", "X X X X {}."),
        ("ImageNetSketch", "a photo of a {}.", "X X X X {}."),
    ],
)
def test_templates_are_the_official_ones(dataset, prior, learned):
    cfg = get_cfg_default()
    trainers.extend_cfg(cfg)
    cfg.DATASET.NAME = dataset
    assert tcp.templates_of(cfg) == (prior, learned)
    cfg.DATASET.TEMPLATE = "my {} here"
    assert tcp.templates_of(cfg) == ("my {} here", "X X X X {} here")


def test_adam_divides_by_more(make_trainer):
    groups = make_trainer("TCP", "OPTIM.NAME", "adam").optim.param_groups
    assert [group["eps"] for group in groups] == [1e-3]
    assert [group["eps"] for group in make_trainer("TCP", "OPTIM.NAME", "adamw").optim.param_groups] == [1e-8]


def test_vectors_are_drawn_unless_they_start_from_words(make_trainer):
    drawn, words = make_trainer("TCP"), make_trainer("TCP", "TRAINER.COOP.CTX_INIT", True)
    embedding = words.model.clip_model.token_embedding.weight
    ids = tcp.prompt_tokens(["a photo of a"])[0, 1:5]
    assert torch.equal(words.model.ctx, embedding[ids])
    assert 0.01 < drawn.model.ctx.std() < 0.03


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("N_CTX", 16, "N_CTX must be 4 for TCP, not 16"),
        ("CSC", True, "CSC must be False for TCP, not True"),
        ("CLASS_TOKEN_POSITION", "front", "CLASS_TOKEN_POSITION must be end for TCP, not front"),
    ],
)
def test_settings_that_tcp_does_not_have(key, value, line, make_trainer):
    with pytest.raises(ValueError) as caught:
        make_trainer("TCP", f"TRAINER.COOP.{key}", value)
    assert str(caught.value) == f"TRAINER.COOP.{line}"


def test_official_checkpoint_loads(make_trainer, tmp_path):
    """In half precision, with the embeddings of the classes trained on, 50 say, which are not loaded."""
    trainer, other = make_trainer("TCP"), make_trainer("TCP", "SEED", 5)
    path = tmp_path / "prompt_learner" / "model.pth.tar-50"
    path.parent.mkdir(parents=True)
    halves = {name: value.half() for name, value in trainer.model.state_dict().items()}
    buffers = {"token_prefix": torch.zeros(50, 1, 64), "token_suffix": torch.zeros(50, 72, 64)}
    torch.save({"state_dict": halves | buffers, "epoch": 50}, path)
    other.load_model(str(tmp_path), epoch=50)
    assert all(torch.equal(value.half(), halves[name]) for name, value in other.model.state_dict().items())


def build(dataset, stem):
    words = ["--dataset-config-file", str(CONFIGS / f"datasets/{dataset}.yaml"), "--trainer", "TCP"]
    return config.build_cfg(train.parse_args([*words, "--config-file", str(CONFIGS / f"trainers/TCP/{stem}.yaml")]))


def test_settings_are_the_official_ones():
    for dataset, stem, epochs in (
        ("eurosat", "vit_b16_ep100_ctxv1", 50),
        ("imagenet", "vit_b16_ep100_ctxv1", 25),
        ("sun397", "vit_b16_ep100_ctxv1", 25),
        ("imagenet", "vit_b16_ep25_ctxv1_xd", 25),
    ):
        cfg = build(dataset, stem)
        batches = (cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.DATALOADER.TEST.BATCH_SIZE)
        assert (cfg.OPTIM.MAX_EPOCH, *batches) == (epochs, 32, 500)
        assert (cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.LR_SCHEDULER) == ("adam", 0.002, "cosine")
        assert (cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.WARMUP_TYPE, cfg.OPTIM.WARMUP_CONS_LR) == (1, "constant", 1e-5)
        assert (cfg.OPTIM.WEIGHT_DECAY, cfg.INPUT.RRCROP_SCALE) == (5e-4, (0.08, 1.0))
        node = cfg.TRAINER.COOP
        assert (node.N_CTX, node.CTX_INIT, node.CSC, node.PREC) == (4, False, False, "fp16")
