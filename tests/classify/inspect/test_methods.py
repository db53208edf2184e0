"""Every method can be inspected, or it is said what there is not."""

from __future__ import annotations

import csv

import pytest
import torch

import trainers
from classify.inspect import load, measure, write
from classify.inspect.observe import FROZEN, observe
from tests.often import some_often
from trainers.mmrl.method import REPRESENTATION_FEATURE

TWO_FEATURES = {"MMRL", "MMRLpp", "ALIGNEDNORM"}
DRAWN = {"MMRL", "ZeroshotCLIP2", "CoOp", "MaPLe", "PLOT"}  # the rest shows nothing that these do not
ABOUT = {"method": "M", "dataset": "D", "split": "test"}


@pytest.mark.parametrize("method", some_often(trainers.METHODS, DRAWN))
def test_every_method(method, make_trainer, tmp_path, capsys, no_figures):
    trainer = make_trainer(method, "OPTIM.MAX_EPOCH", 1)
    trainer.train()
    plain = make_trainer(method, "OPTIM.MAX_EPOCH", 1)
    plain.load_model(trainer.output_dir)
    items = load.images_of(plain, "test")[::2]
    whole = list(trainer.evaluator._y_pred)[::2]
    found = observe(plain, items)
    assert found.predicted == whole and found.true == [item.label for item in items]
    assert list(found.images)[-1] == FROZEN
    for values in (*found.images.values(), found.own_classes, found.frozen_classes):
        assert values is None or torch.allclose(values.norm(dim=-1), torch.ones(len(values)), atol=1e-4)
    assert (REPRESENTATION_FEATURE in found.images) == bool(found.alpha_hits) == (method in TWO_FEATURES)
    assert ("alpha" in found.notes) == (method not in TWO_FEATURES) == (found.alpha is None)
    assert ("images" in found.notes) == (len(found.images) == 1)
    assert ("classes" in found.notes) == (found.own_classes is None)
    assert all(note.startswith((method, "every prediction")) for note in found.notes.values())

    if method not in DRAWN:
        assert measure.summary(found)["images"] == len(items) and len(measure.cosines(found)) == 5
        return
    content, names = write.everything(found, ABOUT, tmp_path / "out", points=20)
    assert sorted(names) == sorted(path.name for path in (tmp_path / "out").iterdir())
    assert {"confusion_matrix.png", "features_pca.svg", "features_tsne.png", "per_class.csv"} < set(names)
    assert ("alpha.png" in names) == (method in TWO_FEATURES) and ("gain.svg" in names) == ("gain" not in found.notes)
    shown = write.text(content)
    assert all(f"note: {note}" in shown for note in found.notes.values())
    with (tmp_path / "out/features.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == min(20, len(items))


@pytest.mark.parametrize("variant", ["wo_L", "wo_V", "wo_RS", "biased", "wo_DS1", "wo_DS2"])
@pytest.mark.parametrize("classes", ["base", "new"])
def test_mmrls_variants(variant, classes, make_trainer, capsys):
    trainer = make_trainer("MMRL", "TRAINER.MMRL.VARIANT", variant, "DATASET.SUBSAMPLE_CLASSES", classes)
    found = observe(trainer, load.images_of(trainer, "test")[::20])
    if variant == "wo_V":
        assert found.alpha is None and "MMRL has no representation feature" in found.notes["alpha"]
    else:
        both = {"wo_DS1": False, "wo_DS2": True}.get(variant, classes == "base")
        assert found.alpha == (0.7 if both else 1.0)
        right = sum(map(int.__eq__, found.true, found.predicted))
        assert found.alpha_hits[14 if both else 20] == right
