"""CoOp, CoCoOp, KgCoOp and ProGrad: initial values, ProGrad's gradients, what is refused."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import trainers
from clip import tokenize
from clip.model import CLIP, build_model
from dassl.config import get_cfg_default
from reference.prograd import PlainProGrad
from reference.shared import toy
from reference.shared.plain import token_ids
from tests.agreement import relative
from trainers import cocoop, kgcoop
from trainers.cocoop import CoCoOpModel
from trainers.coop import CoOpModel
from trainers.kgcoop import KgCoOpModel
from trainers.prograd import ProGradModel, aligned
from trainers.shared.context import Context, ContextPrompts
from trainers.shared.templates import template_of

METHODS = ["CoOp", "CoCoOp", "KgCoOp", "ProGrad"]
TEMPLATE = "a {} it is."
WORDS = ["dog", "x", "polka-dotted", "inline_skate", "zebra", "yellow-bellied sapsucker", "a", "photo of"]


@lru_cache(maxsize=4)
def clips(seed):
    """A toy CLIP with the real vocabulary in float64, and its weights."""
    weights = toy.clip_weights(seed, text=(64, 2), vision=(64, 1), vocabulary=49408)
    double = {name: value.double() for name, value in weights.items()}
    return build_model(weights, torch.float32).double().requires_grad_(False), double


@pytest.mark.parametrize(("label", "against"), [(0, True), (1, False)])
def test_both_branches_of_prograd_occur(label, against):
    """With two classes and one image, one label pulls against CLIP's prediction and the other does not."""
    torch.manual_seed(1)
    model, weights = clips(0)
    ours = ProGradModel(model, ["dog", "zebra"], Context.of("", 3), TEMPLATE, 2.0, 0.8).double()
    tokens, fixed = (token_ids(weights, text, ["dog", "zebra"]) for text in ("X X X {}.", TEMPLATE))
    plain = PlainProGrad(weights, tokens, [1, 1], template_tokens=fixed, temperature=2.0, strength=0.8)
    learned = {"ctx": ours.ctx.detach().clone().requires_grad_()}
    batch = torch.randn(1, 3, 16, 16, dtype=torch.float64), torch.tensor([label])
    _, g_a, g_b = plain.gradients(learned, *batch)
    assert bool((g_a * g_b).sum() < 0) is against
    loss, _ = ours.loss(*batch)
    loss.backward()
    assert (relative(ours.ctx.grad, g_a) > 1e-3) is against
    if against:
        want = g_a - 0.8 * (g_a * g_b).sum() / g_b.norm() ** 2 * g_b
        assert relative(ours.ctx.grad, want) <= 1e-9


@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4), st.floats(0, 1))
def test_aligned_gradient(values, strength):
    g_a, g_b = torch.tensor(values, dtype=torch.float64).reshape(2, 2)
    before, after = (g_a * g_b).sum(), (aligned(g_a, g_b, strength) * g_b).sum()
    assert torch.allclose(after, before * (1 - strength) if before < 0 else before, atol=1e-9)
    assert torch.equal(aligned(g_a, torch.zeros(2, dtype=torch.float64), strength), g_a)


def test_aligned_gradient_of_tiny_and_of_broken_gradients():
    g_a, opposite = torch.tensor([1.0, 2.0]), torch.tensor([-1e-30, 0.0])
    assert torch.equal(aligned(g_a, opposite, 1.0), torch.tensor([0.0, 2.0]))
    for broken in (float("inf"), float("nan")):
        assert not torch.isfinite(aligned(g_a, torch.tensor([broken, 1.0]), 1.0)).all()


@pytest.mark.parametrize(
    ("context", "prefix"),
    [
        (Context.of("a photo of a", 0), 5),
        (Context.of("", 16), 17),
        (Context.of("", 5, "middle"), 3),
        (Context.of("", 5, "front"), 1),
        (Context.of("", 5, per_class=True), 1),
    ],
)
def test_what_classes_share_is_computed_once(context, prefix):
    model, _ = clips(0)
    layout = ContextPrompts(model, ["dog", "zebra", "x"], context).layout
    assert layout.prefix == prefix
    assert layout.suffix_tokens == 3 * (1 + context.length + 3 - prefix)


def vit_b16_text():
    """ViT-B/16's widths, one layer."""
    return CLIP(512, 32, 1, 64, 16, 77, 49408, 512, 8, 1).requires_grad_(False)


def test_numbers_and_initial_values_at_vit_b16():
    """Learned parameters as in the cards: 2,048 for 4 vectors, 8,192 for 16, 35,360 with the meta-net."""
    torch.manual_seed(0)
    clip_model = vit_b16_text()
    words = Context.of("a_photo_of_a", 16)
    found = {
        "CoOp": CoOpModel(clip_model, ["dog"], words),
        "CoCoOp": CoCoOpModel(clip_model, ["dog"], words),
        "KgCoOp": KgCoOpModel(clip_model, ["dog"], words, TEMPLATE, 8.0),
        "ProGrad": build("ProGrad", clip_model, "DATASET.NAME", "OxfordPets", "TRAINER.COOP.CTX_INIT", True),
        "drawn": CoOpModel(clip_model, ["dog", "cat"], Context.of("", 16, per_class=True)),
    }
    counts = {name: sum(p.numel() for p in model.parameters()) for name, model in found.items()}
    wanted = {"CoOp": 2048, "CoCoOp": 35360, "KgCoOp": 2048, "ProGrad": 8192, "drawn": 16384}
    assert counts == wanted
    embedding = clip_model.token_embedding.weight
    phrase = embedding[tokenize("a photo of a")[0, 1:5]]
    assert all(torch.equal(found[name].ctx, phrase) for name in ("CoOp", "CoCoOp", "KgCoOp"))
    pets = found["ProGrad"].ctx
    assert not pets[:8].any() and torch.equal(pets[8:], embedding[tokenize("a type of pet, a photo of")[0, 1:9]])
    assert abs(found["drawn"].ctx.std().item() - 0.02) < 5e-4
    first, second = found["CoCoOp"].meta_net.linear1.weight, found["CoCoOp"].meta_net.linear2.weight
    assert first.shape == (32, 512) and first.abs().max() <= 512**-0.5 < 1.1 * first.abs().max()
    assert second.shape == (512, 32) and second.abs().max() <= 32**-0.5 < 1.1 * second.abs().max()


def build(method, clip_model, *options):
    cfg = get_cfg_default()
    trainers.extend_cfg(cfg)
    cfg.merge_from_list(["TRAINER.NAME", method, *options])
    return trainers.load(method).build_method(cfg, clip_model, ["dog", "zebra"])


@pytest.mark.parametrize(
    ("dataset", "words", "tokens"),
    [
        ("OxfordPets", 8, 9),
        ("OxfordFlowers", 8, 9),
        ("FGVCAircraft", 8, 9),
        ("Food101", 7, 8),
        ("DescribableTextures", 3, 3),
        ("EuroSAT", 5, 5),
        ("UCF101", 6, 6),
        ("ImageNet", 4, 4),
    ],
)
def test_prograds_template(dataset, words, tokens):
    """What stands before the name; a comma is a token of its own, and the last word then stays a word."""
    model = build("ProGrad", clips(0)[0], "DATASET.NAME", dataset, "TRAINER.COOP.CTX_INIT", True)
    context = model.prompts.context
    assert (context.length, len(context.words.split())) == (16, words)
    assert model.prompts.layout.prefix == 1 + 16 + tokens - words


def test_kgcoops_templates():
    found = {}
    for name, template in (("DescribableTextures", ""), ("EuroSAT", ""), ("DescribableTextures", "a {}.")):
        cfg = get_cfg_default()
        trainers.extend_cfg(cfg)
        cfg.DATASET.NAME, cfg.DATASET.TEMPLATE = name, template
        found[name, template] = template_of(cfg, kgcoop.TEMPLATES)
    assert list(found.values()) == ["a photo of a {}, a type of texture.", "a centered satellite photo of {}.", "a {}."]


def test_cocoop_scores_a_few_images_at_a_time(monkeypatch):
    ours = CoCoOpModel(clips(0)[0], ["dog", "zebra"], Context.of("", 4)).double()
    images = torch.randn(5, 3, 16, 16, dtype=torch.float64)
    whole = ours.scores(images, None)
    sizes = []
    logits = ours.logits
    monkeypatch.setattr(ours, "logits", lambda f: sizes.append(len(f)) or logits(f))
    monkeypatch.setattr(cocoop, "TOKENS_AT_ONCE", 2 * ours.prompts.start.shape[1])
    assert torch.allclose(ours.scores(images, None), whole, atol=1e-12) and sizes == [2, 2, 1]


@pytest.mark.parametrize("method", ["CoOp", "KgCoOp", "ProGrad"])
def test_class_specific_vectors_score_their_own_classes_only(method, make_trainer):
    csc = ["TRAINER.COOP.CSC", True]
    trainer = make_trainer(method, *csc, "OPTIM.MAX_EPOCH", 1)
    trainer.train()
    assert trainer.model.ctx.shape == (5, 6, 64)
    again = make_trainer(method, *csc, "SEED", 2)
    again.load_model(trainer.output_dir)
    assert again.test() == trainer.test()
    new = make_trainer(method, *csc, "DATASET.SUBSAMPLE_CLASSES", "new")
    for refused in (lambda: new.load_model(trainer.output_dir), new.test):
        with pytest.raises(ValueError, match=r"^class-specific contexts \(TRAINER.COOP.CSC True\) score the classes"):
            refused()


def test_checkpoint_of_another_layout_is_refused(make_trainer):
    trainer = make_trainer("CoOp")
    trainer.save_model(0, trainer.output_dir)
    other = make_trainer("CoOp", "TRAINER.COOP.CLASS_TOKEN_POSITION", "front")
    with pytest.raises(ValueError, match="TRAINER.COOP.CLASS_TOKEN_POSITION is end there, front here$"):
        other.load_model(trainer.output_dir, epoch=1)
