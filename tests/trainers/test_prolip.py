"""ProLIP: views and what a search chose go on after a kill, half-precision updates, ResNets, the release's files."""

from __future__ import annotations

import pytest
import torch

from clip.model import CLIP
from trainers import prolip
from trainers.prolip import ProLIPModel
from trainers.shared import checkpoints
from trainers.shared.cosine import l2_normalize


def test_a_searched_run_takes_its_views_in_turn_and_goes_on_after_a_kill(make_trainer, tmp_path, monkeypatch):
    """It ends where training with the chosen pair does."""
    monkeypatch.setattr(prolip, "RATES", (0.05,))
    monkeypatch.setattr(prolip, "PENALTIES", (3.0,))
    options = ["FEATURES.ONCE", True, "FEATURES.VIEWS", 2, "FEATURES.FOLDER", str(tmp_path / "features")]
    options += ["INPUT.TRANSFORMS", ("random_resized_crop", "normalize"), "OPTIM.LR_SCHEDULER", "cosine"]
    options += ["OPTIM.WARMUP_EPOCH", 1, "OPTIM.WARMUP_TYPE", "constant"]
    options += ["TRAINER.PROLIP.SEARCH_LR", True, "TEST.NO_TEST", True, "DATASET.NUM_SHOTS", -1]
    killed = make_trainer("ProLIP", *options)
    assert killed.model.penalty == 5 / len(killed.dm.dataset.train_x)
    step = killed.forward_backward

    def forward_backward(batch):
        if killed.epoch == 1:
            raise KeyboardInterrupt
        return step(batch)

    killed.forward_backward = forward_backward
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    monkeypatch.setattr(prolip, "search", None)
    resumed = make_trainer("ProLIP", *options)
    resumed.train()
    (group,) = resumed.optim.param_groups
    assert resumed.start_epoch == 1 and (group["initial_lr"], resumed.model.penalty) == (0.05, 3.0)
    node, images = prolip.at_rate(killed.cfg.OPTIM, 0.05), killed.images.dataset
    found = resumed.model.matrix.detach().clone()
    for _ in prolip.learn(resumed.model, images.features.transpose(0, 1), images.labels, node):
        pass
    assert torch.equal(found, resumed.model.matrix) and resumed.model.distance() > 1e-3


def test_updates_in_half_precision(make_trainer):
    """Adam's moments are in half too; the file fits a run in float32, which then predicts alike."""
    half = make_trainer("ProLIP", "TRAINER.PROLIP.HALF_UPDATES", True)
    half.train()
    (state,) = half.optim.state.values()
    assert {state["exp_avg"].dtype, state["exp_avg_sq"].dtype, half.model.vit_proj.dtype} == {torch.float16}
    other = make_trainer("ProLIP")
    other.load_model(half.output_dir)
    assert torch.equal(other.model.matrix, half.model.matrix) and other.model.distance() > 0


def test_a_resnet_starts_as_clip_and_keeps_its_bias():
    clip_model = CLIP(8, 32, (1, 1, 1, 1), 4, None, 77, 62, 64, 1, 1).eval()
    model, images = ProLIPModel(clip_model, torch.randn(3, 8), 0.5), torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.image_features(images), l2_normalize(clip_model.encode_image(images)))
    assert [*model.state_dict()] == ["linear.weight"]
    released = {"linear.weight": torch.randn(8, 128).half(), "linear.bias": torch.zeros(8).half()}
    checkpoints.load_learned(model, released, "file")
    x = clip_model.visual.before_projection(images)
    wanted = x @ released["linear.weight"].float().t() + clip_model.visual.attnpool.c_proj.bias
    torch.testing.assert_close(model.image_features(images), l2_normalize(wanted))


def test_what_cannot_be_is_refused(make_trainer, tmp_path):
    with pytest.raises(ValueError, match="^TRAINER.PROLIP.SEARCH_LR trains often .*: add FEATURES.ONCE True$"):
        make_trainer("ProLIP", "TRAINER.PROLIP.SEARCH_LR", True)
    for content, line in ((b"nothing", "damaged, or no tensors"), ([1], "it holds no tensors by name")):
        path = tmp_path / "digits_seed1.pth"
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        with pytest.raises(ValueError, match=f"^cannot load .*digits_seed1.pth: {line}$"):
            make_trainer("ProLIP").load_model(str(tmp_path))
