"""MMRL's trainer: which features score, what is refused, official checkpoints."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from reference.shared import toy
from trainers.mmrl import MMRLModel
from trainers.mmrl.variants import RepresentationLearner, RepresentationProjection
from trainers.settings import MMRLSettings


@pytest.mark.parametrize(
    ("task", "classes", "name", "trained_on", "both"),
    [
        ("B2N", "base", "Digits", "Digits", True),
        ("B2N", "new", "Digits", "Digits", False),
        ("FS", "all", "Digits", "Digits", True),
        ("CD", "all", "ImageNet", "ImageNet", True),
        ("CD", "all", "ImageNetV2", "ImageNet", False),
        ("CD", "all", "Digits", "ImageNet", False),
    ],
)
def test_which_features_score(task, classes, name, trained_on, both, make_trainer):
    trainer = make_trainer("MMRL")
    trainer.cfg = trainer.cfg.clone()
    trainer.cfg.merge_from_list(["TASK", task, "DATASET.SUBSAMPLE_CLASSES", classes, "DATASET.NAME", name])
    trainer.trained_on = trained_on
    assert trainer.seen_classes() is both


def test_two_own_data_sets_are_told_apart_by_their_classes(make_trainer):
    """Both are called ImageFolder: a checkpoint's class names say whether its classes are those at hand."""
    trainer = make_trainer("MMRL", "OPTIM.MAX_EPOCH", 1)
    trainer.train()
    target = make_trainer("MMRL", "TASK", "CD", "OUTPUT_DIR", trainer.output_dir + "-target")
    target.load_model(trainer.output_dir)
    assert target.seen_classes()
    target.dm.dataset._classnames = ["zero", "one", "two", "three", "five"]
    assert not target.seen_classes()


def test_initial_values():
    """R ~ N(0, 0.02^2), one Linear copied to all layers of a tower, the projection ~ N(0, 1/d_v)."""
    torch.manual_seed(0)
    learner = RepresentationLearner(MMRLSettings(0.7, 0.5, (2, 3, 4), 512, 50), 256, 128)
    assert abs(learner.compound_rep_tokens.std().item() - 0.02) < 5e-4
    for maps in (learner.compound_rep_tokens_r2vproj, learner.compound_rep_tokens_r2tproj):
        assert all(torch.equal(maps[0].weight, other.weight) for other in maps)
        assert all(torch.equal(maps[0].bias, other.bias) for other in maps)
        assert maps[0].weight.abs().max() <= 512**-0.5
        assert maps[0].weight.data_ptr() != maps[1].weight.data_ptr()
    projection = RepresentationProjection(1024, 512).proj_rep
    assert abs(projection.std().item() - 1024**-0.5) < 5e-4


def test_fusion():
    """The paper mixes probabilities, the release logits."""
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    model = MMRLModel.__new__(MMRLModel)
    torch.nn.Module.__init__(model)
    model.settings = MMRLSettings(0.7, 0.5, (1,), 1, 1, "logits")
    assert torch.allclose(model.fuse(a, b), torch.tensor([[1.4, 0.9]]))
    model.settings = MMRLSettings(0.7, 0.5, (1,), 1, 1, "probs")
    want = 0.7 * a.softmax(-1) + 0.3 * b.softmax(-1)
    assert torch.allclose(model.fuse(a, b), want) and torch.allclose(want.sum(), torch.tensor(1.0))


def test_image_size_that_does_not_fit(make_trainer):
    with pytest.raises(ValueError, match=r'other images than INPUT describes: add INPUT.SIZE "\(32, 32\)"$'):
        make_trainer("MMRL", "INPUT.SIZE", (40, 40))


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["TRAINER.MMRL.N_REP_TOKENS", 3], "TRAINER.MMRL.N_REP_TOKENS is 5 there, 3 here"),
        (["TRAINER.MMRL.REP_DIM", 8], "TRAINER.MMRL.REP_DIM is 16 there, 8 here"),
        (["TRAINER.MMRL.REP_LAYERS", [3]], "TRAINER.MMRL.REP_LAYERS is [2, 3] there, [3] here"),
    ],
)
def test_checkpoint_of_other_settings_is_refused(options, difference, make_trainer):
    trainer = make_trainer("MMRL")
    trainer.save_model(0, trainer.output_dir)
    other = make_trainer("MMRL", *options)
    with pytest.raises(ValueError) as caught:
        other.load_model(trainer.output_dir, epoch=1)
    assert str(caught.value).endswith(f"model-1.safetensors does not fit this run: {difference}")


def test_checkpoint_belongs_to_the_weights_it_was_learned_on(make_trainer, toy_clip, tmp_path):
    trainer = make_trainer("MMRL")
    trainer.save_model(0, trainer.output_dir)
    copy, different = tmp_path / "copy.safetensors", tmp_path / "other.safetensors"
    copy.write_bytes(toy_clip.read_bytes())
    make_trainer("MMRL", "MODEL.BACKBONE.NAME", str(copy)).load_model(trainer.output_dir, epoch=1)
    save_file(toy.clip_weights(1, embed=32, res=32, patch=8, vocabulary=49408), different)
    other = make_trainer("MMRL", "MODEL.BACKBONE.NAME", str(different))
    with pytest.raises(ValueError, match=r"backbone is .*toy.safetensors \(\w+\) there, .*other"):
        other.load_model(trainer.output_dir, epoch=1)


def official_checkpoint(trainer, folder):
    """The layout of the authors' release: the whole model, and the embeddings of the classes trained on."""
    visual = {f"image_encoder.{k}": v for k, v in trainer.model.clip_model.visual.state_dict().items()}
    text = {f"text_encoder.{k}": v for k, v in trainer.model.clip_model.transformer.state_dict().items()}
    state = {
        **visual,
        **text,
        **trainer.model.state_dict(),
        "logit_scale": torch.tensor(4.6),
        "representation_learner.prompt_embeddings": torch.zeros(99, 77, 64),
    }
    path = folder / "MultiModalRepresentationLearner" / "model.pth.tar-10"
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": state, "epoch": 10, "optimizer": {}, "scheduler": {}, "val_result": None}, path)
    return path, state


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda s: s.pop("image_encoder.proj_rep"), "image_encoder.proj_rep is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "extra is unknown"),
        (lambda s: s.update({"image_encoder.A": torch.zeros(1)}), "image_encoder.A is unknown"),
        (
            lambda s: s.update({"representation_learner.compound_rep_tokens": torch.zeros(4, 16)}),
            "representation_learner.compound_rep_tokens is [4, 16] there, [5, 16] here",
        ),
    ],
)
def test_official_checkpoint_that_does_not_fit(change, line, make_trainer, tmp_path):
    trainer = make_trainer("MMRL")
    path, state = official_checkpoint(trainer, tmp_path)
    change(state)
    torch.save({"state_dict": state, "epoch": 10, "optimizer": {}, "scheduler": {}, "val_result": None}, path)
    with pytest.raises(ValueError) as caught:
        trainer.load_model(str(tmp_path), epoch=10)
    assert str(caught.value) == f"{path} does not fit this run: {line}"


def test_missing_checkpoint(make_trainer, tmp_path):
    with pytest.raises(FileNotFoundError, match="^no checkpoint at .*: train first, or give --model-dir"):
        make_trainer("MMRL").load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "rules"),
    [
        ((), ("class feature", "both features")),
        (("FUSION", "logits"), ("class feature", "both features")),
        (("VARIANT", "wo_V"), ("class feature",)),
        (("VARIANT", "wo_DS2"), ("both features", "class feature")),
    ],
)
def test_base_and_new_side_by_side_have_a_score_for_each_rule(options, rules, make_trainer, one_batch):
    """Each is what the method gives where it has that rule alone; its own comes first."""
    words = [
        word for key, value in zip(options[::2], options[1::2], strict=True) for word in (f"TRAINER.MMRL.{key}", value)
    ]
    model, images = (trainer := make_trainer("MMRL", *words)).model, one_batch(trainer)["img"]
    model.use_all_classes()
    with torch.no_grad():
        w = model.class_features()
        found = model.joint_scores(images, w)
        assert model.rules == rules and found.shape[1] == len(rules)
        for rule, scores in zip(rules, found.unbind(dim=1), strict=True):
            model.both = rule == "both features"
            assert torch.allclose(scores, model.log_probabilities(model.scores(images, w)), atol=1e-5), rule
