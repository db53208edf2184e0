"""The ablations of MMRL: each against the plain reference, what they learn, and how their runs are tested."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clip.class_prompts import ClassPrompts
from clip.model import CLIP, build_model
from reference.mmrl import PlainMMRL
from reference.shared import toy
from tests.agreement import loss_and_gradients_agree
from tests.few_digits import TESTED
from trainers.mmrl import MMRLModel
from trainers.mmrl import method as mmrl
from trainers.settings import MMRLSettings
from trainers.shared import checkpoints

LEARNERS = ("full", "wo_L", "wo_V", "wo_RS", "biased")  # these differ in what they learn
REGULARIZERS = ("cos", "l1", "mse")
word = st.integers(1, 59)


def toy_model(cfg, weights, ids):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(mmrl, "prompt_tokens", lambda prompts: ids)
        return MMRLModel(build_model(weights, torch.float32).double(), ["unused"] * len(ids), cfg).double()


@pytest.mark.parametrize("variant", MMRLSettings.variants)
@settings(max_examples=2, deadline=None)  # beside the three below; test_equations has more sizes
@given(
    regularizer=st.sampled_from(REGULARIZERS),
    names=st.lists(st.lists(word, min_size=1, max_size=6), min_size=1, max_size=5),
    before=st.lists(word, max_size=4),
    depths=st.tuples(st.integers(1, 4), st.integers(0, 3)),
    k=st.integers(1, 4),
    rep_dim=st.integers(1, 8),
    batch=st.integers(1, 3),
    alpha=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    weight=st.sampled_from([0.0, 2.0]),
    seed=st.integers(0, 10),
)
@example("cos", [[1, 2], [3], [4, 5, 6]], [8, 9], (4, 2), 2, 8, 2, 0.7, 2.0, 0)
@example("l1", [[1, 2], [3, 4]], [], (3, 2), 3, 4, 2, 0.3, 2.0, 1)
@example("mse", [[1, 2], [3]], [8], (2, 1), 1, 4, 2, 0.3, 2.0, 2)
def test_float64_equals_the_equations(
    variant, regularizer, names, before, depths, k, rep_dim, batch, alpha, weight, seed
):
    """J from the first to the last layer, K from 1, alpha and lambda at their limits: loss, gradients, scores."""
    depth, skipped = depths
    first = max(1, depth - skipped)
    cfg = MMRLSettings(
        alpha, weight, tuple(range(first, depth + 1)), rep_dim, k, variant=variant, regularizer=regularizer
    )
    torch.manual_seed(seed)
    weights = toy.clip_weights(seed, vision=(64, depth), text=(64, depth))
    ids = toy.prompt_ids(names, before, [7])
    model = toy_model(cfg, weights, ids)
    for value in model.parameters():  # the maps of a tower start as copies
        value.data += 0.05 * torch.randn(value.shape)
    images, labels = torch.randn(batch, 3, 16, 16, dtype=torch.float64), torch.randint(len(names), (batch,))
    learned = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    double = {name: value.double() for name, value in weights.items()}
    plain = PlainMMRL(double, ids, first, alpha, weight, variant=variant, regularizer=regularizer)
    want = plain.loss(learned, images, labels)
    want.backward()
    loss, scores = model.loss(images, labels)
    loss.backward()
    loss_and_gradients_agree(loss, model, want, learned)
    with torch.no_grad():
        w = plain.class_features(learned)
        probabilities = {
            both: plain.probabilities(plain.scores(learned, images, w, both), both) for both in (True, False)
        }
        assert torch.allclose(scores.softmax(-1) if variant == "wo_V" else scores, probabilities[True], atol=1e-9)
        features = model.class_features()
        for seen in (True, False):
            model.use_classes(seen)
            found = model.probabilities(model.scores(images, features))
            both = {"wo_DS1": False, "wo_DS2": True}.get(variant, seen)
            assert torch.allclose(found, probabilities[both], atol=1e-9)


def test_what_is_not_learned_is_not_computed(monkeypatch):
    """Without text tokens no step runs the text tower, and without image tokens the image tower is run once."""
    weights, ids = toy.clip_weights(0), toy.prompt_ids([[1], [2, 3]], [4], [5])
    images, labels = torch.randn(2, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 1])
    counts = {}
    for variant in ("full", "wo_L", "wo_V"):
        model = toy_model(MMRLSettings(0.7, 0.5, (2, 3), 4, 2, variant=variant), weights, ids)
        calls = counts[variant] = []
        with monkeypatch.context() as patch:
            for block in model.image_upper:
                block.register_forward_hook(lambda *_, calls=calls: calls.append("image"))
            run = ClassPrompts.run
            counted = lambda *a, run=run, calls=calls, **k: calls.append("text") or run(*a, **k)  # noqa: E731
            patch.setattr(ClassPrompts, "run", counted)
            model.loss(images, labels)
    assert counts["wo_L"].count("text") == 0 and counts["full"].count("text") == counts["wo_V"].count("text") == 1
    assert counts["full"].count("image") == counts["wo_L"].count("image") == 2 * counts["wo_V"].count("image")


@pytest.mark.parametrize(
    ("variant", "rep_dim", "count"),
    [
        ("full", 512, 4_992_256),  # Table 6: 4.992M
        ("full", 32, 689_056),  # Table 6: 0.689M
        ("wo_L", 512, 2560 + 7 * (512 * 768 + 768) + 768 * 512),
        ("wo_V", 512, 2560 + 7 * (512 * 512 + 512)),
        ("wo_RS", 512, 7 * 5 * (768 + 512) + 768 * 512),
        ("biased", 512, 7 * 5 * 512 + 7 * (512 * 768 + 768) + 768 * 512),
    ],
)
def test_number_of_learned_parameters(variant, rep_dim, count):
    """For ViT-B/16 with K = 5, J = 6."""
    with torch.device("meta"):
        clip_model = CLIP(512, 224, 12, 768, 16, 77, 100, 512, 8, 12)
        parts = MMRLModel.learned(MMRLSettings(0.7, 0.5, tuple(range(6, 13)), rep_dim, 5, variant=variant), clip_model)
    assert sum(p.numel() for part in parts if part is not None for p in part.parameters()) == count


@pytest.mark.parametrize("variant", ["wo_RS", "biased"])
def test_initial_values_of_tokens_without_a_space(variant):
    """Tokens ~ N(0, 0.02^2), each layer's own; maps are copies of one draw, as in the full model."""
    torch.manual_seed(0)
    with torch.device("meta"):
        clip_model = CLIP(32, 32, 3, 256, 8, 77, 100, 128, 2, 3)
    learner, _ = MMRLModel.learned(MMRLSettings(0.7, 0.5, (2, 3), 8, 200, variant=variant), clip_model)
    values = dict(learner.named_parameters())
    tokens = [value for name, value in values.items() if "proj" not in name]
    assert all(abs(value.std().item() - 0.02) < 5e-4 for value in tokens)
    assert not torch.equal(values["text_rep_tokens.0"], values["text_rep_tokens.1"])
    maps = [value for name, value in values.items() if name.endswith("proj.0.weight")]
    assert len(maps) == (variant == "biased")
    assert all(torch.equal(one, values["text_rep_tokens_t2vproj.1.weight"]) for one in maps)


@pytest.mark.parametrize("variant", LEARNERS)
def test_a_variant_trains_is_kept_and_is_tested_on_new_classes(variant, make_trainer, one_batch, capsys):
    options = ["TRAINER.MMRL.VARIANT", variant, "TRAINER.MMRL.REGULARIZER", "l1"]
    trainer = make_trainer("MMRL", *options)
    batch, before = one_batch(trainer), {k: v.detach().clone() for k, v in trainer.model.named_parameters()}
    trainer.epoch, trainer.num_batches = 0, 1000
    losses = []
    for trainer.batch_idx in range(8):
        losses.append(trainer.forward_backward(batch)["loss"])
    assert losses[-1] < losses[0]
    assert not any(torch.equal(value, before[name]) for name, value in trainer.model.named_parameters())
    trainer.save_model(0, trainer.output_dir)
    new = make_trainer("MMRL", *options, "DATASET.SUBSAMPLE_CLASSES", "new")
    new.load_model(trainer.output_dir, epoch=1)
    assert all(torch.equal(value, new.model.state_dict()[k]) for k, value in trainer.model.state_dict().items())
    capsys.readouterr()
    assert 0 <= new.test() <= 100 and new.evaluator._total == TESTED["new"]


@pytest.mark.parametrize("there", LEARNERS)
def test_checkpoint_of_another_variant_is_refused(there, make_trainer):
    trainer = make_trainer("MMRL", "TRAINER.MMRL.VARIANT", there)
    trainer.save_model(0, trainer.output_dir)
    for here in {*LEARNERS, "wo_DS1"} - {there, "wo_DS1" if there == "full" else ""}:
        other = make_trainer("MMRL", "TRAINER.MMRL.VARIANT", here)
        named = "full" if here == "wo_DS1" else here
        with pytest.raises(ValueError) as caught:
            other.load_model(trainer.output_dir, epoch=1)
        line = f"model-1.safetensors does not fit this run: TRAINER.MMRL.VARIANT is {there} there, {named} here"
        assert str(caught.value).endswith(line)


def test_checkpoint_older_than_the_key_is_of_the_full_model(make_trainer, monkeypatch):
    trainer = make_trainer("MMRL")
    trainer.save_model(0, trainer.output_dir)
    path = checkpoints.find(f"{trainer.output_dir}/{trainer.registered_name}", 1)
    tensors, about = checkpoints.read(path)
    del about["settings"]["VARIANT"], about["settings"]["REGULARIZER"]
    checkpoints.save(path, tensors, about)
    make_trainer("MMRL").load_model(trainer.output_dir, epoch=1)
    with pytest.raises(ValueError, match=r"TRAINER\.MMRL\.VARIANT is full there, wo_L here$"):
        make_trainer("MMRL", "TRAINER.MMRL.VARIANT", "wo_L").load_model(trainer.output_dir, epoch=1)


def test_wo_ds_are_tests_of_a_finished_full_training(make_trainer, capsys):
    """wo_DS1 scores base classes with the class feature, wo_DS2 new ones with both; the rest is the full model's."""
    trained = make_trainer("MMRL")
    trained.train()
    scores = {}
    for variant in ("full", "wo_DS1", "wo_DS2"):
        for classes in ("base", "new"):
            options = ["TRAINER.MMRL.VARIANT", variant, "DATASET.SUBSAMPLE_CLASSES", classes]
            trainer = make_trainer("MMRL", *options, "OUTPUT_DIR", f"{trained.output_dir}-{variant}-{classes}")
            trainer.load_model(trained.output_dir)
            trainer.test()
            images = next(iter(trainer.test_loader))["img"]
            model = trainer.model
            with torch.no_grad():
                features = model.class_features()
                scores[variant, classes] = model.probabilities(model.scores(images, features))
                f_c, f_r = (100 * f @ features.t() for f in model.image_features(images))
                scores["alone", classes] = f_c.softmax(-1)
                scores["both", classes] = 0.7 * f_c.softmax(-1) + 0.3 * f_r.softmax(-1)
    expected = {"full": ("both", "alone"), "wo_DS1": ("alone", "alone"), "wo_DS2": ("both", "both")}
    for variant, kinds in expected.items():
        for classes, kind in zip(("base", "new"), kinds, strict=True):
            assert torch.allclose(scores[variant, classes], scores[kind, classes], atol=1e-6)
    assert not torch.allclose(scores["both", "new"], scores["alone", "new"], atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        ["TRAINER.MMRL.N_REP_TOKENS", 1, "TRAINER.MMRL.REP_LAYERS", [3], "TRAINER.MMRL.REP_DIM", 1],
        ["TRAINER.MMRL.REP_LAYERS", [1, 2, 3], "TRAINER.MMRL.ALPHA", 0.0],
        ["TRAINER.MMRL.ALPHA", 1.0, "TRAINER.MMRL.REG_WEIGHT", 0.0, "TRAINER.MMRL.N_REP_TOKENS", 20],
    ],
)
def test_limits_of_the_sweeps_train_and_test(options, make_trainer, capsys):
    trainer = make_trainer("MMRL", *options, "OPTIM.MAX_EPOCH", 1)
    trainer.train()
    assert trainer.evaluator._total == TESTED["base"]
