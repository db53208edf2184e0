"""TaskRes: which classes keep their residuals, and the enhanced base."""

from __future__ import annotations

import pytest
import torch

from clip.model import CLIP
from trainers import taskres
from trainers.taskres import TaskResModel


def learned(classnames, clip_model):
    """A model over these classes, and a checkpoint's tensors of the classes a, b, c."""
    d = clip_model.text_projection.shape[1]
    model = TaskResModel(clip_model, classnames, torch.randn(len(classnames), d), 0.5)
    tensors = {"text_feature_residuals": torch.randn(3, d), "base_text_features": torch.randn(3, d)}
    return model, tensors


@pytest.mark.parametrize(
    ("classnames", "trained", "seen", "rows"),
    [
        (["a", "b", "c"], ["a", "b", "c"], True, [0, 1, 2]),
        (["c", "a", "b"], ["a", "b", "c"], True, [2, 0, 1]),
        (["c", "a"], ["a", "b", "c"], False, [2, 0]),  # ImageNet-A of ImageNet
        (["c", "d"], ["a", "b", "c"], False, None),
        (["d", "e", "f"], None, False, None),  # an official checkpoint names no classes
        (["d", "e", "f"], None, True, [0, 1, 2]),
        (["d", "e"], None, False, None),
    ],
)
def test_classes_that_were_trained_on_keep_their_residuals(classnames, trained, seen, rows):
    model, tensors = learned(classnames, CLIP(8, 16, 1, 64, 8, 77, 62, 64, 1, 1))
    model.fit_to(tensors, trained)
    model.load_state_dict(tensors)
    model.use_classes(seen)
    wanted = tensors["base_text_features"] + 0.5 * tensors["text_feature_residuals"]
    wanted = model.own if rows is None else wanted[rows]
    torch.testing.assert_close(model.class_features(), torch.nn.functional.normalize(wanted, dim=-1))


def test_enhanced_base(tmp_path, make_trainer):
    """Its weight is the transposed text projection; a file without one is refused by name."""
    plain = make_trainer("TaskRes").model
    projection = plain.clip_model.text_projection.data
    path = tmp_path / "model.pth.tar"
    torch.save({"state_dict": {"weight": 2 * projection.t()}}, path)
    model = make_trainer("TaskRes", "TRAINER.TaskRes.ENHANCED_BASE", str(path)).model
    torch.testing.assert_close(model.base_text_features, 2 * plain.base_text_features)
    assert torch.equal(model.clip_model.text_projection.data, projection)
    torch.save({"state_dict": {"weight": projection[:1]}}, path)
    with pytest.raises(ValueError, match=r"ENHANCED_BASE .*model.pth.tar has a weight \[1, "):
        taskres.enhanced_projection(str(path), plain.clip_model)
